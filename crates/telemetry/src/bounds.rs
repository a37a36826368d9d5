//! Every bound of what is kept between two `take`s, in one place. What exceeds one is counted in the report.

/// Text kept for spans: names, keys, values.
pub(crate) const MAX_TEXT_BYTES: usize = 2 << 30;
/// Text of one name or value; of a longer one the beginning is kept. Statements of generated queries reach some 20 KiB.
pub(crate) const MAX_VALUE_BYTES: usize = 64 << 10;
/// A list or map within an attribute, as JSON text. A longer one is cut, which shows: it is no JSON any more.
pub(crate) const MAX_COMPOSITE_BYTES: usize = 32 << 10;
/// Text of one attribute key.
pub(crate) const MAX_KEY_BYTES: usize = 1024;
/// Different attribute keys.
pub(crate) const MAX_KEYS: usize = 16_384;
/// Different resources (services, pods, processes).
pub(crate) const MAX_RESOURCES: usize = 16_384;
/// Attributes of one span or resource.
pub(crate) const MAX_ATTRIBUTES: usize = 1024;
/// Links of one span.
pub(crate) const MAX_LINKS: usize = 128;
/// Arrays and maps within an attribute's value.
pub(crate) const MAX_DEPTH: usize = 16;
/// Series of metrics.
pub(crate) const MAX_SERIES: usize = 20_000;
/// Points over all series.
pub(crate) const MAX_POINTS: usize = 4_000_000;
/// Buckets of one histogram point.
pub(crate) const MAX_BUCKETS: usize = 4096;

/// The beginning of `text` of at most so many bytes.
pub(crate) fn cut(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The same of bytes that should be UTF-8.
pub(crate) fn cut_bytes(text: &[u8], max_bytes: usize) -> &[u8] {
    let mut end = text.len().min(max_bytes);
    // A byte that goes on a character begins with the bits 10.
    while end > 0 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_divides_a_character() {
        let text = "aé€😀";
        for max in 0..=text.len() + 1 {
            let short = cut(text, max);
            assert!(short.len() <= max && text.starts_with(short), "{max}");
            assert_eq!(cut_bytes(text.as_bytes(), max), short.as_bytes(), "{max}");
        }
        assert_eq!(cut_bytes(&[0x80; 4], 2), b"");
    }
}
