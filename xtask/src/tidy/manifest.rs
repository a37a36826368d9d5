//! Rules about the packages: which may need which, that versions and lints come from the workspace alone.
//! It reads the part of TOML that manifests use, line by line; cargo itself refuses what is malformed.

use super::Violation;
use super::source::Source;

/// Which of our packages each of our packages may need. A package without a row is refused: whoever makes
/// one decides its place here. `docs/ARCHITECTURE.md` draws the same table.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("crates/model", &[]),
    ("crates/attribute", &["model"]),
    ("crates/access-log", &["model"]),
    ("crates/net", &[]),
    ("crates/profile", &["model"]),
    ("crates/recording", &["model"]),
    ("crates/load", &["model", "net"]),
    ("crates/database", &["model", "net"]),
    ("crates/telemetry", &["model", "net", "recording"]),
    ("crates/localize", &["model"]),
    ("crates/verify", &["model"]),
    ("crates/report", &["model"]),
    ("crates/scalability", &["model"]),
    ("crates/local-postgres", &[]),
    ("crates/tap", &["model", "net"]),
    ("crates/traffic", &["access-log", "model"]),
    ("crates/script", &["load", "model", "net"]),
    ("crates/trimtab", LIBRARIES_AND_SHOP),
    ("shop", &[]),
    ("xtask", &[]),
    ("bench", OURS),
];

const LIBRARIES_AND_SHOP: &[&str] = &[
    "model",
    "access-log",
    "attribute",
    "net",
    "profile",
    "recording",
    "load",
    "database",
    "telemetry",
    "localize",
    "verify",
    "report",
    "scalability",
    "local-postgres",
    "tap",
    "traffic",
    "script",
    "shop",
];

/// Every package of ours that another one may name.
const OURS: &[&str] = &[
    "model",
    "access-log",
    "attribute",
    "net",
    "profile",
    "recording",
    "load",
    "database",
    "telemetry",
    "localize",
    "verify",
    "report",
    "scalability",
    "local-postgres",
    "tap",
    "traffic",
    "script",
    "shop",
    "trimtab",
];

/// These need none of ours, not even in their tests.
const ALONE: &[&str] = &["shop", "xtask"];

#[derive(Debug, PartialEq)]
struct Dependency {
    line: usize,
    name: String,
    for_tests: bool,
    from_workspace: bool,
}

pub(super) fn check(source: &Source) -> Vec<Violation> {
    let folder = source.path.trim_end_matches("/Cargo.toml");
    let entries = entries(&source.text);
    let mut found = Vec::new();
    if !entries.iter().any(|entry| entry.key == ["lints", "workspace"] && entry.value == "true") {
        found.push(source.violation(1, "the workspace's lints are missing: [lints] workspace = true"));
    }
    let Some((_, allowed)) = DIRECTIONS.iter().find(|(package, _)| *package == folder) else {
        found.push(source.violation(1, format!("`{folder}` has no row in the table of allowed directions")));
        return found;
    };
    for dependency in dependencies(&entries) {
        if !dependency.from_workspace {
            let message = format!("`{}` does not come from the workspace: workspace = true", dependency.name);
            found.push(source.violation(dependency.line, message));
        }
        found.extend(
            direction(folder, allowed, &dependency).map(|why| source.violation(dependency.line, why)),
        );
    }
    found
}

/// Tests may look anywhere, except that nobody needs xtask and the lonely stay alone.
fn direction(folder: &str, allowed: &[&str], dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    let ours = name == "xtask" || OURS.contains(&name);
    let fine = if dependency.for_tests {
        name != "xtask" && !ALONE.contains(&folder)
    } else {
        allowed.contains(&name)
    };
    (ours && !fine).then(|| format!("`{folder}` may not need `{name}`: see the table of allowed directions"))
}

fn dependencies(entries: &[Entry]) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    for entry in entries {
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        let Some(at) = entry.key.iter().position(|part| kinds.contains(&part.as_str())) else { continue };
        let Some(name) = entry.key.get(at + 1) else { continue };
        let for_tests = entry.key[at] == "dev-dependencies";
        let from_workspace = match entry.key.get(at + 2) {
            Some(field) => field == "workspace" && entry.value == "true",
            None => entry.value.replace(' ', "").contains("workspace=true"),
        };
        match found.iter_mut().find(|known| known.name == *name && known.for_tests == for_tests) {
            Some(known) => known.from_workspace |= from_workspace,
            None => {
                found.push(Dependency { line: entry.line, name: name.clone(), for_tests, from_workspace })
            }
        }
    }
    found
}

/// One `key = value`, its key led by its table's name.
struct Entry {
    line: usize,
    key: Vec<String>,
    value: String,
}

