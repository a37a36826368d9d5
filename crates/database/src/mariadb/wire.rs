//! Packets of the client/server protocol: a length of three bytes, a number, a payload. Bounded; it knows no meaning.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Of one packet; texts of statements and plans are far below it.
const MAX_PACKET_BYTES: usize = 8 << 20;
/// A longer payload is sent in several.
const WHOLE: usize = 0xff_ffff;

/// Both directions of a connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that sends and receives packets.
pub(super) struct Wire {
    pub(super) io: Box<dyn Io>,
    pub(super) number: u8,
}

impl Wire {
    pub(super) async fn receive(&mut self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut head = [0_u8; 4];
            self.io.read_exact(&mut head).await.context("the server ended the connection")?;
            let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
            self.number = head[3].wrapping_add(1);
            let from = payload.len();
            if from + length > MAX_PACKET_BYTES {
                bail!(
                    "the server sent more than {} MiB at once, or speaks another protocol",
                    MAX_PACKET_BYTES >> 20
                );
            }
            payload.resize(from + length, 0);
            self.io.read_exact(&mut payload[from..]).await.context("the server ended the connection")?;
            if length < WHOLE {
                return Ok(payload);
            }
        }
    }

    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<()> {
        if payload.len() >= WHOLE {
            bail!("a statement of {} MiB is too long to ask", payload.len() >> 20);
        }
        let mut packet = (payload.len() as u32).to_le_bytes()[..3].to_vec();
        packet.push(self.number);
        packet.extend_from_slice(payload);
        self.number = self.number.wrapping_add(1);
        self.io.write_all(&packet).await.context("the server ended the connection")?;
        self.io.flush().await.context("the server ended the connection")
    }
}

/// Reads a payload from its begin; `None` at its end.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    /// Little endian.
    pub(super) fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// Up to a zero, or to the end.
    pub(super) fn text(&mut self) -> String {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }

    /// A number of one to nine bytes.
    pub(super) fn length(&mut self) -> Option<u64> {
        match self.number(1)? {
            n @ 0..=0xfa => Some(n),
            0xfc => self.number(2),
            0xfd => self.number(3),
            0xfe => self.number(8),
            _ => None,
        }
    }

    /// A value of a row: `Some(None)` is NULL.
    pub(super) fn value(&mut self) -> Option<Option<String>> {
        if self.0.first() == Some(&0xfb) {
            self.0 = &self.0[1..];
            return Some(None);
        }
        let length = usize::try_from(self.length()?).ok()?;
        Some(Some(String::from_utf8_lossy(self.take(length)?).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Reader, Wire};

    #[test]
    fn values_are_read_to_the_end() {
        let mut reader = Reader(&[3, b'a', b'b', b'c', 0xfb, 0xfc, 1, 0, b'x', 200]);
        assert_eq!(reader.value(), Some(Some("abc".to_owned())));
        assert_eq!(reader.value(), Some(None));
        assert_eq!(reader.value(), Some(Some("x".to_owned())));
        assert_eq!(reader.value(), None, "200 bytes are promised and none is there");
        assert_eq!(Reader(&[0xff]).length(), None);
        assert_eq!(Reader(&[0xfe, 1]).length(), None);
    }

    #[tokio::test]
    async fn packets_go_there_and_back_and_are_bounded() {
        let (one, other) = tokio::io::duplex(1 << 10);
        let (mut one, mut other) =
            (Wire { io: Box::new(one), number: 0 }, Wire { io: Box::new(other), number: 0 });
        one.send(b"hello").await.unwrap();
        assert_eq!(other.receive().await.unwrap(), b"hello");
        assert_eq!(other.number, 1);
        tokio::io::AsyncWriteExt::write_all(&mut one.io, &[0xff, 0xff, 0xff, 0]).await.unwrap();
        let error = other.receive().await.unwrap_err().to_string();
        assert!(error.contains("another protocol"), "{error}");
    }
}
