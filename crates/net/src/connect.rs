//! Connecting for HTTP: name to addresses, a stream to one of them, HTTP handshake by hyper where asked.

use crate::Target;
use crate::dial::{self, DialStep, Route};
use crate::stream::{Received, Stream};
use crate::tls::{HttpVersion, TlsOptions, client_config, server_name};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

/// Flow-control windows of h2: large enough that they do not throttle a measurement.
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const H2_CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Which step of connecting failed; the text says how, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// No address for the name.
    Dns(String),
    /// No address accepted.
    Connect(String),
    Tls(String),
    /// The HTTP handshake failed.
    Handshake(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Dns(text) | Self::Connect(text) | Self::Tls(text) | Self::Handshake(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for ConnectError {}

/// Sends requests on one connection.
#[derive(Debug)]
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<Full<Bytes>>),
    /// Many at once, by cloning.
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// Whether the connection has ended; `false` may already be out of date.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Waits until a request can be sent; fails if the connection has ended.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        }
    }

    /// Sends one request; returns when the head of its response is there.
    /// HTTP/1.1 wants the path as URI and a `Host` header, h2 the absolute URI: see [`crate::call`] for both.
    ///
    /// # Errors
    /// hyper's error, and the request where it was never sent.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Box<Request<Full<Bytes>>>>)> {
        let sent = match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut failed| {
            let unsent = failed.take_message().map(Box::new);
            (failed.into_error(), unsent)
        })
    }
}

/// Does the connection's work; whoever connects must poll or spawn it. Ends with the connection.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An open connection.
pub struct Connection {
    pub sender: Sender,
    pub driver: Driver,
    pub received: Received,
}

/// Connects with one set of TLS and HTTP settings.
#[derive(Clone)]
pub struct Connector {
    tls: Arc<ClientConfig>,
    /// In place of the target's host.
    server_name: Option<ServerName<'static>>,
    version: HttpVersion,
}

impl Connector {
    /// # Errors
    /// The extra CA or the client certificate cannot be read, the server name is none.
    pub fn new(tls: &TlsOptions, version: HttpVersion) -> anyhow::Result<Self> {
        Ok(Self { tls: client_config(tls, version)?, server_name: server_name(tls)?, version })
    }

    /// Resolves, connects and shakes hands. Sets no time limit: the caller does.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn connect(&self, target: &Target) -> Result<Connection, ConnectError> {
        let addresses = self.resolve(target).await?;
        self.connect_to(target, &addresses).await
    }

    /// As [`Self::connect`], to addresses from [`resolve`](Self::resolve).
    ///
    /// # Errors
    /// The step that failed.
    pub async fn connect_to(
        &self,
        target: &Target,
        addresses: &[SocketAddr],
    ) -> Result<Connection, ConnectError> {
        let stream = self.dial(target, Route::Direct(addresses), |_| {}).await?;
        if self.is_h2(&stream, target)? { shake_http2(stream).await } else { shake_http1(stream).await }
    }

    /// Opens a stream by a route, with TLS where the target's URL says https; `told` hears when a step begins.
    /// Sets no time limit: the caller does.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn dial(
        &self,
        target: &Target,
        route: Route<'_>,
        told: impl FnMut(DialStep),
    ) -> Result<Stream, ConnectError> {
        dial::dial((&self.tls, self.server_name.as_ref()), target, route, told).await
    }

    /// Whether to speak h2 on a stream of [`Self::dial`].
    ///
    /// # Errors
    /// h2 was asked for and the peer's TLS does not offer it.
    pub fn is_h2(&self, stream: &Stream, target: &Target) -> Result<bool, ConnectError> {
        let wanted = self.version == HttpVersion::Http2;
        if !target.is_https() || stream.speaks_h2() {
            return Ok(wanted || stream.speaks_h2());
        }
        if wanted {
            return Err(ConnectError::Handshake(format!("{} does not offer h2", target.authority())));
        }
        Ok(false)
    }

    /// The addresses of the target's host, at most 16.
    ///
    /// # Errors
    /// [`ConnectError::Dns`].
    pub async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        dial::resolve(target.host(), target.port()).await
    }
}

async fn shake_http1(stream: Stream) -> Result<Connection, ConnectError> {
    let received = stream.received();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(handshake_error)?;
    // How a connection ended is told to the request that it ended; here nobody could act on it.
    let driver = Box::pin(async move { drop(connection.await) });
    Ok(Connection { sender: Sender::Http1(sender), driver, received })
}

async fn shake_http2(stream: Stream) -> Result<Connection, ConnectError> {
    let received = stream.received();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(handshake_error)?;
    let driver = Box::pin(async move { drop(connection.await) });
    Ok(Connection { sender: Sender::Http2(sender), driver, received })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn handshake_error(error: hyper::Error) -> ConnectError {
    ConnectError::Handshake(format!("HTTP handshake: {error}"))
}
