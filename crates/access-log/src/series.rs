//! Names that recordings of logs use, so that others find them.

pub use model::metrics::names::{REPLY_BYTES as SIZES, REQUESTS};

/// The endpoint that stands for all paths that do not exist.
pub const NOT_FOUND: &str = "(not found)";
/// The endpoint that stands for those beyond the bound.
pub const OTHERS: &str = "(others)";
