//! Every bound of what is kept between two `take`s, in one place. What exceeds one is counted in the report.

/// Text kept for spans: names, keys, values.
pub(crate) const MAX_TEXT_BYTES: usize = 2 << 30;
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
