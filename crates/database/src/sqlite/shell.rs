//! Starts `sqlite3` and ends it. One script, one process, one answer; what it prints is bounded in size and time.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Of one answer.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Of what it complains about.
const MAX_COMPLAINT_BYTES: usize = 64 << 10;
/// How long it waits for a writer, in milliseconds.
const BUSY_MS: u32 = 2_000;
/// The first version with a safe mode and JSON.
const OLDEST: (u32, u32) = (3, 37);

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    ReadOnly,
    /// Read-only, and nobody else writes: no lock is taken and no file beside it is looked at.
    Immutable,
    /// For copies of our own.
    Writable,
}

/// What a script printed.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) out: String,
    /// Complaints, a line each.
    pub(super) err: String,
}

/// A file and how it is opened.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    path: PathBuf,
    mode: Mode,
}

impl Shell {
    pub(super) fn new(path: &Path, mode: Mode) -> Self {
        Self { path: path.to_owned(), mode }
    }

    /// The version of the tool.
    ///
    /// # Errors
    /// It is missing or too old.
    pub(super) async fn version() -> Result<String> {
        let mut command = command();
        command.arg("--version");
        let answer = ended(command, "", Duration::from_secs(5)).await?;
        let version = answer.out.split_whitespace().next().unwrap_or_default().to_owned();
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found < OLDEST {
            let (major, minor) = OLDEST;
            bail!("sqlite3 is of version `{version}`; {major}.{minor} or newer is needed");
        }
        Ok(version)
    }

    /// Runs a script in safe mode: it may not touch other files, nor start programs. Statements that fail are complained
    /// about, those after them run all the same.
    ///
    /// # Errors
    /// The tool cannot be started, takes longer than `patience`, or prints too much.
    pub(super) async fn run(&self, script: &str, patience: Duration) -> Result<Answer> {
        let mut command = command();
        command.args(["-batch", "-safe", "-init", "/dev/null"]);
        if self.mode != Mode::Writable {
            command.arg("-readonly");
        }
        command.arg(self.address());
        let script = format!(".timeout {BUSY_MS}\n.explain off\n.mode json\n{script}\n");
        let mut answer = ended(command, &script, patience).await?;
        answer.err = without_display(&answer.err);
        Ok(answer)
    }

    /// The rows of one query.
    ///
    /// # Errors
    /// As [`Shell::run`], or the query fails.
    pub(super) async fn rows(&self, query: &str, patience: Duration) -> Result<Vec<Value>> {
        let answer = self.run(&format!("{query};"), patience).await?;
        if !answer.err.trim().is_empty() {
            return Err(anyhow!(complaint(&answer.err)));
        }
        Ok(answer.tables().pop().unwrap_or_default())
    }

    /// Copies the file, page by page and consistent, to a path without odd characters.
    ///
    /// # Errors
    /// As [`Shell::run`], or the copy fails.
    pub(super) async fn back_up(&self, to: &Path, patience: Duration) -> Result<()> {
        let mut command = command();
        command.args(["-batch", "-init", "/dev/null", "-readonly"]);
        command.arg(self.address());
        let script = format!(".timeout {BUSY_MS}\n.backup main '{}'\n", to.display());
        let answer = ended(command, &script, patience).await?;
        if !answer.err.trim().is_empty() {
            bail!(complaint(&answer.err));
        }
        Ok(())
    }

    /// `file:...?mode=ro`, with everything odd in the path as `%xx`.
    fn address(&self) -> String {
        use std::os::unix::ffi::OsStrExt;
        let mut address = String::from("file:");
        for byte in self.path.as_os_str().as_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                    address.push(char::from(*byte))
                }
                _ => address.push_str(&format!("%{byte:02x}")),
            }
        }
        address.push_str(match self.mode {
            Mode::ReadOnly => "?mode=ro",
            Mode::Immutable => "?mode=ro&immutable=1",
            Mode::Writable => "?mode=rw",
        });
        address
    }
}

impl Answer {
    /// One for each query that gave rows, in order.
    pub(super) fn tables(&self) -> Vec<Vec<Value>> {
        let parsed = serde_json::Deserializer::from_str(&self.out).into_iter::<Value>();
        parsed
            .map_while(Result::ok)
            .filter_map(|value| if let Value::Array(rows) = value { Some(rows) } else { None })
            .collect()
    }
}

