//! Parts of a response: where a part lies, what it must be, and what is remembered of it for the steps that follow.

use crate::http::Response;
use anyhow::{Context, Result, bail};
use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A remembered part is cut here.
const MAX_PART_BYTES: usize = 64 << 10;

/// Where a part of a response lies: one of the three; none of them is the whole body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// A JSON pointer (RFC 6901) into the body: `/items/0/id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// Name of a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A pattern in the body; its first group, or all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

/// What a part of a response must be. Without `equals` and `contains` it must be there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// A part, ready to be looked up.
#[derive(Clone, Debug)]
pub(crate) enum Finder {
    Body,
    Json(String),
    Header(String),
    Regex(Regex),
}

impl Part {
    pub(crate) fn finder(&self) -> Result<Finder> {
        match (&self.json, &self.header, &self.regex) {
            (None, None, None) => Ok(Finder::Body),
            (Some(pointer), None, None) if pointer.is_empty() || pointer.starts_with('/') => {
                Ok(Finder::Json(pointer.clone()))
            }
            (Some(pointer), None, None) => bail!("json: `{pointer}` is no JSON pointer, it begins with `/`"),
            (None, Some(name), None) => Ok(Finder::Header(name.clone())),
            (None, None, Some(pattern)) => {
                Ok(Finder::Regex(Regex::new(pattern).with_context(|| format!("regex: `{pattern}`"))?))
            }
            _ => bail!("give one of `json`, `header` and `regex`"),
        }
    }
}

/// A response whose body is read as JSON at most once.
pub(crate) struct Parts<'a> {
    response: &'a Response,
    json: Option<Option<Value>>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(response: &'a Response) -> Self {
        Self { response, json: None }
    }

    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.response.body)
    }

    /// The part as text; JSON strings without their quotes.
    pub(crate) fn find(&mut self, finder: &Finder) -> Option<String> {
        let mut part = match finder {
            Finder::Body => self.text().into_owned(),
            Finder::Header(name) => {
                self.response.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned())?
            }
            Finder::Regex(regex) => {
                let text = self.text();
                let found = regex.captures(&text)?;
                found.get(1).or_else(|| found.get(0))?.as_str().to_owned()
            }
            Finder::Json(pointer) => match self.json()?.pointer(pointer)? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        };
        if part.len() > MAX_PART_BYTES {
            let end = (0..=MAX_PART_BYTES).rev().find(|at| part.is_char_boundary(*at)).unwrap_or(0);
            part.truncate(end);
        }
        Some(part)
    }

    fn json(&mut self) -> Option<&Value> {
        let body = &self.response.body;
        self.json.get_or_insert_with(|| serde_json::from_slice(body).ok()).as_ref()
    }
}

/// A check, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    finder: Finder,
    equals: Option<String>,
    contains: Option<String>,
    /// What is asked, and what failed, for people; they hold nothing of the response.
    pub(crate) name: String,
    pub(crate) failure: String,
}

impl Check {
    pub(crate) fn question(&self) -> Result<Question> {
        let part = Part { json: self.json.clone(), header: self.header.clone(), regex: self.regex.clone() };
        let finder = part.finder()?;
        if matches!(finder, Finder::Body) && self.equals.is_none() && self.contains.is_none() {
            bail!("it asks for nothing: give `json`, `header` or `regex`, `equals` or `contains`");
        }
        let equals = self.equals.as_ref().map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let place = match &finder {
            Finder::Body => "the body".to_owned(),
            Finder::Json(pointer) => format!("json {pointer}"),
            Finder::Header(name) => format!("header {name}"),
            Finder::Regex(regex) => format!("regex {}", regex.as_str()),
        };
        let (asked, failed) = match (&equals, &self.contains) {
            (Some(value), _) => (format!("is `{value}`"), format!("is not `{value}`")),
            (None, Some(value)) => (format!("contains `{value}`"), format!("does not contain `{value}`")),
            (None, None) => ("is there".to_owned(), "is missing".to_owned()),
        };
        let (name, failure) = (format!("{place} {asked}"), format!("{place} {failed}"));
        Ok(Question { finder, equals, contains: self.contains.clone(), name, failure })
    }
}

impl Question {
    pub(crate) fn holds(&self, parts: &mut Parts<'_>) -> bool {
        let Some(part) = parts.find(&self.finder) else { return false };
        self.equals.as_ref().is_none_or(|value| part == *value)
            && self.contains.as_ref().is_none_or(|value| part.contains(value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Headers;
    use std::time::Instant;

    fn response() -> Response {
        let mut response = Response::none(Instant::now());
        response.headers = Headers::new();
        response.headers.push("Location", "/orders/7").unwrap();
        response.body = r#"{"id": 7, "state": "paid", "items": [{"sku": "a\"b"}]}"#.into();
        response
    }

    fn find(part: &Part) -> Option<String> {
        Parts::of(&response()).find(&part.finder().unwrap())
    }

    fn json(pointer: &str) -> Part {
        Part { json: Some(pointer.to_owned()), ..Part::default() }
    }

    #[test]
    fn parts_are_found_by_pointer_header_and_pattern() {
        assert_eq!(find(&json("/id")).unwrap(), "7");
        assert_eq!(find(&json("/items/0/sku")).unwrap(), "a\"b");
        assert_eq!(find(&json("/items/1")), None);
        assert_eq!(find(&Part { header: Some("location".into()), ..Part::default() }).unwrap(), "/orders/7");
        let regex = |text: &str| Part { regex: Some(text.into()), ..Part::default() };
        assert_eq!(find(&regex(r#""id": (\d+)"#)).unwrap(), "7");
        assert_eq!(find(&regex("paid")).unwrap(), "paid");
    }

    #[test]
    fn checks_ask_for_presence_equality_and_content() {
        let holds = |text: &str| {
            let check: Check = toml::from_str(text).unwrap();
            check.question().unwrap().holds(&mut Parts::of(&response()))
        };
        assert!(holds("json = '/state'\nequals = 'paid'"));
        assert!(holds("json = '/id'\nequals = 7"));
        assert!(holds("contains = 'sku'"));
        assert!(!holds("json = '/state'\nequals = 'open'"));
        assert!(!holds("header = 'etag'"));
        let check: Check = toml::from_str("json = '/id'\nequals = 8").unwrap();
        let question = check.question().unwrap();
        assert_eq!(
            (question.name.as_str(), question.failure.as_str()),
            ("json /id is `8`", "json /id is not `8`")
        );
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for (text, problem) in [
            ("", "it asks for nothing"),
            ("json = 'id'", "no JSON pointer"),
            ("regex = '('", "regex: `(`"),
            ("json = '/a'\nheader = 'b'", "give one of"),
        ] {
            let check: Check = toml::from_str(text).unwrap();
            let error = format!("{:#}", check.question().unwrap_err());
            assert!(error.contains(problem), "{error}");
        }
    }
}
