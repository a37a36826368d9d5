//! `--out` as typed: `csv=FILE`, `json=FILE`, `prometheus=URL`, `prometheus-native=URL`, `otlp=URL`.

use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::str::FromStr;

/// Where samples go.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    Csv(PathBuf),
    Json(PathBuf),
    /// Remote write. `native`: trends as native histograms, else as gauges of their quantiles.
    Prometheus {
        url: String,
        native: bool,
    },
    /// The collector's address; `/v1/metrics` is added where it has no path.
    Otlp(String),
}

impl Target {
    /// For people, without secrets.
    #[must_use]
    pub fn display(&self) -> String {
        match self {
            Self::Csv(path) => format!("csv={}", path.display()),
            Self::Json(path) => format!("json={}", path.display()),
            Self::Prometheus { url, native: false } => format!("prometheus={}", net::display_url(url)),
            Self::Prometheus { url, native: true } => format!("prometheus-native={}", net::display_url(url)),
            Self::Otlp(url) => format!("otlp={}", net::display_url(url)),
        }
    }
}

/// A URL may hold a password.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.display())
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "expected csv=FILE, json=FILE, prometheus=URL, prometheus-native=URL or otlp=URL";
        let Some((kind, place)) = text.split_once('=') else {
            bail!("--out `{}`: {expected}", net::display_url(text));
        };
        ensure!(!place.is_empty(), "--out {kind}=: {expected}");
        let url = || -> Result<String> {
            net::Target::parse(place).with_context(|| format!("--out {kind}"))?;
            Ok(place.to_owned())
        };
        Ok(match kind {
            "csv" => Self::Csv(place.into()),
            "json" => Self::Json(place.into()),
            "prometheus" => Self::Prometheus { url: url()?, native: false },
            "prometheus-native" => Self::Prometheus { url: url()?, native: true },
            "otlp" => Self::Otlp(url()?),
            _ => bail!("--out {kind}: there is no such output, {expected}"),
        })
    }
}

/// `name=value,name=value` with percent-encoded values, as OpenTelemetry's exporters read their headers.
///
/// # Errors
/// A part without `=`: says which by its place, as it may be a secret.
pub fn parse_headers(text: &str) -> Result<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |(at, part): (usize, &str)| {
        let (name, value) = part.split_once('=').with_context(|| format!("header {}: no `=`", at + 1))?;
        Ok((name.trim().to_owned(), decoded(value.trim())))
    };
    parts.enumerate().map(pair).collect()
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_shown_without_secrets() {
        let target: Target = "prometheus=http://ann:hush@127.0.0.1:9090/api/v1/write?k=hush".parse().unwrap();
        assert_eq!(target.display(), "prometheus=http://127.0.0.1:9090/api/v1/write");
        assert!(!format!("{target:?}").contains("hush"));
        assert_eq!("csv=a.csv.gz".parse::<Target>().unwrap(), Target::Csv("a.csv.gz".into()));
        for (text, problem) in [
            ("results.csv", "expected csv=FILE"),
            ("influxdb=http://x", "--out influxdb: there is no such output"),
            ("csv=", "--out csv="),
            ("otlp=ann:hush@host", "--out otlp"),
        ] {
            let error = format!("{:#}", text.parse::<Target>().unwrap_err());
            assert!(error.contains(problem) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn headers_are_pairs() {
        let headers = parse_headers("authorization=Bearer%20abc, x-scope=1").unwrap();
        assert_eq!(headers[0], ("authorization".to_owned(), "Bearer abc".to_owned()));
        assert_eq!(headers[1].1, "1");
        assert!(!parse_headers("hush").unwrap_err().to_string().contains("hush"));
    }
}
