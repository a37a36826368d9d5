//! Which endpoint costs what, found by the program on a real server without traces; and the change that follows from it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mariadb;
#[path = "../support/mariadb.rs"]
mod mariadb_server;
mod predicted;
mod proof;
mod redis;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod told;
mod trouble;
