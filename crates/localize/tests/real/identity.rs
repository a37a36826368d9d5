//! A request that is run again without a fix takes as long as it took: on traces of all origins.

use crate::support;
use localize::facts::Facts;
use localize::simulate::Simulator;
use localize::thresholds::Thresholds;
use model::{Recording, SpanTable};

/// How far off each tree's root comes out, as share of it, ascending.
fn errors(spans: SpanTable) -> Vec<f64> {
    let recording = Recording { spans, ..Recording::default() };
    let thresholds = Thresholds::default();
    let facts = Facts::gather(&recording, &thresholds, false);
    let mut simulator = Simulator::new(facts.stage());
    let mut out: Vec<f64> = (0..)
        .zip(&facts.forest.trees)
        .filter(|(_, tree)| facts.forest.root_ns(tree) > 0)
        .map(|(id, tree)| {
            let recorded = facts.forest.root_ns(tree) as f64;
            (simulator.root_ns(id, &[]) - recorded).abs() / recorded
        })
        .collect();
    out.sort_unstable_by(f64::total_cmp);
    out
}

fn check(what: &str, spans: SpanTable) {
    let errors = errors(spans);
    let at = |q: f64| errors[((errors.len() - 1) as f64 * q).round() as usize];
    assert!(at(0.5) <= 0.001 && at(0.99) <= 0.01, "{what}: median {}, p99 {}", at(0.5), at(0.99));
}

#[test]
fn without_a_fix_the_recorded_time_comes_out() {
    check("a healthy minute", support::otlp_spans("online-boutique/healthy.jsonl.gz"));
    for fault in ["01", "02", "03", "04", "06", "08", "12"] {
        check(fault, support::otlp_spans(&format!("online-boutique/fault-{fault}.jsonl.gz")));
    }
    for number in 1..=25 {
        let file = format!("critical-path/{number}.json");
        check(&file, support::jaeger(&file));
    }
}
