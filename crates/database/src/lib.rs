//! The Postgres instrument: statement figures around a run, plans with what-if indexes, and schema changes that can
//! be undone; and beside it the counters and the state of a Redis server. What only looks is read-only; it judges nothing.

mod activity;
mod address;
mod candidates;
mod catalog;
mod change;
mod connect;
mod estimate;
mod explain;
mod expression;
mod health;
mod index;
mod jointly;
mod plans;
mod production;
mod redis;
mod repair;
mod snapshot;
mod tls;
mod tokens;
mod values;
mod what_if;

pub use change::Progress;
pub use connect::{Database, redacted};
pub use health::Observation;
pub use plans::PlanOptions;
pub use redis::{CacheLook, CommandCount, Health as CacheHealth, Redis};
pub use snapshot::Snapshot;
