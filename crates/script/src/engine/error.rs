//! JavaScript exceptions as text for people: message, file and line.

use rquickjs::{Ctx, Error, Exception, Object, Value};

/// An exception that left a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raised {
    /// `TypeError: cannot read property 'x' of undefined`.
    pub(crate) text: String,
    /// The innermost place in a script: `/tests/order.js:12:7`.
    pub(crate) place: Option<String>,
    pub(crate) stack: String,
    /// A name that the program put on it: see [`mark`].
    pub(crate) mark: Option<String>,
}

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} at {place}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

const MARK: &str = "trimtabMark";

/// Throws an `Error`; always an exception.
pub(crate) fn throw(ctx: &Ctx<'_>, message: &str) -> Error {
    Exception::throw_message(ctx, message)
}

/// Throws an `Error` that is known again by `mark`.
pub(crate) fn throw_marked(ctx: &Ctx<'_>, mark: &str, message: &str) -> Error {
    let made = Exception::from_message(ctx.clone(), message).and_then(|exception| {
        exception.as_object().set(MARK, mark)?;
        Ok(ctx.throw(exception.into_value()))
    });
    made.unwrap_or_else(|error| error)
}

/// Takes the exception that `error` tells of.
pub(crate) fn raised(ctx: &Ctx<'_>, error: &Error) -> Raised {
    if !error.is_exception() {
        return Raised { text: error.to_string(), ..Raised::default() };
    }
    of_value(&ctx.catch())
}

pub(crate) fn of_value(value: &Value<'_>) -> Raised {
    let Some(object) = value.as_object() else {
        return Raised { text: show(value), ..Raised::default() };
    };
    let field = |name: &str| object.get::<_, Option<String>>(name).ok().flatten().unwrap_or_default();
    if !is_error(object) {
        let json = value.ctx().json_stringify(value.clone()).ok().flatten();
        let text = json.and_then(|json| json.to_string().ok()).unwrap_or_else(|| "[object]".to_owned());
        return Raised { text, ..Raised::default() };
    }
    let (name, message, stack) = (field("name"), field("message"), field("stack"));
    let text = match (name.is_empty(), message.is_empty()) {
        (true, _) => message,
        (false, true) => name,
        (false, false) => format!("{name}: {message}"),
    };
    let mark = Some(field(MARK)).filter(|mark| !mark.is_empty());
    Raised { text, place: innermost(&stack), stack, mark }
}

fn is_error(object: &Object<'_>) -> bool {
    object.is_error() || object.contains_key("stack").unwrap_or(false)
}

/// The first line of a stack that is in a user's file.
fn innermost(stack: &str) -> Option<String> {
    stack.lines().find_map(|line| {
        let line = line.trim().strip_prefix("at ")?;
        let place = match line.rsplit_once('(') {
            Some((_, place)) => place.trim_end_matches(')'),
            None => line,
        };
        let named = place.contains(':')
            && !place.starts_with('<')
            && !place.starts_with("k6")
            && !place.starts_with("trimtab:");
        (named && place != "native").then(|| place.to_owned())
    })
}

fn show(value: &Value<'_>) -> String {
    value
        .clone()
        .get::<rquickjs::convert::Coerced<String>>()
        .map_or_else(|_| "an exception".to_owned(), |s| s.0)
}
