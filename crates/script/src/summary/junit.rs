//! Thresholds and checks as JUnit test cases, for CI.

use serde_json::Value;
use std::fmt::Write;

/// From the data that `handleSummary` gets.
pub(crate) fn junit(data: &Value) -> String {
    let mut thresholds = Suite::default();
    for (name, metric) in data["metrics"].as_object().into_iter().flatten() {
        for (text, one) in metric["thresholds"].as_object().into_iter().flatten() {
            let failure = (one["ok"] != true).then(|| "failed".to_owned());
            thresholds.add(&format!("{name} - {text}"), failure);
        }
    }
    let mut checks = Suite::default();
    add_checks(&data["root_group"], &mut checks);
    let (tests, failures) = (thresholds.tests + checks.tests, thresholds.failures + checks.failures);
    let mut out =
        format!("<?xml version=\"1.0\"?>\n<testsuites tests=\"{tests}\" failures=\"{failures}\">\n");
    out.push_str(&thresholds.text("k6 thresholds"));
    if checks.tests > 0 {
        out.push_str(&checks.text("k6 checks"));
    }
    out.push_str("</testsuites>\n");
    out
}

/// Those of a group, then those of the groups within.
fn add_checks(group: &Value, suite: &mut Suite) {
    for check in group["checks"].as_array().into_iter().flatten() {
        let (passes, fails) = (check["passes"].as_u64().unwrap_or(0), check["fails"].as_u64().unwrap_or(0));
        let failure = (fails > 0).then(|| format!("{fails} of {} failed", passes + fails));
        suite.add(check["path"].as_str().unwrap_or_default().trim_start_matches("::"), failure);
    }
    for inner in group["groups"].as_array().into_iter().flatten() {
        add_checks(inner, suite);
    }
}

#[derive(Default)]
struct Suite {
    cases: String,
    tests: u64,
    failures: u64,
}

impl Suite {
    fn add(&mut self, name: &str, failure: Option<String>) {
        self.tests += 1;
        let title = escape(name);
        let _written = match failure {
            None => writeln!(self.cases, "  <testcase name=\"{title}\" />"),
            Some(why) => {
                self.failures += 1;
                let why = escape(&why);
                writeln!(self.cases, "  <testcase name=\"{title}\"><failure message=\"{why}\" /></testcase>")
            }
        };
    }

    fn text(&self, name: &str) -> String {
        let Self { cases, tests, failures } = self;
        format!(
            "<testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">\n{cases}</testsuite>\n"
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_failed_threshold_is_a_failure() {
        let data = serde_json::json!({ "metrics": {
            "http_req_duration": { "thresholds": { "p(95)<2": { "ok": false }, "avg<9": { "ok": true } } },
        }});
        let xml = super::junit(&data);
        assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
        assert!(xml.contains("http_req_duration - p(95)&lt;2\"><failure"), "{xml}");
    }

    #[test]
    fn a_failed_check_is_a_failure_wherever_its_group_lies() {
        let data = serde_json::json!({ "metrics": {}, "root_group": {
            "checks": [{ "path": "::up", "passes": 2, "fails": 0 }],
            "groups": [{ "checks": [{ "path": "::a::is \"ok\"", "passes": 1, "fails": 3 }], "groups": [] }],
        }});
        let xml = super::junit(&data);
        assert!(xml.contains("<testcase name=\"up\" />"), "{xml}");
        assert!(xml.contains("a::is &quot;ok&quot;\"><failure message=\"3 of 4 failed\""), "{xml}");
    }
}
