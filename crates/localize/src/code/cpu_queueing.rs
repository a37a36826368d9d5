//! `cpu_queueing`: a request's threads could run, but no CPU is free for them.

use super::predict::{Saved, saved};
use super::{Code, CodeRule, Endpoint, Told};
use model::states::{ON_CPU, QUEUED};

pub(super) const RULE: CodeRule = CodeRule {
    name: "cpu_queueing",
    why: "Time in the run queue is in no span and on no CPU's bill: the service is slow though it computes little.",
    how: "The kernel counts 10 % or more of the endpoint's response time as queued for a CPU. Where the whole CPU is told to be full, see `cpu_saturation`.",
    predicts: "Three quarters of the queued time, as with twice the CPUs; from three eighths to all.",
    run,
};

fn run(code: &Code<'_>) -> Vec<Told> {
    code.endpoints.iter().enumerate().filter_map(|(at, endpoint)| of_endpoint(code, at, endpoint)).collect()
}

fn of_endpoint(code: &Code<'_>, at: usize, endpoint: &Endpoint) -> Option<Told> {
    let mean = endpoint.responses.mean_ms()?;
    let ms = endpoint.ms[QUEUED];
    if ms < code.facts.thresholds.queued_share * mean {
        return None;
    }
    Some(Told {
        endpoint: at,
        title: format!("{ms:.1} ms of a request wait for a CPU"),
        function: None,
        resource: Some("cpu"),
        share: Some((ms / mean).min(1.0)),
        lines: vec![format!(
            "the kernel counts {ms:.1} ms queued and {:.1} ms on a CPU of {mean:.1} ms a request",
            endpoint.ms[ON_CPU]
        )],
        prediction: saved(code, endpoint, Saved::wait(ms, 0.75), "twice the CPUs, or half of the neighbours"),
        remedy: "give the service CPUs of its own (a higher request or limit, fewer neighbours, fewer busy threads than CPUs), or mend what computes most",
        confidence: 0.8,
        claims: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, profiled};
    use crate::testing::drawn;
    use expect_test::expect;

    const QUEUED: &str = "
        = GET /a 100 40
        GET /a queued 2000 | t:web;n:main
        GET /a cpu 400 | t:web;n:main
    ";

    #[test]
    fn a_long_run_queue_is_one_finding() {
        check(
            "cpu_queueing",
            &profiled(QUEUED),
            &expect![[r#"
                cpu_queueing GET /a | 20.0 ms of a request wait for a CPU | p95 40.1 -> 25.1 (20.1..32.6) C
            "#]],
        );
    }

    #[test]
    fn a_short_one_is_none() {
        check("cpu_queueing", &profiled(&QUEUED.replace("queued 2000", "queued 200")), &expect![[""]]);
    }

    #[test]
    fn a_small_gain_is_not_told() {
        check("cpu_queueing", &profiled(&QUEUED.replace("100 40", "800 6")), &expect![[""]]);
    }

    #[test]
    fn without_a_profile_the_rule_does_not_run() {
        check(
            "cpu_queueing",
            &drawn("repeat 20\napi server \"GET /a\" 0..90"),
            &expect![[r#"
            not run: cpu_queueing (a profile)
        "#]],
        );
    }
}
