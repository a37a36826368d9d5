//! Real SQLite files: statements of a file and of traces, indexes proved on a copy, and files that are none.

use crate::support::{Ran, program, run};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const TABLES: &str = "
CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INT NOT NULL REFERENCES customers(id), status TEXT NOT NULL, created_at INT NOT NULL);
CREATE TABLE items (id INTEGER PRIMARY KEY, order_id INT NOT NULL, note TEXT NOT NULL);
CREATE INDEX orders_by_status ON orders (status);
CREATE INDEX orders_by_status_and_time ON orders (status, created_at);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
  INSERT INTO customers SELECT i, 'Name' || i || '@example.org' FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
  INSERT INTO orders SELECT i, (i * 7919) % 5000, CASE i % 3 WHEN 0 THEN 'paid' ELSE 'open' END, (i * 104729) % 1000003 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
  INSERT INTO items SELECT i, i / 3, hex(randomblob(20)) FROM n;";

const STATEMENTS: &str = "
-- what the service asks
SELECT note FROM items WHERE order_id = 77;
SELECT note FROM items WHERE order_id = 78;
SELECT id FROM orders WHERE customer_id = ? ORDER BY created_at DESC LIMIT 20;
SELECT * FROM customers WHERE lower(email) = 'name77@example.org';
SELECT * FROM customers WHERE id = 5;
SELECT count(*) FROM items;
DELETE FROM items WHERE order_id = 40000;
INSERT INTO customers VALUES (9000000, 'x');
SELECT a FROM nowhere;
";

