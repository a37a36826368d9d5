//! Snapshots of `pg_stat_statements` and of the tables' counters, and their difference. Nothing is ever reset: other
//! tools read the same counters.

use crate::connect::{BEGIN_LOOK, Database, format_error, look};
use anyhow::{Result, anyhow};
use model::{Gap, Statement, sql};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row, Transaction};

const SIGNAL: &str = "statements";
/// Statements beyond this are not read: the server's own limit is 5,000 by default.
const MAX_STATEMENTS: i64 = 20_000;
/// What the server shows instead of the text of another role's statement.
const HIDDEN: &str = "<insufficient privilege>";

/// Role and query id.
type Id = (u32, i64);

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    entries: BTreeMap<Id, Entry>,
    /// Changes when somebody resets the counters or the server has to forget statements.
    epoch: String,
    /// The server's start: counters do not go on over it.
    started: String,
    /// Statements whose text the role may not see.
    hidden: u64,
    /// There were more statements than are read.
    cut: bool,
    /// Between asking for the counters and having them.
    taken: Option<Instant>,
    gaps: Vec<Gap>,
    /// Whose counters these are; Postgres' where it is empty.
    system: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    text: Arc<str>,
    total_ms: f64,
    /// calls, rows, blocks hit, blocks read, temporary blocks written, WAL bytes.
    counts: [i64; 6],
}

/// What a connection remembers from look to look.
#[derive(Default)]
pub(crate) struct Memory {
    questions: Option<Questions>,
    /// Normalised texts: they are asked for once.
    texts: BTreeMap<Id, Arc<str>>,
    writes: Option<Counted>,
    writes_before: Option<Counted>,
}

/// Rows written to each table up to a moment.
struct Counted {
    at: Instant,
    tables: BTreeMap<u32, Writes>,
}

/// Rows written to a table: since the statistics began, or per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Writes {
    pub(crate) inserted: f64,
    pub(crate) updated: f64,
    pub(crate) deleted: f64,
    /// Updates that touched no index.
    pub(crate) hot_updated: f64,
}

impl Writes {
    pub(crate) fn all(&self) -> f64 {
        self.inserted + self.updated + self.deleted
    }
}

impl Memory {
    /// Writes per second to a table between the last two snapshots; `None` where there were not two.
    pub(crate) fn writes_per_second(&self, table: u32) -> Option<Writes> {
        let (before, after) = (self.writes_before.as_ref()?, self.writes.as_ref()?);
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let zero = Writes::default();
        let (then, now) =
            (before.tables.get(&table).unwrap_or(&zero), after.tables.get(&table).unwrap_or(&zero));
        let rate = |now: f64, then: f64| (now - then).max(0.0) / seconds;
        (seconds > 0.0).then(|| Writes {
            inserted: rate(now.inserted, then.inserted),
            updated: rate(now.updated, then.updated),
            deleted: rate(now.deleted, then.deleted),
            hot_updated: rate(now.hot_updated, then.hot_updated),
        })
    }
}

/// Whether the server ended the connection; the client itself learns of it a moment later.
fn is_end(error: &Error) -> bool {
    let ends = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
    error.is_closed() || error.code().is_some_and(|code| ends.contains(code))
}

impl Database {
    /// Reads the counters, in a read-only transaction. What keeps them from being read is a gap in the snapshot.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let mut client = self.client.lock().await;
        if client.is_closed() {
            return Err(anyhow!("the connection to {} is gone", self.shown_url()));
        }
        let mut snapshot = Snapshot::default();
        let mut memory = std::mem::take(&mut *self.memory());
        let read = async {
            let transaction = look(&mut client).await?;
            read(&transaction, &mut snapshot, &mut memory).await
        }
        .await;
        *self.memory() = memory;
        match read {
            Ok(()) => {}
            Err(error) if client.is_closed() || is_end(&error) => {
                return Err(anyhow!(
                    "the connection to {} broke: {}",
                    self.shown_url(),
                    format_error(&error)
                ));
            }
            Err(error) => snapshot.gaps.push(unreadable(&error)),
        }
        Ok(snapshot)
    }

    /// How long an empty statement takes, there and back.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn round_trip(&self) -> Result<Duration> {
        let client = self.client.lock().await;
        let begun = Instant::now();
        client.simple_query("/* trimtab_look */").await.map_err(|error| anyhow!(format_error(&error)))?;
        Ok(begun.elapsed())
    }

    pub(crate) fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What does not change while a connection lives, and the questions of every look, prepared: they are asked at once.
