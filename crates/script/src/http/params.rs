//! From a script's arguments to a call: URL, body and params.

use super::call::{Auth, Call, OwnCookie, ResponseType, Unsendable};
use super::expected::Expected;
use super::jar_object::jar_of;
use super::{body, urls::Parsed};
use crate::duration;
use crate::engine::throw;
use crate::user::User;
use crate::values::text_of;
use http::Method;
use load::http::Headers;
use rquickjs::{Ctx, Object, Result, Value};
use std::rc::Rc;
use std::time::Duration;

/// A method: one of HTTP's own, or whatever a script says.
pub(crate) enum Verb {
    Known(Method),
    Named(String),
}

/// Builds a call. `what` is `method`, `url`, `body` and `params` of the script.
pub(crate) fn call<'js>(
    ctx: &Ctx<'js>,
    user: &User,
    method: Verb,
    url: &Value<'js>,
    with: Option<(&Value<'js>, Option<&Value<'js>>)>,
) -> Result<Call> {
    let (parsed, name, unsendable) = parse_url(ctx, user, url)?;
    let options = &user.test.setup.http;
    let (method, no_method) = match method {
        Verb::Known(method) => (method, None),
        Verb::Named(name) => match Method::from_bytes(name.to_ascii_uppercase().as_bytes()) {
            Ok(method) => (method, None),
            Err(_) => (Method::GET, Some(format!("`{name}` is no HTTP method"))),
        },
    };
    let mut call = Call {
        method,
        url: parsed.clean.clone(),
        origin: parsed.origin.clone(),
        path: parsed.path.clone(),
        headers: Headers::new(),
        body: bytes::Bytes::new(),
        name,
        tags: Vec::new(),
        timeout: options.timeout,
        redirects: options.max_redirects,
        auth: Auth::None,
        jar: None,
        cookies: Vec::new(),
        response_type: options.response_type,
        expected: None,
        throws: options.throws,
        unsendable,
        asked: None,
    };
    if let Some(why) = no_method {
        call.refuse(why, true);
    }
    let Some((content, params)) = with else { return Ok(call) };
    let params = params.and_then(Value::as_object);
    if let Some(params) = params {
        read_params(ctx, user, params, &parsed, &mut call)?;
    }
    let content = match body::read(ctx, content, &mut *user.random.borrow_mut())? {
        Ok(content) => content,
        Err(kind) => {
            call.refuse(format!("unknown request body type {kind}"), false);
            return Ok(call);
        }
    };
    call.body = content.bytes;
    if let Some(content_type) = content.content_type
        && call.headers.get("Content-Type").is_none()
    {
        header(&mut call, "Content-Type", &content_type);
    }
    if let Some(params) = params
        && let Some(codings) = given(params, "compression")?
    {
        let codings = text_of(&codings)?;
        call.body = body::compress(ctx, call.body, &codings)?;
        if !codings.is_empty() && call.headers.get("Content-Encoding").is_none() {
            header(&mut call, "Content-Encoding", &codings);
        }
    }
    Ok(call)
}

/// k6's numbers of errors: of any kind, and of what is no URL.
const UNKNOWN: u32 = 1000;
const INVALID_URL: u32 = 1020;

impl Call {
    /// What cannot be sent becomes a request that fails, as in k6; the first reason is told.
    fn refuse(&mut self, why: String, is_request: bool) {
        self.unsendable.get_or_insert(Unsendable { code: UNKNOWN, why, is_request });
    }
}

/// In place of a URL that is none; nothing is sent there.
const NOWHERE: &str = "http://invalid.invalid/";

/// Where to, the `name` tag, and why it cannot be sent.
type Place = (Parsed, Option<Rc<str>>, Option<Unsendable>);

/// A URL as text, or what `` http.url`...` `` returned: then with its name.
/// One that cannot be parsed becomes a request that fails, as in k6.
fn parse_url(ctx: &Ctx<'_>, user: &User, url: &Value<'_>) -> Result<Place> {
    let (text, name) = match url.as_object() {
        Some(object) if object.contains_key("url")? => {
            let name: String = object.get("name")?;
            (object.get::<_, String>("url")?, Some(name.into()))
        }
        _ => match url.as_string() {
            Some(text) => (text.to_string()?, None),
            None if url.is_object() && !url.is_array() => (text_of(url)?, None),
            None => {
                let why = format!("invalid URL: {} is no text", url.type_name());
                return Ok((
                    nowhere(ctx, user, "")?,
                    None,
                    Some(Unsendable { code: INVALID_URL, why, is_request: false }),
                ));
            }
        },
    };
    match user.test.urls.parse(&text) {
        Ok(parsed) => Ok((parsed, name, None)),
        Err(error) => {
            let why = format!("invalid URL: {error:#}");
            let unsendable = Unsendable { code: UNKNOWN, why, is_request: true };
            Ok((nowhere(ctx, user, &net::display_url(&text))?, name, Some(unsendable)))
        }
    }
}

fn nowhere(ctx: &Ctx<'_>, user: &User, shown: &str) -> Result<Parsed> {
    let nowhere = user.test.urls.parse(NOWHERE).map_err(|_| throw(ctx, "invalid URL"))?;
    Ok(Parsed { clean: shown.into(), ..nowhere })
}

