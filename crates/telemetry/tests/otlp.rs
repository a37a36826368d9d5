//! OTLP on the wire and as JSON: what is kept, what is rejected and why, and that nothing hostile does harm.

#![expect(clippy::unwrap_used, reason = "a test file: what builds its inputs may panic as its tests do")]
#![expect(clippy::cast_possible_truncation, reason = "bytes of numbers that were made small")]

mod wire;

use model::{SpanKind, SpanStatus, Value};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use telemetry::otlp::{read_json, walk_logs, walk_metrics, walk_traces};
use telemetry::{Batch, Intake, Unusable};
use wire::{Span, bytes, double, fixed, int, number, pair, text, traces};

fn walked(body: &[u8]) -> Batch {
    let mut intake = Intake::default();
    walk_traces(body, &mut intake).unwrap();
    intake.take()
}

/// A span with everything that a span can have.
fn full() -> Vec<u8> {
    let nested = bytes(5, [bytes(1, int(1)), bytes(1, bytes(6, pair(1, "k", text("v"))))].concat());
    let exception = [
        fixed(1, 5),
        bytes(2, "exception"),
        pair(3, "exception.type", text("Timeout")),
        pair(3, "exception.message", text("too late")),
        pair(3, "exception.stacktrace", text("...")),
    ]
    .concat();
    let more = [
        pair(9, "http.route", text("/orders")),
        pair(9, "status", int(200)),
        pair(9, "negative", int(-5)),
        pair(9, "ratio", double(4, 0.5)),
        pair(9, "cached", number(2, 1)),
        pair(9, "list", nested),
        pair(9, "raw", bytes(7, [1, 2, 3])),
        pair(9, "nothing", []),
        pair(9, "table", number(8, 4)),
        bytes(9, [number(3, 7), bytes(2, text("by table"))].concat()),
        bytes(11, exception),
        bytes(11, [fixed(1, 5), bytes(2, "other"), pair(3, "exception.type", text("no"))].concat()),
        bytes(13, [bytes(1, [9; 16]), bytes(2, [8; 8])].concat()),
        bytes(15, number(3, 2)),
        number(999, 1),
        bytes(16, "unknown"),
    ]
    .concat();
    traces(&[Span { parent: vec![6; 8], more, ..Span::default() }])
}

