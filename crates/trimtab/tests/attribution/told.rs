//! Calls per request of five endpoints on four connections, a poller beside them, twenty windows of a second.

use crate::service::Service;
use crate::support::{connect, postgres, run};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const POLLS_PER_SECOND: u32 = 35;
/// Counts that come from whole requests leave less over; on a machine that stalls, requests and counters fall into
/// different windows, and the intervals have to say so.
const STALLED: f64 = 0.03;
const ITEMS: &str = "SELECT qty FROM order_items WHERE order_id = $1";
const ORDERS: &str = "SELECT id FROM orders WHERE customer_id = $1";
const RANGE: &str = "SELECT qty FROM order_items WHERE order_id BETWEEN $1 AND $1 + 20";
const PRODUCT: &str = "SELECT name FROM products WHERE id = $1";
const NOTE: &str = "INSERT INTO notes (id) VALUES ($1)";
/// By statement: calls by a request of each endpoint.
const TRUTH: [(&str, [f64; 5]); 5] = [
    (ITEMS, [20.0, 0.0, 0.0, 0.0, 0.0]),
    (ORDERS, [1.0, 1.0, 0.0, 1.0, 0.0]),
    (RANGE, [0.0, 1.0, 0.0, 0.0, 0.0]),
    (PRODUCT, [0.0, 0.0, 1.0, 3.0, 0.0]),
    (NOTE, [0.0, 0.0, 0.0, 0.0, 2.0]),
];
const NAMES: [&str; 5] = ["orders", "batched", "product", "customer", "note"];
const RATES: [f64; 5] = [10.0, 24.0, 16.0, 20.0, 12.0];
const TABLES: &str = "
CREATE EXTENSION pg_stat_statements;
CREATE TABLE orders (id int PRIMARY KEY, customer_id int); CREATE INDEX ON orders (customer_id);
CREATE TABLE order_items (id int PRIMARY KEY, order_id int, qty int); CREATE INDEX ON order_items (order_id);
CREATE TABLE products (id int PRIMARY KEY, name text); CREATE TABLE notes (id int);
INSERT INTO orders SELECT n, n / 10 FROM generate_series(1, 10000) n;
INSERT INTO order_items SELECT n, n / 4, 1 FROM generate_series(1, 40000) n;
INSERT INTO products SELECT n, 'product' FROM generate_series(1, 1000) n;";

async fn poll(url: String) {
    let client = connect(&url).await;
    let mut ticks = interval(Duration::from_secs(1) / POLLS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        client.query(PRODUCT, &[&3_i32]).await.unwrap();
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_each_endpoint_are_told_within_a_fifth_and_the_rules_read_them() {
    let server = postgres("pg_stat_statements").await;
    connect(&server.url()).await.batch_execute(TABLES).await.unwrap();
    let endpoints: Vec<_> = NAMES
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let calls = TRUTH.iter().filter(|(_, by)| by[at] > 0.0);
            (*name, calls.map(|(text, by)| (*text, by[at] as u32)).collect())
        })
        .collect();
    let service = Service::start(&server.url(), 4, &endpoints).await;
    let poller = tokio::spawn(poll(server.url()));
    let folder = tempfile::tempdir().unwrap();
    let rates: Vec<(&str, f64)> = NAMES.into_iter().zip(RATES).collect();
    service.settings(folder.path(), 20, &rates, "");
    let path = folder.path().to_owned();
    let ran = tokio::task::spawn_blocking(move || run(&path, &["measure", "-o", "out", "--format", "json"]));
    let ran = ran.await.unwrap();
    poller.abort();
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let costs = std::fs::read_to_string(folder.path().join("out/costs.json")).unwrap();
    let costs: Value = serde_json::from_str(&costs).unwrap();
    assert!(number(&costs["condition"]) < 30.0, "{}", costs["condition"]);
    for (text, truth) in TRUTH {
        let text = model::sql::normalise(text);
        let told = costs["statements"].as_array().unwrap().iter().find(|s| s["text"] == text.as_str());
        let calls = &told.unwrap_or_else(|| panic!("no {text}: {costs:#}"))["calls"];
        let residual = number(&calls["residual"]);
        let found: Vec<f64> =
            calls["per_request"].as_array().unwrap().iter().map(|r| number(&r["value"])).collect();
        let background = number(&calls["background_per_second"]["value"]);
        println!("{text}: {found:.2?}, {background:.1} a second, left over {residual:.3}");
        for (rate, truth) in calls["per_request"].as_array().unwrap().iter().zip(truth) {
            let held = number(&rate["low"]) <= truth && truth <= number(&rate["high"]);
            let near = (number(&rate["value"]) - truth).abs() < 0.2;
            assert!(near || (residual > STALLED && held), "{text}: {found:?}, truth {truth:?}");
        }
    }
    let diagnosis: Value = serde_json::from_str(&ran.out).unwrap();
    let findings = diagnosis["findings"].as_array().unwrap();
    let many = findings.iter().find(|f| f["rule"] == "n_plus_one").unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!(
        (many["endpoint"].as_str(), many["prediction"]["grade"].as_str()),
        (Some("GET /orders"), Some("C"))
    );
    assert!(
        findings.iter().all(|f| f["rule"] != "n_plus_one" || f["endpoint"] == "GET /orders"),
        "{findings:#?}"
    );
    let time = diagnosis["time"].as_array().unwrap();
    assert_eq!(time.len(), NAMES.len(), "{time:#?}");
    for spent in time {
        let database = number(&spent["database_ms"]["value"]);
        assert!(database > 0.0 && database < number(&spent["mean_ms"]) * 1.2, "{spent:#}");
    }
}
