//! Undoes content encodings of a whole body, bounded by what it may become. Pure.

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::Read;

/// More encodings on top of each other are refused.
const MAX_ENCODINGS: usize = 4;
/// Buffer of the brotli decoder.
const BROTLI_BUFFER_BYTES: usize = 4 << 10;

/// The body without its encodings, the last one named undone first (RFC 9110 section 8.4). `Err` says what is wrong.
pub(crate) fn decode(body: Vec<u8>, encodings: &str, max_bytes: u64) -> Result<Vec<u8>, String> {
    let names: Vec<&str> = encodings.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.len() > MAX_ENCODINGS {
        return Err(format!("more than {MAX_ENCODINGS} content encodings"));
    }
    let mut body = body;
    for name in names.iter().rev() {
        // Answers to HEAD and empty ones say an encoding, too.
        if body.is_empty() {
            return Ok(body);
        }
        let bad = |error: std::io::Error| format!("the body is no valid {name}: {error}");
        body = match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(&body[..]), max_bytes, bad)?,
            // Meant is zlib; some servers send what the name says (RFC 9110 section 8.4.1.2).
            "deflate" if is_zlib(&body) => bounded(ZlibDecoder::new(&body[..]), max_bytes, bad)?,
            "deflate" => bounded(DeflateDecoder::new(&body[..]), max_bytes, bad)?,
            "br" => bounded(Decompressor::new(&body[..], BROTLI_BUFFER_BYTES), max_bytes, bad)?,
            "zstd" => bounded(zstd::Decoder::new(&body[..]).map_err(bad)?, max_bytes, bad)?,
            "identity" => body,
            // Unknown: left as it is, for whoever knows it.
            _ => return Ok(body),
        };
    }
    Ok(body)
}

/// RFC 1950 section 2.2.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [cmf, flags, ..] if cmf & 15 == 8 && (u16::from(*cmf) << 8 | u16::from(*flags)) % 31 == 0)
}

fn bounded(
    reader: impl Read,
    max_bytes: u64,
    bad: impl Fn(std::io::Error) -> String,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    reader.take(max_bytes.saturating_add(1)).read_to_end(&mut out).map_err(bad)?;
    if out.len() as u64 > max_bytes {
        return Err(format!("the decompressed body is longer than the {max_bytes} bytes allowed"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    const TEXT: &[u8] = b"hello hello hello hello hello";
    /// The text as Node's brotliCompressSync encodes it.
    const BROTLI: &[u8] = &[
        0x1b, 0x1c, 0x00, 0xf8, 0x8d, 0x94, 0x6e, 0xde, 0x44, 0x55, 0x86, 0x96, 0x6c, 0x20, 0x6f, 0x41, 0x4f,
        0x1c, 0x20, 0x71,
    ];

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn encodings_are_undone_from_the_last_to_the_first() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(TEXT).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(TEXT).unwrap();
        let zstd = zstd::encode_all(TEXT, 1).unwrap();
        for (body, encodings) in [
            (gzip(TEXT), "gzip"),
            (zlib.finish().unwrap(), "deflate"),
            (raw.finish().unwrap(), "Deflate"),
            (zstd.clone(), "zstd"),
            (gzip(&zstd), "zstd, gzip"),
            (TEXT.to_vec(), "identity"),
            (TEXT.to_vec(), "rot13"),
        ] {
            assert_eq!(decode(body, encodings, 1000).unwrap(), TEXT, "{encodings}");
        }
        assert_eq!(decode(vec![], "gzip", 10).unwrap(), b"");
    }

    #[test]
    fn brotli_is_undone() {
        let plain = decode(BROTLI.to_vec(), "br", 1000);
        assert_eq!(plain.as_deref().map(String::from_utf8_lossy), Ok(String::from_utf8_lossy(TEXT)));
    }

    #[test]
    fn bombs_and_garbage_are_refused() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(decode(bomb.clone(), "gzip", 1 << 16).unwrap_err().contains("longer than the 65536 bytes"));
        assert!(decode(bomb, "gzip", 1 << 20).is_ok());
        for name in ["gzip", "deflate", "br", "zstd"] {
            assert!(decode(b"\xffgarbage".to_vec(), name, 1000).is_err(), "{name}");
        }
        assert!(decode(TEXT.to_vec(), "gzip,gzip,gzip,gzip,gzip", 9).unwrap_err().contains("more than 4"));
    }
}
