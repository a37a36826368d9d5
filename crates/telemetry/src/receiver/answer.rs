//! A request of OTLP/HTTP or OTLP/gRPC, answered as the protocol says: partial success where spans were rejected,
//! 400 for what is no OTLP, 413 and 415, 429 when memory is full; gRPC's status in trailers.

use super::body::{self, Refused, Reply};
use super::shared::Shared;
use crate::otlp::{self, Walked};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const GRPC: &str = "application/grpc";
const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Seconds after which a refused sender may try again.
const RETRY_AFTER_S: &str = "1";

#[derive(Clone, Copy, PartialEq)]
enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// Paths of both protocols.
const PATHS: [(&str, &str, Signal); 3] = [
    ("/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export", Signal::Traces),
    ("/v1/metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Signal::Metrics),
    ("/v1/logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export", Signal::Logs),
];

/// Why a request is not taken.
#[derive(Debug)]
enum Problem {
    Malformed(String),
    TooLarge(String),
    TooSlow(String),
    Unsupported(String),
    Full,
}

impl Problem {
    /// Status of HTTP and of gRPC.
    fn codes(&self) -> (StatusCode, u8) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, 3),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, 8),
            Self::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, 4),
            Self::Unsupported(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, 12),
            Self::Full => (StatusCode::TOO_MANY_REQUESTS, 8),
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Malformed(text) | Self::TooLarge(text) | Self::TooSlow(text) | Self::Unsupported(text) => {
                text
            }
            Self::Full => "the memory for spans is full; try again later",
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let message = refused.message();
        match refused {
            Refused::TooLarge(_) => Self::TooLarge(message),
            Refused::TooSlow => Self::TooSlow(message),
            Refused::Broken(_) => Self::Malformed(message),
        }
    }
}

pub(super) async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Reply>, Infallible> {
    let path = request.uri().path();
    let found = PATHS.iter().find(|(http, grpc, _)| path == *http || path == *grpc);
    let is_grpc = header(request.headers(), CONTENT_TYPE).starts_with(GRPC);
    let Some(&(http, _, signal)) = found else {
        let known = "OTLP is taken at /v1/traces, /v1/metrics and /v1/logs, and by gRPC";
        return Ok(if is_grpc { trailers(12, known) } else { plain(StatusCode::NOT_FOUND, known) });
    };
    if request.method() != Method::POST {
        let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "OTLP is sent by POST");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(reply);
    }
    if path != http {
        return Ok(grpc(request, signal, &shared).await);
    }
    Ok(over_http(request, signal, &shared).await)
}

async fn over_http(request: Request<Incoming>, signal: Signal, shared: &Arc<Shared>) -> Response<Reply> {
    let kind =
        header(request.headers(), CONTENT_TYPE).split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let json = kind == JSON;
    let outcome = if json || kind == PROTOBUF {
        take_http(request, signal, json, shared).await
    } else {
        Err(Problem::Unsupported(format!("content-type `{kind}` is not known; send {PROTOBUF} or {JSON}")))
    };
    let (status, body) = match &outcome {
        Ok(walked) if json => (StatusCode::OK, json_success(signal, *walked)),
        Ok(walked) => (StatusCode::OK, success(*walked)),
        Err(problem) => {
            let (status, code) = problem.codes();
            let body =
                if json { json_status(code, problem.message()) } else { rpc_status(code, problem.message()) };
            (status, body)
        }
    };
    let mut reply = Response::new(Reply { data: Some(body.into()), trailers: None });
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(if json { JSON } else { PROTOBUF }));
    if status == StatusCode::TOO_MANY_REQUESTS {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    reply
}

async fn take_http(
    request: Request<Incoming>,
    signal: Signal,
    json: bool,
    shared: &Arc<Shared>,
) -> Result<Walked, Problem> {
    let coding = body::coding(request.headers(), CONTENT_ENCODING.as_str()).map_err(Problem::Unsupported)?;
    if !shared.has_room() {
        return Err(Problem::Full);
    }
    let max_bytes = shared.options.max_body_bytes;
    let _permit = shared.bodies.acquire().await;
    let bytes = body::read(request.into_body(), max_bytes).await?;
    let bytes =
        body::inflate(bytes, coding, max_bytes).inspect_err(|problem| note(shared, &problem.message()))?;
    take(&bytes, signal, json, shared)
}

fn take(bytes: &[u8], signal: Signal, json: bool, shared: &Shared) -> Result<Walked, Problem> {
    // Checked before the lock, so that others need not wait for it.
    let document = json.then(|| std::str::from_utf8(bytes)).transpose();
    let mut intake = shared.intake();
    intake.report.requests += 1;
    intake.report.bytes += bytes.len() as u64;
    let read = match (document, signal) {
        (Err(error), _) => Err(format!("no valid JSON: {error}")),
        (Ok(Some(document)), _) => otlp::read_json(document, &mut intake).map_err(|e| format!("{e:#}")),
        (Ok(None), Signal::Traces) => otlp::walk_traces(bytes, &mut intake).map_err(|e| e.to_string()),
        (Ok(None), Signal::Metrics) => otlp::walk_metrics(bytes, &mut intake).map_err(|e| e.to_string()),
        (Ok(None), Signal::Logs) => otlp::walk_logs(bytes, &mut intake).map_err(|e| e.to_string()),
    };
    read.map_err(|problem| {
        intake.report.malformed(problem.clone());
        Problem::Malformed(problem)
    })
}

