//! Attribute values as text that keeps their type, for the map of rare keys and for resources:
//! a text in JSON quotes, `12`, `0.5` (a float always has a point, an exponent or is a word), `true`.

use model::Value;

/// The text of a value.
pub(crate) fn encode(value: Value<'_>) -> String {
    match value {
        Value::Text(text) => serde_json::Value::from(text).to_string(),
        Value::Int(int) => int.to_string(),
        Value::Float(float) => format!("{float:?}"),
        Value::Bool(truth) => truth.to_string(),
    }
}

/// A value read back. Borrowing is not possible: a text may hold escapes.
#[derive(Debug, PartialEq)]
pub(crate) enum Owned {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Owned {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Int(int) => Value::Int(*int),
            Self::Float(float) => Value::Float(*float),
            Self::Bool(truth) => Value::Bool(*truth),
        }
    }
}

/// Reads [`encode`]'s text; `None` if it is none.
pub(crate) fn decode(text: &str) -> Option<Owned> {
    if text.starts_with('"') {
        return serde_json::from_str(text).ok().map(Owned::Text);
    }
    if let Ok(truth) = text.parse() {
        return Some(Owned::Bool(truth));
    }
    if let Ok(int) = text.parse() {
        return Some(Owned::Int(int));
    }
    text.parse().ok().map(Owned::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_keeps_its_type() {
        for value in [
            Value::Text("GET \"/\"\n"),
            Value::Text("12"),
            Value::Text("true"),
            Value::Text(""),
            Value::Int(i64::MIN),
            Value::Float(3.0),
            Value::Float(-1e300),
            Value::Float(f64::INFINITY),
            Value::Bool(false),
        ] {
            let text = encode(value);
            let back = decode(&text).unwrap();
            assert_eq!(back.value(), value, "{text}");
        }
        assert_eq!(decode("\"half"), None);
        assert_eq!(decode("what"), None);
    }
}
