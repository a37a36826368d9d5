//! The state of the server beside its statements: each observation with the SQL that shows it, the SQL that mends it and
//! the SQL that undoes that. Only looks; which observation matters is for whoever reads it.

use crate::connect::{Database, format_error, look};
use crate::from_plans;
use crate::index::{Key, NewIndex, quoted};
use model::{Gap, Plan, Statement};
use serde::Serialize;
use tokio_postgres::Row;

const SIGNAL: &str = "database";
/// Observations of one kind.
pub(crate) const MAX_OF_A_KIND: usize = 10;

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// `spill`, `misestimate`, `rows_removed`, `lock_wait`, `idle_in_transaction`, `connections`, `connection_churn`,
    /// `pool_size`, `dead_rows`, `vacuum_held_back`, `stale_statistics`, `invalid_index`, `unused_index`,
    /// `redundant_index`, `foreign_key_without_index`, `checkpoints`; of other databases more, see docs/database.md.
    pub kind: &'static str,
    /// The table, index or statement.
    pub subject: String,
    /// A sentence with the figures.
    pub reason: String,
    /// SQL that shows it.
    pub look: String,
    /// SQL that mends it, where SQL can.
    pub mend: Option<String>,
    /// SQL that takes the mending back, where that is needed and possible.
    pub undo: Option<String>,
}

impl Observation {
    pub(crate) fn new(kind: &'static str, subject: &str, reason: String, look: &str) -> Self {
        let (subject, look) = (subject.to_owned(), look.to_owned());
        Self { kind, subject, reason, look, mend: None, undo: None }
    }

    pub(crate) fn mend(mut self, mend: impl Into<String>, undo: impl Into<String>) -> Self {
        let undo = undo.into();
        self.mend = Some(mend.into());
        self.undo = (!undo.is_empty()).then_some(undo);
        self
    }
}

/// A question to the catalog, and what a row of its answer means.
struct Check {
    sql: &'static str,
    read: fn(&Row) -> Option<Observation>,
}

/// From this server version number on; below it the other question is asked.
const CHECKPOINTER_SINCE: i32 = 170_000;

const CHECKS: [Check; 8] = [
    Check { sql: CONNECTIONS, read: connections },
    Check { sql: DEAD_ROWS, read: dead_rows },
    Check { sql: HELD_BACK, read: held_back },
    Check { sql: STALE, read: stale },
    Check { sql: INVALID, read: invalid },
    Check { sql: UNUSED, read: unused },
    Check { sql: REDUNDANT, read: redundant },
    Check { sql: FOREIGN_KEYS, read: foreign_key },
];

impl Database {
    /// What the catalog, the statements and their plans tell. What could not be asked is a gap.
    pub async fn health(&self, statements: &[Statement], plans: &[Plan]) -> (Vec<Observation>, Vec<Gap>) {
        let mut client = self.client.lock().await;
        let (mut found, mut gaps) = (Vec::new(), Vec::new());
        let mut ask = async |sql: &'static str, read: fn(&Row) -> Option<Observation>| {
            let rows = match look(&mut client).await {
                Ok(transaction) => transaction.query(sql, &[]).await,
                Err(error) => Err(error),
            };
            match rows {
                Ok(rows) => found.extend(rows.iter().filter_map(read).take(MAX_OF_A_KIND)),
                Err(error) => gaps.push(Gap::new(
                    SIGNAL,
                    format!("a part of the server's state could not be read: {}", format_error(&error)),
                    "GRANT pg_read_all_stats TO the role that Trimtab connects as",
                )),
            }
        };
        for check in &CHECKS {
            ask(check.sql, check.read).await;
        }
        let newer = "SELECT current_setting('server_version_num')::int /* trimtab_look */";
        let version = client.query_one(newer, &[]).await.ok().and_then(|row| row.try_get::<_, i32>(0).ok());
        let sql = if version.unwrap_or(0) >= CHECKPOINTER_SINCE { CHECKPOINTS_17 } else { CHECKPOINTS };
        let rate = client.query_one(WAL_RATE, &[]).await.ok().and_then(|row| row.try_get::<_, f64>(0).ok());
        if let Ok(rows) = client.query(sql, &[]).await {
            found.extend(rows.iter().filter_map(|row| checkpoints(row, rate)));
        }
        found.extend(from_plans::observed(&mut client, statements, plans).await);
        drop(client);
        gaps.dedup();
        (found, gaps)
    }
}

