//! k6/metrics: a script's own counters, gauges, rates and trends.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use super::k6::read_tags;
use crate::engine::{current, throw};
use crate::log::Level;
use crate::metrics::{Contains, Kind};
use crate::user::{Phase, WithTags};
use crate::values::function;
use rquickjs::convert::Coerced;
use rquickjs::function::Opt;
use rquickjs::{Ctx, Object, Result, Value};

pub(super) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "register", register)?;
    function(ctx, group, "add", add)
}

fn register<'js>(ctx: Ctx<'js>, kind: String, name: String, is_time: bool) -> Result<String> {
    let user = current(&ctx)?;
    if user.phase.get() != Phase::Init {
        return Err(throw(&ctx, "metrics must be declared in the init context"));
    }
    let kind = match kind.as_str() {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "rate" => Kind::Rate,
        _ => Kind::Trend,
    };
    let contains = if is_time { Contains::Time } else { Contains::Default };
    match user.test.metrics.register(&name, kind, contains) {
        Ok(_) => Ok(name),
        Err(why) => Err(throw(&ctx, &why)),
    }
}

fn add<'js>(ctx: Ctx<'js>, name: String, value: Value<'js>, tags: Opt<Value<'js>>) -> Result<bool> {
    let user = current(&ctx)?;
    if user.phase.get() == Phase::Init {
        return Err(throw(&ctx, "metrics cannot be added to in the init context"));
    }
    let Some(id) = user.test.metrics.find(&name) else { return Ok(false) };
    if value.is_null() {
        let text = format!("metric '{name}': null was left out");
        user.test.log.repeated(Level::Warning, &text, &text);
        return Ok(false);
    }
    let number = match value.as_bool() {
        Some(truth) => f64::from(u8::from(truth)),
        None => value.get::<Coerced<f64>>()?.0,
    };
    if !number.is_finite() {
        let text = format!("metric '{name}': a value that is no number was left out");
        user.test.log.repeated(Level::Warning, &text, &text);
        return Ok(false);
    }
    let tags = match tags.0.as_ref().and_then(Value::as_object) {
        Some(tags) => read_tags(tags)?,
        None => Vec::new(),
    };
    user.test.metrics.add(id, number, &WithTags { user: &user, tags: &tags });
    Ok(true)
}
