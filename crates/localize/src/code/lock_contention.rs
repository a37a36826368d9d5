//! `lock_contention`: threads wait for a lock that another one of the same process holds.

use super::predict::{Saved, saved};
use super::{Code, CodeRule, Endpoint, Told, names};
use model::CodeKind;
use model::states::BLOCKED;
use std::collections::BTreeMap;

pub(super) const RULE: CodeRule = CodeRule {
    name: "lock_contention",
    why: "What is done under a lock is done by one thread at a time, however many there are; more load makes a longer queue, not more work.",
    how: "A request of the endpoint is blocked for 5 % or more of its response time, and 2 ms, in taking a mutex; waits of idle threads for work are none. Told at the function that takes it.",
    predicts: "The wait goes; from half of it to all.",
    run,
};

fn run(code: &Code<'_>) -> Vec<Told> {
    let told = |(at, endpoint): (usize, &Endpoint)| of_endpoint(code, at, endpoint);
    code.endpoints.iter().enumerate().flat_map(told).collect()
}

fn of_endpoint(code: &Code<'_>, at: usize, endpoint: &Endpoint) -> Vec<Told> {
    let t = code.facts.thresholds;
    let mut owners: BTreeMap<u32, f64> = BTreeMap::new();
    for node in 1..code.profile.nodes.len() {
        let ms = code.own(endpoint, node)[BLOCKED];
        if ms > 0.0
            && let Some(owner) = taker(code, node)
        {
            *owners.entry(owner).or_default() += ms;
        }
    }
    let mean = endpoint.responses.mean_ms();
    let whole = mean.unwrap_or(code.profile.wall_ms);
    let told = owners.into_iter().filter(|(_, ms)| *ms >= (t.wait_share * whole).max(t.mutex_wait_ms));
    told.map(|(owner, ms)| tell(code, (at, endpoint), owner, ms)).collect()
}

/// Who takes the lock that a blocked thread waits for.
fn taker(code: &Code<'_>, node: usize) -> Option<u32> {
    let mut waits = false;
    for frame in code.upward(node) {
        let this = code.frame(frame);
        if this.kind == CodeKind::Label {
            waits = this.function.starts_with("[waits: lock");
            if !waits {
                return None;
            }
            continue;
        }
        if names::waits_for_work(this) {
            return None;
        }
        if names::takes_lock(this) {
            return code.owner(node).or(Some(frame));
        }
        if this.kind == CodeKind::Python {
            // Taking a lock is no function of Python's own: its caller is the innermost.
            return (waits && names::is_own(this)).then_some(frame);
        }
    }
    None
}

fn tell(code: &Code<'_>, (at, endpoint): (usize, &Endpoint), owner: u32, ms: f64) -> Told {
    let mean = endpoint.responses.mean_ms();
    let name = code.named(owner);
    Told {
        endpoint: at,
        title: match mean {
            Some(_) => format!("{ms:.1} ms of a request wait for a lock in {name}"),
            None => format!("{ms:.0} ms wait for a lock in {name}"),
        },
        function: Some(code.place(owner)),
        resource: Some("lock"),
        share: mean.map(|mean| (ms / mean).min(1.0)),
        lines: vec![mean.map_or_else(String::new, |mean| {
            format!("{:.0} % of the mean response time of {mean:.1} ms", 100.0 * ms / mean)
        })],
        prediction: saved(
            code,
            endpoint,
            Saved::wait(ms, 1.0),
            "nothing is held under the lock that others wait for",
        ),
        remedy: "hold the lock for less: no calls, no input or output and no building of results under it; or divide what it guards (one lock per part, a map that is made for many threads), or replace it by copies that are swapped",
        confidence: 0.75,
        claims: vec![owner],
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, profiled};
    use crate::testing::drawn;
    use expect_test::expect;

    const LOCK: &str = "
        = GET /a 100 30
        GET /a blocked 2000 | t:web;n:shop::stock::take@shop/src/stock.rs:12;n:std::sys::sync::mutex::futex::Mutex::lock_contended;l:[waits: lock (futex)]
        GET /a cpu 100 | t:web;n:shop::stock::take@shop/src/stock.rs:12
    ";

    #[test]
    fn a_lock_that_requests_wait_for_is_one_finding_at_who_takes_it() {
        check(
            "lock_contention",
            &profiled(LOCK),
            &expect![[r#"
                lock_contention GET /a | 20.0 ms of a request wait for a lock in shop::stock::take (src/stock.rs:12) | p95 29.9 -> 9.9 (9.9..19.9) C
            "#]],
        );
    }

    #[test]
    fn idle_threads_wait_for_work_and_not_for_a_lock() {
        let idle = LOCK.replace("std::sys::sync::mutex::futex::Mutex::lock_contended", "pthread_cond_wait");
        check("lock_contention", &profiled(&idle), &expect![[""]]);
    }

    #[test]
    fn a_lock_of_python_is_told_at_its_caller() {
        let text = "
            = GET /a 100 30
            GET /a blocked 2000 | t:web;p:handle@/srv/app.py:3;p:take@/srv/stock.py:8;l:[waits: lock (futex)]
            GET /a blocked 2000 | t:web;p:handle@/srv/app.py:3;p:wait@/usr/lib/python3.11/threading.py:9;l:[waits: lock (futex)]
        ";
        check(
            "lock_contention",
            &profiled(text),
            &expect![[r#"
                lock_contention GET /a | 20.0 ms of a request wait for a lock in take (srv/stock.py:8) | p95 29.9 -> 9.9 (9.9..19.9) C
            "#]],
        );
    }

    #[test]
    fn without_a_profile_the_rule_does_not_run() {
        check(
            "lock_contention",
            &drawn("repeat 20\napi server \"GET /a\" 0..90"),
            &expect![[r#"
            not run: lock_contention (a profile)
        "#]],
        );
    }
}
