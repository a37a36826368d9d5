//! Text with `{{variable}}` in it, parsed once; filling in is appending.

use anyhow::{Result, bail};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// How a drawn value is written into the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// As it is: bodies and headers.
    None,
    /// Percent-encoded but for the unreserved characters of RFC 3986: paths and queries.
    Path,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Index into the names that the template was parsed with.
    Variable(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Parses `text`; `variable` gives the index of a name.
    ///
    /// # Errors
    /// An unknown variable, `{{` without `}}`, an empty name.
    pub(crate) fn parse(text: &str, mut variable: impl FnMut(&str) -> Option<usize>) -> Result<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let Some(length) = rest[open + 2..].find("}}") else {
                bail!("`{{{{` without `}}}}` in `{text}`");
            };
            let name = rest[open + 2..open + 2 + length].trim();
            let Some(index) = variable(name) else {
                bail!("unknown variable `{name}`, define it under `variables`");
            };
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            parts.push(Part::Variable(index));
            rest = &rest[open + 2 + length + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text, where it holds no variable.
    pub(crate) fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with `values` filled in.
    pub(crate) fn fill(&self, values: &[String], escape: Escape) -> String {
        let mut text = String::with_capacity(64);
        self.append(values, escape, &mut text);
        text
    }

    /// As [`Self::fill`], at the end of `text`.
    pub(crate) fn append(&self, values: &[String], escape: Escape, text: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Variable(at) if escape == Escape::Path => percent_encode(&values[*at], text),
                Part::Variable(at) => text.push_str(&values[*at]),
            }
        }
    }
}

/// The names between `{{` and `}}`.
pub(crate) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()))
}

fn percent_encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template> {
        Template::parse(text, |name| ["id", "name"].iter().position(|known| *known == name))
    }

    #[test]
    fn variables_are_filled_in() {
        let values = ["7".to_owned(), "a b/ü".to_owned()];
        let template = parse("/x/{{id}}/{{ name }}?y={{id}}").unwrap();
        assert_eq!(template.fill(&values, Escape::Path), "/x/7/a%20b%2F%C3%BC?y=7");
        assert_eq!(template.fill(&values, Escape::None), "/x/7/a b/ü?y=7");
        assert_eq!(parse("/plain {x}").unwrap().fixed(), Some("/plain {x}"));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert!(parse("/{{ids}}").unwrap_err().to_string().contains("unknown variable `ids`"));
        assert!(parse("/{{id}").unwrap_err().to_string().contains("without `}}`"));
        assert!(parse("/{{}}").unwrap_err().to_string().contains("unknown variable ``"));
    }
}
