//! A server of scripted behaviour: each request gets its running number and the script says what is done with it.
//! Speaks just enough HTTP/1.1 for that; h2 is hyper's.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What is done with one request.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Answers with this status and body.
    Answer(u16, &'static str),
    /// The whole server stands still for so long, then answers 200.
    Stall(Duration),
    Never,
    /// Closes the connection without a word.
    Close,
    /// Writes these bytes and closes.
    Raw(&'static str),
}

/// Which request it is: of all, and of its connection, both from 0.
#[derive(Clone, Copy)]
pub(crate) struct Number {
    pub(crate) of_all: u64,
    pub(crate) of_connection: u64,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: AtomicU64,
    pub(crate) traceparents: Mutex<BTreeSet<String>>,
    pub(crate) arrived: Notify,
    /// How long the stall really took: a busy machine makes it longer than declared.
    pub(crate) stalled: Mutex<Duration>,
    standing: tokio::sync::Mutex<()>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(Number) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let (script, all) = (Arc::new(script), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&all));
                connections.spawn(async move {
                    // A client that goes away ends its connection: nothing to tell.
                    drop(connection(stream, &*script, &seen).await);
                });
            }
        });
        Self { address, seen, task }
    }

    /// hyper's h2 by prior knowledge, answering `hello` to all.
    pub(crate) async fn start_http2() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let all = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&all);
                let service =
                    hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        assert_eq!(request.version(), http::Version::HTTP_2);
                        seen.requests.fetch_add(1, Ordering::Relaxed);
                        async { Ok::<_, Infallible>(http::Response::new("hello".to_owned())) }
                    });
                connections.spawn(async move {
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let executor = hyper_util::rt::TokioExecutor::new();
                    drop(
                        hyper::server::conn::http2::Builder::new(executor)
                            .serve_connection(io, service)
                            .await,
                    );
                });
            }
        });
        Self { address, seen, task }
    }
}

async fn connection(
    mut stream: TcpStream,
    script: &impl Fn(Number) -> Act,
    seen: &Seen,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    for of_connection in 0.. {
        let Some(head) = request(&mut stream, &mut bytes).await? else { return Ok(()) };
        if let Some(line) = head.lines().find(|line| line.starts_with("traceparent: ")) {
            seen.traceparents.lock().unwrap().insert(line.to_owned());
        }
        let of_all = seen.requests.fetch_add(1, Ordering::Relaxed);
        seen.arrived.notify_one();
        let standing = seen.standing.lock().await;
        match script(Number { of_all, of_connection }) {
            Act::Answer(status, body) => {
                drop(standing);
                let length = body.len();
                let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(reply.as_bytes()).await?;
            }
            Act::Stall(length) => {
                let since = Instant::now();
                declared_delay(length).await;
                *seen.stalled.lock().unwrap() = since.elapsed();
                drop(standing);
                stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n").await?;
            }
            Act::Never => {
                drop(standing);
                std::future::pending::<()>().await;
            }
            Act::Close => return Ok(()),
            Act::Raw(reply) => {
                stream.write_all(reply.as_bytes()).await?;
                return stream.shutdown().await;
            }
        }
    }
    Ok(())
}

/// The service time that a script declares.
async fn declared_delay(length: Duration) {
    drop(tokio::time::timeout(length, std::future::pending::<()>()).await);
}

/// The head of the next request, its body read as well; `None` at the end.
async fn request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= whole {
                bytes.drain(..whole);
                return Ok(Some(head));
            }
        }
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}