fn note(shared: &Shared, problem: &str) {
    let mut intake = shared.intake();
    intake.report.requests += 1;
    intake.report.malformed(problem);
}

async fn grpc(request: Request<Incoming>, signal: Signal, shared: &Arc<Shared>) -> Response<Reply> {
    match take_grpc(request, signal, shared).await {
        Ok(walked) => {
            let message = success(walked);
            let mut data = Vec::with_capacity(message.len() + 5);
            data.push(0);
            data.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
            data.extend(message);
            let mut trailers = HeaderMap::new();
            trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
            let mut reply = Response::new(Reply { data: Some(data.into()), trailers: Some(trailers) });
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
            reply
        }
        Err(problem) => trailers(problem.codes().1, problem.message()),
    }
}

async fn take_grpc(
    request: Request<Incoming>,
    signal: Signal,
    shared: &Arc<Shared>,
) -> Result<Walked, Problem> {
    let coding = body::coding(request.headers(), GRPC_ENCODING).map_err(Problem::Unsupported)?;
    if !shared.has_room() {
        return Err(Problem::Full);
    }
    let max_bytes = shared.options.max_body_bytes;
    let _permit = shared.bodies.acquire().await;
    let framed = body::read(request.into_body(), max_bytes).await?;
    let (compressed, message) = unframe(&framed).map_err(|problem| {
        note(shared, problem);
        Problem::Malformed(problem.to_owned())
    })?;
    match (compressed, coding) {
        (false, _) => take(message, signal, false, shared),
        (true, None) => Err(Problem::Malformed("a compressed message without grpc-encoding".to_owned())),
        (true, coding) => {
            let inflated = body::inflate(message.to_vec(), coding, max_bytes);
            take(&inflated.inspect_err(|p| note(shared, &p.message()))?, signal, false, shared)
        }
    }
}

/// The one message of a unary call: is it compressed, and its bytes.
fn unframe(framed: &[u8]) -> Result<(bool, &[u8]), &'static str> {
    let (head, message) =
        framed.split_at_checked(5).ok_or("a gRPC message without its head of five bytes")?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if message.len() as u64 != u64::from(length) {
        return Err("a gRPC message of another length than its head says");
    }
    match head[0] {
        0 => Ok((false, message)),
        1 => Ok((true, message)),
        _ => Err("a gRPC message with unknown flags"),
    }
}

/// A reply of gRPC that is a status only.
fn trailers(code: u8, message: &str) -> Response<Reply> {
    let mut reply = Response::new(Reply::default());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    reply
}

/// As gRPC wants a status message: what is not printable ASCII, and `%`, as `%XX`.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut all, byte| {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
        all
    })
}

fn plain(status: StatusCode, message: &str) -> Response<Reply> {
    let data = Bytes::copy_from_slice(message.as_bytes());
    let mut reply = Response::new(Reply { data: Some(data), trailers: None });
    *reply.status_mut() = status;
    reply
}

fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

const REJECTED: &str = "not kept: ids, times or text are not as OTLP wants them, or a limit was reached";

/// An `Export*ServiceResponse`: `partial_success` (1) of `rejected` (1) and `error_message` (2), for all signals.
fn success(walked: Walked) -> Vec<u8> {
    if walked.rejected == 0 {
        return Vec::new();
    }
    let mut partial = vec![0x08];
    varint(&mut partial, walked.rejected);
    bytes_field(&mut partial, 2, REJECTED.as_bytes());
    let mut response = Vec::new();
    bytes_field(&mut response, 1, &partial);
    response
}

fn json_success(signal: Signal, walked: Walked) -> Vec<u8> {
    let field = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    };
    let response = match walked.rejected {
        0 => serde_json::json!({}),
        // A 64-bit number is a text in protobuf's JSON.
        count => serde_json::json!({"partialSuccess": {field: count.to_string(), "errorMessage": REJECTED}}),
    };
    response.to_string().into_bytes()
}

/// A `google.rpc.Status`: `code` (1) and `message` (2).
fn rpc_status(code: u8, message: &str) -> Vec<u8> {
    let mut status = vec![0x08, code];
    bytes_field(&mut status, 2, message.as_bytes());
    status
}

fn json_status(code: u8, message: &str) -> Vec<u8> {
    serde_json::json!({"code": code, "message": message}).to_string().into_bytes()
}

fn bytes_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
