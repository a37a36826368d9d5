//! The program as a user meets it on a bad day: hostile settings and files, instruments that cannot see, services that
//! die, and signals. Each is a clear error or a gap with a hint; what was measured is kept; nothing is left behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod endings;
mod inputs;
mod levels;
mod loading;
mod looping;
mod measuring;
mod service;
mod shelves;
#[path = "../support/mod.rs"]
mod support;
mod team;
