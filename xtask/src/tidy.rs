//! The rules of docs/STYLE.md that a machine can check and that neither rustc nor clippy checks. Each
//! rule is a function from text to violations; only `run` touches the disk. It mends nothing.

mod documents;
mod files;
mod manifest;
mod rust;
mod scan;
pub(crate) mod source;

use std::fmt;

use crate::say;
use crate::shell::{Stop, root};
use source::{Source, list};

/// One place that breaks one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) path: String,
    /// Counted from 1; 1 as well when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Prints every violation as `file:line: message`; files that only grow long are told as a warning.
pub(crate) fn run() -> Result<(), Stop> {
    let sources = list()?;
    for warning in sources.iter().filter_map(files::growing) {
        say::text(&format!("{warning} (warning)"));
    }
    let violations = check(&sources, &root().to_string_lossy());
    for violation in &violations {
        say::text(&violation.to_string());
    }
    match violations.len() {
        0 => {
            say::text(&format!("{} files are tidy", sources.len()));
            Ok(())
        }
        1 => Err(Stop::No("tidy: 1 violation".into())),
        n => Err(Stop::No(format!("tidy: {n} violations"))),
    }
}

/// All rules over all files, sorted by place. `root` is the work tree's own path, which no file may name.
fn check(sources: &[Source], root: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        found.extend(files::check(source, root));
        if source.is_testdata() {
            continue;
        }
        if source.is_rust() {
            found.extend(rust::check(source));
        } else if source.path.ends_with("/Cargo.toml") {
            found.extend(manifest::check(source));
        }
    }
    found.extend(documents::check(sources));
    found.sort();
    found
}

/// Runs one rule over a small text and tells what it found, a line each.
#[cfg(test)]
fn told(found: impl IntoIterator<Item = Violation>) -> String {
    let lines: Vec<String> = found.into_iter().map(|violation| violation.to_string()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_come_sorted_and_name_file_and_line() {
        let sources = [
            Source::new("crates/verify/src/z.rs", "fn z() {}\n"),
            Source::new("crates/verify/src/a.rs", "//! A.\nuse tokio::net;\n"),
            Source::new("README.md", ""),
            Source::new("CHANGELOG.md", "## Unreleased\n"),
        ];
        let text = told(check(&sources, "/somewhere/else"));
        let code: Vec<&str> = text.lines().filter(|line| line.starts_with("crates/")).collect();
        assert_eq!(code.len(), 2, "{text}");
        assert!(code[0].starts_with("crates/verify/src/a.rs:2: "), "{text}");
        assert!(code[1].starts_with("crates/verify/src/z.rs:1: "), "{text}");
    }

    #[test]
    fn recorded_input_is_judged_by_its_size_alone() {
        let sources = [Source::new("crates/load/testdata/odd.rs", "todo!() \n\tx ")];
        let text = told(check(&sources, "/somewhere/else"));
        assert!(!text.contains("odd.rs"), "{text}");
    }
}
