//! Small readers of trace files for tests: Jaeger's JSON and OTLP's JSON lines, just as far as the data needs.

use model::{Attribute, MetricKind, MetricSeries, Point, SpanFields, SpanKind, SpanTable, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

/// A file of the repository's test data.
pub(crate) fn testdata(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/traces").join(path)
}

/// Spans of a Jaeger JSON document; times there are microseconds.
pub(crate) fn jaeger(path: &str) -> SpanTable {
    let text = std::fs::read_to_string(testdata(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let document: Json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut table = SpanTable::default();
    for trace in array(&document["data"]) {
        for span in array(&trace["spans"]) {
            let process = &trace["processes"][text_of(&span["processID"])];
            let resource = service(&mut table, text_of(&process["serviceName"]));
            let parent = array(&span["references"]).first().map_or("", |r| text_of(&r["spanID"]));
            let fields = SpanFields {
                trace_id: u128::from(id(text_of(&span["traceID"]))),
                span_id: id(text_of(&span["spanID"])),
                parent_id: id(parent),
                start_ns: EPOCH_NS + number(&span["startTime"]) * 1_000,
                duration_ns: i64::try_from(number(&span["duration"]) * 1_000).unwrap_or(i64::MAX),
                name: table.strings.intern(text_of(&span["operationName"])),
                resource,
                ..SpanFields::default()
            };
            table.push(fields, &[]);
        }
    }
    table
}

/// Spans of gzipped OTLP JSON lines.
pub(crate) fn otlp_spans(path: &str) -> SpanTable {
    let mut table = SpanTable::default();
    for line in gunzipped(path).lines() {
        let document: Json = serde_json::from_str(line).expect("a line of JSON");
        for resource_spans in array(&document["resourceSpans"]) {
            let resource = service(&mut table, &attribute(&resource_spans["resource"], "service.name"));
            for scope_spans in array(&resource_spans["scopeSpans"]) {
                for span in array(&scope_spans["spans"]) {
                    let fields = otlp_fields(&mut table, span, resource);
                    table.push(fields, &[]);
                }
            }
        }
    }
    table
}

fn otlp_fields(table: &mut SpanTable, span: &Json, resource: model::ResourceId) -> SpanFields {
    let (start, end) = (number(&span["startTimeUnixNano"]), number(&span["endTimeUnixNano"]));
    SpanFields {
        trace_id: u128::from_str_radix(text_of(&span["traceId"]), 16).unwrap_or(0),
        span_id: id(text_of(&span["spanId"])),
        parent_id: id(text_of(&span["parentSpanId"])),
        start_ns: start,
        duration_ns: i64::try_from(end).unwrap_or(0) - i64::try_from(start).unwrap_or(0),
        name: table.strings.intern(text_of(&span["name"])),
        resource,
        ..SpanFields::default()
    }
}

/// Gauges of gzipped OTLP JSON lines.
pub(crate) fn otlp_metrics(path: &str) -> Vec<MetricSeries> {
    let mut all = Vec::new();
    for line in gunzipped(path).lines() {
        let document: Json = serde_json::from_str(line).expect("a line of JSON");
        for resource_metrics in array(&document["resourceMetrics"]) {
            let service = attribute(&resource_metrics["resource"], "service.name");
            for scope_metrics in array(&resource_metrics["scopeMetrics"]) {
                for metric in array(&scope_metrics["metrics"]) {
                    let points = array(&metric["gauge"]["dataPoints"]).iter().map(|point| Point {
                        time_ns: number(&point["timeUnixNano"]),
                        value: point["asDouble"].as_f64().unwrap_or(0.0),
                    });
                    all.push(MetricSeries {
                        name: text_of(&metric["name"]).to_owned(),
                        unit: text_of(&metric["unit"]).to_owned(),
                        kind: MetricKind::Gauge,
                        attributes: BTreeMap::from([("service.name".to_owned(), service.clone())]),
                        points: points.collect(),
                    });
                }
            }
        }
    }
    all
}

const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

fn gunzipped(path: &str) -> String {
    let file = std::fs::File::open(testdata(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap_or_else(|e| panic!("{path}: {e}"));
    text
}

fn service(table: &mut SpanTable, name: &str) -> model::ResourceId {
    let key = table.strings.intern("service.name");
    let value = table.pack(Value::Text(name));
    table.add_resource(&[Attribute { key, value }])
}

fn attribute(resource: &Json, key: &str) -> String {
    let found = array(&resource["attributes"]).iter().find(|a| a["key"] == key);
    found.map_or(String::new(), |a| text_of(&a["value"]["stringValue"]).to_owned())
}

fn array(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text_of(json: &Json) -> &str {
    json.as_str().unwrap_or("")
}

/// A number, also where it was sent as a string.
fn number(json: &Json) -> u64 {
    json.as_u64().or_else(|| json.as_str()?.parse().ok()).unwrap_or(0)
}

/// Hexadecimal ids as numbers; other texts (`B3`, `G`) by their bytes.
fn id(text: &str) -> u64 {
    if text.len() == 16 {
        return u64::from_str_radix(text, 16).unwrap_or(0);
    }
    text.bytes().fold(0, |id, byte| id << 8 | u64::from(byte))
}

/// Back from [`id`] for short texts.
pub(crate) fn short_name(id: u64) -> String {
    String::from_utf8(id.to_be_bytes().into_iter().filter(|b| *b != 0).collect()).expect("short ids are text")
}

/// Spans of a Zipkin v2 JSON document: a list of spans, or of traces; times there are microseconds.
pub(crate) fn zipkin(path: &str) -> SpanTable {
    let text = std::fs::read_to_string(testdata(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let document: Json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut table = SpanTable::default();
    let listed = array(&document).iter();
    for span in listed.flat_map(|one| if one.is_array() { array(one) } else { std::slice::from_ref(one) }) {
        let resource = service(&mut table, text_of(&span["localEndpoint"]["serviceName"]));
        let trace = text_of(&span["traceId"]);
        let fields = SpanFields {
            trace_id: u128::from_str_radix(trace, 16).unwrap_or(0),
            span_id: id(text_of(&span["id"])),
            parent_id: id(text_of(&span["parentId"])),
            start_ns: number(&span["timestamp"]) * 1_000,
            duration_ns: i64::try_from(number(&span["duration"]) * 1_000).unwrap_or(i64::MAX),
            name: table.strings.intern(text_of(&span["name"])),
            kind: match text_of(&span["kind"]) {
                "CLIENT" => SpanKind::Client,
                "SERVER" => SpanKind::Server,
                "PRODUCER" => SpanKind::Producer,
                "CONSUMER" => SpanKind::Consumer,
                _ => SpanKind::Unspecified,
            },
            resource,
            ..SpanFields::default()
        };
        let tags = span["tags"].as_object().into_iter().flatten();
        let attributes: Vec<Attribute> = tags
            .map(|(key, value)| {
                let key = table.strings.intern(key);
                Attribute { key, value: table.pack(Value::Text(text_of(value))) }
            })
            .collect();
        table.push(fields, &attributes);
    }
    table
}
