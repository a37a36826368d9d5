//! `not_observable`: time passes that no span explains. An endpoint that cannot be seen is never called healthy.

use super::{Candidate, Rule, Signal, event_loop_blocked};
use crate::cpu::{OwnTime, Proof};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{EndpointId, ShapeId};
use model::{Remedy, RemedyKind, Severity};
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule {
    name: "not_observable",
    needs: &[Signal::Traces],
    why: "What is not instrumented cannot be found; silence about it would be a lie.",
    how: "Child spans explain less than 70 % of the endpoint's time, and 5 ms or more of it are unexplained (a framework's span around the whole request explains nothing); or its database spans do not tell their statements. Endpoints of one service that want the same done are one finding. Not where the endpoint's own computing is seen to hold its process up.",
    predicts: "Nothing: it names what to instrument.",
    run,
};

/// Further endpoints that are named.
const MAX_NAMED: usize = 8;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    // Of a log, one gap says it for all endpoints.
    if facts.only_outside {
        return Vec::new();
    }
    let own = OwnTime::of(facts);
    let computing = event_loop_blocked::computing(facts);
    let roots = facts.shapes().filter(|(_, s)| s.parent.is_none() && !computing.contains(&s.endpoint));
    let mut by_hint: BTreeMap<(String, String), Vec<Candidate>> = BTreeMap::new();
    for candidate in roots.filter_map(|(root, shape)| on_endpoint(facts, shape.endpoint, root, &own)) {
        let hint = candidate.remedies.first().map_or_else(String::new, |r| r.text.clone());
        by_hint.entry((candidate.service.clone(), hint)).or_default().push(candidate);
    }
    by_hint.into_values().filter_map(|alike| together(facts, alike)).collect()
}

/// Endpoints of one service that want the same done are one finding, told on the one that takes the most time.
fn together(facts: &Facts<'_>, mut alike: Vec<Candidate>) -> Option<Candidate> {
    let dark_ns = |c: &Candidate| {
        c.share_of_critical_path.unwrap_or(0.0) * facts.shapes.endpoint(c.endpoint).root_ns as f64
    };
    alike.sort_by(|a, b| dark_ns(b).total_cmp(&dark_ns(a)).then(a.endpoint.cmp(&b.endpoint)));
    let others: Vec<String> = alike.iter().skip(1).map(|c| facts.load.name(c.endpoint).to_owned()).collect();
    let mut first = alike.into_iter().next()?;
    if !others.is_empty() {
        let more = others.len().saturating_sub(MAX_NAMED);
        let and = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = others[..others.len().min(MAX_NAMED)].join(", ");
        first.lines.push(format!("so it is of {named}{and}"));
    }
    Some(first)
}

