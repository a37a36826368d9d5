//! Requests that were seen to a scenario: mix by endpoint and by which query parameters they had, values as often as
//! they came, rate and its peak, sessions. Two passes: paths first, then everything else by their patterns.

use crate::guess::{decoded, encoded, parameter_name, unused, variable_name};
use crate::plan::{Operation, Options, Plan, Source};
use crate::secrets::{Removed, is_secret, is_secret_segment, looks_secret, without_secrets};
use crate::values::Values;
use access_log::{RouteId, Routes};
use hashbrown::HashMap;
use model::Histogram;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Shapes (endpoint and set of query parameters) that are told apart; beyond, a request counts without its query.
const MAX_SHAPES: usize = 2000;
/// Sets of query parameters of one endpoint that become operations of their own.
const MAX_SHAPES_OF_ENDPOINT: usize = 3;
const MAX_QUERY_KEYS: usize = 20;
/// Clients whose requests are told apart.
const MAX_CLIENTS: usize = 200_000;
/// Without a request for so long, a client has a new session.
const SESSION_GAP_NS: u64 = 1800 * NS;
/// Moments of time that are counted.
const MAX_MOMENTS: usize = 500_000;
const MAX_BODY_BYTES: usize = 64 << 10;
const NS: u64 = 1_000_000_000;
/// A window of so many seconds has its peak told by the second, a longer one by the minute.
const SHORT_S: u64 = 180;

/// One request that was seen.
#[derive(Clone, Debug, Default)]
pub struct Exchange<'a> {
    /// Unix nanoseconds; 0 where not known.
    pub at_ns: u64,
    pub duration_ns: Option<u64>,
    /// Of who sent it; 0 where not known.
    pub client: u64,
    pub method: Cow<'a, str>,
    /// Without query.
    pub path: Cow<'a, str>,
    pub query: Cow<'a, str>,
    /// The router's pattern where it is known and the path is not.
    pub route: Cow<'a, str>,
    pub headers: Vec<(String, String)>,
    pub body: Cow<'a, str>,
    pub status: u16,
}

impl Exchange<'_> {
    fn place(&self) -> &str {
        if self.path.starts_with('/') { &self.path } else { &self.route }
    }

    /// Paths that do not exist are scanners' and mistakes: no load.
    fn counts(&self) -> bool {
        let method =
            (3..=20).contains(&self.method.len()) && self.method.bytes().all(|b| b.is_ascii_alphabetic());
        method && self.place().starts_with('/') && !matches!(self.status, 400 | 404 | 405)
    }
}

#[derive(Debug, Default)]
struct Shape {
    requests: u64,
    query: BTreeMap<String, Values>,
    statuses: BTreeMap<u16, u64>,
    times: Histogram,
    headers: BTreeMap<String, String>,
    body: String,
}

type ShapeKey = (RouteId, String, Vec<String>);
/// The keys of its query, and the shape.
type Keyed = (Vec<String>, Shape);

/// Takes requests twice: [`Learner::learn`] each, then [`Learner::count`] each.
#[derive(Debug, Default)]
pub struct Learner {
    routes: Routes,
    shapes: HashMap<ShapeKey, Shape>,
    /// By variable of paths.
    values: BTreeMap<String, Values>,
    removed: Removed,
    requests: u64,
    left_out: u64,
    first_ns: u64,
    last_ns: u64,
    /// Requests by second.
    moments: HashMap<u64, u64>,
    clients: HashMap<u64, u64>,
    sessions: u64,
    pauses: Histogram,
}

impl Learner {
    /// First pass.
    pub fn learn(&mut self, exchange: &Exchange<'_>) {
        if exchange.counts() {
            self.routes.learn(exchange.place());
        }
    }

    /// Second pass.
    pub fn count(&mut self, exchange: &Exchange<'_>) {
        let mut found = Vec::new();
        let route = self.routes.find(exchange.place(), &mut found).filter(|_| exchange.counts());
        let Some(route) = route else {
            self.left_out += 1;
            return;
        };
        self.requests += 1;
        self.timing(exchange);
        for ((name, _), value) in parameters(&self.routes.pattern(route)).into_iter().zip(found) {
            // A pattern in place of a path tells no value.
            if !value.starts_with(['{', ':', '<', '*']) {
                self.values.entry(name).or_default().add(&decoded(value));
            }
        }
        let query = pairs(&exchange.query);
        let method = exchange.method.to_ascii_uppercase();
        let mut key = (route, method, query.keys().cloned().collect::<Vec<String>>());
        if self.shapes.len() >= MAX_SHAPES && !self.shapes.contains_key(&key) {
            key.2.clear();
            if !self.shapes.contains_key(&key) {
                self.left_out += 1;
                return;
            }
        }
        let has_query = !key.2.is_empty();
        let shape = self.shapes.entry(key).or_default();
        shape.requests += 1;
        *shape.statuses.entry(exchange.status).or_default() += 1;
        if let Some(ns) = exchange.duration_ns {
            shape.times.record(ns);
        }
        for (key, value) in query.into_iter().filter(|_| has_query) {
            shape.query.entry(key).or_default().add(&value);
        }
        if shape.body.is_empty() && exchange.body.len() <= MAX_BODY_BYTES && !exchange.body.contains("{{") {
            let kind = exchange.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            shape.body = self.removed.body(&exchange.body, kind.map_or("", |(_, value)| value));
        }
        if shape.requests == 1 {
            for (name, value) in &exchange.headers {
                shape.headers.extend(self.removed.header(name, value));
            }
        }
    }

