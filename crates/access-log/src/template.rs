//! Formats of text lines as literals and fields between them, compiled from what servers are configured with:
//! nginx's `log_format`, Apache's `LogFormat`, Envoy's format string.

use crate::fields::{Field, Fields, Scalar, Unit};
use crate::names;
use anyhow::{Result, bail, ensure};

/// More parts than this are no format of a line.
const MAX_PARTS: usize = 400;

/// What a field of a template gives; `None`: nothing that is looked at.
pub(crate) type Gives = Option<(Field, u8, Option<Unit>)>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Literal(String),
    Field(Gives),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    /// Whether a line may go on after the last part.
    open: bool,
}

impl Template {
    /// # Errors
    /// Two fields with nothing between them, or too many parts.
    pub(crate) fn new(parts: Vec<Part>) -> Result<Self> {
        let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            match (joined.last_mut(), part) {
                (_, Part::Literal(text)) if text.is_empty() => {}
                (Some(Part::Literal(before)), Part::Literal(text)) => before.push_str(&text),
                // `$host$request_uri`: a path begins with `/`, which a host does not hold.
                (Some(Part::Field(_)), Part::Field(next)) if !is_target(next) => {
                    bail!(
                        "two fields follow each other with nothing between: it cannot be told where one ends"
                    )
                }
                (_, part) => joined.push(part),
            }
        }
        ensure!(joined.len() <= MAX_PARTS, "more than {MAX_PARTS} parts");
        ensure!(joined.iter().any(|p| matches!(p, Part::Field(Some(_)))), "it names no field that is known");
        Ok(Self { parts: joined, open: false })
    }

    /// The same, for lines that may go on.
    pub(crate) fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// Whether it tells that meaning.
    pub(crate) fn has(&self, field: Field) -> bool {
        self.parts.iter().any(|p| matches!(p, Part::Field(Some((known, ..))) if *known == field))
    }

    /// The unit of its duration, if it has one.
    pub(crate) fn duration(&self) -> Option<Option<Unit>> {
        self.parts.iter().find_map(|p| match p {
            Part::Field(Some((Field::Duration, _, unit))) => Some(*unit),
            _ => None,
        })
    }

    /// Gives every duration without a unit this one.
    pub(crate) fn set_unit(&mut self, to: Unit) {
        for part in &mut self.parts {
            if let Part::Field(Some((Field::Duration, _, unit))) = part {
                *unit = Some(to);
            }
        }
    }

    /// Fills `fields` from a line; `false` where the line does not follow the template.
    pub(crate) fn read<'a>(&self, line: &'a str, fields: &mut Fields<'a>) -> bool {
        let mut rest = line;
        let mut quoted = false;
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(text) => {
                    let Some(after) = rest.strip_prefix(text.as_str()) else { return false };
                    rest = after;
                    quoted = text.ends_with('"');
                }
                Part::Field(gives) => {
                    let end = match self.parts.get(at + 1) {
                        None if self.open => rest.find(' ').unwrap_or(rest.len()),
                        None => rest.len(),
                        Some(Part::Literal(next)) => match end_of(rest, next, quoted) {
                            Some(end) => end,
                            None => return false,
                        },
                        Some(Part::Field(_)) => rest.find('/').unwrap_or(rest.len()),
                    };
                    let (value, after) = rest.split_at(end);
                    if let Some((field, rank, unit)) = gives {
                        fields.set(*field, *rank, *unit, Scalar::text(value));
                    }
                    rest = after;
                }
            }
        }
        self.open || rest.trim_end().is_empty()
    }
}

fn is_target(gives: Gives) -> bool {
    matches!(gives, Some((Field::Target, ..)))
}

/// Where a field ends: before `next`. In quotes an escaped quote does not end it; elsewhere a list of upstream tries
/// (`0.001, 0.002 : 0.003`) is one field.
fn end_of(text: &str, next: &str, quoted: bool) -> Option<usize> {
    let first = next.chars().next()?;
    let mut from = 0;
    loop {
        let at = from + text[from..].find(first)?;
        let here = &text[at..];
        let before = text[..at].bytes().next_back();
        let skip = if quoted && first == '"' {
            before == Some(b'\\') && !ends_escaped(&text[..at])
        } else {
            first == ' ' && (before == Some(b',') || here.starts_with(" : ") || text[..at].ends_with(" :"))
        };
        if !skip && here.starts_with(next) {
            return Some(at);
        }
        from = at + first.len_utf8();
    }
}

/// Whether the backslash at the end is itself escaped.
fn ends_escaped(text: &str) -> bool {
    text.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 0
}

