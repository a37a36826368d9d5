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
    let words: Vec<&str> = detail.split_whitespace().collect();
    if let Some(sort) = detail.strip_prefix("USE TEMP B-TREE FOR ") {
        detail.clone_into(&mut node.kind);
        explained.sorts.push(sort.to_owned());
        return node;
    }
    let [kind @ ("SCAN" | "SEARCH"), rest @ ..] = words.as_slice() else {
        detail.clone_into(&mut node.kind);
        return node;
    };
    (*kind).clone_into(&mut node.kind);
    // Before 3.36 it said SCAN TABLE t AS a.
    let rest = rest.strip_prefix(&["TABLE"]).unwrap_or(rest);
    let by_itself = ["CONSTANT", "SUBQUERY"].contains(rest.first().unwrap_or(&"CONSTANT"));
    let alias = match rest {
        [_, "AS", alias, ..] => alias,
        [name, ..] => name,
        [] => "",
    };
    node.relation = (!by_itself).then(|| alias.to_owned());
    node.index_condition = detail.split_once(" (").map(|(_, rest)| rest.trim_end_matches(')').to_owned());
    let automatic = detail.contains("USING AUTOMATIC");
    if let Some((_, index)) = detail.split_once("INDEX ").filter(|_| !automatic) {
        node.index = index.split_whitespace().next().map(str::to_owned);
        explained.indexes.extend(node.index.clone());
    } else if detail.contains("PRIMARY KEY") {
        node.index = Some("PRIMARY KEY".to_owned());
    }
    if automatic {
        explained.automatic.push(alias.to_owned());
    } else if node.kind == "SCAN" && node.index.is_none() && !by_itself && !detail.contains("VIRTUAL TABLE") {
        explained.scanned.push(alias.to_owned());
    }
    node
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
    fn nonsense_is_a_tree_too() {
        for rows in
            [vec![], vec![json!({"detail": 5})], vec![json!({"id": 1, "parent": 1, "detail": "SCAN"})]]
        {
            assert!(read(&rows).scanned.is_empty() && read(&rows).indexes.is_empty());
        }
    }
}
