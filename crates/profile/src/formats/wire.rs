//! Protobuf's wire format, as much as pprof needs: numbers and slices, read and written.

use anyhow::{Result, bail, ensure};

/// One field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(super) fn number(self) -> u64 {
        if let Self::Number(number) = self { number } else { 0 }
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        if let Self::Bytes(bytes) = self { bytes } else { &[] }
    }

    /// The numbers of a repeated field, packed or one by one.
    pub(super) fn numbers(self, into: &mut Vec<u64>) -> Result<()> {
        match self {
            Self::Number(number) => into.push(number),
            Self::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    into.push(varint(&mut bytes)?);
                }
            }
        }
        Ok(())
    }
}

/// Calls `each` with every field of a message.
pub(super) fn fields<'a>(bytes: &'a [u8], mut each: impl FnMut(u64, Value<'a>) -> Result<()>) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => Value::Number(fixed(&mut rest, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).unwrap_or(usize::MAX);
                ensure!(length <= rest.len(), "the profile is cut off: a field is longer than its message");
                let (value, after) = rest.split_at(length);
                rest = after;
                Value::Bytes(value)
            }
            5 => Value::Number(fixed(&mut rest, 4)?),
            kind => bail!("the profile is no protobuf: it has a field of kind {kind}"),
        };
        each(tag >> 3, value)?;
    }
    Ok(())
}

fn fixed(bytes: &mut &[u8], length: usize) -> Result<u64> {
    ensure!(bytes.len() >= length, "the profile is cut off within a number");
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(number.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let Some((byte, rest)) = bytes.split_first() else { bail!("the profile is cut off within a number") };
        *bytes = rest;
        ensure!(shift < 64, "the profile is no protobuf: a number is too long");
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Ok(value);
        }
        shift += 7;
    }
}

/// A message that is written.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    /// A number; zero is the default and is left out.
    pub(super) fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            put(&mut self.0, field << 3);
            put(&mut self.0, value);
        }
    }

    pub(super) fn bytes(&mut self, field: u64, value: &[u8]) {
        put(&mut self.0, field << 3 | 2);
        put(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(super) fn packed(&mut self, field: u64, values: &[u64]) {
        let mut packed = Vec::new();
        values.iter().for_each(|value| put(&mut packed, *value));
        self.bytes(field, &packed);
    }
}

fn put(into: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        into.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    into.push(value as u8);
}
