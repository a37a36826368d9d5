//! k6/execution: who runs what, since when, and the ways to end a test.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use crate::engine::{current, throw, throw_marked};
use crate::user::{Turn, User};
use crate::values::{function, text_of};
use rquickjs::function::Opt;
use rquickjs::{Ctx, IntoJs, Object, Result, Value};
use std::time::Instant;

/// The mark of exceptions that end the test.
pub(crate) const ABORT: &str = "abort";

pub(super) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "vu", vu)?;
    function(ctx, group, "scenario", scenario)?;
    function(ctx, group, "instance", instance)?;
    function(ctx, group, "abort", abort)?;
    function(ctx, group, "fail", fail)?;
    function(ctx, group, "options", options)?;
    function(ctx, group, "tag", tag)?;
    function(ctx, group, "setTag", set_tag)?;
    function(ctx, group, "deleteTag", delete_tag)?;
    function(ctx, group, "tags", tags)
}

fn turn_of(ctx: &Ctx<'_>, user: &User) -> Result<Turn> {
    user.turn
        .borrow()
        .clone()
        .ok_or_else(|| throw(ctx, "getting scenario information outside of the VU context is not supported"))
}

fn vu<'js>(ctx: Ctx<'js>, name: String) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    match name.as_str() {
        "idInInstance" | "idInTest" => user.id.into_js(&ctx),
        "iterationInInstance" => (turn_of(&ctx, &user)?.of_user as f64).into_js(&ctx),
        "iterationInScenario" => (turn_of(&ctx, &user)?.of_user_in_scenario as f64).into_js(&ctx),
        _ => Ok(Value::new_undefined(ctx)),
    }
}

fn scenario<'js>(ctx: Ctx<'js>, name: String) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    let turn = turn_of(&ctx, &user)?;
    let Some(scenario) = user.scenario() else { return Ok(Value::new_undefined(ctx)) };
    match name.as_str() {
        "name" => scenario.name.as_str().into_js(&ctx),
        "executor" => scenario.executor_name.into_js(&ctx),
        "startTime" => {
            let since = turn.scenario_started.saturating_duration_since(user.test.started);
            let ms = crate::http::unix_ms(user.test.unix_start + since);
            (ms as f64).into_js(&ctx)
        }
        "progress" => {
            let whole = scenario.plan.executor.duration().as_secs_f64().max(1e-9);
            let gone = Instant::now().saturating_duration_since(turn.scenario_started).as_secs_f64();
            (gone / whole).min(1.0).into_js(&ctx)
        }
        "iterationInInstance" | "iterationInTest" => (turn.in_scenario as f64).into_js(&ctx),
        _ => Ok(Value::new_undefined(ctx)),
    }
}

fn instance<'js>(ctx: Ctx<'js>, name: String) -> Result<f64> {
    let user = current(&ctx)?;
    let counts = user.test.control.counts();
    Ok(match name.as_str() {
        "iterationsInterrupted" => counts.interrupted as f64,
        "iterationsCompleted" => counts.completed as f64,
        "vusActive" => f64::from(counts.active),
        "vusInitialized" => f64::from(user.test.users.get()),
        "currentTestRunDuration" => user.test.started.elapsed().as_secs_f64() * 1e3,
        _ => f64::NAN,
    })
}

fn reason(why: &Opt<Value<'_>>) -> Result<Option<String>> {
    why.0.as_ref().filter(|why| !why.is_undefined()).map(text_of).transpose()
}

fn abort<'js>(ctx: Ctx<'js>, why: Opt<Value<'js>>) -> Result<()> {
    let user = current(&ctx)?;
    let text = match reason(&why)? {
        Some(why) => format!("test aborted: {why}"),
        None => "test aborted".to_owned(),
    };
    user.test.abort(&text);
    Err(throw_marked(&ctx, ABORT, &text))
}

fn fail<'js>(ctx: Ctx<'js>, why: Opt<Value<'js>>) -> Result<()> {
    let user = current(&ctx)?;
    user.test.failed.set(true);
    let text = reason(&why)?.unwrap_or_else(|| "the test was marked as failed".to_owned());
    user.test.log.say(crate::log::Level::Error, &text);
    Ok(())
}

fn options<'js>(ctx: Ctx<'js>) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    let json = if user.test.setup.options_json.is_empty() { "{}" } else { &user.test.setup.options_json };
    ctx.json_parse(json.as_bytes())
}

fn tag<'js>(ctx: Ctx<'js>, name: String) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    let own = user.tags.borrow().iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let known = own.or_else(|| match name.as_str() {
        "scenario" => user.scenario().map(|scenario| scenario.name.clone()),
        "group" => Some(user.group.borrow().clone()),
        _ => {
            let tags = user.scenario().map(|scenario| &scenario.tags);
            let all = tags.into_iter().flatten().chain(&user.test.setup.tags);
            all.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        }
    });
    known.into_js(&ctx)
}

/// Tags of one user.
const MAX_TAGS: usize = 100;

fn set_tag<'js>(ctx: Ctx<'js>, name: String, value: Value<'js>) -> Result<()> {
    let user = current(&ctx)?;
    if value.is_object() || value.is_null() || value.is_undefined() {
        return Err(throw(&ctx, &format!("the tag `{name}` must be a string, a number or a boolean")));
    }
    let value = text_of(&value)?;
    let mut tags = user.tags.borrow_mut();
    if let Some(known) = tags.iter_mut().find(|(known, _)| *known == name) {
        known.1 = value;
        return Ok(());
    }
    if tags.len() >= MAX_TAGS {
        return Err(throw(&ctx, &format!("more than {MAX_TAGS} tags")));
    }
    tags.push((name, value));
    Ok(())
}

fn delete_tag<'js>(ctx: Ctx<'js>, name: String) -> Result<()> {
    current(&ctx)?.tags.borrow_mut().retain(|(known, _)| *known != name);
    Ok(())
}

fn tags<'js>(ctx: Ctx<'js>) -> Result<Object<'js>> {
    let user = current(&ctx)?;
    let object = Object::new(ctx.clone())?;
    object.set("group", user.group.borrow().as_str())?;
    let scenario = user.scenario();
    if let Some(scenario) = scenario {
        object.set("scenario", scenario.name.as_str())?;
    }
    let lower = user.test.setup.tags.iter().chain(scenario.into_iter().flat_map(|scenario| &scenario.tags));
    for (name, value) in lower.chain(user.tags.borrow().iter()) {
        object.set(name.as_str(), value.as_str())?;
    }
    Ok(object)
}
