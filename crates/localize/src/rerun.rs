//! The drawing of a fix: one request of a finding, row by row as it was recorded and as the simulator runs it again.
//! Bounded, whatever the trace: rows stand for shapes, and only the weightiest are drawn.

use crate::facts::Facts;
use crate::predict::round;
use crate::shape::{NO_SHAPE, ShapeId};
use crate::simulate::{Simulator, Transform};
use crate::tree::TreeId;
use hashbrown::{HashMap, HashSet};
use model::{Rerun, RerunRow, Stretch};

/// Rows of one drawing.
const MAX_ROWS: usize = 40;
/// Characters of a name.
const MAX_NAME: usize = 240;

/// Draws a request before and after a fix. `found`: the shapes that the finding is about.
#[must_use]
pub fn draw(
    facts: &Facts<'_>,
    simulator: &mut Simulator<'_>,
    tree: TreeId,
    fix: &[Transform],
    found: &[ShapeId],
) -> Rerun {
    let after_ns = simulator.root_ns(tree, fix);
    let placed = simulator.placed(tree);
    let planted = &facts.forest.trees[tree as usize];
    let mut drawn = Drawn::default();
    let mut hidden = 0;
    for (node, after) in (planted.root..planted.end).zip(placed) {
        let shape = facts.shapes.of_node[node as usize];
        if shape == NO_SHAPE {
            hidden += 1;
            continue;
        }
        let this = facts.node(node);
        drawn.add(facts, shape, (this.start_ns as f64, this.end_ns as f64), after);
    }
    let mut rows = drawn.rows;
    for row in &mut rows {
        row.row.found = found.contains(&row.shape);
        row.row.before = row.before.stretch();
        row.row.after = (row.after.calls > 0).then(|| row.after.stretch());
    }
    let kept = kept(&rows);
    hidden += rows.iter().filter(|row| !kept.contains(&row.shape)).map(|row| row.before.calls).sum::<u64>();
    Rerun {
        trace_id: format!("{:032x}", planted.trace_id),
        before_ms: round(facts.root_ns(tree) as f64 / 1e6),
        after_ms: round(after_ns.max(0.0) / 1e6),
        rows: in_order(rows, &kept),
        hidden,
    }
}

/// Calls of one shape so far, nanoseconds after the request's start.
#[derive(Clone, Copy)]
struct Calls {
    calls: u64,
    start: f64,
    end: f64,
    total: f64,
}

impl Default for Calls {
    fn default() -> Self {
        Self { calls: 0, start: f64::INFINITY, end: 0.0, total: 0.0 }
    }
}

impl Calls {
    fn add(&mut self, (start, end): (f64, f64)) {
        self.calls += 1;
        self.start = self.start.min(start);
        self.end = self.end.max(end);
        self.total += end - start;
    }

    fn stretch(&self) -> Stretch {
        let ms = |ns: f64| round(ns / 1e6);
        Stretch {
            calls: self.calls,
            start_ms: ms(self.start),
            end_ms: ms(self.end),
            total_ms: ms(self.total),
        }
    }
}

struct Row {
    shape: ShapeId,
    parent: Option<ShapeId>,
    row: RerunRow,
    before: Calls,
    after: Calls,
}

/// Rows by shape, in the order in which they were first seen.
#[derive(Default)]
struct Drawn {
    rows: Vec<Row>,
    at: HashMap<ShapeId, usize>,
}

impl Drawn {
    fn add(&mut self, facts: &Facts<'_>, id: ShapeId, before: (f64, f64), after: Option<(f64, f64)>) {
        let at = *self.at.entry(id).or_insert_with(|| {
            let shape = facts.shape(id);
            let row = RerunRow {
                name: facts.name(shape.template).chars().take(MAX_NAME).collect(),
                service: facts.name(shape.service).chars().take(MAX_NAME).collect(),
                class: shape.class.word().to_owned(),
                ..RerunRow::default()
            };
            let (before, after) = (Calls::default(), Calls::default());
            self.rows.push(Row { shape: id, parent: shape.parent, row, before, after });
            self.rows.len() - 1
        });
        self.rows[at].before.add(before);
        if let Some(after) = after {
            self.rows[at].after.add(after);
        }
    }
}

/// Those that the finding is about, then those that take the most time, each with all above it.
fn kept(rows: &[Row]) -> HashSet<ShapeId> {
    let parents: HashMap<ShapeId, Option<ShapeId>> = rows.iter().map(|row| (row.shape, row.parent)).collect();
    let mut order: Vec<&Row> = rows.iter().collect();
    order.sort_by(|a, b| {
        let weight = |row: &Row| (row.parent.is_none(), row.row.found);
        weight(b).cmp(&weight(a)).then(b.before.total.total_cmp(&a.before.total)).then(a.shape.cmp(&b.shape))
    });
    let mut kept: HashSet<ShapeId> = HashSet::new();
    for row in order {
        let mut chain = Vec::new();
        let mut up = Some(row.shape);
        while let Some(shape) = up.filter(|shape| !kept.contains(shape) && parents.contains_key(shape)) {
            chain.push(shape);
            up = parents.get(&shape).copied().flatten();
        }
        if kept.len() + chain.len() <= MAX_ROWS {
            kept.extend(chain);
        }
    }
    kept
}

