//! What goes into a recording comes out again, the same bytes each time, and what breaks is told by name.

#![expect(clippy::unwrap_used, reason = "a test file: what builds its inputs may panic as its tests do")]

use model::{
    Attribute, Attribution, COSTS_VERSION, CallNode, CodeFrame, Costs, Environment, ErrorClass, LatencyCell,
    MetricKind, MetricSeries, PROFILE_VERSION, Plan, Point, Profile, Rate, Recording, RequestSample,
    ResourceCost, Run, SpanFields, SpanKind, SpanStatus, SpanTable, Statement, StatementCost, Value,
};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use recording::Writer;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Spans with every type of value, mixed types, repeated and odd keys, links and rare keys.
fn spans(count: u64, seed: u64) -> SpanTable {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut table = SpanTable::default();
    for row in 0..count {
        let service = table.pack(Value::Text(["api", "stock"][(row % 2) as usize]));
        let key = table.strings.intern("service.name");
        let replicas = Attribute { key: table.strings.intern("replicas"), value: table.pack(Value::Int(3)) };
        let resource = table.add_resource(&[Attribute { key, value: service }, replicas]);
        let rare = format!("rare.{}", random.next_u64() % 300);
        let odd = format!("v{}", random.next_u64());
        let values = [
            ("http.route", Value::Text("/orders/{id}")),
            ("http.status", if row % 5 == 0 { Value::Text("200") } else { Value::Int(200) }),
            ("name", Value::Text("not the span's")),
            ("resource.x", Value::Bool(true)),
            ("ratio", Value::Float(random.next_u64() as f64 / 7.0)),
            ("big", Value::Int(random.next_u64().cast_signed())),
            ("cached", Value::Bool(row % 3 == 0)),
            ("twice", Value::Int(1)),
            ("twice", Value::Int(2)),
            ("", Value::Text("empty key")),
            (rare.as_str(), Value::Text(&odd)),
            ("odd", Value::Text(&odd)),
        ];
        let attributes: Vec<Attribute> = values
            .iter()
            .skip((row % 4) as usize)
            .map(|&(key, value)| Attribute { key: table.strings.intern(key), value: table.pack(value) })
            .collect();
        let fields = SpanFields {
            trace_id: u128::from(random.next_u64()) << 64 | u128::from(row / 20),
            span_id: random.next_u64(),
            parent_id: if row % 20 == 0 { 0 } else { row },
            start_ns: 1_700_000_000_000_000_000 + row * 1000,
            duration_ns: if row == 7 { -5 } else { (random.next_u64() % 1_000_000).cast_signed() },
            name: table.strings.intern(["GET", "SELECT"][(row % 2) as usize]),
            kind: SpanKind::from_number(row % 6),
            status: SpanStatus::from_number(row % 3),
            resource,
            scope: table.strings.intern("tests"),
        };
        if row % 11 == 0 {
            table.links.push((u32::try_from(row).unwrap(), 5 << 90, row));
        }
        table.push(fields, &attributes);
    }
    table
}

/// A row as text, attributes sorted: their order is not kept.
fn told(table: &SpanTable, row: usize) -> String {
    let span = table.row(row);
    let mut attributes: Vec<String> = span.attributes().map(|(k, v)| format!("{k}={v:?}")).collect();
    attributes.sort();
    let resource: Vec<String> = table
        .packed_resource(table.resources[row])
        .iter()
        .map(|a| format!("{}={:?}", table.strings.get(a.key), table.unpack(a.value)))
        .collect();
    let links: Vec<_> = table.links.iter().filter(|link| link.0 as usize == row).collect();
    let f = span.fields();
    format!(
        "{:x} {:x} {:x} {} {} {} {:?} {:?} {} {resource:?} {attributes:?} {links:?}",
        f.trace_id,
        f.span_id,
        f.parent_id,
        f.start_ns,
        f.duration_ns,
        span.name(),
        f.kind,
        f.status,
        table.strings.get(f.scope)
    )
}

