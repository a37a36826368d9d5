//! What several looks at the sessions of a server tell together: lock waits and who is at the root of them, transactions
//! that are open without work, connections made for each piece of work, and pools larger than what they do. It asks nothing.

use crate::health::Observation;
use std::collections::{BTreeMap, BTreeSet};

/// A transaction that does nothing for this long holds its locks and rows for nothing.
const IDLE_S: f64 = 1.0;
/// One that is idle for longer is forgotten, and not about to go on.
const FORGOTTEN_S: f64 = 60.0;
/// Observations of one kind.
const MAX_OF_A_KIND: usize = 10;
/// A holder that was seen so many times more rarely than another one of the same waits is left out.
const RARE: usize = 10;
/// Sessions that a statement ends.
const MAX_ENDED: usize = 5;
/// Fewer new connections are those of jobs and of people.
const MIN_MADE: f64 = 10.0;
const MIN_MADE_PER_S: f64 = 1.0;
/// A connection that serves more transactions is kept.
const KEPT_TRANSACTIONS: f64 = 20.0;
/// Smaller pools cost nothing worth the name.
const MIN_POOL: f64 = 10.0;
/// Looks, less tell nothing of how many are needed.
const MIN_LOOKS: usize = 10;
/// Busy connections over all looks: of a pool that rested nobody knows what it needs.
const MIN_BUSY: usize = 30;
/// A pool so many times larger than needed is told.
const TOO_LARGE: f64 = 3.0;
/// Of pieces of work, so many may find no free connection in a pool that is large enough.
const MAX_WAITING_SHARE: f64 = 0.01;
const MAX_SERVERS: u32 = 10_000;

/// One session at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Session {
    pub(crate) pid: i32,
    pub(crate) state: String,
    pub(crate) wait: String,
    /// Seconds in this state.
    pub(crate) since_s: f64,
    /// Seconds that it waits for a lock, where the server tells.
    pub(crate) waited_s: Option<f64>,
    pub(crate) statement: String,
    pub(crate) blockers: Vec<i32>,
    /// Quoted.
    pub(crate) database: String,
    pub(crate) application: String,
    /// Where it connects from; empty for a Unix socket.
    pub(crate) address: String,
    /// And no worker of the server's own.
    pub(crate) is_client: bool,
    /// The role may not see what it does.
    pub(crate) hidden: bool,
}

impl Session {
    fn is_idle_in_transaction(&self) -> bool {
        self.state.starts_with("idle in transaction")
    }
}

/// Connections that were made meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Connections {
    pub(crate) made: f64,
    pub(crate) transactions: f64,
    pub(crate) seconds: f64,
}

/// What the looks tell.
pub(crate) fn observed(samples: &[Vec<Session>], connections: Option<Connections>) -> Vec<Observation> {
    let mut found = waits(samples);
    found.extend(idle(samples));
    found.extend(connections.and_then(|made| churn(samples, made)));
    found.extend(pools(samples));
    found
}

/// A statement that waited, and who was at the root of it.
#[derive(Default)]
struct Wait {
    looks: BTreeSet<usize>,
    /// Sessions that waited at the same time.
    most: usize,
    /// Where a server told: those before 14 do not.
    longest_s: Option<f64>,
    /// Holders in the newest look, each with whether it is idle in its transaction.
    now: BTreeMap<i32, bool>,
    idle: bool,
    database: String,
}

