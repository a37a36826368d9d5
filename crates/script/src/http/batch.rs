//! `http.batch`: many requests at once, from an array or an object, in any of k6's forms.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use super::params::Verb;
use super::{Call, params, response};
use crate::engine::{Parallel, Resume, Wait, current, suspend, throw};
use crate::user::User;
use crate::values::text_of;
use http::Method;
use rquickjs::{Array, Ctx, Object, Result, Value};

/// Requests of one batch.
const MAX_REQUESTS: usize = 10_000;

pub(super) fn batch<'js>(ctx: Ctx<'js>, requests: Value<'js>) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    let Some(object) = requests.as_object() else {
        return Err(throw(&ctx, "http.batch takes an array or an object of requests"));
    };
    let mut keys = Vec::new();
    let mut calls = Vec::new();
    for entry in object.props::<String, Value<'js>>() {
        let (key, value) = entry?;
        if keys.len() >= MAX_REQUESTS {
            return Err(throw(&ctx, &format!("a batch of more than {MAX_REQUESTS} requests")));
        }
        keys.push(key);
        calls.push(one(&ctx, &user, &value)?);
    }
    let options = &user.test.setup.http;
    let parallel = Parallel { all: options.batch, per_host: options.batch_per_host };
    let exchanges = match calls.is_empty() {
        true => Vec::new(),
        false => match suspend(&ctx, &user, Wait::Http(calls, parallel))? {
            Resume::Http(exchanges) => exchanges,
            _ => return Err(throw(&ctx, "the batch was cut off")),
        },
    };
    if requests.is_array() {
        let out = Array::new(ctx.clone())?;
        for (index, exchange) in exchanges.into_iter().enumerate() {
            out.set(index, response::deliver(&ctx, &user, exchange)?)?;
        }
        return Ok(out.into_value());
    }
    let out = Object::new(ctx.clone())?;
    for (key, exchange) in keys.into_iter().zip(exchanges) {
        out.set(key, response::deliver(&ctx, &user, exchange)?)?;
    }
    Ok(out.into_value())
}

/// `'url'`, `['GET', 'url', body, params]` or `{ method, url, body, params }`.
fn one<'js>(ctx: &Ctx<'js>, user: &User, value: &Value<'js>) -> Result<Call> {
    let nothing = Value::new_undefined(ctx.clone());
    if let Some(array) = value.as_array() {
        let at = |index: usize| array.get::<Value<'js>>(index);
        if array.len() < 2 {
            return Err(throw(ctx, "a request of a batch names a method and a URL"));
        }
        let method = Verb::Named(text_of(&at(0)?)?);
        return params::call(ctx, user, method, &at(1)?, Some((&at(2)?, Some(&at(3)?))));
    }
    // An object with a name is what http.url returned.
    match value.as_object() {
        Some(object) if !object.contains_key("name")? => {
            let method: Value<'js> = object.get("method")?;
            let method = match method.is_undefined() {
                true => Verb::Known(Method::GET),
                false => Verb::Named(text_of(&method)?),
            };
            let (body, params): (Value<'js>, Value<'js>) = (object.get("body")?, object.get("params")?);
            params::call(ctx, user, method, &object.get("url")?, Some((&body, Some(&params))))
        }
        _ => params::call(ctx, user, Verb::Known(Method::GET), value, Some((&nothing, None))),
    }
}
