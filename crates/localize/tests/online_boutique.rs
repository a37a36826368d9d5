//! A healthy minute of a public microservice demo against twelve minutes with one injected fault each.

mod support;

use localize::{Options, localize};
use model::{Recording, Run};
use serde_json::Value as Json;

fn recording(name: &str) -> Recording {
    Recording {
        run: Run::default(),
        spans: support::otlp_spans(&format!("online-boutique/{name}.jsonl.gz")),
        metrics: support::otlp_metrics(&format!("online-boutique/{name}.metrics.jsonl.gz")),
        ..Recording::default()
    }
}

#[test]
fn the_faulty_service_comes_first() {
    let text = std::fs::read_to_string(support::testdata("online-boutique/labels.json")).expect("labels.json");
    let labels: Json = serde_json::from_str(&text).expect("JSON");
    let healthy = recording("healthy");
    let (mut right, mut lines) = (0, Vec::new());
    for fault in labels["faults"].as_array().expect("faults") {
        let file = fault["traces"].as_str().expect("a file");
        let now = recording(file.trim_end_matches(".jsonl.gz"));
        let options = Options { baseline: Some(&healthy), ..Options::default() };
        let diagnosis = localize(&now, &options);
        let named: Vec<&str> = diagnosis.findings.iter().map(|f| f.service.as_str()).take(3).collect();
        let expected = fault["service"].as_str().expect("a service");
        right += usize::from(named.first() == Some(&expected));
        lines.push(format!("{file} {} {expected}: {named:?}", fault["kind"].as_str().unwrap_or("")));
    }
    println!("{}", lines.join("\n"));
    assert_eq!(right, 12, "{}", lines.join("\n"));
}
