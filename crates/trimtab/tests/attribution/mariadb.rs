//! A real MariaDB server: which endpoint sends it which statements, told without traces.

use crate::mariadb_server::{Server, tool};
use crate::support::run;
use serde_json::Value;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

const LOOK_UPS: usize = 20;

/// A client that answers each line of SQL at once, until its input ends.
fn client(server: &Server) -> tokio::process::Child {
    let mut client = tokio::process::Command::new(tool(&["mariadb"]));
    client.args(["--no-defaults", "-N", "-B", "-n", "-q", "-u", "root", "-S"]).arg(server.socket());
    client.arg("shop").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    client.spawn().unwrap()
}

/// `GET /single` asks for each row by itself, `GET /scan` for one without an index, any other path for none.
async fn serve(listener: TcpListener, server: Arc<Server>) {
    while let Ok((mut http, _)) = listener.accept().await {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut client = client(&server);
            let mut sql = client.stdin.take().unwrap();
            let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
            let (mut seen, mut chunk, mut key) = (Vec::new(), [0_u8; 4096], 0);
            while let Ok(length @ 1..) = http.read(&mut chunk).await {
                seen.extend_from_slice(&chunk[..length]);
                while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                    let path = String::from_utf8_lossy(&seen[..end]).into_owned();
                    seen.drain(..end + 4);
                    let times = if path.starts_with("GET /single") { LOOK_UPS } else { 0 };
                    for _ in 0..times {
                        key = (key + 7919) % 50_000;
                        let asked = format!("SELECT note FROM items WHERE id = {};\n", key + 1);
                        sql.write_all(asked.as_bytes()).await.unwrap();
                        lines.next_line().await.unwrap();
                    }
                    if path.starts_with("GET /scan") {
                        sql.write_all(b"SELECT COUNT(note) FROM items WHERE order_id = 4711;\n")
                            .await
                            .unwrap();
                        lines.next_line().await.unwrap();
                    }
                    let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if http.write_all(reply).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_mariadb_are_attributed_and_an_index_is_told() {
    let server = Arc::new(Server::start(&["--performance-schema=ON"]).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(serve(listener, Arc::clone(&server)));
    let folder = tempfile::tempdir().unwrap();
    let operation =
        |name| format!("[[load.operation]]\nname = \"GET /{name}\"\npath = \"/{name}\"\nweight = 1\n");
    let settings = format!(
        "[service]\nurl = \"http://127.0.0.1:{port}\"\n[database]\nurl = \"{}\"\n\
         [telemetry]\nlisten = \"\"\nlisten_grpc = \"\"\n[load]\nrate = 30\nwarm_up_s = 1\nduration_s = 14\n{}",
        server.url("reader"),
        ["single", "scan", "plain"].map(operation).concat()
    );
    std::fs::write(folder.path().join("trimtab.toml"), settings).unwrap();
    let path = folder.path().to_owned();
    let ran = tokio::task::spawn_blocking(move || run(&path, &["measure", "-o", "out", "--format", "json"]));
    let ran = ran.await.unwrap();
    serving.abort();
    assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{ran:?}");
    let diagnosis: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let costs = std::fs::read_to_string(folder.path().join("out/costs.json")).unwrap();
    let costs: Value = serde_json::from_str(&costs).unwrap();
    let told = |text: &str| -> Vec<f64> {
        let all = costs["statements"].as_array().unwrap();
        let one = all.iter().find(|s| s["text"] == text).unwrap_or_else(|| panic!("no {text}: {costs:#}"));
        let rates = one["calls"]["per_request"].as_array().unwrap();
        rates.iter().map(|rate| rate["value"].as_f64().unwrap_or(f64::NAN)).collect()
    };
    let single = told("SELECT `note` FROM `items` WHERE ID = $1");
    let scan = told("SELECT COUNT (`note`) FROM `items` WHERE `order_id` = $1");
    println!("by id {single:.2?}, by order {scan:.2?}");
    for (found, truth) in single.iter().zip([20.0, 0.0, 0.0]).chain(scan.iter().zip([0.0, 1.0, 0.0])) {
        assert!((found - truth).abs() < 0.2 + 0.05 * truth, "{single:?} {scan:?}");
    }
    let findings = diagnosis["findings"].as_array().unwrap();
    let of = |rule: &str| -> Vec<&str> {
        let of_it = findings.iter().filter(|f| f["rule"] == rule);
        of_it.map(|f| f["endpoint"].as_str().unwrap_or_default()).collect()
    };
    // Which rule speaks of 20 quick look-ups depends on what they gain beside the machine's noise.
    assert!(findings.iter().any(|f| f["endpoint"] == "GET /single"), "{findings:#?}");
    assert_eq!(
        of("n_plus_one").iter().filter(|endpoint| **endpoint != "GET /single").count(),
        0,
        "{findings:#?}"
    );
    assert_eq!(of("missing_index"), ["GET /scan"], "{findings:#?}");
    assert!(ran.out.contains("ADD INDEX `trimtab_items_order_id_idx`"), "{findings:#?}");
}
