//! A URL where a scenario file is expected: one request, as curl, hey and oha are told it.

use crate::args::LoadOverrides;
use crate::settings::{Environment, Settings};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A body that is larger belongs into a k6 script, which reads it once.
const MAX_BODY_BYTES: u64 = 16 << 20;

#[derive(Clone, Default, Args)]
#[command(next_help_heading = "A URL in place of a file")]
pub struct RequestFlags {
    /// Method; without one GET, with a body POST
    #[arg(long, short = 'X', value_name = "METHOD")]
    method: Option<String>,
    /// A header, such as 'content-type: application/json'; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Body, or @FILE
    #[arg(long = "data", short = 'd', value_name = "TEXT")]
    body: Option<String>,
}

/// Headers and body may hold tokens.
impl std::fmt::Debug for RequestFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestFlags")
    }
}

impl RequestFlags {
    /// # Errors
    /// Names a flag, where one is given beside `file`, which is no URL.
    pub fn refuse_beside(&self, file: &Path) -> Result<()> {
        match self.given() {
            Some(flag) => bail!("{flag}: {} is a file, and says what is sent", file.display()),
            None => Ok(()),
        }
    }

    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--method", self.method.is_some()),
            ("--header", !self.headers.is_empty()),
            ("--data", self.body.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    fn headers(&self) -> Result<Map<String, Value>> {
        let header = |text: &String| {
            // The value may be a token: it is not repeated.
            let (name, value) = text.split_once(':').context("--header: expected 'NAME: VALUE'")?;
            Ok((name.trim().to_owned(), Value::from(value.trim())))
        };
        self.headers.iter().map(header).collect()
    }

    fn body(&self) -> Result<Option<String>> {
        let Some(text) = &self.body else { return Ok(None) };
        let Some(path) = text.strip_prefix('@') else { return Ok(Some(text.clone())) };
        let size = std::fs::metadata(path).with_context(|| format!("--data @{path}"))?.len();
        ensure!(size <= MAX_BODY_BYTES, "--data @{path}: {size} bytes, at most {MAX_BODY_BYTES}");
        std::fs::read_to_string(path).with_context(|| format!("--data @{path}")).map(Some)
    }
}

/// One request and how often it is due.
#[derive(Clone, Copy, Debug)]
pub struct OneRequest<'a> {
    pub url: &'a str,
    pub flags: &'a RequestFlags,
    pub rate: Option<f64>,
    /// In its place.
    pub users: Option<u32>,
}

impl OneRequest<'_> {
    /// The tables of a scenario file with this request alone.
    ///
    /// # Errors
    /// A URL that is none, a header that is none, a body that cannot be read, and a rate that is missing.
    pub(crate) fn tables(&self) -> Result<Value> {
        // What is wrong with it is said without its user, password and query.
        let target = net::Target::parse(self.url)?;
        let authority = self.url.find("://").map_or(0, |at| at + 3);
        let path = self.url[authority..].find(['/', '?', '#']).map_or(self.url.len(), |at| authority + at);
        let body = self.flags.body()?;
        let method = match (&self.flags.method, &body) {
            (Some(method), _) => method.to_ascii_uppercase(),
            (None, Some(_)) => "POST".to_owned(),
            (None, None) => "GET".to_owned(),
        };
        let mut load = json!({
            "operation": [{
                "name": format!("{method} {}", target.path()),
                "method": method,
                "path": target.path_and_query(),
                "headers": self.flags.headers()?,
                "body": body.unwrap_or_default(),
            }],
        });
        match (self.rate, self.users) {
            (Some(_), Some(_)) => bail!("--rate and --users: give one of them"),
            (Some(rate), None) => load["rate"] = rate.into(),
            (None, Some(users)) => load["users"] = users.into(),
            (None, None) => {
                bail!("how many requests per second? --rate 50, or --users 10 that wait for their answers")
            }
        }
        Ok(json!({ "service": { "url": &self.url[..path] }, "load": load }))
    }
}

/// The URL, where that is what a file's name is.
#[must_use]
pub fn url(file: &Path) -> Option<&str> {
    let text = file.to_str()?;
    let scheme = text.get(..text.find("://")?)?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(text)
}

/// What a file says, or a URL and the flags beside it.
///
/// # Errors
/// As [`Settings::load`], and flags of a request beside a file.
pub fn settings(
    file: &Path,
    request: &RequestFlags,
    (rate, users): (Option<f64>, Option<u32>),
    environment: &Environment,
    flags: &LoadOverrides,
) -> Result<Settings> {
    match url(file) {
        Some(url) => {
            Settings::of_request(&OneRequest { url, flags: request, rate, users }, environment, flags)
        }
        None => {
            request.refuse_beside(file)?;
            Settings::load(file, environment, flags)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str, flags: &RequestFlags, rate: Option<f64>) -> Result<Settings> {
        let overrides = LoadOverrides { rate, ..LoadOverrides::default() };
        settings(Path::new(url), flags, (rate, None), &Environment::default(), &overrides)
    }

    #[test]
    fn a_url_is_one_operation() {
        let flags = RequestFlags {
            headers: vec!["X-Tenant: a:b".into(), "authorization:Bearer hush".into()],
            body: Some("{\"id\": 7}".into()),
            ..RequestFlags::default()
        };
        let settings = checked("http://127.0.0.1:1/orders?page=2", &flags, Some(5.0)).unwrap();
        assert_eq!((settings.scenario.base_url.as_str(), settings.load.rate), ("http://127.0.0.1:1", 5.0));
        let operation = &settings.scenario.operations[0];
        assert_eq!((operation.name.as_str(), operation.path.as_str()), ("POST /orders", "/orders?page=2"));
        assert_eq!((operation.headers["X-Tenant"].as_str(), operation.body.as_str()), ("a:b", "{\"id\": 7}"));
        assert!(checked("HTTPS://127.0.0.1", &RequestFlags::default(), Some(1.0)).is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        let header = RequestFlags { headers: vec!["hush".into()], ..RequestFlags::default() };
        let body = RequestFlags { body: Some("@/none/there".into()), ..RequestFlags::default() };
        let none = RequestFlags::default();
        for (url, flags, rate, part) in [
            ("http://u:hush@/", &none, Some(1.0), "bad URL `http:///`"),
            ("http://u:hush@127.0.0.1:1/?key=hush", &none, None, "--rate 50"),
            ("http://127.0.0.1:1/", &none, Some(-1.0), "rate is -1"),
            ("http://127.0.0.1:1/", &header, Some(1.0), "expected 'NAME: VALUE'"),
            ("http://127.0.0.1:1/", &body, Some(1.0), "--data @/none/there"),
            ("scenario.toml", &header, Some(1.0), "--header: scenario.toml is a file"),
        ] {
            let error = format!("{:#}", checked(url, flags, rate).expect_err(part));
            assert!(error.contains(part) && !error.contains("hush"), "{part}: {error}");
        }
    }
}
