//! How many spans a CPU-second `localize` judges, from the table in memory to findings, on one thread.
//! `cargo run --release -p localize --example speed -- [SPANS]`

#![expect(clippy::print_stdout, reason = "an example that prints its figure")]

use localize::{Options, localize};
use model::{Attribute, Recording, SpanFields, SpanKind, SpanTable, Value};
use std::time::Instant;

const DEFAULT_SPANS: usize = 500_000;
const SPANS_PER_TRACE: usize = 20;
const MS: i64 = 1_000_000;

fn main() {
    let spans = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(DEFAULT_SPANS);
    let recording = Recording { spans: shop(spans / SPANS_PER_TRACE), ..Recording::default() };
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let diagnosis = localize(&recording, &Options::default());
    let wall = started.elapsed().as_secs_f64();
    let seconds = cpu_seconds().zip(cpu).map_or(wall, |(after, before)| after - before);
    println!(
        "{} spans, {} traces, {} findings in {seconds:.3} CPU-s ({wall:.3} s): {:.0} spans/CPU-s",
        recording.spans.len(),
        diagnosis.recording.traces,
        diagnosis.findings.len(),
        recording.spans.len() as f64 / seconds
    );
    for finding in &diagnosis.findings {
        println!("{} {}: {}", finding.rule, finding.endpoint, finding.title);
    }
}

/// Time of this thread on a CPU so far; `None` where the system does not tell.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(ns / 1e9)
}

/// Requests of a shop: a query, a query per row, two calls to a second service; twenty attributes a span.
fn shop(traces: usize) -> SpanTable {
    let mut pen = Pen { table: SpanTable::default(), id: 0 };
    for trace in 0..traces as u64 {
        let route = ["/orders", "/products/{id}", "/account", "/basket"][(trace % 4) as usize];
        let base = 1_700_000_000_000_000_000 + trace * 1_000_000;
        let noise = (trace.wrapping_mul(2_654_435_761) % 1_000) as i64 * 1_000;
        let root = pen.span(
            trace,
            0,
            base,
            60 * MS + noise,
            SpanKind::Server,
            "api",
            &format!("GET {route}"),
            &[
                ("http.request.method", Value::Text("GET")),
                ("http.route", Value::Text(route)),
                ("url.path", Value::Text(&format!("{route}/{trace}"))),
            ],
        );
        for n in 0..15 {
            let start = base + (n * 2 * MS + MS) as u64;
            pen.span(
                trace,
                root,
                start,
                MS + noise / 10,
                SpanKind::Client,
                "api",
                "SELECT",
                &[
                    ("db.system.name", Value::Text("postgresql")),
                    ("db.query.text", Value::Text("SELECT * FROM order_items WHERE order_id = $1")),
                    ("db.query.parameter.0", Value::Int(trace as i64 * 16 + n)),
                ],
            );
        }
        for n in 0..2 {
            let start = base + ((35 + n * 10) * MS) as u64;
            let client = pen.span(
                trace,
                root,
                start,
                8 * MS,
                SpanKind::Client,
                "api",
                "GET",
                &[
                    ("http.request.method", Value::Text("GET")),
                    ("url.full", Value::Text(&format!("http://stock:8080/stock/{}", trace % 5_000))),
                ],
            );
            pen.span(
                trace,
                client,
                start + MS as u64,
                5 * MS,
                SpanKind::Server,
                "stock",
                "GET /stock/{id}",
                &[("http.request.method", Value::Text("GET")), ("http.route", Value::Text("/stock/{id}"))],
            );
        }
    }
    pen.table
}

struct Pen {
    table: SpanTable,
    id: u64,
}

impl Pen {
    #[expect(clippy::too_many_arguments, reason = "a span has many fields and an example no second caller")]
    fn span(
        &mut self,
        trace: u64,
        parent: u64,
        start_ns: u64,
        duration_ns: i64,
        kind: SpanKind,
        service: &str,
        name: &str,
        pairs: &[(&str, Value<'_>)],
    ) -> u64 {
        self.id += 1;
        let key = self.table.strings.intern("service.name");
        let value = self.table.pack(Value::Text(service));
        let resource = self.table.add_resource(&[Attribute { key, value }]);
        let mut attributes = Vec::with_capacity(20);
        for (key, value) in pairs {
            let key = self.table.strings.intern(key);
            attributes.push(Attribute { key, value: self.table.pack(*value) });
        }
        while attributes.len() < 20 {
            let key = self.table.strings.intern(&format!("other.key.{}", attributes.len()));
            let value = self.table.pack(Value::Int(attributes.len() as i64));
            attributes.push(Attribute { key, value });
        }
        let fields = SpanFields {
            trace_id: u128::from(trace.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(trace + 1),
            span_id: self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            parent_id: if parent == 0 { 0 } else { parent.wrapping_mul(0x9e37_79b9_7f4a_7c15) },
            start_ns,
            duration_ns,
            name: self.table.strings.intern(name),
            kind,
            resource,
            ..SpanFields::default()
        };
        self.table.push(fields, &attributes);
        self.id
    }
}
