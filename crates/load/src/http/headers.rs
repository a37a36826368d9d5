//! Header fields in order, with duplicates, as one block of text: what is copied to a socket and cut out of one.

use std::fmt;

/// `name: value` lines. Names keep the case that they came in; look-ups ignore it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Lines that end with CR LF each.
    lines: Vec<u8>,
}

/// A name that is no token, or a value with a control character (RFC 9110 section 5). The value is not repeated, as it
/// may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHeader {
    pub name: String,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header `{}` cannot be sent", self.name.escape_debug())
    }
}

impl std::error::Error for BadHeader {}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_in_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

impl Headers {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field at the end, beside any of the same name.
    ///
    /// # Errors
    /// Name or value cannot stand in a header; nothing is added.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), BadHeader> {
        let value = value.as_ref();
        if name.is_empty() || !name.bytes().all(is_token) || !value.iter().copied().all(is_in_value) {
            return Err(BadHeader { name: name.to_owned() });
        }
        self.append(name.as_bytes(), value);
        Ok(())
    }

    /// Replaces all fields of this name by one at the end.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), BadHeader> {
        self.remove(name);
        self.push(name, value)
    }

    /// Adds all of `others` at the end.
    pub fn extend(&mut self, others: &Self) {
        self.lines.extend_from_slice(&others.lines);
    }

    /// Removes all fields of this name.
    pub fn remove(&mut self, name: &str) {
        if self.get(name).is_some() {
            let mut kept = Self::new();
            for (other, value) in self.iter().filter(|(other, _)| !other.eq_ignore_ascii_case(name)) {
                kept.append(other.as_bytes(), value);
            }
            *self = kept;
        }
    }

    /// The first value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Name and value of each field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = self.lines.as_slice();
        std::iter::from_fn(move || {
            let colon = rest.iter().position(|byte| *byte == b':')?;
            let end = colon + rest[colon..].iter().position(|byte| *byte == b'\r')?;
            let field = (std::str::from_utf8(&rest[..colon]).unwrap_or_default(), &rest[colon + 2..end]);
            rest = &rest[end + 2..];
            Some(field)
        })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// The block as HTTP/1.1 writes it, without the empty line at its end.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.lines
    }

    /// Adds what a parser has checked already.
    pub(crate) fn append(&mut self, name: &[u8], value: &[u8]) {
        self.lines.reserve(name.len() + value.len() + 4);
        self.lines.extend_from_slice(name);
        self.lines.extend_from_slice(b": ");
        self.lines.extend_from_slice(value);
        self.lines.extend_from_slice(b"\r\n");
    }
}

/// Values may be secrets: only names are shown.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_case_and_duplicates_are_kept() {
        let mut headers = Headers::new();
        for (name, value) in [("Set-Cookie", "a=1"), ("x-empty", ""), ("set-cookie", "b=2: \u{fc}")] {
            headers.push(name, value).unwrap();
        }
        let all: Vec<_> = headers.iter().map(|(n, v)| (n, String::from_utf8_lossy(v).into_owned())).collect();
        let expected = [("Set-Cookie", "a=1"), ("x-empty", ""), ("set-cookie", "b=2: \u{fc}")];
        assert_eq!(all, expected.map(|(n, v)| (n, v.to_owned())));
        assert_eq!(headers.get("SET-COOKIE"), Some(&b"a=1"[..]));
        headers.set("Set-cookie", "c").unwrap();
        assert_eq!(headers.as_bytes(), b"x-empty: \r\nSet-cookie: c\r\n");
        assert_eq!(format!("{headers:?}"), r#"["x-empty", "Set-cookie"]"#);
    }

    #[test]
    fn nothing_can_be_smuggled_in() {
        let mut headers = Headers::new();
        for (name, value) in [("a", "b\r\nc: d"), ("a\r\nb", "c"), ("", "x"), ("a b", "c"), ("a", "\0")] {
            assert!(headers.push(name, value).is_err(), "{name:?} {value:?}");
        }
        assert!(headers.is_empty());
    }
}
