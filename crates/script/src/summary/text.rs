//! The end-of-test summary as k6 prints it: thresholds, checks, groups, metrics.

use serde_json::Value;
use std::fmt::Write;

/// Width of a metric's name with its dots.
const NAME_WIDTH: usize = 35;

/// Headings of the built-in metrics, and how their names begin.
const SECTIONS: &[(&str, &[&str])] = &[
    ("HTTP", &["http_req"]),
    ("EXECUTION", &["dropped_iterations", "iteration", "vus", "group_duration"]),
    ("NETWORK", &["data_"]),
    ("WEBSOCKET", &["ws_"]),
];

/// From the data that `handleSummary` gets.
pub(crate) fn text(data: &Value, indent: &str) -> String {
    let mut out = String::new();
    thresholds(data, &mut out);
    out.push_str("\n  █ TOTAL RESULTS\n\n");
    checks(data, &mut out);
    metrics(data, &mut out);
    out.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") })
        .collect()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn thresholds(data: &Value, out: &mut String) {
    let mut any = false;
    for (name, metric) in entries(&data["metrics"]) {
        let Some(thresholds) = metric["thresholds"].as_object().filter(|all| !all.is_empty()) else {
            continue;
        };
        if !any {
            out.push_str("\n  █ THRESHOLDS\n");
            any = true;
        }
        let _written = writeln!(out, "\n    {name}");
        for (text, one) in thresholds {
            let mark = if one["ok"] == true { '✓' } else { '✗' };
            let figure = text.split(['<', '>', '=', '!']).next().unwrap_or("").trim();
            let value = metric["values"][figure].as_f64();
            let shown =
                value.map_or_else(String::new, |value| format!(" {figure}={}", show(metric, figure, value)));
            let _written = writeln!(out, "    {mark} '{text}'{shown}");
        }
    }
}

fn checks(data: &Value, out: &mut String) {
    let metric = &data["metrics"]["checks"];
    if metric.is_null() {
        return;
    }
    let number = |name: &str| metric["values"][name].as_f64().unwrap_or(0.0);
    let (passes, fails) = (number("passes"), number("fails"));
    let total = passes + fails;
    let seconds = data["state"]["testRunDurationMs"].as_f64().unwrap_or(0.0) / 1e3;
    line(out, "checks_total", &format!("{total} {}/s", figure(total / seconds.max(1e-9))));
    let share = |part: f64| format!("{:.2}% {part} out of {total}", part / total.max(1.0) * 100.0);
    line(out, "checks_succeeded", &share(passes));
    line(out, "checks_failed", &share(fails));
    out.push('\n');
    group(&data["root_group"], "    ", out);
    out.push('\n');
}

fn group(value: &Value, indent: &str, out: &mut String) {
    for check in items(&value["checks"]) {
        let name = check["name"].as_str().unwrap_or("");
        let (passes, fails) = (check["passes"].as_u64().unwrap_or(0), check["fails"].as_u64().unwrap_or(0));
        if fails == 0 {
            let _written = writeln!(out, "{indent}✓ {name}");
        } else {
            let share = passes as f64 / (passes + fails).max(1) as f64 * 100.0;
            let _written =
                writeln!(out, "{indent}✗ {name}\n{indent} ↳  {:.0}% — ✓ {passes} / ✗ {fails}", share.floor());
        }
    }
    for inner in items(&value["groups"]) {
        let _written = writeln!(out, "\n{indent}█ {}\n", inner["name"].as_str().unwrap_or(""));
        group(inner, &format!("{indent}  "), out);
    }
}

fn metrics(data: &Value, out: &mut String) {
    let all: Vec<(&String, &Value)> =
        entries(&data["metrics"]).filter(|(name, _)| *name != "checks").collect();
    let base = |name: &str| name.split('{').next().unwrap_or("").to_owned();
    let section =
        |name: &str| SECTIONS.iter().position(|(_, starts)| starts.iter().any(|s| base(name).starts_with(s)));
    let mut write = |title: &str, wanted: Option<usize>| {
        let mut any = false;
        for (name, metric) in all.iter().filter(|(name, _)| section(name) == wanted) {
            if !any {
                let _written = writeln!(out, "    {title}");
                any = true;
            }
            let is_sub = name.contains('{');
            let shown = if is_sub {
                format!("  {{ {}", name.split_once('{').unwrap_or(("", "")).1.replace('}', " }"))
            } else {
                name.to_string()
            };
            line(out, &shown, &values(metric, &data["options"]["summaryTrendStats"]));
        }
        if any {
            out.push('\n');
        }
    };
    write("CUSTOM", None);
    for (index, (title, _)) in SECTIONS.iter().enumerate() {
        write(title, Some(index));
    }
}

fn line(out: &mut String, name: &str, values: &str) {
    let dots = NAME_WIDTH.saturating_sub(name.chars().count()).max(1);
    let _written = writeln!(out, "    {name}{}: {values}", ".".repeat(dots));
}

/// `stats`: which figures of a trend, in this order.
fn values(metric: &Value, stats: &Value) -> String {
    let value = |name: &str| metric["values"][name].as_f64().unwrap_or(0.0);
    let shown = |name: &str| show(metric, name, value(name));
    match metric["type"].as_str().unwrap_or("") {
        "counter" => format!("{} {}/s", shown("count"), shown("rate")),
        "gauge" => format!("{} min={} max={}", shown("value"), shown("min"), shown("max")),
        "rate" => {
            let (passes, fails) = (value("passes"), value("fails"));
            format!("{:.2}% {passes} out of {}", value("rate") * 100.0, passes + fails)
        }
        _ => items(stats)
            .filter_map(Value::as_str)
            .map(|name| format!("{name}={}", shown(name)))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn show(metric: &Value, name: &str, value: f64) -> String {
    match metric["contains"].as_str() {
        _ if metric["type"] == "rate" => format!("{:.2}%", value * 100.0),
        Some("time") if name != "count" => time(value),
        Some("data") => bytes(value),
        _ => figure(value),
    }
}

/// Milliseconds as k6 prints them.
fn time(ms: f64) -> String {
    match ms.abs() {
        0.0 => "0s".to_owned(),
        a if a < 1.0 => format!("{}µs", figure(ms * 1e3)),
        a if a < 1e3 => format!("{}ms", figure(ms)),
        a if a < 6e4 => format!("{}s", figure(ms / 1e3)),
        _ => crate::duration::show(std::time::Duration::from_secs_f64(ms.max(0.0) / 1e3)),
    }
}

fn bytes(value: f64) -> String {
    let (mut value, mut unit) = (value, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value.abs() < 1e3 {
            break;
        }
        (value, unit) = (value / 1e3, next);
    }
    if unit == "B" { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// Up to six decimals, without trailing zeros.
fn figure(value: f64) -> String {
    let places = if value.abs() >= 1e3 {
        2
    } else if value.abs() >= 10.0 {
        4
    } else {
        6
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_has_k6s_content() {
        let data = json!({
            "options": { "summaryTrendStats": ["avg", "p(95)"] },
            "state": { "testRunDurationMs": 2000.0 },
            "root_group": { "checks": [{ "name": "is ok", "passes": 3, "fails": 1 }],
                            "groups": [{ "name": "shop", "checks": [{ "name": "in", "passes": 2, "fails": 0 }] }] },
            "metrics": {
                "checks": { "type": "rate", "values": { "rate": 0.75, "passes": 3, "fails": 1 } },
                "http_req_duration": { "type": "trend", "contains": "time",
                    "values": { "avg": 1.5, "p(95)": 250.25 }, "thresholds": { "p(95)<200": { "ok": false } } },
                "http_reqs": { "type": "counter", "contains": "default", "values": { "count": 4.0, "rate": 2.0 } },
                "data_received": { "type": "counter", "contains": "data", "values": { "count": 4096.0, "rate": 2048.0 } },
            },
        });
        let text = text(&data, " ");
        for part in [
            "✗ 'p(95)<200' p(95)=250.25ms",
            "checks_succeeded...................: 75.00% 3 out of 4",
            "✗ is ok",
            "↳  75% — ✓ 3 / ✗ 1",
            "█ shop",
            "avg=1.5ms p(95)=250.25ms",
            ": 4 2/s",
            ": 4.1 kB 2.0 kB/s",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
