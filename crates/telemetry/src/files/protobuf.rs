//! OTLP protobuf files: one message after another, bare as an SDK sends it, or each behind its length as collectors
//! write them. Read a resource at a time; what breaks off is told.

use super::MAX_PIECE_BYTES;
use crate::intake::Intake;
use crate::otlp::{self, Malformed, Walked};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Chain, Cursor, Read};

const HINT: &str = "it is neither JSON (OTLP, Jaeger, Zipkin) nor OTLP protobuf";
/// Tag of the first field, a message: the spans, metrics or logs of one resource.
const RESOURCE: u8 = 1 << 3 | 2;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    /// They are not: fields follow each other.
    Bare,
    /// Four bytes of length, the highest first (the collector's file exporter).
    Fixed,
    /// The length as a varint (protobuf's own delimited form).
    Varint,
}

type Walk = fn(&[u8], &mut Intake) -> Result<Walked, Malformed>;

/// The signals; which one a file holds shows in its first message.
const WALKS: [Walk; 3] = [otlp::walk_traces, otlp::walk_metrics, otlp::walk_logs];

/// Reads all messages of a source that begins with `head`.
///
/// # Errors
/// It is no OTLP protobuf.
pub(super) fn read(head: Vec<u8>, source: &mut dyn Read, name: &str, intake: &mut Intake) -> Result<()> {
    let framing = framing(&head).context(HINT)?;
    let mut pieces = Pieces { source: Cursor::new(head).chain(source), framing, buffer: Vec::new() };
    let mut known = None;
    let mut message = 0_u64;
    loop {
        let piece = match pieces.next() {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(problem) if known.is_none() => bail!("{HINT}: {problem}"),
            Err(problem) => {
                intake.report.lost(format!("{name}: {problem}; what came before was read"));
                break;
            }
        };
        message += 1;
        known = known.or_else(|| signal(piece));
        // A message without anything tells nothing.
        let Some(walk) = known else { continue };
        intake.report.requests += 1;
        if let Err(problem) = walk(piece, intake) {
            intake.report.malformed(format!("{name}, message {message}: {problem}"));
        }
        intake.relieve();
    }
    ensure!(known.is_some(), HINT);
    Ok(())
}

/// The framing that the first bytes fit.
fn framing(head: &[u8]) -> Option<Framing> {
    let begins = |at: usize| head.get(at) == Some(&RESOURCE);
    // A message that we take has a length whose highest byte is small, smaller than the tag.
    if begins(4) && usize::from(head[0]) <= MAX_PIECE_BYTES >> 24 {
        return Some(Framing::Fixed);
    }
    if begins(0) {
        return Some(Framing::Bare);
    }
    let (_, after) = varint(head)?;
    begins(after).then_some(Framing::Varint)
}

/// A varint and the bytes that it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Which signal a message is of: the first that finds something in it, tried aside.
fn signal(piece: &[u8]) -> Option<Walk> {
    let tried = |walk: &Walk| walk(piece, &mut Intake::default()).unwrap_or_default();
    let kept = WALKS.into_iter().find(|walk| tried(walk).kept > 0);
    kept.or_else(|| WALKS.into_iter().find(|walk| tried(walk).rejected > 0))
}

/// The messages, or parts of them that can be read alone.
struct Pieces<'a> {
    source: Chain<Cursor<Vec<u8>>, &'a mut dyn Read>,
    framing: Framing,
    buffer: Vec<u8>,
}

impl Pieces<'_> {
    /// The next one; an error says what is wrong with it.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.buffer.clear();
        let begins = match self.framing {
            Framing::Bare => self.bytes(1)?,
            Framing::Fixed => self.bytes(4)?,
            Framing::Varint => true,
        };
        if !begins {
            return Ok(None);
        }
        let length = match self.framing {
            Framing::Fixed => {
                let head = self.buffer.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                self.buffer.clear();
                u64::from(head)
            }
            Framing::Varint => match self.length()? {
                Some(length) => {
                    self.buffer.clear();
                    length
                }
                None => return Ok(None),
            },
            Framing::Bare if self.buffer == [RESOURCE] => {
                self.length()?.context("it breaks off in a message")?
            }
            Framing::Bare => bail!("it holds something else than OTLP"),
        };
        let most = usize::try_from(length).unwrap_or(usize::MAX);
        if most > MAX_PIECE_BYTES {
            bail!("a message of more than {} MiB", MAX_PIECE_BYTES >> 20);
        }
        if !self.bytes(most)? && most > 0 {
            bail!("it breaks off in a message");
        }
        Ok(Some(&self.buffer))
    }

    /// Reads so many bytes more; `false` if there are none.
    fn bytes(&mut self, wanted: usize) -> Result<bool> {
        let read = (&mut self.source).take(wanted as u64).read_to_end(&mut self.buffer)?;
        match read {
            0 => Ok(wanted == 0),
            all if all == wanted => Ok(true),
            _ => bail!("it breaks off in a message"),
        }
    }

    /// Reads a varint, which stays in the buffer as well.
    fn length(&mut self) -> Result<Option<u64>> {
        let from = self.buffer.len();
        while self.bytes(1)? {
            if self.buffer.last().is_some_and(|byte| byte & 0x80 == 0) {
                return Ok(varint(&self.buffer[from..]).map(|(length, _)| length));
            }
            if self.buffer.len() - from > 10 {
                bail!("a length that is none");
            }
        }
        Ok(None)
    }
}
