//! The state of the server: statements that read for nothing, caches, connections, temporary tables, indexes that nobody
//! uses, tables without a primary key, transactions that wait. Each with what shows it, what mends it, and its undo.

use super::advise::described;
use super::connection::{MariaDb, Refused};
use super::digests::{Digest, Digests, SIGNAL, texts};
use super::look::Look;
use crate::health::Observation;
use crate::query::{Dialect, Schema, quoted, shortened};
use anyhow::Result;
use model::Gap;
use std::collections::BTreeMap;

const MAX_OF_A_KIND: usize = 10;
/// Rows that a call examines for each that it sends.
const WASTE: f64 = 100.0;
/// A call that examines fewer is quick.
const MIN_EXAMINED: f64 = 10_000.0;
/// Without an index, fewer rows are told, too.
const MIN_WITHOUT_INDEX: f64 = 1_000.0;
const NEARLY_FULL: f64 = 0.8;
const MIN_REQUESTS: f64 = 100_000.0;
/// Share of the page requests that were answered from memory.
const HIT_RATIO: f64 = 0.99;
const DISK_SHARE: f64 = 0.25;
const MIN_TABLES: f64 = 100.0;
const CHURN: f64 = 0.1;
const MIN_QUESTIONS: f64 = 1_000.0;
/// Less than a day says nothing about a nightly job.
const DAY_S: f64 = 86_400.0;
/// Smaller indexes cost little.
const MIN_TABLE_BYTES: u64 = 8 << 20;
/// Share of the reads that were steps of a scan.
const SCANNED_SHARE: f64 = 0.5;

/// Counters and settings, by name in lower case.
struct Server {
    status: BTreeMap<String, f64>,
    settings: BTreeMap<String, f64>,
}

pub(super) async fn look(
    session: &mut MariaDb,
    schema: &Schema,
    digests: &Digests,
    look: &mut Look,
) -> Result<()> {
    let server = Server {
        status: figures(session.ask("SHOW GLOBAL STATUS").await?.iter().map(texts)),
        settings: figures(session.ask("SHOW GLOBAL VARIABLES").await?.iter().map(texts)),
    };
    of_statements(digests, look);
    let checks = [connections, churn, buffer_pool, disk_tables, scans];
    look.observations.extend(checks.iter().filter_map(|check| check(&server)));
    redundant(session, schema, look);
    keyless(session, schema, look);
    let day = server.status("uptime") >= DAY_S;
    if digests.source() == Some("performance_schema") && day {
        unused(session, schema, look).await?;
    } else {
        look.gaps.push(Gap::new(
            SIGNAL,
            "whether an index is used by nobody is not known",
            "performance_schema counts it; ask again when the server has run for a day with it",
        ));
    }
    transactions(session, look).await
}

impl Server {
    fn status(&self, name: &str) -> f64 {
        self.status.get(name).copied().unwrap_or(0.0)
    }

    fn setting(&self, name: &str) -> f64 {
        self.settings.get(name).copied().unwrap_or(0.0)
    }
}

fn figures<'r>(rows: impl Iterator<Item = Vec<&'r str>>) -> BTreeMap<String, f64> {
    let pair = |row: Vec<&str>| Some((row.first()?.to_lowercase(), row.get(1)?.parse::<f64>().ok()?));
    rows.filter_map(pair).collect()
}

/// Rows that are read and not sent, tables on disk, sorts that do not fit.
fn of_statements(digests: &Digests, look: &mut Look) {
    let mut order: Vec<(&String, &Digest)> = digests.all.iter().collect();
    order.sort_by(|(a, x), (b, y)| y.counts.total_ms.total_cmp(&x.counts.total_ms).then_with(|| a.cmp(b)));
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for (text, digest) in order {
        for mut seen in [wasted(text, digest), spilled(text, digest)].into_iter().flatten() {
            let count = told.entry(seen.kind).or_default();
            *count += 1;
            if *count > MAX_OF_A_KIND {
                continue;
            }
            let plan = look.plans.iter().find(|p| p.statement == *text && seen.mend.is_none());
            if let Some(index) = plan.and_then(|p| p.what_ifs.first()) {
                seen = seen.mend(index.create.clone(), index.undo.clone());
            }
            look.observations.push(seen);
        }
    }
}

