//! OTLP traces from the wire into columns in one pass, without a message in between. A body that breaks off changes
//! nothing; fields that we do not know are passed over.

use super::Walked;
use super::value::{any_value, attribute};
use super::wire::{Field, Malformed, Wire};
use crate::intake::{Intake, RawSpan};
use model::{SpanKind, SpanStatus};

/// Reads an `ExportTraceServiceRequest` (which is also a file's `TracesData`).
///
/// # Errors
/// It is cut off or no protobuf; then nothing of it was kept.
pub fn walk_traces(body: &[u8], intake: &mut Intake) -> Result<Walked, Malformed> {
    let mark = intake.mark();
    let mut walked = Walked::default();
    let mut wire = Wire::new(body);
    let mut each = || -> Result<(), Malformed> {
        while let Some((number, field)) = wire.next()? {
            if number == 1 {
                resource_spans(field.bytes()?, intake, &mut walked)?;
            }
        }
        Ok(())
    };
    let read = each();
    read.inspect_err(|_| intake.take_back(mark))?;
    Ok(walked)
}

fn resource_spans(message: &[u8], intake: &mut Intake, walked: &mut Walked) -> Result<(), Malformed> {
    // The resource may come after its spans on the wire: look for it first.
    let mut sent: &[u8] = &[];
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        if number == 1 {
            sent = field.bytes()?;
        }
    }
    if !intake.known_resource(sent) {
        intake.start_span();
        resource(sent, intake)?;
        intake.end_resource(sent);
    }
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        // 1000 was `instrumentation_library_spans`, of the same shape.
        if number == 2 || number == 1000 {
            scope_spans(field.bytes()?, intake, walked)?;
        }
    }
    Ok(())
}

fn resource(message: &[u8], intake: &mut Intake) -> Result<(), Malformed> {
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        if number == 1 {
            attribute(intake, field.bytes()?)?;
        }
    }
    Ok(())
}

fn scope_spans(message: &[u8], intake: &mut Intake, walked: &mut Walked) -> Result<(), Malformed> {
    intake.set_scope(b"");
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        match number {
            1 => {
                let mut scope = Wire::new(field.bytes()?);
                while let Some((number, field)) = scope.next()? {
                    if number == 1 {
                        intake.set_scope(field.bytes()?);
                    }
                }
            }
            2 => {
                if span(field.bytes()?, intake)? {
                    walked.kept += 1;
                } else {
                    walked.rejected += 1;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn span(message: &[u8], intake: &mut Intake) -> Result<bool, Malformed> {
    intake.start_span();
    let mut raw = RawSpan::default();
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        match (number, field) {
            (9, Field::Bytes(bytes)) => attribute(intake, bytes)?,
            (1, field) => raw.trace_id = field.bytes()?,
            (2, field) => raw.span_id = field.bytes()?,
            (3, field) => intake.trace_state(field.bytes()?),
            (4, field) => raw.parent_id = field.bytes()?,
            (5, field) => raw.name = field.bytes()?,
            (6, field) => raw.kind = SpanKind::from_number(field.number()?),
            (7, field) => raw.start_ns = field.number()?,
            (8, field) => raw.end_ns = field.number()?,
            (9, _) => return Err(Malformed { what: "attributes that are no message", at: 0 }),
            (11, field) => event(field.bytes()?, intake)?,
            (13, field) => link(field.bytes()?, intake)?,
            (15, field) => raw.status = status(field.bytes()?)?,
            _ => {}
        }
    }
    Ok(intake.end_span(&raw))
}

fn status(message: &[u8]) -> Result<SpanStatus, Malformed> {
    let mut wire = Wire::new(message);
    let mut status = SpanStatus::Unset;
    while let Some((number, field)) = wire.next()? {
        if number == 3 {
            status = SpanStatus::from_number(field.number()?);
        }
    }
    Ok(status)
}

/// An exception's type and message become attributes of its span; other events are passed over.
fn event(message: &[u8], intake: &mut Intake) -> Result<(), Malformed> {
    let mut wire = Wire::new(message);
    let mut is_exception = false;
    while let Some((number, field)) = wire.next()? {
        if number == 2 {
            is_exception = field.bytes()? == b"exception";
        }
    }
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        if number == 3 && is_exception {
            exception(field.bytes()?, intake)?;
        }
    }
    Ok(())
}

fn exception(key_value: &[u8], intake: &mut Intake) -> Result<(), Malformed> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut wire = Wire::new(key_value);
    while let Some((number, field)) = wire.next()? {
        match number {
            1 => key = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    if super::EXCEPTION_KEYS.iter().any(|known| known.as_bytes() == key)
        && let Some(key) = intake.key(key)
    {
        any_value(intake, key, value)?;
    }
    Ok(())
}

fn link(message: &[u8], intake: &mut Intake) -> Result<(), Malformed> {
    let (mut trace, mut span): (&[u8], &[u8]) = (&[], &[]);
    let mut wire = Wire::new(message);
    while let Some((number, field)) = wire.next()? {
        match number {
            1 => trace = field.bytes()?,
            2 => span = field.bytes()?,
            _ => {}
        }
    }
    intake.link(trace, span);
    Ok(())
}
