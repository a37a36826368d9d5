//! `cache_stampede`: behind a cache, many requests load the same missing entry at the same moment.

use super::patterns::effect::{Effect, effect, subjects, summary};
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Group, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use crate::tree::{NodeId, TreeId};
use hashbrown::HashMap;
use model::{Grade, Remedy, RemedyKind, Severity};
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "cache_stampede",
    needs: &[Signal::Traces],
    why: "When a popular entry expires, everybody loads it at once, and the source gets in a second what the cache kept from it for minutes.",
    how: "A read follows a look into a cache in the same handling (a miss), 20 % or more of such reads start while an equal one (same parameters, another request of the service) is still on its way, three or more at once, and they hold 10 % of the critical path. Reads without a cache before them are `uncached_read`'s.",
    predicts: "A read that another one has begun waits for that one's end instead of its own.",
    run,
};

/// Where all but one of so many requests make the read, no cache answers it.
const NEVER_HIT: u64 = 50;
/// Groups that are asked whether a cache was looked into before.
const MAX_GROUPS: usize = 50;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts.shapes().filter(|(_, s)| is_read(facts, s)).filter_map(|(id, s)| on_shape(facts, id, s)).collect()
}

fn is_read(facts: &Facts<'_>, shape: &Shape) -> bool {
    let kind = match shape.class {
        Class::Db => !subjects(Class::Db, facts.name(shape.template)).is_empty(),
        Class::Http => true,
        _ => false,
    };
    kind && effect(facts, shape) == Effect::Read
        && shape.params_known == shape.calls
        && shape.path_share.max(shape.path_share_tail) >= facts.thresholds.cache_path_share
}

/// Whether requests look into a cache before they make this call.
pub(super) fn follows_cache(facts: &Facts<'_>, shape: &Shape) -> bool {
    // What was looked up never held this read's answer: a session, or another entry.
    if u64::from(shape.traces) * NEVER_HIT >= facts.endpoint_of(shape).trees.len() as u64 * (NEVER_HIT - 1) {
        return false;
    }
    let step = shape.groups.len().div_ceil(MAX_GROUPS).max(1);
    let looked: Vec<&Group> = shape.groups.iter().step_by(step).collect();
    let missed = looked.iter().filter(|group| looked_before(facts, group)).count();
    missed * 2 > looked.len()
}

fn looked_before(facts: &Facts<'_>, group: &Group) -> bool {
    let Some(first) = facts.nodes(group).first().map(|n| facts.node(*n).start_ns) else { return false };
    let within = group.entry..facts.node(group.entry).subtree_end;
    within.into_iter().any(|node| {
        let this = facts.node(node);
        let shape = facts.shapes.of_node[node as usize];
        this.class == Class::Cache
            && this.end_ns <= first
            && facts.shapes.all.get(shape as usize).is_some_and(|s| effect(facts, s) == Effect::Read)
    })
}

/// One call on the clock of all requests.
struct Call {
    params: u64,
    start: i64,
    end: i64,
    tree: TreeId,
    node: NodeId,
}

/// What is gained by waiting for a call that is on its way: by node, its time then.
struct Shared {
    waits: HashMap<NodeId, f64>,
    trees: Vec<TreeId>,
    at_once: usize,
}

