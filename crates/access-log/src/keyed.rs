//! Lines of named values: JSON objects and `key=value`. Which key means what is looked up once per key and kept.

use crate::fields::{Fields, Scalar, Unit};
use crate::names::{self, Meaning};
use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Different keys that are remembered for each object; others are looked up each time.
const MAX_KEYS: usize = 500;
/// Objects within objects that are looked into.
const MAX_DEPTH: usize = 4;
/// Different objects that are looked into; others are passed over.
const MAX_OBJECTS: usize = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Use {
    meaning: Option<Meaning>,
    /// Its number, where it is an object to look into.
    object: Option<usize>,
}

/// Normalised names from the root to an object, and its keys.
type Object = (Vec<String>, HashMap<Box<str>, Use>);

/// What keys mean in this log.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The first is the root.
    objects: Vec<Object>,
    /// The unit of durations whose name does not tell it.
    pub(crate) unit: Option<Unit>,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { objects: vec![(Vec::new(), HashMap::new())], unit: None }
    }

    fn use_of(&mut self, object: usize, key: &str) -> Use {
        if let Some(known) = self.objects[object].1.get(key) {
            return *known;
        }
        let parents: Vec<&str> = self.objects[object].0.iter().map(String::as_str).collect();
        let meaning = names::meaning(&parents, key);
        let name = names::normalise(key);
        let opens = parents.len() < MAX_DEPTH && names::CONTAINERS.contains(&name.as_str());
        let place: Vec<String> = self.objects[object].0.iter().cloned().chain([name]).collect();
        let inner = (opens && self.objects.len() < MAX_OBJECTS).then(|| {
            self.objects.push((place, HashMap::new()));
            self.objects.len() - 1
        });
        let found = Use { meaning, object: inner };
        if self.objects[object].1.len() < MAX_KEYS {
            self.objects[object].1.insert(key.into(), found);
        }
        found
    }

    fn set<'a>(&self, fields: &mut Fields<'a>, meaning: Meaning, value: Scalar<'a>) {
        fields.set(meaning.field, meaning.rank, meaning.unit.or(self.unit), value);
    }

    /// Fills `fields` from an object of JSON; `false` where the line is none.
    pub(crate) fn read_json<'a>(&mut self, line: &'a str, fields: &mut Fields<'a>) -> bool {
        let mut json = serde_json::Deserializer::from_str(line);
        let seed = Walk { keys: self, fields, of: Use { meaning: None, object: Some(0) }, root: true };
        seed.deserialize(&mut json).is_ok() && json.end().is_ok()
    }

    /// Fills `fields` from `key=value key="quoted value"`; `false` where the line holds no pair.
    pub(crate) fn read_pairs<'a>(&mut self, line: &'a str, fields: &mut Fields<'a>) -> bool {
        let mut rest = line;
        let mut pairs = 0;
        while let Some(at) = rest.find('=') {
            let key = rest[..at].rsplit([' ', '\t', ',']).next().unwrap_or("");
            rest = &rest[at + 1..];
            let value = match rest.strip_prefix('"') {
                Some(inner) => {
                    let end = closing_quote(inner);
                    rest = inner.get(end + 1..).unwrap_or("");
                    unescaped(&inner[..end])
                }
                None => {
                    let end = rest.find([' ', '\t']).unwrap_or(rest.len());
                    let value = rest[..end].trim_end_matches(',');
                    rest = &rest[end..];
                    Cow::Borrowed(value)
                }
            };
            pairs += 1;
            if let Some(meaning) = self.use_of(0, key).meaning {
                self.set(fields, meaning, Scalar::Text(value));
            }
        }
        pairs > 0
    }
}

fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    text.len()
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if text.contains('\\') {
        return Cow::Owned(text.replace("\\\"", "\"").replace("\\\\", "\\"));
    }
    Cow::Borrowed(text)
}

/// One value of JSON, kept or looked into as its key says.
struct Walk<'k, 'de> {
    keys: &'k mut Keys,
    fields: &'k mut Fields<'de>,
    of: Use,
    /// The line itself: anything but an object is refused.
    root: bool,
}

impl<'de> Walk<'_, 'de> {
    fn keep(self, value: Scalar<'de>) {
        if let Some(meaning) = self.of.meaning {
            self.keys.set(self.fields, meaning, value);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.of == Use::default() {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.root { "an object" } else { "a value" })
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.keep(Scalar::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.keep(Scalar::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        // Times in nanoseconds are larger than what a float holds.
        let value = if number > 1 << 53 {
            Scalar::Text(Cow::Owned(number.to_string()))
        } else {
            Scalar::Number(number as f64)
        };
        self.keep(value);
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.keep(Scalar::Number(number));
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    /// Headers are lists of one.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { keys, fields, of, .. } = self;
        let first = Walk { keys, fields, of: Use { object: None, ..of }, root: false };
        if list.next_element_seed(first)?.is_some() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { keys, fields, of, .. } = self;
        let Some(object) = of.object else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while let Some(key) = map.next_key_seed(Text)? {
            let of = keys.use_of(object, &key);
            map.next_value_seed(Walk { keys, fields, of, root: false })?;
        }
        Ok(())
    }
}

/// A key, borrowed where it holds no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
