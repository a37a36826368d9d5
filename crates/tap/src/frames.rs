//! Cuts a byte stream into Postgres messages: a type of one byte (none in the first message), four bytes of length,
//! the body. Keeps the beginning of the bodies that are wanted, hashes the rest of them, skips all others.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

/// Bytes of a body that are kept; of a longer one the rest is only hashed.
pub(crate) const KEPT_BYTES: usize = 64 << 10;
/// No message of the protocol is longer.
const MAX_MESSAGE_BYTES: u32 = 1 << 30;
/// Room for a body that is kept between messages.
const IDLE_BYTES: usize = 4 << 10;

/// The stream is no sequence of Postgres messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One direction of a connection.
pub(crate) struct Frames {
    keys: RandomState,
    header: [u8; 5],
    have: usize,
    /// Bytes of the body that are still to come.
    left: usize,
    in_body: bool,
    body: Vec<u8>,
    rest: DefaultHasher,
    whole: bool,
}

impl Frames {
    pub(crate) fn new(keys: RandomState) -> Self {
        let rest = keys.build_hasher();
        Self { keys, header: [0; 5], have: 0, left: 0, in_body: false, body: Vec::new(), rest, whole: true }
    }

    /// The next message that ends within `bytes`, by its type (0 where `typed` is false); what was read is cut off
    /// `bytes`. `None`: more bytes are needed.
    pub(crate) fn next(
        &mut self,
        bytes: &mut &[u8],
        typed: bool,
        wanted: fn(u8) -> bool,
    ) -> Result<Option<u8>, Malformed> {
        if !self.in_body && !self.head(bytes, typed)? {
            return Ok(None);
        }
        let taken = self.left.min(bytes.len());
        let (now, later) = bytes.split_at(taken);
        if wanted(self.header[0]) {
            let room = KEPT_BYTES.saturating_sub(self.body.len()).min(taken);
            self.body.extend_from_slice(&now[..room]);
            if room < taken {
                self.whole = false;
                self.rest.write(&now[room..]);
            }
        }
        *bytes = later;
        self.left -= taken;
        if self.left > 0 {
            return Ok(None);
        }
        self.in_body = false;
        Ok(Some(self.header[0]))
    }

    /// Reads the header as far as it is there; `true` once it is whole.
    fn head(&mut self, bytes: &mut &[u8], typed: bool) -> Result<bool, Malformed> {
        if self.have == 0 && !typed {
            self.header[0] = 0;
            self.have = 1;
        }
        let taken = (5 - self.have).min(bytes.len());
        self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
        self.have += taken;
        if self.have < 5 {
            return Ok(false);
        }
        self.have = 0;
        let [_, a, b, c, d] = self.header;
        let length = u32::from_be_bytes([a, b, c, d]);
        if !(4..=MAX_MESSAGE_BYTES).contains(&length) {
            return Err(Malformed);
        }
        self.left = length as usize - 4;
        self.in_body = true;
        self.whole = true;
        self.body.clear();
        self.rest = self.keys.build_hasher();
        Ok(true)
    }

    /// No message has begun that has not ended.
    pub(crate) fn is_between(&self) -> bool {
        self.have == 0 && !self.in_body
    }

    /// Gives the room for a long body back, where none is being read.
    pub(crate) fn rest_now(&mut self) {
        if self.is_between() && self.body.capacity() > IDLE_BYTES {
            self.body.clear();
            self.body.shrink_to(IDLE_BYTES);
        }
    }

    /// The beginning of the last message's body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// A hash of what [`Frames::body`] does not hold; 0 if it holds all.
    pub(crate) fn rest(&self) -> u64 {
        if self.whole { 0 } else { self.rest.finish() }
    }
}

/// Bytes up to the next zero, which is taken too.
pub(crate) fn text<'a>(body: &mut &'a [u8]) -> &'a [u8] {
    let end = body.iter().position(|b| *b == 0).unwrap_or(body.len());
    let (text, rest) = body.split_at(end);
    *body = rest.get(1..).unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stream: &[u8], step: usize) -> Result<Vec<(u8, Vec<u8>)>, Malformed> {
        let mut frames = Frames::new(RandomState::new());
        let mut out = Vec::new();
        for mut bytes in stream.chunks(step) {
            while let Some(kind) = frames.next(&mut bytes, true, |kind| kind == b'Q')? {
                out.push((kind, frames.body().to_vec()));
            }
        }
        Ok(out)
    }

    #[test]
    fn messages_are_the_same_however_the_stream_is_cut() {
        let stream = b"Q\0\0\0\x08abc\0D\0\0\0\x06xyS\0\0\0\x04Q\0\0\0\x05\0";
        let expected = vec![(b'Q', b"abc\0".to_vec()), (b'D', vec![]), (b'S', vec![]), (b'Q', vec![0])];
        for step in 1..=stream.len() {
            assert_eq!(all(stream, step).as_ref(), Ok(&expected), "{step}");
        }
    }

    #[test]
    fn an_impossible_length_is_malformed() {
        assert_eq!(all(b"Q\0\0\0\x03", 5), Err(Malformed));
        assert_eq!(all(b"Q\xff\xff\xff\xff", 5), Err(Malformed));
    }

    #[test]
    fn a_long_body_is_kept_in_part_and_the_rest_is_hashed() {
        let keys = RandomState::new();
        let rest = |last: u8, step: usize| {
            let mut stream = b"Q".to_vec();
            let body = KEPT_BYTES + 100;
            stream.extend(u32::try_from(body + 4).unwrap().to_be_bytes());
            stream.extend(std::iter::repeat_n(7, body - 1));
            stream.push(last);
            let mut frames = Frames::new(keys.clone());
            for mut bytes in stream.chunks(step) {
                while frames.next(&mut bytes, true, |_| true).unwrap().is_some() {}
            }
            assert_eq!(frames.body().len(), KEPT_BYTES);
            let rest = frames.rest();
            frames.rest_now();
            assert!(frames.body.capacity() <= IDLE_BYTES);
            rest
        };
        assert_eq!(rest(1, 1000), rest(1, 777));
        assert_ne!(rest(1, 1000), rest(2, 1000));
    }
}