fn on_shape(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Option<Candidate> {
    let mut calls: Vec<Call> = Vec::new();
    for group in &shape.groups {
        let began = facts.began_ns(group.tree);
        for &node in facts.nodes(group) {
            let this = facts.node(node);
            let (start, end) = (began + this.start_ns, began + this.end_ns);
            calls.push(Call { params: facts.call(node).params()?, start, end, tree: group.tree, node });
        }
    }
    let shared = shared(calls);
    let t = facts.thresholds;
    let often = shared.waits.len() as f64 >= t.stampede_share * shape.calls.max(1) as f64;
    let is_one = often && shared.at_once >= t.stampede_at_once && follows_cache(facts, shape);
    is_one.then(|| candidate(facts, id, shared))
}

fn shared(mut calls: Vec<Call>) -> Shared {
    calls.sort_unstable_by_key(|c| (c.params, c.start, c.node));
    let mut out = Shared { waits: HashMap::new(), trees: Vec::new(), at_once: 0 };
    for equal in calls.chunk_by(|a, b| a.params == b.params) {
        let mut leader: Option<&Call> = None;
        let mut following = 0;
        for call in equal {
            match leader.filter(|l| call.start < l.end && call.tree != l.tree) {
                Some(first) => {
                    following += 1;
                    out.at_once = out.at_once.max(following + 1);
                    out.waits.insert(call.node, (first.end - call.start) as f64);
                    out.trees.push(call.tree);
                }
                None => (leader, following) = (Some(call), 0),
            }
        }
    }
    out.trees.sort_unstable();
    out.trees.dedup();
    out
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shared: Shared) -> Candidate {
    let shape = facts.shape(id);
    let name = summary(facts, id);
    let share = shared.waits.len() as f64 / shape.calls.max(1) as f64;
    let title = format!("up to {} requests at once load the same entry: {name}", shared.at_once);
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.lines = vec![
        format!(
            "{:.0} % of the {} reads behind the cache start while an equal one is on its way",
            share * 100.0,
            shape.calls
        ),
        format!("such a read takes {:.2} ms at the median", shape.duration_p50_ns / 1e6),
    ];
    candidate.trees = shared.trees;
    let waits = Arc::new(shared.waits);
    let to = |extra: f64| {
        let waits = Arc::clone(&waits);
        let wait = move |case: &crate::simulate::Case| {
            waits.get(&case.node).map_or(case.ns, |ns| case.ns.min(ns + (case.ns - ns).max(0.0) * extra))
        };
        vec![Transform::Duration { of: id, to: Cost::Each(Arc::new(wait)) }]
    };
    candidate.fix = Some(Fix {
        point: to(0.0),
        least: to(1.0),
        most: vec![Transform::Duration {
            of: id,
            to: Cost::Ns(shape.duration_p5_ns.min(shape.duration_p50_ns / 2.0)),
        }],
        grade: Grade::B,
        assumption:
            "equal reads wait for the one that is on its way; that the source is relieved is not counted"
                .to_owned(),
        load: LoadEffect::Added,
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "load each entry once at a time (single flight per key in the process, a short lock in Redis across processes), spread expiry by chance, and renew popular entries before they expire"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.severity = Some(Severity::Info);
    candidate.confidence = 0.85;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    /// Requests come every 100 ms; a load takes longer than three of them.
    const DRAWING: &str = r#"
        repeat 40
        api server "GET /top" 0..400
          api redis "GET top:today" 1..2
          api db "SELECT * FROM products WHERE day = $1" 3..380 db.query.parameter.0=today

        repeat 2
        api server "GET /top" 0..4
          api redis "GET top:today" 1..2
        "#;

    #[test]
    fn equal_loads_behind_a_cache_are_one_finding() {
        check_rule(
            "cache_stampede",
            &drawn(DRAWING),
            &expect![[r#"
                cache_stampede GET /top | up to 4 requests at once load the same entry: SELECT ... FROM products | p95 400.0 -> 400.0 (211.5..400.0) B
            "#]],
        );
    }

    #[test]
    fn a_session_that_is_looked_up_before_is_no_cache_of_it() {
        let (loads, _) = DRAWING.split_once("repeat 2").expect("hits");
        check_rule("cache_stampede", &drawn(loads), &expect![[""]]);
    }

    #[test]
    fn without_a_cache_it_is_another_matter() {
        let plain = DRAWING.replace("          api redis \"GET top:today\" 1..2\n", "");
        check_rule("cache_stampede", &drawn(&plain), &expect![[""]]);
    }

    #[test]
    fn loads_of_different_entries_are_none() {
        check_rule("cache_stampede", &drawn(&DRAWING.replace("=today", "={t}")), &expect![[""]]);
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "cache_stampede",
            &drawn(""),
            &expect![[r#"
                not run: cache_stampede (traces)
            "#]],
        );
    }
}
