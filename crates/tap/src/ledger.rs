//! Where all connections write: units that wait to be taken, counts, events, and the shapes of statements, each
//! bounded. Units become spans only when they are taken, so that no connection waits for that.

use crate::figures::{Figures, StatementFigures};
use crate::units::{Room, Shape, Unit};
use crate::write;
use model::{SpanTable, sql};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Spans that wait to be taken; what comes beyond is counted and lost.
const MAX_WAITING: usize = 200_000;
/// Texts whose shapes are remembered; at the bound all are forgotten.
const MAX_TEXTS: usize = 4_096;
/// The same of shapes ...
const MAX_SHAPES: usize = 4_096;
/// ... and of the bytes of their texts.
const MAX_REMEMBERED_BYTES: usize = 16 << 20;
/// Texts of all shapes that anybody holds: what is remembered, prepared, waiting to be answered or to be taken.
const MAX_TEXT_BYTES: usize = 64 << 20;
/// What a statement is called for which that had no room.
const NO_ROOM: &str = "(a statement whose text found no room)";
/// Of a condition within a unit's name.
const MAX_TITLE_CHARS: usize = 48;
/// Events that wait to be told; what comes beyond is only counted.
const MAX_EVENTS: usize = 100;

/// What passed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Client connections so far.
    pub connections: u64,
    /// Those that are open.
    pub open: u64,
    pub statements: u64,
    /// Statements that failed.
    pub errors: u64,
    pub cancels: u64,
    /// Connections that went on under TLS or GSSAPI.
    pub encrypted: u64,
    /// Connections that were not understood from some point on.
    pub not_understood: u64,
    /// Connections for which the server could not be reached, or that were too many.
    pub refused: u64,
    /// Spans that found no room.
    pub lost: u64,
    /// Statements whose texts found no room, as often as they were read.
    pub nameless: u64,
    pub bytes: u64,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) connections: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) statements: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) cancels: AtomicU64,
    pub(crate) encrypted: AtomicU64,
    pub(crate) not_understood: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) nameless: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Something that a user should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection went on encrypted: its statements are not seen.
    Encrypted { connection: u64, by: &'static str },
    /// A connection was not understood after so many statements; its bytes go on.
    NotUnderstood { connection: u64, statements: u64, why: &'static str },
    /// The server could not be reached: the client was told so.
    NoServer { connection: u64, why: String },
    /// More connections than allowed: the client was told so.
    TooMany { connection: u64, most: usize },
    /// A connection could not be taken.
    NotAccepted { why: String },
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Encrypted { connection, by } => write!(
                f,
                "connection {connection} is encrypted by {by}, its statements are not seen; use sslmode=disable \
                 and gssencmode=disable between the application and the tap"
            ),
            Self::NotUnderstood { connection, statements, why } => write!(
                f,
                "connection {connection} was not understood after {statements} statements ({why}); its bytes go on \
                 unseen"
            ),
            Self::NoServer { connection, why } => {
                write!(f, "connection {connection} was closed: {why}; is the server running?")
            }
            Self::TooMany { connection, most } => write!(
                f,
                "connection {connection} was refused: {most} are open; allow more with --max-connections, and \
                 descriptors for them with ulimit -n"
            ),
            Self::NotAccepted { why } => write!(f, "a connection could not be taken: {why}"),
        }
    }
}

/// What a proxy saw, shared with whoever writes it down.
#[derive(Default)]
pub struct Ledger {
    waiting: Mutex<Waiting>,
    shapes: Mutex<Shapes>,
    figures: Mutex<Figures>,
    events: Mutex<Vec<Event>>,
    /// Keys of all hashes; they die with the ledger.
    pub(crate) keys: RandomState,
    pub(crate) tally: Tally,
    server: Option<(String, Option<u16>)>,
}

/// How a text is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// They escape in every string.
    pub(crate) backslashes: bool,
    /// The end of the text is missing.
    pub(crate) is_cut: bool,
}

