//! Traces and metrics in: OTLP over HTTP and gRPC, trace files of four kinds, the query interfaces of Jaeger and Tempo,
//! Prometheus, figures of host and processes.
//! It keeps what was sent, within named bounds, and counts what it could not keep; it judges nothing and reads no
//! clock (`Clock` is passed in).

mod base64;
mod bounds;
mod distribution;
pub mod files;
pub mod host;
mod inflate;
mod intake;
mod json;
mod keys;
mod metric_store;
pub mod otlp;
pub mod prometheus;
pub mod query;
mod receiver;
mod report;

pub use intake::{Batch, Intake, RawSpan};
pub use receiver::{Handle, Options, Receiver, bind};
pub use report::{IngestReport, Unusable};

/// Unix time in nanoseconds; the program owns the clock.
pub type Clock = fn() -> u64;
