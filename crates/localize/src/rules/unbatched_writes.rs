//! `unbatched_writes`: rows are written one by one, within a request or one request each.

use super::patterns::effect::{Effect, effect, summary};
use super::patterns::frameworks::{self, Advice};
use super::patterns::{batch, nodes};
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Group, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use crate::tree::NodeId;
use hashbrown::HashSet;
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "unbatched_writes",
    needs: &[Signal::Traces, Signal::Statements],
    why: "Each single row pays a round trip and a commit; hundreds in one statement cost little more than one.",
    how: "Five or more writes of one template in one request, in half of the requests, retries and jobs excepted; or one INSERT without RETURNING that holds 30 % of the critical path of requests that make no other call, at 10 a second or more.",
    predicts: "Within a request: one statement of all rows, as for N+1, with one connection and transaction. One a request: the statement, its connection and its transaction give way to 0.5 ms (0.2 to 2) of handing the row to a queue.",
    run,
};

/// Handing over, at best and at worst, as share of `enqueue_ms`.
const BEST: f64 = 0.4;
const WORST: f64 = 4.0;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let writes = facts.shapes().filter(|(_, s)| s.class == Class::Db && effect(facts, s) == Effect::Write);
    writes
        .filter_map(|(id, shape)| {
            if is_many(facts, shape) {
                Some(many(facts, id))
            } else if is_stream(facts, id, shape) {
                Some(stream(facts, id))
            } else {
                None
            }
        })
        .collect()
}

fn verb(facts: &Facts<'_>, shape: &Shape) -> String {
    facts.name(shape.template).split(' ').next().unwrap_or("").to_ascii_uppercase()
}

fn is_many(facts: &Facts<'_>, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let calls = t.n_plus_one_calls as usize;
    // A lock or a procedure is no row.
    matches!(
        verb(facts, shape).as_str(),
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "MERGE" | "UPSERT" | "INSERTONE"
    ) && shape.calls_max >= calls
        && shape.errors * 2 < shape.calls
        && shape.share_with(calls, facts.endpoint_of(shape)) >= t.n_plus_one_trace_share
        && !batch::is_batched(facts, shape)
        && !batch::is_job(facts, shape)
}

/// A request that is there to write one row: events, logs, measurements.
fn is_stream(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let rate = facts.rate_per_s(shape.endpoint) * shape.calls_mean;
    // A row whose new key is given back is needed now.
    let returns = facts.name(shape.template).to_ascii_lowercase().contains("returning");
    verb(facts, shape) == "INSERT"
        && !returns
        && facts.endpoint_of(shape).class == Class::Server
        && shape.path_share >= t.unbatched_path_share
        && rate >= t.unbatched_writes_per_s
        && !batch::is_batched(facts, shape)
        && facts.shapes().all(|(other, s)| other == id || s.endpoint != shape.endpoint || !is_work(facts, s))
}

fn is_work(facts: &Facts<'_>, shape: &Shape) -> bool {
    shape.class.is_call() && effect(facts, shape) != Effect::Control
}

fn many(facts: &Facts<'_>, id: ShapeId) -> Candidate {
    let shape = facts.shape(id);
    let mut counts: Vec<usize> = shape.groups.iter().map(Group::calls).filter(|calls| *calls > 1).collect();
    counts.sort_unstable();
    let median = counts.get(counts.len() / 2).copied().unwrap_or(0);
    let title = format!("{median} x {} per {}", summary(facts, id), facts.load.name(shape.endpoint));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.lines = vec![
        format!(
            "{:.1} statements per request (at most {}), {:.0} % of the critical path",
            shape.calls as f64 / f64::from(shape.traces.max(1)),
            shape.calls_max,
            shape.path_share * 100.0
        ),
        format!("each takes {:.2} ms at the median", shape.duration_p50_ns / 1e6),
    ];
    candidate.fix = Some(batch::merged(facts, &[id], "all rows can be written by one statement"));
    let text = match verb(facts, shape).as_str() {
        "UPDATE" => "write all rows in one statement: `UPDATE ... FROM unnest($1, $2)` or a join with VALUES",
        "DELETE" => "remove all rows in one statement: `DELETE ... WHERE key = ANY($1)`",
        _ => "write all rows in one statement: INSERT with many VALUES, unnest of arrays, or COPY",
    };
    candidate.remedies = frameworks::remedies(facts, &candidate.nodes, Advice::BulkInsert, text);
    candidate.confidence = 0.9;
    candidate
}

