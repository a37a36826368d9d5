//! Open models: arrivals are due by a pace, whatever users do. A free user takes the next one; where none is free, one
//! is made up to the bound; then the arrival waits or is dropped, as the plan says. Nobody polls: users that become
//! free take overdue arrivals themselves.

use super::plan::{Overflow, Supply};
use super::scene::{Scene, ended_well};
use super::user::{Ended, Users};
use crate::pace::Arrivals;
use crate::timer::Timer;
use anyhow::Result;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::iter::Peekable;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Arrivals handed out in a row before users get a turn.
const BURST: usize = 32;

/// One arrival for one user: when it was due, and since when it could have started.
#[derive(Clone, Copy)]
struct Job {
    due: Instant,
    free: Instant,
}

/// Where an idle user waits.
#[derive(Default)]
struct Seat {
    job: Cell<Option<Job>>,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Seat {
    fn give(&self, job: Job) {
        self.job.set(Some(job));
        self.wake();
    }

    fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next job; `None` at the end.
    async fn job(&self) -> Option<Job> {
        poll_fn(|context| match self.job.take() {
            Some(job) => Poll::Ready(Some(job)),
            None if self.closed.get() => Poll::Ready(None),
            None => {
                let mut waker = self.waker.borrow_mut();
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    *waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }
}

/// What the dispatcher and the users share.
struct Gate<U: Users> {
    scene: Rc<Scene<U>>,
    arrivals: RefCell<Peekable<Arrivals>>,
    overflow: Overflow,
    /// No arrival may start after this.
    last_start: Instant,
    idle: RefCell<Vec<Rc<Seat>>>,
    /// Users that have a task, and how many may have one.
    users: Cell<usize>,
    most: usize,
    /// Prepared users whose task has not run yet: each is about to be idle.
    starting: Cell<usize>,
    closed: Cell<bool>,
    /// A user became idle.
    freed: Notify,
}

impl<U: Users> Gate<U> {
    /// When the next arrival of the window is due.
    fn next_due(&self) -> Option<Instant> {
        let due = *self.arrivals.borrow_mut().peek()?;
        self.scene.started.checked_add(due).filter(|due| *due < self.scene.end)
    }

    fn advance(&self) {
        self.arrivals.borrow_mut().next();
    }

    /// The longest overdue arrival, for a user that became free at `now`.
    fn overdue(&self, now: Instant) -> Option<Job> {
        if self.overflow == Overflow::Drop || self.scene.control.is_stopped() || now > self.last_start {
            return None;
        }
        let due = self.next_due().filter(|due| *due <= now)?;
        self.advance();
        // With room for more users it is the dispatcher that is late.
        let had_room = self.users.get() < self.most || !self.idle.borrow().is_empty();
        Some(Job { due, free: if had_room { due } else { now } })
    }

    /// A user's task: job after job.
    async fn serve(&self, first: Option<Job>) -> Result<()> {
        let seat = Rc::new(Seat::default());
        let mut member = self.scene.crew.take().await?;
        if first.is_none() {
            self.starting.set(self.starting.get() - 1);
        }
        let mut next = first;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None => {
                    self.idle.borrow_mut().push(Rc::clone(&seat));
                    self.freed.notify_one();
                    match seat.job().await {
                        Some(job) => job,
                        None => break,
                    }
                }
            };
            if self.scene.iterate(&mut member, Some((job.due, job.free))).await == Ended::Broken {
                drop(member);
                member = self.scene.crew.take().await?;
            }
            if self.closed.get() {
                break;
            }
            next = self.overdue(Instant::now());
        }
        self.scene.crew.give_back(member);
        Ok(())
    }

    /// No job will come any more.
    fn close(&self) {
        self.closed.set(true);
        for seat in self.idle.take() {
            seat.close();
        }
    }
}

/// What the dispatcher waits for.
enum Next {
    /// The next arrival is due then.
    Due(Instant),
    /// Arrivals are overdue and all users busy, or about to be there.
    Full,
    /// A burst was handed out: others get a turn.
    Turn,
    /// The window holds no more arrivals.
    None,
}

struct Dispatcher<U: Users + 'static> {
    gate: Rc<Gate<U>>,
    tasks: JoinSet<Result<()>>,
}

pub(super) async fn arrivals<U: Users + 'static>(
    scene: &Rc<Scene<U>>,
    arrivals: Arrivals,
    supply: Supply,
    overflow: Overflow,
) -> Result<()> {
    let wait = if let Overflow::Wait(wait) = overflow { wait } else { Duration::ZERO };
    let gate = Rc::new(Gate {
        scene: Rc::clone(scene),
        arrivals: RefCell::new(arrivals.peekable()),
        overflow,
        last_start: scene.end + wait,
        idle: RefCell::default(),
        users: Cell::new(0),
        most: supply.most as usize,
        starting: Cell::new(0),
        closed: Cell::new(false),
        freed: Notify::new(),
    });
    let mut dispatcher = Dispatcher { gate, tasks: JoinSet::new() };
    for _ in 0..supply.prepared {
        dispatcher.add_user(None);
    }
    let done = dispatcher.run().await;
    dispatcher.gate.close();
    let latest = Instant::now().max(scene.end) + scene.graceful_stop;
    done?;
    scene.gather(dispatcher.tasks, latest).await
}