struct Questions {
    user: String,
    started: String,
    /// Why statements cannot be counted, if they cannot.
    gap: Option<Gap>,
    writes: tokio_postgres::Statement,
    statements: Option<StatementQuestions>,
}

struct StatementQuestions {
    /// Since 1.9 of the extension.
    epoch: Option<tokio_postgres::Statement>,
    figures: tokio_postgres::Statement,
    figures_and_texts: tokio_postgres::Statement,
}

const SERVER: &str = "
SELECT /* trimtab_look */ quote_ident(n.nspname), e.extversion, quote_ident(current_user),
       coalesce(current_setting('pg_stat_statements.track', true), ''), pg_postmaster_start_time()::text
  FROM (VALUES (1)) AS one LEFT JOIN pg_extension e ON e.extname = 'pg_stat_statements'
  LEFT JOIN pg_namespace n ON n.oid = e.extnamespace";

const WRITES: &str = "
SELECT /* trimtab_look */ relid, n_tup_ins::float8, n_tup_upd::float8, n_tup_del::float8, n_tup_hot_upd::float8
  FROM pg_stat_user_tables";

impl Questions {
    async fn prepare(transaction: &Transaction<'_>) -> Result<Self, Error> {
        let row = transaction.query_one(SERVER, &[]).await?;
        let (user, started) = (row.try_get(2)?, row.try_get(4)?);
        let track: String = row.try_get(3)?;
        let writes = transaction.prepare(WRITES).await?;
        let mut questions = Self { user, started, gap: None, writes, statements: None };
        let Some(schema) = row.try_get::<_, Option<String>>(0)? else {
            questions.gap = Some(missing_extension());
            return Ok(questions);
        };
        let version: String = row.try_get(1)?;
        let number = major_minor(&version);
        if number < (1, 8) {
            let hint = "ALTER EXTENSION pg_stat_statements UPDATE (PostgreSQL 13 or later)";
            questions.gap =
                Some(Gap::new(SIGNAL, format!("pg_stat_statements {version} is older than 1.8"), hint));
            return Ok(questions);
        }
        if track == "none" {
            let hint = "ALTER SYSTEM SET pg_stat_statements.track = 'top'; SELECT pg_reload_conf();";
            let reason = "pg_stat_statements.track is none: nothing is counted";
            questions.gap = Some(Gap::new(SIGNAL, reason, hint));
        }
        let newer = number >= (1, 9);
        let info = format!(
            "SELECT /* trimtab_look */ coalesce(stats_reset::text, '') || ' ' || dealloc::text
               FROM {schema}.pg_stat_statements_info"
        );
        questions.statements = Some(StatementQuestions {
            epoch: if newer { Some(transaction.prepare(&info).await?) } else { None },
            figures: transaction.prepare(&figures(&schema, newer, false)).await?,
            figures_and_texts: transaction.prepare(&figures(&schema, newer, true)).await?,
        });
        Ok(questions)
    }
}

async fn read(
    transaction: &Transaction<'_>,
    snapshot: &mut Snapshot,
    memory: &mut Memory,
) -> Result<(), Error> {
    let questions = match memory.questions.take() {
        Some(known) => known,
        None => Questions::prepare(transaction).await?,
    };
    snapshot.started.clone_from(&questions.started);
    snapshot.gaps.extend(questions.gap.clone());
    // Sent together: one round trip.
    let (rows, ()) = tokio::try_join!(
        transaction.query(&questions.writes, &[]),
        read_statements(transaction, questions.statements.as_ref(), snapshot, &mut memory.texts),
    )?;
    let tables = rows.iter().map(written).collect();
    memory.writes_before = memory.writes.replace(Counted { at: Instant::now(), tables });
    if snapshot.hidden > 0 {
        snapshot.gaps.push(Gap::new(
            SIGNAL,
            format!("{} statements of other roles are hidden from this one", snapshot.hidden),
            format!("GRANT pg_read_all_stats TO {};", questions.user),
        ));
    }
    memory.questions = Some(questions);
    Ok(())
}

