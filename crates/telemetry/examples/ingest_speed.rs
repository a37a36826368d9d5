//! How fast spans are taken in: about 815 bytes and 20 attributes each, in batches of 512. Prints spans per CPU-second,
//! and bytes a span in memory and on disk: `cargo run --release -p telemetry --example ingest_speed [SPANS]`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::cast_possible_truncation, reason = "bytes of numbers that were made small")]

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use telemetry::{Intake, Options, Receiver, bind, otlp};
use tokio::net::TcpStream;

const BATCH: usize = 512;
const SEED: u64 = 1;

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn field(bytes: &mut Vec<u8>, number: u8, held: &[u8]) {
    bytes.push(number << 3 | 2);
    varint(bytes, held.len() as u64);
    bytes.extend_from_slice(held);
}

fn fixed(bytes: &mut Vec<u8>, number: u8, value: u64) {
    bytes.push(number << 3 | 1);
    bytes.extend(value.to_le_bytes());
}

enum Any<'a> {
    Text(&'a str),
    Int(u64),
}

fn attribute(bytes: &mut Vec<u8>, key: &str, value: &Any<'_>) {
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
    field(bytes, 9, &pair);
}

/// Spans of a shop: traces of 20, one service's attributes, two values of high cardinality.
struct Shop {
    random: Xoshiro256PlusPlus,
    row: u64,
    trace: [u8; 16],
    root: [u8; 8],
}

impl Shop {
    fn span(&mut self) -> Vec<u8> {
        if self.row.is_multiple_of(20) {
            self.random.fill_bytes(&mut self.trace);
            self.random.fill_bytes(&mut self.root);
        }
        let mut id = [0; 8];
        self.random.fill_bytes(&mut id);
        let start = 1_700_000_000_000_000_000 + self.row * 50_000;
        let mut span = Vec::new();
        field(&mut span, 1, &self.trace);
        let is_root = self.row.is_multiple_of(20);
        field(&mut span, 2, if is_root { &self.root } else { &id });
        if !is_root {
            field(&mut span, 4, &self.root);
        }
        field(
            &mut span,
            5,
            ["GET /customers/{id}/orders", "SELECT orders", "SELECT order_items"][(self.row % 3) as usize]
                .as_bytes(),
        );
        span.extend([6 << 3, 2 + (self.row % 2) as u8]);
        fixed(&mut span, 7, start);
        fixed(&mut span, 8, start + 100_000 + self.random.next_u64() % 5_000_000);
        self.attributes(&mut span);
        self.row += 1;
        span
    }

    fn attributes(&mut self, span: &mut Vec<u8>) {
        let random = self.random.next_u64();
        let url = format!("http://shop.local:8080/customers/{}/orders", random % 20_000);
        let request = format!("{:016x}", self.random.next_u64());
        let tables = ["orders", "order_items", "customers"];
        let table = tables[(random % 3) as usize];
        let statement =
            format!("SELECT id, total, created_at FROM {table} WHERE customer_id = $1 ORDER BY id");
        let pod = format!("shop-7d4b9c6f5-{}", ["x2x9k", "p4qzt", "m8wvr"][(random % 3) as usize]);
        let all = [
            ("http.request.method", Any::Text(["GET", "POST"][(random % 2) as usize])),
            ("http.route", Any::Text("/customers/{id}/orders")),
            ("http.response.status_code", Any::Int([200, 200, 200, 404, 500][(random % 5) as usize])),
            ("url.full", Any::Text(&url)),
            ("url.scheme", Any::Text("http")),
            ("server.address", Any::Text("shop.local")),
            ("server.port", Any::Int(8080)),
            ("network.protocol.version", Any::Text("1.1")),
            ("user_agent.original", Any::Text("k6/0.49.0 (k6)")),
            ("db.system.name", Any::Text("postgresql")),
            ("db.namespace", Any::Text("shop")),
            ("db.query.text", Any::Text(&statement)),
            ("db.operation.name", Any::Text("SELECT")),
            ("db.collection.name", Any::Text(table)),
            ("db.response.returned_rows", Any::Int(random % 100)),
            ("thread.id", Any::Int(random % 8)),
            ("thread.name", Any::Text("tokio-rt-worker")),
            ("k8s.pod.name", Any::Text(&pod)),
            ("code.function.name", Any::Text("shop::orders::list")),
            ("request.id", Any::Text(&request)),
        ];
        for (key, value) in &all {
            attribute(span, key, value);
        }
    }

