//! Which endpoint calls what, on a real server: five endpoints mixed on four connections, a poller beside them, twenty
//! windows of a second, and nothing but the server's own counters.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use attribute::{Mix, Rate, Timed, statements, varied};
use database::{Database, Snapshot};
use local_postgres::{LocalPostgres, Options};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use tokio_postgres::{Client, NoTls};

const WINDOWS: usize = 20;
const WINDOW: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 4;
const RATES: [f64; 5] = [10.0, 24.0, 16.0, 20.0, 12.0];
const POLLS_PER_SECOND: u32 = 35;
/// Counts that come from whole requests leave less over.
const STALLED: f64 = 0.03;
/// Statements, and how often a request of each endpoint calls them.
const CALLS: [(&str, [u32; 5]); 5] = [
    ("SELECT qty FROM order_items WHERE order_id = $1", [20, 0, 0, 0, 0]),
    ("SELECT id FROM orders WHERE customer_id = $1", [1, 1, 0, 1, 0]),
    ("SELECT qty FROM order_items WHERE order_id BETWEEN $1 AND $1 + 20", [0, 1, 0, 0, 0]),
    (POLLED, [0, 0, 1, 3, 0]),
    ("INSERT INTO notes (id) VALUES ($1)", [0, 0, 0, 0, 2]),
];
const POLLED: &str = "SELECT name FROM products WHERE id = $1";

const TABLES: &str = "
CREATE EXTENSION pg_stat_statements;
CREATE TABLE orders (id int PRIMARY KEY, customer_id int); CREATE INDEX ON orders (customer_id);
CREATE TABLE order_items (id int PRIMARY KEY, order_id int, qty int); CREATE INDEX ON order_items (order_id);
CREATE TABLE products (id int PRIMARY KEY, name text); CREATE TABLE notes (id int);
INSERT INTO orders SELECT n, n / 10 FROM generate_series(1, 10000) n;
INSERT INTO order_items SELECT n, n / 4, 1 FROM generate_series(1, 40000) n;
INSERT INTO products SELECT n, 'product' FROM generate_series(1, 1000) n;";

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn ns(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap()
}

/// Works through requests for an endpoint, and notes when each began and ended.
async fn serve(url: String, due: Arc<Mutex<mpsc::Receiver<usize>>>, begin: Instant) -> Vec<Timed> {
    let client = client(&url).await;
    let mut served = Vec::new();
    loop {
        let next = due.lock().await.recv().await;
        let Some(operation) = next else { return served };
        let start_ns = ns(begin);
        for (text, calls) in CALLS {
            for call in 0..calls[operation] {
                client.query(text, &[&i32::try_from(call + 5).unwrap()]).await.unwrap();
            }
        }
        served.push(Timed { operation: u32::try_from(operation).unwrap(), start_ns, end_ns: ns(begin) });
    }
}

/// Sends requests of a mix that varies from window to window.
/// The load's own schedule: windows and arrivals have their moments.
async fn due_at(moment: Instant) {
    interval_at(moment, WINDOW).tick().await;
}

async fn drive(due: mpsc::Sender<usize>, begin: Instant) {
    for (window, factors) in varied(RATES.len(), WINDOWS).iter().enumerate() {
        let mut arrivals: Vec<(Duration, usize)> = Vec::new();
        for (operation, factor) in factors.iter().enumerate() {
            let count = (RATES[operation] * factor) as u32;
            arrivals.extend((0..count).map(|i| (WINDOW * i / count, operation)));
        }
        arrivals.sort_unstable();
        for (at, operation) in arrivals {
            due_at(begin + WINDOW * u32::try_from(window).unwrap() + at).await;
            due.send(operation).await.unwrap();
        }
    }
}

async fn poll(url: String) {
    let client = client(&url).await;
    let mut ticks = interval(Duration::from_secs(1) / POLLS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        client.query(POLLED, &[&3_i32]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_each_endpoint_are_told_within_a_fifth() {
    let options = Options::default().setting("shared_preload_libraries", "pg_stat_statements");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    client(&server.url()).await.batch_execute(TABLES).await.unwrap();
    let database = Database::connect(&server.url()).await.unwrap();
    let mut last = database.snapshot().await.unwrap();
    let poller = tokio::spawn(poll(server.url()));
    let (sender, receiver) = mpsc::channel(1000);
    let receiver = Arc::new(Mutex::new(receiver));
    let begin = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        workers.spawn(serve(server.url(), Arc::clone(&receiver), begin));
    }
    let driver = tokio::spawn(drive(sender, begin));
    let (mut borders, mut windows) = (vec![0], Vec::new());
    for window in 1..=WINDOWS {
        due_at(begin + WINDOW * u32::try_from(window).unwrap()).await;
        let snapshot = database.snapshot().await.unwrap();
        let taken = snapshot.taken().unwrap().duration_since(begin.into_std());
        borders.push(u64::try_from(taken.as_nanos()).unwrap());
        let (statements, gaps) = Snapshot::delta(&last, &snapshot);
        assert_eq!(gaps, []);
        windows.push(statements);
        last = snapshot;
    }
    driver.await.unwrap();
    let requests: Vec<Timed> = workers.join_all().await.into_iter().flatten().collect();
    poller.abort();
    let operations = ["/orders", "/batched", "/product", "/customer", "/note"].map(str::to_owned);
    let costs = statements(&Mix::of_requests(&operations, &borders, &requests), &windows);
    assert_eq!(costs.gaps, []);
    for (text, truth) in CALLS {
        let text = model::sql::normalise(text);
        let cost = costs.statements.iter().find(|c| c.text == text).unwrap();
        let rates: Vec<Rate> = cost.calls.per_request.iter().map(|r| r.unwrap()).collect();
        let found: Vec<f64> = rates.iter().map(|r| r.value).collect();
        let background = cost.calls.background_per_second.unwrap();
        println!(
            "{text}: {found:.2?}, {:.1} a second, residual {:.3}",
            background.value, cost.calls.residual
        );
        // On a machine that stalls, requests and counters fall into different windows: then the interval has to say so.
        let stalled = cost.calls.residual > STALLED;
        let near = rates.iter().zip(truth.map(f64::from)).all(|(rate, truth)| {
            let held = stalled && (rate.low..=rate.high).contains(&truth) && rate.high - rate.low < 4.0;
            // A border cuts through requests: what that costs grows with their number.
            (rate.value - truth).abs() < 0.2 + 0.02 * truth || held
        });
        assert!(near, "{text}: {found:?}, truth {truth:?}, {cost:?}");
        let polls = if text.contains("products") { f64::from(POLLS_PER_SECOND) } else { 0.0 };
        assert!(background.low - 4.0 <= polls && polls <= background.high + 4.0, "{text}: {background:?}");
    }
}
