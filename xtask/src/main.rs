//! The project's own chores, in plain std so that it builds in seconds: `cargo xtask <chore>`.
//! It knows the workspace from outside only: files, cargo and the system's package manager.

mod ci;
mod figures;
mod provision;
mod say;
mod shell;
mod tidy;

use std::process::ExitCode;

use shell::{Stop, cargo};

const USAGE: &str = "\
usage: cargo xtask <chore>

  ci [--cold]       everything a change must pass, cheapest first
                    (--cold, or CI=true: also measures a cold release build)
  tidy              the rules of docs/STYLE.md that a machine can check
  figures [--cold]  lines, packages in the lock file, size of the release binary
  provision         installs what the tests need and the system lacks (apt-get, as root)
  bless             accepts what the snapshot tests print now as what they expect
  demo [ARGS]       the demo, in release: cargo xtask demo --steps 2
  bench [NAME ...]  benchmarks, in release: cargo xtask bench predictions
";

fn main() -> ExitCode {
    let words = shell::arguments();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::No(why)) => refuse(&why, 1),
        Err(Stop::CouldNot(why)) => refuse(&why, 2),
    }
}

fn run(words: &[&str]) -> Result<(), Stop> {
    match words {
        ["ci"] => ci::run(shell::in_ci()),
        ["ci", "--cold"] => ci::run(true),
        ["tidy"] => tidy::run(),
        ["figures"] => figures::run(false),
        ["figures", "--cold"] => figures::run(true),
        ["provision"] => provision::run(),
        ["bless"] => cargo(["test", "--workspace"]).env("UPDATE_EXPECT", "1").run(),
        ["demo", rest @ ..] => {
            cargo(["run", "--release", "-p", "trimtab", "--", "demo"]).args(rest).pass_on()
        }
        ["bench", rest @ ..] => cargo(["run", "--release", "-p", "bench", "--"]).args(rest).pass_on(),
        ["help" | "--help" | "-h"] => {
            say::text(USAGE);
            Ok(())
        }
        [] => Err(Stop::CouldNot(format!("no chore given\n\n{USAGE}"))),
        [..] => Err(Stop::CouldNot(format!("no such chore: {}\n\n{USAGE}", words.join(" ")))),
    }
}

fn refuse(why: &str, code: u8) -> ExitCode {
    say::complaint(why);
    ExitCode::from(code)
}
