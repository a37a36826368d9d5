//! A summary as a table for people and as k6's summary JSON for tools that read it. Pure.

use crate::summary::{Distribution, KeptOfOperation, KeptRequest, OperationSummary, Summary};
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
    if let Some(users) = summary.users {
        writeln!(
            out,
            "\nclosed model of {users} users: times exclude waiting users; the longest time without any response was {:.0} ms",
            summary.longest_silence_s * 1e3
        )?;
    }
    write_goals(summary, out)?;
    write_checks(summary, out)?;
    write_slowest(summary, out)?;
    write_errors(summary, out)?;
    for issue in &summary.validity.issues {
        let grade = if issue.invalid { "invalid" } else { "doubtful" };
        writeln!(out, "\n{grade}: {} ({})\n  {}", issue.reason, issue.kind, issue.hint)?;
    }
    Ok(())
}

fn write_goals(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if !summary.goals.is_empty() {
        writeln!(out, "\ngoals")?;
    }
    for goal in &summary.goals {
        match (goal.met, goal.value_text()) {
            (Some(true), value) => writeln!(out, "  met     {}: {value}", goal.goal)?,
            (Some(false), value) => writeln!(out, "  missed  {}: {value}", goal.goal)?,
            (None, _) => writeln!(out, "  unseen  {}: {}", goal.goal, goal.unseen.unwrap_or_default())?,
        }
    }
    Ok(())
}

fn write_checks(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if !summary.checks.is_empty() {
        writeln!(out, "\nchecks")?;
    }
    for check in &summary.checks {
        let operation = summary.operations.get(check.operation as usize).map_or("", |o| o.name.as_str());
        writeln!(out, "  {operation}: {}: {} passed, {} failed", check.name, check.passes, check.fails)?;
    }
    Ok(())
}

