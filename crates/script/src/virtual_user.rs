//! Virtual users: a script's turns as the load engine's iterations.

use crate::engine::{Engine, Kept, Raised, Realm, Resume, Sources, Thread, Wait};
use crate::http::perform_all;
use crate::log::Level;
use crate::metrics::Tags;
use crate::runner::{self, Outcome};
use crate::test::Test;
use crate::user::{Phase, STOPPED, Turn, User};
use anyhow::{Result, anyhow};
use load::drive::{self, Ended, Iteration};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Users that share a runtime: memory is saved, and a collection of cycles stays short.
const USERS_PER_ENGINE: u32 = 250;
/// What an ordinary user needs at most.
const SMALL_USER_BYTES: usize = 4 << 20;

/// Makes virtual users.
pub(crate) struct VirtualUsers {
    pub(crate) test: Rc<Test>,
    pub(crate) sources: Rc<Sources>,
    /// What `setup` returned, as JSON.
    pub(crate) setup_data: RefCell<Option<String>>,
    pub(crate) min_iteration: Duration,
    /// The engine that takes more users, and how many it has.
    open: RefCell<Option<(Rc<Engine>, u32)>>,
    pub(crate) failures: Cell<u64>,
}

impl VirtualUsers {
    pub(crate) fn new(test: &Rc<Test>, sources: &Rc<Sources>, min_iteration: Duration) -> Self {
        Self {
            test: Rc::clone(test),
            sources: Rc::clone(sources),
            setup_data: RefCell::default(),
            min_iteration,
            open: RefCell::default(),
            failures: Cell::new(0),
        }
    }

    fn engine(&self) -> Result<Rc<Engine>> {
        let shared = if self.sources.uses_promises() { 1 } else { USERS_PER_ENGINE };
        // One user that takes it all fails alone, as the others need little more than they have.
        let bytes = |users: u32| {
            let others = (users as usize - 1) * SMALL_USER_BYTES;
            self.test.setup.user_memory_bytes.saturating_add(others)
        };
        let mut open = self.open.borrow_mut();
        if let Some((engine, users)) = open.as_mut().filter(|(_, users)| *users < shared) {
            *users += 1;
            engine.allow(bytes(*users));
            return Ok(Rc::clone(engine));
        }
        let engine = Engine::new(Rc::clone(&self.sources), bytes(1))?;
        *open = Some((Rc::clone(&engine), 1));
        Ok(engine)
    }
}

/// All users as the load engine makes them.
pub(crate) struct Members(pub(crate) Rc<VirtualUsers>);

impl drive::Users for Members {
    type User = VirtualUser;

    async fn create(&self, user: u32) -> Result<VirtualUser> {
        let made = VirtualUser::new(&self.0, &self.0.engine()?, User::new(user, &self.0.test))?;
        self.0.test.users.set(self.0.test.users.get() + 1);
        Ok(made)
    }

    fn not_started(&self, scenario: usize, due: Instant, now: Instant) {
        let test = &self.0.test;
        let tags = OfScenario { test, scenario };
        test.metrics.add(test.metrics.builtin.dropped_iterations, 1.0, &tags);
        test.waiting.borrow_mut().add(now.saturating_duration_since(due).as_secs_f64() * 1e3);
    }
}

struct OfScenario<'a> {
    test: &'a Test,
    scenario: usize,
}

impl Tags for OfScenario<'_> {
    fn has(&self, key: &str, value: &str) -> bool {
        let scenario = self.test.scenarios.get().and_then(|all| all.get(self.scenario));
        match key {
            "scenario" => scenario.map_or("", |scenario| scenario.name.as_str()) == value,
            _ => {
                let tags =
                    scenario.into_iter().flat_map(|scenario| &scenario.tags).chain(&self.test.setup.tags);
                let own = tags.into_iter().find(|(name, _)| name == key);
                own.map_or("", |(_, own)| own.as_str()) == value
            }
        }
    }

    fn each(&self, told: &mut dyn FnMut(&str, &str)) {
        let scenario = self.test.scenarios.get().and_then(|all| all.get(self.scenario));
        told("scenario", scenario.map_or("", |scenario| scenario.name.as_str()));
        let tags = scenario.into_iter().flat_map(|scenario| &scenario.tags).chain(&self.test.setup.tags);
        for (name, value) in tags {
            told(name, value);
        }
    }
}

