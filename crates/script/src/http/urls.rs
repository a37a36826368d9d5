//! URLs of scripts: parsed once, resolved against redirects.

use anyhow::Result;
use load::http::Origin;
use net::Target;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Parsed URLs that are kept; when full, all are forgotten.
const MAX_KEPT: usize = 4_096;
/// Origins that are kept: one parse of host and TLS name each.
const MAX_ORIGINS: usize = 1_024;

#[derive(Clone)]
pub(crate) struct Parsed {
    pub(crate) origin: Origin,
    pub(crate) path: Rc<str>,
    /// Without user and password.
    pub(crate) clean: Rc<str>,
    /// User and password, percent-decoded.
    pub(crate) user: Option<(String, String)>,
}

#[derive(Default)]
pub(crate) struct Urls {
    kept: RefCell<HashMap<Box<str>, Parsed>>,
    origins: RefCell<HashMap<Box<str>, Origin>>,
}

impl Urls {
    /// # Errors
    /// What is wrong with the URL, without its secrets.
    pub(crate) fn parse(&self, url: &str) -> Result<Parsed> {
        if let Some(known) = self.kept.borrow().get(url) {
            return Ok(known.clone());
        }
        let target = Target::parse(&sendable(url))?;
        let path: Rc<str> = target.path_and_query().into();
        let (clean, user) = split_user(url.trim());
        let parsed = Parsed { origin: self.origin(url, target), path, clean: clean.into(), user };
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(url.into(), parsed.clone());
        Ok(parsed)
    }

    fn origin(&self, url: &str, target: Target) -> Origin {
        let after = url.find("://").map_or(0, |at| at + 3);
        let end = url[after..].find(['/', '?', '#']).map_or(url.len(), |at| after + at);
        let key = &url[..end];
        let mut origins = self.origins.borrow_mut();
        if let Some(known) = origins.get(key) {
            return known.clone();
        }
        if origins.len() >= MAX_ORIGINS {
            origins.clear();
        }
        let origin = Origin::new(target);
        origins.insert(key.into(), origin.clone());
        origin
    }
}

/// A URL as a request line may hold it: what scripts leave unescaped in path and query is escaped as browsers do (the
/// URL standard's path and query percent-encode sets).
fn sendable(url: &str) -> Cow<'_, str> {
    let url = url.trim();
    let start = url.find("://").map_or(0, |at| at + 3);
    let path = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let query = url[path..].find('?').map_or(url.len(), |at| path + at);
    let raw = |at: usize, byte: u8| match byte {
        b'"' | b'<' | b'>' => at >= path,
        b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => (path..query).contains(&at),
        _ => at >= path && !byte.is_ascii_graphic(),
    };
    if !url.bytes().enumerate().any(|(at, byte)| raw(at, byte)) {
        return Cow::Borrowed(url);
    }
    let mut out = Vec::with_capacity(url.len() + 16);
    for (at, byte) in url.bytes().enumerate() {
        if raw(at, byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    // Whole characters were replaced by ASCII.
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// A URL without its user part, and that part decoded.
fn split_user(url: &str) -> (String, Option<(String, String)>) {
    let Some(after) = url.find("://").map(|at| at + 3) else { return (url.to_owned(), None) };
    let end = url[after..].find(['/', '?', '#']).map_or(url.len(), |at| after + at);
    let Some(at) = url[after..end].rfind('@') else { return (url.to_owned(), None) };
    let user = &url[after..after + at];
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let clean = format!("{}{}", &url[..after], &url[after + at + 1..]);
    (clean, Some((decode(name), decode(password))))
}

/// Percent-decoded; what is no UTF-8 then is replaced.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |n: usize| bytes.get(at + n).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                #[expect(clippy::cast_possible_truncation, reason = "two hexadecimal digits")]
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `application/x-www-form-urlencoded` as Go writes it (`url.QueryEscape`).
pub(crate) fn form_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Where `location` leads from `base`.
pub(crate) fn resolve(base: &str, location: &str) -> String {
    let location = location.split('#').next().unwrap_or("");
    if location.starts_with("http://") || location.starts_with("https://") {
        return location.to_owned();
    }
    let scheme_end = base.find("://").map_or(0, |at| at + 3);
    if location.starts_with("//") {
        return format!("{}{location}", &base[..scheme_end.saturating_sub(2)]);
    }
    let host_end = base[scheme_end..].find(['/', '?', '#']).map_or(base.len(), |at| scheme_end + at);
    let (origin, rest) = base.split_at(host_end);
    let path = rest.split(['?', '#']).next().unwrap_or("");
    if location.starts_with('/') {
        return format!("{origin}{}", without_dots(location));
    }
    if location.starts_with('?') || location.is_empty() {
        return format!("{origin}{path}{location}");
    }
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{origin}{}", without_dots(&format!("{folder}{location}")))
}

fn without_dots(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base = "http://a.example:81/x/y?q=1";
        for (location, expected) in [
            ("https://b.example/z", "https://b.example/z"),
            ("//b.example/z", "http://b.example/z"),
            ("/z?r=/../2", "http://a.example:81/z?r=/../2"),
            ("z#top", "http://a.example:81/x/z"),
            ("../z", "http://a.example:81/z"),
            ("?r=2", "http://a.example:81/x/y?r=2"),
        ] {
            assert_eq!(resolve(base, location), expected);
        }
        assert_eq!(resolve("http://a.example", "z"), "http://a.example/z");
    }

    #[test]
    fn what_a_request_line_cannot_hold_is_escaped() {
        for (url, path) in [
            ("http://a.example/a b?c=d e", "/a%20b?c=d%20e"),
            ("http://a.example/ü?q=€&r=\"x\"", "/%C3%BC?q=%E2%82%AC&r=%22x%22"),
            ("http://a.example/{id}|^?f={\"a\":[1]}|^", "/%7Bid%7D%7C%5E?f={%22a%22:[1]}|^"),
            ("http://a.example/%20?a=%zz+b", "/%20?a=%zz+b"),
        ] {
            assert_eq!(&*Urls::default().parse(url).unwrap().path, path, "{url}");
        }
        let parsed = Urls::default().parse("http://a.example/a b").unwrap();
        assert_eq!(&*parsed.clean, "http://a.example/a b", "tags keep what was written");
        assert!(Urls::default().parse("http://a b.example/").is_err());
    }

    #[test]
    fn user_and_password_leave_the_url() {
        let parsed = Urls::default().parse("http://ann:p%40ss@a.example/x").unwrap();
        assert_eq!(&*parsed.clean, "http://a.example/x");
        assert_eq!(parsed.user, Some(("ann".to_owned(), "p@ss".to_owned())));
        assert_eq!(&*parsed.path, "/x");
    }
}
