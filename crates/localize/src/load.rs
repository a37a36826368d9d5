//! The join of load and traces: which of the load's operations an endpoint is, and what a request cost on its way
//! before and after the service's own span. Predictions thereby speak of what the load measures.

use crate::resolve::Calls;
use crate::shape::{EndpointId, Shapes, quantile};
use crate::tree::{Forest, TreeId};
use crate::variants::BETWEEN;
use hashbrown::{HashMap, HashSet};
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
    /// Requests that the load made; of one of several kinds of a route, its part of them by its traces.
    pub requests: f64,
    pub errors: u64,
    /// Requests that were joined by trace id.
    pub joined: u64,
}

impl Joined {
    /// Failed requests of all, 0 to 1; a failed one may or may not be among the response times.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        self.errors as f64 / self.responses.count().max(self.errors).max(1) as f64
    }
}

/// All endpoints' joins.
#[derive(Default)]
pub struct Load {
    pub endpoints: Vec<Joined>,
    /// Operations of the load that no endpoint was joined with: nothing but their figures is known.
    pub unjoined: Vec<Joined>,
    /// Operations whose requests are several endpoints: these have the figures of their traces, and goals for the
    /// operation as a whole its own.
    pub parted: Vec<Joined>,
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
    part_shared(recording, shapes, calls, &mut load);
    add_responses(recording, &mut load);
    load
}

