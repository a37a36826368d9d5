//! Every command that the documents and the help texts show is one that the program takes. What the commands do is
//! tested elsewhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use clap::{CommandFactory, Parser};
use std::path::{Path, PathBuf};
use trimtab::args::Cli;

/// Two spaces or more end a command where a remark follows it in the same line.
const REMARK: &str = "  ";

/// README and everything in `docs/`.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = pages.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    all.push(root.join("README.md"));
    all.sort();
    all
}

/// Lines of code blocks, fenced or indented, and examples of help texts that begin with the program's name, perhaps
/// behind variables of the environment.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| {
        let is_variable = |word: &str| {
            word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
            })
        };
        let mut rest = line.trim_start_matches(['$', ' ']);
        while let Some((word, more)) = rest.split_once(' ') {
            if !is_variable(word) {
                break;
            }
            rest = more.trim_start();
        }
        rest.strip_prefix("trimtab ").map(str::to_owned)
    });
    lines.collect()
}

/// The words of a command as a shell would split them, up to a remark, a pipe or a redirection.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let end = unquoted(command, REMARK).unwrap_or(command.len());
    for c in command[..end].chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | '>' | '<' | '&' | ';' | '\\') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Where a text first stands outside of quotes.
fn unquoted(line: &str, text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, _) if line[at..].starts_with(text) => return Some(at),
            _ => {}
        }
    }
    None
}

fn check(place: &str, text: &str, failed: &mut Vec<String>) -> usize {
    let commands = commands(text);
    for command in &commands {
        let words = std::iter::once("trimtab".to_owned()).chain(words(command));
        if let Err(error) = Cli::try_parse_from(words) {
            let told = matches!(
                error.kind(),
                clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
            );
            if !told {
                failed.push(format!("{place}: trimtab {command}\n{error}"));
            }
        }
    }
    commands.len()
}

#[test]
fn commands_in_documents_are_taken() {
    let (mut failed, mut seen) = (Vec::new(), 0);
    for path in documents() {
        seen += check(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap(), &mut failed);
    }
    assert!(seen > 15, "{seen} commands found");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn examples_in_help_texts_are_taken() {
    fn walk(command: &clap::Command, failed: &mut Vec<String>, seen: &mut usize) {
        for text in [command.get_after_help(), command.get_after_long_help()].into_iter().flatten() {
            *seen += check(&format!("help of {}", command.get_name()), &text.to_string(), failed);
        }
        for inner in command.get_subcommands() {
            walk(inner, failed, seen);
        }
    }
    let (mut failed, mut seen) = (Vec::new(), 0);
    walk(&Cli::command(), &mut failed, &mut seen);
    assert!(seen > 15, "{seen} examples found");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_line_is_split_as_a_shell_does() {
    let split = |line: &str| words(line).join("|");
    assert_eq!(split("load find --goal \"p95 < 250 ms\" # why"), "load|find|--goal|p95 < 250 ms");
    assert_eq!(split("profile 4711 -o a.svg     a process, for ten seconds"), "profile|4711|-o|a.svg");
    assert_eq!(split("localize '' a.log | less"), "localize||a.log");
    assert_eq!(commands("    A_B=1 trimtab report\ntext trimtab x\n$ trimtab init u"), ["report", "init u"]);
}
