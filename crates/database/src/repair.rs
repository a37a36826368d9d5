//! Makes the texts of `pg_stat_statements` fit for `PREPARE`: that view puts `$n` where the grammar wants a literal, and
//! drops types on the way. Works on tokens; what it cannot mend stays as it is and fails at the server.

use crate::tokens::{Kind, Token, edited, tokens};
use std::collections::BTreeSet;

type Edit = (usize, usize, String);

/// Types that may stand before a literal: `interval '1 day'`.
const LITERAL_TYPES: [&str; 6] = ["interval", "date", "time", "timestamp", "timestamptz", "timetz"];

/// The statement within `DECLARE ... FOR` or `PREPARE ... AS`, with typed literals and `extract` mended, its parameters
/// numbered without gaps.
pub(crate) fn executable(raw: &str) -> String {
    let text = inner(raw).trim().trim_end_matches([';', ' ', '\n', '\t']);
    let all = tokens(text);
    let mut edits: Vec<Edit> = Vec::new();
    for pair in all.windows(2) {
        let [word, value] = pair else { continue };
        if value.kind == Kind::Parameter && LITERAL_TYPES.iter().any(|t| word.is_word(t)) {
            edits.push((word.at, value.end(), format!("{}::{}", value.text, word.text)));
        }
    }
    for call in all.windows(4) {
        let [name, open, value, from] = call else { continue };
        if name.is_word("extract") && open.is("(") && value.kind == Kind::Parameter && from.is_word("from") {
            edits.push((value.at, value.end(), "epoch".to_owned()));
        }
    }
    edits.sort();
    renumbered(&edited(text, edits))
}

/// The statement that a cursor or a prepared statement was declared for.
pub(crate) fn inner(raw: &str) -> &str {
    let all = tokens(raw);
    let Some(first) = all.first() else { return raw };
    let border = if first.is_word("declare") {
        "for"
    } else if first.is_word("prepare") {
        "as"
    } else {
        return raw;
    };
    all.iter().find(|t| t.is_word(border)).map_or(raw, |t| &raw[t.end()..])
}

fn renumbered(text: &str) -> String {
    let all = tokens(text);
    let numbers: BTreeSet<u32> = all.iter().filter_map(Token::parameter).collect();
    let place = |number: u32| numbers.iter().position(|n| *n == number).map_or(0, |p| p + 1);
    edited(text, all.iter().filter_map(|t| Some((t.at, t.end(), format!("${}", place(t.parameter()?))))))
}

/// Another form of a text that the server refused, by the error's SQLSTATE and message; `None` if nothing is known.
pub(crate) fn repaired(text: &str, code: &str, message: &str) -> Option<String> {
    let all = tokens(text);
    let replace = |tokens: Vec<Token<'_>>, new: &dyn Fn(&Token<'_>) -> String| -> Vec<Edit> {
        tokens.iter().map(|t| (t.at, t.end(), new(t))).collect()
    };
    let edits = match code {
        // Not in GROUP BY: the same literal on both sides.
        "42803" => replace(parameters_of(&all, &["date_trunc", "date_part"]), &|_| "'day'".to_owned()),
        // The function is not unique.
        "42725" => replace(parameters_of(&all, &["generate_series"]), &|t| format!("{}::integer", t.text)),
        // Could not determine data type of parameter $n.
        "42P18" => {
            let number = tokens(message).iter().find_map(Token::parameter)?;
            let of_it = all.iter().filter(|t| t.parameter() == Some(number)).copied().collect();
            replace(of_it, &|t| format!("{}::text", t.text))
        }
        _ => Vec::new(),
    };
    (!edits.is_empty()).then(|| renumbered(&edited(text, edits)))
}

/// The parameters directly within the brackets of calls to these functions.
fn parameters_of<'a>(all: &[Token<'a>], functions: &[&str]) -> Vec<Token<'a>> {
    let mut depth = 0_usize;
    let mut calls: Vec<usize> = Vec::new();
    let mut found = Vec::new();
    for (at, token) in all.iter().enumerate() {
        if token.is("(") {
            depth += 1;
            if at > 0 && functions.iter().any(|f| all[at - 1].is_word(f)) {
                calls.push(depth);
            }
        } else if token.is(")") {
            calls.retain(|d| *d < depth);
            depth = depth.saturating_sub(1);
        } else if calls.last() == Some(&depth) && token.kind == Kind::Parameter {
            found.push(*token);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{executable, repaired};

    #[test]
    fn typed_literals_become_casts() {
        let text = "SELECT 1 FROM t WHERE at > now() - interval $1;";
        assert_eq!(executable(text), "SELECT 1 FROM t WHERE at > now() - $1::interval");
        assert_eq!(executable("SELECT 1 FROM t WHERE date = $1"), "SELECT 1 FROM t WHERE date = $1");
    }

    #[test]
    fn extract_gets_a_field_and_the_rest_is_renumbered() {
        assert_eq!(
            executable("SELECT extract($1 from at) FROM t WHERE a = $2"),
            "SELECT extract(epoch from at) FROM t WHERE a = $1"
        );
    }

    #[test]
    fn cursors_and_prepared_statements_are_unwrapped() {
        assert_eq!(executable("DECLARE c NO SCROLL CURSOR FOR SELECT 1"), "SELECT 1");
        assert_eq!(executable("PREPARE p (int) AS SELECT $1"), "SELECT $1");
    }

    #[test]
    fn errors_choose_the_repair() {
        let grouped = "SELECT date_trunc($1, at), count(*) FROM t WHERE a = $2 GROUP BY date_trunc($3, at)";
        assert_eq!(
            repaired(grouped, "42803", "").unwrap(),
            "SELECT date_trunc('day', at), count(*) FROM t WHERE a = $1 GROUP BY date_trunc('day', at)"
        );
        assert_eq!(
            repaired("SELECT generate_series($1, $2)", "42725", "").unwrap(),
            "SELECT generate_series($1::integer, $2::integer)"
        );
        let unknown = "could not determine data type of parameter $2";
        assert_eq!(
            repaired("SELECT 1 WHERE $2 IS NULL OR a = $1", "42P18", unknown).unwrap(),
            "SELECT 1 WHERE $2::text IS NULL OR a = $1"
        );
        assert_eq!(repaired("SELECT 1", "42601", "syntax error"), None);
    }
}
