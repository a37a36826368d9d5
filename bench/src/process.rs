//! The one place that starts processes: helpers that are measured from outside by /proc and spoken to in lines.
//! Each ends when its owner drops it.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

/// Linux counts CPU time for user space in hundredths of a second (USER_HZ) on every platform we build for.
const TICKS_PER_S: f64 = 100.0;
/// Bytes of a failed program's words that an error shows.
const SHOWN_CHARS: usize = 2000;

/// A running helper.
pub(crate) struct Helper {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Helper {
    /// This program again, with other words.
    pub(crate) fn this<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Result<Self> {
        let program = std::env::current_exe().context("could not find this program's own file")?;
        Self::start(&program, words)
    }

    pub(crate) fn start<S: AsRef<OsStr>>(program: &Path, words: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut child = command(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("no output of the helper")?);
        Ok(Self { child, stdin, stdout })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        let bytes = self.stdout.read_line(&mut line).context("could not read from a helper")?;
        ensure!(bytes > 0, "a helper ended early; its words are above");
        Ok(line.trim().to_owned())
    }

    /// Tells it a line.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the helper does not listen")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).context("could not speak to a helper")
    }

    /// CPU-seconds that it used so far, all its threads, user and system.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        parse_cpu_s(&stat).with_context(|| format!("no CPU time in {path}"))
    }

    /// Bytes in memory: now (`VmRSS`) and at most (`VmHWM`).
    pub(crate) fn resident_bytes(&self) -> Result<(f64, f64)> {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        let field = |name| parse_kib(&status, name).with_context(|| format!("no {name} in {path}"));
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// In a helper: the next line that it is told; `None` when its owner is gone.
pub(crate) async fn told() -> Result<Option<String>> {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose());
    line.await.context("could not listen")?.context("could not read standard input")
}

/// Runs a program to its end and returns what it said; its standard error passes through.
pub(crate) fn run<S: AsRef<OsStr>>(program: &Path, words: impl IntoIterator<Item = S>) -> Result<Output> {
    command(program)
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not start {}", program.display()))
}

/// Runs a program that must end well, silently.
pub(crate) fn run_quietly<S: AsRef<OsStr>>(
    program: &Path,
    words: impl IntoIterator<Item = S>,
) -> Result<String> {
    let output = command(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start {}", program.display()))?;
    let said: String = String::from_utf8_lossy(&output.stderr).chars().take(SHOWN_CHARS).collect();
    ensure!(output.status.success(), "{} failed: {}", program.display(), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// CPU-seconds of all programs that this one started and that have ended.
pub(crate) fn cpu_s_of_ended() -> Option<f64> {
    parse_ended_cpu_s(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

#[expect(clippy::disallowed_methods, reason = "this is the module that starts processes")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

/// Fields 14 and 15 of proc_pid_stat(5).
fn parse_cpu_s(stat: &str) -> Option<f64> {
    seconds_at(stat, 14)
}

/// Fields 16 and 17: those of ended children.
fn parse_ended_cpu_s(stat: &str) -> Option<f64> {
    seconds_at(stat, 16)
}

/// The sum of a field and the next, counted behind the program's name.
fn seconds_at(stat: &str, field: usize) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(field - 3);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_S)
}

fn parse_kib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_program_name() {
        let stat = "42 (a) b) R 1 2 3 4 5 6 7 8 9 10 150 50 3000 4000 20 0 1";
        assert_eq!(parse_cpu_s(stat), Some(2.0));
        assert_eq!(parse_ended_cpu_s(stat), Some(70.0));
        assert_eq!(parse_cpu_s("42 (bench) R 1 2"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(parse_kib("VmPeak:\t 9 kB\nVmRSS:\t    2 kB\n", "VmRSS:"), Some(2048.0));
        assert_eq!(parse_kib("VmPeak:\t 9 kB\n", "VmRSS:"), None);
    }
}
