//! Ids that tie a request to its trace.

/// Ids of the trace that a request belongs to, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceIds {
    pub trace: u128,
    pub span: u64,
}

impl TraceIds {
    /// The value of W3C `traceparent`, sampled.
    #[must_use]
    pub fn traceparent(self) -> [u8; 55] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        for (at, digit) in text[3..35].iter_mut().enumerate() {
            *digit = HEX[(self.trace >> (124 - 4 * at) & 15) as usize];
        }
        for (at, digit) in text[36..52].iter_mut().enumerate() {
            *digit = HEX[(self.span >> (60 - 4 * at) & 15) as usize];
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_the_standard_wants() {
        let ids = TraceIds { trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span: 0xb7ad_6b71_6920_3331 };
        let expected = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(std::str::from_utf8(&ids.traceparent()), Ok(expected));
    }
}
