//! Advice on a whole load: every form of statement is explained, and of the indexes only those that are worth it are
//! told. A role that may only look is enough.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use database::{Database, PlanOptions, Snapshot};
use local_postgres::{LocalPostgres, Options};
use model::{Gap, Plan, WhatIfMethod};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

const TABLES: &str = "
CREATE EXTENSION pg_stat_statements;
CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL, name text NOT NULL);
INSERT INTO customers SELECT n, 'Customer' || n || '@example.org', repeat('n', 40) FROM generate_series(1, 20000) n;
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, total int NOT NULL,
                     created_at timestamptz NOT NULL, deleted_at timestamptz, details jsonb NOT NULL DEFAULT '{}');
INSERT INTO orders SELECT n, n * 7919 % 20000 + 1, (array['new', 'paid', 'sent', 'done'])[n % 4 + 1], n % 500,
                          now() - (200000 - n) * interval '2 minutes', NULL FROM generate_series(1, 200000) n;
CREATE TABLE order_items (id bigint PRIMARY KEY, order_id bigint NOT NULL, product_id int NOT NULL, qty int NOT NULL);
INSERT INTO order_items SELECT n, n / 2, n % 5000, n % 7 FROM generate_series(1, 400000) n;
CREATE TABLE ev (id bigint PRIMARY KEY, kind text NOT NULL, at timestamptz NOT NULL, body text NOT NULL);
INSERT INTO ev SELECT n, CASE WHEN n % 800 = 0 THEN 'rare' ELSE 'common' END, now() - (200000 - n) * interval '1 minute',
                      repeat('b', 50) FROM generate_series(1, 200000) n;
CREATE TABLE jobs (id bigint PRIMARY KEY, queued_at timestamptz NOT NULL, done_at timestamptz, body text NOT NULL);
INSERT INTO jobs SELECT n, now() + n * interval '1 second', CASE WHEN n % 500 = 0 THEN NULL ELSE now() END,
                        repeat('j', 100) FROM generate_series(1, 100000) n;
SELECT pg_stat_force_next_flush();
VACUUM (ANALYZE);
SELECT pg_stat_statements_reset();";

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A server with the tables, and HypoPG where this machine has it.
async fn server() -> (LocalPostgres, Client, bool) {
    let options = Options::default()
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("max_parallel_workers_per_gather", "0")
        .setting("autovacuum", "off");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let client = client(&server.url()).await;
    for statement in TABLES.split(';').filter(|s| !s.trim().is_empty()) {
        client.batch_execute(statement).await.unwrap();
    }
    let hypopg = client.batch_execute("CREATE EXTENSION hypopg").await.is_ok();
    (server, client, hypopg)
}

/// A role that may look and nothing else.
async fn reader(server: &LocalPostgres, client: &Client) -> Database {
    let role = "CREATE ROLE reader LOGIN PASSWORD 'reader' NOSUPERUSER; GRANT pg_read_all_stats TO reader;
                GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader";
    client.batch_execute(role).await.unwrap();
    let url = server.url();
    let (_, place) = url.split_once('@').unwrap();
    Database::connect(&format!("postgresql://reader:reader@{place}")).await.unwrap()
}

/// What is told of a load of these statements.
async fn told(client: &Client, database: &Database, load: &[&str]) -> (Vec<Plan>, Vec<Gap>) {
    let before = database.snapshot().await.unwrap();
    for statement in load {
        client.batch_execute(statement).await.unwrap();
    }
    let (statements, gaps) = Snapshot::delta(&before, &database.snapshot().await.unwrap());
    assert_eq!(gaps, []);
    database.plans(&statements, &PlanOptions { may_build: false, most: 200 }).await
}

/// `table (columns)` of each index that is told, with how often.
fn indexes(plans: &[Plan]) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for what_if in plans.iter().flat_map(|p| &p.what_ifs) {
        let on = what_if.create.split(" ON ").nth(1).unwrap();
        *all.entry(on.to_owned()).or_default() += 1;
    }
    all
}

