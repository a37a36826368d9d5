//! Thresholds as JUnit test cases, for CI.

use serde_json::Value;
use std::fmt::Write;

/// From the data that `handleSummary` gets.
pub(crate) fn junit(data: &Value) -> String {
    let mut cases = String::new();
    let (mut count, mut failures) = (0, 0);
    for (name, metric) in data["metrics"].as_object().into_iter().flatten() {
        for (text, one) in metric["thresholds"].as_object().into_iter().flatten() {
            count += 1;
            let title = escape(&format!("{name} - {text}"));
            if one["ok"] == true {
                let _written = writeln!(cases, "  <testcase name=\"{title}\" />");
            } else {
                failures += 1;
                let _written =
                    writeln!(cases, "  <testcase name=\"{title}\"><failure message=\"failed\" /></testcase>");
            }
        }
    }
    format!(
        "<?xml version=\"1.0\"?>\n<testsuites tests=\"{count}\" failures=\"{failures}\">\n\
         <testsuite name=\"k6 thresholds\" tests=\"{count}\" failures=\"{failures}\">\n{cases}</testsuite>\n\
         </testsuites>\n"
    )
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
}
