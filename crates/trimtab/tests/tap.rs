//! `trimtab tap` as a user runs it: an application connects, Ctrl-C ends it, the table and the recording are true, and
//! no value and no password is anywhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command};
use support::{Ran, connect, free_port, postgres, program, run};

const TABLES: &str = "CREATE TABLE orders (id int PRIMARY KEY, customer text);
    CREATE TABLE items (id serial PRIMARY KEY, order_id int);
    INSERT INTO orders SELECT n, 'customer ' || n FROM generate_series(1, 20) n;
    INSERT INTO items (order_id) SELECT n % 20 + 1 FROM generate_series(0, 99) n";

/// A tap that runs; what it says until it listens is read.
struct Running {
    child: Child,
    err: BufReader<std::process::ChildStderr>,
    said: String,
    port: u16,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = program(folder).arg("tap").args(arguments).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("?sslmode=disable") {
            assert!(err.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let port = said.split("127.0.0.1:").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        Self { child, err, said, port }
    }

    fn through(&self, url: &str) -> String {
        let (user, place) = url.split_once('@').unwrap();
        format!("{user}@127.0.0.1:{}/{}", self.port, place.split_once('/').unwrap().1)
    }

    fn interrupt(mut self) -> Ran {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        self.err.read_to_string(&mut self.said).unwrap();
        let mut ran = Ran::from(self.child.wait_with_output().unwrap());
        ran.err = self.said;
        ran
    }
}

/// Every byte of every file.
fn all_files(folder: &Path, out: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, out) } else { out.extend(std::fs::read(&path).unwrap()) }
    }
}

/// As OTLP, the requests around the statements that named one.
fn write_requests(recording: &Path, file: &Path) {
    let spans = recording::read(recording).unwrap().spans;
    let of = |request: u128| {
        let rows = spans.rows().map(|row| row.fields()).filter(|fields| fields.trace_id == request);
        let times: Vec<(u64, u64)> =
            rows.map(|f| (f.start_ns, f.start_ns + f.duration_ns.cast_unsigned())).collect();
        assert_eq!(times.len(), 10);
        let (start, end) =
            (times.iter().map(|t| t.0).min().unwrap(), times.iter().map(|t| t.1).max().unwrap());
        serde_json::json!({
            "traceId": format!("{request:032x}"), "spanId": format!("{request:016x}"), "kind": 2,
            "name": "GET /checkout",
            "startTimeUnixNano": (start - 1000).to_string(), "endTimeUnixNano": (end + 1000).to_string(),
        })
    };
    let spans: Vec<Value> = (1..=30).map(of).collect();
    let service = serde_json::json!({"key": "service.name", "value": {"stringValue": "shop"}});
    let text = serde_json::json!({"resourceSpans": [{
        "resource": {"attributes": [service]}, "scopeSpans": [{"spans": spans}],
    }]});
    std::fs::write(file, text.to_string()).unwrap();
}

