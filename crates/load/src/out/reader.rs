//! Readers of what is pushed, written from the formats' descriptions apart from the writers: for tests alone.

/// A field's number and value.
pub(super) type Field = (u32, Wire);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wire {
    Int(u64),
    Fixed(u64),
    Bytes(Vec<u8>),
}

impl Wire {
    pub(super) fn fields(&self) -> Vec<Field> {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is no message") };
        fields(bytes)
    }

    pub(super) fn text(&self) -> String {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is no text") };
        String::from_utf8(bytes.clone()).unwrap()
    }

    pub(super) fn int(&self) -> u64 {
        match self {
            Self::Int(n) | Self::Fixed(n) => *n,
            Self::Bytes(_) => panic!("{self:?} is no number"),
        }
    }

    pub(super) fn double(&self) -> f64 {
        f64::from_bits(self.int())
    }

    /// `sint32`, `sint64`.
    pub(super) fn signed(&self) -> i64 {
        unzigzag(self.int())
    }

    pub(super) fn packed(&self) -> Vec<u64> {
        let Self::Bytes(bytes) = self else { panic!("{self:?} is not packed") };
        let (mut at, mut all) = (0, Vec::new());
        while at < bytes.len() {
            all.push(varint(bytes, &mut at));
        }
        all
    }
}

pub(super) fn unzigzag(n: u64) -> i64 {
    if n.is_multiple_of(2) { (n / 2) as i64 } else { -((n / 2) as i64) - 1 }
}

pub(super) fn fields(bytes: &[u8]) -> Vec<Field> {
    let (mut at, mut all) = (0, Vec::new());
    while at < bytes.len() {
        let key = varint(bytes, &mut at);
        let value = match key % 8 {
            0 => Wire::Int(varint(bytes, &mut at)),
            1 => {
                at += 8;
                Wire::Fixed(u64::from_le_bytes(bytes[at - 8..at].try_into().unwrap()))
            }
            2 => {
                let length = varint(bytes, &mut at) as usize;
                at += length;
                Wire::Bytes(bytes[at - length..at].to_vec())
            }
            other => panic!("wire type {other}"),
        };
        all.push(((key / 8) as u32, value));
    }
    all
}

/// All values of one field.
pub(super) fn all(fields: &[Field], number: u32) -> Vec<&Wire> {
    fields.iter().filter(|field| field.0 == number).map(|field| &field.1).collect()
}

/// The only value of a field.
pub(super) fn one(fields: &[Field], number: u32) -> &Wire {
    let values = all(fields, number);
    assert_eq!(values.len(), 1, "field {number} of {fields:?}");
    values[0]
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte % 128) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

/// Written from the format's description, apart from the code above.
pub(super) fn decompress(bytes: &[u8]) -> Vec<u8> {
    let (mut at, mut length, mut shift) = (0, 0_u64, 0);
    loop {
        let byte = bytes[at];
        at += 1;
        length |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let mut out = Vec::new();
    while at < bytes.len() {
        let tag = bytes[at];
        at += 1;
        if tag & 3 == 0 {
            let mut count = usize::from(tag >> 2) + 1;
            if count > 60 {
                let extra = count - 60;
                count = 1 + bytes[at..at + extra].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
                at += extra;
            }
            out.extend_from_slice(&bytes[at..at + count]);
            at += count;
        } else {
            assert_eq!(tag & 3, 2, "the other kinds of copies are not written");
            let offset = usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
            at += 2;
            for _ in 0..=tag >> 2 {
                out.push(out[out.len() - offset]);
            }
        }
    }
    assert_eq!(out.len() as u64, length);
    out
}
