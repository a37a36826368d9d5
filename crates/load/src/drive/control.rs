//! The end of a test from outside, and its counts while it runs.

use crate::Share;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Counts over all scenarios so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub completed: u64,
    pub interrupted: u64,
    pub dropped: u64,
    /// Iterations going on now.
    pub active: u32,
}

/// A handle on a running test; clones are the same test.
#[derive(Clone, Default)]
pub struct Control(Rc<Inner>);

#[derive(Default)]
struct Inner {
    /// When iterations that go on are cut off.
    cut: Cell<Option<Instant>>,
    stopped: Notify,
    started: Cell<Option<Instant>>,
    counts: Cell<Counts>,
    share: Share,
}

impl Control {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of one generator among several: it drives its share of each plan.
    #[must_use]
    pub fn of_share(share: Share) -> Self {
        Self(Rc::new(Inner { share, ..Inner::default() }))
    }

    #[must_use]
    pub fn share(&self) -> Share {
        self.0.share
    }

    /// No iteration begins any more; those that go on may do so for `grace`. The earliest end counts.
    pub fn stop(&self, grace: Duration) {
        let cut = Instant::now() + grace;
        self.0.cut.set(Some(self.0.cut.get().map_or(cut, |other| other.min(cut))));
        self.0.stopped.notify_waiters();
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.cut.get().is_some()
    }

    /// When the test began; `None` before.
    #[must_use]
    pub fn started(&self) -> Option<Instant> {
        self.0.started.get()
    }

    pub(crate) fn begin(&self, started: Instant) {
        self.0.started.set(Some(started));
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counts.get()
    }

    /// Returns once the test is stopped.
    pub async fn stopped(&self) {
        let mut notified = std::pin::pin!(self.0.stopped.notified());
        notified.as_mut().enable();
        if !self.is_stopped() {
            notified.await;
        }
    }

    /// Returns once iterations that go on are to be cut off: by a stop or at `latest`.
    pub(crate) async fn cut(&self, latest: Instant) {
        loop {
            let mut notified = std::pin::pin!(self.0.stopped.notified());
            notified.as_mut().enable();
            let until = self.0.cut.get().map_or(latest, |cut| cut.min(latest));
            if tokio::time::timeout_at(until.into(), notified).await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.0.counts.get();
        change(&mut counts);
        self.0.counts.set(counts);
    }
}
