//! OTLP's JSON in all its dialects: camel and snake case, ids in hex or base64, numbers as texts, kinds as words.

use super::json_metrics;
use super::{EXCEPTION_KEYS, Walked};
use crate::base64;
use crate::intake::{Intake, RawSpan};
use crate::report::Unusable;
use anyhow::{Result, ensure};
use model::{SpanKind, SpanStatus, Value};
use serde_json::Value as Json;

/// Reads one JSON document of traces, metrics or logs, a request of any of the three.
///
/// # Errors
/// It is none of them.
pub fn read_json(document: &Json, intake: &mut Intake) -> Result<Walked> {
    let mut walked = Walked::default();
    let mut known = false;
    if let Some(resources) = list(document, &["resourceSpans", "resource_spans"]) {
        known = true;
        for resource in resources {
            resource_spans(resource, intake, &mut walked);
        }
    }
    if let Some(resources) = list(document, &["resourceMetrics", "resource_metrics"]) {
        known = true;
        json_metrics::read(resources, intake, &mut walked);
    }
    if let Some(resources) = list(document, &["resourceLogs", "resource_logs"]) {
        known = true;
        let scopes = resources.iter().filter_map(|r| list(r, &["scopeLogs", "scope_logs"])).flatten();
        let records = scopes.filter_map(|s| list(s, &["logRecords", "log_records"])).map(|r| r.len() as u64);
        intake.report.log_records += records.sum::<u64>();
    }
    // An empty request is a valid one.
    ensure!(
        known || document.as_object().is_some_and(serde_json::Map::is_empty),
        "no OTLP: neither resourceSpans nor resourceMetrics nor resourceLogs"
    );
    Ok(walked)
}

/// A field by any of its names.
pub(crate) fn field<'a>(json: &'a Json, names: &[&str]) -> Option<&'a Json> {
    names.iter().find_map(|name| json.get(name)).filter(|found| !found.is_null())
}

/// A list by any of its names.
pub(crate) fn list<'a>(json: &'a Json, names: &[&str]) -> Option<&'a [Json]> {
    field(json, names)?.as_array().map(Vec::as_slice)
}

/// A list by any of its names; a missing one is empty.
pub(crate) fn items<'a>(json: &'a Json, names: &[&str]) -> &'a [Json] {
    list(json, names).unwrap_or_default()
}

/// A text, or nothing.
pub(crate) fn text<'a>(json: &'a Json, names: &[&str]) -> &'a str {
    field(json, names).and_then(Json::as_str).unwrap_or("")
}

/// A whole number sent as number or text; 0 without.
pub(crate) fn number(json: &Json, names: &[&str]) -> u64 {
    field(json, names).and_then(whole).unwrap_or(0)
}

pub(crate) fn whole(json: &Json) -> Option<u64> {
    json.as_u64().or_else(|| json.as_str()?.trim().parse().ok())
}

fn resource_spans(json: &Json, intake: &mut Intake, walked: &mut Walked) {
    let sent = json.get("resource").map(Json::to_string).unwrap_or_default();
    if !intake.known_resource(sent.as_bytes()) {
        intake.start_span();
        attributes(json.get("resource").map_or(&[], |r| items(r, &["attributes"])), intake);
        intake.end_resource(sent.as_bytes());
    }
    let names = ["scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans"];
    for scope in names.iter().flat_map(|name| items(json, &[name])) {
        let named = field(scope, &["scope", "instrumentationLibrary", "instrumentation_library"]);
        intake.set_scope(named.map_or("", |scope| text(scope, &["name"])).as_bytes());
        for sent in items(scope, &["spans"]) {
            if span(sent, intake) {
                walked.kept += 1;
            } else {
                walked.rejected += 1;
            }
        }
    }
}

fn span(json: &Json, intake: &mut Intake) -> bool {
    intake.start_span();
    attributes(items(json, &["attributes"]), intake);
    for event in items(json, &["events"]).iter().filter(|event| text(event, &["name"]) == "exception") {
        let told = items(event, &["attributes"]).iter();
        for attribute in told.filter(|a| EXCEPTION_KEYS.contains(&text(a, &["key"]))) {
            add(attribute, intake);
        }
    }
    for link in items(json, &["links"]) {
        let trace = id(text(link, &["traceId", "trace_id"]), 16);
        intake.link(&trace, &id(text(link, &["spanId", "span_id"]), 8));
    }
    let trace_id = id(text(json, &["traceId", "trace_id"]), 16);
    let span_id = id(text(json, &["spanId", "span_id"]), 8);
    let parent_id = id(text(json, &["parentSpanId", "parent_span_id"]), 8);
    intake.end_span(&RawSpan {
        trace_id: &trace_id,
        span_id: &span_id,
        parent_id: &parent_id,
        name: text(json, &["name"]).as_bytes(),
        kind: field(json, &["kind"]).map_or(SpanKind::Unspecified, kind),
        status: json.get("status").and_then(|s| field(s, &["code"])).map_or(SpanStatus::Unset, status),
        start_ns: number(json, &["startTimeUnixNano", "start_time_unix_nano"]),
        end_ns: number(json, &["endTimeUnixNano", "end_time_unix_nano"]),
    })
}

