//! From a scenario to requests: picks the operation, draws its variables, fills its templates.
//! The order of calls and the seed decide everything; nothing is sent here.

use crate::extract::{Finder, Parts, Question};
use crate::http::{Headers, Origin, Request, Response};
use crate::scenario::Operation;
use crate::template::{Escape, Template};
use crate::variable::Source;
use crate::{Expect, Scenario, Share, Workload};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use model::ErrorClass;
use net::Target;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

/// The scenario's flows, one after another, without end.
pub(crate) struct Requests {
    flows: Vec<Flow>,
    /// Of each scenario that runs side by side.
    mixes: Vec<Mix>,
    /// Sums of the weights that hold from a moment on; the next one last. None where scenarios run side by side.
    later: Vec<(Duration, Vec<f64>)>,
    sources: Vec<Source>,
    random: Xoshiro256PlusPlus,
    names: Vec<String>,
}

/// Which flows are drawn, and how often.
struct Mix {
    /// Indices into the flows.
    flows: Vec<usize>,
    /// Sums of their weights, ascending.
    weights: Vec<f64>,
}

/// An operation with those that follow it.
struct Flow {
    steps: Rc<[Step]>,
    /// The drawn variables that it names, as indices into the sources; values begin with them.
    uses: Vec<usize>,
    /// How many more values are remembered on the way.
    remembered: usize,
}

/// One request of a flow.
pub(crate) struct Step {
    /// Index into the result's operations.
    pub(crate) operation: u32,
    pub(crate) pause: Duration,
    method: Method,
    path: Template,
    fixed_headers: Headers,
    drawn_headers: Vec<(String, Template)>,
    body: Template,
    fixed_body: Option<Bytes>,
    expect: Expect,
    checks: Vec<Question>,
    /// Which value each part of the response becomes.
    extracts: Vec<(usize, String, Finder)>,
}

/// One drawn flow and the values of its variables.
pub(crate) struct Draw {
    pub(crate) steps: Rc<[Step]>,
    values: Vec<String>,
}

impl Requests {
    /// # Errors
    /// As [`Scenario::check`], and data files that cannot be read.
    pub(crate) fn new(scenario: &Scenario, workloads: &[Workload], seed: u64, share: Share) -> Result<Self> {
        scenario.check()?;
        let target = Target::parse(&scenario.base_url).context("base_url")?;
        let mut names = Vec::new();
        let flows =
            scenario.operations.iter().map(|operation| flow(scenario, operation, &target, &mut names));
        let flows = flows.collect::<Result<Vec<Flow>>>()?;
        let mixes = if workloads.is_empty() {
            vec![Mix::of(scenario, &[])?]
        } else {
            let named = |workload: &Workload| {
                let mix = Mix::of(scenario, &workload.operations);
                mix.with_context(|| format!("scenario `{}`: operations", workload.plan.name))
            };
            workloads.iter().map(named).collect::<Result<Vec<Mix>>>()?
        };
        let sources = scenario.variables.iter().map(|(name, variable)| {
            Source::new(variable, share).with_context(|| format!("variables.{name}"))
        });
        Ok(Self {
            flows,
            mixes,
            later: Vec::new(),
            sources: sources.collect::<Result<Vec<Source>>>()?,
            // Generators of one load share its seed, not its draws.
            random: Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(u64::from(share.index()) << 32)),
            names,
        })
    }

    /// Names of all requests, first the flow's own, then those that follow it.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Weights in place of the scenario's, each from a moment on. What has another number of weights than the scenario
    /// has operations, or none above 0, changes nothing; nor does anything where scenarios run side by side.
    pub(crate) fn vary(&mut self, mix: &[(Duration, Vec<f64>)]) {
        if self.mixes.len() != 1 || self.mixes[0].flows.len() != self.flows.len() {
            return;
        }
        let fits = |weights: &Vec<f64>| {
            weights.len() == self.flows.len()
                && weights.iter().all(|w| w.is_finite() && *w >= 0.0)
                && weights.iter().any(|w| *w > 0.0)
        };
        let sums = |weights: &Vec<f64>| {
            let sum = |sum: &mut f64, weight: &f64| {
                *sum += weight;
                Some(*sum)
            };
            weights.iter().scan(0.0, sum).collect()
        };
        self.later = mix.iter().filter(|(_, w)| fits(w)).map(|(at, w)| (*at, sums(w))).collect();
        self.later.reverse();
    }

    /// The next flow of a scenario; `at`: when it is due after the start.
    pub(crate) fn draw(&mut self, scenario: usize, at: Duration) -> Draw {
        let Self { flows, mixes, later, sources, random, .. } = self;
        while let Some((_, weights)) = later.pop_if(|(from, _)| *from <= at) {
            mixes[0].weights = weights;
        }
        let mix = &mixes[scenario.min(mixes.len() - 1)];
        let drawn = random.random::<f64>() * mix.weights.last().copied().unwrap_or_default();
        let at = mix.weights.partition_point(|sum| *sum <= drawn).min(mix.flows.len() - 1);
        let flow = &flows[mix.flows[at]];
        // Variables of one data file come from one row.
        let row = random.random();
        let mut values: Vec<String> =
            flow.uses.iter().map(|source| sources[*source].draw_row(random, row)).collect();
        values.resize(values.len() + flow.remembered, String::new());
        Draw { steps: Rc::clone(&flow.steps), values }
    }
}

