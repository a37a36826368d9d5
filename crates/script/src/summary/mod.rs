//! What a test found, in k6's shapes: the data that `handleSummary` gets, `--summary-export`, text and JUnit.

mod data;
mod export;
mod junit;
mod text;

pub(crate) use data::data;
pub(crate) use export::export;
pub(crate) use junit::junit;
pub use text::Detail;
pub(crate) use text::text;
