//! What must not leave the source: keys, tokens, passwords, cookies. Each becomes `${NAME}`, to be set in the
//! environment, and that is said.

use crate::guess::variable_name;
use serde_json::Value;
use std::collections::BTreeSet;

/// Parts of names (lower case, letters and digits only) whose values are secrets.
const SECRET_PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "signature",
    "credential",
    "sessionid",
    "jsessionid",
    "phpsessid",
    "cookie",
    "bearer",
    "cardnumber",
    "cvv",
    "cvc",
    "otp",
    "jwt",
    "xsrf",
    "csrf",
];
/// Whole names.
const SECRET_NAMES: &[&str] =
    &["auth", "pass", "pwd", "key", "sig", "session", "sid", "code", "state", "nonce", "ssn", "pin", "xauth"];
/// Bodies with more objects within each other are not looked into: they are dropped.
const MAX_DEPTH: usize = 40;

/// Removed secrets by the name of their placeholder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed(BTreeSet<String>);

/// Whether a key's value is a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let plain: String =
        name.bytes().filter(u8::is_ascii_alphanumeric).map(|b| char::from(b.to_ascii_lowercase())).collect();
    SECRET_NAMES.contains(&plain.as_str()) || SECRET_PARTS.iter().any(|part| plain.contains(part))
}

/// Whether a value looks like a secret whatever its name: a JSON web token, a key with a well-known prefix.
pub(crate) fn looks_secret(value: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "eyJ",
        "sk_live_",
        "sk_test_",
        "sk-",
        "ghp_",
        "gho_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "AKIA",
        "ASIA",
        "AIza",
        "Bearer ",
        "Basic ",
    ];
    value.len() >= 16 && PREFIXES.iter().any(|prefix| value.starts_with(prefix))
}

/// Whether a segment of a path is a secret: by itself, or a long one with digits behind a name such as `reset-token`.
/// `/auth/login` is none.
pub(crate) fn is_secret_segment(before: &str, segment: &str) -> bool {
    let random = segment.len() >= 16 && segment.bytes().any(|b| b.is_ascii_digit());
    looks_secret(segment) || random && is_secret(before)
}

/// A path as it may be a name.
pub(crate) fn without_secrets(path: &str) -> String {
    let mut before = "";
    let shown = path.split('/').map(|segment| {
        let hidden = is_secret_segment(before, segment);
        before = segment;
        if hidden { "{secret}" } else { segment }
    });
    shown.collect::<Vec<_>>().join("/")
}

impl Removed {
    /// `${API_KEY}` for the name `api-key`.
    pub(crate) fn placeholder(&mut self, name: &str) -> String {
        let mut variable = variable_name(name).to_ascii_uppercase();
        if variable.starts_with(|c: char| c.is_ascii_digit()) {
            variable.insert_str(0, "SECRET_");
        }
        let placeholder = format!("${{{variable}}}");
        self.0.insert(placeholder.clone());
        placeholder
    }

    /// One sentence, where anything was removed.
    pub(crate) fn note(&self) -> Option<String> {
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        (!names.is_empty())
            .then(|| format!("secrets were removed; set these in the environment: {}", names.join(", ")))
    }

    /// A header to keep, without its secret; `None` where the client makes it itself.
    pub(crate) fn header(&mut self, name: &str, value: &str) -> Option<(String, String)> {
        let name = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return None;
        }
        if is_secret(&name) || looks_secret(value) {
            let placeholder = self.placeholder(&name);
            return Some((name, placeholder));
        }
        let kept = matches!(
            name.as_str(),
            "accept" | "content-type" | "x-requested-with" | "accept-language" | "x-api-version"
        );
        let sendable = value.bytes().all(|b| (32..127).contains(&b)) && !value.contains("{{");
        (kept && sendable).then(|| (name, value.to_owned()))
    }

    /// A body of JSON or of a form without its secrets; other bodies as they are.
    pub(crate) fn body(&mut self, text: &str, content_type: &str) -> String {
        if let Ok(json) = serde_json::from_str::<Value>(text) {
            let mut clean = json.clone();
            self.json(&mut clean, 0);
            // Without secrets the text stays as it was written.
            return if clean == json { text.to_owned() } else { clean.to_string() };
        }
        if content_type.contains("urlencoded") {
            let pairs = text.split('&').map(|pair| match pair.split_once('=') {
                Some((key, value)) if is_secret(key) || looks_secret(value) => {
                    format!("{key}={}", self.placeholder(key))
                }
                _ => pair.to_owned(),
            });
            return pairs.collect::<Vec<_>>().join("&");
        }
        text.to_owned()
    }

    fn json(&mut self, json: &mut Value, depth: usize) {
        if depth > MAX_DEPTH {
            *json = Value::Null;
            return;
        }
        match json {
            Value::Object(members) => {
                for (key, value) in members {
                    let leaf = value.is_string() || value.is_number();
                    if leaf && (is_secret(key) || value.as_str().is_some_and(looks_secret)) {
                        *value = Value::String(self.placeholder(key));
                    } else {
                        self.json(value, depth + 1);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item, depth + 1)),
            Value::String(text) if looks_secret(text) => *text = self.placeholder("token"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_and_by_look() {
        for name in [
            "password",
            "X-Api-Key",
            "access_token",
            "Authorization",
            "session_id",
            "csrfToken",
            "sig",
            "Cookie",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["page", "keyword", "passenger", "monkey", "sort", "author"] {
            assert!(!is_secret(name), "{name}");
        }
        let mut removed = Removed::default();
        let body = removed.body(
            r#"{"user":"ann","password":"hush","deep":[{"apiKey":"hush2"}],"t":"eyJhbGciOiJIUzI1NiJ9"}"#,
            "",
        );
        assert_eq!(
            body,
            r#"{"deep":[{"apiKey":"${API_KEY}"}],"password":"${PASSWORD}","t":"${T}","user":"ann"}"#
        );
        assert_eq!(removed.body("a=1&pwd=hush", "application/x-www-form-urlencoded"), "a=1&pwd=${PWD}");
        assert_eq!(removed.header("Cookie", "a=b"), Some(("cookie".to_owned(), "${COOKIE}".to_owned())));
        assert_eq!(removed.header("Host", "x"), None);
    }
}