impl Mix {
    /// Of the operations named; of all where none is.
    fn of(scenario: &Scenario, names: &[String]) -> Result<Self> {
        let mut mix = Self { flows: Vec::new(), weights: Vec::new() };
        let mut sum = 0.0;
        for name in names {
            if !scenario.operations.iter().any(|operation| operation.name == *name) {
                bail!("there is no operation `{name}`");
            }
        }
        for (at, operation) in scenario.operations.iter().enumerate() {
            if names.is_empty() || names.contains(&operation.name) {
                sum += operation.weight;
                mix.flows.push(at);
                mix.weights.push(sum);
            }
        }
        Ok(mix)
    }
}

/// A request to fill again and again.
pub(crate) fn blank(scenario: &Scenario, timeout: Duration) -> Result<Request> {
    let target = Target::parse(&scenario.base_url).context("base_url")?;
    let mut request = Request::to(Origin::new(target), Method::GET, String::new());
    request.timeout = timeout;
    Ok(request)
}

impl Draw {
    /// Writes a step into the request; a number that tells different requests apart.
    pub(crate) fn fill(&self, step: usize, request: &mut Request) -> u64 {
        let step = &self.steps[step];
        request.method.clone_from(&step.method);
        request.path.clear();
        step.path.append(&self.values, Escape::Path, &mut request.path);
        request.headers.clear();
        request.headers.extend(&step.fixed_headers);
        for (name, template) in &step.drawn_headers {
            // A drawn list value that cannot stand in a header is left out rather than breaking the run.
            drop(request.headers.push(name, template.fill(&self.values, Escape::None)));
        }
        request.body = match &step.fixed_body {
            Some(body) => body.clone(),
            None => step.body.fill(&self.values, Escape::None).into(),
        };
        let reads = !step.checks.is_empty() || !step.extracts.is_empty();
        (request.keep_body, request.keep_head) = (reads, reads);
        let mut key = DefaultHasher::new();
        (&request.path, &request.body).hash(&mut key);
        key.finish()
    }

    /// What is wrong with a complete response, if anything; remembers its parts for the steps that follow. `checked`
    /// hears what came of each check; those after a failed one are not asked.
    pub(crate) fn take(
        &mut self,
        step: usize,
        response: &Response,
        checked: &mut dyn FnMut(&str, bool),
    ) -> Option<(ErrorClass, String)> {
        let step = &self.steps[step];
        let status = response.status;
        if !step.expect.takes(status) {
            let class = match status {
                400..=499 => ErrorClass::ClientStatus,
                500..=599 => ErrorClass::ServerStatus,
                _ => ErrorClass::Check,
            };
            return Some((class, format!("status {status}")));
        }
        if step.checks.is_empty() && step.extracts.is_empty() {
            return None;
        }
        let mut parts = Parts::of(response);
        for check in &step.checks {
            let holds = check.holds(&mut parts);
            checked(&check.name, holds);
            if !holds {
                return Some((ErrorClass::Check, check.failure.clone()));
            }
        }
        for (value, name, finder) in &step.extracts {
            match parts.find(finder) {
                Some(part) => self.values[*value] = part,
                None => return Some((ErrorClass::Check, format!("nothing to extract for `{name}`"))),
            }
        }
        None
    }
}

