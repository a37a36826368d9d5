//! JSON files: one document a line, or documents over several lines. Lines that cannot be read are counted and passed
//! over; what was read of a document that breaks off is kept.

use super::document::{self, NO_TRACES};
use super::{MAX_PIECE_BYTES, PIECE_BYTES};
use crate::intake::Intake;
use anyhow::{Context, Result, bail};
use serde::de::IgnoredAny;
use serde_json::Deserializer;
use std::io::{BufReader, Read};

/// Reads all documents of a source that begins with `head`.
///
/// # Errors
/// Not one of them could be read.
pub(super) fn read(head: Vec<u8>, source: &mut dyn Read, name: &str, intake: &mut Intake) -> Result<()> {
    let before = intake.report.malformed;
    let mut file = File { buffer: head, source, ended: false, line: 1, read: 0, name, intake };
    if file.is_of_lines()? {
        file.lines()?;
    } else {
        file.documents()?;
    }
    let read = file.read;
    match &intake.report.first_malformed {
        Some(problem) if read == 0 && intake.report.malformed > before => bail!("{problem}"),
        _ => Ok(()),
    }
}

struct File<'a> {
    buffer: Vec<u8>,
    source: &'a mut dyn Read,
    /// There is nothing behind the buffer.
    ended: bool,
    /// Number of the line that the buffer begins with.
    line: usize,
    /// Documents that were read, at least in part.
    read: u64,
    name: &'a str,
    intake: &'a mut Intake,
}

