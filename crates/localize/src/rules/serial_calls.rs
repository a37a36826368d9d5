//! `serial_calls`: calls that do not need each other are made one after another.

use super::{Candidate, Fix, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::Transform;
use crate::tree::NodeId;
use model::{Grade, Remedy, RemedyKind};
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule {
    name: "serial_calls",
    needs: &[Signal::Traces],
    why: "Waits that could run side by side are added up.",
    how: "Two or more reads below one parent, of different kinds, never overlap in 95 % of the requests and follow each other closely; none is part of a transaction. Whether one needs another's result no trace tells: calls of different callees are believed more.",
    predicts: "The calls start together: the longest of them, by request, and 0.2 ms for each further one to start.",
    run,
};

/// A call that holds less of the critical path is not worth starting beside others.
const MIN_SHARE: f64 = 0.05;
/// The second longest call must hold so much, or nothing is won.
const MIN_SECOND_SHARE: f64 = 0.08;
/// Calls on one callee run side by side only as far as it has room: they are stretched so much.
const SAME_CALLEE_STRETCH: f64 = 1.25;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut by_parent: BTreeMap<ShapeId, Vec<ShapeId>> = BTreeMap::new();
    for (id, shape) in facts.shapes() {
        if let (Some(parent), true) = (shape.parent, is_read(facts, id, shape)) {
            by_parent.entry(parent).or_default().push(id);
        }
    }
    by_parent.values().filter_map(|calls| of_parent(facts, calls)).collect()
}

