//! `res.json('a.b.0.c')`: the part of gjson's paths that scripts use: names, indices, `#`, `#.name`, `*`, escapes, and
//! queries, `#(name=="Ann").id` for the first and `#(age>40)#.id` for all; pipes, the modifiers in `MODIFIERS`, and
//! `[a,b]` and `{a,"x":b}`, which collect several places. Other modifiers are refused.

use crate::engine::throw;
use rquickjs::{Array, Ctx, Object, Result, Value};
use std::cmp::Ordering;

/// Deeper paths, and deeper queries within queries, are refused.
const MAX_PARTS: usize = 64;

/// `undefined` where there is no such place.
pub(crate) fn select<'js>(ctx: &Ctx<'js>, value: Value<'js>, path: &str) -> Result<Value<'js>> {
    if path.is_empty() {
        return Ok(value);
    }
    match split(path, 0) {
        Some(parts) => follow(ctx, value, &parts),
        None => {
            let known = "names, indices, #, *, queries such as #(id==2), |, [..], {..} and some @modifiers are supported";
            Err(throw(ctx, &format!("json(\"{path}\"): {known}")))
        }
    }
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Part {
    Name(String),
    Query(Query),
    Modifier(Modifier),
    /// Several places: an object where they have names, else an array.
    Several {
        places: Vec<(Option<String>, Vec<Part>)>,
        is_object: bool,
    },
    /// What follows applies to the whole of what is found before, not to each element.
    Pipe,
}

/// What is made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Modifier {
    This,
    Reverse,
    Flatten,
    Keys,
    Values,
    Join,
}

/// Modifiers without arguments.
const MODIFIERS: &[(&str, Modifier)] = &[
    ("this", Modifier::This),
    ("valid", Modifier::This),
    ("ugly", Modifier::This),
    ("pretty", Modifier::This),
    ("reverse", Modifier::Reverse),
    ("flatten", Modifier::Flatten),
    ("keys", Modifier::Keys),
    ("values", Modifier::Values),
    ("join", Modifier::Join),
];

/// Elements of an array by what they hold.
#[derive(Debug, PartialEq)]
struct Query {
    /// Within the element; the element itself where it is empty.
    path: Vec<Part>,
    /// `None`: there is such a place.
    test: Option<(Operator, Operand)>,
    /// All such elements, not the first.
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Is,
    IsNot,
    Less,
    AtMost,
    More,
    AtLeast,
    Like,
    Unlike,
}

/// Longer ones before those that they begin with.
const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Is),
    ("!=", Operator::IsNot),
    ("!%", Operator::Unlike),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("<", Operator::Less),
    (">", Operator::More),
    ("%", Operator::Like),
    ("=", Operator::Is),
];

#[derive(Debug, PartialEq)]
enum Operand {
    Text(String),
    Number(f64),
    Bool(bool),
    Null,
}

/// Parts between dots and pipes; a backslash keeps the next character as it is. `None` for what is not supported.
fn split(path: &str, depth: usize) -> Option<Vec<Part>> {
    if depth > MAX_PARTS {
        return None;
    }
    let mut parts = Vec::new();
    let mut rest = path;
    loop {
        let (part, after) = part_of(rest, depth)?;
        parts.push(part);
        if parts.len() > MAX_PARTS {
            return None;
        }
        if let Some(more) = after.strip_prefix('|') {
            parts.push(Part::Pipe);
            rest = more;
        } else if let Some(more) = after.strip_prefix('.') {
            rest = more;
        } else {
            return after.is_empty().then_some(parts);
        }
    }
}

/// The first part of a path, and what follows it.
fn part_of(text: &str, depth: usize) -> Option<(Part, &str)> {
    if let Some(query) = text.strip_prefix("#(") {
        return query_of(query, depth);
    }
    if let Some(rest) = text.strip_prefix('@') {
        let (name, after) = rest.split_at(rest.find(['.', '|']).unwrap_or(rest.len()));
        let known = MODIFIERS.iter().find(|(known, _)| *known == name)?;
        return Some((Part::Modifier(known.1), after));
    }
    if text.starts_with(['[', '{']) {
        return several_of(text, depth);
    }
    name_of(text)
}

