//! The receiver over real sockets: HTTP and gRPC, good and bad bodies, the memory bound and the way to the disk.

#![expect(clippy::unwrap_used, reason = "a test file: what builds its inputs may panic as its tests do")]
#![expect(dead_code, reason = "the writer of wire format serves other tests as well")]

mod wire;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::Write;
use std::time::Duration;
use telemetry::{Handle, Options, Receiver, bind};
use tokio::net::TcpStream;
use wire::Span;

async fn start(options: Options) -> Handle {
    Receiver::start(vec![bind("127.0.0.1:0").await.unwrap()], options).unwrap()
}

type Answer = (StatusCode, http::HeaderMap, Vec<u8>, Option<http::HeaderMap>);

async fn send(handle: &Handle, request: Request<Full<Bytes>>, http2: bool) -> Answer {
    let stream = TcpStream::connect(handle.addresses()[0]).await.unwrap();
    let io = TokioIo::new(stream);
    let response: Response<_> = if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    (head.status, head.headers, body.to_bytes().to_vec(), trailers)
}

async fn post(handle: &Handle, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut request = Request::post(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(handle, request.body(Full::new(body.into())).unwrap(), false).await
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn body(spans: usize) -> Vec<u8> {
    wire::traces(&(0..spans).map(|_| Span::default()).collect::<Vec<_>>())
}

#[tokio::test]
async fn protobuf_and_json_arrive_plain_and_compressed() {
    let handle = start(Options::default()).await;
    let zstd = zstd::encode_all(&*body(3), 1).unwrap();
    for (headers, bytes) in [
        (vec![PROTOBUF], body(3)),
        (vec![PROTOBUF, ("content-encoding", "gzip")], gzip(&body(3))),
        (vec![PROTOBUF, ("content-encoding", "zstd")], zstd),
        (vec![("content-type", "Application/JSON; charset=utf-8")], br#"{"resourceSpans": []}"#.to_vec()),
    ] {
        let (status, _, answer, _) = post(&handle, "/v1/traces", &headers, bytes).await;
        assert_eq!(status, StatusCode::OK, "{headers:?}: {}", String::from_utf8_lossy(&answer));
    }
    let logs = post(
        &handle,
        "/v1/logs",
        &[JSON],
        br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#.to_vec(),
    );
    assert_eq!(logs.await.0, StatusCode::OK);
    let batch = handle.take();
    assert_eq!((batch.spans.len(), batch.report.requests, batch.report.log_records), (9, 5, 1));
    assert_eq!((handle.take().spans.len(), handle.counters().requests), (0, 0));
}

#[tokio::test]
async fn rejected_spans_are_a_partial_success() {
    let handle = start(Options::default()).await;
    let spans = [Span::default(), Span { id: vec![1], ..Span::default() }];
    let (status, _, answer, _) = post(&handle, "/v1/traces", &[PROTOBUF], wire::traces(&spans)).await;
    assert_eq!(status, StatusCode::OK);
    // partial_success (1) { rejected_spans (1): 1, error_message (2): ... }
    assert_eq!((answer[0], answer[2], answer[3], answer[4]), (0x0a, 0x08, 1, 0x12));
    let json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"x"}]}]}]}"#.to_vec();
    let (_, _, answer, _) = post(&handle, "/v1/traces", &[JSON], json).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
}

#[tokio::test]
async fn bad_requests_are_told_why() {
    let handle = start(Options { max_body_bytes: 10_000, ..Options::default() }).await;
    let bomb = gzip(&vec![0; 1 << 20]);
    let cut = body(1)[..50].to_vec();
    for (path, headers, bytes, status, told) in [
        ("/v1/traces", vec![PROTOBUF], cut, 400, "cut off"),
        ("/v1/traces", vec![PROTOBUF], b"hello".to_vec(), 400, "no valid OTLP"),
        ("/v1/traces", vec![JSON], b"{".to_vec(), 400, "no valid JSON"),
        ("/v1/metrics", vec![JSON], b"[1]".to_vec(), 400, "no OTLP"),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "gzip")], b"no gzip".to_vec(), 400, "broken"),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "br")], vec![], 415, "content-encoding `br`"),
        ("/v1/traces", vec![("content-type", "text/plain")], vec![], 415, "content-type `text/plain`"),
        ("/v1/traces", vec![], vec![], 415, "content-type"),
        ("/v1/traces", vec![PROTOBUF], vec![0; 10_001], 413, "more than 10000 bytes"),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "gzip")], bomb, 413, "more than 10000 bytes"),
        ("/v1/other", vec![PROTOBUF], vec![], 404, "/v1/traces"),
    ] {
        let (got, _, answer, _) = post(&handle, path, &headers, bytes).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(got.as_u16() == status && text.contains(told), "{path} {headers:?}: {got} {text}");
    }
    let get = Request::get("/v1/traces").header("host", "x").body(Full::default()).unwrap();
    let (status, headers, ..) = send(&handle, get, false).await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    let batch = handle.take();
    assert_eq!((batch.spans.len(), batch.report.spans), (0, 0));
    assert!(batch.report.malformed >= 4, "{:?}", batch.report);
}

