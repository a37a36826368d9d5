//! Real servers for the tests: one Postgres for all, a database per test, Redis where it is installed.
//! Each server hangs on a pipe from the test process, so that none survives it, however it ends.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use shop::{Config, SeedOptions, Shop, seed};
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

pub(crate) const ORDER_ITEMS_INDEX: &str = include_str!("../../migrations/0003_order_items_order_id.sql");
pub(crate) const ORDERS_INDEX: &str = include_str!("../../migrations/0004_orders_customer_id_created_at.sql");

const POSTGRES: &str = r#"
set -e
"$1/initdb" -D "$2/data" -U postgres -A trust --no-sync >/dev/null
"$1/pg_ctl" -D "$2/data" -w -l "$2/log" -o "-F -k $2 -h 127.0.0.1 -p $3" start >/dev/null
echo ready
cat >/dev/null || true
"$1/pg_ctl" -D "$2/data" -m immediate stop >/dev/null
rm -rf "$2"
"#;
const REDIS: &str = r#"
"$1/redis-server" --port "$3" --bind 127.0.0.1 --save '' --dir "$2" &
server=$!
cat >/dev/null
kill $server
rm -rf "$2"
"#;

/// A server below a shell that stops it when the pipe to its standard input closes.
struct Server {
    port: u16,
    _shell: Child,
}

#[expect(clippy::disallowed_methods, reason = "the tests' one place that starts servers")]
fn start(script: &str, binaries: &Path, ready: &str) -> Server {
    let directory = tempfile::tempdir().unwrap().keep();
    let port = free_port();
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(binaries).arg(&directory).arg(port.to_string());
    if let Some((uid, gid)) = user_for_root() {
        chown(&directory, Some(uid), Some(gid)).unwrap();
        command.uid(uid).gid(gid).current_dir(&directory);
    }
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(shell.stdout.take().unwrap());
    let started = output.lines().map_while(Result::ok).any(|line| line.contains(ready));
    assert!(started, "the server did not start; see {}", directory.display());
    Server { port, _shell: shell }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Postgres refuses to run as root: then the system's `postgres` or `nobody` runs the servers.
fn user_for_root() -> Option<(u32, u32)> {
    let own = std::fs::metadata("/proc/self").ok()?;
    if std::os::unix::fs::MetadataExt::uid(&own) != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let entry: Vec<_> = users.lines().find(|line| line.starts_with(name))?.split(':').collect();
        Some((entry[2].parse().ok()?, entry[3].parse().ok()?))
    };
    find("postgres:").or_else(|| find("nobody:"))
}

/// The folder of a program: of PATH, or the usual ones of Debian's packages.
fn folder_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packaged = packaged.map(|version| version.path().join("bin"));
    std::env::split_paths(&path).chain(packaged).find(|folder| folder.join(program).exists())
}

async fn postgres() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            let binaries = folder_of("initdb").expect("the tests need Postgres: install postgresql");
            let server = start(POSTGRES, &binaries, "ready");
            admin(&server, "CREATE DATABASE seeded").await;
            seed(&url(&server, "seeded"), &small()).await.unwrap();
            server
        })
        .await
}

async fn admin(server: &Server, sql: &str) {
    client(&url(server, "postgres")).await.batch_execute(sql).await.unwrap();
}

fn url(server: &Server, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{}/{database}", server.port)
}

/// A hundredth of the shop's usual data.
pub(crate) fn small() -> SeedOptions {
    SeedOptions::default().scaled(0.01).unwrap()
}

pub(crate) async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The URL of a fresh database: a copy of the seeded one, or an empty one.
pub(crate) async fn database(template: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = postgres().await;
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    admin(server, &format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")).await;
    url(server, &name)
}

/// `None` where Redis is not installed.
pub(crate) fn redis() -> Option<String> {
    static SERVER: std::sync::OnceLock<Option<Server>> = std::sync::OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let binaries = folder_of("redis-server")?;
        Some(start(REDIS, &binaries, "Ready to accept connections"))
    });
    Some(format!("redis://127.0.0.1:{}", server.as_ref()?.port))
}

/// A running shop and a client of it.
pub(crate) struct Fixture {
    pub(crate) shop: Shop,
    pub(crate) database_url: String,
    http: Http,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let database_url = database("seeded").await;
        let mut config = Config::new(database_url.clone());
        adjust(&mut config);
        let shop = Shop::start(config).await.unwrap();
        let http = Http::new(shop.addresses().listening);
        Self { shop, database_url, http }
    }

    pub(crate) fn http(&self) -> Http {
        self.http.clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.http.send("GET", path, &[], "").await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.http.send(method, path, &[], &body.to_string()).await
    }

    pub(crate) async fn switch(&self, changes: Value) {
        let answer = self.send("PUT", "/switches", &changes).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
}

#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}
