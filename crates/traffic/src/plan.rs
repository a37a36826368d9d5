//! The scenario before it is written: operations, variables, rate, and where each figure came from.

use std::collections::BTreeMap;

/// Operations that are written; the rest is told.
const MAX_OPERATIONS: usize = 40;

/// Operations that get a goal.
const MAX_GOALS: usize = 10;

/// What the user asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the load shall go; told by the source where absent and known there.
    pub url: Option<String>,
    /// Keep operations that change data; else they are written as comments.
    pub writes: bool,
    /// At the rate of the busiest time instead of the mean.
    pub peak: bool,
    pub max_operations: usize,
    /// Of a HAR file: its requests as one flow in their order, in place of a mix.
    pub flow: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { url: None, writes: false, peak: false, max_operations: MAX_OPERATIONS, flow: false }
    }
}

/// What a scenario was made of, for its comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `access.log`.
    pub name: String,
    /// `120000 requests of an access log`.
    pub what: String,
}

/// Where a variable's values come from, as scenarios write it.
#[derive(Clone, Debug, PartialEq)]
pub enum Variable {
    Integer { from: i64, to: i64, skew: f64 },
    List(Vec<String>),
    Sequence,
    Uuid,
    Text { length: usize },
}

/// A kind of request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operation {
    pub name: String,
    pub weight: f64,
    pub method: String,
    /// With `{{variable}}`, percent-encoded elsewhere.
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// Parts of the answer that later steps name, as JSON pointers.
    pub extract: BTreeMap<String, String>,
    /// Seconds before it, where it follows another one.
    pub pause_s: f64,
    /// What the same user sends next.
    pub then: Vec<Self>,
    /// Where its figures come from.
    pub comment: String,
    /// Written as a comment, and why; empty: it is used.
    pub held_back: String,
}

/// A scenario to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub source: Source,
    pub base_url: String,
    /// Where the URL comes from.
    pub base_url_comment: String,
    pub headers: BTreeMap<String, String>,
    pub rate: f64,
    pub rate_comment: String,
    /// Heaviest first.
    pub operations: Vec<Operation>,
    /// With a comment each.
    pub variables: BTreeMap<String, (Variable, String)>,
    /// With a comment each.
    pub goals: Vec<(String, String)>,
    /// What else there is to say: what was removed, left out, assumed.
    pub notes: Vec<String>,
}

impl Plan {
    /// Operations that are used.
    pub fn used(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|operation| operation.held_back.is_empty())
    }

    /// The service's address, and a note where it is a guess.
    pub(crate) fn set_base(&mut self, options: &Options, seen: Option<&str>) {
        let (url, comment) = match (&options.url, seen) {
            (Some(url), _) => (url.clone(), "as given"),
            (None, Some(seen)) => (seen.to_owned(), "as in the source: make sure that it may be loaded"),
            (None, None) => ("http://127.0.0.1:8080".to_owned(), "not in the source: the service to load"),
        };
        self.base_url = url.trim_end_matches('/').to_owned();
        comment.clone_into(&mut self.base_url_comment);
    }

    /// Holds writes back unless they are asked for, cuts to the most frequent, makes names unique.
    pub(crate) fn finish(&mut self, options: &Options) {
        for operation in &mut self.operations {
            let writes = !matches!(operation.method.as_str(), "GET" | "HEAD" | "OPTIONS");
            if writes && !options.writes && operation.held_back.is_empty() {
                "it changes data; --writes keeps it".clone_into(&mut operation.held_back);
            }
        }
        self.operations.sort_by(|a, b| {
            let held_back = |o: &Operation| !o.held_back.is_empty();
            b.weight.total_cmp(&a.weight).then_with(|| (held_back(a), &a.name).cmp(&(held_back(b), &b.name)))
        });
        if self.operations.len() > options.max_operations {
            let all: f64 = self.operations.iter().map(|o| o.weight).sum();
            let left_out = self.operations.split_off(options.max_operations);
            let share = left_out.iter().map(|o| o.weight).sum::<f64>() / all.max(f64::MIN_POSITIVE);
            self.notes.push(format!(
                "{} rarer operations with {:.1} % of the requests are left out (--max-operations)",
                left_out.len(),
                share * 100.0
            ));
        }
        let held_back = self.operations.iter().filter(|o| !o.held_back.is_empty()).count();
        if held_back > 0 {
            self.notes.push(format!(
                "{held_back} operations that change data are written as comments; --writes keeps them"
            ));
        }
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for operation in &mut self.operations {
            let count = seen.entry(operation.name.clone()).or_default();
            *count += 1;
            if *count > 1 {
                operation.name = format!("{} #{count}", operation.name);
            }
        }
        let seen = std::mem::take(&mut self.goals);
        self.goals = self
            .used()
            .flat_map(|operation| std::iter::once(operation).chain(&operation.then))
            .take(MAX_GOALS)
            .map(|operation| {
                let subject = format!("p95({})", operation.name);
                let known = seen.iter().find(|(goal, _)| goal.starts_with(&subject)).cloned();
                known.unwrap_or_else(|| (format!("{subject} < 250 ms"), String::new()))
            })
            .collect();
        self.notes.sort();
        self.notes.dedup();
    }
}
