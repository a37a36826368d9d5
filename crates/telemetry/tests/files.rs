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
        (b" \n\n ", "it is empty"),
        (b"PAR1....", "name the folder of the recording"),
        (b"hello world", "neither JSON"),
        (b"a\nb", "neither JSON"),
        (b"\x1f\x8b\x08broken", "cannot unpack"),
        (b"BZh91AY&SY", "packed with bzip2"),
        (b"PK\x03\x04....", "packed with zip"),
        (b"{\"a\": 1}", "no traces"),
        (b"{\"resourceSpans\": ", "line 1: EOF"),
        (b"[{\"data\": [{\"x\": 1}]}]", "no traces"),
        (b"\x0a\x00", "neither JSON"),
        (b"{}", "holds no spans"),
        (b"[]", "holds no spans"),
        (b"{\"data\": []}", "holds no spans"),
        (b"{\"resourceSpans\": []}", "holds no spans"),
        (
            b"{\"resourceSpans\": [{\"scopeSpans\": [{\"spans\": [{\"name\": \"a\"}]}]}]}",
            "1 spans without a trace id",
        ),
        (b"{\"resourceLogs\": [{\"scopeLogs\": [{\"logRecords\": [{}, {}]}]}]}", "only 2 log records"),
    ] {
        let error = format!("{:#}", content("odd.bin", bytes).unwrap_err());
        assert!(error.contains("odd.bin") && error.contains(told), "{error}");
    }
    let missing = format!("{:#}", files::read(&[PathBuf::from("/nowhere/t.json")]).unwrap_err());
    assert!(missing.contains("/nowhere/t.json"), "{missing}");
}

#[test]
fn one_file_without_spans_among_others_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (full, empty) = (folder.path().join("a.json"), folder.path().join("b.json"));
    fs::write(&full, otlp_json("a")).unwrap();
    fs::write(&empty, "{\"resourceSpans\": []}").unwrap();
    let batch = files::read(&[full, empty]).unwrap();
    assert_eq!((batch.spans.len(), batch.report.losses), (1, vec!["b.json holds no spans".to_owned()]));
}

