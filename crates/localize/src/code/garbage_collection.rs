//! `garbage_collection`, from a profile: freeing memory takes much of the service's CPU time.

use super::predict::{Saved, saved};
use super::{Code, CodeRule, Told, names};
use model::states::ON_CPU;

pub(super) const RULE: CodeRule = CodeRule {
    name: "garbage_collection",
    why: "A collector stops the requests that allocate, and often all others; its work grows with what is allocated and kept.",
    how: "Functions of collectors (of V8, Go, the JVM, CPython, Ruby) take 5 % or more of the service's time on CPU. Told on the endpoint whose requests hold most of it.",
    predicts: "Half of what its requests spend in it; from a quarter to all.",
    run,
};

fn run(code: &Code<'_>) -> Vec<Told> {
    let profile = code.profile;
    let is_gc = |node: usize| code.upward(node).any(|frame| names::is_collector(code.frame(frame)));
    let nodes: Vec<usize> =
        (1..profile.nodes.len()).filter(|at| profile.nodes[*at].own_ms[ON_CPU] > 0.0 && is_gc(*at)).collect();
    let total: f64 = nodes.iter().map(|at| profile.nodes[*at].own_ms[ON_CPU]).sum();
    let share = if profile.ledger_ms[ON_CPU] > 0.0 { total / profile.ledger_ms[ON_CPU] } else { 0.0 };
    if share < code.facts.thresholds.gc_share {
        return Vec::new();
    }
    let of = |at: usize| nodes.iter().map(|node| code.own(&code.endpoints[at], *node)[ON_CPU]).sum::<f64>();
    let weighed = |at: usize| of(at) * code.endpoints[at].requests;
    let Some(at) = (0..code.endpoints.len()).max_by(|a, b| weighed(*a).total_cmp(&weighed(*b))) else {
        return Vec::new();
    };
    let endpoint = &code.endpoints[at];
    let ms = of(at);
    let collector = nodes
        .iter()
        .flat_map(|node| code.upward(*node))
        .find(|frame| names::is_collector(code.frame(*frame)));
    vec![Told {
        endpoint: at,
        title: format!("garbage collection takes {:.0} % of the service's time on CPU", share * 100.0),
        function: None,
        resource: Some("memory"),
        share: endpoint.responses.mean_ms().map(|mean| (ms / mean).min(1.0)),
        lines: vec![
            format!("{ms:.1} ms of a request of this endpoint, the most of all"),
            format!("seen in {}", collector.map_or("", |frame| code.frame(frame).function.as_str())),
        ],
        prediction: saved(code, endpoint, Saved::faster(ms, 2.0), "half of the allocations can go"),
        remedy: "allocate less in this endpoint's path (reuse buffers, stream instead of building the whole, no copies), keep less alive, or give the heap more room",
        confidence: 0.7,
        claims: Vec::new(),
    }]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, profiled};
    use crate::testing::drawn;
    use expect_test::expect;

    const GC: &str = "
        = GET /big 100 50
        = GET /ping 100 2
        GET /big cpu 1000 | t:node;j:big@/srv/app.js:9
        GET /big cpu 2000 | t:node;j:big@/srv/app.js:9;n:v8::internal::Heap::CollectGarbage
        GET /ping cpu 10 | t:node;j:ping@/srv/app.js:20
    ";

    #[test]
    fn a_busy_collector_is_one_finding_at_who_allocates() {
        check(
            "garbage_collection",
            &profiled(GC),
            &expect![[r#"
                garbage_collection GET /big | garbage collection takes 66 % of the service's time on CPU | p95 49.8 -> 39.8 (29.8..44.8) C
            "#]],
        );
    }

    #[test]
    fn a_little_of_it_is_none() {
        check("garbage_collection", &profiled(&GC.replace("cpu 2000", "cpu 30")), &expect![[""]]);
    }

    #[test]
    fn a_gain_below_the_least_is_not_told() {
        check("garbage_collection", &profiled(&GC.replace("100 50", "1000 50")), &expect![[""]]);
    }

    #[test]
    fn without_a_profile_the_rule_does_not_run() {
        check(
            "garbage_collection",
            &drawn("repeat 20\napi server \"GET /a\" 0..90"),
            &expect![[r#"
            not run: garbage_collection (a profile)
        "#]],
        );
    }
}
