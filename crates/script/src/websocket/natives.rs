//! The natives behind `js/ws.js` and `js/websockets.js`.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use super::handshake::Answer;
use super::socket::{Event, Socket};
use crate::engine::{Wait, current, suspend, throw};
use crate::http::Verb;
use crate::user::User;
use crate::values::{array_buffer, bytes_of, function, text_of};
use http::Method;
use rquickjs::function::Opt;
use rquickjs::{Ctx, Function, IntoJs, Object, Persistent, Result, Value};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Subprotocols that one script asks for.
const MAX_PROTOCOLS: usize = 100;

pub(crate) fn install<'js>(ctx: &Ctx<'js>, group: &Object<'js>) -> Result<()> {
    function(ctx, group, "open", open)?;
    function(ctx, group, "next", next)?;
    function(ctx, group, "send", send)?;
    function(ctx, group, "ping", ping)?;
    function(ctx, group, "close", close)?;
    function(ctx, group, "release", release)?;
    function(ctx, group, "unsent", |ctx: Ctx<'js>, id: u32| {
        Ok::<_, rquickjs::Error>(socket(&ctx, id)?.unsent_bytes() as f64)
    })?;
    // Monotonic milliseconds.
    function(ctx, group, "now", |ctx: Ctx<'js>| {
        current(&ctx).map(|user| user.test.started.elapsed().as_secs_f64() * 1e3)
    })
}

/// Begins to connect; with `dispatch`, events go there as they come, else to who asks with `next`.
fn open<'js>(
    ctx: Ctx<'js>,
    url: String,
    protocols: Vec<String>,
    params: Value<'js>,
    dispatch: Value<'js>,
) -> Result<u32> {
    let user = current(&ctx)?;
    if user.doorway().is_none() {
        return Err(throw(&ctx, "using WebSockets in the init context is not supported"));
    }
    let secure = url.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("wss://"));
    let plain = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("ws://"));
    let as_http = match (secure, plain) {
        (Some(_), _) => format!("https://{}", &url[6..]),
        (_, Some(_)) => format!("http://{}", &url[5..]),
        _ => return Err(throw(&ctx, &format!("`{}` is no ws:// or wss:// URL", net::display_url(&url)))),
    };
    let is_token = |one: &String| {
        !one.is_empty() && one.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    if protocols.len() > MAX_PROTOCOLS || !protocols.iter().all(is_token) {
        return Err(throw(&ctx, "the WebSocket's subprotocols are no names"));
    }
    let (as_http, nothing) = (as_http.into_js(&ctx)?, Value::new_undefined(ctx.clone()));
    let mut call =
        crate::http::call(&ctx, &user, Verb::Known(Method::GET), &as_http, Some((&nothing, Some(&params))))?;
    call.url = net::display_url(&url).into();
    let dispatch: Option<Function<'js>> = dispatch.into_function();
    let dispatch = dispatch.map(|function| Persistent::save(&ctx, function));
    let opened = Rc::new(Socket::open(&user, call, protocols, dispatch));
    user.events.borrow_mut().add_socket(&ctx, opened)
}

fn socket(ctx: &Ctx<'_>, id: u32) -> Result<Rc<Socket>> {
    let found = current(ctx)?.events.borrow().socket(id);
    found.ok_or_else(|| throw(ctx, "the WebSocket is closed"))
}

/// Waits for the socket's next event; undefined when the time is over.
fn next<'js>(ctx: Ctx<'js>, id: u32, ms: Opt<Value<'js>>) -> Result<Value<'js>> {
    let user = current(&ctx)?;
    let ms = ms.0.as_ref().and_then(Value::as_number).filter(|ms| ms.is_finite());
    let until = ms.map(|ms| Instant::now() + Duration::from_secs_f64(ms.clamp(0.0, 1e9) / 1e3));
    loop {
        if let Some(event) = socket(&ctx, id)?.take() {
            return Ok(describe(&ctx, &user, event)?.into_value());
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            return Ok(Value::new_undefined(ctx));
        }
        suspend(&ctx, &user, Wait::Bell(until))?;
    }
}

/// An event as scripts see it.
pub(crate) fn describe<'js>(ctx: &Ctx<'js>, user: &User, event: Event) -> Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    let kind = match event {
        Event::Opened(answer) => {
            opened(ctx, &object, *answer)?;
            "open"
        }
        Event::Failed(why, url) => {
            user.test.log.request_failed("WebSocket", &url, &why);
            object.set("error", why)?;
            "failed"
        }
        Event::Text(text) => {
            object.set("data", text)?;
            "text"
        }
        Event::Binary(bytes) => {
            object.set("data", array_buffer(ctx, &bytes)?)?;
            "binary"
        }
        Event::Ping => "ping",
        Event::Pong => "pong",
        Event::Error(why) => {
            object.set("error", why)?;
            "error"
        }
        Event::Closed(code, reason) => {
            object.set("code", code)?;
            object.set("reason", reason)?;
            "closed"
        }
    };
    object.set("type", kind)?;
    Ok(object)
}

fn opened<'js>(ctx: &Ctx<'js>, object: &Object<'js>, answer: Answer) -> Result<()> {
    object.set("status", answer.status)?;
    let headers = Object::new(ctx.clone())?;
    for (name, value) in answer.headers {
        let name = crate::http::canonical(&name);
        let value = match headers.get::<_, Option<String>>(name.as_str())? {
            Some(known) => format!("{known}, {value}"),
            None => value,
        };
        headers.set(name, value)?;
    }
    object.set("headers", headers)?;
    object.set("body", answer.body)?;
    object.set("protocol", answer.protocol)?;
    object.set("refused", answer.refused)
}

fn send<'js>(ctx: Ctx<'js>, id: u32, data: Value<'js>) -> Result<()> {
    let socket = socket(&ctx, id)?;
    let sent = match bytes_of(&data) {
        Some(bytes) => socket.send(&bytes, false),
        None => socket.send(text_of(&data)?.as_bytes(), true),
    };
    sent.map_err(|why| throw(&ctx, &why))
}

fn ping(ctx: Ctx<'_>, id: u32, counts: bool) -> Result<()> {
    let socket = socket(&ctx, id)?;
    socket.ping().map_err(|why| throw(&ctx, &why))?;
    if counts {
        socket.count_sent();
    }
    Ok(())
}

/// `at_once`: as k6/ws, without waiting for the server's answer and without counting.
fn close(ctx: Ctx<'_>, id: u32, code: u16, reason: String, at_once: bool) -> Result<()> {
    let Some(socket) = current(&ctx)?.events.borrow().socket(id) else { return Ok(()) };
    if socket.close(code, &reason, at_once) && !at_once {
        socket.count_sent();
    }
    Ok(())
}

fn release(ctx: Ctx<'_>, id: u32) -> Result<()> {
    let gone = current(&ctx)?.events.borrow_mut().remove_socket(id);
    drop(gone);
    Ok(())
}