/// One virtual user with its script.
pub(crate) struct VirtualUser {
    all: Rc<VirtualUsers>,
    pub(crate) user: Rc<User>,
    pub(crate) realm: Rc<Realm>,
    // Dropped before its realm.
    thread: Option<Thread>,
    outcome: Rc<RefCell<Outcome>>,
    has_data: bool,
    scenario: Option<usize>,
}

impl Drop for VirtualUser {
    fn drop(&mut self) {
        self.thread.take();
    }
}

impl VirtualUser {
    /// Evaluates the script for this user and starts its loop.
    pub(crate) fn new(all: &Rc<VirtualUsers>, engine: &Rc<Engine>, user: Rc<User>) -> Result<Self> {
        let realm = Realm::new(engine, &user)?;
        load(&realm, &user)?;
        let outcome = Rc::<RefCell<Outcome>>::default();
        let (of, to) = (Rc::clone(&user), Rc::clone(&outcome));
        user.phase.set(Phase::Iteration);
        let thread =
            Thread::start(Rc::clone(&realm), Rc::clone(&user), move |ctx| runner::run(&ctx, &of, &to))?;
        let (all, thread) = (Rc::clone(all), Some(thread));
        Ok(Self { all, user, realm, thread, outcome, has_data: false, scenario: None })
    }

    /// Runs the function of the user's phase to its end; `None` where the script can never run again.
    pub(crate) async fn turn(&mut self) -> Option<Outcome> {
        let mut with = Resume::Go;
        loop {
            let wait = self.thread.as_mut().and_then(|thread| thread.resume(with));
            match wait {
                None => return None,
                Some(Wait::Idle) => return Some(self.outcome.take()),
                Some(Wait::Sleep(time)) => {
                    tokio::time::sleep(time).await;
                    with = Resume::Go;
                }
                Some(Wait::Bell(until)) => {
                    let rung = self.user.bell.notified();
                    match until {
                        // Which of both it was, the script sees for itself.
                        Some(until) => drop(tokio::time::timeout_at(until.into(), rung).await),
                        None => rung.await,
                    }
                    with = Resume::Go;
                }
                Some(Wait::Http(calls, parallel)) => {
                    // Boxed: a user that sleeps does not hold the room that a request needs.
                    let exchanges = Box::pin(perform_all(&self.user, calls, parallel)).await;
                    self.user.test.heard(Instant::now());
                    with = Resume::Http(exchanges);
                }
            }
        }
    }

    /// Hands over what `setup` returned.
    pub(crate) fn give_data(&self, json: Option<&str>) -> Result<()> {
        let given = self.realm.with(&self.user, |ctx| {
            let value = match json {
                Some(json) => ctx.json_parse(json.as_bytes()),
                None => Ok(rquickjs::Value::new_undefined(ctx.clone())),
            };
            value.map(|value| self.realm.keep(ctx, Kept::SetupData, value))
        });
        given.map_err(|_| anyhow!("what setup returned is no JSON"))
    }

    fn begin(&mut self, iteration: &Iteration) {
        if !self.has_data {
            self.has_data = true;
            let data = self.all.setup_data.borrow();
            if let Some(json) = data.as_deref()
                && let Err(error) = self.give_data(Some(json))
            {
                self.user.test.log.repeated(Level::Error, "setup data", &error.to_string());
            }
        }
        self.user.turn.replace(Some(Turn {
            scenario: iteration.scenario,
            scenario_started: iteration.scenario_started,
            in_scenario: iteration.in_scenario,
            of_user: iteration.of_user,
            of_user_in_scenario: iteration.of_user_in_scenario,
        }));
        self.user.due.set(iteration.due);
        self.user.group.borrow_mut().clear();
        if self.user.test.setup.fresh_connections && iteration.of_user > 0 {
            self.user.pool.close_idle();
        }
        if !self.user.test.setup.keep_cookies {
            self.user.jar.take();
        }
        if self.scenario != Some(iteration.scenario) {
            let before = self.scenario.replace(iteration.scenario);
            self.user.tags.borrow_mut().clear();
            self.set_env(before);
        }
    }

