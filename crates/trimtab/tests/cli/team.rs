//! `localize` in a pipeline: the gate, the acknowledgements, and the forms for other tools; and `compare`.

use crate::support::{Ran, run};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Twenty requests that ask once for each of `rows` rows, as lines of OTLP JSON; ids begin at `first`.
fn traces(rows: usize, first: usize) -> String {
    let mut lines = String::new();
    let text = |key: &str, value: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    for request in first..first + 20 {
        let (trace, begin) = (format!("{request:032x}"), 1_700_000_000_000 + request * 1_000);
        let span = |id: usize, name: &str, kind: usize, from: usize, to: usize, attributes: String| {
            let parent = if id == 0 { String::new() } else { format!("{:016x}", request << 8 | 0xff) };
            let own = format!("{:016x}", request << 8 | if id == 0 { 0xff } else { id });
            format!(
                r#"{{"traceId":"{trace}","spanId":"{own}","parentSpanId":"{parent}","name":"{name}","kind":{kind},"startTimeUnixNano":"{}000000","endTimeUnixNano":"{}000000","attributes":[{attributes}]}}"#,
                begin + from,
                begin + to
            )
        };
        let mut spans = vec![span(0, "GET /items", 2, 0, rows * 10 + 10, text("http.route", "/items"))];
        for row in 1..=rows {
            let attributes = [
                text("db.system.name", "postgresql"),
                text("db.query.text", "SELECT name FROM parts WHERE id = $1"),
            ];
            spans.push(span(row, "SELECT parts", 3, row * 10, row * 10 + 8, attributes.join(",")));
        }
        let all = spans.join(",");
        writeln!(lines, r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{all}]}}]}}]}}"#).unwrap();
    }
    lines
}

fn localized(folder: &Path, more: &[&str]) -> Ran {
    run(folder, &[&["localize", "traces.jsonl", "--goal", "p95(*) < 10 s"][..], more].concat())
}

#[test]
fn a_finding_fails_the_pipeline_until_it_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("traces.jsonl"), traces(12, 1)).unwrap();
    // Whoever sets a goal and meets it has said what is enough: without one the finding counts.
    let judged = |more: &[&str]| run(folder.path(), &[&["localize", "traces.jsonl"][..], more].concat());
    assert_eq!(judged(&[]).code, Some(0), "no goal is missed");
    let failed =
        judged(&["--fail-on", "finding:10", "--sarif", "a.sarif", "--junit", "a.xml", "--markdown", "a.md"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.out.contains("fails: finding v1:"), "{failed:?}");
    let log: Value = serde_json::from_slice(&std::fs::read(at("a.sarif")).unwrap()).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let found = results.iter().find(|result| result["ruleId"] == "n_plus_one").unwrap();
    assert_eq!(found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "trimtab.toml");
    let fingerprint = found["partialFingerprints"]["trimtab/v1"].as_str().unwrap();
    assert!(std::fs::read_to_string(at("a.xml")).unwrap().contains("<failure message=\"n_plus_one"));
    assert!(std::fs::read_to_string(at("a.md")).unwrap().contains("GET /items"));
    assert_eq!(judged(&["--fail-on", "finding:99"]).code, Some(0), "no gain is so large");
    let open: Vec<&str> = results
        .iter()
        .filter(|result| result["level"] != "note")
        .map(|result| result["partialFingerprints"]["trimtab/v1"].as_str().unwrap())
        .collect();
    assert!(open.contains(&fingerprint));
    let entries: String = open
        .iter()
        .map(|f| {
            format!(
                "[[acknowledged]]\nfingerprint = \"{f}\"\nreason = \"gone in May\"\nuntil = \"2999-12-31\"\n"
            )
        })
        .collect();
    std::fs::write(at("trimtab.acknowledged.toml"), &entries).unwrap();
    let passed = judged(&["--fail-on", "finding"]);
    assert_eq!(passed.code, Some(0), "{passed:?}");
    assert!(passed.out.contains("acknowledged until 2999-12-31"), "{passed:?}");
    std::fs::write(at("trimtab.acknowledged.toml"), entries.replace("2999", "1999")).unwrap();
    let expired = judged(&["--fail-on", "finding"]);
    assert_eq!(expired.code, Some(1), "{expired:?}");
    assert!(expired.err.contains("ended with 1999-12-31"), "{}", expired.err);
}

#[test]
fn a_fingerprint_outlives_other_ids_times_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let fingerprint = |traces: &str| {
        std::fs::write(folder.path().join("traces.jsonl"), traces).unwrap();
        let told: Value = serde_json::from_str(&localized(folder.path(), &["--format", "json"]).out).unwrap();
        let findings = told["findings"].as_array().unwrap();
        findings.iter().find(|f| f["rule"] == "n_plus_one").unwrap()["fingerprint"].clone()
    };
    let one = fingerprint(&traces(12, 1));
    let reversed: String = traces(12, 1).lines().rev().flat_map(|line| [line, "\n"]).collect();
    assert_eq!((fingerprint(&traces(9, 700)), fingerprint(&reversed)), (one.clone(), one));
}

#[test]
fn two_diagnoses_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.jsonl"), traces(1, 1)).unwrap();
    std::fs::write(folder.path().join("bad.jsonl"), traces(12, 1)).unwrap();
    let json = run(folder.path(), &["localize", "bad.jsonl", "--format", "json"]).out;
    std::fs::write(folder.path().join("bad.json"), json).unwrap();
    let worse = run(folder.path(), &["compare", "good.jsonl", "bad.json", "--fail-on-new"]);
    assert_eq!(worse.code, Some(1), "{worse:?}");
    assert!(worse.out.contains("New") && worse.out.contains("n_plus_one"), "{}", worse.out);
    let same = run(folder.path(), &["compare", "bad.jsonl", "bad.json", "--fail-on-new", "--format", "json"]);
    assert_eq!(same.code, Some(0), "{same:?}");
    let told: Value = serde_json::from_str(&same.out).unwrap();
    assert_eq!(told["new"].as_array().map(Vec::len), Some(0), "{told:#}");
    let absent = run(folder.path(), &["compare", "bad.json", "absent.json"]);
    assert_eq!(absent.code, Some(2), "{absent:?}");
    assert!(absent.err.contains("absent.json"), "{}", absent.err);
}
