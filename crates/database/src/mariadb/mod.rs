//! The MariaDB and MySQL instrument: statements from performance_schema's digests (without it from the slow log's table),
//! plans, indexes that could help, and the state of the server. Every session is read-only with a time limit.
//!
//! Why a protocol of our own: the text protocol is a few packets, and the crates that speak it bring between 40 and 100
//! packages; the command line client is seldom where the service's database URL is known.

mod address;
mod advise;
mod auth;
mod connection;
mod digests;
mod explain;
mod health;
mod look;
mod schema;
mod slow_log;
mod wire;
mod write_cost;

pub use connection::MariaDb;
pub use digests::Digests;
pub use look::Look;
