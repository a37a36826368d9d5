//! Writes OTLP protobuf for tests, by hand: the code under test has no encoder to be checked against itself.

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn number(field: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3), varint(value)].concat()
}

pub(crate) fn fixed(field: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

pub(crate) fn double(field: u32, value: f64) -> Vec<u8> {
    fixed(field, value.to_bits())
}

/// A text, bytes or message field.
pub(crate) fn bytes(field: u32, held: impl AsRef<[u8]>) -> Vec<u8> {
    let held = held.as_ref();
    [varint(u64::from(field) << 3 | 2), varint(held.len() as u64), held.to_vec()].concat()
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    bytes(1, value)
}

pub(crate) fn int(value: i64) -> Vec<u8> {
    number(3, value.cast_unsigned())
}

/// A KeyValue as field `field`.
pub(crate) fn pair(field: u32, key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    bytes(field, [bytes(1, key), bytes(2, value)].concat())
}

pub(crate) struct Span {
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Fields more, encoded.
    pub(crate) more: Vec<u8>,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            trace: (0..16).map(|b| b + 1).collect(),
            id: vec![7; 8],
            parent: vec![],
            name: b"GET /orders".to_vec(),
            start_ns: 1_700_000_000_000_000_000,
            end_ns: 1_700_000_000_005_000_000,
            more: vec![],
        }
    }
}

impl Span {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [
            bytes(1, &self.trace),
            bytes(2, &self.id),
            if self.parent.is_empty() { vec![] } else { bytes(4, &self.parent) },
            bytes(5, &self.name),
            number(6, 2),
            fixed(7, self.start_ns),
            fixed(8, self.end_ns),
            self.more.clone(),
        ]
        .concat()
    }
}

/// A request with one resource and one scope.
pub(crate) fn traces(spans: &[Span]) -> Vec<u8> {
    let spans: Vec<u8> = spans.iter().flat_map(|span| bytes(2, span.encode())).collect();
    let resource = bytes(1, pair(1, "service.name", text("shop")));
    let scope = bytes(1, bytes(1, "tests"));
    bytes(1, [resource, bytes(2, [scope, spans].concat())].concat())
}