#[test]
fn every_part_of_a_span_is_kept() {
    let batch = walked(&full());
    let span = batch.spans.row(0);
    let fields = span.fields();
    assert_eq!(fields.trace_id, 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    assert_eq!((fields.span_id, fields.parent_id), (0x0707_0707_0707_0707, 0x0606_0606_0606_0606));
    assert_eq!((fields.kind, fields.status), (SpanKind::Server, SpanStatus::Error));
    assert_eq!((fields.duration_ns, span.name(), span.service()), (5_000_000, "GET /orders", "shop"));
    assert_eq!(batch.spans.strings.get(fields.scope), "tests");
    let told: Vec<String> = span.attributes().map(|(key, value)| format!("{key}={value:?}")).collect();
    expect_test::expect![[r#"
        http.route=Text("/orders")
        status=Int(200)
        negative=Int(-5)
        ratio=Float(0.5)
        cached=Bool(true)
        list=Text("[1,{\"k\":\"v\"}]")
        raw=Text("AQID")
        exception.type=Text("Timeout")
        exception.message=Text("too late")"#]]
    .assert_eq(&told.join("\n"));
    assert_eq!(batch.spans.links, [(0, u128::from_be_bytes([9; 16]), u64::from_be_bytes([8; 8]))]);
    assert_eq!(batch.report.unusable[&Unusable::StringTable], 2);
}

/// However an attribute is written, it is the same; only the commonest form is read without a walk over its fields.
#[test]
fn attributes_are_the_same_in_every_form_of_the_wire() {
    let long = "x".repeat(200);
    for value in ["", "v", &long[..125], &long[..126], &long[..127], &long[..128], &long] {
        let (key, text) = (bytes(1, "key"), text(value));
        let wide =
            [vec![0x12, 0x80 | text.len() as u8 & 0x7f, 0x80 | (text.len() >> 7) as u8, 0], text.clone()];
        let forms = [
            [key.clone(), bytes(2, &text)].concat(),
            [bytes(2, &text), key.clone()].concat(),
            [bytes(1, "earlier"), key.clone(), bytes(2, &text)].concat(),
            [key.clone(), bytes(2, bytes(1, "earlier")), bytes(2, &text)].concat(),
            [key.clone(), bytes(2, &text), number(99, 1)].concat(),
            [key.clone(), bytes(2, [text.clone(), number(99, 1)].concat())].concat(),
            [key.clone(), wide.concat()].concat(),
        ];
        for (at, form) in forms.into_iter().enumerate() {
            let batch = walked(&traces(&[Span { more: bytes(9, form), ..Span::default() }]));
            let row = batch.spans.row(0);
            let found: Vec<_> = row.attributes().collect();
            assert_eq!(found, [("key", Value::Text(value))], "form {at} of {} bytes", value.len());
        }
    }
    for cut in [bytes(1, "key"), vec![0x0a, 3, b'k', b'e', b'y', 0x12, 0]] {
        let batch = walked(&traces(&[Span { more: bytes(9, cut), ..Span::default() }]));
        assert_eq!(batch.spans.row(0).attributes().count(), 0);
    }
}

#[test]
fn a_body_cut_anywhere_is_refused_and_changes_nothing() {
    let body = [full(), full()].concat();
    for end in 0..body.len() {
        let mut intake = Intake::default();
        let read = walk_traces(&body[..end], &mut intake);
        let batch = intake.take();
        // A cut between two messages is no cut.
        let whole = end == 0 || end == body.len() / 2;
        assert_eq!(read.is_ok(), whole, "cut at {end}");
        assert_eq!(batch.spans.len() as u64, batch.report.spans, "cut at {end}");
        assert_eq!(batch.spans.is_empty(), end != body.len() / 2, "cut at {end}");
    }
}

#[test]
fn spans_that_cannot_be_used_are_counted_by_reason() {
    let spans = [
        Span { trace: vec![1; 8], ..Span::default() },
        Span { trace: vec![0; 16], ..Span::default() },
        Span { id: vec![], ..Span::default() },
        Span { id: vec![0; 8], ..Span::default() },
        Span { parent: vec![1; 3], ..Span::default() },
        Span { name: vec![0xff, 0xfe], ..Span::default() },
        Span { start_ns: 0, ..Span::default() },
        Span { end_ns: 5, ..Span::default() },
    ];
    let mut intake = Intake::default();
    let walked = walk_traces(&traces(&spans), &mut intake).unwrap();
    assert_eq!((walked.kept, walked.rejected), (1, 7));
    let batch = intake.take();
    assert!(batch.spans.durations_ns[0] < 0, "an end before the start is kept as sent");
    let counts: Vec<_> = batch.report.unusable.iter().map(|(reason, n)| (*reason, *n)).collect();
    let wanted = [
        (Unusable::TraceId, 2),
        (Unusable::SpanId, 2),
        (Unusable::ParentId, 1),
        (Unusable::NotUtf8, 1),
        (Unusable::NoTime, 1),
    ];
    assert_eq!(counts, wanted);
    assert_eq!(batch.report.gaps().len(), 5);
}

#[test]
fn values_nested_without_end_are_refused() {
    let mut value = text("x");
    for _ in 0..10_000 {
        value = bytes(5, bytes(1, value));
    }
    let span = Span { more: pair(9, "deep", value), ..Span::default() };
    let mut intake = Intake::default();
    let error = walk_traces(&traces(&[span]), &mut intake).unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
    assert_eq!(intake.span_count(), 0);
}

#[test]
fn random_changes_never_panic() {
    const SEED: u64 = 20_261_122;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let seeds = [full(), metrics()];
    for round in 0..30_000 {
        let mut body = seeds[round % 2].clone();
        for _ in 0..1 + random.next_u64() % 4 {
            let at = (random.next_u64() as usize) % body.len();
            match random.next_u64() % 3 {
                0 => body[at] = random.next_u64() as u8,
                1 => body[at] ^= 1 << (random.next_u64() % 8),
                _ => drop(body.remove(at)),
            }
        }
        let mut intake = Intake::default();
        let traces = walk_traces(&body, &mut intake);
        let points = walk_metrics(&body, &mut intake).map_or(0, |walked| walked.kept);
        let records = walk_logs(&body, &mut intake).map_or(0, |walked| walked.kept);
        let batch = intake.take();
        assert_eq!(batch.spans.len() as u64, traces.map_or(0, |walked| walked.kept), "round {round}");
        assert!(batch.metrics.iter().flat_map(|s| &s.points).all(|p| p.value.is_finite()), "round {round}");
        assert!(batch.report.points >= points && batch.report.log_records == records, "round {round}");
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    for _ in 0..20_000 {
        let mut body = vec![0; (random.next_u64() % 64) as usize];
        random.fill_bytes(&mut body);
        let mut intake = Intake::default();
        let read = (walk_traces(&body, &mut intake).is_ok(), walk_metrics(&body, &mut intake).is_ok());
        assert!(read.0 || intake.span_count() == 0);
    }
}

#[test]
fn text_beyond_the_bound_is_counted() {
    let mut intake = Intake::with_text_bytes(64);
    let long = "x".repeat(100);
    let spans = [Span { more: pair(9, "k", text(&long)), ..Span::default() }];
    walk_traces(&traces(&spans), &mut intake).unwrap();
    let batch = intake.take();
    assert_eq!(batch.spans.row(0).attribute("k"), Some(Value::Text("…")));
    assert_eq!(batch.report.unusable[&Unusable::TextMemory], 1);
}

#[test]
fn taking_leaves_an_empty_intake_that_goes_on() {
    let mut intake = Intake::default();
    for _ in 0..3 {
        walk_traces(&full(), &mut intake).unwrap();
        let batch = intake.take();
        assert_eq!((batch.spans.len(), batch.spans.row(0).service()), (1, "shop"));
        assert_eq!((intake.span_count(), batch.report.spans), (0, 1));
    }
}

fn point(field: u32, time_ns: u64, more: &[u8]) -> Vec<u8> {
    bytes(field, [pair(7, "pool", text("main")), fixed(3, time_ns), more.to_vec()].concat())
}

/// Every kind of metric, one point each but two of the histograms.
fn metrics() -> Vec<u8> {
    let metric = |name: &str, field: u32, data: Vec<u8>| {
        bytes(2, [bytes(1, name), bytes(3, "s"), bytes(field, data)].concat())
    };
    let histogram = |time: u64, counts: [u64; 3]| {
        let packed: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
        let bounds: Vec<u8> = [0.1_f64, 1.0].iter().flat_map(|b| b.to_le_bytes()).collect();
        let count = counts.iter().sum();
        bytes(
            1,
            [fixed(3, time), fixed(4, count), double(5, 2.0), bytes(6, packed), bytes(7, bounds)].concat(),
        )
    };
    let exponential = |time: u64, count: u64| {
        let buckets = [number(1, 2 * 3), bytes(2, wire::varint(count))].concat();
        bytes(1, [fixed(3, time), fixed(4, count), number(6, 0), bytes(8, buckets)].concat())
    };
    let summary = bytes(6, [double(1, 0.9), double(2, 7.0)].concat());
    let scope = [
        metric("gauge", 5, [point(1, 10, &double(4, 0.5)), point(1, 5, &number(6, 3))].concat()),
        metric("nan", 5, point(1, 10, &double(4, f64::NAN))),
        metric("sum", 7, [point(1, 10, &number(6, 4)), number(2, 1), number(3, 1)].concat()),
        metric("explicit", 9, [histogram(10, [5, 0, 0]), histogram(20, [5, 10, 0]), number(2, 2)].concat()),
        metric("exponential", 10, [exponential(10, 1), exponential(20, 9), number(2, 2)].concat()),
        metric("summary", 11, bytes(1, [fixed(3, 10), fixed(4, 3), double(5, 9.0), summary].concat())),
    ]
    .concat();
    let resource = bytes(1, pair(1, "service.name", text("shop")));
    bytes(1, [resource, bytes(2, scope)].concat())
}

const SERIES: &str = r#"explicit Quantile {"quantile": "0.5"} [(20, 0.55)]
explicit Quantile {"quantile": "0.95"} [(20, 0.955)]
explicit Quantile {"quantile": "0.99"} [(20, 0.991)]
explicit.count Counter {} [(10, 5.0), (20, 15.0)]
explicit.sum Counter {} [(10, 2.0), (20, 2.0)]
exponential Quantile {"quantile": "0.5"} [(20, 11.31)]
exponential Quantile {"quantile": "0.95"} [(20, 11.31)]
exponential Quantile {"quantile": "0.99"} [(20, 11.31)]
exponential.count Counter {} [(10, 1.0), (20, 9.0)]
gauge Gauge {"pool": "main"} [(5, 3.0), (10, 0.5)]
sum Counter {"pool": "main"} [(10, 4.0)]
summary Quantile {"quantile": "0.9"} [(10, 7.0)]
summary.count Counter {} [(10, 3.0)]
summary.sum Counter {} [(10, 9.0)]"#;

fn told(batch: &Batch) -> String {
    let line = |series: &model::MetricSeries| {
        assert_eq!(series.service(), Some("shop"));
        let mut attributes = series.attributes.clone();
        attributes.remove("service.name");
        let points: Vec<(u64, f64)> =
            series.points.iter().map(|p| (p.time_ns, (p.value * 1000.0).round() / 1000.0)).collect();
        let points: Vec<_> = points
            .into_iter()
            .map(|(t, v)| (t, if v > 10.0 { (v * 100.0).round() / 100.0 } else { v }))
            .collect();
        format!("{} {:?} {attributes:?} {points:?}", series.name, series.kind)
    };
    batch.metrics.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_kind_of_metric_becomes_series() {
    let mut intake = Intake::default();
    let walked = walk_metrics(&metrics(), &mut intake).unwrap();
    assert_eq!((walked.kept, walked.rejected), (8, 1));
    let batch = intake.take();
    assert_eq!(batch.report.unusable[&Unusable::NotFinite], 1);
    assert_eq!(told(&batch), SERIES);
}

#[test]
fn metrics_cut_anywhere_change_nothing() {
    let body = metrics();
    for end in 1..body.len() {
        let mut intake = Intake::default();
        assert!(walk_metrics(&body[..end], &mut intake).is_err(), "cut at {end}");
        let batch = intake.take();
        assert_eq!((batch.metrics.len(), batch.report.points), (0, 0), "cut at {end}");
    }
}

#[test]
fn json_gives_the_same_metrics_as_the_wire() {
    let point = r#""attributes": [{"key": "pool", "value": {"stringValue": "main"}}], "timeUnixNano""#;
    let cumulative = r#""aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE""#;
    let json = format!(
        r#"{{"resourceMetrics": [{{
        "resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "shop"}}}}]}},
        "scopeMetrics": [{{"metrics": [
          {{"name": "gauge", "unit": "s", "gauge": {{"dataPoints": [{{{point}: "10", "asDouble": 0.5}},
                                                                  {{{point}: 5, "asInt": "3"}}]}}}},
          {{"name": "nan", "gauge": {{"dataPoints": [{{{point}: "10", "asDouble": "NaN"}}]}}}},
          {{"name": "sum", "sum": {{"dataPoints": [{{{point}: "10", "asInt": "4"}}],
                                   "aggregationTemporality": 1, "isMonotonic": true}}}},
          {{"name": "explicit", "histogram": {{{cumulative}, "dataPoints": [
             {{"timeUnixNano": "10", "count": "5", "sum": 2, "bucketCounts": ["5", "0", "0"], "explicitBounds": [0.1, 1]}},
             {{"timeUnixNano": "20", "count": "15", "sum": 2, "bucketCounts": [5, 10, 0], "explicitBounds": [0.1, 1]}}]}}}},
          {{"name": "exponential", "exponentialHistogram": {{{cumulative}, "dataPoints": [
             {{"timeUnixNano": "10", "count": "1", "scale": 0, "positive": {{"offset": 3, "bucketCounts": ["1"]}}}},
             {{"timeUnixNano": "20", "count": "9", "scale": 0, "positive": {{"offset": 3, "bucketCounts": ["9"]}}}}]}}}},
          {{"name": "summary", "summary": {{"dataPoints": [
             {{"timeUnixNano": "10", "count": "3", "sum": 9, "quantileValues": [{{"quantile": 0.9, "value": 7}}]}}]}}}}
        ]}}]}}]}}"#
    );
    let mut intake = Intake::default();
    let walked = read_json(&json, &mut intake).unwrap();
    assert_eq!((walked.kept, walked.rejected), (8, 1));
    assert_eq!(told(&intake.take()), SERIES);
}

