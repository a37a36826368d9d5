//! `uncached_read`: the same reads come again and again, request after request, and nothing remembers them.

use super::{Candidate, Fix, Rule, Signal, only_reads};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{NO_SHAPE, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use crate::tree::NodeId;
use hashbrown::{HashMap, HashSet};
use model::{Grade, Remedy, RemedyKind};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "uncached_read",
    needs: &[Signal::Traces],
    why: "What was read a moment ago and has not changed need not be read again: a cache takes the time and the load away.",
    how: "The reads below one parent, by their parameters and in order of time: 30 % or more of them would have been answered by a cache of 10,000 entries and 30 s, they hold 10 % of the critical path, and writes to the same tables are rare.",
    predicts: "The recorded key stream is played through that cache: each hit takes 0.02 ms, with the connection that was taken only for it; each miss stays. p95 moves only where misses are few.",
    run,
};

/// Reads of one request under one parent.
struct Reading {
    at_ns: i64,
    key: u64,
    nodes: Vec<NodeId>,
}

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut by_parent: BTreeMap<ShapeId, Vec<ShapeId>> = BTreeMap::new();
    for (id, shape) in facts.shapes() {
        if let (Some(parent), true) = (shape.parent, is_read(facts, shape)) {
            by_parent.entry(parent).or_default().push(id);
        }
    }
    by_parent.values().filter_map(|reads| of_parent(facts, reads)).collect()
}

fn is_read(facts: &Facts<'_>, shape: &Shape) -> bool {
    let name = facts.name(shape.template);
    let reads = match shape.class {
        Class::Db => only_reads(name),
        // One URL for everybody may still answer each user with something else: that shows in no trace.
        Class::Http => name.starts_with("GET ") && shape.params_distinct >= 2,
        _ => false,
    };
    reads
        && shape.params_known == shape.calls
        && shape.calls_mean < f64::from(facts.thresholds.n_plus_one_calls)
}

fn of_parent(facts: &Facts<'_>, reads: &[ShapeId]) -> Option<Candidate> {
    let t = facts.thresholds;
    let share: f64 = reads.iter().map(|id| facts.shape(*id).path_share).sum();
    if share < t.cache_path_share || is_written(facts, reads) {
        return None;
    }
    let readings = readings(facts, reads);
    let hits = hits(&readings, t.cache_entries, t.cache_ttl_s);
    let ratio = hits.len() as f64 / readings.len().max(1) as f64;
    (ratio >= t.cache_hit_ratio).then(|| candidate(facts, reads, &readings, &hits, share))
}

/// Whether the tables that are read are written at more than a tenth of the rate of reading.
fn is_written(facts: &Facts<'_>, reads: &[ShapeId]) -> bool {
    let tables: Vec<String> = reads
        .iter()
        .flat_map(|id| model::sql::operation_and_tables(facts.name(facts.shape(*id).template)).tables)
        .collect();
    let read: u64 = reads.iter().map(|id| facts.shape(*id).calls).sum();
    let written: u64 = facts
        .shapes()
        .filter(|(_, s)| s.class == Class::Db && !only_reads(facts.name(s.template)))
        .filter(|(_, s)| {
            model::sql::operation_and_tables(facts.name(s.template)).tables.iter().any(|w| tables.contains(w))
        })
        .map(|(_, s)| s.calls)
        .sum();
    written * 10 > read
}

