//! The state of a real server that has the faults: each is told, and what mends it can be run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use database::{Database, Observation, PlanOptions, Snapshot};
use local_postgres::{LocalPostgres, Options};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

async fn server() -> (LocalPostgres, Client) {
    let options = Options::default()
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("max_parallel_workers_per_gather", "0");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let client = client(&server.url(), "loader").await;
    client.batch_execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await.unwrap();
    (server, client)
}

async fn client(url: &str, application: &str) -> Client {
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.application_name(application);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn of<'o>(found: &'o [Observation], kind: &str) -> &'o Observation {
    found.iter().find(|o| o.kind == kind).unwrap_or_else(|| panic!("no {kind}: {found:#?}"))
}

#[tokio::test]
async fn columns_that_depend_on_each_other_get_statistics_and_are_not_told_again() {
    let (server, client) = server().await;
    let tables = "CREATE TABLE sales (id int, city int, region int, note text);
                  INSERT INTO sales SELECT i, (i % 5000) / 10, (i % 5000) / 100, md5(i::text) FROM generate_series(1, 100000) i;
                  ANALYZE sales;
                  CREATE TABLE busy (id int, v int) WITH (autovacuum_enabled = false);
                  INSERT INTO busy SELECT i, 0 FROM generate_series(1, 30000) i; UPDATE busy SET v = 1;
                  CREATE ROLE clerk; GRANT SELECT ON sales TO clerk;
                  SELECT pg_create_physical_replication_slot('gone', true);
                  SELECT pg_stat_force_next_flush(); SET work_mem = '64kB'";
    client.batch_execute(tables).await.unwrap();
    let database = Database::connect(&server.url()).await.unwrap();
    let seen = async || {
        let before = database.snapshot().await.unwrap();
        for (city, region) in [(310, 31), (77, 7), (455, 45)] {
            let text = format!("SELECT id FROM sales WHERE city = {city} AND region = {region}");
            client.batch_execute(&text).await.unwrap();
        }
        client.batch_execute("SET ROLE clerk").await.unwrap();
        for _ in 0..3 {
            client.batch_execute("SELECT note FROM sales ORDER BY note").await.unwrap();
        }
        client.batch_execute("RESET ROLE").await.unwrap();
        let (statements, _) = Snapshot::delta(&before, &database.snapshot().await.unwrap());
        let (plans, _) = database.plans(&statements, &PlanOptions { may_build: false, most: 20 }).await;
        let (found, gaps) = database.health(&statements, &plans).await;
        assert_eq!(gaps, []);
        found
    };
    let found = seen().await;
    let wrong = of(&found, "misestimate");
    assert!(wrong.reason.contains("200 came per call: city, region depend on each other"), "{wrong:#?}");
    assert!(of(&found, "spill").mend.as_ref().unwrap().starts_with("ALTER ROLE clerk SET"), "{found:#?}");
    let dead = of(&found, "dead_rows");
    assert!(dead.reason.contains("switched off for this table"), "{dead:#?}");
    assert!(of(&found, "vacuum_held_back").reason.contains("replication slot 'gone'"), "{found:#?}");
    for kind in ["misestimate", "vacuum_held_back", "spill"] {
        client.batch_execute(of(&found, kind).mend.as_ref().unwrap()).await.unwrap();
    }
    for part in dead.mend.as_ref().unwrap().split("; ") {
        client.batch_execute(part).await.unwrap();
    }
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let mended = seen().await;
    let left: Vec<&str> = mended.iter().map(|o| o.kind).collect();
    for kind in ["misestimate", "vacuum_held_back", "dead_rows"] {
        assert!(!left.contains(&kind), "{mended:#?}");
    }
    for kind in ["misestimate", "dead_rows", "spill"] {
        client.batch_execute(of(&found, kind).undo.as_ref().unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn connections_for_each_statement_and_a_pool_that_is_too_large_are_told() {
    let (server, _client) = server().await;
    let url = server.url();
    let database = Database::connect(&url).await.unwrap();
    let mut pool = Vec::new();
    for _ in 0..20 {
        pool.push(client(&url, "api").await);
    }
    let busy = client(&url, "api").await;
    let working = tokio::spawn(async move { busy.batch_execute("SELECT pg_sleep(60)").await });
    let connecting = tokio::spawn(async move {
        loop {
            let once = client(&url, "function").await;
            once.batch_execute("SELECT 1").await.unwrap();
        }
    });
    let (found, gaps) = database.watch(40, Duration::from_millis(100)).await;
    connecting.abort();
    working.abort();
    assert_eq!(gaps, []);
    let churn = of(&found, "connection_churn");
    assert!(churn.reason.contains("connections were made in 4 s"), "{churn:#?}");
    let size = of(&found, "pool_size");
    assert!(size.reason.starts_with("api at 127.0.0.1: 21 connections are open, 1.0 of them"), "{size:#?}");
    assert!(!found.iter().any(|o| o.kind == "idle_in_transaction" || o.kind == "lock_wait"), "{found:#?}");
    drop(pool);
}