/// Where the time of the slowest requests went.
fn write_slowest(summary: &Summary, out: &mut String) -> std::fmt::Result {
    if summary.slowest.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<32} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "slowest, by trace", "response", "queue", "lookup", "connect", "tls", "send", "wait", "receive"
    )?;
    let ms = |part: u64| part as f64 / 1e6;
    for slow in &summary.slowest {
        let p = &slow.phases;
        writeln!(
            out,
            "{:032x} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}  {} {}",
            slow.trace_id,
            slow.response_ms,
            ms(p.queue_ns),
            ms(p.lookup_ns),
            ms(p.connect_ns),
            ms(p.tls_ns),
            ms(p.send_ns),
            ms(p.wait_ns),
            ms(p.receive_ns),
            slow.status,
            slow.operation
        )?;
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
/// `root_group`. `http_req_duration` is the service time, as in k6; `http_req_response` counts from the due time. Beside
/// it what k6 does not have: `goals`, `errors`, `validity`, and `requests`, some of those kept of each operation.
#[must_use]
pub fn k6_json(summary: &Summary) -> Value {
    let mut metrics = BTreeMap::new();
    let all = &summary.all;
    let per_second = |count: u64| count as f64 / summary.seconds.max(f64::MIN_POSITIVE);
    let counter = |count: u64| json!({ "count": count, "rate": per_second(count) });
    metrics.insert("data_received".to_owned(), counter(all.received_bytes));
    metrics.insert("data_sent".to_owned(), counter(all.sent_bytes));
    metrics.insert("dropped_iterations".to_owned(), counter(summary.not_started));
    metrics.insert("http_reqs".to_owned(), counter(all.service.count));
    metrics.insert("iterations".to_owned(), counter(all.requests.saturating_sub(summary.not_started)));
    insert_times(&mut metrics, all, "");
    for one in &summary.operations {
        insert_times(&mut metrics, one, &format!("{{name:{}}}", one.name));
    }
    let (passes, fails) = summary.checks.iter().fold((0, 0), |(p, f), c| (p + c.passes, f + c.fails));
    if passes + fails > 0 {
        let value = passes as f64 / (passes + fails) as f64;
        metrics.insert("checks".to_owned(), json!({ "passes": passes, "fails": fails, "value": value }));
    }
    json!({
        "root_group": {
            "name": "", "path": "", "id": "d41d8cd98f00b204e9800998ecf8427e", "groups": {}, "checks": checks(summary),
        },
        "metrics": metrics,
        "goals": goals(summary),
        "errors": errors(summary),
        "requests": requests(summary),
        "validity": summary.validity,
        "complete": summary.complete,
    })
}

/// By name, the operation first: two operations may ask the same.
fn checks(summary: &Summary) -> Value {
    let named = summary.checks.iter().map(|check| {
        let operation = summary.operations.get(check.operation as usize).map_or("", |o| o.name.as_str());
        let name = format!("{operation}: {}", check.name);
        let told = json!({ "name": name, "path": format!("::{name}"), "passes": check.passes, "fails": check.fails });
        (name, told)
    });
    Value::Object(named.collect())
}

fn goals(summary: &Summary) -> Value {
    let told = summary.goals.iter().map(|g| json!({ "goal": g.goal, "measured": g.value, "met": g.met }));
    Value::Array(told.collect())
}

fn errors(summary: &Summary) -> Value {
    let of = |one: &OperationSummary| -> Vec<Value> {
        let told = one.errors.iter().map(|(class, count, example)| {
            json!({ "operation": one.name, "class": class, "count": count, "example": example })
        });
        told.collect()
    };
    Value::Array(summary.operations.iter().flat_map(of).collect())
}

fn requests(summary: &Summary) -> Value {
    let list = |kept: &[KeptRequest]| Value::Array(kept.iter().map(request).collect());
    let of = |(one, kept): (&OperationSummary, &KeptOfOperation)| json!({ "operation": one.name, "slowest": list(&kept.slowest), "sample": list(&kept.sample) });
    Value::Array(summary.operations.iter().zip(&summary.kept).map(of).collect())
}

fn request(kept: &KeptRequest) -> Value {
    let ms = |ns: u64| ns as f64 / 1e6;
    let p = &kept.phases;
    json!({
        "trace_id": format!("{:032x}", kept.trace_id),
        "due_ns": kept.due_ns,
        "response_ms": kept.response_ms,
        "service_ms": kept.service_ms,
        "status": kept.status,
        "error": kept.error,
        "sent_bytes": kept.sent_bytes,
        "received_bytes": kept.received_bytes,
        "phases_ms": {
            "queue": ms(p.queue_ns), "lookup": ms(p.lookup_ns), "connect": ms(p.connect_ns), "tls": ms(p.tls_ns),
            "send": ms(p.send_ns), "wait": ms(p.wait_ns), "receive": ms(p.receive_ns),
        },
    })
}

fn insert_times(metrics: &mut BTreeMap<String, Value>, one: &OperationSummary, tag: &str) {
    metrics.insert(format!("http_req_duration{tag}"), trend(&one.service));
    let passed = one.requests.saturating_sub(one.failed);
    let rate = one.failed as f64 / one.requests.max(1) as f64;
    // k6 counts the failed ones as passes of this rate.
    metrics.insert(
        format!("http_req_failed{tag}"),
        json!({ "fails": passed, "passes": one.failed, "value": rate }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validity::{Figures, judge};
    use expect_test::expect;
    use model::{ErrorClass, RequestPhases};

    fn times(p50_ms: f64) -> Distribution {
        let (avg_ms, min_ms) = (p50_ms * 1.5, p50_ms / 2.0);
        let (p90_ms, p95_ms, p99_ms, max_ms) = (p50_ms * 3.0, p50_ms * 4.0, p50_ms * 8.0, p50_ms * 10.0);
        Distribution { count: 2000, avg_ms, min_ms, p50_ms, p90_ms, p95_ms, p99_ms, max_ms }
    }

    fn example() -> Summary {
        let one = OperationSummary {
            name: "GET /orders/{id}".to_owned(),
            requests: 2000,
            rate_per_s: 200.0,
            failed: 3,
            response: times(12.0),
            service: times(10.0),
            sent_bytes: 0,
            received_bytes: 1_000_000,
            errors: vec![(ErrorClass::ServerStatus, 3, "status 503".to_owned())],
        };
        let figures = Figures { offered: 2000, not_started: 30, ..Figures::default() };
        Summary {
            target: "http://127.0.0.1:8080/".to_owned(),
            seconds: 10.0,
            complete: false,
            all: OperationSummary { name: "all".to_owned(), ..one.clone() },
            operations: vec![one],
            not_started: 30,
            stale_retries: 0,
            lateness_p99_ms: 0.2,
            users: None,
            longest_silence_s: 0.0,
            slowest: vec![KeptRequest {
                operation: "GET /orders/{id}".to_owned(),
                due_ns: 1,
                response_ms: 120.0,
                service_ms: 100.0,
                status: 503,
                error: Some(ErrorClass::ServerStatus),
                sent_bytes: 0,
                received_bytes: 12,
                trace_id: 0xabc,
                phases: RequestPhases {
                    queue_ns: 20_000_000,
                    wait_ns: 100_000_000,
                    ..RequestPhases::default()
                },
            }],
            kept: Vec::new(),
            checks: Vec::new(),
            goals: Vec::new(),
            validity: judge(&figures),
        }
    }

    #[test]
    fn the_table_tells_times_errors_and_doubts() {
        expect![[r#"
            http://127.0.0.1:8080/ for 10.0 s, ended early, response times in ms

            operation        requests    per s   failed       p50       p90       p95       p99       max  service p95
            GET /orders/{id}     2000    200.0        3     12.00     36.00     48.00     96.00    120.00        40.00

            slowest, by trace                 response     queue    lookup   connect       tls      send      wait   receive
            00000000000000000000000000000abc    120.00     20.00      0.00      0.00      0.00      0.00    100.00      0.00  503 GET /orders/{id}

            errors
              GET /orders/{id}: 3 x server_status: status 503

            invalid: 30 of 2000 arrivals never started (1.5 %, the limit is 1 %): their waits are lower bounds (dropped_arrivals)
              the service does not keep up with this rate: lower it, or raise max_in_flight
        "#]].assert_eq(&text(&example()));
    }

    #[test]
    fn the_json_has_the_shape_of_k6() {
        let mut json = k6_json(&example());
        let metrics = json["metrics"].as_object_mut().unwrap();
        for name in ["http_req_duration", "http_req_failed", "http_req_response"] {
            let of_operation = metrics.remove(&format!("{name}{{name:GET /orders/{{id}}}}"));
            assert_eq!(of_operation.as_ref(), metrics.get(name), "the only operation is all there is");
        }
        expect![[r#"
            {
              "data_received": {
                "count": 1000000,
                "rate": 100000.0
              },
              "data_sent": {
                "count": 0,
                "rate": 0.0
              },
              "dropped_iterations": {
                "count": 30,
                "rate": 3.0
              },
              "http_req_duration": {
                "avg": 15.0,
                "max": 100.0,
                "med": 10.0,
                "min": 5.0,
                "p(90)": 30.0,
                "p(95)": 40.0,
                "p(99)": 80.0
              },
              "http_req_failed": {
                "fails": 1997,
                "passes": 3,
                "value": 0.0015
              },
              "http_req_response": {
                "avg": 18.0,
                "max": 120.0,
                "med": 12.0,
                "min": 6.0,
                "p(90)": 36.0,
                "p(95)": 48.0,
                "p(99)": 96.0
              },
              "http_reqs": {
                "count": 2000,
                "rate": 200.0
              },
              "iterations": {
                "count": 1970,
                "rate": 197.0
              }
            }"#]]
        .assert_eq(&format!("{:#}", json["metrics"]));
        assert_eq!(json["root_group"]["groups"], json!({}));
    }
}