fn waits(samples: &[Vec<Session>]) -> Vec<Observation> {
    let mut seen: BTreeMap<(String, String), Wait> = BTreeMap::new();
    for (number, sample) in samples.iter().enumerate() {
        let mut at_once: BTreeMap<(String, String), usize> = BTreeMap::new();
        for waiting in sample.iter().filter(|s| !s.blockers.is_empty()) {
            let (pids, holder) = root(sample, waiting);
            let label = holder.map_or_else(|| unseen(&pids), described);
            let key = (waiting.statement.clone(), label);
            let together = at_once.entry(key.clone()).or_default();
            *together += 1;
            let wait = seen.entry(key).or_default();
            wait.most = wait.most.max(*together);
            wait.looks.insert(number);
            wait.longest_s = wait.longest_s.into_iter().chain(waiting.waited_s).max_by(f64::total_cmp);
            wait.idle = holder.is_some_and(Session::is_idle_in_transaction);
            wait.database.clone_from(&waiting.database);
            if number + 1 == samples.len() {
                let holders = sample.iter().filter(|s| s.is_client && pids.contains(&s.pid));
                wait.now.extend(holders.map(|s| (s.pid, s.is_idle_in_transaction())));
            }
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((statement, _), wait) in &seen {
        let known = most.entry(statement.clone()).or_default();
        *known = wait.looks.len().max(*known);
    }
    // The same holder at another moment, as when it commits, is no news.
    let often = |statement: &str, looks: usize| looks * RARE >= most.get(statement).copied().unwrap_or(0);
    let mut all: Vec<((String, String), Wait)> =
        seen.into_iter().filter(|((statement, _), wait)| often(statement, wait.looks.len())).collect();
    all.sort_by(|a, b| b.1.looks.len().cmp(&a.1.looks.len()).then_with(|| a.0.cmp(&b.0)));
    let told = |((statement, holder), wait): ((String, String), Wait)| {
        told_wait(&statement, &holder, &wait, samples.len())
    };
    all.into_iter().take(MAX_OF_A_KIND).map(told).collect()
}

fn told_wait(statement: &str, holder: &str, wait: &Wait, looks: usize) -> Observation {
    let sessions = if wait.most == 1 { "a session".into() } else { format!("{} sessions", wait.most) };
    let longest = wait.longest_s.map_or(String::new(), |s| format!(", up to {s:.1} s"));
    let reason = format!(
        "{sessions} waited for a lock in {} of {looks} looks{longest}; it was held by {holder}",
        wait.looks.len()
    );
    let look = "SELECT pid, wait_event_type, pg_blocking_pids(pid), query FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let observation = Observation::new("lock_wait", statement, reason, look);
    let database = &wait.database;
    if !wait.now.is_empty() {
        return observation.mend(ended(&wait.now), "");
    }
    let guard = if wait.idle { "idle_in_transaction_session_timeout" } else { "lock_timeout" };
    observation.mend(
        format!("ALTER DATABASE {database} SET {guard} = '10s'"),
        format!("ALTER DATABASE {database} RESET {guard}"),
    )
}

/// Who a session waits for in the end: those that hold, and the first of them where it was seen.
fn root<'s>(sample: &'s [Session], waiting: &Session) -> (BTreeSet<i32>, Option<&'s Session>) {
    let find = |pid: i32| sample.iter().find(|s| s.pid == pid);
    let mut known = BTreeSet::from([waiting.pid]);
    let mut open = waiting.blockers.clone();
    let mut roots = BTreeSet::new();
    while let Some(pid) = open.pop() {
        if !known.insert(pid) {
            continue;
        }
        match find(pid) {
            Some(next) if !next.blockers.is_empty() => open.extend(&next.blockers),
            _ => drop(roots.insert(pid)),
        }
    }
    if roots.is_empty() {
        // They wait for each other: the server ends one of them.
        roots.extend(&waiting.blockers);
    }
    let first = roots.iter().find_map(|pid| find(*pid));
    (roots, first)
}

fn unseen(pids: &BTreeSet<i32>) -> String {
    if pids.contains(&0) {
        "a prepared transaction (SELECT * FROM pg_prepared_xacts)".to_owned()
    } else {
        "a session that was not seen: of another database, or gone since".to_owned()
    }
}

fn described(holder: &Session) -> String {
    let statement =
        if holder.statement.is_empty() { "a session without a statement" } else { &holder.statement };
    let last = if holder.is_idle_in_transaction() { ", its last statement" } else { "" };
    let of = named(&holder.application);
    if !holder.is_client {
        return format!("a process of the server itself: {statement}");
    }
    format!("{statement} ({}{of}{last}; {})", holder.state, holder.wait)
}

fn named(application: &str) -> String {
    if application.is_empty() { String::new() } else { format!(", application {application}") }
}

/// Ends sessions: a cancelled statement leaves a transaction that does nothing as it is.
fn ended(sessions: &BTreeMap<i32, bool>) -> String {
    let one = |(pid, idle): (&i32, &bool)| {
        let function = if *idle { "pg_terminate_backend" } else { "pg_cancel_backend" };
        format!("SELECT {function}({pid})")
    };
    sessions.iter().take(MAX_ENDED).map(one).collect::<Vec<_>>().join("; ")
}

/// Transactions of one kind that were open and did nothing.
#[derive(Default)]
struct Idle {
    pids: BTreeSet<i32>,
    longest_s: f64,
    /// Forgotten, in the newest look; all are idle.
    now: BTreeMap<i32, bool>,
    blocks: bool,
    database: String,
}

fn idle(samples: &[Vec<Session>]) -> Vec<Observation> {
    let mut seen: BTreeMap<(&str, &str), Idle> = BTreeMap::new();
    for (number, sample) in samples.iter().enumerate() {
        for session in sample.iter().filter(|s| s.is_idle_in_transaction() && s.since_s >= IDLE_S) {
            let idle = seen.entry((&session.statement, &session.application)).or_default();
            idle.pids.insert(session.pid);
            idle.longest_s = idle.longest_s.max(session.since_s);
            idle.blocks |= sample.iter().any(|s| s.blockers.contains(&session.pid));
            idle.database.clone_from(&session.database);
            if number + 1 == samples.len() && session.since_s >= FORGOTTEN_S {
                idle.now.insert(session.pid, true);
            }
        }
    }
    let mut all: Vec<((&str, &str), Idle)> = seen.into_iter().collect();
    all.sort_by(|a, b| b.1.longest_s.total_cmp(&a.1.longest_s).then_with(|| a.0.cmp(&b.0)));
    let look = "SELECT pid, application_name, now() - state_change AS since, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    let observation = |((statement, application), idle): ((&str, &str), Idle)| {
        let count = idle.pids.len();
        let one = if count == 1 { "a transaction was".into() } else { format!("{count} transactions were") };
        let of = named(application);
        let blocks = if idle.blocks { ", and others waited for its locks" } else { "" };
        let why = "commit before waiting for anything else; the timeout only ends what is forgotten";
        let reason = format!("{one} open without work for up to {:.1} s{of}{blocks}: {why}", idle.longest_s);
        let observation = Observation::new("idle_in_transaction", statement, reason, look);
        if !idle.now.is_empty() {
            return observation.mend(ended(&idle.now), "");
        }
        let database = &idle.database;
        observation.mend(
            format!("ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '30s'"),
            format!("ALTER DATABASE {database} RESET idle_in_transaction_session_timeout"),
        )
    };
    all.into_iter().take(MAX_OF_A_KIND).map(observation).collect()
}

