//! `lock_wait`: writes to the same rows wait for each other's transactions.

use super::patterns::effect::{Effect, effect, of_template, subjects, summary};
use super::patterns::nodes::is_open_after;
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId, quantile};
use crate::simulate::{Cost, Transform};
use crate::tree::{NodeId, TreeId};
use hashbrown::{HashMap, HashSet};
use model::{Grade, Remedy, RemedyKind};
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "lock_wait",
    needs: &[Signal::Traces, Signal::Statements],
    why: "A row that everybody writes is a queue: its length is the time that each transaction stays open, and no index makes it shorter.",
    how: "A write (or SELECT ... FOR UPDATE) takes 20 ms or more at p95, three times as long as its quickest quarter, and 60 % of the slow ones end just when another request's transaction on the same table is committed, which began to hold its lock before; more often than chance would have it.",
    predicts: "Slow writes take as long as the quickest quarter does.",
    run,
};

/// Of a statement's end and a commit that let it go on, the difference at most: this, nanoseconds, ...
const LET_GO_NS: f64 = 2e6;
/// ... or this share of the wait.
const LET_GO_SHARE: f64 = 0.05;
/// Commits before a statement's end that are looked at.
const MAX_LOOKED: usize = 64;

/// A table's rows held by one transaction, Unix nanoseconds.
#[derive(Clone, Copy)]
struct Hold {
    until: i64,
    from: i64,
    tree: TreeId,
}

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let slow: Vec<(ShapeId, &Shape)> = facts.shapes().filter(|(_, s)| may_wait(facts, s)).collect();
    if slow.is_empty() {
        return Vec::new();
    }
    let holds = holds(facts);
    slow.into_iter().filter_map(|(id, shape)| on_shape(facts, id, shape, &holds)).collect()
}

fn may_wait(facts: &Facts<'_>, shape: &Shape) -> bool {
    shape.class == Class::Db
        && effect(facts, shape) == Effect::Write
        && shape.duration_p95_ns >= facts.thresholds.lock_wait_ms * 1e6
}

/// By table, in the order in which they let go: what each transaction held, or each statement outside of one.
fn holds(facts: &Facts<'_>) -> HashMap<String, Vec<Hold>> {
    let mut out: HashMap<String, Vec<Hold>> = HashMap::new();
    let mut tables: HashMap<model::Sym, Option<String>> = HashMap::new();
    for (id, tree) in (0..).zip(&facts.forest.trees) {
        let start = facts.began_ns(id);
        for parent in tree.root..tree.end {
            let mut open = false;
            let mut held: Vec<(String, i64)> = Vec::new();
            for child in facts.forest.children(parent) {
                let this = facts.node(child);
                if this.class != Class::Db {
                    continue;
                }
                let template = facts.call(child).template;
                let table = tables.entry(template).or_insert_with(|| written(facts.name(template)));
                let until = start + this.end_ns;
                let was_open = open;
                open = is_open_after(facts, child, open);
                if let Some(table) = table.clone() {
                    held.push((table, start + this.start_ns));
                }
                if !open && (was_open || !held.is_empty()) {
                    for (table, from) in held.drain(..) {
                        out.entry(table).or_default().push(Hold { until, from, tree: id });
                    }
                }
            }
        }
    }
    for all in out.values_mut() {
        all.sort_unstable_by_key(|h| (h.until, h.from, h.tree));
    }
    out
}

/// The table that a statement writes to.
fn written(template: &str) -> Option<String> {
    let writes = of_template(Class::Db, template) == Effect::Write;
    writes.then(|| subjects(Class::Db, template).into_iter().next()).flatten()
}

fn on_shape(
    facts: &Facts<'_>,
    id: ShapeId,
    shape: &Shape,
    holds: &HashMap<String, Vec<Hold>>,
) -> Option<Candidate> {
    let t = facts.thresholds;
    let holds = holds.get(&written(facts.name(shape.template))?)?;
    let calls = || shape.groups.iter().flat_map(|g| facts.nodes(g).iter().map(|n| (g.tree, *n)));
    let mut durations: Vec<f64> = calls().map(|(_, n)| facts.node(n).duration_ns() as f64).collect();
    durations.sort_unstable_by(f64::total_cmp);
    let quick = quantile(&durations, 0.25);
    let limit = (quick * t.lock_wait_ratio).max(t.lock_wait_ms * 1e6);
    let slow: Vec<(TreeId, NodeId)> =
        calls().filter(|(_, n)| facts.node(*n).duration_ns() as f64 >= limit).collect();
    let waited: Vec<(TreeId, NodeId)> =
        slow.iter().copied().filter(|(tree, node)| is_let_go(facts, *tree, *node, holds)).collect();
    let share = waited.len() as f64 / slow.len().max(1) as f64;
    let by_chance = 1.0 - (-2.0 * LET_GO_NS * holds.len() as f64 / (facts.seconds() * 1e9)).exp();
    (!waited.is_empty() && share >= t.lock_wait_share.max(2.0 * by_chance))
        .then(|| candidate(facts, id, quick, share, &waited))
}

