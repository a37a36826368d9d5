//! What containers and syslog put around a line: Docker's JSON, the Kubernetes log format, docker compose's names,
//! a syslog header. Taken off before the line is read.

use serde::Deserialize;
use std::borrow::Cow;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Envelope {
    #[default]
    None,
    Docker,
    Kubernetes,
    Compose,
    Syslog,
}

#[derive(Deserialize)]
struct Docker<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(rename = "stream")]
    _stream: Cow<'a, str>,
}

impl Envelope {
    /// The one that most of the lines have.
    pub(crate) fn of(lines: &[&str]) -> Self {
        let most = |of: Self| lines.iter().filter(|line| of.open(line).is_some()).count() * 2 > lines.len();
        [Self::Docker, Self::Kubernetes, Self::Compose, Self::Syslog]
            .into_iter()
            .find(|of| most(*of))
            .unwrap_or_default()
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Docker => " in Docker's JSON log",
            Self::Kubernetes => " in a Kubernetes container log",
            Self::Compose => " as docker compose prints it",
            Self::Syslog => " behind a syslog header",
        }
    }

    /// The line within; `None` where this is not around it.
    pub(crate) fn open(self, line: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::None => Some(Cow::Borrowed(line)),
            Self::Docker => {
                let wrapped: Docker<'_> =
                    serde_json::from_str(line).ok().filter(|_| line.starts_with('{'))?;
                Some(match wrapped.log {
                    Cow::Borrowed(text) => Cow::Borrowed(text.trim_end()),
                    Cow::Owned(text) => Cow::Owned(text.trim_end().to_owned()),
                })
            }
            Self::Kubernetes => {
                let (time, rest) = line.split_once(' ')?;
                let rest = rest.strip_prefix("stdout ").or_else(|| rest.strip_prefix("stderr "))?;
                let rest = rest.strip_prefix("F ").or_else(|| rest.strip_prefix("P "))?;
                time.contains('T').then_some(Cow::Borrowed(rest))
            }
            Self::Compose => {
                let (name, rest) = line.split_once(" | ")?;
                let name = name.trim_end();
                let is_name =
                    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
                (is_name && (1..=60).contains(&name.len())).then_some(Cow::Borrowed(rest))
            }
            Self::Syslog => {
                let line =
                    line.split_once('>').filter(|(p, _)| p.starts_with('<')).map_or(line, |(_, rest)| rest);
                let header = line.get(..16)?.as_bytes();
                let is_header = header[0].is_ascii_uppercase()
                    && header[3] == b' '
                    && header[9] == b':'
                    && header[12] == b':';
                // HAProxy's own lines hold further colons and are read by their brackets.
                let (_, rest) = line[16..].split_once(": ")?;
                is_header.then_some(Cow::Borrowed(rest))
            }
        }
    }
}
