//! Names and encodings: variables after what they stand for, percent-encoding, what a path may hold.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Longer names are cut.
const MAX_NAME: usize = 40;

/// A name for a variable: lower case, `_` for anything else, never empty.
pub(crate) fn variable_name(text: &str) -> String {
    let mut name = String::new();
    let mut lower = false;
    for c in text.chars().take(MAX_NAME) {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && lower {
                name.push('_');
            }
            lower = c.is_ascii_lowercase() || c.is_ascii_digit();
            name.push(c.to_ascii_lowercase());
        } else if !name.ends_with('_') && !name.is_empty() {
            name.push('_');
            lower = false;
        }
    }
    let name = name.trim_matches('_');
    if name.is_empty() { "value".to_owned() } else { name.to_owned() }
}

/// The name for a path's parameter, after the segment before it: `order_id` behind `orders`.
pub(crate) fn parameter_name(before: Option<&str>, parameter: &str) -> String {
    let own = variable_name(parameter);
    if !matches!(own.as_str(), "id" | "name" | "rest" | "value") {
        return own;
    }
    match before {
        Some(before) => format!("{}_{own}", variable_name(singular(before))),
        None => format!("path_{own}"),
    }
}

fn singular(word: &str) -> &str {
    match word {
        word if word.ends_with("ies") => word,
        word if word.ends_with("ss") || word.len() < 4 => word,
        word => word.strip_suffix('s').unwrap_or(word),
    }
}

/// A name that is not taken yet.
pub(crate) fn unused(name: &str, taken: &BTreeSet<String>) -> String {
    let mut free = name.to_owned();
    let mut number = 2;
    while taken.contains(&free) {
        free = format!("{name}_{number}");
        number += 1;
    }
    free
}

/// `%20` and `+` decoded; broken encodings stay as they are.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|h| bytes[at] == b'%' && h.bytes().all(|b| b.is_ascii_hexdigit()));
        match (hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()), bytes[at]) {
            (Some(byte), _) => {
                out.push(byte);
                at += 3;
            }
            (None, b'+') => {
                out.push(b' ');
                at += 1;
            }
            (None, byte) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encodes what a path or query may not hold, and braces, which scenarios give a meaning.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$'()*,;:@%=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_what_stands_before_them() {
        assert_eq!(parameter_name(Some("orders"), "{id}"), "order_id");
        assert_eq!(parameter_name(Some("addresses"), "{id}"), "addresse_id");
        assert_eq!(parameter_name(Some("orders"), ":orderId"), "order_id");
        assert_eq!(parameter_name(None, "{name}"), "path_name");
        assert_eq!(variable_name("!!"), "value");
        assert_eq!(unused("a", &BTreeSet::from(["a".to_owned(), "a_2".to_owned()])), "a_3");
    }

    #[test]
    fn what_is_encoded_comes_back() {
        for text in ["a b/ü", "{{x}}", "100%", "a+b", ""] {
            assert_eq!(decoded(&encoded(&text.replace('%', "%25").replace('+', "%2B"))), text);
        }
        assert_eq!(decoded("%zz%2"), "%zz%2");
    }
}
