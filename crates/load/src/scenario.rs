//! What: the mix of operations as a user writes it, and its check. Knows neither when nor how it is sent.

use crate::extract::{Check, Part};
use crate::template::Template;
use crate::{Expect, Variable};
use anyhow::{Context, Result, bail};
use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use net::Target;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// More operations than this are refused: each has its own histograms per cell of time.
pub(crate) const MAX_OPERATIONS: usize = 1000;
/// Longest pause between two requests of a flow.
const MAX_PAUSE_S: f64 = 3600.0;

/// A weighted mix of operations on one service. `[load]` in `trimtab.toml`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// `http://host:port/base`; user and password become basic authorization.
    pub base_url: String,
    /// Sent with every operation; an operation's own win. May hold variables.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub operations: Vec<Operation>,
    /// Drawn anew for each request, once per request however often it is named.
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
}

/// One kind of request. Path, body and header values may hold `{{variable}}`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// As goals and reports name it: `GET /customers/{id}/orders`.
    pub name: String,
    /// Share of the arrivals, relative to the other operations.
    #[serde(default = "one")]
    pub weight: f64,
    #[serde(default = "get")]
    pub method: String,
    /// Below the base URL, with its query.
    pub path: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: String,
    /// Statuses that are no error.
    #[serde(default)]
    pub expect: Expect,
    /// What the response must hold; a check that fails is an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<Check>,
    /// Parts of the response that the requests in `then` can name as variables; a part that is missing is an error.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extract: BTreeMap<String, Part>,
    /// Seconds that the user waits before this request, where it follows another one.
    #[serde(default)]
    pub pause_s: f64,
    /// Requests that the same user sends next, one after the other, as long as each is answered as expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Operation>,
}

impl Operation {
    /// This request and those that follow it.
    pub(crate) fn steps(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.then.iter().flat_map(Self::steps)).collect()
    }
}

fn one() -> f64 {
    1.0
}

fn get() -> String {
    "GET".to_owned()
}

impl Scenario {
    /// # Errors
    /// Whatever could not be sent: a bad URL, no operations, a name twice, a weight that is no positive number,
    /// an unknown variable, a bad method, path or header. Names the field.
    pub fn check(&self) -> Result<()> {
        Target::parse(&self.base_url).context("base_url")?;
        if self.operations.is_empty() {
            bail!("operations: there is none, give at least one with `name` and `path`");
        }
        for (name, variable) in &self.variables {
            variable.check().with_context(|| format!("variables.{name}"))?;
        }
        self.check_headers(&self.headers, &BTreeSet::new())?;
        let mut names = BTreeSet::new();
        for (at, operation) in self.operations.iter().enumerate() {
            let mut known = BTreeSet::new();
            for step in operation.steps() {
                let named = || format!("operations[{at}] `{}`", step.name);
                self.check_operation(step, &known).with_context(named)?;
                known.extend(step.extract.keys().map(String::as_str));
                if !names.insert(&step.name) {
                    bail!("{}: name: another operation has it already", named());
                }
            }
        }
        if names.len() > MAX_OPERATIONS {
            bail!("operations: {} are more than {MAX_OPERATIONS}", names.len());
        }
        Ok(())
    }

    fn check_operation(&self, operation: &Operation, extracted: &BTreeSet<&str>) -> Result<()> {
        if operation.name.trim().is_empty() {
            bail!("name: it is empty");
        }
        if !(operation.weight > 0.0 && operation.weight.is_finite()) {
            bail!("weight: {} is no number above 0", operation.weight);
        }
        if operation.method.parse::<http::Method>().is_err() {
            bail!("method: `{}` is no HTTP method", operation.method);
        }
        if !operation.path.starts_with('/') {
            bail!("path: it must begin with `/`");
        }
        // A value in a path is percent-encoded, so that any stands for all.
        let sample = self.sample(&operation.path, extracted).context("path")?;
        if PathAndQuery::try_from(sample.as_str()).is_err() {
            bail!("path: a space or another character in it must be percent-encoded");
        }
        self.check_headers(&operation.headers, extracted)?;
        self.sample(&operation.body, extracted).context("body")?;
        if !(0.0..=MAX_PAUSE_S).contains(&operation.pause_s) {
            bail!("pause_s: {} is no number of seconds from 0 to {MAX_PAUSE_S}", operation.pause_s);
        }
        for (at, check) in operation.check.iter().enumerate() {
            check.question().with_context(|| format!("check[{at}]"))?;
        }
        for (name, part) in &operation.extract {
            part.finder().with_context(|| format!("extract.{name}"))?;
        }
        Ok(())
    }

