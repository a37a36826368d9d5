//! Traces as drawings, for tests: one line a span, indentation is parenthood, times in milliseconds.
//!
//! ```text
//! repeat 20
//! api server "GET /orders/{id}" 0..120
//!   api db "SELECT id FROM orders WHERE customer_id = $1" 5..15 db.response.returned_rows=10
//!   api db "SELECT * FROM items WHERE order_id = $1" 16..20 x10 gap 1
//!   api http "GET http://stock:80/stock/7" 70..110
//!     stock server "GET /stock/{id}" 75..105
//! ```
//!
//! `repeat N` makes N traces, 100 ms apart. `xN [gap G]` repeats a span one after another, G ms between; `xN par`
//! all at once. Words: `server`, `client`, `internal`, `producer`, `consumer` are OTLP's kinds; `db`, `http`, `redis`
//! are clients with the attributes of today's conventions filled in. `{n}` in a name or value becomes the number of
//! the repetition, `{t}` that of the trace. A blank line starts another drawing.

use crate::{Attribute, SpanFields, SpanKind, SpanStatus, SpanTable, Value};

const MS: f64 = 1e6;
/// When the first trace starts, Unix nanoseconds.
pub const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
/// From one repetition to the next.
const SPACING_NS: u64 = 100_000_000;

/// The spans of a drawing; the error names the line.
///
/// # Errors
/// A line that does not follow the notation.
pub fn spans(drawing: &str) -> Result<SpanTable, String> {
    let mut pen = Pen::default();
    for (number, line) in drawing.lines().enumerate() {
        pen.line(line).map_err(|problem| format!("line {}: {problem}: {line}", number + 1))?;
    }
    pen.finish();
    Ok(pen.table)
}

#[derive(Clone)]
struct Drawn {
    depth: usize,
    service: String,
    word: String,
    name: String,
    start_ms: f64,
    end_ms: f64,
    times: u32,
    gap_ms: f64,
    parallel: bool,
    attributes: Vec<(String, String)>,
}

#[derive(Default)]
struct Pen {
    table: SpanTable,
    repeat: u64,
    drawn: Vec<Drawn>,
    traces: u64,
    next_id: u64,
}

impl Pen {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let body = line.trim();
        if body.is_empty() {
            self.finish();
        } else if let Some(times) = body.strip_prefix("repeat ") {
            self.finish();
            self.repeat = times.trim().parse().map_err(|_| "repeat what?")?;
        } else if !body.starts_with('#') {
            self.drawn.push(parse(line)?);
        }
        Ok(())
    }

    fn finish(&mut self) {
        let drawn = std::mem::take(&mut self.drawn);
        if drawn.is_empty() {
            return;
        }
        let base = drawn.iter().map(|d| d.depth).min().unwrap_or(0);
        for _ in 0..self.repeat.max(1) {
            self.traces += 1;
            self.trace(&drawn, base);
        }
        self.repeat = 0;
    }

    /// One trace: each root line with what hangs below it.
    fn trace(&mut self, drawn: &[Drawn], base: usize) {
        let mut at = 0;
        while at < drawn.len() {
            let end = subtree_end(drawn, at);
            debug_assert!(drawn[at].depth >= base);
            self.subtree(&drawn[at..end], 0, 0.0);
            at = end;
        }
    }

    fn subtree(&mut self, lines: &[Drawn], parent: u64, shift_ms: f64) {
        let head = &lines[0];
        let length = head.end_ms - head.start_ms;
        for n in 0..head.times {
            let step = if head.parallel { 0.0 } else { f64::from(n) * (length + head.gap_ms) };
            let id = self.span(head, parent, shift_ms + step, n);
            let mut at = 1;
            while at < lines.len() {
                let end = subtree_end(lines, at);
                self.subtree(&lines[at..end], id, shift_ms + step);
                at = end;
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "drawings are small")]
    fn span(&mut self, drawn: &Drawn, parent: u64, shift_ms: f64, n: u32) -> u64 {
        self.next_id += 1;
        let fill = |text: &str| text.replace("{n}", &n.to_string()).replace("{t}", &self.traces.to_string());
        let (name, extra) = described(&drawn.word, &fill(&drawn.name));
        let mut status = SpanStatus::Unset;
        let mut pairs: Vec<(String, String)> = extra;
        for (key, value) in &drawn.attributes {
            if key == "status" && value == "error" {
                status = SpanStatus::Error;
            } else {
                pairs.retain(|(k, _)| k != key);
                pairs.push((key.clone(), fill(value)));
            }
        }
        let service_key = self.table.strings.intern("service.name");
        let service = self.table.pack(Value::Text(&drawn.service));
        let resource = self.table.add_resource(&[Attribute { key: service_key, value: service }]);
        let attributes: Vec<Attribute> = pairs
            .iter()
            .map(|(key, value)| {
                let key = self.table.strings.intern(key);
                let value = match value.parse::<i64>() {
                    Ok(int) => self.table.pack(Value::Int(int)),
                    Err(_) => self.table.pack(Value::Text(value)),
                };
                Attribute { key, value }
            })
            .collect();
        let fields = SpanFields {
            trace_id: u128::from(self.traces),
            span_id: self.next_id,
            parent_id: parent,
            start_ns: EPOCH_NS + self.traces * SPACING_NS + ((drawn.start_ms + shift_ms) * MS) as u64,
            duration_ns: ((drawn.end_ms - drawn.start_ms) * MS) as i64,
            name: self.table.strings.intern(&name),
            kind: kind(&drawn.word),
            status,
            resource,
            scope: crate::Sym::EMPTY,
        };
        self.table.push(fields, &attributes);
        self.next_id
    }
}

