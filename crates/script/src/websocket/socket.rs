//! One WebSocket of a user: a task that reads and writes, events for the script, k6's metrics. It begins and ends with
//! the iteration.

use super::frame::{Code, Decoder, MAX_CONTROL_BYTES, Message, close_payload, encode};
use super::handshake::{self, Answer};
use crate::http::Call;
use crate::user::{User, WithTags};
use rand::Rng;
use rquickjs::{Function, Persistent};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What waits for the script; beyond this nothing is read from the connection.
const MAX_UNREAD_BYTES: usize = 4 << 20;
/// What waits for the server.
const MAX_UNSENT_BYTES: usize = 64 << 20;
/// Pings that wait for their pongs.
const MAX_PINGS: usize = 1_000;
/// Connecting and the handshake may take so long.
const HANDSHAKE_TIME: Duration = Duration::from_secs(60);
/// How long a server may take to answer a close frame.
const CLOSE_TIME: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 16 << 10;
/// An event's own size, beside its payload.
const EVENT_BYTES: usize = 64;

thread_local! {
    /// All connections of a thread read into it.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// What a script is told.
#[derive(Debug)]
pub(crate) enum Event {
    Opened(Box<Answer>),
    /// No handshake: why, and the URL.
    Failed(String, String),
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong,
    Error(String),
    /// The last of all.
    Closed(u16, String),
}

impl Event {
    fn bytes(&self) -> usize {
        EVENT_BYTES
            + match self {
                Self::Text(text) => text.len(),
                Self::Binary(bytes) => bytes.len(),
                _ => 0,
            }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Connecting,
    Open,
    /// A close frame is sent or to be sent.
    Closing,
    Closed,
}

/// What the script's side and the task share.
struct Shared {
    user: Rc<User>,
    tags: RefCell<Vec<(String, String)>>,
    state: Cell<State>,
    events: RefCell<VecDeque<Event>>,
    unread_bytes: Cell<usize>,
    unsent: RefCell<VecDeque<Vec<u8>>>,
    unsent_bytes: Cell<usize>,
    /// Something to send, or room for what is read.
    work: Notify,
    room: Notify,
    /// It is closed, or should soon be.
    ended: Notify,
    pings: RefCell<VecDeque<(Vec<u8>, Instant)>>,
    next_ping: Cell<u64>,
    began: Instant,
}

/// A script's hold on a connection; dropping it ends the connection.
pub(crate) struct Socket {
    shared: Rc<Shared>,
    task: JoinHandle<()>,
    /// Where events go that the script does not ask for one by one.
    pub(crate) dispatch: Option<Persistent<Function<'static>>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shared.end();
        // A close frame still goes out, for CLOSE_TIME at most.
        if self.shared.unsent_bytes.get() == 0 {
            self.task.abort();
        }
    }
}

impl Socket {
    /// Begins to connect. Must be called within a `LocalSet`.
    pub(crate) fn open(
        user: &Rc<User>,
        call: Call,
        protocols: Vec<String>,
        dispatch: Option<Persistent<Function<'static>>>,
    ) -> Self {
        let mut tags = call.tags.clone();
        tags.push(("url".to_owned(), call.url.to_string()));
        if let Some(name) = &call.name {
            tags.push(("name".to_owned(), name.to_string()));
        }
        let shared = Rc::new(Shared {
            user: Rc::clone(user),
            tags: RefCell::new(tags),
            state: Cell::default(),
            events: RefCell::default(),
            unread_bytes: Cell::new(0),
            unsent: RefCell::default(),
            unsent_bytes: Cell::new(0),
            work: Notify::new(),
            room: Notify::new(),
            ended: Notify::new(),
            pings: RefCell::default(),
            next_ping: Cell::new(0),
            began: Instant::now(),
        });
        let of = Rc::clone(&shared);
        let task = tokio::task::spawn_local(async move { live(&of, call, protocols).await });
        Self { shared, task, dispatch }
    }

    /// The next event for the script.
    pub(crate) fn take(&self) -> Option<Event> {
        let event = self.shared.events.borrow_mut().pop_front()?;
        self.shared.unread_bytes.set(self.shared.unread_bytes.get().saturating_sub(event.bytes()));
        self.shared.room.notify_one();
        Some(event)
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.shared.events.borrow().is_empty()
    }

    /// Nothing will come any more.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.state.get() == State::Closed && !self.has_events()
    }

    pub(crate) fn unsent_bytes(&self) -> usize {
        self.shared.unsent_bytes.get()
    }

    /// # Errors
    /// It is not open, or too much waits to be sent.
    pub(crate) fn send(&self, payload: &[u8], is_text: bool) -> Result<(), String> {
        let code = if is_text { Code::Text } else { Code::Binary };
        self.shared.queue(code, payload)?;
        self.shared.count_sent();
        Ok(())
    }

    /// # Errors
    /// As [`Self::send`].
    pub(crate) fn ping(&self) -> Result<(), String> {
        let shared = &self.shared;
        let number = shared.next_ping.get();
        shared.next_ping.set(number + 1);
        let payload = number.to_string().into_bytes();
        shared.queue(Code::Ping, &payload)?;
        let mut pings = shared.pings.borrow_mut();
        if pings.len() >= MAX_PINGS {
            pings.pop_front();
        }
        pings.push_back((payload, Instant::now()));
        Ok(())
    }

    /// Counts a frame that `k6/websockets` counts and `k6/ws` does not.
    pub(crate) fn count_sent(&self) {
        self.shared.count_sent();
    }

    /// Sends a close frame. `at_once`: the script hears the end without waiting for the server's answer.
    /// Returns whether that is new.
    pub(crate) fn close(&self, code: u16, reason: &str, at_once: bool) -> bool {
        let shared = &self.shared;
        if !matches!(shared.state.get(), State::Open | State::Connecting) {
            return false;
        }
        // Bounded by the frame itself.
        let _queued = shared.queue(Code::Close, &close_payload(code, reason));
        shared.state.set(State::Closing);
        shared.work.notify_one();
        shared.ended.notify_one();
        if at_once {
            shared.closed(code, String::new());
        }
        true
    }
}

