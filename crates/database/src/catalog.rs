//! What the catalog tells of a table: size, indexes, statistics of its columns; and the planner's cost settings.

use crate::connect::look;
use crate::index::{entry_bytes, quoted};
use crate::snapshot::Writes;
use model::TableFigures;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::{Client, Error, Row, Transaction};

/// Schema and name.
pub(crate) type TableName = (String, String);

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    /// Empty for `public`.
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) rows: f64,
    pub(crate) blocks: f64,
    /// An ordinary table: no partition, no foreign table.
    pub(crate) plain: bool,
    /// The partitioned table that it is a part of.
    pub(crate) parent: Option<TableName>,
    /// Rows changed since the statistics were taken, as share of all rows.
    pub(crate) stale_share: f64,
    pub(crate) indexes: Vec<Index>,
    pub(crate) columns: BTreeMap<String, ColumnFigures>,
    /// Rows written per second.
    pub(crate) writes: Writes,
    /// Statistics of the columns that matter come from a sample of ours: nobody has run ANALYZE yet.
    pub(crate) sampled: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) definition: String,
    /// Valid, not partial, a btree.
    pub(crate) usable: bool,
    /// Leading columns; empty for an expression.
    pub(crate) columns: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ColumnFigures {
    pub(crate) kind: String,
    pub(crate) width: f64,
    /// `None` without statistics.
    pub(crate) statistics: Option<ColumnStatistics>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ColumnStatistics {
    pub(crate) distinct: f64,
    pub(crate) null_share: f64,
    pub(crate) correlation: f64,
    /// The most common values, as text, with their shares.
    pub(crate) common: Vec<(String, f64)>,
}

impl ColumnStatistics {
    /// Share of the rows that a look-up by equality finds on average, where values are asked for as often as they occur;
    /// never below the planner's view, in which all are asked for alike.
    pub(crate) fn equality(&self) -> f64 {
        let present = 1.0 - self.null_share;
        let alike = present / self.distinct.max(1.0);
        let rest = (present - self.common.iter().map(|c| c.1).sum::<f64>()).max(0.0);
        let others = (self.distinct - self.common.len() as f64).max(1.0);
        let by_frequency = self.common.iter().map(|c| c.1 * c.1).sum::<f64>() + rest * rest / others;
        alike.max(by_frequency).clamp(0.0, 1.0)
    }

    /// The same as the planner sees it for an unknown value.
    pub(crate) fn equality_planned(&self) -> f64 {
        ((1.0 - self.null_share) / self.distinct.max(1.0)).clamp(0.0, 1.0)
    }
}

/// One more index on a table makes each row that is written so much slower, in microseconds. Measured on PostgreSQL 15:
/// 10 to 16 more on an INSERT of 36 to 39, 13 to 17 more on an UPDATE that was HOT and no longer is.
const INDEX_WRITE_US: f64 = 13.0;
/// Log bytes of an entry's insertion into a btree besides the entry itself; page images after a checkpoint come on top.
const INDEX_WRITE_HEADER_BYTES: f64 = 44.0;
/// Of a key.
const ORDINARY_KEY_BYTES: f64 = 8.0;

impl Table {
    pub(crate) fn figures(&self) -> TableFigures {
        TableFigures {
            name: self.name.clone(),
            schema: self.schema.clone(),
            rows: self.rows,
            blocks: self.blocks as u64,
            indexes: self.indexes.iter().map(|i| i.definition.clone()).collect(),
            writes_per_second: self.writes.all(),
            stale_share: self.stale_share,
            hot_update_share: match self.writes.updated {
                updated if updated > 0.0 => (self.writes.hot_updated / updated).clamp(0.0, 1.0),
                _ => 0.0,
            },
            index_write_us: INDEX_WRITE_US,
            index_write_bytes: INDEX_WRITE_HEADER_BYTES + entry_bytes(ORDINARY_KEY_BYTES),
        }
    }

    /// Whether one of these columns, or the table itself, has never been analysed.
    pub(crate) fn lacks_statistics(&self, columns: &BTreeSet<String>) -> bool {
        let unknown = |c: &String| self.columns.get(c).is_some_and(|c| c.statistics.is_none());
        self.plain && self.blocks > 0.0 && columns.iter().any(unknown)
    }

    /// Share of the table that [`sample`] reads, in percent.
    pub(crate) fn sample_percent(&self) -> f64 {
        (100.0 * SAMPLE_BLOCKS / self.blocks.max(1.0)).clamp(f64::MIN_POSITIVE, 100.0)
    }
}

/// Blocks that a sample reads, on average: the rows of ANALYZE's default, roughly.
const SAMPLE_BLOCKS: f64 = 300.0;

/// Statistics of columns that have none, and the table's number of rows, from a sample of its blocks. What the role may
/// not read stays unknown.
pub(crate) async fn sample(
    client: &mut Client,
    name: &TableName,
    table: &mut Table,
    columns: &BTreeSet<String>,
) -> Result<(), Error> {
    let percent = table.sample_percent();
    for column in columns {
        let Some(figures) = table.columns.get_mut(column).filter(|c| c.statistics.is_none()) else {
            continue;
        };
        let sql = format!(
            "WITH v AS (SELECT {} AS v FROM {}.{} TABLESAMPLE SYSTEM ({percent})),
                  g AS (SELECT count(*) AS n FROM v WHERE v IS NOT NULL GROUP BY v)
             SELECT /* trimtab_look */ (SELECT count(*) FROM v)::float8, coalesce(sum(n), 0)::float8,
                    count(*)::float8, (count(*) FILTER (WHERE n = 1))::float8 FROM g",
            quoted(column),
            quoted(&name.0),
            quoted(&name.1)
        );
        let transaction = look(client).await?;
        let Ok(row) = transaction.query_one(&sql, &[]).await else { continue };
        let (seen, present): (f64, f64) = (row.try_get(0)?, row.try_get(1)?);
        if seen < 1.0 {
            continue;
        }
        table.rows = seen * 100.0 / percent;
        let distinct = distinct_values(row.try_get(2)?, row.try_get(3)?, present, table.rows);
        figures.statistics = Some(ColumnStatistics {
            distinct,
            null_share: 1.0 - present / seen,
            ..ColumnStatistics::default()
        });
        table.sampled = true;
    }
    Ok(())
}

/// Distinct values of a table of `rows`, from a sample of `seen` rows with `distinct` values, `once` of them seen once: the
/// estimator Duj1 of Haas and Stokes (IBM Research Report RJ 10025, 1996), as ANALYZE uses it.
fn distinct_values(distinct: f64, once: f64, seen: f64, rows: f64) -> f64 {
    if seen < 1.0 {
        return 1.0;
    }
    let estimate = seen * distinct / (seen - once + once * seen / rows.max(seen)).max(f64::MIN_POSITIVE);
    estimate.clamp(distinct.max(1.0), rows.max(distinct).max(1.0))
}

/// The planner's cost units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    pub(crate) random_page: f64,
    pub(crate) sequential_page: f64,
    pub(crate) tuple: f64,
    pub(crate) index_tuple: f64,
    pub(crate) operator: f64,
    pub(crate) parallel_setup: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            random_page: 4.0,
            sequential_page: 1.0,
            tuple: 0.01,
            index_tuple: 0.005,
            operator: 0.0025,
            parallel_setup: 1000.0,
        }
    }
}

