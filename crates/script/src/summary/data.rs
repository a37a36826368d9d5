//! The object that k6 hands to `handleSummary`.

use crate::crypto::md5_hex;
use crate::metrics::{Aggregation, Group, Metric, Metrics, Sink};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// `stats`: which figures a trend shows; `setup`: what `setup` returned.
pub(crate) fn data(metrics: &Metrics, stats: &[String], elapsed: Duration, setup: &Value) -> Value {
    let mut all = Map::new();
    for metric in metrics.snapshot() {
        if metric.sink.is_empty() && metric.thresholds.is_empty() {
            continue;
        }
        all.insert(metric.name.clone(), one(&metric, stats, elapsed));
    }
    json!({
        "root_group": group(&metrics.checks.tree()),
        "options": { "summaryTrendStats": stats, "summaryTimeUnit": "", "noColor": true },
        "state": {
            "isStdOutTTY": false,
            "isStdErrTTY": false,
            "testRunDurationMs": elapsed.as_secs_f64() * 1e3,
        },
        "metrics": all,
        "setup_data": setup,
    })
}

fn one(metric: &Metric, stats: &[String], elapsed: Duration) -> Value {
    let mut out = json!({
        "type": metric.kind.name(),
        "contains": metric.contains.name(),
        "values": values(&metric.sink, stats, elapsed),
    });
    if !metric.thresholds.is_empty() {
        let thresholds: Map<String, Value> = metric
            .thresholds
            .iter()
            .map(|threshold| (threshold.expression.text.clone(), json!({ "ok": !threshold.failed })))
            .collect();
        out["thresholds"] = Value::Object(thresholds);
    }
    out
}

fn values(sink: &Sink, stats: &[String], elapsed: Duration) -> Value {
    match sink {
        Sink::Counter { sum, .. } => json!({ "count": sum, "rate": sink.per_second(elapsed) }),
        Sink::Gauge { value, min, max, .. } => json!({ "value": value, "min": min, "max": max }),
        Sink::Rate { passes, total } => {
            let rate = *passes as f64 / (*total).max(1) as f64;
            json!({ "rate": rate, "passes": passes, "fails": total - passes })
        }
        Sink::Trend(_) => {
            let mut values = Map::new();
            for name in stats {
                let figure = Aggregation::parse(name).and_then(|one| one.of(sink, elapsed));
                values.insert(name.clone(), json!(figure.unwrap_or(0.0)));
            }
            Value::Object(values)
        }
    }
}

fn group(group: &Group) -> Value {
    let checks: Vec<Value> = group
        .checks
        .iter()
        .map(|check| {
            let path = format!("{}::{}", group.path, check.name);
            json!({
                "name": check.name,
                "id": md5_hex(path.as_bytes()),
                "path": path,
                "passes": check.passes,
                "fails": check.fails,
            })
        })
        .collect();
    json!({
        "name": group.name,
        "path": group.path,
        "id": md5_hex(group.path.as_bytes()),
        "groups": group.groups.iter().map(self::group).collect::<Vec<_>>(),
        "checks": checks,
    })
}
