//! A real Redis server: which endpoint sends it which commands, told without traces, and its state alone.

use crate::support::{free_port, run};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const READY: Duration = Duration::from_secs(20);
const GETS: usize = 20;

struct Redis {
    child: Child,
    port: u16,
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Redis {
    #[expect(clippy::disallowed_methods, reason = "the guard ends it")]
    async fn start() -> Self {
        let port = free_port();
        let mut command = std::process::Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--requirepass", "hunter2", "--slowlog-log-slower-than", "1000"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let redis = Self { child, port };
        redis.connect().await;
        redis
    }

    fn url(&self) -> String {
        format!("redis://:hunter2@127.0.0.1:{}", self.port)
    }

    async fn connect(&self) -> TcpStream {
        let connected = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            loop {
                ticks.tick().await;
                if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await {
                    stream.set_nodelay(true).unwrap();
                    stream.write_all(b"AUTH hunter2\r\n").await.unwrap();
                    answers(&mut stream, 1).await;
                    return stream;
                }
            }
        };
        tokio::time::timeout(READY, connected).await.unwrap()
    }
}

/// Waits for so many answers of one line, or of none.
async fn answers(stream: &mut TcpStream, count: usize) {
    let (mut seen, mut chunk) = (0, [0_u8; 4096]);
    while seen < count {
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the server is gone");
        seen += chunk[..length].iter().filter(|byte| **byte == b'\n').count();
    }
}

