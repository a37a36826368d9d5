//! What makes two calls alike for a drawing: names and statements with their literals taken out.
//! Deliberately coarser than the diagnosis's own normalising: it also keeps values of users off the page.

/// The text on one line, each quoted text and number replaced by `?`, lists of them folded into one.
pub(crate) fn template(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut kept = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if kept > limit {
            break;
        }
        kept += 1;
        let in_word = out.chars().next_back().is_some_and(|p| p.is_alphanumeric() || p == '_');
        match c {
            '\'' => {
                skip_quoted(&mut chars);
                push_mark(&mut out);
            }
            '$' if chars.peek().is_some_and(char::is_ascii_digit) => {
                while chars.next_if(char::is_ascii_digit).is_some() {}
                push_mark(&mut out);
            }
            c if c.is_ascii_digit() && !in_word => {
                while chars.next_if(|d| d.is_ascii_alphanumeric() || *d == '.' || *d == '-').is_some() {}
                push_mark(&mut out);
            }
            c if c.is_whitespace() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// A mark, or nothing where it would only lengthen a list of marks.
fn push_mark(out: &mut String) {
    let head = out.trim_end().trim_end_matches(',').trim_end();
    if out.trim_end().ends_with(',') && head.ends_with('?') {
        out.truncate(head.len());
    } else {
        out.push('?');
    }
}

fn skip_quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next() {
        if c == '\'' && chars.next_if_eq(&'\'').is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_become_marks() {
        for (text, expected) in [
            ("SELECT * FROM items\n  WHERE order_id = 17", "SELECT * FROM items WHERE order_id = ?"),
            ("SELECT name FROM t2 WHERE a = 'it''s' AND b = $1", "SELECT name FROM t2 WHERE a = ? AND b = ?"),
            ("x IN (1, 2, 3)", "x IN (?)"),
            ("GET /stock/0b2f-11/x", "GET /stock/?/x"),
            ("'never closed", "?"),
            ("", ""),
        ] {
            assert_eq!(template(text, 200), expected);
        }
    }
}
