//! The shop as its operators meet it: refusals, outages, metrics, start and end, seeding.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use hyper::StatusCode;
use serde_json::{Value, json};
use shop::{Config, Shop, seed};

use super::support::{Fixture, Http, client, database, small};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_is_an_error_503_for_all_that_needs_it() {
    let shop = Shop::start(Config::new("postgres://postgres@127.0.0.1:1/none")).await.unwrap();
    let http = Http::new(shop.addresses().listening);
    for connection in ["per_request", "pool"] {
        let change = json!({ "connection": connection }).to_string();
        assert_eq!(http.send("PUT", "/switches", &[], &change).await.status, StatusCode::OK);
        for path in ["/healthz", "/customers/1/orders", "/products/1/page", "/export/orders"] {
            let answer = http.send("GET", path, &[], "").await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(answer.json()["error"], "the database is not available", "{path}");
        }
    }
    assert_eq!(http.send("GET", "/metrics", &[], "").await.status, StatusCode::OK);
    shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_with_a_reason() {
    let shop = Fixture::new().await;
    let item = |product: i32, quantity: i32| json!([{ "product_id": product, "quantity": quantity }]);
    for (method, path, body, status, reason) in [
        ("GET", "/customers/x/orders", json!(null), 400, "positive integer"),
        ("GET", "/customers/0/orders", json!(null), 400, "positive integer"),
        ("GET", "/customers/999999/orders", json!(null), 404, "no customer 999999"),
        ("GET", "/customers/999999/account", json!(null), 404, "no customer 999999"),
        ("GET", "/customers/1/orders?limit=0", json!(null), 400, "limit must be"),
        ("GET", "/products/999999", json!(null), 404, "no product 999999"),
        ("GET", "/products/999999/page", json!(null), 404, "no product 999999"),
        ("GET", "/export/orders?customer_from=5&customer_to=4", json!(null), 400, "span 1 to 5000"),
        ("GET", "/reports/sales?resamples=1000000", json!(null), 400, "resamples from 1"),
        ("GET", "/nowhere", json!(null), 404, "no such path"),
        ("POST", "/basket/prices", json!({ "items": item(999_999, 1) }), 422, "no product 999999"),
        ("POST", "/orders", json!({ "customer_id": 1, "items": [] }), 400, "1 to 100 entries"),
        ("POST", "/orders", json!({ "customer_id": 1, "items": item(1, 0) }), 400, "items[0].quantity"),
        ("POST", "/orders", json!({ "customer_id": 999_999, "items": item(1, 1) }), 422, "no customer"),
        ("POST", "/orders", json!({ "customer_id": 1, "items": item(999_999, 1) }), 422, "no product"),
        ("POST", "/events", json!({ "kind": "a\u{0}b" }), 400, "kind must be"),
        ("POST", "/events", json!({ "kynd": "a" }), 400, "unknown field `kynd`"),
    ] {
        let answer = shop.send(method, path, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(reason), "{method} {path}: {error}");
    }
    let text = shop.http().send("GET", "/export/orders", &[("accept", "text/csv")], "").await;
    assert_eq!(text.status, StatusCode::NOT_ACCEPTABLE);
    shop.shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_requests_by_route_and_the_state_of_the_pool() {
    let shop = Fixture::new().await;
    shop.switch(json!({ "connection": "pool", "pool_size": 3 })).await;
    for customer in 1..=4 {
        shop.get(&format!("/customers/{customer}/account")).await;
    }
    let page = shop.get("/metrics").await.text().to_owned();
    for line in [
        "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
         http_route=\"/customers/{id}/account\",http_response_status_code=\"200\"} 4",
        "db_client_connection_max 3",
        "db_client_connection_count{state=\"idle\"} 1",
        "db_client_connection_count{state=\"used\"} 0",
        "db_client_connection_pending_requests 0",
        "db_client_connection_wait_time_seconds_count 4",
        "queue_depth{queue=\"events\"} 0",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    shop.shop.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the program itself is what is tested")]
async fn the_program_reports_its_addresses_logs_requests_and_ends_with_its_parent() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let mut program = Command::new(env!("CARGO_BIN_EXE_shop"))
        .arg("serve")
        .env("DATABASE_URL", database("seeded").await)
        .env("SHOP_LISTEN", "127.0.0.1:0")
        .env("SHOP_SWITCHES", "connection=pool")
        .env("SHOP_ACCESS_LOG", &log)
        .env("SHOP_EXIT_WITH_STDIN", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let http = Http::new(ready["listening"].as_str().unwrap().parse().unwrap());
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = http.send("GET", "/products/3?x=1", &[("traceparent", traceparent)], "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());

    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let entry: Value = serde_json::from_str(std::fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(entry["method"], "GET");
    assert_eq!(entry["route"], "/products/{id}");
    assert_eq!(entry["path"], "/products/3");
    assert_eq!(entry["status"], 200);
    assert_eq!(entry["bytes"], answer.body.len());
    assert_eq!(entry["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert!(entry["duration_ms"].as_f64().unwrap() > 0.0);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program itself is what is tested")]
fn a_wrong_command_line_or_environment_ends_with_2_and_its_reason() {
    for (arguments, variables, reason) in [
        (&["fly"][..], &[][..], "no command `fly`"),
        (&["serve", "fast"], &[], "does not know `fast`"),
        (&["seed", "--scale", "0"], &[("DATABASE_URL", "postgres://x")], "the scale must be"),
        (&["serve"], &[], "DATABASE_URL is not set"),
        (&["serve"], &[("DATABASE_URL", "nonsense:secret@")], "the database URL cannot be read"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_shop"))
            .args(arguments)
            .env_remove("DATABASE_URL")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_gives_the_same_rows_and_nothing_is_overwritten_unasked() {
    let url = database("template1").await;
    let fingerprint = async || {
        let sql = "SELECT (SELECT md5(string_agg(o::text, '' ORDER BY id)) FROM orders o) \
                   || (SELECT md5(string_agg(i::text, '' ORDER BY id)) FROM order_items i) \
                   || (SELECT md5(string_agg(c::text, '' ORDER BY id)) FROM customers c) \
                   || (SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM products p)";
        client(&url).await.query_one(sql, &[]).await.unwrap().get::<_, String>(0)
    };
    let report = seed(&url, &small()).await.unwrap();
    assert_eq!((report.customers, report.products, report.orders), (200, 50, 2_000));
    let first = fingerprint().await;
    let refused = seed(&url, &small()).await.unwrap_err();
    assert!(refused.to_string().contains("--reset"), "{refused}");
    let again = shop::SeedOptions { reset: true, ..small() };
    seed(&url, &again).await.unwrap();
    assert_eq!(fingerprint().await, first);
    seed(&url, &shop::SeedOptions { seed: 2, ..again }).await.unwrap();
    assert_ne!(fingerprint().await, first);
}
