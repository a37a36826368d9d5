//! The common log format and what is put in front of it and behind: a virtual host, and after the combined format's
//! two quoted texts whatever the server was told to add. What that is, is learnt from the first lines.

use crate::fields::{Field, Scalar, Unit, duration_ns};
use crate::names;
use crate::template::{Gives, Part, Template};

/// What was learnt.
pub(crate) struct Learnt {
    pub(crate) template: Template,
    /// For lines whose end does not follow it.
    pub(crate) bare: Template,
    /// What it is called aloud.
    pub(crate) name: String,
    /// What was taken for granted, to be told.
    pub(crate) assumed: Option<String>,
}

/// A token behind the status and size.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Token<'a> {
    /// With the `=`; empty where it has none.
    key: &'a str,
    /// `"`, `[` or nothing.
    open: &'a str,
    value: &'a str,
}

/// `None` where the lines do not follow the common format.
pub(crate) fn learn(lines: &[&str]) -> Option<Learnt> {
    let split: Vec<(&str, &str)> = lines.iter().filter_map(|line| head(line)).collect();
    if split.len() * 2 < lines.len() || split.is_empty() {
        return None;
    }
    let vhost =
        split.iter().filter(|(before, _)| before.split(' ').count() >= 4 && !before.ends_with(' ')).count()
            * 2
            > split.len();
    let tails: Vec<Vec<Token<'_>>> = split.iter().map(|(_, tail)| tokens(tail)).collect();
    let width = commonest(tails.iter().map(Vec::len))?;
    let rows: Vec<&Vec<Token<'_>>> = tails.iter().filter(|t| t.len() == width).collect();
    let shape = rows.first()?;
    let mut gives = vec![None; width];
    let combined = width >= 2 && shape[0].open == "\"" && shape[1].open == "\"" && shape[0].key.is_empty();
    let from = if combined { 2 } else { 0 };
    if combined {
        gives[1] = Some((Field::Agent, 0, None));
    }
    let column = |at: usize| rows.iter().map(|row| row[at].value).collect::<Vec<&str>>();
    let (times, assumed) = timings(&shape[from..], |at| column(from + at));
    for (at, given) in times {
        gives[from + at] = Some(given);
    }
    let mut parts = start(vhost);
    for (token, given) in shape.iter().zip(&gives) {
        parts.push(Part::Literal(format!(" {}{}", token.key, token.open)));
        parts.push(Part::Field(*given));
        parts.push(Part::Literal(close(token.open).to_owned()));
    }
    let duration = gives.iter().flatten().find(|g| g.0 == Field::Duration);
    let traefik = duration.is_some_and(|g| g.2.is_none());
    let name = format!(
        "{}{}{}",
        if traefik {
            "Traefik's form of the "
        } else if vhost {
            "virtual host and "
        } else {
            ""
        },
        if combined && !traefik { "combined format of nginx or Apache" } else { "common log format" },
        duration.map_or(String::new(), |g| format!(
            " with a response time{}",
            g.2.map_or(String::new(), |unit| format!(" in {}", unit.word()))
        ))
    );
    let bare = Template::new(start(vhost)).ok()?.open();
    Some(Learnt { template: Template::new(parts).ok()?, bare, name, assumed })
}

/// `[vhost ]host ident user [time] "request" status bytes`.
fn start(vhost: bool) -> Vec<Part> {
    let literal = |text: &str| Part::Literal(text.to_owned());
    let field = |field: Field| Part::Field(Some((field, 5, None)));
    let mut parts = Vec::new();
    if vhost {
        parts.extend([field(Field::Host), literal(" ")]);
    }
    parts.extend([
        field(Field::Client),
        literal(" "),
        Part::Field(None),
        literal(" "),
        Part::Field(None),
        literal(" ["),
        field(Field::Time),
        literal("] \""),
        field(Field::RequestLine),
        literal("\" "),
        field(Field::Status),
        literal(" "),
        field(Field::Sent),
    ]);
    parts
}

/// What stands before ` [`, and the text behind status and size.
fn head(line: &str) -> Option<(&str, &str)> {
    let (before, rest) = line.split_once(" [")?;
    let (_time, rest) = rest.split_once("] \"")?;
    let mut escaped = false;
    let quote = rest.bytes().position(|b| match b {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        b => b == b'"',
    })?;
    let rest = rest[quote + 1..].strip_prefix(' ')?;
    let (status, rest) = rest.split_once(' ')?;
    if status.parse::<u16>().is_err() {
        return None;
    }
    let (bytes, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    (bytes == "-" || bytes.parse::<u64>().is_ok()).then_some((before, tail))
}

/// Splits at spaces, but for those in quotes, in brackets, and in lists of upstream tries.
fn tokens(tail: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    let mut rest = tail.trim_start();
    while !rest.is_empty() {
        let key = match rest.find('=') {
            Some(at) if rest[..at].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {
                &rest[..=at]
            }
            _ => "",
        };
        rest = &rest[key.len()..];
        let open = if rest.starts_with('"') {
            "\""
        } else if rest.starts_with('[') {
            "["
        } else {
            ""
        };
        rest = &rest[open.len()..];
        let mut end = match open {
            "\"" => quote_end(rest),
            "[" => rest.find(']').unwrap_or(rest.len()),
            _ => rest.find(' ').unwrap_or(rest.len()),
        };
        while open.is_empty()
            && end < rest.len()
            && (rest[..end].ends_with([',', ':']) || rest[end..].starts_with(" : "))
        {
            end += 1 + rest[end + 1..].find(' ').unwrap_or(rest.len() - end - 1);
        }
        out.push(Token { key, open, value: &rest[..end] });
        let after = end + close(open).len();
        rest = rest.get(after.min(rest.len())..).unwrap_or("").trim_start_matches(' ');
    }
    out
}

fn quote_end(text: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find('"') {
        let at = from + at;
        if text[..at].bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 0 {
            return at;
        }
        from = at + 1;
    }
    text.len()
}

fn close(open: &str) -> &'static str {
    match open {
        "\"" => "\"",
        "[" => "]",
        _ => "",
    }
}

