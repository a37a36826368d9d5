//! The client's messages: what each asks for. Keeps the prepared statements and portals of the connection by hashes of
//! their names; of parameters only a hash.

use crate::comment;
use crate::frames::text;
use crate::ledger::{Ledger, Reading};
use crate::units::Shape;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

/// Prepared statements of one connection that are remembered; the text of those beyond is not known.
const MAX_STATEMENTS: usize = 4_096;
/// The same of portals.
const MAX_PORTALS: usize = 1_024;
/// What a statement is called whose preparation was not seen: by SQL, or beyond the bound.
const UNSEEN: &str = "(a prepared statement or cursor whose text was not seen)";

/// After these the server knows no prepared statement any more.
const FORGETTING: [&str; 2] = ["DISCARD ALL", "DEALLOCATE ALL"];

/// A statement that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) shape: Arc<Shape>,
    pub(super) params: u64,
    pub(super) joined: Option<(u128, u64)>,
    pub(super) sent_ns: u64,
}

/// One thing that the server will answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A simple query: any number of commands, then readiness.
    Query(Ask),
    Parse(Ask),
    Bind(Ask),
    Execute(Ask),
    Describe,
    Close,
    /// Ends a series of the extended protocol; answered by readiness. When it was sent.
    Sync(u64),
    /// A function call: one value, then readiness. When it was sent.
    Call(u64),
    /// The client's data has come to its end.
    CopyEnd,
    /// Needs no answer.
    Nothing,
}

/// Client messages whose bodies are looked at. Passwords (`p`) and data (`d`) are not.
pub(super) fn is_wanted(kind: u8) -> bool {
    matches!(kind, 0 | b'Q' | b'P' | b'B' | b'E' | b'C')
}

/// What is known of prepared statements and portals.
pub(super) struct Known {
    keys: RandomState,
    statements: HashMap<u64, Ask>,
    portals: HashMap<u64, Ask>,
    unseen: Arc<Shape>,
    /// `standard_conforming_strings` is off: a backslash escapes in every string.
    pub(super) backslashes: bool,
}

impl Known {
    pub(super) fn new(keys: RandomState) -> Self {
        let name = "unseen statement".to_owned();
        let unseen = Shape { text: UNSEEN.into(), title: name.clone(), name, ..Shape::default() };
        Self {
            keys,
            statements: HashMap::new(),
            portals: HashMap::new(),
            unseen: Arc::new(unseen),
            backslashes: false,
        }
    }

    /// What a message asks for; `None` for one that is unknown. `rest` is the hash of what `body` does not hold.
    pub(super) fn step(
        &mut self,
        kind: u8,
        mut body: &[u8],
        rest: u64,
        now_ns: u64,
        ledger: &Ledger,
    ) -> Option<Step> {
        Some(match kind {
            b'Q' => {
                let ask = self.ask(text(&mut body), rest, now_ns, ledger);
                if FORGETTING.iter().any(|text| ask.shape.text.eq_ignore_ascii_case(text)) {
                    self.forget();
                }
                Step::Query(ask)
            }
            b'P' => {
                let name = self.key(text(&mut body));
                let ask = self.ask(text(&mut body), rest, now_ns, ledger);
                if self.statements.len() < MAX_STATEMENTS || self.statements.contains_key(&name) {
                    self.statements.insert(name, ask.clone());
                }
                Step::Parse(ask)
            }
            b'B' => {
                let (portal, statement) = (self.key(text(&mut body)), self.key(text(&mut body)));
                let mut ask = self.of(self.statements.get(&statement), now_ns);
                ask.params = self.hash(&[body, &ask.params.to_be_bytes(), &rest.to_be_bytes()]);
                if self.portals.len() < MAX_PORTALS || self.portals.contains_key(&portal) {
                    self.portals.insert(portal, ask.clone());
                }
                Step::Bind(ask)
            }
            b'E' => {
                let portal = self.key(text(&mut body));
                Step::Execute(self.of(self.portals.get(&portal), now_ns))
            }
            b'C' => {
                let (kind, mut name) = body.split_first()?;
                let name = self.key(text(&mut name));
                match kind {
                    b'S' => self.statements.remove(&name),
                    _ => self.portals.remove(&name),
                };
                Step::Close
            }
            b'D' => Step::Describe,
            b'S' => Step::Sync(now_ns),
            b'F' => Step::Call(now_ns),
            b'c' | b'f' => Step::CopyEnd,
            b'd' | b'H' | b'X' | b'p' => Step::Nothing,
            _ => return None,
        })
    }

    /// Portals live no longer than their transaction.
    pub(super) fn transaction_ended(&mut self) {
        self.portals.clear();
    }

    pub(super) fn forget(&mut self) {
        self.statements.clear();
        self.portals.clear();
    }

    fn ask(&self, bytes: &[u8], rest: u64, sent_ns: u64, ledger: &Ledger) -> Ask {
        let whole = String::from_utf8_lossy(bytes);
        let parent = comment::traceparent(&whole);
        let (text, joined) = match &parent {
            Some((ids, text)) => (text.as_str(), Some(*ids)),
            None => (whole.as_ref(), None),
        };
        let hash = self.hash(&[text.as_bytes()]);
        let how = Reading { backslashes: self.backslashes, is_cut: rest != 0 };
        let shape = ledger.shape(text, hash, how);
        let params = self.hash(&[&hash.to_be_bytes(), &rest.to_be_bytes()]);
        Ask { shape, params, joined, sent_ns }
    }

    fn of(&self, known: Option<&Ask>, sent_ns: u64) -> Ask {
        match known {
            Some(ask) => Ask { sent_ns, ..ask.clone() },
            None => Ask { shape: Arc::clone(&self.unseen), params: 0, joined: None, sent_ns },
        }
    }

    fn key(&self, name: &[u8]) -> u64 {
        self.hash(&[name])
    }

    fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.keys.build_hasher();
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }
}
