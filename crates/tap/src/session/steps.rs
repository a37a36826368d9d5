//! What was asked and is not answered yet, in order, and what is done since the server was ready last.
//! Every answer is held against the step that is next; one that does not fit ends the looking.

use super::asked::{Ask, Step};
use crate::units::{Done, State, What};
use std::collections::VecDeque;

/// Steps without an answer; a client that sends more is not followed.
const MAX_STEPS: usize = 1 << 16;
/// Room for steps that is kept where none wait.
const IDLE_STEPS: usize = 64;

/// Server messages whose bodies are looked at. Rows and notices are not.
pub(super) fn is_wanted(kind: u8) -> bool {
    matches!(kind, b'C' | b'E' | b'Z' | b'S' | b'K')
}

/// What came of the step that is next.
#[derive(Debug, Default)]
struct Progress {
    /// Of commands that are complete.
    rows: u64,
    /// Rows that came since.
    fetched: u64,
    returns: bool,
    commands: u32,
    suspended: bool,
    error: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Steps {
    waiting: VecDeque<Step>,
    now: Progress,
    /// Since the server was ready last.
    pub(super) done: Vec<Done>,
    /// After an error the server skips everything up to the next Sync.
    skipping: bool,
    /// While it takes data in, the server ignores Sync.
    copying_in: bool,
    /// When the newest answer came that ended something.
    answered_ns: u64,
}

impl Steps {
    /// `None`: too many.
    pub(super) fn push(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Nothing => return Some(()),
            Step::Sync(_) if self.copying_in => return Some(()),
            Step::Sync(_) => self.skipping = false,
            Step::CopyEnd if self.copying_in => {
                self.copying_in = false;
                return Some(());
            }
            _ if self.skipping => return Some(()),
            _ => {}
        }
        if self.waiting.len() >= MAX_STEPS {
            return None;
        }
        self.waiting.push_back(step);
        Some(())
    }

    fn next(&mut self) -> Option<&Step> {
        while self.waiting.front() == Some(&Step::CopyEnd) {
            self.waiting.pop_front();
        }
        self.waiting.front()
    }

    /// An answer other than readiness. `None`: it fits nothing that was asked.
    pub(super) fn answered(&mut self, kind: u8, body: &[u8], now_ns: u64) -> Option<()> {
        // Of messages that may come at any time.
        if matches!(kind, b'D' | b'd' | b'c' | b't' | b'H') {
            self.now.fetched += u64::from(kind == b'D');
            return Some(());
        }
        if kind == b'E' {
            self.failed(sqlstate(body), now_ns);
            return Some(());
        }
        match (kind, self.next()?) {
            (b'1', Step::Parse(ask)) => {
                let ask = ask.clone();
                self.waiting.pop_front();
                self.parsed(&ask, now_ns);
            }
            (b'2', Step::Bind(_)) | (b'3', Step::Close) | (b'T' | b'n', Step::Describe) => {
                self.waiting.pop_front();
            }
            (b'T', Step::Query(_)) => self.now.returns = true,
            (b'V', Step::Call(_)) => {}
            (b'C', Step::Query(_)) => {
                self.now.commands += 1;
                self.command(body);
            }
            (b'I', Step::Query(_)) => {}
            (b'C', Step::Execute(_)) => {
                self.command(body);
                self.finish(now_ns);
            }
            (b'I' | b's', Step::Execute(_)) => {
                (self.now.returns, self.now.suspended) = (kind == b's', kind == b's');
                self.finish(now_ns);
            }
            (b'G' | b'W', Step::Execute(_)) => self.copy_in(),
            (b'G' | b'W', Step::Query(_)) => {}
            _ => return None,
        }
        Some(())
    }

    /// The server is ready. `None`: nothing asked for that.
    pub(super) fn ready(&mut self, now_ns: u64) -> Option<()> {
        match self.next()? {
            &Step::Sync(sent_ns) => {
                self.waiting.pop_front();
                self.share();
                // A commit, if there is one, comes between the last answer and this.
                if let Some(last) = self.done.last_mut().filter(|last| sent_ns <= last.end_ns) {
                    last.end_ns = now_ns;
                }
                self.now = Progress::default();
            }
            Step::Query(_) | Step::Call(_) => self.finish(now_ns),
            _ => return None,
        }
        self.copying_in = false;
        if self.waiting.is_empty() {
            self.waiting.shrink_to(IDLE_STEPS);
        }
        Some(())
    }

    /// The connection ended: what was being done has failed, with what the server said of it, else with `error`. Without
    /// either it is left out.
    pub(super) fn ended(&mut self, error: Option<String>, now_ns: u64) {
        let error = self.now.error.take().or(error);
        if error.is_some() && matches!(self.next(), Some(Step::Query(_) | Step::Execute(_) | Step::Call(_))) {
            self.now.error = error;
            self.finish(now_ns);
        }
    }

    /// Something was asked that is not answered yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is done.
    pub(super) fn take(&mut self) -> Vec<Done> {
        self.share();
        std::mem::take(&mut self.done)
    }

    /// A statement was parsed; without an execution behind it that was a round trip of its own.
    fn parsed(&mut self, ask: &Ask, now_ns: u64) {
        if !self.waiting.iter().any(|step| matches!(step, Step::Execute(_))) {
            let what = What::Prepare { shape: ask.shape.clone() };
            self.push_done(ask, what, None, now_ns);
        }
    }

