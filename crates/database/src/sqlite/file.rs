//! Opens a file, as far as it is a database that can be read, and looks at all of it.

use super::advise::advise;
use super::copy::beside;
use super::shell::{Mode, Shell, complaint};
use super::workload::Workload;
use super::{health, schema};
use crate::health::Observation;
use anyhow::{Context, Result, anyhow, bail};
use model::{Gap, Plan, Statement};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;

pub(super) const SIGNAL: &str = "database";
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// A file that is a database.
#[derive(Debug)]
pub struct Sqlite {
    pub(super) path: PathBuf,
    pub(super) shell: Shell,
    pub(super) header: Header,
    pub(super) bytes: u64,
    version: String,
    gaps: Vec<Gap>,
}

/// What the first bytes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) page_bytes: u64,
    /// 0 where it is not to be trusted.
    pages: u64,
    pub(super) wal: bool,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Look {
    /// Of the tool that planned, which is not the service's own.
    pub version: String,
    pub file_bytes: u64,
    pub tables: usize,
    /// By time where it is known; calls as they were given.
    pub statements: Vec<Statement>,
    pub plans: Vec<Plan>,
    pub observations: Vec<Observation>,
    pub gaps: Vec<Gap>,
}

impl Sqlite {
    /// Whether a URL names a file: `sqlite:path`, `sqlite://path`, `sqlite3:path`, `sqlite+driver:///path`.
    #[must_use]
    pub fn is_meant(url: &str) -> bool {
        let scheme = url.split(':').next().unwrap_or_default();
        url.contains(':') && matches!(scheme.split('+').next(), Some("sqlite" | "sqlite3"))
    }

    /// Opens the file that `sqlite:path` names, to read.
    ///
    /// # Errors
    /// There is none, it is no database, it is cut off, locked or may not be read, or `sqlite3` is missing.
    pub async fn open(url: &str) -> Result<Self> {
        let path = path(url)?;
        let (header, bytes) = header(&path).await?;
        let version = Shell::version().await?;
        // A reader of a database with a write-ahead log makes the files beside it and leaves them. Where there are none,
        // nobody has it open, and nothing needs to be made.
        let quiet = header.wal && !beside(&path, "-wal").exists();
        let mode = if quiet { Mode::Immutable } else { Mode::ReadOnly };
        let mut sqlite =
            Self { shell: Shell::new(&path, mode), path, header, bytes, version, gaps: Vec::new() };
        let probe = "SELECT count(*) FROM sqlite_schema;";
        let mut said = sqlite.shell.run(probe, OPEN_PATIENCE).await?.err;
        let refused = ["unable to open", "readonly"].iter().any(|what| said.contains(what));
        if refused && header.wal && !quiet {
            sqlite.shell = Shell::new(&sqlite.path, Mode::Immutable);
            said = sqlite.shell.run(probe, OPEN_PATIENCE).await?.err;
            sqlite.gaps.push(Gap::new(
                SIGNAL,
                "the files beside it (-wal, -shm) may not be used: what was not yet brought into the file itself is not seen",
                "run this as the user of the service, or PRAGMA wal_checkpoint(TRUNCATE) first",
            ));
        }
        if said.trim().is_empty() {
            return Ok(sqlite);
        }
        let said = complaint(&said);
        let hint = if said.contains("locked") || said.contains("busy") {
            "another process is writing it; try again when that is done, or look at a copy"
        } else if said.contains("malformed") || said.contains("not a database") {
            "it is damaged or encrypted; `PRAGMA integrity_check` and `.recover` of sqlite3 say more"
        } else {
            "may this user read it, and the folder that it is in?"
        };
        Err(anyhow!("{said}: {hint}")).with_context(|| format!("could not read {}", sqlite.path.display()))
    }

    /// The file's name, as a URL.
    #[must_use]
    pub fn shown_url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// Plans of the statements, indexes that were proved on a copy, and the state of the file. `most` statements are
    /// looked at. Only reads; the copy is gone afterwards.
    ///
    /// # Errors
    /// The schema cannot be read.
    pub async fn look(&self, workload: &Workload, most: usize, tell: &mut dyn FnMut(&str)) -> Result<Look> {
        let shown = || format!("could not read {}", self.path.display());
        tell("reading the schema");
        let contents = schema::read(&self.shell, self.bytes).await.with_context(shown)?;
        let mut look = Look {
            version: self.version.clone(),
            file_bytes: self.bytes,
            tables: contents.schema.len(),
            gaps: self.gaps.clone(),
            ..Look::default()
        };
        health::look(self, &contents, &mut look).await;
        advise(self, &contents, workload, most, &mut look, tell).await;
        health::foreign_keys(self, &contents, &mut look).await;
        look.gaps.sort();
        look.gaps.dedup();
        Ok(look)
    }
}

