//! Trace files of every kind, the real ones of `testdata` among them.

#![expect(clippy::unwrap_used, reason = "a test file: what builds its inputs may panic as its tests do")]
#![expect(dead_code, reason = "the writer of wire format serves other tests as well")]

mod wire;

use model::{SpanKind, SpanStatus, Value};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use telemetry::{Batch, files};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/traces").join(name)
}

/// Reads one file with this content.
fn content(name: &str, bytes: &[u8]) -> anyhow::Result<Batch> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    files::read(&[path])
}

#[test]
fn online_boutique_comes_with_its_metrics() {
    let batch = files::read(&[testdata("online-boutique/fault-01.jsonl.gz")]).unwrap();
    // As labels.json says of it.
    assert_eq!(batch.spans.len(), 17_184);
    assert_eq!(batch.report.unusable.len(), 0);
    let services: std::collections::BTreeSet<&str> = batch.spans.rows().map(|span| span.service()).collect();
    assert!(services.contains("frontend") && services.contains("cartservice"), "{services:?}");
    let cpu = batch.metrics.iter().filter(|series| series.name == "container.cpu.usage");
    assert!(cpu.clone().count() >= 8);
    assert!(cpu.clone().all(|series| series.points.len() == 4 && series.service().is_some()));
}

#[test]
fn every_jaeger_file_is_read() {
    for number in 1..=25 {
        let batch = files::read(&[testdata(&format!("critical-path/{number}.json"))]).unwrap();
        assert!(!batch.spans.is_empty(), "{number}.json");
        assert_eq!(batch.report.unusable.len(), 0, "{number}.json");
        let roots = batch.spans.parent_ids.iter().filter(|&&parent| parent == 0).count();
        assert_eq!(roots, 1, "{number}.json");
    }
}

#[test]
fn a_jaeger_span_keeps_what_it_says() {
    let span = r#"{"traceID": "0af7651916cd43dd8448eb211c80319c", "spanID": "b7ad6b7169203331", "processID": "p1",
        "operationName": "GET /", "startTime": 1700000000000000, "duration": 2500,
        "references": [{"refType": "FOLLOWS_FROM", "traceID": "1", "spanID": "2"},
                       {"refType": "CHILD_OF", "traceID": "0af7651916cd43dd8448eb211c80319c", "spanID": "3"}],
        "tags": [{"key": "span.kind", "type": "string", "value": "client"}, {"key": "error", "type": "bool", "value": true},
                 {"key": "http.status_code", "type": "int64", "value": 500}],
        "logs": [{"timestamp": 1, "fields": [{"key": "exception.message", "value": "late"}]}]}"#;
    let processes =
        r#""processes": {"p1": {"serviceName": "shop", "tags": [{"key": "host", "value": "a"}]}}"#;
    let trace = format!(r#"{{"traceID": "x", "spans": [{span}], {processes}}}"#);
    for document in [trace.clone(), format!("[{trace}]"), format!(r#"{{"data": [{trace}], "total": 0}}"#)] {
        let batch = content("t.json", document.as_bytes()).unwrap();
        let span = batch.spans.row(0);
        let fields = span.fields();
        assert_eq!((fields.span_id, fields.parent_id), (0xb7ad_6b71_6920_3331, 3));
        assert_eq!((fields.start_ns, fields.duration_ns), (1_700_000_000_000_000_000, 2_500_000));
        assert_eq!((fields.kind, fields.status), (SpanKind::Client, SpanStatus::Error));
        assert_eq!((span.service(), span.attribute("http.status_code")), ("shop", Some(Value::Int(500))));
        assert_eq!(span.attribute("exception.message"), Some(Value::Text("late")));
        assert_eq!(batch.spans.links, [(0, 1, 2)]);
    }
}

#[test]
fn every_zipkin_file_is_read() {
    let mut spans = 0;
    for entry in fs::read_dir(testdata("zipkin")).unwrap() {
        let path = entry.unwrap().path();
        let batch = files::read(std::slice::from_ref(&path)).unwrap();
        assert!(!batch.spans.is_empty(), "{}", path.display());
        spans += batch.spans.len();
    }
    assert!(spans > 200, "{spans}");
    let skew = files::read(&[testdata("zipkin/skew.json")]).unwrap();
    let halves: Vec<_> = skew.spans.rows().filter(|s| s.fields().span_id == 0x7428_0ae0_c10d_8062).collect();
    assert_eq!(halves.iter().map(|s| s.service()).collect::<Vec<_>>(), ["serviceb", "servicea"]);
    assert_eq!(halves[0].fields().duration_ns, 93_577_000);
}

fn otlp_json(name: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"0102030405060708090a0b0c0d0e0f10",
        "spanId":"0707070707070707","name":"{name}","startTimeUnixNano":"1","endTimeUnixNano":"2"}}]}}]}}]}}"#
    )
    .replace('\n', "")
}

