//! Places in scripts for people: the line of an import, a syntax error with its line and a caret.

use crate::engine::Raised;
use std::fmt::Write;
use std::rc::Rc;

/// Longer lines (bundles) are not shown.
const MAX_LINE: usize = 200;

/// The line on which a module is imported, from 1.
pub(crate) fn line_of_import(text: &str, module: &str) -> Option<usize> {
    let quoted = [format!("'{module}'"), format!("\"{module}\"")];
    text.lines().position(|line| quoted.iter().any(|name| line.contains(name))).map(|at| at + 1)
}

/// An exception with its place, and where it is a syntax error with its line and a caret.
pub(crate) fn explain(raised: &Raised, text_of: impl Fn(&str) -> Option<Rc<str>>) -> String {
    let Some(place) = raised.place.as_deref() else { return raised.text.clone() };
    let mut out = format!("{place}: {}", raised.text);
    if raised.text.starts_with("SyntaxError")
        && let Some((file, line, column)) = split(place)
        && let Some(text) = text_of(file)
        && let Some(shown) = text.lines().nth(line.saturating_sub(1))
        && shown.chars().count() <= MAX_LINE
    {
        let shown = shown.replace('\t', " ");
        let _written =
            write!(out, "\n{line:>5} | {shown}\n      | {}^", " ".repeat(column.saturating_sub(1)));
    }
    out
}

/// `file:line:column`.
fn split(place: &str) -> Option<(&str, usize, usize)> {
    let (rest, column) = place.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some((file, line.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_has_a_caret() {
        let raised = Raised {
            text: "SyntaxError: unexpected token".to_owned(),
            place: Some("/a.js:2:5".to_owned()),
            ..Raised::default()
        };
        let text = explain(&raised, |_| Some("let a;\nlet = 3;\n".into()));
        assert_eq!(text, "/a.js:2:5: SyntaxError: unexpected token\n    2 | let = 3;\n      |     ^");
    }

    #[test]
    fn imports_are_found() {
        assert_eq!(line_of_import("a\nimport x from 'k6/x/y';", "k6/x/y"), Some(2));
        assert_eq!(line_of_import("a", "k6/x/y"), None);
    }
}
