//! rotel, the peer: the collector in Rust that PyPI carries, in an environment of its own in the cache folder, with the
//! exporter that throws everything away.

use crate::process::{Helper, run_quietly};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// Until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// Longer than it waits for a batch to fill (200 ms), so that its work is done.
const SETTLE: Duration = Duration::from_millis(600);

pub(crate) struct Rotel {
    program: PathBuf,
    /// `rotel 0.0.1`.
    pub version: String,
    /// For its pid file and log, which it insists on.
    scratch: tempfile::TempDir,
}

impl Rotel {
    /// Finds it in the cache folder, or has pip fetch it.
    ///
    /// # Errors
    /// No Python, no network, or no build for this machine.
    pub(crate) fn install() -> Result<Self> {
        let folder = cache()?.join("trimtab").join("rotel");
        let program = match find(&folder) {
            Some(program) => program,
            None => {
                let venv = ["-m".as_ref(), "venv".as_ref(), folder.as_os_str()];
                run_quietly(Path::new("python3"), venv).context("python3 could not make an environment")?;
                run_quietly(&folder.join("bin/pip"), ["install", "-q", "rotel"])
                    .context("pip could not fetch rotel")?;
                find(&folder).context("the package `rotel` holds no rotel-agent")?
            }
        };
        let version = run_quietly(&program, ["--version"])?.trim().to_owned();
        let scratch = tempfile::tempdir().context("could not make a folder")?;
        Ok(Self { program, version, scratch })
    }

    /// Starts one and waits until it listens; returns where.
    pub(crate) async fn start(&self) -> Result<(Helper, String)> {
        let (http, grpc) = (free_address().await?, free_address().await?);
        let within = |name: &str| self.scratch.path().join(name).into_os_string();
        let words: Vec<OsString> = vec![
            "start".into(),
            "--exporter".into(),
            "blackhole".into(),
            "--otlp-http-endpoint".into(),
            http.clone().into(),
            "--otlp-grpc-endpoint".into(),
            grpc.into(),
            "--pid-file".into(),
            within("pid"),
            "--log-file".into(),
            within("log"),
        ];
        let helper = Helper::start(&self.program, words)?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&http).await.is_err() {
            anyhow::ensure!(Instant::now() < deadline, "rotel does not listen on {http}");
            tokio::time::sleep(POLL).await;
        }
        Ok((helper, http))
    }
}

/// Waits until what was received is worked off.
pub(crate) async fn settle() {
    tokio::time::sleep(SETTLE).await;
}

/// An address that was free a moment ago: rotel does not tell which one it took.
async fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port")?;
    Ok(listener.local_addr()?.to_string())
}

fn find(folder: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(folder.join("lib")).ok()?.flatten();
    versions.map(|v| v.path().join("site-packages/rotel/rotel-agent")).find(|program| program.is_file())
}

/// The user's cache folder, by the XDG rules.
fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")
}
