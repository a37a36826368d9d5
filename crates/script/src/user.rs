//! One virtual user as native code sees it: who it is, what it is doing, its tags, cookies, connections and chance.

use crate::engine::{Doorway, Realm};
use crate::events::Events;
use crate::http::{Expected, Jar};
use crate::metrics::Tags;
use crate::test::Test;
use load::http::Pool;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

/// The exception of a user whose time is over.
pub(crate) const STOPPED: &str = "the iteration was cut off";

/// What a user's script is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Module code: files may be opened, nothing may be sent.
    Init,
    Setup,
    Iteration,
    Teardown,
    Summary,
}

/// The turn that a user is in.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Index into the test's scenarios.
    pub(crate) scenario: usize,
    pub(crate) scenario_started: Instant,
    /// From 0, over all users of the scenario.
    pub(crate) in_scenario: u64,
    /// From 0, of this user.
    pub(crate) of_user: u64,
    pub(crate) of_user_in_scenario: u64,
}

pub(crate) struct User {
    /// From 1; 0 for what no virtual user runs: setup, teardown, summary.
    pub(crate) id: u32,
    pub(crate) test: Rc<Test>,
    pub(crate) pool: Pool,
    pub(crate) jar: RefCell<Jar>,
    pub(crate) expected: RefCell<Expected>,
    pub(crate) random: RefCell<Xoshiro256PlusPlus>,
    pub(crate) events: RefCell<Events>,
    /// Rung when something came over a WebSocket.
    pub(crate) bell: tokio::sync::Notify,
    pub(crate) phase: Cell<Phase>,
    pub(crate) turn: RefCell<Option<Turn>>,
    /// `::a::b`; empty outside groups.
    pub(crate) group: RefCell<String>,
    /// `exec.vu.metrics.tags`, over the scenario's and the test's.
    pub(crate) tags: RefCell<Vec<(String, String)>>,
    /// In open models: when the iteration was due, until its first response.
    pub(crate) due: Cell<Option<Instant>>,
    pub(crate) stopping: Cell<bool>,
    /// When its turn is over in any case.
    pub(crate) ends: Cell<Option<Instant>>,
    realm: RefCell<Weak<Realm>>,
    doorway: Cell<Option<Doorway>>,
}

impl User {
    pub(crate) fn new(id: u32, test: &Rc<Test>) -> Rc<Self> {
        let seed = test.setup.seed ^ u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Rc::new(Self {
            id,
            test: Rc::clone(test),
            pool: test.client.pool(),
            jar: RefCell::default(),
            expected: RefCell::default(),
            random: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
            events: RefCell::default(),
            bell: tokio::sync::Notify::new(),
            phase: Cell::new(Phase::Init),
            turn: RefCell::default(),
            group: RefCell::default(),
            tags: RefCell::default(),
            due: Cell::new(None),
            stopping: Cell::new(false),
            ends: Cell::new(None),
            realm: RefCell::default(),
            doorway: Cell::new(None),
        })
    }

    pub(crate) fn set_realm(&self, realm: &Rc<Realm>) {
        self.realm.replace(Rc::downgrade(realm));
    }

    pub(crate) fn realm(&self) -> Option<Rc<Realm>> {
        self.realm.borrow().upgrade()
    }

    pub(crate) fn doorway(&self) -> Option<Doorway> {
        self.doorway.get()
    }

    pub(crate) fn set_doorway(&self, doorway: Option<Doorway>) {
        self.doorway.set(doorway);
    }

    /// The name of the scenario that it is in.
    pub(crate) fn scenario(&self) -> Option<&crate::options::Scenario> {
        let index = self.turn.borrow().as_ref()?.scenario;
        self.test.scenarios.get()?.get(index)
    }
}

impl Tags for User {
    fn has(&self, key: &str, value: &str) -> bool {
        if let Some((_, own)) = self.tags.borrow().iter().find(|(name, _)| name == key) {
            return own == value;
        }
        let scenario = self.scenario();
        if let Some((_, own)) = scenario.and_then(|s| s.tags.iter().find(|(name, _)| name == key)) {
            return own == value;
        }
        match key {
            "group" => *self.group.borrow() == value,
            "scenario" => scenario.map_or("", |scenario| scenario.name.as_str()) == value,
            "vu" => self.id.to_string() == value,
            "iter" => self.turn.borrow().as_ref().is_some_and(|turn| turn.of_user.to_string() == value),
            _ => match self.test.setup.tags.iter().find(|(name, _)| name == key) {
                Some((_, own)) => own == value,
                None => value.is_empty(),
            },
        }
    }

    fn each(&self, told: &mut dyn FnMut(&str, &str)) {
        let scenario = self.scenario();
        for (name, value) in &*self.tags.borrow() {
            told(name, value);
        }
        for (name, value) in scenario.iter().flat_map(|scenario| &scenario.tags) {
            told(name, value);
        }
        told("group", &self.group.borrow());
        told("scenario", scenario.map_or("", |scenario| scenario.name.as_str()));
        if self.id > 0 {
            told("vu", &self.id.to_string());
        }
        if let Some(turn) = &*self.turn.borrow() {
            told("iter", &turn.of_user.to_string());
        }
        for (name, value) in &self.test.setup.tags {
            told(name, value);
        }
    }
}

/// A user's tags with some of a sample.
pub(crate) struct WithTags<'a> {
    pub(crate) user: &'a User,
    pub(crate) tags: &'a [(String, String)],
}

impl Tags for WithTags<'_> {
    fn has(&self, key: &str, value: &str) -> bool {
        match self.tags.iter().find(|(name, _)| name == key) {
            Some((_, own)) => own == value,
            None => self.user.has(key, value),
        }
    }

    fn each(&self, told: &mut dyn FnMut(&str, &str)) {
        for (name, value) in self.tags {
            told(name, value);
        }
        self.user.each(told);
    }
}
