//! Through Debian's pgbouncer in transaction mode: what one connection prepares another does not know. Figures or a gap
//! that says where to connect instead, never wrong figures and never a hang.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use database::{Database, PlanOptions, Snapshot};
use local_postgres::{LocalPostgres, Options};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

const READY: Duration = Duration::from_secs(20);

/// A pooler that ends with the test.
struct Pooler {
    child: Child,
    port: u16,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(clippy::disallowed_methods, reason = "the guard ends it")]
fn pooler(server: &LocalPostgres, folder: &Path) -> Pooler {
    use std::os::unix::fs::PermissionsExt;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = server.url();
    let (who, place) = url.strip_prefix("postgresql://").unwrap().split_once('@').unwrap();
    let (user, password) = who.split_once(':').unwrap();
    let (host, rest) = place.split_once(':').unwrap();
    let (at, _) = rest.split_once('/').unwrap();
    let config = format!(
        "[databases]\n* = host={host} port={at} user={user} password={password}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
         pool_mode = transaction\ndefault_pool_size = 3\nserver_reset_query =\n"
    );
    let path = folder.join("pgbouncer.ini");
    std::fs::write(&path, config).unwrap();
    for path in [folder, path.as_path()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = std::process::Command::new("pgbouncer");
    // It refuses to run as root.
    if folder.metadata().is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        command.args(["-u", "nobody"]);
    }
    let child = command.arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Pooler { child, port }
}

async fn client(url: &str) -> Client {
    let poll = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            if let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await {
                tokio::spawn(connection);
                return client;
            }
        }
    };
    tokio::time::timeout(READY, poll).await.unwrap()
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_gives_figures_or_says_where_to_connect() {
    let options = Options::default().setting("shared_preload_libraries", "pg_stat_statements");
    let server = LocalPostgres::start(&options, &mut |_| {}).await.unwrap();
    let setup = "CREATE EXTENSION pg_stat_statements; CREATE TABLE t (a int)";
    client(&server.url()).await.batch_execute(setup).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pooler = pooler(&server, folder.path());
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres", pooler.port);
    let other = client(&url).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let database = Database::connect(&url).await.unwrap();
        let before = database.snapshot().await.unwrap();
        // Others hold the pool's connections in turn, so that ours wander.
        other.batch_execute("BEGIN").await.unwrap();
        for _ in 0..7 {
            other.batch_execute("SELECT a FROM t WHERE a = 1").await.unwrap();
        }
        let after = database.snapshot().await.unwrap();
        other.batch_execute("COMMIT").await.unwrap();
        let (statements, gaps) = Snapshot::delta(&before, &after);
        let seen = statements.iter().find(|s| s.text == "SELECT a FROM t WHERE a = $1").map(|s| s.calls);
        let advised = gaps.iter().any(|g| g.hint.contains("not through a pooler in transaction mode"));
        assert!(seen == Some(7) || advised, "{seen:?} {gaps:?}");
        let options = PlanOptions { may_build: false, most: 5 };
        let planned = database.plans(&statements, &options);
        drop(tokio::time::timeout(READY, planned).await.unwrap());
        told.push((seen, advised));
    }
    println!("{told:?}");
}