/// A property that is neither undefined nor null.
fn given<'js>(object: &Object<'js>, name: &str) -> Result<Option<Value<'js>>> {
    let value: Value<'js> = object.get(name)?;
    Ok((!value.is_undefined() && !value.is_null()).then_some(value))
}

fn header(call: &mut Call, name: &str, value: &str) {
    if let Err(error) = call.headers.push(name, value) {
        call.refuse(error.to_string(), true);
    }
}

fn read_params<'js>(
    ctx: &Ctx<'js>,
    user: &User,
    params: &Object<'js>,
    parsed: &Parsed,
    call: &mut Call,
) -> Result<()> {
    for entry in params.props::<String, Value<'js>>() {
        let (key, value) = entry?;
        let absent = value.is_undefined() || value.is_null();
        match key.as_str() {
            "responseCallback" if value.is_null() => call.expected = Some(Expected::Unjudged),
            _ if absent => {}
            "headers" => read_headers(&value, call)?,
            "tags" => read_tags(&value, call)?,
            "timeout" => call.timeout = timeout(ctx, &value)?,
            "redirects" => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
                let redirects = value.as_number().unwrap_or(0.0) as u32;
                call.redirects = redirects;
            }
            "auth" => read_auth(ctx, user, &text_of(&value)?, parsed, call)?,
            "cookies" => read_cookies(&value, call)?,
            "jar" => call.jar = jar_of(&value),
            "responseType" => match ResponseType::named(&text_of(&value)?) {
                Ok(kind) => call.response_type = kind,
                Err(why) => call.refuse(why, false),
            },
            "responseCallback" => call.expected = Some(expected(ctx, &value)?),
            "throw" => call.throws = value.as_bool().unwrap_or(false),
            _ => {}
        }
    }
    Ok(())
}

impl ResponseType {
    fn named(name: &str) -> std::result::Result<Self, String> {
        match name {
            "text" | "" => Ok(Self::Text),
            "binary" => Ok(Self::Binary),
            "none" => Ok(Self::None),
            other => Err(format!("responseType `{other}` is none of text, binary, none")),
        }
    }
}

/// What `http.expectedStatuses` returned.
pub(super) fn expected(ctx: &Ctx<'_>, value: &Value<'_>) -> Result<Expected> {
    if value.is_null() {
        return Ok(Expected::Unjudged);
    }
    let ranges = value.as_object().and_then(|object| object.get::<_, Option<Vec<Vec<u16>>>>("statuses").ok());
    let Some(Some(ranges)) = ranges else {
        return Err(throw(ctx, "a response callback must come from http.expectedStatuses, or be null"));
    };
    Ok(Expected::Ranges(ranges.iter().filter_map(|range| Some((*range.first()?, *range.last()?))).collect()))
}

fn timeout(ctx: &Ctx<'_>, value: &Value<'_>) -> Result<Duration> {
    if let Some(ms) = value.as_number() {
        return Ok(Duration::from_secs_f64(ms.clamp(0.0, 1e12) / 1e3));
    }
    duration::parse(&text_of(value)?).map_err(|why| throw(ctx, &format!("params.timeout: {why}")))
}

fn read_headers<'js>(value: &Value<'js>, call: &mut Call) -> Result<()> {
    let Some(headers) = value.as_object() else { return Ok(()) };
    for entry in headers.props::<String, Value<'js>>() {
        let (name, value) = entry?;
        if !value.is_undefined() && !value.is_null() {
            header(call, &name, &text_of(&value)?);
        }
    }
    Ok(())
}

fn read_tags<'js>(value: &Value<'js>, call: &mut Call) -> Result<()> {
    let Some(tags) = value.as_object() else { return Ok(()) };
    for entry in tags.props::<String, Value<'js>>() {
        let (key, value) = entry?;
        if value.is_undefined() || value.is_null() {
            continue;
        }
        let value = text_of(&value)?;
        if key == "name" {
            call.name = Some(value.into());
        } else {
            call.tags.push((key, value));
        }
    }
    Ok(())
}

fn read_auth(ctx: &Ctx<'_>, user: &User, kind: &str, parsed: &Parsed, call: &mut Call) -> Result<()> {
    match (kind, &parsed.user) {
        // The URL's user and password are sent so anyway.
        ("basic" | "", _) | (_, None) => Ok(()),
        ("digest", Some((name, password))) => {
            call.auth = Auth::Digest { user: name.clone(), password: password.clone() };
            // Without user and password, which would be sent in plain text.
            let clean = user.test.urls.parse(&parsed.clean);
            call.origin = clean.map_err(|error| throw(ctx, &error.to_string()))?.origin;
            Ok(())
        }
        (other, _) => Err(throw(ctx, &format!("auth `{other}` is not supported, use basic or digest"))),
    }
}

fn read_cookies<'js>(value: &Value<'js>, call: &mut Call) -> Result<()> {
    let Some(cookies) = value.as_object() else { return Ok(()) };
    for entry in cookies.props::<String, Value<'js>>() {
        let (name, value) = entry?;
        let (value, replaces) = match value.as_object() {
            Some(object) => {
                let replaces = object.get::<_, Value<'js>>("replace")?.as_bool().unwrap_or(false);
                (text_of(&object.get("value")?)?, replaces)
            }
            None => (text_of(&value)?, false),
        };
        if !name.contains(['\r', '\n', ';', '=']) && !value.contains(['\r', '\n', ';']) {
            call.cookies.push(OwnCookie { name, value, replaces });
        }
    }
    Ok(())
}
