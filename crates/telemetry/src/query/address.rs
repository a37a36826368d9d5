//! Where traces are asked for: `jaeger://host:16686/SERVICE?lookback=1h&limit=500` and `tempo://host:3200/SERVICE?...`,
//! with an `s` more for TLS. Secrets have no place in it: they come as headers.

use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;

/// Schemes: how it is written, how it is asked, over what.
const SCHEMES: [(&str, Kind, &str); 4] = [
    ("jaeger://", Kind::Jaeger, "http"),
    ("jaegers://", Kind::Jaeger, "https"),
    ("tempo://", Kind::Tempo, "http"),
    ("tempos://", Kind::Tempo, "https"),
];
const DEFAULT_LOOKBACK: Duration = Duration::from_secs(3600);
const DEFAULT_LIMIT: u32 = 500;
/// Traces that may be asked for.
const MAX_LIMIT: u32 = 20_000;

/// Which store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Jaeger,
    Tempo,
}

/// What to ask for, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub(super) kind: Kind,
    /// `http://host:port` and the base path, without a slash at its end.
    pub(super) base: String,
    /// The service; empty where none was named.
    pub(super) service: String,
    pub(super) lookback: Duration,
    pub(super) limit: u32,
    /// Further conditions as the store calls them, percent-encoded: `operation=...&minDuration=...`.
    pub(super) more: String,
}

impl Query {
    /// Whether a word is such an address.
    #[must_use]
    pub fn is(word: &str) -> bool {
        SCHEMES.iter().any(|(scheme, ..)| word.starts_with(scheme))
    }

    /// Reads an address.
    ///
    /// # Errors
    /// It is none, a value cannot be read, or it holds user and password.
    pub fn parse(address: &str) -> Result<Self> {
        read(address).with_context(|| format!("bad address `{}`", shown(address)))
    }

    /// The address for people.
    #[must_use]
    pub fn display(&self) -> String {
        let scheme = SCHEMES.iter().find(|(_, kind, http)| {
            *kind == self.kind && self.base.strip_prefix(http).is_some_and(|rest| rest.starts_with(':'))
        });
        let (_, place) = self.base.split_once("://").unwrap_or_default();
        format!("{}{place}/{}", scheme.map_or("", |(scheme, ..)| scheme), self.service)
    }
}

fn shown(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // Whatever stands before an `@` may be a password.
    format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default())
}

fn read(address: &str) -> Result<Query> {
    let found =
        SCHEMES.iter().find_map(|(scheme, kind, http)| Some((address.strip_prefix(scheme)?, *kind, *http)));
    let (rest, kind, http) =
        found.context("it begins with none of jaeger://, jaegers://, tempo://, tempos://")?;
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    ensure!(!place.contains('@'), "user and password do not belong in it; set TRIMTAB_FROM_HEADERS");
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    ensure!(!host.is_empty(), "it names no host");
    let path = path.trim_end_matches('/');
    // The last part is the service, what is before it the base path of the store.
    let (base_path, service) = path.rsplit_once('/').unwrap_or(("", path));
    let slash = if base_path.is_empty() { "" } else { "/" };
    let mut query = Query {
        kind,
        base: format!("{http}://{host}{slash}{base_path}"),
        service: decoded(service),
        lookback: DEFAULT_LOOKBACK,
        limit: DEFAULT_LIMIT,
        more: String::new(),
    };
    for pair in parameters.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "service" => query.service = decoded(value),
            "lookback" => query.lookback = lookback(value)?,
            "limit" => {
                let limit = value.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
                query.limit = limit.with_context(|| format!("`limit` is a number from 1 to {MAX_LIMIT}"))?;
            }
            "operation" | "tags" | "tag" | "minDuration" | "maxDuration" | "q" => {
                query.more.push_str(&format!("&{key}={}", encoded(&decoded(value))));
            }
            "start" | "end" => bail!("`{key}` is not known; give `lookback`"),
            // Not repeated: it may be a token.
            _ => bail!(
                "a parameter is not known; known are service, lookback, limit, operation, tags, minDuration, maxDuration"
            ),
        }
    }
    Ok(query)
}

/// `90s`, `15m`, `1h`, `2d`.
fn lookback(text: &str) -> Result<Duration> {
    const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let parts = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, *seconds)));
    let seconds = parts.and_then(|(number, unit)| number.parse::<u64>().ok()?.checked_mul(unit));
    let seconds = seconds.filter(|seconds| (1..=366 * 86_400).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .with_context(|| format!("`lookback` is a time like 15m, 1h or 2d, not `{text}`"))
}

/// Percent-encoded as a part of a query: all but letters, digits and `-._~`.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
        all
    })
}

/// The text of what was percent-encoded; what is not stays.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) if byte == b'%' => {
                plain.push(code);
                at += 3;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let query =
            Query::parse("jaeger://host:16686/shop%20api?lookback=15m&limit=20&operation=GET%20/a").unwrap();
        assert_eq!((query.kind, query.base.as_str()), (Kind::Jaeger, "http://host:16686"));
        assert_eq!((query.service.as_str(), query.limit, query.lookback.as_secs()), ("shop api", 20, 900));
        assert_eq!(query.more, "&operation=GET%20%2Fa");
        assert_eq!(query.display(), "jaeger://host:16686/shop api");
        let query = Query::parse("tempos://host/base/path/shop").unwrap();
        assert_eq!((query.base.as_str(), query.service.as_str()), ("https://host/base/path", "shop"));
        assert_eq!((query.limit, query.lookback.as_secs()), (500, 3600));
        assert_eq!(query.display(), "tempos://host/base/path/shop");
        assert_eq!(Query::parse("jaeger://[::1]:16686?service=a/b").unwrap().service, "a/b");
        assert!(Query::is("jaegers://x") && !Query::is("traces.json") && !Query::is("http://x"));
    }

    #[test]
    fn what_cannot_be_read_is_told_without_secrets() {
        for (address, told) in [
            ("jaeger://ann:hush@host/shop", "TRIMTAB_FROM_HEADERS"),
            ("jaeger:///shop", "no host"),
            ("tempo://host/shop?lookback=hush1", "15m, 1h or 2d"),
            ("tempo://host/shop?limit=0", "1 to 20000"),
            ("tempo://host/shop?token=hush", "not known"),
            ("http://host", "begins with none"),
        ] {
            let error = format!("{:#}", Query::parse(address).unwrap_err());
            assert!(error.contains(told), "{error}");
            assert!(!error.contains("hush@") && !error.contains("=hush"), "{error}");
        }
    }
}
