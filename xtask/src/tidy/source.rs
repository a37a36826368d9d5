//! The files of the work tree as git sees them: tracked, or new and not ignored. Read once, whole.

use std::fs;

use super::Violation;
use crate::shell::{Stop, root, tool};

/// One file. Text that is not UTF-8 is left empty: a binary file is judged by its size alone.
pub(crate) struct Source {
    /// From the root of the work tree, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) bytes: u64,
}

/// Every file of the work tree, sorted by path. Files deleted but not yet committed are left out.
pub(crate) fn list() -> Result<Vec<Source>, Stop> {
    let paths = tool("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output()?;
    let mut paths: Vec<&str> = paths.split_terminator('\0').collect();
    paths.sort_unstable();
    paths.dedup();
    Ok(paths.into_iter().filter_map(read).collect())
}

fn read(path: &str) -> Option<Source> {
    let content = fs::read(root().join(path)).ok()?;
    let bytes = content.len() as u64;
    Some(Source { path: path.to_owned(), text: String::from_utf8(content).unwrap_or_default(), bytes })
}

impl Source {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), bytes: text.len() as u64 }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Recorded input of tests: other programs wrote it, so our style does not bind it.
    pub(crate) fn is_testdata(&self) -> bool {
        self.path.split('/').any(|part| part == "testdata")
    }

    /// The folder of the package that it belongs to: `crates/load`, `shop`.
    pub(crate) fn package(&self) -> &str {
        let parts = if self.path.starts_with("crates/") { 2 } else { 1 };
        let end = self.path.match_indices('/').nth(parts - 1).map_or(self.path.len(), |(at, _)| at);
        &self.path[..end]
    }

    /// Shipped code, and the code of tests: a `tests` or `benches` folder, a `tests.rs`, or everything
    /// from an inline `#[cfg(test)]` module on, which stands last in a file.
    pub(crate) fn code_and_tests(&self) -> (&str, &str) {
        let mut parts = self.path.split('/');
        if parts.any(|part| matches!(part, "tests" | "benches" | "tests.rs")) {
            return ("", &self.text);
        }
        self.text.split_at(start_of_tests(&self.text))
    }

    pub(super) fn violation(&self, line: usize, message: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, message: message.into() }
    }
}

fn start_of_tests(text: &str) -> usize {
    let mut at = 0;
    let mut marked = None;
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "#[cfg(test)]" {
            marked = Some(at);
        } else if marked.is_some() && line.contains("mod ") && line.trim_end().ends_with('{') {
            break;
        } else if !line.starts_with("#[") {
            marked = None;
        }
        at += line.len();
    }
    marked.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_the_folder_with_the_manifest() {
        assert_eq!(Source::new("crates/load/src/lib.rs", "").package(), "crates/load");
        assert_eq!(Source::new("shop/src/main.rs", "").package(), "shop");
        assert_eq!(Source::new("README.md", "").package(), "README.md");
    }

    #[test]
    fn an_inline_test_module_splits_the_file() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n";
        let source = Source::new("crates/load/src/lib.rs", text);
        assert_eq!(source.code_and_tests(), ("fn a() {}\n", "#[cfg(test)]\nmod tests {\n}\n"));
    }

    #[test]
    fn a_test_only_item_or_a_module_elsewhere_does_not() {
        for text in ["#[cfg(test)]\nmod tests;\nfn a() {}\n", "#[cfg(test)]\nfn told() {\n}\nmod x {\n}\n"] {
            let source = Source::new("crates/load/src/lib.rs", text);
            assert_eq!(source.code_and_tests(), (text, ""));
        }
    }

    #[test]
    fn a_tests_folder_holds_tests_only() {
        let source = Source::new("crates/load/tests/all.rs", "fn a() {}\n");
        assert_eq!(source.code_and_tests(), ("", "fn a() {}\n"));
    }

    #[test]
    fn a_binary_file_has_a_size_and_no_text() {
        assert!(read("no/such/file").is_none());
        let own = read("xtask/src/tidy/source.rs").unwrap();
        assert_eq!(own.bytes, own.text.len() as u64);
    }
}
