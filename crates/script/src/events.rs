//! What a user's promises wait for: timers and asynchronous requests.

use crate::engine::throw;
use crate::http::Call;
use rquickjs::{Ctx, Function, Persistent, Result};
use std::time::{Duration, Instant};

/// Timers and requests that one user waits for at once.
const MAX_WAITING: usize = 10_000;

pub(crate) struct Timer {
    pub(crate) id: u32,
    pub(crate) due: Instant,
    pub(crate) every: Option<Duration>,
    pub(crate) run: Persistent<Function<'static>>,
}

pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(crate) resolve: Persistent<Function<'static>>,
    pub(crate) reject: Persistent<Function<'static>>,
}

#[derive(Default)]
pub(crate) struct Events {
    timers: Vec<Timer>,
    asked: Vec<Asked>,
    next_timer: u32,
}

impl Events {
    pub(crate) fn ask<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        call: Call,
        resolve: Function<'js>,
        reject: Function<'js>,
    ) -> Result<()> {
        if self.asked.len() >= MAX_WAITING {
            return Err(throw(ctx, &format!("more than {MAX_WAITING} requests at once")));
        }
        let (resolve, reject) = (Persistent::save(ctx, resolve), Persistent::save(ctx, reject));
        self.asked.push(Asked { call, resolve, reject });
        Ok(())
    }

    pub(crate) fn set_timer<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        run: Function<'js>,
        delay: Duration,
        repeats: bool,
    ) -> Result<u32> {
        if self.timers.len() >= MAX_WAITING {
            return Err(throw(ctx, &format!("more than {MAX_WAITING} timers at once")));
        }
        self.next_timer += 1;
        let every = repeats.then_some(delay.max(Duration::from_millis(1)));
        let due = Instant::now() + delay;
        self.timers.push(Timer { id: self.next_timer, due, every, run: Persistent::save(ctx, run) });
        Ok(self.next_timer)
    }

    pub(crate) fn clear_timer(&mut self, id: u32) {
        self.timers.retain(|timer| timer.id != id);
    }

    /// Requests that nobody has sent yet.
    pub(crate) fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timers.iter().map(|timer| timer.due).min()
    }

    /// Timers that are due, the earliest first; repeating ones are set again.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Persistent<Function<'static>>> {
        self.timers.sort_by_key(|timer| (timer.due, timer.id));
        let mut due = Vec::new();
        for timer in &mut self.timers {
            if timer.due <= now {
                due.push(timer.run.clone());
                if let Some(every) = timer.every {
                    timer.due = now + every;
                }
            }
        }
        self.timers.retain(|timer| timer.due > now);
        due
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.timers.is_empty() && self.asked.is_empty()
    }

    /// Forgets everything: the iteration is over.
    pub(crate) fn clear(&mut self) {
        self.timers.clear();
        self.asked.clear();
    }
}
