//! `lock_wait`: writes to the same rows wait for each other's transactions.

use super::patterns::effect::{Effect, effect, of_template, subjects, summary};
use super::patterns::nodes::is_open_after;
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId, quantile};
use crate::simulate::{Cost, Transform};
use crate::tree::{NodeId, TreeId};
use hashbrown::HashMap;
use model::{Grade, Remedy, RemedyKind};
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "lock_wait",
    needs: &[Signal::Traces, Signal::Statements],
    why: "A row that everybody writes is a queue: its length is the time that each transaction stays open, and no index makes it shorter.",
    how: "A write (or SELECT ... FOR UPDATE) takes 20 ms or more at p95, and either no two transactions hold the table at the same time, from the answer of the first write to the commit, where chance would let 10 pairs or more (fewer than a tenth of that), and 60 % of the slow ones spend most of their time before another one's commit; or 60 % of those that take three times as long as the quickest quarter end just when another request's transaction on the same table is committed, which began to hold its lock before; more often than chance would have it.",
    predicts: "What the write takes after the last of the others let go stays; where only some rows are contended, slow writes take as long as the quickest quarter does.",
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
    /// When its commit was answered, and when it was sent: it let go between.
    until: i64,
    letting: i64,
    /// When its first write was answered, and when it was sent: it was granted the rows between.
    taken: i64,
    from: i64,
    tree: TreeId,
}

/// A call that waited, and how long, nanoseconds.
#[derive(Clone, Copy)]
struct Wait {
    tree: TreeId,
    node: NodeId,
    ns: f64,
}

