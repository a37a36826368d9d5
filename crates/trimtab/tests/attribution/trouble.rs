//! What goes wrong during a measurement is a gap that says what to do, and the rest is measured.

use crate::service::Service;
use crate::support::{Ran, connect, free_port, postgres, run};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const SEARCH: &str = "SELECT note FROM items WHERE order_id = $1";
const TABLES: &str = "
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
CREATE TABLE items (id int PRIMARY KEY, order_id int NOT NULL, note text NOT NULL);
INSERT INTO items SELECT n, n / 3, 'x' FROM generate_series(1, 3000) n;";

async fn measured(folder: &Path) -> (Value, Ran) {
    let path = folder.to_owned();
    let ran = tokio::task::spawn_blocking(move || run(&path, &["measure", "-o", "out", "--format", "json"]));
    let ran = ran.await.unwrap();
    (serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}")), ran)
}

fn gaps(diagnosis: &Value) -> String {
    serde_json::to_string_pretty(&diagnosis["gaps"]).unwrap()
}

fn costs(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("out/costs.json")).unwrap()).unwrap()
}

/// After the load's warm-up and a few windows.
async fn in_the_middle() {
    tokio::time::interval_at(tokio::time::Instant::now() + Duration::from_secs(6), Duration::from_secs(1))
        .tick()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_that_are_reset_void_one_window() {
    let server = postgres("pg_stat_statements").await;
    let url = server.url();
    let client = connect(&url).await;
    client.batch_execute(TABLES).await.unwrap();
    let service = Service::start(&url, 2, &[("items", vec![(SEARCH, 2)]), ("none", vec![])]).await;
    let folder = tempfile::tempdir().unwrap();
    service.settings(folder.path(), 12, &[("items", 15.0), ("none", 15.0)], "");
    let reset = tokio::spawn(async move {
        in_the_middle().await;
        client.batch_execute("SELECT pg_stat_statements_reset()").await.unwrap();
    });
    let (diagnosis, _) = measured(folder.path()).await;
    reset.await.unwrap();
    let gaps = gaps(&diagnosis);
    assert!(gaps.contains("1 of 12 windows do not count") && gaps.contains("reset"), "{gaps}");
    let costs = costs(folder.path());
    let calls = &costs["statements"][0]["calls"];
    assert_eq!(calls["windows"], 11, "{costs:#}");
    let told = calls["per_request"][0]["value"].as_f64().unwrap();
    assert!((told - 2.0).abs() < 0.4, "{told}: {costs:#}");
}

/// A server process that dies takes all others with it: the server starts again, and its counters begin anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_again_in_the_middle_costs_the_windows_around_it() {
    let server = postgres("pg_stat_statements").await;
    let url = server.url();
    let client = connect(&url).await;
    client.batch_execute(TABLES).await.unwrap();
    let service = Service::start(&url, 2, &[("items", vec![(SEARCH, 2)]), ("none", vec![])]).await;
    let folder = tempfile::tempdir().unwrap();
    service.settings(folder.path(), 14, &[("items", 15.0), ("none", 15.0)], "");
    let crash = tokio::spawn(async move {
        in_the_middle().await;
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    let (diagnosis, _) = measured(folder.path()).await;
    crash.await.unwrap();
    let (costs, gaps) = (costs(folder.path()), gaps(&diagnosis));
    let calls = &costs["statements"][0]["calls"];
    let windows = calls["windows"].as_u64().unwrap();
    assert!((9..14).contains(&windows), "{windows} {gaps}");
    assert!(gaps.contains("of 14 windows do not count"), "{gaps}");
    let told = calls["per_request"][0]["value"].as_f64().unwrap();
    assert!((told - 2.0).abs() < 0.4, "{told}: {costs:#} {gaps}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_rights_and_a_missing_extension_say_what_to_do() {
    let server = postgres("pg_stat_statements").await;
    let url = server.create_database("poor").await.unwrap();
    let client = connect(&url).await;
    client.batch_execute(TABLES).await.unwrap();
    client.batch_execute("CREATE ROLE poor LOGIN PASSWORD 'hunter2'").await.unwrap();
    let service = Service::start(&url, 2, &[("items", vec![(SEARCH, 2)]), ("none", vec![])]).await;
    let place = url.split_once('@').unwrap().1.to_owned();
    let folder = tempfile::tempdir().unwrap();
    service.settings(folder.path(), 9, &[("items", 15.0), ("none", 15.0)], "");
    let settings = std::fs::read_to_string(folder.path().join("trimtab.toml")).unwrap();
    let poor = settings.replace(&url, &format!("postgresql://poor:hunter2@{place}"));
    std::fs::write(folder.path().join("trimtab.toml"), poor).unwrap();
    let (diagnosis, ran) = measured(folder.path()).await;
    let told = gaps(&diagnosis);
    assert!(told.contains("GRANT pg_read_all_stats TO poor"), "{told}");
    assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{ran:?}");

    client.batch_execute("DROP EXTENSION pg_stat_statements").await.unwrap();
    std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    let (diagnosis, _) = measured(folder.path()).await;
    let told = gaps(&diagnosis);
    assert!(told.contains("CREATE EXTENSION pg_stat_statements"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_does_not_answer_is_a_gap_without_its_password() {
    let server = postgres("pg_stat_statements").await;
    let url = server.url();
    connect(&url).await.batch_execute(TABLES).await.unwrap();
    let service = Service::start(&url, 2, &[("items", vec![(SEARCH, 2)])]).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = format!("[cache]\nurl = \"redis://:hunter2@127.0.0.1:{}\"\n", free_port());
    service.settings(folder.path(), 9, &[("items", 15.0)], &cache);
    let (diagnosis, ran) = measured(folder.path()).await;
    let told = gaps(&diagnosis);
    assert!(told.contains("redis://127.0.0.1") && told.contains("check [cache] url"), "{told}");
    assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{ran:?}");
    assert!(folder.path().join("out/costs.json").is_file(), "the rest was measured");
}

/// A database that does not know its encoding keeps whatever bytes it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_in_no_encoding_are_passed_over() {
    let server = postgres("pg_stat_statements").await;
    let admin = connect(&server.url()).await;
    let make = "CREATE DATABASE latin ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    admin.batch_execute(make).await.unwrap();
    let url = format!("{}/latin", server.url().rsplit_once('/').unwrap().0);
    let client = connect(&url).await;
    client.batch_execute(TABLES).await.unwrap();
    // A name in Latin-1, as an old client sends it: no UTF-8.
    let odd = "DO $$ BEGIN EXECUTE convert_from('\\x53454c4543542031204153202266fc7222'::bytea, 'SQL_ASCII'); END $$";
    client.batch_execute("SET pg_stat_statements.track = 'all'").await.unwrap();
    client.batch_execute(odd).await.unwrap();
    let service = Service::start(&url, 2, &[("items", vec![(SEARCH, 2)]), ("none", vec![])]).await;
    let folder = tempfile::tempdir().unwrap();
    service.settings(folder.path(), 9, &[("items", 15.0), ("none", 15.0)], "");
    let (diagnosis, _) = measured(folder.path()).await;
    let costs = costs(folder.path());
    let all = costs["statements"].as_array().unwrap();
    let found =
        all.iter().find(|s| s["text"] == SEARCH).unwrap_or_else(|| panic!("{costs:#} {}", gaps(&diagnosis)));
    let told = found["calls"]["per_request"][0]["value"].as_f64().unwrap();
    assert!((told - 2.0).abs() < 0.4, "{told}");
}
