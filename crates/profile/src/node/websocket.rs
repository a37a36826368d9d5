//! The client's side of WebSocket (RFC 6455), as much as talking to an inspector on this machine needs: text messages,
//! fragments, pings. No extensions, no TLS.

use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Bytes of one message at most.
const MAX_MESSAGE_BYTES: usize = 256 << 20;
const MAX_HEAD_BYTES: usize = 16 << 10;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The mask hides messages from proxies that cache; there is none on this machine, so that any mask will do.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Sixteen bytes in base64; the same holds for the key.
const KEY: &str = "dHJpbXRhYi1wcm9maWxlIQ==";

pub(super) struct Socket<S = TcpStream> {
    stream: S,
}

impl<S: Read + Write> Socket<S> {
    /// Asks the server on `port` to speak WebSocket.
    ///
    /// # Errors
    /// It refuses, or does not answer in time.
    pub(super) fn open(mut stream: S, port: u16, path: &str) -> Result<Self> {
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < MAX_HEAD_BYTES, "the answer's head is too long");
            let mut byte = [0];
            stream.read_exact(&mut byte).context("the connection ended during its opening")?;
            head.push(byte[0]);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "the server does not speak WebSocket");
        Ok(Self { stream })
    }

    pub(super) fn send(&mut self, text: &[u8]) -> Result<()> {
        self.frame(TEXT, text)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<()> {
        let mut bytes = vec![FINAL | kind];
        match u16::try_from(payload.len()) {
            Ok(short) if short < 126 => bytes.push(MASKED | payload.len() as u8),
            Ok(medium) => {
                bytes.push(MASKED | 126);
                bytes.extend(medium.to_be_bytes());
            }
            Err(_) => {
                bytes.push(MASKED | 127);
                bytes.extend((payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&bytes).context("could not send")
    }

    /// The next whole message.
    ///
    /// # Errors
    /// The connection ends, nothing comes in time, or the server does not keep to the protocol.
    pub(super) fn receive(&mut self) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            let [first, second] = self.take::<2>()?;
            let length = match second & 127 {
                126 => u64::from(u16::from_be_bytes(self.take()?)),
                127 => u64::from_be_bytes(self.take()?),
                short => u64::from(short),
            };
            ensure!(second & MASKED == 0, "the server masks its messages, which only clients may");
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            ensure!(
                length <= MAX_MESSAGE_BYTES - message.len(),
                "a message is larger than {MAX_MESSAGE_BYTES} bytes"
            );
            let from = message.len();
            // What is taken grows with what has come: a length alone costs no memory.
            let read = (&mut self.stream)
                .take(length as u64)
                .read_to_end(&mut message)
                .context("could not receive")?;
            ensure!(read == length, "the connection ended within a message");
            match first & 15 {
                CLOSE => bail!("the inspector closed the connection"),
                PING => {
                    let payload = message.split_off(from);
                    self.frame(PONG, &payload)?;
                }
                PONG => message.truncate(from),
                _ if first & FINAL != 0 => return Ok(message),
                _ => {}
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).context("could not receive")?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// What the server says, and what it hears.
    struct Script {
        says: Cursor<Vec<u8>>,
        hears: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.says.read(into)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.hears.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn socket(says: &[u8]) -> Socket<Script> {
        Socket { stream: Script { says: Cursor::new(says.to_vec()), hears: Vec::new() } }
    }

    #[test]
    fn fragments_are_joined_and_a_ping_between_them_is_answered() {
        let mut socket = socket(&[1, 2, b'h', b'e', 0x89, 1, b'!', 0x80, 1, b'y']);
        assert_eq!(socket.receive().unwrap(), b"hey");
        assert_eq!(socket.stream.hears, [0x8a, 0x81, 0x37, 0xfa, 0x21, 0x3d, b'!' ^ 0x37]);
    }

    #[test]
    fn lies_about_lengths_are_errors() {
        assert!(socket(&[0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).receive().is_err());
        assert!(socket(&[0x81, 100, 1]).receive().is_err());
        assert!(socket(&[0x88, 0]).receive().is_err());
    }

    #[test]
    fn only_a_switch_of_protocols_opens_it() {
        let open = |answer: &[u8]| {
            let stream = Script { says: Cursor::new(answer.to_vec()), hears: Vec::new() };
            Socket::open(stream, 9229, "/x")
        };
        assert!(open(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").is_ok());
        assert!(open(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_err());
    }
}
