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
    for long in all.windows(5) {
        let [word, with, time, zone, value] = long else { continue };
        let zoned =
            (with.is_word("with") || with.is_word("without")) && time.is_word("time") && zone.is_word("zone");
        let kind = ["timestamp", "time"].into_iter().find(|t| word.is_word(t));
        if let Some(kind) = kind.filter(|_| zoned && value.kind == Kind::Parameter) {
            let suffix = if with.is_word("with") { "tz" } else { "" };
            edits.push((word.at, value.end(), format!("{}::{kind}{suffix}", value.text)));
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
        // Not in GROUP BY: the same literal on both sides, or the same parameter.
        "42803" => {
            let parts = parameters_of(&all, &["date_trunc", "date_part"]);
            if parts.is_empty() { grouped_alike(&all) } else { replace(parts, &|_| "'day'".to_owned()) }
        }
        // A role that may only read: what would be written is searched for all the same.
        "42501" => {
            let free = without_locks(text, &all);
            let search = searching(&free, &tokens(&free)).or_else(|| (free != text).then(|| free.clone()));
            return search.map(|text| renumbered(&text));
        }
        // The function is not unique, or the operator: `current_date - 30`.
        "42725" => {
            let added = all.windows(2).filter(|w| w[0].is("+") || w[0].is("-")).map(|w| w[1]);
            let added = added.filter(|t| t.kind == Kind::Parameter);
            let mut parts: Vec<Token<'_>> = parameters_of(&all, &["generate_series"]);
            parts.extend(added);
            parts.sort_by_key(|t| t.at);
            parts.dedup_by_key(|t| t.at);
            replace(parts, &|t| format!("{}::integer", t.text))
        }
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

/// Gives the expressions of GROUP BY and ORDER BY the parameters of the same expressions before them.
fn grouped_alike(all: &[Token<'_>]) -> Vec<Edit> {
    let Some(from) = all.windows(2).position(|w| w[0].is_word("group") && w[1].is_word("by")) else {
        return Vec::new();
    };
    // The view leaves literals of GROUP BY as they are.
    let value = |t: &Token<'_>| matches!(t.kind, Kind::Parameter | Kind::Literal);
    let like = |a: &Token<'_>, b: &Token<'_>| value(a) && value(b) || a.kind == b.kind && a.text == b.text;
    let depths = depths(all);
    let border = |at: usize| {
        let word = ["by", "having", "order", "limit", "window"].iter().any(|w| all[at].is_word(w));
        depths[at] == 0 && (all[at].is(",") || word)
    };
    let mut edits = Vec::new();
    let mut start = from + 1;
    for end in (from + 1..=all.len()).filter(|at| *at == all.len() || border(*at)) {
        let part = &all[start..end];
        let has = part.iter().any(value);
        let before = || all[..from].windows(part.len()).find(|w| w.iter().zip(part).all(|(a, b)| like(a, b)));
        if let Some(same) = if has { before() } else { None } {
            let pairs = part.iter().zip(same).filter(|(t, _)| value(t));
            edits.extend(pairs.map(|(t, first)| (t.at, t.end(), first.text.to_owned())));
        }
        start = end + 1;
    }
    edits
}

/// Without `FOR UPDATE SKIP LOCKED` and its like, in subqueries as well.
fn without_locks(text: &str, all: &[Token<'_>]) -> String {
    let depths = depths(all);
    let strengths = ["update", "no", "share", "key"];
    let locks = (0..all.len().saturating_sub(1))
        .filter(|&at| all[at].is_word("for") && strengths.iter().any(|word| all[at + 1].is_word(word)));
    let edits = locks.map(|at| {
        let ends = |end: &usize| {
            let limit = all[*end].is_word("limit") || all[*end].is_word("offset");
            depths[*end] < depths[at] || depths[*end] == depths[at] && (limit || all[*end].is(")"))
        };
        let end = (at + 1..all.len()).find(ends).unwrap_or(all.len());
        (all[at].at, all[end - 1].end(), String::new())
    });
    edited(text, edits).trim_end().to_owned()
}

/// The search that an UPDATE or DELETE makes, also behind WITH; `None` for anything else.
fn searching(text: &str, all: &[Token<'_>]) -> Option<String> {
    if !all.first()?.is_word("with") {
        return search_of(text, all);
    }
    let depths = depths(all);
    let main = (0..all.len())
        .find(|&at| depths[at] == 0 && (all[at].is_word("update") || all[at].is_word("delete")))?;
    let search = search_of(text, &all[main..])?;
    Some(format!("{}{search}", text.get(..all[main].at)?))
}

fn search_of(text: &str, all: &[Token<'_>]) -> Option<String> {
    let depths = depths(all);
    let outside = |word: &str| (0..all.len()).find(|at| depths[*at] == 0 && all[*at].is_word(word));
    let part = |from: usize, to: Option<usize>| {
        let end = to.map_or(text.len(), |to| all[to].at);
        text.get(all.get(from)?.at..end).map(str::trim)
    };
    let end = outside("returning");
    let first = all.first()?;
    let (target, after, more) = if first.is_word("update") {
        (1, outside("set")?, outside("from"))
    } else if first.is_word("delete") {
        let after = outside("using").or(outside("where")).or(end).unwrap_or(all.len());
        (2, after, outside("using"))
    } else {
        return None;
    };
    let to = (after < all.len()).then_some(after);
    let mut search = format!("SELECT * FROM {}", part(target, to)?);
    let condition = outside("where");
    if let Some(more) = more {
        search.push_str(&format!(", {}", part(more + 1, condition.or(end))?));
    }
    if let Some(condition) = condition {
        search.push_str(&format!(" {}", part(condition, end)?));
    }
    Some(search)
}

/// Depth of brackets at each token.
fn depths(all: &[Token<'_>]) -> Vec<usize> {
    let mut depth = 0_usize;
    let of = |t: &Token<'_>| {
        if t.is(")") {
            depth = depth.saturating_sub(1);
        }
        let here = depth;
        if t.is("(") {
            depth += 1;
        }
        here
    };
    all.iter().map(of).collect()
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
    fn long_names_of_types_become_casts() {
        let text = "SELECT 1 FROM t WHERE at > timestamp with time zone $1 AND b < time without time zone $2";
        assert_eq!(executable(text), "SELECT 1 FROM t WHERE at > $1::timestamptz AND b < $2::time");
    }

    #[test]
    fn what_may_not_be_written_is_searched_for() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(repaired(text, "42501", "permission denied").as_deref(), expected, "{text}");
        };
        check(
            "UPDATE orders AS o SET a = $1, b = (SELECT 1 FROM x WHERE y = $2) WHERE o.id = $3 RETURNING *",
            Some("SELECT * FROM orders AS o WHERE o.id = $1"),
        );
        check("UPDATE t SET a = s.a FROM s WHERE s.id = t.id", Some("SELECT * FROM t, s WHERE s.id = t.id"));
        check("DELETE FROM t WHERE a = $1", Some("SELECT * FROM t WHERE a = $1"));
        check("DELETE FROM t USING s WHERE a = $1", Some("SELECT * FROM t, s WHERE a = $1"));
        check("DELETE FROM t", Some("SELECT * FROM t"));
        check("SELECT 1 FROM t WHERE a = $1 FOR NO KEY UPDATE", Some("SELECT 1 FROM t WHERE a = $1"));
        check(
            "WITH n AS (SELECT id FROM q WHERE a = $1 ORDER BY id LIMIT $2 FOR UPDATE OF q SKIP LOCKED) UPDATE q o SET b = $3 FROM n WHERE o.id = n.id RETURNING o.id",
            Some(
                "WITH n AS (SELECT id FROM q WHERE a = $1 ORDER BY id LIMIT $2 ) SELECT * FROM q o, n WHERE o.id = n.id",
            ),
        );
        check(
            "UPDATE q SET a = $1 WHERE id = (SELECT id FROM q WHERE b = $2 FOR UPDATE SKIP LOCKED LIMIT $3)",
            Some("SELECT * FROM q WHERE id = (SELECT id FROM q WHERE b = $1  LIMIT $2)"),
        );
        check("SELECT * FROM (SELECT 1 FROM t FOR SHARE) x", Some("SELECT * FROM (SELECT 1 FROM t ) x"));
        check("SELECT 1 FROM t", None);
        check("UPDATE t", None);
        check("", None);
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
        let zoned = "SELECT (at AT TIME ZONE $1)::date, max(b) FROM t WHERE a < $2 GROUP BY (at AT TIME ZONE $3)::date";
        assert_eq!(
            repaired(zoned, "42803", "").unwrap(),
            "SELECT (at AT TIME ZONE $1)::date, max(b) FROM t WHERE a < $2 GROUP BY (at AT TIME ZONE $1)::date"
        );
        let half = "SELECT at + $1, max(b) FROM t GROUP BY at + '1 day'";
        assert_eq!(repaired(half, "42803", "").unwrap(), "SELECT at + $1, max(b) FROM t GROUP BY at + $1");
        assert_eq!(
            repaired("SELECT generate_series($1, $2)", "42725", "").unwrap(),
            "SELECT generate_series($1::integer, $2::integer)"
        );
        assert_eq!(
            repaired("SELECT 1 FROM t WHERE due < current_date - $1 AND a = $2", "42725", "").unwrap(),
            "SELECT 1 FROM t WHERE due < current_date - $1::integer AND a = $2"
        );
        let unknown = "could not determine data type of parameter $2";
        assert_eq!(
            repaired("SELECT 1 WHERE $2 IS NULL OR a = $1", "42P18", unknown).unwrap(),
            "SELECT 1 WHERE $2::text IS NULL OR a = $1"
        );
        assert_eq!(repaired("SELECT 1", "42601", "syntax error"), None);
    }
}
