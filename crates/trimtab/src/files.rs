//! Files that are whole or not there: written beside their place, then renamed.

use anyhow::{Context, Result};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Readable by all whom the user's mask allows, as any new file.
const MODE: u32 = 0o666;

/// Writes a file as a whole: a full disk or a kill leaves the old one. What is no plain file, such as `/dev/stdout`, is
/// written to directly.
///
/// # Errors
/// The folder or the file cannot be written; names the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("could not write {}", path.display());
    // Behind a link the file itself is replaced.
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if place.exists() && !place.is_file() {
        return std::fs::write(&place, bytes).with_context(what);
    }
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::metadata(&place).map_or(MODE, |old| old.permissions().mode());
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder)
        .with_context(what)?;
    file.write_all(bytes).with_context(what)?;
    file.persist(&place).with_context(what)?;
    Ok(())
}

/// Appends to a file, which is made where there is none: a pipeline's summary belongs to all of its steps.
///
/// # Errors
/// The file cannot be written; names it.
pub fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("could not write {}", path.display());
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).with_context(what)?;
    file.write_all(bytes).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.toml");
        write_whole(&path, b"old").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        write_whole(&link, b"new").expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        assert!(std::fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 2, "no remainder");
    }

    #[test]
    fn what_is_no_plain_file_is_written_to() {
        write_whole(Path::new("/dev/null"), b"gone").expect("written");
        assert!(!Path::new("/dev/null").is_file());
        let error = write_whole(Path::new("/no/such/folder/file"), b"").expect_err("no folder");
        assert!(format!("{error:#}").contains("/no/such/folder/file"));
    }
}