/// Gives names their place among a flow's values.
struct Names<'a> {
    scenario: &'a Scenario,
    /// Sources of drawn variables, then names of extracted ones; drawn ones must come first in the values, so that both
    /// are counted before any template is parsed.
    uses: Vec<usize>,
    extracted: Vec<String>,
}

impl Names<'_> {
    fn place(&self, name: &str) -> Option<usize> {
        if let Some(at) = self.extracted.iter().position(|known| known == name) {
            return Some(self.uses.len() + at);
        }
        let source = self.scenario.variables.keys().position(|known| known == name)?;
        self.uses.iter().position(|used| *used == source)
    }
}

fn flow(scenario: &Scenario, operation: &Operation, target: &Target, all: &mut Vec<String>) -> Result<Flow> {
    let steps = operation.steps();
    let mut names = Names { scenario, uses: Vec::new(), extracted: Vec::new() };
    names.extracted.extend(steps.iter().flat_map(|step| step.extract.keys().cloned()));
    names.extracted.sort();
    names.extracted.dedup();
    for (at, name) in scenario.variables.keys().enumerate() {
        let marked = |text: &str| crate::template::names(text).any(|used| used == name);
        let headers =
            |headers: &std::collections::BTreeMap<String, String>| headers.values().any(|v| marked(v));
        let used = headers(&scenario.headers)
            || steps.iter().any(|s| marked(&s.path) || marked(&s.body) || headers(&s.headers));
        if used && !names.extracted.contains(name) {
            names.uses.push(at);
        }
    }
    let mut compiled = Vec::with_capacity(steps.len());
    for step in steps {
        let operation = u32::try_from(all.len()).unwrap_or(u32::MAX);
        compiled.push(compile(scenario, step, target, &names, operation)?);
        all.push(step.name.clone());
    }
    Ok(Flow { steps: compiled.into(), remembered: names.extracted.len(), uses: names.uses })
}

