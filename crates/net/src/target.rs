//! A checked http or https URL. What is shown of it never holds user, password, query or fragment.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::header::HeaderValue;
use std::fmt;

/// Where requests go: scheme, host, port and a base path; user and password only inside a header value.
#[derive(Clone)]
pub struct Target {
    https: bool,
    /// Without the brackets of IPv6.
    host: String,
    port: u16,
    /// Host and, unless it is the scheme's own, port: the `Host` header.
    authority: String,
    /// Begins with `/`.
    path: String,
    query: Option<String>,
    authorization: Option<HeaderValue>,
}

impl Target {
    /// Reads `http://[user:password@]host[:port][/path][?query]`, or the same with https.
    ///
    /// # Errors
    /// Says what is wrong with the URL, without repeating its user, password or query.
    pub fn parse(url: &str) -> Result<Self> {
        parse(url.trim()).with_context(|| format!("bad URL `{}`", display_url(url.trim())))
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Name or address to connect to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the `Host` header says.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path of the URL, `/` at least.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Path and query as a request line wants them.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// `path` (which may hold a query) below the base path: base `/api/` and `/orders?x=1` make `/api/orders?x=1`.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{}{slash}{path}", self.path.trim_end_matches('/'))
    }

    /// Basic authorization from the URL's user and password, marked as sensitive.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// `http://host:port`, the key of a connection pool.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority)
    }

    /// The URL for people: without user, password, query and fragment.
    #[must_use]
    pub fn display(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.display())
    }
}

/// Any URL, also one that cannot be parsed, without what may be secret: user, password, query and fragment.
#[must_use]
pub fn display_url(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let after_scheme = &url[start..];
    let authority = &after_scheme[..after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len())];
    let hidden = match authority.rfind('@') {
        Some(at) => at + 1,
        // A password with a stray `/`, `?` or `#` looks like a port that is no number.
        None if !port_is_number(authority) => after_scheme.rfind('@').map_or(0, |at| at + 1),
        None => 0,
    };
    let shown = &after_scheme[hidden..];
    let end = shown.find(['?', '#']).unwrap_or(shown.len());
    format!("{}{}", &url[..start], &shown[..end])
}

fn port_is_number(authority: &str) -> bool {
    authority
        .rsplit_once(':')
        .is_none_or(|(_, port)| port.ends_with(']') || port.bytes().all(|b| b.is_ascii_digit()))
}

fn parse(url: &str) -> Result<Target> {
    if !url.contains("://") {
        bail!("it must begin with http:// or https://");
    }
    let uri: Uri = url.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let https = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        other => bail!("scheme `{}` is neither http nor https", other.unwrap_or_default()),
    };
    let authority = uri.authority().context("it names no host")?;
    let (user, rest) = match authority.as_str().rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, authority.as_str()),
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        bail!("it names no host");
    }
    let port = match authority.port_u16() {
        Some(0) => bail!("port 0 cannot be connected to"),
        Some(port) => port,
        None if rest.len() > authority.host().len() => bail!("the port is no number from 1 to 65535"),
        None if https => 443,
        None => 80,
    };
    Ok(Target {
        https,
        authority: shown_authority(authority.host(), port, https),
        host,
        port,
        path: if uri.path().is_empty() { "/".to_owned() } else { uri.path().to_owned() },
        query: uri.query().map(str::to_owned),
        authorization: user.map(basic).transpose()?,
    })
}

fn shown_authority(host: &str, port: u16, https: bool) -> String {
    let own = if https { 443 } else { 80 };
    if port == own { host.to_owned() } else { format!("{host}:{port}") }
}

fn basic(user: &str) -> Result<HeaderValue> {
    let plain =
        percent_decode(if user.contains(':') { user.to_owned() } else { format!("{user}:") }.as_bytes());
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(plain)))?;
    value.set_sensitive(true);
    Ok(value)
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if text[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            _ => {
                plain.push(text[at]);
                at += 1;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("https://example.org/api/v1/").unwrap();
        assert_eq!((target.host(), target.port(), target.is_https()), ("example.org", 443, true));
        assert_eq!(target.authority(), "example.org");
        assert_eq!(target.join("/orders?x=1"), "/api/v1/orders?x=1");
        assert_eq!(target.join("orders"), "/api/v1/orders");
        let local = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!((local.host(), local.authority(), local.path()), ("::1", "[::1]:8080", "/"));
        assert_eq!(local.join("/a"), "/a");
    }

    #[test]
    fn user_and_password_become_a_header_and_are_never_shown() {
        let target = Target::parse("http://zoe:s%40cret@host:81/p?token=abc").unwrap();
        assert_eq!(target.display(), "http://host:81/p");
        assert_eq!(format!("{target:?}"), "Target(http://host:81/p)");
        let header = target.authorization().unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header.to_str().unwrap(), format!("Basic {}", STANDARD.encode("zoe:s@cret")));
        assert_eq!(target.path_and_query(), "/p?token=abc");
    }

    #[test]
    fn a_bad_url_is_refused_without_its_secrets() {
        for (url, problem) in [
            ("ftp://zoe:hush@host/", "neither http nor https"),
            ("localhost:80", "must begin with"),
            ("http://", "bad URL"),
            ("http://zoe:hush@host:99999/", "port"),
            ("http://zoe:hush@host:0/", "port 0"),
            ("http://zoe:hu/sh@host/", "bad URL"),
            ("http://zoe:hu?sh@host/", "bad URL"),
            ("http://zoe:hu sh@host/?hush", "bad URL"),
            ("zoe:hush@host/", "must begin with"),
            ("", "must begin with"),
        ] {
            let error = format!("{:#}", Target::parse(url).unwrap_err());
            assert!(error.contains(problem), "{url}: {error}");
            for secret in ["hush", "hu/sh", "hu?sh", "hu sh", "zoe"] {
                assert!(!error.contains(secret), "{url}: {error}");
            }
        }
    }

    #[test]
    fn an_at_sign_in_a_path_is_no_password() {
        assert_eq!(display_url("http://host/users/@ann"), "http://host/users/@ann");
        assert_eq!(display_url("http://u:p@host/x?y#z"), "http://host/x");
    }
}
