//! From a scenario to requests: picks the operation, draws its variables, fills its templates.
//! The order of calls and the seed decide everything; nothing is sent here.

use crate::template::{Escape, Template};
use crate::variable::Source;
use crate::{Expect, Scenario};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use net::Target;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

/// A request as the scenario wants it, without what belongs to a connection.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Index into the scenario's operations.
    pub operation: u32,
    pub method: Method,
    /// Path and query, base path included.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub expect: Arc<Expect>,
}

/// The scenario's requests, one after another, without end.
#[derive(Clone, Debug)]
pub struct Requests {
    operations: Vec<Compiled>,
    /// Sums of the weights, ascending.
    weights: Vec<f64>,
    sources: Vec<Source>,
    random: Xoshiro256PlusPlus,
}

#[derive(Clone, Debug)]
struct Compiled {
    method: Method,
    path: Template,
    fixed_headers: HeaderMap,
    drawn_headers: Vec<(HeaderName, Template)>,
    body: Template,
    fixed_body: Option<Bytes>,
    expect: Arc<Expect>,
    /// The variables that it names, as indices into the sources; templates index into this list.
    uses: Vec<usize>,
}

impl Requests {
    /// # Errors
    /// As [`Scenario::check`].
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self> {
        scenario.check()?;
        let target = Target::parse(&scenario.base_url).context("base_url")?;
        let operations = (0..scenario.operations.len())
            .map(|at| compile(scenario, at, &target))
            .collect::<Result<Vec<Compiled>>>()?;
        let weights = scenario.operations.iter().scan(0.0, |sum, operation| {
            *sum += operation.weight;
            Some(*sum)
        });
        Ok(Self {
            operations,
            weights: weights.collect(),
            sources: scenario.variables.values().map(Source::new).collect(),
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
        })
    }

    /// The next request.
    #[expect(clippy::cast_possible_truncation, reason = "there are at most 1,000 operations")]
    pub fn next_request(&mut self) -> Prepared {
        let total = self.weights.last().copied().unwrap_or_default();
        let drawn = self.random.random::<f64>() * total;
        let at = self.weights.partition_point(|sum| *sum <= drawn).min(self.operations.len() - 1);
        let Self { operations, sources, random, .. } = self;
        let operation = &operations[at];
        let values: Vec<String> = operation.uses.iter().map(|source| sources[*source].draw(random)).collect();
        let mut headers = operation.fixed_headers.clone();
        for (name, template) in &operation.drawn_headers {
            // A drawn list value that cannot stand in a header is left out rather than breaking the run.
            if let Ok(value) = HeaderValue::try_from(template.fill(&values, Escape::None)) {
                headers.insert(name.clone(), value);
            }
        }
        let body = match &operation.fixed_body {
            Some(body) => body.clone(),
            None => operation.body.fill(&values, Escape::None).into(),
        };
        Prepared {
            operation: at as u32,
            method: operation.method.clone(),
            path: operation.path.fill(&values, Escape::Path),
            headers,
            body,
            expect: Arc::clone(&operation.expect),
        }
    }
}

fn compile(scenario: &Scenario, at: usize, target: &Target) -> Result<Compiled> {
    let operation = &scenario.operations[at];
    let names: Vec<&String> = scenario.variables.keys().collect();
    let mut uses: Vec<usize> = Vec::new();
    let mut variable = |name: &str| {
        let source = names.iter().position(|known| *known == name)?;
        Some(uses.iter().position(|used| *used == source).unwrap_or_else(|| {
            uses.push(source);
            uses.len() - 1
        }))
    };
    let path = Template::parse(&target.join(&operation.path), &mut variable)?;
    let body = Template::parse(&operation.body, &mut variable)?;
    let mut fixed_headers = HeaderMap::new();
    let mut drawn_headers = Vec::new();
    if let Some(value) = target.authorization() {
        fixed_headers.insert(http::header::AUTHORIZATION, value.clone());
    }
    for (name, value) in scenario.headers.iter().chain(&operation.headers) {
        let name: HeaderName = name.parse()?;
        let template = Template::parse(value, &mut variable)?;
        drawn_headers.retain(|(drawn, _)| *drawn != name);
        fixed_headers.remove(&name);
        match template.fixed() {
            Some(text) => drop(fixed_headers.insert(name, HeaderValue::try_from(text)?)),
            None => drawn_headers.push((name, template)),
        }
    }
    Ok(Compiled {
        method: operation.method.parse()?,
        path,
        fixed_headers,
        drawn_headers,
        fixed_body: body.fixed().map(|text| Bytes::from(text.to_owned())),
        body,
        expect: Arc::new(operation.expect.clone()),
        uses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENARIO: &str = r#"
base_url = "http://127.0.0.1:1/base/"
headers = { x-id = "all", x-kind = "{{id}}" }
operations = [
  { name = "a", weight = 3, path = "/a/{{id}}?again={{id}}", body = "{{id}}", headers = { X-Kind = "own" } },
  { name = "b", path = "/b" },
]
variables.id = { kind = "sequence" }
"#;

    fn requests(seed: u64) -> Requests {
        Requests::new(&toml::from_str(SCENARIO).unwrap(), seed).unwrap()
    }

    #[test]
    fn one_draw_serves_the_whole_request() {
        let mut requests = requests(1);
        let first = std::iter::repeat_with(|| requests.next_request()).find(|r| r.operation == 0).unwrap();
        let id = String::from_utf8(first.body.to_vec()).unwrap();
        assert_eq!(first.path, format!("/base/a/{id}?again={id}"));
        assert_eq!(
            (&first.headers["x-id"], &first.headers["x-kind"]),
            (&"all".parse().unwrap(), &"own".parse().unwrap())
        );
        let other = std::iter::repeat_with(|| requests.next_request()).find(|r| r.operation == 1).unwrap();
        assert!(other.headers["x-kind"].to_str().unwrap().parse::<u32>().is_ok());
    }

    #[test]
    fn weights_are_shares() {
        let mut requests = requests(2);
        let a = (0..10_000).filter(|_| requests.next_request().operation == 0).count();
        assert!((7284..7716).contains(&a), "{a} of 10,000 with weight 3 of 4");
    }

    #[test]
    fn the_seed_decides() {
        let paths = |seed| {
            let mut requests = requests(seed);
            (0..50).map(|_| requests.next_request().path).collect::<Vec<_>>()
        };
        assert_eq!(paths(5), paths(5));
        assert_ne!(paths(5), paths(6));
    }
}
