//! The state of the server beside its statements: each observation with the SQL that shows it, the SQL that mends it and
//! the SQL that undoes that. Only looks; which observation matters is for whoever reads it.

use crate::connect::{Database, format_error, look};
use crate::index::{Key, NewIndex, quoted};
use crate::tokens::{Kind, tokens};
use model::{Gap, Plan, PlanNode, Statement};
use serde::Serialize;
use tokio_postgres::Row;

const SIGNAL: &str = "database";
/// Observations of one kind.
const MAX_OF_A_KIND: usize = 10;
const BLOCK_BYTES: u64 = 8192;
/// More than this is never proposed for `work_mem`: every sort of every session may take it.
const MAX_WORK_MEM_MB: u64 = 256;
/// A plan that is wrong by this factor misleads what is built upon it.
const MISESTIMATE: f64 = 10.0;
/// Of the rows that a scan reads, more than this share is thrown away.
const REMOVED_SHARE: f64 = 0.9;
/// A scan of fewer rows is quick whatever it throws away.
const MIN_ROWS: f64 = 10_000.0;

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// `spill`, `misestimate`, `rows_removed`, `lock_wait`, `idle_in_transaction`, `connections`, `dead_rows`,
    /// `stale_statistics`, `invalid_index`, `unused_index`, `redundant_index`, `foreign_key_without_index`, `checkpoints`;
    /// of other databases more, see
    /// docs/database.md.
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

const CHECKS: [Check; 7] = [
    Check { sql: CONNECTIONS, read: connections },
    Check { sql: DEAD_ROWS, read: dead_rows },
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
        if let Ok(rows) = client.query(sql, &[]).await {
            found.extend(rows.iter().filter_map(checkpoints));
        }
        drop(client);
        found.extend(statements.iter().filter_map(spill).take(MAX_OF_A_KIND));
        found.extend(plans.iter().flat_map(|p| from_plan(p, statements)).take(2 * MAX_OF_A_KIND));
        gaps.dedup();
        (found, gaps)
    }
}

const CONNECTIONS: &str = "
SELECT /* trimtab_look */ count(*)::int, current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int,
       (count(*) FILTER (WHERE state = 'idle'))::int, quote_ident(current_database())
  FROM pg_stat_activity WHERE backend_type = 'client backend'";

/// Four fifths of what the server takes are in use.
fn connections(row: &Row) -> Option<Observation> {
    let (used, most, idle): (i32, i32, i32) =
        (row.try_get(0).ok()?, row.try_get(1).ok()?, row.try_get(2).ok()?);
    let database: String = row.try_get(3).ok()?;
    let reason = format!("{used} of {most} connections are in use, {idle} of them idle");
    let look = "SELECT datname, usename, application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC";
    let close = format!("ALTER DATABASE {database} SET idle_session_timeout = '10min'");
    let reset = format!("ALTER DATABASE {database} RESET idle_session_timeout");
    (used * 5 >= most * 4).then(|| Observation::new("connections", "server", reason, look).mend(close, reset))
}

const DEAD_ROWS: &str = "
SELECT /* trimtab_look */ schemaname::text, relname::text, n_dead_tup::float8, n_live_tup::float8,
       coalesce(last_autovacuum::text, 'never'), current_setting('autovacuum')
  FROM pg_stat_user_tables
 WHERE n_dead_tup > 10000 AND n_dead_tup > 0.2 * n_live_tup ORDER BY n_dead_tup DESC LIMIT 10";

