//! A file's bytes, unpacked while they are read. What breaks off in the middle (a file still being written, a download
//! that was cut) ends there, and why is kept.

use crate::inflate::Coding;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Bytes read from the disk at a time.
const READ_BYTES: usize = 256 << 10;
/// Layers of compression: a packed file that was packed again for its transport.
const MAX_LAYERS: usize = 2;
/// Uncompressed bytes of one file; beyond, the rest is left out and told.
const MAX_FILE_BYTES: u64 = 256 << 30;
/// Bytes that tell the kind of a file.
const SNIFFED: usize = 6;

/// Packed in a way that we cannot read: first bytes and name.
const FOREIGN: [(&[u8], &str); 5] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];

/// A file's uncompressed bytes.
pub(super) struct Source {
    reader: Box<dyn Read>,
    left: u64,
    /// Why there is no more, if not because the file ended.
    broken: Option<String>,
    /// Bytes that came so far.
    pub(super) bytes: u64,
}

impl Source {
    /// Opens a file; its packing is told by its content, never by its name.
    ///
    /// # Errors
    /// It cannot be opened, or is packed in a way that we cannot read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let unpacked = unpack(Box::new(BufReader::with_capacity(READ_BYTES, file)));
        unpacked.with_context(|| format!("cannot read {}", path.display()))
    }

    /// Why it broke off, told once.
    pub(super) fn take_broken(&mut self) -> Option<String> {
        self.broken.take()
    }
}

impl Read for Source {
    /// Never fails: where the file is broken it ends.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            self.broken = Some(format!("it has more than {} GiB uncompressed", MAX_FILE_BYTES >> 30));
            return Ok(0);
        }
        match self.reader.read(&mut buffer[..most]) {
            Ok(read) => {
                self.left -= read as u64;
                self.bytes += read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.broken = Some(match error.kind() {
                    io::ErrorKind::UnexpectedEof => "its packed data breaks off".to_owned(),
                    _ => format!("it breaks off: {error}"),
                });
                Ok(0)
            }
        }
    }
}

fn unpack(mut reader: Box<dyn Read>) -> Result<Source> {
    for _ in 0..MAX_LAYERS {
        let (head, whole) = sniff(reader)?;
        reader = whole;
        if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
            bail!("it is packed with {name}; unpack it first (plain, gzip and zstd are read)");
        }
        let Some(coding) = Coding::of(&head) else { break };
        reader = coding.reader(BufReader::with_capacity(READ_BYTES, reader))?;
    }
    Ok(Source { reader, left: MAX_FILE_BYTES, broken: None, bytes: 0 })
}

/// The first bytes, and a reader that begins with them. A packed layer that is broken from the start has none.
fn sniff(mut reader: Box<dyn Read>) -> Result<(Vec<u8>, Box<dyn Read>)> {
    let mut head = Vec::with_capacity(SNIFFED);
    let read = (&mut reader).take(SNIFFED as u64).read_to_end(&mut head);
    if let Err(error) = read
        && head.is_empty()
    {
        bail!("cannot unpack it: {error}");
    }
    Ok((head.clone(), Box::new(io::Cursor::new(head).chain(reader))))
}
