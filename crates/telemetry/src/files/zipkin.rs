//! Zipkin's JSON, version 2: a list of spans. Times are microseconds. Client and server halves of a call may share an
//! id; they are kept as sent, the diagnosis joins them.

use super::jaeger::{duration, finish, id, kind_of, low};
use crate::intake::Intake;
use crate::otlp::json::{field, number, text};
use crate::report::Unusable;
use model::{SpanFields, SpanStatus, Value};
use serde_json::Value as Json;

/// Is it Zipkin's?
pub(super) fn is(document: &Json) -> bool {
    let span = |json: &Json| json.get("traceId").is_some() && json.get("id").is_some();
    // A list of traces is a list of lists.
    let first = document.as_array().and_then(|list| list.first());
    first.is_some_and(|first| {
        span(first) || first.as_array().is_some_and(|list| list.first().is_some_and(span))
    })
}

/// Reads every span of the document.
pub(super) fn read(document: &Json, intake: &mut Intake) {
    for item in document.as_array().into_iter().flatten() {
        match item.as_array() {
            Some(spans) => spans.iter().for_each(|sent| span(sent, intake)),
            None => span(item, intake),
        }
    }
}

fn span(json: &Json, intake: &mut Intake) {
    let service = json.get("localEndpoint").map_or("", |endpoint| text(endpoint, &["serviceName"]));
    if !intake.known_resource(service.as_bytes()) {
        intake.start_span();
        intake.named("service.name", Value::Text(service));
        intake.end_resource(service.as_bytes());
    }
    intake.start_span();
    let mut status = SpanStatus::Unset;
    for (key, value) in json.get("tags").and_then(Json::as_object).into_iter().flatten() {
        if key == "error" {
            status = SpanStatus::Error;
        }
        intake.named(key, Value::Text(value.as_str().unwrap_or("")));
    }
    if let Some(remote) = field(json, &["remoteEndpoint"]) {
        for (key, sent) in [("peer.service", "serviceName"), ("network.peer.address", "ipv4")] {
            let value = text(remote, &[sent]);
            if !value.is_empty() {
                intake.named(key, Value::Text(value));
            }
        }
        if let Some(port) = remote.get("port").and_then(Json::as_i64) {
            intake.named("network.peer.port", Value::Int(port));
        }
    }
    let start_us = number(json, &["timestamp"]);
    if start_us == 0 {
        intake.report.count(Unusable::NoTime, 1);
        return;
    }
    let fields = SpanFields {
        trace_id: id(text(json, &["traceId"])),
        span_id: low(id(text(json, &["id"]))),
        parent_id: low(id(text(json, &["parentId"]))),
        start_ns: start_us.saturating_mul(1000),
        duration_ns: duration(json),
        kind: kind_of(text(json, &["kind"])),
        status,
        ..SpanFields::default()
    };
    finish(fields, text(json, &["name"]), intake);
}
