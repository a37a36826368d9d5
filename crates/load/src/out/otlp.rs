//! Metrics as OTLP over HTTP (protobuf): sums, gauges and exponential histograms since the start of the run, times in
//! milliseconds, a rate as two sums as k6's own OTLP output writes it.

use super::Unit;
use super::aggregate::{Aggregate, SCALE, Series, Spread, Value};
use super::protobuf::Message;
use std::collections::BTreeMap;

pub(super) const HEADERS: &[(&str, &str)] = &[("content-type", "application/x-protobuf")];
pub(super) const PER_MS: f64 = 1.0;
const CUMULATIVE: u64 = 2;

/// When the sums began, and now; Unix nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

type Labelled<'a> = (&'a [(String, String)], &'a Series);

/// The body of one push: `ExportMetricsServiceRequest`.
pub(super) fn body(aggregate: &Aggregate, window: Window) -> Vec<u8> {
    let mut by_name: BTreeMap<&str, Vec<Labelled<'_>>> = BTreeMap::new();
    for group in &aggregate.groups {
        for series in &group.series {
            by_name.entry(&series.metric.name).or_default().push((&group.labels, series));
        }
    }
    let mut scope = Message::default();
    let mut instrument = Message::default();
    instrument.text(1, "trimtab");
    instrument.text(2, env!("CARGO_PKG_VERSION"));
    scope.message(1, &instrument);
    for (name, all) in by_name {
        metric(&mut scope, name, &all, window);
    }
    let mut resource = Message::default();
    resource.message(1, &attribute("service.name", "trimtab-load"));
    let mut one = Message::default();
    one.message(1, &resource);
    one.message(2, &scope);
    let mut out = Message::default();
    out.message(1, &one);
    out.into_bytes()
}