/// A child of the test, which waits for it.
#[expect(clippy::disallowed_methods, reason = "each caller waits for its end")]
fn sqlite3(file: &Path) -> Command {
    let mut command = Command::new("sqlite3");
    command.args(["-batch", "-init", "/dev/null"]).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn execute(file: &Path, sql: &str) {
    let mut child = sqlite3(file).spawn().expect("these tests need the program sqlite3");
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

fn names(folder: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// What a person reads.
fn check_text(folder: &Path, arguments: &[&str]) {
    let text = run(folder, arguments);
    assert_eq!(text.code, Some(0), "{text:?}");
    for part in [
        "with the statements of queries.sql",
        "items (order_id), about",
        "orders (customer_id, created_at DESC)",
        "customers (lower(email))",
        "made on a copy of the file",
        "do:   CREATE INDEX IF NOT EXISTS trimtab_items_order_id_idx ON items (order_id)",
        "undo: DROP INDEX IF EXISTS trimtab_items_order_id_idx",
        "full_scan: each call reads all 120000 rows of items",
        "no such table: nowhere",
        "journal_mode",
        "redundant_index",
        "foreign_key_without_index",
        "no_statistics",
        "write_cost: with all indexes that are advised each call takes",
    ] {
        assert!(text.out.contains(part), "no {part}: {}", text.out);
    }
    assert!(!text.out.contains("rows a second are written"), "what writing costs is not known: {}", text.out);
}

#[test]
fn indexes_are_proved_on_a_copy_and_the_file_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a shop.db");
    execute(&file, TABLES);
    std::fs::write(folder.path().join("queries.sql"), STATEMENTS).unwrap();
    let (before, beside) = (std::fs::read(&file).unwrap(), names(folder.path()));
    let arguments = ["database", "sqlite:a shop.db", "--statements", "queries.sql"];

    check_text(folder.path(), &arguments);
    let seen =
        json(&run(folder.path(), &[&arguments[..], &["--format", "json", "--report", "page.html"]].concat()));
    let mut found: Vec<&str> =
        seen["indexes"].as_array().unwrap().iter().map(|i| i["create"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "CREATE INDEX IF NOT EXISTS trimtab_customers_lower_email_idx ON customers (lower(email))",
            "CREATE INDEX IF NOT EXISTS trimtab_items_order_id_idx ON items (order_id)",
            "CREATE INDEX IF NOT EXISTS trimtab_orders_customer_id_created_at_desc_idx ON orders (customer_id, created_at DESC)",
        ]
    );
    let items = seen["indexes"].as_array().unwrap().iter().find(|i| i["table"] == "items").unwrap();
    let served: Vec<&Value> = items["statements"].as_array().unwrap().iter().collect();
    assert_eq!(served.len(), 2, "the read and the delete: {items:#}");
    let first = served.iter().find(|s| s["statement"].as_str().unwrap().starts_with("SELECT")).unwrap();
    assert!(
        first["cost_after"].as_f64().unwrap() * 100.0 < first["cost_before"].as_f64().unwrap(),
        "steps: {first:#}"
    );
    assert!(items["bytes"].as_u64().unwrap() > 500_000, "{items:#}");
    let statement = seen["statements"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["text"] == "SELECT note FROM items WHERE order_id = $1")
        .unwrap();
    assert_eq!(
        (statement["calls"].as_u64(), statement["rows"].as_u64()),
        (Some(2), Some(6)),
        "{statement:#}"
    );
    assert!(std::fs::read_to_string(folder.path().join("page.html")).unwrap().contains("SCAN"));

    assert_eq!(std::fs::read(&file).unwrap(), before, "the file was changed");
    std::fs::remove_file(folder.path().join("page.html")).unwrap();
    assert_eq!(names(folder.path()), beside, "something was left");

    execute(&file, &format!("{};", found.join(";")));
    let after = json(&run(folder.path(), &[&arguments[..], &["--format", "json"]].concat()));
    assert_eq!(after["indexes"].as_array().unwrap().len(), 0, "{:#}", after["indexes"]);
    let kinds = |seen: &Value| -> Vec<String> {
        seen["observations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(!kinds(&after).contains(&"foreign_key_without_index".to_owned()), "{:?}", kinds(&after));
}

#[test]
fn traces_name_the_statements_too() {
    let folder = tempfile::tempdir().unwrap();
    execute(&folder.path().join("shop.db"), TABLES);
    let span = |n: u32, system: &str, text: &str| {
        format!(
            r#"{{"traceId":"{n:032x}","spanId":"{n:016x}","name":"q","kind":3,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000008000000","attributes":[{{"key":"db.system.name","value":{{"stringValue":"{system}"}}}},{{"key":"db.query.text","value":{{"stringValue":"{text}"}}}}]}}"#
        )
    };
    let spans = [
        span(1, "sqlite", "SELECT note FROM items WHERE order_id = ?"),
        span(2, "sqlite", "SELECT note FROM items WHERE order_id = ?"),
        span(3, "postgresql", "SELECT pg_sleep(1)"),
    ];
    let line = format!(
        r#"{{"resourceSpans":[{{"resource":{{}},"scopeSpans":[{{"scope":{{}},"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    );
    std::fs::write(folder.path().join("traces.jsonl"), line).unwrap();
    let ran = run(
        folder.path(),
        &["database", "sqlite:shop.db", "--statements", "traces.jsonl", "--format", "json"],
    );
    let seen = json(&ran);
    let statements = seen["statements"].as_array().unwrap();
    assert_eq!(statements.len(), 1, "{statements:#?}");
    assert_eq!((statements[0]["calls"].as_u64(), statements[0]["total_ms"].as_f64()), (Some(2), Some(16.0)));
    assert_eq!(seen["indexes"][0]["columns"][0], "order_id", "{seen:#}");
}

#[test]
fn without_statements_the_state_is_told() {
    let folder = tempfile::tempdir().unwrap();
    execute(&folder.path().join("shop.db"), &format!("PRAGMA journal_mode = WAL;{TABLES}ANALYZE;"));
    let ran = run(folder.path(), &["database", "sqlite:shop.db"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.contains("SQLite keeps no statistics of them") && ran.out.contains("page_cache"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("journal_mode") && !ran.out.contains("no_statistics"), "{}", ran.out);
    assert_eq!(names(folder.path()), ["shop.db"], "a reader of a log makes files, and leaves them");
}

#[test]
fn what_is_no_database_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    execute(&path("shop.db"), TABLES);
    let whole = std::fs::read(path("shop.db")).unwrap();
    std::fs::write(path("text.db"), "this is no database, but a file of some text\n".repeat(20)).unwrap();
    std::fs::write(path("cut.db"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(path("empty.db"), "").unwrap();
    std::fs::write(path("empty.sql"), "-- nothing\n").unwrap();
    let mut damaged = whole.clone();
    damaged[100..4096].fill(0x5a);
    std::fs::write(path("damaged.db"), damaged).unwrap();
    for (arguments, told) in [
        (&["sqlite:none.db"][..], "there is no file none.db"),
        (&["sqlite:text.db"], "text.db is no SQLite database, or an encrypted one"),
        (&["sqlite:cut.db"], "cut.db is cut off"),
        (&["sqlite:empty.db"], "empty.db is empty"),
        (&["sqlite:damaged.db"], "damaged or encrypted"),
        (&["sqlite:."], "is no file"),
        (&["sqlite::memory:"], "names no file"),
        (&["sqlite:shop.db", "--over", "5"], "--over and --may-build are for servers"),
        (&["sqlite:shop.db", "--statements", "none.sql"], "could not read none.sql"),
        (&["sqlite:shop.db", "--statements", "empty.sql"], "empty.sql holds no statement"),
        (&["redis://127.0.0.1:1", "--statements", "empty.sql"], "a Redis server has no plans"),
        (&["postgres://127.0.0.1:1/d", "--statements", "empty.sql"], "--statements is for SQLite files"),
    ] {
        let ran = run(folder.path(), &[&["database"], arguments].concat());
        assert_eq!(ran.code, Some(2), "{arguments:?} {ran:?}");
        assert!(ran.err.contains(told), "{arguments:?} {}", ran.err);
    }
    let without =
        program(folder.path()).args(["database", "sqlite:shop.db"]).env("PATH", "/nowhere").output().unwrap();
    let ran = Ran::from(without);
    assert!(ran.code == Some(2) && ran.err.contains("apt-get install sqlite3"), "{ran:?}");
}

#[test]
fn a_locked_file_is_told_and_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    execute(&file, TABLES);
    let mut writer = sqlite3(&file).spawn().unwrap();
    let mut input = writer.stdin.take().unwrap();
    input.write_all(b"BEGIN EXCLUSIVE; SELECT 'locked';\n").unwrap();
    input.flush().unwrap();
    let mut line = String::new();
    BufReader::new(writer.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "locked");
    let ran = run(folder.path(), &["database", "sqlite:shop.db"]);
    drop(input);
    writer.wait().unwrap();
    assert!(ran.code == Some(2) && ran.err.contains("another process is writing it"), "{ran:?}");
}

/// Statements are text of somebody: whatever they say, nothing but the copy is touched.
#[test]
fn statements_cannot_reach_beyond_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    execute(&file, TABLES);
    let before = std::fs::read(&file).unwrap();
    let hostile = "DELETE FROM items WHERE order_id < 100000;\nUPDATE orders SET status = 'x' WHERE created_at > 5;\n\
        DROP TABLE items;\nATTACH 'other.db' AS other;\nPRAGMA journal_mode = WAL;\n.shell touch shell.txt\n;\n\
        .output out.txt\n;\nVACUUM INTO 'vacuum.db';\nSELECT writefile('written.txt', 'x');\nSELECT load_extension('./x.so');\n\
        SELECT edit('x', 'touch edit.txt');\nWITH x AS (SELECT 1) DELETE FROM orders;\n\
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT * FROM n;\nSELECT '\n.shell touch quoted.txt\n';";
    std::fs::write(folder.path().join("hostile.sql"), hostile).unwrap();
    let ran = run(folder.path(), &["database", "sqlite:shop.db", "--statements", "hostile.sql"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(names(folder.path()), ["hostile.sql", "shop.db"], "{}", ran.out);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn names_with_blanks_comments_and_unknown_times() {
    let folder = tempfile::tempdir().unwrap();
    execute(
        &folder.path().join("shop.db"),
        "CREATE TABLE \"order items\" (id INTEGER PRIMARY KEY, \"order id\" INT NOT NULL, note TEXT NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
           INSERT INTO \"order items\" SELECT i, i / 3, hex(randomblob(20)) FROM n;",
    );
    std::fs::write(
        folder.path().join("queries.sql"),
        "/* action='list' */ SELECT note FROM \"order items\" WHERE \"order id\" = 77;\nSELECT ? + id FROM \"order items\";",
    )
    .unwrap();
    let arguments = ["database", "sqlite:shop.db", "--statements", "queries.sql"];
    let seen = json(&run(folder.path(), &[&arguments[..], &["--format", "json"]].concat()));
    assert_eq!(seen["indexes"][0]["table"], "order items", "{seen:#}");
    let scans = seen["observations"].as_array().unwrap().iter().filter(|o| o["kind"] == "full_scan").count();
    assert_eq!(scans, 2, "{seen:#}");
    let times: Vec<Option<f64>> =
        seen["statements"].as_array().unwrap().iter().map(|s| s["at_least_ms"].as_f64()).collect();
    assert_eq!(times, [None, Some(0.0)], "{seen:#}");
    let text = run(folder.path(), &arguments).out;
    assert!(text.lines().any(|l| l.matches('–').count() == 3 && l.contains("+ id")), "{text}");
}
