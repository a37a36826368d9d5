//! Lists and maps within an attribute: they are kept as JSON text, of bounded length, written while they are read.

use super::{Scalar, fmt};
use crate::bounds::{MAX_COMPOSITE_BYTES, cut};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;

/// Writes a value as text. With `otlp`, an object of one `...Value` is OTLP's way to write the value within.
pub(crate) struct OtlpText<'a> {
    pub(crate) text: &'a mut String,
    pub(crate) otlp: bool,
}

impl OtlpText<'_> {
    fn part(&mut self) -> OtlpText<'_> {
        OtlpText { text: &mut *self.text, otlp: self.otlp }
    }

    fn push(&mut self, piece: &str) {
        if self.text.len() < MAX_COMPOSITE_BYTES {
            self.text.push_str(piece);
        }
    }

    fn quote(&mut self, piece: &str) {
        if self.text.len() < MAX_COMPOSITE_BYTES {
            let piece = cut(piece, MAX_COMPOSITE_BYTES);
            self.text.push_str(&serde_json::Value::from(piece).to_string());
        }
    }

    fn scalar(&mut self, scalar: &Scalar<'_>) {
        match scalar {
            Scalar::Nothing => self.push("null"),
            Scalar::Bool(truth) => self.push(if *truth { "true" } else { "false" }),
            Scalar::Int(int) => self.push(&int.to_string()),
            Scalar::Large(large) => self.push(&large.to_string()),
            Scalar::Float(float) => self.push(&serde_json::Value::from(*float).to_string()),
            Scalar::Text(text) => self.quote(text),
        }
    }
}

impl<'de> DeserializeSeed<'de> for OtlpText<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OtlpText<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        self.push("null");
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, truth: bool) -> Result<(), E> {
        self.scalar(&Scalar::Bool(truth));
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, int: i64) -> Result<(), E> {
        self.scalar(&Scalar::Int(int));
        Ok(())
    }

    fn visit_u64<E: Error>(mut self, whole: u64) -> Result<(), E> {
        self.scalar(&Scalar::Large(whole));
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, float: f64) -> Result<(), E> {
        self.scalar(&Scalar::Float(float));
        Ok(())
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        self.quote(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.push("[");
        let mut before = self.text.len();
        while list.next_element_seed(self.part())?.is_some() {
            // A comma after each, and the last one taken back: what follows is not known beforehand.
            before = self.text.len();
            self.push(",");
        }
        if self.text.ends_with(',') && self.text.len() == before + 1 {
            self.text.truncate(before);
        }
        self.push("]");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        if self.otlp {
            return any_value(&mut self, &mut map);
        }
        self.push("{");
        let mut first = true;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if !std::mem::take(&mut first) {
                self.push(",");
            }
            self.quote(&name);
            self.push(":");
            map.next_value_seed(self.part())?;
        }
        self.push("}");
        Ok(())
    }
}

/// The first field that names a value is the value; without any it is null.
fn any_value<'de, A: MapAccess<'de>>(out: &mut OtlpText<'_>, map: &mut A) -> Result<(), A::Error> {
    let begin = out.text.len();
    while let Some(name) = map.next_key::<Cow<'de, str>>()? {
        if out.text.len() > begin {
            map.next_value::<IgnoredAny>()?;
            continue;
        }
        match name.as_ref() {
            "stringValue" | "string_value" | "bytesValue" | "bytes_value" | "boolValue" | "bool_value" => {
                let scalar: Scalar<'de> = map.next_value()?;
                out.scalar(&scalar);
            }
            "intValue" | "int_value" => {
                let scalar: Scalar<'de> = map.next_value()?;
                out.scalar(&scalar.int().map_or(Scalar::Nothing, Scalar::Int));
            }
            "doubleValue" | "double_value" => {
                let scalar: Scalar<'de> = map.next_value()?;
                out.scalar(&scalar.double().map_or(Scalar::Nothing, Scalar::Float));
            }
            "arrayValue" | "array_value" => map.next_value_seed(Values { out: out.part(), pairs: false })?,
            "kvlistValue" | "kvlist_value" => map.next_value_seed(Values { out: out.part(), pairs: true })?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
    }
    if out.text.len() == begin {
        out.push("null");
    }
    Ok(())
}

/// OTLP's `{"values": [...]}`: a list of values, or of pairs of key and value.
pub(crate) struct Values<'a> {
    pub(crate) out: OtlpText<'a>,
    pub(crate) pairs: bool,
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();
    super::pass_over_scalars!();

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == "values" && !seen {
                seen = true;
                if self.pairs {
                    map.next_value_seed(Pairs(self.out.part()))?;
                } else {
                    map.next_value_seed(self.out.part())?;
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if !seen {
            self.out.push(if self.pairs { "{}" } else { "[]" });
        }
        Ok(())
    }
}

/// A list of OTLP's pairs as an object.
struct Pairs<'a>(OtlpText<'a>);

impl<'de> DeserializeSeed<'de> for Pairs<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pairs<'_> {
    type Value = ();
    super::pass_over_scalars!();

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.0.push("{");
        let mut before = self.0.text.len();
        while list.next_element_seed(Pair(self.0.part()))?.is_some() {
            before = self.0.text.len();
            self.0.push(",");
        }
        if self.0.text.ends_with(',') && self.0.text.len() == before + 1 {
            self.0.text.truncate(before);
        }
        self.0.push("}");
        Ok(())
    }
}

/// One of them as `"key":value`, also where the value comes first.
struct Pair<'a>(OtlpText<'a>);

impl<'de> DeserializeSeed<'de> for Pair<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_> {
    type Value = ();
    super::pass_over_scalars!();

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut key: Cow<'de, str> = Cow::Borrowed("");
        let mut value = String::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match name.as_ref() {
                "key" => key = super::text(&mut map)?,
                "value" => {
                    value.clear();
                    map.next_value_seed(OtlpText { text: &mut value, otlp: true })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        self.0.quote(&key);
        self.0.push(":");
        self.0.push(if value.is_empty() { "null" } else { &value });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str, otlp: bool) -> String {
        let mut text = String::new();
        let mut reader = serde_json::Deserializer::from_str(json);
        OtlpText { text: &mut text, otlp }.deserialize(&mut reader).unwrap();
        text
    }

    #[test]
    fn plain_json_comes_back() {
        for json in [r#"[1,"a\n",[],{},[{"k":[true,null]}],-2.5]"#, "{}", "[]", "7", r#"{"a":1,"b":[2,3]}"#] {
            assert_eq!(written(json, false), json);
        }
    }

    #[test]
    fn otlp_values_become_plain_json() {
        let json = r#"{"arrayValue":{"values":[{"intValue":"7"},{"kvlistValue":{"values":[
            {"value":{"doubleValue":0.5},"key":"a"},{"key":"b","value":{"arrayValue":{}}},{"key":"c"}]}},{}]}}"#;
        assert_eq!(written(json, true), r#"[7,{"a":0.5,"b":[],"c":null},null]"#);
    }

    #[test]
    fn a_list_without_end_stops_at_the_bound() {
        let long = format!("[{}1]", "[\"some text\"],".repeat(100_000));
        let text = written(&long, false);
        assert!(text.len() < MAX_COMPOSITE_BYTES + 64, "{}", text.len());
        let one = format!("[\"{}\"]", "x".repeat(10 << 20));
        assert!(written(&one, false).len() < MAX_COMPOSITE_BYTES + 64);
    }
}