fn framed(compressed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[compressed], &length[..], message].concat()
}

async fn grpc(handle: &Handle, path: &str, encoding: &str, body: Vec<u8>) -> (String, String, Vec<u8>) {
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .header("grpc-encoding", encoding)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let (status, headers, body, trailers) = send(handle, request, true).await;
    assert_eq!(status, StatusCode::OK);
    let of = |name: &str| {
        let all = trailers.as_ref().and_then(|t| t.get(name)).or_else(|| headers.get(name));
        all.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    (of("grpc-status"), of("grpc-message"), body)
}

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[tokio::test]
async fn grpc_arrives_on_the_same_port() {
    let handle = start(Options { max_body_bytes: 10_000, ..Options::default() }).await;
    let zstd = zstd::encode_all(&*body(2), 1).unwrap();
    for (encoding, bytes) in [
        ("identity", framed(0, &body(2))),
        ("gzip", framed(1, &gzip(&body(2)))),
        ("gzip", framed(0, &body(2))),
        ("zstd", framed(1, &zstd)),
    ] {
        let (status, message, answer) = grpc(&handle, EXPORT, encoding, bytes).await;
        assert_eq!((status.as_str(), answer), ("0", framed(0, &[])), "{encoding}: {message}");
    }
    assert_eq!(handle.take().spans.len(), 8);
    for (path, encoding, bytes, status, told) in [
        (EXPORT, "identity", framed(0, b"hello"), "3", "no valid OTLP"),
        (EXPORT, "identity", vec![0, 0], "3", "five bytes"),
        (EXPORT, "identity", framed(0, &body(1))[..40].to_vec(), "3", "another length"),
        (EXPORT, "identity", framed(1, &body(1)), "3", "without grpc-encoding"),
        (EXPORT, "identity", framed(7, &body(1)), "3", "unknown flags"),
        (EXPORT, "snappy", framed(1, &body(1)), "12", "snappy"),
        (EXPORT, "gzip", framed(1, &gzip(&vec![0; 1 << 20])), "8", "more than 10000 bytes"),
        ("/some.Service/Call", "identity", framed(0, &[]), "12", "/v1/traces"),
    ] {
        let (got, message, _) = grpc(&handle, path, encoding, bytes).await;
        assert!(got == status && message.contains(told), "{path}: {got} {message}");
    }
}

#[tokio::test]
async fn at_the_memory_bound_senders_are_told_to_wait() {
    let handle = start(Options { max_resident_bytes: 1, ..Options::default() }).await;
    let (status, headers, ..) = post(&handle, "/v1/traces", &[PROTOBUF], body(1)).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "1"));
    let (code, message, _) = grpc(&handle, EXPORT, "identity", framed(0, &body(1))).await;
    assert!(code == "8" && message.contains("try again later"), "{code} {message}");
    let report = handle.take().report;
    assert_eq!((report.refused, report.gaps().len()), (2, 1));
}

#[tokio::test]
async fn at_the_memory_bound_spans_go_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let writer = recording::Writer::create(folder.path()).unwrap();
    // An empty intake holds a few kilobytes of tables: the bound lies above them and below a batch.
    let handle = start(Options { max_resident_bytes: 100_000, ..Options::default() }).await;
    assert!(handle.set_sink(Some(writer.span_sink())).await.is_none());
    let mut sent = 0;
    while handle.counters().flushed_spans == 0 && sent < 100_000 {
        let (status, ..) = post(&handle, "/v1/traces", &[PROTOBUF], body(500)).await;
        assert_eq!(status, StatusCode::OK);
        sent += 500;
    }
    let mut sink = handle.set_sink(None).await.unwrap();
    sink.flush().unwrap();
    let batch = handle.take();
    assert!(batch.report.flushed_spans > 0);
    assert_eq!((sink.written(), batch.report.disk_error), (batch.report.flushed_spans, None));
    assert_eq!(sink.written() + batch.spans.len() as u64, sent);
    let (spans, gaps) = recording::read_spans(folder.path(), None).unwrap();
    assert_eq!((spans.len() as u64, gaps.len()), (sink.written(), 0));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = format!("{:#}", bind(&address).await.unwrap_err());
    assert!(error.contains(&address) && error.contains("in use"), "{error}");
}

#[tokio::test]
async fn dropping_the_handle_frees_the_port() {
    let handle = start(Options::default()).await;
    let address = handle.addresses()[0].to_string();
    drop(handle);
    let again = tokio::time::timeout(Duration::from_secs(10), async {
        while bind(&address).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    again.await.unwrap();
}
