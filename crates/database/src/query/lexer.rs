//! Tokens of MariaDB's, MySQL's and SQLite's SQL, with the placeholders of the usual drivers. It never fails: what is
//! unterminated runs to the end.

use crate::tokens::{Kind, Token, edited, in_word, is_operator, operator, quoted, run, until};

/// Whose rules a text follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// MariaDB and MySQL: `"..."` is a string, a backslash escapes, `#` begins a comment.
    MySql,
    /// `"..."` and `[...]` are names.
    Sqlite,
}

/// All tokens of a text, without white space and comments.
pub(crate) fn tokens(text: &str, dialect: Dialect) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest[0].is_ascii_whitespace() {
            at += 1;
        } else if rest.starts_with(b"--") || rest[0] == b'#' && dialect == Dialect::MySql {
            at += until(rest, b"\n");
        } else if rest.starts_with(b"/*") {
            at += until(rest, b"*/");
        } else {
            let (kind, length) = token(rest, dialect);
            // A name of several bytes a letter ends with a whole letter: all of its bytes are above 0x7f.
            all.push(Token { kind, text: &text[at..at + length], at });
            at += length;
        }
    }
    all
}

fn token(bytes: &[u8], dialect: Dialect) -> (Kind, usize) {
    let next = bytes.get(1).copied().unwrap_or(0);
    let escapes = dialect == Dialect::MySql;
    let named = in_word(next) || next.is_ascii_digit();
    match bytes[0] {
        b'\'' => (Kind::Literal, quoted(bytes, b'\'', escapes)),
        b'"' if escapes => (Kind::Literal, quoted(bytes, b'"', true)),
        b'"' => (Kind::Quoted, quoted(bytes, b'"', false)),
        b'`' => (Kind::Quoted, quoted(bytes, b'`', false)),
        b'[' if !escapes => (Kind::Quoted, until(bytes, b"]")),
        b'x' | b'X' | b'b' | b'B' | b'n' | b'N' if next == b'\'' => {
            (Kind::Literal, 1 + quoted(&bytes[1..], b'\'', escapes))
        }
        b'?' => (Kind::Parameter, 1 + run(&bytes[1..], |b| b.is_ascii_digit())),
        b'%' if bytes.starts_with(b"%s") && !bytes.get(2).is_some_and(|b| in_word(*b)) => {
            (Kind::Parameter, 2)
        }
        b'%' if bytes.starts_with(b"%(") => (Kind::Parameter, until(bytes, b")s")),
        b':' | b'$' if named => (Kind::Parameter, 1 + run(&bytes[1..], |b| in_word(b) || b.is_ascii_digit())),
        b'@' if named && !escapes => {
            (Kind::Parameter, 1 + run(&bytes[1..], |b| in_word(b) || b.is_ascii_digit()))
        }
        // A folded list of values in a digest.
        b'.' if bytes.starts_with(b"...") => (Kind::Parameter, 3),
        b'0'..=b'9' => (Kind::Literal, number(bytes)),
        b'.' if next.is_ascii_digit() => (Kind::Literal, 1 + number(&bytes[1..])),
        b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' => (Kind::Punctuation, 1),
        b if in_word(b) => (Kind::Word, run(bytes, |b| in_word(b) || b.is_ascii_digit() || b == b'$')),
        b if is_operator(b) && b != b'?' && b != b'@' => {
            let length = operator(bytes);
            let parameter = bytes[..length].iter().position(|b| matches!(b, b'?' | b'@' | b'#'));
            (Kind::Operator, parameter.map_or(length, |p| p.max(1)))
        }
        _ => (Kind::Operator, 1),
    }
}

/// Digits with point and exponent, or with the letters of `0x1f`.
fn number(bytes: &[u8]) -> usize {
    let length = run(bytes, |b| b.is_ascii_alphanumeric() || b == b'.');
    let signed =
        bytes[..length].last().is_some_and(|b| matches!(b, b'e' | b'E')) && !bytes.starts_with(b"0x");
    match bytes.get(length) {
        Some(b'+' | b'-') if signed => length + 1 + run(&bytes[length + 1..], |b| b.is_ascii_digit()),
        _ => length,
    }
}