/// All that a change would show in.
async fn state(client: &Client) -> Vec<String> {
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let look = "SELECT oid::text || relname || relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace
                UNION ALL SELECT relname || n_tup_ins || ' ' || n_tup_upd || ' ' || n_tup_del FROM pg_stat_user_tables
                UNION ALL SELECT pg_current_wal_insert_lsn()::text ORDER BY 1";
    client.query(look, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

const FORMS: [&str; 36] = [
    "SELECT id FROM orders WHERE id = 5",
    "SELECT id FROM orders WHERE id IN (1, 2, 3)",
    "SELECT id FROM orders WHERE id = ANY ('{1,2,3}')",
    "SELECT id FROM orders WHERE id BETWEEN 5 AND 9",
    "SELECT id FROM customers WHERE email LIKE 'Customer7%'",
    "SELECT id FROM customers WHERE email ILIKE '%r77@%'",
    "SELECT id FROM orders WHERE deleted_at IS NOT NULL",
    "SELECT id FROM orders ORDER BY id LIMIT 5 OFFSET 10",
    "SELECT id FROM orders WHERE created_at > now() - interval '1 minute'",
    "SELECT id FROM orders WHERE created_at < date '2020-01-01'",
    "SELECT id FROM orders WHERE created_at < timestamp '2020-01-01 10:00'",
    "SELECT id FROM orders WHERE created_at < timestamp with time zone '2020-01-01 10:00Z'",
    "SELECT extract(epoch from created_at) FROM orders WHERE id = 5",
    "SELECT date_trunc('day', created_at), count(*) FROM orders WHERE id < 9 GROUP BY date_trunc('day', created_at)",
    "SELECT orders.id FROM generate_series(1, 5) g JOIN orders ON orders.id = g",
    "BEGIN; DECLARE c CURSOR FOR SELECT id FROM orders WHERE status = 'none'; COMMIT",
    "SELECT id FROM orders WHERE id < 9 AND details ->> 'colour' = 'red'",
    "SELECT id FROM orders WHERE (id, total) < (5, 6)",
    "SELECT id FROM orders TABLESAMPLE SYSTEM (1) WHERE total = 3",
    "UPDATE orders SET total = total + 1 WHERE id = 3",
    "DELETE FROM order_items WHERE id = 3",
    "WITH few AS (SELECT id FROM orders WHERE id < 10) SELECT o.id FROM few JOIN orders o USING (id) WHERE o.total > 3",
    "SELECT id FROM customers c WHERE id < 5 AND EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND o.total > 3)",
    "SELECT id, row_number() OVER (PARTITION BY customer_id ORDER BY id) FROM orders WHERE id < 10",
    "SELECT CASE WHEN total > 5 THEN 'big' ELSE 'small' END FROM orders WHERE id = 6",
    "SELECT coalesce(deleted_at::text, 'never') || ' ' || 'x' FROM orders WHERE id = 7",
    "SELECT id FROM orders WHERE id = 8 FOR UPDATE",
    "SELECT DISTINCT ON (customer_id) id FROM orders WHERE id < 20 ORDER BY customer_id, id DESC",
    "SELECT (created_at AT TIME ZONE 'utc')::date, sum(total) FROM orders WHERE id < 30 GROUP BY (created_at AT TIME ZONE 'utc')::date",
    "SELECT substring(name from 1 for 3) FROM customers WHERE id = 9",
    "SELECT position('a' in name) FROM customers WHERE id = 10",
    "SELECT id FROM orders WHERE id = 1 UNION ALL SELECT id FROM customers WHERE id = 2",
    "SELECT customer_id, count(*) FROM orders WHERE id < 50 GROUP BY 1 HAVING count(*) > 1 ORDER BY 2",
    "SELECT id FROM orders WHERE id = CAST('4' AS bigint)",
    "SELECT id FROM orders WHERE created_at > now() - '1 minute'::interval AND total = -1",
    "SELECT string_agg(name, ', ') FROM customers WHERE id < 4",
];

#[tokio::test]
async fn every_form_of_statement_is_explained() {
    let (server, client, _) = server().await;
    let database = reader(&server, &client).await;
    let (plans, gaps) = told(&client, &database, &FORMS).await;
    let unexplained: Vec<&Gap> = gaps.iter().filter(|g| g.reason.contains("explained")).collect();
    assert_eq!(unexplained, Vec::<&Gap>::new());
    let texts: BTreeSet<&str> = plans.iter().map(|p| p.statement.as_str()).collect();
    assert_eq!(texts.len(), FORMS.len(), "{texts:#?}");
    assert!(plans.iter().all(|p| p.root.total_cost > 0.0));
}

/// What is worth an index, and what is not: wrong selectivity, a column that updates set, a range of half the table.
const LOAD: [&str; 13] = [
    "SELECT * FROM order_items WHERE order_id = 77",
    "SELECT id FROM orders WHERE customer_id = 7 ORDER BY created_at DESC LIMIT 20",
    "SELECT * FROM orders WHERE customer_id = 8",
    "SELECT id FROM orders ORDER BY created_at DESC LIMIT 20",
    "SELECT * FROM orders WHERE status = 'new'",
    "SELECT count(*) FROM orders WHERE status = 'new'",
    "SELECT id FROM customers WHERE lower(email) = 'customer7@example.org'",
    "SELECT id FROM ev WHERE at > now() - interval '1 hour'",
    "SELECT id, body FROM ev WHERE kind = 'rare'",
    "SELECT id, total FROM orders WHERE created_at > now() - interval '180 days'",
    "SELECT o.id, i.qty FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.id BETWEEN 100 AND 110",
    "UPDATE orders SET status = 'paid' WHERE status = 'lost' AND total = 3",
    "SELECT id, body FROM jobs WHERE done_at IS NULL ORDER BY queued_at LIMIT 10",
];

#[tokio::test]
async fn of_a_load_only_what_helps_is_told_and_nothing_is_written() {
    let (server, client, hypopg) = server().await;
    let database = reader(&server, &client).await;
    let load: Vec<&str> = LOAD.iter().flat_map(|s| [*s; 3]).collect();
    let (plans, gaps) = told(&client, &database, &load).await;
    let found = indexes(&plans);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "customers (lower(email))",
            "ev (at)",
            "ev (kind) WHERE kind <> 'common'",
            "jobs (queued_at) WHERE done_at IS NULL",
            "order_items (order_id)",
            "orders (created_at)",
            "orders (customer_id)",
        ],
        "{plans:#?} {gaps:#?}"
    );
    // One index serves both statements.
    assert_eq!((found["order_items (order_id)"], found["orders (customer_id)"]), (2, 2), "{found:?}");
    let method = if hypopg { WhatIfMethod::Hypothetical } else { WhatIfMethod::Estimated };
    assert!(plans.iter().flat_map(|p| &p.what_ifs).all(|w| w.method == method));
    let before = state(&client).await;
    let statements = database.snapshot().await.unwrap().totals().0;
    database.plans(&statements, &PlanOptions { may_build: false, most: 200 }).await;
    database.health(&statements, &plans).await;
    database.watch(2, Duration::from_millis(1)).await;
    assert_eq!(state(&client).await, before);
}