/// An id of `width` bytes from hex, or else from base64; what is neither comes back empty or of another width.
fn id(text: &str, width: usize) -> Vec<u8> {
    if text.len() == width * 2
        && let Some(bytes) = hex(text)
    {
        return bytes;
    }
    base64::decode(text).or_else(|| hex(text)).unwrap_or_else(|| vec![0])
}

/// Bytes of hexadecimal digits, two a byte.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

fn kind(json: &Json) -> SpanKind {
    let word = json.as_str().map(|word| word.trim_start_matches("SPAN_KIND_"));
    match word {
        Some("INTERNAL") => SpanKind::Internal,
        Some("SERVER") => SpanKind::Server,
        Some("CLIENT") => SpanKind::Client,
        Some("PRODUCER") => SpanKind::Producer,
        Some("CONSUMER") => SpanKind::Consumer,
        _ => SpanKind::from_number(whole(json).unwrap_or(0)),
    }
}

fn status(json: &Json) -> SpanStatus {
    match json.as_str().map(|word| word.trim_start_matches("STATUS_CODE_")) {
        Some("OK") => SpanStatus::Ok,
        Some("ERROR") => SpanStatus::Error,
        _ => SpanStatus::from_number(whole(json).unwrap_or(0)),
    }
}

fn attributes(list: &[Json], intake: &mut Intake) {
    for attribute in list {
        add(attribute, intake);
    }
}

fn add(attribute: &Json, intake: &mut Intake) {
    let key = text(attribute, &["key"]);
    match field(attribute, &["value"]).map(any_value) {
        Some(Any::Text(text)) => intake.named(key, Value::Text(text)),
        Some(Any::Composite(json)) => intake.named(key, Value::Text(&json.to_string())),
        Some(Any::Int(int)) => intake.named(key, Value::Int(int)),
        Some(Any::Float(float)) => intake.named(key, Value::Float(float)),
        Some(Any::Bool(truth)) => intake.named(key, Value::Bool(truth)),
        Some(Any::Table) => intake.report.count(Unusable::StringTable, 1),
        Some(Any::Nothing) | None => {}
    }
}

enum Any<'a> {
    Text(&'a str),
    Composite(Json),
    Int(i64),
    Float(f64),
    Bool(bool),
    Table,
    Nothing,
}

fn any_value(value: &Json) -> Any<'_> {
    let Some((name, held)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Any::Nothing;
    };
    match name.as_str() {
        "stringValue" | "string_value" | "bytesValue" | "bytes_value" => {
            held.as_str().map_or(Any::Nothing, Any::Text)
        }
        "intValue" | "int_value" => {
            let int = held.as_i64().or_else(|| held.as_str()?.trim().parse().ok());
            int.map_or(Any::Nothing, Any::Int)
        }
        "doubleValue" | "double_value" => double(held).map_or(Any::Nothing, Any::Float),
        "boolValue" | "bool_value" => held.as_bool().map_or(Any::Nothing, Any::Bool),
        "arrayValue" | "array_value" => Any::Composite(values(held).iter().map(plain).collect()),
        "kvlistValue" | "kvlist_value" => {
            let pair = |v: &Json| (text(v, &["key"]).to_owned(), v.get("value").map_or(Json::Null, plain));
            Any::Composite(Json::Object(values(held).iter().map(pair).collect()))
        }
        "stringValueStrindex" | "string_value_strindex" => Any::Table,
        _ => Any::Nothing,
    }
}

/// A number, also as text, also `NaN` and `Infinity` as protobuf's JSON writes them.
pub(crate) fn double(json: &Json) -> Option<f64> {
    json.as_f64().or_else(|| json.as_str()?.trim().parse().ok())
}

/// An AnyValue as ordinary JSON. The parser has bounded the nesting.
pub(crate) fn plain(value: &Json) -> Json {
    match any_value(value) {
        Any::Text(text) => text.into(),
        Any::Int(int) => int.into(),
        Any::Float(float) => float.into(),
        Any::Bool(truth) => truth.into(),
        Any::Nothing | Any::Table => Json::Null,
        Any::Composite(json) => json,
    }
}

fn values(held: &Json) -> &[Json] {
    items(held, &["values"])
}
