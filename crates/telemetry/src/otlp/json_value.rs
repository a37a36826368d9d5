//! OTLP's attributes in JSON: keys with an AnyValue, of which lists and maps become JSON text; and what of an exception
//! event becomes attributes of its span.

use super::EXCEPTION_KEYS;
use crate::intake::Intake;
use crate::json::{Many, OtlpText, Record, Scalar, Values, skip, text};
use crate::report::Unusable;
use model::Value;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// One attribute after another into what is collected.
pub(super) struct Attributes<'i, 'de> {
    intake: &'i mut Intake,
    key: Cow<'de, str>,
    value: AnyValue<'de>,
}

impl<'i> Attributes<'i, '_> {
    pub(super) fn new(intake: &'i mut Intake) -> Self {
        Self { intake, key: Cow::Borrowed(""), value: AnyValue::Scalar(Scalar::Nothing) }
    }
}

impl<'de> Record<'de> for Attributes<'_, 'de> {
    fn begin(&mut self) {
        self.key = Cow::Borrowed("");
        self.value = AnyValue::Scalar(Scalar::Nothing);
    }

    #[inline]
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.key = text(map)?,
            "value" => self.value = map.next_value()?,
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self, whole: bool) {
        if whole {
            self.value.add(&self.key, self.intake);
        }
    }
}

/// OTLP's AnyValue: of its fields only one is there.
enum AnyValue<'de> {
    Scalar(Scalar<'de>),
    /// A list or map as JSON text.
    Composite(String),
    /// It points into a table of strings, which only profiles have.
    Table,
}

impl AnyValue<'_> {
    fn add(&self, key: &str, intake: &mut Intake) {
        match self {
            Self::Scalar(scalar) => add_scalar(key, scalar, intake),
            Self::Composite(text) => intake.named(key, Value::Text(text)),
            Self::Table => intake.report.count(Unusable::StringTable, 1),
        }
    }
}

/// Adds an attribute; nothing is none.
pub(crate) fn add_scalar(key: &str, value: &Scalar<'_>, intake: &mut Intake) {
    match value {
        Scalar::Nothing => {}
        Scalar::Text(text) => intake.named(key, Value::Text(text)),
        Scalar::Bool(truth) => intake.named(key, Value::Bool(*truth)),
        Scalar::Int(int) => intake.named(key, Value::Int(*int)),
        Scalar::Large(large) => intake.named(key, Value::Float(*large as f64)),
        Scalar::Float(float) => intake.named(key, Value::Float(*float)),
    }
}

impl<'de> Deserialize<'de> for AnyValue<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadAny(PhantomData))
    }
}

struct ReadAny<'de>(PhantomData<&'de ()>);

