//! Plans and indexes tried on a real Postgres. One server for all tests, a database for each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use database::{Database, PlanOptions, Snapshot};
use local_postgres::{LocalPostgres, Options};
use model::{Gap, Plan, Statement, WhatIf, WhatIfMethod, sql};
use tokio_postgres::{Client, NoTls};

/// 200,000 orders of 20,000 customers, newest last; every second one is open.
const ORDERS: &str = "
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int NOT NULL, open boolean NOT NULL,
                     created_at timestamptz NOT NULL, note text NOT NULL);
INSERT INTO orders SELECT i, (i * 7919) % 20000, i % 2 = 0, timestamptz '2025-01-01' + i * interval '1 minute',
                          repeat('x', 60) FROM generate_series(1, 200000) i;
CREATE TABLE small (id int, kind int);
INSERT INTO small SELECT i, i % 100 FROM generate_series(1, 1000) i";

const OF_CUSTOMER: &str = "SELECT id, note FROM orders WHERE customer_id = $1";
const NEWEST: &str = "SELECT id FROM orders WHERE customer_id = $1 ORDER BY created_at DESC LIMIT 20";

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A database of its own with the tables of `setup`.
async fn server(setup: &str) -> (LocalPostgres, Client) {
    let options = Options::default().setting("shared_preload_libraries", "pg_stat_statements");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let client = client(&server.url()).await;
    client.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    client.batch_execute(setup).await.unwrap();
    // The counters of changed rows come first: else they would count as changed since.
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    client.batch_execute("ANALYZE").await.unwrap();
    (server, client)
}

fn slow(text: &str) -> Statement {
    Statement { text: sql::normalise(text), calls: 100, total_ms: 5000.0, ..Statement::default() }
}

async fn plans(url: &str, texts: &[&str], may_build: bool) -> (Vec<Plan>, Vec<Gap>) {
    let database = Database::connect(url).await.unwrap();
    let statements: Vec<Statement> = texts.iter().map(|t| slow(t)).collect();
    database.plans(&statements, &PlanOptions { may_build, most: 20 }).await
}

/// What was tried for the only statement.
async fn tried(url: &str, text: &str, may_build: bool) -> Vec<WhatIf> {
    let (plans, gaps) = plans(url, &[text], may_build).await;
    assert_eq!(gaps, []);
    assert_eq!(plans.len(), 1);
    plans.into_iter().flat_map(|p| p.what_ifs).collect()
}

fn columns(what_ifs: &[WhatIf]) -> Vec<String> {
    what_ifs.iter().map(|w| w.columns.join(", ")).collect()
}

