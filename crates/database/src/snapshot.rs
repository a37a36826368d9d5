//! Snapshots of `pg_stat_statements` and their difference. Nothing is ever reset: other tools read the same counters.

use crate::connect::{Database, format_error};
use anyhow::{Result, anyhow};
use model::{Gap, Statement, sql};
use std::collections::BTreeMap;
use tokio_postgres::Row;

/// Statements beyond this are not read: the server's own limit is 5,000 by default.
const MAX_STATEMENTS: i64 = 20_000;

const FIGURES: &str = "
SELECT s.query, s.calls, s.total_exec_time, s.rows, s.shared_blks_hit, s.shared_blks_read,
       s.temp_blks_written, s.wal_bytes::bigint
  FROM pg_stat_statements(true) s
  JOIN pg_database d ON d.oid = s.dbid
 WHERE d.datname = current_database() AND s.toplevel
   AND s.query NOT LIKE '%pg_stat_statements%' AND s.query NOT LIKE '%trimtab_%'
 ORDER BY s.total_exec_time DESC LIMIT $1";

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    statements: BTreeMap<String, Statement>,
    /// Changes when somebody resets the counters or the server has to forget statements.
    epoch: String,
    /// Statements whose text the role may not see.
    hidden: u64,
    gap: Option<Gap>,
}

impl Database {
    /// Reads the counters. What keeps them from being read is a gap in the snapshot.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let client = self.client.lock().await;
        if client.is_closed() {
            return Err(anyhow!("the connection to {} is gone", self.shown_url()));
        }
        let epoch = match client
            .query_opt("SELECT stats_reset::text || ' ' || dealloc::text FROM pg_stat_statements_info", &[])
            .await
        {
            Ok(row) => row.and_then(|r| r.try_get::<_, String>(0).ok()).unwrap_or_default(),
            Err(error) => {
                return Ok(Snapshot { gap: Some(unreadable(&format_error(&error))), ..Snapshot::default() });
            }
        };
        match client.query(FIGURES, &[&MAX_STATEMENTS]).await {
            Ok(rows) => Ok(collect(&rows, epoch)),
            Err(error) => {
                Ok(Snapshot { gap: Some(unreadable(&format_error(&error))), ..Snapshot::default() })
            }
        }
    }
}

fn collect(rows: &[Row], epoch: String) -> Snapshot {
    let mut snapshot = Snapshot { epoch, ..Snapshot::default() };
    for row in rows {
        let text: String = row.try_get(0).unwrap_or_default();
        if text.contains("<insufficient privilege>") {
            snapshot.hidden += 1;
            continue;
        }
        // One statement has several ids (by the types of its parameters): the text is its identity.
        let text = sql::normalise(&text);
        let sum = snapshot.statements.entry(text.clone()).or_insert_with(|| Statement {
            text,
            system: "postgresql".to_owned(),
            ..Statement::default()
        });
        let count = |column: usize| u64::try_from(row.try_get::<_, i64>(column).unwrap_or(0)).unwrap_or(0);
        sum.calls += count(1);
        sum.total_ms += row.try_get::<_, f64>(2).unwrap_or(0.0);
        sum.rows += count(3);
        sum.blocks_hit += count(4);
        sum.blocks_read += count(5);
        sum.temp_blocks += count(6);
        sum.wal_bytes += count(7);
    }
    snapshot
}

impl Snapshot {
    /// What happened between two snapshots, by time within the database, and what could not be seen.
    #[must_use]
    pub fn delta(before: &Self, after: &Self) -> (Vec<Statement>, Vec<Gap>) {
        if let Some(gap) = before.gap.as_ref().or(after.gap.as_ref()) {
            return (Vec::new(), vec![gap.clone()]);
        }
        let mut gaps = Vec::new();
        if before.epoch != after.epoch {
            gaps.push(Gap::new(
                "statements",
                "pg_stat_statements was reset, or had to forget statements, during the measurement",
                "raise pg_stat_statements.max, and let nothing reset it while measuring",
            ));
            return (Vec::new(), gaps);
        }
        if after.hidden > 0 {
            gaps.push(Gap::new(
                "statements",
                format!("{} statements of other roles are hidden from this one", after.hidden),
                "GRANT pg_read_all_stats TO the role that Trimtab connects as",
            ));
        }
        let mut statements: Vec<Statement> = after
            .statements
            .values()
            .filter_map(|now| difference(before.statements.get(&now.text), now))
            .collect();
        statements.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms).then_with(|| a.text.cmp(&b.text)));
        (statements, gaps)
    }
}

fn difference(then: Option<&Statement>, now: &Statement) -> Option<Statement> {
    let zero = Statement::default();
    let then = then.unwrap_or(&zero);
    let calls = now.calls.checked_sub(then.calls).filter(|n| *n > 0)?;
    Some(Statement {
        text: now.text.clone(),
        system: now.system.clone(),
        calls,
        total_ms: (now.total_ms - then.total_ms).max(0.0),
        rows: now.rows.saturating_sub(then.rows),
        blocks_hit: now.blocks_hit.saturating_sub(then.blocks_hit),
        blocks_read: now.blocks_read.saturating_sub(then.blocks_read),
        temp_blocks: now.temp_blocks.saturating_sub(then.temp_blocks),
        wal_bytes: now.wal_bytes.saturating_sub(then.wal_bytes),
    })
}

fn unreadable(said: &str) -> Gap {
    let hint = if said.contains("shared_preload_libraries") {
        "add pg_stat_statements to shared_preload_libraries and restart the server"
    } else if said.contains("permission denied") {
        "GRANT pg_read_all_stats TO the role that Trimtab connects as"
    } else {
        "run CREATE EXTENSION pg_stat_statements in this database (and have it in shared_preload_libraries)"
    };
    Gap::new("statements", format!("pg_stat_statements cannot be read: {said}"), hint)
}