fn wasted(text: &str, digest: &Digest) -> Option<Observation> {
    let counts = &digest.counts;
    let (examined, gave) = (counts.each(counts.examined), counts.each(counts.sent + counts.affected));
    let look = format!("EXPLAIN FORMAT=JSON {}", shortened(text));
    if counts.without_index > 0 && examined >= MIN_WITHOUT_INDEX && examined >= WASTE * gave.max(1.0) {
        let reason = format!(
            "{} of {} calls used no index: each examines {examined:.0} rows for {gave:.1} that it sends or changes",
            counts.without_index, counts.calls
        );
        return Some(Observation::new("no_index_used", text, reason, &look));
    }
    let reason = format!(
        "each call examines {examined:.0} rows for {gave:.1} that it sends or changes, {} calls",
        counts.calls
    );
    (examined >= MIN_EXAMINED && examined >= WASTE * gave.max(1.0))
        .then(|| Observation::new("rows_examined", text, reason, &look))
}

fn spilled(text: &str, digest: &Digest) -> Option<Observation> {
    let counts = &digest.counts;
    if counts.disk_tables == 0 && counts.merge_passes == 0 {
        return None;
    }
    let reason = format!(
        "{:.1} temporary tables on disk and {:.1} passes of a sort that did not fit, for each of {} calls",
        counts.each(counts.disk_tables),
        counts.each(counts.merge_passes),
        counts.calls
    );
    let look = "SELECT DIGEST_TEXT, SUM_CREATED_TMP_DISK_TABLES, SUM_SORT_MERGE_PASSES FROM performance_schema.events_statements_summary_by_digest ORDER BY 2 DESC LIMIT 10";
    let seen = Observation::new("spill", text, reason, look);
    Some(if counts.merge_passes > 0 {
        seen.mend(
            "SET SESSION sort_buffer_size = 4194304 in the service's connections",
            "SET SESSION sort_buffer_size = DEFAULT",
        )
    } else {
        seen
    })
}

fn connections(server: &Server) -> Option<Observation> {
    let (used, most) = (server.status("max_used_connections"), server.setting("max_connections"));
    let refused = server.status("connection_errors_max_connections");
    let reason = format!(
        "at the most {used:.0} of {most:.0} connections were open at once; {refused:.0} were refused"
    );
    (most > 0.0 && (used >= NEARLY_FULL * most || refused > 0.0)).then(|| {
        Observation::new(
            "connections",
            "max_connections",
            reason,
            "SHOW GLOBAL STATUS LIKE 'Max_used_connections'",
        )
        .mend(
            format!("SET GLOBAL max_connections = {:.0}", most * 1.5),
            format!("SET GLOBAL max_connections = {most:.0}"),
        )
    })
}

fn churn(server: &Server) -> Option<Observation> {
    let (made, questions) = (server.status("connections"), server.status("questions"));
    let reason = format!(
        "{made:.0} connections were made for {questions:.0} statements: each costs several round trips"
    );
    (questions >= MIN_QUESTIONS && made >= CHURN * questions).then(|| {
        let mut seen =
            Observation::new("connection_churn", "clients", reason, "SHOW GLOBAL STATUS LIKE 'Connections'");
        seen.mend = Some("keep connections open in the service: one pool, made at its start".to_owned());
        seen
    })
}

fn buffer_pool(server: &Server) -> Option<Observation> {
    let (asked, read) =
        (server.status("innodb_buffer_pool_read_requests"), server.status("innodb_buffer_pool_reads"));
    let size = server.setting("innodb_buffer_pool_size");
    let hit = 1.0 - read / asked.max(1.0);
    let reason = format!(
        "{:.1} % of {asked:.0} page requests were answered from the buffer pool of {:.0} MiB, the others from disk",
        hit * 100.0,
        size / f64::from(1 << 20)
    );
    (asked >= MIN_REQUESTS && hit < HIT_RATIO).then(|| {
        Observation::new(
            "buffer_pool",
            "innodb_buffer_pool_size",
            reason,
            "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_read%'",
        )
        .mend(
            format!("SET GLOBAL innodb_buffer_pool_size = {:.0}", size * 2.0),
            format!("SET GLOBAL innodb_buffer_pool_size = {size:.0}"),
        )
    })
}

