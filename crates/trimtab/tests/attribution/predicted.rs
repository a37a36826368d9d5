//! What an index brings each of ten endpoints, predicted without traces, against what it brought.

use crate::service::Service;
use crate::support::{connect, postgres, run};
use serde_json::Value;
use std::collections::BTreeMap;

/// The rest of each request: what no index shortens.
const REST: &str = "SELECT pg_sleep(0.02)";
const QUICK: &str = "SELECT id FROM orders WHERE id = $1";
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
/// What other work on the machine makes of an endpoint that no index shortens: it is the same before and after.
const CONTROL: &str = "rest";
const NEAR: f64 = 0.2;
/// By so much of it the control may move.
const DRIFT: f64 = 0.1;
const AT_LEAST: usize = 8;
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
    let mut endpoints: Vec<_> =
        CASES.iter().map(|(name, text)| (*name, vec![(REST, 1), (*text, 1)])).collect();
    endpoints.push((CONTROL, vec![(REST, 1), (QUICK, 1)]));
    let service = Service::start(&server.url(), 6, &endpoints).await;
    let folder = tempfile::tempdir().unwrap();
    let rate = |name| if name == CONTROL { 3.0 } else { 1.2 };
    let rates: Vec<(&str, f64)> = endpoints.iter().map(|(name, _)| (*name, rate(*name))).collect();
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
        predicted
            .insert(finding["endpoint"].as_str().unwrap().to_owned(), median["after_ms"].as_f64().unwrap());
        let create = finding["remedies"][0]["patch"].as_str().unwrap().to_owned();
        if !made.contains(&create) {
            client.batch_execute(&create).await.unwrap();
            made.push(create);
        }
    }
    client.batch_execute("ANALYZE").await.unwrap();
    let after = measure("after").await;
    let stalled = [&before, &after].into_iter().any(is_invalid);
    let (before, gaps) = (p50s(&before), &before["gaps"]);
    let after = p50s(&after);
    let control = format!("GET /{CONTROL}");
    let drift = after[&control] / before[&control];
    let mut near = 0;
    println!(
        "HypoPG: {hypopg}; {} indexes; the control: {:.1} ms, then {:.1}",
        made.len(),
        before[&control],
        after[&control]
    );
    for (name, _) in CASES {
        let endpoint = format!("GET /{name}");
        let (was, outcome) = (before[&endpoint], after[&endpoint]);
        let Some(expected) = predicted.get(&endpoint) else {
            println!("{name}: no prediction, {was:.1} ms -> {outcome:.1}");
            continue;
        };
        let error = expected / outcome - 1.0;
        near += usize::from(error.abs() <= NEAR);
        println!("{name}: {was:.1} ms, predicted {expected:.1}, came {outcome:.1}: {:+.0} %", error * 100.0);
    }
    assert!(predicted.len() >= AT_LEAST, "{predicted:?}: {gaps:#}");
    // A prediction is of the same machine: other work beside it that comes or goes is none of the index's.
    if stalled || (drift - 1.0).abs() > DRIFT {
        println!("the machine was not the same before and after: the times cannot be compared");
        return;
    }
    assert!(near >= AT_LEAST, "{near} of {} endpoints predicted within {NEAR}: {gaps:#}", CASES.len());
}

/// Too many requests never started: the machine gave neither the load nor the service its processors.
fn is_invalid(diagnosis: &Value) -> bool {
    let issues = diagnosis["recording"]["validity"]["issues"].as_array().unwrap();
    issues.iter().any(|issue| issue["invalid"] == true)
}
