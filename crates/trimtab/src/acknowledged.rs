//! Reads `trimtab.acknowledged.toml`: the findings that a team lives with, for a while and for a reason.

use crate::clock;
use anyhow::{Context, Result, anyhow};
use report::team::{Acknowledged, Acknowledgements};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Looked for beside the settings file.
pub const FILE: &str = "trimtab.acknowledged.toml";
/// A larger file is a mistake.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    acknowledged: Vec<Acknowledged>,
}

/// The named file, or the one beside the settings file; without either there are none.
///
/// # Errors
/// A named file that is not there, or any that cannot be understood; names file, line and field.
pub fn read(named: Option<&Path>, settings: &Path) -> Result<Acknowledgements> {
    let beside = settings.with_file_name(FILE);
    let path: PathBuf = match named {
        Some(path) => path.to_owned(),
        None if beside.is_file() => beside,
        None => return Ok(Acknowledgements::default()),
    };
    let what = || format!("{}", path.display());
    let size = std::fs::metadata(&path).with_context(what)?.len();
    if size > MAX_BYTES {
        return Err(anyhow!("{size} bytes are too many, at most {MAX_BYTES} are read")).with_context(what);
    }
    let text = std::fs::read_to_string(&path).with_context(what)?;
    let file: File = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        anyhow!("{}, line {line}: {}", path.display(), error.message())
    })?;
    Acknowledgements::new(file.acknowledged, &clock::day(clock::now_ns()))
        .map_err(|error| anyhow!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_the_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join("trimtab.toml");
        let read_text = |text: &str| {
            std::fs::write(folder.path().join(FILE), text).expect("written");
            read(None, &settings)
        };
        assert!(read(None, &settings).is_ok(), "none is no error");
        assert!(read(Some(Path::new("/no/such.toml")), &settings).is_err());
        let entry = "[[acknowledged]]\nfingerprint = \"v1:1\"\nreason = \"r\"\n";
        assert!(read_text(&format!("{entry}until = \"2030-01-31\"\nby = \"me\"\n")).is_ok());
        for (text, part) in [
            (format!("{entry}untill = \"2030-01-31\"\n"), "line 4: unknown field `untill`"),
            (format!("{entry}until = \"soon\"\n"), "acknowledgement 1: `until` is `soon`"),
            (entry.to_owned(), "missing field `until`"),
        ] {
            let error = format!("{:#}", read_text(&text).expect_err(&text));
            assert!(error.contains(part) && error.contains(FILE), "{error}");
        }
    }
}
