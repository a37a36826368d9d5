//! A service for tests of the loop: `GET /items` asks a row at a time until `PUT /mode` makes it ask once. Every
//! statement has a declared service time. It sends its traces by OTLP, and can be told to die at a switch.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Statements of a request in the slow mode.
const ROWS: usize = 16;
/// Service time of one statement.
const STATEMENT: Duration = Duration::from_millis(5);

/// Listens until it is dropped, or has died.
pub(crate) struct Shelves {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    fast: AtomicBool,
    switched: AtomicUsize,
    dies_at_switch: usize,
    dead: AtomicBool,
    answered: AtomicUsize,
    /// Where traces go.
    receiver: u16,
    connections: Mutex<Vec<TcpStream>>,
}

impl Shelves {
    /// Sends traces to this port of the loopback interface.
    pub(crate) fn start(receiver: u16) -> Self {
        Self::dying_at_switch(receiver, usize::MAX)
    }

    /// Closes its port and every connection instead of answering the n-th switch.
    pub(crate) fn dying_at_switch(receiver: u16, dies_at_switch: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            fast: AtomicBool::new(false),
            switched: AtomicUsize::new(0),
            dies_at_switch,
            dead: AtomicBool::new(false),
            answered: AtomicUsize::new(0),
            receiver,
            connections: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &shared));
        Self { port, state }
    }

    pub(crate) fn is_fast(&self) -> bool {
        self.state.fast.load(Ordering::SeqCst)
    }

    /// How often it was switched, to whatever.
    pub(crate) fn switched(&self) -> usize {
        self.state.switched.load(Ordering::SeqCst)
    }

    /// Settings with a goal that the slow mode misses and the control that mends it.
    pub(crate) fn settings(&self) -> String {
        format!(
            r#"goals = ["p95(GET /items) < 45 ms"]
[service]
url = "http://127.0.0.1:{}"
[load]
rate = 16
arrivals = "constant"
warm_up_s = 0.5
duration_s = 4
[[load.operation]]
name = "GET /items"
path = "/items"
[telemetry]
listen = "127.0.0.1:{}"
listen_grpc = ""
patience_s = 1.0
[verify]
duration_s = 10
[[control]]
name = "items=once"
description = "ask for all parts at once"
remedies = ["n_plus_one"]
endpoints = ["GET /items"]
apply = {{ url = "/mode", body = "fast" }}
undo = {{ url = "/mode", body = "slow" }}
"#,
            self.port, self.state.receiver
        )
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        self.state.dead.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that its time is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    let own = listener.local_addr().unwrap();
    for connection in listener.incoming() {
        if state.dead.load(Ordering::SeqCst) {
            break;
        }
        let Ok(connection) = connection else { continue };
        state.connections.lock().unwrap().push(connection.try_clone().unwrap());
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            // A caller that hangs up is no failure of ours.
            drop(serve(connection, &state));
            if state.dead.load(Ordering::SeqCst) {
                drop(TcpStream::connect(own));
            }
        });
    }
    for connection in state.connections.lock().unwrap().drain(..) {
        drop(connection.shutdown(Shutdown::Both));
    }
}

/// Requests of one connection, one after the other, until its end.
fn serve(mut connection: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (mut length, mut parent) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "traceparent" => value.trim().clone_into(&mut parent),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if line.starts_with("PUT /mode") {
            let before = state.switched.fetch_add(1, Ordering::SeqCst);
            if before + 1 >= state.dies_at_switch {
                state.dead.store(true, Ordering::SeqCst);
                return Ok(());
            }
            state.fast.store(body == b"fast", Ordering::SeqCst);
        } else {
            let number = state.answered.fetch_add(1, Ordering::SeqCst);
            let trace = work(if state.fast.load(Ordering::SeqCst) { 1 } else { ROWS }, &parent, number);
            let receiver = state.receiver;
            std::thread::spawn(move || send(receiver, &trace));
        }
        if state.dead.load(Ordering::SeqCst) {
            return Ok(());
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
    }
}

fn now_ns() -> u64 {
    trimtab::clock::now_ns()
}

/// Takes the time of so many statements; the trace of it as OTLP JSON.
fn work(statements: usize, traceparent: &str, number: usize) -> String {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, caller) = (parts.next().unwrap_or_default().to_owned(), parts.next().unwrap_or_default());
    let trace = if trace.len() == 32 { trace } else { format!("{:032x}", number + 1) };
    let id = |n: usize| format!("{:016x}", (number + 1) << 8 | n);
    let begun = now_ns();
    let mut spans = Vec::new();
    for n in 1..=statements {
        let from = now_ns();
        std::thread::park_timeout(STATEMENT);
        spans.push(format!(
            r#"{{"traceId":"{trace}","spanId":"{}","parentSpanId":"{}","name":"SELECT parts","kind":3,"startTimeUnixNano":"{from}","endTimeUnixNano":"{}","attributes":[{{"key":"db.system.name","value":{{"stringValue":"postgresql"}}}},{{"key":"db.query.text","value":{{"stringValue":"SELECT name FROM parts WHERE id = $1"}}}}]}}"#,
            id(n),
            id(0),
            now_ns()
        ));
    }
    spans.push(format!(
        r#"{{"traceId":"{trace}","spanId":"{}","parentSpanId":"{caller}","name":"GET /items","kind":2,"startTimeUnixNano":"{begun}","endTimeUnixNano":"{}","attributes":[{{"key":"http.request.method","value":{{"stringValue":"GET"}}}},{{"key":"http.route","value":{{"stringValue":"/items"}}}}]}}"#,
        id(0),
        now_ns()
    ));
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shelves"}}}}]}},"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    )
}

/// To whoever listens; between two runs of the program nobody does.
fn send(port: u16, trace: &str) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        trace.len()
    );
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(trace.as_bytes()));
    let mut answer = Vec::new();
    drop(sent.and_then(|()| stream.read_to_end(&mut answer)));
}
