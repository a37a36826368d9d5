//! The Postgres instrument: statement figures around a run, plans with what-if indexes, and schema changes that can
//! be undone. What only looks is read-only; it judges nothing.

mod change;
mod connect;
mod snapshot;

pub use connect::{Database, redacted};
pub use snapshot::Snapshot;
