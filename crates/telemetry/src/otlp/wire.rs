//! Protobuf's wire format, read in place: tags, numbers and slices, no messages. Deprecated groups are refused.

use std::fmt;

/// What is wrong with a body, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub what: &'static str,
    /// Bytes before it, within the message that holds it.
    pub at: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no valid OTLP protobuf: {} at byte {} of a message", self.what, self.at)
    }
}

impl std::error::Error for Malformed {}

/// One field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Field<'a> {
    /// The bytes of a text, bytes or message field.
    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(wrong_type()) }
    }

    /// A number of either width.
    pub(crate) fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(number) | Self::Fixed64(number) => Ok(number),
            Self::Fixed32(number) => Ok(u64::from(number)),
            Self::Bytes(_) => Err(wrong_type()),
        }
    }

    pub(crate) fn double(self) -> Result<f64, Malformed> {
        if let Self::Fixed64(bits) = self { Ok(f64::from_bits(bits)) } else { Err(wrong_type()) }
    }
}

#[cold]
fn wrong_type() -> Malformed {
    Malformed { what: "a field of another type than the protocol has", at: 0 }
}

/// A message's fields in order.
#[derive(Clone, Copy)]
pub(crate) struct Wire<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Wire<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// The next field's number and value; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, Malformed> {
        if self.at >= self.data.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Field::Bytes(self.slice(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(self.malformed("an unknown wire type")),
        };
        match u32::try_from(tag >> 3) {
            Ok(number) if number > 0 => Ok(Some((number, field))),
            _ => Err(self.malformed("a field number out of range")),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        if let Some(&byte) = self.data.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.data.get(self.at) else { return Err(self.malformed("cut off")) };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number of more than ten bytes"))
    }

    #[inline]
    fn slice(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let rest = &self.data[self.at..];
        if length > rest.len() {
            return Err(self.malformed("cut off"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let slice = self.slice(N)?;
        slice.try_into().map_err(|_| self.malformed("cut off"))
    }

    #[cold]
    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }
}

/// The numbers of a packed repeated field of 8-byte values, or the one number of an unpacked one.
pub(crate) fn fixed64s(field: Field<'_>) -> Result<Vec<u64>, Malformed> {
    let Field::Bytes(bytes) = field else { return Ok(vec![field.number()?]) };
    let (chunks, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Malformed { what: "a packed field of broken length", at: bytes.len() });
    }
    Ok(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect())
}

/// The same of varints.
pub(crate) fn varints(field: Field<'_>) -> Result<Vec<u64>, Malformed> {
    let Field::Bytes(bytes) = field else { return Ok(vec![field.number()?]) };
    let mut wire = Wire::new(bytes);
    let mut numbers = Vec::new();
    while wire.at < bytes.len() {
        numbers.push(wire.varint()?);
    }
    Ok(numbers)
}

/// A signed number in zigzag.
pub(crate) fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}
