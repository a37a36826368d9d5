//! The end of a load test as values: per operation and in all. Pure.

use crate::{CheckCount, GoalOutcome, LoadResult};
use model::{ErrorClass, Histogram, RequestPhases, RequestSample, Validity};

/// A distribution in milliseconds; zeros where there is no value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    pub count: u64,
    pub avg_ms: f64,
    pub min_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// One operation, or all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperationSummary {
    pub name: String,
    pub requests: u64,
    pub rate_per_s: f64,
    pub failed: u64,
    /// What a user waits: from the due time.
    pub response: Distribution,
    /// What the service takes: from sending.
    pub service: Distribution,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Count and first message by class.
    pub errors: Vec<(ErrorClass, u64, String)>,
}

/// One request that was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRequest {
    pub operation: String,
    /// Unix nanoseconds.
    pub due_ns: u64,
    pub response_ms: f64,
    pub service_ms: f64,
    /// 0 where no response came.
    pub status: u16,
    pub error: Option<ErrorClass>,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub trace_id: u128,
    pub phases: RequestPhases,
}

/// Requests of one operation that were kept, fewer than are in a saved result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptOfOperation {
    /// The slowest first.
    pub slowest: Vec<KeptRequest>,
    /// Of the uniform sample, in the order of time.
    pub sample: Vec<KeptRequest>,
}

/// Slow requests that a summary names unless told.
pub const SLOW_REQUESTS: usize = 5;

/// The whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub target: String,
    pub seconds: f64,
    pub complete: bool,
    pub operations: Vec<OperationSummary>,
    pub all: OperationSummary,
    pub not_started: u64,
    pub stale_retries: u64,
    pub lateness_p99_ms: f64,
    /// Users of a closed model, and the longest time without any response.
    pub users: Option<u32>,
    pub longest_silence_s: f64,
    /// The slowest of all, the slowest first.
    pub slowest: Vec<KeptRequest>,
    /// In the order of the operations.
    pub kept: Vec<KeptOfOperation>,
    pub checks: Vec<CheckCount>,
    /// Empty unless filled in, see [`crate::judge_goals`].
    pub goals: Vec<GoalOutcome>,
    pub validity: Validity,
}

