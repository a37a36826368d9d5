//! The few wire types of protobuf that the pushes need, written one after another (protobuf.dev, "Encoding").

/// A message that grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        varint(u64::from(field << 3 | wire_type), &mut self.0);
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    pub(super) fn message(&mut self, field: u32, inner: &Self) {
        self.bytes(field, &inner.0);
    }

    pub(super) fn double(&mut self, field: u32, value: f64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn uint(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        varint(value, &mut self.0);
    }

    /// `sint32` and `sint64`.
    pub(super) fn sint(&mut self, field: u32, value: i64) {
        self.uint(field, zigzag(value));
    }

    /// Packed `uint64`.
    pub(super) fn packed(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let mut inner = Vec::new();
        for value in values {
            varint(value, &mut inner);
        }
        self.bytes(field, &inner);
    }
}

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_specification() {
        let mut message = Message::default();
        message.uint(1, 150);
        message.text(2, "testing");
        message.sint(3, -2);
        message.packed(4, [3, 270, 86_942].into_iter());
        assert_eq!(
            message.into_bytes(),
            b"\x08\x96\x01\x12\x07testing\x18\x03\x22\x06\x03\x8e\x02\x9e\xa7\x05"
        );
    }
}
