//! One scenario while it runs: its numbers, and one iteration from its count to its end.

use super::control::Control;
use super::user::{Crew, Ended, Iteration, Member, User, Users};
use anyhow::{Result, anyhow};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What became of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driven {
    pub name: String,
    /// Iterations that ended by themselves.
    pub completed: u64,
    /// Cut off at the end.
    pub interrupted: u64,
    /// Arrivals that never started.
    pub dropped: u64,
    /// In which iterations could begin; shorter than planned where the work was done or the test was stopped.
    pub window: Duration,
}

pub(crate) struct Scene<U: Users> {
    pub(crate) crew: Crew<U>,
    pub(crate) control: Control,
    pub(crate) index: usize,
    pub(crate) name: Rc<str>,
    pub(crate) started: Instant,
    /// When no iteration begins any more.
    pub(crate) end: Instant,
    pub(crate) graceful_stop: Duration,
    next: Cell<u64>,
    pub(crate) completed: Cell<u64>,
    pub(crate) interrupted: Cell<u64>,
    pub(crate) dropped: Cell<u64>,
}

impl<U: Users> Scene<U> {
    pub(crate) fn new(
        crew: Crew<U>,
        control: Control,
        (index, plan): (usize, &super::Plan),
        started: Instant,
    ) -> Rc<Self> {
        Rc::new(Self {
            crew,
            control,
            index,
            name: plan.name.as_str().into(),
            started,
            end: started + plan.executor.duration(),
            graceful_stop: plan.graceful_stop,
            next: Cell::new(0),
            completed: Cell::new(0),
            interrupted: Cell::new(0),
            dropped: Cell::new(0),
        })
    }

    /// Whether iterations may begin.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        now < self.end && !self.control.is_stopped()
    }

    pub(crate) fn drop_arrival(&self, due: Instant, now: Instant) {
        self.dropped.set(self.dropped.get() + 1);
        self.control.change(|counts| counts.dropped += 1);
        self.crew.users().not_started(self.index, due, now);
    }

    /// One iteration. `due` and since when it could have started; both absent in closed models.
    pub(crate) async fn iterate(
        &self,
        member: &mut Member<U::User>,
        due: Option<(Instant, Instant)>,
    ) -> Ended {
        // Users that never wait leave the others a turn.
        tokio::task::consume_budget().await;
        let started = Instant::now();
        let in_scenario = self.next.replace(self.next.get() + 1);
        let (of_user, of_user_in_scenario) = member.count(self.index);
        let iteration = Iteration {
            scenario: self.index,
            name: Rc::clone(&self.name),
            scenario_started: self.started,
            in_scenario,
            in_test: self.control.share().number(in_scenario),
            user: member.id,
            of_user,
            of_user_in_scenario,
            due: due.map(|(due, _)| due),
            free: due.map_or(started, |(_, free)| free),
            started,
        };
        let going = Going::begin(self);
        let ended = member.user.iterate(&iteration).await;
        going.end();
        ended
    }

    /// Iterates again and again while `more` says so, then gives the user back. A broken user is replaced.
    pub(crate) async fn repeat(
        &self,
        mut member: Member<U::User>,
        mut more: impl FnMut() -> bool,
    ) -> Result<()> {
        while self.is_open(Instant::now()) && more() {
            if self.iterate(&mut member, None).await == Ended::Broken {
                drop(member);
                member = self.crew.take().await?;
            }
        }
        self.crew.give_back(member);
        Ok(())
    }

    /// When iterations that go on are cut off.
    pub(crate) fn latest_end(&self) -> Instant {
        self.end + self.graceful_stop
    }

    /// Waits for the users' tasks; those that are not done by `latest` are cut off.
    pub(crate) async fn gather(&self, mut tasks: JoinSet<Result<()>>, latest: Instant) -> Result<()> {
        let mut cut = std::pin::pin!(self.control.cut(latest));
        loop {
            tokio::select! {
                biased;
                next = tasks.join_next() => match next {
                    Some(done) => ended_well(done)?,
                    None => return Ok(()),
                },
                () = &mut cut => break,
            }
        }
        tasks.shutdown().await;
        Ok(())
    }

    pub(crate) fn driven(&self) -> Driven {
        let until = self.end.min(Instant::now());
        Driven {
            name: self.name.to_string(),
            completed: self.completed.get(),
            interrupted: self.interrupted.get(),
            dropped: self.dropped.get(),
            window: until.saturating_duration_since(self.started),
        }
    }
}

pub(crate) fn ended_well(done: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    done.map_err(|error| anyhow!("a user's task failed: {error}"))?
}

/// Counts an iteration as interrupted unless it ended.
struct Going<'a, U: Users> {
    scene: &'a Scene<U>,
    interrupted: bool,
}

impl<'a, U: Users> Going<'a, U> {
    fn begin(scene: &'a Scene<U>) -> Self {
        scene.control.change(|counts| counts.active += 1);
        Self { scene, interrupted: true }
    }

    fn end(mut self) {
        self.interrupted = false;
    }
}

impl<U: Users> Drop for Going<'_, U> {
    fn drop(&mut self) {
        let (scene, interrupted) = (self.scene, self.interrupted);
        let count = if interrupted { &scene.interrupted } else { &scene.completed };
        count.set(count.get() + 1);
        scene.control.change(|counts| {
            counts.active -= 1;
            *(if interrupted { &mut counts.interrupted } else { &mut counts.completed }) += 1;
        });
    }
}
