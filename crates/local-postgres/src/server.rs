//! The server's life: a shell that makes the cluster, runs the server and watches a pipe of ours. The pipe ends when we
//! close it or die; the shell then stops the server at once and removes the directory.

use crate::{Installation, Options, find};
use anyhow::{Context, Result, anyhow, bail};
use std::fmt::Write;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

const WATCHDOG: &str = include_str!("watchdog.sh");
/// Making a cluster takes seconds on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
/// Another process may take the free port before the server does.
const ATTEMPTS: u32 = 3;
/// Longer paths of sockets are refused by the kernel (108 bytes with the file's name).
const MAX_SOCKET_FOLDER: usize = 80;
/// For data that is thrown away: nothing waits for the disk.
const THROW_AWAY: [(&str, &str); 5] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("listen_addresses", "127.0.0.1"),
    ("password_encryption", "scram-sha-256"),
];

/// A running server. Dropping it stops the server and removes its directory.
#[derive(Debug)]
pub struct LocalPostgres {
    watchdog: Child,
    home: PathBuf,
    port: u16,
    password: String,
    pid: u32,
    installation: Installation,
}

impl LocalPostgres {
    /// Starts a server, from the first installation of this machine that can run with these settings, and waits until
    /// it answers. `say` is told, in one line, if something must be fetched.
    ///
    /// # Errors
    /// No installation; the server does not start (with the end of its log); no answer in time.
    pub async fn start(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let installations = find(options.offline, options.cache.as_deref(), say)?;
        let mut failed = None;
        for installation in installations {
            match Self::start_from(&installation, options).await {
                Ok(server) => return Ok(server),
                Err(error) => {
                    let error = error.context(format!("cannot start {}", installation.programs.display()));
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| anyhow!("no Postgres server found")))
    }

    /// As [`Self::start`], from one installation.
    ///
    /// # Errors
    /// The server does not start (with the end of its log); no answer in time.
    pub async fn start_from(installation: &Installation, options: &Options) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let mut server = Self::launch(installation, options)?;
            match server.wait_until_ready().await {
                Ok(()) => return Ok(server),
                Err(error) if attempt < ATTEMPTS && error.to_string().contains("Address already in use") => {
                    attempt += 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts the shell; the server is not ready yet.
    #[expect(clippy::disallowed_methods, reason = "this module also ends it")]
    fn launch(installation: &Installation, options: &Options) -> Result<Self> {
        let user = if rustix::process::geteuid().is_root() { Some(ordinary_user()?) } else { None };
        let home =
            tempfile::Builder::new().prefix("trimtab-pg-").tempdir().context("no temporary directory")?;
        let password = random_password()?;
        std::fs::write(home.path().join("password"), &password)?;
        let mut programs = installation.programs.clone();
        if user.is_some() && !open_to_all(&programs) {
            programs = copy_server(installation, home.path())?;
        }
        if let Some(user) = user {
            give(home.path(), user)?;
        }
        let port = free_port()?;
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", WATCHDOG, "trimtab-postgres"]).arg(&programs).arg(home.path());
        command.args(settings(options, home.path(), port)).current_dir(home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A Ctrl-C on the terminal is for us; we then end the server.
        command.process_group(0).env_remove("PGDATA").env_remove("PGPORT");
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        let watchdog = command.spawn().context("cannot run /bin/sh")?;
        // From here on the shell or our drop removes the directory.
        let home = home.keep();
        Ok(Self { watchdog, home, port, password, pid: 0, installation: installation.clone() })
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let ready = async {
            let mut poll = tokio::time::interval(POLL);
            loop {
                poll.tick().await;
                if self.watchdog.try_wait()?.is_some() {
                    bail!("it ended at once: {}", self.last_words());
                }
                if tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.is_ok() {
                    return Ok(());
                }
            }
        };
        let in_time = tokio::time::timeout(START_DEADLINE, ready).await;
        in_time.with_context(|| {
            format!("no answer within {} s: {}", START_DEADLINE.as_secs(), self.last_words())
        })??;
        let pid_file = self.home.join("data/postmaster.pid");
        let text = std::fs::read_to_string(&pid_file).context("the server left no postmaster.pid")?;
        self.pid = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok())
            .context("postmaster.pid has no pid")?;
        Ok(())
    }

    /// The lines of the log that say what is wrong.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.home.join("log")).unwrap_or_default();
        let telling = ["FATAL", "error", "ERROR", "could not", "not found"];
        let mut lines: Vec<&str> =
            log.lines().filter(|line| telling.iter().any(|word| line.contains(word))).collect();
        if lines.is_empty() {
            lines = log.lines().rev().take(1).collect();
        }
        if lines.is_empty() { "its log is empty".to_owned() } else { lines.join("; ") }
    }

    /// Connection string of the superuser for the database `postgres`. It holds the password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgresql://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The programs that run.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Where the cluster lies; gone after the server.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.home
    }

    /// Makes an empty database and returns its connection string.
    ///
    /// # Errors
    /// The name is taken, or no server answers.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            bail!("a database's name here is of a-z, 0-9 and _, not {name:?}");
        }
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await?;
        let driver = tokio::spawn(connection);
        let made = client.batch_execute(&format!("CREATE DATABASE {name}")).await;
        drop(client);
        driver.await?.context("lost the connection")?;
        made.with_context(|| format!("cannot create the database {name}"))?;
        Ok(self.url_of(name))
    }

    /// Stops the server and removes its directory; takes some 100 ms. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Waiting can only fail for a child that was waited for already.
        let _ended = self.watchdog.wait();
        let _removed_already = std::fs::remove_dir_all(&self.home);
    }
}

/// The server's own command line: ours first, then the caller's, so that the caller's win.
fn settings(options: &Options, home: &Path, port: u16) -> Vec<String> {
    let socket_folder = home.to_str().filter(|folder| folder.len() <= MAX_SOCKET_FOLDER).unwrap_or("");
    let own = [("port", port.to_string()), ("unix_socket_directories", socket_folder.to_owned())];
    let throw_away = THROW_AWAY.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let callers = options.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let all = throw_away.chain(callers).chain(own);
    all.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
}

fn free_port() -> Result<u16> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(socket.local_addr()?.port())
}

fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
    let mut password = String::new();
    for byte in bytes {
        write!(password, "{byte:02x}")?;
    }
    Ok(password)
}

/// Postgres refuses to run as root: user and group id of `postgres`, else of `nobody`.
fn ordinary_user() -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let of = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then_some(())?;
            Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
    };
    of("postgres")
        .or_else(|| of("nobody"))
        .context("Postgres does not run as root, and there is no user postgres or nobody")
}

/// Whether any user may enter a folder.
fn open_to_all(folder: &Path) -> bool {
    let Ok(real) = folder.canonicalize() else { return false };
    real.ancestors().all(|part| part.metadata().is_ok_and(|found| found.mode() & 0o001 != 0))
}

/// Copies an installation that only root can reach.
fn copy_server(installation: &Installation, home: &Path) -> Result<PathBuf> {
    let (root, below) = installation.tree().context("the server's programs lie in no folder")?;
    copy_tree(&root, &home.join("server")).with_context(|| format!("cannot copy {}", root.display()))?;
    Ok(home.join("server").join(below))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Gives a tree to a user, closed to others.
fn give(path: &Path, user: (u32, u32)) -> Result<()> {
    if path.is_dir() && !path.is_symlink() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    std::os::unix::fs::lchown(path, Some(user.0), Some(user.1))
        .with_context(|| format!("cannot give {}", path.display()))
}
