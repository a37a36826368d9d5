//! Samples as CSV in the columns of k6's own CSV output, so that tools which read those read ours.

use super::{METADATA, Samples, tag};
use std::fmt::Write;

/// The tags that have a column, in k6's order.
const COLUMNS: &[&str] = &[
    "check",
    "error",
    "error_code",
    "expected_response",
    "group",
    "method",
    "name",
    "proto",
    "scenario",
    "service",
    "status",
    "subproto",
    "tls_version",
    "url",
];

pub(super) fn header() -> String {
    format!("metric_name,timestamp,metric_value,{},extra_tags,metadata\n", COLUMNS.join(","))
}

/// A row for each value; time in whole Unix seconds, as k6 writes it.
pub(super) fn rows(samples: &Samples, out: &mut String) {
    let mut tags = String::new();
    for column in COLUMNS {
        tags.push(',');
        field(tag(samples, column), &mut tags);
    }
    let is_other = |name: &str| !COLUMNS.contains(&name) && !METADATA.contains(&name);
    tags.push(',');
    pairs(samples, is_other, &mut tags);
    tags.push(',');
    pairs(samples, |name| METADATA.contains(&name), &mut tags);
    let seconds = samples.time_ns / 1_000_000_000;
    for (metric, value) in &samples.values {
        let _written = writeln!(out, "{},{seconds},{value:.6}{tags}", metric.name);
    }
}

/// `a=1&b=2`.
fn pairs(samples: &Samples, wanted: impl Fn(&str) -> bool, out: &mut String) {
    let mut text = String::new();
    for (name, value) in samples.tags.iter().filter(|(name, value)| wanted(name) && !value.is_empty()) {
        let and = if text.is_empty() { "" } else { "&" };
        let _written = write!(text, "{and}{name}={value}");
    }
    field(&text, out);
}

/// Quoted where it must be (RFC 4180).
fn field(text: &str, out: &mut String) {
    if text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::{Kind, Metric, Unit};

    #[test]
    fn a_request_is_a_row_per_metric_in_the_columns_of_k6() {
        let samples = Samples {
            time_ns: 1_700_000_000_999_000_000,
            values: vec![
                (Metric::fixed("http_reqs", Kind::Counter, Unit::None), 1.0),
                (Metric::fixed("http_req_duration", Kind::Trend, Unit::Milliseconds), 12.5),
            ],
            tags: vec![
                ("method".into(), "GET".into()),
                ("name".into(), "GET /a,\"b\"".into()),
                ("team".into(), "web".into()),
                ("vu".into(), "3".into()),
            ],
        };
        let mut out = header();
        rows(&samples, &mut out);
        expect_test::expect![[r#"
            metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,method,name,proto,scenario,service,status,subproto,tls_version,url,extra_tags,metadata
            http_reqs,1700000000,1.000000,,,,,,GET,"GET /a,""b""",,,,,,,,team=web,vu=3
            http_req_duration,1700000000,12.500000,,,,,,GET,"GET /a,""b""",,,,,,,,team=web,vu=3
        "#]].assert_eq(&out);
    }
}