fn dead_rows(row: &Row) -> Option<Observation> {
    let name = table_name(row)?;
    let (dead, live): (f64, f64) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
    let (last, automatic): (String, String) = (row.try_get(4).ok()?, row.try_get(5).ok()?);
    let off = if automatic == "off" { "; autovacuum is off" } else { "" };
    let reason =
        format!("{name} has {dead:.0} dead rows beside {live:.0} live ones; last autovacuum: {last}{off}");
    let look = "SELECT relname, n_live_tup, n_dead_tup, last_autovacuum FROM pg_stat_user_tables ORDER BY n_dead_tup DESC";
    let mend =
        format!("VACUUM (ANALYZE) {name}; ALTER TABLE {name} SET (autovacuum_vacuum_scale_factor = 0.02)");
    let undo = format!("ALTER TABLE {name} RESET (autovacuum_vacuum_scale_factor)");
    Some(Observation::new("dead_rows", &name, reason, look).mend(mend, undo))
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
       pg_size_bytes(current_setting('max_wal_size'))::float8 FROM pg_stat_bgwriter";
const CHECKPOINTS_17: &str = "
SELECT /* trimtab_look */ num_timed::float8, num_requested::float8,
       pg_size_bytes(current_setting('max_wal_size'))::float8 FROM pg_stat_checkpointer";
/// Fewer may be those of a backup or of starting up.
const MIN_CHECKPOINTS: f64 = 10.0;

/// More checkpoints because the log was full than by the clock: each makes the next writes log whole pages again.
fn checkpoints(row: &Row) -> Option<Observation> {
    let (timed, asked, bytes): (f64, f64, f64) =
        (row.try_get(0).ok()?, row.try_get(1).ok()?, row.try_get(2).ok()?);
    let megabytes = bytes / f64::from(1 << 20);
    let reason = format!(
        "{asked:.0} checkpoints were forced and {timed:.0} came by the clock; max_wal_size is {megabytes:.0} MB"
    );
    let look = "SELECT * FROM pg_stat_bgwriter; SHOW max_wal_size";
    let mend = format!("ALTER SYSTEM SET max_wal_size = '{:.0}MB'; SELECT pg_reload_conf()", megabytes * 2.0);
    let undo = "ALTER SYSTEM RESET max_wal_size; SELECT pg_reload_conf()";
    let often = asked >= MIN_CHECKPOINTS && asked > timed;
    often.then(|| Observation::new("checkpoints", "server", reason, look).mend(mend, undo))
}

/// A sort or hash that did not fit into memory.
fn spill(statement: &Statement) -> Option<Observation> {
    let per_call =
        statement.temp_blocks.checked_div(statement.calls).filter(|n| *n > 0)?.saturating_mul(BLOCK_BYTES);
    let megabytes = per_call as f64 / f64::from(1 << 20);
    let reason = format!("each call writes {megabytes:.1} MB of temporary files, {} calls", statement.calls);
    let look = "SELECT query, calls, temp_blks_written FROM pg_stat_statements ORDER BY temp_blks_written DESC LIMIT 10";
    let wanted = (per_call >> 19).clamp(4, MAX_WORK_MEM_MB).next_power_of_two();
    let mend = format!("ALTER ROLE the_role_of_the_service SET work_mem = '{wanted}MB'");
    let undo = "ALTER ROLE the_role_of_the_service RESET work_mem";
    Some(Observation::new("spill", &statement.text, reason, look).mend(mend, undo))
}

/// What a plan and the rows that came of it tell together: wrong estimates, and rows that were read for nothing.
fn from_plan(plan: &Plan, statements: &[Statement]) -> Vec<Observation> {
    let mut found = Vec::new();
    let Some(statement) = statements.iter().find(|s| s.text == plan.statement && s.calls > 0) else {
        return found;
    };
    let nodes = plan.root.walk();
    let cut = nodes.iter().any(|n| n.kind == "Limit" || n.kind == "ModifyTable" || n.kind == "LockRows");
    if cut {
        return found;
    }
    let came = statement.rows as f64 / statement.calls as f64;
    let (most, least) = (came.max(plan.root.rows).max(1.0), came.min(plan.root.rows).max(1.0));
    if most / least >= MISESTIMATE && most >= MIN_ROWS / MISESTIMATE && is_estimated(&nodes) {
        let reason = format!("the planner expects {:.0} rows, {came:.0} came per call", plan.root.rows);
        let look = format!("EXPLAIN (ANALYZE, BUFFERS) {}", plan.statement);
        let tables: Vec<String> =
            plan.tables.iter().map(|t| format!("ANALYZE {}", quoted(&t.name))).collect();
        found.push(
            Observation::new("misestimate", &plan.statement, reason, &look).mend(tables.join("; "), ""),
        );
    }
    from_scan(plan, &nodes, came, found)
}

/// Whether statistics could make it right: what a plan for any value expects of a range, of a key of a document or of one
/// value of a skewed column is no estimate of what this service asks for.
fn is_estimated(nodes: &[&PlanNode]) -> bool {
    let conditions = || nodes.iter().flat_map(|n| [&n.filter, &n.index_condition]).flatten();
    let open = conditions().any(|text| {
        let all = tokens(text);
        let parameter = all.iter().any(|t| t.parameter().is_some());
        parameter
            && all.iter().any(|t| t.kind == Kind::Operator && !["=", "::", ".", ","].iter().any(|o| t.is(o)))
    });
    let parameters = conditions().any(|text| tokens(text).iter().any(|t| t.parameter().is_some()));
    let relations = nodes.iter().filter(|n| n.relation.is_some()).count();
    !open && relations > 0 && (!parameters || relations > 1)
}

/// Rows that a sequential scan of the statement's only table reads for nothing.
fn from_scan(plan: &Plan, nodes: &[&PlanNode], came: f64, mut found: Vec<Observation>) -> Vec<Observation> {
    let [scan] = nodes.iter().filter(|n| n.relation.is_some()).collect::<Vec<_>>()[..] else { return found };
    let grouped =
        nodes.iter().any(|n| n.kind.contains("Aggregate") || n.kind == "Group" || n.kind == "Unique");
    let table = plan.tables.iter().find(|t| Some(&t.name) == scan.relation.as_ref());
    if let Some(table) = table.filter(|t| scan.kind == "Seq Scan" && !grouped && t.rows >= MIN_ROWS) {
        let removed = 1.0 - came / table.rows;
        if removed > REMOVED_SHARE {
            let reason = format!(
                "each call reads {:.0} rows of {} and throws {:.2} % of them away",
                table.rows,
                table.name,
                removed * 100.0
            );
            let look = format!("EXPLAIN (ANALYZE, BUFFERS) {}", plan.statement);
            let mut observation = Observation::new("rows_removed", &plan.statement, reason, &look);
            if let Some(index) = plan.what_ifs.first() {
                observation = observation.mend(index.create.clone(), index.undo.clone());
            } else if let Some(why) = unserved(scan.filter.as_deref().unwrap_or_default()) {
                observation.reason = format!("{}; {why}", observation.reason);
            }
            found.push(observation);
        }
    }
    found
}

/// Why no index of the ordinary kind serves a condition, and what would.
fn unserved(filter: &str) -> Option<&'static str> {
    let all = tokens(filter);
    let has = |operators: &[&str]| all.iter().any(|t| operators.iter().any(|o| t.is(o)));
    if has(&["~~", "~~*"]) {
        Some(
            "where the pattern is known to begin with letters, an index with text_pattern_ops serves LIKE; for any other, and for ILIKE, one by gin with gin_trgm_ops (extension pg_trgm)",
        )
    } else if has(&["@>", "<@", "&&", "?", "@@"]) {
        Some("an index by gin on that column serves this operator")
    } else if has(&["->>", "->", "#>>"]) {
        Some("an index on the expression, with the key that the service asks for: ((column ->> 'key'))")
    } else if all.iter().any(|t| t.is_word("or")) {
        Some("each side of OR needs an index of its own")
    } else if all.iter().any(|t| t.is("::")) && all.iter().any(|t| t.is_word("date")) {
        Some("compare the column itself with a range (at >= day AND at < day + 1), which an index serves")
    } else {
        None
    }
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
    use super::{concurrently, from_plan, spill};
    use model::{Plan, PlanNode, Statement, TableFigures};

    #[test]
    fn a_spill_asks_for_as_much_memory_as_it_wrote() {
        let statement = Statement { calls: 4, temp_blocks: 4 * 1280, ..Statement::default() };
        let found = spill(&statement).unwrap();
        assert!(found.reason.starts_with("each call writes 10.0 MB"), "{}", found.reason);
        assert!(found.mend.unwrap().contains("work_mem = '32MB'"));
        assert!(found.undo.unwrap().contains("RESET work_mem"));
        assert_eq!(spill(&Statement { calls: 4, ..Statement::default() }), None);
        let huge = Statement { calls: 1, temp_blocks: u64::MAX / 8192, ..Statement::default() };
        assert!(spill(&huge).unwrap().mend.unwrap().contains("256MB"));
    }

    fn kinds(planned: f64, rows: u64, scan: &str) -> Vec<&'static str> {
        let statement = Statement { text: "SELECT $1".to_owned(), calls: 10, rows, ..Statement::default() };
        let table = TableFigures { name: "t".to_owned(), rows: 200_000.0, ..TableFigures::default() };
        let root = PlanNode {
            kind: scan.to_owned(),
            relation: Some("t".to_owned()),
            rows: planned,
            ..PlanNode::default()
        };
        let plan = Plan {
            statement: "SELECT $1".to_owned(),
            root,
            executed: None,
            tables: vec![table],
            what_ifs: vec![],
        };
        from_plan(&plan, &[statement]).iter().map(|o| o.kind).collect()
    }

    #[test]
    fn plans_are_compared_with_what_came() {
        assert_eq!(kinds(10.0, 100, "Seq Scan"), ["rows_removed"]);
        assert_eq!(kinds(10.0, 100, "Index Scan"), [""; 0]);
        assert_eq!(kinds(50_000.0, 100, "Index Scan"), ["misestimate"]);
        assert_eq!(kinds(150_000.0, 1_500_000, "Seq Scan"), [""; 0]);
    }

    #[test]
    fn an_index_comes_back_without_blocking() {
        let definition = "CREATE INDEX i ON t USING btree (a)";
        assert_eq!(concurrently(definition), "CREATE INDEX CONCURRENTLY i ON t USING btree (a)");
    }
}
