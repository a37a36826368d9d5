//! YAML (and JSON, which is YAML) to a JSON value, from the parser's events. Aliases are followed within a bound, so that
//! a small file cannot become a large one.

use anyhow::{Context, Result, bail, ensure};
use hashbrown::HashMap;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Values in all, those of aliases counted each time.
const MAX_VALUES: usize = 2_000_000;
const MAX_DEPTH: usize = 100;

/// A document of JSON or YAML.
///
/// # Errors
/// It is neither; names the line.
pub fn document(text: &str) -> Result<Value> {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(json) = serde_json::from_str(text)
    {
        return Ok(json);
    }
    let mut build = Build::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.context("it is neither JSON nor YAML")?;
        if build.take(event)? {
            break;
        }
    }
    build.root.context("it holds no document")
}

enum Open {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Map(Map<String, Value>, Option<String>),
}

#[derive(Default)]
struct Build {
    open: Vec<(Open, usize)>,
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
    root: Option<Value>,
}

impl Build {
    /// `true` at the end of the first document.
    fn take(&mut self, event: Event<'_>) -> Result<bool> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value =
                    if style == ScalarStyle::Plain { plain(&text) } else { Value::String(text.into_owned()) };
                self.put(value, anchor, 1)?;
            }
            Event::SequenceStart(anchor, _) => self.push(Open::List(Vec::new()), anchor)?,
            Event::MappingStart(anchor, _) => self.push(Open::Map(Map::new(), None), anchor)?,
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((open, anchor)) = self.open.pop() else { bail!("it ends before it begins") };
                let value = match open {
                    Open::List(items) => Value::Array(items),
                    Open::Map(members, _) => Value::Object(members),
                };
                self.put(value, anchor, 1)?;
            }
            Event::Alias(anchor) => {
                let (value, size) =
                    self.anchors.get(&anchor).cloned().context("an alias without an anchor")?;
                self.put(value, 0, size)?;
            }
            Event::DocumentEnd => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn push(&mut self, open: Open, anchor: usize) -> Result<()> {
        ensure!(self.open.len() < MAX_DEPTH, "more than {MAX_DEPTH} levels");
        self.open.push((open, anchor));
        Ok(())
    }

    fn put(&mut self, value: Value, anchor: usize, size: usize) -> Result<()> {
        self.values += size;
        ensure!(self.values <= MAX_VALUES, "more than {MAX_VALUES} values: aliases that repeat each other?");
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), count(&value)));
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some((Open::List(items), _)) => items.push(value),
            Some((Open::Map(members, key), _)) => match key.take() {
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
                Some(key) => {
                    // `<<: *defaults` adds what is not there.
                    if let (true, Value::Object(defaults)) = (key == "<<", &value) {
                        for (name, value) in defaults {
                            members.entry(name.clone()).or_insert_with(|| value.clone());
                        }
                    } else {
                        members.insert(key, value);
                    }
                }
            },
        }
        Ok(())
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// A scalar without quotes, by YAML 1.2's core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Value::from(whole);
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
    match text.parse::<f64>().ok().filter(|_| numeric).and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_is_read_as_json_is() {
        let text = "a: 1\nb: [x, 'y', 1.5]\nc: &base\n  d: true\ne:\n  <<: *base\n  f: |\n    two\n    lines\n200:\n  g: ~\n";
        let expected = json!({"a": 1, "b": ["x", "y", 1.5], "c": {"d": true}, "e": {"d": true, "f": "two\nlines\n"}, "200": {"g": null}});
        assert_eq!(document(text).unwrap(), expected);
        assert_eq!(document("{\"a\": [1, \"b\"]}").unwrap(), json!({"a": [1, "b"]}));
    }

    #[test]
    fn what_is_broken_or_would_grow_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let items = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{items}]\n"));
        }
        for (text, part) in [
            (bomb.as_str(), "more than 2000000 values"),
            (&"[".repeat(5000), ""),
            ("a: [1, 2", "neither JSON nor YAML"),
            ("", "no document"),
        ] {
            let error = format!("{:#}", document(text).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