/// All that a change would show in: indexes, relations, counters of writes.
async fn state(client: &Client) -> Vec<String> {
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let look = "SELECT indexrelid::regclass::text FROM pg_index UNION ALL
                SELECT oid::text || relname || relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace
                UNION ALL SELECT relname || n_tup_ins || ' ' || n_tup_upd || ' ' || n_tup_del FROM pg_stat_user_tables
                ORDER BY 1";
    client.query(look, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_sequential_scan_gets_an_estimate_and_a_proof_and_nothing_stays() {
    let (server, client) = server(ORDERS).await;
    let before = state(&client).await;
    let (plans, gaps) = plans(&server.url(), &[OF_CUSTOMER], false).await;
    assert_eq!(gaps, []);
    let plan = &plans[0];
    assert_eq!(plan.statement, OF_CUSTOMER);
    assert!(plan.root.walk().iter().any(|n| n.kind == "Seq Scan" && n.relation.as_deref() == Some("orders")));
    let table = &plan.tables[0];
    assert!((190_000.0..210_000.0).contains(&table.rows) && table.blocks > 1000, "{table:?}");
    assert_eq!(table.indexes.len(), 1);
    let estimated = &plan.what_ifs[0];
    assert_eq!(estimated.method, WhatIfMethod::Estimated);
    assert_eq!(
        estimated.create,
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS trimtab_orders_customer_id_idx ON orders (customer_id)"
    );
    assert_eq!(estimated.undo, "DROP INDEX CONCURRENTLY IF EXISTS trimtab_orders_customer_id_idx");

    let executed = &tried(&server.url(), OF_CUSTOMER, true).await[0];
    assert_eq!(executed.method, WhatIfMethod::Executed);
    let (slow_ms, fast_ms) = (executed.ms_before.unwrap(), executed.ms_after.unwrap());
    assert!(slow_ms > 5.0 * fast_ms, "{slow_ms} ms without, {fast_ms} ms with the index");
    let error = estimated.cost_after / executed.cost_after;
    assert!((0.3..3.0).contains(&error), "estimated {}, real {}", estimated.cost_after, executed.cost_after);
    let size = estimated.bytes as f64 / executed.bytes as f64;
    assert!((0.3..5.0).contains(&size), "estimated {} bytes, real {}", estimated.bytes, executed.bytes);
    assert_eq!(state(&client).await, before);
}

#[tokio::test]
async fn the_planner_is_asked_where_hypopg_is_there() {
    let (server, client) = server(ORDERS).await;
    if client.batch_execute("CREATE EXTENSION hypopg").await.is_err() {
        // Not part of Postgres: without it the estimate serves.
        assert_eq!(tried(&server.url(), OF_CUSTOMER, false).await[0].method, WhatIfMethod::Estimated);
        return;
    }
    let shown = &tried(&server.url(), OF_CUSTOMER, false).await[0];
    assert_eq!(shown.method, WhatIfMethod::Hypothetical);
    client.batch_execute("DROP EXTENSION hypopg").await.unwrap();
    let estimated = &tried(&server.url(), OF_CUSTOMER, false).await[0];
    assert_eq!(estimated.method, WhatIfMethod::Estimated);
    let error = estimated.cost_after / shown.cost_after;
    assert!((0.3..3.0).contains(&error), "estimated {}, shown {}", estimated.cost_after, shown.cost_after);
}

#[tokio::test]
async fn the_sort_key_follows_the_equality() {
    let (server, _client) = server(ORDERS).await;
    for may_build in [false, true] {
        let found = tried(&server.url(), NEWEST, may_build).await;
        assert!(columns(&found).iter().any(|c| c == "customer_id"), "{found:?}");
    }
    // Half of the table is open: only the order makes an index worth it.
    let open = "SELECT id FROM orders WHERE open = $1 ORDER BY created_at DESC LIMIT 20";
    assert_eq!(columns(&tried(&server.url(), open, false).await), ["open, created_at DESC"]);
}

#[tokio::test]
async fn what_would_not_help_is_not_told() {
    let (server, client) = server(ORDERS).await;
    for text in ["SELECT id FROM orders WHERE open = $1", "SELECT id FROM small WHERE kind = $1"] {
        assert_eq!(tried(&server.url(), text, false).await, [], "{text}");
    }
    // An index that begins with the column is there, though the planner is kept from it.
    client.batch_execute("CREATE INDEX there ON orders (customer_id, note)").await.unwrap();
    client.batch_execute("ALTER SYSTEM SET enable_indexscan = off").await.unwrap();
    client.batch_execute("ALTER SYSTEM SET enable_bitmapscan = off").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    assert_eq!(tried(&server.url(), OF_CUSTOMER, false).await, []);
}

#[tokio::test]
async fn mixed_case_is_quoted_and_the_sql_runs() {
    let setup = "CREATE SCHEMA \"Sales\"; CREATE TABLE \"Sales\".\"Order Lines\" (\"orderId\" int, pad text);
        INSERT INTO \"Sales\".\"Order Lines\" SELECT i / 5, repeat('x', 100) FROM generate_series(1, 100000) i";
    let (server, client) = server(setup).await;
    let text = "SELECT pad FROM \"Sales\".\"Order Lines\" WHERE \"orderId\" = $1";
    let found = &tried(&server.url(), text, true).await[0];
    assert_eq!(found.table, "Order Lines");
    assert_eq!(found.columns, ["orderId"]);
    let before = state(&client).await;
    let database = Database::connect(&server.url()).await.unwrap();
    database.apply(&found.create).await.unwrap();
    assert_ne!(state(&client).await, before);
    assert_eq!(tried(&server.url(), text, true).await, []);
    database.apply(&found.undo).await.unwrap();
    assert_eq!(state(&client).await, before);
}

#[tokio::test]
async fn a_reading_role_is_enough() {
    let setup = format!(
        "{ORDERS}; CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT pg_read_all_stats TO reader;
         GRANT SELECT ON orders TO reader"
    );
    let (server, client) = server(&setup).await;
    let (_, place) = server.url().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let url = format!("postgresql://reader:reader@{place}");
    let before = state(&client).await;
    assert_eq!(columns(&tried(&url, OF_CUSTOMER, false).await), ["customer_id"]);
    if client.batch_execute("CREATE EXTENSION hypopg").await.is_ok() {
        assert_eq!(tried(&url, OF_CUSTOMER, false).await[0].method, WhatIfMethod::Hypothetical);
        client.batch_execute("DROP EXTENSION hypopg").await.unwrap();
    }
    // It may not build: the estimate stays, and the reason is told.
    let (plans_of, gaps) = plans(&url, &[OF_CUSTOMER], true).await;
    assert_eq!(plans_of[0].what_ifs[0].method, WhatIfMethod::Estimated);
    assert!(gaps.iter().any(|g| g.reason.contains("must be owner")), "{gaps:?}");
    // It may not read this one: one gap, the other plan is there.
    let (plans_of, gaps) = plans(&url, &[OF_CUSTOMER, "SELECT id FROM small WHERE kind = $1"], false).await;
    assert_eq!(plans_of.len(), 1);
    assert!(gaps[0].reason.starts_with("1 of 2 statements could not be explained"), "{gaps:?}");
    assert_eq!(state(&client).await, before);
}

#[tokio::test]
async fn statements_as_the_server_keeps_them_are_explained() {
    let (server, client) = server(ORDERS).await;
    let texts = [
        "SELECT id FROM orders WHERE created_at > now() - interval '1 day'",
        "SELECT extract(epoch from created_at) FROM orders WHERE id = 5",
        "SELECT date_trunc('day', created_at), count(*) FROM orders WHERE id < 9 GROUP BY date_trunc('day', created_at)",
        "SELECT g FROM generate_series(1, 5) g JOIN orders ON orders.id = g",
        "SELECT id FROM orders WHERE customer_id IN (1, 2, 3) AND note LIKE 'secret%'",
        "UPDATE orders SET note = 'secret' WHERE customer_id = 77",
        "SELECT id FROM orders WHERE id = 3; ",
    ];
    let database = Database::connect(&server.url()).await.unwrap();
    let before = database.snapshot().await.unwrap();
    for text in texts {
        client.batch_execute(text).await.unwrap();
    }
    client
        .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT id FROM orders WHERE note = 'secret'; COMMIT")
        .await
        .unwrap();
    let after = database.snapshot().await.unwrap();
    let (statements, _) = Snapshot::delta(&before, &after);
    let all: Vec<Statement> =
        statements.into_iter().filter(|s| s.text.contains("orders") && !s.text.contains("INSERT")).collect();
    let (plans, gaps) = database.plans(&all, &PlanOptions { may_build: true, most: 50 }).await;
    let gaps: Vec<&Gap> = gaps.iter().filter(|g| g.reason.contains("explained")).collect();
    assert_eq!(gaps, Vec::<&Gap>::new());
    for form in ["interval", "extract", "date_trunc", "generate_series", " IN ", "UPDATE", "DECLARE"] {
        assert!(plans.iter().any(|p| p.statement.contains(form)), "{form}");
    }
    assert!(!format!("{plans:?}{gaps:?}").contains("secret"));
}

#[tokio::test]
async fn a_text_of_two_statements_is_refused() {
    let (server, client) = server(ORDERS).await;
    let before = state(&client).await;
    let (plans, gaps) =
        plans(&server.url(), &["SELECT id FROM orders WHERE id = 1; COMMIT; DROP TABLE orders"], true).await;
    assert!(plans.is_empty() && gaps[0].reason.contains("could not be explained"), "{gaps:?}");
    assert_eq!(state(&client).await, before);
}

#[tokio::test]
async fn a_window_in_which_a_statement_was_forgotten_is_void() {
    let (server, client) = server(ORDERS).await;
    let database = Database::connect(&server.url()).await.unwrap();
    let run = "SELECT id FROM orders WHERE id = 3";
    client.batch_execute(run).await.unwrap();
    let before = database.snapshot().await.unwrap();
    client.batch_execute(run).await.unwrap();
    let (statements, gaps) = Snapshot::delta(&before, &database.snapshot().await.unwrap());
    assert_eq!(gaps, []);
    // Beside it only the end of our own look is counted.
    let seen: Vec<(&str, u64)> =
        statements.iter().map(|s| (s.text.as_str(), s.calls)).filter(|s| s.0 != "ROLLBACK").collect();
    assert_eq!(seen, [("SELECT id FROM orders WHERE id = $1", 1)]);
    // One statement alone: the time of the last reset stays as it was.
    let forget = "SELECT pg_stat_statements_reset(0, 0, queryid) FROM pg_stat_statements
                   WHERE query LIKE 'SELECT id FROM orders%'";
    client.batch_execute(forget).await.unwrap();
    let (statements, gaps) = Snapshot::delta(&before, &database.snapshot().await.unwrap());
    assert!(statements.is_empty() && gaps[0].reason.contains("forget"), "{statements:?} {gaps:?}");
}

#[tokio::test]
async fn what_cannot_be_counted_says_what_to_do() {
    let options = Options::default().setting("shared_preload_libraries", "pg_stat_statements");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let client = client(&server.url()).await;
    let hints = async |url: &str| {
        let snapshot = Database::connect(url).await.unwrap().snapshot().await.unwrap();
        let hints: Vec<String> = snapshot.totals().1.into_iter().map(|g| g.hint).collect();
        hints.join(" ")
    };
    assert!(hints(&server.url()).await.contains("CREATE EXTENSION pg_stat_statements"));
    let role = "CREATE EXTENSION pg_stat_statements; CREATE ROLE \"Some one\" LOGIN PASSWORD 'secret'";
    client.batch_execute(role).await.unwrap();
    let url = server.url();
    let (_, place) = url.split_once('@').unwrap();
    let hint = hints(&format!("postgresql://Some%20one:secret@{place}")).await;
    assert!(hint.contains("GRANT pg_read_all_stats TO \"Some one\";"), "{hint}");
}

#[tokio::test]
async fn an_index_that_cannot_get_its_lock_leaves_nothing_behind() {
    let (server, client) = server(ORDERS).await;
    let before = state(&client).await;
    let writer = self::client(&server.url()).await;
    // An open writer keeps the build waiting until the lock timeout: an invalid index is left by then.
    writer.batch_execute("BEGIN; UPDATE orders SET note = note WHERE id = 1").await.unwrap();
    let database = Database::connect(&server.url()).await.unwrap();
    let create = "CREATE INDEX CONCURRENTLY IF NOT EXISTS trimtab_left_idx ON orders (customer_id)";
    let mut phases = Vec::new();
    let error = database.apply_showing(create, &mut |p| phases.push(p.phase.clone())).await.unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    assert!(phases.iter().any(|p| p.contains("waiting for")), "{phases:?}");
    writer.batch_execute("ROLLBACK").await.unwrap();
    let indexes = "SELECT count(*) FROM pg_class WHERE relname = 'trimtab_left_idx'";
    let left: i64 = client.query_one(indexes, &[]).await.unwrap().get(0);
    if left > 0 {
        // The drop had to wait for the writer as well: the next attempt finds it invalid, and builds anew.
        database.apply(create).await.unwrap();
        let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'trimtab_left_idx'::regclass";
        assert!(client.query_one(valid, &[]).await.unwrap().get::<_, bool>(0));
        database.apply("DROP INDEX CONCURRENTLY trimtab_left_idx").await.unwrap();
    }
    let indexes_of = |state: Vec<String>| state.into_iter().filter(|s| s.contains("idx")).collect::<Vec<_>>();
    assert_eq!(indexes_of(state(&client).await), indexes_of(before));
}

#[tokio::test]
async fn a_table_that_nobody_has_analysed_is_sampled() {
    let options = Options::default()
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("autovacuum", "off");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    client(&server.url()).await.batch_execute(ORDERS).await.unwrap();
    for may_build in [false, true] {
        let (plans, gaps) = plans(&server.url(), &[OF_CUSTOMER], may_build).await;
        let found = &plans[0].what_ifs[0];
        assert_eq!(found.columns, ["customer_id"]);
        assert!(found.cost_before > 20.0 * found.cost_after || may_build, "{found:?}");
        assert_eq!(found.ms_before.is_some(), may_build, "{gaps:?}");
        assert!((150_000.0..250_000.0).contains(&plans[0].tables[0].rows), "{:?}", plans[0].tables);
        assert!(gaps.iter().any(|g| g.hint.contains("ANALYZE")), "{gaps:?}");
    }
}
