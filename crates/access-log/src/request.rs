//! One request as a log tells it, and why a line tells none. Texts borrow from the line.

use std::borrow::Cow;
use std::fmt;

/// Whether the logged time is that of the request's beginning or of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    Begin,
    End,
}

/// One request. Texts are as logged, not decoded; `-` and nothing are empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// When it began, Unix nanoseconds; where the log tells only its end and no duration, its end.
    pub begin_ns: u64,
    /// From the first byte in to the last byte out; `None` where the log does not say.
    pub duration_ns: Option<u64>,
    /// What the service behind the proxy took of it.
    pub upstream_ns: Option<u64>,
    pub method: Cow<'a, str>,
    /// Path with query. A URL with scheme and host is cut to this.
    pub target: Cow<'a, str>,
    /// The path's pattern, where the service logs it: `/orders/{id}`.
    pub route: Cow<'a, str>,
    /// 0 where the client went away before there was one.
    pub status: u16,
    /// Body bytes sent to the client.
    pub sent_bytes: Option<u64>,
    /// Bytes received from the client.
    pub received_bytes: Option<u64>,
    pub host: Cow<'a, str>,
    pub client: Cow<'a, str>,
    pub agent: Cow<'a, str>,
    /// 0 where the log does not say.
    pub trace_id: u128,
}

impl Request<'_> {
    /// The path without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or("")
    }

    /// What follows the `?`.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or(""))
    }
}

/// Why a line is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreadable {
    /// Longer than [`crate::MAX_LINE_BYTES`].
    TooLong,
    /// Does not follow the log's format.
    OtherFormat,
    /// No object of JSON.
    BadJson,
    /// Follows the format and has no method or no path: another kind of message, or garbage sent to the port.
    NoRequest,
    NoTime,
    NoStatus,
    /// The last line has no end.
    CutOff,
}

impl Unreadable {
    /// What is wrong, for a sentence that begins with a count of lines.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TooLong => "longer than 1 MiB",
            Self::OtherFormat => "not of the log's format",
            Self::BadJson => "not readable as JSON",
            Self::NoRequest => "without a method and a path (other messages, or no HTTP at all)",
            Self::NoTime => "without a readable time",
            Self::NoStatus => "without a readable status",
            Self::CutOff => "cut off at the end of the file",
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
