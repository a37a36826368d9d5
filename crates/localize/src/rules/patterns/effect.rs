//! What a call does to the data behind it, read off its template: nothing about its speed.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use model::sql;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Effect {
    Read,
    Write,
    /// Begins or ends transactions, sets up a connection, asks whether the other side lives.
    Control,
    Unknown,
}

/// What the calls of a shape do.
pub(in crate::rules) fn effect(facts: &Facts<'_>, shape: &Shape) -> Effect {
    of_template(shape.class, facts.name(shape.template))
}

/// What a call of this class and template does.
pub(in crate::rules) fn of_template(class: Class, template: &str) -> Effect {
    let first = template.split([' ', '(']).next().unwrap_or("").to_ascii_uppercase();
    match class {
        Class::Db => statement(template, &first),
        Class::Cache => command(&first),
        Class::Http => match first.as_str() {
            "GET" | "HEAD" | "OPTIONS" => Effect::Read,
            "POST" | "PUT" | "PATCH" | "DELETE" => Effect::Write,
            _ => Effect::Unknown,
        },
        Class::Rpc => procedure(template),
        Class::Messaging => Effect::Write,
        _ => Effect::Unknown,
    }
}

const CONTROL: &[&str] = &[
    "BEGIN",
    "START",
    "COMMIT",
    "ROLLBACK",
    "END",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "SET",
    "RESET",
    "SHOW",
    "USE",
    "DEALLOCATE",
    "DISCARD",
    "PREPARE",
    "PING",
    "ISMASTER",
    "HELLO",
];
const READS: &[&str] = &[
    "SELECT",
    "VALUES",
    "TABLE",
    "EXPLAIN",
    "FIND",
    "FINDONE",
    "AGGREGATE",
    "COUNT",
    "DISTINCT",
    "GETMORE",
    "QUERY",
    "SCAN",
    "GETITEM",
    "BATCHGETITEM",
    "SEARCH",
    "GET",
    "MGET",
];
const WRITES: &[&str] = &[
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "REPLACE",
    "UPSERT",
    "COPY",
    "TRUNCATE",
    "CREATE",
    "ALTER",
    "DROP",
    "LOCK",
    "CALL",
    "PUTITEM",
    "UPDATEITEM",
    "DELETEITEM",
    "BATCHWRITEITEM",
    "INSERTONE",
    "INSERTMANY",
    "UPDATEONE",
    "UPDATEMANY",
    "DELETEONE",
    "DELETEMANY",
    "BULKWRITE",
    "FINDANDMODIFY",
    "FINDONEANDUPDATE",
    "INDEX",
    "BULK",
];
/// In a statement that begins as a read: it changes something after all, or takes a lock.
const CHANGES: &[&str] = &[
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "SHARE",
    "NEXTVAL",
    "SETVAL",
    "PG_ADVISORY_LOCK",
    "PG_ADVISORY_XACT_LOCK",
];

fn statement(template: &str, first: &str) -> Effect {
    // Go's database/sql names the steps of a connection so.
    if CONTROL.contains(&first) || first.starts_with("SQL.") {
        return Effect::Control;
    }
    if WRITES.contains(&first) {
        return Effect::Write;
    }
    if sets_up(template) {
        return Effect::Control;
    }
    if first == "WITH" || READS.contains(&first) {
        let mut words = template.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').skip(1);
        let changes = words.any(|word| CHANGES.iter().any(|change| word.eq_ignore_ascii_case(change)));
        return if changes { Effect::Write } else { Effect::Read };
    }
    Effect::Unknown
}

/// What drivers send by themselves in the form of a read: asyncpg when a connection goes back to its pool, Django when
/// it is new.
fn sets_up(template: &str) -> bool {
    let text = template.get(..64).unwrap_or(template).to_ascii_lowercase();
    ["select pg_advisory_unlock_all(", "select set_config(", "select pg_catalog.set_config("]
        .iter()
        .any(|start| text.starts_with(start))
}

fn command(first: &str) -> Effect {
    match first {
        "AUTH" | "SELECT" | "PING" | "HELLO" | "CLIENT" | "MULTI" | "EXEC" | "INFO" | "CONFIG" | "QUIT"
        | "WATCH" => Effect::Control,
        "GET" | "MGET" | "GETS" | "HGET" | "HMGET" | "HGETALL" | "HEXISTS" | "HKEYS" | "HVALS" | "EXISTS"
        | "STRLEN" | "SMEMBERS" | "SISMEMBER" | "SCARD" | "ZRANGE" | "ZREVRANGE" | "ZRANGEBYSCORE"
        | "ZSCORE" | "ZCARD" | "LRANGE" | "LINDEX" | "LLEN" | "TTL" | "PTTL" | "KEYS" | "SCAN" | "TYPE" => {
            Effect::Read
        }
        _ => Effect::Write,
    }
}

