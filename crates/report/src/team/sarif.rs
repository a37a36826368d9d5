//! SARIF 2.1.0 (OASIS standard): what code scanning of a forge shows beside the code.

use super::Acknowledgements;
use crate::clip::without_secrets;
use crate::number::ms;
use model::{Diagnosis, Finding, Severity};
use serde_json::{Value, json};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// Results that are written: code scanning takes no more of one run.
const MAX_RESULTS: usize = 5_000;

/// What a rule says about itself.
#[derive(Clone, Debug)]
pub struct RuleText<'a> {
    pub name: &'a str,
    /// What it looks for.
    pub how: &'a str,
    /// What it costs to leave it.
    pub why: &'a str,
}

/// One run with one result for each finding. Findings whose code is not known are placed in `fallback`, the settings
/// file: forges show no result without a file. What is acknowledged is there, suppressed.
#[must_use]
pub fn sarif(
    diagnosis: &Diagnosis,
    acknowledged: &Acknowledgements,
    rules: &[RuleText<'_>],
    version: &str,
    fallback: &str,
) -> String {
    let used: Vec<&RuleText<'_>> =
        rules.iter().filter(|rule| diagnosis.findings.iter().any(|f| f.rule == rule.name)).collect();
    let described: Vec<Value> = used
        .iter()
        .map(|rule| {
            json!({
                "id": rule.name,
                "name": rule.name,
                "shortDescription": { "text": rule.name.replace('_', " ") },
                "fullDescription": { "text": rule.why },
                "help": { "text": format!("{}\n\nHow it is found: {}", rule.why, rule.how) },
            })
        })
        .collect();
    let results: Vec<Value> = diagnosis
        .findings
        .iter()
        .take(MAX_RESULTS)
        .map(|finding| result(finding, &used, acknowledged, fallback))
        .collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "Trimtab", "version": version, "rules": described } },
            "automationDetails": { "id": format!("trimtab/{}", diagnosis.recording.id) },
            "results": results,
        }],
    });
    let mut text = serde_json::to_string_pretty(&log).unwrap_or_default();
    text.push('\n');
    text
}

fn result(
    finding: &Finding,
    rules: &[&RuleText<'_>],
    acknowledged: &Acknowledgements,
    fallback: &str,
) -> Value {
    let level = match finding.severity {
        Severity::Critical => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level,
        "message": { "text": without_secrets(&message(finding)) },
        "locations": [location(finding, fallback)],
        "partialFingerprints": { "trimtab/v1": finding.fingerprint },
    });
    if let Some(index) = rules.iter().position(|rule| rule.name == finding.rule) {
        result["ruleIndex"] = json!(index);
    }
    if let Some(entry) = acknowledged.of(finding) {
        let kind = json!({ "kind": "external", "status": "accepted", "justification": without_secrets(&entry.reason) });
        result["suppressions"] = json!([kind]);
    }
    result
}

fn message(finding: &Finding) -> String {
    let mut text = format!("{}: {}.", finding.endpoint, finding.title);
    if let Some(p) = &finding.prediction {
        text.push_str(&format!(
            " Predicted: {} {} -> {} ({} to {}), grade {:?}.",
            p.metric,
            ms(p.before_ms),
            ms(p.after_ms),
            ms(p.low_ms),
            ms(p.high_ms),
            p.grade
        ));
    }
    for line in &finding.evidence.lines {
        text.push_str(&format!("\n- {line}"));
    }
    for remedy in finding.remedies.iter().take(1) {
        text.push_str(&format!("\nDo: {}", remedy.text));
    }
    text
}

fn location(finding: &Finding, fallback: &str) -> Value {
    let code = finding.place.function.as_ref();
    let file = code.and_then(|code| code.file.as_deref());
    let line = code.and_then(|code| code.line).filter(|_| file.is_some()).unwrap_or(1).max(1);
    let logical = [
        Some(
            json!({ "fullyQualifiedName": format!("{} {}", finding.service, finding.endpoint).trim(), "kind": "resource" }),
        ),
        code.map(|code| json!({ "fullyQualifiedName": code.function, "kind": "function" })),
    ];
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(file.unwrap_or(fallback)) },
            "region": { "startLine": line },
        },
        "logicalLocations": logical.into_iter().flatten().collect::<Vec<_>>(),
    })
}

/// A path as a URI reference: `/app/my file.py` becomes `app/my%20file.py`, as forges know files below the root only.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.trim_start_matches(['/', '.']).bytes() {
        match byte {
            b'\\' => out.push('/'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::acknowledged::tests::{entry, finding};
    use super::*;
    use model::CodeRef;

    #[test]
    fn every_result_has_what_forges_ask_for() {
        let mut placed = finding("v1:a", Severity::Critical);
        let file = Some("/app/my views.py".to_owned());
        placed.place.function = Some(CodeRef { function: "views.list".into(), file, line: Some(41) });
        let diagnosis =
            Diagnosis { findings: vec![placed, finding("v1:b", Severity::Info)], ..Diagnosis::default() };
        let known = Acknowledgements::new(vec![entry("v1:b", "2099-01-01")], "2026-11-23").expect("a day");
        let rules = [
            RuleText { name: "missing_index", how: "h", why: "w" },
            RuleText { name: "n_plus_one", how: "how", why: "why" },
        ];
        let log: Value =
            serde_json::from_str(&sarif(&diagnosis, &known, &rules, "1.2.3", "trimtab.toml")).expect("JSON");
        let run = &log["runs"][0];
        assert_eq!((&log["version"], &run["tool"]["driver"]["version"]), (&json!("2.1.0"), &json!("1.2.3")));
        assert_eq!(run["tool"]["driver"]["rules"].as_array().map(Vec::len), Some(1), "only those in use");
        let results = run["results"].as_array().expect("results");
        for result in results {
            assert_eq!((&result["ruleId"], &result["ruleIndex"]), (&json!("n_plus_one"), &json!(0)));
            assert!(result["message"]["text"].as_str().is_some_and(|t| t.contains("16 x SELECT")));
            assert!(result["locations"][0]["physicalLocation"]["region"]["startLine"].as_u64() >= Some(1));
        }
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "app/my%20views.py");
        assert_eq!(place["region"]["startLine"], 41);
        assert_eq!((&results[0]["level"], &results[1]["level"]), (&json!("error"), &json!("note")));
        assert_eq!(results[1]["suppressions"][0]["status"], "accepted");
        assert_eq!(results[1]["partialFingerprints"]["trimtab/v1"], "v1:b");
    }
}
