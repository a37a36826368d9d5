//! A response as scripts see it: a native object whose fields are made when they are read.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use super::call::{Exchange, ResponseType};
use super::perform::tls_version;
use crate::engine::{Kept, proto, throw};
use crate::select;
use crate::user::User;
use crate::values::{array_buffer, function};
use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::{Constructor, Opt, This};
use rquickjs::object::{Accessor, Property};
use rquickjs::{Array, Class, Ctx, Function, JsLifetime, Object, Result, String as JsString, Value};
use std::borrow::Cow;
use std::time::Duration;

pub(crate) struct Response(Box<Exchange>);

impl<'js> Trace<'js> for Response {
    fn trace<'a>(&self, _tracer: Tracer<'a, 'js>) {}
}

// SAFETY: it holds no JavaScript value.
#[expect(unsafe_code, reason = "a class needs it, and the derive wants a macro crate")]
unsafe impl<'js> JsLifetime<'js> for Response {
    type Changed<'to> = Self;
}

impl<'js> JsClass<'js> for Response {
    const NAME: &'static str = "Response";
    type Mutable = Readable;

    fn prototype(_ctx: &Ctx<'js>) -> Result<Option<Object<'js>>> {
        Ok(None)
    }

    fn constructor(_ctx: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

/// Hands a response to the script, or throws where the script wants failed requests thrown.
pub(crate) fn deliver<'js>(ctx: &Ctx<'js>, user: &User, exchange: Exchange) -> Result<Value<'js>> {
    if exchange.call.throws && exchange.response.failure.is_some() {
        let text = format!("{} {}: {}", exchange.call.method, exchange.call.url, exchange.error());
        return Err(throw(ctx, &text));
    }
    if let Some(failure) = &exchange.response.failure {
        user.test.log.request_failed(exchange.call.method.as_str(), &exchange.call.url, &failure.text);
    }
    let prototype = proto(ctx, user, Kept::Response)?;
    Ok(Class::instance_proto(Response(Box::new(exchange)), prototype)?.into_value())
}

type Me<'js> = This<Class<'js, Response>>;

macro_rules! getters {
    ($object:expr, $($name:literal => $get:expr),* $(,)?) => {
        $($object.prop($name, Accessor::from($get).enumerable().configurable())?;)*
    };
}

/// The prototype of all responses of a realm.
pub(crate) fn prototype<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    getters!(object,
        "status" => |this: Me<'js>| this.0.borrow().0.status(),
        "status_text" => status_text,
        "body" => body,
        "headers" => headers,
        "cookies" => cookies,
        "timings" => timings,
        "error" => |this: Me<'js>| this.0.borrow().0.error().to_owned(),
        "error_code" => |this: Me<'js>| this.0.borrow().0.error_code,
        "url" => |this: Me<'js>| this.0.borrow().0.call.url.to_string(),
        "proto" => proto_name,
        "remote_ip" => |this: Me<'js>| this.0.borrow().0.response.remote.map_or_else(String::new, |r| r.ip().to_string()),
        "remote_port" => |this: Me<'js>| this.0.borrow().0.response.remote.map_or(0, |r| r.port()),
        "request" => request,
        "tls_version" => |this: Me<'js>| this.0.borrow().0.response.tls.map_or("", |(version, _)| tls_version(version)),
        "tls_cipher_suite" => tls_cipher_suite,
        "ocsp" => ocsp,
    );
    function(ctx, &object, "json", json)?;
    object.prop("toJSON", Property::from(Function::new(ctx.clone(), whole)?).configurable())?;
    Ok(object)
}

/// What `JSON.stringify` of a response shows, in k6's order.
const SHOWN: &[&str] = &[
    "remote_ip",
    "remote_port",
    "url",
    "status",
    "status_text",
    "proto",
    "headers",
    "cookies",
    "body",
    "timings",
    "tls_version",
    "tls_cipher_suite",
    "ocsp",
    "error",
    "error_code",
    "request",
];

fn whole<'js>(ctx: Ctx<'js>, this: This<Object<'js>>) -> Result<Object<'js>> {
    let object = Object::new(ctx)?;
    for name in SHOWN {
        object.set(*name, this.0.get::<_, Value<'js>>(*name)?)?;
    }
    Ok(object)
}

fn status_text(this: Me<'_>) -> String {
    let exchange = this.0.borrow();
    let response = &exchange.0.response;
    if exchange.0.status() == 0 {
        return String::new();
    }
    let known = http::StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason());
    let reason = if response.reason.is_empty() { known.unwrap_or("") } else { &response.reason };
    format!("{} {reason}", response.status)
}

fn proto_name(this: Me<'_>) -> String {
    let exchange = this.0.borrow();
    if exchange.0.status() == 0 { String::new() } else { exchange.0.response.version.name().to_owned() }
}

/// TLS 1.3's suites have one prefix less than with rustls.
fn tls_cipher_suite(this: Me<'_>) -> String {
    this.0.borrow().0.response.tls.map_or_else(String::new, |(_, suite)| suite.replacen("TLS13_", "TLS_", 1))
}

/// Nothing is stapled to a handshake of ours: what k6 tells of a server that staples nothing.
fn ocsp<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<Object<'js>> {
    let object = Object::new(ctx)?;
    for name in ["produced_at", "this_update", "next_update", "revoked_at"] {
        object.set(name, 0)?;
    }
    object.set("revocation_reason", "")?;
    let status = if this.0.borrow().0.response.tls.is_some() { "unknown" } else { "" };
    object.set("status", status)?;
    Ok(object)
}

