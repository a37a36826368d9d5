//! Everything a change must pass, cheapest first, stopping at the first step that says no. It adds no
//! rule of its own: each step is a chore or a cargo command that can be run alone.

use std::time::{Duration, Instant};

use crate::shell::{Stop, cargo};
use crate::{figures, provision, say, tidy};

struct Step {
    name: &'static str,
    run: fn() -> Result<(), Stop>,
}

const STEPS: &[Step] = &[
    Step { name: "provision", run: provision::run },
    Step { name: "tidy", run: tidy::run },
    Step { name: "format", run: || cargo(["fmt", "--all", "--", "--check"]).run() },
    Step {
        name: "clippy",
        run: || cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run(),
    },
    Step { name: "build of tests", run: || cargo(["test", "--workspace", "--no-run"]).run() },
    Step { name: "tests", run: || cargo(["test", "--workspace"]).run() },
];

/// Runs all steps, then the figures; `cold` adds the CPU time of a cold release build to them.
pub(crate) fn run(cold: bool) -> Result<(), Stop> {
    let figures =
        Step { name: "figures", run: if cold { || figures::run(true) } else { || figures::run(false) } };
    let mut times = Vec::new();
    for step in STEPS.iter().chain([&figures]) {
        say::heading(step.name);
        let (answer, time) = timed(step.run);
        answer.map_err(|stop| under(step.name, time, stop))?;
        say::text(&format!("{}: passed in {}", step.name, say::elapsed(time)));
        times.push((step.name, time));
    }
    summary(&times);
    Ok(())
}

fn timed(run: fn() -> Result<(), Stop>) -> (Result<(), Stop>, Duration) {
    let start = Instant::now();
    let answer = run();
    (answer, start.elapsed())
}

fn under(step: &str, time: Duration, stop: Stop) -> Stop {
    let told = |why: String| format!("ci: {step} failed after {}: {why}", say::elapsed(time));
    match stop {
        Stop::No(why) => Stop::No(told(why)),
        Stop::CouldNot(why) => Stop::CouldNot(told(why)),
    }
}

fn summary(times: &[(&str, Duration)]) {
    say::heading("all passed");
    for (name, time) in times {
        say::text(&format!("{name:<16}{:>14}", say::elapsed(*time)));
    }
    let total = times.iter().map(|(_, time)| *time).sum();
    say::text(&format!("{:<16}{:>14}", "together", say::elapsed(total)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_keeps_its_kind_and_gains_its_name() {
        let stop = under("clippy", Duration::from_secs(3), Stop::No("two warnings".into()));
        assert_eq!(stop, Stop::No("ci: clippy failed after 3.0 s: two warnings".into()));
        let stop = under("provision", Duration::ZERO, Stop::CouldNot("not root".into()));
        assert!(matches!(stop, Stop::CouldNot(_)));
    }
}