impl File<'_> {
    /// Reads on until the buffer holds `wanted` bytes or the source ends.
    fn fill(&mut self, wanted: usize) -> Result<()> {
        let missing = wanted.saturating_sub(self.buffer.len());
        if missing > 0 && !self.ended {
            let read = (&mut self.source).take(missing as u64).read_to_end(&mut self.buffer);
            self.ended = read.context("cannot read on")? < missing;
        }
        Ok(())
    }

    /// Where the first line of the buffer ends, reading on as far as a line may go; `None` if the file has no more
    /// lines, or none that short.
    fn line_end(&mut self, from: usize) -> Result<Option<usize>> {
        let mut searched = from;
        loop {
            if let Some(at) = newline(&self.buffer[searched..]) {
                return Ok(Some(searched + at));
            }
            searched = self.buffer.len();
            if self.ended || searched - from >= MAX_PIECE_BYTES {
                return Ok(None);
            }
            self.fill((searched * 2).max(PIECE_BYTES).min(from + MAX_PIECE_BYTES))?;
        }
    }

    /// Whether the first line that is not empty holds a whole document. Nothing is kept of it yet.
    fn is_of_lines(&mut self) -> Result<bool> {
        let mut from = 0;
        while let Some(end) = self.line_end(from)? {
            if !self.buffer[from..end].trim_ascii().is_empty() {
                return Ok(is_whole(&self.buffer[from..end]));
            }
            from = end + 1;
        }
        Ok(false)
    }

    fn lines(&mut self) -> Result<()> {
        let mut from = 0;
        loop {
            match self.line_end(from)? {
                Some(end) => {
                    self.one_line(from, end);
                    self.line += 1;
                    from = end + 1;
                }
                None if self.ended => {
                    self.one_line(from, self.buffer.len());
                    return Ok(());
                }
                None => {
                    self.pass_over_line()?;
                    from = 0;
                }
            }
            // What was read is given up a piece at a time, not a line at a time.
            if from >= PIECE_BYTES || from == self.buffer.len() {
                self.buffer.drain(..from);
                from = 0;
                self.fill(PIECE_BYTES)?;
                if self.buffer.is_empty() {
                    return Ok(());
                }
            }
        }
    }

    fn one_line(&mut self, from: usize, end: usize) {
        let buffer = std::mem::take(&mut self.buffer);
        self.texts(&buffer[from..end]);
        self.buffer = buffer;
    }

    /// Reads one document after another. `Some` with the bytes before a problem that cannot be passed over.
    fn texts(&mut self, bytes: &[u8]) -> Option<usize> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let before = error.valid_up_to();
                self.malformed(lines_in(&bytes[..before]), "text that is not utf-8");
                return Some(before);
            }
        };
        let mut reader = Deserializer::from_str(text);
        while reader.end().is_err() {
            let before = self.intake.report.spans;
            self.intake.report.requests += 1;
            match document::read(&mut reader, self.intake) {
                Ok(true) => self.read += 1,
                Ok(false) => self.malformed(0, NO_TRACES),
                Err(error) => {
                    self.read += u64::from(self.intake.report.spans > before);
                    self.malformed(error.line().saturating_sub(1), &in_words(&error));
                    return Some(offset(text, error.line(), error.column()));
                }
            }
        }
        None
    }

    fn malformed(&mut self, lines_before: usize, problem: &str) {
        let line = self.line + lines_before;
        self.intake.report.malformed(format!("{}, line {line}: {problem}", self.name));
    }

    /// A line that is too long to hold: the buffer begins anew after it.
    fn pass_over_line(&mut self) -> Result<()> {
        self.malformed(0, &format!("longer than {} MiB", MAX_PIECE_BYTES >> 20));
        loop {
            self.buffer.clear();
            self.fill(PIECE_BYTES)?;
            if let Some(end) = newline(&self.buffer) {
                self.buffer.drain(..=end);
                self.line += 1;
                return Ok(());
            }
            if self.ended {
                self.buffer.clear();
                return Ok(());
            }
        }
    }

    /// Documents over several lines: all at once if they are not too large, else from the source as they come.
    fn documents(&mut self) -> Result<()> {
        self.fill(MAX_PIECE_BYTES)?;
        if !self.ended {
            self.stream();
            return Ok(());
        }
        let text = std::mem::take(&mut self.buffer);
        let mut from = 0;
        while let Some(problem) = self.texts(&text[from..]) {
            // After a document that cannot be read, the next line is tried.
            let Some(end) = newline(&text[from + problem..]) else { break };
            let next = from + problem + end + 1;
            self.line += lines_in(&text[from..next]);
            from = next;
        }
        Ok(())
    }

    fn stream(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let rest = BufReader::with_capacity(PIECE_BYTES, &mut *self.source);
        let mut reader = Deserializer::from_reader(buffer.chain(rest));
        while reader.end().is_err() {
            let before = self.intake.report.spans;
            self.intake.report.requests += 1;
            let (lines, problem) = match document::read(&mut reader, self.intake) {
                Ok(true) => {
                    self.read += 1;
                    continue;
                }
                Ok(false) => (0, NO_TRACES.to_owned()),
                Err(error) => (error.line().saturating_sub(1), in_words(&error)),
            };
            self.read += u64::from(self.intake.report.spans > before);
            let line = self.line + lines;
            self.intake.report.malformed(format!("{}, line {line}: {problem}", self.name));
            return;
        }
    }
}

/// Whether a line holds a whole document; `true` also for what is no JSON at all, as the next line may be.
fn is_whole(line: &[u8]) -> bool {
    let mut reader = Deserializer::from_slice(line);
    let read = <IgnoredAny as serde::Deserialize>::deserialize(&mut reader);
    read.map_or_else(|error| !error.is_eof(), |_| true)
}

fn newline(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    // Searches fast, unlike a look at each byte.
    let read = std::io::BufRead::skip_until(&mut rest, b'\n').unwrap_or(0);
    (read > 0 && bytes.get(read - 1) == Some(&b'\n')).then(|| read - 1)
}

fn lines_in(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

/// The byte of a line and column, both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    (start + column.saturating_sub(1)).min(text.len())
}

/// The problem without its place, which is told before.
fn in_words(error: &serde_json::Error) -> String {
    let told = error.to_string();
    told.split(" at line ").next().unwrap_or_default().to_owned()
}