fn password(url: &str) -> &str {
    url.split_once("://").unwrap().1.split_once('@').unwrap().0.split_once(':').unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_without_traces_is_recorded_and_judged() {
    let server = postgres("").await;
    let url = server.create_database("tapped").await.unwrap();
    connect(&url).await.batch_execute(TABLES).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tap = Running::start(folder.path(), &["--listen", "0", "--to", &url, "--format", "json"]);
    let through = format!("{}?application_name=backoffice", tap.through(&url));
    let mut client = connect(&through).await;
    let items = client.prepare("SELECT id FROM items WHERE order_id = $1").await.unwrap();
    for _ in 0..30 {
        let transaction = client.transaction().await.unwrap();
        let orders =
            transaction.query("SELECT id FROM orders WHERE customer <> 'hunter2'", &[]).await.unwrap();
        for order in &orders {
            transaction.query(&items, &[&order.get::<_, i32>(0)]).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }
    // Requests of a service that traces itself, but not its statements; it hands its context on in a comment.
    for request in 1..=30 {
        for item in 1..=10 {
            let parent = format!("traceparent='00-{request:032x}-{request:016x}-01'");
            let sql = format!("SELECT order_id FROM items WHERE id = {item} /*{parent}*/");
            client.simple_query(&sql).await.unwrap();
        }
    }
    let ran = tap.interrupt();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let seen: Value = serde_json::from_str(&ran.out).unwrap();
    let statement = |text: &str| {
        let all = seen["statements"].as_array().unwrap();
        all.iter().find(|s| s["text"] == text).unwrap_or_else(|| panic!("no {text}: {seen:#}")).clone()
    };
    let of_items = statement("SELECT id FROM items WHERE order_id = $1");
    assert_eq!([&of_items["calls"], &of_items["rows"], &of_items["longest_run"]], [600, 3000, 20]);
    assert_eq!(of_items["looks_like_a_loop"], true);
    assert!(of_items["p95_ms"].as_f64().unwrap() > 0.0);
    let of_orders = statement("SELECT id FROM orders WHERE customer <> $1");
    assert_eq!([&of_orders["calls"], &of_orders["prepares"], &of_orders["rows"]], [30, 30, 600]);
    assert_eq!(statement("COMMIT")["calls"], 30);
    assert_eq!(seen["connections"]["all"], 1);

    let recording = seen["recording"].as_str().unwrap();
    let found = run(folder.path(), &["localize", recording, "--format", "json"]);
    let diagnosis: Value = serde_json::from_str(&found.out).unwrap();
    let finding = diagnosis["findings"].as_array().unwrap().iter().find(|f| f["rule"] == "n_plus_one");
    let finding = finding.unwrap_or_else(|| panic!("{diagnosis:#}"));
    assert_eq!(finding["endpoint"], "transaction: SELECT orders WHERE customer <> ?");
    assert_eq!(finding["service"], "backoffice");
    assert_eq!(run(folder.path(), &["localize"]).code, found.code, "it is the last recording");

    write_requests(&folder.path().join(recording), &folder.path().join("traces.json"));
    let found = run(folder.path(), &["localize", recording, "traces.json", "--format", "json"]);
    let diagnosis: Value = serde_json::from_str(&found.out).unwrap();
    let of_request = |f: &&Value| f["rule"] == "n_plus_one" && f["endpoint"] == "GET /checkout";
    let finding = diagnosis["findings"].as_array().unwrap().iter().find(of_request);
    assert_eq!(finding.unwrap_or_else(|| panic!("{diagnosis:#}"))["calls_per_request"], 10.0);

    let mut kept = ran.out.into_bytes();
    kept.extend(ran.err.into_bytes());
    all_files(folder.path(), &mut kept);
    for secret in [password(&url), "hunter2", "customer 1"] {
        assert!(!kept.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_works_through_it_and_the_table_tells_what_it_did() {
    let server = postgres("").await;
    let url = server.url();
    let folder = tempfile::tempdir().unwrap();
    let tap = Running::start(folder.path(), &["--listen", "0", "--to", &url, "-o", "tapped"]);
    // The way of every libpq: encryption is asked for first, and refused by this server.
    let sql = "SELECT 40 + 2 AS answer; SELECT nothing FROM nowhere";
    let mut psql = psql();
    psql.args(["-X", "-A", "-t", "-d", &tap.through(&url), "-c", sql]);
    let ran = Ran::from(psql.output().unwrap());
    assert!(ran.out.contains("42") && ran.err.contains("nowhere"), "{ran:?}");
    let ran = tap.interrupt();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for part in ["1 statements on 1 connections, 1 errors", "Statements by total time", "localize tapped"] {
        assert!(ran.out.contains(part), "no {part}: {}", ran.out);
    }
    assert!(!ran.out.contains(password(&url)) && !ran.err.contains(password(&url)));
    assert!(folder.path().join("tapped/run.json").is_file());
}

#[expect(clippy::disallowed_methods, reason = "the test waits for its end")]
fn psql() -> Command {
    Command::new("psql")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_or_a_client_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let none = run(folder.path(), &["tap"]);
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.err.contains("give --to postgres://host:port"), "{}", none.err);
    let open = run(folder.path(), &["tap", "--listen", "0", "--to", "/tmp/.s.PGSQL.1", "--duration", "0.1"]);
    assert!(open.code == Some(2) && open.err.contains("--allow-local-users"), "{open:?}");

    let to = format!("postgres://me:hunter2@127.0.0.1:{}/x", free_port());
    let tap = Running::start(folder.path(), &["--listen", "0", "--to", &to, "-o", "a"]);
    let failed = tokio_postgres::connect(&tap.through(&to), tokio_postgres::NoTls).await;
    assert!(failed.is_err());
    let ran = tap.interrupt();
    assert_eq!(ran.code, Some(2), "nothing was seen: {ran:?}");
    assert!(ran.err.contains("is the server running?") && !ran.err.contains("hunter2"), "{}", ran.err);
    assert!(ran.out.contains("1 of 1 connections did not reach the server"), "{}", ran.out);

    let alone = run(folder.path(), &["tap", "--listen", "0", "--to", &to, "--duration", "0.1", "-o", "b"]);
    assert!(alone.code == Some(2) && alone.out.contains("no connection came"), "{alone:?}");
    let again = run(folder.path(), &["tap", "--listen", "0", "--to", &to, "-o", "b"]);
    assert!(again.code == Some(2) && again.err.contains("holds a recording already"), "{again:?}");
}