/// Why a shape's slow calls are held to be waits for a lock.
struct Proof {
    waits: Vec<Wait>,
    line: String,
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
            let mut held: Vec<(String, Hold)> = Vec::new();
            for child in facts.forest.children(parent) {
                let this = facts.node(child);
                if this.class != Class::Db {
                    continue;
                }
                let template = facts.call(child).template;
                let table = tables.entry(template).or_insert_with(|| written(facts.name(template)));
                let (from, until) = (start + this.start_ns, start + this.end_ns);
                let was_open = open;
                open = is_open_after(facts, child, open);
                if let Some(table) = table.clone().filter(|t| held.iter().all(|(known, _)| known != t)) {
                    held.push((table, Hold { until, letting: until, taken: until, from, tree: id }));
                }
                if !open && (was_open || !held.is_empty()) {
                    for (table, hold) in held.drain(..) {
                        let letting = if was_open { from.max(hold.taken) } else { hold.taken };
                        out.entry(table).or_default().push(Hold { until, letting, ..hold });
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
    let holds = holds.get(&written(facts.name(shape.template))?)?;
    let proof = by_turns(facts, shape, holds).or_else(|| by_commits(facts, shape, holds))?;
    Some(candidate(facts, id, proof))
}

fn calls<'f>(facts: &'f Facts<'_>, shape: &'f Shape) -> impl Iterator<Item = (TreeId, NodeId)> + 'f {
    shape.groups.iter().flat_map(|g| facts.nodes(g).iter().map(|n| (g.tree, *n)))
}

/// Start and end of a call, Unix nanoseconds.
fn times(facts: &Facts<'_>, tree: TreeId, node: NodeId) -> (i64, i64) {
    let (began, this) = (facts.began_ns(tree), facts.node(node));
    (began + this.start_ns, began + this.end_ns)
}

/// No two transactions held the table at once, where chance would have let many: they take turns. A call waited until
/// the last of the others that had it let go.
fn by_turns(facts: &Facts<'_>, shape: &Shape, holds: &[Hold]) -> Option<Proof> {
    let t = facts.thresholds;
    let (at_once, by_chance) = held_at_once(holds);
    if by_chance < t.lock_turns || at_once as f64 > t.lock_at_once_share * by_chance {
        return None;
    }
    let mut let_go: Vec<(i64, TreeId)> = holds.iter().map(|h| (h.letting, h.tree)).collect();
    let_go.sort_unstable();
    let wait = |(tree, node): (TreeId, NodeId)| {
        let (start, end) = times(facts, tree, node);
        let to = let_go.partition_point(|l| l.0 <= end);
        let others = let_go[..to].iter().rev().take(MAX_LOOKED);
        let last = others.filter(|l| l.1 != tree).map(|l| l.0).next().filter(|at| *at > start)?;
        Some(Wait { tree, node, ns: (last - start) as f64 })
    };
    let least = t.lock_wait_ms * 1e6;
    let slow: Vec<(TreeId, NodeId)> =
        calls(facts, shape).filter(|(_, n)| facts.node(*n).duration_ns() as f64 >= least).collect();
    let most = |w: &Wait| w.ns >= facts.node(w.node).duration_ns() as f64 / 2.0;
    let waits: Vec<Wait> = slow.iter().filter_map(|call| wait(*call)).filter(most).collect();
    let often = !waits.is_empty() && waits.len() as f64 >= t.lock_wait_share * slow.len() as f64;
    often.then(|| Proof {
        waits,
        line: format!(
            "two transactions held the table at once {at_once} times, where {by_chance:.0} would by chance: they take turns"
        ),
    })
}

/// How many pairs of transactions held a table at the same time, and how many would if each came whenever it liked:
/// `n (n - 1)` times the mean hold over the length of the window.
fn held_at_once(holds: &[Hold]) -> (u64, f64) {
    let first = holds.iter().map(|h| h.from).min().unwrap_or(0);
    let window = (holds.last().map_or(0, |h| h.until) - first).max(1) as f64;
    let mut starts: Vec<i64> = holds.iter().map(|h| h.taken).collect();
    let mut ends: Vec<i64> = holds.iter().map(|h| h.letting).collect();
    starts.sort_unstable();
    ends.sort_unstable();
    let (mut ended, mut pairs) = (0, 0);
    for (begun, start) in starts.iter().enumerate() {
        while ended < begun && ends[ended] <= *start {
            ended += 1;
        }
        pairs += (begun - ended) as u64;
    }
    let held: f64 = holds.iter().map(|h| (h.letting - h.taken) as f64).sum();
    (pairs, (holds.len() as f64 - 1.0) * held / window)
}

/// Most slow calls end just when another transaction commits: also where only some rows are contended.
fn by_commits(facts: &Facts<'_>, shape: &Shape, holds: &[Hold]) -> Option<Proof> {
    let t = facts.thresholds;
    let duration = |node: NodeId| facts.node(node).duration_ns() as f64;
    let mut durations: Vec<f64> = calls(facts, shape).map(|(_, n)| duration(n)).collect();
    durations.sort_unstable_by(f64::total_cmp);
    let quick = quantile(&durations, 0.25);
    let limit = (quick * t.lock_wait_ratio).max(t.lock_wait_ms * 1e6);
    let slow: Vec<(TreeId, NodeId)> = calls(facts, shape).filter(|(_, n)| duration(*n) >= limit).collect();
    let waited = slow.iter().filter(|(tree, node)| is_let_go(facts, *tree, *node, holds));
    let waits: Vec<Wait> =
        waited.map(|(tree, node)| Wait { tree: *tree, node: *node, ns: duration(*node) - quick }).collect();
    let share = waits.len() as f64 / slow.len().max(1) as f64;
    let by_chance = 1.0 - (-2.0 * LET_GO_NS * holds.len() as f64 / (facts.seconds() * 1e9)).exp();
    (!waits.is_empty() && share >= t.lock_wait_share.max(2.0 * by_chance)).then(|| Proof {
        waits,
        line: format!(
            "{:.0} % of the slow ones end when another request's transaction on the same table is committed",
            share * 100.0
        ),
    })
}

/// Whether a statement ends when another request's transaction lets go of the table, which held it before.
fn is_let_go(facts: &Facts<'_>, tree: TreeId, node: NodeId, holds: &[Hold]) -> bool {
    let (start, end) = times(facts, tree, node);
    #[expect(clippy::cast_possible_truncation, reason = "a share of a duration")]
    let near = LET_GO_NS.max(LET_GO_SHARE * (end - start) as f64) as i64;
    let to = holds.partition_point(|h| h.until <= end + near / 4);
    let let_go = |h: &Hold| h.tree != tree && h.until >= end - near && h.from < start && h.until > start;
    holds[..to].iter().rev().take(MAX_LOOKED).any(let_go)
}

fn candidate(facts: &Facts<'_>, id: ShapeId, proof: Proof) -> Candidate {
    let shape = facts.shape(id);
    let title = format!("{} waits for other transactions", summary(facts, id));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.place.resource = Some("row lock".to_owned());
    let mut lengths: Vec<f64> = proof.waits.iter().map(|w| w.ns).collect();
    lengths.sort_unstable_by(f64::total_cmp);
    candidate.lines = vec![
        format!(
            "{:.1} ms at p95; {} of {} calls waited, {:.1} ms of it at the median",
            shape.duration_p95_ns / 1e6,
            proof.waits.len(),
            shape.calls,
            quantile(&lengths, 0.5) / 1e6
        ),
        proof.line,
    ];
    candidate.trees = proof.waits.iter().map(|w| w.tree).collect();
    candidate.trees.dedup();
    let waits: Arc<HashMap<NodeId, f64>> = Arc::new(proof.waits.iter().map(|w| (w.node, w.ns)).collect());
    let to = move |left: f64| {
        let waits = Arc::clone(&waits);
        let shorter = move |case: &crate::simulate::Case| {
            let waited = waits.get(&case.node).map_or(0.0, |ns| ns.min(case.ns));
            case.ns - waited * (1.0 - left)
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

    /// Everybody waits: requests come every 100 ms, each holds the row for 90 ms, and the queue has grown.
    #[test]
    fn a_row_that_is_taken_in_turns_is_one_finding_though_every_write_waits() {
        check_rule(
            "lock_wait",
            &drawn(
                r#"
            repeat 60
            api server "POST /pay" 0..600
              api db "BEGIN" 0..1
              api db "UPDATE accounts SET total = $1 WHERE id = $2" 2..501
              api db "COMMIT" 590..596
            "#,
            ),
            &expect![[r#"
                lock_wait POST /pay | UPDATE accounts waits for other transactions | p95 600.0 -> 112.0 (112.0..600.0) B
            "#]],
        );
    }

    /// The same times, but rows of their own: as many hold the table at once as chance would let.
    #[test]
    fn slow_writes_to_rows_of_their_own_are_none() {
        check_rule(
            "lock_wait",
            &drawn(
                r#"
            repeat 60
            api server "POST /pay" 0..600
              api db "BEGIN" 0..1
              api db "UPDATE accounts SET total = $1 WHERE id = $2" 2..201
              api db "COMMIT" 590..596
            "#,
            ),
            &expect![[""]],
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
