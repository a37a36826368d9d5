//! Prometheus remote write 1.0: sums as series under the names that k6's own remote write gives them, times in seconds.
//! Trends become gauges of their quantiles since the last push, or native histograms since the start.

use super::aggregate::{Aggregate, Group, SCALE, Series, Spread, Value};
use super::protobuf::{Message, zigzag};
use super::{Unit, snappy};

pub(super) const HEADERS: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];
/// Prometheus counts time in seconds.
pub(super) const PER_MS: f64 = 1e-3;
const QUANTILES: &[(&str, f64)] = &[("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];

/// The body of one push.
pub(super) fn body(aggregate: &Aggregate, time_ns: u64, native: bool) -> Vec<u8> {
    let mut out = Message::default();
    let time_ms = time_ns / 1_000_000;
    for group in &aggregate.groups {
        for series in &group.series {
            one(&mut out, group, series, time_ms, native);
        }
    }
    snappy::compress(&out.into_bytes())
}

fn one(out: &mut Message, group: &Group, series: &Series, time_ms: u64, native: bool) {
    let name = format!("k6_{}", clean(&series.metric.name));
    let mut number = |suffix: &str, value: f64| {
        let mut timed = named(group, &format!("{name}{suffix}"));
        let mut sample = Message::default();
        sample.double(1, value);
        sample.uint(2, time_ms);
        timed.message(2, &sample);
        out.message(1, &timed);
    };
    match &series.value {
        Value::Counter(sum) => number("_total", *sum),
        Value::Gauge(last) => number("", *last),
        Value::Rate { passes, total } => number("_rate", *passes as f64 / (*total).max(1) as f64),
        Value::Trend(trend) if native => {
            let unit = if series.metric.unit == Unit::Milliseconds { "_seconds" } else { "" };
            let mut timed = named(group, &format!("{name}{unit}"));
            timed.message(4, &histogram(&trend.all, time_ms));
            out.message(1, &timed);
        }
        Value::Trend(trend) => {
            number("_count", trend.all.count() as f64);
            number("_sum", trend.all.sum);
            if trend.recent.count() > 0 {
                for (suffix, q) in QUANTILES {
                    number(&format!("_{suffix}"), trend.recent.quantile(*q));
                }
                number("_max", trend.recent.max);
            }
        }
    }
}

/// A series with its labels, which must be sorted by name; `__name__` comes before all others.
fn named(group: &Group, name: &str) -> Message {
    let mut labels = vec![("__name__".to_owned(), name)];
    labels.extend(group.labels.iter().map(|(name, value)| (clean(name), value.as_str())));
    labels.sort();
    labels.dedup_by(|later, first| later.0 == first.0);
    let mut timed = Message::default();
    for (name, value) in labels {
        let mut label = Message::default();
        label.text(1, &name);
        label.text(2, value);
        timed.message(1, &label);
    }
    timed
}

/// Letters, digits and `_`, no digit first.
fn clean(name: &str) -> String {
    let mut clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if clean.starts_with(|c: char| c.is_ascii_digit()) {
        clean.insert(0, '_');
    }
    clean
}

/// `prompb.Histogram`. Its bucket `n` ends where ours of `n - 1` does.
fn histogram(spread: &Spread, time_ms: u64) -> Message {
    let mut out = Message::default();
    out.uint(1, spread.count());
    out.double(3, spread.sum);
    out.sint(4, SCALE);
    out.double(5, 0.0);
    out.uint(6, spread.zeros);
    let mut deltas = Vec::new();
    let (mut count_before, mut next) = (0_i64, 0_i64);
    let mut spans: Vec<(i64, u64)> = Vec::new();
    for &(bucket, count) in spread.buckets.buckets() {
        let index = i64::from(bucket) + 1;
        let gap = index - next;
        match spans.last_mut() {
            Some((_, length)) if gap == 0 => *length += 1,
            _ => spans.push((gap, 1)),
        }
        next = index + 1;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(zigzag(count - count_before));
        count_before = count;
    }
    for (offset, length) in spans {
        let mut span = Message::default();
        span.sint(1, offset);
        span.uint(2, length);
        out.message(11, &span);
    }
    out.packed(12, deltas.into_iter());
    out.uint(15, time_ms);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::reader::{all, decompress, fields, one, unzigzag};
    use crate::out::{Kind, Metric, Samples};
    use std::collections::BTreeMap;

    #[test]
    fn names_are_those_that_prometheus_takes() {
        assert_eq!(clean("http_req.duration"), "http_req_duration");
        assert_eq!(clean("5xx"), "_5xx");
    }

    fn aggregate() -> Aggregate {
        let mut sums = Aggregate::new(PER_MS);
        for ms in [0.0, 10.0, 10.0, 40.0] {
            sums.take(&Samples {
                time_ns: 0,
                values: vec![
                    (Metric::fixed("http_reqs", Kind::Counter, Unit::None), 1.0),
                    (Metric::fixed("took", Kind::Trend, Unit::Milliseconds), ms),
                    (Metric::fixed("checks", Kind::Rate, Unit::None), f64::from(u8::from(ms > 0.0))),
                ],
                tags: vec![("status".into(), "200".into()), ("Name".into(), "GET /a".into())],
            });
        }
        sums
    }

    /// Series by name; labels are told apart from their values.
    fn series(body: &[u8]) -> BTreeMap<String, Vec<crate::out::reader::Field>> {
        let mut by_name = BTreeMap::new();
        for timed in all(&fields(&decompress(body)), 1) {
            let timed = timed.fields();
            let labels: Vec<(String, String)> = all(&timed, 1)
                .iter()
                .map(|label| (one(&label.fields(), 1).text(), one(&label.fields(), 2).text()))
                .collect();
            assert!(labels.is_sorted(), "{labels:?}");
            assert_eq!(labels.len(), 3);
            let name = labels.iter().find(|label| label.0 == "__name__").unwrap().1.clone();
            by_name.insert(name, timed);
        }
        by_name
    }

    #[test]
    fn sums_and_quantiles_become_samples() {
        let series = series(&body(&aggregate(), 1_700_000_000_123_456_789, false));
        let value = |name: &str| {
            let sample = one(&series[name], 2).fields();
            assert_eq!(one(&sample, 2).int(), 1_700_000_000_123);
            one(&sample, 1).double()
        };
        assert_eq!((value("k6_http_reqs_total"), value("k6_checks_rate")), (4.0, 0.75));
        assert_eq!((value("k6_took_count"), value("k6_took_max")), (4.0, 0.04));
        assert!((value("k6_took_p50") / 0.01 - 1.0).abs() < 0.006, "{}", value("k6_took_p50"));
        assert!((value("k6_took_sum") - 0.06).abs() < 1e-9);
    }

    #[test]
    fn a_native_histogram_has_its_values_in_the_buckets_that_hold_them() {
        let series = series(&body(&aggregate(), 5_000_000, true));
        let histogram = one(&series["k6_took_seconds"], 4).fields();
        assert_eq!(
            (one(&histogram, 1).int(), one(&histogram, 6).int(), one(&histogram, 15).int()),
            (4, 1, 5)
        );
        assert_eq!(one(&histogram, 4).signed(), 6);
        let mut index = 0;
        let deltas = one(&histogram, 12).packed();
        let (mut deltas, mut count, mut buckets) = (deltas.iter(), 0, Vec::new());
        for span in all(&histogram, 11) {
            index += one(&span.fields(), 1).signed();
            for _ in 0..one(&span.fields(), 2).int() {
                count += unzigzag(*deltas.next().unwrap());
                buckets.push((index, count));
                index += 1;
            }
        }
        assert_eq!((buckets.len(), deltas.next()), (2, None));
        for ((index, count), (value, expected)) in buckets.into_iter().zip([(0.01_f64, 2), (0.04, 1)]) {
            // Bucket n holds what is above 2^((n-1)/64) and up to 2^(n/64).
            let (low, high) = (((index - 1) as f64 / 64.0).exp2(), (index as f64 / 64.0).exp2());
            assert!(low < value && value <= high && count == expected, "{index}: {low} {value} {high}");
        }
    }
}
