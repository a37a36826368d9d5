//! `transaction_over_call`: a transaction stays open while another service is asked.

use super::patterns::effect::summary;
use super::patterns::nodes;
use super::patterns::pool::is_taking;
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Group, Shape, ShapeId, quantile};
use crate::simulate::{Cost, Transform};
use crate::tree::{NONE, NodeId};
use model::{Grade, Remedy, RemedyKind, Severity};

pub(super) const RULE: Rule = Rule {
    name: "transaction_over_call",
    needs: &[Signal::Traces, Signal::Statements],
    why: "While the other side is waited for, the transaction holds its connection and its row locks: one slow dependency then stops everybody who needs either.",
    how: "A call to another service starts after a BEGIN and before its COMMIT or ROLLBACK, or within a span that names itself a transaction and runs statements (directly, or a COMMIT further down), in half of the requests that make it. A call after the COMMIT is none.",
    predicts: "The call moved out takes as long as before, so the request itself wins nothing. Where requests wait for the pool, those waits shrink by the share of the transaction that the call took.",
    run,
};

/// Groups of a shape that are looked at.
const MAX_GROUPS: usize = 50;
/// Spans above a call that are looked at.
const MAX_ABOVE: usize = 16;
/// Spans after a call that are looked at for the transaction's end.
const MAX_WITHIN: usize = 256;

/// One call within a transaction, nanoseconds.
struct Held {
    transaction_ns: f64,
    call_ns: f64,
}

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let calls = facts.shapes().filter(|(_, s)| matches!(s.class, Class::Http | Class::Rpc));
    calls.filter_map(|(id, shape)| on_shape(facts, id, shape)).collect()
}

