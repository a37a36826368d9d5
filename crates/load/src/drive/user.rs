//! Who iterates: the seam between executors and fronts, and the crew of users that scenarios borrow from.

use anyhow::{Context, Result};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One turn of a user.
#[derive(Clone, Debug)]
pub struct Iteration {
    /// Index into the plans.
    pub scenario: usize,
    pub name: Rc<str>,
    pub scenario_started: Instant,
    /// From 0, without gaps, over all users of the scenario here.
    pub in_scenario: u64,
    /// The same over all generators that share the load: each has its own numbers.
    pub in_test: u64,
    /// From 1.
    pub user: u32,
    /// Iterations that this user began before, in all and in this scenario.
    pub of_user: u64,
    pub of_user_in_scenario: u64,
    /// In arrival models: when it was due. A response time counts from here.
    pub due: Option<Instant>,
    /// From when it could have started: when it was due, or when a user became free for it.
    pub free: Instant,
    pub started: Instant,
}

impl Iteration {
    /// It waited for a user.
    #[must_use]
    pub fn was_held_back(&self) -> bool {
        self.due.is_some_and(|due| self.free > due)
    }

    /// The generator's own delay.
    #[must_use]
    pub fn lateness(&self) -> Duration {
        self.started.saturating_duration_since(self.free)
    }
}

/// How an iteration ended, as far as the executor has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well or not: the user goes on.
    Done,
    /// The user cannot go on: another one takes its place.
    Broken,
}

/// One virtual user. Lives on one thread.
pub trait User {
    /// One turn. Dropping the future interrupts it; the user is then dropped, too.
    fn iterate(&mut self, iteration: &Iteration) -> impl Future<Output = Ended>;
}

/// Makes users, and hears what users cannot know.
pub trait Users {
    type User: User + 'static;

    /// `user` counts from 1.
    ///
    /// # Errors
    /// Ends the test.
    fn create(&self, user: u32) -> impl Future<Output = Result<Self::User>>;

    /// An arrival of a scenario that never started: dropped, or still waiting at the end of the test.
    fn not_started(&self, scenario: usize, due: Instant, now: Instant) {
        let _ = (scenario, due, now);
    }
}

/// A user and what is known of it.
pub(crate) struct Member<T> {
    pub(crate) user: T,
    pub(crate) id: u32,
    iterations: u64,
    /// Of the scenario that it was last in.
    scenario: usize,
    in_scenario: u64,
}

impl<T> Member<T> {
    /// Counts an iteration and returns how many there were before, in all and in this scenario.
    pub(crate) fn count(&mut self, scenario: usize) -> (u64, u64) {
        if self.scenario != scenario {
            (self.scenario, self.in_scenario) = (scenario, 0);
        }
        let before = (self.iterations, self.in_scenario);
        self.iterations += 1;
        self.in_scenario += 1;
        before
    }
}

/// Users that are made once and borrowed by scenarios. Clones share them.
pub struct Crew<U: Users>(Rc<Shared<U>>);

struct Shared<U: Users> {
    users: U,
    idle: RefCell<Vec<Member<U::User>>>,
    made: Cell<u32>,
}

impl<U: Users> Clone for Crew<U> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<U: Users> Crew<U> {
    #[must_use]
    pub fn new(users: U) -> Self {
        Self(Rc::new(Shared { users, idle: RefCell::default(), made: Cell::new(0) }))
    }

    #[must_use]
    pub fn users(&self) -> &U {
        &self.0.users
    }

    /// Users made so far.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.0.made.get()
    }

    /// Makes users until `count` are idle.
    ///
    /// # Errors
    /// A user that cannot be made.
    pub async fn prepare(&self, count: u32) -> Result<()> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        while self.0.idle.borrow().len() < count {
            let member = self.make().await?;
            self.0.idle.borrow_mut().push(member);
        }
        // The first made is the first used.
        self.0.idle.borrow_mut().sort_by_key(|member| std::cmp::Reverse(member.id));
        Ok(())
    }

    pub(crate) async fn take(&self) -> Result<Member<U::User>> {
        let idle = self.0.idle.borrow_mut().pop();
        match idle {
            Some(member) => Ok(member),
            None => self.make().await,
        }
    }

    pub(crate) fn give_back(&self, member: Member<U::User>) {
        self.0.idle.borrow_mut().push(member);
    }

    async fn make(&self) -> Result<Member<U::User>> {
        let id = self.0.made.get() + 1;
        self.0.made.set(id);
        let user = self.0.users.create(id).await.with_context(|| format!("virtual user {id}"))?;
        Ok(Member { user, id, iterations: 0, scenario: usize::MAX, in_scenario: 0 })
    }
}
