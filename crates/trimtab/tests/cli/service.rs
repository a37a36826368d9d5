//! A service for the tests: answers every request at once, and may die after some.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Listens until it is dropped, or has died.
pub(crate) struct Service {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    answered: AtomicUsize,
    dies_after: usize,
    /// Every answer holds this lock for so long: nothing else is done at the same time.
    held: Option<(Mutex<()>, Duration)>,
    connections: Mutex<Vec<TcpStream>>,
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::dying_after(usize::MAX)
    }

    /// Closes its port and every connection after so many answers.
    pub(crate) fn dying_after(dies_after: usize) -> Self {
        Self::with(dies_after, None)
    }

    /// Does one request at a time, each for so long.
    pub(crate) fn one_at_a_time(each: Duration) -> Self {
        Self::with(usize::MAX, Some((Mutex::default(), each)))
    }

    fn with(dies_after: usize, held: Option<(Mutex<()>, Duration)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            answered: AtomicUsize::new(0),
            dies_after,
            held,
            connections: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &shared));
        Self { port, state }
    }

    pub(crate) fn answered(&self) -> usize {
        self.state.answered.load(Ordering::SeqCst)
    }

    /// Settings for two seconds of load on it, with `more` tables or keys.
    pub(crate) fn settings(&self, goals: &str, more: &str) -> String {
        settings(self.port, goals, more)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.state.answered.store(self.state.dies_after, Ordering::SeqCst);
        // Wakes the listener, which then sees that its time is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// As [`Service::settings`], for any port.
pub(crate) fn settings(port: u16, goals: &str, more: &str) -> String {
    format!(
        r#"goals = [{goals}]
[service]
url = "http://127.0.0.1:{port}"
[load]
rate = 20
arrivals = "constant"
warm_up_s = 0.5
duration_s = 2
[[load.operation]]
name = "GET /items"
path = "/items"
{more}
"#
    )
}

/// No traces are sent: nothing is listened for, nothing is waited for.
pub(crate) const NO_TRACES: &str = "[telemetry]\nlisten = \"\"\nlisten_grpc = \"\"";

/// Writes a settings file into a folder.
pub(crate) fn write(folder: &Path, settings: &str) {
    std::fs::write(folder.join("trimtab.toml"), settings).unwrap();
}

impl State {
    fn is_dead(&self) -> bool {
        self.answered.load(Ordering::SeqCst) >= self.dies_after
    }

    /// The service's work, which takes its time.
    fn work(&self) {
        let Some((lock, each)) = &self.held else { return };
        let _held = lock.lock().unwrap();
        let end = Instant::now() + *each;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }

    fn hang_up(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            // One that its caller has closed already cannot be shut down.
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for connection in listener.incoming() {
        if state.is_dead() {
            break;
        }
        let Ok(connection) = connection else { continue };
        state.connections.lock().unwrap().push(connection.try_clone().unwrap());
        let state = Arc::clone(state);
        let own = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            answer(connection, &state);
            if state.is_dead() {
                drop(TcpStream::connect(own));
            }
        });
    }
    state.hang_up();
}

/// One answer for each blank line that ends a request's head; bodies are not expected.
fn answer(mut connection: TcpStream, state: &State) {
    let (mut seen, mut chunk) = (Vec::new(), [0_u8; 4096]);
    while let Ok(length @ 1..) = connection.read(&mut chunk) {
        seen.extend_from_slice(&chunk[..length]);
        while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            seen.drain(..end + 4);
            state.work();
            if state.is_dead()
                || connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err()
            {
                return;
            }
            state.answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}
