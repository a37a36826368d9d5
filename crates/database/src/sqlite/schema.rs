//! Tables, columns, indexes and row counts of a file.

use super::shell::Shell;
use crate::query::{Column, Index, Known, Schema, Table};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For each question.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Rows of larger files are estimated from the highest row number, not counted.
const MAX_COUNTED_BYTES: u64 = 256 << 20;
/// Tables that are looked at.
const MAX_TABLES: usize = 1_000;
/// How far into a table a value is looked for.
const MAX_OFFSET: f64 = 10_000.0;
/// Longer values are not put into a statement.
const MAX_VALUE_CHARS: usize = 1_000;

/// Ordinary tables, without those of SQLite and of extensions.
pub(super) const TABLES: &str = "pragma_table_list m WHERE m.schema = 'main' AND m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// What is in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) schema: Schema,
    /// Names in lower case of tables and indexes that ANALYZE has counted.
    pub(super) analysed: BTreeSet<String>,
    /// Rows that ANALYZE saw, by table in lower case, where they were counted now as well.
    pub(super) counted: BTreeMap<String, f64>,
}

/// Reads the schema and counts rows.
///
/// # Errors
/// The file cannot be read.
pub(super) async fn read(shell: &Shell, file_bytes: u64) -> Result<Contents> {
    let mut contents = Contents::default();
    let columns = format!(
        "SELECT m.name AS tbl, m.wr AS wr, c.name AS name, lower(c.type) AS kind, c.pk AS pk
           FROM (SELECT * FROM {TABLES} LIMIT {MAX_TABLES}) m JOIN pragma_table_xinfo(m.name) c ON c.hidden <> 1
          ORDER BY m.name, c.cid"
    );
    let rows = shell.rows(&columns, PATIENCE).await.context("could not read the tables")?;
    let mut whole: BTreeSet<String> = BTreeSet::new();
    let mut primary: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for row in &rows {
        let key = text(row, "tbl").to_lowercase();
        let table = contents.schema.entry(key.clone()).or_default();
        text(row, "tbl").clone_into(&mut table.name);
        let column = Column { name: text(row, "name").to_owned(), kind: text(row, "kind").to_owned() };
        if number(row, "wr") > 0.0 {
            whole.insert(key);
        } else if number(row, "pk") > 0.0 {
            primary.entry(key).or_default().push(column.clone());
        }
        table.columns.push(column);
    }
    for (key, columns) in primary {
        // An integer alone is the number of the row: no index, and found as quickly.
        if let ([one], Some(table)) = (&columns[..], contents.schema.get_mut(&key))
            && one.kind == "integer"
        {
            let keys = vec![(Some(one.name.clone()), false)];
            let (name, primary, unique) = ("rowid".to_owned(), true, true);
            table.indexes.push(Index { name, keys, primary, unique, ..Index::default() });
        }
    }
    indexes(shell, &mut contents).await?;
    rows_of(shell, &mut contents, &whole, file_bytes <= MAX_COUNTED_BYTES).await?;
    Ok(contents)
}

async fn indexes(shell: &Shell, contents: &mut Contents) -> Result<()> {
    let sql = format!(
        "SELECT m.name AS tbl, i.name AS name, i.\"unique\" AS uni, i.origin AS origin, i.partial AS partial,
                x.name AS key, x.desc AS down, coalesce(s.sql, '') AS sql
           FROM (SELECT * FROM {TABLES} LIMIT {MAX_TABLES}) m JOIN pragma_index_list(m.name) i
           JOIN pragma_index_xinfo(i.name) x ON x.key = 1
           LEFT JOIN sqlite_schema s ON s.type = 'index' AND s.name = i.name
          ORDER BY m.name, i.name, x.seqno"
    );
    for row in shell.rows(&sql, PATIENCE).await.context("could not read the indexes")? {
        let Some(table) = contents.schema.get_mut(&text(&row, "tbl").to_lowercase()) else { continue };
        let key = (row.get("key").and_then(Value::as_str).map(str::to_owned), number(&row, "down") > 0.0);
        if let Some(last) = table.indexes.last_mut().filter(|i| i.name == text(&row, "name")) {
            last.keys.push(key);
            continue;
        }
        table.indexes.push(Index {
            name: text(&row, "name").to_owned(),
            keys: vec![key],
            unique: number(&row, "uni") > 0.0,
            partial: number(&row, "partial") > 0.0,
            primary: text(&row, "origin") == "pk",
            definition: text(&row, "sql").to_owned(),
        });
    }
    Ok(())
}

/// From ANALYZE, counted, or from the highest row number.
async fn rows_of(
    shell: &Shell,
    contents: &mut Contents,
    whole: &BTreeSet<String>,
    small: bool,
) -> Result<()> {
    let known =
        shell.rows("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'sqlite_stat1'", PATIENCE).await?;
    if known.first().is_some_and(|row| number(row, "n") > 0.0) {
        let sql = "SELECT tbl, idx, CAST(stat AS INTEGER) AS n FROM sqlite_stat1";
        for row in shell.rows(sql, PATIENCE).await? {
            contents.analysed.insert(text(&row, "tbl").to_lowercase());
            contents.analysed.extend(row.get("idx").and_then(Value::as_str).map(str::to_lowercase));
            if let Some(table) = contents.schema.get_mut(&text(&row, "tbl").to_lowercase()) {
                table.rows = table.rows.max(number(&row, "n"));
            }
        }
    }
    let mut script = String::new();
    for (key, table) in &contents.schema {
        let what = if small || whole.contains(key) { "count(*)" } else { "max(_rowid_)" };
        let literal = literal(&table.name);
        script.push_str(&format!("SELECT {literal} AS tbl, {what} AS n FROM {};\n", name(&table.name)));
    }
    for row in shell.run(&script, PATIENCE).await?.tables().iter().flatten() {
        let key = text(row, "tbl").to_lowercase();
        if let Some(table) = contents.schema.get_mut(&key)
            && (small || table.rows <= 0.0)
        {
            if table.rows > 0.0 {
                contents.counted.insert(key, table.rows);
            }
            table.rows = number(row, "n");
        }
    }
    Ok(())
}

/// A value that stands in this column, as a literal; `None` if there is none.
pub(super) async fn value(shell: &Shell, table: &Table, column: &str) -> Option<String> {
    let offset = (table.rows / 2.0).clamp(0.0, MAX_OFFSET) as u64;
    let (table, column) = (name(&table.name), name(column));
    let at = |offset: u64| {
        format!("SELECT quote({column}) AS v FROM {table} WHERE {column} IS NOT NULL LIMIT 1 OFFSET {offset}")
    };
    let script = format!("{};\n{};", at(offset), at(0));
    let answer = shell.run(&script, PATIENCE).await.ok()?;
    let tables = answer.tables();
    let value = tables.first()?.first()?.get("v")?.as_str()?;
    (value.chars().count() <= MAX_VALUE_CHARS).then(|| value.to_owned())
}

/// Adds the values of columns that are not known yet.
pub(super) async fn look_up(
    shell: &Shell,
    schema: &Schema,
    wanted: &BTreeSet<(String, String)>,
    known: &mut Known,
) {
    for key in wanted {
        if !known.contains_key(key)
            && let Some(table) = schema.get(&key.0)
            && let Some(value) = value(shell, table, &key.1).await
        {
            known.insert(key.clone(), value);
        }
    }
}

/// A name, quoted.
pub(super) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn text<'v>(row: &'v Value, key: &str) -> &'v str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn number(row: &Value, key: &str) -> f64 {
    row.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}
