//! OTLP bodies of a shop's traces, always the same: twenty spans a trace (a request, its list, a query for each row),
//! twenty attributes and about 815 bytes a span. Written here byte by byte, so that no decoder of ours has a part in it.

use bytes::Bytes;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// Spans of a body: what exporters send by default.
pub(crate) const BATCH: usize = 512;
/// Spans of a trace.
const TRACE: u64 = 20;
const SEED: u64 = 1;
const START_NS: u64 = 1_700_000_000_000_000_000;
/// From one request to the next.
const PACE_NS: u64 = 1_000_000;
const QUERY_NS: u64 = 1_000_000;
const ROUTES: [&str; 4] = ["/customers/{id}/orders", "/products/{id}", "/customers/{id}/account", "/basket"];
const TABLES: [&str; 3] = ["orders", "order_items", "customers"];
const PODS: [&str; 3] = ["shop-7d4b9c6f5-x2x9k", "shop-7d4b9c6f5-p4qzt", "shop-7d4b9c6f5-m8wvr"];

/// At least `spans` spans, in whole bodies.
pub(crate) fn bodies(spans: usize) -> Vec<Bytes> {
    let mut traffic = Traffic::new();
    (0..spans.div_ceil(BATCH)).map(|_| traffic.body().into()).collect()
}

struct Traffic {
    random: Xoshiro256PlusPlus,
    row: u64,
    trace_id: [u8; 16],
    root_id: [u8; 8],
    /// Of the trace: the slower, the longer each query.
    slowness_ns: u64,
}

enum Any<'a> {
    Text(&'a str),
    Int(u64),
}

impl Traffic {
    fn new() -> Self {
        let random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        Self { random, row: 0, trace_id: [0; 16], root_id: [0; 8], slowness_ns: 0 }
    }

    /// An `ExportTraceServiceRequest` of one service.
    fn body(&mut self) -> Vec<u8> {
        let mut scope = Vec::new();
        for _ in 0..BATCH {
            let span = self.span();
            field(&mut scope, 2, &span);
        }
        let mut resource = Vec::new();
        attribute(&mut resource, 1, "service.name", &Any::Text("shop"));
        let mut of_service = Vec::new();
        field(&mut of_service, 1, &resource);
        field(&mut of_service, 2, &scope);
        let mut body = Vec::new();
        field(&mut body, 1, &of_service);
        body
    }

    fn span(&mut self) -> Vec<u8> {
        let (trace, nth) = (self.row / TRACE, self.row % TRACE);
        if nth == 0 {
            self.random.fill_bytes(&mut self.trace_id);
            self.random.fill_bytes(&mut self.root_id);
            self.slowness_ns = self.random.next_u64() % QUERY_NS;
        }
        let mut id = [0; 8];
        self.random.fill_bytes(&mut id);
        let step = QUERY_NS + self.slowness_ns;
        let start = START_NS + trace * PACE_NS;
        // The queries one after another within the request, with a little of its own between them.
        let (from, to) = if nth == 0 {
            (start, start + step * TRACE)
        } else {
            (start + step * nth - step / 2, start + step * (nth + 1) - step / 2 - 50_000)
        };
        let mut span = Vec::new();
        field(&mut span, 1, &self.trace_id);
        field(&mut span, 2, if nth == 0 { &self.root_id } else { &id });
        if nth > 0 {
            field(&mut span, 4, &self.root_id);
        }
        let route = ROUTES[(trace % 4) as usize];
        let name = if nth == 0 { format!("GET {route}") } else { "SELECT shop".to_owned() };
        field(&mut span, 5, name.as_bytes());
        // Server, or client.
        span.extend([6 << 3, if nth == 0 { 2 } else { 3 }]);
        fixed(&mut span, 7, from);
        fixed(&mut span, 8, to);
        self.attributes(&mut span, route, nth);
        self.row += 1;
        span
    }

