//! A capacity for people and as JSON for tools. Pure.

use super::{Capacity, Limit, Stop, Window};
use serde_json::{Value, json};
use std::fmt::Write;

/// One window in a line: `  420.0/s  p95 231.0 ms  errors 0.0 %  met`.
#[must_use]
pub fn window_text(window: &Window) -> String {
    let verdict = match (window.met, window.limit) {
        (true, _) => "met".to_owned(),
        (false, Some(limit)) => format!("missed: {}", limit_text(limit)),
        (false, None) => "missed".to_owned(),
    };
    format!(
        "{:>10.1}/s  answered {:>9.1}/s  p50 {:>8.2} ms  p95 {:>8.2} ms  p99 {:>8.2} ms  errors {:>5.1} %  {verdict}",
        window.rate,
        window.completed_per_s,
        window.p50_ms,
        window.p95_ms,
        window.p99_ms,
        window.error_share * 100.0
    )
}

fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::Generator => "the load generator itself is at its limit",
        Limit::Errors => "the service fails requests",
        Limit::Throughput => "the service answers fewer requests than are due",
        Limit::Latency => "the service answers too slowly",
    }
}

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::Generator => "generator",
        Limit::Errors => "errors",
        Limit::Throughput => "throughput",
        Limit::Latency => "latency",
    }
}

/// The answer and what it stands on. Ends with a line feed.
#[must_use]
pub fn capacity_text(capacity: &Capacity) -> String {
    let mut out = String::new();
    match write_text(capacity, &mut out) {
        Ok(()) => out,
        Err(_) => unreachable!("writing to a string cannot fail"),
    }
}

fn write_text(capacity: &Capacity, out: &mut String) -> std::fmt::Result {
    let bracket = &capacity.bracket;
    let high = bracket.high.map_or("no upper end seen".to_owned(), |high| format!("{high:.1}/s"));
    match (bracket.met, bracket.missed) {
        (None, None) => writeln!(out, "capacity unknown: no window was measured to its end")?,
        (None, Some(missed)) => writeln!(
            out,
            "no capacity: the goals were missed at every rate that was tried, the lowest {missed:.1}/s"
        )?,
        (Some(met), None) => writeln!(
            out,
            "capacity at least {met:.1}/s: no rate was found at which the service misses the goals"
        )?,
        (Some(met), Some(missed)) => writeln!(
            out,
            "capacity {met:.1}/s (95 % interval {:.1}/s to {high}); {missed:.1}/s is too much",
            bracket.low
        )?,
    }
    if let Some(limit) = capacity.limit {
        writeln!(out, "what stands in the way: {}", limit_text(limit))?;
        let beyond = capacity.windows.iter().filter(|window| window.limit == Some(limit));
        let first = beyond.min_by(|a, b| a.rate.total_cmp(&b.rate));
        if let Some(window) = first {
            for goal in window.goals.iter().filter(|goal| !goal.met) {
                writeln!(out, "  at {:.1}/s: {}, measured {}", window.rate, goal.goal, value(goal))?;
            }
            if let Some(error) = window.error.as_ref().filter(|_| window.error_share > 0.0) {
                writeln!(out, "  most frequent error: {error}")?;
            }
        }
    }
    let why = match capacity.stop {
        Stop::Found => "",
        Stop::Budget => ", the time was over before the edge was known as well as asked",
        Stop::Shutdown => ", ended early: what was known is kept",
    };
    writeln!(
        out,
        "{} windows in {:.0} s, {} at that rate{why}",
        capacity.windows.len(),
        capacity.elapsed.as_secs_f64(),
        bracket.windows
    )
}

fn value(goal: &super::Judged) -> String {
    if goal.goal.starts_with("errors") {
        format!("{:.2} %", goal.value * 100.0)
    } else if goal.goal.starts_with("rate") {
        format!("{:.1}/s", goal.value)
    } else {
        format!("{:.1} ms", goal.value)
    }
}

