//! What the formats fill in, one slot for each meaning, and how the texts become figures.

use crate::request::{Request, Stamp, Unreadable};
use crate::time;
use std::borrow::Cow;

/// What a part of a line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    Time,
    Method,
    Target,
    Query,
    /// `GET /x HTTP/1.1`.
    RequestLine,
    Route,
    Status,
    Duration,
    Upstream,
    Sent,
    Received,
    Host,
    Client,
    Agent,
    Trace,
}

pub(crate) const FIELDS: usize = Field::Trace as usize + 1;

/// Of a duration that is a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    pub(crate) fn ns(self) -> f64 {
        match self {
            Self::Seconds => 1e9,
            Self::Milliseconds => 1e6,
            Self::Microseconds => 1e3,
            Self::Nanoseconds => 1.0,
        }
    }

    /// `seconds`, `milliseconds` ...
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        }
    }
}

/// A value as the line holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Number(f64),
}

impl<'a> Scalar<'a> {
    pub(crate) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(crate) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => Cow::Owned(number.to_string()),
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        }
    }
}

/// The slots of one line. A slot that is filled twice keeps the better rank, then the first.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    slots: [Option<(u8, Option<Unit>, Scalar<'a>)>; FIELDS],
}

impl<'a> Fields<'a> {
    /// Rank 0 is best.
    pub(crate) fn set(&mut self, field: Field, rank: u8, unit: Option<Unit>, value: Scalar<'a>) {
        if matches!(&value, Scalar::Text(text) if text.is_empty() || text == "-") {
            return;
        }
        let slot = &mut self.slots[field as usize];
        if slot.as_ref().is_none_or(|(known, ..)| rank < *known) {
            *slot = Some((rank, unit, value));
        }
    }

    /// The duration, where it is a bare number of an unknown unit.
    pub(crate) fn bare_duration(&self) -> Option<f64> {
        match &self.slots[Field::Duration as usize] {
            Some((_, None, value)) => value.number(),
            _ => None,
        }
    }

    fn take(&mut self, field: Field) -> Option<Scalar<'a>> {
        self.slots[field as usize].take().map(|(_, _, value)| value)
    }

    fn text(&mut self, field: Field) -> Cow<'a, str> {
        self.take(field).map_or(Cow::Borrowed(""), Scalar::into_text)
    }

    fn duration(&mut self, field: Field) -> Option<u64> {
        let (_, unit, value) = self.slots[field as usize].take()?;
        duration_ns(&value, unit)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    fn bytes(&mut self, field: Field) -> Option<u64> {
        let number = self.take(field)?.number()?;
        (0.0..9e15).contains(&number).then_some(number as u64)
    }

    /// The request that the slots tell.
    pub(crate) fn finish(mut self, stamp: Stamp) -> Result<Request<'a>, Unreadable> {
        let (method, target) = self.what().ok_or(Unreadable::NoRequest)?;
        let time = self.take(Field::Time).ok_or(Unreadable::NoTime)?;
        let at_ns = time::parse(&time.into_text()).ok_or(Unreadable::NoTime)?;
        let status = self.take(Field::Status).ok_or(Unreadable::NoStatus)?;
        let status = status_of(&status).ok_or(Unreadable::NoStatus)?;
        let duration_ns = self.duration(Field::Duration);
        let begin_ns = match stamp {
            Stamp::Begin => at_ns,
            Stamp::End => at_ns.saturating_sub(duration_ns.unwrap_or(0)),
        };
        Ok(Request {
            begin_ns,
            duration_ns,
            upstream_ns: self.duration(Field::Upstream),
            method,
            target,
            route: self.text(Field::Route),
            status,
            sent_bytes: self.bytes(Field::Sent),
            received_bytes: self.bytes(Field::Received),
            host: self.text(Field::Host),
            client: self.text(Field::Client),
            agent: self.text(Field::Agent),
            trace_id: trace_id(&self.text(Field::Trace)),
        })
    }

    /// Method and target, from their own fields or from the request line.
    fn what(&mut self) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        let line = self.take(Field::RequestLine).map(Scalar::into_text);
        let split = line.and_then(|line| match line {
            Cow::Borrowed(line) => {
                let (method, target) = request_line(line)?;
                Some((Cow::Borrowed(method), Cow::Borrowed(target)))
            }
            Cow::Owned(line) => {
                let (method, target) = request_line(&line)?;
                Some((Cow::Owned(method.to_owned()), Cow::Owned(target.to_owned())))
            }
        });
        let (method, target) = match split {
            Some(both) => both,
            None => (self.text(Field::Method), self.text(Field::Target)),
        };
        let target = without_origin(target);
        if !is_method(&method) || !target.starts_with('/') {
            return None;
        }
        let query = self.text(Field::Query);
        let query = query.trim_start_matches('?');
        if query.is_empty() || target.contains('?') {
            return Some((method, target));
        }
        Some((method, Cow::Owned(format!("{target}?{query}"))))
    }
}

/// `GET /x HTTP/1.1`; the version may be missing.
fn request_line(line: &str) -> Option<(&str, &str)> {
    let (method, rest) = line.split_once(' ')?;
    let target = match rest.rsplit_once(' ') {
        Some((target, version)) if version.starts_with("HTTP/") => target,
        _ => rest,
    };
    Some((method, target))
}

/// Ten letters are enough for WebDAV's.
fn is_method(method: &str) -> bool {
    (3..=20).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')
}

