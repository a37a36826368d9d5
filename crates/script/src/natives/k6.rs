//! k6: check, sleep, group, fail, randomSeed.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use crate::engine::{Wait, current, suspend, throw};
use crate::user::{Phase, User, WithTags};
use crate::values::{function, text_of};
use rand::{Rng, SeedableRng};
use rquickjs::convert::Coerced;
use rquickjs::function::Opt;
use rquickjs::{Ctx, Function, Object, Result, Value};
use std::time::{Duration, Instant};

pub(super) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "check", check)?;
    function(ctx, group, "sleep", sleep)?;
    function(ctx, group, "group", in_group)?;
    function(ctx, group, "fail", fail)?;
    function(ctx, group, "randomSeed", random_seed)
}

/// Counts each condition; the result is whether all hold.
fn check<'js>(
    ctx: Ctx<'js>,
    value: Value<'js>,
    conditions: Value<'js>,
    tags: Opt<Value<'js>>,
) -> Result<bool> {
    let user = current(&ctx)?;
    if user.phase.get() == Phase::Init {
        return Err(throw(&ctx, "using check() in the init context is not supported"));
    }
    let Some(conditions) = conditions.as_object() else {
        return Err(throw(&ctx, "no checks provided to `check`"));
    };
    let mut tags = match tags.0.as_ref().and_then(Value::as_object) {
        Some(tags) => read_tags(tags)?,
        None => Vec::new(),
    };
    let own_tags = tags.len();
    let mut all = true;
    for entry in conditions.props::<String, Value<'js>>() {
        let (name, condition) = entry?;
        let result = match condition.as_function() {
            Some(function) => function.call::<_, Value<'js>>((value.clone(),)),
            None => Ok(condition),
        };
        let passed = match &result {
            Ok(result) => truth(result)?,
            Err(_) => false,
        };
        all &= passed;
        tags.truncate(own_tags);
        count(&user, &name, passed, &mut tags);
        result?;
    }
    Ok(all)
}

fn truth(value: &Value<'_>) -> Result<bool> {
    match value.as_bool() {
        Some(truth) => Ok(truth),
        None => Ok(value.get::<Coerced<bool>>()?.0),
    }
}

fn count(user: &User, name: &str, passed: bool, tags: &mut Vec<(String, String)>) {
    let metrics = &user.test.metrics;
    metrics.checks.count(&user.group.borrow(), name, passed);
    tags.push(("check".to_owned(), name.to_owned()));
    metrics.add(metrics.builtin.checks, f64::from(u8::from(passed)), &WithTags { user, tags });
}

/// An object's properties as tags.
pub(super) fn read_tags(object: &Object<'_>) -> Result<Vec<(String, String)>> {
    let mut tags = Vec::new();
    for entry in object.props::<String, Value<'_>>() {
        let (name, value) = entry?;
        if !value.is_undefined() && !value.is_null() {
            tags.push((name, text_of(&value)?));
        }
    }
    Ok(tags)
}

fn sleep<'js>(ctx: Ctx<'js>, seconds: Value<'js>) -> Result<()> {
    let user = current(&ctx)?;
    let seconds = seconds.get::<Coerced<f64>>()?.0;
    if seconds.is_nan() || seconds <= 0.0 {
        return Ok(());
    }
    let wait = Wait::Sleep(Duration::from_secs_f64(seconds.min(1e9)));
    suspend(&ctx, &user, wait).map(drop)
}

fn in_group<'js>(ctx: Ctx<'js>, name: Value<'js>, run: Value<'js>) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    let name = text_of(&name)?;
    let Some(run) = run.as_function() else {
        return Err(throw(&ctx, &format!("group(\"{name}\"): the second argument must be a function")));
    };
    if user.phase.get() == Phase::Init {
        return Err(throw(&ctx, "using group() in the init context is not supported"));
    }
    if name.contains("::") {
        return Err(throw(&ctx, &format!("group name '{name}' must not contain '::'")));
    }
    let before = user.group.borrow().clone();
    let path = format!("{before}::{name}");
    user.test.metrics.checks.enter(&path);
    user.group.replace(path);
    let started = Instant::now();
    let result: Result<Value<'js>> = Function::call(run, ());
    let took = started.elapsed().as_secs_f64() * 1e3;
    user.test.metrics.add(user.test.metrics.builtin.group_duration, took, &*user);
    user.group.replace(before);
    result
}

fn fail<'js>(ctx: Ctx<'js>, why: Opt<Value<'js>>) -> Result<()> {
    let why = why.0.as_ref().map(text_of).transpose()?.unwrap_or_default();
    Err(throw(&ctx, &why))
}

/// Makes `Math.random` repeatable.
fn random_seed<'js>(ctx: Ctx<'js>, seed: Value<'js>) -> Result<()> {
    let user = current(&ctx)?;
    let seed = seed.as_number().unwrap_or(0.0).to_bits();
    user.random.replace(rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(seed));
    let math: Object<'js> = ctx.globals().get("Math")?;
    function(&ctx, &math, "random", |ctx: Ctx<'js>| {
        let user = current(&ctx)?;
        let random: f64 = user.random.borrow_mut().random();
        Ok::<_, rquickjs::Error>(random)
    })
}