/// Sums and extremes that the histogram does not hold exactly.
#[derive(Clone, Copy, Default)]
struct Exact {
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Exact {
    fn plus(self, other: Self, is_first: bool) -> Self {
        let min_ns = if is_first { other.min_ns } else { self.min_ns.min(other.min_ns) };
        Self { sum_ns: self.sum_ns + other.sum_ns, min_ns, max_ns: self.max_ns.max(other.max_ns) }
    }

    fn with(self, histogram: &Histogram) -> Distribution {
        let (min_ms, max_ms) = (self.min_ns as f64 / 1e6, self.max_ns as f64 / 1e6);
        // A bucket's middle may lie outside what was measured.
        let quantile = |q| histogram.quantile_ms(q).map_or(0.0, |ms| ms.clamp(min_ms, max_ms.max(min_ms)));
        Distribution {
            count: histogram.count(),
            avg_ms: self.sum_ns as f64 / histogram.count().max(1) as f64 / 1e6,
            min_ms,
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms,
        }
    }
}

/// The figures of a run that people and other programs read; as many of the kept requests are named, in all and of each
/// operation.
#[must_use]
pub fn summary(result: &LoadResult, slow_requests: usize) -> Summary {
    let seconds = result.window.as_secs_f64();
    let mut all = OperationSummary { name: "all".to_owned(), ..OperationSummary::default() };
    let (mut response, mut service) = (Histogram::default(), Histogram::default());
    let (mut exact_response, mut exact_service) = (Exact::default(), Exact::default());
    let mut operations = Vec::with_capacity(result.operations.len());
    for (index, name) in (0_u32..).zip(&result.operations) {
        let (one, own_response, own_service) = operation(result, index, name, seconds);
        let totals = &result.totals[index as usize];
        exact_response = exact_response.plus(of_response(totals), response.is_empty());
        exact_service = exact_service.plus(of_service(totals), service.is_empty());
        response.merge(&own_response);
        service.merge(&own_service);
        all.requests += one.requests;
        all.failed += one.failed;
        all.sent_bytes += one.sent_bytes;
        all.received_bytes += one.received_bytes;
        operations.push(one);
    }
    all.rate_per_s = all.requests as f64 / seconds.max(f64::MIN_POSITIVE);
    all.response = exact_response.with(&response);
    all.service = exact_service.with(&service);
    Summary {
        target: result.target.clone(),
        seconds,
        complete: result.complete,
        operations,
        all,
        not_started: result.figures.not_started,
        stale_retries: result.stale_retries,
        lateness_p99_ms: result.lateness.quantile_ms(0.99).unwrap_or_default(),
        users: result.users,
        longest_silence_s: result.longest_silence.as_secs_f64(),
        slowest: slowest(result, slow_requests, None),
        kept: kept(result, slow_requests),
        checks: result.checks.clone(),
        goals: Vec::new(),
        validity: result.validity.clone(),
    }
}

/// The slowest of an operation, or of all.
fn slowest(result: &LoadResult, most: usize, operation: Option<u32>) -> Vec<KeptRequest> {
    // Those that were never sent have no trace.
    let mut all: Vec<&RequestSample> = result
        .requests
        .iter()
        .filter(|request| request.slowest && request.trace_id != 0)
        .filter(|request| operation.is_none_or(|only| request.operation == only))
        .collect();
    all.sort_by_key(|request| (std::cmp::Reverse(request.response_ns), request.due_ns));
    all.truncate(most);
    all.into_iter().map(|request| told(result, request)).collect()
}

fn kept(result: &LoadResult, most: usize) -> Vec<KeptOfOperation> {
    let of = |operation: u32| {
        let sample: Vec<&RequestSample> =
            result.requests.iter().filter(|r| r.operation == operation && !r.slowest).collect();
        // Of those in the order of time, as many at equal distances.
        let step = (sample.len() / most.max(1)).max(1);
        let some = sample.into_iter().step_by(step).take(most);
        KeptOfOperation {
            slowest: slowest(result, most, Some(operation)),
            sample: some.map(|request| told(result, request)).collect(),
        }
    };
    (0_u32..).zip(&result.operations).map(|(operation, _)| of(operation)).collect()
}

fn told(result: &LoadResult, request: &RequestSample) -> KeptRequest {
    KeptRequest {
        operation: result.operations.get(request.operation as usize).cloned().unwrap_or_default(),
        due_ns: request.due_ns,
        response_ms: request.response_ns as f64 / 1e6,
        service_ms: request.service_ns as f64 / 1e6,
        status: request.status,
        error: request.error,
        sent_bytes: request.sent_bytes,
        received_bytes: request.received_bytes,
        trace_id: request.trace_id,
        phases: request.phases,
    }
}

fn of_response(totals: &crate::OperationTotals) -> Exact {
    Exact { sum_ns: totals.response_sum_ns, min_ns: totals.response_min_ns, max_ns: totals.response_max_ns }
}

fn of_service(totals: &crate::OperationTotals) -> Exact {
    Exact { sum_ns: totals.service_sum_ns, min_ns: totals.service_min_ns, max_ns: totals.service_max_ns }
}

fn operation(
    result: &LoadResult,
    index: u32,
    name: &str,
    seconds: f64,
) -> (OperationSummary, Histogram, Histogram) {
    let totals = &result.totals[index as usize];
    let (response, service) = (result.response(index), result.service(index));
    let errors: Vec<(ErrorClass, u64, String)> = result
        .errors
        .iter()
        .filter(|error| error.operation == index)
        .map(|error| (error.class, error.count, error.example.clone()))
        .collect();
    let summary = OperationSummary {
        name: name.to_owned(),
        requests: response.count(),
        rate_per_s: response.count() as f64 / seconds.max(f64::MIN_POSITIVE),
        failed: errors.iter().map(|error| error.1).sum(),
        response: of_response(totals).with(&response),
        service: of_service(totals).with(&service),
        sent_bytes: totals.sent_bytes,
        received_bytes: totals.received_bytes,
        errors,
    };
    (summary, response, service)
}
