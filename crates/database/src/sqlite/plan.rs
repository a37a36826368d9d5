//! What `EXPLAIN QUERY PLAN` says, as a tree, and what of it is expensive: scans of whole tables, sorts, indexes that are
//! made anew with every call.

use super::schema::{number, text};
use model::PlanNode;
use serde_json::Value;
use std::collections::BTreeSet;

/// A plan and the names (aliases) in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Explained {
    pub(super) root: PlanNode,
    /// Read from end to end, without an index.
    pub(super) scanned: Vec<String>,
    /// Read by an index that is made for the call and thrown away.
    pub(super) automatic: Vec<String>,
    /// `ORDER BY`, `GROUP BY`, `DISTINCT` ... without an index.
    pub(super) sorts: Vec<String>,
    /// Names of indexes that it uses.
    pub(super) indexes: BTreeSet<String>,
}

/// The tree of the rows, and their meaning.
pub(super) fn read(rows: &[Value]) -> Explained {
    let mut explained = Explained::default();
    let mut nodes: Vec<(i64, i64, PlanNode)> = Vec::new();
    for row in rows {
        let node = node(text(row, "detail"), &mut explained);
        nodes.push((number(row, "id") as i64, number(row, "parent") as i64, node));
    }
    // Children stand behind their parents: from the end each finds its parent still there.
    let mut top = Vec::new();
    while let Some((_, parent, mut node)) = nodes.pop() {
        node.children.reverse();
        match nodes.iter_mut().rev().find(|(id, _, _)| *id == parent) {
            Some((_, _, above)) => above.children.push(node),
            None => top.push(node),
        }
    }
    top.reverse();
    explained.root = match top.len() {
        1 => top.remove(0),
        _ => PlanNode { kind: "QUERY PLAN".to_owned(), children: top, ..PlanNode::default() },
    };
    explained
}

/// One line: `SEARCH o USING COVERING INDEX ic (c=? AND at>?)`.
fn node(detail: &str, explained: &mut Explained) -> PlanNode {
    let mut node = PlanNode::default();
    if let Some(sort) = detail.strip_prefix("USE TEMP B-TREE FOR ") {
        detail.clone_into(&mut node.kind);
        explained.sorts.push(sort.to_owned());
        return node;
    }
    let Some((kind @ ("SCAN" | "SEARCH"), rest)) = detail.split_once(' ') else {
        detail.clone_into(&mut node.kind);
        return node;
    };
    kind.clone_into(&mut node.kind);
    let (alias, how) = named(rest);
    let by_itself = alias.is_empty() || alias == "CONSTANT ROW" || alias.starts_with("SUBQUERY ");
    node.relation = (!by_itself).then(|| alias.to_owned());
    node.index_condition = how.split_once(" (").map(|(_, rest)| inner(rest).to_owned());
    let automatic = how.contains("USING AUTOMATIC");
    if let Some((_, index)) = how.split_once(" INDEX ").filter(|_| !automatic && !how.contains(VIRTUAL)) {
        let end = index.find(" (").unwrap_or(index.len());
        node.index = Some(index[..end].trim_end_matches(OUTER).to_owned());
        explained.indexes.extend(node.index.clone());
    } else if how.contains("PRIMARY KEY") {
        node.index = Some("PRIMARY KEY".to_owned());
    }
    if automatic {
        explained.automatic.push(alias.to_owned());
    } else if node.kind == "SCAN" && node.index.is_none() && !by_itself && !how.contains(VIRTUAL) {
        explained.scanned.push(alias.to_owned());
    }
    node
}

const VIRTUAL: &str = " VIRTUAL TABLE";
/// Of a table that is joined from outside.
const OUTER: &str = " LEFT-JOIN";

/// The name that a line is about, and how it is read. Names are not quoted there and may hold blanks.
fn named(rest: &str) -> (&str, &str) {
    let ends = [" USING ", VIRTUAL, OUTER].into_iter().filter_map(|end| rest.find(end));
    let (name, how) = rest.split_at(ends.min().unwrap_or(rest.len()));
    // Before 3.36 it said SCAN TABLE t AS a.
    let name = match name.strip_prefix("TABLE ") {
        Some(old) => old.split_once(" AS ").map_or(old, |(_, alias)| alias),
        None => name,
    };
    (name, how)
}

/// Up to the bracket that closes.
fn inner(rest: &str) -> &str {
    rest.rfind(')').map_or(rest, |end| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::read;
    use serde_json::json;

    #[test]
    fn plans_are_trees() {
        let rows = [
            json!({"id": 3, "parent": 0, "detail": "MATERIALIZE z"}),
            json!({"id": 10, "parent": 3, "detail": "SCAN o USING COVERING INDEX ic"}),
            json!({"id": 44, "parent": 0, "detail": "SCAN i"}),
            json!({"id": 59, "parent": 0, "detail": "SEARCH z USING AUTOMATIC COVERING INDEX (c=?)"}),
            json!({"id": 60, "parent": 0, "detail": "SEARCH x USING INTEGER PRIMARY KEY (rowid=?)"}),
            json!({"id": 61, "parent": 0, "detail": "SCAN TABLE orders AS old"}),
            json!({"id": 62, "parent": 0, "detail": "SCAN CONSTANT ROW"}),
            json!({"id": 65, "parent": 0, "detail": "USE TEMP B-TREE FOR ORDER BY"}),
        ];
        let explained = read(&rows);
        assert_eq!(explained.scanned, ["i", "old"]);
        assert_eq!(explained.automatic, ["z"]);
        assert_eq!(explained.sorts, ["ORDER BY"]);
        assert_eq!(explained.indexes.iter().collect::<Vec<_>>(), ["ic"]);
        assert_eq!(explained.root.children.len(), 7);
        let inner = &explained.root.children[0].children[0];
        assert_eq!(
            (inner.kind.as_str(), inner.relation.as_deref(), inner.index.as_deref()),
            ("SCAN", Some("o"), Some("ic"))
        );
        assert_eq!(explained.root.children[2].index_condition.as_deref(), Some("c=?"));
    }

    #[test]
    fn names_may_hold_blanks() {
        let rows = [
            json!({"id": 1, "parent": 0, "detail": "SCAN order items"}),
            json!({"id": 2, "parent": 0, "detail": "SCAN old (2020) LEFT-JOIN"}),
            json!({"id": 3, "parent": 0, "detail": "SEARCH order items USING INDEX by order (order id=?) LEFT-JOIN"}),
            json!({"id": 4, "parent": 0, "detail": "SCAN full text VIRTUAL TABLE INDEX 0:M3"}),
            json!({"id": 5, "parent": 0, "detail": "SEARCH o i USING AUTOMATIC COVERING INDEX (c=?)"}),
        ];
        let explained = read(&rows);
        assert_eq!(explained.scanned, ["order items", "old (2020)"]);
        assert_eq!(explained.automatic, ["o i"]);
        assert_eq!(explained.indexes.iter().collect::<Vec<_>>(), ["by order"]);
        let search = &explained.root.children[2];
        assert_eq!(search.relation.as_deref(), Some("order items"));
        assert_eq!(search.index_condition.as_deref(), Some("order id=?"));
    }

    #[test]
    fn nonsense_is_a_tree_too() {
        for rows in
            [vec![], vec![json!({"detail": 5})], vec![json!({"id": 1, "parent": 1, "detail": "SCAN"})]]
        {
            assert!(read(&rows).scanned.is_empty() && read(&rows).indexes.is_empty());
        }
    }
}
