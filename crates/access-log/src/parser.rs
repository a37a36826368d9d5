//! Which format a log has, told by its first lines or by the user, and lines read by it.

use crate::envelope::Envelope;
use crate::fields::{Field, Fields, Unit};
use crate::keyed::Keys;
use crate::request::{Request, Stamp, Unreadable};
use crate::template::{self, Template};
use crate::{clf, haproxy};
use anyhow::{Context, Result, bail};

/// Lines that a format is told by.
pub(crate) const SAMPLE_LINES: usize = 400;

/// Envoy's default format, and Istio's longer one.
const ENVOY: &str = r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#;
const ISTIO: &str = r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#;

#[derive(Clone, Debug)]
enum Reader {
    /// With what is left of it where a line's end does not follow.
    Text(Template, Option<Template>),
    Json(Keys),
    Pairs(Keys),
    HaProxy,
}

/// Reads the lines of one log.
#[derive(Clone, Debug)]
pub struct Parser {
    reader: Reader,
    envelope: Envelope,
    stamp: Stamp,
    name: String,
    assumed: Vec<String>,
    /// The line without its envelope, where it had to be rewritten.
    opened: String,
}

impl Parser {
    /// The format that most of the lines follow.
    ///
    /// # Errors
    /// None that is known.
    pub fn detect(lines: &[&str], unit: Option<Unit>) -> Result<Self> {
        let lines: Vec<&str> =
            lines.iter().copied().filter(|l| !l.trim().is_empty()).take(SAMPLE_LINES).collect();
        if lines.is_empty() {
            bail!("there is no line in it");
        }
        let envelope = Envelope::of(&lines);
        let opened: Vec<_> = lines.iter().filter_map(|line| envelope.open(line)).collect();
        let inner: Vec<&str> = opened.iter().map(AsRef::as_ref).collect();
        let mut best: Option<(usize, Self)> = None;
        for mut candidate in candidates(&inner) {
            candidate.learn_unit(&inner, unit);
            let read = inner.iter().filter(|line| candidate.read_inner(line)).count();
            if best.as_ref().is_none_or(|(most, _)| read > *most) {
                best = Some((read, candidate));
            }
        }
        let Some((_, mut parser)) = best.filter(|(read, _)| *read * 5 >= inner.len()) else {
            bail!(
                "its lines are of no known format (nginx or Apache combined, Caddy, Traefik, HAProxy, Envoy, JSON lines, key=value); \
                 give the server's format string: --log-format '$remote_addr - $remote_user [$time_local] \"$request\" ...'"
            );
        };
        parser.envelope = envelope;
        parser.name.push_str(envelope.word());
        Ok(parser)
    }