#[derive(Default)]
struct Waiting {
    units: Vec<(Arc<Client>, Unit)>,
    spans: usize,
}

#[derive(Default)]
struct Shapes {
    by_text: HashMap<u64, Arc<Shape>>,
    by_shape: HashMap<u64, Arc<Shape>>,
    /// Of the texts in `by_shape`.
    bytes: usize,
    /// Of all shapes that are left anywhere.
    all_bytes: Arc<AtomicUsize>,
    no_room: Option<Arc<Shape>>,
}

impl Shapes {
    fn forget(&mut self) {
        self.by_text.clear();
        self.by_shape.clear();
        self.bytes = 0;
    }

    /// The shape of a text that is normalised already, or `None` where there is no room for one more.
    fn add(&mut self, hash: u64, normalised: String) -> Option<Arc<Shape>> {
        if let Some(known) = self.by_shape.get(&hash) {
            return Some(Arc::clone(known));
        }
        let mut shape = shape_of(normalised);
        let bytes = shape.text.len() + shape.name.len() + shape.title.len();
        if self.by_shape.len() >= MAX_SHAPES || self.bytes + bytes > MAX_REMEMBERED_BYTES {
            self.forget();
        }
        shape.room = Room::take(&self.all_bytes, bytes, MAX_TEXT_BYTES)?;
        let shape = Arc::new(shape);
        self.bytes += bytes;
        self.by_shape.insert(hash, Arc::clone(&shape));
        Some(shape)
    }

    fn no_room(&mut self) -> Arc<Shape> {
        let shape = self.no_room.get_or_insert_with(|| {
            let text = NO_ROOM.to_owned();
            let name = "statement without text".to_owned();
            Arc::new(Shape { title: name.clone(), name, text, ..Shape::default() })
        });
        Arc::clone(shape)
    }
}

/// Who is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) connection: u64,
    pub(crate) application: String,
    pub(crate) user: String,
    pub(crate) database: String,
    /// Process number of the server's side; 0 if it did not tell.
    pub(crate) server_pid: u32,
}

impl Ledger {
    /// Of connections to a server: its host and port, or the path of its socket.
    #[must_use]
    pub fn new(host: &str, port: Option<u16>) -> Arc<Self> {
        Arc::new(Self { server: Some((host.to_owned(), port)), ..Self::default() })
    }

    /// The spans since the last call, whole units only. Takes time for many: not for a thread that serves.
    #[must_use]
    pub fn take(&self) -> SpanTable {
        let taken = std::mem::take(&mut *lock(&self.waiting));
        let mut table = SpanTable::default();
        let mut figures = lock(&self.figures);
        for (client, unit) in &taken.units {
            figures.count(unit);
            let place = self.server.as_ref().map(|(host, port)| (host.as_str(), *port));
            write::unit(&mut table, client, place, unit, &mut || {
                self.keys.hash_one(figures.next_id()).max(1)
            });
        }
        table
    }

    /// What was taken so far by statement, the largest total time first.
    #[must_use]
    pub fn statements(&self) -> Vec<StatementFigures> {
        lock(&self.figures).sorted()
    }

    /// What happened since the last call, as far as it was kept.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.events))
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tally = &self.tally;
        Counts {
            connections: of(&tally.connections),
            open: of(&tally.open),
            statements: of(&tally.statements),
            errors: of(&tally.errors),
            cancels: of(&tally.cancels),
            encrypted: of(&tally.encrypted),
            not_understood: of(&tally.not_understood),
            refused: of(&tally.refused),
            lost: of(&tally.lost),
            nameless: of(&tally.nameless),
            bytes: of(&tally.bytes),
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        let mut events = lock(&self.events);
        if events.len() < MAX_EVENTS {
            events.push(event);
        }
    }

