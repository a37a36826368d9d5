//! A world that changes under our hands: a gap or an error for it, never a panic, never a hang.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use database::{Database, PlanOptions};
use local_postgres::{LocalPostgres, Options};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

const OPTIONS: PlanOptions = PlanOptions { may_build: false, most: 50 };

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn server(setup: &str) -> (LocalPostgres, Client, Database) {
    let options = Options::default().setting("shared_preload_libraries", "pg_stat_statements");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let client = client(&server.url()).await;
    client.batch_execute(&format!("CREATE EXTENSION pg_stat_statements; {setup}")).await.unwrap();
    let database = Database::connect(&server.url()).await.unwrap();
    (server, client, database)
}

#[tokio::test]
async fn a_table_that_goes_away_is_a_gap_and_the_rest_is_told() {
    let (_server, client, database) = server("CREATE TABLE stays (a int); CREATE TABLE goes (a int)").await;
    client.batch_execute("SELECT a FROM stays WHERE a = 1").await.unwrap();
    client.batch_execute("SELECT a FROM goes WHERE a = 1").await.unwrap();
    let statements = database.snapshot().await.unwrap().totals().0;
    client.batch_execute("DROP TABLE goes").await.unwrap();
    let (plans, gaps) = database.plans(&statements, &OPTIONS).await;
    let texts: Vec<&str> = plans.iter().map(|p| p.statement.as_str()).collect();
    assert_eq!(texts, ["SELECT a FROM stays WHERE a = $1"]);
    assert!(gaps.iter().any(|g| g.reason.contains("\"goes\" does not exist")), "{gaps:?}");
}

#[tokio::test]
async fn a_table_that_is_locked_is_not_waited_for() {
    let (_server, client, database) = server("CREATE TABLE held (a int)").await;
    client.batch_execute("SELECT a FROM held WHERE a = 1").await.unwrap();
    let statements = database.snapshot().await.unwrap().totals().0;
    client.batch_execute("BEGIN; LOCK TABLE held").await.unwrap();
    let looked = tokio::time::timeout(Duration::from_secs(20), database.plans(&statements, &OPTIONS)).await;
    let (plans, gaps) = looked.unwrap();
    assert!(plans.is_empty() && gaps.iter().any(|g| g.reason.contains("lock timeout")), "{gaps:?}");
    // The same connection goes on.
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(database.plans(&statements, &OPTIONS).await.0.len(), 1);
}

#[tokio::test]
async fn a_connection_that_is_ended_is_an_error() {
    let (_server, client, database) = server("CREATE TABLE t (a int)").await;
    client.batch_execute("SELECT a FROM t WHERE a = 1").await.unwrap();
    let before = database.snapshot().await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trimtab'";
    client.batch_execute(end).await.unwrap();
    let error = database.snapshot().await.map(drop).unwrap_err();
    assert!(error.to_string().starts_with("the connection to postgresql://"), "{error}");
    let (statements, _) = before.totals();
    let (plans, gaps) = database.plans(&statements, &OPTIONS).await;
    assert!(plans.is_empty() && !gaps.is_empty(), "{gaps:?}");
    assert!(database.apply("SELECT 1").await.is_err());
    assert!(!database.watch(1, Duration::from_millis(1)).await.1.is_empty());
}

#[tokio::test]
async fn odd_names_are_quoted_wherever_they_appear() {
    let setup = "CREATE TABLE \"Größe; DROP\" (\"sé\"\"lect\" int, \"where\" text);
        INSERT INTO \"Größe; DROP\" SELECT n / 3, repeat('x', 90) FROM generate_series(1, 100000) n; ANALYZE";
    let (_server, client, database) = server(setup).await;
    let text = "SELECT \"where\" FROM \"Größe; DROP\" WHERE \"sé\"\"lect\" = 7";
    for _ in 0..3 {
        client.batch_execute(text).await.unwrap();
    }
    let statements = database.snapshot().await.unwrap().totals().0;
    let (plans, gaps) = database.plans(&statements, &OPTIONS).await;
    let index = plans.iter().flat_map(|p| &p.what_ifs).next().unwrap_or_else(|| panic!("{plans:?} {gaps:?}"));
    assert_eq!(index.columns, ["sé\"lect"]);
    database.apply(&index.create).await.unwrap();
    let (plans, _) = database.plans(&statements, &OPTIONS).await;
    assert!(plans.iter().all(|p| p.what_ifs.is_empty()), "{plans:?}");
    database.apply(&index.undo).await.unwrap();
}
