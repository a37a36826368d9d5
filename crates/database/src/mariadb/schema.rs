//! Tables, columns and indexes of the database, from information_schema.

use super::connection::MariaDb;
use super::digests::texts;
use crate::query::{Column, Dialect, Index, Known, Schema, quoted};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Columns that are read.
const MAX_COLUMNS: usize = 50_000;
/// How far into a table a value is looked for.
const MAX_OFFSET: f64 = 10_000.0;
/// Longer values are not put into a statement.
const MAX_VALUE_CHARS: usize = 1_000;
/// Rows of a sample.
const SAMPLE: u64 = 20_000;

/// Reads the schema as far as the user may see it.
pub(super) async fn read(session: &mut MariaDb) -> Result<Schema> {
    let mut schema = Schema::new();
    let tables = "SELECT TABLE_NAME, COALESCE(TABLE_ROWS, 0), COALESCE(DATA_LENGTH + INDEX_LENGTH, 0)
                    FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE'";
    for row in session.ask(tables).await? {
        let [name, rows, bytes] = texts(&row)[..] else { continue };
        let table = schema.entry(name.to_lowercase()).or_default();
        name.clone_into(&mut table.name);
        table.rows = rows.parse().unwrap_or(0.0);
        table.bytes = bytes.parse().unwrap_or(0);
    }
    let columns = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, LOWER(COLUMN_TYPE) FROM information_schema.COLUMNS
          WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME, ORDINAL_POSITION LIMIT {MAX_COLUMNS}"
    );
    for row in session.ask(&columns).await? {
        let [table, name, kind] = texts(&row)[..] else { continue };
        if let Some(table) = schema.get_mut(&table.to_lowercase()) {
            table.columns.push(Column { name: name.to_owned(), kind: kind.to_owned() });
        }
    }
    let indexes = format!(
        "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, COLLATION, SUB_PART, INDEX_TYPE
           FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE()
          ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX LIMIT {MAX_COLUMNS}"
    );
    for row in session.ask(&indexes).await? {
        let column = row.get(3).cloned().flatten();
        let [table, name, many, _, collation, part, kind] = texts(&row)[..] else { continue };
        let Some(table) = schema.get_mut(&table.to_lowercase()) else { continue };
        // Full-text and spatial indexes serve no comparison, prefixes no order.
        let partial = !part.is_empty() || kind != "BTREE";
        let key = (column, collation == "D");
        match table.indexes.last_mut().filter(|i| i.name == name) {
            Some(index) => {
                index.keys.push(key);
                index.partial |= partial;
            }
            None => table.indexes.push(Index {
                name: name.to_owned(),
                keys: vec![key],
                unique: many == "0",
                primary: name == "PRIMARY",
                partial,
                definition: String::new(),
            }),
        }
    }
    Ok(schema)
}

/// Adds values of the columns that are not known yet.
pub(super) async fn look_up(
    session: &mut MariaDb,
    schema: &Schema,
    wanted: &BTreeSet<(String, String)>,
    known: &mut Known,
) -> Result<()> {
    for key in wanted.iter().filter(|key| schema.contains_key(&key.0)) {
        if known.contains_key(key) {
            continue;
        }
        let table = &schema[&key.0];
        let (name, column) = (quoted(&table.name, Dialect::MySql), quoted(&key.1, Dialect::MySql));
        let offset = (table.rows / 2.0).clamp(0.0, MAX_OFFSET) as u64;
        for offset in [offset, 0] {
            let sql = format!(
                "SELECT QUOTE({column}) AS trimtab_value FROM {name} WHERE {column} IS NOT NULL LIMIT 1 OFFSET {offset}"
            );
            // Without the right to read the table it stays unknown.
            match session.one(&sql).await {
                Ok(Some(value)) if value.chars().count() <= MAX_VALUE_CHARS => {
                    known.insert(key.clone(), value);
                    break;
                }
                Ok(_) => {}
                Err(error) if error.is::<super::connection::Refused>() => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Rows that have the same value of a column, on the average; by column.
#[derive(Default)]
pub(super) struct Alike(BTreeMap<(String, String), Option<f64>>);

impl Alike {
    /// `None`: it may not be read.
    pub(super) async fn rows(
        &mut self,
        session: &mut MariaDb,
        schema: &Schema,
        table: &str,
        column: &str,
    ) -> Result<Option<f64>> {
        let key = (table.to_lowercase(), column.to_lowercase());
        if let Some(known) = self.0.get(&key) {
            return Ok(*known);
        }
        let Some(table) = schema.get(&key.0) else { return Ok(None) };
        let (name, column) = (quoted(&table.name, Dialect::MySql), quoted(column, Dialect::MySql));
        let sql = format!(
            "SELECT COUNT(DISTINCT trimtab_c), COUNT(*) FROM (SELECT {column} AS trimtab_c FROM {name} LIMIT {SAMPLE}) s"
        );
        let rows = match session.ask(&sql).await {
            Ok(rows) => rows.first().map(|row| estimate(&texts(row), table.rows)),
            Err(error) if error.is::<super::connection::Refused>() => None,
            Err(error) => return Err(error),
        };
        self.0.insert(key, rows);
        Ok(rows)
    }
}

/// From distinct values in a sample: few values share all rows, many have as many rows each as in the sample.
fn estimate(counts: &[&str], rows: f64) -> f64 {
    let number = |n: usize| counts.get(n).and_then(|c| c.parse::<f64>().ok()).unwrap_or(0.0);
    let (distinct, sampled) = (number(0).max(1.0), number(1).max(1.0));
    if distinct >= 0.1 * sampled { sampled / distinct } else { rows.max(sampled) / distinct }
}

#[cfg(test)]
mod tests {
    use super::estimate;

    #[test]
    fn few_values_share_all_rows() {
        assert!((estimate(&["4", "20000"], 200_000.0) - 50_000.0).abs() < 1.0);
        assert!((estimate(&["5000", "20000"], 800_000.0) - 4.0).abs() < 0.1);
        assert!(estimate(&[], 0.0) >= 1.0);
    }
}