const TABLE: &str = "
SELECT /* trimtab_look */ c.oid, c.relkind IN ('r', 'm') AND NOT c.relispartition,
       CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE coalesce(s.n_live_tup, 0) END::float8,
       (pg_relation_size(c.oid) / current_setting('block_size')::int8)::float8,
       coalesce(s.n_mod_since_analyze, 0)::float8,
       extract(epoch FROM now() - coalesce(d.stats_reset, pg_postmaster_start_time()))::float8,
       coalesce(s.n_tup_ins, 0)::float8, coalesce(s.n_tup_upd, 0)::float8, coalesce(s.n_tup_del, 0)::float8,
       coalesce(s.n_tup_hot_upd, 0)::float8,
       CASE WHEN c.relispartition THEN (SELECT ARRAY[m.nspname::text, p.relname::text] FROM pg_class p
         JOIN pg_namespace m ON m.oid = p.relnamespace WHERE p.oid = pg_partition_root(c.oid)) END
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
  LEFT JOIN pg_stat_database d ON d.datname = current_database()
 WHERE n.nspname = $1 AND c.relname = $2";

const INDEXES: &str = "
SELECT /* trimtab_look */ pg_get_indexdef(i.indexrelid), i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree',
       ARRAY(SELECT coalesce(a.attname::text, '')
               FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (number, place)
               LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
              WHERE u.place <= i.indnkeyatts ORDER BY u.place)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
 WHERE i.indrelid = $1 ORDER BY c.relname";

const COLUMNS: &str = "
SELECT /* trimtab_look */ a.attname::text, format_type(a.atttypid, NULL), coalesce(s.avg_width, 8)::float8,
       s.n_distinct::float8, s.null_frac::float8, s.correlation::float8, s.most_common_freqs,
       s.most_common_vals::text::text[]
  FROM pg_attribute a
  LEFT JOIN pg_stats s ON s.schemaname = $1 AND s.tablename = $2 AND s.attname = a.attname AND NOT s.inherited
 WHERE a.attrelid = $3 AND a.attnum > 0 AND NOT a.attisdropped";

