//! What a profile tells: the rules on functions, each a file and a line of [`RULES`]. They need no traces: an endpoint
//! is one of the load's operations here. A file of another profiler is judged as one endpoint.

mod blocking_call;
mod cpu_queueing;
mod garbage_collection;
mod gil_wait;
mod hot_function;
mod linear_scan;
mod lock_contention;
mod merge;
mod names;
mod predict;
mod serialization;
#[cfg(test)]
mod testing;

pub use merge::merged;

use crate::facts::Facts;
use model::states::ON_CPU;
use model::{CodeFrame, CodeRef, Histogram, Prediction, Profile, Remedy, RemedyKind, StateMs};
use std::borrow::Cow;

/// One rule on a profile.
pub struct CodeRule {
    pub name: &'static str,
    /// As in [`crate::rules::Rule`].
    pub why: &'static str,
    pub how: &'static str,
    pub predicts: &'static str,
    run: fn(&Code<'_>) -> Vec<Told>,
}

/// Every rule on profiles, in order of precedence: a function of an endpoint is told by the first that names it.
pub const RULES: &[CodeRule] = &[
    blocking_call::RULE,
    lock_contention::RULE,
    linear_scan::RULE,
    serialization::RULE,
    garbage_collection::RULE,
    gil_wait::RULE,
    hot_function::RULE,
    cpu_queueing::RULE,
];

/// What a rule saw.
struct Told {
    /// Position among [`Code::endpoints`].
    endpoint: usize,
    title: String,
    function: Option<CodeRef>,
    resource: Option<&'static str>,
    /// Of the endpoint's latency, 0 to 1.
    share: Option<f64>,
    lines: Vec<String>,
    prediction: Option<Prediction>,
    remedy: &'static str,
    confidence: f64,
    /// Frames of the profile that it explains: no later rule tells them on the same endpoint.
    claims: Vec<u32>,
}

/// An endpoint as the profile and the load see it.
struct Endpoint {
    name: String,
    /// Position among the profile's splits; `None`: everything belongs to it.
    operation: Option<usize>,
    requests: f64,
    rate_per_s: f64,
    responses: Histogram,
    /// Milliseconds of one request (of a foreign profile: of the whole), by state.
    ms: StateMs,
}

/// All that the rules on profiles read.
struct Code<'a> {
    facts: &'a Facts<'a>,
    profile: &'a Profile,
    endpoints: Vec<Endpoint>,
}

impl<'a> Code<'a> {
    /// `None` without a profile.
    fn of(facts: &'a Facts<'a>) -> Option<Self> {
        let profile = facts.recording.profile.as_ref()?;
        let told = if profile.foreign { 0 } else { profile.times.len().min(profile.operations.len()) };
        let mut endpoints: Vec<Endpoint> = (0..told).map(|at| endpoint(facts, profile, at)).collect();
        // Where nothing could be told apart, the service as a whole is judged.
        if endpoints.iter().all(|endpoint| endpoint.ms.iter().sum::<f64>() <= 0.0) {
            endpoints = vec![whole(profile)];
        }
        Some(Self { facts, profile, endpoints })
    }

    /// A node's own time of one request.
    fn own(&self, endpoint: &Endpoint, node: usize) -> StateMs {
        let node = &self.profile.nodes[node];
        let Some(operation) = endpoint.operation else { return node.own_ms };
        std::array::from_fn(|state| self.profile.own_ms(node, state, operation) / endpoint.requests.max(1.0))
    }

    /// What the spans themselves say of their time on a CPU, milliseconds of a request of the endpoint; where they do.
    fn busy_ms(&self, endpoint: &Endpoint) -> Option<f64> {
        let facts = self.facts;
        let (_, of) = facts.endpoints().find(|(id, _)| facts.load.name(*id) == endpoint.name)?;
        let roots = of.trees.iter().map(|tree| facts.forest.trees[*tree as usize].root);
        let busy: Vec<f64> = roots.filter_map(|root| facts.call(root).busy_ns()).collect();
        (!busy.is_empty()).then(|| busy.iter().sum::<f64>() / busy.len() as f64 / 1e6)
    }

