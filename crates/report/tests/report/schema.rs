//! The JSON that other programs rely on: every key path with its type, and the order of the keys.
//! After a change that is meant: `UPDATE_EXPECT=1 cargo test -p report schema`, and raise `model::SCHEMA_VERSION`.

use crate::sample;
use expect_test::{expect, expect_file};
use model::{Diagnosis, Judgement};
use serde_json::Value;
use std::collections::BTreeMap;

/// `findings[].prediction.after_ms` to `number`, of a sample in which every field is filled.
pub(crate) fn paths(json: &str) -> String {
    fn walk(path: &str, value: &Value, types: &mut BTreeMap<String, &'static str>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        types.insert(path.to_owned(), kind);
        match value {
            Value::Array(all) => all.iter().for_each(|v| walk(&format!("{path}[]"), v, types)),
            Value::Object(all) => all.iter().for_each(|(k, v)| {
                let path = if path.is_empty() { k.clone() } else { format!("{path}.{k}") };
                walk(&path, v, types);
            }),
            _ => {}
        }
    }
    let mut types = BTreeMap::new();
    walk("", &serde_json::from_str(json).expect("JSON"), &mut types);
    types.remove("");
    let mut text = serde_json::to_string_pretty(&types).expect("plain data");
    text.push('\n');
    text
}

#[test]
fn the_diagnosis_has_the_keys_and_types_that_others_rely_on() {
    let mut full = sample::diagnosis(false);
    full.findings.truncate(1);
    let rate = model::Rate { value: 1.5, low: 1.25, high: 1.75 };
    full.time = vec![model::TimeSpent {
        endpoint: "GET /a".to_owned(),
        mean_ms: 10.5,
        database_ms: Some(rate),
        cache_ms: Some(rate),
        cpu_ms: Some(rate),
        cpu_queue_ms: Some(rate),
        rest_ms: 0.5,
        statements: Some(rate),
        residual: 0.01,
    }];
    expect_file!["../../../../docs/schema/diagnosis.json"].assert_eq(&paths(&report::json(&full)));
}

#[test]
fn the_judgement_has_the_keys_and_types_that_others_rely_on() {
    let full = sample::judgement("p95(GET /a)", 100.0, 99.0, Some(true));
    expect_file!["../../../../docs/schema/judgement.json"].assert_eq(&paths(&report::judgement_json(&full)));
}

#[test]
fn keys_come_in_the_order_of_the_design() {
    let json = report::judgement_json(&sample::judgement("p95(GET /a)", 100.0, 99.0, None));
    expect![[r#"
        {
          "version": 1,
          "verdict": "unclear",
          "metric": "p95(GET /a)",
          "metrics": [
            {
              "metric": "p50(GET /a)",
              "operation": "GET /a",
              "quantile": 0.5,
              "before_ms": 50.0,
              "after_ms": 49.5,
              "ratio": 0.99,
              "low": 0.9108,
              "high": 1.0791000000000002,
              "detectable": 0.06,
              "needed_s": 84.0,
              "verdict": "unclear",
              "requests_before": 880,
              "requests_after": 874
            },
            {
              "metric": "p95(GET /a)",
              "operation": "GET /a",
              "quantile": 0.95,
              "before_ms": 100.0,
              "after_ms": 99.0,
              "ratio": 0.99,
              "low": 0.9108,
              "high": 1.0791000000000002,
              "detectable": 0.06,
              "needed_s": 84.0,
              "verdict": "unclear",
              "requests_before": 880,
              "requests_after": 874
            }
          ],
          "prediction_held": null,
          "reasons": [
            "the 95 % interval of the ratio holds 1"
          ]
        }
    "#]]
    .assert_eq(&json);
    let keys = |json: &str| -> Vec<String> {
        let outer = json.lines().filter(|l| l.starts_with("  \"")).map(|l| l.trim_start());
        outer.filter_map(|l| Some(l.strip_prefix('"')?.split_once('"')?.0.to_owned())).collect()
    };
    assert_eq!(
        keys(&report::json(&sample::diagnosis(false))),
        ["version", "recording", "goals", "findings", "gaps", "rules_not_run"]
    );
}

#[test]
fn what_is_written_reads_back() {
    let diagnosis = sample::diagnosis(false);
    assert_eq!(serde_json::from_str::<Diagnosis>(&report::json(&diagnosis)).ok(), Some(sorted(diagnosis)));
    let judgement = sample::judgement("p95(GET /a)", 100.0, 25.0, Some(false));
    let back = serde_json::from_str::<Judgement>(&report::judgement_json(&judgement));
    assert_eq!(back.ok(), Some(judgement));
}

fn sorted(mut diagnosis: Diagnosis) -> Diagnosis {
    diagnosis.gaps.sort();
    diagnosis.rules_not_run.sort();
    diagnosis
}
