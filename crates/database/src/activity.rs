//! What sessions do and wait for: `pg_stat_activity`, looked at several times, and the counters of connections before and
//! after. A wait that is shorter than the interval between looks is seen as often as its share of the time, not more.

use crate::connect::{Database, format_error, look};
use crate::health::Observation;
use crate::sessions::{Connections, Session, observed};
use model::{Gap, sql};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error, Row};

const SIGNAL: &str = "sessions";
/// Sessions of one sample.
const MAX_SESSIONS: i64 = 1000;
/// Looks that are kept; more are spread over the time.
const MAX_LOOKS: u32 = 3_000;
/// Sessions of all looks; more are spread over the time, too.
const MAX_KEPT: u32 = 200_000;
/// Looks that are kept of however many sessions.
const MIN_KEPT: u32 = 20;

const ACTIVITY: &str = "
SELECT /* trimtab_look */ a.pid, coalesce(a.state, ''), coalesce(a.wait_event_type, ''), coalesce(a.wait_event, ''),
       coalesce(extract(epoch FROM clock_timestamp() - a.state_change), 0)::float8, left(a.query, 4000),
       CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END,
       quote_ident(current_database()), a.application_name, a.backend_type, a.state IS NULL AND a.query LIKE '<insuff%',
       coalesce(host(a.client_addr), ''),
       CASE WHEN a.wait_event_type = 'Lock' THEN (
           SELECT extract(epoch FROM clock_timestamp() - min((to_jsonb(l) ->> 'waitstart')::timestamptz))
             FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted) END::float8
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() LIMIT $1";

/// By name, because servers before 14 do not count sessions.
const COUNTERS: &str = "
SELECT /* trimtab_look */ (to_jsonb(d) ->> 'sessions')::float8, (xact_commit + xact_rollback)::float8
  FROM pg_stat_database d WHERE datname = current_database()";

fn session(row: &Row) -> Option<Session> {
    let (kind, event): (String, String) = (row.try_get(2).ok()?, row.try_get(3).ok()?);
    let backend: Option<String> = row.try_get(9).ok()?;
    let state: String = row.try_get(1).ok()?;
    // Without values: they are nobody's business. Of a session that does nothing it is of no use, and there may be many.
    let text = if state == "idle" { "" } else { row.try_get(5).unwrap_or_default() };
    let statement = sql::normalise(text);
    Some(Session {
        pid: row.try_get(0).ok()?,
        state,
        wait: format!("{kind}: {event}"),
        since_s: row.try_get(4).ok()?,
        statement,
        blockers: row.try_get(6).ok()?,
        database: row.try_get(7).ok()?,
        application: row.try_get::<_, Option<String>>(8).ok()?.unwrap_or_default(),
        is_client: backend.as_deref() == Some("client backend"),
        hidden: row.try_get(10).unwrap_or(false),
        address: row.try_get(11).unwrap_or_default(),
        waited_s: row.try_get(12).ok().flatten(),
    })
}

impl Database {
    /// Looks at the sessions `times` times, `every` so often, and tells who waited for whose lock, who held a transaction
    /// open without work, how often connections were made, and how many of those that are open are needed.
    pub async fn watch(&self, times: u32, every: Duration) -> (Vec<Observation>, Vec<Gap>) {
        let mut client = self.client.lock().await;
        let every = every.max(Duration::from_millis(1)) * times.div_ceil(MAX_LOOKS).max(1);
        let mut ticks = tokio::time::interval(every);
        let mut samples: Vec<Vec<Session>> = Vec::new();
        let before = counters(&mut client).await.ok();
        let begun = Instant::now();
        let looks = times.min(MAX_LOOKS);
        // Of many sessions every n-th look must do.
        let (mut number, mut nth) = (0, 1);
        while number < looks {
            for _ in 0..nth {
                ticks.tick().await;
            }
            number += nth;
            match sample(&mut client).await {
                Ok(sessions) => {
                    let each = u32::try_from(sessions.len()).unwrap_or(u32::MAX).max(1);
                    nth = nth.max(looks.div_ceil((MAX_KEPT / each).max(MIN_KEPT)));
                    samples.push(sessions);
                }
                Err(error) => {
                    let reason = format!("sessions could not be looked at: {}", format_error(&error));
                    return (observed(&samples, None), vec![Gap::new(SIGNAL, reason, HINT)]);
                }
            }
        }
        let after = counters(&mut client).await.ok();
        let seconds = begun.elapsed().as_secs_f64();
        let mut gaps = Vec::new();
        let connections = match (before, after) {
            (Some((Some(then), done)), Some((Some(now), all))) if samples.len() > 1 => {
                // Each look is a transaction, too.
                let transactions = all - done - samples.len() as f64 - 1.0;
                Some(Connections { made: now - then, transactions: transactions.max(0.0), seconds })
            }
            (Some((None, _)), _) => {
                let reason = "new connections are not counted: the server is older than PostgreSQL 14";
                gaps.push(Gap::new(SIGNAL, reason, "ask the service how often it connects"));
                None
            }
            _ => None,
        };
        let hidden = samples.iter().map(|s| s.iter().filter(|s| s.hidden).count()).max().unwrap_or(0);
        if hidden > 0 {
            let reason = format!("what {hidden} sessions of other roles do is not shown to this role");
            gaps.push(Gap::new(SIGNAL, reason, HINT));
        }
        (observed(&samples, connections), gaps)
    }
}

const HINT: &str = "GRANT pg_read_all_stats TO the role that Trimtab connects as";

async fn sample(client: &mut Client) -> Result<Vec<Session>, Error> {
    let rows = look(client).await?.query(ACTIVITY, &[&MAX_SESSIONS]).await?;
    Ok(rows.iter().filter_map(session).collect())
}

/// Sessions since the counters were reset, where they are counted, and transactions.
async fn counters(client: &mut Client) -> Result<(Option<f64>, f64), Error> {
    let row = look(client).await?.query_one(COUNTERS, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
