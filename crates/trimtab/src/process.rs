//! The one place that starts other programs, and ends them: each in a process group of its own, so that Ctrl-C reaches
//! Trimtab alone and the order of ending is ours.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// From the polite signal to the final one.
const GRACE: Duration = Duration::from_secs(5);
/// From one look whether a group has ended to the next.
const GROUP_POLL: Duration = Duration::from_millis(20);
/// Bytes of an ended program's standard error that an error message shows.
const SHOWN_BYTES: usize = 2000;

/// A program that we started; ended with its whole group when this is dropped.
pub struct Running {
    child: Child,
    group: Option<Pid>,
    name: String,
    /// Held open as long as we live: a child that watches its standard input ends with us, however we end.
    _stdin: Option<ChildStdin>,
}

/// Where the standard output of a started program goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdout {
    Discarded,
    /// It stays that of Trimtab.
    Inherited,
    /// Its first line is awaited and returned.
    FirstLine,
}

impl Running {
    /// Starts `command` with extra environment variables. With [`Stdout::FirstLine`] waits up to `patience` for the
    /// first line and returns it.
    ///
    /// # Errors
    /// The program cannot be started, or ends or stays silent before its first line.
    pub async fn start(
        command: &[String],
        environment: &[(String, String)],
        stdout: Stdout,
        patience: Duration,
    ) -> Result<(Self, String)> {
        let (program, arguments) = command.split_first().context("the command to start is empty")?;
        let wants_line = stdout == Stdout::FirstLine;
        let mut child = self::command(program)
            .args(arguments)
            .envs(environment.iter().map(|(k, v)| (k.as_str(), v.as_str())))
            .stdin(if wants_line { Stdio::piped() } else { Stdio::null() })
            .stdout(match stdout {
                Stdout::Discarded => Stdio::null(),
                Stdout::Inherited => Stdio::inherit(),
                Stdout::FirstLine => Stdio::piped(),
            })
            .stderr(if wants_line { Stdio::piped() } else { Stdio::inherit() })
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start `{program}`"))?;
        let stdin = child.stdin.take();
        let group = group_of(&child);
        let mut running = Self { child, group, name: program.clone(), _stdin: stdin };
        let line = if wants_line { running.first_line(patience).await? } else { String::new() };
        Ok((running, line))
    }

    async fn first_line(&mut self, patience: Duration) -> Result<String> {
        let stdout = self.child.stdout.take().context("no standard output")?;
        let stderr = self.child.stderr.take().context("no standard error")?;
        let mut line = String::new();
        let read = tokio::time::timeout(patience, BufReader::new(stdout).read_line(&mut line)).await;
        match read {
            Ok(Ok(bytes)) if bytes > 0 => {
                // Whoever writes to a closed pipe dies of it: read on and forget.
                tokio::spawn(drain(stderr));
                Ok(line.trim().to_owned())
            }
            Ok(Ok(_)) => {
                let mut said = Vec::new();
                drop(tokio::time::timeout(GRACE, stderr.take(1 << 16).read_to_end(&mut said)).await);
                let said = String::from_utf8_lossy(&said);
                let tail = said.char_indices().rev().nth(SHOWN_BYTES).map_or(0, |(at, _)| at);
                bail!("`{}` ended at its start: {}", self.name, said[tail..].trim())
            }
            Ok(Err(error)) => Err(error).with_context(|| format!("could not read from `{}`", self.name)),
            Err(_) => bail!("`{}` was not ready within {} s", self.name, patience.as_secs()),
        }
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Some(status.to_string()),
            Ok(None) => None,
            Err(error) => Some(error.to_string()),
        }
    }

    /// Asks it and all that it started to end, waits, and insists.
    pub async fn stop(mut self) {
        let deadline = tokio::time::Instant::now() + GRACE;
        signal(self.group, Signal::TERM);
        drop(tokio::time::timeout_at(deadline, self.child.wait()).await);
        // The leader may be gone before those that it started.
        while is_there(self.group) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(GROUP_POLL).await;
        }
        signal(self.group, Signal::KILL);
        drop(self.child.wait().await);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.group, Signal::KILL);
    }
}

/// The process group that a child leads. Its number stays taken while any process is in it.
fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // An error means that the group is gone, which is what we want.
        let _gone_already = kill_process_group(group, signal);
    }
}

fn is_there(group: Option<Pid>) -> bool {
    group.is_some_and(|group| test_kill_process_group(group).is_ok())
}

/// Ends a group when dropped.
struct EndGroup(Option<Pid>);

impl Drop for EndGroup {
    fn drop(&mut self) {
        signal(self.0, Signal::KILL);
    }
}

async fn drain(mut from: impl tokio::io::AsyncRead + Unpin) {
    drop(tokio::io::copy(&mut from, &mut tokio::io::sink()).await);
}

fn command(program: &str) -> Command {
    Command::new(program)
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, fails, or takes longer than `patience`.
pub async fn run_to_end(arguments: &[String], patience: Duration) -> Result<()> {
    let (program, rest) = arguments.split_first().context("the command is empty")?;
    let child = command(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("could not start `{program}`"))?;
    // What it started must not go on applying while the undo runs.
    let _ends_with_us = EndGroup(group_of(&child));
    let output = tokio::time::timeout(patience, child.wait_with_output())
        .await
        .with_context(|| format!("`{program}` did not end within {} s", patience.as_secs()))?
        .with_context(|| format!("could not wait for `{program}`"))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stderr).chars().take(SHOWN_BYTES).collect();
        bail!("`{program}` ended with {}: {}", output.status, said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_program_that_dies_at_its_start_says_why() {
        let started = Running::start(
            &shell("echo no such database >&2; exit 3"),
            &[],
            Stdout::FirstLine,
            Duration::from_secs(10),
        )
        .await;
        let error = started.err().expect("must fail").to_string();
        assert!(error.contains("no such database"), "{error}");
    }

    #[tokio::test]
    async fn stopping_ends_the_whole_group() {
        // The leader ends at once, the one that it started takes no hint.
        let script = "sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $!; wait";
        let (running, line) = Running::start(&shell(script), &[], Stdout::FirstLine, Duration::from_secs(10))
            .await
            .expect("started");
        let grandchild: i32 = line.parse().expect("a process id");
        running.stop().await;
        let pid = Pid::from_raw(grandchild).expect("a process id");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while rustix::process::test_kill_process(pid).is_ok() && !is_zombie(grandchild) {
            assert!(tokio::time::Instant::now() < deadline, "the grandchild outlived its group");
            tokio::task::yield_now().await;
        }
    }

    fn is_zombie(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") Z "))
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let ran = run_to_end(&shell(&script), Duration::from_secs(2)).await;
        assert!(ran.expect_err("too long").to_string().contains("did not end within 2 s"));
        let text = std::fs::read_to_string(&file).expect("it began");
        let grandchild: i32 = text.trim().parse().expect("a process id");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while rustix::process::test_kill_process(Pid::from_raw(grandchild).expect("an id")).is_ok()
            && !is_zombie(grandchild)
        {
            assert!(tokio::time::Instant::now() < deadline, "it outlived its command");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_failing_command_is_an_error_with_its_words() {
        let error =
            run_to_end(&shell("echo denied >&2; exit 1"), Duration::from_secs(10)).await.expect_err("fails");
        assert!(error.to_string().contains("denied"), "{error}");
    }
}
