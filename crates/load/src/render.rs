//! A summary as a table for people and as k6's summary JSON for tools that read it. Pure.

use crate::summary::{Distribution, OperationSummary, Summary};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A name in the table is cut here.
const MAX_NAME_CHARS: usize = 48;

/// A table with a row per operation, then errors and doubts. Ends with a line feed.
#[must_use]
pub fn text(summary: &Summary) -> String {
    let mut text = String::new();
    match write_text(summary, &mut text) {
        Ok(()) => text,
        Err(_) => unreachable!("writing to a string cannot fail"),
    }
}

fn write_text(summary: &Summary, out: &mut String) -> std::fmt::Result {
    let ended = if summary.complete { "" } else { ", ended early" };
    writeln!(out, "{} for {:.1} s{ended}, response times in ms\n", summary.target, summary.seconds)?;
    let width = summary
        .operations
        .iter()
        .map(|o| o.name.chars().count().min(MAX_NAME_CHARS))
        .max()
        .unwrap_or(0)
        .max(9);
    writeln!(
        out,
        "{:<width$} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>12}",
        "operation", "requests", "per s", "failed", "p50", "p90", "p95", "p99", "max", "service p95"
    )?;
    let all = (summary.operations.len() > 1).then_some(&summary.all);
    for one in summary.operations.iter().chain(all) {
        let name: String = one.name.chars().take(MAX_NAME_CHARS).collect();
        let r = &one.response;
        writeln!(
            out,
            "{name:<width$} {:>8} {:>8.1} {:>8} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>12.2}",
            one.requests,
            one.rate_per_s,
            one.failed,
            r.p50_ms,
            r.p90_ms,
            r.p95_ms,
            r.p99_ms,
            r.max_ms,
            one.service.p95_ms
        )?;
    }
    write_errors(summary, out)?;
    for issue in &summary.validity.issues {
        let grade = if issue.invalid { "invalid" } else { "doubtful" };
        writeln!(out, "\n{grade}: {} ({})\n  {}", issue.reason, issue.kind, issue.hint)?;
    }
    Ok(())
}

fn write_errors(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if summary.all.failed > 0 {
        writeln!(out, "\nerrors")?;
    }
    for one in &summary.operations {
        for (class, count, example) in &one.errors {
            writeln!(out, "  {}: {count} x {}: {example}", one.name, class_name(*class))?;
        }
    }
    Ok(())
}

/// As saved in recordings: `client_status`.
fn class_name(class: model::ErrorClass) -> String {
    match serde_json::to_value(class) {
        Ok(Value::String(name)) => name,
        _ => format!("{class:?}"),
    }
}

/// k6's summary shape (`--summary-export`): `metrics` by name, sub-metrics as `http_req_duration{name:...}`, a minimal
/// `root_group`. `http_req_duration` is the service time, as in k6; `http_req_response` counts from the due time.
#[must_use]
pub fn k6_json(summary: &Summary) -> Value {
    let mut metrics = Map::new();
    let all = &summary.all;
    let per_second = |count: u64| count as f64 / summary.seconds.max(f64::MIN_POSITIVE);
    let counter = |count: u64| json!({ "count": count, "rate": per_second(count) });
    metrics.insert("data_received".to_owned(), counter(all.received_bytes));
    metrics.insert("data_sent".to_owned(), counter(all.sent_bytes));
    metrics.insert("dropped_iterations".to_owned(), counter(summary.not_started));
    metrics.insert("http_reqs".to_owned(), counter(all.service.count));
    metrics.insert("iterations".to_owned(), counter(all.requests - summary.not_started));
    insert_times(&mut metrics, all, "");
    for one in &summary.operations {
        insert_times(&mut metrics, one, &format!("{{name:{}}}", one.name));
    }
    json!({
        "root_group": { "name": "", "path": "", "id": "d41d8cd98f00b204e9800998ecf8427e", "groups": {}, "checks": {} },
        "metrics": metrics,
    })
}

fn insert_times(metrics: &mut Map<String, Value>, one: &OperationSummary, tag: &str) {
    metrics.insert(format!("http_req_duration{tag}"), trend(&one.service));
    let passed = one.requests - one.failed;
    let rate = one.failed as f64 / one.requests.max(1) as f64;
    // k6 counts the failed ones as passes of this rate.
    metrics.insert(
        format!("http_req_failed{tag}"),
        json!({ "passes": one.failed, "fails": passed, "value": rate }),
    );
    metrics.insert(format!("http_req_response{tag}"), trend(&one.response));
}

fn trend(times: &Distribution) -> Value {
    json!({
        "avg": times.avg_ms,
        "max": times.max_ms,
        "med": times.p50_ms,
        "min": times.min_ms,
        "p(90)": times.p90_ms,
        "p(95)": times.p95_ms,
        "p(99)": times.p99_ms,
    })
}
