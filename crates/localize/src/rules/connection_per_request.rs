//! `connection_per_request`: connections are made while requests wait, again and again.

use super::patterns::frameworks::{self, Advice};
use super::patterns::pool::{is_checkout, is_making, is_taking};
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Severity};

pub(super) const RULE: Rule = Rule {
    name: "connection_per_request",
    needs: &[Signal::Traces],
    why: "A new connection costs round trips, TLS, authentication and a process on the database's side, each time.",
    how: "Spans that make a connection (not those that wait for one of a pool) in at least half of the endpoint's requests, each taking time, and in half of the takes from a pool where these are seen. Where one in twenty takes less than 0.7 ms, they take from a pool, whatever their name.",
    predicts: "The connecting spans are gone; what taking one from a pool costs stays.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(_, shape)| is_one(facts, shape))
        .map(|(id, shape)| candidate(facts, id, shape))
        .collect()
}

/// The outermost connecting span: TCP and TLS within it belong to it.
fn is_one(facts: &Facts<'_>, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let makes = |shape: &Shape| shape.class == Class::Pool && is_making(facts.name(shape.template));
    let requests = facts.endpoint_of(shape).trees.len().max(1) as f64;
    let above = shape.parent.map(|p| facts.shape(p));
    let inner = above.is_some_and(makes);
    // Where the take from a pool is seen, too: a pool that fills up makes a connection for few of the takes.
    let takes = above.filter(|s| s.class == Class::Pool && is_taking(facts.name(s.template)));
    let of = takes.map_or(requests, |s| s.calls.max(1) as f64);
    // A wait for a pool that sometimes connects is the pool filling up, not a connection per request.
    makes(shape)
        && !inner
        && shape.calls as f64 / requests.max(of) >= t.connects_per_request
        && shape.share_with(1, facts.endpoint_of(shape)) >= t.connects_per_request
        && (is_handshake(facts.name(shape.template)) || !is_checkout(facts, shape))
}

/// What a pool never does to take a connection, however quick it is on one machine.
fn is_handshake(name: &str) -> bool {
    matches!(name, "tcp.connect" | "tls.connect")
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let requests = facts.endpoint_of(shape).trees.len().max(1) as f64;
    let per_request = shape.calls as f64 / requests;
    let to = facts.name(shape.peer);
    let to = if to.is_empty() { String::new() } else { format!(" to {to}") };
    let mut candidate =
        Candidate::on_shape(facts, id, format!("{per_request:.1} new connections{to} per request"));
    candidate.calls_per_request = Some(per_request);
    candidate.place.resource = Some("connections".to_owned());
    candidate.lines = vec![
        format!(
            "{per_request:.1} connections made per request, {:.2} ms each at the median",
            shape.duration_p50_ns / 1e6
        ),
        format!("{:.0} % of the critical path goes into connecting", shape.path_share * 100.0),
    ];
    let pooled = facts.thresholds.pooled_checkout_ms * 1e6;
    let to = |ns: f64| vec![Transform::Duration { of: id, to: Cost::Ns(ns) }];
    candidate.fix = Some(Fix {
        point: to(pooled),
        least: to(pooled * 10.0),
        most: to(0.0),
        grade: Grade::B,
        assumption: "a connection is free in the pool when it is wanted".to_owned(),
        load: LoadEffect::Added,
    });
    let generic = "keep connections: a pool of a few per CPU of the database, opened at start and shared by all requests";
    candidate.remedies = frameworks::remedies(facts, &candidate.nodes, Advice::Pool, generic);
    // The spans show the handshake's first steps only, and what it costs the other side shows elsewhere.
    candidate.severity = Some(Severity::Info);
    candidate.confidence = 0.9;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn connecting_in_every_request_is_one_finding() {
        check_rule(
            "connection_per_request",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..40
              api client "connect" 1..21 db.system.name=postgresql
              api db "SELECT * FROM orders WHERE id = $1" 22..38
            "#,
            ),
            &expect![[r#"
                connection_per_request GET /orders | 1.0 new connections per request | p95 40.0 -> 20.1 (20.0..20.5) B
            "#]],
        );
    }

    #[test]
    fn a_handshake_is_no_checkout_however_quick_and_small_its_part() {
        let drawing = r#"
            repeat 20
            api server "GET /posts" 0..9
              api internal "tcp.connect" 1..1.3
              api db "SELECT * FROM posts WHERE id = $1" 4..8
            "#;
        check_rule(
            "connection_per_request",
            &drawn(drawing),
            &expect![[r#"
            connection_per_request GET /posts | 1.0 new connections per request | p95 9.0 -> 8.8 (8.7..9.2) B
        "#]],
        );
    }

    #[test]
    fn a_quick_checkout_named_connect_is_none() {
        check_rule(
            "connection_per_request",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..40
              api client "connect" 1..1.2 db.system.name=postgresql
              api db "SELECT * FROM orders WHERE id = $1" 22..38
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn a_pool_that_is_made_while_requests_come_is_none_however_slow_its_handshakes() {
        let taken = "connect\" 1..1.1 db.system.name=postgresql";
        let made = "connect\" 1..90 db.system.name=postgresql";
        let drawing = |connect: &str, count: usize| {
            format!(
                "repeat {count}\napi server \"GET /orders\" 0..140\n  api client \"{connect}\n  api db \"SELECT * FROM orders WHERE id = $1\" 100..138\n\n"
            )
        };
        let all = drawing(made, 15) + &drawing(taken, 5);
        check_rule("connection_per_request", &drawn(&all), &expect![[""]]);
    }

    #[test]
    fn a_new_connection_in_few_of_the_takes_of_a_request_is_none() {
        check_rule(
            "connection_per_request",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..140
              api client "pool.acquire" 1..61
                api client "connect" 2..60
              api db "SELECT * FROM orders WHERE id = $1" 62..70
              api client "pool.acquire" 71..71.1 x5 gap 10
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn a_pool_that_fills_up_is_none() {
        check_rule(
            "connection_per_request",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..40
              api db "SELECT * FROM orders WHERE id = $1" 22..38

            repeat 2
            api server "GET /orders" 0..60
              api client "connect" 1..21 db.system.name=postgresql
              api db "SELECT * FROM orders WHERE id = $1" 22..38
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "connection_per_request",
            &drawn(""),
            &expect![[r#"
                not run: connection_per_request (traces)
            "#]],
        );
    }
}