const CONNECTIONS: &str = "
WITH c AS (SELECT state, coalesce(nullif(application_name, ''), 'without a name') AS name
             FROM pg_stat_activity WHERE backend_type = 'client backend'),
     top AS (SELECT name, count(*) AS n FROM c GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3)
SELECT /* trimtab_look */ count(*)::int, current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int,
       (count(*) FILTER (WHERE state = 'idle'))::int, quote_ident(current_database()),
       (SELECT string_agg(left(name, 40) || ' ' || n, ', ' ORDER BY n DESC, name) FROM top)
  FROM c";

/// Four fifths of what the server takes are in use.
fn connections(row: &Row) -> Option<Observation> {
    let (used, most, idle): (i32, i32, i32) =
        (row.try_get(0).ok()?, row.try_get(1).ok()?, row.try_get(2).ok()?);
    let database: String = row.try_get(3).ok()?;
    let by = row.try_get::<_, Option<String>>(4).ok()?.unwrap_or_default();
    if used * 5 < most * 4 {
        return None;
    }
    let reason =
        format!("{used} of {most} connections are in use, {idle} of them idle; by application: {by}");
    let look = "SELECT datname, usename, application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC";
    let observation = Observation::new("connections", "server", reason, look);
    if idle * 2 < used {
        // They work: closing idle ones would bring nothing.
        return Some(observation);
    }
    let close = format!("ALTER DATABASE {database} SET idle_session_timeout = '10min'");
    Some(observation.mend(close, format!("ALTER DATABASE {database} RESET idle_session_timeout")))
}

const DEAD_ROWS: &str = "
SELECT /* trimtab_look */ schemaname::text, relname::text, n_dead_tup::float8, n_live_tup::float8,
       coalesce(last_autovacuum::text, 'never'), current_setting('autovacuum'),
       coalesce((SELECT bool_or(o ILIKE 'autovacuum_enabled=%' AND split_part(o, '=', 2) IN ('false', 'off', 'no', '0'))
                   FROM pg_class c, unnest(c.reloptions) AS o WHERE c.oid = relid), false)
  FROM pg_stat_user_tables
 WHERE n_dead_tup > 10000 AND n_dead_tup > 0.2 * n_live_tup ORDER BY n_dead_tup DESC LIMIT 10";

fn dead_rows(row: &Row) -> Option<Observation> {
    let name = table_name(row)?;
    let (dead, live): (f64, f64) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
    let (last, automatic): (String, String) = (row.try_get(4).ok()?, row.try_get(5).ok()?);
    let off_here: bool = row.try_get(6).ok()?;
    let off = match (automatic.as_str(), off_here) {
        ("off", _) => "; autovacuum is off on this server",
        (_, true) => "; autovacuum is switched off for this table",
        _ => "",
    };
    let reason =
        format!("{name} has {dead:.0} dead rows beside {live:.0} live ones; last autovacuum: {last}{off}");
    let look = "SELECT relname, n_live_tup, n_dead_tup, last_autovacuum FROM pg_stat_user_tables ORDER BY n_dead_tup DESC";
    let (often, undo) = match (automatic.as_str(), off_here) {
        ("off", _) => (
            "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()".to_owned(),
            "ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf()".to_owned(),
        ),
        (_, true) => (
            format!("ALTER TABLE {name} RESET (autovacuum_enabled)"),
            format!("ALTER TABLE {name} SET (autovacuum_enabled = false)"),
        ),
        _ => (
            format!("ALTER TABLE {name} SET (autovacuum_vacuum_scale_factor = 0.02)"),
            format!("ALTER TABLE {name} RESET (autovacuum_vacuum_scale_factor)"),
        ),
    };
    let mend = format!("VACUUM (ANALYZE) {name}; {often}");
    Some(Observation::new("dead_rows", &name, reason, look).mend(mend, undo))
}

/// What keeps rows from being removed that nobody can see any more: old transactions, prepared ones, and slots whose
/// consumer is gone, which keep the log as well.
const HELD_BACK: &str = "
SELECT /* trimtab_look */ 'session', coalesce(nullif(application_name, ''), 'a session without a name'),
       extract(epoch FROM clock_timestamp() - xact_start)::float8, pid::text, state
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND datname = current_database() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
   AND xact_start < clock_timestamp() - interval '5 minutes'
