//! Indexes that could serve a use of a table: columns compared by equality first, then one range or the order. Generous:
//! the planner is shown all of them and picks.

use super::lexer::Dialect;
use super::schema::Table;
use super::shape::{Term, Use};
use crate::index::{Key, NewIndex};
use std::collections::BTreeSet;

/// Wider indexes cost more than they give.
const MAX_COLUMNS: usize = 3;
/// Characters of a text column that an index of MariaDB or MySQL holds.
const PREFIX_CHARS: usize = 64;
/// Longer varchars get a prefix there, too: 3,072 bytes are the limit of a key at 4 bytes a character.
const MAX_KEY_CHARS: usize = 255;
/// Functions whose result follows from their argument alone, so that an index may hold it.
const PURE: [&str; 11] =
    ["abs", "hex", "length", "lower", "ltrim", "round", "rtrim", "substr", "trim", "typeof", "upper"];

/// Words that SQLite takes for no name, beside those of Postgres.
const SQLITE_WORDS: [&str; 15] = [
    "add",
    "alter",
    "autoincrement",
    "commit",
    "delete",
    "drop",
    "escape",
    "if",
    "index",
    "insert",
    "nothing",
    "set",
    "transaction",
    "update",
    "isnull",
];

/// The indexes that could serve it, the narrowest first; none where one that exists does.
pub(crate) fn candidates(
    used: &Use,
    table: &Table,
    written: &BTreeSet<String>,
    dialect: Dialect,
) -> Vec<NewIndex> {
    // What the statement itself sets would have to move within the index.
    let is_key = |t: &&Term| indexable(t, dialect) && !written.contains(&t.column.to_lowercase());
    let mut equal: Vec<&Term> = used.equal.iter().filter(is_key).collect();
    // A list ends the order behind it.
    equal.sort_by_key(|t| t.list);
    let mut equal = distinct(equal.into_iter().map(key));
    let mut joins = distinct(used.joins.iter().filter(is_key).map(key));
    if identifies(table, &equal) {
        return Vec::new();
    }
    equal.truncate(MAX_COLUMNS);
    if identifies(table, &joins.iter().chain(&equal).cloned().collect::<Vec<_>>()) {
        joins.clear();
    }
    let order: Vec<Key> = used.order.iter().map(|(name, down)| sorted(name, *down)).collect();
    let order: Vec<Key> = order.into_iter().filter(|o| !equal.iter().any(|e| same(e, o))).collect();
    let set = order.iter().any(|o| written.contains(&o.name.to_lowercase()));
    let lists = used.equal.iter().any(|t| t.list);
    let range = used.ranges.iter().filter(is_key).map(key).find(|r| !equal.iter().any(|e| same(e, r)));
    let mut all = vec![equal.clone()];
    all.extend(range.map(|range| equal.iter().cloned().chain([range]).collect()));
    if !order.is_empty() && !set && !lists && (used.limited || !equal.is_empty()) {
        all.push(equal.iter().cloned().chain(order).collect());
    }
    for join in joins.iter().filter(|j| !equal.iter().any(|e| same(e, j))) {
        all.push([join.clone()].into_iter().chain(equal.iter().cloned()).collect());
    }
    all.retain(|keys: &Vec<Key>| !keys.is_empty() && keys.len() <= MAX_COLUMNS && !exists(table, keys));
    all.sort_by_key(Vec::len);
    all.dedup();
    // As the table writes its columns: a digest writes keywords in upper case.
    for key in all.iter_mut().flatten() {
        if let Some(column) = table.column(&key.name) {
            key.name.clone_from(&column.name);
        }
    }
    let named = (String::from("public"), table.name.clone());
    all.into_iter().map(|keys| NewIndex { table: named.clone(), keys, predicate: None }).collect()
}

fn indexable(term: &Term, dialect: Dialect) -> bool {
    let Some(function) = &term.function else { return true };
    dialect == Dialect::Sqlite && PURE.contains(&function.as_str())
}

fn key(term: &Term) -> Key {
    Key { name: term.column.clone(), order: String::new(), function: term.function.clone() }
}

fn sorted(name: &str, descending: bool) -> Key {
    let order = if descending { "DESC" } else { "" };
    Key { name: name.to_owned(), order: order.to_owned(), function: None }
}

