//! Tokens of a statement's text: Postgres' lexical rules first, with the placeholders of the usual drivers.
//! It never fails: what is unterminated runs to the end, what is unknown is an operator. One pass, no allocation.

/// What a token is, as far as identity is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or an unquoted name.
    Word,
    /// A quoted name: `"Order"`, `` `order` ``.
    Quoted,
    /// A string, number or dollar-quoted text.
    Literal,
    /// `$1`, `?`, `%s`, `%(name)s`, `:name`, `@p0`.
    Placeholder,
    Operator,
    /// One of `( ) [ ] , ; .`
    Punctuation,
    /// `...`, left by an earlier normalisation.
    Ellipsis,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// White space or a comment stood before it.
    pub(super) spaced: bool,
}

impl Token<'_> {
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    pub(super) fn is(&self, punctuation: &str) -> bool {
        self.kind == Kind::Punctuation && self.text == punctuation
    }
}

/// After these words a value begins; after other words an operator may.
const BEFORE_VALUE: [&str; 44] = [
    "ALL",
    "AND",
    "ANY",
    "AS",
    "BETWEEN",
    "BY",
    "CALL",
    "CASE",
    "DATE",
    "DISTINCT",
    "ELSE",
    "ESCAPE",
    "FETCH",
    "FIRST",
    "FOR",
    "FROM",
    "HAVING",
    "ILIKE",
    "IN",
    "INTERVAL",
    "IS",
    "LIKE",
    "LIMIT",
    "NEXT",
    "NOT",
    "OFFSET",
    "ON",
    "OR",
    "REGEXP",
    "RETURN",
    "RETURNING",
    "RLIKE",
    "SELECT",
    "SET",
    "SIMILAR",
    "SOME",
    "THEN",
    "TIME",
    "TIMESTAMP",
    "TO",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
];

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    brackets: u32,
    previous: Option<Token<'a>>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, brackets: 0, previous: None }
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// Whether a value ended just before: then `-`, `?` and `%` are operators.
    fn after_value(&self) -> bool {
        self.previous.is_some_and(|token| match token.kind {
            Kind::Word => !BEFORE_VALUE.iter().any(|word| token.text.eq_ignore_ascii_case(word)),
            Kind::Quoted | Kind::Literal | Kind::Placeholder | Kind::Ellipsis => true,
            Kind::Punctuation => matches!(token.text, ")" | "]"),
            Kind::Operator => false,
        })
    }

    /// Moves over white space and comments.
    fn skip_blank(&mut self) {
        loop {
            match (self.byte(self.at), self.byte(self.at + 1)) {
                (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => self.at += 1,
                (b'-', b'-') => self.at = self.after_next(self.at, b"\n"),
                (b'/', b'*') => self.at = self.comment_end(),
                _ => return,
            }
        }
    }

    fn comment_end(&self) -> usize {
        let (mut at, mut depth) = (self.at + 2, 1);
        while depth > 0 && at < self.text.len() {
            match (self.byte(at), self.byte(at + 1)) {
                (b'*', b'/') => (at, depth) = (at + 2, depth - 1),
                (b'/', b'*') => (at, depth) = (at + 2, depth + 1),
                _ => at += 1,
            }
        }
        at
    }

    /// Position after the next `needle`, or the end.
    fn after_next(&self, from: usize, needle: &[u8]) -> usize {
        let bytes = &self.text.as_bytes()[from.min(self.text.len())..];
        bytes
            .windows(needle.len())
            .position(|w| w == needle)
            .map_or(self.text.len(), |p| from + p + needle.len())
    }

    /// End of a text quoted by `quote` that opens at `from`; a doubled quote is one, a backslash escapes if told so.
    fn quote_end(&self, from: usize, quote: u8, backslash: bool) -> usize {
        let mut at = from + 1;
        while at < self.text.len() {
            let byte = self.byte(at);
            if byte == quote && self.byte(at + 1) == quote || byte == b'\\' && backslash {
                at += 2;
            } else if byte == quote {
                return at + 1;
            } else {
                at += 1;
            }
        }
        self.text.len()
    }

    fn word_end(&self, from: usize) -> usize {
        let rest = &self.text.as_bytes()[from..];
        rest.iter().position(|&b| !continues_word(b)).map_or(self.text.len(), |p| from + p)
    }

    fn number_end(&self, from: usize) -> usize {
        let hex = self.byte(from) == b'0' && matches!(self.byte(from + 1), b'x' | b'X');
        let mut at = from;
        loop {
            match self.byte(at) {
                b'e' | b'E' if !hex && matches!(self.byte(at + 1), b'+' | b'-') => at += 2,
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => at += 1,
                b'.' if self.byte(at + 1) != b'.' => at += 1,
                _ => return at.min(self.text.len()),
            }
        }
    }

    /// `$1`, or a dollar-quoted text.
    fn dollar(&self) -> (Kind, usize) {
        let at = self.at;
        if self.byte(at + 1).is_ascii_digit() {
            let rest = &self.text.as_bytes()[at + 1..];
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            return (Kind::Placeholder, at + 1 + digits);
        }
        let mut tag_end = at + 1;
        while continues_word(self.byte(tag_end)) && self.byte(tag_end) != b'$' {
            tag_end += 1;
        }
        if self.byte(tag_end) != b'$' {
            return (Kind::Operator, at + 1);
        }
        let tag = &self.text.as_bytes()[at..=tag_end];
        (Kind::Literal, self.after_next(tag_end + 1, tag))
    }

    fn word(&self) -> (Kind, usize) {
        let (first, next) = (self.byte(self.at), self.byte(self.at + 1));
        match (first.to_ascii_lowercase(), next, self.byte(self.at + 2)) {
            (b'e', b'\'', _) => (Kind::Literal, self.quote_end(self.at + 1, b'\'', true)),
            (b'b' | b'x' | b'n', b'\'', _) => (Kind::Literal, self.quote_end(self.at + 1, b'\'', false)),
            (b'u', b'&', b'\'') => (Kind::Literal, self.quote_end(self.at + 2, b'\'', false)),
            (b'u', b'&', b'"') => (Kind::Quoted, self.quote_end(self.at + 2, b'"', false)),
            _ => (Kind::Word, self.word_end(self.at)),
        }
    }

    /// End of a placeholder other than `$1`, if one begins at `at`.
    fn placeholder_end(&self, at: usize) -> Option<usize> {
        let next = self.byte(at + 1);
        match self.byte(at) {
            b'?' if next.is_ascii_digit() => Some(self.word_end(at + 1)),
            b'?' if !self.question_is_operator(at) => Some(at + 1),
            b'%' if next == b's' && !continues_word(self.byte(at + 2)) => Some(at + 2),
            b'%' if next == b'(' => {
                let close = self.word_end(at + 2);
                (self.byte(close) == b')' && self.byte(close + 1) == b's').then_some(close + 2)
            }
            b':' if starts_word(next) || next.is_ascii_digit() && self.brackets == 0 => {
                Some(self.word_end(at + 1))
            }
            b'@' if starts_word(next) => Some(self.word_end(at + 1)),
            _ => None,
        }
    }

    /// JSONB has the operators `?`, `?|` and `?&`: they stand between two values.
    fn question_is_operator(&self, at: usize) -> bool {
        if at != self.at || !self.after_value() {
            return false;
        }
        let rest = self.text[at + 1..].trim_start_matches(['|', '&']).trim_start();
        let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
        let keyword = BEFORE_VALUE.iter().any(|k| word.eq_ignore_ascii_case(k) && *k != "ANY");
        rest.starts_with(['\'', '$', '?', '"', '(', ':', '%']) || !word.is_empty() && !keyword
    }

    /// End of the operator at the current position: the longest run, cut where a comment, a placeholder or a sign
    /// begins (a sign ends an operator only if the operator holds one of `~!@#%^&|?`, as in Postgres).
    fn operator_end(&self) -> usize {
        let first = self.at;
        if self.byte(first) == b':' {
            return first + 1 + usize::from(matches!(self.byte(first + 1), b':' | b'='));
        }
        let mut end = first;
        while is_operator(self.byte(end)) {
            let pair = (self.byte(end), self.byte(end + 1));
            let known = matches!((self.byte(first), pair.0), (b'@', b'?') | (b'<' | b'@', b'@'));
            if matches!(pair, (b'-', b'-') | (b'/', b'*'))
                || end > first && !known && self.placeholder_end(end).is_some()
            {
                break;
            }
            end += 1;
        }
        let run = &self.text.as_bytes()[first..end];
        let may_end_in_sign = run.iter().any(|b| b"~!@#%^&|?".contains(b));
        while !may_end_in_sign && end > first + 1 && matches!(self.byte(end - 1), b'+' | b'-') {
            end -= 1;
        }
        end.max(first + 1)
    }

    fn classify(&self) -> (Kind, usize) {
        let (byte, next) = (self.byte(self.at), self.byte(self.at + 1));
        match byte {
            b'\'' => (Kind::Literal, self.quote_end(self.at, byte, false)),
            b'"' | b'`' => (Kind::Quoted, self.quote_end(self.at, byte, false)),
            b'$' => self.dollar(),
            b'0'..=b'9' => (Kind::Literal, self.number_end(self.at)),
            b'.' if next == b'.' && self.byte(self.at + 2) == b'.' => (Kind::Ellipsis, self.at + 3),
            b'.' if next.is_ascii_digit() => (Kind::Literal, self.number_end(self.at)),
            b'-' | b'+' if (next.is_ascii_digit() || next == b'.') && !self.after_value() => {
                (Kind::Literal, self.number_end(self.at + 1))
            }
            b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' => (Kind::Punctuation, self.at + 1),
            _ if starts_word(byte) => self.word(),
            _ => match self.placeholder_end(self.at) {
                Some(end) => (Kind::Placeholder, end),
                None => (Kind::Operator, self.operator_end()),
            },
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let from = self.at;
        self.skip_blank();
        if self.at >= self.text.len() {
            return None;
        }
        let (kind, end) = self.classify();
        let token = Token { kind, text: &self.text[self.at..end], spaced: self.at > from };
        match token.text {
            "[" => self.brackets += 1,
            "]" => self.brackets = self.brackets.saturating_sub(1),
            _ => {}
        }
        self.at = end;
        self.previous = Some(token);
        Some(token)
    }
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_operator(byte: u8) -> bool {
    b"+-*/<>=~!@#%^&|?".contains(&byte)
}