impl<U: Users + 'static> Dispatcher<U> {
    fn add_user(&mut self, job: Option<Job>) {
        let gate = Rc::clone(&self.gate);
        gate.users.set(gate.users.get() + 1);
        gate.starting.set(gate.starting.get() + usize::from(job.is_none()));
        self.tasks.spawn_local(async move { gate.serve(job).await });
    }

    /// Until all arrivals of the window have started, or may not start any more.
    async fn run(&mut self) -> Result<()> {
        let gate = Rc::clone(&self.gate);
        let scene = Rc::clone(&gate.scene);
        let mut timer = Timer::new()?;
        let mut last = std::pin::pin!(tokio::time::sleep_until(gate.last_start.into()));
        let mut stopped = std::pin::pin!(scene.control.stopped());
        loop {
            let now = Instant::now();
            if scene.control.is_stopped() || now > gate.last_start {
                break;
            }
            let next = self.hand_out(now);
            let wake = match next {
                Next::Due(due) => due,
                Next::Full | Next::Turn => now,
                Next::None if now >= scene.end => break,
                Next::None => scene.end,
            };
            tokio::select! {
                biased;
                () = &mut stopped => break,
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => ended_well(done)?,
                () = gate.freed.notified(), if matches!(next, Next::Full) => {}
                () = &mut last, if matches!(next, Next::Full) => break,
                () = timer.until(wake), if !matches!(next, Next::Full) => {}
            }
        }
        self.drop_overdue(Instant::now());
        Ok(())
    }

    /// Gives what is due to users.
    fn hand_out(&mut self, now: Instant) -> Next {
        for _ in 0..BURST {
            let Some(due) = self.gate.next_due() else { return Next::None };
            if due > now {
                return Next::Due(due);
            }
            let job = Job { due, free: due };
            let seat = self.gate.idle.borrow_mut().pop();
            if let Some(seat) = seat {
                seat.give(job);
            } else if self.gate.users.get() < self.gate.most {
                self.add_user(Some(job));
            } else if self.gate.overflow == Overflow::Drop && self.gate.starting.get() == 0 {
                self.gate.scene.drop_arrival(due, now);
            } else {
                return Next::Full;
            }
            self.gate.advance();
        }
        Next::Turn
    }

    /// What was due and never started is told.
    fn drop_overdue(&mut self, now: Instant) {
        while let Some(due) = self.gate.next_due().filter(|due| *due <= now) {
            self.gate.advance();
            self.gate.scene.drop_arrival(due, now);
        }
    }
}
