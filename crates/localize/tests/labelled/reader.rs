//! A small reader of gzipped OTLP JSON lines, as far as the labelled traces need one.

use model::{Attribute, SpanFields, SpanKind, SpanStatus, SpanTable, Value};
use serde_json::Value as Json;
use std::io::Read;
use std::path::Path;

/// The spans of a file, with all their attributes and links.
pub(crate) fn spans(path: &Path) -> SpanTable {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let read = flate2::read::GzDecoder::new(file).read_to_string(&mut text);
    read.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut table = SpanTable::default();
    for line in text.lines() {
        let document: Json = serde_json::from_str(line).expect("a line of JSON");
        for resource_spans in array(&document["resourceSpans"]) {
            let attributes = attributes(&mut table, &resource_spans["resource"]["attributes"]);
            let resource = table.add_resource(&attributes);
            for scope_spans in array(&resource_spans["scopeSpans"]) {
                let scope = table.strings.intern(scope_spans["scope"]["name"].as_str().unwrap_or(""));
                for span in array(&scope_spans["spans"]) {
                    add(&mut table, span, SpanFields { resource, scope, ..SpanFields::default() });
                }
            }
        }
    }
    table
}

fn add(table: &mut SpanTable, span: &Json, of_scope: SpanFields) {
    let (start, end) = (number(&span["startTimeUnixNano"]), number(&span["endTimeUnixNano"]));
    let fields = SpanFields {
        trace_id: trace_id(&span["traceId"]),
        span_id: span_id(&span["spanId"]),
        parent_id: span_id(&span["parentSpanId"]),
        start_ns: start,
        duration_ns: i64::try_from(end).expect("a time") - i64::try_from(start).expect("a time"),
        name: table.strings.intern(span["name"].as_str().unwrap_or("")),
        kind: SpanKind::from_number(number(&span["kind"])),
        status: SpanStatus::from_number(number(&span["status"]["code"])),
        ..of_scope
    };
    let attributes = attributes(table, &span["attributes"]);
    let row = u32::try_from(table.len()).expect("few spans");
    table.push(fields, &attributes);
    for link in array(&span["links"]) {
        table.links.push((row, trace_id(&link["traceId"]), span_id(&link["spanId"])));
    }
}

fn attributes(table: &mut SpanTable, listed: &Json) -> Vec<Attribute> {
    let mut out = Vec::new();
    for attribute in array(listed) {
        let key = table.strings.intern(attribute["key"].as_str().unwrap_or(""));
        let value = &attribute["value"];
        let text;
        let value = if let Some(text) = value["stringValue"].as_str() {
            Value::Text(text)
        } else if let Some(truth) = value["boolValue"].as_bool() {
            Value::Bool(truth)
        } else if let Some(int) = value["intValue"].as_str() {
            Value::Int(int.parse().expect("a whole number"))
        } else if let Some(float) = value["doubleValue"].as_f64() {
            Value::Float(float)
        } else {
            text = list(&value["arrayValue"]);
            Value::Text(&text)
        };
        out.push(Attribute { key, value: table.pack(value) });
    }
    out
}

/// A list as JSON, as the product's own readers keep it.
fn list(array_value: &Json) -> String {
    let plain =
        |value: &Json| value.as_object().and_then(|o| o.values().next()).cloned().unwrap_or(Json::Null);
    Json::Array(array(&array_value["values"]).iter().map(plain).collect()).to_string()
}

fn array(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

/// A number, also where it was sent as a string.
fn number(json: &Json) -> u64 {
    json.as_u64().or_else(|| json.as_str()?.parse().ok()).unwrap_or(0)
}

fn span_id(json: &Json) -> u64 {
    json.as_str().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0)
}

fn trace_id(json: &Json) -> u128 {
    json.as_str().and_then(|text| u128::from_str_radix(text, 16).ok()).unwrap_or(0)
}
