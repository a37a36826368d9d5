//! The changes that are in force and not settled, in `change.json` beside the journal: so that one can be taken back
//! whose program was killed. Holds what the undo needs, passwords included, and is readable by its owner alone.

use anyhow::{Context, Result};
use model::{Change, Finding};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

const FILE: &str = "change.json";

/// One change that was made.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct InForce {
    pub change: Change,
    /// What it is to mend, with its prediction.
    #[serde(default)]
    pub finding: Option<Finding>,
    /// Id of the recording that the prediction was made from.
    #[serde(default)]
    pub recording_before: Option<String>,
    /// When it was made, Unix nanoseconds.
    #[serde(default)]
    pub since_ns: u64,
}

/// All that are in force, the oldest first.
///
/// # Errors
/// The file is there and cannot be read.
pub fn list(folder: &Path) -> Result<Vec<InForce>> {
    let path = path(folder);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    };
    serde_json::from_str(&text).with_context(|| {
        format!("{} holds no changes; take back by hand what it names, then remove it", path.display())
    })
}

/// Notes a change before it is made. One that is noted already stays as it is.
///
/// # Errors
/// It cannot be noted: then it must not be made.
pub fn add(folder: &Path, new: &InForce) -> Result<()> {
    let mut all = list(folder)?;
    if all.iter().any(|known| known.change.name == new.change.name) {
        return Ok(());
    }
    all.push(new.clone());
    write(folder, &all)
}

/// Forgets a change that was taken back, or is settled in the journal.
///
/// # Errors
/// The file cannot be written.
pub fn remove(folder: &Path, name: &str) -> Result<()> {
    let mut all = list(folder)?;
    all.retain(|known| known.change.name != name);
    write(folder, &all)
}

fn write(folder: &Path, all: &[InForce]) -> Result<()> {
    let path = path(folder);
    let what = || format!("could not write {}", path.display());
    if all.is_empty() {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(what),
            _ => Ok(()),
        };
    }
    std::fs::create_dir_all(folder).with_context(what)?;
    // A temporary file is its owner's alone, and stays so under its new name.
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(what)?;
    file.write_all(serde_json::to_string_pretty(all)?.as_bytes()).with_context(what)?;
    file.persist(&path).with_context(what)?;
    Ok(())
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ChangeKind;
    use std::os::unix::fs::PermissionsExt;

    fn in_force(name: &str) -> InForce {
        let kind = ChangeKind::Manual { text: "postgres://u:hunter2@h/d".to_owned() };
        let change = Change { name: name.to_owned(), description: String::new(), kind };
        InForce { change, finding: None, recording_before: None, since_ns: 7 }
    }

    fn names(folder: &Path) -> Vec<String> {
        list(folder).expect("readable").into_iter().map(|known| known.change.name).collect()
    }

    #[test]
    fn what_was_made_is_listed_until_it_is_settled() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().join("new");
        assert!(names(&at).is_empty());
        for name in ["a", "b", "a"] {
            add(&at, &in_force(name)).expect("noted");
        }
        assert_eq!(names(&at), ["a", "b"]);
        let mode = std::fs::metadata(path(&at)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "it may hold a password");
        for name in ["a", "b", "c"] {
            remove(&at, name).expect("forgotten");
        }
        assert!(names(&at).is_empty() && !path(&at).exists());
    }

    #[test]
    fn a_broken_file_is_an_error_and_is_not_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(path(folder.path()), "[{").expect("written");
        assert!(add(folder.path(), &in_force("a")).is_err());
        assert_eq!(std::fs::read_to_string(path(folder.path())).expect("there"), "[{");
    }
}
