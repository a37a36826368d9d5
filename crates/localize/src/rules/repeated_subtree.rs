//! `repeated_subtree`: a step of the code, with several calls of its own, is repeated for each element.

use super::patterns::batch;
use super::patterns::effect::{Effect, effect, summary};
use super::{Candidate, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Group, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Remedy, RemedyKind};
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "repeated_subtree",
    needs: &[Signal::Traces],
    why: "A loop over elements that makes several calls each is an N+1 times as many; mending one of its calls leaves the others.",
    how: "One internal span at least 3 times within one handling of a request, in half of the requests, with two or more kinds of calls below it, each made in about every repetition. Middleware around one call is none (see `n_plus_one`), nor are jobs and repetitions that mostly fail.",
    predicts: "Each kind of call is made once for all repetitions, as for N+1; half of the steps' own time, and of the gaps, stays.",
    run,
};

/// Kinds of calls that are told.
const MAX_TOLD: usize = 3;
/// Shapes below a step that are looked at.
const MAX_BELOW: usize = 256;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts.shapes().filter_map(|(id, shape)| on_shape(facts, id, shape)).collect()
}

fn on_shape(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Option<Candidate> {
    let t = facts.thresholds;
    let calls = t.repeated_subtree_calls as usize;
    let repeated = shape.class == Class::Internal
        && shape.calls_max >= calls
        && shape.errors * 2 < shape.calls
        && shape.share_with(calls, facts.endpoint_of(shape)) >= t.n_plus_one_trace_share
        && !batch::is_job(facts, shape);
    if !repeated {
        return None;
    }
    let kinds = kinds_below(facts, id);
    (kinds.len() >= 2).then(|| candidate(facts, id, &kinds))
}

/// Different calls below, up to the border of the service, each made in about every repetition.
fn kinds_below(facts: &Facts<'_>, id: ShapeId) -> Vec<ShapeId> {
    let repetitions = facts.shape(id).calls as f64;
    let mut kinds = Vec::new();
    let mut open: Vec<ShapeId> = facts.shapes.children(id).collect();
    let mut seen = 0;
    while let Some(at) = open.pop() {
        seen += 1;
        let shape = facts.shape(at);
        if shape.class == Class::Internal && seen < MAX_BELOW {
            open.extend(facts.shapes.children(at));
        } else if shape.class.is_call()
            && effect(facts, shape) != Effect::Control
            && shape.calls as f64 >= repetitions * 0.5
        {
            kinds.push(at);
        }
    }
    kinds.sort_unstable();
    kinds
}

fn candidate(facts: &Facts<'_>, id: ShapeId, kinds: &[ShapeId]) -> Candidate {
    let shape = facts.shape(id);
    let mut counts: Vec<usize> = shape.groups.iter().map(Group::calls).filter(|calls| *calls > 1).collect();
    counts.sort_unstable();
    let median = counts.get(counts.len() / 2).copied().unwrap_or(0);
    let step = facts.name(shape.template);
    let endpoint = facts.load.name(shape.endpoint);
    let title = format!("{median} x {step}, {} calls each, per {endpoint}", kinds.len());
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.extend(kinds);
    let told: Vec<String> = kinds.iter().take(MAX_TOLD).map(|kind| summary(facts, *kind)).collect();
    candidate.lines = vec![
        format!(
            "{:.1} repetitions per request (at most {}), {:.0} % of the critical path",
            shape.calls as f64 / f64::from(shape.traces.max(1)),
            shape.calls_max,
            shape.path_share * 100.0
        ),
        format!("{:.2} ms each at the median, for: {}", shape.duration_p50_ns / 1e6, told.join("; ")),
    ];
    candidate.fix = Some(fix(facts, id, kinds));
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "collect the keys of all elements first, then make each kind of call once for all of them (bulk query, bulk endpoint, data loader)"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.8;
    candidate
}

fn fix(facts: &Facts<'_>, id: ShapeId, kinds: &[ShapeId]) -> super::Fix {
    let kept = 1.0 - facts.thresholds.batch_gap_saved;
    let own = |kept: f64| {
        let cost =
            Cost::Each(Arc::new(move |case| if case.position == 0 { case.ns } else { case.ns * kept }));
        Transform::Own { of: id, to: cost }
    };
    let mut fix = batch::merged(facts, kinds, "each kind of call below can be made once for all elements");
    fix.point.push(own(kept));
    fix.most.push(own(0.0));
    fix
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
                repeated_subtree GET /orders | 8 x load order, 2 calls each, per GET /orders | p95 120.0 -> 57.0 (50.0..71.0) B
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
    fn transactions_around_one_call_and_repetitions_that_fail_are_none() {
        check_rule(
            "repeated_subtree",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..120
              api internal "load order" 5..15 x8 gap 1
                api db "BEGIN" 5..6
                api db "SELECT * FROM items WHERE order_id = $1" 6..9
                api db "COMMIT" 9..10

            repeat 20
            api server "GET /try" 0..120
              api internal "try" 5..15 x8 gap 1 status=error
                api db "SELECT * FROM items WHERE order_id = $1" 6..9
                api http "GET http://stock/stock/7" 10..14
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