/// The path of a URL. `sqlite:///a/b` is a path from the root if such a file is there, and as object mappers have it
/// from here otherwise; parameters are passed over.
fn path(url: &str) -> Result<PathBuf> {
    let rest = url.split_once(':').map_or(url, |(_, rest)| rest);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    if rest.is_empty() || rest.contains(":memory:") || rest.contains("mode=memory") {
        bail!(
            "`{url}` names no file; expected sqlite:path (a database in memory is seen by its own process only)"
        );
    }
    let mut tries = vec![rest.to_owned()];
    tries.extend(rest.split_once('?').map(|(path, _)| path.to_owned()));
    let relative: Vec<String> = tries.iter().filter_map(|t| Some(t.strip_prefix('/')?.to_owned())).collect();
    tries.extend(relative);
    let found =
        tries.iter().find(|t| Path::new(t).exists()).or_else(|| tries.get(usize::from(tries.len() > 2)));
    Ok(PathBuf::from(found.map_or(rest, String::as_str)))
}

/// Reads the header and compares it with the file.
async fn header(path: &Path) -> Result<(Header, u64)> {
    let shown = path.display();
    let mut file = tokio::fs::File::open(path).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("there is no file {shown}"),
        ErrorKind::PermissionDenied => {
            anyhow!("{shown} may not be read: run this as the user of the service")
        }
        _ => anyhow!("could not open {shown}: {error}"),
    })?;
    let about = file.metadata().await.with_context(|| format!("could not look at {shown}"))?;
    if !about.is_file() {
        bail!("{shown} is no file; expected sqlite:path of a database");
    }
    if about.len() == 0 {
        bail!("{shown} is empty: no table was ever made in it");
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    (&mut file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut bytes)
        .await
        .with_context(|| format!("could not read {shown}"))?;
    let Some(header) = Header::read(&bytes) else {
        bail!("{shown} is no SQLite database, or an encrypted one: it does not begin with `SQLite format 3`");
    };
    let expected = header.page_bytes.saturating_mul(header.pages);
    if about.len() < expected.max(header.page_bytes) {
        bail!(
            "{shown} is cut off: it has {} bytes of the {} that its header tells; take a whole copy (`.backup` of sqlite3, not cp while it is written), or `.recover` it",
            about.len(),
            expected.max(header.page_bytes)
        );
    }
    Ok((header, about.len()))
}

impl Header {
    /// `None`: not a database. Layout: sqlite.org/fileformat2.html.
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return None;
        }
        let four = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let page = u64::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let page_bytes = if page == 1 { 65_536 } else { page };
        let wal = bytes[18] == 2;
        // The count holds only if it was written with the last change; with a log beside it the file may be shorter.
        let holds = four(24) == four(92) && !wal;
        let pages = if holds { u64::from(four(28)) } else { 0 };
        (page_bytes >= 512 && page_bytes.is_power_of_two()).then_some(Self { page_bytes, pages, wal })
    }
}

#[cfg(test)]
mod tests {
    use super::{Header, Sqlite, path};
    use std::path::Path;

    #[test]
    fn headers_are_read() {
        let mut bytes = vec![0_u8; 100];
        bytes[..16].copy_from_slice(b"SQLite format 3\0");
        assert_eq!(Header::read(&bytes), None, "a page of no bytes");
        bytes[16] = 0x10;
        bytes[31] = 9;
        let header = Header { page_bytes: 4096, pages: 9, wal: false };
        assert_eq!(Header::read(&bytes), Some(header));
        bytes[18] = 2;
        assert_eq!(Header::read(&bytes), Some(Header { pages: 0, wal: true, ..header }));
        bytes[16..18].copy_from_slice(&[0, 1]);
        assert_eq!(Header::read(&bytes).unwrap().page_bytes, 65_536);
        assert_eq!(Header::read(&bytes[..99]), None);
    }

    #[test]
    fn urls_of_object_mappers_name_the_file() {
        for url in
            ["sqlite:a/b.db", "sqlite://a/b.db", "sqlite+aiosqlite:///a/b.db?timeout=5", "sqlite3:a/b.db"]
        {
            assert!(Sqlite::is_meant(url), "{url}");
            let found = path(url).unwrap();
            assert!(found.to_string_lossy().trim_start_matches('/').starts_with("a/b.db"), "{url} {found:?}");
        }
        assert_eq!(path("sqlite:///dev/null").unwrap(), Path::new("/dev/null"));
        assert!(path("sqlite::memory:").is_err() && path("sqlite:").is_err());
        assert!(!Sqlite::is_meant("postgres://h/sqlite") && !Sqlite::is_meant("sqlite"));
    }
}