fn written(row: &Row) -> (u32, Writes) {
    let count = |column: usize| row.try_get(column).unwrap_or(0.0);
    let writes = Writes { inserted: count(1), updated: count(2), deleted: count(3), hot_updated: count(4) };
    (row.try_get(0).unwrap_or(0), writes)
}

fn major_minor(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

async fn read_statements(
    transaction: &Transaction<'_>,
    questions: Option<&StatementQuestions>,
    snapshot: &mut Snapshot,
    texts: &mut BTreeMap<Id, Arc<str>>,
) -> Result<(), Error> {
    let Some(questions) = questions else { return Ok(()) };
    let epoch = async {
        match &questions.epoch {
            Some(question) => transaction.query_one(question, &[]).await?.try_get(0),
            None => Ok(String::new()),
        }
    };
    // The texts lie in a file: they are read only where one is not known yet.
    let mut asked = Instant::now();
    let (epoch, mut rows) =
        tokio::try_join!(epoch, transaction.query(&questions.figures, &[&MAX_STATEMENTS]))?;
    if rows.iter().any(|row| !texts.contains_key(&id(row))) {
        asked = Instant::now();
        rows = transaction.query(&questions.figures_and_texts, &[&MAX_STATEMENTS]).await?;
        *texts = rows.iter().map(|row| (id(row), text(row))).collect();
    }
    snapshot.taken = Some(asked + asked.elapsed() / 2);
    snapshot.epoch = epoch;
    snapshot.cut = i64::try_from(rows.len()).is_ok_and(|n| n >= MAX_STATEMENTS);
    for row in &rows {
        let Some(text) = texts.get(&id(row)) else { continue };
        if &**text == HIDDEN {
            snapshot.hidden += 1;
        } else if !text.is_empty() {
            let counts = std::array::from_fn(|i| row.try_get(4 + i).unwrap_or(0));
            let entry = Entry { text: Arc::clone(text), total_ms: row.try_get(3).unwrap_or(0.0), counts };
            snapshot.entries.insert(id(row), entry);
        }
    }
    Ok(())
}

/// The extension's view under its quoted `schema`; `newer` from 1.9 on.
fn figures(schema: &str, newer: bool, with_texts: bool) -> String {
    let top = if newer { "AND s.toplevel" } else { "" };
    format!(
        "SELECT /* trimtab_look */ s.userid, coalesce(s.queryid, 0), coalesce(s.query, ''), s.total_exec_time,
                s.calls, s.rows, s.shared_blks_hit, s.shared_blks_read, s.temp_blks_written, s.wal_bytes::bigint
           FROM {schema}.pg_stat_statements({with_texts}) s
          WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) {top}
          ORDER BY s.total_exec_time DESC LIMIT $1"
    )
}

fn id(row: &Row) -> Id {
    (row.try_get(0).unwrap_or(0), row.try_get(1).unwrap_or(0))
}

/// The identity of a statement; empty for what Trimtab itself asks.
fn text(row: &Row) -> Arc<str> {
    // A text in another encoding than the database's cannot be read: it stays out.
    let raw: &str = row.try_get(2).unwrap_or_default();
    if raw == HIDDEN {
        return Arc::from(HIDDEN);
    }
    let own = raw.contains("trimtab_") || raw.contains("pg_stat_statements") || raw == BEGIN_LOOK;
    if own { Arc::from("") } else { Arc::from(sql::normalise(raw)) }
}

impl Snapshot {
    /// What happened between two snapshots, by time within the database, and what could not be seen. Nothing, and a
    /// gap that says why, where the counters do not span the window.
    #[must_use]
    pub fn delta(before: &Self, after: &Self) -> (Vec<Statement>, Vec<Gap>) {
        let mut gaps = after.gaps.clone();
        gaps.extend(before.gaps.iter().filter(|gap| !after.gaps.contains(gap)).cloned());
        if let Some(gap) = void(before, after) {
            gaps.push(gap);
            return (Vec::new(), gaps);
        }
        if !before.cut {
            return (summed(after.system, &before.entries, &after.entries), gaps);
        }
        // Calls of one that was beyond the limit may be of before.
        let known = |(id, _): &(&Id, &Entry)| before.entries.contains_key(*id);
        let (both, others): (Vec<_>, Vec<_>) = after.entries.iter().partition(known);
        gaps.extend(overtaken(others.len() as u64));
        let both = both.into_iter().map(|(id, entry)| (*id, entry.clone())).collect();
        (summed(after.system, &before.entries, &both), gaps)
    }

