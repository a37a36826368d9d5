//! Takes connections and passes their bytes on, both ways, at once; a copy of what went on is then looked at.
//! Bytes are never changed, reordered or held: what cannot be written yet waits, and nothing is read meanwhile.

use crate::ledger::{Event, Ledger, count, lock};
use crate::session::{End, Session};
use crate::socket::{Reader, Socket, Writer};
use crate::{Address, Listener};
use net::Shutdown;
use std::cell::RefCell;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Read at once; one such buffer for each thread, not for each connection.
const BUFFER_BYTES: usize = 64 << 10;
/// Reads in a row without a look at the other direction.
const MAX_READS: u32 = 16;
/// For the server to take a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// After a connection that could not be taken: most likely there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct Options {
    pub to: Address,
    /// Open at the same time; more find a closed connection.
    pub max_connections: usize,
    /// A pause between statements that ends a unit, where no transaction is open.
    pub gap: Duration,
    /// A moment as Unix nanoseconds and as the machine counts.
    pub clock: (u64, Instant),
}

/// Serves until the shutdown, then ends all connections. What was seen is in the ledger.
pub async fn run(listener: Listener, options: Options, ledger: Arc<Ledger>, shutdown: Shutdown) {
    let options = Arc::new(options);
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.wait() => break,
        };
        match accepted {
            Ok(client) => {
                number += 1;
                count(&ledger.tally.connections);
                if connections.len() >= options.max_connections {
                    count(&ledger.tally.refused);
                    ledger.tell(Event::TooMany { connection: number });
                    continue;
                }
                let (options, ledger) = (Arc::clone(&options), Arc::clone(&ledger));
                connections.spawn(serve(client, number, options, ledger, shutdown.clone()));
            }
            Err(error) => {
                ledger.tell(Event::NotAccepted { why: error.to_string() });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    mut client: Socket,
    number: u64,
    options: Arc<Options>,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
) {
    let connecting = tokio::time::timeout(CONNECT_PATIENCE, Socket::connect(&options.to));
    let connected = tokio::select! {
        connected = connecting => connected,
        () = shutdown.wait() => return,
    };
    let mut server = match connected {
        Ok(Ok(server)) => server,
        failed => {
            let why = match failed {
                Ok(Err(error)) => format!("cannot connect to {}: {error}", options.to),
                _ => format!("{} takes no connection within {} s", options.to, CONNECT_PATIENCE.as_secs()),
            };
            count(&ledger.tally.refused);
            ledger.tell(Event::NoServer { connection: number, why });
            return;
        }
    };
    count(&ledger.tally.open);
    let gap_ns = u64::try_from(options.gap.as_nanos()).unwrap_or(u64::MAX);
    let session = Mutex::new(Session::new(Arc::clone(&ledger), number, gap_ns));
    let now_ns = || {
        let (unix_ns, at) = options.clock;
        unix_ns.saturating_add(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX))
    };
    let why = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let passed = |bytes: &[u8]| ledger.tally.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let asking = pass(from_client, to_server, &now_ns, |bytes, at_ns| {
            passed(bytes);
            lock(&session).client_said(bytes, at_ns);
        });
        let answering = pass(from_server, to_client, &now_ns, |bytes, at_ns| {
            passed(bytes);
            lock(&session).server_said(bytes, at_ns);
        });
        tokio::select! {
            _ = async { tokio::join!(asking, answering) } => End::Closed,
            () = shutdown.wait() => End::Stopped,
        }
    };
    lock(&session).end(why, now_ns());
    ledger.tally.open.fetch_sub(1, Ordering::Relaxed);
}

/// What one read came to.
enum Passed {
    All,
    /// Not all could be written: the rest.
    Part(Vec<u8>, u64),
    Nothing,
    End,
}

/// Passes one direction on until it ends or breaks, and then says so to the receiver, who may still answer.
async fn pass(
    from: Reader<'_>,
    mut to: Writer<'_>,
    now_ns: &impl Fn() -> u64,
    mut look: impl FnMut(&[u8], u64),
) {
    let mut reads = 0;
    while let Ok(passed) = once(&from, &to, now_ns, &mut look).await {
        match passed {
            Passed::All | Passed::Nothing => {}
            Passed::Part(rest, at_ns) => {
                if write_rest(&to, &rest, at_ns, &mut look).await.is_err() {
                    break;
                }
            }
            Passed::End => break,
        }
        reads += 1;
        if reads % MAX_READS == 0 {
            tokio::task::yield_now().await;
        }
    }
    // It may be gone already.
    drop(to.shutdown().await);
}

/// Reads once and writes what came without waiting.
async fn once(
    from: &Reader<'_>,
    to: &Writer<'_>,
    now_ns: &impl Fn() -> u64,
    look: &mut impl FnMut(&[u8], u64),
) -> io::Result<Passed> {
    thread_local! {
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into());
    }
    from.readable().await?;
    BUFFER.with_borrow_mut(|buffer| {
        let read = match from.try_read(buffer) {
            Ok(0) => return Ok(Passed::End),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Passed::Nothing),
            Err(error) => return Err(error),
        };
        let at_ns = now_ns();
        let bytes = &buffer[..read];
        let written = match to.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        // Looked at as far as it went on: an answer cannot come before.
        look(&bytes[..written], at_ns);
        Ok(if written == read { Passed::All } else { Passed::Part(bytes[written..].to_vec(), at_ns) })
    })
}

async fn write_rest(
    to: &Writer<'_>,
    mut rest: &[u8],
    at_ns: u64,
    look: &mut impl FnMut(&[u8], u64),
) -> io::Result<()> {
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(written) => {
                look(&rest[..written], at_ns);
                rest = &rest[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