fn disk_tables(server: &Server) -> Option<Observation> {
    let (disk, all) = (server.status("created_tmp_disk_tables"), server.status("created_tmp_tables"));
    let size = server.setting("tmp_table_size").min(server.setting("max_heap_table_size").max(1.0));
    let reason = format!(
        "{disk:.0} of {all:.0} temporary tables went to disk: larger than {:.0} MiB, or with TEXT and BLOB columns",
        size / f64::from(1 << 20)
    );
    (all >= MIN_TABLES && disk >= DISK_SHARE * all).then(|| {
        let both = |bytes: f64| {
            format!("SET GLOBAL tmp_table_size = {bytes:.0}, GLOBAL max_heap_table_size = {bytes:.0}")
        };
        Observation::new(
            "tmp_disk_tables",
            "tmp_table_size",
            reason,
            "SHOW GLOBAL STATUS LIKE 'Created_tmp%'",
        )
        .mend(both(size * 4.0), both(size))
    })
}

/// Steps of scans beside look-ups: all that is known of statements without performance_schema.
fn scans(server: &Server) -> Option<Observation> {
    let steps = server.status("handler_read_rnd_next");
    let names = ["first", "key", "last", "next", "prev", "rnd"];
    let others: f64 = names.iter().map(|name| server.status(&format!("handler_read_{name}"))).sum();
    let scans = server.status("select_scan").max(1.0);
    let reason = format!(
        "{:.0} % of all rows read were steps of scans of whole tables: {:.0} rows for each of {scans:.0} scans",
        100.0 * steps / (steps + others).max(1.0),
        steps / scans
    );
    (steps >= SCANNED_SHARE * (steps + others) && steps / scans >= MIN_EXAMINED).then(|| {
        let mut seen = Observation::new("full_scans", "server", reason, "SHOW GLOBAL STATUS LIKE 'Handler_read%'");
        seen.mend = Some("an index for the statements that scan: see no_index_used, or the slow log with log_queries_not_using_indexes = ON".to_owned());
        seen
    })
}

fn redundant(session: &MariaDb, schema: &Schema, look: &mut Look) {
    let all = schema.values().flat_map(|table| table.redundant().into_iter().map(move |pair| (table, pair)));
    for (table, (index, other)) in all.take(MAX_OF_A_KIND) {
        let reason = format!(
            "the index {} is the beginning of {}, which serves the same statements",
            described(table, index),
            described(table, other)
        );
        look.observations.push(hidden(session, "redundant_index", (&table.name, &index.name), reason));
    }
}

/// Taken from the planner first: that is undone at once, a dropped index is not.
fn hidden(
    session: &MariaDb,
    kind: &'static str,
    (table, index): (&str, &str),
    reason: String,
) -> Observation {
    let (table, name) = (quoted(table, Dialect::MySql), quoted(index, Dialect::MySql));
    let seen = Observation::new(kind, index, reason, &format!("SHOW INDEX FROM {table}"));
    match session.hiding() {
        Some((hide, show)) => seen.mend(
            format!("ALTER TABLE {table} ALTER INDEX {name} {hide}"),
            format!("ALTER TABLE {table} ALTER INDEX {name} {show}"),
        ),
        None => seen.mend(format!("ALTER TABLE {table} DROP INDEX {name}"), ""),
    }
}

fn keyless(session: &MariaDb, schema: &Schema, look: &mut Look) {
    let without =
        schema.values().filter(|t| t.rows >= MIN_WITHOUT_INDEX && !t.indexes.iter().any(|i| i.primary));
    for table in without.take(MAX_OF_A_KIND) {
        let name = quoted(&table.name, Dialect::MySql);
        let reason = format!(
            "{} ({:.0} rows) has no primary key: rows are kept in no order that a statement can use, and replicas search for each change",
            table.name, table.rows
        );
        let (mend, undo) = (
            format!("ALTER TABLE {name} ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"),
            format!("ALTER TABLE {name} DROP COLUMN id"),
        );
        let shown = format!("SHOW CREATE TABLE {}.{name}", quoted(&session.database, Dialect::MySql));
        look.observations
            .push(Observation::new("no_primary_key", &table.name, reason, &shown).mend(mend, undo));
    }
}

