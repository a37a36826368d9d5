//! Metrics of OTLP's JSON, into the same store as those from the wire.

use super::Walked;
use super::json::{double, field, items, number, plain, text, whole};
use super::metrics::plain as label;
use crate::distribution::Distribution;
use crate::intake::Intake;
use crate::metric_store::{Attributes, Figure, MetricName};
use crate::report::Unusable;
use serde_json::Value as Json;

pub(crate) fn read(resources: &[Json], intake: &mut Intake, walked: &mut Walked) {
    for resource in resources {
        let own = resource.get("resource").map_or_else(Attributes::new, attributes);
        let names = ["scopeMetrics", "scope_metrics", "instrumentationLibraryMetrics"];
        for scope in names.iter().flat_map(|name| items(resource, &[name])) {
            for sent in items(scope, &["metrics"]) {
                metric(sent, &own, intake, walked);
            }
        }
    }
}

fn attributes(holder: &Json) -> Attributes {
    let pair =
        |a: &Json| (text(a, &["key"]).to_owned(), a.get("value").map_or(String::new(), |v| label(&plain(v))));
    items(holder, &["attributes"]).iter().map(pair).collect()
}

type Read = fn(&Json, &Json) -> Option<Figure>;

/// Names of a metric's data, and how a point of it is read.
const SHAPES: [(&[&str], Read); 5] = [
    (&["gauge"], |_, point| Some(Figure::Gauge(value(point)))),
    (&["sum"], sum),
    (&["histogram"], histogram),
    (&["exponentialHistogram", "exponential_histogram"], exponential),
    (&["summary"], |_, point| Some(summary(point))),
];

fn metric(json: &Json, resource: &Attributes, intake: &mut Intake, walked: &mut Walked) {
    let name = MetricName { name: text(json, &["name"]), unit: text(json, &["unit"]) };
    let Intake { metrics, report, .. } = intake;
    for (names, read) in SHAPES {
        let Some(data) = field(json, names) else { continue };
        for point in items(data, &["dataPoints", "data_points"]) {
            let mut all = attributes(point);
            all.extend(resource.iter().map(|(key, value)| (key.clone(), value.clone())));
            let time_ns = number(point, &["timeUnixNano", "time_unix_nano"]);
            let kept = match read(data, point) {
                Some(figure) => metrics.push(&name, all, time_ns, figure, report),
                None => {
                    report.count(Unusable::Histogram, 1);
                    false
                }
            };
            walked.kept += u64::from(kept);
            walked.rejected += u64::from(!kept);
        }
    }
}

fn value(point: &Json) -> f64 {
    let sent = field(point, &["asDouble", "as_double", "asInt", "as_int"]);
    sent.and_then(double).unwrap_or(f64::NAN)
}

fn is_delta(data: &Json) -> bool {
    field(data, &["aggregationTemporality", "aggregation_temporality"])
        .is_some_and(|t| t.as_str() == Some("AGGREGATION_TEMPORALITY_DELTA") || whole(t) == Some(1))
}

fn sum(data: &Json, point: &Json) -> Option<Figure> {
    let monotonic = field(data, &["isMonotonic", "is_monotonic"]).and_then(Json::as_bool) == Some(true);
    Some(Figure::Sum { value: value(point), monotonic, delta: is_delta(data) })
}

fn counts(holder: &Json) -> Vec<u64> {
    items(holder, &["bucketCounts", "bucket_counts"]).iter().filter_map(whole).collect()
}

fn histogram(data: &Json, point: &Json) -> Option<Figure> {
    let bounds = items(point, &["explicitBounds", "explicit_bounds"]).iter().filter_map(double).collect();
    let distribution = Distribution::explicit(bounds, counts(point))?;
    Some(figure(data, point, distribution))
}

fn figure(data: &Json, point: &Json, distribution: Distribution) -> Figure {
    let sum = field(point, &["sum"]).and_then(double);
    Figure::Histogram { distribution, count: number(point, &["count"]), sum, delta: is_delta(data) }
}

fn exponential(data: &Json, point: &Json) -> Option<Figure> {
    let signed = |holder: &Json, name: &str| holder.get(name).map_or(Some(0), Json::as_i64);
    let positive = field(point, &["positive"]).unwrap_or(&Json::Null);
    let negative = field(point, &["negative"]).unwrap_or(&Json::Null);
    let zeros = number(point, &["zeroCount", "zero_count"]);
    let zeros = counts(negative).iter().fold(zeros, |all, n| all.saturating_add(*n));
    let offset = signed(positive, "offset")?;
    let distribution = Distribution::exponential(signed(point, "scale")?, zeros, offset, &counts(positive))?;
    Some(figure(data, point, distribution))
}

fn summary(point: &Json) -> Figure {
    let pair = |q: &Json| {
        let at = |name| q.get(name).and_then(double).unwrap_or(0.0);
        (at("quantile"), at("value"))
    };
    let quantiles = items(point, &["quantileValues", "quantile_values"]).iter().map(pair).collect();
    let sum = field(point, &["sum"]).and_then(double).unwrap_or(0.0);
    Figure::Summary { count: number(point, &["count"]), sum, quantiles }
}