    fn timing(&mut self, exchange: &Exchange<'_>) {
        if exchange.at_ns == 0 {
            return;
        }
        self.first_ns = if self.first_ns == 0 { exchange.at_ns } else { self.first_ns.min(exchange.at_ns) };
        self.last_ns = self.last_ns.max(exchange.at_ns);
        let second = exchange.at_ns / NS;
        if self.moments.len() < MAX_MOMENTS || self.moments.contains_key(&second) {
            *self.moments.entry(second).or_default() += 1;
        }
        if exchange.client == 0 {
            return;
        }
        let room = self.clients.len() < MAX_CLIENTS;
        match self.clients.get_mut(&exchange.client) {
            Some(last) => {
                let pause = exchange.at_ns.saturating_sub(*last);
                if pause > SESSION_GAP_NS {
                    self.sessions += 1;
                } else if pause > 0 {
                    self.pauses.record(pause);
                }
                *last = (*last).max(exchange.at_ns);
            }
            None if room => {
                self.clients.insert(exchange.client, exchange.at_ns);
                self.sessions += 1;
            }
            None => {}
        }
    }

    /// The scenario. `base` is the service's address where the source tells it.
    #[must_use]
    pub fn plan(mut self, source: Source, base: Option<&str>, options: &Options) -> Plan {
        let mut plan = Plan { source, ..Plan::default() };
        plan.set_base(options, base);
        self.rate(&mut plan, options);
        self.sessions(&mut plan);
        if self.left_out > 0 {
            plan.notes.push(format!(
                "{} requests are left out: paths that were not found, or no HTTP requests",
                self.left_out
            ));
        }
        let mut by_endpoint: BTreeMap<(RouteId, String), Vec<Keyed>> = BTreeMap::new();
        for ((route, method, keys), shape) in std::mem::take(&mut self.shapes) {
            by_endpoint.entry((route, method)).or_default().push((keys, shape));
        }
        let mut taken: BTreeSet<String> = self.values.keys().cloned().collect();
        for ((route, method), mut shapes) in by_endpoint {
            shapes.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then_with(|| a.0.cmp(&b.0)));
            let folded: u64 =
                shapes.iter().skip(MAX_SHAPES_OF_ENDPOINT).map(|(_, shape)| shape.requests).sum();
            shapes.truncate(MAX_SHAPES_OF_ENDPOINT);
            for (at, (keys, mut shape)) in shapes.into_iter().enumerate() {
                shape.requests += if at == 0 { folded } else { 0 };
                let suffix = if at == 0 { String::new() } else { format!(" ?{}", keys.join("&")) };
                let operation = self.operation(route, &method, &suffix, shape, &mut plan, &mut taken);
                plan.operations.push(operation);
            }
        }
        plan.headers.insert("accept".to_owned(), "*/*".to_owned());
        plan.notes.extend(self.removed.note());
        plan.finish(options);
        plan
    }

    fn operation(
        &mut self,
        route: RouteId,
        method: &str,
        suffix: &str,
        shape: Shape,
        plan: &mut Plan,
        taken: &mut BTreeSet<String>,
    ) -> Operation {
        let pattern = self.routes.pattern(route);
        let mut path = String::new();
        let mut names = parameters(&pattern).into_iter();
        let mut before = "";
        for segment in pattern.split('/').skip(1) {
            path.push('/');
            if !is_parameter(segment) {
                if is_secret_segment(before, segment) {
                    path.push_str(&self.removed.placeholder(before));
                } else {
                    path.push_str(&encoded(segment));
                    before = segment;
                }
            } else if let Some((name, _)) = names.next() {
                let seen = self.values.get(&name);
                if seen.is_some_and(|values| values.any(|value| is_secret_segment(before, value))) {
                    path.push_str(&self.removed.placeholder(&name));
                    continue;
                }
                path.push_str(&format!("{{{{{name}}}}}"));
                let values = self.values.get(&name);
                let (variable, comment) = match values {
                    Some(values) => values.variable(),
                    None => unseen(),
                };
                plan.variables.entry(name).or_insert((variable, comment));
            }
        }
        let last = pattern.rsplit('/').find(|segment| !is_parameter(segment) && !segment.is_empty());
        let mut query = Vec::new();
        for (key, values) in &shape.query {
            let value = if is_secret(key) || values.any(looks_secret) {
                self.removed.placeholder(key)
            } else if let Some(only) = values.only() {
                encoded(only)
            } else {
                let name = unused(&variable_name(&format!("{}_{key}", last.unwrap_or("query"))), taken);
                plan.variables.insert(name.clone(), values.variable());
                taken.insert(name.clone());
                format!("{{{{{name}}}}}")
            };
            query.push(format!("{}={value}", encoded(key)));
        }
        if !query.is_empty() {
            path.push_str(&format!("?{}", query.join("&")));
        }
        let name = format!("{method} {}{suffix}", without_secrets(&pattern));
        if let Some(p95) =
            shape.times.quantile_ms(0.95).filter(|_| suffix.is_empty() && shape.times.count() >= 20)
        {
            plan.goals.push((format!("p95({name}) < {} ms", goal_ms(p95)), format!("seen: {p95:.1} ms")));
        }
        Operation {
            comment: told(&shape, self.requests),
            weight: weight(shape.requests, self.requests),
            name,
            method: method.to_owned(),
            path,
            headers: shape.headers,
            body: shape.body,
            held_back: String::new(),
            ..Operation::default()
        }
    }

    fn rate(&self, plan: &mut Plan, options: &Options) {
        // The last second is one too.
        let seconds = (self.last_ns - self.first_ns) as f64 / NS as f64 + 1.0;
        if self.first_ns == 0 || self.requests < 2 {
            plan.rate = 5.0;
            plan.rate_comment = "the source tells no rate: choose one".to_owned();
            return;
        }
        let mean = self.requests as f64 / seconds;
        let each = if (self.last_ns - self.first_ns) / NS < SHORT_S { 1 } else { 60 };
        let mut slots: HashMap<u64, u64> = HashMap::new();
        for (second, count) in &self.moments {
            *slots.entry(second / each).or_default() += count;
        }
        let peak = slots.values().max().copied().unwrap_or(0) as f64 / each as f64;
        let unit = if each == 1 { "second" } else { "minute" };
        plan.rate = rounded(if options.peak { peak } else { mean }).max(0.01);
        plan.rate_comment = format!(
            "{} requests in {seconds:.0} s are {mean:.3}/s; the busiest {unit} had {peak:.3}/s",
            self.requests
        );
    }

    fn sessions(&self, plan: &mut Plan) {
        let (Some(p50), Some(p90)) = (self.pauses.quantile_ms(0.5), self.pauses.quantile_ms(0.9)) else {
            return;
        };
        if self.sessions < 2 {
            return;
        }
        plan.notes.push(format!(
            "{} sessions of {:.1} requests; between two requests of a client {:.1} s at the median, {:.1} s for one in ten (arrivals are open: the rate holds them)",
            self.sessions,
            self.requests as f64 / self.sessions as f64,
            p50 / 1e3,
            p90 / 1e3
        ));
    }
}

