//! One listener for OTLP/HTTP and OTLP/gRPC. It runs as long as its handle lives and hands over a window's worth at
//! each `take`. Memory is bounded: at the bound spans go to disk where there is one to go to, else senders are told to
//! try again later.

mod answer;
mod body;
mod shared;

use crate::intake::Batch;
use crate::report::IngestReport;
use answer::answer;
use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use recording::SpanSink;
use shared::Shared;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 1024;
/// A sender that takes longer for its head or body is cut off.
const PATIENCE: Duration = Duration::from_secs(30);
/// HTTP/2 windows, so that a batch needs no round trips: one stream's and one connection's.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Bounds of a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of one body, compressed and uncompressed.
    pub max_body_bytes: usize,
    /// Bytes that spans may hold in memory between two `take`s.
    pub max_resident_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_body_bytes: 32 << 20, max_resident_bytes: 1 << 30 }
    }
}

/// Listens on `address`, `127.0.0.1:4318`; port 0 is a free one.
///
/// # Errors
/// The port is in use or not allowed; the message names it.
pub async fn bind(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} for OTLP; end what uses the port, or choose another one")
    })
}

/// Receives OTLP.
pub struct Receiver;

impl Receiver {
    /// Starts to receive on `listeners`, each for HTTP and gRPC alike. Needs a tokio runtime.
    ///
    /// # Errors
    /// A listener has no address.
    pub fn start(listeners: Vec<TcpListener>, options: Options) -> Result<Handle> {
        let shared = Arc::new(Shared::new(options));
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::with_capacity(listeners.len());
        for listener in listeners {
            addresses.push(listener.local_addr().context("a listener without an address")?);
            tasks.spawn(accept(listener, Arc::clone(&shared)));
        }
        Ok(Handle { shared, addresses, _tasks: tasks })
    }
}

/// A running receiver; dropping it ends it.
pub struct Handle {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Handle {
    /// Where it listens, in the order of the listeners.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What came since the last time. Spans that went to disk are not in it, but counted in its report.
    #[must_use]
    pub fn take(&self) -> Batch {
        self.shared.intake().take()
    }

    /// The counts since the last `take`.
    #[must_use]
    pub fn counters(&self) -> IngestReport {
        self.shared.intake().report.clone()
    }

    /// Spans in memory.
    #[must_use]
    pub fn span_count(&self) -> usize {
        self.shared.intake().span_count()
    }

    /// Sets where spans go at the memory bound and hands back the earlier place, if its disk did not fail. Waits for a
    /// write that is under way. The sink that comes back may hold spans for its next file: flush it.
    pub async fn set_sink(&self, sink: Option<SpanSink>) -> Option<SpanSink> {
        self.shared.set_sink(sink).await
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                // Out of descriptors: connections that end give some back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // A reply is one small packet: waiting for more would only delay it.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    // A sender that goes away has been answered as far as possible.
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}
