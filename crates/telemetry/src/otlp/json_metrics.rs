//! Metrics of OTLP's JSON, into the same store as those from the wire. They are few: each is read as a tree first.

use super::Walked;
use super::metrics::plain as label;
use super::tree::{any_value, double, field, items, number, text, whole};
use crate::distribution::Distribution;
use crate::intake::Intake;
use crate::json::{Record, skip};
use crate::metric_store::{Attributes, Figure, MetricName};
use crate::report::Unusable;
use serde::de::MapAccess;
use serde_json::Value as Json;

/// The metrics of one resource after another.
pub(super) struct ResourceMetrics<'i> {
    intake: &'i mut Intake,
    walked: &'i mut Walked,
    resource: Attributes,
    /// Lists of scopes: the resource may come after them.
    scopes: Vec<Json>,
}

impl<'i> ResourceMetrics<'i> {
    pub(super) fn new(intake: &'i mut Intake, walked: &'i mut Walked) -> Self {
        Self { intake, walked, resource: Attributes::new(), scopes: Vec::new() }
    }
}

impl<'de> Record<'de> for ResourceMetrics<'_> {
    fn begin(&mut self) {
        self.resource.clear();
        self.scopes.clear();
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "resource" => self.resource = attributes(&map.next_value::<Json>()?),
            "scopeMetrics" | "scope_metrics" | "instrumentationLibraryMetrics" => {
                self.scopes.push(map.next_value()?);
            }
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self, _whole: bool) {
        for scope in self.scopes.drain(..).flat_map(listed) {
            for sent in items(&scope, &["metrics"]) {
                metric(sent, &self.resource, self.intake, self.walked);
            }
        }
    }
}

fn listed(json: Json) -> Vec<Json> {
    if let Json::Array(list) = json { list } else { Vec::new() }
}

fn attributes(holder: &Json) -> Attributes {
    let pair = |a: &Json| {
        (text(a, &["key"]).to_owned(), a.get("value").map_or(String::new(), |v| label(&any_value(v))))
    };
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
