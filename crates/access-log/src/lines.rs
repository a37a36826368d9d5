//! Lines of a log, plain, gzip or zstd, one at a time in bounded memory. A line that is too long is skipped, not kept.

use std::io::{self, BufRead, BufReader, Read};

/// Longer lines are skipped and counted.
pub const MAX_LINE_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
/// Memory that a zstd stream may ask for, as power of two; what senders use by default needs 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Zeros compress a thousandfold: more than this from one file is refused.
const MAX_BYTES: u64 = 1 << 40;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    /// The last one, without an end of line.
    Last(&'a [u8]),
    TooLong,
    End,
}

pub(crate) struct Lines<'r> {
    input: Box<dyn BufRead + 'r>,
    line: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) compression: Option<&'static str>,
}

impl<'r> Lines<'r> {
    /// Tells compression by the first bytes.
    pub(crate) fn new(input: impl Read + 'r) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let start = input.fill_buf()?;
        let (input, compression): (Box<dyn BufRead + 'r>, _) = if start.starts_with(&[0x1f, 0x8b]) {
            let decoder = flate2::bufread::MultiGzDecoder::new(input);
            (Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)), Some("gzip"))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            (Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)), Some("zstd"))
        } else {
            (Box::new(input), None)
        };
        Ok(Self { input, line: Vec::new(), bytes: 0, compression })
    }

    /// The next line without its end.
    pub(crate) fn next(&mut self) -> io::Result<Line<'_>> {
        self.line.clear();
        let mut too_long = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(match (too_long, self.line.is_empty()) {
                    (true, _) => Line::TooLong,
                    (_, true) => Line::End,
                    _ => Line::Last(trimmed(&self.line)),
                });
            }
            let end = chunk.iter().position(|b| *b == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if !too_long && self.line.len() + part.len() > MAX_LINE_BYTES {
                too_long = true;
                self.line = Vec::new();
            }
            if !too_long {
                self.line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            self.bytes += used as u64;
            if self.bytes > MAX_BYTES {
                return Err(io::Error::other("more than 1 TiB uncompressed"));
            }
            if end.is_some() {
                return Ok(if too_long { Line::TooLong } else { Line::Whole(trimmed(&self.line)) });
            }
        }
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(bytes).unwrap();
        let mut out = Vec::new();
        loop {
            match lines.next().unwrap() {
                Line::End => return out,
                other => out.push(match other {
                    Line::Whole(line) => format!("whole {}", String::from_utf8_lossy(line)),
                    Line::Last(line) => format!("last {}", String::from_utf8_lossy(line)),
                    _ => "too long".to_owned(),
                }),
            }
        }
    }

    #[test]
    fn lines_end_at_newlines_and_the_last_may_have_none() {
        assert_eq!(all(b"\xef\xbb\xbfone\r\n\ntwo"), ["whole one", "whole ", "last two"]);
        assert_eq!(all(b""), [""; 0]);
    }

    #[test]
    fn a_line_of_ten_megabytes_is_skipped_and_the_next_is_read() {
        let mut log = vec![b'x'; 10 << 20];
        log.extend_from_slice(b"\nnext\n");
        assert_eq!(all(&log), ["too long", "whole next"]);
    }

    #[test]
    fn gzip_and_zstd_are_told_by_their_first_bytes() {
        let zstd = zstd::encode_all(&b"a\nb\n"[..], 1).unwrap();
        assert_eq!(all(&zstd), ["whole a", "whole b"]);
        let mut gzip = Vec::new();
        flate2::read::GzEncoder::new(&b"a\nb\n"[..], flate2::Compression::fast())
            .read_to_end(&mut gzip)
            .unwrap();
        assert_eq!(all(&gzip), ["whole a", "whole b"]);
    }
}
