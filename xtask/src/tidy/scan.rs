//! Splits Rust text into what the compiler runs and what people read, line by line, so that a rule about
//! code is not fooled by a string and a rule about comments not by code. It is no parser.

/// Two texts with the lines and columns of the original; what belongs to the other one, and the inside of
/// strings and characters, is blank.
pub(super) struct Views {
    pub(super) code: String,
    pub(super) comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Text,
}

pub(super) fn split(text: &str) -> Views {
    let mut views = Views { code: String::new(), comments: String::new() };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = piece(rest, first);
        let (taken, left) = rest.split_at(length);
        views.push(taken, kind);
        rest = left;
    }
    views
}

impl Views {
    fn push(&mut self, taken: &str, kind: Kind) {
        for c in taken.chars() {
            let shown = |when| if c == '\n' || kind == when { c } else { ' ' };
            self.code.push(shown(Kind::Code));
            self.comments.push(shown(Kind::Comment));
        }
    }
}

/// Length and kind of the piece at the start of `rest`.
fn piece(rest: &str, first: char) -> (usize, Kind) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Comment);
    }
    if first == '"' {
        return (string(rest), Kind::Text);
    }
    if first == '\'' {
        return character(rest).map_or((1, Kind::Code), |length| (length, Kind::Text));
    }
    if first.is_alphanumeric() || first == '_' {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let raw = matches!(&rest[..word], "r" | "br" | "cr");
        return match raw.then(|| raw_string(&rest[word..])).flatten() {
            Some(length) => (word + length, Kind::Text),
            None => (word, Kind::Code),
        };
    }
    (first.len_utf8(), Kind::Code)
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// `rest` starts behind the `r`; none if this is a raw identifier.
fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let inside = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(hashes + 1 + length)
}

/// None if this is a lifetime or a label.
fn character(rest: &str) -> Option<usize> {
    let inside = &rest[1..];
    let first = inside.chars().next()?;
    if first == '\\' {
        let after = 2 + inside[1..].chars().next()?.len_utf8();
        return rest[after..].find('\'').map(|at| after + at + 1);
    }
    let end = 1 + first.len_utf8();
    rest[end..].starts_with('\'').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with each run of blanks told as one.
    #[track_caller]
    fn check(text: &str, code: &str, comments: &str) {
        let views = split(text);
        let told = |view: &str| view.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(told(&views.code), code, "code of {text:?}");
        assert_eq!(told(&views.comments), comments, "comments of {text:?}");
        let ends =
            |text: &str| text.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(at, _)| at).collect();
        let [original, code, comments]: [Vec<usize>; 3] = [text, &views.code, &views.comments].map(ends);
        assert_eq!((&code, &comments), (&original, &original), "line ends of {text:?}");
    }

    #[test]
    fn comments_leave_the_code() {
        check("a(); // why", "a();", "// why");
        check("a(/* x /* y */ z */ b);", "a( b);", "/* x /* y */ z */");
    }

    #[test]
    fn strings_of_all_kinds_are_blank() {
        check(r#"a("b // \" c", d)"#, "a( , d)", "");
        check("a(r#\"say \"x\" // y\"#, b\"z\")", "a( , b )", "");
        check("a(\"one\ntwo\") // c", "a( )", "// c");
    }

    #[test]
    fn a_lifetime_opens_no_character() {
        check("fn a<'x>(b: &'x str) // c", "fn a<'x>(b: &'x str)", "// c");
        check(r"a('\'', '\\', '/', '\u{41}') // c", "a( , , , )", "// c");
    }

    #[test]
    fn raw_identifiers_stay_code() {
        check("r#type = r; // c", "r#type = r;", "// c");
    }

    #[test]
    fn text_that_never_closes_ends_with_the_file() {
        check("a(\"b", "a(", "");
        check("/* a", "", "/* a");
        check("'\\", "'\\", "");
        check("r##\"a\"#", "", "");
    }
}