/// Connections that are made for a few transactions each.
fn churn(samples: &[Vec<Session>], made: Connections) -> Option<Observation> {
    let Connections { made, transactions, seconds } = made;
    let rate = made / seconds.max(f64::MIN_POSITIVE);
    let each = transactions / made.max(1.0);
    if made < MIN_MADE || rate < MIN_MADE_PER_S || each > KEPT_TRANSACTIONS {
        return None;
    }
    // Who was seen with most different connections.
    let mut pids: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for session in samples.iter().flatten().filter(|s| s.is_client) {
        pids.entry(&session.application).or_default().insert(session.pid);
    }
    let most = pids.into_iter().filter(|(_, p)| p.len() > 2).max_by_key(|(_, p)| p.len());
    let who = most.map_or(String::new(), |(name, _)| named(name).replacen(", ", ", most of them by ", 1));
    let reason = format!(
        "{made:.0} connections were made in {seconds:.0} s{who}, one for {each:.1} transactions: each costs a process \
         and a login; keep them in a pool in the service, or put a pooler in between"
    );
    let look = "SELECT datname, sessions, xact_commit, session_time / nullif(sessions, 0) AS mean_session_ms FROM pg_stat_database";
    Some(Observation::new("connection_churn", "server", reason, look))
}

/// Applications that keep many more connections than they use.
fn pools(samples: &[Vec<Session>]) -> Vec<Observation> {
    if samples.len() < MIN_LOOKS {
        return Vec::new();
    }
    // Each machine's processes have pools of their own.
    type Pool<'s> = (&'s str, &'s str);
    let mut seen: BTreeMap<Pool<'_>, (usize, usize, usize)> = BTreeMap::new();
    for sample in samples {
        let mut now: BTreeMap<Pool<'_>, (usize, usize)> = BTreeMap::new();
        for session in sample.iter().filter(|s| s.is_client && !s.hidden) {
            let (open, busy) = now.entry((&session.application, &session.address)).or_default();
            *open += 1;
            *busy += usize::from(session.state != "idle");
        }
        for (pool, (open, busy)) in now {
            let (all_open, all_busy, most) = seen.entry(pool).or_default();
            *all_open += open;
            *all_busy += busy;
            *most = busy.max(*most);
        }
    }
    let looks = samples.len() as f64;
    let told = seen.into_iter().filter_map(|((application, address), (open, busy, most))| {
        if busy < MIN_BUSY {
            return None;
        }
        let (open, busy) = (open as f64 / looks, busy as f64 / looks);
        let needed = servers(busy).max(most as u32).max(2);
        if open < MIN_POOL || open < TOO_LARGE * f64::from(needed) {
            return None;
        }
        let who = if application.is_empty() { "applications without a name" } else { application };
        let from = if address.is_empty() { String::new() } else { format!(" at {address}") };
        let reason = format!(
            "{who}{from}: {open:.0} connections are open, {busy:.1} of them were busy on average and {most} at most in \
             {looks:.0} looks; {needed} in all would let one piece of work in a hundred wait at such a load, if its \
             processes there shared them"
        );
        let look = "SELECT application_name, state, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2 ORDER BY 3 DESC";
        Some(Observation::new("pool_size", who, reason, look))
    });
    told.take(MAX_OF_A_KIND).collect()
}

