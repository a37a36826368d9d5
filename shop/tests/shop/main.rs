//! The shop against a real Postgres and a real Redis: every switch changes how, never what.

mod support;

mod operations;
mod queues;
mod switches;
mod telemetry;