    /// The format that the user names: a server's format string, or a word (`combined`, `envoy` ...).
    ///
    /// # Errors
    /// It is not understood.
    pub fn named(format: &str, lines: &[&str], unit: Option<Unit>) -> Result<Self> {
        let word = format.trim().to_ascii_lowercase();
        let text = |source: &str| template::compile(source).map(|template| Reader::Text(template, None));
        const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;
        const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
        let (reader, stamp) = match word.as_str() {
            "common" => (text(COMMON)?, Stamp::End),
            "combined" => (text(COMBINED)?, Stamp::End),
            "envoy" => (text(ENVOY)?, Stamp::Begin),
            "istio" => (Reader::Text(template::compile(ISTIO)?.open(), None), Stamp::Begin),
            "haproxy" => (Reader::HaProxy, Stamp::Begin),
            "json" | "caddy" => (Reader::Json(Keys::new()), Stamp::End),
            "logfmt" | "pairs" => (Reader::Pairs(Keys::new()), Stamp::End),
            "nginx" | "apache" | "traefik" => return Self::detect(lines, unit),
            _ => {
                let template = template::compile(format).with_context(|| {
                    format!("--log-format `{format}` (words: common, combined, nginx, apache, caddy, traefik, haproxy, envoy, istio, json, logfmt)")
                })?;
                // Apache and Envoy log when a request began, nginx when it was done.
                let stamp = if format.contains('$') { Stamp::End } else { Stamp::Begin };
                (Reader::Text(template, None), stamp)
            }
        };
        let envelope = Envelope::of(lines);
        let name = if word.len() <= 12 { word } else { "the given format".to_owned() };
        let mut parser = Self { reader, envelope, stamp, name, assumed: Vec::new(), opened: String::new() };
        let opened: Vec<_> = lines.iter().filter_map(|line| envelope.open(line)).collect();
        parser.learn_unit(&opened.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), unit);
        Ok(parser)
    }

    /// What the format is called: `combined format of nginx or Apache with a response time in seconds`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What had to be taken for granted, a sentence each.
    #[must_use]
    pub fn assumed(&self) -> &[String] {
        &self.assumed
    }

    /// The request of a line.
    ///
    /// # Errors
    /// Why it tells none.
    pub fn parse<'a>(&'a mut self, line: &'a str) -> Result<Request<'a>, Unreadable> {
        let Self { reader, envelope, stamp, opened, .. } = self;
        let line = match envelope.open(line) {
            Some(std::borrow::Cow::Borrowed(text)) => text,
            Some(std::borrow::Cow::Owned(text)) => {
                *opened = text;
                opened
            }
            None => return Err(Unreadable::OtherFormat),
        };
        let mut fields = Fields::default();
        reader.fill(line, &mut fields)?;
        fields.finish(*stamp)
    }

    fn read_inner(&mut self, line: &str) -> bool {
        let mut fields = Fields::default();
        self.reader.fill(line, &mut fields).is_ok_and(|()| fields.finish(self.stamp).is_ok())
    }

    /// Durations without a unit get one: the user's, else what their size suggests.
    fn learn_unit(&mut self, lines: &[&str], given: Option<Unit>) {
        let mut bare = Vec::new();
        for line in lines {
            let mut fields = Fields::default();
            if self.reader.fill(line, &mut fields).is_ok() {
                bare.extend(fields.bare_duration());
            }
        }
        let unit = match (given, bare.is_empty()) {
            (Some(unit), _) => unit,
            (None, true) => return,
            (None, false) => {
                let (unit, why) = guess(&mut bare);
                self.assumed.push(why);
                unit
            }
        };
        match &mut self.reader {
            Reader::Text(template, _) if given.is_some() || template.duration() == Some(None) => {
                template.set_unit(unit)
            }
            Reader::Json(keys) | Reader::Pairs(keys) => keys.unit = Some(unit),
            _ => {}
        }
    }
}

impl Reader {
    fn fill<'a>(&mut self, line: &'a str, fields: &mut Fields<'a>) -> Result<(), Unreadable> {
        let read = match self {
            Self::Text(template, bare) => {
                template.read(line, fields) || {
                    *fields = Fields::default();
                    bare.as_ref().is_some_and(|bare| bare.read(line, fields))
                }
            }
            Self::Json(keys) => {
                return if keys.read_json(line, fields) { Ok(()) } else { Err(Unreadable::BadJson) };
            }
            Self::Pairs(keys) => keys.read_pairs(line, fields),
            Self::HaProxy => haproxy::read(line, fields),
        };
        if read { Ok(()) } else { Err(Unreadable::OtherFormat) }
    }
}

