//! OTLP's AnyValue: scalars straight into columns, arrays and maps as JSON text, bytes as base64.

use super::wire::{Malformed, Wire};
use crate::base64;
use crate::bounds::MAX_DEPTH;
use crate::intake::Intake;
use crate::keys::KeyId;
use crate::report::Unusable;
use model::Value;
use serde_json::Value as Json;

/// Reads a KeyValue into the span or resource that is being collected.
#[inline]
pub(crate) fn attribute(intake: &mut Intake, key_value: &[u8]) -> Result<(), Malformed> {
    if let Some((key, value)) = plain_pair(key_value) {
        return keyed(intake, key, value);
    }
    let mut wire = Wire::new(key_value);
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut by_table = false;
    while let Some((number, field)) = wire.next()? {
        match number {
            1 => key = field.bytes()?,
            2 => value = field.bytes()?,
            3 => by_table = true,
            _ => {}
        }
    }
    if by_table && key.is_empty() {
        intake.report.count(Unusable::StringTable, 1);
        return Ok(());
    }
    keyed(intake, key, value)
}

#[inline]
fn keyed(intake: &mut Intake, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
    match intake.key(key) {
        Some(key) => any_value(intake, key, value),
        None => Ok(()),
    }
}

/// The tag of field 1 as bytes: an AnyValue's text, a KeyValue's key.
const FIRST_BYTES: u8 = 1 << 3 | 2;
/// The tag of field 2 as bytes: a KeyValue's value.
const SECOND_BYTES: u8 = 2 << 3 | 2;
/// Lengths below it take one byte.
const ONE_BYTE: u8 = 0x80;

/// Key and value of a KeyValue as nearly all are written: both fields in order, each shorter than 128 bytes, nothing
/// else. Anything else is `None` and read field by field.
#[inline]
fn plain_pair(key_value: &[u8]) -> Option<(&[u8], &[u8])> {
    let [FIRST_BYTES, length @ 0..ONE_BYTE, rest @ ..] = key_value else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*length))?;
    let [SECOND_BYTES, length @ 0..ONE_BYTE, value @ ..] = rest else { return None };
    (value.len() == usize::from(*length)).then_some((key, value))
}

/// The text of an AnyValue that holds one shorter than 128 bytes and nothing else.
#[inline]
fn plain_text(value: &[u8]) -> Option<&[u8]> {
    let [FIRST_BYTES, length @ 0..ONE_BYTE, text @ ..] = value else { return None };
    (text.len() == usize::from(*length)).then_some(text)
}

/// Reads an AnyValue; an empty one is no attribute.
#[inline]
pub(crate) fn any_value(intake: &mut Intake, key: KeyId, value: &[u8]) -> Result<(), Malformed> {
    if let Some(text) = plain_text(value) {
        intake.text(key, text);
        return Ok(());
    }
    let mut wire = Wire::new(value);
    while let Some((number, field)) = wire.next()? {
        match number {
            1 => intake.text(key, field.bytes()?),
            2 => intake.value(key, Value::Bool(field.number()? != 0)),
            3 => intake.value(key, Value::Int(field.number()?.cast_signed())),
            4 => intake.value(key, Value::Float(field.double()?)),
            5 | 6 => {
                let json = composite(number, field.bytes()?, 1)?;
                intake.value(key, Value::Text(&json.to_string()));
            }
            7 => intake.value(key, Value::Text(&base64::encode(field.bytes()?))),
            8 => intake.report.count(Unusable::StringTable, 1),
            _ => {}
        }
    }
    Ok(())
}

fn composite(kind: u32, bytes: &[u8], depth: usize) -> Result<Json, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed { what: "values nested too deep", at: 0 });
    }
    let mut wire = Wire::new(bytes);
    let mut list = Vec::new();
    let mut map = serde_json::Map::new();
    while let Some((number, field)) = wire.next()? {
        if number != 1 {
            continue;
        }
        if kind == 5 {
            list.push(json(field.bytes()?, depth)?);
        } else {
            let (key, value) = pair(field.bytes()?, depth)?;
            map.insert(key, value);
        }
    }
    Ok(if kind == 5 { Json::Array(list) } else { Json::Object(map) })
}

/// A KeyValue as text and JSON.
pub(crate) fn pair(bytes: &[u8], depth: usize) -> Result<(String, Json), Malformed> {
    let mut wire = Wire::new(bytes);
    let (mut key, mut value) = (String::new(), Json::Null);
    while let Some((number, field)) = wire.next()? {
        match number {
            1 => key = String::from_utf8_lossy(field.bytes()?).into_owned(),
            2 => value = json(field.bytes()?, depth)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn json(value: &[u8], depth: usize) -> Result<Json, Malformed> {
    let mut wire = Wire::new(value);
    let mut json = Json::Null;
    while let Some((number, field)) = wire.next()? {
        json = match number {
            1 => String::from_utf8_lossy(field.bytes()?).into(),
            2 => (field.number()? != 0).into(),
            3 => field.number()?.cast_signed().into(),
            4 => field.double()?.into(),
            5 | 6 => composite(number, field.bytes()?, depth + 1)?,
            7 => base64::encode(field.bytes()?).into(),
            _ => continue,
        };
    }
    Ok(json)
}