/// The first complaint, without where in our script it was.
pub(super) fn complaint(err: &str) -> String {
    let line = err.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let told = ["Parse error", "Runtime error", "Error"].iter().find_map(|head| line.strip_prefix(head));
    let told = told.map_or(line, |rest| rest.split_once(": ").map_or(rest, |(_, text)| text));
    told.trim_start_matches("in prepare, ").trim_start_matches("stepping, ").to_owned()
}

/// Without complaints about what is printed how: an older tool counts no rows or steps, and all else is well.
fn without_display(err: &str) -> String {
    let of_display = ["mode should be one of", "Not a boolean value"];
    let others = err.lines().filter(|line| !of_display.iter().any(|what| line.contains(what)));
    others.collect::<Vec<_>>().join("\n")
}

fn command() -> Command {
    let mut command = Command::new("sqlite3");
    command.env_remove("SQLITE_HISTORY").env_remove("SQLITE_TMPDIR").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn ended(mut command: Command, script: &str, patience: Duration) -> Result<Answer> {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "the program sqlite3 is not installed; it reads SQLite files for Trimtab: apt-get install sqlite3, or brew install sqlite"
        ),
        Err(error) => return Err(error).context("could not start sqlite3"),
    };
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let talk = async {
        let write = async {
            if let Some(mut input) = input {
                // It may end before it has read all: what it printed tells why.
                drop(input.write_all(script.as_bytes()).await);
            }
        };
        let (out, err, ()) =
            tokio::join!(bounded(out, MAX_ANSWER_BYTES), bounded(err, MAX_COMPLAINT_BYTES), write);
        let (out, err) = (out?, err?);
        child.wait().await.context("sqlite3 did not end")?;
        anyhow::Ok(Answer { out, err })
    };
    // Dropped, the child is killed.
    timeout(patience, talk).await.map_err(|_| anyhow!("sqlite3 took longer than {} s", patience.as_secs()))?
}

async fn bounded(from: Option<impl AsyncRead + Unpin>, most: usize) -> Result<String> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(most as u64 + 1)
            .read_to_end(&mut bytes)
            .await
            .context("could not read what sqlite3 printed")?;
    }
    if bytes.len() > most {
        bail!("sqlite3 printed more than {} MiB", most >> 20);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Answer, Mode, Shell, complaint, without_display};
    use std::path::Path;
    use std::time::Duration;

    /// Processes that were started with this file.
    fn running(path: &Path) -> usize {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let of_it = |entry: std::io::Result<std::fs::DirEntry>| {
            let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&name)
        };
        std::fs::read_dir("/proc").unwrap().map(of_it).filter(|is| *is).count()
    }

    #[tokio::test]
    async fn a_query_without_end_is_stopped_by_its_time_limit_and_its_process_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("endless-of-trimtab.db");
        std::fs::write(&path, []).unwrap();
        let shell = Shell::new(&path, Mode::Writable);
        let endless =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let error = shell.rows(endless, Duration::from_secs(1)).await.unwrap_err().to_string();
        assert_eq!(error, "sqlite3 took longer than 1 s");
        while running(&path) > 0 {
            tokio::task::yield_now().await;
        }
        // The next question is answered.
        assert_eq!(shell.rows("SELECT 7 AS n", Duration::from_secs(20)).await.unwrap()[0]["n"], 7);
    }

    #[test]
    fn odd_paths_are_escaped() {
        let shell = Shell::new(Path::new("/a b/ö?mode=rw#.db"), Mode::ReadOnly);
        assert_eq!(shell.address(), "file:/a%20b/%c3%b6%3fmode%3drw%23.db?mode=ro");
    }

    #[test]
    fn complaints_lose_our_place() {
        assert_eq!(complaint("Parse error near line 12: no such table: nix\n  select"), "no such table: nix");
        assert_eq!(
            complaint("Error: in prepare, file is not a database (26)"),
            "file is not a database (26)"
        );
        assert_eq!(complaint("Runtime error near line 4: database is locked (5)"), "database is locked (5)");
        assert_eq!(complaint(""), "");
    }

    #[test]
    fn an_older_tool_is_forgiven_what_it_cannot_print() {
        let err = "Error: mode should be one of: ascii box csv\nERROR: Not a boolean value: \"vmstep\". Assuming \"no\".\n";
        assert_eq!(without_display(err), "");
        assert_eq!(without_display("Error: database is locked (5)\n"), "Error: database is locked (5)");
    }

    #[test]
    fn an_answer_that_is_cut_off_gives_what_is_whole() {
        let answer = Answer { out: "[{\"a\":1}]\n[{\"a\":2},\n{\"a\"".to_owned(), err: String::new() };
        assert_eq!(answer.tables().len(), 1);
    }
}