fn body<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<Value<'js>> {
    let exchange = this.0.borrow();
    let body = &exchange.0.response.body;
    match exchange.0.call.response_type {
        // Statuses that have no body.
        _ if matches!(exchange.0.status(), 0 | 204 | 304) => Ok(Value::new_null(ctx)),
        ResponseType::None => Ok(Value::new_null(ctx)),
        ResponseType::Binary => array_buffer(&ctx, body),
        ResponseType::Text => Ok(JsString::from_str(ctx, &text(body))?.into_value()),
    }
}

fn text(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body)
}

/// `content-type` as Go writes it: `Content-Type`.
pub(crate) fn canonical(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let out = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            out
        })
        .collect()
}

fn headers<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<Object<'js>> {
    let exchange = this.0.borrow();
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in exchange.0.response.headers.iter() {
        let (name, value) = (canonical(name), String::from_utf8_lossy(value));
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                known.push_str(", ");
                known.push_str(&value);
            }
            None => all.push((name, value.into_owned())),
        }
    }
    let object = Object::new(ctx)?;
    for (name, value) in all {
        object.set(name, value)?;
    }
    Ok(object)
}

fn cookies<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<Object<'js>> {
    let exchange = this.0.borrow();
    let object = Object::new(ctx.clone())?;
    for cookie in &exchange.0.cookies {
        let one = Object::new(ctx.clone())?;
        one.set("name", cookie.name.as_str())?;
        one.set("value", cookie.value.as_str())?;
        one.set("domain", if cookie.below { cookie.domain.as_str() } else { "" })?;
        one.set("path", cookie.path.as_str())?;
        one.set("http_only", cookie.http_only)?;
        one.set("secure", cookie.secure)?;
        one.set("max_age", cookie.max_age.unwrap_or(0))?;
        one.set("expires", cookie.ends_ms.filter(|_| cookie.max_age.is_none()).unwrap_or(0) as f64)?;
        append(&object, &cookie.name, one)?;
    }
    Ok(object)
}

/// Adds to the list that `object` has under a name.
fn append<'js>(object: &Object<'js>, name: &str, one: Object<'js>) -> Result<()> {
    let list = match object.get::<_, Option<Array<'js>>>(name)? {
        Some(list) => list,
        None => Array::new(object.ctx().clone())?,
    };
    list.set(list.len(), one)?;
    object.set(name, list)
}

fn timings<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<Object<'js>> {
    let exchange = this.0.borrow();
    let phases = &exchange.0.response.phases;
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let object = Object::new(ctx)?;
    for (name, duration) in [
        ("duration", phases.exchange()),
        ("blocked", phases.blocked + phases.lookup),
        ("looking_up", phases.lookup),
        ("connecting", phases.connect),
        ("tls_handshaking", phases.tls),
        ("sending", phases.send),
        ("waiting", phases.wait),
        ("receiving", phases.receive),
    ] {
        object.set(name, ms(duration))?;
    }
    Ok(object)
}

fn request<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<Object<'js>> {
    let exchange = this.0.borrow();
    let call = &exchange.0.call;
    let object = Object::new(ctx.clone())?;
    let (method, url, sent, content) = match &call.asked {
        Some(asked) => (&asked.method, &asked.url, &asked.headers, &asked.body),
        None => (&call.method, &call.url, &call.headers, &call.body),
    };
    object.set("method", method.as_str())?;
    object.set("url", &**url)?;
    object.set("body", &*text(content))?;
    let headers = Object::new(ctx.clone())?;
    for (name, value) in sent.iter() {
        headers.set(canonical(name), vec![String::from_utf8_lossy(value).into_owned()])?;
    }
    object.set("headers", headers)?;
    let cookies = Object::new(ctx)?;
    for cookie in &exchange.0.sent_cookies {
        let one = Object::new(cookies.ctx().clone())?;
        one.set("name", cookie.name.as_str())?;
        one.set("value", cookie.value.as_str())?;
        one.set("replace", cookie.replaces)?;
        append(&cookies, &cookie.name, one)?;
    }
    object.set("cookies", cookies)?;
    Ok(object)
}

fn json<'js>(ctx: Ctx<'js>, this: Me<'js>, selector: Opt<Value<'js>>) -> Result<Value<'js>> {
    let body = {
        let exchange = this.0.borrow();
        if exchange.0.call.response_type == ResponseType::None || exchange.0.status() == 0 {
            return Err(throw(
                &ctx,
                "the body is null so we can't transform it to JSON - this likely was because of a request error \
                 getting the response",
            ));
        }
        exchange.0.response.body.clone()
    };
    let selector = selector.0.as_ref().and_then(Value::as_string);
    let parsed = match ctx.json_parse(text(&body).as_bytes()) {
        Ok(parsed) => parsed,
        // There is nothing at any path of what is no JSON.
        Err(_) if selector.is_some() => {
            drop(ctx.catch());
            return Ok(Value::new_undefined(ctx));
        }
        Err(error) => {
            let raised = crate::engine::raised(&ctx, &error);
            return Err(throw(&ctx, &format!("cannot parse json due to an error: {}", raised.text)));
        }
    };
    match selector {
        None => Ok(parsed),
        Some(selector) => select::select(&ctx, parsed, &selector.to_string()?),
    }
}
