//! What the two directions of one connection say together: which statement was asked, when, and how it was answered.
//! It follows Postgres' protocol 3 and stops looking as soon as an answer does not fit what was asked.
//! It sees copies of bytes that have gone on already, and changes nothing.

mod asked;
mod steps;

use crate::frames::{Frames, text};
use crate::ledger::{Client, Event, Ledger, count};
use crate::units::{Done, MAX_UNIT_SPANS, State, Units, What};
use asked::Known;
use std::sync::Arc;
use steps::Steps;

const CANCEL: u32 = 80_877_102;
pub(crate) const TLS: u32 = 80_877_103;
pub(crate) const GSSAPI: u32 = 80_877_104;
const MAJOR_VERSION: u32 = 3;
/// A TLS handshake that was not asked for begins so.
const TLS_RECORD: u8 = 0x16;
/// What is done within one series before it is handed on.
const MAX_DONE: usize = MAX_UNIT_SPANS;
/// Bytes kept of a name of a user, database or application.
const MAX_NAME_BYTES: usize = 256;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The client says first what it wants.
    Start,
    /// It asked for encryption; the answer is one byte.
    Asked,
    /// Authentication and what else comes before the first readiness.
    Connecting {
        since_ns: u64,
    },
    Open,
    /// Not looked at any more.
    Blind,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A peer closed it.
    Closed,
    /// The tap did.
    Stopped,
}

pub(crate) struct Session {
    ledger: Arc<Ledger>,
    client: Arc<Client>,
    phase: Phase,
    asked: Frames,
    answered: Frames,
    known: Known,
    steps: Steps,
    units: Units,
    /// As the server said last.
    state: State,
    statements: u64,
}

impl Session {
    pub(crate) fn new(ledger: Arc<Ledger>, connection: u64, gap_ns: u64) -> Self {
        let keys = ledger.keys.clone();
        Self {
            client: Arc::new(Client { connection, ..Client::default() }),
            phase: Phase::Start,
            asked: Frames::new(keys.clone()),
            answered: Frames::new(keys.clone()),
            known: Known::new(keys),
            steps: Steps::default(),
            units: Units::new(gap_ns),
            state: State::Idle,
            statements: 0,
            ledger,
        }
    }

    /// Bytes of the client, at Unix nanoseconds.
    pub(crate) fn client_said(&mut self, mut bytes: &[u8], now_ns: u64) {
        if self.phase == Phase::Start && bytes.first() == Some(&TLS_RECORD) && self.asked.is_between() {
            return self.encrypted("TLS");
        }
        while !bytes.is_empty() {
            let typed = match self.phase {
                Phase::Start => false,
                Phase::Connecting { .. } | Phase::Open => true,
                // Nothing may come before the answer.
                Phase::Asked => return self.lost("a message before the answer to a request for encryption"),
                Phase::Blind => return,
            };
            match self.asked.next(&mut bytes, typed, asked::is_wanted) {
                Ok(None) => return,
                Ok(Some(_)) if !typed => self.start(now_ns),
                Ok(Some(kind)) => self.ask(kind, now_ns),
                Err(_) => self.lost("the client's bytes are no messages"),
            }
        }
        self.asked.rest_now();
    }

    /// Bytes of the server, at Unix nanoseconds.
    pub(crate) fn server_said(&mut self, mut bytes: &[u8], now_ns: u64) {
        while let Some(&first) = bytes.first() {
            match self.phase {
                Phase::Blind => return,
                Phase::Start => return self.lost("the server spoke first"),
                Phase::Asked => match first {
                    b'S' => return self.encrypted("TLS"),
                    b'G' => return self.encrypted("GSSAPI"),
                    b'N' => {
                        self.phase = Phase::Start;
                        bytes = &bytes[1..];
                        continue;
                    }
                    // Servers of before 7.0 and some poolers refuse by an error.
                    b'E' => self.phase = Phase::Connecting { since_ns: now_ns },
                    _ => return self.lost("an unknown answer to a request for encryption"),
                },
                Phase::Connecting { .. } | Phase::Open => {}
            }
            match self.answered.next(&mut bytes, true, steps::is_wanted) {
                Ok(None) => return,
                Ok(Some(kind)) => self.answer(kind, now_ns),
                Err(_) => self.lost("the server's bytes are no messages"),
            }
        }
        self.answered.rest_now();
    }

    /// Looked at from time to time: what was done is handed on also where nothing follows it.
    pub(crate) fn quiet(&mut self, now_ns: u64) {
        // A statement that takes long belongs to what came before it.
        if self.steps.is_waiting() {
            return;
        }
        let (ledger, client) = (&self.ledger, &self.client);
        self.units.quiet(now_ns, &mut |unit| ledger.queue(client, unit));
    }

    /// The connection has ended.
    pub(crate) fn end(&mut self, why: End, now_ns: u64) {
        let error = (why == End::Closed).then(|| "closed".to_owned());
        if let (Phase::Connecting { since_ns }, Some(error)) = (self.phase, &error) {
            self.connected(since_ns, now_ns, Some(error.clone()));
        }
        self.steps.ended(error, now_ns);
        self.phase = Phase::Blind;
        self.settle(State::Idle);
        self.close_units();
    }

