//! A real Redis server's own count of its commands.

use database::CacheLook;
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READY: Duration = Duration::from_secs(20);

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the guard ends it")]
async fn commands_are_counted_with_a_password_and_refused_without() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = std::process::Command::new("redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--requirepass",
        "hunter2",
    ]);
    let _redis = Redis(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let connected = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
                return stream;
            }
        }
    };
    let mut stream = tokio::time::timeout(READY, connected).await.unwrap();
    stream.write_all(b"AUTH hunter2\r\nGET a\r\nGET b\r\nSET a 1\r\n").await.unwrap();
    // +OK, two times $-1, +OK
    let mut answer = [0_u8; 20];
    stream.read_exact(&mut answer).await.unwrap();
    let look = CacheLook::at(&format!("redis://:hunter2@127.0.0.1:{port}/0")).await.unwrap();
    let all = &look.commands;
    assert_eq!((all["get"].calls, all["set"].calls, all.contains_key("info")), (2, 1, false));
    assert_eq!((look.hits, look.misses), (0, 2));
    let refused = format!("{:#}", CacheLook::at(&format!("redis://127.0.0.1:{port}")).await.unwrap_err());
    assert!(refused.contains("NOAUTH"), "{refused}");
    let wrong =
        format!("{:#}", CacheLook::at(&format!("redis://:hunter3@127.0.0.1:{port}")).await.unwrap_err());
    assert!(!wrong.contains("hunter3"), "{wrong}");
}
