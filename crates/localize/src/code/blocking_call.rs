//! `event_loop_blocked`, from a profile: a thread that serves many requests by turns computes or waits for long in one of
//! them, so that all others stand still.

use super::predict::{alone, unblocked};
use super::{Code, CodeRule, Endpoint, Told, names};
use model::CodeKind;
use model::states::{BLOCKED, ON_CPU};
use std::collections::BTreeMap;

pub(super) const RULE: CodeRule = CodeRule {
    name: "event_loop_blocked",
    why: "On an event loop (Node, asyncio) or an async worker each millisecond of computing or of a blocking call is one that all other requests of that thread wait.",
    how: "Below the loop's own frames a function of the service's own waits for something other than events (sleep, file, lock, socket), or computes on the only thread of the loop, 10 ms or more a request and 2 % of all time.",
    predicts: "The work runs elsewhere: those that come while the loop stands still are the slowest requests, so that without them a quantile is what is now the quantile of the rest; more where the loop is busy. Told on the endpoint with most other requests.",
    run,
};

/// What one function does to the loop, milliseconds of a request of its endpoint.
#[derive(Default)]
struct Stop {
    waits_ms: f64,
    computes_ms: f64,
    wait: String,
    loop_word: &'static str,
}

fn run(code: &Code<'_>) -> Vec<Told> {
    let told = |(at, endpoint): (usize, &Endpoint)| of_endpoint(code, at, endpoint);
    code.endpoints.iter().enumerate().flat_map(told).collect()
}

fn of_endpoint(code: &Code<'_>, at: usize, endpoint: &Endpoint) -> Vec<Told> {
    let t = code.facts.thresholds;
    let mut stops: BTreeMap<u32, Stop> = BTreeMap::new();
    for node in 1..code.profile.nodes.len() {
        let own = code.own(endpoint, node);
        if own[ON_CPU] + own[BLOCKED] > 0.0 {
            note(code, node, own, &mut stops);
        }
    }
    let wall_s = (code.profile.wall_ms / 1e3).max(1e-3);
    let rate = if endpoint.operation.is_some() { endpoint.rate_per_s } else { 1.0 / wall_s };
    let long = |stop: &Stop| {
        let ms = stop.waits_ms + stop.computes_ms;
        ms >= t.blocked_ms && ms * rate / 1e3 >= t.loop_blocked_share
    };
    stops
        .into_iter()
        .filter(|(_, s)| long(s))
        .map(|(frame, s)| tell(code, (at, endpoint), frame, &s))
        .collect()
}

fn note(code: &Code<'_>, node: usize, own: model::StateMs, stops: &mut BTreeMap<u32, Stop>) {
    let path: Vec<u32> = code.upward(node).collect();
    let Some((at, word)) = event_loop(code, &path) else { return };
    let below = &path[..at];
    if path.iter().any(|f| names::is_blocking_pool(code.frame(*f))) {
        return;
    }
    let Some(owner) = below.iter().find(|f| names::is_own(code.frame(**f))) else { return };
    let stop = stops.entry(*owner).or_default();
    stop.loop_word = word;
    let leaf = code.frame(path[0]);
    let parked = below.iter().any(|f| names::waits_for_work(code.frame(*f)));
    if own[BLOCKED] > 0.0
        && leaf.kind == CodeKind::Label
        && !parked
        && let Some(wait) = names::blocking_wait(leaf)
    {
        stop.waits_ms += own[BLOCKED];
        wait.clone_into(&mut stop.wait);
    }
    let group = path.last().map(|f| code.frame(*f).function.as_str());
    let lone = code.profile.groups.iter().any(|g| Some(g.name.as_str()) == group && g.threads == 1);
    if lone && word == "event loop" {
        stop.computes_ms += own[ON_CPU];
    }
}

/// Where in a path, leaf first, the loop stands, and what it is called. JavaScript runs on nothing else: there the
/// thread itself counts where a deep stack was cut off above it.
fn event_loop(code: &Code<'_>, path: &[u32]) -> Option<(usize, &'static str)> {
    let named = |(at, frame): (usize, &u32)| Some((at, names::is_event_loop(code.frame(*frame))?));
    let script = || path.iter().any(|frame| code.frame(*frame).kind == CodeKind::JavaScript);
    path.iter().enumerate().find_map(named).or_else(|| script().then(|| (path.len() - 1, "event loop")))
}