UNION ALL
SELECT 'prepared', quote_literal(gid), extract(epoch FROM clock_timestamp() - prepared)::float8, '', ''
  FROM pg_prepared_xacts WHERE database = current_database() AND prepared < clock_timestamp() - interval '5 minutes'
UNION ALL
SELECT 'slot', quote_literal(slot_name), coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::float8, '',
       coalesce(xmin::text, catalog_xmin::text, '')
  FROM pg_replication_slots
 WHERE NOT active AND NOT temporary AND restart_lsn IS NOT NULL AND NOT pg_is_in_recovery()
ORDER BY 1, 3 DESC LIMIT 10";

fn held_back(row: &Row) -> Option<Observation> {
    let (kind, name): (String, String) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
    let (size, pid): (f64, String) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
    let state = row.try_get::<_, Option<String>>(4).ok()?.unwrap_or_default();
    let minutes = size / 60.0;
    let (reason, look, mend) = match kind.as_str() {
        "session" => (
            format!(
                "a transaction of {name} is open for {minutes:.0} minutes ({state}): rows that died since cannot be removed"
            ),
            "SELECT pid, application_name, state, now() - xact_start AS age, query FROM pg_stat_activity ORDER BY xact_start",
            // What works, such as a backup, is not to be ended by a line that was pasted.
            if state == "active" {
                format!(
                    "SELECT state, query FROM pg_stat_activity WHERE pid = {pid} -- it works: let it end, or ask who runs it"
                )
            } else {
                format!("SELECT pg_terminate_backend({pid})")
            },
        ),
        "prepared" => (
            format!(
                "the prepared transaction {name} is open for {minutes:.0} minutes: it holds its locks, and rows that died since cannot be removed"
            ),
            "SELECT gid, prepared, owner, database FROM pg_prepared_xacts ORDER BY prepared",
            format!("ROLLBACK PREPARED {name}"),
        ),
        _ => {
            let rows = if state.is_empty() { "" } else { " and rows that died since" };
            let mebibytes = size / f64::from(1 << 20);
            (
                format!(
                    "nobody reads the replication slot {name}: the server keeps {mebibytes:.0} MiB of log for it{rows}, and more until the disk is full; drop it if its reader does not come back"
                ),
                "SELECT slot_name, slot_type, active, restart_lsn, xmin, catalog_xmin FROM pg_replication_slots",
                format!("SELECT pg_drop_replication_slot({name})"),
            )
        }
    };
    Some(Observation::new("vacuum_held_back", &name, reason, look).mend(mend, ""))
}

const STALE: &str = "
SELECT /* trimtab_look */ s.schemaname::text, s.relname::text, s.n_mod_since_analyze::float8,
       greatest(c.reltuples, s.n_live_tup)::float8,
       coalesce(greatest(s.last_analyze, s.last_autoanalyze)::text, 'never')
  FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
 WHERE greatest(c.reltuples, s.n_live_tup) > 1000
   AND (s.n_mod_since_analyze > 0.1 * greatest(c.reltuples, s.n_live_tup) OR c.reltuples < 0)
 ORDER BY s.n_mod_since_analyze DESC LIMIT 10";

fn stale(row: &Row) -> Option<Observation> {
    let name = table_name(row)?;
    let (changed, rows): (f64, f64) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
    let last: String = row.try_get(4).ok()?;
    let reason = format!(
        "{changed:.0} of about {rows:.0} rows of {name} have changed since the last ANALYZE ({last})"
    );
    let look = "SELECT relname, n_live_tup, n_mod_since_analyze, last_analyze, last_autoanalyze FROM pg_stat_user_tables";
    Some(Observation::new("stale_statistics", &name, reason, look).mend(format!("ANALYZE {name}"), ""))
}

const INVALID: &str = "
SELECT /* trimtab_look */ n.nspname::text, c.relname::text, pg_get_indexdef(c.oid)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT i.indisvalid AND c.relkind = 'i'
   AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid) LIMIT 10";

fn invalid(row: &Row) -> Option<Observation> {
    let name = table_name(row)?;
    let reason = format!("the index {name} is invalid: writers maintain it and no statement uses it");
    let look = "SELECT indexrelid::regclass, indrelid::regclass FROM pg_index WHERE NOT indisvalid";
    let undo = concurrently(&row.try_get::<_, String>(2).ok()?);
    let mend = format!("DROP INDEX CONCURRENTLY {name}");
    Some(Observation::new("invalid_index", &name, reason, look).mend(mend, undo))
}