/// Every format that the lines might have; of equal ones the first is taken.
fn candidates(lines: &[&str]) -> Vec<Parser> {
    let parser = |reader, stamp, name: String, assumed: Option<String>| Parser {
        reader,
        envelope: Envelope::None,
        stamp,
        name,
        assumed: assumed.into_iter().collect(),
        opened: String::new(),
    };
    let mut all = Vec::new();
    if lines.iter().filter(|line| line.starts_with('{')).count() * 2 > lines.len() {
        let name = json_name(lines);
        let mut keys = Keys::new();
        keys.unit = json_unit(lines);
        // Traefik tells the start and the end; the start is preferred by its key's name only, the end by `time`.
        all.push(parser(Reader::Json(keys), Stamp::End, name.to_owned(), None));
        return all;
    }
    for (source, name) in [(ENVOY, "Envoy's default format"), (ISTIO, "Istio's default format")] {
        if let Ok(template) = template::compile(source) {
            // Istio goes on with addresses and names of its own.
            let template = if source == ISTIO { template.open() } else { template };
            all.push(parser(Reader::Text(template, None), Stamp::Begin, name.to_owned(), None));
        }
    }
    if let Some(learnt) = clf::learn(lines) {
        // Only Apache's directives say whole numbers; Apache and Traefik log when the request came.
        let whole = matches!(learnt.template.duration(), Some(Some(Unit::Microseconds) | None));
        let stamp = if whole || learnt.assumed.is_some() { Stamp::Begin } else { Stamp::End };
        all.push(parser(
            Reader::Text(learnt.template, Some(learnt.bare)),
            stamp,
            learnt.name,
            learnt.assumed,
        ));
    }
    all.push(parser(Reader::HaProxy, Stamp::Begin, "HAProxy's HTTP log".to_owned(), None));
    all.push(parser(Reader::Pairs(Keys::new()), Stamp::End, "lines of key=value".to_owned(), None));
    all
}

/// Programs whose JSON lines are known by keys that others do not write.
const JSON_KINDS: &[(&[&str], &str, Option<Unit>)] = &[
    (&["\"logger\":\"http.log.access"], "Caddy's JSON lines", Some(Unit::Seconds)),
    (&["\"DownstreamStatus\"", "\"Duration\""], "Traefik's JSON lines", Some(Unit::Nanoseconds)),
    (&["\"response_flags\"", "\"upstream_cluster\""], "Envoy's JSON lines", Some(Unit::Milliseconds)),
    (&["\"responseTime\"", "\"reqId\""], "Fastify's JSON lines", Some(Unit::Milliseconds)),
    (&["\"responseTime\"", "\"pid\"", "\"req\""], "pino's JSON lines", Some(Unit::Milliseconds)),
    (&["\"latency_human\"", "\"latency\""], "Echo's JSON lines", Some(Unit::Nanoseconds)),
];

fn json_kind(lines: &[&str]) -> Option<&'static (&'static [&'static str], &'static str, Option<Unit>)> {
    JSON_KINDS.iter().find(|(keys, ..)| {
        let has = |line: &&&str| keys.iter().all(|key| line.contains(key));
        lines.iter().filter(has).count() * 5 >= lines.len()
    })
}

fn json_name(lines: &[&str]) -> &'static str {
    json_kind(lines).map_or("JSON lines", |kind| kind.1)
}

fn json_unit(lines: &[&str]) -> Option<Unit> {
    json_kind(lines).and_then(|kind| kind.2)
}

/// The unit of bare numbers by their size, and that this was a guess.
fn guess(values: &mut [f64]) -> (Unit, String) {
    values.sort_unstable_by(f64::total_cmp);
    let (median, most) = (values[values.len() / 2], values[values.len() - 1]);
    let whole = values.iter().all(|v| v.fract().abs() < f64::EPSILON);
    let unit = match (whole, median) {
        (true, 500_000.0..) => Unit::Nanoseconds,
        (true, 5_000.0..) => Unit::Microseconds,
        (true, _) => Unit::Milliseconds,
        // No request in seconds takes minutes, and few services answer within a hundredth of a millisecond.
        (false, median) if median < 1.0 && most < 60.0 => Unit::Seconds,
        (false, _) => Unit::Milliseconds,
    };
    let median = format!("{median:.6}");
    let median = median.trim_end_matches('0').trim_end_matches('.');
    (
        unit,
        format!("the response time's unit is not told; its median of {median} is taken as {}", unit.word()),
    )
}

/// Whether the format's durations are known at all, for hints; by what the parser would fill.
impl Parser {
    /// Whether the format, as far as it is known before any line, has a response time.
    #[must_use]
    pub fn tells_duration(&self) -> bool {
        match &self.reader {
            Reader::Text(template, _) => template.has(Field::Duration),
            Reader::HaProxy => true,
            Reader::Json(_) | Reader::Pairs(_) => true,
        }
    }
}