fn metric(scope: &mut Message, name: &str, all: &[Labelled<'_>], window: Window) {
    let Some((_, first)) = all.first() else { return };
    let unit = match first.metric.unit {
        Unit::Milliseconds => "ms",
        Unit::Bytes => "By",
        Unit::None => "",
    };
    let points = |value: &dyn Fn(&Value) -> Option<f64>| -> Vec<Message> {
        let numbers = all.iter().filter_map(|(labels, series)| Some((labels, value(&series.value)?)));
        numbers.map(|(labels, value)| point(labels, value, window)).collect()
    };
    let mut push = |name: &str, unit: &str, field: u32, points: Vec<Message>| {
        let mut data = Message::default();
        for point in &points {
            data.message(1, point);
        }
        if field != GAUGE {
            data.uint(2, CUMULATIVE);
        }
        if field == SUM {
            data.uint(3, 1);
        }
        let mut metric = Message::default();
        metric.text(1, name);
        metric.text(3, unit);
        metric.message(field, &data);
        scope.message(2, &metric);
    };
    match &first.value {
        Value::Counter(_) => {
            let sum = |value: &Value| if let Value::Counter(sum) = value { Some(*sum) } else { None };
            push(name, unit, SUM, points(&sum));
        }
        Value::Gauge(_) => {
            let last = |value: &Value| if let Value::Gauge(last) = value { Some(*last) } else { None };
            push(name, unit, GAUGE, points(&last));
        }
        Value::Rate { .. } => {
            let of = |which: fn(u64, u64) -> u64| {
                move |value: &Value| match value {
                    Value::Rate { passes, total } => Some(which(*passes, *total) as f64),
                    _ => None,
                }
            };
            push(&format!("{name}.occurred"), "", SUM, points(&of(|passes, _| passes)));
            push(&format!("{name}.total"), "", SUM, points(&of(|_, total| total)));
        }
        Value::Trend(_) => {
            let trends = all.iter().filter_map(|(labels, series)| match &series.value {
                Value::Trend(trend) => Some(histogram(labels, &trend.all, window)),
                _ => None,
            });
            push(name, unit, EXPONENTIAL_HISTOGRAM, trends.collect());
        }
    }
}

/// Fields of `Metric`.
const GAUGE: u32 = 5;
const SUM: u32 = 7;
const EXPONENTIAL_HISTOGRAM: u32 = 10;

fn attribute(name: &str, value: &str) -> Message {
    let mut any = Message::default();
    any.text(1, value);
    let mut pair = Message::default();
    pair.text(1, name);
    pair.message(2, &any);
    pair
}

fn point(labels: &[(String, String)], value: f64, window: Window) -> Message {
    let mut out = Message::default();
    out.fixed64(2, window.from_ns);
    out.fixed64(3, window.to_ns);
    out.double(4, value);
    for (name, value) in labels {
        out.message(7, &attribute(name, value));
    }
    out
}

/// `ExponentialHistogramDataPoint`; its buckets are numbered as ours.
fn histogram(labels: &[(String, String)], spread: &Spread, window: Window) -> Message {
    let mut out = Message::default();
    for (name, value) in labels {
        out.message(1, &attribute(name, value));
    }
    out.fixed64(2, window.from_ns);
    out.fixed64(3, window.to_ns);
    out.fixed64(4, spread.count());
    out.double(5, spread.sum);
    out.sint(6, SCALE);
    out.fixed64(7, spread.zeros);
    if let (Some((first, _)), Some((last, _))) =
        (spread.buckets.buckets().first(), spread.buckets.buckets().last())
    {
        let mut dense = vec![0_u64; usize::try_from(last - first).unwrap_or(0) + 1];
        for (bucket, count) in spread.buckets.buckets() {
            dense[usize::try_from(bucket - first).unwrap_or(0)] = *count;
        }
        let mut buckets = Message::default();
        buckets.sint(1, i64::from(*first));
        buckets.packed(2, dense.into_iter());
        out.message(8, &buckets);
    }
    out.double(12, spread.min);
    out.double(13, spread.max);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::reader::{all, fields, one};
    use crate::out::{Kind, Metric, Samples};

    #[test]
    fn sums_and_distributions_become_points_with_their_labels() {
        let mut sums = Aggregate::new(PER_MS);
        for ms in [10.0, 10.0, 40.0, 0.0] {
            sums.take(&Samples {
                time_ns: 0,
                values: vec![
                    (Metric::fixed("http_reqs", Kind::Counter, Unit::None), 1.0),
                    (Metric::fixed("took", Kind::Trend, Unit::Milliseconds), ms),
                    (Metric::fixed("checks", Kind::Rate, Unit::None), f64::from(u8::from(ms > 0.0))),
                ],
                tags: vec![("status".into(), "200".into()), ("trace_id".into(), "abc".into())],
            });
        }
        let body = body(&sums, Window { from_ns: 7, to_ns: 9 });
        let resource = one(&fields(&body), 1).fields();
        let scope = one(&resource, 2).fields();
        let metrics: Vec<_> = all(&scope, 2).into_iter().map(|metric| metric.fields()).collect();
        let names: Vec<String> = metrics.iter().map(|metric| one(metric, 1).text()).collect();
        assert_eq!(names, ["checks.occurred", "checks.total", "http_reqs", "took"]);

        let number = |at: usize| {
            let sum = one(&metrics[at], SUM).fields();
            assert_eq!((one(&sum, 2).int(), one(&sum, 3).int()), (CUMULATIVE, 1));
            let point = one(&sum, 1).fields();
            assert_eq!((one(&point, 2).int(), one(&point, 3).int()), (7, 9));
            let label = one(&point, 7).fields();
            assert_eq!(
                (one(&label, 1).text(), one(&one(&label, 2).fields(), 1).text()),
                ("status".into(), "200".into())
            );
            one(&point, 4).double()
        };
        assert_eq!(
            [number(0), number(1), number(2)].map(f64::to_bits),
            [3.0_f64, 4.0, 4.0].map(f64::to_bits)
        );

        assert_eq!(one(&metrics[3], 3).text(), "ms");
        let point = one(&one(&metrics[3], EXPONENTIAL_HISTOGRAM).fields(), 1).fields();
        assert_eq!((one(&point, 4).int(), one(&point, 7).int(), one(&point, 6).signed()), (4, 1, 6));
        let buckets = one(&point, 8).fields();
        let (offset, counts) = (one(&buckets, 1).signed(), one(&buckets, 2).packed());
        for (value, expected) in [(10.0_f64, 2), (40.0, 1)] {
            // Bucket n holds what is above 2^(n/64) and up to 2^((n+1)/64).
            let holds = |n: &i64| {
                let (low, high) = ((*n as f64 / 64.0).exp2(), ((*n + 1) as f64 / 64.0).exp2());
                low < value && value <= high
            };
            let at = (0..counts.len()).find(|at| holds(&(offset + *at as i64))).unwrap();
            assert_eq!(counts[at], expected, "{value}");
        }
        assert_eq!(counts.iter().sum::<u64>(), 3);
    }
}