impl Shared {
    fn add(&self, metric: crate::metrics::MetricId, value: f64) {
        let tags = self.tags.borrow();
        self.user.test.metrics.add(metric, value, &WithTags { user: &self.user, tags: &tags });
    }

    fn count_sent(&self) {
        self.add(self.user.test.metrics.builtin.ws_msgs_sent, 1.0);
    }

    fn tell(&self, event: Event) {
        self.unread_bytes.set(self.unread_bytes.get() + event.bytes());
        self.events.borrow_mut().push_back(event);
        self.user.bell.notify_one();
    }

    /// The end, told once.
    fn closed(&self, code: u16, reason: String) {
        if self.state.replace(State::Closed) != State::Closed {
            self.ended.notify_one();
            self.tell(Event::Closed(code, reason));
            self.count_session();
        }
    }

    fn count_session(&self) {
        self.add(self.user.test.metrics.builtin.ws_session_duration, ms(self.began.elapsed()));
    }

    /// The script let go of it.
    fn end(&self) {
        if self.state.replace(State::Closed) != State::Closed {
            self.ended.notify_one();
            self.count_session();
        }
    }

    fn queue(&self, code: Code, payload: &[u8]) -> Result<(), String> {
        if self.state.get() != State::Open {
            return Err("the WebSocket is not open".to_owned());
        }
        if self.unsent_bytes.get().saturating_add(payload.len()) > MAX_UNSENT_BYTES {
            return Err(format!("more than {MAX_UNSENT_BYTES} bytes wait for the server to read them"));
        }
        self.push(code, payload);
        Ok(())
    }

    fn push(&self, code: Code, payload: &[u8]) {
        let mask = self.user.random.borrow_mut().random();
        let frame = encode(code, payload, mask);
        self.unsent_bytes.set(self.unsent_bytes.get() + frame.len());
        self.unsent.borrow_mut().push_back(frame);
        self.work.notify_one();
    }

