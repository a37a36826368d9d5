//! `scalability_limit`: which resource is full first when more users come, and at which rate.

use super::{Candidate, Rule, Signal, heaviest_endpoint};
use crate::facts::Facts;
use crate::runtime::Limited;
use model::{Remedy, RemedyKind, Severity};

pub(super) const RULE: Rule = Rule {
    name: "scalability_limit",
    needs: &[Signal::Traces, Signal::UtilizationMetrics],
    why: "A service that is quick today stops at the rate where its first resource is full; adding any other one changes nothing.",
    how: "Of all resources with a limit that were watched (CPU, connections, threads, event loop, disk), the fullest is 70 % in use or more. By the utilization law its use grows with the rate: it is full at the rate of now divided by its use.",
    predicts: "Nothing for response times: its evidence tells the rate at which the resource is full, and what is full next.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let limited = &facts.runtime.limited;
    let Some(first) = limited.first().filter(|l| l.used >= facts.thresholds.load_model_from) else {
        return Vec::new();
    };
    let next = limited.iter().find(|l| (&l.name, &l.service) != (&first.name, &first.service));
    candidate(facts, first, next).into_iter().collect()
}

fn candidate(facts: &Facts<'_>, first: &Limited, next: Option<&Limited>) -> Option<Candidate> {
    let rate: f64 = facts.endpoints().map(|(id, _)| facts.rate_per_s(id)).sum();
    let root = heaviest_endpoint(facts, &first.service)?;
    let whose = |l: &Limited| {
        if l.service.is_empty() { l.name.clone() } else { format!("{} of {}", l.name, l.service) }
    };
    let used = first.used.max(f64::MIN_POSITIVE);
    let title = format!(
        "{} is full at {:.0} requests/s, {:.1} times the rate of now",
        whose(first),
        rate / used,
        1.0 / used
    );
    let mut candidate = Candidate::on_shape(facts, root, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = None;
    candidate.place.resource = Some(whose(first));
    candidate.lines = vec![format!("{:.0} % in use at {rate:.1} requests/s", first.used * 100.0)];
    candidate.lines.push(match next {
        Some(next) => format!("next comes {}: {:.0} % in use", whose(next), next.used * 100.0),
        None => "no other resource with a limit was watched".to_owned(),
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Configuration,
        text: format!(
            "before more users come: use less of it a request (see the findings of the heaviest endpoint), or add to {}; confirm with a stepped load",
            whose(first)
        ),
        patch: None,
        undo: None,
    }];
    candidate.severity = Some(Severity::Info);
    candidate.confidence = 0.7;
    Some(candidate)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn, gauge_series};
    use expect_test::expect;
    use model::metrics::names;
    use model::{MetricSeries, Recording};

    fn recording(metrics: Vec<MetricSeries>) -> Recording {
        let drawn = drawn("repeat 101\napi server \"GET /a\" 0..20\n  api db \"SELECT 1\" 1..19");
        Recording { metrics, ..drawn }
    }

    fn pool(used: f64) -> Vec<MetricSeries> {
        let of = [("service.name", "api")];
        let state = [("service.name", "api"), ("db.client.connection.state", "used")];
        vec![
            gauge_series(names::POOL_CONNECTIONS, &state, &[(0, used)]),
            gauge_series(names::POOL_MAX, &of, &[(0, 10.0)]),
            gauge_series(names::HOST_CPU, &[], &[(0, 0.4)]),
        ]
    }

    #[test]
    fn the_fullest_resource_is_named_with_its_rate() {
        check_rule(
            "scalability_limit",
            &recording(pool(8.0)),
            &expect![[r#"
                scalability_limit GET /a | pool of connections of api is full at 13 requests/s, 1.2 times the rate of now | no prediction
            "#]],
        );
    }

    #[test]
    fn with_room_everywhere_nothing_is_said() {
        check_rule("scalability_limit", &recording(pool(5.0)), &expect![[""]]);
    }

    #[test]
    fn without_figures_of_use_the_rule_does_not_run() {
        check_rule(
            "scalability_limit",
            &recording(Vec::new()),
            &expect![[r#"
                not run: scalability_limit (metrics of resources with a limit)
            "#]],
        );
    }
}