fn compile(
    scenario: &Scenario,
    step: &Operation,
    target: &Target,
    names: &Names<'_>,
    operation: u32,
) -> Result<Step> {
    let template = |text: &str| Template::parse(text, |name| names.place(name));
    let mut fixed_headers = Headers::new();
    let mut drawn_headers: Vec<(String, Template)> = Vec::new();
    for (name, value) in scenario.headers.iter().chain(&step.headers) {
        let template = template(value)?;
        drawn_headers.retain(|(drawn, _)| !drawn.eq_ignore_ascii_case(name));
        fixed_headers.remove(name);
        match template.fixed() {
            Some(text) => fixed_headers.push(name, text)?,
            None => drawn_headers.push((name.clone(), template)),
        }
    }
    let body = template(&step.body)?;
    let extracts = step.extract.iter().filter_map(|(name, part)| {
        let place = names.place(name)?;
        Some(part.finder().map(|finder| (place, name.clone(), finder)))
    });
    Ok(Step {
        operation,
        pause: Duration::try_from_secs_f64(step.pause_s).context("pause_s")?,
        method: step.method.parse()?,
        path: template(&target.join(&step.path))?,
        fixed_headers,
        drawn_headers,
        fixed_body: body.fixed().map(|text| Bytes::from(text.to_owned())),
        body,
        expect: step.expect.clone(),
        checks: step.check.iter().map(crate::extract::Check::question).collect::<Result<Vec<_>>>()?,
        extracts: extracts.collect::<Result<Vec<_>>>()?,
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
        Requests::new(&toml::from_str(SCENARIO).unwrap(), &[], seed, Share::WHOLE).unwrap()
    }

    fn next(requests: &mut Requests) -> (u32, Request) {
        let mut request = blank(&toml::from_str(SCENARIO).unwrap(), Duration::ZERO).unwrap();
        let draw = requests.draw(0, Duration::ZERO);
        draw.fill(0, &mut request);
        (draw.steps[0].operation, request)
    }

    #[test]
    fn weights_change_when_their_time_has_come() {
        let mut requests = requests(3);
        let second = Duration::from_secs(1);
        requests.vary(&[(second, vec![0.0, 1.0]), (second * 2, vec![1.0]), (second * 3, vec![1.0, 0.0])]);
        let mut at = |s: u32| requests.draw(0, second * s).steps[0].operation;
        assert!((0..50).any(|_| at(0) == 0));
        assert!((0..50).all(|_| at(1) == 1) && (0..50).all(|_| at(2) == 1));
        assert!((0..50).all(|_| at(3) == 0));
    }

    #[test]
    fn one_draw_serves_the_whole_request() {
        let mut requests = requests(1);
        let of = |requests: &mut Requests, operation| {
            std::iter::repeat_with(|| next(requests)).find(|r| r.0 == operation).unwrap().1
        };
        let first = of(&mut requests, 0);
        let id = String::from_utf8(first.body.to_vec()).unwrap();
        assert_eq!(first.path, format!("/base/a/{id}?again={id}"));
        assert_eq!(first.headers.get("x-id"), Some(&b"all"[..]));
        assert_eq!(first.headers.get("x-kind"), Some(&b"own"[..]));
        let other = of(&mut requests, 1);
        let kind = String::from_utf8(other.headers.get("x-kind").unwrap().to_vec()).unwrap();
        assert!(kind.parse::<u32>().is_ok(), "{kind}");
    }

    #[test]
    fn weights_are_shares() {
        let mut requests = requests(2);
        let a = (0..10_000).filter(|_| requests.draw(0, Duration::ZERO).steps[0].operation == 0).count();
        assert!((7284..7716).contains(&a), "{a} of 10,000 with weight 3 of 4");
    }

    #[test]
    fn the_seed_decides() {
        let paths = |seed| {
            let mut requests = requests(seed);
            (0..50).map(|_| next(&mut requests).1.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(5), paths(5));
        assert_ne!(paths(5), paths(6));
    }

    #[test]
    fn what_one_step_extracts_the_next_one_sends() {
        let scenario: Scenario = toml::from_str(
            r#"
base_url = "http://127.0.0.1:1"
[[operations]]
name = "login"
method = "POST"
path = "/login"
body = "{{user}}"
extract = { token = { json = "/token" } }
check = [{ json = "/ok", equals = true }]
then = [{ name = "cart", path = "/carts/{{token}}/{{user}}", pause_s = 0.5 }]
[variables]
user = { kind = "list", values = ["ann"] }
"#,
        )
        .unwrap();
        let mut requests = Requests::new(&scenario, &[], 1, Share::WHOLE).unwrap();
        assert_eq!(requests.names(), ["login", "cart"]);
        let mut draw = requests.draw(0, Duration::ZERO);
        let mut request = blank(&scenario, Duration::ZERO).unwrap();
        draw.fill(0, &mut request);
        assert!(request.keep_body && &request.body[..] == b"ann");
        let mut response = Response::none(std::time::Instant::now());
        response.status = 200;
        response.body = r#"{"ok": true, "token": "a/b"}"#.into();
        assert_eq!(draw.take(0, &response, &mut |_, _| ()), None);
        draw.fill(1, &mut request);
        assert_eq!((request.path.as_str(), draw.steps[1].pause.as_millis()), ("/carts/a%2Fb/ann", 500));
        response.body = r#"{"ok": false}"#.into();
        assert_eq!(draw.take(0, &response, &mut |_, _| ()).unwrap().1, "json /ok is not `true`");
        response.body = r#"{"ok": true}"#.into();
        assert_eq!(draw.take(0, &response, &mut |_, _| ()).unwrap().1, "nothing to extract for `token`");
    }
}
