//! How: one request from sending to the last byte, with a time limit, its failure classed.
//! Knows neither when requests are due nor what they mean.

use crate::pool::{Lease, Pool};
use crate::requests::Prepared;
use bytes::Bytes;
use http::Request;
use http::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use model::ErrorClass;
use net::{Connector, Sender, Target};
use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("trimtab/", env!("CARGO_PKG_VERSION")));
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Why a request failed; the text holds no URL and no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub class: ErrorClass,
    pub text: String,
}

impl Failure {
    fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }
}

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// When it was given to an open connection; `None` where there never was one.
    pub sent: Option<Instant>,
    pub done: Instant,
    /// 0 where no response came.
    pub status: u16,
    pub failure: Option<Failure>,
    /// Of bodies.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// It was sent again, as the keep-alive connection turned out to be closed.
    pub retried: bool,
}

/// Ids of the trace that a request belongs to, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceIds {
    pub trace: u128,
    pub span: u64,
}

impl TraceIds {
    /// W3C trace context, sampled.
    fn header(self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(Bytes::from(format!("00-{:032x}-{:016x}-01", self.trace, self.span)))
            .ok()
    }
}

/// Sends requests to one origin.
pub struct Client {
    pool: Pool,
    timeout: Duration,
}

impl Client {
    /// `timeout` covers one request, connecting included.
    #[must_use]
    pub fn new(target: Target, connector: Connector, timeout: Duration) -> Self {
        Self { pool: Pool::new(target, connector), timeout }
    }

    /// Connections opened so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.pool.opened()
    }

    /// Sends a request and reads its response to the end. A status that the request does not expect is a failure.
    pub async fn send(&self, prepared: &Prepared, trace: TraceIds) -> Outcome {
        let mut outcome = Outcome {
            sent: None,
            done: Instant::now(),
            status: 0,
            failure: None,
            sent_bytes: prepared.body.len() as u64,
            received_bytes: 0,
            retried: false,
        };
        let done = tokio::time::timeout(self.timeout, self.exchange(prepared, trace, &mut outcome)).await;
        outcome.done = Instant::now();
        outcome.failure = match done {
            Ok(Ok(())) => unexpected(outcome.status, prepared),
            Ok(Err(failure)) => Some(failure),
            Err(_) => {
                let text = format!("no complete response within {:?}", self.timeout);
                Some(Failure::new(ErrorClass::Timeout, text))
            }
        };
        if outcome.failure.as_ref().is_some_and(|failure| !is_status(failure.class)) {
            outcome.status = 0;
        }
        outcome
    }

    async fn exchange(
        &self,
        prepared: &Prepared,
        trace: TraceIds,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let lease = self.pool.take().await?;
        let stale = match self.once(lease, prepared, trace, outcome).await {
            Ok(()) => return Ok(()),
            Err(attempt) if attempt.stale => attempt,
            Err(attempt) => return Err(attempt.failure),
        };
        // Another idle connection may be just as stale: the second attempt opens its own.
        let Ok(lease) = self.pool.take_fresh().await else { return Err(stale.failure) };
        outcome.retried = true;
        self.once(lease, prepared, trace, outcome).await.map_err(|attempt| attempt.failure)
    }

    async fn once(
        &self,
        mut lease: Lease,
        prepared: &Prepared,
        trace: TraceIds,
        outcome: &mut Outcome,
    ) -> Result<(), Attempt> {
        let request = request(&lease.sender, &self.pool.target, prepared, trace)
            .map_err(|failure| Attempt { failure, stale: false })?;
        let received_before = lease.received.bytes();
        // A second attempt does not restart the clock: the user waited for both.
        outcome.sent.get_or_insert_with(Instant::now);
        let response = match lease.sender.send(request).await {
            Ok(response) => response,
            Err((error, unsent)) => {
                let repeatable = unsent.is_some() || prepared.method.is_idempotent();
                let silent = lease.received.bytes() == received_before;
                let failure = classify(&error);
                let ended = failure.class == ErrorClass::Closed;
                return Err(Attempt { failure, stale: lease.reused && ended && silent && repeatable });
            }
        };
        outcome.status = response.status().as_u16();
        outcome.received_bytes =
            read(response.into_body()).await.map_err(|failure| Attempt { failure, stale: false })?;
        self.pool.put(lease);
        Ok(())
    }
}

/// A failed attempt, and whether the connection was dead before the request came.
struct Attempt {
    failure: Failure,
    stale: bool,
}

fn is_status(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::ClientStatus | ErrorClass::ServerStatus | ErrorClass::Check)
}

fn unexpected(status: u16, prepared: &Prepared) -> Option<Failure> {
    if prepared.expect.takes(status) {
        return None;
    }
    let class = match status {
        400..=499 => ErrorClass::ClientStatus,
        500..=599 => ErrorClass::ServerStatus,
        _ => ErrorClass::Check,
    };
    Some(Failure::new(class, format!("status {status}")))
}

fn request(
    sender: &Sender,
    target: &Target,
    prepared: &Prepared,
    trace: TraceIds,
) -> Result<Request<Full<Bytes>>, Failure> {
    let http1 = matches!(sender, Sender::Http1(_));
    // h2 takes scheme and host from the URI, HTTP/1.1 the host from its header.
    let uri = if http1 { prepared.path.clone() } else { format!("{}{}", target.origin(), prepared.path) };
    let bad = |_| Failure::new(ErrorClass::Protocol, "the drawn path cannot be sent");
    let mut request = Request::new(Full::new(prepared.body.clone()));
    *request.method_mut() = prepared.method.clone();
    *request.uri_mut() = uri.try_into().map_err(bad)?;
    *request.headers_mut() = prepared.headers.clone();
    let headers = request.headers_mut();
    if http1 && let Ok(host) = HeaderValue::from_str(target.authority()) {
        headers.entry(HOST).or_insert(host);
    }
    headers.entry(USER_AGENT).or_insert(AGENT);
    if let Some(value) = trace.header() {
        headers.insert(TRACEPARENT, value);
    }
    Ok(request)
}

/// Bytes of the body, read to its end and dropped.
async fn read(mut body: Incoming) -> Result<u64, Failure> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| classify(&error))?;
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

/// hyper's error as a class, from its own flags and from the I/O error at its root.
fn classify(error: &hyper::Error) -> Failure {
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
    Failure { class, text }
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