/// The reads below each parent as one: what one cache entry would replace.
fn readings(facts: &Facts<'_>, reads: &[ShapeId]) -> Vec<Reading> {
    let mut by_parent: HashMap<NodeId, Reading> = HashMap::new();
    for id in reads {
        for group in &facts.shape(*id).groups {
            let start = facts.forest.trees[group.tree as usize].start_ns;
            for node in facts.nodes(group) {
                let parent = facts.node(*node).parent;
                let at_ns =
                    i64::try_from(start).unwrap_or(i64::MAX).saturating_add(facts.node(parent).start_ns);
                let reading =
                    by_parent.entry(parent).or_insert_with(|| Reading { at_ns, key: 0, nodes: Vec::new() });
                let call = facts.call(*node);
                // A sum does not depend on the order of the reads.
                let params = call.params().unwrap_or(0)
                    ^ (call.template.index() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                reading.key = reading.key.wrapping_add(params.wrapping_mul(0x2545_F491_4F6C_DD1D));
                reading.nodes.push(*node);
            }
        }
    }
    let mut readings: Vec<Reading> = by_parent.into_values().collect();
    readings.sort_by_key(|r| (r.at_ns, r.nodes.first().copied()));
    readings
}

/// Which readings a cache of so many entries and seconds would have answered: least recently used goes first.
fn hits(readings: &[Reading], entries: usize, ttl_s: f64) -> HashSet<usize> {
    let mut filled: HashMap<u64, (i64, usize)> = HashMap::new();
    let mut order: BTreeMap<usize, u64> = BTreeMap::new();
    let mut hits = HashSet::new();
    for (at, reading) in readings.iter().enumerate() {
        let fresh = filled
            .get(&reading.key)
            .filter(|(since, _)| ((reading.at_ns - since) as f64) < ttl_s * 1e9)
            .copied();
        let since = match fresh {
            Some((since, _)) => {
                hits.insert(at);
                since
            }
            None => reading.at_ns,
        };
        if let Some((_, used)) = filled.insert(reading.key, (since, at)) {
            order.remove(&used);
        }
        order.insert(at, reading.key);
        if filled.len() > entries
            && let Some((_, oldest)) = order.pop_first()
        {
            filled.remove(&oldest);
        }
    }
    hits
}

fn candidate(
    facts: &Facts<'_>,
    reads: &[ShapeId],
    readings: &[Reading],
    hits: &HashSet<usize>,
    share: f64,
) -> Candidate {
    let t = facts.thresholds;
    let ratio = hits.len() as f64 / readings.len().max(1) as f64;
    let heaviest = reads
        .iter()
        .max_by(|a, b| facts.shape(**a).path_share.total_cmp(&facts.shape(**b).path_share).then(b.cmp(a)));
    let main = heaviest.copied().unwrap_or(NO_SHAPE);
    let name = facts.name(facts.shape(main).template);
    let title =
        format!("{:.0} % of reads repeat one of the last {:.0} s: {name}", ratio * 100.0, t.cache_ttl_s);
    let mut candidate = Candidate::on_shape(facts, main, title);
    // A read of another service is a symptom where its cause was found there; one of the database may have an index
    // missing as well.
    if facts.shape(main).class == Class::Db {
        candidate.claims.clear();
    }
    candidate.share_of_critical_path = Some(share.min(1.0));
    candidate.lines = vec![
        format!(
            "{} of {} readings would have been answered by a cache of {} entries",
            hits.len(),
            readings.len(),
            t.cache_entries
        ),
        format!(
            "the reads hold {:.0} % of the critical path; the tables are hardly written to",
            share * 100.0
        ),
    ];
    candidate.fix = Some(fix(facts, reads, readings, hits));
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: format!(
            "keep the result for up to {:.0} s (in the process, or in Redis where several processes must agree), bounded in size, invalidated on write",
            t.cache_ttl_s
        ),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.7;
    candidate
}

fn fix(facts: &Facts<'_>, reads: &[ShapeId], readings: &[Reading], hits: &HashSet<usize>) -> Fix {
    let mut saved: HashSet<NodeId> = HashSet::new();
    let mut everything: HashSet<NodeId> = HashSet::new();
    let mut shapes: Vec<ShapeId> = reads.to_vec();
    for (at, reading) in readings.iter().enumerate() {
        let mut nodes = reading.nodes.clone();
        nodes.extend(connections(facts, &reading.nodes));
        for node in &nodes {
            let shape = facts.shapes.of_node[*node as usize];
            if shape != NO_SHAPE && !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        everything.extend(&nodes);
        if hits.contains(&at) {
            saved.extend(nodes);
        }
    }
    shapes.sort_unstable();
    let hit_ns = facts.thresholds.cache_hit_ms * 1e6;
    let to = |nodes: HashSet<NodeId>| -> Vec<Transform> {
        let nodes = Arc::new(nodes);
        let transform = |of: &ShapeId| {
            let nodes = Arc::clone(&nodes);
            let cost =
                Cost::Each(Arc::new(move |case| if nodes.contains(&case.node) { hit_ns } else { case.ns }));
            Transform::Duration { of: *of, to: cost }
        };
        shapes.iter().map(transform).collect()
    };
    Fix {
        point: to(saved),
        least: Vec::new(),
        most: to(everything),
        grade: Grade::B,
        assumption: "keys repeat as they did in the recording, beginning with an empty cache; p95 moves only where misses are rare"
            .to_owned(),
    }
}

/// The connections that were made or taken just before the reads, where the parent calls nothing else on them.
fn connections(facts: &Facts<'_>, reads: &[NodeId]) -> Vec<NodeId> {
    let Some(parent) = reads.first().map(|n| facts.node(*n).parent) else { return Vec::new() };
    let siblings: Vec<NodeId> = facts.forest.children(parent).collect();
    let other = siblings.iter().any(|n| facts.node(*n).class == Class::Db && !reads.contains(n));
    if other {
        return Vec::new();
    }
    siblings.into_iter().filter(|n| facts.node(*n).class == Class::Pool).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn the_same_key_in_every_request_is_one_finding() {
        check_rule(
            "uncached_read",
            &drawn(
                r#"
            repeat 40
            api server "GET /products/{id}" 0..40
              api client "connect" 1..11
              api db "SELECT * FROM products WHERE id = $1" 12..37 db.query.parameter.0=7
            "#,
            ),
            &expect![[r#"
                uncached_read GET /products/{id} | 98 % of reads repeat one of the last 30 s: SELECT * FROM products WHERE id = $1 | p95 40.0 -> 5.0 (5.0..40.0) B
            "#]],
        );
    }

    #[test]
    fn a_key_that_never_comes_again_is_none() {
        check_rule(
            "uncached_read",
            &drawn(
                r#"
            repeat 40
            api server "GET /products/{id}" 0..40
              api db "SELECT * FROM products WHERE id = $1" 2..37 db.query.parameter.0={t}
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn unknown_parameters_are_not_taken_for_equal() {
        check_rule(
            "uncached_read",
            &drawn(
                r#"
            repeat 40
            api server "GET /products/{id}" 0..40
              api db "SELECT * FROM products WHERE id = $1" 2..37
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn a_table_that_is_written_as_often_is_none() {
        check_rule(
            "uncached_read",
            &drawn(
                r#"
            repeat 40
            api server "GET /products/{id}" 0..40
              api db "SELECT * FROM products WHERE id = $1" 2..37 db.query.parameter.0=7

            repeat 20
            api server "PUT /products/{id}" 0..40
              api db "UPDATE products SET price = $1 WHERE id = $2" 2..37
            "#,
            ),
            &expect![[""]],
        );
    }
}
