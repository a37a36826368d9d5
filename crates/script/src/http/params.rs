//! From a script's arguments to a call: URL, body and params.

use super::call::{Auth, Call, ResponseType};
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

/// Builds a call. `what` is `method`, `url`, `body` and `params` of the script.
pub(crate) fn call<'js>(
    ctx: &Ctx<'js>,
    user: &User,
    method: Method,
    url: &Value<'js>,
    with: Option<(&Value<'js>, Option<&Value<'js>>)>,
) -> Result<Call> {
    let (parsed, name, bad_url) = parse_url(ctx, user, url)?;
    let options = &user.test.setup.http;
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
        bad_url,
        asked: None,
    };
    let Some((content, params)) = with else { return Ok(call) };
    let params = params.and_then(Value::as_object);
    if let Some(params) = params {
        read_params(ctx, user, params, &parsed, &mut call)?;
    }
    let content = body::read(ctx, content, &mut *user.random.borrow_mut())?;
    call.body = content.bytes;
    if let Some(content_type) = content.content_type
        && call.headers.get("Content-Type").is_none()
    {
        header(ctx, &mut call, "Content-Type", &content_type)?;
    }
    if let Some(params) = params
        && let Some(codings) = given(params, "compression")?
    {
        let codings = text_of(&codings)?;
        call.body = body::compress(ctx, call.body, &codings)?;
        if !codings.is_empty() && call.headers.get("Content-Encoding").is_none() {
            header(ctx, &mut call, "Content-Encoding", &codings)?;
        }
    }
    Ok(call)
}

/// In place of a URL that is none; nothing is sent there.
const NOWHERE: &str = "http://invalid.invalid/";

/// Where to, the `name` tag, and why it cannot be sent.
type Place = (Parsed, Option<Rc<str>>, Option<String>);

/// A URL as text, or what `` http.url`...` `` returned: then with its name.
/// One that cannot be parsed becomes a request that fails, as in k6.
fn parse_url(ctx: &Ctx<'_>, user: &User, url: &Value<'_>) -> Result<Place> {
    let (text, name) = match url.as_object() {
        Some(object) if object.contains_key("url")? => {
            let name: String = object.get("name")?;
            (object.get::<_, String>("url")?, Some(name.into()))
        }
        _ => (text_of(url)?, None),
    };
    match user.test.urls.parse(&text) {
        Ok(parsed) => Ok((parsed, name, None)),
        Err(error) => {
            let nowhere = user.test.urls.parse(NOWHERE).map_err(|_| throw(ctx, "invalid URL"))?;
            let clean = net::display_url(&text).into();
            Ok((Parsed { clean, ..nowhere }, name, Some(format!("invalid URL: {error:#}"))))
        }
    }
}

/// A property that is neither undefined nor null.
fn given<'js>(object: &Object<'js>, name: &str) -> Result<Option<Value<'js>>> {
    let value: Value<'js> = object.get(name)?;
    Ok((!value.is_undefined() && !value.is_null()).then_some(value))
}

fn header(ctx: &Ctx<'_>, call: &mut Call, name: &str, value: &str) -> Result<()> {
    call.headers.push(name, value).map_err(|error| throw(ctx, &error.to_string()))
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
            "headers" => read_headers(ctx, &value, call)?,
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
            "responseType" => call.response_type = response_type(ctx, &text_of(&value)?)?,
            "responseCallback" => call.expected = Some(expected(ctx, &value)?),
            "throw" => call.throws = value.as_bool().unwrap_or(false),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn response_type(ctx: &Ctx<'_>, text: &str) -> Result<ResponseType> {
    match text {
        "text" | "" => Ok(ResponseType::Text),
        "binary" => Ok(ResponseType::Binary),
        "none" => Ok(ResponseType::None),
        other => Err(throw(ctx, &format!("responseType `{other}` is none of text, binary, none"))),
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

fn read_headers<'js>(ctx: &Ctx<'js>, value: &Value<'js>, call: &mut Call) -> Result<()> {
    let Some(headers) = value.as_object() else { return Ok(()) };
    for entry in headers.props::<String, Value<'js>>() {
        let (name, value) = entry?;
        if !value.is_undefined() && !value.is_null() {
            header(ctx, call, &name, &text_of(&value)?)?;
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
        let value = match value.as_object() {
            Some(object) => text_of(&object.get("value")?)?,
            None => text_of(&value)?,
        };
        if !name.contains(['\r', '\n', ';', '=']) && !value.contains(['\r', '\n', ';']) {
            call.cookies.push((name, value));
        }
    }
    Ok(())
}
