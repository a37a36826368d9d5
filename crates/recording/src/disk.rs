//! Files that appear whole or not at all: written under a temporary name, then renamed.

use anyhow::{Context, Result};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// What a file is called until it is whole; readers ignore it.
const UNFINISHED: &str = "tmp";

type Create = dyn Fn(&Path) -> io::Result<Box<dyn Write + Send>> + Send + Sync;

/// Where files go. Tests put a full disk here.
#[derive(Clone)]
pub(crate) struct Disk {
    create: Arc<Create>,
}

impl Disk {
    pub(crate) fn real() -> Self {
        Self { create: Arc::new(|path| Ok(Box::new(fs::File::create(path)?))) }
    }

    /// A disk on which only `bytes` more fit.
    #[cfg(test)]
    pub(crate) fn with_room_for(bytes: usize) -> Self {
        let left = Arc::new(std::sync::Mutex::new(bytes));
        Self {
            create: Arc::new(move |path| {
                Ok(Box::new(tests::Shrinking { file: fs::File::create(path)?, left: Arc::clone(&left) }))
            }),
        }
    }

    /// Writes `bytes` to `path` in one step as seen by readers.
    ///
    /// # Errors
    /// The disk is full or the folder cannot be written; nothing of the file is left then.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let unfinished = path.with_extension(UNFINISHED);
        let written = (self.create)(&unfinished).and_then(|mut file| {
            file.write_all(bytes)?;
            file.flush()
        });
        let placed = written.and_then(|()| fs::rename(&unfinished, path));
        placed.map_err(|error| {
            // It may never have been made; the first error is the one to tell.
            drop(fs::remove_file(&unfinished));
            explain(error, path)
        })
    }
}

fn explain(error: io::Error, path: &Path) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space or record to another folder; what was written before can be read"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "record to a folder that this user may write"
        }
        _ => "check the folder and its disk",
    };
    anyhow::Error::new(error).context(format!("cannot write {}; {hint}", path.display()))
}

/// Reads a whole file.
///
/// # Errors
/// It is not there or cannot be read; the message names it.
pub(crate) fn get(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    pub(super) struct Shrinking {
        pub(super) file: fs::File,
        pub(super) left: Arc<Mutex<usize>>,
    }

    impl Write for Shrinking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut left = self.left.lock().unwrap();
            let fits = bytes.len().min(*left);
            if fits == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *left -= fits;
            self.file.write(&bytes[..fits])
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    #[test]
    fn a_file_that_does_not_fit_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        Disk::real().put(&path, b"old").unwrap();
        let error = Disk::with_room_for(2).put(&path, b"newer").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("run.json") && text.contains("free some space"), "{text}");
        assert_eq!(get(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