/// Connections for this many busy ones on average, so that few find none free: Erlang's C formula by that of B.
fn servers(busy: f64) -> u32 {
    let mut blocked = 1.0;
    for count in 1..MAX_SERVERS {
        let n = f64::from(count);
        blocked = busy * blocked / (n + busy * blocked);
        let utilised = busy / n;
        if utilised < 1.0 && blocked / (1.0 - utilised * (1.0 - blocked)) <= MAX_WAITING_SHARE {
            return count;
        }
    }
    MAX_SERVERS
}

#[cfg(test)]
mod tests {
    use super::{Connections, Session, observed, servers};

    fn session(pid: i32, state: &str, since_s: f64, statement: &str, blockers: &[i32]) -> Session {
        Session {
            pid,
            state: state.to_owned(),
            wait: "Client: ClientRead".to_owned(),
            since_s,
            waited_s: (!blockers.is_empty()).then_some(since_s),
            statement: statement.to_owned(),
            blockers: blockers.to_vec(),
            database: "shop".to_owned(),
            application: "api".to_owned(),
            address: "10.0.0.7".to_owned(),
            is_client: true,
            hidden: false,
        }
    }

    fn told(samples: &[Vec<Session>]) -> Vec<(&'static str, String, String, String)> {
        let parts = |o: super::Observation| (o.kind, o.subject, o.reason, o.mend.unwrap_or_default());
        observed(samples, None).into_iter().map(parts).collect()
    }

    #[test]
    fn the_root_of_a_chain_of_waits_is_named_and_an_idle_one_is_terminated() {
        let sample = vec![
            session(1, "idle in transaction", 7.0, "UPDATE t SET a = $1", &[]),
            session(2, "active", 0.1, "DELETE FROM t", &[1]),
            session(3, "active", 2.5, "DELETE FROM t", &[2, 1]),
        ];
        let found = told(&[vec![], sample.clone(), sample]);
        assert_eq!(found.len(), 2, "{found:#?}");
        let (kind, subject, reason, mend) = &found[0];
        assert_eq!((*kind, subject.as_str()), ("lock_wait", "DELETE FROM t"));
        assert_eq!(
            reason,
            "2 sessions waited for a lock in 2 of 3 looks, up to 2.5 s; it was held by UPDATE t SET a = $1 (idle in \
             transaction, application api, its last statement; Client: ClientRead)"
        );
        assert_eq!(mend, "SELECT pg_terminate_backend(1)");
        assert!(found[1].2.contains("others waited for its locks"), "{found:#?}");
        assert!(found[1].3.starts_with("ALTER DATABASE shop SET idle_in_transaction_session_timeout"));
    }