/// Statistics of less than a day say nothing about a nightly job.
const UNUSED: &str = "
SELECT /* trimtab_look */ s.schemaname::text, s.indexrelname::text, pg_get_indexdef(s.indexrelid),
       pg_relation_size(s.indexrelid)::float8, coalesce(d.stats_reset, pg_postmaster_start_time())::text
  FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
  JOIN pg_stat_database d ON d.datname = current_database()
 WHERE s.idx_scan = 0 AND NOT i.indisunique AND i.indisvalid AND pg_relation_size(s.indexrelid) > 1048576
   AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = s.indexrelid)
   AND now() - coalesce(d.stats_reset, pg_postmaster_start_time()) > interval '1 day'
 ORDER BY 4 DESC LIMIT 10";

fn unused(row: &Row) -> Option<Observation> {
    let name = table_name(row)?;
    let (bytes, since): (f64, String) = (row.try_get(3).ok()?, row.try_get(4).ok()?);
    let reason = format!(
        "the index {name} ({:.0} MiB) was not used on this server since {since}; ask the replicas as well",
        bytes / f64::from(1 << 20)
    );
    let look = "SELECT indexrelname, idx_scan, pg_size_pretty(pg_relation_size(indexrelid)) FROM pg_stat_user_indexes ORDER BY idx_scan";
    let undo = concurrently(&row.try_get::<_, String>(2).ok()?);
    let mend = format!("DROP INDEX CONCURRENTLY {name}");
    Some(Observation::new("unused_index", &name, reason, look).mend(mend, undo))
}

const REDUNDANT: &str = "
SELECT /* trimtab_look */ n.nspname::text, c.relname::text, pg_get_indexdef(a.indexrelid), b.indexrelid::regclass::text
  FROM pg_index a JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
  JOIN pg_class c ON c.oid = a.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class o ON o.oid = b.indexrelid
 WHERE NOT a.indisunique AND a.indisvalid AND b.indisvalid AND c.relam = o.relam AND c.relkind = 'i'
   AND a.indpred IS NULL AND b.indpred IS NULL AND a.indexprs IS NULL AND b.indexprs IS NULL
   AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
   AND b.indkey::text || ' ' LIKE a.indkey::text || ' %'
   AND b.indclass::text || ' ' LIKE a.indclass::text || ' %'
   AND b.indoption::text || ' ' LIKE a.indoption::text || ' %'
   AND (a.indkey::text <> b.indkey::text OR b.indisunique OR a.indexrelid > b.indexrelid)
 ORDER BY 1, 2 LIMIT 10";

fn redundant(row: &Row) -> Option<Observation> {
    let name = table_name(row)?;
    let other: String = row.try_get(3).ok()?;
    let reason = format!("the index {name} is the beginning of {other}, which serves the same statements");
    let look = "SELECT indexrelid::regclass, indrelid::regclass, indkey FROM pg_index ORDER BY indrelid, indkey::text";
    let undo = concurrently(&row.try_get::<_, String>(2).ok()?);
    let mend = format!("DROP INDEX CONCURRENTLY {name}");
    Some(Observation::new("redundant_index", &name, reason, look).mend(mend, undo))
}

/// Foreign keys of tables over 1 MiB that no index begins with, whose parents' rows were deleted: in each such DELETE the
/// server reads all of the table, which no plan shows.
const FOREIGN_KEYS: &str = "
SELECT /* trimtab_look */ n.nspname::text, c.relname::text, k.conname::text, k.confrelid::regclass::text,
       c.reltuples::float8, s.n_tup_del::float8,
       (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number)
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_stat_user_tables s ON s.relid = k.confrelid
 WHERE k.contype = 'f' AND c.relkind = 'r' AND c.relpages >= 128 AND s.n_tup_del > 0
   AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
     AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
 ORDER BY c.reltuples * s.n_tup_del DESC, 1, 2, 3 LIMIT 10";

