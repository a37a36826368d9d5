//! Rules about the text of Rust files: what a module must open with and which words it may not hold.
//! Anything that needs types is clippy's.

use super::Violation;
use super::scan;
use super::source::Source;

/// A module says what it is in so many lines at most.
const OPENING_LINES: usize = 6;

/// Crates that are pure values: no runtime, no sockets, no files, no clock.
const PURE: &[&str] = &[
    "crates/attribute",
    "crates/model",
    "crates/localize",
    "crates/report",
    "crates/scalability",
    "crates/verify",
];

/// Where a word is refused.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    Everywhere,
    Tests,
    PureCode,
}

struct Ban {
    word: &'static str,
    place: Where,
    why: &'static str,
}

const fn ban(word: &'static str, place: Where, why: &'static str) -> Ban {
    Ban { word, place, why }
}

const UNFINISHED: &str = "unfinished work does not land";
const UNBOUNDED: &str = "every queue has a named bound";
const SLEEP: &str = "a test waits for an event, or pauses the clock (start_paused)";
const PURITY: &str =
    "this crate is pure: no runtime, sockets, files, processes or clock; take it as an argument";

/// Words in code; strings and comments may hold them.
const CODE_BANS: &[Ban] = &[
    ban("todo!", Where::Everywhere, UNFINISHED),
    ban("unimplemented!", Where::Everywhere, UNFINISHED),
    ban("dbg!", Where::Everywhere, UNFINISHED),
    ban("#[ignore", Where::Everywhere, "a test that does not run proves nothing"),
    ban("#[allow(", Where::Everywhere, "use #[expect(lint, reason = \"...\")]"),
    ban("#![allow(", Where::Everywhere, "use #![expect(lint, reason = \"...\")]"),
    ban("unbounded_channel", Where::Everywhere, UNBOUNDED),
    ban("UnboundedSender", Where::Everywhere, UNBOUNDED),
    ban("UnboundedReceiver", Where::Everywhere, UNBOUNDED),
    ban("mpsc::unbounded", Where::Everywhere, UNBOUNDED),
    ban("flume::unbounded", Where::Everywhere, UNBOUNDED),
    ban("crossbeam_channel::unbounded", Where::Everywhere, UNBOUNDED),
    ban("std::sync::mpsc::channel", Where::Everywhere, UNBOUNDED),
    ban("thread::sleep", Where::Tests, SLEEP),
    ban("sleep(", Where::Tests, SLEEP),
    ban("sleep_until(", Where::Tests, SLEEP),
    ban("tokio", Where::PureCode, PURITY),
    ban("std::net", Where::PureCode, PURITY),
    ban("std::fs", Where::PureCode, PURITY),
    ban("std::env", Where::PureCode, PURITY),
    ban("std::process", Where::PureCode, PURITY),
    ban("Instant", Where::PureCode, PURITY),
    ban("SystemTime", Where::PureCode, PURITY),
];

/// Marks of unfinished work, refused in comments.
pub(super) const MARKS: &[&str] = &["TODO", "FIXME", "XXX"];

pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found: Vec<Violation> = opening(source).into_iter().collect();
    let views = scan::split(&source.text);
    found.extend(banned_words(source, &views.code));
    for (line, text) in numbered(&views.comments) {
        for mark in MARKS.iter().filter(|mark| names(text, mark)) {
            found.push(source.violation(line, format!("`{mark}`: {UNFINISHED}")));
        }
    }
    found
}

fn opening(source: &Source) -> Option<Violation> {
    match opening_lines(&source.text) {
        None => Some(
            source.violation(1, "the file does not open with `//!`: what it is, and what it does not do"),
        ),
        Some(lines) if lines > OPENING_LINES => Some(
            source.violation(1, format!("the module opens with {lines} lines, the limit is {OPENING_LINES}")),
        ),
        Some(_) => None,
    }
}

/// Lines of prose in the opening; blank ones and a fenced example do not count. None without an opening.
fn opening_lines(text: &str) -> Option<usize> {
    let mut fenced = false;
    let mut count = None;
    for line in text.lines().map_while(|line| line.strip_prefix("//!")) {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let prose = !fenced && !fence && !line.trim().is_empty();
        count = Some(count.unwrap_or(0) + usize::from(prose));
    }
    count
}

fn banned_words(source: &Source, code: &str) -> Vec<Violation> {
    let shipped_lines = source.code_and_tests().0.lines().count();
    let paused = source.text.contains("start_paused");
    // An example is a program of its own: it may time itself.
    let pure = PURE.contains(&source.package()) && !source.path.contains("/examples/");
    let mut found = Vec::new();
    for (line, text) in numbered(code) {
        let in_tests = line > shipped_lines;
        for ban in CODE_BANS.iter().filter(|ban| names(text, ban.word)) {
            let applies = match ban.place {
                Where::Everywhere => true,
                Where::Tests => in_tests && !(paused && ban.word != "thread::sleep"),
                Where::PureCode => pure && !in_tests,
            };
            if applies {
                found.push(source.violation(line, format!("`{}`: {}", ban.word, ban.why)));
            }
        }
    }
    found
}

pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Whether the line holds the word, not merely a longer word that contains it.
pub(super) fn names(line: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let open_start = !word.starts_with(in_word);
    let open_end = !word.ends_with(in_word);
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        (open_start || !before.is_some_and(in_word)) && (open_end || !after.is_some_and(in_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::told;

    /// Checks a body under a proper opening, so that its first line is line 2.
    #[track_caller]
    fn clean(path: &str, body: &str) {
        assert_eq!(told(check(&Source::new(path, &format!("//! X.\n{body}\n")))), "");
    }

    #[track_caller]
    fn refused(path: &str, body: &str, line: usize, word: &str) {
        let text = told(check(&Source::new(path, &format!("//! X.\n{body}\n"))));
        assert!(text.starts_with(&format!("{path}:{line}: `{word}`")), "{body:?} gave {text:?}");
    }

    #[test]
    fn a_module_opens_with_one_to_six_lines() {
        let source = |text: &str| Source::new("shop/src/a.rs", text);
        assert_eq!(told(check(&source("//! A.\nfn a() {}\n"))), "");
        assert!(told(check(&source("fn a() {}\n"))).starts_with("shop/src/a.rs:1: the file does not open"));
        assert!(told(check(&source(&"//! A.\n".repeat(7)))).contains("7 lines"));
        assert_eq!(told(check(&source(&"//! A.\n".repeat(6)))), "");
        let example = format!("//! A.\n//!\n//! ```text\n{}//! ```\n//! B.\n", "//! x\n".repeat(9));
        assert_eq!(told(check(&source(&example))), "");
    }

    #[test]
    fn unfinished_work_is_refused_in_code_and_in_comments() {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            refused("shop/src/a.rs", &format!("fn a() {{ {word}() }}"), 2, word);
        }
        for mark in MARKS {
            refused("shop/src/a.rs", &format!("fn a() {{}}\n// {mark}: later"), 3, mark);
        }
    }

    #[test]
    fn a_string_may_hold_what_code_may_not() {
        clean("shop/src/a.rs", "const WORDS: &str = \"todo!() TODO #[ignore] tokio\";");
        clean("shop/src/a.rs", "// an attribute like #[allow(dead_code)] is refused");
    }

    #[test]
    fn silenced_tests_and_lints_are_refused() {
        refused("shop/src/a.rs", "#[ignore = \"slow\"]\nfn a() {}", 2, "#[ignore");
        refused("shop/src/a.rs", "#[allow(dead_code)]\nfn a() {}", 2, "#[allow(");
        refused("shop/src/a.rs", "#![allow(dead_code)]", 2, "#![allow(");
        clean("shop/src/a.rs", "#[expect(dead_code, reason = \"used on Linux\")]\nfn a() {}");
    }

    #[test]
    fn queues_without_a_bound_are_refused() {
        refused("shop/src/a.rs", "let (a, b) = unbounded_channel();", 2, "unbounded_channel");
        refused("shop/src/a.rs", "use std::sync::mpsc::channel;", 2, "std::sync::mpsc::channel");
        clean("shop/src/a.rs", "let (a, b) = tokio::sync::mpsc::channel(QUEUE_LIMIT);");
    }

    #[test]
    fn tests_do_not_sleep() {
        refused("shop/tests/a.rs", "std::thread::sleep(SECOND);", 2, "thread::sleep");
        refused("shop/tests/a.rs", "tokio::time::sleep(SECOND).await;", 2, "sleep(");
        refused("shop/src/a.rs", "#[cfg(test)]\nmod tests {\n    sleep(SECOND);\n}", 4, "sleep(");
    }

    #[test]
    fn code_and_paused_clocks_may_sleep_and_postgres_too() {
        clean("shop/src/a.rs", "tokio::time::sleep(SERVICE_TIME).await;");
        clean(
            "shop/tests/a.rs",
            "#[tokio::test(start_paused = true)]\nasync fn a() { sleep(SECOND).await; }",
        );
        clean("shop/tests/a.rs", "let slow = pg_sleep(2);");
        let still = "#[tokio::test(start_paused = true)]\nasync fn a() { thread::sleep(SECOND); }";
        refused("shop/tests/a.rs", still, 3, "thread::sleep");
    }

    #[test]
    fn pure_crates_name_no_runtime_no_files_and_no_clock() {
        for (body, word) in [
            ("use tokio::sync::Mutex;", "tokio"),
            ("use std::net::IpAddr;", "std::net"),
            ("let a = std::fs::read(b);", "std::fs"),
            ("use std::time::{Duration, Instant};", "Instant"),
            ("let now = SystemTime::now();", "SystemTime"),
        ] {
            refused("crates/localize/src/a.rs", body, 2, word);
            clean("crates/load/src/a.rs", body);
            clean("crates/localize/tests/a.rs", body);
        }
        clean(
            "crates/verify/src/a.rs",
            "//! Takes no Instant.\nuse std::time::Duration;\nstruct Instantaneous;",
        );
    }
}
