//! The end-of-test summary as k6 prints it: thresholds, checks, groups, metrics in columns. Compact: of the parts of a
//! request only those with thresholds are listed.

use serde_json::Value;
use std::fmt::Write;

/// Least width of a metric's name with its dots.
const NAME_WIDTH: usize = 35;
/// Dots after the longest name.
const DOTS: usize = 3;

/// Headings of the built-in metrics, and how their names begin.
const SECTIONS: &[(&str, &[&str])] = &[
    ("HTTP", &["http_req"]),
    ("EXECUTION", &["dropped_iterations", "iteration", "vus", "group_duration"]),
    ("NETWORK", &["data_"]),
    ("WEBSOCKET", &["ws_"]),
];
/// Parts of a request's time.
const PARTS: &[&str] = &[
    "http_req_blocked",
    "http_req_connecting",
    "http_req_tls_handshaking",
    "http_req_sending",
    "http_req_waiting",
    "http_req_receiving",
];

/// How much is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    #[default]
    Compact,
    /// Every metric.
    Full,
}

/// From the data that `handleSummary` gets.
pub(crate) fn text(data: &Value, indent: &str, detail: Detail) -> String {
    let mut out = String::new();
    thresholds(data, &mut out);
    out.push_str("\n  █ TOTAL RESULTS\n\n");
    checks(data, &mut out);
    metrics(data, detail, &mut out);
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

fn has_thresholds(metric: &Value) -> bool {
    metric["thresholds"].as_object().is_some_and(|all| !all.is_empty())
}

fn thresholds(data: &Value, out: &mut String) {
    let mut any = false;
    for (name, metric) in entries(&data["metrics"]).filter(|(_, metric)| has_thresholds(metric)) {
        if !any {
            out.push_str("\n  █ THRESHOLDS\n");
            any = true;
        }
        let _written = writeln!(out, "\n    {name}");
        for (text, one) in entries(&metric["thresholds"]) {
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
    let part = |part: f64| (percent(part / total.max(1.0)), format!("{part} out of {total}"));
    let rows = [
        ("checks_total", (figure(total, 6), format!("{}/s", figure(total / seconds.max(1e-9), 6)))),
        ("checks_succeeded", part(passes)),
        ("checks_failed", part(fails)),
    ];
    let rows =
        rows.map(|(name, (value, more))| Row { name: name.to_owned(), cells: Cells::Pair(value, more) });
    write_rows(out, &rows, &Widths::of(&rows));
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

/// A metric's line.
struct Row {
    name: String,
    cells: Cells,
}

enum Cells {
    /// A value, and what is said of it.
    Pair(String, String),
    Trend(Vec<String>),
}

/// So that what belongs together stands below each other.
#[derive(Default)]
struct Widths {
    name: usize,
    value: usize,
    trend: Vec<usize>,
}

impl Widths {
    fn of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Self {
        let mut widths = Self::default();
        for row in rows {
            widths.name = widths.name.max(row.name.chars().count() + DOTS);
            match &row.cells {
                Cells::Pair(value, _) => widths.value = widths.value.max(value.chars().count()),
                Cells::Trend(cells) => {
                    widths.trend.resize(widths.trend.len().max(cells.len()), 0);
                    for (width, cell) in widths.trend.iter_mut().zip(cells) {
                        *width = (*width).max(cell.chars().count());
                    }
                }
            }
        }
        widths.name = widths.name.max(NAME_WIDTH);
        widths
    }
}

fn write_rows(out: &mut String, rows: &[Row], widths: &Widths) {
    for Row { name, cells } in rows {
        let dots = ".".repeat(widths.name.saturating_sub(name.chars().count()));
        let values = match cells {
            Cells::Pair(value, more) => format!("{value:<width$} {more}", width = widths.value),
            Cells::Trend(cells) => {
                let padded = cells.iter().zip(&widths.trend).map(|(cell, width)| format!("{cell:<width$}"));
                padded.collect::<Vec<_>>().join(" ")
            }
        };
        let _written = writeln!(out, "    {name}{dots}: {}", values.trim_end());
    }
}

fn metrics(data: &Value, detail: Detail, out: &mut String) {
    let base = |name: &str| name.split('{').next().unwrap_or("").to_owned();
    let listed = |(name, metric): &(&String, &Value)| {
        *name != "checks"
            && (detail == Detail::Full || has_thresholds(metric) || !PARTS.contains(&base(name).as_str()))
    };
    let section =
        |name: &str| SECTIONS.iter().position(|(_, starts)| starts.iter().any(|s| base(name).starts_with(s)));
    let stats = &data["options"]["summaryTrendStats"];
    let rows_of = |wanted: Option<usize>| -> Vec<Row> {
        let of_it = entries(&data["metrics"]).filter(listed).filter(|(name, _)| section(name) == wanted);
        of_it.map(|(name, metric)| Row { name: shown_name(name), cells: cells(metric, stats) }).collect()
    };
    let sections = (0..SECTIONS.len()).map(|at| (SECTIONS[at].0, rows_of(Some(at))));
    let all: Vec<(&str, Vec<Row>)> = std::iter::once(("CUSTOM", rows_of(None))).chain(sections).collect();
    let widths = Widths::of(all.iter().flat_map(|(_, rows)| rows));
    for (title, rows) in all.iter().filter(|(_, rows)| !rows.is_empty()) {
        let _written = writeln!(out, "    {title}");
        write_rows(out, rows, &widths);
        out.push('\n');
    }
}

fn shown_name(name: &str) -> String {
    match name.split_once('{') {
        Some((_, tags)) => format!("  {{ {}", tags.replace('}', " }")),
        None => name.to_owned(),
    }
}

/// `stats`: which figures of a trend, in this order.
fn cells(metric: &Value, stats: &Value) -> Cells {
    let value = |name: &str| metric["values"][name].as_f64().unwrap_or(0.0);
    let shown = |name: &str| show(metric, name, value(name));
    match metric["type"].as_str().unwrap_or("") {
        "counter" => Cells::Pair(shown("count"), format!("{}/s", shown("rate"))),
        "gauge" => Cells::Pair(shown("value"), format!("min={} max={}", shown("min"), shown("max"))),
        "rate" => {
            let (passes, fails) = (value("passes"), value("fails"));
            Cells::Pair(percent(value("rate")), format!("{passes} out of {}", passes + fails))
        }
        _ => {
            let names = items(stats).filter_map(Value::as_str);
            Cells::Trend(names.map(|name| format!("{name}={}", shown(name))).collect())
        }
    }
}

fn show(metric: &Value, name: &str, value: f64) -> String {
    match metric["contains"].as_str() {
        _ if metric["type"] == "rate" => percent(value),
        Some("time") if name != "count" => time(value),
        Some("data") => bytes(value),
        _ => figure(value, 6),
    }
}

/// A share of 1, never rounded up: 99.996 % is not all.
fn percent(share: f64) -> String {
    format!("{:.2}%", cut(share * 100.0))
}

/// Two decimals, the rest cut off. What a binary fraction lacks to the last decimal is given to it.
fn cut(value: f64) -> f64 {
    let hundredths = value * 100.0;
    (hundredths + hundredths.abs() * 1e-12).trunc() / 100.0
}

/// Milliseconds as k6 prints them: two decimals of the unit that fits, cut off.
fn time(ms: f64) -> String {
    match ms.abs() {
        0.0 => "0s".to_owned(),
        a if a < 1e-3 => format!("{:.0}ns", (ms * 1e6).trunc()),
        a if a < 1.0 => format!("{}µs", figure(cut(ms * 1e3), 2)),
        a if a < 1e3 => format!("{}ms", figure(cut(ms), 2)),
        a if a < 6e4 => format!("{}s", figure(cut(ms / 1e3), 2)),
        _ => crate::duration::show(std::time::Duration::from_secs_f64((ms.max(0.0) / 1e3).trunc())),
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
    let places = usize::from(unit != "B" && value.abs() < 10.0);
    format!("{value:.places$} {unit}")
}

/// Without trailing zeros.
fn figure(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data() -> Value {
        json!({
            "options": { "summaryTrendStats": ["avg", "p(95)"] },
            "state": { "testRunDurationMs": 2000.0 },
            "root_group": { "checks": [{ "name": "is ok", "passes": 3, "fails": 1 }],
                            "groups": [{ "name": "shop", "checks": [{ "name": "in", "passes": 2, "fails": 0 }] }] },
            "metrics": {
                "checks": { "type": "rate", "values": { "rate": 0.75, "passes": 3, "fails": 1 } },
                "http_req_duration": { "type": "trend", "contains": "time",
                    "values": { "avg": 1.5, "p(95)": 250.25 }, "thresholds": { "p(95)<200": { "ok": false } } },
                "http_req_duration{expected_response:true}": { "type": "trend", "contains": "time",
                    "values": { "avg": 0.123456, "p(95)": 65_500.0 } },
                "http_req_waiting": { "type": "trend", "contains": "time", "values": { "avg": 1.0, "p(95)": 2.0 } },
                "http_req_failed": { "type": "rate", "values": { "rate": 0.99996, "passes": 99_996, "fails": 4 } },
                "http_reqs": { "type": "counter", "contains": "default", "values": { "count": 4.0, "rate": 2.0 } },
                "data_received": { "type": "counter", "contains": "data", "values": { "count": 4096.0, "rate": 204_800.0 } },
            },
        })
    }

    #[test]
    fn the_text_has_k6s_content() {
        expect_test::expect![[r#"
            It says:

              █ THRESHOLDS

                http_req_duration
                ✗ 'p(95)<200' p(95)=250.25ms

              █ TOTAL RESULTS

                checks_total.......................: 4      2/s
                checks_succeeded...................: 75.00% 3 out of 4
                checks_failed......................: 25.00% 1 out of 4

                ✗ is ok
                 ↳  75% — ✓ 3 / ✗ 1

                █ shop

                  ✓ in

                HTTP
                http_req_duration..................: avg=1.5ms    p(95)=250.25ms
                  { expected_response:true }.......: avg=123.45µs p(95)=1m5s
                http_req_failed....................: 99.99% 99996 out of 100000
                http_reqs..........................: 4      2/s

                NETWORK
                data_received......................: 4.1 kB 205 kB/s

        "#]]
        .assert_eq(&format!("It says:\n{}", text(&data(), "", Detail::Compact)));
    }

    #[test]
    fn the_parts_of_a_request_are_in_the_full_text() {
        assert!(text(&data(), "", Detail::Full).contains("http_req_waiting"));
    }

    #[test]
    fn figures_are_cut_and_not_rounded() {
        for (ms, expected) in [
            (0.0, "0s"),
            (2e-5, "20ns"),
            (0.999_999, "999.99µs"),
            (4.35, "4.35ms"),
            (1999.0, "1.99s"),
            (61_000.0, "1m1s"),
        ] {
            assert_eq!(time(ms), expected);
        }
    }
}
