//! Places in scripts for people: the line of an import, an exception's line with a caret.

use crate::engine::Raised;
use std::rc::Rc;

/// Longer lines (bundles) are not shown.
const MAX_LINE: usize = 200;

/// The line on which a module is imported, from 1.
pub(crate) fn line_of_import(text: &str, module: &str) -> Option<usize> {
    let quoted = [format!("'{module}'"), format!("\"{module}\"")];
    text.lines().position(|line| quoted.iter().any(|name| line.contains(name))).map(|at| at + 1)
}

/// An exception with its place, its line and a caret.
pub(crate) fn explain(raised: &Raised, text_of: impl Fn(&str) -> Option<Rc<str>>) -> String {
    let Some(place) = raised.place.as_deref() else { return raised.text.clone() };
    format!("{place}: {}{}", raised.text, caret(place, text_of).unwrap_or_default())
}

/// A place's line with a caret under it, on two lines of their own.
pub(crate) fn caret(place: &str, text_of: impl Fn(&str) -> Option<Rc<str>>) -> Option<String> {
    let (file, line, column) = split(place)?;
    let text = text_of(file)?;
    let shown = text.lines().nth(line.saturating_sub(1))?;
    if shown.chars().count() > MAX_LINE {
        return None;
    }
    let shown = shown.replace('\t', " ");
    Some(format!("\n{line:>5} | {shown}\n      | {}^", " ".repeat(column.saturating_sub(1))))
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
