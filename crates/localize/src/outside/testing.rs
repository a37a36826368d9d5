//! Logs as text, for tests of the rules: a line is an endpoint, seconds, `:`, then parts `RATE/s MS ms` for all of the
//! time or `FROM..TO RATE/s MS ms STATUS` for some seconds of it.

use crate::testing::lines;
use crate::{Options, localize};
use expect_test::Expect;
use model::metrics::names;
use model::{
    Attribute, ErrorClass, LatencyCell, MetricKind, MetricSeries, Point, Recording, RequestPhases,
    RequestSample, SpanFields, SpanKind, Value,
};
use std::collections::BTreeMap;

/// A recording as one of an access log.
pub(super) fn log(text: &str) -> Recording {
    let mut recording = Recording::default();
    recording.run.cell_ms = 1000;
    for (operation, row) in (0..).zip(text.lines()) {
        let (head, parts) = row.split_once(": ").expect("parts");
        let (head, seconds) = head.strip_suffix(" s").and_then(|h| h.rsplit_once(' ')).expect("seconds");
        let seconds: u32 = seconds.parse().expect("seconds");
        recording.run.operations.push(head.to_owned());
        recording.run.end_ns = recording.run.end_ns.max(u64::from(seconds) * 1_000_000_000);
        let mut statuses = BTreeMap::new();
        for part in parts.split("; ") {
            add(&mut recording, operation, seconds, part, &mut statuses);
        }
        for (status, count) in statuses {
            let more = ("http.response.status_code", status.to_string());
            recording.metrics.push(series(names::REQUESTS, head, more, f64::from(count)));
        }
    }
    recording
}

fn add(
    recording: &mut Recording,
    operation: u32,
    seconds: u32,
    part: &str,
    statuses: &mut BTreeMap<u16, u32>,
) {
    let words: Vec<&str> = part.split(' ').collect();
    let (span, words) = match words[0].split_once("..") {
        Some((from, to)) => (from.parse().expect("from")..to.parse().expect("to"), &words[1..]),
        None => (0..seconds, &words[..]),
    };
    let rate: u32 = words[0].trim_end_matches("/s").parse().expect("a rate");
    let ms: u64 = words[1].parse().expect("ms");
    let status: u16 = words.get(3).map_or(200, |status| status.parse().expect("a status"));
    *statuses.entry(status).or_default() += rate * u32::try_from(span.len()).expect("seconds");
    for second in span {
        let mut cell = LatencyCell { operation, cell: second, ..LatencyCell::default() };
        (0..rate).for_each(|_| cell.response.record(ms * 1_000_000));
        cell.errors = if super::failing::is_failure(status) { rate } else { 0 };
        recording.latencies.push(cell);
        keep(recording, operation, second, ms, status);
    }
}

/// One request of each second, as a span without children too.
fn keep(recording: &mut Recording, operation: u32, second: u32, ms: u64, status: u16) {
    let start_ns = u64::from(second) * 1_000_000_000;
    let trace_id = recording.requests.len() as u128 + 1;
    recording.requests.push(RequestSample {
        operation,
        due_ns: start_ns,
        response_ns: ms * 1_000_000,
        service_ns: ms * 1_000_000,
        status,
        error: super::failing::is_failure(status).then_some(ErrorClass::ServerStatus),
        received_bytes: 0,
        sent_bytes: 0,
        trace_id,
        slowest: false,
        phases: RequestPhases::default(),
    });
    let spans = &mut recording.spans;
    let name = spans.strings.intern(&recording.run.operations[operation as usize]);
    let mut attribute = |key: &str, value: &str| Attribute {
        key: spans.strings.intern(key),
        value: spans.pack(Value::Text(value)),
    };
    let attributes = [attribute("service.name", "shop"), attribute("telemetry.source", "access log")];
    let resource = spans.add_resource(&attributes);
    let fields = SpanFields {
        trace_id,
        span_id: recording.requests.len() as u64,
        start_ns,
        duration_ns: i64::try_from(ms * 1_000_000).expect("ms"),
        name,
        kind: SpanKind::Server,
        resource,
        ..SpanFields::default()
    };
    spans.push(fields, &[]);
}

fn series(name: &str, endpoint: &str, more: (&str, String), value: f64) -> MetricSeries {
    let (method, route) = endpoint.split_once(' ').expect("a method");
    let attributes = [("http.request.method", method.to_owned()), ("http.route", route.to_owned()), more];
    MetricSeries {
        name: name.to_owned(),
        unit: String::new(),
        kind: MetricKind::Counter,
        attributes: attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        points: vec![Point { time_ns: 1, value }],
    }
}

/// The same log with bytes of replies.
pub(super) fn sized(mut recording: Recording, sizes: &[(&str, f64)]) -> Recording {
    for (endpoint, bytes) in sizes {
        for q in ["0.5", "0.95"] {
            recording.metrics.push(series(names::REPLY_BYTES, endpoint, ("quantile", q.to_owned()), *bytes));
        }
    }
    recording
}

/// The findings of one rule, with their lines.
pub(super) fn check(recording: &Recording, goals: &[&str], rule: &str, expected: &Expect) {
    let goals = goals.iter().map(|goal| goal.parse().expect("a goal")).collect();
    let mut diagnosis = localize(recording, &Options { goals, ..Options::default() });
    diagnosis.findings.retain(|f| f.rule == rule);
    diagnosis.rules_not_run.clear();
    let mut out = String::new();
    for finding in diagnosis.findings {
        let evidence = finding.evidence.lines.clone();
        let severity = finding.severity;
        diagnosis.findings = vec![finding];
        out.push_str(&format!("{severity:?} {}", lines(&diagnosis)));
        evidence.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
    }
    expected.assert_eq(&out);
}
