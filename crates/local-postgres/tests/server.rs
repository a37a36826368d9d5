//! A real server: it answers, keeps its settings, and is gone whatever happens to its owner.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use local_postgres::{LocalPostgres, Options, find};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

async fn ask(url: &str, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let answer = client.query_one(sql, &[]).await.unwrap().get(0);
    drop(client);
    driver.await.unwrap().unwrap();
    answer
}

fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Waits for a fact without an event of its own: another process's end.
async fn until(what: &str, fact: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut poll = tokio::time::interval(Duration::from_millis(10));
    while !fact() {
        assert!(Instant::now() < deadline, "{what}");
        poll.tick().await;
    }
}

#[tokio::test]
async fn it_answers_keeps_settings_and_leaves_nothing() {
    let options = Options::default()
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("max_parallel_workers_per_gather", "0");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let (pid, directory) = (server.pid(), server.directory().to_owned());
    assert!(lives(pid));
    assert_eq!(ask(&server.url(), "SHOW shared_preload_libraries").await, "pg_stat_statements");
    assert_eq!(ask(&server.url(), "SHOW max_parallel_workers_per_gather").await, "0");
    assert_eq!(ask(&server.url(), "SHOW listen_addresses").await, "127.0.0.1");
    let shop = server.create_database("shop").await.unwrap();
    assert_eq!(ask(&shop, "SELECT current_database()::text").await, "shop");
    assert!(server.create_database("shop").await.is_err());
    assert!(server.create_database("a; DROP DATABASE shop").await.is_err());
    let wrong = shop.replace("postgres:", "postgres:wrong");
    assert!(tokio_postgres::connect(&wrong, tokio_postgres::NoTls).await.is_err(), "the password is checked");
    server.stop();
    assert!(!lives(pid) && !directory.exists());
}

#[tokio::test]
async fn a_setting_that_no_server_knows_is_named() {
    let options = Options::default().setting("shared_preload_libraries", "no_such_library");
    let error = LocalPostgres::start(&options, &mut |_| {}).await.unwrap_err();
    assert!(format!("{error:#}").contains("no_such_library"), "{error:#}");
}

struct Held {
    owner: Child,
    pid: u32,
    directory: PathBuf,
}

/// Another process that owns a server: the example `hold`.
#[expect(clippy::disallowed_methods, reason = "each test ends it")]
fn hold() -> Held {
    let program = std::env::current_exe().unwrap();
    let program = program.parent().and_then(Path::parent).unwrap().join("examples/hold");
    let mut owner = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines: Vec<String> =
        BufReader::new(owner.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    let held = Held { owner, pid: lines[1].parse().unwrap(), directory: PathBuf::from(&lines[2]) };
    assert!(lives(held.pid) && held.directory.exists());
    held
}

#[tokio::test]
async fn it_is_gone_when_its_owner_is_killed() {
    let mut held = hold();
    held.owner.kill().unwrap();
    held.owner.wait().unwrap();
    until("the server outlives its owner", || !lives(held.pid)).await;
    until("its directory stays", || !held.directory.exists()).await;
}

#[tokio::test]
async fn it_is_gone_when_its_owner_ends() {
    let mut held = hold();
    drop(held.owner.stdin.take());
    assert!(held.owner.wait().unwrap().success());
    assert!(!lives(held.pid) && !held.directory.exists());
}

#[test]
fn offline_without_a_server_is_an_error_with_a_hint() {
    let nowhere = tempfile::tempdir().unwrap();
    match find(true, Some(nowhere.path()), &mut |_| {}) {
        Ok(found) => assert!(!found.is_empty()),
        Err(error) => assert!(error.to_string().contains("install it"), "{error}"),
    }
}
