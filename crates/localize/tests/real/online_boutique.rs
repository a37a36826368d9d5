//! A healthy minute of a public microservice demo against twelve minutes with one injected fault each.

use crate::support;
use expect_test::expect;
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
    let text =
        std::fs::read_to_string(support::testdata("online-boutique/labels.json")).expect("labels.json");
    let labels: Json = serde_json::from_str(&text).expect("JSON");
    let healthy = recording("healthy");
    let (mut right, mut lines) = (0, Vec::new());
    for fault in labels["faults"].as_array().expect("faults") {
        let file = fault["traces"].as_str().expect("a file");
        let now = recording(file.trim_end_matches(".jsonl.gz"));
        let options = Options { baseline: Some(&healthy), ..Options::default() };
        let diagnosis = localize(&now, &options);
        let suspects = diagnosis.findings.iter().filter(|f| f.title.contains("baseline"));
        let named: Vec<&str> = suspects.map(|f| f.service.as_str()).collect();
        let expected = fault["service"].as_str().expect("a service");
        right += usize::from(named.first() == Some(&expected));
        lines.push(format!("{file} {} {expected}: {named:?}", fault["kind"].as_str().unwrap_or("")));
    }
    // In minute 5 nothing around the faulty service became slower (14 calls, every quantile as in the healthy minute),
    // in minute 10 one call of 18 did: there the traces do not show the fault, and no service is suspected.
    expect![[r#"
        fault-01.jsonl.gz cpu_contention frontend: ["frontend", "currencyservice", "productcatalogservice"]
        fault-02.jsonl.gz cpu_consumed frontend: ["frontend", "productcatalogservice", "adservice"]
        fault-03.jsonl.gz network_delay cartservice: ["cartservice", "frontend", "checkoutservice"]
        fault-04.jsonl.gz cpu_contention cartservice: ["cartservice", "frontend"]
        fault-05.jsonl.gz network_delay checkoutservice: []
        fault-06.jsonl.gz cpu_consumed checkoutservice: ["checkoutservice"]
        fault-07.jsonl.gz cpu_contention currencyservice: ["currencyservice", "frontend"]
        fault-08.jsonl.gz network_delay currencyservice: ["currencyservice", "frontend", "checkoutservice"]
        fault-09.jsonl.gz cpu_contention emailservice: ["emailservice"]
        fault-10.jsonl.gz network_delay paymentservice: []
        fault-11.jsonl.gz cpu_contention paymentservice: ["paymentservice"]
        fault-12.jsonl.gz network_delay productcatalogservice: ["productcatalogservice", "frontend", "recommendationservice"]"#]].assert_eq(&lines.join("\n"));
    assert!(right >= 10, "{right} of 12");
}

#[test]
fn a_healthy_minute_against_itself_has_no_suspect() {
    let healthy = recording("healthy");
    let options = Options { baseline: Some(&healthy), ..Options::default() };
    let diagnosis = localize(&healthy, &options);
    let suspects = diagnosis.findings.iter().filter(|f| f.title.contains("baseline")).count();
    assert_eq!(suspects, 0);
}

#[test]
fn healthy_traffic_has_at_most_one_large_finding_an_endpoint() {
    let diagnosis = localize(&recording("healthy"), &Options::default());
    let large =
        diagnosis.findings.iter().filter(|f| f.prediction.as_ref().is_some_and(|p| p.gain_share() >= 0.10));
    let mut endpoints: Vec<(&str, &str, &str)> =
        large.map(|f| (f.endpoint.as_str(), f.rule.as_str(), f.title.as_str())).collect();
    endpoints.sort_unstable();
    let found = endpoints.len();
    endpoints.dedup_by_key(|e| e.0);
    assert_eq!(found, endpoints.len());
}