#[test]
fn json_is_read_in_all_its_dialects() {
    let (hex_trace, hex_span) = ("0102030405060708090a0b0c0d0e0f10", "0707070707070707");
    let (base64_trace, base64_span) = ("AQIDBAUGBwgJCgsMDQ4PEA==", "BwcHBwcHBwc=");
    let camel = format!(
        r#"{{"resourceSpans": [{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "shop"}}}}]}},
        "scopeSpans": [{{"scope": {{"name": "tests"}}, "spans": [{{"traceId": "{hex_trace}", "spanId": "{hex_span}",
        "name": "GET /orders", "kind": "SPAN_KIND_SERVER", "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": 1700000000005000000, "status": {{"code": "STATUS_CODE_ERROR"}}, "attributes": [
        {{"key": "n", "value": {{"intValue": "7"}}}}, {{"key": "list", "value": {{"arrayValue": {{}}}}}},
        {{"key": "map", "value": {{"kvlistValue": {{"values": [{{"key": "a", "value": {{"boolValue": true}}}}]}}}}}}],
        "events": [{{"name": "exception", "attributes": [{{"key": "exception.type", "value": {{"stringValue": "E"}}}}]}}]
        }}]}}]}}]}}"#
    );
    let snake = format!(
        r#"{{"resource_spans": [{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"string_value": "shop"}}}}]}},
        "instrumentation_library_spans": [{{"instrumentation_library": {{"name": "tests"}}, "spans": [{{
        "trace_id": "{base64_trace}", "span_id": "{base64_span}", "parent_span_id": "", "name": "GET /orders", "kind": 2,
        "start_time_unix_nano": 1700000000000000000, "end_time_unix_nano": "1700000000005000000", "status": {{"code": 2}},
        "attributes": [{{"key": "n", "value": {{"int_value": 7}}}}, {{"key": "list", "value": {{"array_value": {{"values": []}}}}}},
        {{"key": "map", "value": {{"kvlist_value": {{"values": [{{"key": "a", "value": {{"bool_value": true}}}}]}}}}}}],
        "events": [{{"name": "exception", "attributes": [{{"key": "exception.type", "value": {{"string_value": "E"}}}}]}}]
        }}]}}]}}]}}"#
    );
    for json in [camel, snake] {
        let mut intake = Intake::default();
        read_json(&json, &mut intake).unwrap();
        let batch = intake.take();
        let span = batch.spans.row(0);
        let fields = span.fields();
        assert_eq!(fields.trace_id, 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        assert_eq!((fields.span_id, fields.duration_ns), (0x0707_0707_0707_0707, 5_000_000));
        assert_eq!(
            (fields.kind, fields.status, span.service()),
            (SpanKind::Server, SpanStatus::Error, "shop")
        );
        assert_eq!(batch.spans.strings.get(fields.scope), "tests");
        let told: Vec<String> = span.attributes().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(told, ["n=7", "list=[]", r#"map={"a":true}"#, "exception.type=E"]);
    }
}

#[test]
fn json_fields_come_in_any_order() {
    let (trace, span) = ("0102030405060708090a0b0c0d0e0f10", "0707070707070707");
    let json = format!(
        r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"events": [
            {{"attributes": [{{"value": {{"stringValue": "late"}}, "key": "exception.message"}},
                             {{"value": {{"stringValue": "no"}}, "key": "other"}}], "name": "exception"}},
            {{"attributes": [{{"value": {{"stringValue": "x"}}, "key": "exception.type"}}], "name": "retry"}}],
        "attributes": [{{"value": {{"intValue": "7"}}, "key": "n"}}], "endTimeUnixNano": 1.7e18,
        "startTimeUnixNano": "1699999999000000000", "spanId": "{span}", "traceId": "{trace}", "name": "a\u00e9\"b",
        "links": [{{"spanId": "{span}", "traceId": "{trace}"}}]}}], "scope": {{"name": "tests"}}}}],
        "resource": {{"attributes": [{{"value": {{"stringValue": "shop"}}, "key": "service.name"}}]}}}},
        {{"scopeSpans": [{{"spans": [{{"spanId": "{span}", "traceId": "{trace}", "name": "b", "attributes": null,
        "startTimeUnixNano": 1, "endTimeUnixNano": 2, "status": null, "kind": null}}]}}]}}]}}"#
    );
    let mut intake = Intake::default();
    assert_eq!(read_json(&json, &mut intake).unwrap().kept, 2);
    let batch = intake.take();
    let (first, second) = (batch.spans.row(0), batch.spans.row(1));
    assert_eq!((first.name(), first.service(), first.fields().duration_ns), ("aé\"b", "shop", 1_000_000_000));
    assert_eq!(batch.spans.strings.get(first.fields().scope), "tests");
    let told: Vec<String> = first.attributes().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(told, ["exception.message=late", "n=7"]);
    assert_eq!(batch.spans.links.len(), 1);
    assert_eq!((second.name(), second.service(), second.attributes().count()), ("b", "", 0));
    assert_eq!(batch.spans.strings.get(second.fields().scope), "");
}

