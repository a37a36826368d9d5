//! `http.cookieJar()` and `new http.CookieJar()` as scripts see them.

#![expect(clippy::needless_pass_by_value, reason = "QuickJS hands natives their arguments by value")]

use super::cookies::{Cookie, Jar, http_date_ms};
use crate::engine::{current, throw};
use crate::values::text_of;
use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::{Constructor, Opt, This};
use rquickjs::{Class, Ctx, Function, JsLifetime, Object, Result, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// A jar in a script's hands: the user's own, or one that the script made.
pub(super) struct JarObject(pub(super) Option<Rc<RefCell<Jar>>>);

impl<'js> Trace<'js> for JarObject {
    fn trace<'a>(&self, _tracer: Tracer<'a, 'js>) {}
}

// SAFETY: it holds no JavaScript value.
#[expect(unsafe_code, reason = "a class needs it, and the derive wants a macro crate")]
unsafe impl<'js> JsLifetime<'js> for JarObject {
    type Changed<'to> = Self;
}

impl<'js> JsClass<'js> for JarObject {
    const NAME: &'static str = "CookieJar";
    type Mutable = Readable;

    fn prototype(_ctx: &Ctx<'js>) -> Result<Option<Object<'js>>> {
        Ok(None)
    }

    fn constructor(_ctx: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

/// The jar of `params.jar`.
pub(super) fn jar_of(value: &Value<'_>) -> Option<Rc<RefCell<Jar>>> {
    Class::<JarObject>::from_value(value).ok()?.borrow().0.clone()
}

/// `new CookieJar()` or, for the running user's own jar, `cookieJar()`.
pub(super) fn make<'js>(ctx: &Ctx<'js>, own: Option<Rc<RefCell<Jar>>>) -> Result<Value<'js>> {
    let prototype = Object::new(ctx.clone())?;
    prototype.set("set", Function::new(ctx.clone(), set)?)?;
    prototype.set("cookiesForURL", Function::new(ctx.clone(), cookies_for_url)?)?;
    prototype.set("clear", Function::new(ctx.clone(), clear)?)?;
    prototype.set("delete", Function::new(ctx.clone(), delete)?)?;
    Ok(Class::instance_proto(JarObject(own), prototype)?.into_value())
}

type This_<'js> = This<Class<'js, JarObject>>;

fn with<T>(ctx: &Ctx<'_>, this: &JarObject, f: impl FnOnce(&mut Jar) -> T) -> Result<T> {
    match &this.0 {
        Some(jar) => Ok(f(&mut jar.borrow_mut())),
        None => Ok(f(&mut current(ctx)?.jar.borrow_mut())),
    }
}

/// Host, path and whether https.
fn place(ctx: &Ctx<'_>, url: &str) -> Result<(String, String, bool)> {
    let user = current(ctx)?;
    let parsed = user.test.urls.parse(url).map_err(|error| throw(ctx, &format!("invalid URL: {error:#}")))?;
    let target = parsed.origin.target();
    Ok((target.host().to_owned(), parsed.path.to_string(), target.is_https()))
}

fn set<'js>(
    ctx: Ctx<'js>,
    this: This_<'js>,
    url: String,
    name: String,
    value: Value<'js>,
    options: Opt<Value<'js>>,
) -> Result<bool> {
    let (host, _, _) = place(&ctx, &url)?;
    let now = current(&ctx)?.test.unix_ms();
    let value = text_of(&value)?;
    let mut cookie =
        Cookie { name, value, domain: host.to_ascii_lowercase(), path: "/".to_owned(), ..Cookie::default() };
    if let Some(options) = options.0.as_ref().and_then(Value::as_object) {
        for entry in options.props::<String, Value<'js>>() {
            let (key, value) = entry?;
            match key.as_str() {
                "domain" => {
                    text_of(&value)?.trim_start_matches('.').clone_into(&mut cookie.domain);
                    cookie.below = true;
                }
                "path" => cookie.path = text_of(&value)?,
                "expires" => {
                    cookie.expires = text_of(&value)?;
                    cookie.ends_ms = http_date_ms(&cookie.expires);
                }
                "max_age" => {
                    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
                    let seconds = value.as_number().unwrap_or(0.0) as i64;
                    cookie.max_age = Some(seconds);
                    cookie.ends_ms = Some(now.saturating_add(seconds.saturating_mul(1000)));
                }
                "secure" => cookie.secure = value.as_bool().unwrap_or(false),
                "http_only" => cookie.http_only = value.as_bool().unwrap_or(false),
                _ => {}
            }
        }
    }
    with(&ctx, &this.0.borrow(), |jar| jar.put(cookie, now))?;
    Ok(true)
}

fn cookies_for_url<'js>(ctx: Ctx<'js>, this: This_<'js>, url: String) -> Result<Object<'js>> {
    let (host, path, https) = place(&ctx, &url)?;
    let now = current(&ctx)?.test.unix_ms();
    let found = with(&ctx, &this.0.borrow(), |jar| jar.matching(&host, &path, https, now))?;
    let object = Object::new(ctx.clone())?;
    for (name, value) in found {
        let mut values: Vec<String> = object.get::<_, Option<Vec<String>>>(&name)?.unwrap_or_default();
        values.push(value);
        object.set(name, values)?;
    }
    Ok(object)
}

fn clear<'js>(ctx: Ctx<'js>, this: This_<'js>, url: String) -> Result<()> {
    let (host, path, _) = place(&ctx, &url)?;
    with(&ctx, &this.0.borrow(), |jar| jar.remove(&host, &path, None))
}

fn delete<'js>(ctx: Ctx<'js>, this: This_<'js>, url: String, name: String) -> Result<()> {
    let (host, path, _) = place(&ctx, &url)?;
    with(&ctx, &this.0.borrow(), |jar| jar.remove(&host, &path, Some(&name)))
}
