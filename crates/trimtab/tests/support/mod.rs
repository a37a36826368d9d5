//! What every test of the program needs: the program itself, run in a folder of its own, and a real Postgres.

use local_postgres::{LocalPostgres, Options};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// How a run of the program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None`: it was ended by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// The program, to be run in a folder, with none of our own settings in its environment.
#[expect(clippy::disallowed_methods, reason = "each test waits for its end")]
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["TRIMTAB_CONFIG", "TRIMTAB_DATABASE_URL", "TRIMTAB_SERVICE_URL", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

/// Runs the program to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Ran {
    program(folder).args(arguments).output().unwrap().into()
}

/// A server of our own; with `preload` it counts statements.
pub(crate) async fn postgres(preload: &str) -> LocalPostgres {
    let options = Options::default()
        .setting("shared_preload_libraries", preload)
        .setting("max_parallel_workers_per_gather", "0");
    LocalPostgres::start(&options, &mut |_| {}).await.unwrap()
}

/// A connection and what keeps it going.
pub(crate) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
