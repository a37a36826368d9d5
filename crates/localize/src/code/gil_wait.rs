//! `gil_wait`: threads that could run wait for the interpreter's global lock.

use super::predict::{Saved, saved};
use super::{Code, CodeRule, Endpoint, Told, names};
use model::states::{LOCKED_OUT, ON_CPU};
use std::collections::BTreeMap;

pub(super) const RULE: CodeRule = CodeRule {
    name: "gil_wait",
    why: "Only one thread of a Python process computes at a time: threads add waiting, not speed, and one busy function slows every request.",
    how: "A request of the endpoint waits 5 % or more of its response time for the global lock, and the process 50 ms or more in each second. The function that holds the lock most is named.",
    predicts: "The wait goes as far as the host's CPUs are free, with as many processes as CPUs, or with the computing moved to another process; from half of that to all of it.",
    run,
};

fn run(code: &Code<'_>) -> Vec<Told> {
    let t = code.facts.thresholds;
    let profile = code.profile;
    let per_s = profile.ledger_ms[LOCKED_OUT] / (profile.wall_ms / 1e3).max(1e-3);
    if per_s < t.gil_wait_ms_per_s {
        return Vec::new();
    }
    let Some((holder, held)) = holder(code) else { return Vec::new() };
    let mut out = Vec::new();
    for (at, endpoint) in code.endpoints.iter().enumerate() {
        let ms = endpoint.ms[LOCKED_OUT];
        let mean = endpoint.responses.mean_ms();
        if mean.is_some_and(|mean| ms < t.wait_share * mean) || ms <= 0.0 {
            continue;
        }
        out.push(tell(code, (at, endpoint), ms, per_s, (holder, held)));
    }
    out
}

/// The service's own function that computes most, and its share of all computing.
fn holder(code: &Code<'_>) -> Option<(u32, f64)> {
    let mut by_owner: BTreeMap<u32, f64> = BTreeMap::new();
    for (at, node) in code.profile.nodes.iter().enumerate().skip(1).filter(|(_, n)| n.own_ms[ON_CPU] > 0.0) {
        let owner =
            code.owner(at).or_else(|| code.upward(at).find(|f| !names::waits_for_work(code.frame(*f))));
        if let Some(owner) = owner {
            *by_owner.entry(owner).or_default() += node.own_ms[ON_CPU];
        }
    }
    let (frame, ms) = by_owner.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((frame, ms / code.profile.ledger_ms[ON_CPU].max(f64::MIN_POSITIVE)))
}

fn tell(
    code: &Code<'_>,
    (at, endpoint): (usize, &Endpoint),
    ms: f64,
    per_s: f64,
    (holder, held): (u32, f64),
) -> Told {
    let free = 1.0 - code.facts.saturation.cpu().unwrap_or(0.0).clamp(0.0, 0.9);
    let mean = endpoint.responses.mean_ms();
    let name = code.named(holder);
    let title = match mean {
        Some(_) => format!("{ms:.1} ms of a request wait for the GIL, held most by {name}"),
        None => format!("{per_s:.0} ms in each second wait for the GIL, held most by {name}"),
    };
    Told {
        endpoint: at,
        title,
        function: Some(code.place(holder)),
        resource: Some("GIL"),
        share: mean.map(|mean| (ms / mean).min(1.0)),
        lines: vec![
            format!("threads of the process wait {per_s:.0} ms in each second for the lock"),
            format!("{:.0} % of all computing is in {name}", held * 100.0),
        ],
        prediction: saved(
            code,
            endpoint,
            Saved::wait(ms, free),
            "as many processes as CPUs, or the computing in another process",
        ),
        remedy: "run several worker processes instead of threads (gunicorn -w, uvicorn --workers), move the computing of that function to a process pool or to native code that gives the lock up, or mend the function",
        confidence: 0.75,
        claims: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, profiled};
    use crate::testing::drawn;
    use expect_test::expect;

    const LOCKED: &str = "
        = GET /quick 500 20
        = GET /spin 50 120
        GET /quick gil 6000 | t:web;p:quick@/srv/app.py:3;l:[waits: GIL]
        GET /quick cpu 500 | t:web;p:quick@/srv/app.py:3
        GET /spin cpu 5000 | t:web;p:spin@/srv/app.py:9
    ";

    #[test]
    fn threads_that_wait_for_the_lock_are_one_finding_that_names_its_holder() {
        check(
            "gil_wait",
            &profiled(LOCKED),
            &expect![[r#"
                gil_wait GET /quick | 12.0 ms of a request wait for the GIL, held most by spin (srv/app.py:9) | p95 20.1 -> 8.1 (8.1..14.1) C
            "#]],
        );
    }

    #[test]
    fn a_short_wait_is_none() {
        check("gil_wait", &profiled(&LOCKED.replace("gil 6000", "gil 300")), &expect![[""]]);
    }

    #[test]
    fn a_busy_host_takes_from_the_gain() {
        let mut recording = profiled(LOCKED);
        recording.metrics.push(crate::testing::gauge_series(
            model::metrics::names::HOST_CPU,
            &[],
            &[(0, 0.4)],
        ));
        let found = crate::localize(&recording, &crate::Options::default()).findings;
        let p = found.iter().find(|f| f.rule == "gil_wait").and_then(|f| f.prediction.clone()).unwrap();
        assert!((p.gain_ms() - 7.2).abs() < 0.2, "{p:?}");
    }

    #[test]
    fn without_a_profile_the_rule_does_not_run() {
        check(
            "gil_wait",
            &drawn("repeat 20\napi server \"GET /a\" 0..90"),
            &expect![[r#"
            not run: gil_wait (a profile)
        "#]],
        );
    }
}