#[test]
fn any_cut_of_a_real_file_is_read_or_told() {
    for name in ["zipkin/messaging.json", "critical-path/19.json"] {
        let whole = fs::read(testdata(name)).unwrap();
        let spans = content("whole.json", &whole).unwrap().spans.len();
        let mut kept = 0;
        for end in (0..whole.len() - 2).step_by(7) {
            if let Ok(batch) = content("cut.json", &whole[..end]) {
                assert!(batch.spans.len() <= spans && batch.spans.len() >= kept, "{name} cut at {end}");
                assert_eq!(batch.report.malformed, 1, "{name} cut at {end}");
                // A trace of Jaeger's whose processes are missing is left out.
                assert!(batch.spans.rows().all(|span| !span.service().is_empty()), "{name} cut at {end}");
                kept = batch.spans.len();
            }
        }
        assert!(kept > 0, "{name}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_packed_file_that_is_still_being_written_gives_what_is_there() {
    // Names that do not repeat, so that there are many blocks to cut between.
    let name = |n: u64| format!("{:x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    let lines: String = (0..20_000).map(|n| otlp_json(&name(n).repeat(4)) + "\n").collect();
    let zstd = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    for packed in [gzip(lines.as_bytes()), zstd] {
        assert_eq!(content("t", &packed).unwrap().report.losses.len(), 0);
        for share in [3, 5, 9] {
            let batch = content("t", &packed[..packed.len() * share / 10]).unwrap();
            assert!((1..20_000).contains(&batch.spans.len()), "{}", batch.spans.len());
            assert!(
                batch.report.losses[0].starts_with("t: its packed data breaks off"),
                "{:?}",
                batch.report.losses
            );
            assert!(batch.report.gaps().iter().any(|gap| gap.reason.contains("breaks off")));
        }
    }
}

#[test]
fn members_and_layers_of_packing_are_all_read() {
    let part = |n: u32| (otlp_json(&n.to_string()) + "\n").into_bytes();
    let members = [gzip(&part(1)), gzip(&part(2)), gzip(&part(3))].concat();
    assert_eq!(content("members.gz", &members).unwrap().spans.len(), 3);
    let frames = [1, 2].map(|n| zstd::encode_all(&*part(n), 1).unwrap()).concat();
    assert_eq!(content("frames.zst", &frames).unwrap().spans.len(), 2);
    assert_eq!(content("twice.gz", &gzip(&members)).unwrap().spans.len(), 3);
    let mut padded = gzip(&part(1));
    padded.extend([0; 512]);
    let batch = content("padded.gz", &padded).unwrap();
    assert_eq!((batch.spans.len(), batch.report.losses.len()), (1, 1));
}

#[test]
fn collectors_put_a_length_before_each_message() {
    let messages: Vec<Vec<u8>> = (0..3).map(|_| wire::traces(&[wire::Span::default()])).collect();
    let fixed: Vec<u8> = messages
        .iter()
        .flat_map(|m| [&u32::try_from(m.len()).unwrap().to_be_bytes()[..], m].concat())
        .collect();
    let varint: Vec<u8> =
        messages.iter().flat_map(|m| [wire::varint(m.len() as u64), m.clone()].concat()).collect();
    for (framed, name) in [(&fixed, "fixed"), (&varint, "varint"), (&messages.concat(), "bare")] {
        assert_eq!(content(name, framed).unwrap().spans.len(), 3, "{name}");
        let batch = content(name, &framed[..framed.len() - 4]).unwrap();
        assert_eq!((batch.spans.len(), batch.report.losses.len()), (2, 1), "{name}");
    }
}

#[test]
fn tempo_and_jaegers_newer_interface_wrap_otlp() {
    let plain = otlp_json("a");
    let resources = plain.strip_prefix("{\"resourceSpans\":").unwrap().strip_suffix('}').unwrap();
    for wrapped in [
        format!("{{\"batches\":{resources}}}"),
        format!("{{\"trace\":{plain},\"metrics\":{{}}}}"),
        format!("{{\"result\":{plain}}}"),
        format!("[{plain}]"),
    ] {
        assert_eq!(content("w.json", wrapped.as_bytes()).unwrap().spans.len(), 1, "{wrapped}");
    }
}

#[test]
fn documents_over_several_lines_follow_each_other() {
    let spread = otlp_json("a").replace(',', ",\n  ");
    let broken = "{\n \"resourceSpans\": oops }";
    let text = format!("{spread}\n{spread}{spread}\n{broken}\n{spread}\n");
    let batch = content("t.json", text.as_bytes()).unwrap();
    assert_eq!((batch.spans.len(), batch.report.malformed), (4, 1));
    let line = text.lines().position(|line| line.contains("oops")).unwrap() + 1;
    let first = batch.report.first_malformed.unwrap();
    assert!(first.starts_with(&format!("t.json, line {line}: ")), "{first}");
}

#[test]
fn beyond_the_memory_whole_traces_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    // Every trace lies in two files: its root in the second.
    let paths = ["a.jsonl", "b.jsonl"].map(|name| folder.path().join(name));
    for (path, is_root) in paths.iter().zip([false, true]) {
        let mut lines = String::new();
        for trace in 1..=20_000_u32 {
            let parent = if is_root { "" } else { "0000000000000001" };
            let id = if is_root { 1 } else { 2 };
            lines.push_str(&format!(
                "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{\"traceId\":\"{trace:032x}\",\"spanId\":\"{id:016x}\",\
                 \"parentSpanId\":\"{parent}\",\"name\":\"GET /\",\"startTimeUnixNano\":\"1\",\
                 \"endTimeUnixNano\":\"1000\"}}]}}]}}]}}\n"
            ));
        }
        fs::write(path, lines).unwrap();
    }
    let batch = files::read_within(&paths, 1 << 20).unwrap();
    let thinned = batch.report.thinned.as_ref().unwrap();
    assert_eq!((thinned.spans, thinned.traces, thinned.roots[0].durations.count()), (40_000, 20_000, 20_000));
    assert!(batch.spans.len() < 20_000 && batch.spans.resident_bytes() < 2 << 20, "{}", batch.spans.len());
    let mut ids: Vec<u128> = batch.spans.trace_ids.clone();
    ids.sort_unstable();
    assert!(ids.chunk_by(|a, b| a == b).all(|trace| trace.len() == 2), "both halves of each trace");
    let gap = &batch.report.gaps()[0];
    assert!(
        gap.reason.contains("of 20000 traces") && gap.reason.contains("of 40000 spans"),
        "{}",
        gap.reason
    );
}
