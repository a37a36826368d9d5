//! `n_plus_one`: one call per row of an earlier result, on a database, a cache or another service.

use super::{Candidate, Fix, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "n_plus_one",
    needs: &[Signal::Traces],
    why: "A call per row pays a round trip per row; the cost grows with the data, not with the work.",
    how: "The same template at least 5 times within one handling of a request, in at least half of the endpoint's traces.",
    predicts: "The group becomes one call of r + s + 0.3 (N - 1) s, with the round trip r as the 5th percentile of the calls and s as their median less r; half of the gaps between them stays.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(_, shape)| is_one(facts, shape))
        .map(|(id, shape)| candidate(facts, id, shape))
        .collect()
}

fn is_one(facts: &Facts<'_>, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let calls = t.n_plus_one_calls as usize;
    matches!(shape.class, Class::Db | Class::Cache | Class::Http | Class::Rpc)
        && shape.calls_max >= calls
        && shape.share_with(calls, facts.endpoint_of(shape)) >= t.n_plus_one_trace_share
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let template = facts.name(shape.template);
    let n = shape.calls as f64 / f64::from(shape.traces.max(1));
    let title = format!("{n:.0} times per request: {template}");
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.lines = vec![
        format!(
            "{n:.1} calls per request (at most {}), {:.0} % of the critical path",
            shape.calls_max,
            shape.path_share * 100.0
        ),
        format!("each call takes {:.2} ms at the median", shape.duration_p50_ns / 1e6),
    ];
    candidate.fix = Some(fix(facts, id, shape));
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: remedy(shape.class).to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.9;
    candidate
}

fn fix(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Fix {
    let t = facts.thresholds;
    let round_trip = shape.duration_p5_ns;
    let service = (shape.duration_p50_ns - round_trip).max(0.0);
    let merge = |marginal: f64, gap_kept: f64| {
        vec![Transform::Merge { of: id, to: Cost::batch(round_trip, service, marginal), gap_kept }]
    };
    Fix {
        point: merge(t.batch_marginal, 1.0 - t.batch_gap_saved),
        least: merge(1.0, 1.0),
        most: merge(0.0, 0.0),
        grade: Grade::B,
        assumption: "the calls can be made as one; what the code does between them is halved".to_owned(),
    }
}

fn remedy(class: Class) -> &'static str {
    match class {
        Class::Cache => "ask for all keys at once: MGET, or a pipeline",
        Class::Http | Class::Rpc => "ask for all of them in one request: a bulk endpoint, or a data loader",
        _ => "load all rows in one statement: `WHERE ... = ANY($1)`, a join, or the mapper's eager loading",
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn a_query_per_order_is_one_finding() {
        let recording = drawn(
            r#"
            repeat 20
            api server "GET /orders" 0..120
              api db "SELECT id FROM orders WHERE customer_id = $1" 5..10
              api db "SELECT * FROM items WHERE order_id = $1" 10..18 x10 gap 2
            "#,
        );
        check_rule(
            "n_plus_one",
            &recording,
            &expect![[r#"
            n_plus_one GET /orders | 10 times per request: SELECT * FROM items WHERE order_id = $1 | p95 120.0 -> 39.0 (30.0..48.0) B
        "#]],
        );
    }

    #[test]
    fn four_queries_are_none() {
        let recording = drawn(
            r#"
            repeat 20
            api server "GET /orders" 0..120
              api db "SELECT * FROM items WHERE order_id = $1" 10..30 x4 gap 2
            "#,
        );
        check_rule("n_plus_one", &recording, &expect![[""]]);
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "n_plus_one",
            &drawn(""),
            &expect![[r#"
            not run: n_plus_one (traces)
        "#]],
        );
    }
}