/// `GET /single` asks for each key by itself, `GET /piped` for all in one go, any other path for none.
async fn serve(listener: TcpListener, redis: std::sync::Arc<Redis>) {
    while let Ok((mut http, _)) = listener.accept().await {
        let mut cache = redis.connect().await;
        tokio::spawn(async move {
            let (mut seen, mut chunk) = (Vec::new(), [0_u8; 4096]);
            while let Ok(length @ 1..) = http.read(&mut chunk).await {
                seen.extend_from_slice(&chunk[..length]);
                while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                    let path = String::from_utf8_lossy(&seen[..end]).into_owned();
                    seen.drain(..end + 4);
                    if path.starts_with("GET /single") {
                        for key in 0..GETS {
                            cache.write_all(format!("GET none:{key}\r\n").as_bytes()).await.unwrap();
                            answers(&mut cache, 1).await;
                        }
                    } else if path.starts_with("GET /piped") {
                        cache.write_all("GET none:1\r\n".repeat(GETS).as_bytes()).await.unwrap();
                        answers(&mut cache, GETS).await;
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
async fn look_ups_one_by_one_are_found_and_a_pipeline_is_not() {
    let redis = std::sync::Arc::new(Redis::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(serve(listener, std::sync::Arc::clone(&redis)));
    let folder = tempfile::tempdir().unwrap();
    let operation =
        |name| format!("[[load.operation]]\nname = \"GET /{name}\"\npath = \"/{name}\"\nweight = 1\n");
    let settings = format!(
        "[service]\nurl = \"http://127.0.0.1:{port}\"\n[telemetry]\nlisten = \"\"\nlisten_grpc = \"\"\n\
         [load]\nrate = 45\nwarm_up_s = 1\nduration_s = 14\n{}",
        ["single", "piped", "plain"].map(operation).concat()
    );
    std::fs::write(folder.path().join("trimtab.toml"), settings).unwrap();
    let (path, url) = (folder.path().to_owned(), redis.url());
    let ran = tokio::task::spawn_blocking(move || {
        run(&path, &["measure", "-o", "out", "--cache", &url, "--format", "json"])
    });
    let ran = ran.await.unwrap();
    serving.abort();
    assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{ran:?}");
    let diagnosis: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let costs = std::fs::read_to_string(folder.path().join("out/costs.json")).unwrap();
    assert!(!costs.contains("hunter2"));
    let costs: Value = serde_json::from_str(&costs).unwrap();
    let told = |name: &str| -> Vec<f64> {
        let all = costs["resources"].as_array().unwrap();
        let one = all.iter().find(|r| r["name"] == name).unwrap_or_else(|| panic!("no {name}: {costs:#}"));
        let rates = one["cost"]["per_request"].as_array().unwrap();
        rates.iter().map(|rate| rate["value"].as_f64().unwrap_or(f64::NAN)).collect()
    };
    let (gets, misses, reads) = (told("cache_calls_get"), told("cache_misses"), told("cache_reads"));
    println!("GET {gets:.2?}, misses {misses:.2?}, reads {reads:.2?}");
    for (found, truth) in gets.iter().zip([20.0, 20.0, 0.0]) {
        assert!((found - truth).abs() < 1.0, "{gets:?}");
    }
    for (found, truth) in reads.iter().zip([20.0, 1.0, 0.0]) {
        assert!((found - truth).abs() < 1.0, "{reads:?}");
    }
    let findings = diagnosis["findings"].as_array().unwrap();
    let many: Vec<&Value> = findings.iter().filter(|f| f["rule"] == "n_plus_one").collect();
    assert_eq!(many.len(), 1, "{findings:#?}");
    assert_eq!(many[0]["endpoint"], "GET /single");
    assert!(many[0]["prediction"]["after_ms"].as_f64() < many[0]["prediction"]["before_ms"].as_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_alone_shows_its_state_and_neither_password_nor_keys() {
    let redis = Redis::start().await;
    let mut client = redis.connect().await;
    let mut sent = String::new();
    for n in 0..1_500 {
        sent.push_str(&format!("SET session:s3cr3t{n} {n}\r\nGET nothing:{n}\r\n"));
    }
    client.write_all(sent.as_bytes()).await.unwrap();
    answers(&mut client, 3_000).await;
    let large = "EVAL \"redis.call('SET', 'report:2026', string.rep('x', 3000000)) for i = 1, 300000 do end return 1\" 0\r\n";
    client.write_all(large.as_bytes()).await.unwrap();
    answers(&mut client, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let url = redis.url();
    let asked = |more: &'static [&'static str]| {
        let (path, url) = (folder.path().to_owned(), url.clone());
        async move {
            let arguments: Vec<&str> = ["database", &url].into_iter().chain(more.iter().copied()).collect();
            tokio::task::block_in_place(|| run(&path, &arguments))
        }
    };
    let text = asked(&[]).await;
    assert_eq!(text.code, Some(0), "{text:?}");
    for part in
        ["Commands by total time", "SET", "session:*", "hit_ratio", "big_key", "report:*", "slow_command"]
    {
        assert!(text.out.contains(part), "no {part}: {}", text.out);
    }
    let json = asked(&["--format", "json"]).await;
    let seen: Value = serde_json::from_str(&json.out).unwrap_or_else(|_| panic!("{json:?}"));
    assert_eq!(seen["keys"], 1_501);
    assert_eq!(seen["hit_ratio"], 0.0);
    assert_eq!(seen["sampled"]["complete"], true);
    assert_eq!(seen["sampled"]["patterns"][0]["pattern"], "report:*");
    for out in [&text.out, &text.err, &json.out, &json.err] {
        assert!(!out.contains("hunter2") && !out.contains("s3cr3t"), "{out}");
    }
    // A role that may see less is told what to grant.
    client.write_all(b"ACL SETUSER few on >hunter3 +info +ping +select\r\n").await.unwrap();
    answers(&mut client, 1).await;
    let few = format!("redis://few:hunter3@127.0.0.1:{}", redis.port);
    let ran = tokio::task::block_in_place(|| run(folder.path(), &["database", &few]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("+slowlog|get") && ran.out.contains("+memory|usage"), "{}", ran.out);
    assert!(!ran.out.contains("hunter3") && !ran.err.contains("hunter3"), "{ran:?}");
}
