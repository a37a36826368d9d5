//! One turn of a user inside its script: calls the function, runs what its promises wait for, keeps what it returned.
//! The outer loop is JavaScript, so that native functions which suspend return before they call any script.

use crate::engine::{Kept, Raised, Resume, Wait, end_of_time, of_value, raised, suspend, throw};
use crate::http;
use crate::user::{Phase, User};
use crate::websocket;
use rquickjs::context::EvalOptions;
use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, Function, Object, Persistent, Promise, Result, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

/// What suspends is called by a function of its own, see [`crate::engine`].
const LOOP: &str = "(idle, begin, pending, wait, settle, end) => {
    const next = () => idle();
    const rest = () => wait();
    while (next()) { begin(); while (pending()) { rest(); settle(); } end(); }
}";

/// How a turn ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<Raised>,
    /// What `setup` and `handleSummary` returned, as JSON.
    pub(crate) returned: Option<String>,
}

/// Whom to tell of a response, or of its failure.
type Arrived = (Persistent<Function<'static>>, Persistent<Function<'static>>, http::Exchange);

/// What the loop's functions share.
struct Runner {
    user: Rc<User>,
    outcome: Rc<RefCell<Outcome>>,
    /// Responses of asynchronous requests that were not handed over yet.
    arrived: RefCell<Vec<Arrived>>,
}

/// The body of a user's coroutine. Ends when the user is stopped.
pub(crate) fn run(ctx: &Ctx<'_>, user: &Rc<User>, outcome: &Rc<RefCell<Outcome>>) {
    let runner =
        Rc::new(Runner { user: Rc::clone(user), outcome: Rc::clone(outcome), arrived: RefCell::default() });
    if let Err(error) = enter(ctx, &runner) {
        let raised = raised(ctx, &error);
        runner.fail(raised);
    }
    runner.arrived.borrow_mut().clear();
    user.events.borrow_mut().clear();
}