async fn unused(session: &mut MariaDb, schema: &Schema, look: &mut Look) -> Result<()> {
    let sql = "SELECT OBJECT_NAME, INDEX_NAME FROM performance_schema.table_io_waits_summary_by_index_usage
                WHERE OBJECT_SCHEMA = DATABASE() AND INDEX_NAME IS NOT NULL AND INDEX_NAME <> 'PRIMARY' AND COUNT_STAR = 0
                ORDER BY 1, 2";
    let rows = match session.ask(sql).await {
        Ok(rows) => rows,
        Err(error) => return gap(look, "the use of indexes cannot be read", error),
    };
    let large =
        |row: &Vec<&str>| schema.get(&row[0].to_lowercase()).filter(|t| t.bytes >= MIN_TABLE_BYTES).is_some();
    for row in rows.iter().map(texts).filter(|row| row.len() == 2 && large(row)).take(MAX_OF_A_KIND) {
        let table = &schema[&row[0].to_lowercase()];
        let Some(index) = table.indexes.iter().find(|i| i.name == row[1] && !i.unique) else { continue };
        let reason = format!(
            "no statement used the index {} since the server's start; ask the replicas as well",
            described(table, index)
        );
        look.observations.push(hidden(session, "unused_index", (&table.name, &index.name), reason));
    }
    Ok(())
}

/// Transactions that are open without work, and who waits for them.
async fn transactions(session: &mut MariaDb, look: &mut Look) -> Result<()> {
    let sql = "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()), trx_rows_modified, trx_id
                 FROM information_schema.INNODB_TRX
                WHERE trx_query IS NULL AND trx_started < NOW() - INTERVAL 10 SECOND ORDER BY 2 DESC LIMIT 10";
    let rows = match session.ask(sql).await {
        Ok(rows) => rows,
        Err(error) => return gap(look, "open transactions cannot be read", error),
    };
    let waiting = if rows.is_empty() { None } else { waiting(session).await? };
    look.observations.extend(rows.iter().filter_map(|row| open(&texts(row), waiting.as_ref())));
    Ok(())
}

/// Sessions that wait for a transaction, by its id; `None`: the server does not tell.
async fn waiting(session: &mut MariaDb) -> Result<Option<BTreeMap<String, u64>>> {
    let sql = if session.is_mariadb() || session.release() < (8, 0) {
        "SELECT blocking_trx_id, COUNT(DISTINCT requesting_trx_id) FROM information_schema.INNODB_LOCK_WAITS GROUP BY 1"
    } else {
        "SELECT BLOCKING_ENGINE_TRANSACTION_ID, COUNT(DISTINCT REQUESTING_ENGINE_TRANSACTION_ID)
           FROM performance_schema.data_lock_waits GROUP BY 1"
    };
    let rows = match session.ask(sql).await {
        Ok(rows) => rows,
        Err(error) => return error.downcast::<Refused>().map(|_| None),
    };
    let pair = |row: &Vec<&str>| Some(((*row.first()?).to_owned(), row.get(1)?.parse().ok()?));
    Ok(Some(rows.iter().map(texts).filter_map(|row| pair(&row)).collect()))
}

/// One that is open. To end it is offered only where somebody waits for it.
fn open(row: &[&str], waiting: Option<&BTreeMap<String, u64>>) -> Option<Observation> {
    let [id, seconds, modified, transaction] = *row else { return None };
    let others = waiting.map(|all| all.get(transaction).copied().unwrap_or(0));
    let who = match others {
        Some(0) => "no statement waits for it now".to_owned(),
        Some(n) => format!("{n} others wait for its locks"),
        None => format!("if others wait for it, KILL {id} ends it"),
    };
    let reason = format!(
        "session {id} holds a transaction open since {seconds} s without a statement; it changed {modified} rows; {who}"
    );
    let look = "SELECT * FROM information_schema.INNODB_TRX";
    let seen = Observation::new("idle_in_transaction", id, reason, look);
    let blocks = others.is_some_and(|n| n > 0);
    Some(if blocks { seen.mend(format!("KILL {id}"), "") } else { seen })
}

