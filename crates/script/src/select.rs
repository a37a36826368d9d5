//! `res.json('a.b.0.c')`: the part of gjson's paths that scripts use: names, indices, `#`, `#.name`, `*` and
//! escapes. Queries are refused.

use crate::engine::throw;
use rquickjs::{Array, Ctx, Result, Value};

/// Deeper paths are refused.
const MAX_PARTS: usize = 64;

/// `undefined` where there is no such place.
pub(crate) fn select<'js>(ctx: &Ctx<'js>, value: Value<'js>, path: &str) -> Result<Value<'js>> {
    if path.is_empty() {
        return Ok(value);
    }
    let parts = split(path);
    if parts.len() > MAX_PARTS || path.contains("#(") || path.contains('|') || path.starts_with('@') {
        return Err(throw(ctx, &format!("json(\"{path}\"): only names, indices, # and * are supported")));
    }
    follow(ctx, value, &parts)
}

/// Parts between dots; a backslash keeps the next character as it is.
fn split(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in path.chars() {
        let last = parts.len() - 1;
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '.' if !escaped => parts.push(String::new()),
            c => parts[last].push(c),
        }
        escaped = false;
    }
    parts
}

fn follow<'js>(ctx: &Ctx<'js>, value: Value<'js>, parts: &[String]) -> Result<Value<'js>> {
    let undefined = || Value::new_undefined(ctx.clone());
    let Some((part, rest)) = parts.split_first() else { return Ok(value) };
    if let Some(array) = value.as_array() {
        if part == "#" {
            if rest.is_empty() {
                return Ok(Value::new_number(ctx.clone(), array.len() as f64));
            }
            let out = Array::new(ctx.clone())?;
            for item in array.iter::<Value<'js>>() {
                let found = follow(ctx, item?, rest)?;
                if !found.is_undefined() {
                    out.set(out.len(), found)?;
                }
            }
            return Ok(out.into_value());
        }
        return match part.parse::<usize>() {
            Ok(index) => follow(ctx, array.get(index)?, rest),
            Err(_) => Ok(undefined()),
        };
    }
    let Some(object) = value.as_object() else { return Ok(undefined()) };
    if part.contains(['*', '?']) {
        for key in object.keys::<String>() {
            let key = key?;
            if matches(part, &key) {
                return follow(ctx, object.get(key)?, rest);
            }
        }
        return Ok(undefined());
    }
    follow(ctx, object.get(part.as_str())?, rest)
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
        }
        Some(c) => match text.chars().next() {
            Some(t) if c == '?' || c == t => matches(&pattern[c.len_utf8()..], &text[t.len_utf8()..]),
            _ => false,
        },
    }
}