fn subtree_end(lines: &[Drawn], at: usize) -> usize {
    let depth = lines[at].depth;
    lines[at + 1..].iter().position(|l| l.depth <= depth).map_or(lines.len(), |p| at + 1 + p)
}

fn kind(word: &str) -> SpanKind {
    match word {
        "server" => SpanKind::Server,
        "internal" => SpanKind::Internal,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        "none" => SpanKind::Unspecified,
        _ => SpanKind::Client,
    }
}

/// The span's name and the attributes that its word brings.
fn described(word: &str, name: &str) -> (String, Vec<(String, String)>) {
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let (verb, rest) = name.split_once(' ').unwrap_or((name, ""));
    match word {
        "db" => (verb.to_owned(), vec![pair("db.system.name", "postgresql"), pair("db.query.text", name)]),
        "redis" => (verb.to_owned(), vec![pair("db.system.name", "redis"), pair("db.query.text", name)]),
        "http" => (verb.to_owned(), vec![pair("http.request.method", verb), pair("url.full", rest)]),
        "server" if rest.starts_with('/') => {
            (name.to_owned(), vec![pair("http.request.method", verb), pair("http.route", rest)])
        }
        _ => (name.to_owned(), Vec::new()),
    }
}

fn parse(line: &str) -> Result<Drawn, String> {
    let depth = line.len() - line.trim_start().len();
    let words = split(line.trim())?;
    let mut words = words.iter().map(String::as_str);
    let mut next = |what: &str| words.next().ok_or(format!("no {what}"));
    let service = next("service")?.to_owned();
    let word = next("kind")?.to_owned();
    if !["server", "client", "internal", "producer", "consumer", "none", "db", "http", "redis"]
        .contains(&word.as_str())
    {
        return Err(format!("unknown kind `{word}`"));
    }
    let name = next("name")?.to_owned();
    let (start, end) = next("times")?.split_once("..").ok_or("times are START..END")?;
    let number = |s: &str| s.parse::<f64>().map_err(|_| format!("`{s}` is no number of milliseconds"));
    let mut drawn = Drawn {
        depth,
        service,
        word,
        name,
        start_ms: number(start)?,
        end_ms: number(end)?,
        times: 1,
        gap_ms: 0.0,
        parallel: false,
        attributes: Vec::new(),
    };
    while let Some(word) = words.next() {
        if word == "gap" {
            drawn.gap_ms = number(words.next().ok_or("gap of what?")?)?;
        } else if word == "par" {
            drawn.parallel = true;
        } else if let Some((key, value)) = word.split_once('=') {
            drawn.attributes.push((key.to_owned(), value.to_owned()));
        } else if let Some(times) = word.strip_prefix('x') {
            drawn.times = times.parse().map_err(|_| format!("`{word}` is no repetition"))?;
        } else {
            return Err(format!("unknown word `{word}`"));
        }
    }
    Ok(drawn)
}

/// Words at white space; double quotes keep it, also after `key=`.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut any) = (false, false);
    for c in line.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    if any {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_becomes_spans() {
        let table = spans(
            r#"
            repeat 2
            api server "GET /orders/{id}" 0..120
              api db "SELECT * FROM items WHERE order_id = $1" 10..14 x3 gap 1 db.query.parameter.0={n}
                api internal "fetch" 11..12
            "#,
        )
        .expect("a drawing");
        assert_eq!(table.len(), 2 * 7);
        let row = table.row(3);
        assert_eq!(row.attribute("db.query.parameter.0"), Some(Value::Int(1)));
        assert_eq!(row.fields().start_ns - table.row(0).fields().start_ns, 15_000_000);
        assert_eq!(table.row(4).fields().parent_id, row.fields().span_id);
        assert_eq!(table.row(0).attribute("http.route"), Some(Value::Text("/orders/{id}")));
        assert_ne!(table.row(0).fields().trace_id, table.row(7).fields().trace_id);
    }

    #[test]
    fn a_line_that_is_no_span_is_named() {
        let error = spans("api server \"x\" 0..1\napi sever \"y\" 0..1").expect_err("must fail");
        assert!(error.starts_with("line 2: unknown kind `sever`"), "{error}");
    }
}
