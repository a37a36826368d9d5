//! Takes connections and passes their bytes on, both ways, at once; a copy of what went on is then looked at.
//! Bytes are never changed, reordered or held: what cannot be written yet waits, and nothing is read meanwhile.

use crate::ledger::{Event, Ledger, count, lock};
use crate::refusal;
use crate::session::{End, Session};
use crate::socket::{Reader, Socket, Writer};
use crate::{Address, Listener};
use net::Shutdown;
use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Read at once; one such buffer for each thread, not for each connection.
const BUFFER_BYTES: usize = 64 << 10;
/// Threads that serve.
const MAX_LANES: usize = 4;
/// Reads in a row without a look at the other direction.
const MAX_READS: u32 = 16;
/// For the server to take a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// After a connection that could not be taken: most likely there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Clients that are told why they are refused, at the same time; more find a closed connection. Each takes a descriptor
/// beside those of `max_connections`.
pub const MAX_REFUSALS: usize = 128;
/// How often connections are looked at on which nothing happens.
const QUIET_TICK: Duration = Duration::from_secs(1);

/// How connections are treated.
#[derive(Clone, Debug)]
pub struct Options {
    pub to: Address,
    /// Open at the same time; more are refused.
    pub max_connections: usize,
    /// A pause between statements that ends a unit, where no transaction is open.
    pub gap: Duration,
    /// A moment as Unix nanoseconds and as the machine counts.
    pub clock: (u64, Instant),
}

/// What all lanes share.
struct House {
    listener: Listener,
    options: Options,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
    /// Connections that have a place.
    taken: Arc<AtomicUsize>,
    /// Those that are told that there is none.
    refusing: Arc<AtomicUsize>,
}

impl House {
    fn now_ns(&self) -> u64 {
        let (unix_ns, at) = self.options.clock;
        unix_ns.saturating_add(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// One of a number of places; dropping it makes room.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let before = taken.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(taken));
        (before < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives the signal when it is dropped: lanes are threads, which nobody else would end.
struct EndOfLanes(Shutdown);

impl Drop for EndOfLanes {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

/// Serves until the shutdown, then ends all connections. What was seen is in the ledger.
///
/// Each lane is a thread with a runtime of its own, on which a connection stays: where threads hand work to each other, as
/// a runtime of several does, the wake-ups cost more than the work.
pub async fn run(listener: Listener, options: Options, ledger: Arc<Ledger>, shutdown: Shutdown) {
    let _end = EndOfLanes(shutdown.clone());
    let (taken, refusing) = (Arc::default(), Arc::default());
    let house = Arc::new(House { listener, options, ledger, shutdown, taken, refusing });
    let lanes = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_LANES);
    let mut running = JoinSet::new();
    for _ in 0..lanes {
        let house = Arc::clone(&house);
        running.spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Err(error) = runtime.and_then(|runtime| runtime.block_on(lane(&house))) {
                house.ledger.tell(Event::NotAccepted { why: error.to_string() });
            }
        });
    }
    while running.join_next().await.is_some() {}
}

/// Takes connections as long as it is not busy with those it has.
async fn lane(house: &Arc<House>) -> io::Result<()> {
    let listener = house.listener.accepting()?;
    let mut connections = JoinSet::new();
    let mut sessions: Vec<Weak<Mutex<Session>>> = Vec::new();
    let mut tick = tokio::time::interval(QUIET_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = tick.tick() => {
                let now_ns = house.now_ns();
                sessions.retain(|session| {
                    session.upgrade().is_some_and(|session| {
                        lock(&session).quiet(now_ns);
                        true
                    })
                });
                continue;
            }
            () = house.shutdown.wait() => break,
        };
        match accepted {
            Ok(client) => {
                let number = house.ledger.tally.connections.fetch_add(1, Ordering::Relaxed) + 1;
                if let Some(place) = Place::take(&house.taken, house.options.max_connections) {
                    let gap_ns = u64::try_from(house.options.gap.as_nanos()).unwrap_or(u64::MAX);
                    let session = Session::new(Arc::clone(&house.ledger), number, gap_ns);
                    let session = Arc::new(Mutex::new(session));
                    sessions.push(Arc::downgrade(&session));
                    connections.spawn(serve(Arc::clone(house), client, number, session, place));
                } else {
                    let most = house.options.max_connections;
                    count(&house.ledger.tally.refused);
                    house.ledger.tell(Event::TooMany { connection: number, most });
                    if let Some(place) = Place::take(&house.refusing, MAX_REFUSALS) {
                        connections.spawn(refuse(client, most, place));
                    }
                }
            }
            Err(error) => {
                house.ledger.tell(Event::NotAccepted { why: error.to_string() });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn refuse(mut client: Socket, most: usize, place: Place) {
    let why =
        format!("trimtab tap: {most} connections are open, no more are let through (--max-connections)");
    refusal::tell(&mut client, refusal::TOO_MANY, &why).await;
    drop(place);
}

async fn serve(
    house: Arc<House>,
    mut client: Socket,
    number: u64,
    session: Arc<Mutex<Session>>,
    _place: Place,
) {
    let House { options, ledger, shutdown, .. } = &*house;
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
            let told = format!("trimtab tap: {why}");
            ledger.tell(Event::NoServer { connection: number, why });
            tokio::select! {
                () = refusal::tell(&mut client, refusal::NO_SERVER, &told) => {}
                () = shutdown.wait() => {}
            }
            return;
        }
    };
    count(&ledger.tally.open);
    let now_ns = || house.now_ns();
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
