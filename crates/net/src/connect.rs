//! Connecting: name to addresses, the first address that answers, TLS, HTTP handshake.
//! Addresses race with a head start (RFC 8305), so that a dead one among several costs little.

use crate::Target;
use crate::stream::{Received, Stream, Transport};
use crate::tls::{HttpVersion, TlsOptions, client_config};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How long an address may try alone before the next one joins in (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// More addresses of one name than this are not tried.
const MAX_ADDRESSES: usize = 16;
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
    version: HttpVersion,
}

impl Connector {
    /// # Errors
    /// The extra CA cannot be read.
    pub fn new(tls: &TlsOptions, version: HttpVersion) -> anyhow::Result<Self> {
        Ok(Self { tls: client_config(tls, version)?, version })
    }

    /// Resolves, connects and shakes hands. Sets no time limit: the caller does.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn connect(&self, target: &Target) -> Result<Connection, ConnectError> {
        let addresses = resolve(target).await?;
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
        let tcp = first_to_answer(addresses).await?;
        let mut h2 = self.version == HttpVersion::Http2;
        let transport = if target.is_https() {
            let stream = self.secure(target, tcp).await?;
            h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            if self.version == HttpVersion::Http2 && !h2 {
                let text = format!("{} does not offer h2", target.authority());
                return Err(ConnectError::Handshake(text));
            }
            Transport::Tls(Box::new(stream))
        } else {
            Transport::Plain(tcp)
        };
        let received = Received::default();
        let stream = Stream { transport, received: received.clone() };
        if h2 { shake_http2(stream, received).await } else { shake_http1(stream, received).await }
    }

    /// The addresses of the target's host, at most 16.
    ///
    /// # Errors
    /// [`ConnectError::Dns`].
    pub async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        resolve(target).await
    }

    async fn secure(
        &self,
        target: &Target,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectError> {
        let name = ServerName::try_from(target.host().to_owned())
            .map_err(|_| ConnectError::Tls(format!("`{}` is no name for TLS", target.host())))?;
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, tcp)
            .await
            .map_err(|error| ConnectError::Tls(format!("TLS with {}: {error}", target.authority())))
    }
}

async fn shake_http1(stream: Stream, received: Received) -> Result<Connection, ConnectError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(handshake_error)?;
    // How a connection ended is told to the request that it ended; here nobody could act on it.
    let driver = Box::pin(async move { drop(connection.await) });
    Ok(Connection { sender: Sender::Http1(sender), driver, received })
}

async fn shake_http2(stream: Stream, received: Received) -> Result<Connection, ConnectError> {
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

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
    let (host, port) = (target.host(), target.port());
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let failed = |why: String| ConnectError::Dns(format!("no address for `{host}`: {why}"));
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| failed(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() { Err(failed("the name has none".to_owned())) } else { Ok(addresses) }
}

/// Starts with the first address and adds the next whenever one failed or its head start is over.
async fn first_to_answer(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    if let [only] = addresses {
        return open(*only).await.map_err(ConnectError::Connect);
    }
    let mut waiting = addresses.iter();
    let mut tries = JoinSet::new();
    let mut failure = "no address to connect to".to_owned();
    loop {
        match waiting.next() {
            Some(address) => drop(tries.spawn(open(*address))),
            None if tries.is_empty() => return Err(ConnectError::Connect(failure)),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(tried) = tries.join_next() => match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(why)) => failure = why,
                Err(error) => failure = error.to_string(),
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
}

async fn open(address: SocketAddr) -> Result<TcpStream, String> {
    let stream =
        TcpStream::connect(address).await.map_err(|error| format!("connecting to {address}: {error}"))?;
    stream.set_nodelay(true).map_err(|error| format!("connecting to {address}: {error}"))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_live_one() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let live = listener.local_addr().unwrap();
        let dead = {
            let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            gone.local_addr().unwrap()
        };
        let stream = first_to_answer(&[dead, live]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(stream.nodelay().unwrap());
        let error = first_to_answer(&[dead, dead]).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Connect(text) if text.contains("refused")), "{error}");
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_a_dns_error() {
        let target = Target::parse("http://no-such-host.invalid/").unwrap();
        let error = resolve(&target).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Dns(text) if text.contains("no-such-host.invalid")),
            "{error}"
        );
    }
}
