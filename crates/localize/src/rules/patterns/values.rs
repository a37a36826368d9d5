//! The values that a call is given, as far as its span tells, and whether they can have come from another call's
//! answer: the only data flow that traces show.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::tree::NodeId;
use model::sql;

/// Values of one call, in order; `None` where the span does not tell them.
pub(in crate::rules) fn of_call(facts: &Facts<'_>, node: NodeId) -> Option<Vec<String>> {
    match facts.node(node).class {
        Class::Db => of_statement(facts, node),
        Class::Http => {
            let found = of_url(facts, node)?;
            Some(
                found
                    .into_iter()
                    .filter(|v| v.bytes().any(|b| b.is_ascii_digit()) || v.contains('='))
                    .collect(),
            )
        }
        _ => None,
    }
}

/// Values that a request brought along: segments of its path, values of its query.
pub(in crate::rules) fn of_request(facts: &Facts<'_>, entry: NodeId) -> Vec<String> {
    let found = of_url(facts, entry).unwrap_or_default();
    found.iter().map(|v| v.split_once('=').map_or(v.as_str(), |(_, value)| value).to_owned()).collect()
}

/// Path segments and `key=value` of the query.
fn of_url(facts: &Facts<'_>, node: NodeId) -> Option<Vec<String>> {
    let text = |keys: &[&str]| facts.attribute(node, keys).and_then(|v| v.as_text());
    let full =
        text(&["url.full", "http.url", "url"]).map(|url| url.split_once("://").map_or(url, |(_, rest)| rest));
    let full = full.map(|url| url.split_once('/').map_or("", |(_, path)| path));
    let place = full.or_else(|| text(&["url.path", "http.target", "http.path"]))?;
    let query = text(&["url.query"]).unwrap_or("");
    let (path, own_query) = place.split_once('?').unwrap_or((place, ""));
    let pairs = own_query.split('&').chain(query.split('&'));
    let parts = path.split('/').chain(pairs).filter(|part| !part.is_empty());
    Some(parts.map(str::to_owned).collect())
}

/// Parameters as sent apart; else the literals of a text without placeholders.
fn of_statement(facts: &Facts<'_>, node: NodeId) -> Option<Vec<String>> {
    let span = facts.recording.spans.row(facts.node(node).row as usize);
    let mut out = Vec::new();
    let mut sent = false;
    for (key, value) in span.attributes() {
        if key.starts_with("db.query.parameter.")
            || key.starts_with("db.operation.parameter.")
            || key == "db.statement.parameters"
            || key == "db.postgresql.values"
        {
            sent = true;
            out.extend(elements(&value.to_string()));
        }
    }
    if sent {
        return Some(out);
    }
    let text = facts
        .attribute(node, &["db.query.text", "db.statement", "sql.query", "cassandra.query"])?
        .as_text()?;
    (!crate::resolve::hides_parameters(text)).then(|| literals(text))
}