fn whole(spans: SpanTable) -> Recording {
    let mut cell = LatencyCell { operation: 1, cell: 2, errors: 3, ..LatencyCell::default() };
    cell.response.record(1_000_000);
    cell.service.record(900_000);
    cell.service.record(910_000);
    let request = RequestSample {
        operation: 1,
        due_ns: 5,
        response_ns: 6,
        service_ns: 7,
        status: 503,
        error: Some(ErrorClass::ServerStatus),
        received_bytes: 8,
        sent_bytes: 9,
        trace_id: 10,
        slowest: true,
        phases: model::RequestPhases { queue_ns: 1, wait_ns: 5, ..model::RequestPhases::default() },
    };
    let series = |value: f64| MetricSeries {
        name: "process.cpu.cores".into(),
        unit: "1".into(),
        kind: MetricKind::Quantile,
        attributes: BTreeMap::from([("process.role".into(), "service".into())]),
        points: vec![Point { time_ns: 1, value }, Point { time_ns: 2, value: value / 3.0 }],
    };
    let mut environment = Environment { host: "here".into(), cpus: 2, ..Environment::default() };
    environment.versions.insert("trimtab".into(), "0.1.0".into());
    Recording {
        run: Run {
            format: recording::FORMAT,
            id: "r1".into(),
            start_ns: 1,
            operations: vec!["GET /".into(), "GET /orders".into()],
            environment,
            complete: true,
            ..Run::default()
        },
        spans,
        metrics: vec![series(1.0), series(2.0)],
        latencies: vec![cell],
        requests: vec![request.clone(), RequestSample { error: None, ..request }],
        statements: vec![Statement { text: "SELECT $1".into(), calls: 7, ..Statement::default() }],
        plans: vec![Plan { statement: "SELECT $1".into(), ..Plan::default() }],
        costs: Some(costs()),
        profile: Some(profile()),
    }
}

fn profile() -> Profile {
    let node = CallNode { own_ms: [1.0 / 3.0, 0.0, 2.5, 0.0], ..CallNode::default() };
    Profile {
        version: PROFILE_VERSION,
        title: "server (process 7)".into(),
        wall_ms: 1000.0,
        frames: vec![CodeFrame { function: "build".into(), line: 7, ..CodeFrame::default() }],
        nodes: vec![CallNode::default(), node],
        splits: vec![vec![0.0, 1.0]],
        operations: vec!["GET /".into()],
        ..Profile::default()
    }
}

#[test]
fn a_profile_that_is_no_tree_or_too_new_is_a_gap() {
    let mut upside_down = profile();
    upside_down.nodes[1].parent = 9;
    let newer = Profile { version: PROFILE_VERSION + 1, ..profile() };
    let mut without_frame = profile();
    without_frame.frames.clear();
    for broken in [upside_down, newer, without_frame] {
        let folder = tempfile::tempdir().unwrap();
        let recording = Recording { profile: Some(broken), ..whole(spans(1, 1)) };
        Writer::create(folder.path()).unwrap().finish(&recording).unwrap();
        let back = recording::read(folder.path()).unwrap();
        assert_eq!(back.profile, None);
        assert!(back.run.gaps.iter().any(|g| g.reason.contains("profile.json")), "{:?}", back.run.gaps);
    }
}

fn costs() -> Costs {
    let rate = Rate { value: 1.0, low: 0.5, high: 1.0 / 3.0 };
    let told = Attribution {
        per_request: vec![Some(rate), None],
        background_per_second: None,
        residual: 0.25,
        windows: 20,
    };
    Costs {
        version: COSTS_VERSION,
        operations: vec!["GET /".into(), "GET /orders".into()],
        statements: vec![StatementCost {
            text: "SELECT $1".into(),
            calls: told.clone(),
            ..StatementCost::default()
        }],
        resources: vec![ResourceCost { name: "service_cpu".into(), unit: "ms".into(), cost: told }],
        ..Costs::default()
    }
}

#[test]
fn costs_of_a_newer_version_are_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut recording = whole(spans(1, 1));
    recording.costs = Some(Costs { version: COSTS_VERSION + 1, ..costs() });
    Writer::create(folder.path()).unwrap().finish(&recording).unwrap();
    let back = recording::read(folder.path()).unwrap();
    assert_eq!(back.costs, None);
    assert!(back.run.gaps.iter().any(|g| g.reason.contains("costs.json")), "{:?}", back.run.gaps);
}

fn same(left: &Recording, right: &Recording) {
    assert_eq!(left.spans.len(), right.spans.len());
    for row in 0..left.spans.len() {
        assert_eq!(told(&left.spans, row), told(&right.spans, row));
    }
    assert_eq!(left.run, right.run);
    assert_eq!(left.metrics, right.metrics);
    assert_eq!(left.latencies, right.latencies);
    assert_eq!(left.requests, right.requests);
    assert_eq!(left.statements, right.statements);
    assert_eq!(left.plans, right.plans);
    assert_eq!(left.costs, right.costs);
    assert_eq!(left.profile, right.profile);
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files.map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(p).unwrap())).collect()
}

#[test]
fn a_recording_comes_back_and_writes_the_same_bytes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    let before = whole(spans(3000, 1));
    Writer::create(&first).unwrap().finish(&before).unwrap();
    let back = recording::read(&first).unwrap();
    same(&before, &back);
    Writer::create(&second).unwrap().finish(&back).unwrap();
    assert_eq!(files(&first), files(&second));
}