    fn command(&mut self, tag: &[u8]) {
        let tag = tag.strip_suffix(&[0]).unwrap_or(tag);
        let mut words = tag.split(|byte| *byte == b' ');
        let verb = words.next().unwrap_or_default();
        let fetched = std::mem::take(&mut self.now.fetched);
        self.now.returns |= fetched > 0 || matches!(verb, b"SELECT" | b"FETCH" | b"SHOW");
        let number = words.next_back().and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
        self.now.rows = self.now.rows.saturating_add(number.unwrap_or(fetched));
    }

    fn failed(&mut self, code: String, now_ns: u64) {
        self.copying_in = false;
        match self.next() {
            // The connection is about to end: nobody's statement.
            None => return,
            // In the simple protocol readiness follows.
            Some(Step::Query(_) | Step::Call(_)) => {
                self.now.error = Some(code);
                return;
            }
            // The commit failed.
            Some(Step::Sync(_)) => {
                if let Some(last) = self.done.last_mut() {
                    last.error = Some(code);
                }
                return;
            }
            Some(Step::Parse(_) | Step::Bind(_) | Step::Execute(_)) => {
                self.now.error = Some(code);
                self.finish(now_ns);
            }
            Some(_) => {}
        }
        while self.waiting.front().is_some_and(|step| !is_sync(step)) {
            self.waiting.pop_front();
        }
        self.skipping = self.waiting.is_empty();
    }

    /// Syncs that were sent with the execution are swallowed, up to the end of the data.
    fn copy_in(&mut self) {
        let end = self.waiting.iter().position(|step| *step == Step::CopyEnd);
        let mut at = 0;
        let within = end.unwrap_or(self.waiting.len());
        self.waiting.retain(|step| {
            at += 1;
            at > within || !is_sync(step)
        });
        self.copying_in = end.is_none();
    }

    /// The step that is next is done.
    fn finish(&mut self, now_ns: u64) {
        let Progress { rows, fetched, returns, commands, suspended, error } = std::mem::take(&mut self.now);
        let (rows, returns) = (rows.saturating_add(fetched), returns || fetched > 0);
        match self.waiting.pop_front() {
            Some(Step::Query(ask) | Step::Execute(ask) | Step::Parse(ask) | Step::Bind(ask)) => {
                let (shape, params) = (ask.shape.clone(), ask.params);
                let commands = commands.max(1);
                let what = What::Statement { shape, params, rows, returns, commands, suspended };
                self.push_done(&ask, what, error, now_ns);
            }
            Some(Step::Call(sent_ns)) => {
                let done = Done { what: What::Call, ..new_done(sent_ns, now_ns, error) };
                self.done.push(done);
            }
            _ => {}
        }
    }

    fn push_done(&mut self, ask: &Ask, what: What, error: Option<String>, now_ns: u64) {
        // The server does one thing after the other, however early it was asked.
        let start_ns = ask.sent_ns.max(self.answered_ns).min(now_ns);
        self.answered_ns = now_ns;
        self.done.push(Done { what, joined: ask.joined, ..new_done(start_ns, now_ns, error) });
    }

    /// Answers that came at the same moment share the time since the answer before: how the server spent it among them
    /// was not seen. What takes no time worth the name gets none, if there is anything else.
    fn share(&mut self) {
        let same = |a: &Done, b: &Done| {
            a.end_ns == b.end_ns && b.start_ns == b.end_ns && a.shared.max(b.shared) == 1
        };
        for together in self.done.chunk_by_mut(same) {
            let is_heavy = |done: &Done| match &done.what {
                What::Statement { shape, .. } => !shape.is_light(),
                _ => false,
            };
            let heavy = together.iter().filter(|done| is_heavy(done)).count();
            let parts = if heavy == 0 { together.len() } else { heavy } as u64;
            let (Some(first), true) = (together.first(), together.len() > 1) else { continue };
            let (start_ns, end_ns) = (first.start_ns, first.end_ns);
            let part_ns = (end_ns - start_ns) / parts;
            let mut at_ns = start_ns;
            for done in together {
                let own_ns = if heavy == 0 || is_heavy(done) { part_ns } else { 0 };
                (done.start_ns, done.end_ns) = (at_ns, at_ns + own_ns);
                done.shared = u32::try_from(parts).unwrap_or(u32::MAX).max(2);
                at_ns += own_ns;
            }
        }
    }
}

fn is_sync(step: &Step) -> bool {
    matches!(step, Step::Sync(_))
}

fn new_done(start_ns: u64, end_ns: u64, error: Option<String>) -> Done {
    Done { start_ns, end_ns, what: What::Call, error, shared: 1, state: State::Idle, joined: None }
}

/// The code of an error, five letters or digits.
pub(super) fn sqlstate(mut body: &[u8]) -> String {
    while let Some((field, mut rest)) = body.split_first().filter(|(field, _)| **field != 0) {
        let value = crate::frames::text(&mut rest);
        if *field == b'C' && value.len() == 5 && value.iter().all(u8::is_ascii_alphanumeric) {
            return String::from_utf8_lossy(value).into_owned();
        }
        body = rest;
    }
    "unknown".to_owned()
}

/// What a readiness says of transactions.
pub(super) fn state(body: &[u8]) -> State {
    match body.first() {
        Some(b'T') => State::Open,
        Some(b'E') => State::Failed,
        _ => State::Idle,
    }
}
