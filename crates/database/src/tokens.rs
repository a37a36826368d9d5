//! Tokens of Postgres' SQL, enough to read what the server deparses and to mend statement texts. It never fails: what is
//! unterminated runs to the end.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or an unquoted name.
    Word,
    /// `"Name"`.
    Quoted,
    /// A string or a number.
    Literal,
    /// `$1`.
    Parameter,
    Operator,
    /// One of `( ) [ ] , ; .`
    Punctuation,
}

/// A token and where it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

impl Token<'_> {
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Punctuation | Kind::Operator) && self.text == text
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub(crate) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    /// The number of a parameter.
    pub(crate) fn parameter(&self) -> Option<u32> {
        (self.kind == Kind::Parameter).then(|| self.text[1..].parse().ok())?
    }

    /// The name that a word or quoted word stands for.
    pub(crate) fn name(&self) -> Option<String> {
        match self.kind {
            Kind::Word => Some(self.text.to_lowercase()),
            Kind::Quoted => {
                let inner = self.text.strip_prefix('"')?;
                Some(inner.strip_suffix('"').unwrap_or(inner).replace("\"\"", "\""))
            }
            _ => None,
        }
    }
}

/// All tokens of a text, without white space and comments.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest[0].is_ascii_whitespace() {
            at += 1;
        } else if rest.starts_with(b"--") {
            at += until(rest, b"\n");
        } else if rest.starts_with(b"/*") {
            at += until(rest, b"*/");
        } else {
            let (kind, length) = token(rest);
            all.push(Token { kind, text: &text[at..at + length], at });
            at += length;
        }
    }
    all
}

/// Length up to and with the next `needle`, or to the end.
pub(crate) fn until(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|w| w == needle).map_or(bytes.len(), |p| p + needle.len())
}

fn token(bytes: &[u8]) -> (Kind, usize) {
    let next = bytes.get(1).copied().unwrap_or(0);
    match bytes[0] {
        b'\'' => (Kind::Literal, quoted(bytes, b'\'', false)),
        b'"' => (Kind::Quoted, quoted(bytes, b'"', false)),
        b'e' | b'E' if next == b'\'' => (Kind::Literal, 1 + quoted(&bytes[1..], b'\'', true)),
        b'b' | b'B' | b'x' | b'X' | b'n' | b'N' if next == b'\'' => {
            (Kind::Literal, 1 + quoted(&bytes[1..], b'\'', false))
        }
        b'$' if next.is_ascii_digit() => (Kind::Parameter, 1 + run(&bytes[1..], |b| b.is_ascii_digit())),
        b'$' => dollar(bytes),
        b'0'..=b'9' => (Kind::Literal, run(bytes, |b| b.is_ascii_alphanumeric() || b == b'.')),
        b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' => (Kind::Punctuation, 1),
        b if in_word(b) => (Kind::Word, run(bytes, |b| in_word(b) || b.is_ascii_digit() || b == b'$')),
        b':' => (Kind::Operator, if next == b':' || next == b'=' { 2 } else { 1 }),
        b if is_operator(b) => (Kind::Operator, operator(bytes)),
        _ => (Kind::Operator, 1),
    }
}

pub(crate) fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| !belongs(*b)).unwrap_or(bytes.len())
}

pub(crate) fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

pub(crate) fn is_operator(byte: u8) -> bool {
    b"+-*/<>=~!@#%^&|?".contains(&byte)
}

/// A run of operator characters, cut where a comment begins.
pub(crate) fn operator(bytes: &[u8]) -> usize {
    let whole = run(bytes, is_operator);
    let comment = |w: &[u8]| w == b"--" || w == b"/*";
    bytes[..whole].windows(2).position(comment).map_or(whole, |p| p.max(1))
}

/// Length of a text that is quoted by the first byte; a doubled quote stands for itself.
pub(crate) fn quoted(bytes: &[u8], quote: u8, backslash: bool) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == quote && bytes.get(at + 1) == Some(&quote) || bytes[at] == b'\\' && backslash {
            at += 2;
        } else if bytes[at] == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// `$tag$ ... $tag$`, or a lone dollar.
fn dollar(bytes: &[u8]) -> (Kind, usize) {
    let tag = 1 + run(&bytes[1..], |b| in_word(b) || b.is_ascii_digit());
    if bytes.get(tag) != Some(&b'$') {
        return (Kind::Operator, 1);
    }
    (Kind::Literal, tag + 1 + until(&bytes[tag + 1..], &bytes[..=tag]))
}

/// The text with every string and number replaced by `?`: what is shown never holds a value.
pub(crate) fn without_values(text: &str) -> String {
    let literals = tokens(text).into_iter().filter(|t| t.kind == Kind::Literal);
    edited(text, literals.map(|t| (t.at, t.end(), "?".to_owned())))
}

/// The text with ranges replaced; the edits stand in order and do not overlap.
pub(crate) fn edited(text: &str, edits: impl IntoIterator<Item = (usize, usize, String)>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (start, end, new) in edits {
        out.push_str(&text[from..start]);
        out.push_str(&new);
        from = end;
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::{tokens, without_values};

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found: Vec<&str> = tokens(text).iter().map(|t| t.text).collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn tokens_are_those_of_postgres() {
        check("(\"A\".b=$1)", "( \"A\" . b = $1 )");
        check("x::text ~~ 'it''s'--end", "x :: text ~~ 'it''s'");
        check("a /* b */ <= E'\\'' + $$x$$", "a <= E'\\'' + $$x$$");
        check("größe > 1.5e3", "größe > 1.5e3");
    }

    #[test]
    fn broken_texts_end() {
        for text in ["'", "\"", "$", "$x", "$x$", "/*", "--", "E'", "E'\\", "::", "é'", "a/*"] {
            drop(tokens(text));
        }
        for text in ["'", "\""] {
            assert_eq!(tokens(text)[0].name().unwrap_or_default(), "");
        }
    }

    #[test]
    fn values_do_not_survive() {
        assert_eq!(
            without_values("((a = 'secret'::text) AND (b1 > 17) AND (c = $2))"),
            "((a = ?::text) AND (b1 > ?) AND (c = $2))"
        );
    }
}