/// Few accounts with many notes each, and a kind that nearly all have.
const NOTES: &str = "
CREATE TABLE notes (id bigint PRIMARY KEY, account_id int NOT NULL, at timestamptz NOT NULL, kind text NOT NULL, body text NOT NULL);
INSERT INTO notes SELECT n, n % 40, now() - n * interval '1 minute', CASE WHEN n % 300 = 0 THEN 'odd' ELSE 'usual' END,
                         repeat('b', 50) FROM generate_series(1, 200000) n;
VACUUM (ANALYZE) notes";

#[tokio::test]
async fn an_order_within_an_account_is_one_index_and_what_cannot_be_told_is_said() {
    let (server, client, _) = server().await;
    for statement in NOTES.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    let database = Database::connect(&server.url()).await.unwrap();
    let page = "SELECT id, body FROM notes WHERE account_id = 7 ORDER BY at DESC LIMIT 20";
    let count = "SELECT count(*) FROM notes WHERE kind = 'odd'";
    let (plans, gaps) = told(&client, &database, &[page, page, page, count, count, count]).await;
    let found = indexes(&plans);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["notes (account_id, at DESC)"], "{plans:#?} {gaps:#?}");
    let gap = gaps.iter().find(|g| g.reason.contains("depends on the value")).unwrap();
    assert!(gap.hint.ends_with("ON notes (kind) WHERE kind <> 'usual'"), "{gap:?}");
}