fn foreign_key(row: &Row) -> Option<Observation> {
    let name = table_name(row)?;
    let (schema, table): (String, String) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
    let (key, parent): (String, String) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
    let (rows, deleted): (f64, f64) = (row.try_get(4).ok()?, row.try_get(5).ok()?);
    let columns: Vec<String> = row.try_get(6).ok()?;
    let keys = columns.into_iter().map(|name| Key { name, ..Key::default() }).collect();
    let index = NewIndex { table: (schema, table), keys, predicate: None };
    let reason = format!(
        "each row deleted from {parent} is looked for in all {rows:.0} rows of {name}: the foreign key {} has no index; {deleted:.0} were deleted since the counters were reset",
        quoted(&key)
    );
    let look = format!(
        "SELECT conname, conrelid::regclass, confrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{}'",
        key.replace('\'', "''")
    );
    Some(
        Observation::new("foreign_key_without_index", &name, reason, &look)
            .mend(index.create(), index.undo()),
    )
}

const CHECKPOINTS: &str = "
SELECT /* trimtab_look */ checkpoints_timed::float8, checkpoints_req::float8,
       pg_size_bytes(current_setting('max_wal_size'))::float8,
       extract(epoch FROM clock_timestamp() - stats_reset)::float8,
       extract(epoch FROM current_setting('checkpoint_timeout')::interval)::float8 FROM pg_stat_bgwriter";
/// Bytes of log per second, since PostgreSQL 14.
const WAL_RATE: &str = "
SELECT /* trimtab_look */ wal_bytes::float8 / greatest(extract(epoch FROM clock_timestamp() - stats_reset), 1)::float8
  FROM pg_stat_wal";
const CHECKPOINTS_17: &str = "
SELECT /* trimtab_look */ num_timed::float8, num_requested::float8,
       pg_size_bytes(current_setting('max_wal_size'))::float8,
       extract(epoch FROM clock_timestamp() - stats_reset)::float8,
       extract(epoch FROM current_setting('checkpoint_timeout')::interval)::float8 FROM pg_stat_checkpointer";
/// Fewer may be those of a backup or of starting up.
const MIN_CHECKPOINTS: f64 = 10.0;
/// Between two checkpoints by the clock the log may grow to about half of `max_wal_size`.
const WAL_ROOM: f64 = 2.0;
/// More than this is never proposed: it takes too long to be read after a crash, whatever it spares.
const MAX_WAL_MB: f64 = 65_536.0;

/// More checkpoints because the log was full than by the clock: each makes the next writes log whole pages again.
fn checkpoints(row: &Row, wal_per_second: Option<f64>) -> Option<Observation> {
    let figure = |at: usize| row.try_get::<_, f64>(at).ok();
    let (timed, asked, bytes) = (figure(0)?, figure(1)?, figure(2)?);
    let (seconds, interval) = (figure(3).unwrap_or(0.0), figure(4)?);
    if asked < MIN_CHECKPOINTS || asked <= timed {
        return None;
    }
    let megabytes = bytes / f64::from(1 << 20);
    let minutes = seconds / 60.0;
    let reason = format!(
        "{asked:.0} checkpoints were forced and {timed:.0} came by the clock in {minutes:.0} minutes; max_wal_size is {megabytes:.0} MB"
    );
    let look = "SELECT * FROM pg_stat_bgwriter; SHOW max_wal_size";
    let set = |megabytes: f64| {
        format!("ALTER SYSTEM SET max_wal_size = '{megabytes:.0}MB'; SELECT pg_reload_conf()")
    };
    let observation = Observation::new("checkpoints", "server", reason, look);
    let wanted = match wal_per_second {
        Some(rate) => rate * interval * WAL_ROOM / f64::from(1 << 20),
        None => 2.0 * megabytes,
    };
    if wanted <= megabytes {
        // It was smaller then, or writes came in a burst that is over.
        return Some(observation);
    }
    let wanted = wanted.log2().ceil().exp2().min(MAX_WAL_MB.max(megabytes));
    Some(observation.mend(set(wanted), set(megabytes)))
}

/// Schema and name, quoted, from the first two columns.
fn table_name(row: &Row) -> Option<String> {
    let (schema, name): (String, String) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
    let schema = if schema == "public" { String::new() } else { format!("{}.", quoted(&schema)) };
    Some(format!("{schema}{}", quoted(&name)))
}

/// An index's definition that does not block writers.
fn concurrently(definition: &str) -> String {
    definition.replacen("INDEX ", "INDEX CONCURRENTLY ", 1)
}

#[cfg(test)]
mod tests {
    use super::concurrently;

    #[test]
    fn an_index_comes_back_without_blocking() {
        let definition = "CREATE INDEX i ON t USING btree (a)";
        assert_eq!(concurrently(definition), "CREATE INDEX CONCURRENTLY i ON t USING btree (a)");
    }
}