/// A procedure whose name says that it reads.
fn procedure(template: &str) -> Effect {
    let method = template.rsplit(['/', '.']).next().unwrap_or("").to_ascii_lowercase();
    let reads = [
        "get", "list", "find", "search", "read", "fetch", "query", "lookup", "count", "describe", "batchget",
    ];
    let writes = [
        "create", "insert", "update", "delete", "set", "put", "add", "remove", "send", "place", "charge",
        "ship",
    ];
    if reads.iter().any(|word| method.starts_with(word)) {
        Effect::Read
    } else if writes.iter().any(|word| method.starts_with(word)) {
        Effect::Write
    } else {
        Effect::Unknown
    }
}

/// Longest text of a title's call, in characters.
const MAX_SUMMARY: usize = 70;

/// A call for a title: `SELECT ... FROM order_items`, `INSERT INTO events`, `GET stock/stock/{id}`.
pub(in crate::rules) fn summary(facts: &Facts<'_>, id: ShapeId) -> String {
    let shape = facts.shape(id);
    let template = facts.name(shape.template);
    let text = if shape.class == Class::Db { statement_summary(template) } else { template.to_owned() };
    match text.char_indices().nth(MAX_SUMMARY) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn statement_summary(template: &str) -> String {
    let operation = sql::operation_and_tables(template);
    let tables = match operation.tables.as_slice() {
        [] => return template.to_owned(),
        [one] => one.clone(),
        [one, two] => format!("{one}, {two}"),
        [one, two, ..] => format!("{one}, {two}, ..."),
    };
    match operation.verb.as_str() {
        "SELECT" => format!("SELECT ... FROM {tables}"),
        "INSERT" | "REPLACE" => format!("{} INTO {}", operation.verb, operation.table()),
        "UPDATE" => format!("UPDATE {}", operation.table()),
        "DELETE" => format!("DELETE FROM {}", operation.table()),
        _ => template.to_owned(),
    }
}

/// What a read or write is about: tables of a statement, host and path of a URL; lower case, sorted by appearance.
/// Empty where it cannot be told.
pub(in crate::rules) fn subjects(class: Class, template: &str) -> Vec<String> {
    match class {
        Class::Db => {
            let tables = sql::operation_and_tables(template).tables;
            let last = |t: &String| t.rsplit('.').next().unwrap_or("").to_ascii_lowercase();
            tables.iter().map(last).collect()
        }
        Class::Http => {
            template.split_once(' ').map(|(_, place)| vec![place.to_ascii_lowercase()]).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db(template: &str) -> Effect {
        of_template(Class::Db, template)
    }

    #[test]
    fn statements_read_write_or_control() {
        assert_eq!(db("SELECT * FROM a WHERE id = $1"), Effect::Read);
        assert_eq!(db("WITH x AS (SELECT 1) SELECT * FROM x"), Effect::Read);
        assert_eq!(db("find orders"), Effect::Read);
        assert_eq!(db("SELECT * FROM a WHERE id = $1 FOR UPDATE"), Effect::Write);
        assert_eq!(db("SELECT nextval($1)"), Effect::Write);
        assert_eq!(db("WITH x AS (DELETE FROM a RETURNING id) SELECT * FROM x"), Effect::Write);
        assert_eq!(db("insert into a values ($1)"), Effect::Write);
        assert_eq!(db("BEGIN READ ONLY"), Effect::Control);
        assert_eq!(db("sql.conn.reset_session"), Effect::Control);
        assert_eq!(db("SELECT set_config(?, $1, false)"), Effect::Control);
        assert_eq!(db("SELECT pg_advisory_unlock_all(); CLOSE ALL; RESET ALL"), Effect::Control);
        assert_eq!(db("frobnicate"), Effect::Unknown);
    }

    #[test]
    fn commands_and_procedures_go_by_their_names() {
        assert_eq!(of_template(Class::Cache, "HGETALL user:{id}"), Effect::Read);
        assert_eq!(of_template(Class::Cache, "SETEX user:{id}"), Effect::Write);
        assert_eq!(of_template(Class::Rpc, "shop.CartService/GetCart"), Effect::Read);
        assert_eq!(of_template(Class::Rpc, "shop.Payment/Charge"), Effect::Write);
        assert_eq!(of_template(Class::Rpc, "shop.Currency/Convert"), Effect::Unknown);
        assert_eq!(of_template(Class::Http, "GET stock/stock/{id}"), Effect::Read);
    }

    #[test]
    fn a_summary_names_verb_and_tables() {
        assert_eq!(
            statement_summary("SELECT a, b FROM order_items WHERE x = $1"),
            "SELECT ... FROM order_items"
        );
        assert_eq!(statement_summary("SELECT 1 FROM a JOIN b ON a.x = b.x"), "SELECT ... FROM a, b");
        assert_eq!(statement_summary("INSERT INTO events (a) VALUES ($1)"), "INSERT INTO events");
        assert_eq!(statement_summary("find orders"), "find orders");
    }
}
