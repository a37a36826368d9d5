//! HTTP/1.1 responses out of bytes in any portions (RFC 9112), by httparse and a state machine. Pure: no socket, no
//! clock. Whatever a server sends is bounded: heads, headers, informational responses, chunk lines, trailers, bodies.

use super::message::Version;
use super::{Headers, Request};
use http::Method;
use httparse::{Header, ParserConfig, Status};
use std::fmt;
use std::mem::MaybeUninit;

/// A longer head is refused.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// More fields in a head are refused.
const MAX_HEADERS: usize = 128;
/// A head that comes in small portions is parsed again with each of them up to this length, then only when its end is
/// there, so that its cost stays linear.
const REPARSED_BYTES: usize = 4 << 10;
/// More informational responses (1xx) before the final one are refused.
const MAX_INFORMATIONAL: u8 = 16;
/// Longest line of a chunk's size with its extensions, and longest block of trailers.
const MAX_CHUNK_LINE_BYTES: usize = 4 << 10;
const MAX_TRAILER_BYTES: usize = 16 << 10;
/// A body's buffer is not made larger than this on the server's word alone.
const MAX_TRUSTED_BYTES: u64 = 1 << 20;

/// What is wrong with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    NotHttp,
    Head(httparse::Error),
    HeadTooLong,
    TooManyInformational,
    /// 101 without having been asked.
    Switched,
    ContentLength,
    Chunk,
    ChunkLineTooLong,
    TrailersTooLong,
    BodyTooLong(u64),
    /// The connection ended first; whether any byte of the response had come.
    Ended {
        empty: bool,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("the response is no HTTP"),
            Self::Head(httparse::Error::TooManyHeaders) => {
                write!(f, "the response has more than {MAX_HEADERS} headers")
            }
            Self::Head(error) => write!(f, "the response's head is malformed: {error}"),
            Self::HeadTooLong => write!(f, "the response's head is longer than {MAX_HEAD_BYTES} bytes"),
            Self::TooManyInformational => {
                write!(f, "more than {MAX_INFORMATIONAL} informational responses came before the final one")
            }
            Self::Switched => f.write_str("the server switched protocols without being asked"),
            Self::ContentLength => f.write_str("the response's content-length makes no sense"),
            Self::Chunk => f.write_str("a chunk of the response's body is malformed"),
            Self::ChunkLineTooLong => f.write_str("a line between chunks has no end"),
            Self::TrailersTooLong => f.write_str("the trailers of the response have no end"),
            Self::BodyTooLong(limit) => write!(f, "the body is longer than the {limit} bytes allowed"),
            Self::Ended { empty: true } => f.write_str("the connection ended before a response came"),
            Self::Ended { empty: false } => f.write_str("the connection ended before the response did"),
        }
    }
}

/// What to do with a response; from its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) max_body_bytes: u64,
    pub(crate) keep_body: bool,
    pub(crate) keep_head: bool,
    /// The answer to HEAD has no body, whatever it says.
    pub(crate) bodiless: bool,
}

impl Rules {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            max_body_bytes: request.max_body_bytes,
            keep_body: request.keep_body,
            keep_head: request.keep_head,
            bodiless: request.method == Method::HEAD,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// Bytes left of a body of known length.
    Length(u64),
    UntilEnd,
    /// Reading a chunk's size: value so far, digits seen, whether behind the digits, length of the line.
    ChunkSize {
        size: u64,
        digits: u8,
        behind: bool,
        line: usize,
    },
    ChunkData(u64),
    /// The line end behind a chunk's data: whether its CR was seen.
    ChunkEnd {
        cr: bool,
    },
    /// Bytes of all trailers and of this line (without CR).
    Trailers {
        all: usize,
        line: usize,
    },
    Done,
}

/// Takes in one response. Feed it until [`Self::is_done`].
pub(crate) struct Decoder {
    rules: Rules,
    state: State,
    /// The begun head, where it did not come in one piece.
    partial: Vec<u8>,
    informational: u8,
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) reason: String,
    pub(crate) headers: Headers,
    /// `content-encoding`, where there is one and the body is kept.
    pub(crate) encoding: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) body_bytes: u64,
    keep_alive: bool,
    started: bool,
}

