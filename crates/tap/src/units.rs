//! What was done on one connection, gathered into units: a transaction, or a burst of statements with short pauses.
//! A unit is the nearest to a request that the wire shows; it becomes one trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Spans of one unit; a longer one goes on as the next.
pub(crate) const MAX_UNIT_SPANS: usize = 1_000;

/// A statement's text without its values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// As `model::sql::normalise` leaves it.
    pub(crate) text: String,
    /// Verb and main table.
    pub(crate) name: String,
    /// The same and its condition, as far as that is short: a unit is called so after its first statement.
    pub(crate) title: String,
    /// Upper case; empty for an empty text.
    pub(crate) verb: String,
    /// It reads or writes a table: it can stand for its unit.
    pub(crate) of_table: bool,
    pub(crate) room: Room,
}

/// Bytes that a shape takes of what all may take together, given back with it. No part of what the shape says.
#[derive(Debug, Default)]
pub(crate) struct Room {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Room {
    /// `None`: less than that is left of `limit`.
    pub(crate) fn take(all: &Arc<AtomicUsize>, bytes: usize, limit: usize) -> Option<Self> {
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        let room = Self { all: Arc::clone(all), bytes };
        (before.saturating_add(bytes) <= limit).then_some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl PartialEq for Room {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Room {}

impl Shape {
    /// Begins a transaction or sets something: takes no time worth the name.
    pub(crate) fn is_light(&self) -> bool {
        let light =
            ["BEGIN", "START", "SAVEPOINT", "RELEASE", "SET", "RESET", "DEALLOCATE", "DISCARD", "CLOSE"];
        light.contains(&self.verb.as_str())
    }
}

/// What took the time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Start-up and authentication, to the server's first readiness.
    Connect,
    /// Parsing alone, in a round trip of its own.
    Prepare { shape: Arc<Shape> },
    /// The function-call message, which has no text.
    Call,
    Statement {
        shape: Arc<Shape>,
        /// Equal for equal parameters and literals, in this recording only.
        params: u64,
        rows: u64,
        returns: bool,
        /// Commands in one message.
        commands: u32,
        /// More rows were left for a next execution, as of a cursor.
        suspended: bool,
    },
}

/// What the server says of transactions when it is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Idle,
    Open,
    Failed,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Open => "open",
            Self::Failed => "failed",
        }
    }
}

/// One thing that was done. Unix nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) what: What,
    /// SQLSTATE, or `closed` where the connection ended first.
    pub(crate) error: Option<String>,
    /// Statements that were answered at once and share their time; 1: it is this one's own.
    pub(crate) shared: u32,
    /// Afterwards.
    pub(crate) state: State,
    /// Trace and span that a comment in the text names.
    pub(crate) joined: Option<(u128, u64)>,
}

#[derive(Debug, Default)]
pub(crate) struct Unit {
    pub(crate) transaction: bool,
    /// In order of time, never empty once closed.
    pub(crate) spans: Vec<Done>,
}

impl Unit {
    fn only_connects(&self) -> bool {
        self.spans.iter().all(|done| done.what == What::Connect)
    }
}

/// The open unit of a connection.
#[derive(Debug)]
pub(crate) struct Units {
    gap_ns: u64,
    in_transaction: bool,
    open: Unit,
    /// Done since the server was ready last.
    fresh: Vec<Done>,
}

impl Units {
    pub(crate) fn new(gap_ns: u64) -> Self {
        Self { gap_ns, in_transaction: false, open: Unit::default(), fresh: Vec::new() }
    }

    pub(crate) fn push(&mut self, done: Done, close: &mut dyn FnMut(Unit)) {
        self.fresh.push(done);
        if self.fresh.len() >= MAX_UNIT_SPANS {
            self.settle(self.in_transaction, close);
        }
    }

    /// The server is ready; `in_transaction` as it says.
    pub(crate) fn ready(&mut self, in_transaction: bool, close: &mut dyn FnMut(Unit)) {
        self.settle(in_transaction, close);
        if self.in_transaction && !in_transaction {
            self.close(close);
        }
        self.in_transaction = in_transaction;
    }