/// `[path,path]` or `{path,"name":path}`; a place without a name has that of its last part.
fn several_of(text: &str, depth: usize) -> Option<(Part, &str)> {
    let is_object = text.starts_with('{');
    let close = if is_object { '}' } else { ']' };
    let (mut rest, mut places) = (&text[1..], Vec::new());
    loop {
        let (end, _) = outside(rest, |at| at.starts_with([',', close]).then_some(()))?;
        let (one, after) = (rest[..end].trim(), &rest[end..]);
        let colon = outside(one, |at| at.starts_with(':').then_some(())).filter(|_| one.starts_with('"'));
        let (name, path) = match colon {
            Some((at, ())) => (Some(one[..at].trim().trim_matches('"').to_owned()), &one[at + 1..]),
            None => (None, one),
        };
        let parts = split(path, depth + 1)?;
        let name = name.or_else(|| match parts.last() {
            Some(Part::Name(name)) if name != "#" => Some(name.clone()),
            _ => Some("_".to_owned()),
        });
        places.push((name.filter(|_| is_object), parts));
        if places.len() > MAX_PARTS {
            return None;
        }
        rest = &after[1..];
        if after.starts_with(close) {
            return Some((Part::Several { places, is_object }, rest));
        }
    }
}

fn name_of(text: &str) -> Option<(Part, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => name.extend(characters.next().map(|(_, next)| next)),
            '.' | '|' => return Some((Part::Name(name), &text[at..])),
            c => name.push(c),
        }
    }
    Some((Part::Name(name), ""))
}

/// What follows `#(`, up to its bracket and the `#` that asks for all.
fn query_of(text: &str, depth: usize) -> Option<(Part, &str)> {
    let end = closing(text)?;
    let (inner, after) = (text[..end].trim(), &text[end + 1..]);
    let all = after.starts_with('#');
    let operator = outside(inner, |rest| OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign)));
    let (path, test) = match operator {
        None => (inner, None),
        Some((at, (sign, operator))) => {
            (inner[..at].trim(), Some((*operator, operand(inner[at + sign.len()..].trim())?)))
        }
    };
    let path = if path.is_empty() { Vec::new() } else { split(path, depth + 1)? };
    Some((Part::Query(Query { path, test, all }), after.strip_prefix('#').unwrap_or(after)))
}

/// Where the bracket ends that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    outside(text, |rest| rest.starts_with(')').then_some(())).map(|(at, ())| at)
}

/// The first place outside of quotes and inner brackets that `find` takes.
fn outside<T>(text: &str, find: impl Fn(&str) -> Option<T>) -> Option<(usize, T)> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        if !quoted
            && depth == 0
            && let Some(found) = find(&text[at..])
        {
            return Some((at, found));
        }
        match c {
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn operand(text: &str) -> Option<Operand> {
    Some(match text {
        "true" => Operand::Bool(true),
        "false" => Operand::Bool(false),
        "null" => Operand::Null,
        _ => match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) => Operand::Text(inner.replace("\\\"", "\"")),
            None => match text.parse() {
                Ok(number) => Operand::Number(number),
                Err(_) => Operand::Text(text.to_owned()),
            },
        },
    })
}

impl Query {
    fn takes<'js>(&self, ctx: &Ctx<'js>, element: Value<'js>) -> Result<bool> {
        let found = follow(ctx, element, &self.path)?;
        let Some((operator, operand)) = &self.test else { return Ok(!found.is_undefined()) };
        let order = compared(&found, operand);
        let like = || match (found.as_string(), operand) {
            (Some(text), Operand::Text(pattern)) => text.to_string().map(|text| matches(pattern, &text)),
            _ => Ok(false),
        };
        Ok(match operator {
            Operator::Is => order == Some(Ordering::Equal),
            // An element without such a place is neither equal nor unequal.
            Operator::IsNot => !found.is_undefined() && order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Operator::More => order == Some(Ordering::Greater),
            Operator::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Operator::Like => like()?,
            Operator::Unlike => found.is_string() && !like()?,
        })
    }
}

/// `None` for values of different types.
fn compared(found: &Value<'_>, operand: &Operand) -> Option<Ordering> {
    match operand {
        Operand::Text(text) => Some(found.as_string()?.to_string().ok()?.as_str().cmp(text)),
        Operand::Number(number) => found.as_number()?.partial_cmp(number),
        Operand::Bool(truth) => Some(found.as_bool()?.cmp(truth)),
        Operand::Null => found.is_null().then_some(Ordering::Equal),
    }
}

