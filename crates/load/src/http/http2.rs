//! One h2 connection, shared by many requests at once; framing and flow control are hyper's.

use super::codec::Rules;
use super::decoded;
use super::http1::expects_body;
use super::message::{Clock, Failure, Request, Response, Step, Version};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use model::ErrorClass;
use net::Stream;
use std::cell::Cell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// Flow-control windows: large enough that they do not throttle a measurement.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Longest block of headers taken in.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// An open connection; clones share it.
#[derive(Clone)]
pub(crate) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) tls: Option<(&'static str, &'static str)>,
    /// Requests open now.
    pub(crate) streams: Rc<Cell<usize>>,
    pub(crate) served: Rc<Cell<u64>>,
    driver: Rc<EndOnDrop>,
}

struct EndOnDrop(tokio::task::JoinHandle<()>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// hyper's tasks run on the thread of their connection.
#[derive(Clone)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        drop(tokio::task::spawn_local(task));
    }
}

/// A request in flight.
pub(crate) struct Lease(Rc<Cell<usize>>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Http2 {
    pub(crate) async fn shake(stream: Stream) -> Result<Self, Failure> {
        let (remote, tls) = (stream.peer(), stream.tls());
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| {
                Failure::new(ErrorClass::Protocol, Step::Connect, format!("HTTP handshake: {error}"))
            })?;
        // How a connection ended is told to the requests on it.
        let driver = tokio::task::spawn_local(async move { drop(connection.await) });
        let driver = Rc::new(EndOnDrop(driver));
        Ok(Self { sender, remote, tls, streams: Rc::default(), served: Rc::default(), driver })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.sender.is_closed() || self.driver.0.is_finished()
    }

    /// Counts a request on this connection until the lease is dropped.
    pub(crate) fn lease(&self) -> Lease {
        self.streams.set(self.streams.get() + 1);
        self.served.set(self.served.get() + 1);
        Lease(Rc::clone(&self.streams))
    }

    /// One exchange into `response`. The flag of the error: the request was never sent.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        agent: &str,
        response: &mut Response,
        clock: &mut Clock,
    ) -> Result<(), (Failure, bool)> {
        let ours = message(request, agent).map_err(|failure| (failure, false))?;
        self.sender.ready().await.map_err(|error| (classify(&error, Step::Blocked), true))?;
        clock.enter(Step::Send);
        response.sent_bytes += request.body.len() as u64 + head_bytes(ours.headers());
        // hyper does not tell when a request has left: sending counts as waiting.
        clock.enter(Step::Wait);
        let answer = match self.sender.try_send_request(ours).await {
            Ok(answer) => answer,
            Err(mut failed) => {
                let unsent = failed.take_message().is_some();
                return Err((classify(&failed.into_error(), Step::Wait), unsent));
            }
        };
        clock.enter(Step::Receive);
        receive(request, answer, response).await.map_err(|failure| (failure, false))
    }
}

async fn receive(
    request: &Request,
    answer: http::Response<hyper::body::Incoming>,
    response: &mut Response,
) -> Result<(), Failure> {
    let rules = Rules::of(request);
    let (head, mut frames) = answer.into_parts();
    response.status = head.status.as_u16();
    response.version = Version::Http2;
    response.received_bytes += head_bytes(&head.headers);
    if rules.keep_head {
        for (name, value) in &head.headers {
            response.headers.append(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let mut body = Vec::new();
    while let Some(frame) = frames.frame().await {
        let frame = frame.map_err(|error| classify(&error, Step::Receive))?;
        let Some(data) = frame.data_ref() else { continue };
        response.body_bytes += data.len() as u64;
        response.received_bytes += data.len() as u64;
        if response.body_bytes > rules.max_body_bytes {
            let text = format!("the body is longer than the {} bytes allowed", rules.max_body_bytes);
            return Err(Failure::new(ErrorClass::Protocol, Step::Receive, text));
        }
        if rules.keep_body {
            body.extend_from_slice(data);
        }
    }
    let encodings = head.headers.get_all(http::header::CONTENT_ENCODING);
    let encodings: Vec<String> =
        encodings.iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    let encoding = (!encodings.is_empty()).then(|| encodings.join(","));
    response.body = decoded(request, body, encoding.as_deref())?;
    Ok(())
}

/// As HTTP/1.1 would have written them.
fn head_bytes(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64).sum()
}

/// h2 takes scheme and host from the URI and knows no fields about the connection (RFC 9113 section 8.2.2).
fn message(request: &Request, agent: &str) -> Result<http::Request<Full<Bytes>>, Failure> {
    let bad = |what: &str| Failure::new(ErrorClass::Protocol, Step::Send, format!("{what} cannot be sent"));
    let target = request.origin.target();
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers.iter() {
        let name: HeaderName = name.parse().map_err(|_| bad("a header's name"))?;
        if name == CONNECTION || name == TRANSFER_ENCODING || name == HOST || name == CONTENT_LENGTH {
            continue;
        }
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| bad("a header's value"))?);
    }
    if !headers.contains_key(http::header::USER_AGENT)
        && let Ok(value) = HeaderValue::from_str(agent)
    {
        headers.insert(http::header::USER_AGENT, value);
    }
    if let Some(value) = target.authorization() {
        headers.entry(http::header::AUTHORIZATION).or_insert_with(|| value.clone());
    }
    if !request.body.is_empty() || expects_body(&request.method) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
    }
    let host = request.headers.get("host").and_then(|value| std::str::from_utf8(value).ok());
    let scheme = if target.is_https() { "https" } else { "http" };
    let uri = format!("{scheme}://{}{}", host.unwrap_or(target.authority()), request.path);
    let mut message = http::Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri.try_into().map_err(|_| bad("the path"))?;
    *message.headers_mut() = headers;
    *message.version_mut() = http::Version::HTTP_2;
    Ok(message)
}

/// hyper's error as a class, from its own flags and from the I/O error at its root.
fn classify(error: &hyper::Error, step: Step) -> Failure {
    let class = if error.is_parse() {
        ErrorClass::Protocol
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        ErrorClass::Closed
    } else {
        match root_io_kind(error) {
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) | None => ErrorClass::Protocol,
            Some(_) => ErrorClass::Closed,
        }
    };
    let text = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    Failure::new(class, step, text)
}

fn root_io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(at) = source {
        if let Some(error) = at.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = at.source();
    }
    None
}