fn stream(facts: &Facts<'_>, id: ShapeId) -> Candidate {
    let shape = facts.shape(id);
    let rate = facts.rate_per_s(shape.endpoint) * shape.calls_mean;
    let endpoint = facts.load.name(shape.endpoint);
    let title = format!("{rate:.0} x {} a second, one per {endpoint}", summary(facts, id));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.lines = vec![
        format!(
            "the row is all that the request does, {:.0} % of its critical path",
            shape.path_share * 100.0
        ),
        format!("{:.2} ms a write at the median, with a commit of its own", shape.duration_p50_ns / 1e6),
    ];
    let rows: HashSet<NodeId> = shape.groups.iter().flat_map(|g| facts.nodes(g)).copied().collect();
    let around: HashSet<NodeId> = nodes::serving(facts, &rows).into_iter().collect();
    let enqueue = facts.thresholds.enqueue_ms * 1e6;
    let to = |ns: f64| {
        let mut transforms = vec![Transform::Duration { of: id, to: Cost::Ns(ns) }];
        transforms.extend(nodes::take(facts, around.clone(), 0.0));
        transforms
    };
    candidate.fix = Some(Fix {
        point: to(enqueue),
        least: to(enqueue * WORST),
        most: to(enqueue * BEST),
        grade: Grade::C,
        assumption: "the reply may be sent before the row is durable; handing it over takes 0.5 ms"
            .to_owned(),
        load: LoadEffect::Added,
    });
    candidate.remedies = vec![remedy(
        "collect rows in a bounded queue and write them in batches by size and time; refuse or wait when it is full. Given up: a reply no longer means that the row is durable, and rows of the last moments are lost in a crash"
            .to_owned(),
    )];
    candidate.confidence = 0.6;
    candidate
}

fn remedy(text: String) -> Remedy {
    Remedy { kind: RemedyKind::Code, text, patch: None, undo: None }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn ten_inserts_in_a_request_are_one_finding() {
        check_rule(
            "unbatched_writes",
            &drawn(
                r#"
            repeat 20
            api server "POST /import" 0..120
              api db "INSERT INTO lines VALUES ($1)" 5..15 x10 gap 1
            "#,
            ),
            &expect![[r#"
                unbatched_writes POST /import | 10 x INSERT INTO lines per POST /import | p95 120.0 -> 25.5 (21.0..30.0) B
            "#]],
        );
    }

    #[test]
    fn an_insert_per_event_at_a_high_rate_is_one_finding() {
        check_rule(
            "unbatched_writes",
            &drawn(
                r#"
            repeat 400
            api server "POST /events" 0..12
              api client "connect" 0..5
              api db "INSERT INTO events VALUES ($1)" 5..11
            "#,
            ),
            &expect![[r#"
                unbatched_writes POST /events | 10 x INSERT INTO events a second, one per POST /events | p95 12.0 -> 1.5 (1.2..3.0) C
            "#]],
        );
    }

    #[test]
    fn updates_count_and_a_transaction_around_each_becomes_one() {
        check_rule(
            "unbatched_writes",
            &drawn(
                r#"
            repeat 20
            api server "POST /prices" 0..120
              api internal "price" 5..15 x10
                api db "BEGIN" 5..6
                api db "UPDATE prices SET cents = $1 WHERE id = $2" 6..9
                api db "COMMIT" 9..15
            "#,
            ),
            &expect![[r#"
                unbatched_writes POST /prices | 10 x UPDATE prices per POST /prices | p95 120.0 -> 30.0 (30.0..30.0) B
            "#]],
        );
    }

    #[test]
    fn rows_of_a_batch_retries_and_events_that_do_more_are_none() {
        check_rule(
            "unbatched_writes",
            &drawn(
                r#"
            repeat 20
            api server "POST /a" 0..120
              api db "INSERT INTO lines VALUES ($1)" 5..15 x10 gap 1 db.operation.batch.size=100

            repeat 20
            api server "POST /b" 0..120
              api db "INSERT INTO lines VALUES ($1)" 5..15 x10 gap 1 status=error

            repeat 400
            api server "POST /c" 0..40
              api db "SELECT * FROM users WHERE id = $1" 1..11
              api db "INSERT INTO visits VALUES ($1)" 12..38
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn an_order_that_needs_its_number_is_none() {
        check_rule(
            "unbatched_writes",
            &drawn(
                r#"
            repeat 400
            api server "POST /orders" 0..12
              api db "INSERT INTO orders VALUES ($1) RETURNING id" 5..11
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_statements_the_rule_does_not_run() {
        check_rule(
            "unbatched_writes",
            &drawn("api server \"GET /\" 0..10"),
            &expect![[r#"
                not run: unbatched_writes (statement text on database spans)
            "#]],
        );
    }
}
