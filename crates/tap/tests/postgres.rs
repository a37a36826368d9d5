//! A real server and a real driver: the same answers with and without the tap, and the truth in its spans.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use local_postgres::{LocalPostgres, Options};
use model::{SpanTable, Value};
use std::pin::pin;
use support::Tap;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

const TABLES: &str = "CREATE TABLE orders (id int PRIMARY KEY, note text);
    CREATE TABLE items (id serial PRIMARY KEY, order_id int);
    CREATE TABLE later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 20) n;
    INSERT INTO items (order_id) SELECT n / 3 + 1 FROM generate_series(0, 59) n";
const ITEMS: &str = "SELECT id FROM items WHERE order_id = $1";

async fn server() -> LocalPostgres {
    LocalPostgres::start(&Options::default(), &mut |_| {}).await.unwrap()
}

/// A connection, through the tap's port if there is one.
async fn open(url: &str, port: Option<u16>) -> Client {
    let own: Config = url.parse().unwrap();
    let mut config = Config::new();
    config.host("127.0.0.1").port(port.unwrap_or(own.get_ports()[0])).application_name("checkout");
    config.user(own.get_user().unwrap()).password(own.get_password().unwrap());
    config.dbname(own.get_dbname().unwrap());
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

async fn code(failed: Result<impl Sized, tokio_postgres::Error>) -> String {
    failed.err().unwrap().code().unwrap().code().to_owned()
}

/// What a driver can do, and what came back.
async fn work(client: &mut Client) -> Vec<String> {
    let mut out = Vec::new();
    for message in client.simple_query("SELECT id, note FROM orders WHERE id < 4; SELECT 'x'").await.unwrap()
    {
        if let SimpleQueryMessage::Row(row) = message {
            out.push(format!("{:?}", row.get(0)));
        }
    }
    let orders = client.query("SELECT id FROM orders ORDER BY id", &[]).await.unwrap();
    let items = client.prepare(ITEMS).await.unwrap();
    for order in &orders {
        let rows = client.query(&items, &[&order.get::<_, i32>(0)]).await.unwrap();
        out.push(rows.iter().map(|row| row.get::<_, i32>(0).to_string()).collect());
    }
    // A pipeline: asked before the answers come.
    let ask = |id: i32| {
        let (client, items) = (&*client, &items);
        async move { client.query(items, &[&id]).await.unwrap().len() }
    };
    out.push(format!("{:?}", tokio::join!(ask(1), ask(2), ask(3))));
    out.push(code(client.query("SELECT 1 / $1::int", &[&0]).await).await);
    // The commit fails, not the statement.
    out.push(code(client.query("INSERT INTO later VALUES (1), (1)", &[]).await).await);
    let transaction = client.transaction().await.unwrap();
    let sql = "UPDATE orders SET note = 'hunter2' WHERE id > $1";
    out.push(transaction.execute(sql, &[&15]).await.unwrap().to_string());
    transaction.commit().await.unwrap();
    copies(client, &mut out).await;
    let long = client.query_one("SELECT repeat('x', 3000000)", &[]).await.unwrap();
    out.push(long.get::<_, String>(0).len().to_string());
    let values = (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let found = client.simple_query(&format!("SELECT id FROM orders WHERE id IN ({values})")).await.unwrap();
    out.push(found.len().to_string());
    out
}

async fn copies(client: &Client, out: &mut Vec<String>) {
    let mut sink = pin!(client.copy_in("COPY orders FROM STDIN").await.unwrap());
    sink.send(Bytes::from_static(b"100\ta\n101\tb\n")).await.unwrap();
    out.push(sink.as_mut().finish().await.unwrap().to_string());
    let mut sink = pin!(client.copy_in::<_, Bytes>("COPY orders FROM STDIN").await.unwrap());
    sink.send(Bytes::from_static(b"not a number\ta\n")).await.unwrap();
    out.push(code(sink.as_mut().finish().await).await);
    let mut rows = pin!(client.copy_out("COPY orders TO STDOUT").await.unwrap());
    let mut bytes = 0;
    while let Some(part) = rows.next().await {
        bytes += part.unwrap().len();
    }
    out.push(bytes.to_string());
}

/// Rows, error and parameters' hash of every span of a statement.
fn spans_of(table: &SpanTable, text: &str) -> Vec<(i64, String, String)> {
    let of = |row: model::SpanRef<'_>| {
        let rows = ["db.response.returned_rows", "db.response.affected_rows"];
        let rows = rows.iter().find_map(|key| row.attribute(key)).unwrap();
        let Value::Int(rows) = rows else { panic!("{rows}") };
        let text = |key| row.attribute(key).map(|value| value.to_string()).unwrap_or_default();
        (rows, text("error.type"), text("db.query.parameter.hash"))
    };
    let found = table.rows().filter(|row| row.attribute("db.query.text") == Some(Value::Text(text)));
    found.map(of).collect()
}

fn only(table: &SpanTable, text: &str) -> (i64, String) {
    let found = spans_of(table, text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    (found[0].0, found[0].1.clone())
}

#[tokio::test]
async fn a_driver_gets_the_same_answers_and_the_spans_are_true() {
    let server = server().await;
    let mut answers = Vec::new();
    let tap = Tap::start("0", &server.url(), 100).await;
    for (name, port) in [("direct", None), ("tapped", Some(tap.port()))] {
        let url = server.create_database(name).await.unwrap();
        let mut client = open(&url, None).await;
        client.batch_execute(TABLES).await.unwrap();
        client = open(&url, port).await;
        answers.push(work(&mut client).await);
    }
    assert_eq!(answers[0], answers[1]);
    let ledger = tap.stop().await;
    assert_eq!(ledger.events(), []);
    let table = ledger.take();

    let items = spans_of(&table, ITEMS);
    assert_eq!(items.len(), 23);
    assert!(items.iter().all(|(rows, error, _)| *rows == 3 && error.is_empty()), "{items:?}");
    // Orders 1 to 3 were asked for twice.
    let mut hashes: Vec<&String> = items.iter().map(|item| &item.2).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
    assert_eq!(items[0].2, items[20].2);
    // The twenty in a loop, and the first of the pipeline.
    const LOOP: u64 = 21;
    let figures = ledger.statements();
    let of_items = figures.iter().find(|figures| figures.text == ITEMS).unwrap();
    assert_eq!((of_items.calls, of_items.longest_run, of_items.prepares), (23, LOOP, 1));

    let none = String::new;
    assert_eq!(only(&table, "SELECT id FROM orders ORDER BY id"), (20, none()));
    assert_eq!(only(&table, "SELECT id, note FROM orders WHERE id < $1; SELECT $2"), (4, none()));
    assert_eq!(only(&table, "SELECT $1 / $2::int"), (0, "22012".to_owned()));
    // As it was told; the commit took them back.
    assert_eq!(only(&table, "INSERT INTO later VALUES ($1), ..."), (2, "23505".to_owned()));
    assert_eq!(only(&table, "UPDATE orders SET note = $1 WHERE id > $2"), (5, none()));
    let copies: Vec<_> = spans_of(&table, "COPY orders FROM STDIN").into_iter().map(|s| (s.0, s.1)).collect();
    assert_eq!(copies, [(2, none()), (0, "22P02".to_owned())]);
    assert_eq!(only(&table, "COPY orders TO STDOUT"), (22, none()));
    assert_eq!(only(&table, "SELECT id FROM orders WHERE id IN ($1, ...) (cut)"), (22, none()));
    assert_eq!(ledger.counts().errors, 3);
    assert_eq!(ledger.counts().lost, 0);

    let roots: Vec<&str> =
        table.rows().filter(|row| row.fields().parent_id == 0).map(|row| row.name()).collect();
    assert!(roots.contains(&"transaction: UPDATE orders WHERE id > ?"), "{roots:?}");
    assert!(table.rows().all(|row| row.service() == "checkout"));
    let password: Config = server.url().parse().unwrap();
    let password = std::str::from_utf8(password.get_password().unwrap()).unwrap();
    for text in table.strings.iter() {
        assert!(!text.contains(password) && !text.contains("hunter2") && !text.contains("note 1"), "{text}");
    }
}

#[tokio::test]
async fn cancelling_and_a_server_that_dies_are_errors_of_the_statement() {
    let server = server().await;
    let tap = Tap::start("0", &server.url(), 100).await;
    let client = open(&server.url(), Some(tap.port())).await;
    let watcher = open(&server.url(), None).await;
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'";
    let wait = || async { while watcher.query_one(running, &[]).await.unwrap().get::<_, i64>(0) == 0 {} };
    let config: Config = server.url().parse().unwrap();
    assert!(config.get_ports()[0] != tap.port());
    // The request to cancel takes the way of its connection, through the tap.
    let (sleeping, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(60)"), async {
        wait().await;
        client.cancel_token().cancel_query(NoTls).await.unwrap();
    });
    assert_eq!(code(sleeping).await, "57014");
    let (sleeping, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(61)"), async {
        wait().await;
        let kill =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(61%'";
        watcher.batch_execute(kill).await.unwrap();
    });
    assert_eq!(code(sleeping).await, "57P01");
    drop(client);
    let ledger = tap.stop().await;
    assert_eq!((ledger.counts().cancels, ledger.counts().open), (1, 0));
    let errors: Vec<String> =
        spans_of(&ledger.take(), "SELECT pg_sleep($1)").into_iter().map(|span| span.1).collect();
    assert_eq!(errors, ["57014", "57P01"]);
}

#[tokio::test]
async fn a_refused_encryption_is_passed_on() {
    let server = server().await;
    // This server refuses encryption, and the driver goes on in plain text.
    let tap = Tap::start("0", &server.url(), 100).await;
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", tap.port())).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut socket, b"\0\0\0\x08\x04\xd2\x16\x2f").await.unwrap();
    assert_eq!(tokio::io::AsyncReadExt::read_u8(&mut socket).await.unwrap(), b'N');
    drop(socket);
    assert_eq!(tap.stop().await.counts().encrypted, 0);
}

#[tokio::test]
async fn a_query_in_a_loop_is_found_without_a_trace_of_the_application() {
    let server = server().await;
    let tap = Tap::start("0", &server.url(), 100).await;
    let mut client = open(&server.url(), Some(tap.port())).await;
    client.batch_execute(TABLES).await.unwrap();
    let statement = client.prepare(ITEMS).await.unwrap();
    for _ in 0..40 {
        let transaction = client.transaction().await.unwrap();
        let orders = transaction.query("SELECT id FROM orders", &[]).await.unwrap();
        for order in orders {
            transaction.query(&statement, &[&order.get::<_, i32>(0)]).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }
    drop(client);
    let spans = tap.stop().await.take();
    let recording = model::Recording { spans, ..model::Recording::default() };
    let diagnosis = localize::localize(&recording, &localize::Options::default());
    let found: Vec<_> = diagnosis.findings.iter().map(|f| (f.rule.as_str(), f.endpoint.as_str())).collect();
    assert!(found.contains(&("n_plus_one", "transaction: SELECT orders")), "{found:?}");
    let finding = diagnosis.findings.iter().find(|finding| finding.rule == "n_plus_one").unwrap();
    assert_eq!(finding.place.statement.as_deref(), Some(ITEMS));
}