    #[test]
    fn a_holder_that_works_is_cancelled_and_one_that_is_gone_gets_a_guard() {
        let sample = vec![
            session(1, "active", 7.0, "UPDATE t SET a = $1", &[]),
            session(2, "active", 0.1, "DELETE FROM t", &[1]),
        ];
        assert_eq!(told(std::slice::from_ref(&sample))[0].3, "SELECT pg_cancel_backend(1)");
        let mut two = sample.clone();
        two.insert(1, session(3, "idle in transaction", 7.0, "UPDATE t SET a = $1", &[]));
        two[2].blockers.push(3);
        assert_eq!(told(&[two])[0].3, "SELECT pg_cancel_backend(1); SELECT pg_terminate_backend(3)");
        assert_eq!(told(&[sample, vec![]])[0].3, "ALTER DATABASE shop SET lock_timeout = '10s'");
        let alone = vec![session(2, "active", 0.1, "DELETE FROM t", &[0])];
        assert!(told(&[alone])[0].2.contains("held by a prepared transaction"));
        let circle = vec![session(1, "active", 0.1, "A", &[2]), session(2, "active", 0.1, "A", &[1])];
        assert_eq!(told(&[circle]).len(), 1);
    }

    #[test]
    fn idle_transactions_of_one_kind_are_one_line() {
        let at = |pid, since| vec![session(pid, "idle in transaction", since, "SELECT $1", &[])];
        let found = told(&[at(1, 2.0), at(2, 3.0), at(3, 90.0)]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].2.starts_with("3 transactions were open without work for up to 90.0 s, application api")
        );
        assert_eq!(found[0].3, "SELECT pg_terminate_backend(3)");
        // Between two statements.
        assert_eq!(told(&[at(1, 0.1)]), []);
        assert_eq!(told(&[]), []);
    }

    #[test]
    fn connections_for_each_transaction_are_churn_and_those_that_are_kept_are_none() {
        let check = |made, transactions, seconds| {
            let made = Connections { made, transactions, seconds };
            observed(&[(0..9).map(|pid| session(pid, "idle", 0.0, "", &[])).collect()], Some(made))
        };
        let found = check(400.0, 800.0, 10.0);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].reason.starts_with(
                "400 connections were made in 10 s, most of them by application api, one for 2.0 transactions"
            ),
            "{}",
            found[0].reason
        );
        assert_eq!(check(400.0, 40_000.0, 10.0), []);
        assert_eq!(check(9.0, 9.0, 1.0), []);
        assert_eq!(check(20.0, 20.0, 60.0), []);
    }

    #[test]
    fn a_pool_that_is_much_too_large_is_told_with_the_size_that_would_do() {
        let sample = |open: i32, busy: i32| -> Vec<Session> {
            (0..open)
                .map(|pid| session(pid, if pid < busy { "active" } else { "idle" }, 0.0, "", &[]))
                .collect()
        };
        let found = told(&vec![sample(40, 2); 20]);
        assert_eq!(found.len(), 1);
        assert!(found[0].2.contains("40 connections are open, 2.0 of them were busy"), "{}", found[0].2);
        assert!(found[0].2.contains("7 in all would"), "{}", found[0].2);
        assert_eq!(told(&vec![sample(40, 12); 20]), []);
        assert_eq!(told(&vec![sample(9, 0); 20]), []);
        // A service that rests tells nothing of what it needs.
        assert_eq!(told(&vec![sample(40, 0); 200]), []);
        assert_eq!(told(&vec![sample(40, 1); 20]), []);
        // Four machines with a pool each are not one pool.
        let four = |busy| {
            let mut sessions = sample(40, busy);
            for session in &mut sessions {
                session.address = format!("10.0.0.{}", session.pid % 4);
            }
            sessions
        };
        assert_eq!(told(&vec![four(8); 20]), []);
        assert_eq!(told(&[sample(40, 2)]), []);
    }

    #[test]
    fn erlang_c_agrees_with_its_tables() {
        // Two on 6 wait with 0.0180 and on 7 with 0.0048, five on 11 with 0.0151 and on 12 with 0.0059.
        assert_eq!([servers(0.0), servers(2.0), servers(5.0)], [1, 7, 12]);
    }
}
