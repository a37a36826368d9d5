//! What the instrument costs: a snapshot of 500 statements, and advice for 200. `--nocapture` shows the figures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use database::{Database, PlanOptions};
use local_postgres::{LocalPostgres, Options};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

const TABLES: usize = 5;
const COLUMNS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Kernel clock ticks per second on Linux.
const TICKS: f64 = 100.0;

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Statements of different texts: look-ups, ranges, orders, joins.
fn statement(number: usize) -> String {
    let table = format!("t{}", number % TABLES);
    let column = |shift: usize| COLUMNS[(number / TABLES + shift) % COLUMNS.len()];
    let (one, two, three) = (column(0), column(1), column(2 + number / 125));
    // What is selected tells the statements apart.
    let bits = (0..9).filter(|bit| number >> bit & 1 == 1).map(|bit| COLUMNS[bit % COLUMNS.len()]);
    let selected = |wrap: fn(&str) -> String| {
        bits.clone().map(wrap).fold(wrap("id"), |all, next| format!("{all}, {next}"))
    };
    let plain = selected(|column| format!("t.{column}"));
    let most = selected(|column| format!("max(t.{column})"));
    match number / 25 % 4 {
        0 => format!("SELECT {plain} FROM {table} t WHERE {one} = 5 AND {two} > 7"),
        1 => format!("SELECT {plain} FROM {table} t WHERE {one} = 5 ORDER BY {three} DESC LIMIT 10"),
        2 => format!("SELECT {plain} FROM {table} t JOIN t0 o ON o.{one} = t.{two} WHERE o.id = 7"),
        _ => format!("SELECT {most} FROM {table} t WHERE {one} IN (1, 2) AND {three} = 3"),
    }
}

/// User and system time of a process in seconds.
fn cpu_s(pid: i32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = text.rsplit_once(')').unwrap().1;
    let ticks: Vec<f64> = after.split_whitespace().skip(11).take(2).map(|t| t.parse().unwrap()).collect();
    (ticks[0] + ticks[1]) / TICKS
}

#[tokio::test]
async fn snapshots_and_advice_are_cheap() {
    let options = Options::default()
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("autovacuum", "off");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let client = client(&server.url()).await;
    client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let hypopg = client.batch_execute("CREATE EXTENSION hypopg").await.is_ok();
    for table in 0..TABLES {
        let make = format!(
            "CREATE TABLE t{table} (id int PRIMARY KEY, a int, b int, c int, d int, e int, pad text);
             INSERT INTO t{table} SELECT n, n % 10000, n % 5000, n % 3000, n % 2000, n % 1000, repeat('p', 40)
               FROM generate_series(1, 20000) n"
        );
        client.batch_execute(&make).await.unwrap();
    }
    client.batch_execute("ANALYZE").await.unwrap();
    for number in 0..500 {
        client.batch_execute(&statement(number)).await.unwrap();
    }
    let database = Database::connect(&server.url()).await.unwrap();
    let statements = database.snapshot().await.unwrap().totals().0;
    assert!(statements.len() >= 500, "{}", statements.len());
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..21 {
        let started = Instant::now();
        database.snapshot().await.unwrap();
        times.push(started.elapsed());
    }
    times.sort();
    println!("snapshot of {} statements: median {:?}, most {:?}", statements.len(), times[10], times[20]);
    assert!(times[10] < Duration::from_millis(50), "{:?}", times[10]);

    let wanted: Vec<_> = statements.into_iter().filter(|s| s.text.contains(" FROM t")).take(200).collect();
    assert_eq!(wanted.len(), 200);
    let look = "SELECT pid FROM pg_stat_activity WHERE application_name = 'trimtab' LIMIT 1";
    let backend: i32 = client.query_one(look, &[]).await.unwrap().get(0);
    let own = i32::try_from(std::process::id()).unwrap();
    let (ours, theirs, started) = (cpu_s(own), cpu_s(backend), Instant::now());
    let (plans, gaps) = database.plans(&wanted, &PlanOptions { may_build: false, most: 200 }).await;
    let (ours, theirs) = (cpu_s(own) - ours, cpu_s(backend) - theirs);
    println!(
        "advice for {} statements, HypoPG {hypopg}: {ours:.2} CPU-s here, {theirs:.2} in the server, {:?} in all",
        plans.len(),
        started.elapsed()
    );
    assert_eq!(plans.len(), 200, "{gaps:?}");
    assert!(plans.iter().any(|p| !p.what_ifs.is_empty()));
    assert!(ours + theirs < 5.0, "{ours} and {theirs} CPU-seconds");
}
