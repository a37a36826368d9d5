//! From trace files to findings: spans per CPU-second of this process and its peak memory, by kind of file. Writes the
//! files itself: `cargo run --release -p telemetry --example files_speed -- SPANS [KIND]`.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Spans of a trace: a request, and queries one after another.
const TRACE: u64 = 20;
/// Spans of a line or message.
const BATCH: u64 = 500;
const START_NS: u64 = 1_700_000_000_000_000_000;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let spans: u64 = words.next().map_or(Ok(200_000), |word| word.parse())?;
    let only = words.next();
    let folder = tempfile::tempdir()?;
    for kind in ["otlp-json", "otlp-protobuf", "jaeger", "zipkin"] {
        if only.as_deref().is_none_or(|only| only == kind) {
            let path = folder.path().join(kind);
            write(&path, kind, spans)?;
            measure(kind, &path, spans)?;
        }
    }
    Ok(())
}

fn measure(kind: &str, path: &Path, spans: u64) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(path)?.len();
    let begin = cpu_s();
    let batch = telemetry::files::read(&[PathBuf::from(path)])?;
    let read = cpu_s();
    let resident = batch.spans.resident_bytes();
    let kept = batch.spans.len();
    let recording = model::Recording { spans: batch.spans, ..model::Recording::default() };
    let folder = tempfile::tempdir()?;
    let before = cpu_s();
    recording::Writer::create(folder.path())?.finish(&recording)?;
    let write_s = cpu_s() - before;
    let disk: u64 =
        std::fs::read_dir(folder.path())?.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum();
    let read = read + write_s;
    let begin = begin + write_s;
    let diagnosis = localize::localize(&recording, &localize::Options::default());
    let judged = cpu_s();
    let rate = |seconds: f64| spans as f64 / seconds / 1000.0;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{kind}: {:.0} B/span in the file; read {:.0} k spans/CPU-s, to findings {:.0} k; written {:.0} k/CPU-s, {:.1} B/span on disk; kept {kept} of {spans}, \
         {:.0} B/span; {} findings, {} endpoints; peak {:.0} MiB",
        bytes as f64 / spans as f64,
        rate(read - begin),
        rate(judged - begin),
        kept as f64 / write_s / 1000.0,
        disk as f64 / kept.max(1) as f64,
        resident as f64 / kept.max(1) as f64,
        diagnosis.findings.len(),
        diagnosis.recording.endpoints.len(),
        peak_mib()?
    )?;
    Ok(())
}

/// CPU time of this process.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).map_or(Ok(0.0), str::parse::<f64>)?;
    Ok(kib / 1024.0)
}

/// A span to be written in any format.
struct Span {
    trace: u64,
    nth: u64,
    start_ns: u64,
    end_ns: u64,
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
}

