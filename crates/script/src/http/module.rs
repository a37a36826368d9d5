//! The natives behind `import http from 'k6/http'`.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use super::call::Call;
use super::expected::Expected;
use super::params::Verb;
use super::{batch, jar_object, params, response};
use crate::engine::{Kept, Parallel, Resume, Wait, current, proto, suspend, throw};
use crate::user::User;
use crate::values::{function, text_of};
use http::Method;
use rquickjs::function::Opt;
use rquickjs::{Ctx, Object, Promise, Result, Value};
use std::cell::RefCell;
use std::rc::Rc;

const ONE: Parallel = Parallel { all: 1, per_host: 1 };

/// Puts k6/http's functions on `http`.
pub(crate) fn install<'js>(ctx: &Ctx<'js>, http: &Object<'js>) -> Result<()> {
    function(ctx, http, "get", get)?;
    function(ctx, http, "head", head)?;
    function(ctx, http, "post", post)?;
    function(ctx, http, "put", put)?;
    function(ctx, http, "patch", patch)?;
    function(ctx, http, "del", del)?;
    function(ctx, http, "options", options)?;
    function(ctx, http, "request", request)?;
    function(ctx, http, "asyncRequest", async_request)?;
    function(ctx, http, "batch", batch::batch)?;
    function(ctx, http, "response", |ctx: Ctx<'js>| {
        let user = current(&ctx)?;
        proto(&ctx, &user, Kept::Response)
    })?;
    function(ctx, http, "setResponseCallback", set_response_callback)?;
    function(ctx, http, "cookieJar", |ctx: Ctx<'js>| jar_object::make(&ctx, None))?;
    function(ctx, http, "newCookieJar", |ctx: Ctx<'js>| {
        jar_object::make(&ctx, Some(Rc::new(RefCell::default())))
    })?;
    Ok(())
}

/// Sends one call and waits for its response.
fn send<'js>(ctx: &Ctx<'js>, user: &User, call: Call) -> Result<Value<'js>> {
    match suspend(ctx, user, Wait::Http(vec![call], ONE))? {
        Resume::Http(mut exchanges) => match exchanges.pop() {
            Some(exchange) => response::deliver(ctx, user, exchange),
            None => Err(throw(ctx, "the request was cut off")),
        },
        _ => Err(throw(ctx, "the request was cut off")),
    }
}

fn plain<'js>(
    ctx: &Ctx<'js>,
    method: Method,
    url: &Value<'js>,
    params: &Opt<Value<'js>>,
) -> Result<Value<'js>> {
    let user = current(ctx)?;
    let call = match &params.0 {
        Some(given) if given.is_undefined() => params::call(ctx, &user, Verb::Known(method), url, None)?,
        None => params::call(ctx, &user, Verb::Known(method), url, None)?,
        given => {
            let nothing = Value::new_undefined(ctx.clone());
            params::call(ctx, &user, Verb::Known(method), url, Some((&nothing, given.as_ref())))?
        }
    };
    send(ctx, &user, call)
}

fn with_body<'js>(
    ctx: &Ctx<'js>,
    method: Method,
    url: &Value<'js>,
    body: &Opt<Value<'js>>,
    params: &Opt<Value<'js>>,
) -> Result<Value<'js>> {
    let user = current(ctx)?;
    let call = build(ctx, &user, Verb::Known(method), url, body, params)?;
    send(ctx, &user, call)
}

fn build<'js>(
    ctx: &Ctx<'js>,
    user: &User,
    method: Verb,
    url: &Value<'js>,
    body: &Opt<Value<'js>>,
    params: &Opt<Value<'js>>,
) -> Result<Call> {
    let body = body.0.clone().unwrap_or_else(|| Value::new_undefined(ctx.clone()));
    params::call(ctx, user, method, url, Some((&body, params.0.as_ref())))
}

fn get<'js>(ctx: Ctx<'js>, url: Value<'js>, params: Opt<Value<'js>>) -> Result<Value<'js>> {
    plain(&ctx, Method::GET, &url, &params)
}

fn head<'js>(ctx: Ctx<'js>, url: Value<'js>, params: Opt<Value<'js>>) -> Result<Value<'js>> {
    plain(&ctx, Method::HEAD, &url, &params)
}

type Given<'js> = Opt<Value<'js>>;

fn post<'js>(ctx: Ctx<'js>, url: Value<'js>, body: Given<'js>, params: Given<'js>) -> Result<Value<'js>> {
    with_body(&ctx, Method::POST, &url, &body, &params)
}

fn put<'js>(ctx: Ctx<'js>, url: Value<'js>, body: Given<'js>, params: Given<'js>) -> Result<Value<'js>> {
    with_body(&ctx, Method::PUT, &url, &body, &params)
}

fn patch<'js>(ctx: Ctx<'js>, url: Value<'js>, body: Given<'js>, params: Given<'js>) -> Result<Value<'js>> {
    with_body(&ctx, Method::PATCH, &url, &body, &params)
}

fn del<'js>(ctx: Ctx<'js>, url: Value<'js>, body: Given<'js>, params: Given<'js>) -> Result<Value<'js>> {
    with_body(&ctx, Method::DELETE, &url, &body, &params)
}

fn options<'js>(ctx: Ctx<'js>, url: Value<'js>, body: Given<'js>, params: Given<'js>) -> Result<Value<'js>> {
    with_body(&ctx, Method::OPTIONS, &url, &body, &params)
}

fn request<'js>(
    ctx: Ctx<'js>,
    method: Value<'js>,
    url: Value<'js>,
    body: Given<'js>,
    params: Given<'js>,
) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    let call = build(&ctx, &user, Verb::Named(text_of(&method)?), &url, &body, &params)?;
    send(&ctx, &user, call)
}

/// A promise of a response. All that a user has asked for at once are sent at once; each is kept when all have ended.
fn async_request<'js>(
    ctx: Ctx<'js>,
    method: Value<'js>,
    url: Value<'js>,
    body: Given<'js>,
    params: Given<'js>,
) -> Result<Promise<'js>> {
    let user = current(&ctx)?;
    let (promise, resolve, reject) = ctx.promise()?;
    let call = build(&ctx, &user, Verb::Named(text_of(&method)?), &url, &body, &params)?;
    user.events.borrow_mut().ask(&ctx, call, resolve, reject)?;
    Ok(promise)
}

fn set_response_callback<'js>(ctx: Ctx<'js>, callback: Value<'js>) -> Result<()> {
    let expected: Expected = params::expected(&ctx, &callback)?;
    current(&ctx)?.expected.replace(expected);
    Ok(())
}