    /// The shape of a text; `hash` is that of the text.
    pub(crate) fn shape(&self, text: &str, hash: u64, how: Reading) -> Arc<Shape> {
        let hash = hash ^ u64::from(how.backslashes) ^ u64::from(how.is_cut) << 1;
        if let Some(shape) = lock(&self.shapes).by_text.get(&hash) {
            return Arc::clone(shape);
        }
        let normalised = normalised(text, how);
        let shape_hash = self.keys.hash_one(&normalised);
        let mut shapes = lock(&self.shapes);
        let Some(shape) = shapes.add(shape_hash, normalised) else {
            count(&self.tally.nameless);
            return shapes.no_room();
        };
        if shapes.by_text.len() >= MAX_TEXTS {
            shapes.by_text.clear();
        }
        shapes.by_text.insert(hash, Arc::clone(&shape));
        shape
    }

    /// A unit is whole.
    pub(crate) fn queue(&self, client: &Arc<Client>, unit: Unit) {
        let spans = unit.spans.len() + 1;
        let mut waiting = lock(&self.waiting);
        if waiting.spans + spans > MAX_WAITING {
            drop(waiting);
            self.tally.lost.fetch_add(spans as u64, Ordering::Relaxed);
            return;
        }
        waiting.spans += spans;
        waiting.units.push((Arc::clone(client), unit));
    }
}

fn normalised(text: &str, how: Reading) -> String {
    let unescaped = how.backslashes.then(|| unescaped(text));
    let text = unescaped.as_deref().unwrap_or(text);
    if !how.is_cut {
        return sql::normalise(text);
    }
    // Most often it is a list of values that makes a statement long: closed, it can be folded.
    let whole = text.rfind(',').map_or(text, |comma| &text[..comma]);
    format!("{} (cut)", sql::normalise(&format!("{whole})")))
}

fn shape_of(normalised: String) -> Shape {
    let operation = sql::operation_and_tables(&normalised);
    // Behind its FROM there is no table but a file.
    let copied = || normalised.split([' ', '(']).nth(1).unwrap_or_default();
    let table = if operation.verb == "COPY" { copied() } else { operation.table() };
    let name = match (operation.verb.as_str(), table) {
        ("", "") => "empty statement".to_owned(),
        (verb, "") => verb.to_owned(),
        (verb, table) => format!("{verb} {table}"),
    };
    let of_table = !table.is_empty();
    let title = format!("{name}{}", condition(&normalised));
    Shape { text: normalised, name, title, of_table, verb: operation.verb, room: Room::default() }
}

/// What follows a statement's first WHERE, cut where it is long, without the numbers of its placeholders.
fn condition(normalised: &str) -> String {
    let Some(at) = normalised.to_ascii_lowercase().find(" where ") else { return String::new() };
    let mut out = String::new();
    let mut chars = normalised[at..].chars().peekable();
    for _ in 0..MAX_TITLE_CHARS {
        match chars.next() {
            Some('$') => {
                out.push('?');
                while chars.next_if(char::is_ascii_digit).is_some() {}
            }
            Some(c) => out.push(c),
            None => return out,
        }
    }
    if chars.peek().is_some() {
        out.push_str("...");
    }
    out
}

/// Each backslash and what it escapes as two letters: the values are left out anyway.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            out.push('x');
            out.extend(chars.next().map(|_| 'x'));
        } else {
            out.push(c);
        }
    }
    out
}

