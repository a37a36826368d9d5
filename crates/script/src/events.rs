//! What a user waits for beside its own code: timers, asynchronous requests, WebSockets.

use crate::engine::{Raised, throw};
use crate::http::Call;
use crate::websocket::{Event, Socket};
use rquickjs::{Ctx, Function, Persistent, Result, Value};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Timers and requests that one user waits for at once.
const MAX_WAITING: usize = 10_000;
/// WebSockets of one user.
const MAX_SOCKETS: usize = 1_000;
/// Rejected promises that are kept to be told of.
const MAX_REJECTED: usize = 100;
/// Events of one WebSocket that are handled before anything else is looked at.
const MAX_AT_ONCE: usize = 100;

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
    sockets: BTreeMap<u32, Rc<Socket>>,
    next_socket: u32,
    /// Promises that were rejected and that nobody has looked at.
    rejected: Vec<(Persistent<Value<'static>>, Raised)>,
}

/// Whom to tell of what came over a WebSocket.
type Heard = (Persistent<Function<'static>>, Event);

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

    /// A promise was rejected, or is looked at after all.
    pub(crate) fn rejection<'js>(&mut self, ctx: &Ctx<'js>, promise: Value<'js>, why: Option<Raised>) {
        match why {
            Some(why) if self.rejected.len() < MAX_REJECTED => {
                self.rejected.push((Persistent::save(ctx, promise), why));
            }
            Some(_) => {}
            None => {
                self.rejected
                    .retain(|(known, _)| known.clone().restore(ctx).is_ok_and(|known| known != promise));
            }
        }
    }

    /// Why the first promise was rejected that nobody has looked at.
    pub(crate) fn take_rejection(&mut self) -> Option<Raised> {
        let first = self.rejected.drain(..).next()?;
        Some(first.1)
    }

    pub(crate) fn add_socket(&mut self, ctx: &Ctx<'_>, socket: Rc<Socket>) -> Result<u32> {
        if self.sockets.len() >= MAX_SOCKETS {
            return Err(throw(ctx, &format!("more than {MAX_SOCKETS} WebSockets at once")));
        }
        self.next_socket += 1;
        self.sockets.insert(self.next_socket, socket);
        Ok(self.next_socket)
    }

    pub(crate) fn socket(&self, id: u32) -> Option<Rc<Socket>> {
        self.sockets.get(&id).cloned()
    }

    pub(crate) fn remove_socket(&mut self, id: u32) -> Option<Rc<Socket>> {
        self.sockets.remove(&id)
    }

    /// Whether a WebSocket has something for its listeners.
    pub(crate) fn has_heard(&self) -> bool {
        self.sockets.values().any(|socket| socket.dispatch.is_some() && socket.has_events())
    }

    /// What came over WebSockets for listeners.
    pub(crate) fn take_heard(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        for socket in self.sockets.values() {
            let Some(dispatch) = &socket.dispatch else { continue };
            let events = std::iter::from_fn(|| socket.take()).take(MAX_AT_ONCE);
            heard.extend(events.map(|event| (dispatch.clone(), event)));
        }
        heard
    }

    pub(crate) fn forget_closed(&mut self) {
        self.sockets.retain(|_, socket| socket.dispatch.is_none() || !socket.is_over());
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
        self.timers.is_empty()
            && self.asked.is_empty()
            && !self.sockets.values().any(|socket| socket.dispatch.is_some())
    }

    /// Forgets everything: the iteration is over.
    pub(crate) fn clear(&mut self) {
        self.timers.clear();
        self.asked.clear();
        self.sockets.clear();
        self.rejected.clear();
    }
}
