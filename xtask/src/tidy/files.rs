//! Rules about any file: its size, its length, its white space, and that it names no machine's paths.

use super::Violation;
use super::rust::{MARKS, names, numbered};
use super::source::Source;

const SIZE_LIMIT_BYTES: u64 = 200 * 1024;
/// Code is questioned at this many lines and refused above the second figure.
const LENGTH_WARNING: usize = 500;
const LENGTH_LIMIT: usize = 800;

/// Files under `testdata/` that may be larger than the limit, each with its reason.
const LARGE: &[(&str, &str)] = &[
    ("testdata/traces/online-boutique/fault-01.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-02.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-03.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-04.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-05.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-06.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-07.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-08.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-09.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-10.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-11.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/fault-12.jsonl.gz", BOUTIQUE),
    ("testdata/traces/online-boutique/healthy.jsonl.gz", BOUTIQUE),
];
const BOUTIQUE: &str = "real traces with injected faults, published compressed";
/// Code that may be longer than the limit, each with its reason. A table may be long, logic may not.
const LONG: &[(&str, &str)] = &[];

/// Files that people write line by line.
const CODE_ENDINGS: &[&str] = &[".rs", ".ts", ".tsx", ".js", ".mjs", ".css", ".py", ".sh", ".sql"];

/// Where people and machines keep their work trees.
const PRIVATE_FOLDERS: &[&str] = &["/home", "/Users", "/root", "/work"];

/// `root` is the work tree's own path.
pub(super) fn check(source: &Source, root: &str) -> Vec<Violation> {
    let mut found: Vec<Violation> =
        [size(source, LARGE), length(source, LONG)].into_iter().flatten().collect();
    found.extend(own_path(source, root));
    if !source.is_testdata() {
        found.extend(white_space(source));
        found.extend(private_paths(source));
        found.extend(marks(source));
    }
    found
}

/// Code on its way to the limit.
pub(super) fn growing(source: &Source) -> Option<Violation> {
    let lines = code_lines(source)?;
    (LENGTH_WARNING < lines && lines <= LENGTH_LIMIT)
        .then(|| source.violation(lines, format!("{lines} lines, questioned above {LENGTH_WARNING}")))
}

fn size(source: &Source, listed: &[(&str, &str)]) -> Option<Violation> {
    let excused = source.is_testdata() && listed.iter().any(|(path, _)| *path == source.path);
    (source.bytes > SIZE_LIMIT_BYTES && !excused).then(|| {
        source.violation(
            1,
            format!("{} KiB, the limit is {} KiB", source.bytes / 1024, SIZE_LIMIT_BYTES / 1024),
        )
    })
}

fn length(source: &Source, listed: &[(&str, &str)]) -> Option<Violation> {
    let lines = code_lines(source)?;
    let excused = listed.iter().any(|(path, _)| *path == source.path);
    (lines > LENGTH_LIMIT && !excused)
        .then(|| source.violation(lines, format!("{lines} lines, the limit is {LENGTH_LIMIT}")))
}

fn code_lines(source: &Source) -> Option<usize> {
    let code = CODE_ENDINGS.iter().any(|ending| source.path.ends_with(ending)) && !source.is_testdata();
    code.then(|| source.text.lines().count())
}

fn white_space(source: &Source) -> Vec<Violation> {
    let mut found: Vec<Violation> = source
        .text
        .split_terminator('\n')
        .enumerate()
        .filter(|(_, line)| line.ends_with(char::is_whitespace))
        .map(|(index, _)| source.violation(index + 1, "white space at the end of the line"))
        .collect();
    let last = source.text.lines().count().max(1);
    if !source.text.is_empty() && !source.text.ends_with('\n') {
        found.push(source.violation(last, "no newline at the end of the file"));
    } else if source.text.ends_with("\n\n") {
        found.push(source.violation(last, "empty lines at the end of the file"));
    }
    found
}

fn own_path(source: &Source, root: &str) -> Vec<Violation> {
    // A root such as `/app` is too short to be told from a route or a container's folder.
    if root.matches('/').count() < 2 {
        return Vec::new();
    }
    numbered(&source.text)
        .filter(|(_, line)| line.contains(root))
        .map(|(line, _)| source.violation(line, "names the folder of this work tree"))
        .collect()
}