    /// Whether an endpoint has so little of a function, and another so much, that its part may be what the division
    /// among endpoints got wrong.
    fn is_spilled(&self, endpoint: usize, function: u32) -> bool {
        let mut of_endpoints = vec![0.0; self.endpoints.len()];
        for node in 1..self.profile.nodes.len() {
            if self.profile.nodes[node].own_ms[ON_CPU] > 0.0 && self.upward(node).any(|f| f == function) {
                for (sum, endpoint) in of_endpoints.iter_mut().zip(&self.endpoints) {
                    *sum += self.own(endpoint, node)[ON_CPU] * endpoint.requests.max(1.0);
                }
            }
        }
        let all: f64 = of_endpoints.iter().sum();
        let most = of_endpoints.iter().copied().fold(0.0, f64::max);
        let t = self.facts.thresholds;
        all > 0.0 && of_endpoints[endpoint] < t.spilled_share * all && most > t.spilled_from_share * all
    }

    fn frame(&self, frame: u32) -> &CodeFrame {
        &self.profile.frames[frame as usize]
    }

    /// Frames from a node up to its group of threads.
    fn upward(&self, node: usize) -> impl Iterator<Item = u32> {
        let nodes = &self.profile.nodes;
        let mut at = node;
        std::iter::from_fn(move || {
            let this = nodes.get(at).filter(|_| at != 0)?;
            at = this.parent as usize;
            Some(this.frame)
        })
    }

    /// The nearest function of the service's own up from a node, the node itself included. What starts a server does not
    /// own what the server does by itself.
    fn owner(&self, node: usize) -> Option<u32> {
        let owner = self.upward(node).find(|frame| names::is_own(self.frame(*frame)))?;
        let itself = self.profile.nodes[node].frame == owner;
        let served = self.endpoints.iter().any(|endpoint| endpoint.operation.is_some());
        (itself || !served || !self.is_start(node, owner)).then_some(owner)
    }

    /// Whether a function above a node only starts the program: no code of others lies between it and the outermost.
    fn is_start(&self, node: usize, function: u32) -> bool {
        let above = self.upward(node).skip_while(|frame| *frame != function);
        let own = above.take_while(|frame| names::is_own(self.frame(*frame)));
        own.last().is_some_and(|outermost| names::is_start(self.frame(outermost)))
    }

    /// A function's name as people read it.
    fn shown(&self, frame: u32) -> Cow<'_, str> {
        model::plain_name(&self.frame(frame).function)
    }

    fn place(&self, frame: u32) -> CodeRef {
        let frame = self.frame(frame);
        CodeRef {
            function: model::plain_name(&frame.function).into_owned(),
            file: Some(if frame.file.is_empty() { &frame.module } else { &frame.file })
                .filter(|file| !file.is_empty())
                .cloned(),
            line: (frame.line > 0).then_some(frame.line),
        }
    }

    /// `build (shop/report.rs:41)`.
    fn named(&self, frame: u32) -> String {
        let place = self.place(frame);
        let file = place.file.as_deref().map(short).unwrap_or_default();
        match (file.is_empty(), place.line) {
            (true, _) => place.function,
            (false, None) => format!("{} ({file})", place.function),
            (false, Some(line)) => format!("{} ({file}:{line})", place.function),
        }
    }
}

/// The last two parts of a path tell enough.
fn short(path: &str) -> String {
    let parts: Vec<&str> = path.rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// All of a profile that knows no requests.
fn whole(profile: &Profile) -> Endpoint {
    Endpoint {
        name: profile.title.clone(),
        operation: None,
        requests: 1.0,
        rate_per_s: 0.0,
        responses: Histogram::default(),
        ms: profile.ledger_ms,
    }
}

fn endpoint(facts: &Facts<'_>, profile: &Profile, at: usize) -> Endpoint {
    let run = &facts.recording.run;
    let name = profile.operations[at].clone();
    let mut responses = Histogram::default();
    let operation = run.operations.iter().position(|o| *o == name);
    for cell in facts.recording.latencies.iter().filter(|c| Some(c.operation as usize) == operation) {
        responses.merge(&cell.response);
    }
    let requests = profile.times.get(at).map_or(0.0, |t| t.requests);
    Endpoint {
        name,
        operation: Some(at),
        requests,
        rate_per_s: requests / (profile.wall_ms / 1e3).max(1.0),
        responses,
        ms: std::array::from_fn(|state| profile.per_request_ms(state, at)),
    }
}

fn remedy(text: &str) -> Remedy {
    Remedy { kind: RemedyKind::Code, text: text.to_owned(), patch: None, undo: None }
}
