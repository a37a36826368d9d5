//! Cookies of a user (RFC 6265, as far as load tests need it): domain, path, secure, expiry. No public suffix list.

use std::time::Duration;

/// Cookies of one jar; beyond that the oldest are forgotten.
const MAX_COOKIES: usize = 3_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Without a leading dot.
    pub(crate) domain: String,
    pub(crate) path: String,
    /// It goes to sub-domains, too.
    pub(crate) below: bool,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    /// As the server wrote it.
    pub(crate) expires: String,
    /// Seconds; `None` where it was not told.
    pub(crate) max_age: Option<i64>,
    /// Milliseconds since 1970.
    pub(crate) ends_ms: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Jar(Vec<Cookie>);

impl Jar {
    /// Cookies for a request, longest path first. `now_ms`: since 1970.
    pub(crate) fn matching(
        &self,
        host: &str,
        path: &str,
        is_https: bool,
        now_ms: i64,
    ) -> Vec<(String, String)> {
        let path = path.split('?').next().unwrap_or("/");
        let mut found: Vec<&Cookie> = self
            .0
            .iter()
            .filter(|cookie| {
                domain_matches(cookie, host)
                    && path_matches(&cookie.path, path)
                    && (is_https || !cookie.secure)
                    && cookie.ends_ms.is_none_or(|end| end > now_ms)
            })
            .collect();
        found.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        found.into_iter().map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect()
    }

    /// Puts a cookie in, replacing the one of the same name, domain and path; one that is over removes it.
    pub(crate) fn put(&mut self, cookie: Cookie, now_ms: i64) {
        let same = |other: &Cookie| {
            other.name == cookie.name && other.domain == cookie.domain && other.path == cookie.path
        };
        let at = self.0.iter().position(same);
        let over = cookie.ends_ms.is_some_and(|end| end <= now_ms);
        match (at, over) {
            (Some(at), true) => drop(self.0.remove(at)),
            (Some(at), false) => self.0[at] = cookie,
            (None, true) => {}
            (None, false) => {
                if self.0.len() >= MAX_COOKIES {
                    self.0.remove(0);
                }
                self.0.push(cookie);
            }
        }
    }

    /// Forgets the cookies that would go to this place; of one name only where it is given.
    pub(crate) fn remove(&mut self, host: &str, path: &str, name: Option<&str>) {
        self.0.retain(|cookie| {
            let goes = domain_matches(cookie, host) && path_matches(&cookie.path, path);
            !(goes && name.is_none_or(|name| name == cookie.name))
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn domain_matches(cookie: &Cookie, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == cookie.domain
        || (cookie.below && host.strip_suffix(&cookie.domain).is_some_and(|rest| rest.ends_with('.')))
}

fn path_matches(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// Reads a `set-cookie` field that came from this place; `None` where it is none, or not for this place.
pub(crate) fn parse(field: &str, host: &str, path: &str, now_ms: i64) -> Option<Cookie> {
    let mut parts = field.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() {
        return None;
    }
    let host = host.to_ascii_lowercase();
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: value.trim_matches('"').to_owned(),
        domain: host.clone(),
        path: default_path(path),
        ..Cookie::default()
    };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "domain" if !value.is_empty() => {
                cookie.domain = value.trim_start_matches('.').to_ascii_lowercase();
                cookie.below = true;
            }
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "expires" => value.clone_into(&mut cookie.expires),
            "max-age" => cookie.max_age = value.parse().ok(),
            _ => {}
        }
    }
    if cookie.below && !domain_matches(&cookie, &host) {
        return None;
    }
    cookie.ends_ms = match cookie.max_age {
        Some(seconds) => Some(now_ms.saturating_add(seconds.saturating_mul(1000))),
        None => http_date_ms(&cookie.expires),
    };
    Some(cookie)
}

/// RFC 6265 section 5.1.4.
fn default_path(path: &str) -> String {
    let path = path.split('?').next().unwrap_or("/");
    match path.rfind('/') {
        Some(at) if at > 0 => path[..at].to_owned(),
        _ => "/".to_owned(),
    }
}

/// `Wed, 21 Oct 2026 07:28:00 GMT` and its dashed form, in milliseconds since 1970.
pub(crate) fn http_date_ms(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (_, rest) = text.split_once(' ')?;
    let rest = rest.replace('-', " ");
    let mut parts = rest.split_whitespace();
    let day: i64 = parts.next()?.parse().ok()?;
    let month = parts.next()?.get(..3)?.to_ascii_lowercase();
    let month = MONTHS.iter().position(|known| *known == month)?;
    let mut year: i64 = parts.next()?.parse().ok()?;
    if year < 100 {
        year += if year < 70 { 2000 } else { 1900 };
    }
    let mut clock = parts.next()?.split(':').map(|n| n.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let month = i64::try_from(month).ok()? + 1;
    let days = days_since_1970(year, month, day)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

/// Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=31).contains(&day) || !(1900..=9999).contains(&year) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Milliseconds since 1970, for expiries.
pub(crate) fn unix_ms(now: Duration) -> i64 {
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_goes_where_it_belongs() {
        let mut jar = Jar::default();
        let put = |jar: &mut Jar, field: &str| {
            if let Some(cookie) = parse(field, "shop.example", "/a/b", 1_000) {
                jar.put(cookie, 1_000);
            }
        };
        put(&mut jar, "sid=1; Path=/; HttpOnly");
        put(&mut jar, "deep=2");
        put(&mut jar, "all=3; Domain=example; Path=/; Secure");
        put(&mut jar, "evil=4; Domain=other.example");
        let names = |host: &str, path: &str, https| -> Vec<String> {
            jar.matching(host, path, https, 1_000).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("shop.example", "/a/c?x=/", false), ["deep", "sid"]);
        assert_eq!(names("shop.example", "/ab", false), ["sid"]);
        assert_eq!(names("www.example", "/", true), ["all"]);
        put(&mut jar, "sid=; Path=/; Max-Age=0");
        assert!(jar.matching("shop.example", "/", false, 1_000).is_empty());
    }

    #[test]
    fn dates_are_read() {
        assert_eq!(http_date_ms("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1000));
        assert_eq!(http_date_ms("Wed, 21-Oct-2026 07:28:00 GMT"), Some(1_792_567_680_000));
        assert_eq!(http_date_ms("soon"), None);
    }
}
