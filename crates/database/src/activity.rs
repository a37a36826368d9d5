//! What sessions do and wait for: `pg_stat_activity`, looked at several times. A wait that is shorter than the interval
//! between looks is seen as often as its share of the time, not more.

use crate::connect::{Database, format_error, look};
use crate::health::Observation;
use model::{Gap, sql};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_postgres::Row;

/// A transaction that does nothing for this long holds its locks and rows for nothing.
const IDLE_S: f64 = 1.0;
/// Statement texts of one sample.
const MAX_SESSIONS: i64 = 1000;

const ACTIVITY: &str = "
SELECT /* trimtab_look */ a.pid, coalesce(a.state, ''), coalesce(a.wait_event_type, ''), coalesce(a.wait_event, ''),
       coalesce(extract(epoch FROM clock_timestamp() - a.state_change), 0)::float8, left(a.query, 4000),
       CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END,
       quote_ident(current_database())
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() LIMIT $1";

/// One session at one moment.
#[derive(Clone, Debug, PartialEq)]
struct Session {
    pid: i32,
    state: String,
    wait: String,
    /// Seconds in this state.
    since_s: f64,
    statement: String,
    blockers: Vec<i32>,
    database: String,
}

fn session(row: &Row) -> Option<Session> {
    let (kind, event): (String, String) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
    Some(Session {
        pid: row.try_get(0).ok()?,
        state: row.try_get(1).ok()?,
        wait: format!("{kind}: {event}"),
        since_s: row.try_get(4).ok()?,
        // Without values: they are nobody's business.
        statement: sql::normalise(row.try_get(5).unwrap_or_default()),
        blockers: row.try_get(6).ok()?,
        database: row.try_get(7).ok()?,
    })
}

impl Database {
    /// Looks at the sessions `times` times, `every` so often, and tells who waited for whose lock and who held a
    /// transaction open without work.
    pub async fn watch(&self, times: u32, every: Duration) -> (Vec<Observation>, Vec<Gap>) {
        let mut client = self.client.lock().await;
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
        let mut samples = Vec::new();
        for _ in 0..times {
            ticks.tick().await;
            let rows = match look(&mut client).await {
                Ok(transaction) => transaction.query(ACTIVITY, &[&MAX_SESSIONS]).await,
                Err(error) => Err(error),
            };
            match rows {
                Ok(rows) => samples.push(rows.iter().filter_map(session).collect()),
                Err(error) => {
                    let reason = format!("sessions could not be looked at: {}", format_error(&error));
                    let hint = "GRANT pg_read_all_stats TO the role that Trimtab connects as";
                    return (observed(&samples), vec![Gap::new("sessions", reason, hint)]);
                }
            }
        }
        (observed(&samples), Vec::new())
    }
}

fn observed(samples: &[Vec<Session>]) -> Vec<Observation> {
    let mut found = waits(samples);
    found.extend(idle(samples));
    found
}

/// Who waited for whom, by statement.
fn waits(samples: &[Vec<Session>]) -> Vec<Observation> {
    let mut seen: BTreeMap<(String, String), (usize, BTreeSet<i32>)> = BTreeMap::new();
    for sample in samples {
        for waiting in sample.iter().filter(|s| !s.blockers.is_empty()) {
            for blocker in sample.iter().filter(|s| waiting.blockers.contains(&s.pid)) {
                let holder = format!("{} ({}, {})", shown(&blocker.statement), blocker.state, blocker.wait);
                let (times, pids) = seen.entry((waiting.statement.clone(), holder)).or_default();
                *times += 1;
                pids.insert(blocker.pid);
            }
        }
    }
    let look = "SELECT pid, wait_event_type, pg_blocking_pids(pid), query FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let observation = |((statement, holder), (times, pids)): ((String, String), (usize, BTreeSet<i32>))| {
        let reason =
            format!("waited for a lock in {times} of {} looks; it was held by {holder}", samples.len());
        let cancel = |pid: &i32| format!("SELECT pg_cancel_backend({pid})");
        let mend = pids.iter().map(cancel).collect::<Vec<_>>().join("; ");
        Observation::new("lock_wait", &statement, reason, look).mend(mend, "")
    };
    seen.into_iter().map(observation).collect()
}

/// Transactions that were open and did nothing.
fn idle(samples: &[Vec<Session>]) -> Vec<Observation> {
    let mut longest: BTreeMap<i32, &Session> = BTreeMap::new();
    let all = samples.iter().flatten();
    for session in all.filter(|s| s.state.starts_with("idle in transaction") && s.since_s >= IDLE_S) {
        let known = longest.entry(session.pid).or_insert(session);
        if session.since_s > known.since_s {
            *known = session;
        }
    }
    let look = "SELECT pid, now() - state_change AS since, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    let observation = |session: &Session| {
        let reason = format!("a transaction was open without work for {:.1} s", session.since_s);
        let database = &session.database;
        Observation::new("idle_in_transaction", &session.statement, reason, look).mend(
            format!("ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '30s'"),
            format!("ALTER DATABASE {database} RESET idle_in_transaction_session_timeout"),
        )
    };
    longest.into_values().map(observation).collect()
}

fn shown(statement: &str) -> &str {
    if statement.is_empty() { "a session without a statement" } else { statement }
}

#[cfg(test)]
mod tests {
    use super::{Session, observed};

    fn session(pid: i32, state: &str, since_s: f64, statement: &str, blockers: &[i32]) -> Session {
        Session {
            pid,
            state: state.to_owned(),
            wait: "Client: ClientRead".to_owned(),
            since_s,
            statement: statement.to_owned(),
            blockers: blockers.to_vec(),
            database: "shop".to_owned(),
        }
    }

    #[test]
    fn waits_are_counted_and_their_blockers_named() {
        let sample = vec![
            session(1, "idle in transaction", 7.0, "UPDATE t SET a = $1", &[]),
            session(2, "active", 0.1, "DELETE FROM t", &[1]),
        ];
        let found = observed(&[sample.clone(), sample, vec![]]);
        let told: Vec<(&str, &str)> = found.iter().map(|o| (o.kind, o.subject.as_str())).collect();
        assert_eq!(told, [("lock_wait", "DELETE FROM t"), ("idle_in_transaction", "UPDATE t SET a = $1")]);
        assert!(found[0].reason.starts_with("waited for a lock in 2 of 3 looks; it was held by UPDATE t"));
        assert_eq!(found[0].mend.as_deref(), Some("SELECT pg_cancel_backend(1)"));
        assert!(found[1].undo.as_ref().unwrap().contains("RESET"));
    }

    #[test]
    fn a_transaction_between_two_statements_is_nothing() {
        assert_eq!(observed(&[vec![session(1, "idle in transaction", 0.1, "SELECT $1", &[])]]), []);
        assert_eq!(observed(&[]), []);
    }
}