/// One tenant has a third of all rows, updates set what the page asks for, and a queue is read in the order of its key.
const TENANTS: &str = "
CREATE TABLE tickets (tenant_id int, id bigint, status text NOT NULL, opened_at timestamptz NOT NULL, subject text NOT NULL,
                      PRIMARY KEY (tenant_id, id));
INSERT INTO tickets SELECT CASE WHEN n % 3 = 0 THEN 7 ELSE n % 500 END, n, CASE WHEN n % 40 = 0 THEN 'open' ELSE 'closed' END,
                           now() - n * interval '1 minute', repeat('s', 60) FROM generate_series(1, 150000) n;
CREATE TABLE outbox (id bigint PRIMARY KEY, sent_at timestamptz, body text NOT NULL);
INSERT INTO outbox SELECT n, CASE WHEN n % 6000 <> 0 THEN now() END, repeat('b', 100) FROM generate_series(1, 60000) n;
VACUUM (ANALYZE) tickets;
VACUUM (ANALYZE) outbox";

#[tokio::test]
async fn a_tenant_with_most_rows_a_status_that_changes_and_a_queue_in_its_keys_order_get_their_indexes() {
    let (server, client, _) = server().await;
    for statement in TENANTS.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    let database = Database::connect(&server.url()).await.unwrap();
    let page = "SELECT id, subject FROM tickets WHERE tenant_id = 7 AND status = 'open' ORDER BY opened_at DESC LIMIT 25";
    let queue =
        "SELECT id, body FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED";
    let load = [
        page,
        page,
        page,
        queue,
        queue,
        queue,
        "UPDATE tickets SET status = 'closed' WHERE tenant_id = 7 AND id = 120",
        "UPDATE outbox SET sent_at = now() WHERE id = 6000",
    ];
    let (plans, gaps) = told(&client, &database, &load).await;
    let found = indexes(&plans);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["outbox (id) WHERE sent_at IS NULL", "tickets (tenant_id, status, opened_at DESC)"],
        "{plans:#?} {gaps:#?}"
    );
    for column in ["status", "sent_at"] {
        let holds = format!("holds {column}, which 1 calls of updates set");
        assert!(gaps.iter().any(|g| g.reason.contains(&holds)), "{gaps:#?}");
    }
}

/// A member's few loans, and a flag that most rows have.
const LOANS: &str = "
CREATE TABLE loans (id bigint PRIMARY KEY, member_id int NOT NULL, due date NOT NULL, returned bool NOT NULL);
INSERT INTO loans SELECT n, n * 7919 % 20000, date '2025-01-01' + n % 600, n % 4 <> 0 FROM generate_series(1, 200000) n;
VACUUM (ANALYZE) loans";

#[tokio::test]
async fn the_flag_beside_a_selective_column_gets_no_index_of_its_own() {
    let (server, client, hypopg) = server().await;
    if hypopg {
        // Our own estimate is what is tried here.
        client.batch_execute("DROP EXTENSION hypopg").await.unwrap();
    }
    for statement in LOANS.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    let database = Database::connect(&server.url()).await.unwrap();
    let open = "SELECT id FROM loans WHERE member_id = 7 AND returned = false ORDER BY due";
    let (plans, gaps) = told(&client, &database, &[open, open, open]).await;
    let found = indexes(&plans);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert!(matches!(names[..], [one] if one.starts_with("loans (member_id")), "{plans:#?} {gaps:#?}");
}