/// One object: `capacity_per_s`, `low_per_s`, `high_per_s`, `missed_per_s`, `limit`, `stop`, `windows`.
#[must_use]
pub fn capacity_json(capacity: &Capacity) -> Value {
    let windows: Vec<Value> = capacity.windows.iter().map(window_json).collect();
    json!({
        "version": 1,
        "target": capacity.target,
        "capacity_per_s": capacity.bracket.met,
        "low_per_s": capacity.bracket.low,
        "high_per_s": capacity.bracket.high,
        "missed_per_s": capacity.bracket.missed,
        "limit": capacity.limit.map(limit_name),
        "stop": match capacity.stop {
            Stop::Found => "found",
            Stop::Budget => "budget",
            Stop::Shutdown => "shutdown",
        },
        "seconds": capacity.elapsed.as_secs_f64(),
        "windows": windows,
    })
}

fn window_json(window: &Window) -> Value {
    let goals: Vec<Value> = window
        .goals
        .iter()
        .map(|goal| json!({ "goal": goal.goal, "value": goal.value, "met": goal.met }))
        .collect();
    json!({
        "rate_per_s": window.rate,
        "completed_per_s": window.completed_per_s,
        "p50_ms": window.p50_ms,
        "p95_ms": window.p95_ms,
        "p99_ms": window.p99_ms,
        "error_share": window.error_share,
        "met": window.met,
        "limit": window.limit.map(limit_name),
        "goals": goals,
    })
}

#[cfg(test)]
mod tests {
    use super::super::search::Shown;
    use super::super::{Bracket, Judged};
    use super::*;
    use expect_test::expect;
    use std::time::Duration;

    fn window(rate: f64, met: bool) -> Window {
        Window {
            rate,
            completed_per_s: rate * 0.99,
            p50_ms: 20.0,
            p95_ms: if met { 200.0 } else { 900.0 },
            p99_ms: 1000.0,
            error_share: if met { 0.0 } else { 0.002 },
            error: (!met).then(|| "status 503".to_owned()),
            goals: vec![Judged { goal: "p95(*) < 250 ms".to_owned(), value: 900.0, met }],
            met,
            limit: (!met).then_some(Limit::Throughput),
            shown: if met { Shown::Met } else { Shown::Missed },
        }
    }

    fn capacity(bracket: Bracket, stop: Stop) -> Capacity {
        Capacity {
            target: "http://127.0.0.1/".to_owned(),
            bracket,
            windows: vec![window(400.0, true), window(420.0, false)],
            limit: Some(Limit::Throughput),
            stop,
            elapsed: Duration::from_secs(90),
        }
    }

    #[test]
    fn the_answer_comes_with_its_interval_and_its_reason() {
        let bracket =
            Bracket { met: Some(400.0), missed: Some(420.0), low: 380.0, high: Some(420.0), windows: 4 };
        let capacity = capacity(bracket, Stop::Found);
        expect![[r#"
            capacity 400.0/s (95 % interval 380.0/s to 420.0/s); 420.0/s is too much
            what stands in the way: the service answers fewer requests than are due
              at 420.0/s: p95(*) < 250 ms, measured 900.0 ms
              most frequent error: status 503
            2 windows in 90 s, 4 at that rate
        "#]]
        .assert_eq(&capacity_text(&capacity));
        let json = capacity_json(&capacity);
        assert_eq!(
            (json["capacity_per_s"].as_f64(), json["limit"].as_str()),
            (Some(400.0), Some("throughput"))
        );
        assert_eq!(json["windows"][1]["met"], false);
    }

    #[test]
    fn an_open_end_and_an_early_end_are_said() {
        let bracket = Bracket { met: Some(400.0), missed: None, low: 400.0, high: None, windows: 1 };
        let text = capacity_text(&capacity(bracket, Stop::Shutdown));
        assert!(text.starts_with("capacity at least 400.0/s"), "{text}");
        assert!(text.contains("ended early"), "{text}");
        let none = Bracket { met: None, missed: Some(1.0), low: 0.0, high: Some(1.0), windows: 0 };
        assert!(capacity_text(&capacity(none, Stop::Budget)).contains("missed at every rate"));
    }
}