    /// The client's first message, or the one after a refused encryption.
    fn start(&mut self, now_ns: u64) {
        let mut body = self.asked.body();
        let Some((code, rest)) = body.split_first_chunk::<4>() else {
            return self.lost("an empty first message");
        };
        let code = u32::from_be_bytes(*code);
        body = rest;
        match code {
            TLS | GSSAPI => self.phase = Phase::Asked,
            CANCEL => {
                count(&self.ledger.tally.cancels);
                self.phase = Phase::Blind;
            }
            _ if code >> 16 == MAJOR_VERSION => {
                let mut client = Client { connection: self.client.connection, ..Client::default() };
                while !body.is_empty() {
                    let (key, value) = (text(&mut body), text(&mut body));
                    match key {
                        b"user" => client.user = name(value),
                        b"database" => client.database = name(value),
                        b"application_name" => client.application = name(value),
                        _ => {}
                    }
                }
                if client.database.is_empty() {
                    client.database.clone_from(&client.user);
                }
                self.client = Arc::new(client);
                self.phase = Phase::Connecting { since_ns: now_ns };
            }
            _ => self.lost("a first message of an unknown version"),
        }
    }

    fn ask(&mut self, kind: u8, now_ns: u64) {
        let known = &mut self.known;
        let asked = known.step(kind, self.asked.body(), self.asked.rest(), now_ns, &self.ledger);
        if asked.and_then(|step| self.steps.push(step)).is_none() {
            self.lost("an unknown message of the client, or too many without an answer");
        }
    }

    fn answer(&mut self, kind: u8, now_ns: u64) {
        let body = self.answered.body();
        match (kind, self.phase) {
            (b'S', _) => self.setting(),
            (b'K', _) => {
                // Only the number: the key that follows lets its owner cancel statements.
                let pid = body.first_chunk::<4>().map_or(0, |pid| u32::from_be_bytes(*pid));
                Arc::make_mut(&mut self.client).server_pid = pid;
            }
            (b'E', Phase::Connecting { since_ns }) => {
                self.connected(since_ns, now_ns, Some(steps::sqlstate(body)));
                self.phase = Phase::Blind;
                self.settle(State::Idle);
                self.close_units();
            }
            (b'Z', Phase::Connecting { since_ns }) => {
                let state = steps::state(body);
                self.connected(since_ns, now_ns, None);
                self.phase = Phase::Open;
                self.settle(state);
            }
            (b'R' | b'v' | b'N' | b'A', _) => {}
            (_, Phase::Connecting { .. }) => self.lost("an unknown message of the server at the start"),
            (b'Z', _) => {
                let state = steps::state(body);
                if state == State::Idle {
                    self.known.transaction_ended();
                }
                match self.steps.ready(now_ns) {
                    Some(()) => self.settle(state),
                    None => self.lost("a readiness that nothing asked for"),
                }
            }
            _ => match self.steps.answered(kind, body, now_ns) {
                Some(()) if self.steps.done.len() >= MAX_DONE => self.hand_on(),
                Some(()) => {}
                None => self.lost("an answer that does not fit what was asked"),
            },
        }
    }

    /// A setting that the server reports of its own accord.
    fn setting(&mut self) {
        let mut body = self.answered.body();
        let (key, value) = (text(&mut body), text(&mut body));
        match key {
            b"application_name" if value != self.client.application.as_bytes() => {
                Arc::make_mut(&mut self.client).application = name(value);
            }
            b"standard_conforming_strings" => self.known.backslashes = value == b"off",
            _ => {}
        }
    }

    fn connected(&mut self, start_ns: u64, end_ns: u64, error: Option<String>) {
        let done = Done {
            start_ns,
            end_ns,
            what: What::Connect,
            error,
            shared: 1,
            state: State::Idle,
            joined: None,
        };
        self.steps.done.push(done);
    }

    /// The server is ready: what is done by now goes to its unit.
    fn settle(&mut self, state: State) {
        self.state = state;
        self.hand_on();
        let (ledger, client) = (&self.ledger, &self.client);
        self.units.ready(state != State::Idle, &mut |unit| ledger.queue(client, unit));
    }

    fn hand_on(&mut self) {
        let (ledger, client) = (&self.ledger, &self.client);
        let mut close = |unit| ledger.queue(client, unit);
        for mut done in self.steps.take() {
            done.state = self.state;
            if matches!(done.what, What::Statement { .. } | What::Call) {
                self.statements += 1;
                count(&ledger.tally.statements);
                if done.error.is_some() {
                    count(&ledger.tally.errors);
                }
            }
            self.units.push(done, &mut close);
        }
    }

    fn close_units(&mut self) {
        let (ledger, client) = (&self.ledger, &self.client);
        self.units.end(&mut |unit| ledger.queue(client, unit));
    }

    fn encrypted(&mut self, by: &'static str) {
        self.phase = Phase::Blind;
        count(&self.ledger.tally.encrypted);
        self.ledger.tell(Event::Encrypted { connection: self.client.connection, by });
    }

    fn lost(&mut self, why: &'static str) {
        if self.phase == Phase::Blind {
            return;
        }
        self.phase = Phase::Blind;
        self.settle(State::Idle);
        self.close_units();
        // What is not looked at any more needs no memory.
        self.known.forget();
        self.steps = Steps::default();
        count(&self.ledger.tally.not_understood);
        let (connection, statements) = (self.client.connection, self.statements);
        self.ledger.tell(Event::NotUnderstood { connection, statements, why });
    }
}

/// A name as it is shown: printable, of bounded length.
fn name(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_NAME_BYTES)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
