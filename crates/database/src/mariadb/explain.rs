//! `EXPLAIN FORMAT=JSON` of MariaDB and MySQL as one tree, and which tables it reads as a whole.

use crate::query::{Dialect, without_values};
use model::PlanNode;
use serde_json::Value;

/// Deeper plans are cut.
const MAX_DEPTH: usize = 48;
/// Parts of a plan that are shown as a node of their own.
const NODES: [&str; 12] = [
    "query_block",
    "filesort",
    "temporary_table",
    "ordering_operation",
    "grouping_operation",
    "duplicates_removal",
    "union_result",
    "block-nl-join",
    "materialized",
    "window_functions_computation",
    "expression_cache",
    "having_condition",
];

/// How a table is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Access {
    /// Its name in the statement.
    pub(super) alias: String,
    /// Every row is read, of the table or of an index.
    pub(super) whole: bool,
    pub(super) rows: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Explained {
    pub(super) root: PlanNode,
    pub(super) tables: Vec<Access>,
    pub(super) sorts: bool,
}

/// Reads the answer of the server; `None`: it is no plan.
pub(super) fn read(text: &str) -> Option<Explained> {
    let value: Value = serde_json::from_str(text).ok()?;
    let mut explained = Explained::default();
    let mut nodes = below("", &value, &mut explained, 0);
    explained.root = if nodes.len() == 1 {
        nodes.remove(0)
    } else {
        PlanNode { kind: "query".to_owned(), children: nodes, ..PlanNode::default() }
    };
    value.get("query_block").map(|_| explained)
}

fn below(name: &str, value: &Value, explained: &mut Explained, depth: usize) -> Vec<PlanNode> {
    if depth > MAX_DEPTH {
        return Vec::new();
    }
    match value {
        Value::Array(parts) => {
            parts.iter().flat_map(|part| below(name, part, explained, depth + 1)).collect()
        }
        Value::Object(parts) => {
            let children = |explained: &mut Explained| -> Vec<PlanNode> {
                parts.iter().flat_map(|(name, part)| below(name, part, explained, depth + 1)).collect()
            };
            let sorted = name == "filesort" || parts.get("using_filesort") == Some(&Value::Bool(true));
            explained.sorts |= sorted;
            if parts.contains_key("table_name") && parts.contains_key("access_type") {
                let mut node = table(value, explained);
                node.children = children(explained);
                return vec![node];
            }
            if !NODES.contains(&name) {
                return children(explained);
            }
            let cost = value.get("cost").or_else(|| value.pointer("/cost_info/query_cost"));
            let keys = value.get("sort_key").and_then(Value::as_str);
            let mut node = PlanNode {
                kind: name.replace(['_', '-'], " "),
                total_cost: cost.map_or(0.0, number),
                sort_keys: keys.map(|keys| keys.split(", ").map(str::to_owned).collect()).unwrap_or_default(),
                ..PlanNode::default()
            };
            node.children = children(explained);
            vec![node]
        }
        _ => Vec::new(),
    }
}

fn table(value: &Value, explained: &mut Explained) -> PlanNode {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let hidden =
        |key: &str| value.get(key).and_then(Value::as_str).map(|t| without_values(t, Dialect::MySql));
    let rows = value.get("rows").or_else(|| value.get("rows_examined_per_scan")).map_or(0.0, number);
    let access = text("access_type");
    let whole = access == "ALL" || access == "index";
    // `<derived2>` and such are no tables.
    if !text("table_name").starts_with('<') {
        explained.tables.push(Access { alias: text("table_name").to_owned(), whole, rows });
    }
    PlanNode {
        kind: access.to_owned(),
        relation: Some(text("table_name").to_owned()),
        index: value.get("key").and_then(Value::as_str).map(str::to_owned),
        filter: hidden("attached_condition"),
        index_condition: hidden("index_condition"),
        rows,
        ..PlanNode::default()
    }
}

/// MySQL writes numbers as texts.
fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn plans_of_mariadb_are_read() {
        let plan = r#"{"query_block": {"select_id": 1, "nested_loop": [
            {"read_sorted_file": {"filesort": {"sort_key": "o.created_at desc", "table": {"table_name": "o",
              "access_type": "ALL", "rows": 199632, "filtered": 100, "attached_condition": "o.email = 'a@b.c'"}}}},
            {"table": {"table_name": "i", "access_type": "ref", "key": "by_order", "rows": 4}}]}}"#;
        let explained = read(plan).unwrap();
        assert!(explained.sorts && explained.tables[0].whole && !explained.tables[1].whole);
        assert_eq!(explained.root.kind, "query block");
        let sort = &explained.root.children[0];
        assert_eq!(
            (sort.kind.as_str(), &sort.sort_keys[..]),
            ("filesort", &["o.created_at desc".to_owned()][..])
        );
        assert_eq!(sort.children[0].filter.as_deref(), Some("o.email = ?"), "no value is shown");
        assert_eq!(explained.root.children[1].index.as_deref(), Some("by_order"));
    }

    #[test]
    fn plans_of_mysql_are_read() {
        let plan = r#"{"query_block": {"select_id": 1, "cost_info": {"query_cost": "20306.75"}, "ordering_operation":
            {"using_filesort": true, "table": {"table_name": "orders", "access_type": "ALL",
             "rows_examined_per_scan": 199000}}}}"#;
        let explained = read(plan).unwrap();
        assert!(explained.sorts && (explained.root.total_cost - 20_306.75).abs() < 0.01);
        assert!((explained.tables[0].rows - 199_000.0).abs() < 0.1);
    }

    #[test]
    fn nonsense_is_no_plan() {
        for text in ["", "[]", "{}", "null", "{\"query_block\"", &"[".repeat(10_000)] {
            assert_eq!(read(text), None, "{text:.20}");
        }
    }
}