fn on_shape(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Option<Candidate> {
    let step = shape.groups.len().div_ceil(MAX_GROUPS).max(1);
    let looked: Vec<&Group> = shape.groups.iter().step_by(step).collect();
    let held: Vec<Held> = looked.iter().filter_map(|group| held(facts, group)).collect();
    let often = held.len() as f64 >= facts.thresholds.transaction_call_share * looked.len() as f64;
    (often && !held.is_empty()).then(|| candidate(facts, id, &held))
}

/// The transaction around a group's first call.
fn held(facts: &Facts<'_>, group: &Group) -> Option<Held> {
    let &call = facts.nodes(group).first()?;
    let call_ns = facts.node(call).duration_ns() as f64;
    let mut at = call;
    for _ in 0..MAX_ABOVE {
        if nodes::in_transaction(facts, at) {
            return Some(Held { transaction_ns: open_ns(facts, at), call_ns });
        }
        at = facts.node(at).parent;
        if at == NONE || facts.node(at).class == Class::Server {
            return None;
        }
        if is_transaction(facts, at, call) {
            return Some(Held { transaction_ns: facts.node(at).duration_ns() as f64, call_ns });
        }
    }
    None
}

/// A function that is called a transaction and runs statements directly, or whose COMMIT comes after the call: mappers
/// put spans of their own between.
fn is_transaction(facts: &Facts<'_>, node: NodeId, call: NodeId) -> bool {
    let name = facts.name(facts.call(node).template).to_ascii_lowercase();
    if facts.node(node).class != Class::Internal || !name.contains("transaction") {
        return false;
    }
    let is_statement = |child: NodeId| facts.node(child).class == Class::Db;
    let later = facts.node(call).subtree_end..facts.node(node).subtree_end;
    facts.forest.children(node).any(is_statement)
        || later.take(MAX_WITHIN).any(|at| is_statement(at) && !nodes::is_open_after(facts, at, true))
}

/// From the BEGIN before a node to what ends the transaction after it; to the last sibling where nothing does.
fn open_ns(facts: &Facts<'_>, node: NodeId) -> f64 {
    let (mut begun, mut until, mut open) = (facts.node(node).start_ns, facts.node(node).end_ns, false);
    for child in facts.forest.children(facts.node(node).parent) {
        let this = facts.node(child);
        if this.class != Class::Db {
            continue;
        }
        let now_open = nodes::is_open_after(facts, child, open);
        if child < node && now_open && !open {
            begun = this.start_ns;
        }
        if child > node {
            until = until.max(this.end_ns);
            if !now_open {
                break;
            }
        }
        open = now_open;
    }
    (until - begun) as f64
}

fn candidate(facts: &Facts<'_>, id: ShapeId, held: &[Held]) -> Candidate {
    let shape = facts.shape(id);
    let median = |of: fn(&Held) -> f64| {
        let mut all: Vec<f64> = held.iter().map(of).collect();
        all.sort_unstable_by(f64::total_cmp);
        quantile(&all, 0.5) / 1e6
    };
    let (open_ms, call_ms) = (median(|h| h.transaction_ns), median(|h| h.call_ns));
    let name = summary(facts, id);
    let title = format!("a transaction is held open over {name}");
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.severity = Some(Severity::Info);
    candidate.place.resource = Some("transaction".to_owned());
    let share = (call_ms / open_ms.max(f64::MIN_POSITIVE)).min(1.0);
    candidate.lines = vec![format!(
        "the transaction is open for {open_ms:.1} ms, {call_ms:.1} ms of it wait for the call ({:.0} %)",
        share * 100.0
    )];
    let waits = pool_waits(facts, shape);
    if waits.is_empty() {
        candidate
            .lines
            .push("no request was seen waiting for a connection or a lock because of it".to_owned());
    } else {
        candidate.lines.push("requests of this endpoint wait for connections meanwhile".to_owned());
        candidate.severity = Some(Severity::Warning);
        candidate.fix = Some(fix(&waits, share));
    }
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "ask the other service before the transaction begins or after it is committed; where both must hold, write the intent in the transaction (an outbox) and call afterwards"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.9;
    candidate
}

/// Waits for a connection in the same service on the same endpoint.
fn pool_waits(facts: &Facts<'_>, call: &Shape) -> Vec<ShapeId> {
    let t = facts.thresholds;
    let waits = facts.shapes().filter(|(_, s)| {
        s.class == Class::Pool
            && (s.endpoint, s.service) == (call.endpoint, call.service)
            && is_taking(facts.name(s.template))
            && s.duration_p95_ns >= t.pool_wait_ms * 1e6
    });
    waits.map(|(id, _)| id).collect()
}

fn fix(waits: &[ShapeId], share: f64) -> Fix {
    let to = |left: f64| {
        let shrunk = |of: &ShapeId| Transform::Duration { of: *of, to: Cost::Times(left) };
        waits.iter().map(shrunk).collect::<Vec<_>>()
    };
    Fix {
        point: to(1.0 - share),
        least: to(1.0 - share / 2.0),
        most: to(0.0),
        grade: Grade::C,
        assumption: "the wait for a connection shrinks as the time does that each is held".to_owned(),
        load: LoadEffect::Included,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn a_call_between_begin_and_commit_is_one_finding() {
        check_rule(
            "transaction_over_call",
            &drawn(
                r#"
            repeat 20
            api server "POST /orders" 0..100
              api db "BEGIN" 1..2
              api db "INSERT INTO orders VALUES ($1)" 3..6
              api http "POST http://payments/charges" 8..88
              api db "COMMIT" 90..94
            "#,
            ),
            &expect![[r#"
                transaction_over_call POST /orders | a transaction is held open over POST payments/charges | no prediction
            "#]],
        );
    }

    #[test]
    fn where_connections_run_short_their_waits_shrink() {
        check_rule(
            "transaction_over_call",
            &drawn(
                r#"
            repeat 20
            api server "POST /orders" 0..100
              api client "pool.acquire" 0..40
              api internal "OrderRepository.transaction" 41..99
                api db "INSERT INTO orders VALUES ($1)" 42..46
                api internal "charge" 46..97
                  api http "POST http://payments/charges" 47..96
            "#,
            ),
            &expect![[r#"
                transaction_over_call POST /orders | a transaction is held open over POST payments/charges | p95 100.0 -> 66.2 (60.0..83.1) C
            "#]],
        );
    }

    #[test]
    fn a_call_before_or_after_the_transaction_is_none() {
        check_rule(
            "transaction_over_call",
            &drawn(
                r#"
            repeat 20
            api server "POST /orders" 0..200
              api http "GET http://rates/now" 1..30
              api db "BEGIN" 31..32
              api db "INSERT INTO orders VALUES ($1)" 33..36
              api db "COMMIT" 40..44
              api http "POST http://payments/charges" 50..190
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_statements_the_rule_does_not_run() {
        check_rule(
            "transaction_over_call",
            &drawn("api server \"POST /\" 0..100\n  api http \"GET http://a/b\" 1..50"),
            &expect![[r#"
                not run: transaction_over_call (statement text on database spans)
            "#]],
        );
    }
}