/// A format as a user gives it: a server's format string, or the directive it stands in.
///
/// # Errors
/// It is none; says what was not understood.
pub(crate) fn compile(text: &str) -> Result<Template> {
    let text = text.trim();
    if text.contains("%REQ(") || text.contains("%START_TIME") {
        return envoy(text);
    }
    if text.starts_with("log_format") || text.contains('$') {
        return nginx(&unquoted(text, "log_format"));
    }
    if text.contains('%') {
        return apache(&unquoted(text, "LogFormat"));
    }
    bail!("it holds neither nginx's variables ($request) nor Apache's (%r) nor Envoy's (%REQ(:METHOD)%)")
}

/// The quoted texts of a directive, joined as the server joins them; other text as it is.
fn unquoted(text: &str, directive: &str) -> String {
    let Some(rest) = text.strip_prefix(directive) else { return text.to_owned() };
    let mut out = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in rest.chars() {
        match quote {
            None if c == '\'' || c == '"' => {
                // Apache has one text and then a name.
                if directive == "LogFormat" && !out.is_empty() {
                    break;
                }
                quote = Some(c);
            }
            None => {}
            Some(_) if escaped => {
                out.push(c);
                escaped = false;
            }
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => out.push(c),
        }
    }
    out
}

fn nginx(text: &str) -> Result<Template> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        parts.push(Part::Literal(rest[..at].to_owned()));
        let after = &rest[at + 1..];
        let (name, after) = match after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some((name, after)) => (name, after),
            None => after.split_at(
                after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len()),
            ),
        };
        ensure!(!name.is_empty(), "`$` without a variable's name");
        parts.push(Part::Field(nginx_variable(name)));
        rest = after;
    }
    parts.push(Part::Literal(rest.to_owned()));
    Template::new(parts)
}

fn nginx_variable(name: &str) -> Gives {
    Some(match name {
        "time_local" | "time_iso8601" | "msec" => (Field::Time, 0, None),
        "request" => (Field::RequestLine, 0, None),
        "request_uri" => (Field::Target, 0, None),
        "uri" | "document_uri" => (Field::Target, 1, None),
        "request_time" => (Field::Duration, 0, Some(Unit::Seconds)),
        "upstream_response_time" => (Field::Upstream, 0, Some(Unit::Seconds)),
        "body_bytes_sent" => (Field::Sent, 0, None),
        "remote_addr" => (Field::Client, 1, None),
        "http_x_forwarded_for" => (Field::Client, 0, None),
        "server_name" => (Field::Host, 2, None),
        _ => {
            let found = names::meaning(&[], name)?;
            // A variable such as `$upstream_status` is none of ours by chance.
            (found.field, found.rank, found.unit)
        }
    })
}

fn apache(text: &str) -> Result<Template> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        parts.push(Part::Literal(rest[..at].replace("\\\"", "\"")));
        let after = rest[at + 1..]
            .trim_start_matches(['>', '<', '!', ',', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        if let Some(after) = after.strip_prefix('%') {
            parts.push(Part::Literal("%".to_owned()));
            rest = after;
            continue;
        }
        let (argument, after) = match after.strip_prefix('{') {
            Some(braced) => match braced.split_once('}') {
                Some((argument, after)) => (argument, after),
                None => bail!("`%{{` without `}}`"),
            },
            None => ("", after),
        };
        let Some(letter) = after.chars().next() else { bail!("`%` at the end") };
        let mut after = &after[letter.len_utf8()..];
        if letter == '^' {
            after = after.get(2..).unwrap_or("");
        }
        if letter == 't' && argument.is_empty() {
            parts.extend([
                Part::Literal("[".to_owned()),
                Part::Field(Some((Field::Time, 0, None))),
                Part::Literal("]".to_owned()),
            ]);
        } else {
            parts.push(Part::Field(apache_directive(letter, argument)));
        }
        rest = after;
    }
    parts.push(Part::Literal(rest.replace("\\\"", "\"")));
    Template::new(parts)
}

