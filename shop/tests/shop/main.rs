//! The shop against a real Postgres and a real Redis: every switch changes how, never what.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

mod operations;
mod queues;
mod switches;
mod telemetry;