impl Decoder {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Head,
            partial: Vec::new(),
            informational: 0,
            status: 0,
            version: Version::Http11,
            reason: String::new(),
            headers: Headers::new(),
            encoding: None,
            body: Vec::new(),
            body_bytes: 0,
            keep_alive: false,
            started: false,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether any byte has come.
    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    /// Whether the connection may serve another request, once done.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.keep_alive && self.is_done()
    }

    /// Takes in the next bytes and returns how many belong to this response.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        self.started |= !bytes.is_empty();
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_done() {
            let used = match self.state {
                State::Head => self.feed_head(rest)?,
                State::Length(left) => self.feed_length(rest, left)?,
                State::UntilEnd => {
                    self.take_body(rest)?;
                    rest.len()
                }
                State::ChunkData(left) => self.feed_chunk(rest, left)?,
                _ => {
                    self.feed_chunk_byte(rest[0])?;
                    1
                }
            };
            rest = &rest[used..];
        }
        Ok(bytes.len() - rest.len())
    }

    /// The connection has ended: completes a body without a length, and is a flaw otherwise.
    pub(crate) fn end(&mut self) -> Result<(), Flaw> {
        match self.state {
            State::Done => Ok(()),
            State::UntilEnd => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Flaw::Ended { empty: !self.started }),
        }
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        if self.partial.is_empty() {
            // Nearly always the whole head is there, and nothing is copied.
            if let Some(used) = self.parse_head(bytes)? {
                return Ok(used);
            }
        }
        let known = self.partial.len();
        let room = MAX_HEAD_BYTES - known;
        let taken = &bytes[..bytes.len().min(room)];
        self.partial.extend_from_slice(taken);
        let end = head_end(&self.partial, known);
        if end.is_none() && self.partial.len() >= MAX_HEAD_BYTES {
            return Err(Flaw::HeadTooLong);
        }
        if end.is_none() && self.partial.len() > REPARSED_BYTES {
            return Ok(taken.len());
        }
        let partial = std::mem::take(&mut self.partial);
        match self.parse_head(&partial)? {
            Some(used) => Ok(used - known),
            None => {
                self.partial = partial;
                Ok(taken.len())
            }
        }
    }

    /// Reads a head if it is complete; its length.
    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Flaw> {
        // The parser would skip empty lines; nobody has a reason to send them.
        if bytes.first().is_some_and(|first| *first != b'H') {
            return Err(Flaw::NotHttp);
        }
        let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default()
            .parse_response_with_uninit_headers(&mut head, bytes, &mut fields)
            .map_err(
                |error| {
                    if error == httparse::Error::Version { Flaw::NotHttp } else { Flaw::Head(error) }
                },
            )?;
        let Status::Complete(length) = parsed else { return Ok(None) };
        if length > MAX_HEAD_BYTES {
            return Err(Flaw::HeadTooLong);
        }
        self.take_head(&head)?;
        Ok(Some(length))
    }

    fn take_head(&mut self, head: &httparse::Response<'_, '_>) -> Result<(), Flaw> {
        let status = head.code.unwrap_or_default();
        if status == 101 {
            return Err(Flaw::Switched);
        }
        if (100..200).contains(&status) {
            self.informational += 1;
            return if self.informational > MAX_INFORMATIONAL {
                Err(Flaw::TooManyInformational)
            } else {
                Ok(())
            };
        }
        self.status = status;
        self.version = if head.version == Some(0) { Version::Http10 } else { Version::Http11 };
        if self.rules.keep_head {
            head.reason.unwrap_or_default().clone_into(&mut self.reason);
        }
        let framing = self.read_fields(head.headers)?;
        self.keep_alive = !framing.close && (self.version == Version::Http11 || framing.keep_alive);
        self.state = if self.rules.bodiless || matches!(status, 204 | 304) {
            State::Done
        } else if framing.transfer_encoding {
            // Both lengths at once smell of an attack: the connection is not used again (RFC 9112 section 6.1).
            self.keep_alive &= framing.length.is_none() && framing.chunked;
            if framing.chunked { NEW_CHUNK } else { State::UntilEnd }
        } else {
            match framing.length {
                Some(0) => State::Done,
                Some(length) => self.expect_body(length)?,
                None => State::UntilEnd,
            }
        };
        self.keep_alive &= self.state != State::UntilEnd;
        Ok(())
    }

    fn expect_body(&mut self, length: u64) -> Result<State, Flaw> {
        if length > self.rules.max_body_bytes {
            return Err(Flaw::BodyTooLong(self.rules.max_body_bytes));
        }
        if self.rules.keep_body {
            self.body.reserve_exact(usize::try_from(length.min(MAX_TRUSTED_BYTES)).unwrap_or_default());
        }
        Ok(State::Length(length))
    }

    fn read_fields(&mut self, fields: &[Header<'_>]) -> Result<Framing, Flaw> {
        let mut framing = Framing::default();
        for field in fields {
            if self.rules.keep_head {
                self.headers.append(field.name.as_bytes(), field.value);
            }
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                14 if is("content-length") => framing.add_length(field.value)?,
                17 if is("transfer-encoding") => {
                    framing.transfer_encoding = true;
                    framing.chunked = last_token(field.value).eq_ignore_ascii_case(b"chunked");
                }
                10 if is("connection") => framing.add_connection(field.value),
                16 if is("content-encoding") && self.rules.keep_body => {
                    let value = String::from_utf8_lossy(field.value);
                    match &mut self.encoding {
                        Some(all) => all.extend([",", &*value]),
                        None => self.encoding = Some(value.into_owned()),
                    }
                }
                _ => {}
            }
        }
        Ok(framing)
    }

    fn feed_length(&mut self, bytes: &[u8], left: u64) -> Result<usize, Flaw> {
        let (used, left) = portion(bytes, left);
        self.take_body(&bytes[..used])?;
        self.state = if left == 0 { State::Done } else { State::Length(left) };
        Ok(used)
    }

    fn feed_chunk(&mut self, bytes: &[u8], left: u64) -> Result<usize, Flaw> {
        let (used, left) = portion(bytes, left);
        self.take_body(&bytes[..used])?;
        self.state = if left == 0 { State::ChunkEnd { cr: false } } else { State::ChunkData(left) };
        Ok(used)
    }

    fn take_body(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        self.body_bytes += bytes.len() as u64;
        if self.body_bytes > self.rules.max_body_bytes {
            return Err(Flaw::BodyTooLong(self.rules.max_body_bytes));
        }
        if self.rules.keep_body {
            self.body.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// One byte of what stands around the chunks' data.
    fn feed_chunk_byte(&mut self, byte: u8) -> Result<(), Flaw> {
        self.state = match self.state {
            State::ChunkSize { size, digits, behind, line } => chunk_size(size, digits, behind, line, byte)?,
            State::ChunkEnd { cr: false } if byte == b'\r' => State::ChunkEnd { cr: true },
            State::ChunkEnd { .. } if byte == b'\n' => NEW_CHUNK,
            State::ChunkEnd { .. } => return Err(Flaw::Chunk),
            State::Trailers { line: 0, .. } if byte == b'\n' => State::Done,
            State::Trailers { all, .. } if all >= MAX_TRAILER_BYTES => return Err(Flaw::TrailersTooLong),
            State::Trailers { all, line } => match byte {
                b'\n' => State::Trailers { all: all + 1, line: 0 },
                b'\r' => State::Trailers { all: all + 1, line },
                _ => State::Trailers { all: all + 1, line: line + 1 },
            },
            state => state,
        };
        Ok(())
    }
}

const NEW_CHUNK: State = State::ChunkSize { size: 0, digits: 0, behind: false, line: 0 };

fn chunk_size(size: u64, digits: u8, behind: bool, line: usize, byte: u8) -> Result<State, Flaw> {
    if line >= MAX_CHUNK_LINE_BYTES {
        return Err(Flaw::ChunkLineTooLong);
    }
    let line = line + 1;
    match (byte, char::from(byte).to_digit(16)) {
        (b'\n', _) if digits == 0 => Err(Flaw::Chunk),
        (b'\n', _) if size == 0 => Ok(State::Trailers { all: 0, line: 0 }),
        (b'\n', _) => Ok(State::ChunkData(size)),
        // 15 digits are an exabyte; more might not fit.
        (_, Some(digit)) if !behind && digits < 15 => {
            Ok(State::ChunkSize { size: size << 4 | u64::from(digit), digits: digits + 1, behind, line })
        }
        (b';' | b' ' | b'\t' | b'\r', _) if digits > 0 => {
            Ok(State::ChunkSize { size, digits, behind: true, line })
        }
        _ if behind => Ok(State::ChunkSize { size, digits, behind, line }),
        _ => Err(Flaw::Chunk),
    }
}

/// How much of `bytes` belongs to what is `left`, and what is left then.
fn portion(bytes: &[u8], left: u64) -> (usize, u64) {
    let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (used, left - used as u64)
}

/// Where a head ends that was known not to end before `known`.
fn head_end(bytes: &[u8], known: usize) -> Option<usize> {
    let from = known.saturating_sub(3);
    let rest = &bytes[from..];
    (0..rest.len())
        .find(|at| rest[*at..].starts_with(b"\n\r\n") || rest[*at..].starts_with(b"\n\n"))
        .map(|at| from + at)
}

/// What the head says of the body's length and of the connection.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    transfer_encoding: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Framing {
    /// The same length twice is accepted (RFC 9112 section 6.3), two lengths are not.
    fn add_length(&mut self, value: &[u8]) -> Result<(), Flaw> {
        for part in value.split(|byte| *byte == b',') {
            let part = part.trim_ascii();
            if part.is_empty() || !part.iter().all(u8::is_ascii_digit) {
                return Err(Flaw::ContentLength);
            }
            let length = std::str::from_utf8(part).ok().and_then(|text| text.parse().ok());
            let length: u64 = length.ok_or(Flaw::ContentLength)?;
            if self.length.is_some_and(|other| other != length) {
                return Err(Flaw::ContentLength);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    fn add_connection(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

fn last_token(value: &[u8]) -> &[u8] {
    value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests;