/// What was refused is a gap; a broken connection is an error.
fn gap(look: &mut Look, what: &str, error: anyhow::Error) -> Result<()> {
    let refused = error.downcast::<Refused>()?;
    let hint = if refused.is_of_rights() {
        "GRANT PROCESS ON *.*, GRANT SELECT ON performance_schema.* TO the user that Trimtab connects as"
    } else {
        "see the server's log; the rest was read"
    };
    look.gaps.push(Gap::new(SIGNAL, format!("{what}: {refused}"), hint));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::digests::{Counts, Digest};
    use super::{
        BTreeMap, Server, buffer_pool, churn, connections, disk_tables, open, scans, spilled, wasted,
    };

    fn kinds(status: &[(&str, f64)], settings: &[(&str, f64)]) -> Vec<&'static str> {
        let map = |all: &[(&str, f64)]| all.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let server = Server { status: map(status), settings: map(settings) };
        let checks = [connections, churn, buffer_pool, disk_tables, scans];
        checks.iter().filter_map(|check| check(&server)).map(|seen| seen.kind).collect()
    }

    #[test]
    fn a_server_that_is_well_has_nothing_to_mend() {
        let well = [
            ("max_used_connections", 20.0),
            ("connections", 50.0),
            ("questions", 90_000.0),
            ("innodb_buffer_pool_read_requests", 1e6),
            ("innodb_buffer_pool_reads", 900.0),
            ("created_tmp_tables", 500.0),
            ("handler_read_rnd_next", 100.0),
            ("handler_read_key", 90_000.0),
        ];
        assert!(kinds(&well, &[("max_connections", 151.0)]).is_empty());
        assert!(kinds(&[], &[]).is_empty());
    }

    #[test]
    fn each_trouble_is_one_observation() {
        let ill = [
            ("max_used_connections", 140.0),
            ("connections", 50_000.0),
            ("questions", 90_000.0),
            ("innodb_buffer_pool_read_requests", 1e6),
            ("innodb_buffer_pool_reads", 90_000.0),
            ("created_tmp_tables", 500.0),
            ("created_tmp_disk_tables", 400.0),
            ("handler_read_rnd_next", 1e7),
            ("select_scan", 50.0),
        ];
        assert_eq!(
            kinds(&ill, &[("max_connections", 151.0)]),
            ["connections", "connection_churn", "buffer_pool", "tmp_disk_tables", "full_scans"]
        );
    }

    #[test]
    fn a_session_is_ended_only_where_others_wait() {
        let row = ["7", "60", "3", "421"];
        let waiting = BTreeMap::from([("421".to_owned(), 2)]);
        let blocks = open(&row, Some(&waiting)).unwrap();
        assert!(
            blocks.reason.contains("2 others wait") && blocks.mend.as_deref() == Some("KILL 7"),
            "{blocks:?}"
        );
        for (waiting, told) in [(Some(&BTreeMap::new()), "no statement waits"), (None, "if others wait")] {
            let seen = open(&row, waiting).unwrap();
            assert!(seen.reason.contains(told) && seen.mend.is_none(), "{seen:?}");
        }
    }

    #[test]
    fn rows_that_are_read_for_nothing_are_told() {
        let digest = |examined, sent, without_index| Digest {
            counts: Counts { calls: 5, examined, sent, without_index, ..Counts::default() },
            ..Digest::default()
        };
        assert_eq!(wasted("q", &digest(1_000_000, 12, 5)).unwrap().kind, "no_index_used");
        assert_eq!(wasted("q", &digest(1_000_000, 12, 0)).unwrap().kind, "rows_examined");
        assert_eq!(wasted("q", &digest(1_000_000, 900_000, 5)), None);
        assert_eq!(wasted("q", &digest(500, 5, 5)), None);
        assert_eq!(spilled("q", &digest(5, 5, 0)), None);
    }
}
