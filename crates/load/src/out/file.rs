//! A file that grows while the test runs, compressed where its name ends in `.gz`.

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const BUFFER_BYTES: usize = 64 << 10;

pub(super) enum Growing {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl Growing {
    /// # Errors
    /// The file cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("could not write {}", path.display()))?;
        let buffered = BufWriter::with_capacity(BUFFER_BYTES, file);
        let gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        Ok(if gzip {
            Self::Gzip(GzEncoder::new(buffered, Compression::fast()))
        } else {
            Self::Plain(buffered)
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(file) => file.write_all(bytes),
        }
    }

    /// What was written so far can be read by others.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(file) => file.flush(),
        }
    }

    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut file) => file.flush(),
            Self::Gzip(file) => file.finish()?.flush(),
        }
    }
}