/// A call that only reads, made about once a request.
fn is_read(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> bool {
    let name = facts.name(shape.template);
    let reads = match shape.class {
        Class::Db | Class::Cache => super::only_reads(name),
        Class::Http => name.starts_with("GET ") || name.starts_with("HEAD "),
        Class::Rpc => true,
        // A step of the code's own that wraps calls.
        Class::Internal => facts.shapes.children(id).any(|c| facts.shape(c).class.is_call()),
        _ => false,
    };
    reads && shape.path_share >= MIN_SHARE && shape.calls_mean < 2.0
}

fn of_parent(facts: &Facts<'_>, calls: &[ShapeId]) -> Option<Candidate> {
    let t = facts.thresholds;
    let mut calls: Vec<ShapeId> = calls.to_vec();
    calls.sort_by(|a, b| facts.shape(*b).path_share.total_cmp(&facts.shape(*a).path_share).then(a.cmp(b)));
    if calls.len() < 2 || facts.shape(calls[1]).path_share < MIN_SECOND_SHARE {
        return None;
    }
    let (serial, seen) = serial_share(facts, &calls);
    if seen == 0 || serial < t.serial_trace_share || in_transaction(facts, &calls) {
        return None;
    }
    Some(candidate(facts, &calls))
}

/// Share of the parents' handlings in which none of the calls overlap and the gaps are small, and how many were seen.
fn serial_share(facts: &Facts<'_>, calls: &[ShapeId]) -> (f64, usize) {
    let mut by_parent: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for id in calls {
        for node in facts.shape(*id).groups.iter().flat_map(|g| facts.nodes(g)) {
            by_parent.entry(facts.node(*node).parent).or_default().push(*node);
        }
    }
    let handled: Vec<&mut Vec<NodeId>> = by_parent.values_mut().filter(|n| n.len() >= 2).collect();
    let seen = handled.len();
    let serial = handled
        .into_iter()
        .filter_map(|nodes| {
            nodes.sort_by_key(|n| (facts.node(*n).start_ns, *n));
            let pairs = nodes.windows(2).map(|w| (facts.node(w[0]), facts.node(w[1])));
            pairs.clone().all(|(a, b)| b.start_ns >= a.end_ns - overlap_ns(facts)).then_some(())
        })
        .count();
    (serial as f64 / seen.max(1) as f64, seen)
}

#[expect(clippy::cast_possible_truncation, reason = "a millisecond in nanoseconds")]
fn overlap_ns(facts: &Facts<'_>) -> i64 {
    (facts.thresholds.overlap_ms * 1e5) as i64
}

/// Calls between BEGIN and COMMIT share a connection and a snapshot: they stay in order.
fn in_transaction(facts: &Facts<'_>, calls: &[ShapeId]) -> bool {
    let parent = facts.shape(calls[0]).parent;
    facts.shapes().any(|(_, shape)| {
        let name = facts.name(shape.template).trim_start();
        let begins = ["begin", "start transaction"]
            .iter()
            .any(|w| name.get(..w.len()).is_some_and(|n| n.eq_ignore_ascii_case(w)));
        shape.parent == parent && shape.class == Class::Db && begins
    })
}

fn candidate(facts: &Facts<'_>, calls: &[ShapeId]) -> Candidate {
    let callee = |id: &ShapeId| (facts.shape(*id).class, facts.shape(*id).peer);
    let same_callee = calls.iter().all(|id| callee(id) == callee(&calls[0]));
    let mut in_order: Vec<ShapeId> = calls.to_vec();
    in_order.sort_unstable();
    let mut candidate = Candidate::on_shape(
        facts,
        calls[0],
        format!("{} calls, one after another, that could run side by side", calls.len()),
    );
    candidate.claims.clear();
    candidate.shape = facts.shape(calls[0]).parent;
    candidate.place.shape = candidate.shape.map(|parent| facts.path(parent));
    candidate.place.statement = None;
    candidate.place.resource = Some("calls in sequence".to_owned());
    candidate.calls_per_request = Some(calls.len() as f64);
    candidate.share_of_critical_path =
        Some(calls.iter().map(|id| facts.shape(*id).path_share).sum::<f64>().min(1.0));
    candidate.nodes = calls
        .iter()
        .filter_map(|id| facts.shape(*id).groups.first())
        .flat_map(|g| facts.nodes(g).to_vec())
        .collect();
    candidate.lines = vec![format!("never at the same time: {}", names(facts, &in_order))];
    candidate.lines.push(if same_callee {
        "all on the same callee; whether one needs another's result, the traces do not tell".to_owned()
    } else {
        "on different callees; whether one needs another's result, the traces do not tell".to_owned()
    });
    let parallel = |stretch: f64| {
        vec![Transform::Parallel {
            of: in_order.clone(),
            dispatch_ns: facts.thresholds.dispatch_ms * 1e6,
            stretch,
        }]
    };
    let stretch = if same_callee { SAME_CALLEE_STRETCH } else { 1.0 };
    candidate.fix = Some(Fix {
        point: parallel(stretch),
        least: parallel(stretch * 1.5),
        most: parallel(1.0),
        grade: Grade::B,
        assumption: "none of the calls needs another's result".to_owned(),
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "start the calls together and wait for all: join, gather, Promise.all, errgroup".to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = if same_callee { 0.5 } else { 0.65 };
    candidate
}

fn names(facts: &Facts<'_>, calls: &[ShapeId]) -> String {
    let one = |id: &ShapeId| {
        let shape = facts.shape(*id);
        let name: String = facts.name(shape.template).chars().take(60).collect();
        format!("{name} ({:.1} ms)", shape.duration_p50_ns / 1e6)
    };
    calls.iter().take(4).map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn reads_in_a_row_are_one_finding() {
        check_rule(
            "serial_calls",
            &drawn(
                r#"
            repeat 20
            api server "GET /page" 0..70
              api db "SELECT * FROM products WHERE id = $1" 1..11
              api db "SELECT * FROM products WHERE category = $1" 12..32
              api http "GET http://stock/stock/7" 33..63
            "#,
            ),
            &expect![[r#"
                serial_calls GET /page | 3 calls, one after another, that could run side by side | p95 70.0 -> 38.4 (38.4..53.4) B
            "#]],
        );
    }

    #[test]
    fn calls_side_by_side_are_none() {
        check_rule(
            "serial_calls",
            &drawn(
                r#"
            repeat 20
            api server "GET /page" 0..70
              api db "SELECT * FROM products WHERE category = $1" 2..32
              api http "GET http://stock/stock/7" 3..63
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn a_transaction_is_none() {
        check_rule(
            "serial_calls",
            &drawn(
                r#"
            repeat 20
            api server "GET /page" 0..70
              api db "BEGIN" 0..1
              api db "SELECT * FROM products WHERE id = $1" 1..31
              api db "SELECT * FROM stock WHERE id = $1" 32..62
              api db "COMMIT" 63..64
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "serial_calls",
            &drawn(""),
            &expect![[r#"
                not run: serial_calls (traces)
            "#]],
        );
    }
}