    /// Why two snapshots cannot be compared, if they cannot: one was not read, the server was restarted, counters were
    /// reset, statements were forgotten.
    #[must_use]
    pub fn broken(before: &Self, after: &Self) -> Option<Gap> {
        if let Some(blind) = [before, after].into_iter().find(|s| s.taken.is_none()) {
            let unread = || Gap::new(SIGNAL, "pg_stat_statements was not read", "see the other gaps");
            return Some(blind.gaps.first().cloned().unwrap_or_else(unread));
        }
        void(before, after)
    }

    /// Of another server's counters: text, calls, milliseconds, rows and temporary tables on disk of each statement, and
    /// whether there were more than are read.
    pub(crate) fn of_others(
        system: &'static str,
        (statements, cut): (impl Iterator<Item = (String, [u64; 3], f64)>, bool),
        taken: Option<Instant>,
        gaps: Vec<Gap>,
    ) -> Self {
        let entry = |(text, [calls, rows, temporary], total_ms): (String, [u64; 3], f64)| {
            let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            // FNV-1a, 64 bits: the text is the identity.
            let id = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            let counts = [whole(calls), whole(rows), 0, 0, whole(temporary), 0];
            ((0, id.cast_signed()), Entry { text: Arc::from(text), total_ms, counts })
        };
        Self { entries: statements.map(entry).collect(), cut, taken, gaps, system, ..Self::default() }
    }

    /// When the server read its counters, as near as that can be told; `None` if it did not.
    #[must_use]
    pub fn taken(&self) -> Option<Instant> {
        self.taken
    }

    /// Everything since the counters were reset last, by time within the database, and what could not be seen.
    #[must_use]
    pub fn totals(&self) -> (Vec<Statement>, Vec<Gap>) {
        (summed(self.system, &BTreeMap::new(), &self.entries), self.gaps.clone())
    }
}

/// That statements came among those that are read, if any did.
pub(crate) fn overtaken(statements: u64) -> Option<Gap> {
    let reason = format!(
        "{statements} statements were not among those with most time at the begin: what they took since is not known"
    );
    let hint = "the server keeps more statements than are read: measure longer, or reset its counters before";
    (statements > 0).then(|| Gap::new(SIGNAL, reason, hint))
}

fn summed(system: &str, before: &BTreeMap<Id, Entry>, after: &BTreeMap<Id, Entry>) -> Vec<Statement> {
    let mut by_text: BTreeMap<&str, Statement> = BTreeMap::new();
    for (id, now) in after {
        let then = before.get(id);
        let [calls, rows, hit, read, temp, wal] = std::array::from_fn(|i| {
            u64::try_from(now.counts[i] - then.map_or(0, |t| t.counts[i])).unwrap_or(0)
        });
        if calls == 0 {
            continue;
        }
        // One statement has several ids (by the types of its parameters): the text is its identity.
        let sum = by_text.entry(&now.text).or_default();
        sum.calls += calls;
        sum.total_ms += (now.total_ms - then.map_or(0.0, |t| t.total_ms)).max(0.0);
        sum.rows += rows;
        sum.blocks_hit += hit;
        sum.blocks_read += read;
        sum.temp_blocks += temp;
        sum.wal_bytes += wal;
    }
    let named = |(text, sum): (&str, Statement)| Statement {
        text: text.to_owned(),
        system: if system.is_empty() { "postgresql" } else { system }.to_owned(),
        ..sum
    };
    let mut statements: Vec<Statement> = by_text.into_iter().map(named).collect();
    statements.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms).then_with(|| a.text.cmp(&b.text)));
    statements
}

/// Why the counters do not span the window, if they do not: a restart, a reset of all, of some, or an eviction.
fn void(before: &Snapshot, after: &Snapshot) -> Option<Gap> {
    let gap = |reason: &str, hint: &str| Some(Gap::new(SIGNAL, reason, hint));
    if before.started != after.started {
        return gap(
            "the database server was restarted during the measurement",
            "measure again; if nobody restarted it, see its log",
        );
    }
    let less = |(id, then): (&Id, &Entry)| match after.entries.get(id) {
        Some(now) => now.counts[0] < then.counts[0],
        None => !after.cut,
    };
    let less = before.entries.iter().any(less);
    if less && !after.system.is_empty() {
        return gap(
            "the server was restarted, or its counters of statements were truncated, during the measurement",
            "measure again, and let nothing TRUNCATE performance_schema while measuring",
        );
    }
    if before.epoch != after.epoch || less {
        return gap(
            "pg_stat_statements was reset, or had to forget statements, during the measurement",
            "raise pg_stat_statements.max, and let nothing reset it while measuring",
        );
    }
    None
}