/// Each row below its parent's, siblings by their first start.
fn in_order(rows: Vec<Row>, kept: &HashSet<ShapeId>) -> Vec<RerunRow> {
    let mut below: HashMap<Option<ShapeId>, Vec<Row>> = HashMap::new();
    let known: HashSet<ShapeId> = rows.iter().map(|row| row.shape).collect();
    for row in rows.into_iter().filter(|row| kept.contains(&row.shape)) {
        let parent = row.parent.filter(|parent| known.contains(parent));
        below.entry(parent).or_default().push(row);
    }
    let mut out = Vec::new();
    let mut open: Vec<(u32, Row)> = Vec::new();
    let mut next = Some((0, None));
    while let Some((depth, parent)) = next {
        let mut children = below.remove(&parent).unwrap_or_default();
        children.sort_by(|a, b| b.before.start.total_cmp(&a.before.start).then(b.shape.cmp(&a.shape)));
        open.extend(children.into_iter().map(|row| (depth, row)));
        next = open.pop().map(|(depth, row)| {
            out.push(RerunRow { depth, ..row.row });
            (depth + 1, Some(row.shape))
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::testing::drawn;
    use crate::{Options, localize};
    use expect_test::{Expect, expect};
    use model::{Recording, Rerun};

    fn of(recording: &Recording, rule: &str) -> Option<Rerun> {
        let found = localize(recording, &Options::default()).findings;
        found.into_iter().find(|f| f.rule == rule).expect("a finding").rerun
    }

    fn check(recording: &Recording, rule: &str, expected: &Expect) {
        let rerun = of(recording, rule).expect("a drawing");
        let mut out = format!("{} -> {} ms, {} hidden\n", rerun.before_ms, rerun.after_ms, rerun.hidden);
        for row in rerun.rows {
            let mark = if row.found { "*" } else { " " };
            let stretch =
                |s: model::Stretch| format!("{} x {}..{} ({})", s.calls, s.start_ms, s.end_ms, s.total_ms);
            let after = row.after.map_or("gone".to_owned(), stretch);
            let indent = "  ".repeat(row.depth as usize);
            out.push_str(&format!(
                "{mark}{indent}{} {} | {} | {after}\n",
                row.class,
                row.name,
                stretch(row.before)
            ));
        }
        expected.assert_eq(&out);
    }

    #[test]
    fn calls_one_by_one_become_one() {
        check(
            &drawn(
                "repeat 20\napi server \"GET /a\" 0..100\n  api db \"SELECT * FROM items WHERE order_id = $1\" 5..12 x10 gap 1 db.query.parameter.0={n}\n  api internal \"render\" 86..99",
            ),
            "n_plus_one",
            &expect![[r#"
                100 -> 32.5 ms, 0 hidden
                 server GET /a | 1 x 0..100 (100) | 1 x 0..32.5 (32.5)
                *  db SELECT * FROM items WHERE order_id = $1 | 10 x 5..84 (70) | 1 x 5..12 (7)
                   internal render | 1 x 86..99 (13) | 1 x 18.5..31.5 (13)
            "#]],
        );
    }

    #[test]
    fn calls_in_sequence_start_together() {
        check(
            &drawn(
                "repeat 20\napi server \"GET /a\" 0..100\n  api http \"GET http://one/x\" 2..40\n    one server \"GET /x\" 3..39\n  api http \"GET http://two/y\" 41..95\n    two server \"GET /y\" 42..94",
            ),
            "serial_calls",
            &expect![[r#"
                100 -> 61.2 ms, 0 hidden
                 server GET /a | 1 x 0..100 (100) | 1 x 0..61.2 (61.2)
                *  http GET one/x | 1 x 2..40 (38) | 1 x 2..40 (38)
                     server GET /x | 1 x 3..39 (36) | 1 x 3..39 (36)
                *  http GET two/y | 1 x 41..95 (54) | 1 x 2.2..56.2 (54)
                     server GET /y | 1 x 42..94 (52) | 1 x 3.2..55.2 (52)
            "#]],
        );
    }

    #[test]
    fn a_wide_trace_is_drawn_in_part_and_the_rest_counted() {
        let others: String = (0_u8..90)
            .map(|n| {
                let name = [b'a' + n / 10, b'a' + n % 10].map(char::from);
                format!(
                    "\n  api internal \"step {}{}\" {}..{}",
                    name[0],
                    name[1],
                    200 + u32::from(n),
                    201 + u32::from(n)
                )
            })
            .collect();
        let recording = drawn(&format!(
            "repeat 20\napi server \"GET /a\" 0..300\n  api db \"SELECT * FROM items WHERE order_id = $1\" 5..12 x10 gap 1 db.query.parameter.0={{n}}{others}"
        ));
        let rerun = of(&recording, "n_plus_one").expect("a drawing");
        assert_eq!((rerun.rows.len(), rerun.hidden), (40, 52));
        assert!(rerun.rows[1].found, "{:?}", rerun.rows[1]);
    }

    #[test]
    fn what_nothing_was_predicted_for_has_none() {
        let recording = drawn("repeat 20\napi server \"GET /a\" 0..100");
        assert_eq!(of(&recording, "not_observable"), None);
    }
}
