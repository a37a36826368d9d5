//! `trimtab database` on real servers and files: text and JSON, as a role that may only look.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mariadb;
#[path = "../support/mariadb.rs"]
mod mariadb_server;
mod sqlite;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use support::{connect, free_port, postgres, run};

const TABLES: &str = "
CREATE EXTENSION pg_stat_statements;
CREATE TABLE items (id int PRIMARY KEY, order_id int NOT NULL, note text NOT NULL);
INSERT INTO items SELECT n, n / 3, repeat('x', 60) FROM generate_series(1, 200000) n;
CREATE ROLE reader LOGIN PASSWORD 'hunter2'; GRANT pg_read_all_stats TO reader; GRANT SELECT ON items TO reader";

#[tokio::test]
async fn a_server_alone_is_ranked_and_advised() {
    let server = postgres("pg_stat_statements").await;
    let url = server.create_database("alone").await.unwrap();
    let client = connect(&url).await;
    client.batch_execute(TABLES).await.unwrap();
    client.batch_execute("ANALYZE").await.unwrap();
    for _ in 0..5 {
        client.batch_execute("SELECT note FROM items WHERE order_id = 77").await.unwrap();
    }
    let place = url.split_once('@').unwrap().1;
    let url = format!("postgresql://reader:hunter2@{place}");
    let folder = tempfile::tempdir().unwrap();

    let text = run(folder.path(), &["database", &url, "--watch", "0"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for part in
        ["Statements by total time", "items (order_id)", "CREATE INDEX CONCURRENTLY", "undo: DROP INDEX"]
    {
        assert!(text.out.contains(part), "no {part}: {}", text.out);
    }

    let json = run(folder.path(), &["database", &url, "--watch", "0", "--format", "json"]);
    let seen: Value = serde_json::from_str(&json.out).unwrap();
    let index = &seen["indexes"][0];
    assert_eq!(index["columns"][0], "order_id", "{seen:#}");
    let served = &index["statements"][0];
    assert_eq!(served["statement"], "SELECT note FROM items WHERE order_id = $1");
    assert!(served["after_ms"].as_f64().unwrap() < served["before_ms"].as_f64().unwrap() / 5.0, "{served:#}");
    for out in [&text.out, &text.err, &json.out, &json.err] {
        assert!(!out.contains("hunter2"), "{out}");
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let ran = run(folder.path(), &["database", &format!("postgresql://me:hunter2@127.0.0.1:{port}/shop")]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let told = format!("could not connect to postgresql://127.0.0.1:{port}/shop");
    assert!(ran.err.contains(&told), "{}", ran.err);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}
