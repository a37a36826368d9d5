//! A real MariaDB server: digests, indexes, state, and what is missing or refused.

use crate::mariadb_server::Server;
use crate::support::{Ran, free_port, run};
use serde_json::Value;
use std::path::Path;

const LOAD: &str = "
SELECT note FROM items WHERE order_id = 77; SELECT note FROM items WHERE order_id = 78; SELECT note FROM items WHERE order_id = 79;
SELECT id FROM orders WHERE customer_id = 5 ORDER BY created_at DESC LIMIT 20; SELECT id FROM orders WHERE customer_id = 6 ORDER BY created_at DESC LIMIT 20;
SELECT o.id, i.note FROM orders o JOIN items i ON i.order_id = o.id WHERE o.customer_id = 17;
SELECT * FROM orders WHERE id = 5; SELECT COUNT(*) FROM items WHERE status_unknown_function(1) = 2; SELECT COUNT(*) FROM orders WHERE status = 'paid';
UPDATE orders SET status = 'open' WHERE customer_id = 99; DELETE FROM items WHERE order_id = 900000;
SELECT note FROM items WHERE order_id IN (5, 6, 7) AND note IS NOT NULL;
";

async fn ran(folder: &Path, arguments: &[&str]) -> Ran {
    let (folder, arguments) =
        (folder.to_owned(), arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    let run = move || run(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let ran = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{ran:?}");
    ran
}

fn texts<'v>(seen: &'v Value, list: &str, key: &str) -> Vec<&'v str> {
    seen[list].as_array().unwrap().iter().map(|one| one[key].as_str().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_ranked_and_advised_and_the_advice_holds() {
    let server = Server::start(&["--performance-schema=ON"]).await;
    drop(server.sql(&format!("USE shop; {LOAD}")));
    let folder = tempfile::tempdir().unwrap();
    let url = server.url("reader");
    let text = ran(folder.path(), &["database", &url]).await;
    assert_eq!(text.code, Some(0), "{text:?}");
    for part in [
        "since the counters of performance_schema began",
        "Statements by total time",
        "items (order_id)",
        "orders (customer_id, created_at DESC)",
        "ALGORITHM=INPLACE, LOCK=NONE",
        "IGNORED",
        "no_index_used",
        "redundant_index",
        "no_primary_key",
    ] {
        assert!(text.out.contains(part), "no {part}: {}", text.out);
    }
    let json = ran(folder.path(), &["database", &url, "--format", "json"]).await;
    let seen: Value = serde_json::from_str(&json.out).unwrap();
    let statement = "SELECT `note` FROM `items` WHERE `order_id` = $1";
    let mut made = texts(&seen, "indexes", "create");
    made.sort_unstable();
    assert_eq!(
        made,
        [
            "ALTER TABLE `items` ADD INDEX `trimtab_items_order_id_idx` (`order_id`), ALGORITHM=INPLACE, LOCK=NONE",
            "ALTER TABLE `orders` ADD INDEX `trimtab_orders_customer_id_created_at_desc_idx` (`customer_id`, `created_at` DESC), ALGORITHM=INPLACE, LOCK=NONE",
        ],
        "{seen:#}"
    );
    let of_items = |seen: &Value| {
        seen["statements"].as_array().unwrap().iter().find(|s| s["text"] == statement).cloned()
    };
    let before = of_items(&seen).unwrap();
    assert_eq!((before["calls"].as_u64(), before["rows"].as_u64()), (Some(3), Some(9)), "{before:#}");
    assert!(
        texts(&seen, "statements", "text")
            .iter()
            .all(|t| !t.contains("performance_schema") && !t.contains("trimtab"))
    );

    // Made, hidden, shown, removed, by the very SQL that was told.
    server.sql(&format!("USE shop; {};", made.join(";"))).unwrap();
    let hidden = texts(&seen, "indexes", "hide").join(";");
    let plan = || server.sql("USE shop; EXPLAIN SELECT note FROM items WHERE order_id = 77").unwrap();
    assert!(plan().contains("trimtab_items_order_id_idx"), "{}", plan());
    server.sql(&format!("USE shop; {hidden};")).unwrap();
    assert!(!plan().contains("trimtab_items_order_id_idx"), "{}", plan());
    server.sql(&format!("USE shop; {};", texts(&seen, "indexes", "show").join(";"))).unwrap();
    server.sql("TRUNCATE performance_schema.events_statements_summary_by_digest").unwrap();
    drop(server.sql(&format!("USE shop; {LOAD}")));
    let after = ran(folder.path(), &["database", &url, "--format", "json"]).await;
    let after: Value = serde_json::from_str(&after.out).unwrap();
    assert_eq!(texts(&after, "indexes", "create"), [""; 0], "{after:#}");
    assert!(
        of_items(&after).unwrap()["total_ms"].as_f64().unwrap() < before["total_ms"].as_f64().unwrap() / 3.0,
        "{after:#}"
    );
    server.sql(&format!("USE shop; {};", texts(&seen, "indexes", "undo").join(";"))).unwrap();
    assert!(!plan().contains("trimtab"), "{}", plan());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_may_not_see_is_a_gap_and_what_cannot_be_reached_an_error() {
    let server = Server::start(&["--performance-schema=ON"]).await;
    drop(server.sql(&format!("USE shop; {LOAD}")));
    let folder = tempfile::tempdir().unwrap();
    let poor = ran(folder.path(), &["database", &server.url("poor")]).await;
    assert_eq!(poor.code, Some(2), "nothing of the statements was seen: {poor:?}");
    assert!(poor.out.contains("GRANT SELECT ON performance_schema.* TO 'poor'"), "{}", poor.out);
    let url = server.url("reader");
    let place = url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let empty = free_port();
    for (url, told) in [
        (format!("mysql://reader:hunter22@{place}/shop"), "Access denied for user 'reader'"),
        (format!("mysql://nobody:hunter2@{place}/shop"), "Access denied"),
        (format!("mysql://reader:hunter2@{place}/none"), "could not connect to"),
        (format!("mysql://reader:hunter2@127.0.0.1:{empty}/shop"), "could not connect to"),
        (format!("mysql://reader:hunter2@{place}/shop?ssl-mode=REQUIRED"), "does not speak TLS"),
        ("mysql://reader:hunter2@127.0.0.1:port/shop".to_owned(), "no port that is a number"),
    ] {
        let ran = ran(folder.path(), &["database", &url]).await;
        assert!(ran.code == Some(2) && ran.err.contains(told), "{url} {ran:?}");
    }
    let any =
        ran(folder.path(), &["database", &format!("mysql://reader:hunter2@{place}"), "--over", "1"]).await;
    assert!(
        any.out.contains("over 1 s") && any.out.contains("no_primary_key"),
        "the only database is taken: {any:?}"
    );
    // Somebody else answers there.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = other.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = other.accept().await {
            drop(tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        }
    });
    let http = ran(folder.path(), &["database", &format!("mysql://{place}/shop")]).await;
    answering.abort();
    assert!(
        http.code == Some(2) && http.err.contains("protocol") || http.err.contains("greeting"),
        "{http:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_performance_schema_the_slow_log_is_read() {
    let server = Server::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let url = server.url("reader");
    let blind = ran(folder.path(), &["database", &url]).await;
    assert_eq!(blind.code, Some(2), "{blind:?}");
    assert!(
        blind.out.contains("performance_schema=ON under [mysqld]")
            && blind.out.contains("SET GLOBAL log_output = 'TABLE'"),
        "{}",
        blind.out
    );
    assert!(blind.out.contains("no_primary_key"), "the state is told all the same: {}", blind.out);
    server.sql("SET GLOBAL log_output = 'TABLE', long_query_time = 0, slow_query_log = ON").unwrap();
    drop(server.sql(&format!("USE shop; {LOAD}")));
    let refused = ran(folder.path(), &["database", &url]).await;
    assert!(refused.out.contains("GRANT SELECT ON mysql.slow_log TO 'reader'"), "{}", refused.out);
    server.sql("GRANT SELECT ON mysql.slow_log TO reader@'127.0.0.1'").unwrap();
    let seen = ran(folder.path(), &["database", &url]).await;
    assert!(seen.out.contains("SELECT note FROM items WHERE order_id = $1"), "{}", seen.out);
    assert!(seen.out.contains("items (order_id)"), "{}", seen.out);
}
