//! What is asked and what came back, as plain values.

use super::Headers;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use model::ErrorClass;
use net::Target;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Largest body taken in unless told.
pub const DEFAULT_MAX_BODY_BYTES: u64 = 100 << 20;
/// Time for one exchange unless told, as in k6.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Scheme, host and port of a URL: what a connection belongs to. Cheap to clone; parse once, use often.
#[derive(Clone, Debug)]
pub struct Origin(Rc<Target>);

impl Origin {
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self(Rc::new(target))
    }

    #[must_use]
    pub fn target(&self) -> &Target {
        &self.0
    }

    /// Whether connections to one serve the other.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        Rc::ptr_eq(&self.0, &other.0)
            || (a.port() == b.port() && a.is_https() == b.is_https() && a.host() == b.host())
    }
}

/// One request. Redirects are not followed; cookies are the caller's.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub origin: Origin,
    /// Path and query as sent, percent-encoded: `/orders?x=1`.
    pub path: String,
    /// `host`, `content-length`, `user-agent` and, from a URL's user and password, `authorization` are added where they
    /// are missing.
    pub headers: Headers,
    pub body: Bytes,
    /// From here to the last byte, waiting for a connection and connecting included.
    pub timeout: Duration,
    /// A longer body, also one that grows so by decompression, fails the exchange.
    pub max_body_bytes: u64,
    /// `false`: the body is read and counted, and then dropped.
    pub keep_body: bool,
    /// `false`: reason and headers of the response are left empty.
    pub keep_head: bool,
    /// Undo gzip, deflate, br and zstd of a kept body.
    pub decompress: bool,
}

impl Request {
    /// `url` with scheme and host; its user and password become basic authorization.
    ///
    /// # Errors
    /// What is wrong with the URL, without its secrets.
    pub fn new(method: Method, url: &str) -> Result<Self> {
        let target = Target::parse(url).context("request")?;
        let path = target.path_and_query();
        Ok(Self::to(Origin::new(target), method, path))
    }

    /// `path` as it is sent, on a known origin.
    #[must_use]
    pub fn to(origin: Origin, method: Method, path: String) -> Self {
        Self {
            method,
            origin,
            path,
            headers: Headers::new(),
            body: Bytes::new(),
            timeout: DEFAULT_TIMEOUT,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            keep_body: true,
            keep_head: true,
            decompress: true,
        }
    }
}

/// Where an exchange is, and where it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Waiting for a connection that others are opening.
    #[default]
    Blocked,
    Lookup,
    Connect,
    Tls,
    Send,
    /// From the last byte sent to the first one received.
    Wait,
    Receive,
}

/// Time in each step; they add up to the whole exchange. A second attempt on a new connection adds to the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    pub blocked: Duration,
    pub lookup: Duration,
    pub connect: Duration,
    pub tls: Duration,
    pub send: Duration,
    pub wait: Duration,
    pub receive: Duration,
}

impl Phases {
    #[must_use]
    pub fn total(&self) -> Duration {
        self.blocked + self.lookup + self.connect + self.tls + self.exchange()
    }

    /// Sending, waiting and receiving: k6's `http_req_duration`.
    #[must_use]
    pub fn exchange(&self) -> Duration {
        self.send + self.wait + self.receive
    }

    /// As a kept request tells them: `response` is all the time since it was due.
    pub(crate) fn of_request(&self, response: Duration) -> model::RequestPhases {
        let ns = crate::options::nanos;
        model::RequestPhases {
            queue_ns: ns(response.saturating_sub(self.total()) + self.blocked),
            lookup_ns: ns(self.lookup),
            connect_ns: ns(self.connect),
            tls_ns: ns(self.tls),
            send_ns: ns(self.send),
            wait_ns: ns(self.wait),
            receive_ns: ns(self.receive),
        }
    }

    fn of(&mut self, step: Step) -> &mut Duration {
        match step {
            Step::Blocked => &mut self.blocked,
            Step::Lookup => &mut self.lookup,
            Step::Connect => &mut self.connect,
            Step::Tls => &mut self.tls,
            Step::Send => &mut self.send,
            Step::Wait => &mut self.wait,
            Step::Receive => &mut self.receive,
        }
    }
}

/// Adds time to the step that an exchange is in, so that none is lost when it is cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) phases: Phases,
    pub(crate) step: Step,
    pub(crate) now: Instant,
    /// When a connection was first given the request.
    pub(crate) sent: Option<Instant>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { phases: Phases::default(), step: Step::Blocked, now: Instant::now(), sent: None }
    }

    /// Ends the current step and begins another.
    pub(crate) fn enter(&mut self, step: Step) {
        let now = Instant::now();
        *self.phases.of(self.step) += now - self.now;
        (self.step, self.now) = (step, now);
        if step == Step::Send {
            self.sent.get_or_insert(now);
        }
    }
}

/// Why an exchange failed; the text holds no URL's secrets and no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub class: ErrorClass,
    pub text: String,
    pub step: Step,
}

impl Failure {
    pub(crate) fn new(class: ErrorClass, step: Step, text: impl Into<String>) -> Self {
        Self { class, text: text.into(), step }
    }
}

/// Version of HTTP that was spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Version {
    /// As k6 names it: `HTTP/1.1`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// What became of one request: also where it failed, as far as it came.
#[derive(Clone, Debug)]
pub struct Response {
    /// 0 where no head came.
    pub status: u16,
    /// The status line's text; empty with h2 and where the head was not kept.
    pub reason: String,
    pub version: Version,
    /// In order, with duplicates; empty where the head was not kept.
    pub headers: Headers,
    /// Decompressed where asked; empty where it was not kept.
    pub body: Bytes,
    /// Bytes of the body as received, compressed or not.
    pub body_bytes: u64,
    /// Bytes written and read on the connection, heads included, TLS excluded; with h2 without the framing.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub phases: Phases,
    pub began: Instant,
    /// When it was given to an open connection; `None` where there never was one.
    pub sent: Option<Instant>,
    pub done: Instant,
    /// Of the peer, or of the proxy; `None` for Unix sockets and where there was no connection.
    pub remote: Option<SocketAddr>,
    /// Version and cipher suite as rustls names them (`TLSv1_3`, `TLS13_AES_256_GCM_SHA384`); `None` without TLS.
    pub tls: Option<(&'static str, &'static str)>,
    /// The connection had served a request before.
    pub reused: bool,
    /// It was sent twice, as a kept connection turned out to be closed.
    pub retried: bool,
    /// `None`: a complete response of any status.
    pub failure: Option<Failure>,
}

impl Response {
    pub(crate) fn none(began: Instant) -> Self {
        Self {
            status: 0,
            reason: String::new(),
            version: Version::default(),
            headers: Headers::new(),
            body: Bytes::new(),
            body_bytes: 0,
            sent_bytes: 0,
            received_bytes: 0,
            phases: Phases::default(),
            began,
            sent: None,
            done: began,
            remote: None,
            tls: None,
            reused: false,
            retried: false,
            failure: None,
        }
    }
}
