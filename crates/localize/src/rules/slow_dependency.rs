//! `slow_dependency`: a large part of the request is one call to another service, or the way to it.

use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind, Severity};

pub(super) const RULE: Rule = Rule {
    name: "slow_dependency",
    needs: &[Signal::Traces],
    why: "What is waited for elsewhere cannot be mended here, only avoided, shortened or bounded.",
    how: "Calls of one template to another service hold at least 30 % of the critical path, over all requests or over the slowest twentieth. Where the callee's own span is in the trace, the edge (network, queueing) is told from its work; a callee that spends half of it on calls of its own is not the one. A call that takes 50 ms or more and half of the path, and always as long, is told as information. Not where the call is part of a finding that saves more.",
    predicts: "The calls as fast as their fastest twentieth; nothing where they always take as long.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(_, shape)| matches!(shape.class, Class::Http | Class::Rpc))
        .filter(|(_, shape)| shape.path_share.max(shape.path_share_tail) >= facts.thresholds.dependency_share)
        .filter(|(id, shape)| is_its_own(facts, *id, shape))
        .map(|(id, shape)| candidate(facts, id, shape))
        .collect()
}

/// Shapes below a call that are looked at for what it waits for in turn.
const MAX_BELOW: usize = 256;

/// Whether the callee (or the way to it) takes the time, and not whom it asks: what lies deeper is told there.
fn is_its_own(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> bool {
    let mut open: Vec<ShapeId> = facts.shapes.children(id).collect();
    let (mut deeper, mut seen) = (0.0, 0);
    while let Some(at) = open.pop() {
        seen += 1;
        let below = facts.shape(at);
        if below.class.is_call() {
            deeper += below.path_share;
        } else if seen + open.len() < MAX_BELOW {
            open.extend(facts.shapes.children(at).take(MAX_BELOW));
        }
    }
    deeper * 2.0 < shape.path_share
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let callee = facts.shapes.children(id).map(|c| facts.shape(c)).find(|c| c.class == Class::Server);
    let name = callee.map_or(facts.name(shape.template), |c| facts.name(c.service));
    let mut candidate = Candidate::on_shape(facts, id, format!("waits for {name}"));
    candidate.place.resource = Some(name.to_owned());
    candidate.lines.push(format!(
        "{:.0} % of the critical path ({:.0} % in the slowest twentieth), a call takes {:.2} ms at the median, {:.2} ms at p95",
        shape.path_share * 100.0,
        shape.path_share_tail * 100.0,
        shape.duration_p50_ns / 1e6,
        shape.duration_p95_ns / 1e6
    ));
    if callee.is_some() {
        let edge = shape.own_share / shape.path_share.max(f64::MIN_POSITIVE);
        candidate.lines.push(format!(
            "of it {:.0} % on the way (network, connection, queue), the rest within {name}",
            edge * 100.0
        ));
    }
    if is_steady(facts, shape) {
        candidate.lines.push(
            "it always takes as long, so nothing says how much quicker it could be; the request waits for it all the same"
                .to_owned(),
        );
        candidate.severity = Some(Severity::Info);
    } else {
        candidate.fix = Some(fix(id, shape));
    }
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: format!(
            "cache what {name} answers, ask it beside other work, or bound the wait with a timeout"
        ),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.6;
    candidate.yields = true;
    candidate
}

/// A long call that holds most of the request and is never much quicker.
fn is_steady(facts: &Facts<'_>, shape: &Shape) -> bool {
    let t = facts.thresholds;
    shape.duration_p50_ns >= t.steady_call_ms * 1e6
        && shape.path_share >= t.steady_call_share
        && shape.duration_p50_ns - shape.duration_p5_ns < t.min_gain_ms * 1e6
}

fn fix(id: ShapeId, shape: &Shape) -> Fix {
    let fastest = shape.duration_p5_ns;
    let to = |factor: f64| {
        let to = Cost::Each(std::sync::Arc::new(move |case| case.ns.min(fastest * factor)));
        vec![Transform::Duration { of: id, to }]
    };
    Fix {
        point: to(1.0),
        least: Vec::new(),
        most: vec![Transform::Duration { of: id, to: Cost::Ns(0.0) }],
        grade: Grade::C,
        assumption: "every call is as fast as the fastest twentieth of them is now".to_owned(),
        load: LoadEffect::Added,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn a_call_that_is_often_slow_is_told_with_what_it_could_take() {
        let recording = drawn(
            r#"
            repeat 10
            api server "GET /quote" 0..30
              api http "GET http://rates/now" 5..25
                rates server "GET /now" 6..24

            repeat 10
            api server "GET /quote" 0..130
              api http "GET http://rates/now" 5..125
                rates server "GET /now" 6..124
            "#,
        );
        check_rule(
            "slow_dependency",
            &recording,
            &expect![[r#"
            slow_dependency GET /quote | waits for rates | p95 130.0 -> 30.0 (10.0..130.0) C
        "#]],
        );
    }

    #[test]
    fn a_call_that_is_always_as_slow_promises_nothing() {
        let recording = drawn(
            r#"
            repeat 20
            api server "GET /quote" 0..130
              api http "GET http://rates/now" 5..125
            "#,
        );
        check_rule(
            "slow_dependency",
            &recording,
            &expect![[r#"
                slow_dependency GET /quote | waits for GET rates/now | no prediction
            "#]],
        );
        let quick =
            drawn("repeat 20\napi server \"GET /quote\" 0..30\n  api http \"GET http://rates/now\" 2..28");
        check_rule("slow_dependency", &quick, &expect![[""]]);
    }

    #[test]
    fn a_call_beside_longer_work_is_none() {
        let recording = drawn(
            r#"
            repeat 20
            api server "GET /quote" 0..200
              api http "GET http://rates/now" 5..60
              api internal "work" 5..198
            "#,
        );
        check_rule("slow_dependency", &recording, &expect![[""]]);
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "slow_dependency",
            &drawn(""),
            &expect![[r#"
            not run: slow_dependency (traces)
        "#]],
        );
    }
}
