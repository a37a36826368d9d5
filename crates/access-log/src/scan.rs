//! A whole log: the format is told, each line read, what cannot be read counted by its reason.

use crate::fields::Unit;
use crate::lines::{Line, Lines};
use crate::parser::{Parser, SAMPLE_LINES};
use crate::request::{Request, Unreadable};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::Read;

/// Bytes that are kept for telling the format.
const MAX_SAMPLE_BYTES: usize = 4 << 20;

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A server's format string or a format's name; told by the first lines where absent.
    pub format: Option<String>,
    /// Of durations whose unit the log does not tell.
    pub unit: Option<Unit>,
    /// Only requests to this host.
    pub host: Option<String>,
}

/// What was read of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// As [`Parser::name`] says.
    pub format: String,
    /// As [`Parser::assumed`] says.
    pub assumed: Vec<String>,
    pub compression: Option<&'static str>,
    /// Uncompressed.
    pub bytes: u64,
    /// Lines that are not blank and no comments.
    pub lines: u64,
    pub requests: u64,
    /// Requests with a response time.
    pub timed: u64,
    /// Requests of other hosts than the one asked for.
    pub other_hosts: u64,
    /// Requests whose line was not UTF-8; the odd bytes were replaced.
    pub not_utf8: u64,
    /// By reason: how many lines, and the number of the first.
    pub unreadable: BTreeMap<Unreadable, (u64, u64)>,
    /// The input ended with an error: what, in words.
    pub ended_early: Option<String>,
}

impl Scan {
    /// Lines that were not understood.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unreadable.values().map(|(count, _)| count).sum()
    }
}

/// Reads a log and hands each request to `each`.
///
/// # Errors
/// Nothing could be read at all, or the format is unknown. A log that breaks off later is no error: see
/// [`Scan::ended_early`].
pub fn scan(input: impl Read, options: &Options, mut each: impl FnMut(&Request<'_>)) -> Result<Scan> {
    let mut lines = Lines::new(input).context("it cannot be read")?;
    let mut work = Work {
        scan: Scan { compression: lines.compression, ..Scan::default() },
        number: 0,
        host: options.host.as_deref(),
    };
    let (sample, ended) = work.sample(&mut lines)?;
    let texts: Vec<&str> = sample.iter().map(|(_, line, _)| line.as_str()).collect();
    let mut parser = match &options.format {
        Some(format) => Parser::named(format, &texts, options.unit)?,
        None => Parser::detect(&texts, options.unit)?,
    };
    parser.name().clone_into(&mut work.scan.format);
    work.scan.assumed = parser.assumed().to_vec();
    for (number, line, last) in &sample {
        work.number = *number;
        work.take(&mut parser, line, *last, &mut each);
    }
    drop(sample);
    if !ended {
        loop {
            work.number += 1;
            match lines.next() {
                Ok(Line::End) => break,
                Ok(Line::TooLong) => work.unreadable(Unreadable::TooLong),
                Ok(Line::Whole(line)) => work.take_bytes(&mut parser, line, false, &mut each),
                Ok(Line::Last(line)) => work.take_bytes(&mut parser, line, true, &mut each),
                Err(error) => {
                    work.scan.ended_early = Some(error.to_string());
                    break;
                }
            }
        }
    }
    work.scan.bytes = lines.bytes;
    Ok(work.scan)
}

/// Number, text, and whether it is the last line without an end.
type Sample = Vec<(u64, String, bool)>;

struct Work<'o> {
    scan: Scan,
    number: u64,
    host: Option<&'o str>,
}

impl Work<'_> {
    /// The first lines, and whether these were all.
    fn sample(&mut self, lines: &mut Lines<'_>) -> Result<(Sample, bool)> {
        let mut sample = Vec::new();
        let mut bytes = 0;
        while sample.len() < SAMPLE_LINES && bytes < MAX_SAMPLE_BYTES {
            self.number += 1;
            let (line, last) = match lines.next() {
                Ok(Line::End) => return Ok((sample, true)),
                Ok(Line::TooLong) => {
                    self.unreadable(Unreadable::TooLong);
                    continue;
                }
                Ok(Line::Whole(line)) => (line, false),
                Ok(Line::Last(line)) => (line, true),
                Err(error) if sample.is_empty() => return Err(error).context("it cannot be read"),
                Err(error) => {
                    self.scan.ended_early = Some(error.to_string());
                    return Ok((sample, true));
                }
            };
            bytes += line.len();
            sample.push((self.number, self.text(line).into_owned(), last));
        }
        Ok((sample, false))
    }

    fn text<'l>(&mut self, line: &'l [u8]) -> std::borrow::Cow<'l, str> {
        let text = String::from_utf8_lossy(line);
        self.scan.not_utf8 += u64::from(matches!(text, std::borrow::Cow::Owned(_)));
        text
    }

    fn take_bytes(
        &mut self,
        parser: &mut Parser,
        line: &[u8],
        last: bool,
        each: &mut impl FnMut(&Request<'_>),
    ) {
        let text = self.text(line);
        self.take(parser, &text, last, each);
    }

    fn take(&mut self, parser: &mut Parser, line: &str, last: bool, each: &mut impl FnMut(&Request<'_>)) {
        if line.trim().is_empty() || line.starts_with('#') {
            return;
        }
        match parser.parse(line) {
            Ok(request) => {
                self.scan.lines += 1;
                if self.host.is_some_and(|host| !same_host(&request.host, host)) {
                    self.scan.other_hosts += 1;
                    return;
                }
                self.scan.requests += 1;
                self.scan.timed += u64::from(request.duration_ns.is_some());
                each(&request);
            }
            Err(_) if last => self.unreadable(Unreadable::CutOff),
            Err(reason) => self.unreadable(reason),
        }
    }

    fn unreadable(&mut self, reason: Unreadable) {
        self.scan.lines += 1;
        let number = self.number;
        self.scan.unreadable.entry(reason).or_insert((0, number)).0 += 1;
    }
}

/// Without the port and letter case.
fn same_host(logged: &str, asked: &str) -> bool {
    let name = |host: &str| host.split(':').next().unwrap_or("").to_ascii_lowercase();
    name(logged) == name(asked)
}

/// Whether the first lines are those of an access log.
pub fn sniff(input: impl Read, options: &Options) -> bool {
    let Ok(mut lines) = Lines::new(input) else { return false };
    let mut work = Work { scan: Scan::default(), number: 0, host: None };
    let Ok((sample, _)) = work.sample(&mut lines) else { return false };
    let texts: Vec<&str> = sample.iter().map(|(_, line, _)| line.as_str()).collect();
    options.format.is_some() || Parser::detect(&texts, options.unit).is_ok()
}