#[tokio::test]
async fn writes_are_counted_between_the_snapshots() {
    let (server, client, _) = server().await;
    let database = Database::connect(&server.url()).await.unwrap();
    let inserts = "INSERT INTO order_items SELECT n, n, 1, 1 FROM generate_series(500001, 501000) n;
                   SELECT pg_stat_force_next_flush(); SELECT 1";
    let (plans, _) = told(&client, &database, &[inserts, LOAD[0]]).await;
    let plan = plans.iter().find(|p| p.statement.starts_with("SELECT * FROM order_items")).unwrap();
    let table = &plan.tables[0];
    assert!(table.writes_per_second > 10.0, "{table:?}");
    assert!(table.index_write_us > 0.0 && table.index_write_bytes > 0.0, "{table:?}");
}

#[tokio::test]
async fn the_state_of_the_server_is_told_with_what_mends_it() {
    let (server, client, _) = server().await;
    let broken = "CREATE INDEX broken ON orders (total); CREATE INDEX one ON orders (customer_id);
                  CREATE INDEX two ON orders (customer_id, total);
                  UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass;
                  DELETE FROM ev WHERE id % 2 = 0; SELECT pg_stat_force_next_flush(); SET work_mem = '64kB'";
    client.batch_execute(broken).await.unwrap();
    let database = Database::connect(&server.url()).await.unwrap();
    let load = ["SELECT body FROM jobs ORDER BY body, id", "SELECT id FROM orders WHERE total = 777"];
    let before = database.snapshot().await.unwrap();
    for statement in [load; 3].concat() {
        client.batch_execute(statement).await.unwrap();
    }
    let (statements, _) = Snapshot::delta(&before, &database.snapshot().await.unwrap());
    let (plans, _) = database.plans(&statements, &PlanOptions { may_build: false, most: 20 }).await;
    let (found, gaps) = database.health(&statements, &plans).await;
    assert_eq!(gaps, []);
    let of = |kind: &str| {
        let found = found.iter().find(|o| o.kind == kind).unwrap_or_else(|| panic!("no {kind}: {found:#?}"));
        found.clone()
    };
    assert_eq!(of("invalid_index").mend.unwrap(), "DROP INDEX CONCURRENTLY broken");
    assert_eq!(of("redundant_index").subject, "one");
    assert!(
        of("redundant_index").undo.unwrap().starts_with("CREATE INDEX CONCURRENTLY one ON public.orders")
    );
    assert!(of("dead_rows").mend.unwrap().starts_with("VACUUM (ANALYZE) ev"));
    assert_eq!(of("stale_statistics").mend.unwrap(), "ANALYZE ev");
    assert!(of("spill").mend.unwrap().contains("work_mem"));
    // What is proposed can be run, and so can its undo.
    for kind in ["invalid_index", "redundant_index", "dead_rows", "stale_statistics"] {
        let observation = of(kind);
        database.apply(&observation.mend.unwrap()).await.unwrap();
        if let Some(undo) = observation.undo {
            database.apply(&undo).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_holds_a_lock_is_seen() {
    let (server, client, _) = server().await;
    client.batch_execute("BEGIN; UPDATE orders SET total = 1 WHERE id = 1").await.unwrap();
    let waiting = self::client(&server.url()).await;
    let waits =
        tokio::spawn(async move { waiting.batch_execute("UPDATE orders SET total = 2 WHERE id = 1").await });
    let database = Database::connect(&server.url()).await.unwrap();
    let (found, gaps) = database.watch(12, Duration::from_millis(150)).await;
    assert_eq!(gaps, []);
    let wait = found.iter().find(|o| o.kind == "lock_wait").unwrap();
    assert_eq!(wait.subject, "UPDATE orders SET total = $1 WHERE id = $2");
    assert!(wait.reason.contains("held by") && wait.reason.contains("idle in transaction"), "{wait:?}");
    assert!(found.iter().any(|o| o.kind == "idle_in_transaction"), "{found:?}");
    client.batch_execute("ROLLBACK").await.unwrap();
    waits.await.unwrap().unwrap();
}