/// `[1, 'a']`, `(7,)`, `7`: the single values without quotes.
fn elements(text: &str) -> Vec<String> {
    let brackets: &[char] = &['[', ']', '(', ')', '{', '}', '"', '\'', ' '];
    text.split(',')
        .map(|part| part.trim_matches(brackets).to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// Numbers and quoted texts of a statement.
fn literals(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (n, part) in text.split('\'').enumerate() {
        if n % 2 == 1 {
            out.push(part.to_owned());
            continue;
        }
        let words = part.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.'));
        out.extend(words.filter(|w| w.bytes().next().is_some_and(|b| b.is_ascii_digit())).map(str::to_owned));
    }
    out
}

/// What a statement's placeholders are compared with, as entities: `products.id` and `product_id` are both `product`,
/// any other column is `table.column`. `None` where a placeholder stands elsewhere.
pub(in crate::rules) fn keys(template: &str) -> Option<Vec<String>> {
    let tables: Vec<String> = sql::operation_and_tables(template)
        .tables
        .iter()
        .map(|t| t.rsplit('.').next().unwrap_or("").to_ascii_lowercase())
        .collect();
    let words: Vec<String> = template
        .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '"' | '`'))
        .filter(|w| !w.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let mut out = Vec::new();
    for (at, _) in words.iter().enumerate().filter(|(_, w)| w.starts_with('$')) {
        if is_constant(&words, at) {
            continue;
        }
        let skipped = ["=", "in", "any", "<", ">", "<=", ">=", "<>", "!=", "like", "ilike"];
        let before = words[..at].iter().rev().find(|w| !skipped.contains(&w.as_str()))?;
        if matches!(before.as_str(), "limit" | "offset") {
            continue;
        }
        let direct = words[..at].last().is_some_and(|w| skipped.contains(&w.as_str()));
        if !direct {
            return None;
        }
        out.push(entity(before, &tables, &words)?);
    }
    Some(out)
}

/// `$1 = $2`, what is left of the `1 = 1` that mappers write where there is no condition.
fn is_constant(words: &[String], at: usize) -> bool {
    let is_placeholder =
        |w: &str| w.strip_prefix('$').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if let Some((one, other)) = words[at].split_once('=') {
        return is_placeholder(one) && is_placeholder(other);
    }
    let beside = |first: usize| {
        words
            .get(first..first + 3)
            .is_some_and(|w| is_placeholder(&w[0]) && w[1] == "=" && is_placeholder(&w[2]))
    };
    beside(at) || at >= 2 && beside(at - 2)
}

fn entity(column: &str, tables: &[String], words: &[String]) -> Option<String> {
    let (alias, column) = column.split_once('.').map_or(("", column), |(alias, column)| (alias, column));
    let of_column = column.strip_suffix("_id").filter(|name| !name.is_empty());
    if let Some(name) = of_column {
        return Some(name.to_owned());
    }
    let table = if alias.is_empty() {
        tables.first().filter(|_| tables.len() == 1)?
    } else {
        let named = |table: &&String| {
            table.as_str() == alias
                || words.windows(2).any(|w| &w[0] == *table && w[1] == alias)
                || words.windows(3).any(|w| &w[0] == *table && w[1] == "as" && w[2] == alias)
        };
        tables.iter().find(named)?
    };
    Some(if column == "id" { singular(table) } else { format!("{table}.{column}") })
}

fn singular(table: &str) -> String {
    if let Some(stem) = table.strip_suffix("ies") {
        return format!("{stem}y");
    }
    table.strip_suffix('s').unwrap_or(table).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_thing_are_equal_however_they_are_written() {
        let keys = |text| keys(text).map(|k| k.join(" "));
        assert_eq!(keys("SELECT * FROM products WHERE id = $1").as_deref(), Some("product"));
        assert_eq!(keys("SELECT * FROM stock WHERE product_id = $1 LIMIT $2").as_deref(), Some("product"));
        assert_eq!(keys("SELECT * FROM products p, tags t WHERE p.id = $1").as_deref(), Some("product"));
        assert_eq!(keys("SELECT * FROM items WHERE order_id = ANY($1)").as_deref(), Some("order"));
        assert_eq!(keys("SELECT * FROM sessions WHERE token = $1").as_deref(), Some("sessions.token"));
        assert_eq!(keys("SELECT f($1) FROM a").as_deref(), None);
        assert_eq!(
            keys("SELECT count(*) FROM (SELECT id FROM a WHERE $1=$2 OFFSET $3)").as_deref(),
            Some("")
        );
        assert_eq!(keys("SELECT x FROM a WHERE $1 = $2 AND id = $3").as_deref(), Some("a"));
    }

    #[test]
    fn values_are_read_without_their_dress() {
        assert_eq!(elements("[1, 'a']"), ["1", "a"]);
        assert_eq!(elements("(7,)"), ["7"]);
        assert_eq!(literals("SELECT * FROM t1 WHERE a = 17 AND b = 'x y' AND c=2.5"), ["17", "x y", "2.5"]);
    }
}