    /// The scenario's own variables, in place of those of the one that this user was in before.
    fn set_env(&self, before: Option<usize>) {
        let of = |scenario: Option<usize>| {
            let all = self.user.test.scenarios.get();
            all.zip(scenario).and_then(|(all, at)| all.get(at)).map_or(&[][..], |one| &one.env)
        };
        let (old, new) = (of(before), of(self.scenario));
        if old.is_empty() && new.is_empty() {
            return;
        }
        let set = self.realm.with(&self.user, |ctx| {
            let env: rquickjs::Object<'_> = ctx.globals().get("__ENV")?;
            for (name, _) in old {
                match self.user.test.setup.env.get(name) {
                    Some(value) => env.set(name.as_str(), value.as_str())?,
                    None => env.remove(name.as_str())?,
                }
            }
            new.iter().try_for_each(|(name, value)| env.set(name.as_str(), value.as_str()))
        });
        if set.is_err() {
            self.user.test.log.repeated(Level::Error, "env", "a scenario's env cannot be set");
        }
    }

    fn end(&self, started: Instant, outcome: &Outcome) -> Ended {
        let test = &self.user.test;
        let builtin = test.metrics.builtin;
        test.metrics.add(builtin.iterations, 1.0, &*self.user);
        // k6 counts bytes by iteration: a script that sends nothing has both counters, with nothing in them.
        if self.user.turn.borrow().as_ref().is_some_and(|turn| turn.of_user == 0) {
            test.metrics.add(builtin.data_sent, 0.0, &*self.user);
            test.metrics.add(builtin.data_received, 0.0, &*self.user);
        }
        let took = started.elapsed().as_secs_f64() * 1e3;
        test.metrics.add(builtin.iteration_duration, took, &*self.user);
        let Some(raised) = &outcome.failure else { return Ended::Done };
        if raised.mark.as_deref() == Some("abort") || raised.text.contains(STOPPED) {
            return Ended::Done;
        }
        self.all.failures.set(self.all.failures.get() + 1);
        let mut text = explain(raised);
        if let Some(place) = &raised.place {
            text.push_str(&self.all.sources.caret(place));
        }
        test.log.repeated(Level::Error, &text, &text);
        if raised.text.contains("out of memory") { Ended::Broken } else { Ended::Done }
    }
}

/// An exception for people.
pub(crate) fn explain(raised: &Raised) -> String {
    let mut text = raised.to_string();
    if raised.text.contains("interrupted") {
        text.push_str(": it ran too long without waiting for anything");
    } else if raised.text.contains("out of memory") {
        text.push_str(": the bound of one virtual user is reached");
    }
    text
}

/// Evaluates the script in a fresh realm.
pub(crate) fn load(realm: &Rc<Realm>, user: &Rc<User>) -> Result<()> {
    let engine = realm.engine();
    engine.limited(user.test.setup.init_limit, || realm.load(user)).map_err(|raised| {
        if let Some(why) = engine.sources.refused() {
            return anyhow!(why);
        }
        if raised.text.contains("interrupted") {
            let place = raised.place.as_deref().unwrap_or("its module code");
            return anyhow!("the init context ran longer than {:?}, at {place}", user.test.setup.init_limit);
        }
        anyhow!(engine.sources.explain(&raised))
    })
}

impl drive::User for VirtualUser {
    async fn iterate(&mut self, iteration: &Iteration) -> Ended {
        self.begin(iteration);
        let Some(outcome) = self.turn().await else { return Ended::Broken };
        let ended = self.end(iteration.started, &outcome);
        let left = self.all.min_iteration.saturating_sub(iteration.started.elapsed());
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
        ended
    }
}
