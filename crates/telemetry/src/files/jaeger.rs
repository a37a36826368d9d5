//! Jaeger's JSON: `{"data": [trace ...]}` as its interface downloads it, one bare trace, or a list of them.
//! Times are microseconds. Ids that are no hexadecimal number are named by a hash.

use crate::intake::Intake;
use crate::otlp::EXCEPTION_KEYS;
use crate::otlp::json::{field, hex, items, number, text, whole};
use crate::report::Unusable;
use anyhow::{Context, Result};
use model::{SpanFields, SpanKind, SpanStatus, Sym, Value};
use serde_json::Value as Json;

const NS_PER_US: u64 = 1000;

/// Is it Jaeger's?
pub(super) fn is(document: &Json) -> bool {
    let trace =
        |json: &Json| json.get("spans").is_some_and(Json::is_array) && json.get("processes").is_some();
    let list = document.get("data").or(Some(document)).and_then(Json::as_array);
    trace(document) || list.is_some_and(|list| list.first().is_some_and(trace))
}

/// Reads every trace of the document.
pub(super) fn read(document: &Json, intake: &mut Intake) -> Result<()> {
    let list = document.get("data").or(Some(document)).and_then(Json::as_array);
    match list {
        Some(traces) => traces.iter().try_for_each(|json| trace(json, intake)),
        None => trace(document, intake),
    }
}

fn trace(json: &Json, intake: &mut Intake) -> Result<()> {
    let none = Json::Null;
    let processes = json.get("processes").unwrap_or(&none);
    for sent in json.get("spans").and_then(Json::as_array).context("field `spans` is no list")? {
        let name = text(sent, &["processID"]);
        let process = sent.get("process").or_else(|| processes.get(name)).unwrap_or(&none);
        let as_sent = process.to_string();
        if !intake.known_resource(as_sent.as_bytes()) {
            intake.start_span();
            intake.named("service.name", Value::Text(text(process, &["serviceName"])));
            for tag in items(process, &["tags"]) {
                add(tag, intake);
            }
            intake.end_resource(as_sent.as_bytes());
        }
        span(sent, intake);
    }
    Ok(())
}

fn span(json: &Json, intake: &mut Intake) {
    intake.start_span();
    let (mut kind, mut status) = (SpanKind::Unspecified, SpanStatus::Unset);
    for tag in items(json, &["tags"]) {
        match text(tag, &["key"]) {
            "span.kind" => kind = kind_of(text(tag, &["value"])),
            "otel.scope.name" | "otel.library.name" => intake.set_scope(text(tag, &["value"]).as_bytes()),
            key => {
                let value = field(tag, &["value"]).map(Json::to_string).unwrap_or_default();
                let failed = (key == "error" && value.trim_matches('"') == "true")
                    || (key == "otel.status_code" && value == "\"ERROR\"");
                if failed {
                    status = SpanStatus::Error;
                }
                add(tag, intake);
            }
        }
    }
    for log in items(json, &["logs"]) {
        let told = items(log, &["fields"]).iter();
        told.filter(|f| EXCEPTION_KEYS.contains(&text(f, &["key"]))).for_each(|f| add(f, intake));
    }
    let trace_id = id(text(json, &["traceID"]));
    let references = items(json, &["references"]);
    let is_child = |reference: &&Json| text(reference, &["refType"]) != "FOLLOWS_FROM";
    let parent = references.iter().find(is_child).or(references.first());
    for other in references.iter().filter(|r| !parent.is_some_and(|parent| std::ptr::eq(*r, parent))) {
        let ids = (id(text(other, &["traceID"])), id(text(other, &["spanID"])));
        intake.link(&ids.0.to_be_bytes(), &low(ids.1).to_be_bytes());
    }
    let parent = parent.map_or_else(|| text(json, &["parentSpanID"]), |parent| text(parent, &["spanID"]));
    let start_us = number(json, &["startTime"]);
    let fields = SpanFields {
        trace_id,
        span_id: low(id(text(json, &["spanID"]))),
        parent_id: low(id(parent)),
        start_ns: start_us.saturating_mul(NS_PER_US),
        duration_ns: duration(json),
        kind,
        status,
        ..SpanFields::default()
    };
    finish(fields, text(json, &["operationName"]), intake);
}

/// Adds name, scope and resource, and keeps the span if it can be told from others.
pub(super) fn finish(fields: SpanFields, name: &str, intake: &mut Intake) {
    let reason = match (fields.trace_id, fields.span_id) {
        (0, _) => Some(Unusable::TraceId),
        (_, 0) => Some(Unusable::SpanId),
        _ => None,
    };
    let resource = intake.current_resource();
    match (reason, resource) {
        (None, Ok(resource)) => {
            let name = intake.name(name.as_bytes()).unwrap_or(Sym::EMPTY);
            let scope = intake.scope();
            intake.push(SpanFields { name, scope, resource, ..fields });
        }
        (Some(reason), _) | (None, Err(reason)) => intake.report.count(reason, 1),
    }
}

/// The duration in nanoseconds; a negative one is kept, a missing one is 0.
pub(super) fn duration(json: &Json) -> i64 {
    let sent = field(json, &["duration"]);
    let us = sent.and_then(|d| d.as_i64().or_else(|| whole(d).and_then(|us| i64::try_from(us).ok())));
    us.unwrap_or(0).saturating_mul(1000)
}

/// An id of up to 32 hexadecimal digits, 0 for an empty one; of other texts the FNV-1a hash.
pub(super) fn id(text: &str) -> u128 {
    let digits = text.trim_start_matches("0x");
    if digits.len() <= 32 && hex(&format!("{digits:0>32}")).is_some() {
        return u128::from_str_radix(digits, 16).unwrap_or(0);
    }
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u128::from(hash)
}

/// The low 64 bits, which is what a span's id has.
pub(super) fn low(id: u128) -> u64 {
    (id & u128::from(u64::MAX)) as u64
}

/// A span's kind in lower or upper case.
pub(super) fn kind_of(word: &str) -> SpanKind {
    match word.to_ascii_lowercase().as_str() {
        "internal" => SpanKind::Internal,
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

fn add(tag: &Json, intake: &mut Intake) {
    let key = text(tag, &["key"]);
    let Some(value) = field(tag, &["value"]) else { return };
    match value {
        Json::String(text) => intake.named(key, Value::Text(text)),
        Json::Bool(truth) => intake.named(key, Value::Bool(*truth)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => intake.named(key, Value::Int(int)),
            (None, float) => intake.named(key, Value::Float(float.unwrap_or(f64::NAN))),
        },
        other => intake.named(key, Value::Text(&other.to_string())),
    }
}