/// `http://host/path` becomes `/path`.
fn without_origin(target: Cow<'_, str>) -> Cow<'_, str> {
    if target.starts_with('/') {
        return target;
    }
    let Some((_, rest)) = target.split_once("://") else { return target };
    let at = target.len() - rest.len() + rest.find(['/', '?']).unwrap_or(rest.len());
    match target {
        _ if at == target.len() => Cow::Borrowed("/"),
        Cow::Borrowed(text) => Cow::Borrowed(&text[at..]),
        Cow::Owned(text) => Cow::Owned(text[at..].to_owned()),
    }
}

/// 0, and HAProxy's -1, stand for a client that went away.
fn status_of(value: &Scalar<'_>) -> Option<u16> {
    let number = match value {
        // `200 OK`, and Rails' `200`.
        Scalar::Text(text) => text.split(' ').next()?.parse().ok()?,
        Scalar::Number(number) => *number,
    };
    if (-1.0..1.0).contains(&number) {
        return Some(0);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 100 and 999")]
    (100.0..1000.0).contains(&number).then_some(number as u16)
}

/// 32 hexadecimal digits, with dashes, as `traceparent`, or behind `Root=1-`; 0 where it is none.
fn trace_id(text: &str) -> u128 {
    let text = text.strip_prefix("00-").and_then(|rest| rest.split('-').next()).unwrap_or(text);
    let text = text.rsplit('/').next().unwrap_or(text);
    if !(16..=40).contains(&text.len()) {
        return 0;
    }
    let mut hex = [0_u8; 32];
    let mut length = 0;
    for byte in text.bytes().filter(|b| *b != b'-') {
        if length == hex.len() || !byte.is_ascii_hexdigit() {
            return 0;
        }
        hex[length] = byte;
        length += 1;
    }
    std::str::from_utf8(&hex[..length]).ok().and_then(|hex| u128::from_str_radix(hex, 16).ok()).unwrap_or(0)
}

/// A duration in nanoseconds: a number in `unit`, or a text with units of its own (`12.3ms`, `1m2.5s`, `0:00:01.2`).
/// nginx's list of upstream tries (`0.001, 0.002 : 0.003`) is their sum. Negative and endless ones are none.
pub(crate) fn duration_ns(value: &Scalar<'_>, unit: Option<Unit>) -> Option<u64> {
    let ns = match value {
        Scalar::Number(number) => number * unit?.ns(),
        Scalar::Text(text) => text_ns(text.trim().trim_matches('"'), unit)?,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (0.0..1e18).contains(&ns).then_some(ns as u64)
}

fn text_ns(text: &str, unit: Option<Unit>) -> Option<f64> {
    if let Ok(number) = text.parse::<f64>() {
        return Some(number * unit?.ns());
    }
    if text.contains([',', ' ']) && !text.contains(char::is_alphabetic) {
        let parts = text.split([',', ' ', ':']).filter(|part| !part.is_empty() && *part != "-");
        let sum = parts.map(str::parse::<f64>).sum::<Result<f64, _>>().ok()?;
        return Some(sum * unit?.ns());
    }
    if text.contains(':') {
        let parts: Result<Vec<f64>, _> = text.split(':').map(str::parse::<f64>).collect();
        return parts
            .ok()
            .filter(|p| p.len() <= 3)
            .map(|p| p.iter().fold(0.0, |sum, part| sum * 60.0 + part) * 1e9);
    }
    with_units(text)
}

/// `1m2.5s` as Go writes durations.
fn with_units(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut ns = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        ns += number
            * match rest[..end].trim() {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" | "msec" | "millis" | "milliseconds" => 1e6,
                "s" | "sec" | "secs" | "seconds" => 1e9,
                "m" | "min" => 6e10,
                "h" => 3.6e12,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_units() {
        let seconds = Some(Unit::Seconds);
        for (text, unit, ms) in [
            ("0.012", seconds, Some(12.0)),
            ("12.5ms", None, Some(12.5)),
            ("1m2.5s", None, Some(62_500.0)),
            ("250µs", None, Some(0.25)),
            ("0:00:01.5", None, Some(1500.0)),
            ("0.001, 0.002 : 0.003", seconds, Some(6.0)),
            ("-", seconds, None),
            ("-1", seconds, None),
            ("12", None, None),
            ("", seconds, None),
            ("ms", None, None),
            ("1e400", seconds, None),
        ] {
            let found = duration_ns(&Scalar::text(text), unit);
            assert_eq!(found, ms.map(|ms: f64| (ms * 1e6).round() as u64), "{text}");
        }
    }

    #[test]
    fn trace_ids_are_read_as_hex_uuid_or_traceparent() {
        assert_eq!(trace_id("4bf92f3577b34da6a3ce929d0e0e4736"), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(
            trace_id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736
        );
        assert_eq!(
            trace_id("projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736"),
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736
        );
        assert_eq!((trace_id(""), trace_id("not hex at all 12"), trace_id("7")), (0, 0, 0));
    }

    #[test]
    fn request_lines_may_lack_a_version_and_hold_a_whole_url() {
        let read = |line: &'static str| {
            let mut fields = Fields::default();
            fields.set(Field::RequestLine, 0, None, Scalar::text(line));
            fields.what().map(|(m, t)| format!("{m} {t}"))
        };
        assert_eq!(read("GET /a b HTTP/1.1").as_deref(), Some("GET /a b"));
        assert_eq!(read("GET /a").as_deref(), Some("GET /a"));
        assert_eq!(read("GET http://shop.example/a?x=1 HTTP/1.1").as_deref(), Some("GET /a?x=1"));
        assert_eq!(read("GET http://shop.example HTTP/1.1").as_deref(), Some("GET /"));
        assert_eq!(read("\\x16\\x03\\x01"), None);
        assert_eq!(read("CONNECT shop.example:443 HTTP/1.1"), None);
    }
}