fn enter<'js>(ctx: &Ctx<'js>, runner: &Rc<Runner>) -> Result<()> {
    let mut options = EvalOptions::default();
    options.backtrace_barrier = true;
    options.filename = Some("trimtab:loop".to_owned());
    let function: Function<'js> = ctx.eval_with_options(LOOP, options)?;
    let with = |f: fn(&Runner, &Ctx<'js>) -> Result<bool>| {
        let runner = Rc::clone(runner);
        Function::new(ctx.clone(), move |ctx: Ctx<'js>| f(&runner, &ctx))
    };
    let idle = with(Runner::idle)?;
    let begin = with(Runner::begin)?;
    let pending = with(Runner::pending)?;
    let wait = with(Runner::wait)?;
    let settle = with(Runner::settle)?;
    let end = with(Runner::end)?;
    function.call((idle, begin, pending, wait, settle, end))
}

impl Runner {
    fn fail(&self, raised: Raised) {
        self.outcome.borrow_mut().failure.get_or_insert(raised);
    }

    /// Keeps an exception as the outcome of the turn.
    fn note(&self, ctx: &Ctx<'_>, done: Result<()>) {
        if let Err(error) = done {
            self.fail(raised(ctx, &error));
        }
    }

    fn idle(&self, ctx: &Ctx<'_>) -> Result<bool> {
        if self.user.stopping.get() {
            return Ok(false);
        }
        // An exception here is the end, and nobody would see it.
        let more = suspend(ctx, &self.user, Wait::Idle).is_ok();
        if !more {
            drop(ctx.catch());
        }
        Ok(more)
    }

    fn begin(&self, ctx: &Ctx<'_>) -> Result<bool> {
        self.outcome.replace(Outcome::default());
        let done = self.call(ctx);
        self.note(ctx, done);
        Ok(true)
    }

    fn call<'js>(&self, ctx: &Ctx<'js>) -> Result<()> {
        let Some(realm) = self.user.realm() else { return Err(throw(ctx, "the script is not loaded")) };
        let script = realm.kept(ctx, Kept::Script)?;
        let script: &Object<'js> =
            script.as_object().ok_or_else(|| throw(ctx, "the script is not loaded"))?;
        let name = match self.user.phase.get() {
            Phase::Setup => "setup",
            Phase::Teardown => "teardown",
            Phase::Summary => "handleSummary",
            Phase::Init | Phase::Iteration => self.user.scenario().map_or("default", |s| s.exec.as_str()),
        };
        let function: Value<'js> = script.get(name)?;
        let Some(function) = function.as_function() else {
            return Err(throw(ctx, &format!("the script exports no function `{name}`")));
        };
        let data = realm.kept(ctx, Kept::SetupData)?;
        let returned: Value<'js> = function.call((data,))?;
        let keeps = self.user.phase.get() != Phase::Iteration || returned.is_promise();
        realm.keep(ctx, Kept::Returned, if keeps { returned } else { Value::new_undefined(ctx.clone()) });
        Ok(())
    }

    fn returned<'js>(&self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        match self.user.realm() {
            Some(realm) => realm.kept(ctx, Kept::Returned),
            None => Ok(Value::new_undefined(ctx.clone())),
        }
    }

    /// Whether something is still to come.
    fn pending(&self, ctx: &Ctx<'_>) -> Result<bool> {
        while !self.user.stopping.get() && ctx.execute_pending_job() {}
        if self.user.stopping.get() || self.outcome.borrow().failure.is_some() {
            return Ok(false);
        }
        let returned = self.returned(ctx)?;
        let state = returned.as_promise().map(Promise::state);
        let waits = !self.user.events.borrow().is_empty();
        if state == Some(PromiseState::Pending) && !waits {
            self.fail(Raised {
                text: "the function's promise waits for something that never comes".to_owned(),
                ..Raised::default()
            });
        }
        Ok(waits)
    }

    /// Suspends until a response, a timer or a message.
    fn wait(&self, ctx: &Ctx<'_>) -> Result<bool> {
        let asked = self.user.events.borrow_mut().take_asked();
        if asked.is_empty() {
            let (due, heard) = {
                let events = self.user.events.borrow();
                (events.next_due(), events.has_heard())
            };
            if heard || due.is_some_and(|due| due <= Instant::now()) {
                return Ok(true);
            }
            let waited = suspend(ctx, &self.user, Wait::Bell(due)).map(drop);
            self.note(ctx, waited);
            return Ok(true);
        }
        let mut calls = Vec::with_capacity(asked.len());
        let mut promises = Vec::with_capacity(asked.len());
        for one in asked {
            calls.push(one.call);
            promises.push((one.resolve, one.reject));
        }
        let parallel = crate::engine::Parallel { all: calls.len(), per_host: calls.len() };
        match suspend(ctx, &self.user, Wait::Http(calls, parallel)) {
            Ok(Resume::Http(exchanges)) => {
                let arrived = promises.into_iter().zip(exchanges).map(|((yes, no), one)| (yes, no, one));
                self.arrived.borrow_mut().extend(arrived);
            }
            Ok(_) => self.note(ctx, Err(end_of_time(ctx))),
            Err(error) => self.note(ctx, Err(error)),
        }
        Ok(true)
    }

    /// Hands over what has come.
    fn settle(&self, ctx: &Ctx<'_>) -> Result<bool> {
        let arrived = self.arrived.take();
        for (resolve, reject, exchange) in arrived {
            let done = match http::deliver(ctx, &self.user, exchange) {
                Ok(response) => resolve.restore(ctx)?.call::<_, ()>((response,)),
                Err(_) => reject.restore(ctx)?.call::<_, ()>((ctx.catch(),)),
            };
            self.note(ctx, done);
        }
        let due = self.user.events.borrow_mut().take_due(Instant::now());
        for run in due {
            let done = run.restore(ctx)?.call::<_, ()>(());
            self.note(ctx, done);
        }
        let heard = self.user.events.borrow_mut().take_heard();
        for (dispatch, event) in heard {
            let event = websocket::describe(ctx, &self.user, event)?;
            let done = dispatch.restore(ctx)?.call::<_, ()>((event,));
            self.note(ctx, done);
        }
        self.user.events.borrow_mut().forget_closed();
        Ok(true)
    }

    fn end(&self, ctx: &Ctx<'_>) -> Result<bool> {
        let rejection = self.user.events.borrow_mut().take_rejection();
        self.user.events.borrow_mut().clear();
        let mut returned = self.returned(ctx)?;
        if let Some(promise) = returned.as_promise() {
            match promise.result::<Value<'_>>() {
                Some(Ok(value)) => returned = value,
                Some(Err(error)) => {
                    self.note(ctx, Err(error));
                    return Ok(true);
                }
                None => returned = Value::new_undefined(ctx.clone()),
            }
        }
        if let Some(raised) = rejection {
            self.fail(Raised { text: format!("Uncaught (in promise) {}", raised.text), ..raised });
        }
        if self.user.phase.get() != Phase::Iteration && self.outcome.borrow().failure.is_none() {
            match ctx.json_stringify(returned) {
                Ok(json) => {
                    let json = json.map(|json| json.to_string()).transpose()?;
                    self.outcome.borrow_mut().returned = json;
                }
                Err(_) => self.fail(of_value(&ctx.catch())),
            }
        }
        Ok(true)
    }
}