fn commonest(numbers: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts = std::collections::BTreeMap::new();
    for number in numbers {
        *counts.entry(number).or_insert(0_usize) += 1;
    }
    counts.into_iter().max_by_key(|(_, n)| *n).map(|(number, _)| number)
}

type Times = Vec<(usize, (Field, u8, Option<Unit>))>;

/// Which of the tokens are durations, and what had to be assumed for it.
fn timings<'a>(shape: &[Token<'a>], column: impl Fn(usize) -> Vec<&'a str>) -> (Times, Option<String>) {
    let mut found: Times = Vec::new();
    let mut seconds = Vec::new();
    let mut integers = Vec::new();
    for (at, token) in shape.iter().enumerate() {
        let values: Vec<&str> = column(at).into_iter().filter(|v| !v.is_empty() && *v != "-").collect();
        if let Some(given) = keyed(token.key, &values) {
            found.push((at, given));
        } else if values.is_empty() || !token.key.is_empty() {
        } else if values.iter().all(|v| is_nginx_seconds(v)) {
            seconds.push(at);
        } else if values.iter().all(|v| !v.contains(['.', ':']) && v.parse::<u64>().is_ok()) {
            integers.push((at, values));
        } else if values
            .iter()
            .all(|v| v.contains(char::is_alphabetic) && duration_ns(&Scalar::text(v), None).is_some())
        {
            found.push((at, (Field::Duration, 0, None)));
        } else if values
            .iter()
            .all(|v| v.len() == 32 && v.bytes().all(|b| b.is_ascii_hexdigit()) || v.starts_with("00-"))
        {
            found.push((at, (Field::Trace, 1, None)));
        }
    }
    // nginx: the request's time stands before those of its upstream, of which the last is the whole response.
    if let Some(first) = seconds.first() {
        found.push((*first, (Field::Duration, 1, Some(Unit::Seconds))));
    }
    if let [_, .., last] = seconds.as_slice() {
        found.push((*last, (Field::Upstream, 1, Some(Unit::Seconds))));
    }
    if found.iter().any(|(_, given)| given.0 == Field::Duration) {
        return (found, None);
    }
    let (whole, assumed) = whole_numbers(&integers);
    found.extend(whole);
    (found, assumed)
}

/// A token whose key says what it is: `rt=0.012`, `urt="0.010"`.
fn keyed(key: &str, values: &[&str]) -> Gives {
    let found = names::meaning(&[], key.strip_suffix('=')?)?;
    let timing = matches!(found.field, Field::Duration | Field::Upstream);
    // nginx writes three decimals.
    let unit = found
        .unit
        .or_else(|| (timing && values.iter().all(|v| is_nginx_seconds(v))).then_some(Unit::Seconds));
    let useful = timing || matches!(found.field, Field::Trace | Field::Host);
    (useful && !values.is_empty()).then_some((found.field, found.rank, unit))
}

/// `0.012`, or a list of tries. Not `$msec`, which is a Unix time.
fn is_nginx_seconds(value: &str) -> bool {
    value.split([',', ' ', ':']).filter(|part| !part.is_empty() && *part != "-").all(|part| {
        part.split_once('.').is_some_and(|(whole, fraction)| {
            (1..=6).contains(&whole.len())
                && fraction.len() == 3
                && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        })
    })
}

/// Apache's `%D` is in microseconds, `%T` in seconds; both are whole numbers, as bytes and ports are.
fn whole_numbers(integers: &[(usize, Vec<&str>)]) -> (Times, Option<String>) {
    let numbers = |values: &[&str]| values.iter().filter_map(|v| v.parse::<u64>().ok()).collect::<Vec<u64>>();
    for (at, values) in integers {
        for (other, shorter) in integers {
            let pair = numbers(values).into_iter().zip(numbers(shorter));
            if at != other
                && values.len() == shorter.len()
                && pair.clone().all(|(us, s)| us / 1_000_000 == s)
                && pair.clone().any(|(us, _)| us > 1000)
            {
                return (vec![(*at, (Field::Duration, 0, Some(Unit::Microseconds)))], None);
            }
        }
    }
    let [(at, values)] = integers else { return (Vec::new(), None) };
    let mut sorted = numbers(values);
    sorted.sort_unstable();
    let median = sorted[sorted.len() / 2];
    let unit = match median {
        1000.. => Unit::Microseconds,
        10..1000 => Unit::Milliseconds,
        _ => Unit::Seconds,
    };
    let assumed = format!(
        "the whole number behind the combined format (median {median}) is taken as a response time in {}",
        unit.word()
    );
    (vec![(*at, (Field::Duration, 0, Some(unit)))], Some(assumed))
}
