//! Gzip and zstd with a bound on what comes out, so that a small body cannot fill the memory.

use std::fmt;
use std::io::{self, BufRead, Read};

/// Memory that a zstd stream may ask for, as power of two; what senders use by default needs 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Zstd,
}

/// Why bytes could not be inflated.
#[derive(Debug)]
pub(crate) enum Failure {
    /// More than so many bytes.
    TooLarge(usize),
    Broken(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes) => write!(f, "more than {bytes} bytes uncompressed"),
            Self::Broken(error) => write!(f, "the compressed data is broken: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Coding {
    /// By the first bytes of a file.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    /// A reader of the uncompressed bytes; several members or frames follow each other.
    pub(crate) fn reader(self, packed: impl BufRead + 'static) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }

    /// All of it, if it is at most `max_bytes`.
    pub(crate) fn inflate(self, bytes: &[u8], max_bytes: usize) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Gzip => read(flate2::bufread::MultiGzDecoder::new(bytes), bytes.len(), max_bytes),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(Failure::Broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(Failure::Broken)?;
                read(decoder, bytes.len(), max_bytes)
            }
        }
    }
}

fn read(reader: impl Read, compressed: usize, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::with_capacity(compressed.saturating_mul(4).min(max_bytes));
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut all).map_err(Failure::Broken)?;
    if all.len() > max_bytes { Err(Failure::TooLarge(max_bytes)) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_stop_at_the_bound() {
        let zeros = vec![0_u8; 10 << 20];
        let zstd = zstd::encode_all(&*zeros, 1).unwrap();
        let mut gzip = flate2::read::GzEncoder::new(&*zeros, flate2::Compression::fast());
        let mut gzipped = Vec::new();
        gzip.read_to_end(&mut gzipped).unwrap();
        for (coding, bytes) in [(Coding::Zstd, zstd), (Coding::Gzip, gzipped)] {
            assert_eq!(Coding::of(&bytes), Some(coding));
            assert!(matches!(coding.inflate(&bytes, 1 << 20), Err(Failure::TooLarge(_))));
            assert_eq!(coding.inflate(&bytes, 10 << 20).unwrap(), zeros);
            assert!(matches!(coding.inflate(&bytes[..bytes.len() / 2], 10 << 20), Err(Failure::Broken(_))));
        }
    }
}