#[test]
fn json_that_breaks_off_changes_nothing() {
    let (trace, span) = ("0102030405060708090a0b0c0d0e0f10", "0707070707070707");
    let spans = format!(
        r#"{{"traceId": "{trace}", "spanId": "{span}", "name": "a", "startTimeUnixNano": 1, "endTimeUnixNano": 2}}"#
    );
    let json = format!(r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{spans}, {spans}]}}]}}]}}"#);
    for end in 1..json.len() {
        let mut intake = Intake::default();
        assert!(read_json(&json[..end], &mut intake).is_err(), "cut at {end}");
        let batch = intake.take();
        assert_eq!((batch.spans.len(), batch.report.spans), (0, 0), "cut at {end}");
    }
    assert!(read_json(&format!("{json} x"), &mut Intake::default()).is_err());
}

#[test]
fn a_trace_state_is_kept_where_it_tells_of_sampling() {
    let more = |state: &str| Span { more: bytes(3, state), ..Span::default() };
    let batch = walked(&traces(&[more("ot=th:c;rv:1,x=y"), more("vendor=1"), more("")]));
    let told: Vec<_> = batch.spans.rows().map(|s| s.attribute("tracestate")).collect();
    assert_eq!(told, [Some(Value::Text("ot=th:c;rv:1,x=y")), None, None]);
}

#[test]
fn texts_of_megabytes_are_cut_and_counted() {
    let long = "é".repeat(5 << 20);
    let span =
        Span { more: [pair(9, "k", text(&long)), pair(9, &long, text("v"))].concat(), ..Span::default() };
    let batch = walked(&traces(&[span]));
    let (key, value) = batch.spans.row(0).attributes().next().unwrap();
    assert_eq!((key, value.as_text().map(str::len)), ("k", Some(64 << 10)));
    assert_eq!(batch.spans.row(0).attributes().count(), 1);
    assert_eq!(batch.report.unusable[&Unusable::LongText], 2);
}

#[test]
fn what_is_no_otlp_is_refused() {
    for json in ["[]", "7", r#"{"spans": []}"#, "null"] {
        let read = read_json(json, &mut Intake::default());
        assert!(read.unwrap_err().to_string().contains("no OTLP"), "{json}");
    }
}

#[test]
fn log_records_are_counted() {
    let scope = bytes(2, [bytes(2, bytes(3, "INFO")), bytes(2, [])].concat());
    let mut intake = Intake::default();
    walk_logs(&bytes(1, scope), &mut intake).unwrap();
    assert_eq!(intake.take().report.log_records, 2);
}