fn span(number: u64) -> Span {
    let (trace, nth) = (number / TRACE, number % TRACE);
    let start = START_NS + trace * 1_000_000;
    let step = 1_000_000 + trace.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 700_000;
    let chance = number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let (start_ns, end_ns) = if nth == 0 {
        (start, start + step * TRACE)
    } else {
        (start + step * nth - step / 2, start + step * (nth + 1) - step / 2 - 50_000)
    };
    let own: [(&'static str, String); 8] = if nth == 0 {
        [
            ("http.request.method", "GET".into()),
            ("http.route", "/customers/{id}/orders".into()),
            ("http.response.status_code", "200".into()),
            ("url.full", format!("http://shop.local:8080/customers/{}/orders", chance % 20_000)),
            ("url.scheme", "http".into()),
            ("user_agent.original", "k6/0.49.0 (https://k6.io/)".into()),
            ("client.address", "10.42.117.203".into()),
            ("server.port", "8080".into()),
        ]
    } else {
        let text = "SELECT id, total_cents, created_at FROM order_items WHERE order_id = $1 ORDER BY id";
        [
            ("db.system.name", "postgresql".into()),
            ("db.namespace", "shop".into()),
            ("db.query.text", text.into()),
            ("db.operation.name", "SELECT".into()),
            ("db.collection.name", "order_items".into()),
            ("db.response.returned_rows", (chance % 100).to_string()),
            ("db.query.parameter.0", (chance % 200_000).to_string()),
            ("server.port", "5432".into()),
        ]
    };
    let everywhere: [(&'static str, String); 12] = [
        ("server.address", "db.shop.local".into()),
        ("network.protocol.version", "1.1".into()),
        ("network.peer.address", "10.42.117.9".into()),
        ("thread.id", (chance % 8).to_string()),
        ("thread.name", "tokio-runtime-worker".into()),
        ("k8s.pod.name", "shop-7d4b9c6f5-x2x9k".into()),
        ("k8s.node.name", "node-pool-2-eu-west".into()),
        ("code.function.name", "shop::endpoints::orders::list_all".into()),
        ("code.file.path", "src/endpoints/orders.rs".into()),
        ("code.line.number", (120 + nth).to_string()),
        ("host.arch", "amd64".into()),
        ("request.id", format!("{chance:016x}")),
    ];
    let name = if nth == 0 { "GET /customers/{id}/orders" } else { "SELECT shop" };
    let attributes = own.into_iter().chain(everywhere).collect();
    Span { trace: trace + 1, nth, start_ns, end_ns, name, attributes }
}

impl Span {
    fn trace_id(&self) -> u128 {
        u128::from(self.trace.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(self.trace)
    }

    fn id(&self, nth: u64) -> u64 {
        (self.trace * TRACE + nth + 1).wrapping_mul(0x94d0_49bb_1331_11eb)
    }
}

fn write(path: &Path, kind: &str, spans: u64) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    let batches = spans.div_ceil(BATCH);
    match kind {
        "jaeger" => write!(out, "{{\"data\":[")?,
        "zipkin" => write!(out, "[")?,
        _ => {}
    }
    for batch in 0..batches {
        let all: Vec<Span> = (batch * BATCH..((batch + 1) * BATCH).min(spans)).map(span).collect();
        let text = match kind {
            "otlp-json" => otlp_json(&all)?,
            "jaeger" => jaeger(&all)?,
            "zipkin" => zipkin(&all)?,
            _ => {
                out.write_all(&protobuf(&all))?;
                continue;
            }
        };
        out.write_all(text.as_bytes())?;
        if kind != "otlp-json" && batch + 1 < batches {
            out.write_all(b",")?;
        }
    }
    match kind {
        "jaeger" => write!(out, "]}}")?,
        "zipkin" => write!(out, "]")?,
        _ => {}
    }
    Ok(out.flush()?)
}

fn otlp_json(spans: &[Span]) -> Result<String, std::fmt::Error> {
    let mut line = String::from(
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"scope":{"name":"tests"},"spans":["#,
    );
    for (at, span) in spans.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let parent = if span.nth == 0 { String::new() } else { format!("{:016x}", span.id(0)) };
        let kind = if span.nth == 0 { 2 } else { 3 };
        write!(
            line,
            r#"{comma}{{"traceId":"{:032x}","spanId":"{:016x}","parentSpanId":"{parent}","name":"{}","kind":{kind},"startTimeUnixNano":"{}","endTimeUnixNano":"{}","attributes":["#,
            span.trace_id(),
            span.id(span.nth),
            span.name,
            span.start_ns,
            span.end_ns
        )?;
        for (nth, (key, value)) in span.attributes.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            match value.parse::<i64>() {
                Ok(int) => write!(line, r#"{comma}{{"key":"{key}","value":{{"intValue":"{int}"}}}}"#),
                Err(_) => write!(line, r#"{comma}{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#),
            }?;
        }
        line.push_str(r#"],"status":{}}"#);
    }
    line.push_str("]}]}]}\n");
    Ok(line)
}

fn jaeger(spans: &[Span]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for (at, trace) in spans.chunk_by(|a, b| a.trace == b.trace).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(text, r#"{comma}{{"traceID":"{:032x}","spans":["#, trace[0].trace_id())?;
        for (nth, span) in trace.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            let references = if span.nth == 0 {
                String::new()
            } else {
                let (trace, id) = (span.trace_id(), span.id(0));
                format!(r#"{{"refType":"CHILD_OF","traceID":"{trace:032x}","spanID":"{id:016x}"}}"#)
            };
            write!(
                text,
                r#"{comma}{{"traceID":"{:032x}","spanID":"{:016x}","operationName":"{}","references":[{references}],"startTime":{},"duration":{},"processID":"p1","tags":[{{"key":"span.kind","type":"string","value":"{}"}}"#,
                span.trace_id(),
                span.id(span.nth),
                span.name,
                span.start_ns / 1000,
                (span.end_ns - span.start_ns) / 1000,
                if span.nth == 0 { "server" } else { "client" }
            )?;
            for (key, value) in &span.attributes {
                write!(text, r#",{{"key":"{key}","type":"string","value":"{value}"}}"#)?;
            }
            text.push_str("],\"logs\":[]}");
        }
        text.push_str(r#"],"processes":{"p1":{"serviceName":"shop","tags":[]}}}"#);
    }
    Ok(text)
}

fn zipkin(spans: &[Span]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for (at, span) in spans.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let parent =
            if span.nth == 0 { String::new() } else { format!(r#""parentId":"{:016x}","#, span.id(0)) };
        write!(
            text,
            r#"{comma}{{"traceId":"{:032x}","id":"{:016x}",{parent}"name":"{}","kind":"{}","timestamp":{},"duration":{},"localEndpoint":{{"serviceName":"shop"}},"tags":{{"#,
            span.trace_id(),
            span.id(span.nth),
            span.name,
            if span.nth == 0 { "SERVER" } else { "CLIENT" },
            span.start_ns / 1000,
            (span.end_ns - span.start_ns) / 1000
        )?;
        for (nth, (key, value)) in span.attributes.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(text, r#"{comma}"{key}":"{value}""#)?;
        }
        text.push_str("}}");
    }
    Ok(text)
}

fn protobuf(spans: &[Span]) -> Vec<u8> {
    let mut scope = Vec::new();
    for span in spans {
        let mut bytes = Vec::new();
        field(&mut bytes, 1, &span.trace_id().to_be_bytes());
        field(&mut bytes, 2, &span.id(span.nth).to_be_bytes());
        if span.nth > 0 {
            field(&mut bytes, 4, &span.id(0).to_be_bytes());
        }
        field(&mut bytes, 5, span.name.as_bytes());
        bytes.extend([6 << 3, if span.nth == 0 { 2 } else { 3 }]);
        for (number, time) in [(7, span.start_ns), (8, span.end_ns)] {
            bytes.push(number << 3 | 1);
            bytes.extend(time.to_le_bytes());
        }
        for (key, value) in &span.attributes {
            attribute(&mut bytes, 9, key, value);
        }
        field(&mut scope, 2, &bytes);
    }
    let mut resource = Vec::new();
    attribute(&mut resource, 1, "service.name", "shop");
    let mut of_service = Vec::new();
    field(&mut of_service, 1, &resource);
    field(&mut of_service, 2, &scope);
    let mut body = Vec::new();
    field(&mut body, 1, &of_service);
    body
}

fn attribute(bytes: &mut Vec<u8>, number: u8, key: &str, value: &str) {
    let mut any = Vec::new();
    match value.parse::<u64>() {
        Ok(int) => {
            any.push(3 << 3);
            varint(&mut any, int);
        }
        Err(_) => field(&mut any, 1, value.as_bytes()),
    }
    let mut pair = Vec::new();
    field(&mut pair, 1, key.as_bytes());
    field(&mut pair, 2, &any);
    field(bytes, number, &pair);
}

fn field(bytes: &mut Vec<u8>, number: u8, held: &[u8]) {
    bytes.push(number << 3 | 2);
    varint(bytes, held.len() as u64);
    bytes.extend_from_slice(held);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] & 0x7f | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}
