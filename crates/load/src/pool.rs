//! Keep-alive connections to one origin. It grows with need and holds no bound of its own: with HTTP/1.1 a connection
//! serves one request, so that the bound of requests in flight is the bound of connections.

use crate::client::Failure;
use model::ErrorClass;
use net::{ConnectError, Connection, Connector, Received, Sender, Target};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests on one h2 connection at once; servers allow 100 or more (RFC 9113 section 6.5.2).
const H2_STREAMS: usize = 100;
/// How long a name's addresses are used again.
const ADDRESSES_FRESH: Duration = Duration::from_secs(5);

pub(crate) struct Pool {
    pub(crate) target: Target,
    connector: Connector,
    state: Mutex<State>,
    addresses: tokio::sync::Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    /// Only one at a time opens an h2 connection, so that the others can share it.
    opening: tokio::sync::Mutex<()>,
    speaks_http1: AtomicBool,
    opened: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The most recently used last, and used first: the others may time out on the server.
    idle: Vec<(Sender, Received)>,
    shared: Vec<Shared>,
    /// Aborted when the pool goes.
    drivers: JoinSet<()>,
}

/// An h2 connection. Each request on it holds a clone of `streams`, so that none can forget to give it back.
struct Shared {
    sender: hyper::client::conn::http2::SendRequest<http_body_util::Full<bytes::Bytes>>,
    received: Received,
    streams: Arc<()>,
}

/// A connection for one request; give it back with [`Pool::put`] once the body is read.
pub(crate) struct Lease {
    pub(crate) sender: Sender,
    pub(crate) received: Received,
    /// It has served a request before.
    pub(crate) reused: bool,
    /// With h2: counts as one stream of its connection until dropped.
    stream: Option<Arc<()>>,
}

impl Pool {
    pub(crate) fn new(target: Target, connector: Connector) -> Self {
        Self {
            target,
            connector,
            state: Mutex::default(),
            addresses: tokio::sync::Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            speaks_http1: AtomicBool::new(false),
            opened: AtomicU64::new(0),
        }
    }

    /// Connections opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// An open connection, an idle one if there is one.
    pub(crate) async fn take(&self) -> Result<Lease, Failure> {
        if let Some(lease) = self.open_one().await {
            return Ok(lease);
        }
        if self.speaks_http1.load(Ordering::Relaxed) {
            return self.take_fresh().await;
        }
        let _turn = self.opening.lock().await;
        match self.open_one().await {
            Some(lease) => Ok(lease),
            None => self.take_fresh().await,
        }
    }

    /// A connection that was opened for this request.
    pub(crate) async fn take_fresh(&self) -> Result<Lease, Failure> {
        let addresses = self.addresses().await?;
        let connection = match self.connector.connect_to(&self.target, &addresses).await {
            Ok(connection) => connection,
            Err(error) => {
                *self.addresses.lock().await = None;
                return Err(connect_failure(error));
            }
        };
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(self.adopt(connection))
    }

    /// Gives back a connection whose response was read to its end.
    pub(crate) fn put(&self, lease: Lease) {
        if lease.stream.is_none() && !lease.sender.is_closed() {
            self.state().idle.push((lease.sender, lease.received));
        }
    }

    async fn open_one(&self) -> Option<Lease> {
        loop {
            let mut lease = self.state().reuse()?;
            // A connection that ended while idle says so here; then the next one is tried.
            if lease.sender.ready().await.is_ok() {
                return Some(lease);
            }
            if let Some(stream) = lease.stream {
                self.state().shared.retain(|shared| !Arc::ptr_eq(&shared.streams, &stream));
            }
        }
    }

    fn adopt(&self, connection: Connection) -> Lease {
        let Connection { sender, driver, received } = connection;
        let mut state = self.state();
        while state.drivers.try_join_next().is_some() {}
        state.drivers.spawn(driver);
        let stream = match &sender {
            Sender::Http1(_) => {
                self.speaks_http1.store(true, Ordering::Relaxed);
                None
            }
            Sender::Http2(sender) => {
                let streams = Arc::new(());
                let stream = Arc::clone(&streams);
                state.shared.push(Shared { sender: sender.clone(), received: received.clone(), streams });
                Some(stream)
            }
        };
        Lease { sender, received, reused: false, stream }
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let mut known = self.addresses.lock().await;
        match &*known {
            Some((since, addresses)) if since.elapsed() < ADDRESSES_FRESH => Ok(addresses.clone()),
            _ => {
                let addresses = self.connector.resolve(&self.target).await.map_err(connect_failure)?;
                *known = Some((Instant::now(), addresses.clone()));
                Ok(addresses)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reuse(&mut self) -> Option<Lease> {
        while let Some((sender, received)) = self.idle.pop() {
            if !sender.is_closed() {
                return Some(Lease { sender, received, reused: true, stream: None });
            }
        }
        self.shared.retain(|shared| !shared.sender.is_closed());
        // The connection's own clone is not a stream.
        let shared = self.shared.iter().find(|shared| Arc::strong_count(&shared.streams) <= H2_STREAMS)?;
        Some(Lease {
            sender: Sender::Http2(shared.sender.clone()),
            received: shared.received.clone(),
            reused: true,
            stream: Some(Arc::clone(&shared.streams)),
        })
    }
}

fn connect_failure(error: ConnectError) -> Failure {
    let (class, text) = match error {
        ConnectError::Dns(text) => (ErrorClass::Dns, text),
        ConnectError::Connect(text) => (ErrorClass::Connect, text),
        ConnectError::Tls(text) => (ErrorClass::Tls, text),
        ConnectError::Handshake(text) => (ErrorClass::Protocol, text),
    };
    Failure { class, text }
}
