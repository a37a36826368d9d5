//! Takes whole records out of one ring.

use super::record::{HEADER_BYTES, Record, parse};
use crate::elf::{u16_at, u32_at};
use crate::sys::RingMap;
use std::io;
use std::os::fd::OwnedFd;

/// A ring and the event that it belongs to.
pub(crate) struct Ring {
    event: OwnedFd,
    map: RingMap,
    tail: u64,
    buffer: Vec<u8>,
}

impl Ring {
    pub(super) fn new(event: OwnedFd, data_bytes: usize) -> Result<Self, (OwnedFd, io::Error)> {
        match RingMap::new(&event, data_bytes) {
            Ok(map) => Ok(Self { event, map, tail: 0, buffer: Vec::new() }),
            Err(error) => Err((event, error)),
        }
    }

    pub(super) fn event(&self) -> &OwnedFd {
        &self.event
    }

    /// Hands over what has been written since the last time, in order. The kernel gets the room back afterwards.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Record<'_>)) {
        let head = self.map.head();
        let filled = usize::try_from(head.wrapping_sub(self.tail)).unwrap_or(usize::MAX);
        self.buffer.resize(filled.min(self.map.data_bytes()), 0);
        self.map.copy(self.tail, &mut self.buffer);
        self.map.set_tail(head);
        self.tail = head;
        records(&self.buffer, &mut each);
    }
}

/// Splits bytes into records; ends at the first that is not whole.
fn records(bytes: &[u8], each: &mut impl FnMut(Record<'_>)) {
    let mut rest = bytes;
    while let (Some(kind), Some(flags), Some(size)) = (u32_at(rest, 0), u16_at(rest, 4), u16_at(rest, 6)) {
        let size = usize::from(size);
        let Some(body) = rest.get(HEADER_BYTES..size) else { return };
        if let Some(record) = parse(kind, flags, body) {
            each(record);
        }
        rest = &rest[size..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_says_it_has_no_size_ends_the_reading() {
        let mut seen = 0;
        records(&[0; 64], &mut |_| seen += 1);
        records(&[9, 0, 0, 0, 0, 0, 255, 255, 1], &mut |_| seen += 1);
        assert_eq!(seen, 0);
        let other = [99, 0, 0, 0, 0, 0, 8, 0, 99, 0, 0, 0, 0, 0, 8, 0, 1, 2];
        records(&other, &mut |_| seen += 1);
        assert_eq!(seen, 2);
    }
}
