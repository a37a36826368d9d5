//! The Redis instrument: its own counters around a run, and its state. A connection that only asks; nothing is written,
//! nothing is reset. It judges nothing.

mod connection;
mod health;
mod keys;
mod reply;
mod slow;
mod stats;

pub use connection::Redis;
pub use health::Health;
pub use stats::{CacheLook, CommandCount};