/// The name that a word or a quoted name stands for, as it is written.
pub(super) fn identifier(token: &Token<'_>) -> Option<String> {
    let text = token.text;
    match token.kind {
        Kind::Word => Some(text.to_owned()),
        Kind::Quoted => {
            let quote = text.chars().next()?;
            let close = if quote == '[' { ']' } else { quote };
            let inner = text.strip_prefix(quote)?;
            let inner = inner.strip_suffix(close).unwrap_or(inner);
            Some(inner.replace(&format!("{close}{close}"), &close.to_string()))
        }
        _ => None,
    }
}

/// The statements of a file: ended by `;`, or, where there is none at all, one a line. What only comments is none.
pub(crate) fn statements(text: &str, dialect: Dialect) -> Vec<&str> {
    let all = tokens(text, dialect);
    if !all.iter().any(|t| t.is(";")) {
        let lines = text.lines().map(str::trim);
        return lines.filter(|line| !tokens(line, dialect).is_empty()).collect();
    }
    let ends = |part: &[Token<'_>]| Some(part.first()?.at..part.last()?.end());
    all.split(|t| t.is(";")).filter_map(|part| Some(&text[ends(part)?])).collect()
}

/// The text with every string and number replaced by `?`: what is shown never holds a value.
pub(crate) fn without_values(text: &str, dialect: Dialect) -> String {
    let literals = tokens(text, dialect).into_iter().filter(|t| t.kind == Kind::Literal);
    edited(text, literals.map(|t| (t.at, t.end(), "?".to_owned())))
}

/// Of `a, shop.b.*`; a word that ends the list of tables is none.
fn is_name_list(token: &Token<'_>) -> bool {
    let ends = ["where", "join", "order", "limit", "returning"];
    match token.kind {
        Kind::Word => !ends.iter().any(|word| token.is_word(word)),
        Kind::Quoted => true,
        _ => token.is(",") || token.is(".") || token.is("*"),
    }
}

/// What a write searches for, as a read with the same conditions: it can be explained without the right to write. Empty
/// for one that searches for nothing. Everything else is returned as it is.
pub(crate) fn as_read(text: &str, dialect: Dialect) -> String {
    let all = tokens(text, dialect);
    let mut depth = 0_usize;
    let mut at = |word: &str| {
        depth = 0;
        all.iter().position(|t| {
            if t.is("(") {
                depth += 1;
            } else if t.is(")") {
                depth = depth.saturating_sub(1);
            }
            depth == 0 && t.is_word(word)
        })
    };
    let Some(first) = all.first() else { return text.to_owned() };
    if first.is_word("delete") {
        let Some(from) = at("from") else { return text.to_owned() };
        // `DELETE FROM a USING a JOIN b ...`: the tables to read stand behind it; a join's `USING (` is another one.
        let names = all[from + 1..].iter().take_while(|t| t.kind != Kind::Word || !t.is_word("using"));
        let only_names = names.clone().all(|t| is_name_list(t));
        let using = all.get(from + 1 + names.count());
        return match using.filter(|_| only_names) {
            Some(using) => format!("SELECT * FROM{}", &text[using.end()..]),
            None => format!("SELECT * {}", &text[all[from].at..]),
        };
    }
    if first.is_word("insert") || first.is_word("replace") {
        let end = all.windows(2).find(|w| w[0].is_word("on") && w[1].is_word("duplicate"));
        let end = end.map_or(text.len(), |w| w[0].at);
        return at("select")
            .map_or(String::new(), |from| text.get(all[from].at..end).unwrap_or_default().to_owned());
    }
    let (set, condition) = (at("set"), at("where"));
    if !first.is_word("update") || set.is_none() {
        return text.to_owned();
    }
    let noise = all.iter().skip(1).take_while(|t| t.is_word("low_priority") || t.is_word("ignore")).count();
    let (Some(table), Some(set)) = (all.get(1 + noise), set) else { return text.to_owned() };
    let rest = condition.map_or("", |at| &text[all[at].at..]);
    format!("SELECT * FROM {}{rest}", text.get(table.at..all[set].at).unwrap_or_default())
}