    fn batch(&mut self) -> Vec<u8> {
        let mut scope = Vec::new();
        for _ in 0..BATCH {
            let span = self.span();
            field(&mut scope, 2, &span);
        }
        let mut resource = Vec::new();
        let mut service = Vec::new();
        attribute(&mut service, "service.name", &Any::Text("shop"));
        // The same message as a span's attribute, but as field 1.
        service[0] = 1 << 3 | 2;
        field(&mut resource, 1, &service);
        field(&mut resource, 2, &scope);
        let mut request = Vec::new();
        field(&mut request, 1, &resource);
        request
    }
}

/// Seconds of CPU of this process.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident bytes of this process.
fn resident() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

fn print(what: &str, spans: u64, seconds: f64) {
    println!("{what:<40} {:>9.0} spans per CPU-second", spans as f64 / seconds);
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: usize = std::env::args().nth(1).map_or(Ok(500_000), |text| text.parse())?;
    let mut shop =
        Shop { random: Xoshiro256PlusPlus::seed_from_u64(SEED), row: 0, trace: [0; 16], root: [0; 8] };
    let batches: Vec<Bytes> = (0..wanted.div_ceil(BATCH)).map(|_| shop.batch().into()).collect();
    let spans = (batches.len() * BATCH) as u64;
    let bytes: usize = batches.iter().map(Bytes::len).sum();
    println!("{spans} spans of {} bytes", bytes as u64 / spans);

    let (before, memory) = (cpu_s(), resident()?);
    let mut intake = Intake::default();
    for batch in &batches {
        otlp::walk_traces(batch, &mut intake)?;
    }
    print("walk", spans, cpu_s() - before);
    println!("{:<40} {:>9.0} bytes a span", "resident", (resident()? - memory) / spans as f64);
    println!("{:<40} {:>9.0} bytes a span", "as counted", intake.resident_bytes() as f64 / spans as f64);
    let taken = intake.take();

    let folder = tempfile::tempdir()?;
    let writer = recording::Writer::create(folder.path())?;
    let before = cpu_s();
    let recording = model::Recording { spans: taken.spans, ..model::Recording::default() };
    writer.finish(&recording)?;
    print("write", spans, cpu_s() - before);
    drop(recording);
    let on_disk: u64 =
        std::fs::read_dir(folder.path())?.flatten().filter_map(|e| Some(e.metadata().ok()?.len())).sum();
    println!("{:<40} {:>9.1} bytes a span", "on disk", on_disk as f64 / spans as f64);

    let before = cpu_s();
    let (read, _) = recording::read_spans(folder.path(), None)?;
    print("read back", read.len() as u64, cpu_s() - before);
    drop(read);
    let before = cpu_s();
    let (read, _) = recording::read_spans(folder.path(), Some(&["db.query.text", "http.route"]))?;
    print("read back, two attributes", read.len() as u64, cpu_s() - before);
    drop(read);

    for http2 in [false, true] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (received, seconds) = runtime.block_on(receive(&batches, http2))?;
        print(
            if http2 { "receive by gRPC, sender included" } else { "receive by HTTP, sender included" },
            received,
            seconds,
        );
    }
    Ok(())
}

/// Sends every batch over one connection; the CPU-seconds are those of both ends.
async fn receive(batches: &[Bytes], http2: bool) -> Result<(u64, f64), Box<dyn Error>> {
    let options = Options { max_resident_bytes: 4 << 30, ..Options::default() };
    let handle = Receiver::start(vec![bind("127.0.0.1:0").await?], options)?;
    let before = cpu_s();
    let io = TokioIo::new(TcpStream::connect(handle.addresses()[0]).await?);
    if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        let driver = tokio::spawn(connection);
        for batch in batches {
            let length = u32::try_from(batch.len())?.to_be_bytes();
            let framed = [&[0], &length[..], batch].concat();
            let request =
                Request::post("http://l/opentelemetry.proto.collector.trace.v1.TraceService/Export")
                    .header("content-type", "application/grpc")
                    .body(Full::new(Bytes::from(framed)))?;
            sender.ready().await?;
            sender.send_request(request).await?.into_body().collect().await?;
        }
        driver.abort();
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let driver = tokio::spawn(connection);
        for batch in batches {
            let request = Request::post("/v1/traces")
                .header("host", "l")
                .header("content-type", "application/x-protobuf")
                .body(Full::new(batch.clone()))?;
            sender.ready().await?;
            sender.send_request(request).await?.into_body().collect().await?;
        }
        driver.abort();
    }
    let seconds = cpu_s() - before;
    Ok((handle.take().spans.len() as u64, seconds))
}
