//! The Postgres instrument: statement figures around a run, plans with what-if indexes, and schema changes that can
//! be undone; beside it the counters and the state of a Redis server, and plans and indexes of MariaDB and MySQL
//! servers and of SQLite files. What only looks is read-only; it judges nothing.

mod activity;
mod address;
mod candidates;
mod catalog;
mod change;
mod connect;
mod estimate;
mod explain;
mod expression;
mod from_plans;
mod health;
mod index;
mod jointly;
mod mariadb;
mod plans;
mod production;
mod query;
mod redis;
mod repair;
mod search_path;
mod server;
mod sessions;
mod snapshot;
mod sqlite;
mod tls;
mod tokens;
mod values;
mod what_if;

pub use change::Progress;
pub use connect::{Database, redacted};
pub use health::Observation;
pub use mariadb::{Digests, Look as MariaDbLook, MariaDb};
pub use plans::PlanOptions;
pub use redis::{CacheLook, CommandCount, Health as CacheHealth, Redis};
pub use server::Server;
pub use snapshot::Snapshot;
pub use sqlite::{Look as SqliteLook, Sqlite, Workload};