impl<'de> Visitor<'de> for ReadAny<'de> {
    type Value = AnyValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(AnyValue::Scalar(Scalar::Nothing))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(AnyValue::Scalar(Scalar::Bool(truth)))
    }

    fn visit_i64<E: Error>(self, int: i64) -> Result<Self::Value, E> {
        Ok(AnyValue::Scalar(Scalar::Int(int)))
    }

    fn visit_u64<E: Error>(self, whole: u64) -> Result<Self::Value, E> {
        Ok(AnyValue::Scalar(i64::try_from(whole).map_or(Scalar::Large(whole), Scalar::Int)))
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<Self::Value, E> {
        Ok(AnyValue::Scalar(Scalar::Float(float)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(AnyValue::Scalar(Scalar::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(AnyValue::Scalar(Scalar::Nothing))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut reader = AnyFields(AnyValue::Scalar(Scalar::Nothing));
        while let Some(name) = map.next_key_seed(FieldName)? {
            if matches!(reader.0, AnyValue::Scalar(Scalar::Nothing)) {
                reader.read(name, &mut map)?;
            } else {
                skip(&mut map)?;
            }
        }
        Ok(reader.0)
    }
}

struct AnyFields<'de>(AnyValue<'de>);

impl<'de> AnyFields<'de> {
    #[inline]
    fn read<A: MapAccess<'de>>(&mut self, name: AnyField, map: &mut A) -> Result<(), A::Error> {
        self.0 = match name {
            AnyField::Text | AnyField::Bool => {
                let scalar: Scalar<'de> = map.next_value()?;
                let fits = matches!(scalar, Scalar::Text(_) | Scalar::Bool(_));
                AnyValue::Scalar(if fits { scalar } else { Scalar::Nothing })
            }
            AnyField::Int => {
                let int = map.next_value::<Scalar<'de>>()?.int();
                AnyValue::Scalar(int.map_or(Scalar::Nothing, Scalar::Int))
            }
            AnyField::Double => {
                let double = map.next_value::<Scalar<'de>>()?.double();
                AnyValue::Scalar(double.map_or(Scalar::Nothing, Scalar::Float))
            }
            AnyField::List { pairs } => {
                let mut text = String::new();
                map.next_value_seed(Values { out: OtlpText { text: &mut text, otlp: true }, pairs })?;
                AnyValue::Composite(if text.is_empty() { "null".to_owned() } else { text })
            }
            AnyField::Table => {
                skip(map)?;
                AnyValue::Table
            }
            AnyField::Unknown => return skip(map),
        };
        Ok(())
    }
}

/// Which of AnyValue's fields.
#[derive(Clone, Copy)]
enum AnyField {
    Text,
    Bool,
    Int,
    Double,
    List { pairs: bool },
    Table,
    Unknown,
}

struct FieldName;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = AnyField;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<AnyField, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = AnyField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<AnyField, E> {
        Ok(match name {
            "stringValue" | "string_value" | "bytesValue" | "bytes_value" => AnyField::Text,
            "boolValue" | "bool_value" => AnyField::Bool,
            "intValue" | "int_value" => AnyField::Int,
            "doubleValue" | "double_value" => AnyField::Double,
            "arrayValue" | "array_value" => AnyField::List { pairs: false },
            "kvlistValue" | "kvlist_value" => AnyField::List { pairs: true },
            "stringValueStrindex" | "string_value_strindex" => AnyField::Table,
            _ => AnyField::Unknown,
        })
    }
}

/// Of exception events, type and message become attributes of the span; other events are passed over.
pub(super) struct Events<'i, 'de> {
    intake: &'i mut Intake,
    is_exception: bool,
    told: [Option<AnyValue<'de>>; EXCEPTION_KEYS.len()],
}

impl<'i> Events<'i, '_> {
    pub(super) fn new(intake: &'i mut Intake) -> Self {
        Self { intake, is_exception: false, told: [None, None] }
    }
}

impl<'de> Record<'de> for Events<'_, 'de> {
    fn begin(&mut self) {
        self.is_exception = false;
        self.told = [None, None];
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "name" => self.is_exception = text(map)? == "exception",
            "attributes" => {
                let (key, value) = (Cow::Borrowed(""), None);
                map.next_value_seed(Many(&mut EventAttributes { told: &mut self.told, key, value }))?;
            }
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self, whole: bool) {
        if whole && self.is_exception {
            for (key, value) in EXCEPTION_KEYS.iter().zip(&self.told) {
                if let Some(value) = value {
                    value.add(key, self.intake);
                }
            }
        }
    }
}

struct EventAttributes<'a, 'de> {
    told: &'a mut [Option<AnyValue<'de>>; EXCEPTION_KEYS.len()],
    key: Cow<'de, str>,
    value: Option<AnyValue<'de>>,
}

impl<'de> Record<'de> for EventAttributes<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "key" => self.key = text(map)?,
            "value" => self.value = Some(map.next_value()?),
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self, _whole: bool) {
        let (key, value) = (std::mem::take(&mut self.key), self.value.take());
        if let Some(at) = EXCEPTION_KEYS.iter().position(|known| *known == key) {
            self.told[at] = value;
        }
    }
}
