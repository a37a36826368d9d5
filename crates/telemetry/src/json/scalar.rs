//! A scalar as senders spell it: numbers as texts and the other way round, null for nothing.

use super::fmt;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::marker::PhantomData;

/// A JSON value that should be a scalar.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Scalar<'de> {
    /// Null, or a list or object where none belongs.
    #[default]
    Nothing,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Large(u64),
    Float(f64),
    Text(Cow<'de, str>),
}

impl Scalar<'_> {
    /// The text; of another kind, the empty one.
    pub(crate) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    /// A whole number that is not negative, also as text and as a float without a fraction.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
    pub(crate) fn whole(&self) -> Option<u64> {
        match self {
            Self::Int(int) => u64::try_from(*int).ok(),
            Self::Large(large) => Some(*large),
            Self::Float(float) => {
                (*float >= 0.0 && *float < 1.8e19 && float.fract() == 0.0).then_some(*float as u64)
            }
            Self::Text(text) => text.trim().parse().ok(),
            Self::Nothing | Self::Bool(_) => None,
        }
    }

    /// A whole number of either sign, also as text.
    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            Self::Text(text) => text.trim().parse().ok(),
            other => other.whole().and_then(|whole| i64::try_from(whole).ok()),
        }
    }

    /// A number, also as text, also `NaN` and `Infinity` as protobuf's JSON writes them.
    pub(crate) fn double(&self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(*int as f64),
            Self::Large(large) => Some(*large as f64),
            Self::Float(float) => Some(*float),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Nothing | Self::Bool(_) => None,
        }
    }

    /// True, also as text.
    pub(crate) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true)) || self.text().eq_ignore_ascii_case("true")
    }
}

/// Reads a text as it is; of another kind, the empty one.
///
/// # Errors
/// The input is broken.
pub(crate) fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Cow<'de, str>, A::Error> {
    Ok(match map.next_value()? {
        Scalar::Text(text) => text,
        _ => Cow::Borrowed(""),
    })
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read(PhantomData))
    }
}

struct Read<'de>(PhantomData<&'de ()>);

impl<'de> Visitor<'de> for Read<'de> {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Bool(truth))
    }

    fn visit_i64<E: Error>(self, int: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Int(int))
    }

    fn visit_u64<E: Error>(self, whole: u64) -> Result<Scalar<'de>, E> {
        Ok(i64::try_from(whole).map_or(Scalar::Large(whole), Scalar::Int))
    }

    fn visit_f64<E: Error>(self, float: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Float(float))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_any_spelling() {
        let read = |json| serde_json::from_str::<Scalar<'_>>(json).unwrap();
        for json in ["17", "\"17\"", "\" 17 \"", "17.0", "1.7e1"] {
            assert_eq!(read(json).whole(), Some(17), "{json}");
        }
        assert_eq!(read("18446744073709551615").whole(), Some(u64::MAX));
        assert_eq!((read("-3").whole(), read("-3").int(), read("\"-3\"").int()), (None, Some(-3), Some(-3)));
        assert_eq!((read("1.5").whole(), read("\"1.5\"").double()), (None, Some(1.5)));
        assert!(read("\"NaN\"").double().is_some_and(f64::is_nan));
        assert_eq!(read("\"Infinity\"").double(), Some(f64::INFINITY));
        for json in ["null", "[1, [2]]", "{\"a\": {}}"] {
            assert_eq!(read(json), Scalar::Nothing, "{json}");
        }
    }
}