fn apache_directive(letter: char, argument: &str) -> Gives {
    let header = || names::meaning(&["headers"], argument).map(|m| (m.field, m.rank, m.unit));
    Some(match letter {
        't' => (Field::Time, 0, None),
        'h' | 'a' => (Field::Client, 1, None),
        'r' => (Field::RequestLine, 0, None),
        'm' => (Field::Method, 0, None),
        'U' => (Field::Target, 0, None),
        'q' => (Field::Query, 0, None),
        's' => (Field::Status, 0, None),
        'b' | 'B' => (Field::Sent, 0, None),
        'O' => (Field::Sent, 1, None),
        'I' => (Field::Received, 0, None),
        'D' => (Field::Duration, 0, Some(Unit::Microseconds)),
        'T' => match argument {
            "ms" => (Field::Duration, 1, Some(Unit::Milliseconds)),
            "us" => (Field::Duration, 0, Some(Unit::Microseconds)),
            _ => (Field::Duration, 9, Some(Unit::Seconds)),
        },
        'v' | 'V' => (Field::Host, 1, None),
        'i' => return header(),
        _ => return None,
    })
}

fn envoy(text: &str) -> Result<Template> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        parts.push(Part::Literal(rest[..at].to_owned()));
        let Some(length) = rest[at + 1..].find('%') else { bail!("`%` without an end") };
        let command = &rest[at + 1..at + 1 + length];
        parts.push(Part::Field(envoy_command(command)));
        rest = &rest[at + 2 + length..];
    }
    parts.push(Part::Literal(rest.trim_end().to_owned()));
    Template::new(parts)
}

fn envoy_command(command: &str) -> Gives {
    let name = command.split('(').next().unwrap_or("");
    Some(match (name, command) {
        ("START_TIME", _) => (Field::Time, 0, None),
        ("REQ", "REQ(:METHOD)") => (Field::Method, 0, None),
        ("REQ", command) if command.contains(":PATH") || command.contains("ORIGINAL-PATH") => {
            (Field::Target, 0, None)
        }
        ("REQ", "REQ(:AUTHORITY)") => (Field::Host, 0, None),
        ("REQ", "REQ(USER-AGENT)") => (Field::Agent, 0, None),
        ("REQ", "REQ(X-FORWARDED-FOR)") => (Field::Client, 0, None),
        ("REQ", "REQ(TRACEPARENT)") | ("TRACE_ID", _) => (Field::Trace, 0, None),
        ("RESPONSE_CODE", _) => (Field::Status, 0, None),
        ("BYTES_RECEIVED", _) => (Field::Received, 0, None),
        ("BYTES_SENT", _) => (Field::Sent, 0, None),
        ("DURATION", _) => (Field::Duration, 0, Some(Unit::Milliseconds)),
        ("RESP", "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)") => (Field::Upstream, 0, Some(Unit::Milliseconds)),
        ("DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", _) => {
            (Field::Client, 1, None)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Stamp;

    #[track_caller]
    fn check(format: &str, line: &str, expected: &str) {
        let template = compile(format).unwrap();
        let mut fields = Fields::default();
        assert!(template.read(line, &mut fields), "{line}");
        let r = fields.finish(Stamp::Begin).unwrap();
        let found = format!(
            "{} {} {} {:?} {:?} {:?}",
            r.method, r.target, r.status, r.duration_ns, r.upstream_ns, r.sent_bytes
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn a_log_format_of_nginx_may_be_pasted_as_it_stands_in_the_configuration() {
        check(
            "log_format timed '$remote_addr [$time_iso8601] \"$request\" '\n  '$status $body_bytes_sent rt=$request_time urt=\"$upstream_response_time\" \"$http_user_agent\"';",
            r#"10.0.0.7 [2026-11-22T21:03:05+00:00] "GET /a?x=1 HTTP/1.1" 200 31 rt=0.012 urt="0.004, 0.005" "a \"b\" c""#,
            "GET /a?x=1 200 Some(12000000) Some(9000000) Some(31)",
        );
    }

    #[test]
    fn upstream_tries_that_are_not_quoted_are_one_field() {
        check(
            "[$time_local] $request_method $host$request_uri $status $upstream_response_time $request_time",
            "[22/Nov/2026:21:03:05 +0000] GET shop.example/a 200 0.001, 0.002 : - 0.010",
            "GET /a 200 Some(10000000) Some(3000000) None",
        );
    }

    #[test]
    fn a_log_format_of_apache_may_be_pasted_as_well() {
        check(
            r#"LogFormat "%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\" %{ms}T" vhost_timed"#,
            r#"shop.example:443 10.0.0.7 - ann b [22/Nov/2026:21:03:05 +0000] "POST /orders HTTP/2.0" 201 77 "-" "x" 31"#,
            "POST /orders 201 Some(31000000) None Some(77)",
        );
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for (text, part) in [
            ("combinde", "neither nginx's"),
            ("$request$status", "nothing between"),
            ("$unknown_thing", "no field that is known"),
            ("%{User-Agent", "without `}`"),
            ("%START_TIME", "without an end"),
        ] {
            let error = compile(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