fn entries(text: &str) -> Vec<Entry> {
    let mut table = Vec::new();
    let mut found: Vec<Entry> = Vec::new();
    let mut open = 0;
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line).trim();
        if open > 0 {
            open += depth(line);
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            table = dotted(name.trim_end_matches(']').trim_start_matches('['));
        } else if let Some((key, value)) = line.split_once('=') {
            let key = table.iter().cloned().chain(dotted(key)).collect();
            open = depth(value);
            found.push(Entry { line: index + 1, key, value: value.trim().to_owned() });
        }
    }
    found
}

/// Brackets that stay open at the end of the line.
fn depth(line: &str) -> i32 {
    outside_quotes(line).map(|(_, c)| i32::from("[{".contains(c)) - i32::from("]}".contains(c))).sum()
}

fn without_comment(line: &str) -> &str {
    outside_quotes(line).find(|(_, c)| *c == '#').map_or(line, |(at, _)| &line[..at])
}

/// `target.'cfg(unix)'.dependencies` has three parts.
fn dotted(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in outside_quotes(name).filter(|(_, c)| *c == '.') {
        parts.push(&name[from..at]);
        from = at + 1;
    }
    parts.push(&name[from..]);
    parts.into_iter().map(|part| part.trim().trim_matches(['"', '\'']).to_owned()).collect()
}

fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    text.char_indices().filter(move |(_, c)| match quote {
        Some(open) => {
            if *c == open {
                quote = None;
            }
            false
        }
        None if matches!(c, '"' | '\'') => {
            quote = Some(*c);
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::told;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    #[track_caller]
    fn tell(folder: &str, dependencies: &str, expected: &str) {
        let source = Source::new(&format!("{folder}/Cargo.toml"), &format!("{LINTS}{dependencies}"));
        assert_eq!(told(check(&source)), expected);
    }

    #[test]
    fn the_arrows_of_the_table_are_allowed() {
        tell("crates/load", "[dependencies]\nmodel.workspace = true\nnet = { workspace = true }\n", "");
        tell("crates/trimtab", "[dependencies]\nverify.workspace = true\nshop.workspace = true\n", "");
        tell("bench", "[dependencies]\ntrimtab.workspace = true\n", "");
    }

    #[test]
    fn an_arrow_against_the_table_is_refused_with_its_line() {
        let refused = |folder: &str, name: &str| {
            format!(
                "{folder}/Cargo.toml:4: `{folder}` may not need `{name}`: see the table of allowed directions"
            )
        };
        for (folder, name) in [("crates/model", "net"), ("crates/verify", "localize"), ("shop", "model")] {
            tell(folder, &format!("[dependencies]\n{name}.workspace = true\n"), &refused(folder, name));
        }
        let in_target = "[target.'cfg(unix)'.dependencies]\ntelemetry.workspace = true\n";
        tell("crates/localize", in_target, &refused("crates/localize", "telemetry"));
    }

    #[test]
    fn tests_may_look_further_but_not_into_xtask_and_not_from_the_shop() {
        tell("crates/verify", "[dev-dependencies]\nload.workspace = true\n", "");
        for (folder, name) in [("crates/load", "xtask"), ("shop", "load"), ("xtask", "model")] {
            let text = format!("[dev-dependencies]\n{name}.workspace = true\n");
            let source = Source::new(&format!("{folder}/Cargo.toml"), &format!("{LINTS}{text}"));
            assert!(told(check(&source)).contains("may not need"), "{folder} -> {name}");
        }
    }

    #[test]
    fn a_package_without_a_row_is_refused() {
        tell(
            "crates/new",
            "",
            "crates/new/Cargo.toml:1: `crates/new` has no row in the table of allowed directions",
        );
    }

    #[test]
    fn versions_stand_in_the_workspace_alone() {
        let refused = "crates/net/Cargo.toml:4: `bytes` does not come from the workspace: workspace = true";
        tell("crates/net", "[dependencies]\nbytes = \"1\" # workspace = true\n", refused);
        tell("crates/net", "[dependencies]\nbytes = { path = \"../bytes\" }\n", refused);
        tell("crates/net", "[dependencies.bytes]\nversion = \"1\"\n", refused);
        tell("crates/net", "[dependencies.bytes]\nworkspace = true\nfeatures = [\"std\"]\n", "");
        tell(
            "crates/net",
            "[dependencies]\nbytes.workspace = true\nbytes.features = [\n  \"a.b = 1\",\n]\n",
            "",
        );
    }

    #[test]
    fn the_workspaces_lints_are_required() {
        let source = |text: &str| Source::new("crates/net/Cargo.toml", text);
        let refused = "crates/net/Cargo.toml:1: the workspace's lints are missing: [lints] workspace = true";
        assert_eq!(told(check(&source("[package]\nname = \"net\"\n"))), refused);
        assert_eq!(told(check(&source("[lints]\nworkspace = false\n"))), refused);
        assert_eq!(told(check(&source("lints.workspace = true\n"))), "");
    }
}
