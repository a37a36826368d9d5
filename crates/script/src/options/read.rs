//! Reads fields of an options object; every error names the field by its path.

use crate::duration;
use anyhow::{Result, bail};
use serde_json::{Map, Value};
use std::time::Duration;

pub(crate) struct Reader<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(path: impl Into<String>, map: &'a Map<String, Value>) -> Self {
        Self { path: path.into(), map }
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => bail!("{}: expected a text, not {other}", self.at(name)),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => bail!("{}: expected true or false, not {other}", self.at(name)),
        }
    }

    /// A whole number from 0; k6's scripts often give it as text from `__ENV`.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<u64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
        let number = match value {
            Value::Number(number) => number.as_u64().or_else(|| {
                number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n)).map(|n| n as u64)
            }),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => Ok(Some(number)),
            None => bail!("{}: expected a whole number from 0, not {value}", self.at(name)),
        }
    }

    pub(crate) fn users(&self, name: &str) -> Result<Option<u32>> {
        let number = self.integer(name)?;
        Ok(number.map(|n| u32::try_from(n).unwrap_or(u32::MAX)))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        match number {
            Some(number) if number >= 0.0 => Ok(Some(number)),
            _ => bail!("{}: expected a number from 0, not {value}", self.at(name)),
        }
    }

    /// `30s`, or milliseconds.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => match duration::parse(text) {
                Ok(duration) => Ok(Some(duration)),
                Err(why) => bail!("{}: {why}", self.at(name)),
            },
            Some(Value::Number(ms)) => {
                let ms = ms.as_f64().unwrap_or(-1.0);
                if !(0.0..=1e12).contains(&ms) {
                    bail!("{}: {ms} ms make no sense", self.at(name));
                }
                Ok(Some(Duration::from_secs_f64(ms / 1e3)))
            }
            Some(other) => bail!("{}: expected a duration such as 30s, not {other}", self.at(name)),
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => bail!("{}: expected an object, not {other}", self.at(name)),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Result<Option<&'a [Value]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => bail!("{}: expected a list, not {other}", self.at(name)),
        }
    }

    /// Texts, numbers and booleans by name.
    pub(crate) fn tags(&self, name: &str) -> Result<Vec<(String, String)>> {
        let Some(map) = self.object(name)? else { return Ok(Vec::new()) };
        let mut tags = Vec::new();
        for (key, value) in map {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                _ => bail!("{}.{key}: expected a text", self.at(name)),
            };
            tags.push((key.clone(), text));
        }
        Ok(tags)
    }

    /// # Errors
    /// Names the first field that is none of these.
    pub(crate) fn only(&self, known: &[&str]) -> Result<()> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                bail!("{}: there is no such field, expected one of {}", self.at(key), known.join(", "))
            }
        }
    }
}
