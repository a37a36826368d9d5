//! What requests show from outside, by an access log or a load: endpoints that fail, those that are slow where nothing
//! within them was seen, and those that send the most. A cause is not claimed: that takes traces or a profile.

mod failing;
mod heavy;
mod merge;
mod slow;
#[cfg(test)]
mod testing;

pub use merge::merged;

use crate::facts::Facts;
use crate::{Options, standing};
use hashbrown::{HashMap, HashSet};
use model::metrics::names;
use model::{Histogram, LatencyCell, Recording, RequestSample, Severity};
use std::collections::BTreeMap;

/// One rule on requests seen from outside.
pub struct OutsideRule {
    pub name: &'static str,
    /// As in [`crate::rules::Rule`].
    pub why: &'static str,
    pub how: &'static str,
    /// It only says where to look.
    is_pointer: bool,
    run: fn(&Outside<'_>, &Endpoint<'_>) -> Option<Told>,
}

/// Every rule on requests seen from outside.
pub const RULES: &[OutsideRule] = &[failing::RULE, slow::RULE, heavy::RULE];

/// What a rule saw.
struct Told {
    title: String,
    lines: Vec<String>,
    /// Of the time of all requests, or of the requests, 0 to 1.
    share: f64,
    severity: Severity,
    remedy: &'static str,
    confidence: f64,
    /// Kept requests that show it.
    requests: Vec<u128>,
}

/// One of the operations.
#[derive(Default)]
struct Endpoint<'a> {
    name: &'a str,
    requests: u64,
    errors: u64,
    /// By status, where a log counted them.
    statuses: BTreeMap<u16, u64>,
    responses: Histogram,
    /// Without the wait before sending, or of the service behind a proxy.
    service: Histogram,
    cells: Vec<&'a LatencyCell>,
    samples: Vec<&'a RequestSample>,
    /// Bytes of a reply: median and 95th percentile, where a log tells them.
    size: Option<(f64, f64)>,
    /// Nothing within its requests was seen.
    is_dark: bool,
    /// What it misses its goals on response time by, milliseconds; 0: all are met; `None`: there are none.
    excess_ms: Option<f64>,
    /// A goal on its errors is missed.
    fails_goal: bool,
}

impl<'a> Endpoint<'a> {
    fn named(name: &'a str) -> Self {
        Self { name, ..Self::default() }
    }

    fn error_share(&self) -> f64 {
        self.errors as f64 / self.requests.max(1) as f64
    }

    /// Milliseconds that all of its requests took together.
    fn busy_ms(&self) -> f64 {
        self.responses.mean_ms().unwrap_or(0.0) * self.responses.count() as f64
    }

    /// About as many bytes as it sent.
    fn bytes(&self) -> f64 {
        self.size.map_or(0.0, |(median, _)| median * self.requests as f64)
    }
}

/// All that these rules read.
struct Outside<'a> {
    facts: &'a Facts<'a>,
    endpoints: Vec<Endpoint<'a>>,
    /// By cell: requests of all endpoints.
    rates: BTreeMap<u32, u64>,
    busy_ms: f64,
    bytes: f64,
}

impl<'a> Outside<'a> {
    fn of(facts: &'a Facts<'a>, options: &Options<'_>) -> Self {
        let recording = facts.recording;
        let operations = &recording.run.operations;
        let mut endpoints: Vec<Endpoint<'a>> = operations.iter().map(|name| Endpoint::named(name)).collect();
        let mut rates: BTreeMap<u32, u64> = BTreeMap::new();
        for cell in &recording.latencies {
            let Some(of) = endpoints.get_mut(cell.operation as usize) else { continue };
            of.responses.merge(&cell.response);
            of.service.merge(&cell.service);
            of.errors += u64::from(cell.errors);
            of.cells.push(cell);
            *rates.entry(cell.cell).or_default() += cell.response.count();
        }
        for request in &recording.requests {
            if let Some(of) = endpoints.get_mut(request.operation as usize) {
                of.samples.push(request);
            }
        }
        let mut counted = counted(recording);
        let unseen: HashSet<u32> = facts.load.unjoined.iter().filter_map(|joined| joined.operation).collect();
        for (number, of) in (0..).zip(&mut endpoints) {
            let known = counted.remove(of.name).unwrap_or_default();
            let failed = known.statuses.iter().filter(|(status, _)| failing::is_failure(**status));
            of.errors = of.errors.max(failed.map(|(_, count)| count).sum());
            of.requests = of.responses.count().max(of.errors).max(known.statuses.values().sum());
            (of.statuses, of.size) = (known.statuses, known.median.zip(known.p95));
            of.is_dark = facts.only_outside || unseen.contains(&number);
            of.excess_ms = standing::excess_ms(&options.goals, of.name, &of.responses);
            of.fails_goal = failing::misses_goal(&options.goals, of);
        }
        endpoints.retain(|of| of.requests > 0 && of.name != "*");
        let busy_ms = endpoints.iter().map(Endpoint::busy_ms).sum();
        let bytes = endpoints.iter().map(Endpoint::bytes).sum();
        Self { facts, endpoints, rates, busy_ms, bytes }
    }

    /// Seconds of a cell.
    fn cell_seconds(&self) -> f64 {
        f64::from(self.facts.recording.run.cell_ms.max(1)) / 1e3
    }
}

/// What a log counted of one endpoint.
#[derive(Default)]
struct Counted {
    statuses: BTreeMap<u16, u64>,
    /// Of the replies' bytes.
    median: Option<f64>,
    p95: Option<f64>,
}

/// By the endpoint's name.
fn counted(recording: &Recording) -> HashMap<String, Counted> {
    let mut all: HashMap<String, Counted> = HashMap::new();
    let told = recording.metrics.iter().filter(|m| m.name == names::REQUESTS || m.name == names::REPLY_BYTES);
    for series in told {
        let of = |key: &str| series.attributes.get(key).map_or("", String::as_str);
        let known = all.entry(format!("{} {}", of("http.request.method"), of("http.route"))).or_default();
        let value =
            series.points.last().map(|point| point.value).filter(|value| *value >= 0.0 && value.is_finite());
        let Some(value) = value else { continue };
        match (series.name.as_str(), of("quantile")) {
            (names::REPLY_BYTES, "0.5") => known.median = Some(value),
            (names::REPLY_BYTES, "0.95") => known.p95 = Some(value),
            (names::REQUESTS, _) => {
                let Ok(status) = of("http.response.status_code").parse() else { continue };
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let count = value as u64;
                *known.statuses.entry(status).or_default() += count;
            }
            _ => {}
        }
    }
    all
}

/// `335 ms`, `1.31 s`.
fn duration(ms: f64) -> String {
    if ms >= 1e3 { format!("{:.2} s", ms / 1e3) } else { format!("{ms:.0} ms") }
}

/// Milliseconds at a quantile of a few kept requests, 0 without any.
fn quantile_ms(requests: &[&RequestSample], q: f64) -> f64 {
    let mut times: Vec<f64> = requests.iter().map(|request| request.response_ns as f64 / 1e6).collect();
    times.sort_unstable_by(f64::total_cmp);
    crate::shape::quantile(&times, q)
}