    fn attributes(&mut self, span: &mut Vec<u8>, route: &str, nth: u64) {
        let random = self.random.next_u64();
        let url = format!("http://shop.local:8080{}", route.replace("{id}", &(random % 20_000).to_string()));
        let request = format!("{:016x}", self.random.next_u64());
        let table = TABLES[usize::from(nth > 1)];
        let statement =
            format!("SELECT id, total_cents, created_at FROM {table} WHERE customer_id = $1 ORDER BY id");
        let http = nth == 0;
        let caller = if http {
            [
                ("http.request.method", Any::Text("GET")),
                ("http.route", Any::Text(route)),
                ("http.response.status_code", Any::Int([200, 200, 200, 404, 500][(random % 5) as usize])),
                ("url.full", Any::Text(&url)),
                ("url.scheme", Any::Text("http")),
                ("user_agent.original", Any::Text("k6/0.49.0 (https://k6.io/)")),
                ("client.address", Any::Text("10.42.117.203")),
                ("server.port", Any::Int(8080)),
            ]
        } else {
            [
                ("db.system.name", Any::Text("postgresql")),
                ("db.namespace", Any::Text("shop")),
                ("db.query.text", Any::Text(&statement)),
                ("db.operation.name", Any::Text("SELECT")),
                ("db.collection.name", Any::Text(table)),
                ("db.response.returned_rows", Any::Int(random % 100)),
                ("db.query.parameter.0", Any::Int(random % 200_000)),
                ("server.port", Any::Int(5432)),
            ]
        };
        let everywhere = [
            ("server.address", Any::Text(if http { "shop.local" } else { "db.shop.local" })),
            ("network.protocol.version", Any::Text("1.1")),
            ("network.peer.address", Any::Text("10.42.117.9")),
            ("thread.id", Any::Int(random % 8)),
            ("thread.name", Any::Text("tokio-runtime-worker")),
            ("k8s.pod.name", Any::Text(PODS[(random % 3) as usize])),
            ("k8s.node.name", Any::Text("node-pool-2-eu-west")),
            ("code.function.name", Any::Text("shop::endpoints::orders::list_all")),
            ("code.file.path", Any::Text("src/endpoints/orders.rs")),
            ("code.line.number", Any::Int(120 + nth)),
            ("host.arch", Any::Text("amd64")),
            ("request.id", Any::Text(&request)),
        ];
        for (key, value) in caller.iter().chain(&everywhere) {
            attribute(span, 9, key, value);
        }
    }
}

fn attribute(bytes: &mut Vec<u8>, number: u8, key: &str, value: &Any<'_>) {
    let mut any = Vec::new();
    match value {
        Any::Text(text) => field(&mut any, 1, text.as_bytes()),
        Any::Int(int) => {
            any.push(3 << 3);
            varint(&mut any, *int);
        }
    }
    let mut pair = Vec::new();
    field(&mut pair, 1, key.as_bytes());
    field(&mut pair, 2, &any);
    field(bytes, number, &pair);
}

/// A field of bytes, text or a message.
fn field(bytes: &mut Vec<u8>, number: u8, held: &[u8]) {
    bytes.push(number << 3 | 2);
    varint(bytes, held.len() as u64);
    bytes.extend_from_slice(held);
}

fn fixed(bytes: &mut Vec<u8>, number: u8, value: u64) {
    bytes.push(number << 3 | 1);
    bytes.extend(value.to_le_bytes());
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] & 0x7f | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry::{Intake, otlp};

    #[test]
    fn a_span_has_twenty_attributes_and_about_815_bytes() {
        let bodies = bodies(2_000);
        let mut intake = Intake::default();
        for body in &bodies {
            let walked = otlp::walk_traces(body, &mut intake).expect("OTLP");
            assert_eq!((walked.kept, walked.rejected), (BATCH as u64, 0));
        }
        let spans = intake.take().spans;
        let bytes: usize = bodies.iter().map(Bytes::len).sum();
        let each = bytes as f64 / spans.len() as f64;
        assert!((each - 815.0).abs() < 15.0, "{each} bytes a span");
        assert!((0..spans.len()).all(|row| spans.row(row).attributes().count() == 20));
    }
}
