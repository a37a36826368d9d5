//! What an index brings each of ten endpoints, predicted without traces, against what it brought.

use crate::service::Service;
use crate::support::{connect, postgres, run};
use serde_json::Value;
use std::collections::BTreeMap;

/// The rest of each request: what no index shortens.
const REST: &str = "SELECT pg_sleep(0.02)";
const CASES: [(&str, &str); 10] = [
    ("items", "SELECT qty FROM order_items WHERE order_id = $1"),
    ("history", "SELECT id FROM orders WHERE customer_id = $1 ORDER BY created_at DESC LIMIT 10"),
    ("latest", "SELECT id FROM orders ORDER BY created_at DESC LIMIT 20"),
    ("returned", "SELECT count(*) FROM orders WHERE status = 'returned'"),
    ("login", "SELECT id FROM customers WHERE lower(email) = 'user' || $1::int4::text || '@example.com'"),
    ("recent", "SELECT id FROM events WHERE at > now() - interval '1 hour'"),
    ("rare", "SELECT id FROM events WHERE kind = 'rare'"),
    ("product", "SELECT sum(qty) FROM order_items WHERE product_id = $1"),
    ("queue", "SELECT id FROM jobs WHERE done_at IS NULL ORDER BY queued_at LIMIT 10"),
    ("range", "SELECT qty FROM order_items WHERE order_id BETWEEN $1 AND $1 + 3"),
];
const NEAR: f64 = 0.2;
const AT_LEAST: usize = 2;
const TABLES: &str = "
CREATE EXTENSION pg_stat_statements;
CREATE TABLE customers (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, status text, created_at timestamptz);
CREATE TABLE order_items (id int PRIMARY KEY, order_id int, product_id int, qty int);
CREATE TABLE events (id int PRIMARY KEY, kind text, at timestamptz, payload text);
CREATE TABLE jobs (id int PRIMARY KEY, queued_at timestamptz, done_at timestamptz, payload text);
INSERT INTO customers SELECT n, 'User' || n || '@Example.com' FROM generate_series(1, 40000) n;
INSERT INTO orders SELECT n, n % 20000, CASE WHEN n % 100 = 0 THEN 'returned' ELSE 'paid' END,
  now() - n * interval '1 minute' FROM generate_series(1, 120000) n;
INSERT INTO order_items SELECT n, n / 4, n % 5000, 1 FROM generate_series(1, 400000) n;
INSERT INTO events SELECT n, CASE WHEN n % 1000 = 0 THEN 'rare' ELSE 'common' END,
  now() - n * interval '10 seconds', repeat('x', 40) FROM generate_series(1, 150000) n;
INSERT INTO jobs SELECT n, now() - n * interval '1 minute',
  CASE WHEN n % 3000 = 0 THEN NULL ELSE now() END, repeat('x', 60) FROM generate_series(1, 150000) n";

/// The value of a key of each endpoint.
fn p50s(diagnosis: &Value) -> BTreeMap<String, f64> {
    let all = diagnosis["recording"]["endpoints"].as_array().unwrap().iter();
    all.map(|e| (e["endpoint"].as_str().unwrap().to_owned(), e["p50_ms"].as_f64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_predicted_comes_within_a_fifth() {
    let server = postgres("pg_stat_statements").await;
    let client = connect(&server.url()).await;
    client.batch_execute(TABLES).await.unwrap();
    // Where this machine has it; our own estimate serves without.
    let hypopg = client.batch_execute("CREATE EXTENSION hypopg").await.is_ok();
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let endpoints: Vec<_> = CASES.iter().map(|(name, text)| (*name, vec![(REST, 1), (*text, 1)])).collect();
    let service = Service::start(&server.url(), 6, &endpoints).await;
    let folder = tempfile::tempdir().unwrap();
    let rates: Vec<(&str, f64)> = CASES.iter().map(|(name, _)| (*name, 1.2)).collect();
    service.settings(folder.path(), 36, &rates, "");
    let measure = |output: &'static str| {
        let path = folder.path().to_owned();
        async move {
            let ran = tokio::task::spawn_blocking(move || {
                run(&path, &["measure", "-o", output, "--format", "json"])
            });
            let ran = ran.await.unwrap();
            serde_json::from_str::<Value>(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"))
        }
    };
    let before = measure("before").await;
    let mut predicted = BTreeMap::new();
    let mut made = Vec::new();
    for finding in before["findings"].as_array().unwrap().iter().filter(|f| f["rule"] == "missing_index") {
        let median = &finding["prediction"]["quantiles"][0];
        predicted.insert(
            finding["endpoint"].as_str().unwrap().to_owned(),
            (median["before_ms"].as_f64().unwrap(), median["after_ms"].as_f64().unwrap()),
        );
        let create = finding["remedies"][0]["patch"].as_str().unwrap().to_owned();
        if !made.contains(&create) {
            client.batch_execute(&create).await.unwrap();
            made.push(create);
        }
    }
    client.batch_execute("ANALYZE").await.unwrap();
    let after = p50s(&measure("after").await);
    let (mut near, mut made_predictions) = (0, 0);
    println!("HypoPG: {hypopg}; {} indexes", made.len());
    for (name, _) in CASES {
        let endpoint = format!("GET /{name}");
        let outcome = after[&endpoint];
        let Some((was, expected)) = predicted.get(&endpoint) else {
            println!("{name}: no prediction, {:.1} ms -> {outcome:.1}", p50s(&before)[&endpoint]);
            continue;
        };
        let error = expected / outcome - 1.0;
        made_predictions += 1;
        near += usize::from(error.abs() <= NEAR);
        println!("{name}: {was:.1} ms, predicted {expected:.1}, came {outcome:.1}: {:+.0} %", error * 100.0);
    }
    assert!(
        near >= AT_LEAST && near == made_predictions,
        "{near} of {made_predictions} predictions for {} endpoints within {NEAR}: {:#}",
        CASES.len(),
        before["gaps"]
    );
}
