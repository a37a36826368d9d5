//! Ids of traces and spans: hexadecimal as OTLP's JSON wants them, or base64 as protobuf's own JSON writes bytes.

use crate::base64;

/// Up to 16 bytes; one of another width than was expected keeps its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Id {
    bytes: [u8; 16],
    length: u8,
}

impl Id {
    /// Reads an id that should be `width` bytes wide. Of what is neither hex nor base64 comes one byte, which nobody
    /// takes for an id.
    pub(crate) fn read(text: &str, width: usize) -> Self {
        if text.len() == width * 2
            && let Some(id) = Self::hex(text)
        {
            return id;
        }
        let decoded = base64::decode(text).and_then(|bytes| Self::of(&bytes));
        decoded.or_else(|| Self::hex(text)).unwrap_or(Self { bytes: [0; 16], length: 1 })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let mut id = Self { bytes: [0; 16], length: u8::try_from(bytes.len()).ok()? };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(id)
    }

    fn hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > 16 {
            return None;
        }
        let mut id = Self { bytes: [0; 16], length: u8::try_from(pairs.len()).ok()? };
        for ([high, low], byte) in pairs.iter().zip(&mut id.bytes) {
            let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
            if high | low > 15 {
                return None;
            }
            *byte = high << 4 | low;
        }
        Some(id)
    }
}

/// A number of one to 32 hexadecimal digits.
pub(crate) fn hex_number(text: &str) -> Option<u128> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    let mut number = 0;
    for byte in text.bytes() {
        let digit = DIGITS[usize::from(byte)];
        if digit > 15 {
            return None;
        }
        number = number << 4 | u128::from(digit);
    }
    Some(number)
}

/// The value of each hexadecimal digit; 255 for other bytes.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value as usize] as usize] = value;
        digits[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_base64_are_told_apart_by_their_length() {
        assert_eq!(Id::read("00f067aa0ba902B7", 8).bytes(), 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert_eq!(Id::read("BwcHBwcHBwc=", 8).bytes(), [7; 8]);
        assert_eq!(Id::read("AQIDBAUGBwgJCgsMDQ4PEA==", 16).bytes()[15], 16);
        assert_eq!(Id::read("", 8).bytes(), [0_u8; 0]);
        assert_eq!(Id::read("not an id!", 8).bytes(), [0]);
        assert_eq!(Id::read(&"ab".repeat(40), 16).bytes().len(), 1);
    }

    #[test]
    fn short_numbers_are_numbers() {
        assert_eq!(hex_number("ff"), Some(255));
        assert_eq!(hex_number(&"f".repeat(32)), Some(u128::MAX));
        for text in ["", "0x1", "xyz", &"1".repeat(33)] {
            assert_eq!(hex_number(text), None, "{text}");
        }
    }
}