fn private_paths(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, text) in numbered(&source.text) {
        for folder in PRIVATE_FOLDERS.iter().filter(|folder| names_path(text, folder)) {
            found.push(source.violation(line, format!("names a machine's own path under `{folder}`")));
        }
    }
    found
}

/// Whether an absolute path in the line starts with this folder and goes on below it.
fn names_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let absolute = !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}>)".contains(c));
        let mut after = line[at + folder.len()..].chars();
        absolute
            && after.next() == Some('/')
            && after.next().is_some_and(|c| c.is_alphanumeric() || "._".contains(c))
    })
}

/// Marks of unfinished work in code that is not Rust, whose comments the Rust rules read.
fn marks(source: &Source) -> Vec<Violation> {
    if source.is_rust() || !CODE_ENDINGS.iter().any(|ending| source.path.ends_with(ending)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, text) in numbered(&source.text) {
        for mark in MARKS.iter().filter(|mark| names(text, mark)) {
            found.push(source.violation(line, format!("`{mark}`: unfinished work does not land")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::told;

    #[track_caller]
    fn tell(path: &str, text: &str, expected: &str) {
        assert_eq!(told(check(&Source::new(path, text), "/srv/build/clone")), expected);
    }

    fn lines(count: usize) -> Source {
        Source::new("crates/load/src/lib.rs", &"a\n".repeat(count))
    }

    #[test]
    fn long_code_is_questioned_then_refused_then_excused_by_the_list() {
        assert!(growing(&lines(500)).is_none());
        assert!(growing(&lines(501)).is_some());
        assert!(length(&lines(800), &[]).is_none());
        assert!(length(&lines(801), &[]).is_some() && growing(&lines(801)).is_none());
        assert!(length(&lines(801), &[("crates/load/src/lib.rs", "a table")]).is_none());
    }

    #[test]
    fn prose_and_test_data_may_be_long() {
        assert!(length(&Source::new("docs/LONG.md", &"a\n".repeat(900)), &[]).is_none());
        assert!(length(&Source::new("crates/load/testdata/long.js", &"a\n".repeat(900)), &[]).is_none());
    }

    #[test]
    fn only_listed_test_data_may_be_large() {
        let large = |path: &str| Source { bytes: SIZE_LIMIT_BYTES + 1, ..Source::new(path, "") };
        let listed = [("crates/load/testdata/big.gz", "a real run"), ("docs/big.png", "a picture")];
        assert!(size(&large("crates/load/testdata/big.gz"), &[]).is_some());
        assert!(size(&large("crates/load/testdata/big.gz"), &listed).is_none());
        assert!(size(&large("docs/big.png"), &listed).is_some());
        assert!(size(&Source::new("docs/small.png", ""), &[]).is_none());
    }

    #[test]
    fn white_space_at_ends_is_refused() {
        tell("a.md", "a\nb\n", "");
        tell(
            "a.md",
            "a \nb\r\n",
            "a.md:1: white space at the end of the line\na.md:2: white space at the end of the line",
        );
        tell("a.md", "a\nb", "a.md:2: no newline at the end of the file");
        tell("a.md", "a\n\n", "a.md:2: empty lines at the end of the file");
        tell("empty.md", "", "");
    }

    #[test]
    fn a_machines_paths_are_refused() {
        for folder in PRIVATE_FOLDERS {
            let text = format!("see {folder}/ann/notes\n");
            tell("a.md", &text, &format!("a.md:1: names a machine's own path under `{folder}`"));
        }
        tell("a.md", "in /srv/build/clone/docs\n", "a.md:1: names the folder of this work tree");
        tell(
            "crates/load/testdata/a.json",
            "/srv/build/clone\n",
            "crates/load/testdata/a.json:1: names the folder of this work tree",
        );
    }

    #[test]
    fn routes_and_relative_folders_are_no_machines_paths() {
        tell("a.md", "GET /home, $TARGET/work/x, ~/work/x, the root / and docs/root/x\n", "");
    }

    #[test]
    fn marks_are_refused_in_scripts_too() {
        tell("ui/a.js", "// FIXME later\n", "ui/a.js:1: `FIXME`: unfinished work does not land");
        tell("docs/STYLE.md", "no TODO lands\n", "");
    }
}