#[test]
fn the_content_tells_the_kind_whatever_the_name() {
    let lines = format!("{}\n{}\n", otlp_json("a"), otlp_json("b"));
    let wire = wire::traces(&[wire::Span::default(), wire::Span::default()]);
    for plain in [lines.as_bytes(), &wire] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).unwrap();
        let gzipped = gzip.finish().unwrap();
        let zstd = zstd::encode_all(plain, 1).unwrap();
        for bytes in [plain, &gzipped, &zstd] {
            assert_eq!(content("file", bytes).unwrap().spans.len(), 2);
        }
    }
    let spread = otlp_json("a").replace(',', ",\n  ");
    assert_eq!(content("pretty.json", spread.as_bytes()).unwrap().spans.len(), 1);
    let with_mark = format!("\u{feff}{}", otlp_json("a"));
    assert_eq!(content("windows.json", with_mark.as_bytes()).unwrap().spans.len(), 1);
}

#[test]
fn broken_lines_are_told_and_the_others_kept() {
    let lines = format!(
        "{}\nwhat is this\n{}\n{{\"x\": 1}}\n{}",
        otlp_json("a"),
        otlp_json("b"),
        &otlp_json("c")[..50]
    );
    let batch = content("t.jsonl", lines.as_bytes()).unwrap();
    let names: Vec<&str> = batch.spans.rows().map(|span| span.name()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(batch.report.malformed, 3);
    let first = batch.report.first_malformed.clone().unwrap();
    assert!(first.starts_with("t.jsonl, line 2: "), "{first}");
    assert_eq!(batch.report.gaps().len(), 1);
}

#[test]
fn files_that_hold_nothing_are_errors_that_name_them() {
    for (bytes, told) in [
        (&b""[..], "it is empty"),
        (b"PAR1....", "name the folder of the recording"),
        (b"hello world", "neither JSON"),
        (b"\x1f\x8b\x08broken", "cannot unpack"),
        (b"{\"a\": 1}", "no traces"),
        (b"{\"resourceSpans\": ", "line 1: EOF"),
        (b"[{\"data\": 1}]", "no traces"),
        (b"\x0a\x00", "neither JSON"),
    ] {
        let error = format!("{:#}", content("odd.bin", bytes).unwrap_err());
        assert!(error.contains("odd.bin") && error.contains(told), "{error}");
    }
    let missing = format!("{:#}", files::read(&[PathBuf::from("/nowhere/t.json")]).unwrap_err());
    assert!(missing.contains("/nowhere/t.json"), "{missing}");
}

#[test]
fn any_cut_of_a_real_file_is_read_or_told() {
    for name in ["zipkin/messaging.json", "critical-path/19.json"] {
        let whole = fs::read(testdata(name)).unwrap();
        for end in (0..whole.len() - 2).step_by(7) {
            assert!(content("cut.json", &whole[..end]).is_err(), "{name} cut at {end}");
        }
    }
}
