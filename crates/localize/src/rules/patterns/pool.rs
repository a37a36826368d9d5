//! Spans that take connections from a pool without saying so: some mappers wrap the checkout into a span that is named
//! as if it connected. How quick the quickest are, and how many connections are in use meanwhile, tell them apart.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::tree::{NONE, NodeId};

/// Takes of one pool that are looked at.
const MAX_TAKES: usize = 20_000;

/// Names of making a connection, by any instrumentation; taking one from a pool has another name or wraps it.
pub(in crate::rules) fn is_making(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let taking = ["pool", "acquire", "checkout", "get_conn", "getconnection", "prisma:engine:connection"];
    name.contains("connect") && !taking.iter().any(|word| name.contains(word))
}

/// Names of taking a connection from a pool.
pub(in crate::rules) fn is_taking(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pool", "acquire", "checkout", "getconnection", "prisma:engine:connection"]
        .iter()
        .any(|w| name.contains(w))
}

/// Whether spans named as if they connected only take: no handshake is as quick as one in twenty of them.
pub(in crate::rules) fn is_checkout(facts: &Facts<'_>, shape: &Shape) -> bool {
    shape.duration_p5_ns < facts.thresholds.connect_ms * 1e6
}

/// Whether one and the same number of connections is in use during most of the time that calls like these wait: the
/// pool has no more. Not while a pool still grows.
pub(in crate::rules) fn is_full(facts: &Facts<'_>, id: ShapeId) -> bool {
    let t = facts.thresholds;
    // When connections begin and end to be used (+1, -1), and when waits begin and end.
    let mut events: Vec<(i64, i64, i64)> = Vec::new();
    for (node, start) in takes(facts, facts.shape(id)) {
        let this = facts.node(node);
        let until = used_until(facts, node);
        if until > this.end_ns {
            events.extend([(start + this.end_ns, 1, 0), (start + until, -1, 0)]);
        }
        if this.duration_ns() as f64 >= t.pool_wait_ms * 1e6 {
            events.extend([(start + this.start_ns, 0, 1), (start + this.end_ns, 0, -1)]);
        }
    }
    events.sort_unstable();
    let (mut used, mut waiting, mut before) = (0_i64, 0_i64, 0_i64);
    // By connections in use: nanoseconds that calls waited.
    let mut waited: Vec<f64> = Vec::new();
    for (at, use_change, wait_change) in events {
        let in_use = usize::try_from(used).unwrap_or(0);
        if waited.len() <= in_use {
            waited.resize(in_use + 1, 0.0);
        }
        waited[in_use] += (at - before) as f64 * waiting as f64;
        (used, waiting, before) = (used + use_change, waiting + wait_change, at);
    }
    let all: f64 = waited.iter().sum();
    let by_number = waited.iter().enumerate().skip(1);
    let Some((most, ns)) = by_number.max_by(|a, b| a.1.total_cmp(b.1)) else { return false };
    let above: f64 = waited.iter().skip(most + 1).sum();
    *ns > 0.0 && *ns >= t.pool_full_share * all && above <= (1.0 - t.pool_full_share) / 2.0 * all
}

/// Calls that take from what looks like the same pool, by all endpoints, each with when its request began.
fn takes<'f>(facts: &'f Facts<'_>, of: &'f Shape) -> impl Iterator<Item = (NodeId, i64)> + 'f {
    let alike =
        |s: &&Shape| (s.class, s.service, s.template, s.peer) == (of.class, of.service, of.template, of.peer);
    let groups = facts.shapes.all.iter().filter(alike).flat_map(|s| &s.groups);
    groups.flat_map(|g| facts.nodes(g).iter().map(|n| (*n, facts.began_ns(g.tree)))).take(MAX_TAKES)
}

/// When the last statement ended for which a connection was taken: the last one before the next is taken.
fn used_until(facts: &Facts<'_>, take: NodeId) -> i64 {
    let parent = facts.node(take).parent;
    let mut until = facts.node(take).end_ns;
    if parent == NONE {
        return until;
    }
    for child in facts.forest.children(parent).skip_while(|child| *child <= take) {
        let this = facts.node(child);
        match this.class {
            Class::Pool => break,
            Class::Db => until = until.max(this.end_ns),
            _ => {}
        }
    }
    until
}
