//! Texts cut to a length that a page can bear, and secrets cut from addresses.

/// A label in a table or chart.
pub(crate) const LABEL: usize = 160;
/// A sentence or a statement.
pub(crate) const SENTENCE: usize = 600;
/// A plan or a patch.
pub(crate) const BLOCK: usize = 4_000;

/// At most `limit` characters of a text, an ellipsis in place of what is cut; control characters other than line
/// feed and tab become spaces, so that no text steers a terminal.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    let clean = |c: char| if (c.is_control() && c != '\n' && c != '\t') || is_bidi(c) { ' ' } else { c };
    let mut chars = text.chars();
    let mut kept: String = chars.by_ref().take(limit).map(clean).collect();
    if chars.next().is_some() {
        kept.pop();
        kept.push('…');
    }
    kept
}

/// One line: white space folded, then cut.
pub(crate) fn line(text: &str, limit: usize) -> String {
    let mut folded = String::new();
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
        if folded.len() > limit.saturating_mul(4) {
            break;
        }
    }
    clip(&folded, limit)
}

/// Characters that reorder the text around them.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An address without user, password, query and fragment, wherever one stands in the text.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end = tail.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`'));
        let (url, after) = tail.split_at(end.unwrap_or(tail.len()));
        let url = url.split(['?', '#']).next().unwrap_or("");
        let authority = url.find('/').unwrap_or(url.len());
        // A password may hold `/` or `@` unescaped: the last `@` of the whole address ends it.
        let from = match url.rfind('@') {
            Some(at) if at < authority || url[..at].contains(':') => at + 1,
            _ => 0,
        };
        out.push_str(&url[from..]);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("abcd", 4), "abcd");
        assert_eq!(clip("a\u{1b}[31m\u{202e}b", 20), "a [31m b");
        assert_eq!(line("SELECT *\n  FROM\torders", 40), "SELECT * FROM orders");
    }

    #[test]
    fn an_address_loses_its_password_and_query() {
        for (from, to) in [
            ("postgres://shop:hunter2@db:5432/shop", "postgres://db:5432/shop"),
            ("GET http://api/users/a@b.c", "GET http://api/users/a@b.c"),
            ("http://api/login?token=t0k3n#x and more", "http://api/login and more"),
            ("redis://:p/w@d@cache:6379/0", "redis://cache:6379/0"),
            ("no address", "no address"),
        ] {
            assert_eq!(without_secrets(from), to);
        }
    }
}