fn on_endpoint(facts: &Facts<'_>, id: EndpointId, root: ShapeId, own: &OwnTime) -> Option<Candidate> {
    let t = facts.thresholds;
    let endpoint = facts.shapes.endpoint(id);
    let covered = facts.coverage.get(id as usize).copied().unwrap_or(1.0);
    let mean_ms = endpoint.root_ns as f64 / endpoint.trees.len().max(1) as f64 / 1e6;
    let unexplained_ms = mean_ms * (1.0 - covered);
    if covered >= t.min_coverage || unexplained_ms < t.unexplained_floor_ms {
        return None;
    }
    let title = format!("{:.0} % of the time is explained by no span", (1.0 - covered) * 100.0);
    let mut candidate = Candidate::on_shape(facts, root, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = Some(1.0 - covered);
    candidate.lines =
        vec![format!("{unexplained_ms:.1} of {mean_ms:.1} ms a request lie outside of any child span")];
    candidate.lines.extend(waits(own.proof(facts, root), t.busy_share));
    candidate.remedies =
        vec![Remedy { kind: RemedyKind::Code, text: hint(facts, root), patch: None, undo: None }];
    candidate.confidence = 0.9;
    candidate.severity = Some(Severity::Info);
    Some(candidate)
}

/// Own time that is seen to be no computing is a wait for something that sends no spans.
fn waits(proof: Proof, busy_share: f64) -> Option<String> {
    if !proof.refutes(busy_share) {
        return None;
    }
    Some(match proof {
        Proof::Watched { cores, demand, .. } => format!(
            "most of it is waiting, not computing: the service keeps {cores:.2} cores busy where this time would need {demand:.2}"
        ),
        Proof::Told { cpu_ms, .. } => format!(
            "most of it is waiting, not computing: by the load's mix a request takes {cpu_ms:.1} ms of CPU"
        ),
        _ => "most of it is waiting, not computing: the spans were hardly on a CPU".to_owned(),
    })
}

fn hint(facts: &Facts<'_>, root: ShapeId) -> String {
    let leaf = !calls_below(facts, root);
    let service = facts.name(facts.shape(root).service);
    let service = if service.is_empty() { "the service" } else { service };
    if leaf {
        format!(
            "{service} sends a span per request and none for what it does: switch on the instrumentation of its database driver, HTTP client and cache"
        )
    } else {
        format!(
            "put spans around the larger steps of this endpoint in {service}, or profile it: it computes, or waits for something that is not instrumented"
        )
    }
}

/// Whether anything but a framework's own spans was seen below an entry.
fn calls_below(facts: &Facts<'_>, root: ShapeId) -> bool {
    let mut open = vec![root];
    while let Some(at) = open.pop() {
        for id in facts.shapes.children(at) {
            if facts.shape(id).class != Class::Internal {
                return true;
            }
            open.push(id);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn an_endpoint_without_child_spans_is_said_to_be_dark() {
        check_rule(
            "not_observable",
            &drawn("repeat 20\napi server \"GET /a\" 0..100"),
            &expect![[r#"
                not_observable GET /a | 100 % of the time is explained by no span | no prediction
            "#]],
        );
    }

    #[test]
    fn a_handlers_span_with_nothing_below_it_is_as_dark() {
        check_rule(
            "not_observable",
            &drawn("repeat 20\napi server \"GET /a\" 0..100\n  api internal \"request handler\" 1..99"),
            &expect![[r#"
                not_observable GET /a | 100 % of the time is explained by no span | no prediction
            "#]],
        );
    }

    #[test]
    fn a_covered_endpoint_is_not() {
        check_rule(
            "not_observable",
            &drawn("repeat 20\napi server \"GET /a\" 0..100\n  api db \"SELECT 1\" 5..90"),
            &expect![[""]],
        );
    }

    #[test]
    fn time_that_is_no_computing_is_called_waiting() {
        let mut recording = drawn("repeat 20\napi server \"GET /a\" 0..90");
        recording.metrics.push(model::MetricSeries {
            name: model::metrics::names::CONTAINER_CPU.into(),
            unit: "1".into(),
            kind: model::MetricKind::Gauge,
            attributes: [("service.name".to_owned(), "api".to_owned())].into(),
            points: vec![model::Point { time_ns: 1, value: 0.07 }],
        });
        let found = crate::localize(&recording, &crate::Options::default()).findings;
        let rules: Vec<&str> = found.iter().map(|f| f.rule.as_str()).collect();
        assert_eq!(rules, ["not_observable"]);
        assert!(found[0].evidence.lines[1].contains("waiting"), "{:?}", found[0].evidence.lines);
    }

    #[test]
    fn endpoints_that_want_the_same_done_are_one_finding() {
        let drawing = "repeat 20\napi server \"GET /a\" 0..100\n\nrepeat 20\napi server \"GET /b\" 0..30";
        let found = crate::localize(&drawn(drawing), &crate::Options::default()).findings;
        let dark: Vec<_> = found.iter().filter(|f| f.rule == "not_observable").collect();
        assert_eq!(dark.len(), 1);
        assert_eq!(dark[0].endpoint, "GET /a");
        assert!(dark[0].evidence.lines.contains(&"so it is of GET /b".to_owned()), "{:?}", dark[0].evidence);
    }

    #[test]
    fn a_fast_one_needs_no_explaining() {
        check_rule("not_observable", &drawn("repeat 20\napi server \"GET /a\" 0..3"), &expect![[""]]);
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "not_observable",
            &drawn(""),
            &expect![[r#"
                not run: not_observable (traces)
            "#]],
        );
    }
}