fn follow<'js>(ctx: &Ctx<'js>, value: Value<'js>, parts: &[Part]) -> Result<Value<'js>> {
    // Before a pipe, everything; after it, what was found.
    if let Some(at) = parts.iter().position(|part| *part == Part::Pipe) {
        let found = follow(ctx, value, &parts[..at])?;
        return follow(ctx, found, &parts[at + 1..]);
    }
    let undefined = || Value::new_undefined(ctx.clone());
    let Some((part, rest)) = parts.split_first() else { return Ok(value) };
    match part {
        _ if value.is_undefined() => return Ok(value),
        Part::Modifier(modifier) => return follow(ctx, modifier.apply(ctx, value)?, rest),
        Part::Several { places, is_object } => {
            return follow(ctx, gathered(ctx, &value, places, *is_object)?, rest);
        }
        Part::Name(_) | Part::Query(_) | Part::Pipe => {}
    }
    if let Some(array) = value.as_array() {
        return match part {
            Part::Query(query) => queried(ctx, array, query, rest),
            Part::Name(name) if name == "#" && rest.is_empty() => {
                Ok(Value::new_number(ctx.clone(), array.len() as f64))
            }
            Part::Name(name) if name == "#" => collected(ctx, array, |_| Ok(true), rest),
            Part::Name(name) => match name.parse::<usize>() {
                Ok(index) => follow(ctx, array.get(index)?, rest),
                Err(_) => Ok(undefined()),
            },
            Part::Modifier(_) | Part::Several { .. } | Part::Pipe => Ok(undefined()),
        };
    }
    let (Some(object), Part::Name(name)) = (value.as_object(), part) else { return Ok(undefined()) };
    if name.contains(['*', '?']) {
        for key in object.keys::<String>() {
            let key = key?;
            if matches(name, &key) {
                return follow(ctx, object.get(key)?, rest);
            }
        }
        return Ok(undefined());
    }
    follow(ctx, object.get(name.as_str())?, rest)
}

fn queried<'js>(ctx: &Ctx<'js>, array: &Array<'js>, query: &Query, rest: &[Part]) -> Result<Value<'js>> {
    if query.all {
        return collected(ctx, array, |item| query.takes(ctx, item.clone()), rest);
    }
    for item in array.iter::<Value<'js>>() {
        let item = item?;
        if query.takes(ctx, item.clone())? {
            return follow(ctx, item, rest);
        }
    }
    Ok(Value::new_undefined(ctx.clone()))
}

/// What lies at `rest` of each element that is wanted.
fn collected<'js>(
    ctx: &Ctx<'js>,
    array: &Array<'js>,
    wanted: impl Fn(&Value<'js>) -> Result<bool>,
    rest: &[Part],
) -> Result<Value<'js>> {
    let out = Array::new(ctx.clone())?;
    for item in array.iter::<Value<'js>>() {
        let item = item?;
        if wanted(&item)? {
            let found = follow(ctx, item, rest)?;
            if !found.is_undefined() {
                out.set(out.len(), found)?;
            }
        }
    }
    Ok(out.into_value())
}

/// Several places of one value; those that are not there are left out.
fn gathered<'js>(
    ctx: &Ctx<'js>,
    value: &Value<'js>,
    places: &[(Option<String>, Vec<Part>)],
    is_object: bool,
) -> Result<Value<'js>> {
    let (list, object) = (Array::new(ctx.clone())?, Object::new(ctx.clone())?);
    for (name, parts) in places {
        let found = follow(ctx, value.clone(), parts)?;
        match name {
            _ if found.is_undefined() => {}
            Some(name) => object.set(name.as_str(), found)?,
            None => list.set(list.len(), found)?,
        }
    }
    Ok(if is_object { object.into_value() } else { list.into_value() })
}