/// Whether a statement ends when another request's transaction lets go of the table, which held it before.
fn is_let_go(facts: &Facts<'_>, tree: TreeId, node: NodeId, holds: &[Hold]) -> bool {
    let this = facts.node(node);
    let (start, end) = (facts.began_ns(tree) + this.start_ns, facts.began_ns(tree) + this.end_ns);
    #[expect(clippy::cast_possible_truncation, reason = "a share of a duration")]
    let near = LET_GO_NS.max(LET_GO_SHARE * this.duration_ns() as f64) as i64;
    let to = holds.partition_point(|h| h.until <= end + near / 4);
    let let_go = |h: &Hold| h.tree != tree && h.until >= end - near && h.from < start && h.until > start;
    holds[..to].iter().rev().take(MAX_LOOKED).any(let_go)
}

fn candidate(
    facts: &Facts<'_>,
    id: ShapeId,
    quick: f64,
    share: f64,
    waited: &[(TreeId, NodeId)],
) -> Candidate {
    let shape = facts.shape(id);
    let title = format!("{} waits for other transactions", summary(facts, id));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.place.resource = Some("row lock".to_owned());
    candidate.lines = vec![
        format!(
            "{:.1} ms at p95, {:.1} ms in the quickest quarter; {} of {} calls waited",
            shape.duration_p95_ns / 1e6,
            quick / 1e6,
            waited.len(),
            shape.calls
        ),
        format!(
            "{:.0} % of the slow ones end when another request's transaction on the same table is committed",
            share * 100.0
        ),
    ];
    candidate.trees = waited.iter().map(|w| w.0).collect();
    candidate.trees.dedup();
    let nodes: Arc<HashSet<NodeId>> = Arc::new(waited.iter().map(|w| w.1).collect());
    let to = move |left: f64| {
        let nodes = Arc::clone(&nodes);
        let shorter = move |case: &crate::simulate::Case| {
            let excess = (case.ns - quick).max(0.0);
            if nodes.contains(&case.node) { case.ns - excess * (1.0 - left) } else { case.ns }
        };
        vec![Transform::Duration { of: id, to: Cost::Each(Arc::new(shorter)) }]
    };
    candidate.fix = Some(Fix {
        point: to(0.0),
        least: to(0.5),
        most: to(0.0),
        grade: Grade::B,
        assumption: "nobody waits for a lock any more".to_owned(),
        load: LoadEffect::Included,
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "write the contended row last and commit at once, with no call in between; take rows in one order everywhere; SKIP LOCKED for queues; spread a counter over several rows, or append and add up later"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.8;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    /// Requests come every 100 ms. At first each is done before the next; then each commits after the next began.
    const DRAWING: &str = r#"
        repeat 20
        api server "POST /pay" 0..20
          api db "BEGIN" 0..1
          api db "UPDATE accounts SET total = $1 WHERE id = $2" 2..4
          api db "COMMIT" 14..15

        repeat 30
        api server "POST /pay" 0..160
          api db "BEGIN" 0..1
          api db "UPDATE accounts SET total = $1 WHERE id = $2" 2..51
          api db "COMMIT" 149..150
        "#;

    #[test]
    fn writes_that_end_with_anothers_commit_are_one_finding() {
        check_rule(
            "lock_wait",
            &drawn(DRAWING),
            &expect![[r#"
                lock_wait POST /pay | UPDATE accounts waits for other transactions | p95 160.0 -> 113.0 (113.0..160.0) B
            "#]],
        );
    }

    #[test]
    fn slow_writes_that_nobody_let_go_are_none() {
        check_rule("lock_wait", &drawn(&DRAWING.replace("149..150", "120..121")), &expect![[""]]);
    }

    #[test]
    fn writes_that_are_always_slow_are_none() {
        check_rule(
            "lock_wait",
            &drawn(&DRAWING.replace("2..4", "2..51").replace("0..20", "0..70")),
            &expect![[""]],
        );
    }

    #[test]
    fn without_statements_the_rule_does_not_run() {
        check_rule(
            "lock_wait",
            &drawn("api server \"POST /\" 0..100"),
            &expect![[r#"
                not run: lock_wait (statement text on database spans)
            "#]],
        );
    }
}
