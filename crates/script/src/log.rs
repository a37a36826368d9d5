//! What scripts print and what goes wrong in them, handed to the program line by line; repeats are counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Different warnings that are told apart; all others are counted together.
const MAX_KINDS: usize = 100;
/// Of one kind, so many are printed.
const MAX_REPEATS: u64 = 3;

/// How bad a line is; k6's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Takes lines; must not fail.
pub(crate) type Listener = Rc<dyn Fn(Level, &str)>;

pub(crate) struct Log {
    listener: Listener,
    kinds: RefCell<BTreeMap<String, u64>>,
    others: Cell<u64>,
}

impl Log {
    pub(crate) fn new(listener: Listener) -> Self {
        Self { listener, kinds: RefCell::default(), others: Cell::new(0) }
    }

    /// A script's own words: each is passed on.
    pub(crate) fn say(&self, level: Level, text: &str) {
        (self.listener)(level, text);
    }

    /// What may go wrong again and again: `kind` is what repeats are known by.
    pub(crate) fn repeated(&self, level: Level, kind: &str, text: &str) {
        let mut kinds = self.kinds.borrow_mut();
        if kinds.len() >= MAX_KINDS && !kinds.contains_key(kind) {
            self.others.set(self.others.get() + 1);
            return;
        }
        let count = match kinds.get_mut(kind) {
            Some(count) => {
                *count += 1;
                *count
            }
            None => {
                kinds.insert(kind.to_owned(), 1);
                1
            }
        };
        drop(kinds);
        if count <= MAX_REPEATS {
            (self.listener)(level, text);
        }
    }

    pub(crate) fn request_failed(&self, method: &str, url: &str, why: &str) {
        let url = net::display_url(url);
        self.repeated(Level::Warning, why, &format!("request failed: {method} {url}: {why}"));
    }

    /// Kinds that were not printed each time, with how often each happened.
    pub(crate) fn held_back(&self) -> Vec<(String, u64)> {
        let kinds = self.kinds.borrow();
        let mut all: Vec<(String, u64)> = kinds
            .iter()
            .filter(|(_, count)| **count > MAX_REPEATS)
            .map(|(kind, count)| (kind.clone(), *count))
            .collect();
        if self.others.get() > 0 {
            all.push(("other problems".to_owned(), self.others.get()));
        }
        all
    }
}
