//! The join of load and traces: which of the load's operations an endpoint is, and what a request cost on its way
//! before and after the service's own span. Predictions thereby speak of what the load measures.

use crate::resolve::Calls;
use crate::shape::{EndpointId, Shapes, quantile};
use crate::tree::{Forest, TreeId};
use hashbrown::HashMap;
use model::{Goal, GoalMetric, Histogram, Recording, Relation};

/// Per endpoint what the load knows of it.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// Index into the run's operations.
    pub operation: Option<u32>,
    /// As load and goals name it; without load, as the traces do.
    pub name: String,
    /// Client's time less the root span's, median of the joined requests, nanoseconds.
    pub overhead_ns: f64,
    /// Response times as the load measured them.
    pub responses: Histogram,
    pub errors: u64,
    /// Requests that were joined by trace id.
    pub joined: u64,
}

/// All endpoints' joins.
#[derive(Default)]
pub struct Load {
    pub endpoints: Vec<Joined>,
    /// By tree: the client's time less the root span's, nanoseconds.
    overheads: HashMap<TreeId, f64>,
}

impl Load {
    #[must_use]
    pub fn name(&self, endpoint: EndpointId) -> &str {
        self.endpoints.get(endpoint as usize).map_or("", |j| &j.name)
    }

    /// What comes on top of a tree's root span for the client.
    #[must_use]
    pub fn overhead_ns(&self, endpoint: EndpointId, tree: TreeId) -> f64 {
        let known = self.overheads.get(&tree).copied();
        known.unwrap_or_else(|| self.endpoints.get(endpoint as usize).map_or(0.0, |j| j.overhead_ns))
    }
}

/// Joins by trace id where requests were sampled, by name where not.
#[must_use]
pub fn join(recording: &Recording, forest: &Forest, shapes: &Shapes, calls: &Calls) -> Load {
    let mut requests: HashMap<u128, usize> = HashMap::new();
    for (at, request) in recording.requests.iter().enumerate() {
        if request.trace_id != 0 && request.error.is_none() {
            requests.insert(request.trace_id, at);
        }
    }
    let mut load = Load::default();
    for endpoint in &shapes.endpoints {
        let mut votes = vec![0_u64; recording.run.operations.len()];
        let (mut typical, mut all) = (Vec::new(), Vec::new());
        for &tree in &endpoint.trees {
            let planted = &forest.trees[tree as usize];
            let Some(request) = requests.get(&planted.trace_id).map(|at| &recording.requests[*at]) else {
                continue;
            };
            if let Some(vote) = votes.get_mut(request.operation as usize) {
                *vote += 1;
            }
            let overhead = (request.response_ns as f64 - forest.root_ns(planted) as f64).max(0.0);
            load.overheads.insert(tree, overhead);
            all.push(overhead);
            if !request.slowest {
                typical.push(overhead);
            }
        }
        let name = calls.name(endpoint.template);
        let operation = winner(&votes).or_else(|| by_name(recording, name));
        let mut joined = Joined { operation, joined: all.len() as u64, ..Joined::default() };
        let sample = if typical.is_empty() { &mut all } else { &mut typical };
        sample.sort_unstable_by(f64::total_cmp);
        joined.overhead_ns = quantile(sample, 0.5);
        joined.name = operation
            .and_then(|o| recording.run.operations.get(o as usize))
            .map_or_else(|| name.to_owned(), Clone::clone);
        load.endpoints.push(joined);
    }
    add_responses(recording, &mut load);
    load
}

fn winner(votes: &[u64]) -> Option<u32> {
    let (at, most) = votes.iter().enumerate().max_by_key(|(at, n)| (**n, std::cmp::Reverse(*at)))?;
    (*most > 0).then(|| u32::try_from(at).unwrap_or(u32::MAX))
}

fn by_name(recording: &Recording, endpoint: &str) -> Option<u32> {
    let matches = |operation: &String| {
        let subject = operation.clone();
        let goal = Goal { metric: GoalMetric::Mean, subject, relation: Relation::Below, limit: 0.0 };
        operation != "*" && goal.concerns(endpoint)
    };
    let at = recording.run.operations.iter().position(matches)?;
    u32::try_from(at).ok()
}

fn add_responses(recording: &Recording, load: &mut Load) {
    for cell in &recording.latencies {
        for joined in load.endpoints.iter_mut().filter(|j| j.operation == Some(cell.operation)) {
            joined.responses.merge(&cell.response);
            joined.errors += u64::from(cell.errors);
        }
    }
}
