//! `pool_saturation`: requests wait for a connection that others hold.

use super::patterns::frameworks::{self, Advice};
use super::patterns::pool::{is_checkout, is_full, is_making, is_taking};
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::saturation::Pool;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use crate::tree::NodeId;
use hashbrown::HashMap;
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "pool_saturation",
    needs: &[Signal::Traces],
    why: "A request that waits for a connection does nothing else; behind a full pool every endpoint is as slow as the slowest.",
    how: "Spans that take a connection from a pool wait 10 ms or more at their 95th percentile and hold 10 % of the critical path (a checkout that is named as if it connected: where one and the same number of connections is in use during half of the waiting), or callers were seen waiting by the pool's own metrics. Not where most of the waiting is for a process that computes (see `event_loop_blocked`).",
    predicts: "The waits are gone but for the checkout itself. The size that is proposed makes Erlang C's wait negligible, and is refused where the database's CPU would pass 70 %.",
    run,
};

/// A pool is never proposed to be larger than this.
const MAX_POOL: u32 = 200;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let found: Vec<(ShapeId, &Shape)> =
        facts.shapes().filter(|(id, shape)| is_one(facts, *id, shape)).collect();
    if found.is_empty() {
        return Vec::new();
    }
    let lost = super::event_loop_blocked::lost(facts);
    let waits = |(_, shape): &(ShapeId, &Shape)| !is_held_up(facts, shape, &lost);
    found.into_iter().filter(waits).map(|(id, shape)| candidate(facts, id, shape)).collect()
}

/// Most of the waiting is for a process that computes: a connection may be free for long.
fn is_held_up(facts: &Facts<'_>, shape: &Shape, lost: &HashMap<NodeId, f64>) -> bool {
    let nodes = || shape.groups.iter().flat_map(|g| facts.nodes(g));
    let all: f64 = nodes().map(|n| facts.node(*n).duration_ns() as f64).sum();
    let held: f64 = nodes().filter_map(|n| lost.get(n)).sum();
    held > all / 2.0
}

fn is_one(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let name = facts.name(shape.template);
    // A checkout that is named as if it connected is a wait only where the pool is seen to be full.
    let takes = || is_taking(name) || is_making(name) && is_checkout(facts, shape) && is_full(facts, id);
    shape.class == Class::Pool
        && shape.duration_p95_ns >= t.pool_wait_ms * 1e6
        && shape.path_share.max(shape.path_share_tail) >= t.pool_wait_share
        && !connects_below(facts, id, shape)
        && takes()
}

