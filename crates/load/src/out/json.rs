//! Samples as lines of JSON in the shape of k6's JSON output: a `Metric` line when a metric is first met, then `Point`s.

use super::{Kind, METADATA, Metric, Samples, Unit};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fmt::Write;

/// Metrics that were told; beyond that a metric may be told again.
const MAX_TOLD: usize = 10_000;

#[derive(Default)]
pub(super) struct Lines {
    told: HashSet<String>,
}

impl Lines {
    pub(super) fn write(&mut self, samples: &Samples, out: &mut String) {
        let part = |metadata: bool| -> Value {
            let tags = samples.tags.iter().filter(|(_, value)| !value.is_empty());
            tags.filter(|(name, _)| METADATA.contains(&&**name) == metadata)
                .map(|(name, value)| (name.to_string(), Value::from(&**value)))
                .collect::<Map<String, Value>>()
                .into()
        };
        // What all values share is written once.
        let mut shared = format!(",\"tags\":{}", part(false));
        let metadata = part(true);
        if metadata.as_object().is_some_and(|map| !map.is_empty()) {
            let _written = write!(shared, ",\"metadata\":{metadata}");
        }
        let time = rfc3339(samples.time_ns);
        for (metric, value) in samples.values.iter().filter(|(_, value)| value.is_finite()) {
            if !self.told.contains(&*metric.name) {
                if self.told.len() >= MAX_TOLD {
                    self.told.clear();
                }
                self.told.insert(metric.name.to_string());
                let _written = writeln!(out, "{}", declaration(metric));
            }
            let name = Value::from(&*metric.name);
            let _written = writeln!(
                out,
                "{{\"metric\":{name},\"type\":\"Point\",\"data\":{{\"time\":\"{time}\",\"value\":{value}{shared}}}}}"
            );
        }
    }
}

fn declaration(metric: &Metric) -> Value {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Rate => "rate",
        Kind::Trend => "trend",
    };
    let contains = match metric.unit {
        Unit::None => "default",
        Unit::Milliseconds => "time",
        Unit::Bytes => "data",
    };
    let data = json!({ "name": metric.name, "type": kind, "contains": contains, "thresholds": [], "submetrics": null });
    json!({ "type": "Metric", "data": data, "metric": metric.name })
}

/// In UTC, with nanoseconds. Days to a date: Howard Hinnant, `chrono-Compatible Low-Level Date Algorithms`.
fn rfc3339(unix_ns: u64) -> String {
    let (seconds, nanos) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_709_164_799_000_000_001), "2024-02-28T23:59:59.000000001Z");
        assert_eq!(rfc3339(1_709_164_800_000_000_000), "2024-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_795_405_200_000_000_000), "2026-11-23T03:40:00.000000000Z");
    }

    #[test]
    fn a_metric_is_declared_once() {
        let samples = Samples {
            time_ns: 0,
            values: vec![(Metric::fixed("checks", Kind::Rate, Unit::None), 1.0)],
            tags: vec![
                ("check".into(), "is \"ok\"".into()),
                ("url".into(), "".into()),
                ("vu".into(), "1".into()),
            ],
        };
        let (mut lines, mut out) = (Lines::default(), String::new());
        lines.write(&samples, &mut out);
        lines.write(&samples, &mut out);
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["type"], &lines[0]["data"]["type"]), (&json!("Metric"), &json!("rate")));
        assert_eq!(lines[1]["data"]["tags"], json!({ "check": "is \"ok\"" }));
        assert_eq!(lines[1]["data"]["metadata"], json!({ "vu": "1" }));
        assert_eq!(lines[1], lines[2]);
    }
}