impl Modifier {
    /// What a modifier does not apply to stays as it is.
    fn apply<'js>(self, ctx: &Ctx<'js>, value: Value<'js>) -> Result<Value<'js>> {
        let out = Array::new(ctx.clone())?;
        let push = |item: Value<'js>| out.set(out.len(), item);
        if let Some(array) = value.as_array() {
            match self {
                Self::Reverse => {
                    for at in (0..array.len()).rev() {
                        push(array.get(at)?)?;
                    }
                }
                Self::Flatten => {
                    for item in array.iter::<Value<'js>>() {
                        let item = item?;
                        match item.as_array() {
                            Some(inner) => inner.iter::<Value<'js>>().try_for_each(|one| push(one?))?,
                            None => push(item)?,
                        }
                    }
                }
                Self::Join => {
                    let joined = Object::new(ctx.clone())?;
                    for item in array.iter::<Value<'js>>() {
                        if let Some(object) = item?.as_object() {
                            for entry in object.props::<String, Value<'js>>() {
                                let (name, value) = entry?;
                                joined.set(name, value)?;
                            }
                        }
                    }
                    return Ok(joined.into_value());
                }
                Self::This | Self::Keys | Self::Values => return Ok(value),
            }
            return Ok(out.into_value());
        }
        let Some(object) = value.as_object() else { return Ok(value) };
        match self {
            Self::Keys => object.keys::<Value<'js>>().try_for_each(|key| push(key?))?,
            Self::Values => object.values::<Value<'js>>().try_for_each(|item| push(item?))?,
            Self::Reverse => {
                let turned = Object::new(ctx.clone())?;
                let all = object.props::<String, Value<'js>>().collect::<Result<Vec<_>>>()?;
                for (name, item) in all.into_iter().rev() {
                    turned.set(name, item)?;
                }
                return Ok(turned.into_value());
            }
            Self::This | Self::Flatten | Self::Join => return Ok(value),
        }
        Ok(out.into_value())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rquickjs::{Context, Runtime};

    fn selected(path: &str) -> String {
        let runtime = Runtime::new().expect("a runtime");
        let context = Context::full(&runtime).expect("a context");
        context.with(|ctx| {
            let value = ctx
                .json_parse(
                    r#"{"friends":[{"first":"Dale","age":44,"nets":["ig","fb"]},{"first":"Roger","age":68,"nets":["fb"],"ok":true},
                    {"first":"Jane","age":47,"nets":["ig"]}],"n":[1,5,9],"a.b":{"c":1}}"#,
                )
                .expect("json");
            match select(&ctx, value, path) {
                Ok(found) => ctx.json_stringify(found).expect("json").map_or_else(
                    || "undefined".to_owned(),
                    |text| text.to_string().expect("text"),
                ),
                Err(_) => "refused".to_owned(),
            }
        })
    }

    #[test]
    fn paths_are_gjsons() {
        for (path, expected) in [
            ("friends.#", "3"),
            ("friends.1.first", "\"Roger\""),
            ("friends.#.age", "[44,68,47]"),
            (r"a\.b.c", "1"),
            ("fr*.0.age", "44"),
            (r#"friends.#(first=="Jane").age"#, "47"),
            ("friends.#(age>45).first", "\"Roger\""),
            ("friends.#(age > 45)#.first", "[\"Roger\",\"Jane\"]"),
            ("friends.#(age<=44)#.first", "[\"Dale\"]"),
            (r#"friends.#(first!="Dale")#.age"#, "[68,47]"),
            (r#"friends.#(first%"*a*e")#.first"#, "[\"Dale\",\"Jane\"]"),
            (r#"friends.#(first!%"*a*e")#.first"#, "[\"Roger\"]"),
            ("friends.#(ok)#.first", "[\"Roger\"]"),
            ("friends.#(ok==true).first", "\"Roger\""),
            (r#"friends.#(nets.#(=="ig"))#.first"#, "[\"Dale\",\"Jane\"]"),
            ("n.#(>4)", "5"),
            ("n.#(>4)#", "[5,9]"),
            (r#"friends.#(first==").").age"#, "undefined"),
            ("friends.#(nothing).age", "undefined"),
            ("n.#(>4", "refused"),
            ("friends|1|first", "\"Roger\""),
            ("friends.#.first|0", "\"Dale\""),
            ("friends.#.first|#", "3"),
            ("n.@reverse", "[9,5,1]"),
            ("n.@reverse.0", "9"),
            ("friends.#.nets|@flatten", "[\"ig\",\"fb\",\"fb\",\"ig\"]"),
            ("friends.0.@keys", "[\"first\",\"age\",\"nets\"]"),
            (
                "friends.#.@keys",
                "[[\"first\",\"age\",\"nets\"],[\"first\",\"age\",\"nets\",\"ok\"],[\"first\",\"age\",\"nets\"]]",
            ),
            ("friends.0.@values.1", "44"),
            ("friends.@join.age", "47"),
            ("@this.n.0", "1"),
            ("[n.0,friends.#,nothing]", "[1,3]"),
            (r#"{n.1,"all":friends.#.age,friends.#}"#, r#"{"1":5,"all":[44,68,47],"_":3}"#),
            ("friends.#.{first,age}.age", "[44,68,47]"),
            ("friends.{#.age,nothing}", "{\"age\":[44,68,47]}"),
            ("nothing.@reverse", "undefined"),
            ("@group", "refused"),
            ("[n.0", "refused"),
            ("{n.0}x", "refused"),
        ] {
            assert_eq!(selected(path), expected, "{path}");
        }
    }

    #[test]
    fn queries_within_queries_end() {
        let deep = format!("{}x{}", "#(".repeat(10_000), ")".repeat(10_000));
        assert_eq!(selected(&deep), "refused");
        let deep = format!("{}x{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(selected(&deep), "refused");
    }
}