/// Whether two keys are of one column.
fn same(one: &Key, other: &Key) -> bool {
    one.name.eq_ignore_ascii_case(&other.name) && one.function == other.function
}

fn distinct(keys: impl Iterator<Item = Key>) -> Vec<Key> {
    let mut all: Vec<Key> = Vec::new();
    for key in keys {
        if !all.iter().any(|known| same(known, &key)) {
            all.push(key);
        }
    }
    all
}

/// Whether equality on these finds one row by an index that exists.
fn identifies(table: &Table, equal: &[Key]) -> bool {
    table.indexes.iter().filter(|i| (i.unique || i.primary) && !i.partial).any(|index| {
        let has =
            |name: &String| equal.iter().any(|k| k.function.is_none() && k.name.eq_ignore_ascii_case(name));
        index.keys.iter().all(|(name, _)| name.as_ref().is_some_and(has))
    })
}

/// Whether an index begins with these keys already. The order of columns matters only where one of them is sorted by.
fn exists(table: &Table, keys: &[Key]) -> bool {
    if keys.iter().any(|k| k.function.is_some()) {
        let wanted = |definition: &str| {
            let squeezed = definition.to_lowercase().replace(['"', '`', ' '], "");
            keys.first().is_some_and(|k| {
                let function = k.function.as_deref().unwrap_or_default();
                squeezed.contains(&format!("({function}({})", k.name.to_lowercase()))
            })
        };
        return table.indexes.iter().any(|i| wanted(&i.definition));
    }
    let plain: Vec<(String, bool)> = keys.iter().map(|k| (k.name.clone(), !k.order.is_empty())).collect();
    table.indexes.iter().any(|index| index.begins_with(&plain, true))
}

/// SQL that makes it: on MariaDB and MySQL without locking writers out.
pub(crate) fn create(index: &NewIndex, table: &Table, dialect: Dialect) -> String {
    let keys: Vec<String> = index
        .keys
        .iter()
        .map(|k| {
            let name = quoted(&k.name, dialect);
            let what = match (&k.function, dialect) {
                (Some(function), _) => format!("{function}({name})"),
                (None, Dialect::MySql) => format!("{name}{}", prefix(table, &k.name)),
                (None, Dialect::Sqlite) => name,
            };
            format!("{what} {}", k.order).trim_end().to_owned()
        })
        .collect();
    let (name, table, keys) = (quoted(&index.name(), dialect), quoted(&table.name, dialect), keys.join(", "));
    match dialect {
        Dialect::Sqlite => format!("CREATE INDEX IF NOT EXISTS {name} ON {table} ({keys})"),
        Dialect::MySql => {
            format!("ALTER TABLE {table} ADD INDEX {name} ({keys}), ALGORITHM=INPLACE, LOCK=NONE")
        }
    }
}

/// SQL that takes it away.
pub(crate) fn undo(index: &NewIndex, dialect: Dialect) -> String {
    let name = quoted(&index.name(), dialect);
    match dialect {
        Dialect::Sqlite => format!("DROP INDEX IF EXISTS {name}"),
        Dialect::MySql => format!("ALTER TABLE {} DROP INDEX {name}", quoted(&index.table.1, dialect)),
    }
}

/// `(64)` for columns that are too long for a key.
fn prefix(table: &Table, column: &str) -> String {
    let kind = table.column(column).map_or("", |c| c.kind.as_str());
    let length = kind.split_once('(').and_then(|(_, rest)| rest.split_once(')')?.0.parse::<usize>().ok());
    let long = kind.contains("text") || kind.contains("blob") || kind.contains("json");
    let wide = kind.contains("char") && length.is_some_and(|n| n > MAX_KEY_CHARS);
    if long || wide { format!("({PREFIX_CHARS})") } else { String::new() }
}

/// A name as its dialect quotes it, where that is needed.
pub(crate) fn quoted(name: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite if SQLITE_WORDS.contains(&name) => format!("\"{name}\""),
        Dialect::Sqlite => crate::index::quoted(name),
        Dialect::MySql => format!("`{}`", name.replace('`', "``")),
    }
}
