//! OTLP: protobuf walked on the wire and JSON, traces and metrics; logs are counted only.

mod json;
mod json_metrics;
mod json_value;
mod metrics;
mod traces;
mod tree;
mod value;
mod wire;

pub use json::read_json;
pub(crate) use json::request_field;
pub(crate) use json_value::add_scalar;
pub use metrics::walk_metrics;
pub use traces::walk_traces;
pub use wire::Malformed;

use crate::intake::Intake;
use wire::Wire;

/// Of an exception event, these become attributes of its span.
pub(crate) const EXCEPTION_KEYS: [&str; 2] = ["exception.type", "exception.message"];

/// What became of one body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Spans or points that were kept.
    pub kept: u64,
    /// Spans or points that were not; the reasons are in the report.
    pub rejected: u64,
}

/// Counts the records of an `ExportLogsServiceRequest`.
///
/// # Errors
/// It is cut off or no protobuf.
pub fn walk_logs(body: &[u8], intake: &mut Intake) -> Result<Walked, Malformed> {
    let mut records = 0;
    count_nested(body, &[1, 2, 2], &mut records)?;
    intake.report.log_records += records;
    Ok(Walked { kept: records, rejected: 0 })
}

/// Counts the messages at the end of a path of field numbers.
fn count_nested(message: &[u8], path: &[u32], found: &mut u64) -> Result<(), Malformed> {
    let Some((first, rest)) = path.split_first() else {
        *found += 1;
        return Ok(());
    };
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        if number == *first {
            count_nested(field.bytes()?, rest, found)?;
        }
    }
    Ok(())
}
