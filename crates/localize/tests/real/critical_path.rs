//! The critical path and its exclusive drag against what Uber's CRISP computes on its own 25 test traces.
//! `docs/critical-path.md` says how the two agree.

use crate::support;
use localize::critical;
use localize::facts::Facts;
use localize::simulate::Simulator;
use localize::thresholds::Thresholds;
use model::Recording;
use serde_json::Value as Json;

#[test]
fn path_and_drag_are_those_of_crisp() {
    let text =
        std::fs::read_to_string(support::testdata("critical-path/expected.json")).expect("expected.json");
    let expected: Json = serde_json::from_str(&text).expect("JSON");
    let mut differences = Vec::new();
    for number in 1..=25 {
        let file = format!("{number}.json");
        let recording =
            Recording { spans: support::jaeger(&format!("critical-path/{file}")), ..Recording::default() };
        let thresholds = Thresholds::default();
        let facts = Facts::gather(&recording, &thresholds, true);
        let tree = facts.forest.trees.first().expect("a tree");
        let mut path = Vec::new();
        let mut drag = serde_json::Map::new();
        for node in critical::path(&facts.forest, &facts.critical, tree) {
            let name = support::short_name(recording.spans.span_ids[facts.node(node).row as usize]);
            drag.insert(name.clone(), Json::from(facts.critical.drag_ns[node as usize] / 1_000));
            path.push(name);
        }
        let found = serde_json::json!({
            "root_us": facts.forest.root_ns(tree) / 1_000,
            "critical_path": path,
            "drag_exclusive_us": drag,
        });
        if found != expected[&file] {
            differences.push(format!("{file}: found {found}, expected {}", expected[&file]));
        }
        let of_tree = tree.root as usize..tree.end as usize;
        let own: i64 = facts.critical.path_ns[of_tree].iter().sum();
        assert_eq!(own, facts.forest.root_ns(tree), "{file}: own times add up to the root");
        let again = Simulator::new(facts.stage()).root_ns(0, &[]);
        assert!(
            (again - own as f64).abs() <= own as f64 * 1e-3,
            "{file}: run again: {again}, recorded: {own}"
        );
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
