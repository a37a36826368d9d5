//! A service without any instrumentation: answers `GET /<name>` after the statements of that endpoint, over a few
//! connections to the database.

use crate::support::connect;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio_postgres::Client;

/// Of an endpoint: statements, each with one parameter or none, and how often a request calls them.
pub(crate) type Calls = Vec<(&'static str, u32)>;

/// Parameters are below this, and follow each other in such steps.
const KEYS: u32 = 10_000;
const STEP: u32 = 7919;

pub(crate) struct Service {
    pub(crate) port: u16,
    database: String,
}

struct Shared {
    endpoints: BTreeMap<&'static str, Calls>,
    clients: Mutex<Vec<Client>>,
    free: Semaphore,
    /// Statements so far: parameters follow it.
    asked: AtomicU32,
    database: String,
}

impl Service {
    /// Serves until the test ends.
    pub(crate) async fn start(
        database: &str,
        connections: usize,
        endpoints: &[(&'static str, Calls)],
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(connect(database).await);
        }
        let shared = Arc::new(Shared {
            endpoints: endpoints.iter().cloned().collect(),
            clients: Mutex::new(clients),
            free: Semaphore::new(connections),
            asked: AtomicU32::new(0),
            database: database.to_owned(),
        });
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(answer(connection, Arc::clone(&shared)));
            }
        });
        Self { port, database: database.to_owned() }
    }

    /// Writes settings of a load on it; `rates` by endpoint.
    pub(crate) fn settings(&self, folder: &Path, duration_s: u32, rates: &[(&str, f64)], more: &str) {
        let operation = |(name, rate): &(&str, f64)| {
            format!("[[load.operation]]\nname = \"GET /{name}\"\npath = \"/{name}\"\nweight = {rate}\n")
        };
        let rate: f64 = rates.iter().map(|r| r.1).sum();
        let text = format!(
            "[service]\nurl = \"http://127.0.0.1:{}\"\n[telemetry]\nlisten = \"\"\nlisten_grpc = \"\"\n\
             [load]\nrate = {rate}\nwarm_up_s = 1\nduration_s = {duration_s}\n{}\
             [database]\nurl = \"{}\"\n{more}",
            self.port,
            rates.iter().map(operation).collect::<String>(),
            self.database
        );
        std::fs::write(folder.join("trimtab.toml"), text).unwrap();
    }
}

async fn answer(mut connection: TcpStream, shared: Arc<Shared>) {
    let (mut seen, mut chunk) = (Vec::new(), [0_u8; 4096]);
    while let Ok(length @ 1..) = connection.read(&mut chunk).await {
        seen.extend_from_slice(&chunk[..length]);
        while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..end]).into_owned();
            seen.drain(..end + 4);
            let path = head.split_whitespace().nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
            let status = if work(&shared, &path).await { "200 OK" } else { "500 Internal Server Error" };
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
            if connection.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// The statements of one request, on one connection; `false` where one fails.
async fn work(shared: &Shared, path: &str) -> bool {
    let Some(calls) = shared.endpoints.get(path) else { return true };
    let _permit = shared.free.acquire().await.unwrap();
    let mut client = shared.clients.lock().await.pop().unwrap();
    if client.is_closed() {
        match tokio_postgres::connect(&shared.database, tokio_postgres::NoTls).await {
            Ok((new, driver)) => {
                tokio::spawn(async move { drop(driver.await) });
                client = new;
            }
            Err(_) => {
                shared.clients.lock().await.push(client);
                return false;
            }
        }
    }
    let mut well = true;
    for (text, times) in calls {
        for call in 0..*times {
            let number = shared.asked.fetch_add(1, Ordering::Relaxed);
            let key = i32::try_from((number + call) % KEYS * STEP % KEYS).unwrap();
            let sent = if text.contains("$1") {
                client.query(*text, &[&key]).await
            } else {
                client.query(*text, &[]).await
            };
            well &= sent.is_ok();
        }
    }
    shared.clients.lock().await.push(client);
    well
}