/// Ids that nobody has seen.
pub(crate) fn unseen() -> (crate::plan::Variable, String) {
    (
        crate::plan::Variable::Integer { from: 1, to: 100, skew: 0.0 },
        "no value is in the source: give ids that exist".to_owned(),
    )
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with(['{', ':', '<', '*'])
}

/// Variable and segment of each parameter of a pattern; the same name twice gets a number.
pub(crate) fn parameters(pattern: &str) -> Vec<(String, String)> {
    let mut before = None;
    let mut taken = BTreeSet::new();
    let mut found = Vec::new();
    for segment in pattern.split('/').filter(|segment| !segment.is_empty()) {
        if is_parameter(segment) {
            let name = unused(&parameter_name(before, segment), &taken);
            taken.insert(name.clone());
            found.push((name, segment.to_owned()));
        } else {
            before = Some(segment);
        }
    }
    found
}

/// Keys and first values of a query, decoded.
pub(crate) fn pairs(query: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()).take(MAX_QUERY_KEYS) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        found.entry(decoded(key)).or_insert_with(|| decoded(value));
    }
    found
}

/// Percent of all, to three digits.
fn weight(requests: u64, all: u64) -> f64 {
    rounded(requests as f64 / all.max(1) as f64 * 100.0).max(0.001)
}

/// Three significant digits.
pub(crate) fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// A goal a little above what was seen, in a number that people say.
fn goal_ms(p95: f64) -> f64 {
    let above = p95 * 1.1;
    let unit = 10_f64.powf(above.max(1.0).log10().floor() - 1.0).max(1.0);
    (above / unit).ceil() * unit
}

fn told(shape: &Shape, all: u64) -> String {
    let share = shape.requests as f64 / all.max(1) as f64 * 100.0;
    let mut text = format!("{} requests, {share:.1} %", shape.requests);
    let mut statuses: Vec<(&u16, &u64)> = shape.statuses.iter().filter(|(status, _)| **status != 0).collect();
    statuses.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let seen: u64 = statuses.iter().map(|(_, count)| **count).sum();
    let shares: Vec<String> = statuses
        .iter()
        .take(3)
        .map(|(status, count)| format!("{status} {:.0} %", **count as f64 / seen.max(1) as f64 * 100.0))
        .collect();
    if !shares.is_empty() {
        text.push_str(&format!("; {}", shares.join(", ")));
    }
    if let (Some(p50), Some(p95)) = (shape.times.quantile_ms(0.5), shape.times.quantile_ms(0.95)) {
        text.push_str(&format!("; p50 {p50:.1} ms, p95 {p95:.1} ms"));
    }
    text
}
