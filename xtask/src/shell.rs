//! The one place of xtask that starts processes and reads its surroundings (arguments, environment,
//! PATH). Children inherit the terminal unless their output is asked for. No shell is ever involved.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a chore ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The question was answered, and the answer is no. Exit code 1.
    No(String),
    /// The question could not be answered. Exit code 2.
    CouldNot(String),
}

/// One child process, not yet started.
pub(crate) struct Tool {
    command: Command,
    shown: String,
}

/// `cargo` with these arguments, at the root of the workspace; the cargo that runs xtask.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Tool {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Tool::at_root(Path::new(&program), "cargo").args(args)
}

/// Any other program of the PATH with these arguments, at the root of the workspace.
pub(crate) fn tool<const N: usize>(program: &str, args: [&str; N]) -> Tool {
    Tool::at_root(Path::new(program), program).args(args)
}

impl Tool {
    #[expect(clippy::disallowed_methods, reason = "xtask starts its processes here, and waits for each")]
    fn at_root(program: &Path, shown: &str) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root());
        Self { command, shown: shown.to_owned() }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        for arg in args {
            self.shown = format!("{} {}", self.shown, arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it to its end. Any exit code but 0 is a no.
    pub(crate) fn run(self) -> Result<(), Stop> {
        let shown = self.shown.clone();
        match self.exit_code()? {
            0 => Ok(()),
            code => Err(Stop::No(format!("`{shown}` ended with exit code {code}"))),
        }
    }

    /// Runs a program that keeps our exit codes (1 no, 2 could not answer) and passes its answer on.
    pub(crate) fn pass_on(self) -> Result<(), Stop> {
        let shown = self.shown.clone();
        match self.exit_code()? {
            0 => Ok(()),
            1 => Err(Stop::No(format!("`{shown}`: the answer is no"))),
            code => Err(Stop::CouldNot(format!("`{shown}` ended with exit code {code}"))),
        }
    }

    /// Runs it to its end and returns what it wrote to standard output, if it ended well; otherwise
    /// what it wrote to standard error is part of the complaint.
    pub(crate) fn output(mut self) -> Result<String, Stop> {
        let output = self.command.stdin(Stdio::null()).output().map_err(|e| not_started(&self.shown, &e))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Stop::CouldNot(format!("`{}` failed: {}", self.shown, said.trim())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// -1 stands for an end by a signal.
    fn exit_code(mut self) -> Result<i32, Stop> {
        let status = self.command.status().map_err(|e| not_started(&self.shown, &e))?;
        Ok(status.code().unwrap_or(-1))
    }
}

fn not_started(shown: &str, error: &std::io::Error) -> Stop {
    Stop::CouldNot(format!("cannot start `{shown}`: {error}"))
}

/// What was typed after `cargo xtask`; bytes that are not UTF-8 become replacement characters.
pub(crate) fn arguments() -> Vec<String> {
    env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect()
}

/// Whether a continuous integration service runs us (`CI=true`, as all of them set it).
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// The root of the workspace. Asked at run time: a target directory can be shared by several clones,
/// so what was true when xtask was compiled may be another clone's root.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The first of these programs that a folder of the PATH holds.
pub(crate) fn find_program(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|dir| dir.join(name)).find(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_answers_no_is_told_from_one_that_could_not_answer() {
        let exit = |code: &str| tool("sh", ["-c"]).args([format!("exit {code}")]);
        assert_eq!(exit("0").pass_on(), Ok(()));
        assert!(matches!(exit("1").pass_on(), Err(Stop::No(_))));
        assert!(matches!(exit("2").pass_on(), Err(Stop::CouldNot(_))));
        assert!(matches!(exit("101").run(), Err(Stop::No(_))));
    }

    #[test]
    fn a_missing_program_is_named() {
        let stop = tool("no-such-program-here", ["--help"]).run().unwrap_err();
        let Stop::CouldNot(why) = stop else { panic!("expected CouldNot, got {stop:?}") };
        assert!(why.contains("no-such-program-here --help"), "{why}");
    }

    #[test]
    fn the_complaint_carries_what_the_program_said() {
        let stop = tool("sh", ["-c", "echo disk full >&2; exit 3"]).output().unwrap_err();
        assert!(matches!(stop, Stop::CouldNot(why) if why.ends_with("disk full")));
    }
}
