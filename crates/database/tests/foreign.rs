//! What schemas of other people look like: names outside the search path, partitions, materialized views, OR, ranges over
//! few values, queues behind WITH, foreign keys without an index.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use database::{Database, PlanOptions, Snapshot};
use local_postgres::{LocalPostgres, Options};
use model::{Gap, Plan, Statement};
use std::collections::BTreeSet;
use tokio_postgres::{Client, NoTls};

const TABLES: &str = "
CREATE EXTENSION pg_stat_statements;
CREATE SCHEMA \"My App\";
CREATE SCHEMA reporting;
SET search_path = \"My App\", reporting, public;
CREATE TABLE account (id int PRIMARY KEY, login text UNIQUE NOT NULL, email text NOT NULL, due date NOT NULL,
                      level int NOT NULL);
INSERT INTO account SELECT n, 'login' || n, 'mail' || n, current_date + n % 120 - 100, n % 100 FROM generate_series(1, 60000) n;
CREATE TABLE note (id int PRIMARY KEY, account_id int NOT NULL REFERENCES account ON DELETE CASCADE, body text NOT NULL);
INSERT INTO note SELECT n, n, repeat('n', 60) FROM generate_series(1, 60000) n;
CREATE TABLE queue (id int PRIMARY KEY, due timestamptz NOT NULL, done_at timestamptz, locked_by text, body text NOT NULL);
INSERT INTO queue SELECT n, now(), CASE WHEN n % 500 = 0 THEN NULL ELSE now() END, NULL, repeat('q', 80)
  FROM generate_series(1, 80000) n;
CREATE TABLE event (site int NOT NULL, day date NOT NULL, visitor int NOT NULL, body text NOT NULL) PARTITION BY RANGE (day);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
INSERT INTO event SELECT n % 50, date '2026-01-01' + n % 59, n % 5000, repeat('e', 40) FROM generate_series(1, 100000) n;
CREATE MATERIALIZED VIEW reporting.visits AS SELECT visitor, day, count(*) AS n FROM event GROUP BY 1, 2;
DELETE FROM account WHERE id = 60000;
SELECT pg_stat_force_next_flush();
VACUUM (ANALYZE);
SELECT pg_stat_statements_reset();";

const LOAD: [&str; 7] = [
    "SELECT * FROM account WHERE login = 'none' OR email = 'mail77'",
    "SELECT id, due FROM account WHERE due < current_date + 1 AND email <> 'x'",
    "SELECT id, login FROM account WHERE level < 80 AND email <> 'x'",
    "WITH n AS (SELECT id FROM queue WHERE done_at IS NULL ORDER BY due LIMIT 5 FOR UPDATE SKIP LOCKED)
     UPDATE queue q SET locked_by = 'w' FROM n WHERE q.id = n.id RETURNING q.id",
    "SELECT * FROM event WHERE visitor = 77 AND day >= '2026-01-01'",
    "SELECT n FROM visits WHERE visitor = 77",
    "SELECT body FROM note WHERE id = 4",
];

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn server() -> (LocalPostgres, Client, Database) {
    let options = Options::default()
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("max_parallel_workers_per_gather", "0")
        .setting("autovacuum", "off");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let client = client(&server.url()).await;
    for statement in TABLES.split(';').filter(|s| !s.trim().is_empty()) {
        client.batch_execute(statement).await.unwrap();
    }
    let role = "CREATE ROLE reader LOGIN PASSWORD 'reader' NOSUPERUSER; GRANT pg_read_all_stats TO reader;
                GRANT USAGE ON SCHEMA \"My App\", reporting TO reader;
                GRANT SELECT ON ALL TABLES IN SCHEMA \"My App\", reporting TO reader";
    client.batch_execute(role).await.unwrap();
    let url = server.url();
    let (_, place) = url.split_once('@').unwrap();
    let database = Database::connect(&format!("postgresql://reader:reader@{place}")).await.unwrap();
    (server, client, database)
}

async fn told(client: &Client, database: &Database) -> (Vec<Statement>, Vec<Plan>, Vec<Gap>) {
    let before = database.snapshot().await.unwrap();
    for _ in 0..3 {
        for statement in LOAD {
            client.batch_execute(statement).await.unwrap();
        }
    }
    let (statements, gaps) = Snapshot::delta(&before, &database.snapshot().await.unwrap());
    assert_eq!(gaps, []);
    let (plans, gaps) = database.plans(&statements, &PlanOptions { may_build: false, most: 200 }).await;
    (statements, plans, gaps)
}

#[tokio::test]
async fn schemas_of_other_people_get_advice() {
    let (server, client, database) = server().await;
    let (statements, plans, gaps) = told(&client, &database).await;
    assert_eq!(plans.len(), LOAD.len(), "{gaps:?}");

    let on =
        |p: &Plan| p.what_ifs.iter().map(|w| w.create.split(" ON ").nth(1).unwrap().to_owned()).collect();
    let found: BTreeSet<String> = plans.iter().flat_map(|p| -> Vec<String> { on(p) }).collect();
    let expected = [
        "\"My App\".account (email)",
        "\"My App\".queue (due) WHERE done_at IS NULL",
        "reporting.visits (visitor)",
    ];
    assert_eq!(found, expected.map(str::to_owned).into(), "{gaps:?}");

    let reasons: Vec<&str> = gaps.iter().map(|g| g.reason.as_str()).collect();
    assert!(reasons.iter().any(|r| r.contains("looked for in public, My App, reporting")), "{reasons:?}");
    let parts = gaps.iter().find(|g| g.reason.contains("event is partitioned")).unwrap();
    assert!(parts.hint.contains("CREATE INDEX ON ONLY \"My App\".event (visitor"), "{}", parts.hint);
    assert_eq!(gaps.len(), 2, "{reasons:?}");

    let (observations, health_gaps) = database.health(&statements, &plans).await;
    assert_eq!(health_gaps, []);
    assert!(observations.iter().any(|o| o.kind == "foreign_key_without_index"), "{observations:?}");
    let key = observations.iter().find(|o| o.kind == "foreign_key_without_index").unwrap();
    assert!(key.mend.as_ref().unwrap().ends_with(" ON \"My App\".note (account_id)"), "{key:?}");
    assert!(!observations.iter().any(|o| o.kind == "misestimate"), "{observations:?}");

    // What is told can be done as it is.
    for create in plans.iter().flat_map(|p| &p.what_ifs).map(|w| &w.create).chain(&key.mend) {
        client.batch_execute(create).await.unwrap();
    }
    let (observations, _) = database.health(&statements, &plans).await;
    assert!(!observations.iter().any(|o| o.kind == "foreign_key_without_index"), "{observations:?}");
    let (_, plans, _) = told(&client, &database).await;
    assert!(plans.iter().all(|p| p.what_ifs.is_empty()), "{plans:?}");
    drop(server);
}