    fn settle(&mut self, in_transaction: bool, close: &mut dyn FnMut(Unit)) {
        let Some(first) = self.fresh.first() else { return };
        let pause_ns = self.open.spans.last().map_or(0, |last| first.start_ns.saturating_sub(last.end_ns));
        let begins = in_transaction && !self.in_transaction;
        let parted = !self.in_transaction && pause_ns > self.gap_ns;
        if parted || (begins && !self.open.only_connects()) || self.open.spans.len() >= MAX_UNIT_SPANS {
            self.close(close);
        }
        self.open.transaction |= in_transaction || self.in_transaction;
        self.open.spans.append(&mut self.fresh);
    }

    fn close(&mut self, close: &mut dyn FnMut(Unit)) {
        let unit = std::mem::take(&mut self.open);
        if !unit.spans.is_empty() {
            close(unit);
        }
    }

    /// Nothing was done for a while: what is open outside a transaction is whole.
    pub(crate) fn quiet(&mut self, now_ns: u64, close: &mut dyn FnMut(Unit)) {
        let last_ns = self.open.spans.last().map_or(u64::MAX, |last| last.end_ns);
        if !self.in_transaction && self.fresh.is_empty() && now_ns.saturating_sub(last_ns) > self.gap_ns {
            self.close(close);
        }
    }

    /// The connection ended.
    pub(crate) fn end(&mut self, close: &mut dyn FnMut(Unit)) {
        self.settle(self.in_transaction, close);
        self.close(close);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A statement without a table that takes 10 ns and returns a row.
    pub(crate) fn statement(text: &str) -> Done {
        let shape =
            Arc::new(Shape { text: text.into(), name: text.into(), title: text.into(), ..Shape::default() });
        let what =
            What::Statement { shape, params: 1, rows: 1, returns: true, commands: 1, suspended: false };
        Done { what, end_ns: 110, ..done(100) }
    }

    pub(crate) fn done(start_ns: u64) -> Done {
        Done {
            start_ns,
            end_ns: start_ns + 1,
            what: What::Call,
            error: None,
            shared: 1,
            state: State::Idle,
            joined: None,
        }
    }

    /// `12:I` is something done at 12 after which the server is idle, `T` in a transaction.
    fn drawn(steps: &str) -> Vec<(bool, usize)> {
        let mut out = Vec::new();
        let mut close = |unit: Unit| out.push((unit.transaction, unit.spans.len()));
        let mut units = Units::new(5);
        for step in steps.split(' ') {
            let (at, state) = step.split_once(':').unwrap();
            let mut thing = done(at.parse().unwrap());
            if state.starts_with('C') {
                thing.what = What::Connect;
            }
            units.push(thing, &mut close);
            units.ready(state == "T", &mut close);
        }
        units.end(&mut close);
        out
    }

    #[test]
    fn pauses_part_bursts_but_not_transactions() {
        assert_eq!(drawn("0:I 2:I 4:I 20:I"), [(false, 3), (false, 1)]);
        assert_eq!(drawn("0:T 100:T 200:I"), [(true, 3)]);
    }

    #[test]
    fn a_transaction_stands_alone_with_the_connection_it_was_made_for() {
        assert_eq!(drawn("0:I 2:T 4:I 6:I"), [(false, 1), (true, 2), (false, 1)]);
        assert_eq!(drawn("0:C 2:T 4:I"), [(true, 3)]);
        assert_eq!(drawn("0:C 20:T 24:I"), [(false, 1), (true, 2)]);
    }

    #[test]
    fn a_quiet_unit_is_whole_but_for_a_transaction() {
        let mut sizes = Vec::new();
        let mut close = |unit: Unit| sizes.push(unit.spans.len());
        let mut units = Units::new(5);
        units.push(done(10), &mut close);
        units.quiet(100, &mut close);
        units.ready(false, &mut close);
        units.quiet(16, &mut close);
        units.quiet(17, &mut close);
        units.push(done(20), &mut close);
        units.push(done(21), &mut close);
        units.ready(true, &mut close);
        units.quiet(100, &mut close);
        units.end(&mut close);
        assert_eq!(sizes, [1, 2]);
    }

    #[test]
    fn a_long_unit_is_cut() {
        let mut sizes = Vec::new();
        let mut units = Units::new(5);
        for at in 0..2_500 {
            units.push(done(at), &mut |unit| sizes.push(unit.spans.len()));
            units.ready(true, &mut |unit| sizes.push(unit.spans.len()));
        }
        units.end(&mut |unit| sizes.push(unit.spans.len()));
        assert_eq!(sizes, [1_000, 1_000, 500]);
    }
}