/// A take that spends its time on connecting is no wait for others.
fn connects_below(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> bool {
    shape.own_share < shape.path_share / 2.0 && facts.shape_has_children(id)
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Candidate {
    let service = facts.name(shape.service);
    let pool = facts.saturation.pools.get(service).copied().unwrap_or_default();
    let p95_ms = shape.duration_p95_ns / 1e6;
    let title = format!("waits {p95_ms:.1} ms (p95) for a connection of the pool");
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.place.resource = Some("pool".to_owned());
    candidate.lines = vec![format!(
        "{:.0} % of the critical path is waiting for a connection, {:.0} % in the slowest requests",
        shape.path_share * 100.0,
        shape.path_share_tail * 100.0
    )];
    candidate.lines.extend(pool_line(pool));
    let least = facts.thresholds.pooled_checkout_ms * 1e6;
    let to = |cost: Cost| vec![Transform::Duration { of: id, to: cost }];
    candidate.fix = Some(Fix {
        point: to(Cost::Ns(least)),
        least: to(Cost::Times(0.5)),
        most: to(Cost::Ns(0.0)),
        grade: Grade::C,
        assumption: "the database answers as fast when more connections ask at once".to_owned(),
        load: LoadEffect::Added,
    });
    let words = frameworks::remedies(facts, &candidate.nodes, Advice::Pool, "");
    candidate.remedies = vec![remedy(facts, pool)];
    candidate.remedies.extend(words.into_iter().filter(|r| !r.text.is_empty()));
    candidate.confidence = 0.8;
    candidate
}

fn pool_line(pool: Pool) -> Option<String> {
    let (used, size) = (pool.used_mean?, pool.size?);
    let pending = pool.pending_max.unwrap_or(0.0);
    Some(format!("{used:.1} of {size:.0} connections in use on average, up to {pending:.0} callers waiting"))
}

fn remedy(facts: &Facts<'_>, pool: Pool) -> Remedy {
    let database = facts.saturation.roles.get("database").and_then(|u| u.cores);
    let busy = database.map(|cores| cores / facts.saturation.cpus);
    let proposed = pool.used_mean.zip(pool.size).map(|(used, size)| size_for(used, size));
    let text = match (busy, proposed) {
        (Some(busy), _) if busy > facts.thresholds.load_model_from => format!(
            "the database's CPU is {:.0} % busy already: hold connections for a shorter time, a larger pool would not help",
            busy * 100.0
        ),
        (_, Some(size)) => format!("make the pool {size} connections large, and hold each for a shorter time"),
        _ => "make the pool larger by a few connections, and hold each for a shorter time (none across calls to others)"
            .to_owned(),
    };
    Remedy { kind: RemedyKind::Configuration, text, patch: None, undo: None }
}

/// The smallest pool in which hardly anybody waits at this load (`used` connections busy on average): the chance of
/// waiting by Erlang C below 5 %. A saturated pool hides part of its load, so at least one and a half times `size`.
fn size_for(used: f64, size: f64) -> u32 {
    let hidden = if used >= size * 0.9 { 1.5 } else { 1.0 };
    let load = used * hidden;
    (1..=MAX_POOL).find(|c| f64::from(*c) > load && waiting_chance(load, *c) < 0.05).unwrap_or(MAX_POOL)
}

/// Erlang C: the chance that all `servers` are busy at an offered load (arrival rate times mean hold time), by the
/// recursion of Erlang B, `B(c) = a B(c-1) / (c + a B(c-1))`, and `C = B / (1 - a (1 - B) / c)`.
fn waiting_chance(load: f64, servers: u32) -> f64 {
    let blocked = (1..=servers).fold(1.0, |b, c| load * b / (f64::from(c) + load * b));
    let c = f64::from(servers);
    if load >= c { 1.0 } else { blocked / (1.0 - load / c * (1.0 - blocked)) }
}

#[cfg(test)]
mod tests {
    use super::{size_for, waiting_chance};
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn long_waits_for_the_pool_are_one_finding() {
        check_rule(
            "pool_saturation",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..60
              api client "pool.acquire" 1..41
              api db "SELECT * FROM orders WHERE id = $1" 42..58
            "#,
            ),
            &expect![[r#"
                pool_saturation GET /orders | waits 40.0 ms (p95) for a connection of the pool | p95 60.0 -> 20.1 (20.0..40.0) C
            "#]],
        );
    }

    /// One connection: of two requests that come together the second waits until the first is done.
    #[test]
    fn a_full_pool_whose_checkout_is_named_connect_is_one_finding() {
        check_rule(
            "pool_saturation",
            &drawn(
                r#"
            repeat 20
            api server "GET /reports" 0..60
              api client "connect" 0..0.1
              api db "SELECT count(*) FROM reviews" 1..55
            api server "GET /reports" 2..115
              api client "connect" 3..56
              api db "SELECT count(*) FROM reviews" 57..112
            "#,
            ),
            &expect![[r#"
                pool_saturation GET /reports | waits 53.0 ms (p95) for a connection of the pool | p95 113.0 -> 60.0 (60.0..86.5) C
            "#]],
        );
    }

    /// While one request takes 290 ms, two others that come meanwhile get their connection at its end.
    fn beside_a_long_one(long: &str) -> String {
        let mut out = String::new();
        for _ in 0..15 {
            out += &format!("api server \"GET /report\" 0..290\n{long}\n");
            for waits in [190, 90] {
                let (first, second) = (waits + 8, waits + 16);
                out += &format!(
                    "api server \"GET /ping\" 0..{}\n  api client \"pool.acquire\" 0..{waits}\n  api db \"SELECT 1\" {waits}..{first}\n  api db \"SELECT 2\" {first}..{second}\n\n",
                    second + 1
                );
            }
            out += "repeat 3\napi server \"GET /ping\" 0..20\n  api client \"pool.acquire\" 0..0.1\n  api db \"SELECT 1\" 1..8\n  api db \"SELECT 2\" 8..9 x10 gap 0.1\n\n";
        }
        out
    }

    #[test]
    fn a_wait_while_the_process_computes_is_none_and_one_while_the_database_works_is() {
        check_rule("pool_saturation", &drawn(&beside_a_long_one("")), &expect![[""]]);
        let works = beside_a_long_one("  api db \"SELECT count(*) FROM orders\" 1..289\n");
        check_rule(
            "pool_saturation",
            &drawn(&works),
            &expect![[r#"
            pool_saturation GET /ping | waits 190.0 ms (p95) for a connection of the pool | p95 207.0 -> 19.9 (19.9..112.0) C
        "#]],
        );
    }

    /// The same waits while nobody else has a connection: each makes its own.
    #[test]
    fn slow_checkouts_while_no_connection_is_in_use_are_none() {
        check_rule(
            "pool_saturation",
            &drawn(
                r#"
            repeat 20
            api server "GET /reports" 0..60
              api client "connect" 0..0.1
              api db "SELECT count(*) FROM reviews" 1..55

            repeat 20
            api server "GET /reports" 0..90
              api client "connect" 1..56
              api db "SELECT count(*) FROM reviews" 57..88
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn a_checkout_that_makes_its_connection_is_none() {
        check_rule(
            "pool_saturation",
            &drawn(
                r#"
            repeat 20
            api server "GET /orders" 0..60
              api client "pool.acquire" 1..41
                api client "connect" 2..40
              api db "SELECT * FROM orders WHERE id = $1" 42..58
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "pool_saturation",
            &drawn(""),
            &expect![[r#"
                not run: pool_saturation (traces)
            "#]],
        );
    }

    #[test]
    fn erlang_c_is_that_of_the_tables() {
        // 5 erlangs on 8 servers: 0.1673; 1 on 1 is full.
        assert!((waiting_chance(5.0, 8) - 0.1673).abs() < 5e-4, "{}", waiting_chance(5.0, 8));
        assert!((waiting_chance(1.0, 1) - 1.0).abs() < 1e-12);
        assert!(waiting_chance(0.0, 3).abs() < 1e-12);
        assert_eq!(size_for(2.0, 10.0), 6);
    }
}
