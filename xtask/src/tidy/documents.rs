//! Rules about the documents: links lead somewhere, the README explains before it lists, the changelog
//! has room for the next line. Whether a text is good no machine can tell.

use std::collections::BTreeSet;

use super::Violation;
use super::rust::numbered;
use super::source::Source;

/// Words of the README before its first list of links.
const README_WORDS: usize = 300;
/// The README's first two commands: see it work, and check it.
const README_COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo xtask ci"];

pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let places = places(sources);
    let documents = sources.iter().filter(|source| source.path.ends_with(".md") && !source.is_testdata());
    let mut found: Vec<Violation> = documents.flat_map(|source| broken_links(source, &places)).collect();
    found.extend(required(sources, "README.md", readme));
    found.extend(required(sources, "CHANGELOG.md", changelog));
    found
}

fn required(sources: &[Source], path: &str, rule: fn(&Source) -> Vec<Violation>) -> Vec<Violation> {
    match sources.iter().find(|source| source.path == path) {
        Some(source) => rule(source),
        None => vec![Violation { path: path.to_owned(), line: 1, message: "the file is missing".into() }],
    }
}

/// All files and folders, from the root.
fn places(sources: &[Source]) -> BTreeSet<&str> {
    let mut places = BTreeSet::from([""]);
    for source in sources {
        places.insert(&source.path);
        places.extend(source.path.match_indices('/').map(|(at, _)| &source.path[..at]));
    }
    places
}

fn broken_links(source: &Source, places: &BTreeSet<&str>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, text) in prose(&source.text) {
        for target in links(&text).filter(|target| !leads_outside(target)) {
            let file = target.split('#').next().unwrap_or(target);
            if !file.is_empty()
                && !resolve(&source.path, file).is_some_and(|path| places.contains(path.as_str()))
            {
                found.push(source.violation(line, format!("the link leads nowhere: {target}")));
            }
        }
    }
    found
}

/// The numbered lines outside fenced blocks, code spans blanked.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    numbered(text).filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then(|| (number, line.split('`').step_by(2).collect::<Vec<_>>().join(" ")))
    })
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

fn leads_outside(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// The path that a link in `from` means; none if it is absolute or leaves the work tree.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

fn readme(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut words = 0;
    for (line, text) in prose(&source.text) {
        let item = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        if ["- ", "* ", ". "].iter().any(|mark| item.starts_with(mark)) && text.contains("](") {
            if words < README_WORDS {
                let message = format!(
                    "{words} words before the first list of links, at least {README_WORDS} belong there"
                );
                found.push(source.violation(line, message));
            }
            break;
        }
        words += text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    }
    let first_block = source.text.split("```").nth(1).unwrap_or_default();
    for command in README_COMMANDS.iter().filter(|command| !first_block.contains(*command)) {
        found.push(source.violation(1, format!("the first code block does not show `{command}`")));
    }
    found
}

fn changelog(source: &Source) -> Vec<Violation> {
    let first = numbered(&source.text).find(|(_, line)| line.starts_with("## "));
    match first {
        Some((_, "## Unreleased")) => Vec::new(),
        Some((line, _)) => vec![source.violation(line, "the first section is not `## Unreleased`")],
        None => vec![source.violation(1, "there is no section `## Unreleased`")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::told;

    #[track_caller]
    fn tell_links(text: &str, expected: &str) {
        let sources = [Source::new("docs/A.md", text), Source::new("crates/load/src/lib.rs", "")];
        assert_eq!(told(broken_links(&sources[0], &places(&sources))), expected);
    }

    #[test]
    fn links_to_files_and_folders_resolve() {
        tell_links("[a](A.md#top) [b](../crates/load) [c](../crates/load/src/lib.rs) [d](#here)\n", "");
        tell_links("[a](https://example.org/x) [b](mailto:a@example.org)\n", "");
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        tell_links("x\n[a](B.md)\n", "docs/A.md:2: the link leads nowhere: B.md");
        tell_links("[a](/docs/A.md)\n", "docs/A.md:1: the link leads nowhere: /docs/A.md");
        tell_links("[a](../../A.md)\n", "docs/A.md:1: the link leads nowhere: ../../A.md");
    }

    #[test]
    fn code_holds_no_links() {
        tell_links("`[a](B.md)`\n```\n[a](B.md)\n```\n", "");
    }

    fn commands() -> String {
        format!("```sh\n{}\n{}\n```\n", README_COMMANDS[0], README_COMMANDS[1])
    }

    #[test]
    fn the_readme_explains_before_it_lists_links() {
        let text = |words: usize| format!("{}\n{}\n- [a](b)\n", commands(), "word ".repeat(words));
        assert_eq!(told(readme(&Source::new("README.md", &text(300)))), "");
        let short = told(readme(&Source::new("README.md", &text(299))));
        assert!(short.contains("299 words before"), "{short}");
    }

    #[test]
    fn the_readme_opens_with_its_two_commands() {
        let late = format!("```sh\ncargo install\n```\n{}", commands());
        assert_eq!(told(readme(&Source::new("README.md", &late))).lines().count(), 2);
        assert_eq!(told(readme(&Source::new("README.md", &commands()))), "");
    }

    #[test]
    fn the_changelog_has_unreleased_on_top() {
        let tell = |text: &str| told(changelog(&Source::new("CHANGELOG.md", text)));
        assert_eq!(tell("# Changelog\n\n## Unreleased\n\n## 0.1.0\n"), "");
        assert_eq!(tell("# C\n\n## 0.1.0\n"), "CHANGELOG.md:3: the first section is not `## Unreleased`");
        assert!(tell("# C\n").contains("no section"));
    }

    #[test]
    fn missing_documents_are_told() {
        assert_eq!(check(&[]).len(), 2);
    }
}
