//! `${NAME}` in a scenario's texts stands for a variable of the environment: secrets need not be in the file.

use anyhow::{Result, bail};
use load::{Operation, Scenario};
use std::collections::BTreeMap;
use std::fmt;

/// The environment, which is never shown.
#[derive(Clone, Default)]
pub struct Variables(pub BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

/// Fills headers, paths, bodies and lists of values.
///
/// # Errors
/// A variable that is not set: names it and where it stands, never a value.
pub fn fill(scenario: &mut Scenario, variables: &Variables) -> Result<()> {
    for (name, value) in &mut scenario.headers {
        one(value, variables, || format!("headers.{name}"))?;
    }
    for operation in &mut scenario.operations {
        in_operation(operation, variables)?;
    }
    for (name, variable) in &mut scenario.variables {
        if let load::Variable::List { values } = variable {
            for value in values {
                one(value, variables, || format!("variables.{name}"))?;
            }
        }
    }
    Ok(())
}

/// An operation and those that follow it.
fn in_operation(operation: &mut Operation, variables: &Variables) -> Result<()> {
    let of = |field: &str| format!("operation `{}`: {field}", operation.name);
    one(&mut operation.path, variables, || of("path"))?;
    one(&mut operation.body, variables, || of("body"))?;
    for (name, value) in &mut operation.headers {
        one(value, variables, || of(&format!("headers.{name}")))?;
    }
    operation.then.iter_mut().try_for_each(|next| in_operation(next, variables))
}

pub(crate) fn one(text: &mut String, variables: &Variables, place: impl Fn() -> String) -> Result<()> {
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let name = from[2..].split('}').next().filter(|name| is_name(name) && from.len() > name.len() + 2);
        let Some(name) = name else {
            out.push_str("${");
            rest = &from[2..];
            continue;
        };
        let Some(value) = variables.0.get(name) else {
            bail!("{}: the environment variable {name} is not set", place());
        };
        out.push_str(value);
        rest = &from[name.len() + 3..];
    }
    if rest.len() < text.len() {
        out.push_str(rest);
        *text = out;
    }
    Ok(())
}

/// As environment variables are written; anything else between the braces is the user's own text.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String> {
        let variables = Variables([("API_TOKEN".to_owned(), "hush".to_owned())].into());
        let mut text = text.to_owned();
        one(&mut text, &variables, || "headers.authorization".to_owned())?;
        Ok(text)
    }

    #[test]
    fn requests_that_follow_are_filled_in_too() {
        let text = r#"{ "base_url": "http://h", "operations": [{ "name": "a", "path": "/a", "then": [
            { "name": "b", "path": "/b", "headers": { "x": "${TOKEN}" }, "then": [{ "name": "c", "path": "/${ABSENT}" }] }
        ] }] }"#;
        let mut scenario: Scenario = serde_json::from_str(text).expect("a scenario");
        let variables = Variables([("TOKEN".to_owned(), "hush".to_owned())].into());
        let error = fill(&mut scenario, &variables).expect_err("not set").to_string();
        assert_eq!(error, "operation `c`: path: the environment variable ABSENT is not set");
        assert_eq!(scenario.operations[0].then[0].headers["x"], "hush");
    }

    #[test]
    fn names_in_capitals_are_filled_in_and_other_text_stays() {
        assert_eq!(filled("Bearer ${API_TOKEN}!").expect("filled"), "Bearer hush!");
        for text in ["${lower}", "${", "$5 {x}", "${API_TOKEN", "${}", "plain"] {
            assert_eq!(filled(text).expect("text"), text);
        }
        let error = filled("${OTHER}").expect_err("not set").to_string();
        assert_eq!(error, "headers.authorization: the environment variable OTHER is not set");
        assert!(!format!("{:?}", Variables([("A".to_owned(), "hush".to_owned())].into())).contains("hush"));
    }
}