fn missing_extension() -> Gap {
    Gap::new(
        SIGNAL,
        "the extension pg_stat_statements is not installed in this database",
        "run CREATE EXTENSION pg_stat_statements in this database (and have it in shared_preload_libraries)",
    )
}

fn unreadable(error: &Error) -> Gap {
    let said = format_error(error);
    let code = error.code().cloned();
    let hint = if said.contains("shared_preload_libraries") {
        "add pg_stat_statements to shared_preload_libraries and restart the server"
    } else if code == Some(SqlState::INSUFFICIENT_PRIVILEGE) {
        "GRANT pg_read_all_stats TO the role that Trimtab connects as, and USAGE on the extension's schema"
    } else if said.contains("prepared statement") {
        "connect to the server itself, not through a pooler in transaction mode"
    } else if code == Some(SqlState::QUERY_CANCELED) || code == Some(SqlState::LOCK_NOT_AVAILABLE) {
        "the server was too busy to answer: measure again under less load"
    } else {
        "see the server's log; the rest was measured"
    };
    Gap::new(SIGNAL, format!("pg_stat_statements cannot be read: {said}"), hint)
}

#[cfg(test)]
mod tests {
    use super::{Entry, Snapshot};
    use std::sync::Arc;

    fn snapshot(calls: &[(i64, i64)]) -> Snapshot {
        let entry = |calls: i64| Entry {
            text: Arc::from("SELECT $1"),
            total_ms: calls as f64,
            counts: [calls, calls, 0, 0, 0, 0],
        };
        let entries = calls.iter().map(|(id, calls)| ((10, *id), entry(*calls))).collect();
        Snapshot { entries, ..Snapshot::default() }
    }

    #[test]
    fn ids_of_one_text_are_summed() {
        let (statements, gaps) = Snapshot::delta(&snapshot(&[(1, 5)]), &snapshot(&[(1, 8), (2, 4)]));
        assert_eq!(gaps, []);
        assert_eq!(statements.len(), 1);
        assert_eq!((statements[0].calls, statements[0].rows), (7, 7));
    }

    #[test]
    fn a_statement_that_was_forgotten_voids_the_window() {
        let before = snapshot(&[(1, 5), (2, 5)]);
        for after in [snapshot(&[(1, 9)]), snapshot(&[(1, 9), (2, 3)])] {
            let (statements, gaps) = Snapshot::delta(&before, &after);
            assert!(statements.is_empty() && gaps.len() == 1, "{gaps:?}");
        }
        let after = Snapshot { cut: true, ..snapshot(&[(1, 9)]) };
        assert_eq!(Snapshot::delta(&before, &after).1, []);
    }

    #[test]
    fn a_statement_from_beyond_the_limit_counts_for_nothing() {
        let all = |calls: &[(&str, u64)]| -> Vec<_> {
            calls.iter().map(|(text, calls)| ((*text).to_owned(), [*calls, 0, 0], 1.0)).collect()
        };
        let look = |calls| Snapshot::of_others("mysql", (all(calls).into_iter(), true), None, Vec::new());
        let (statements, gaps) =
            Snapshot::delta(&look(&[("a", 4), ("b", 2)]), &look(&[("a", 9), ("c", 700)]));
        assert_eq!(statements.iter().map(|s| (s.text.as_str(), s.calls)).collect::<Vec<_>>(), [("a", 5)]);
        assert!(gaps.len() == 1 && gaps[0].reason.starts_with("1 statements"), "{gaps:?}");
    }

    #[test]
    fn a_restart_voids_the_window() {
        let after = Snapshot { started: "later".to_owned(), ..snapshot(&[(1, 9)]) };
        let (_, gaps) = Snapshot::delta(&snapshot(&[(1, 5)]), &after);
        assert!(gaps[0].reason.contains("restarted"), "{gaps:?}");
    }
}