/// One operation of the load that calls several kinds of one route is none of them: its figures stand alone.
fn part_shared(recording: &Recording, shapes: &Shapes, calls: &Calls, load: &mut Load) {
    let mut parted: HashSet<u32> = HashSet::new();
    let mut used: HashMap<u32, (usize, f64)> = HashMap::new();
    for (joined, endpoint) in load.endpoints.iter().zip(&shapes.endpoints) {
        if let Some(operation) = joined.operation {
            let used = used.entry(operation).or_default();
            used.0 += 1;
            used.1 += endpoint.requests;
        }
    }
    for (joined, endpoint) in load.endpoints.iter_mut().zip(&shapes.endpoints) {
        let name = calls.name(endpoint.template);
        let Some(operation) = joined.operation.filter(|_| name.contains(BETWEEN)) else { continue };
        let Some((_, traced)) = used.get(&operation).filter(|(kinds, _)| *kinds > 1) else { continue };
        joined.operation = None;
        joined.name = name.to_owned();
        let made: u64 =
            recording.latencies.iter().filter(|c| c.operation == operation).map(|c| c.response.count()).sum();
        joined.requests = made as f64 * endpoint.requests / traced.max(f64::MIN_POSITIVE);
        parted.insert(operation);
    }
    let mut parted: Vec<u32> = parted.into_iter().collect();
    parted.sort_unstable();
    let names = &recording.run.operations;
    let whole = |operation: u32| Joined {
        operation: Some(operation),
        name: names.get(operation as usize).cloned().unwrap_or_default(),
        ..Joined::default()
    };
    load.parted = parted.into_iter().map(whole).collect();
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
    for (operation, name) in (0..).zip(&recording.run.operations) {
        let used = recording.latencies.iter().any(|c| c.operation == operation);
        let parted = load.parted.iter().any(|j| j.operation == Some(operation));
        if used && !parted && load.endpoints.iter().all(|j| j.operation != Some(operation)) {
            load.unjoined.push(Joined {
                operation: Some(operation),
                name: name.clone(),
                ..Joined::default()
            });
        }
    }
    let all = load.endpoints.iter_mut().chain(&mut load.unjoined).chain(&mut load.parted);
    let mut by_operation: Vec<&mut Joined> = all.filter(|j| j.operation.is_some()).collect();
    for cell in &recording.latencies {
        for joined in by_operation.iter_mut().filter(|j| j.operation == Some(cell.operation)) {
            joined.responses.merge(&cell.response);
            joined.requests += cell.response.count() as f64;
            joined.errors += u64::from(cell.errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::Facts;
    use crate::testing::drawn;
    use crate::thresholds::Thresholds;
    use model::{LatencyCell, Recording, RequestSample};

    fn request(operation: u32, trace_id: u128, response_ms: u64, slowest: bool) -> RequestSample {
        RequestSample {
            operation,
            due_ns: 0,
            response_ns: response_ms * 1_000_000,
            service_ns: response_ms * 1_000_000,
            status: 200,
            error: None,
            received_bytes: 0,
            sent_bytes: 0,
            trace_id,
            slowest,
            phases: model::RequestPhases::default(),
        }
    }

    fn recording() -> Recording {
        let mut recording =
            drawn("repeat 3\napi server \"GET /a/{id}\" 0..50\n\napi server \"GET /b\" 0..10");
        recording.run.operations = ["GET /a/:x", "other", "GET /b"].map(str::to_owned).to_vec();
        recording
    }

    fn facts<T>(recording: &Recording, read: impl Fn(&Facts<'_>) -> T) -> T {
        read(&Facts::gather(recording, &Thresholds::default(), false))
    }

    #[test]
    fn most_trace_ids_decide_and_the_slowest_do_not_set_the_overhead() {
        let mut recording = recording();
        recording.requests =
            vec![request(1, 1, 60, false), request(1, 2, 550, true), request(0, 3, 60, false)];
        facts(&recording, |facts| {
            assert_eq!(facts.load.name(0), "other");
            assert_eq!(facts.load.endpoints[0].joined, 3);
            let overheads = [0, 1, 2].map(|t| facts.load.overhead_ns(0, t).round() as i64);
            assert_eq!(overheads, [10_000_000, 500_000_000, 10_000_000]);
            assert_eq!(facts.load.endpoints[0].overhead_ns.round() as i64, 10_000_000);
        });
    }

    #[test]
    fn without_trace_ids_names_decide_and_parameters_match_whatever_they_are_called() {
        let names = facts(&recording(), |facts| [0, 1].map(|e| facts.load.name(e).to_owned()));
        assert_eq!(names, ["GET /a/:x", "GET /b"]);
    }

    #[test]
    fn an_operation_without_traces_is_kept_apart() {
        let mut recording = recording();
        let mut cell = LatencyCell { operation: 1, errors: 2, ..LatencyCell::default() };
        cell.response.record(5_000_000);
        recording.latencies = vec![cell];
        facts(&recording, |facts| {
            let unjoined = &facts.load.unjoined;
            assert_eq!((unjoined.len(), unjoined[0].name.as_str(), unjoined[0].errors), (1, "other", 2));
        });
    }

    #[test]
    fn an_operation_of_several_kinds_is_counted_once() {
        let mut recording = drawn(
            r#"
            repeat 3
            edge server "GET /api/{path}" 0..60
              edge http "GET http://shop/items" 1..59
                shop server "GET /items" 2..58

            edge server "GET /api/{path}" 0..30
              edge http "GET http://shop/home" 1..29
                shop server "GET /home" 2..28
            "#,
        );
        recording.run.operations = vec!["GET /api/{path}".to_owned()];
        let mut cell = LatencyCell::default();
        (0..400).for_each(|_| cell.response.record(50_000_000));
        recording.latencies = vec![cell];
        facts(&recording, |facts| {
            assert!(facts.load.unjoined.is_empty());
            let whole = &facts.load.parted;
            assert_eq!((whole.len(), whole[0].responses.count()), (1, 400));
            let requests: Vec<f64> = facts.load.endpoints.iter().map(|j| j.requests).collect();
            assert_eq!(requests, [300.0, 100.0]);
        });
    }

    #[test]
    fn a_request_that_was_quicker_than_its_span_has_no_negative_overhead() {
        let mut recording = recording();
        recording.requests = vec![request(0, 1, 1, false)];
        assert!(facts(&recording, |facts| facts.load.overhead_ns(0, 0)) >= 0.0);
    }
}