/// A lock whose holder panicked still holds whole values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ledger: &Ledger, text: &str, backslashes: bool) -> String {
        let how = Reading { backslashes, is_cut: false };
        ledger.shape(text, ledger.keys.hash_one(text), how).text.clone()
    }

    #[test]
    fn shapes_hold_no_value_even_of_a_text_that_was_cut_or_escapes() {
        let ledger = Ledger::default();
        for (sql, backslashes) in [
            ("SELECT 'hunter2'", false),
            ("SELECT 'hunter2", false),
            ("SELECT $x$hunter2", false),
            ("SELECT E'\\'hunter2'", false),
            ("ALTER ROLE me PASSWORD 'hunter2'", false),
            ("SELECT 'a\\' || hunter2 || '", true),
            ("SELECT 1 -- hunter2", false),
        ] {
            let shape = text(&ledger, sql, backslashes);
            assert!(!shape.contains("hunter2"), "{sql}: {shape}");
        }
    }

    #[test]
    fn a_list_that_was_cut_is_folded_all_the_same() {
        let cut = Reading { is_cut: true, ..Reading::default() };
        for (text, expected) in [
            ("SELECT a FROM b WHERE c IN (1, 2, 3, 4", "SELECT a FROM b WHERE c IN ($1, ...) (cut)"),
            ("INSERT INTO a VALUES (1, 'x'), (2, 'hun", "INSERT INTO a VALUES ($1, $2), ... (cut)"),
            ("SELECT 'a, b", "SELECT $1 (cut)"),
        ] {
            assert_eq!(normalised(text, cut), expected);
        }
    }

    #[test]
    fn texts_that_differ_in_values_share_a_shape_and_the_maps_stay_bounded() {
        let ledger = Ledger::default();
        let shape = |n: u64| ledger.shape(&format!("SELECT * FROM a WHERE b = {n}"), n, Reading::default());
        let first = shape(1);
        assert!(Arc::ptr_eq(&first, &shape(2)));
        assert_eq!((first.name.as_str(), first.of_table), ("SELECT a", true));
        assert_eq!(first.title, "SELECT a WHERE b = ?");
        let long =
            shape_of("UPDATE a SET b = $1 where c = $12 AND d = 'é' AND e IN ($3, ...) AND f = $4".into());
        assert_eq!(long.title, "UPDATE a where c = ? AND d = 'é' AND e IN (?, ...) AND f...");
        for n in 0..3 * MAX_TEXTS as u64 {
            ledger.shape(&format!("SELECT a{n}"), n + 100, Reading::default());
        }
        let shapes = lock(&ledger.shapes);
        assert!(shapes.by_text.len() <= MAX_TEXTS && shapes.by_shape.len() <= MAX_SHAPES);
    }

    #[test]
    fn long_texts_are_bounded_by_their_bytes_and_those_without_room_are_counted() {
        let ledger = Ledger::default();
        let long = |n: usize| {
            let text = format!("SELECT a{n:08}{}", "b".repeat(60_000));
            ledger.shape(&text, n as u64, Reading::default())
        };
        let live = || lock(&ledger.shapes).all_bytes.load(Ordering::Relaxed);
        // What nobody else holds goes with what is remembered.
        for n in 0..400 {
            assert!(long(n).text.len() > 60_000);
            assert!(live() <= MAX_REMEMBERED_BYTES, "{n}: {}", live());
        }
        // What prepared statements and spans hold counts as long as they do.
        let held: Vec<_> = (400..1_800).map(long).collect();
        let nameless = held.iter().filter(|shape| shape.text == NO_ROOM).count();
        assert!((250..300).contains(&nameless), "{nameless}");
        assert_eq!(ledger.counts().nameless, nameless as u64);
        assert!(live() <= MAX_TEXT_BYTES);
        drop(held);
        assert!(long(4_000).text.len() > 60_000, "there is room again");
    }

    #[test]
    fn what_nobody_takes_is_counted_as_lost() {
        let ledger = Ledger::default();
        let done = crate::units::tests::done(1);
        let client = Arc::new(Client::default());
        let units = MAX_WAITING / 11;
        for _ in 0..units + 3 {
            ledger.queue(&client, Unit { transaction: false, spans: vec![done.clone(); 10] });
        }
        assert_eq!(ledger.counts().lost, 33);
        assert_eq!(ledger.take().len(), units * 11);
        assert!(ledger.take().is_empty());
    }
}
