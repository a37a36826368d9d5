//! What the catalog tells of a table: size, indexes, statistics of its columns; and the planner's cost settings.

use crate::explain::LIMITS;
use model::TableFigures;
use std::collections::BTreeMap;
use tokio_postgres::{Client, Error, Row, Transaction};

/// Schema and name.
pub(crate) type TableName = (String, String);

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) rows: f64,
    pub(crate) blocks: f64,
    /// An ordinary table: no partition, no foreign table.
    pub(crate) plain: bool,
    /// Rows changed since the statistics were taken, as share of all rows.
    pub(crate) stale_share: f64,
    pub(crate) indexes: Vec<Index>,
    pub(crate) columns: BTreeMap<String, ColumnFigures>,
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
    /// Shares of the most common values.
    pub(crate) common: Vec<f64>,
}

impl ColumnStatistics {
    /// Share of the rows that a look-up by equality finds on average, where values are asked for as often as they occur;
    /// never below the planner's view, in which all are asked for alike.
    pub(crate) fn equality(&self) -> f64 {
        let present = 1.0 - self.null_share;
        let alike = present / self.distinct.max(1.0);
        let rest = (present - self.common.iter().sum::<f64>()).max(0.0);
        let others = (self.distinct - self.common.len() as f64).max(1.0);
        let by_frequency = self.common.iter().map(|f| f * f).sum::<f64>() + rest * rest / others;
        alike.max(by_frequency).clamp(0.0, 1.0)
    }

    /// The same as the planner sees it for an unknown value.
    pub(crate) fn equality_planned(&self) -> f64 {
        ((1.0 - self.null_share) / self.distinct.max(1.0)).clamp(0.0, 1.0)
    }
}

impl Table {
    pub(crate) fn figures(&self, writes_per_second: f64) -> TableFigures {
        TableFigures {
            name: self.name.clone(),
            rows: self.rows,
            blocks: self.blocks as u64,
            indexes: self.indexes.iter().map(|i| i.definition.clone()).collect(),
            writes_per_second,
            stale_share: self.stale_share,
        }
    }
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
SELECT c.oid, c.relkind::text = 'r' AND NOT c.relispartition,
       CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE coalesce(s.n_live_tup, 0) END::float8,
       (pg_relation_size(c.oid) / current_setting('block_size')::int8)::float8,
       coalesce(s.n_mod_since_analyze, 0)::float8
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
 WHERE n.nspname = $1 AND c.relname = $2";

const INDEXES: &str = "
SELECT pg_get_indexdef(i.indexrelid), i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree',
       ARRAY(SELECT coalesce(a.attname::text, '')
               FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (number, place)
               LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.number
              WHERE u.place <= i.indnkeyatts ORDER BY u.place)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
 WHERE i.indrelid = $1 ORDER BY c.relname";

const COLUMNS: &str = "
SELECT a.attname::text, format_type(a.atttypid, NULL), coalesce(s.avg_width, 8)::float8,
       s.n_distinct::float8, s.null_frac::float8, s.correlation::float8, s.most_common_freqs
  FROM pg_attribute a
  LEFT JOIN pg_stats s ON s.schemaname = $1 AND s.tablename = $2 AND s.attname = a.attname AND NOT s.inherited
 WHERE a.attrelid = $3 AND a.attnum > 0 AND NOT a.attisdropped";

const COSTS: &str = "
SELECT current_setting('random_page_cost')::float8, current_setting('seq_page_cost')::float8,
       current_setting('cpu_tuple_cost')::float8, current_setting('cpu_index_tuple_cost')::float8,
       current_setting('cpu_operator_cost')::float8,
       current_setting('parallel_setup_cost')::float8";

/// One look at a table; `None` if it is gone.
pub(crate) async fn table(client: &mut Client, name: &TableName) -> Result<Option<Table>, Error> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction.batch_execute(LIMITS).await?;
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
        name: name.clone(),
        rows,
        blocks: row.try_get(3)?,
        plain: row.try_get(1)?,
        stale_share: if changed > 0.0 { (changed / rows.max(1.0)).min(1.0) } else { 0.0 },
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

fn column(row: &Row, rows: f64) -> Result<ColumnFigures, Error> {
    let distinct: Option<f64> = row.try_get(3)?;
    let statistics = match distinct {
        // A negative number is a share of the rows.
        Some(distinct) => Some(ColumnStatistics {
            distinct: if distinct < 0.0 { -distinct * rows } else { distinct },
            null_share: row.try_get::<_, Option<f64>>(4)?.unwrap_or(0.0),
            correlation: row.try_get::<_, Option<f64>>(5)?.unwrap_or(0.0),
            common: row
                .try_get::<_, Option<Vec<f32>>>(6)?
                .unwrap_or_default()
                .into_iter()
                .map(f64::from)
                .collect(),
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