    fn check_headers(&self, headers: &BTreeMap<String, String>, extracted: &BTreeSet<&str>) -> Result<()> {
        for (name, value) in headers {
            HeaderName::try_from(name.as_str()).with_context(|| format!("headers: bad name `{name}`"))?;
            let sample = self.sample(value, extracted).with_context(|| format!("headers.{name}"))?;
            // The value may be a secret, so that it is not repeated.
            HeaderValue::try_from(sample)
                .with_context(|| format!("headers.{name}: a value cannot be sent"))?;
        }
        Ok(())
    }

    /// The text with `x` for each variable.
    fn sample(&self, text: &str, extracted: &BTreeSet<&str>) -> Result<String> {
        let known = |name: &str| self.variables.contains_key(name) || extracted.contains(name);
        let template = Template::parse(text, |name| known(name).then_some(0))?;
        Ok(template.fill(&["x".to_owned()], crate::template::Escape::None))
    }
}

/// Header values, bodies and queries may hold secrets: they are not shown.
impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("base_url", &net::display_url(&self.base_url))
            .field("operations", &self.operations)
            .field("variables", &self.variables.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (weight {})", self.name, self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
base_url = "http://ann:hush@127.0.0.1:8080/api?key=hush"
headers = { authorization = "Bearer hush" }

[[operations]]
name = "GET /customers/{id}/orders"
weight = 3
path = "/customers/{{customer}}/orders"

[[operations]]
name = "POST /orders"
method = "POST"
path = "/orders"
headers = { content-type = "application/json" }
body = '{"customer": {{customer}}, "note": "{{note}}"}'
expect = [201, "409"]

[variables]
customer = { kind = "integer", from = 1, to = 20000, skew = 1.1 }
note = { kind = "text", length = 8 }
"#;

    fn refused(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        match toml::from_str::<Scenario>(&GOOD.replacen(from, to, 1)) {
            Ok(scenario) => format!("{:#}", scenario.check().unwrap_err()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_good_scenario_is_read_and_written_back() {
        let scenario: Scenario = toml::from_str(GOOD).unwrap();
        scenario.check().unwrap();
        assert_eq!(scenario.operations[0].method, "GET");
        let back: Scenario = toml::from_str(&toml::to_string(&scenario).unwrap()).unwrap();
        assert_eq!(back, scenario);
        assert!(!format!("{scenario:?}").contains("hush"), "{scenario:?}");
    }

    #[test]
    fn bad_scenarios_are_refused_by_field_and_without_secrets() {
        for (from, to, problem) in [
            ("http://", "ftp://", "base_url: bad URL `ftp://127.0.0.1:8080/api`"),
            ("weight = 3", "weight = 0", "operations[0] `GET /customers/{id}/orders`: weight: 0"),
            ("weight = 3", "weight = nan", "weight: NaN"),
            ("weight = 3", "wait = 3", "unknown field `wait`"),
            ("{{customer}}/", "{{costumer}}/", "path: unknown variable `costumer`"),
            ("\"{{note}}\"", "\"{{note\"", "body: `{{` without `}}`"),
            ("name = \"POST /orders\"", "name = \"GET /customers/{id}/orders\"", "operations[1]"),
            ("method = \"POST\"", "method = \"PO ST\"", "method: `PO ST`"),
            ("path = \"/orders\"", "path = \"orders\"", "path: it must begin with `/`"),
            ("path = \"/orders\"", "path = \"/or ders\"", "path: a space"),
            ("content-type", "\"content type\"", "headers: bad name `content type`"),
            ("Bearer hush", "Bearer \\nhush", "headers.authorization: a value cannot be sent"),
            ("from = 1,", "from = 30000,", "variables.customer: from: 30000"),
            ("kind = \"text\"", "kind = \"poem\"", "unknown variant `poem`"),
            ("weight = 3", "pause_s = -1", "pause_s: -1"),
            ("weight = 3", "check = [{ json = \"id\" }]", "check[0]: json: `id` is no JSON pointer"),
            ("weight = 3", "extract = { a = { regex = \"(\" } }", "extract.a: regex"),
            (
                "weight = 3",
                "then = [{ name = \"next\", path = \"/{{token}}\" }]",
                "operations[0] `next`: path: unknown variable `token`",
            ),
        ] {
            let error = refused(from, to);
            assert!(error.contains(problem), "{to}: {error}");
            // A parser's error quotes the line at fault, which here holds no secret.
            assert!(!error.contains("hush"), "{to}: {error}");
        }
        let empty = Scenario { operations: vec![], ..toml::from_str(GOOD).unwrap() };
        assert!(empty.check().unwrap_err().to_string().contains("operations: there is none"));
    }
}
