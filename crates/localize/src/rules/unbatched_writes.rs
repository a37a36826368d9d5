//! `unbatched_writes`: rows are written one by one, within a request or one request each.

use super::{Candidate, Fix, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "unbatched_writes",
    needs: &[Signal::Traces, Signal::Statements],
    why: "Each single row pays a round trip and a commit; hundreds in one statement cost little more than one.",
    how: "Five or more INSERTs of one template in one request, in half of the requests; or one INSERT that holds 30 % of the critical path of requests that do nothing else on the database, at 10 a second or more.",
    predicts: "Within a request: one statement of all rows, as for N+1. One a request: the statement and its connection give way to 0.5 ms (0.2 to 2) of handing the row to a queue.",
    run,
};

/// Handing over, at best and at worst, as share of `enqueue_ms`.
const BEST: f64 = 0.4;
const WORST: f64 = 4.0;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(_, shape)| shape.class == Class::Db && is_insert(facts.name(shape.template)))
        .filter_map(|(id, shape)| {
            if is_many(facts, shape) {
                Some(many(facts, id, shape))
            } else if is_stream(facts, id, shape) {
                Some(stream(facts, id, shape))
            } else {
                None
            }
        })
        .collect()
}

fn is_insert(template: &str) -> bool {
    template.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("insert"))
}

fn is_many(facts: &Facts<'_>, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let calls = t.n_plus_one_calls as usize;
    shape.calls_max >= calls && shape.share_with(calls, facts.endpoint_of(shape)) >= t.n_plus_one_trace_share
}

/// A request that is there to write one row: events, logs, measurements.
fn is_stream(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let alone =
        facts.shapes().all(|(other, s)| other == id || s.endpoint != shape.endpoint || !is_work(facts, s));
    let rate = facts.rate_per_s(shape.endpoint) * shape.calls_mean;
    // A row whose new key is given back is needed now.
    let returns = facts.name(shape.template).to_ascii_lowercase().contains("returning");
    alone && !returns && shape.path_share >= t.self_time_share && rate >= t.unbatched_writes_per_s
}

fn is_work(facts: &Facts<'_>, shape: &Shape) -> bool {
    let name = facts.name(shape.template).trim_start().to_ascii_lowercase();
    let frame = ["begin", "commit", "start transaction", "set "].iter().any(|w| name.starts_with(w));
    shape.class.is_call() && !(shape.class == Class::Db && frame)
}

fn many(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let t = facts.thresholds;
    let n = shape.calls as f64 / f64::from(shape.traces.max(1));
    let mut candidate = Candidate::on_shape(
        facts,
        id,
        format!("{n:.0} single-row writes per request: {}", facts.name(shape.template)),
    );
    candidate.lines = vec![
        format!("{n:.1} statements per request, {:.0} % of the critical path", shape.path_share * 100.0),
        format!("each takes {:.2} ms at the median", shape.duration_p50_ns / 1e6),
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
        assumption: "all rows can be written by one statement".to_owned(),
    });
    candidate.remedies =
        remedies("write all rows in one statement: INSERT with many VALUES, unnest of arrays, or COPY");
    candidate.confidence = 0.9;
    candidate
}

fn stream(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let rate = facts.rate_per_s(shape.endpoint) * shape.calls_mean;
    let mut candidate = Candidate::on_shape(
        facts,
        id,
        format!("{rate:.0} single-row writes a second: {}", facts.name(shape.template)),
    );
    candidate.lines = vec![
        format!(
            "the row is all that the request does, {:.0} % of its critical path",
            shape.path_share * 100.0
        ),
        format!("{:.2} ms a write at the median", shape.duration_p50_ns / 1e6),
    ];
    let connections: Vec<ShapeId> = facts
        .shapes()
        .filter(|(_, s)| s.endpoint == shape.endpoint && s.class == Class::Pool)
        .map(|(connection, _)| connection)
        .collect();
    let enqueue = facts.thresholds.enqueue_ms * 1e6;
    let to = |ns: f64| {
        let mut transforms = vec![Transform::Duration { of: id, to: Cost::Ns(ns) }];
        transforms.extend(connections.iter().map(|of| Transform::Drop { of: *of, gap_kept: 1.0 }));
        transforms
    };
    candidate.fix = Some(Fix {
        point: to(enqueue),
        least: to(enqueue * WORST),
        most: to(enqueue * BEST),
        grade: Grade::C,
        assumption: "the reply may be sent before the row is durable; handing it over takes 0.5 ms"
            .to_owned(),
    });
    candidate.remedies = remedies(
        "collect rows in a bounded queue and write them in batches by size and time; refuse when it is full; rows of the last moments are lost in a crash",
    );
    candidate.confidence = 0.6;
    candidate
}

fn remedies(text: &str) -> Vec<Remedy> {
    vec![Remedy { kind: RemedyKind::Code, text: text.to_owned(), patch: None, undo: None }]
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
                unbatched_writes POST /import | 10 single-row writes per request: INSERT INTO lines VALUES ($1) | p95 120.0 -> 25.5 (21.0..30.0) B
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
                unbatched_writes POST /events | 10 single-row writes a second: INSERT INTO events VALUES ($1) | p95 12.0 -> 1.5 (1.2..3.0) C
            "#]],
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