/// Another endpoint with most requests; the endpoint itself where there is none.
fn victim(code: &Code<'_>, at: usize) -> usize {
    let others =
        (0..code.endpoints.len()).filter(|other| *other != at && code.endpoints[*other].requests >= 1.0);
    others.max_by(|a, b| code.endpoints[*a].requests.total_cmp(&code.endpoints[*b].requests)).unwrap_or(at)
}

fn tell(code: &Code<'_>, (at, endpoint): (usize, &Endpoint), frame: u32, stop: &Stop) -> Told {
    let told_on = victim(code, at);
    let suffers = &code.endpoints[told_on];
    let ms = stop.waits_ms + stop.computes_ms;
    let name = code.named(frame);
    let does = if stop.waits_ms > stop.computes_ms {
        format!("waiting ({})", stop.wait)
    } else {
        "computing".to_owned()
    };
    let title = format!("{ms:.0} ms of {does} in {name} stop everybody else on the {}", stop.loop_word);
    let known = endpoint.operation.is_some();
    let share = if known { ms * endpoint.rate_per_s / 1e3 } else { ms / code.profile.wall_ms.max(1.0) };
    let whose = if known {
        format!("called by {}, {:.1} times a second", endpoint.name, endpoint.rate_per_s)
    } else {
        "over the whole profile".to_owned()
    };
    let lines = vec![
        format!("{whose}: the thread stands still {:.0} % of the time", share * 100.0),
        format!("{:.1} ms of it computing, {:.1} ms waiting", stop.computes_ms, stop.waits_ms),
    ];
    let prediction =
        unblocked(suffers, share, alone(code), "the work runs on another thread or process, which has a CPU");
    Told {
        endpoint: told_on,
        title,
        function: Some(code.place(frame)),
        resource: Some("event loop"),
        share: suffers.responses.mean_ms().map(|_| share.min(1.0)),
        lines,
        prediction: prediction.filter(|_| told_on != at),
        remedy: "move it off the thread that serves requests (spawn_blocking, worker threads, a process pool, run_in_executor), use the call's async form, or cut the computing into slices that yield",
        confidence: 0.85,
        claims: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, profiled};
    use crate::testing::drawn;
    use expect_test::expect;

    const LOOP: &str =
        "t:node;n:uv_run;j:dispatch@/srv/node_modules/express/router.js:5;j:report@/srv/app.js:12";

    /// Pings come at all times: those that come during a report of 150 ms, a fifth of the time, wait for its end.
    fn text(state: &str, leaf: &str) -> String {
        format!(
            "
            = GET /report 13 160
            = GET /ping 800 1
            GET /report {state} 2000 | {LOOP}{leaf}
        "
        )
    }

    fn slow_pings(mut recording: model::Recording) -> model::Recording {
        let cell = recording.latencies.iter_mut().find(|c| c.operation == 1).unwrap();
        (0..200).for_each(|n| cell.response.record((1 + n * 150 / 200) * 1_000_000));
        recording
    }

    #[test]
    fn computing_on_the_only_thread_is_told_on_who_waits() {
        check(
            "event_loop_blocked",
            &slow_pings(profiled(&text("cpu", ""))),
            &expect![[r#"
                event_loop_blocked GET /ping | 154 ms of computing in report (srv/app.js:12) stop everybody else on the event loop | p95 112.3 -> 1.0 (1.0..41.0) C
            "#]],
        );
    }

    #[test]
    fn a_blocking_call_is_told_with_what_it_waits_for() {
        let recording = slow_pings(profiled(&text("blocked", ";l:[waits: sleep]")));
        let found = crate::localize(&recording, &crate::Options::default()).findings;
        let found = found.iter().find(|f| f.rule == "event_loop_blocked").expect("a finding");
        assert!(found.title.starts_with("154 ms of waiting (sleep) in report"), "{}", found.title);
    }

    #[test]
    fn the_loops_own_wait_for_events_is_none() {
        let recording = slow_pings(profiled(&text("blocked", ";l:[waits: epoll]")));
        check("event_loop_blocked", &recording, &expect![[""]]);
    }

    #[test]
    fn a_pool_of_threads_for_blocking_calls_is_none() {
        let pool = text("blocked", ";l:[waits: sleep]")
            .replace("n:uv_run", "n:uv_run;n:tokio::runtime::blocking::pool::Inner::run");
        check("event_loop_blocked", &slow_pings(profiled(&pool)), &expect![[""]]);
    }

    #[test]
    fn without_a_profile_and_traces_the_rule_does_not_run() {
        check(
            "event_loop_blocked",
            &drawn(""),
            &expect![[r#"
            not run: event_loop_blocked (traces)
        "#]],
        );
    }
}
