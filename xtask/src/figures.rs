//! The figures that grow unnoticed: lines of Rust, packages in the lock file, the release binary and
//! what a cold build of it costs. The number of packages has a limit, the cost of a cold build a goal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::say;
use crate::shell::{Stop, cargo, root, target_dir};
use crate::tidy::source::{Source, list};

/// The product, whose release build is measured.
const PROGRAM: &str = "trimtab";
/// Packages in Cargo.lock stay below this. The loop alone took 300; k6 scripts with TypeScript and the profiler the rest.
const LOCK_PACKAGES_LIMIT: usize = 380;
/// CPU-seconds of a cold release build of the product should stay below this.
const COLD_BUILD_LIMIT_S: u64 = 720;
/// Linux counts CPU time for user space in hundredths of a second (USER_HZ) on every platform we build for.
const TICKS_PER_S: u64 = 100;

/// Prints the figures; `cold` builds the product from nothing to measure what that costs.
pub(crate) fn run(cold: bool) -> Result<(), Stop> {
    say::text(&lines_table(&list()?));
    let lock = fs::read_to_string(root().join("Cargo.lock"))
        .map_err(|e| Stop::CouldNot(format!("cannot read Cargo.lock: {e}")))?;
    let packages = packages(&lock);
    say::text(&format!("packages in Cargo.lock: {packages}, limit {LOCK_PACKAGES_LIMIT}"));

    let mut broken = Vec::new();
    if packages >= LOCK_PACKAGES_LIMIT {
        broken.push(format!("{packages} packages in Cargo.lock, the limit is {LOCK_PACKAGES_LIMIT}"));
    }
    if cold {
        let cpu_s = cold_build()?;
        // CPU time on a shared machine is noisy by a tenth and more: told, not refused.
        if cpu_s >= COLD_BUILD_LIMIT_S {
            say::text(&format!("warning: {cpu_s} CPU-seconds are above the goal of {COLD_BUILD_LIMIT_S}"));
        }
    } else {
        say_size(&target_dir().join("release").join(PROGRAM));
    }
    if broken.is_empty() { Ok(()) } else { Err(Stop::No(broken.join("; "))) }
}

/// Builds the product in a target directory of its own, deleted at the end; returns CPU-seconds.
fn cold_build() -> Result<u64, Stop> {
    let fresh = Fresh(target_dir().join(format!("cold-{}", std::process::id())));
    let before = children_ticks()?;
    cargo(["build", "--release", "-q", "-p", PROGRAM, "--target-dir"])
        .args([&fresh.0])
        .without_env("RUSTC_WRAPPER")
        .run()?;
    let cpu_s = (children_ticks()? - before) / TICKS_PER_S;
    say::text(&format!(
        "cold release build of {PROGRAM}: {} min {:02} s of CPU, limit {} min",
        cpu_s / 60,
        cpu_s % 60,
        COLD_BUILD_LIMIT_S / 60
    ));
    say_size(&fresh.0.join("release").join(PROGRAM));
    Ok(cpu_s)
}

/// A directory that is removed with everything in it, whichever way the build ends.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = fs::remove_dir_all(&self.0)
        {
            say::complaint(&format!("{} is left behind: {error}", self.0.display()));
        }
    }
}

fn say_size(binary: &Path) {
    match fs::metadata(binary) {
        Ok(file) => say::text(&format!("release binary: {:.1} MB", file.len() as f64 / 1e6)),
        Err(_) => say::text("release binary: not built here, `cargo xtask figures --cold` builds one"),
    }
}

/// User and system time of all children waited for so far, and of theirs.
fn children_ticks() -> Result<u64, Stop> {
    let stat = fs::read_to_string("/proc/self/stat")
        .map_err(|e| Stop::CouldNot(format!("cannot read /proc/self/stat, CPU time needs Linux: {e}")))?;
    parse_children_ticks(&stat)
        .ok_or_else(|| Stop::CouldNot(format!("cannot read cutime and cstime from /proc/self/stat: {stat}")))
}

/// Fields 16 and 17 of proc_pid_stat(5). Field 2 is the program's name in parentheses and may hold
/// anything, so counting starts behind the last parenthesis, at field 3.
fn parse_children_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(16 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn packages(lock: &str) -> usize {
    lock.lines().filter(|line| *line == "[[package]]").count()
}

/// Lines that are not blank, of the shipped code and of its tests, for each package of the workspace.
fn lines_table(files: &[Source]) -> String {
    let mut table: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let (code, tests) = file.code_and_tests();
        let row = table.entry(file.package()).or_default();
        row.0 += filled(code);
        row.1 += filled(tests);
    }
    let mut text = format!("{:<20}{:>8}{:>8}\n", "lines of Rust", "code", "tests");
    let mut sum = (0, 0);
    for (package, (code, tests)) in table {
        text += &format!("{package:<20}{code:>8}{tests:>8}\n");
        sum = (sum.0 + code, sum.1 + tests);
    }
    text + &format!("{:<20}{:>8}{:>8}", "together", sum.0, sum.1)
}

fn filled(text: &str) -> usize {
    text.lines().filter(|line| !line.trim().is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_times_are_found_behind_any_program_name() {
        let stat = "42 (a) b) c) R 1 2 3 4 5 6 7 8 9 10 111 222 3000 4000 20 0 1";
        assert_eq!(parse_children_ticks(stat), Some(7000));
        assert_eq!(parse_children_ticks("42 (xtask) R 1 2"), None);
        assert_eq!(parse_children_ticks(""), None);
    }

    #[test]
    fn a_child_that_computes_is_counted() {
        let before = children_ticks().unwrap();
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        crate::shell::tool("sh", ["-c", busy]).run().unwrap();
        assert!(children_ticks().unwrap() > before);
    }

    #[test]
    fn only_package_headers_count() {
        assert_eq!(packages("version = 4\n\n[[package]]\nname = \"a\"\n\n[[package]]\nname = \"b\"\n"), 2);
    }

    #[test]
    fn tests_are_counted_apart_from_code() {
        let files = [
            Source::new("crates/load/src/lib.rs", "//! Load.\n\nfn a() {}\n#[cfg(test)]\nmod tests {\n}\n"),
            Source::new("crates/load/tests/all.rs", "//! All.\nfn b() {}\n"),
            Source::new("README.md", "# x\n"),
        ];
        let table = lines_table(&files);
        let row = table.lines().find(|line| line.starts_with("crates/load")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["crates/load", "2", "5"]);
        assert!(!table.contains("README"), "{table}");
    }
}
