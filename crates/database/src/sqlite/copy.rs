//! A private copy of the file, gone when it is dropped: indexes are made and statements executed there.

use super::shell::{Mode, Shell, complaint};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Larger files are not copied.
pub(super) const MAX_COPY_BYTES: u64 = 1 << 30;
/// The copy and its new indexes want so many times the file's size.
const ROOM: u64 = 2;
const COPY_PATIENCE: Duration = Duration::from_secs(120);
/// Making one index.
const BUILD_PATIENCE: Duration = Duration::from_secs(60);
/// All executions of one statement.
pub(super) const RUN_PATIENCE: Duration = Duration::from_secs(30);
/// What the first answer takes: to have its pages in memory, for the clock, and to count steps.
pub(super) const FIRST_EXECUTIONS: f64 = 3.0;
/// A statement is executed as often as fits into this, after the first.
const REPEAT_MS: f64 = 200.0;
const MAX_REPEATS: f64 = 50.0;
const DAY_MS: f64 = 86_400_000.0;

pub(super) struct Copy {
    shell: Shell,
    _folder: TempDir,
}

/// One statement, executed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Timed {
    /// Mean of several executions, the file's pages in memory.
    pub(super) ms: f64,
    /// Instructions of SQLite's virtual machine: the same for every execution. 0 where the tool does not tell.
    pub(super) steps: f64,
    pub(super) rows: u64,
}

impl Copy {
    /// # Errors
    /// It is too large, there is no room, or it cannot be read.
    pub(super) async fn of(source: &Shell, file: &Path) -> Result<Self> {
        let bytes = tokio::fs::metadata(file).await.map_or(0, |m| m.len());
        let wal = tokio::fs::metadata(beside(file, "-wal")).await.map_or(0, |m| m.len());
        let bytes = bytes + wal;
        if bytes > MAX_COPY_BYTES {
            bail!("it has {} MiB; files above {} MiB are not copied", bytes >> 20, MAX_COPY_BYTES >> 20);
        }
        let folder =
            tempfile::Builder::new().prefix("trimtab-sqlite-").tempdir().context("no temporary folder")?;
        let room = rustix::fs::statvfs(folder.path()).context("could not look at the free space")?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < bytes.saturating_mul(ROOM) {
            let (path, need) =
                (folder.path().parent().unwrap_or(folder.path()).display(), (bytes * ROOM) >> 20);
            bail!("{path} has {} MiB free, {need} are needed; TMPDIR names another folder", free >> 20);
        }
        let path = folder.path().join("copy.db");
        if path.to_string_lossy().contains(['\'', '\n']) {
            bail!("the temporary folder has an odd name; TMPDIR names another");
        }
        source.back_up(&path, COPY_PATIENCE).await.context("could not copy it")?;
        Ok(Self { shell: Shell::new(&path, Mode::Writable), _folder: folder })
    }

    pub(super) fn shell(&self) -> &Shell {
        &self.shell
    }

    /// Runs a change of the schema.
    ///
    /// # Errors
    /// It failed or took too long.
    pub(super) async fn execute(&self, sql: &str) -> Result<()> {
        let script = format!("PRAGMA synchronous = OFF;\n{sql};");
        let answer = self.shell.run(&script, BUILD_PATIENCE).await?;
        if answer.err.trim().is_empty() { Ok(()) } else { Err(anyhow!(complaint(&answer.err))) }
    }

    /// Bytes of the pages that are in use.
    pub(super) async fn used_bytes(&self) -> u64 {
        let sql = "SELECT (c.page_count - f.freelist_count) * s.page_size AS n
                     FROM pragma_page_count c, pragma_freelist_count f, pragma_page_size s";
        let rows = self.shell.rows(sql, RUN_PATIENCE).await.unwrap_or_default();
        rows.first().map_or(0, |row| super::schema::number(row, "n") as u64)
    }

    /// Executes a statement several times; one that writes is rolled back each time.
    ///
    /// # Errors
    /// It fails, or takes too long.
    pub(super) async fn time(&self, statement: &str, writes: bool) -> Result<Timed> {
        let once = self.times(statement, writes, 1).await?;
        let repeats = (REPEAT_MS / once.ms.max(0.1)).clamp(1.0, MAX_REPEATS);
        if repeats < 2.0 {
            return Ok(once);
        }
        self.times(statement, writes, repeats as usize).await
    }

    async fn times(&self, statement: &str, writes: bool, repeats: usize) -> Result<Timed> {
        let one =
            if writes { format!("BEGIN;\n{statement}\n;\nROLLBACK;\n") } else { format!("{statement}\n;\n") };
        let mark = ".mode json\nSELECT julianday('now') AS trimtab_at;\n.mode count\n";
        let script = format!(
            "PRAGMA synchronous = OFF;\n.mode count\n{one}{mark}{}{mark}BEGIN;\n.stats vmstep\n{statement}\n;\n.stats off\nROLLBACK;",
            one.repeat(repeats)
        );
        let answer = self.shell.run(&script, RUN_PATIENCE).await?;
        if !answer.err.trim().is_empty() {
            bail!(complaint(&answer.err));
        }
        Ok(read(&answer.out, repeats))
    }
}

/// What the script of [`Copy::times`] printed.
fn read(out: &str, repeats: usize) -> Timed {
    let mut timed = Timed::default();
    let mut marks = Vec::new();
    for line in out.lines() {
        if let Some(steps) = line.strip_prefix("VM-steps:") {
            timed.steps = steps.trim().parse().unwrap_or(0.0);
        } else if let Some(rows) = line.strip_suffix(" rows").or_else(|| line.strip_suffix(" row")) {
            timed.rows = rows.trim().parse().unwrap_or(timed.rows);
        } else if line.contains("\"trimtab_at\"") {
            let parsed = serde_json::from_str::<Vec<Value>>(line).ok();
            marks.extend(parsed.and_then(|rows| rows.first()?.get("trimtab_at")?.as_f64()));
        }
    }
    if let [from, to] = marks[..] {
        timed.ms = ((to - from) * DAY_MS / repeats.max(1) as f64).max(0.0);
    }
    timed
}

/// The file that SQLite keeps beside it.
pub(super) fn beside(file: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn marks_steps_and_rows_are_read() {
        let out = "50 rows\n[{\"trimtab_at\":2461367.8}]\n50 rows\n50 rows\n[{\"trimtab_at\":2461367.800000116}]\n\
                   50 rows\nVM-steps: 150207\n";
        let timed = read(out, 2);
        assert!((timed.ms - 5.0).abs() < 0.1, "{timed:?}");
        assert!(timed.rows == 50 && (timed.steps - 150_207.0).abs() < 0.5, "{timed:?}");
        assert!(read("nothing\n[{\"trimtab_at\":\"x\"}]\n-3 rows", 0).ms < 0.001);
    }
}
