//! A throw-away MariaDB server with the tables of the tests, gone with its guard.

use crate::support::free_port;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const READY: Duration = Duration::from_secs(60);
/// Whom the server runs as where the tests run as root, which it refuses.
const OTHER_USER: (&str, u32) = ("nobody", 65_534);

const TABLES: &str = "
CREATE DATABASE shop; USE shop;
CREATE TABLE items (id INT PRIMARY KEY, order_id INT NOT NULL, note VARCHAR(60) NOT NULL, KEY note_key (note), KEY note_and_order (note, order_id));
INSERT INTO items SELECT seq, seq DIV 3, CONCAT('note ', seq % 5000) FROM seq_1_to_60000;
CREATE TABLE orders (id INT PRIMARY KEY, customer_id INT NOT NULL, status VARCHAR(10) NOT NULL, created_at DATETIME NOT NULL);
INSERT INTO orders SELECT seq, seq % 40, IF(seq % 3, 'open', 'paid'), FROM_UNIXTIME(1600000000 + (seq * 104729) % 1000003) FROM seq_1_to_40000;
CREATE TABLE visits (at DATETIME NOT NULL, path VARCHAR(40) NOT NULL);
INSERT INTO visits SELECT FROM_UNIXTIME(1600000000 + seq), '/' FROM seq_1_to_2000;
ANALYZE TABLE items, orders, visits;
CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'hunter2';
GRANT SELECT ON shop.* TO reader@'127.0.0.1'; GRANT SELECT ON performance_schema.* TO reader@'127.0.0.1'; GRANT PROCESS ON *.* TO reader@'127.0.0.1';
CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'hunter2'; GRANT SELECT ON shop.visits TO poor@'127.0.0.1';
";

pub(crate) struct Server {
    child: Child,
    port: u16,
    home: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn tool(names: &[&str]) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/libexec"];
    let all = names.iter().flat_map(|name| folders.iter().map(move |folder| Path::new(folder).join(name)));
    all.into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("these tests need {names:?}: cargo xtask provision"))
}

/// A program that the caller ends, or waits for.
#[expect(clippy::disallowed_methods, reason = "the guard ends it, or the caller waits")]
fn command(names: &[&str]) -> Command {
    let mut command = Command::new(tool(names));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    pub(crate) async fn start(options: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("trimtab-mariadb-").tempdir().unwrap();
        let as_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        if as_root {
            chown(home.path(), Some(OTHER_USER.1), None).unwrap();
        }
        // Servers that are set up side by side take each other's temporary tables away.
        let temporary = home.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        if as_root {
            chown(&temporary, Some(OTHER_USER.1), None).unwrap();
        }
        let temporary = format!("--tmpdir={}", temporary.display());
        let user = format!("--user={}", OTHER_USER.0);
        let data = format!("--datadir={}", home.path().join("data").display());
        let mut install = command(&["mariadb-install-db"]);
        install.args([
            "--no-defaults",
            &data,
            &temporary,
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ]);
        install.args(as_root.then_some(&user)).stderr(Stdio::piped()).stdout(Stdio::piped());
        let installed = install.output().unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let port = free_port();
        let mut server = command(&["mariadbd"]);
        server.args([
            "--no-defaults",
            &data,
            &temporary,
            &format!("--port={port}"),
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
        ]);
        server.arg(format!("--socket={}", home.path().join("s").display())).args(as_root.then_some(&user));
        server.args([
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=64M",
            "--skip-log-bin",
        ]);
        server.arg(format!("--pid-file={}", home.path().join("pid").display())).args(options);
        let server = Self { child: server.spawn().unwrap(), port, home };
        let ready = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            while server.sql("SELECT 1").is_err() {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(READY, ready).await.expect("mariadbd does not start");
        server.sql(TABLES).unwrap();
        server
    }

    /// As root, on the socket.
    pub(crate) fn sql(&self, sql: &str) -> Result<String, String> {
        let mut client = command(&["mariadb"]);
        client.args(["--no-defaults", "--force", "-N", "-u", "root", "-S"]).arg(self.socket());
        let mut child =
            client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that cannot connect ends before it has read all: what it said tells why.
        drop(child.stdin.take().unwrap().write_all(sql.as_bytes()));
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        if said.is_empty() { Ok(String::from_utf8_lossy(&ended.stdout).into_owned()) } else { Err(said) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("s")
    }

    pub(crate) fn url(&self, user: &str) -> String {
        format!("mariadb://{user}:hunter2@127.0.0.1:{}/shop", self.port)
    }
}