    fn count_bytes(&self, sent: u64, received: u64) {
        let builtin = self.user.test.metrics.builtin;
        for (metric, bytes) in [(builtin.data_sent, sent), (builtin.data_received, received)] {
            if bytes > 0 {
                self.add(metric, bytes as f64);
            }
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// From connecting to the end.
async fn live(shared: &Shared, call: Call, protocols: Vec<String>) {
    let connected = tokio::time::timeout(HANDSHAKE_TIME, connect(shared, &call, &protocols)).await;
    let builtin = shared.user.test.metrics.builtin;
    shared.add(builtin.ws_connecting, ms(shared.began.elapsed()));
    shared.add(builtin.ws_sessions, 1.0);
    let (stream, answer) = match connected {
        Ok(Ok(connected)) => connected,
        Ok(Err(why)) => {
            shared.tell(Event::Failed(why, call.url.to_string()));
            return shared.closed(1006, String::new());
        }
        Err(_) => {
            let why = format!("no handshake within {HANDSHAKE_TIME:?}");
            shared.tell(Event::Failed(why, call.url.to_string()));
            return shared.closed(1006, String::new());
        }
    };
    shared.tags.borrow_mut().push(("status".to_owned(), answer.status.to_string()));
    if !answer.protocol.is_empty() {
        shared.tags.borrow_mut().push(("subproto".to_owned(), answer.protocol.clone()));
    }
    shared.count_bytes(answer.sent_bytes, answer.received_bytes);
    if answer.refused.is_some() {
        shared.tell(Event::Opened(Box::new(answer)));
        return shared.closed(1006, String::new());
    }
    let mut answer = answer;
    let rest = std::mem::take(&mut answer.rest);
    if shared.state.get() != State::Connecting {
        shared.tell(Event::Opened(Box::new(answer)));
        return shared.closed(1006, String::new());
    }
    shared.state.set(State::Open);
    shared.tell(Event::Opened(Box::new(answer)));
    let (read, write) = tokio::io::split(stream);
    tokio::select! {
        (code, reason) = read_all(shared, read, rest) => {
            shared.closed(code, reason);
        }
        failed = write_all(shared, write) => {
            if let Err(error) = failed {
                shared.tell(Event::Error(error.to_string()));
            }
            shared.closed(1006, String::new());
        }
        () = overdue(shared) => shared.closed(1006, String::new()),
    }
}

/// Some time after the end, whether the server answers or not.
async fn overdue(shared: &Shared) {
    shared.ended.notified().await;
    tokio::time::sleep(CLOSE_TIME).await;
}

async fn connect(
    shared: &Shared,
    call: &Call,
    protocols: &[String],
) -> Result<(net::Stream, Answer), String> {
    if let Some(crate::http::Unsendable { why, .. }) = &call.unsendable {
        return Err(why.clone());
    }
    let client = shared.user.test.stream_client().map_err(|error| format!("{error:#}"))?;
    let mut stream = client.connect(&call.origin).await.map_err(|failure| failure.text)?;
    let answer = handshake::shake(&mut stream, &shared.user, call, protocols).await?;
    Ok((stream, answer))
}

/// Reads to the end; returns how the connection ended.
async fn read_all(shared: &Shared, mut read: impl AsyncRead + Unpin, rest: Vec<u8>) -> (u16, String) {
    let mut decoder = Decoder::default();
    decoder.feed(&rest);
    loop {
        loop {
            match decoder.message() {
                Ok(Some(message)) => {
                    if let Some(end) = take(shared, message).await {
                        return end;
                    }
                }
                Ok(None) => break,
                Err(flaw) => {
                    shared.tell(Event::Error(format!("websocket: {}", flaw.text)));
                    shared.push(Code::Close, &close_payload(flaw.code, flaw.text));
                    flush(shared).await;
                    return (flaw.code, flaw.text.to_owned());
                }
            }
        }
        while shared.unread_bytes.get() > MAX_UNREAD_BYTES {
            shared.room.notified().await;
        }
        match read_some(&mut read, &mut decoder).await {
            Ok(n) if n > 0 => shared.count_bytes(0, n as u64),
            ended => {
                if shared.state.get() == State::Open {
                    let why =
                        ended.err().map_or_else(|| "unexpected EOF".to_owned(), |error| error.to_string());
                    shared.tell(Event::Error(format!("websocket: close 1006 (abnormal closure): {why}")));
                }
                return (1006, String::new());
            }
        }
    }
}

/// Waits for bytes without holding a buffer.
async fn read_some(read: &mut (impl AsyncRead + Unpin), decoder: &mut Decoder) -> io::Result<usize> {
    std::future::poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *read).poll_read(context, &mut buffer))?;
            decoder.feed(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    })
    .await
}

/// One message; returns how the connection ends with it.
async fn take(shared: &Shared, message: Message) -> Option<(u16, String)> {
    let builtin = shared.user.test.metrics.builtin;
    match message {
        Message::Text(text) => {
            shared.add(builtin.ws_msgs_received, 1.0);
            shared.tell(Event::Text(text));
        }
        Message::Binary(bytes) => {
            shared.add(builtin.ws_msgs_received, 1.0);
            shared.tell(Event::Binary(bytes));
        }
        Message::Ping(payload) => {
            shared.push(Code::Pong, &payload[..payload.len().min(MAX_CONTROL_BYTES)]);
            shared.tell(Event::Ping);
        }
        Message::Pong(payload) => {
            let mut pings = shared.pings.borrow_mut();
            if let Some(at) = pings.iter().position(|(known, _)| *known == payload)
                && let Some((_, sent)) = pings.remove(at)
            {
                drop(pings);
                shared.add(builtin.ws_ping, ms(sent.elapsed()));
            }
            shared.tell(Event::Pong);
        }
        Message::Close(code, reason) => {
            if shared.state.get() == State::Open {
                shared.push(Code::Close, &close_payload(if code == 1005 { 1000 } else { code }, ""));
                if !matches!(code, 1000 | 1001 | 1005) {
                    shared.tell(Event::Error(format!("websocket: close {code}: {reason}")));
                }
                flush(shared).await;
            }
            return Some((code, reason));
        }
    }
    None
}

/// Waits until all is written, as far as the server reads within a moment.
async fn flush(shared: &Shared) {
    let written = async {
        while shared.unsent_bytes.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    // A server that has closed need not read.
    let _in_time = tokio::time::timeout(Duration::from_millis(100), written).await.is_ok();
}

/// Writes what is queued.
async fn write_all(shared: &Shared, mut write: impl AsyncWrite + Unpin) -> io::Result<()> {
    loop {
        let frame = shared.unsent.borrow_mut().pop_front();
        let Some(frame) = frame else {
            match shared.state.get() {
                State::Closed => return Ok(()),
                _ => shared.work.notified().await,
            }
            continue;
        };
        write.write_all(&frame).await?;
        write.flush().await?;
        shared.count_bytes(frame.len() as u64, 0);
        shared.unsent_bytes.set(shared.unsent_bytes.get().saturating_sub(frame.len()));
    }
}
