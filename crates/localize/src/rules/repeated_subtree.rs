//! `repeated_subtree`: a step of the code, with several calls of its own, is repeated for each element.

use super::patterns::effect::{Effect, effect};
use super::{Candidate, Fix, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "repeated_subtree",
    needs: &[Signal::Traces],
    why: "A loop over elements that makes several calls each is an N+1 times as many; mending one of its calls leaves the others.",
    how: "One internal span at least 3 times within one handling of a request, in half of the requests, each with two or more kinds of calls below it.",
    predicts: "The group becomes one step: the round trips of one, and 0.3 of the work beyond them for each further element; half of the gaps stays.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(id, shape)| is_one(facts, *id, shape))
        .map(|(id, shape)| candidate(facts, id, shape))
        .collect()
}

fn is_one(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let calls = t.repeated_subtree_calls as usize;
    shape.class == Class::Internal
        && shape.calls_max >= calls
        && shape.share_with(calls, facts.endpoint_of(shape)) >= t.n_plus_one_trace_share
        && kinds_below(facts, id) >= 2
}

/// Different calls directly below, each made in about every repetition.
fn kinds_below(facts: &Facts<'_>, id: ShapeId) -> usize {
    let repetitions = facts.shape(id).calls as f64;
    facts
        .shapes
        .children(id)
        .map(|child| facts.shape(child))
        .filter(|child| child.class.is_call() && effect(facts, child) != Effect::Control)
        .filter(|child| child.calls as f64 >= repetitions * 0.5)
        .count()
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let t = facts.thresholds;
    let n = shape.calls as f64 / f64::from(shape.traces.max(1));
    let kinds = kinds_below(facts, id);
    let mut candidate = Candidate::on_shape(
        facts,
        id,
        format!("{n:.0} times per request: {} with {kinds} kinds of calls each", facts.name(shape.template)),
    );
    let below: Vec<String> = facts
        .shapes
        .children(id)
        .map(|c| facts.shape(c))
        .filter(|c| c.class.is_call())
        .take(3)
        .map(|c| facts.name(c.template).chars().take(60).collect())
        .collect();
    candidate.lines = vec![
        format!("{n:.1} repetitions per request, {:.0} % of the critical path", shape.path_share * 100.0),
        format!("each does: {}", below.join("; ")),
    ];
    let round_trip = shape.duration_p5_ns;
    let service = (shape.duration_p50_ns - round_trip).max(0.0);
    let merge = |marginal: f64, gap_kept: f64| {
        vec![Transform::Merge { of: id, to: Cost::batch(round_trip, service, marginal), gap_kept }]
    };
    candidate.fix = Some(Fix {
        point: merge(t.batch_marginal, 1.0 - t.batch_gap_saved),
        least: merge(1.0, 1.0),
        most: merge(0.0, 0.0),
        grade: Grade::B,
        assumption: "each kind of call below can be made once for all elements".to_owned(),
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "collect the keys of all elements first, then make each kind of call once for all of them"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.8;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn a_loop_body_of_two_calls_is_one_finding() {
        check_rule(
            "repeated_subtree",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..120
              api internal "load order" 5..15 x8 gap 1
                api db "SELECT * FROM items WHERE order_id = $1" 6..9
                api http "GET http://stock/stock/7" 10..14
            "#,
            ),
            &expect![[r#"
                repeated_subtree GET /orders | 8 times per request: load order with 2 kinds of calls each | p95 120.0 -> 46.5 (43.0..50.0) B
            "#]],
        );
    }

    #[test]
    fn middleware_around_one_call_is_none() {
        check_rule(
            "repeated_subtree",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..120
              api internal "load order" 5..15 x8 gap 1
                api db "SELECT * FROM items WHERE order_id = $1" 6..9
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "repeated_subtree",
            &drawn(""),
            &expect![[r#"
                not run: repeated_subtree (traces)
            "#]],
        );
    }
}