#[test]
fn keys_that_come_later_need_no_old_column() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::create(folder.path()).unwrap();
    let mut sink = writer.span_sink();
    let mut later = SpanTable::default();
    let late = Attribute { key: later.strings.intern("late"), value: later.pack(Value::Int(1)) };
    later.push(SpanFields { span_id: 1, ..SpanFields::default() }, &[late]);
    sink.write(spans(100, 2)).unwrap();
    sink.flush().unwrap();
    sink.write(later).unwrap();
    sink.flush().unwrap();
    assert_eq!(sink.written(), 101);
    writer.finish(&whole(spans(10, 3))).unwrap();
    let back = recording::read(folder.path()).unwrap();
    assert_eq!(back.spans.len(), 111);
    assert_eq!(back.spans.row(100).attribute("late"), Some(Value::Int(1)));
    assert!(folder.path().join("spans-0002.parquet").exists());
}

#[test]
fn only_wanted_attributes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    Writer::create(folder.path()).unwrap().finish(&whole(spans(50, 4))).unwrap();
    let (read, gaps) = recording::read_spans(folder.path(), Some(&["http.route", "twice"])).unwrap();
    assert_eq!(gaps, []);
    let keys: std::collections::BTreeSet<&str> =
        read.rows().flat_map(|row| row.attributes().map(|(key, _)| key).collect::<Vec<_>>()).collect();
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["http.route", "twice"]);
    assert_eq!(read.row(1).service(), "stock");
}

#[test]
fn truncated_spans_are_a_gap_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::create(folder.path()).unwrap();
    let mut sink = writer.span_sink();
    sink.write(spans(100, 5)).unwrap();
    sink.flush().unwrap();
    writer.finish(&whole(spans(100, 6))).unwrap();
    let broken = folder.path().join("spans-0001.parquet");
    let bytes = fs::read(&broken).unwrap();
    for keep in [0, 3, 4, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&broken, &bytes[..keep]).unwrap();
        let back = recording::read(folder.path()).unwrap();
        assert_eq!((back.spans.len(), back.metrics.len()), (100, 2), "{keep} bytes");
        assert_eq!(back.run.gaps.len(), 1);
        assert!(back.run.gaps[0].reason.contains("spans-0001.parquet"), "{}", back.run.gaps[0].reason);
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    Writer::create(folder.path()).unwrap().finish(&whole(spans(200, 7))).unwrap();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(8);
    for name in
        ["spans.parquet", "metrics.parquet", "latencies.parquet", "requests.parquet", "statements.json"]
    {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        for _ in 0..150 {
            let mut bad = good.clone();
            let at = usize::try_from(random.next_u64()).unwrap() % bad.len();
            bad[at] ^= 1 << (random.next_u64() % 8);
            fs::write(&path, &bad).unwrap();
            // Either it is read (a changed value cannot be told from a true one) or it is a gap.
            let back = recording::read(folder.path()).unwrap();
            assert!(back.run.gaps.len() <= 1);
        }
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(recording::read(folder.path()).unwrap().run.gaps, []);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    Writer::create(folder.path()).unwrap().finish(&whole(spans(1, 9))).unwrap();
    let path = folder.path().join("run.json");
    for (text, told) in [
        (r#"{"format": 99, "other": 1}"#, "field `format` is 99"),
        (r#"{"id": "x"}"#, "field `format` is missing"),
        (r#"{"format": 1, "id": 7}"#, "invalid type"),
        ("{", "EOF"),
    ] {
        fs::write(&path, text).unwrap();
        let error = format!("{:#}", recording::read(folder.path()).unwrap_err());
        assert!(error.contains("run.json") && error.contains(told), "{error}");
    }
}

#[test]
fn a_folder_without_run_json_is_an_unfinished_recording() {
    let folder = tempfile::tempdir().unwrap();
    let empty = format!("{:#}", recording::read(folder.path()).unwrap_err());
    assert!(empty.contains("is no recording"), "{empty}");
    let writer = Writer::create(folder.path()).unwrap();
    let mut sink = writer.span_sink();
    sink.write(spans(40, 10)).unwrap();
    sink.flush().unwrap();
    let back = recording::read(folder.path()).unwrap();
    assert_eq!((back.spans.len(), back.run.complete, back.run.gaps.len()), (40, false, 1));
    let again = Writer::create(folder.path()).err().map(|error| error.to_string());
    assert!(again.is_some_and(|text| text.contains("holds a recording already")));
}

#[test]
fn a_broken_plan_is_a_gap_that_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    Writer::create(folder.path()).unwrap().finish(&whole(spans(1, 11))).unwrap();
    fs::write(folder.path().join("plans/0000.json"), r#"{"statement": 5}"#).unwrap();
    let back = recording::read(folder.path()).unwrap();
    assert!(back.plans.is_empty());
    assert!(back.run.gaps[0].reason.contains("0000.json"), "{}", back.run.gaps[0].reason);
}
