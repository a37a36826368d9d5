//! Frames of RFC 6455: messages to masked frames, bytes to messages. Pure; no extensions.

/// A longer message ends the connection (RFC 6455 section 7.4.1, code 1009).
pub(super) const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Control frames carry no more (section 5.5).
pub(super) const MAX_CONTROL_BYTES: usize = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// A whole message, or a control frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// With 1005 where the peer named no code.
    Close(u16, String),
}

/// What a peer did wrong, and the code to close with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) code: u16,
    pub(super) text: &'static str,
}

const fn broken(text: &'static str) -> Flaw {
    Flaw { code: 1002, text }
}

/// One frame as a client sends it: whole and masked.
pub(super) fn encode(code: Code, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    out.push(0x80 | code as u8);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | u8::try_from(length).unwrap_or(125)),
        length => match u16::try_from(length) {
            Ok(length) => {
                out.push(0x80 | 126);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// The payload of a close frame.
pub(super) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_CONTROL_BYTES - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = code.to_be_bytes().to_vec();
    out.extend_from_slice(&reason.as_bytes()[..end]);
    out
}

/// Bytes of a peer to messages.
#[derive(Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
    /// A message of several frames.
    partial: Option<(Code, Vec<u8>)>,
}

/// What the head of a frame says.
struct Head {
    is_last: bool,
    code: u8,
    payload: usize,
    length: usize,
}

impl Decoder {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there.
    pub(super) fn message(&mut self) -> Result<Option<Message>, Flaw> {
        loop {
            let Some(head) = self.head()? else { return Ok(None) };
            let from = self.at + head.payload;
            let Some(payload) = self.bytes.get(from..from + head.length) else { return Ok(None) };
            let payload = payload.to_vec();
            self.at = from + head.length;
            if self.at == self.bytes.len() {
                // An idle connection keeps no buffer.
                (self.bytes, self.at) = (Vec::new(), 0);
            }
            if let Some(message) = self.take(&head, payload)? {
                return Ok(Some(message));
            }
        }
    }

    fn head(&self) -> Result<Option<Head>, Flaw> {
        let bytes = &self.bytes[self.at..];
        let &[first, second, ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(broken("a reserved bit is set"));
        }
        if second & 0x80 != 0 {
            return Err(broken("a server's frame is masked"));
        }
        let (code, is_last) = (first & 0x0f, first & 0x80 != 0);
        if code >= 8 && (!is_last || second & 0x7f > 125) {
            return Err(broken("a control frame is too long or in parts"));
        }
        let (length, payload) = match second & 0x7f {
            126 => {
                let Some(&[a, b]) = bytes.get(2..4) else { return Ok(None) };
                (u64::from(u16::from_be_bytes([a, b])), 4)
            }
            127 => {
                let Some(length) = bytes.get(2..10).and_then(|b| <[u8; 8]>::try_from(b).ok()) else {
                    return Ok(None);
                };
                (u64::from_be_bytes(length), 10)
            }
            short => (u64::from(short), 2),
        };
        let before = self.partial.as_ref().map_or(0, |(_, bytes)| bytes.len());
        match usize::try_from(length) {
            Ok(length) if length.saturating_add(before) <= MAX_MESSAGE_BYTES => {
                Ok(Some(Head { is_last, code, payload, length }))
            }
            _ => Err(Flaw { code: 1009, text: "a message is too long" }),
        }
    }

    /// A frame as a message; `None` for a part of one.
    fn take(&mut self, head: &Head, payload: Vec<u8>) -> Result<Option<Message>, Flaw> {
        let (code, whole) = match (head.code, self.partial.take()) {
            (0, Some((code, mut bytes))) => {
                bytes.extend_from_slice(&payload);
                (code, bytes)
            }
            (1, None) => (Code::Text, payload),
            (2, None) => (Code::Binary, payload),
            (8, _) => return close(&payload).map(Some),
            (9, partial) => {
                self.partial = partial;
                return Ok(Some(Message::Ping(payload)));
            }
            (10, partial) => {
                self.partial = partial;
                return Ok(Some(Message::Pong(payload)));
            }
            (0, None) => return Err(broken("a continuation of nothing")),
            (1 | 2, Some(_)) => return Err(broken("a message within a message")),
            _ => return Err(broken("an unknown kind of frame")),
        };
        if !head.is_last {
            self.partial = Some((code, whole));
            return Ok(None);
        }
        if code == Code::Binary {
            return Ok(Some(Message::Binary(whole)));
        }
        let text = String::from_utf8(whole).map_err(|_| Flaw { code: 1007, text: "a text is not UTF-8" })?;
        Ok(Some(Message::Text(text)))
    }
}

fn close(payload: &[u8]) -> Result<Message, Flaw> {
    match payload {
        [] => Ok(Message::Close(1005, String::new())),
        [a, b, reason @ ..] => {
            Ok(Message::Close(u16::from_be_bytes([*a, *b]), String::from_utf8_lossy(reason).into_owned()))
        }
        [_] => Err(broken("a close frame of one byte")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// A frame as a server sends it.
    fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = encode(Code::Text, payload, [0; 4]);
        let mask = out.len() - payload.len() - 4;
        out.drain(mask..mask + 4);
        (out[0], out[1]) = (first, out[1] & 0x7f);
        out
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &Result<Option<Message>, u16>) {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        assert_eq!(&decoder.message().map_err(|flaw| flaw.code), expected);
    }

    #[test]
    fn frames_become_messages() {
        check(&plain(0x81, b"hi"), &Ok(Some(Message::Text("hi".to_owned()))));
        check(&plain(0x82, &[7; 70_000]), &Ok(Some(Message::Binary(vec![7; 70_000]))));
        let parts = [plain(0x01, b"a"), plain(0x89, b"p"), plain(0x80, b"b")].concat();
        let mut decoder = Decoder::default();
        let mut all = Vec::new();
        for byte in parts {
            decoder.feed(&[byte]);
            all.extend(decoder.message().unwrap());
        }
        assert_eq!(all, [Message::Ping(b"p".to_vec()), Message::Text("ab".to_owned())]);
        check(&plain(0x88, &close_payload(4001, "bye")), &Ok(Some(Message::Close(4001, "bye".to_owned()))));
        check(&plain(0x88, &[]), &Ok(Some(Message::Close(1005, String::new()))));
    }

    #[test]
    fn what_breaks_the_rules_ends_the_connection() {
        check(&plain(0xc1, b"hi"), &Err(1002));
        check(&encode(Code::Text, b"hi", [1; 4]), &Err(1002));
        check(&plain(0x80, b"hi"), &Err(1002));
        check(&plain(0x83, b"hi"), &Err(1002));
        check(&plain(0x81, &[0xff]), &Err(1007));
        check(&plain(0x88, &[1]), &Err(1002));
        check(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0], &Err(1009));
        check(&[0x89, 126, 0, 200], &Err(1002));
        check(&[], &Ok(None));
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
        for _ in 0..20_000 {
            let mut decoder = Decoder::default();
            for _ in 0..random.random_range(1..5) {
                let length = random.random_range(0..20);
                let bytes: Vec<u8> =
                    (0..length).map(|_| random.random::<u8>() & random.random::<u8>()).collect();
                decoder.feed(&bytes);
                while let Ok(Some(_)) = decoder.message() {}
            }
        }
    }
}