const COSTS: &str = "
SELECT /* trimtab_look */ current_setting('random_page_cost')::float8, current_setting('seq_page_cost')::float8,
       current_setting('cpu_tuple_cost')::float8, current_setting('cpu_index_tuple_cost')::float8,
       current_setting('cpu_operator_cost')::float8,
       current_setting('parallel_setup_cost')::float8";

/// The partitioned table that it is a part of.
fn parent(names: Option<Vec<String>>) -> Option<TableName> {
    let [schema, name] = names?.try_into().ok()?;
    Some((schema, name))
}

/// One look at a table; `None` if it is gone.
pub(crate) async fn table(client: &mut Client, name: &TableName) -> Result<Option<Table>, Error> {
    let transaction = look(client).await?;
    read_table(&transaction, name).await
}

async fn read_table(
    transaction: &Transaction<'_>,
    (schema, name): &TableName,
) -> Result<Option<Table>, Error> {
    let Some(row) = transaction.query_opt(TABLE, &[schema, name]).await? else { return Ok(None) };
    let oid: u32 = row.try_get(0)?;
    let rows: f64 = row.try_get(2)?;
    let changed: f64 = row.try_get(4)?;
    let mut table = Table {
        oid,
        schema: if schema == "public" { String::new() } else { schema.clone() },
        name: name.clone(),
        rows,
        blocks: row.try_get(3)?,
        plain: row.try_get(1)?,
        stale_share: if changed > 0.0 { (changed / rows.max(1.0)).min(1.0) } else { 0.0 },
        writes: lifetime_writes(&row)?,
        parent: parent(row.try_get(10)?),
        ..Table::default()
    };
    for row in transaction.query(INDEXES, &[&oid]).await? {
        table.indexes.push(Index {
            definition: row.try_get(0)?,
            usable: row.try_get(1)?,
            columns: row.try_get(2)?,
        });
    }
    for row in transaction.query(COLUMNS, &[schema, name, &oid]).await? {
        table.columns.insert(row.try_get(0)?, column(&row, rows)?);
    }
    Ok(Some(table))
}

/// Per second, since the server counts.
fn lifetime_writes(row: &Row) -> Result<Writes, Error> {
    let seconds = row.try_get::<_, f64>(5)?.max(1.0);
    let rate = |column: usize| row.try_get::<_, f64>(column).map(|n| n / seconds);
    Ok(Writes { inserted: rate(6)?, updated: rate(7)?, deleted: rate(8)?, hot_updated: rate(9)? })
}

fn column(row: &Row, rows: f64) -> Result<ColumnFigures, Error> {
    let distinct: Option<f64> = row.try_get(3)?;
    let statistics = match distinct {
        // A negative number is a share of the rows.
        Some(distinct) => Some(ColumnStatistics {
            distinct: if distinct < 0.0 { -distinct * rows } else { distinct },
            null_share: row.try_get::<_, Option<f64>>(4)?.unwrap_or(0.0),
            correlation: row.try_get::<_, Option<f64>>(5)?.unwrap_or(0.0),
            common: {
                let shares = row.try_get::<_, Option<Vec<f32>>>(6)?.unwrap_or_default();
                let values = row.try_get::<_, Option<Vec<String>>>(7)?.unwrap_or_default();
                values.into_iter().zip(shares.into_iter().map(f64::from)).collect()
            },
        }),
        None => None,
    };
    Ok(ColumnFigures { kind: row.try_get(1)?, width: row.try_get(2)?, statistics })
}

pub(crate) async fn costs(client: &Client) -> Result<Costs, Error> {
    let row = client.query_one(COSTS, &[]).await?;
    Ok(Costs {
        random_page: row.try_get(0)?,
        sequential_page: row.try_get(1)?,
        tuple: row.try_get(2)?,
        index_tuple: row.try_get(3)?,
        operator: row.try_get(4)?,
        parallel_setup: row.try_get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::distinct_values;

    #[test]
    fn distinct_values_are_scaled_up_from_a_sample() {
        // Every value was seen once: the column is unique.
        assert!((distinct_values(3000.0, 3000.0, 3000.0, 1e6) - 1e6).abs() < 1.0);
        // None was seen once: all have been seen.
        assert!((distinct_values(20.0, 0.0, 3000.0, 1e6) - 20.0).abs() < 1e-9);
        assert!((distinct_values(0.0, 0.0, 0.0, 0.0) - 1.0).abs() < 1e-9);
    }
}
