//! Takes in what became of each arrival and keeps bounded figures of it: cells, samples, errors, sums.
//! An arrival that was due is always counted, whatever became of it.

use crate::http::Phases;
use crate::options::nanos;
use crate::result::{CheckCount, ErrorCount, OperationTotals};
use crate::samples::Samples;
use model::{ErrorClass, Histogram, LatencyCell, RequestSample};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::time::Duration;

/// An example of an error is cut here.
const MAX_EXAMPLE_BYTES: usize = 300;
/// Fewer requests do not tell a warm-up from chance.
const MIN_WARM_UP_SAMPLES: u64 = 20;

/// A snapshot for the live view, once per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub elapsed: Duration,
    pub offered: u64,
    pub completed: u64,
    pub errors: u64,
    pub in_flight: usize,
    /// Responses in the last second.
    pub rate_per_s: f64,
    /// Of the run so far.
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
}

/// One arrival and what became of it. Times from the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) operation: u32,
    pub(crate) due: Duration,
    pub(crate) done: Duration,
    /// From sending to the last byte; `None` where it was never sent.
    pub(crate) service: Option<Duration>,
    pub(crate) status: u16,
    pub(crate) failure: Option<(ErrorClass, String)>,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) trace_id: u128,
    pub(crate) phases: Phases,
}

pub(crate) struct Record {
    pub(crate) started_ns: u64,
    cell: Duration,
    cells: BTreeMap<(u32, u32), LatencyCell>,
    samples: Vec<Samples>,
    errors: BTreeMap<(u32, ErrorClass), (u64, String)>,
    totals: Vec<OperationTotals>,
    checks: Vec<CheckCount>,
    /// Of the whole run and all operations.
    pub(crate) response: Histogram,
    pub(crate) completed: u64,
    pub(crate) not_started: u64,
    pub(crate) error_count: u64,
    /// The longest time without any response, and when the last one came.
    pub(crate) silence: Duration,
    pub(crate) last_done: Duration,
    random: Xoshiro256PlusPlus,
}

/// What a record became, see [`crate::LoadResult`].
pub(crate) struct Recorded {
    pub(crate) cells: Vec<LatencyCell>,
    pub(crate) requests: Vec<RequestSample>,
    pub(crate) checks: Vec<CheckCount>,
    pub(crate) errors: Vec<ErrorCount>,
    pub(crate) totals: Vec<OperationTotals>,
}

impl Record {
    pub(crate) fn new(operations: usize, started_ns: u64, options: &crate::Options) -> Self {
        let samples = || Samples::new(options.uniform_samples, options.slowest_samples);
        Self {
            started_ns,
            cell: Duration::from_millis(options.cell_ms.into()),
            cells: BTreeMap::new(),
            samples: std::iter::repeat_with(samples).take(operations).collect(),
            errors: BTreeMap::new(),
            totals: vec![OperationTotals::default(); operations],
            checks: Vec::new(),
            response: Histogram::default(),
            completed: 0,
            not_started: 0,
            error_count: 0,
            silence: Duration::ZERO,
            last_done: Duration::ZERO,
            random: Xoshiro256PlusPlus::seed_from_u64(options.seed),
        }
    }

    pub(crate) fn take(&mut self, arrival: &Arrival) {
        let response_ns = nanos(arrival.done.saturating_sub(arrival.due));
        let service_ns = arrival.service.map(nanos);
        let class = arrival.failure.as_ref().map(|failure| failure.0);
        self.response.record(response_ns);
        if arrival.status != 0 {
            self.completed += 1;
            self.silence = self.silence.max(arrival.done.saturating_sub(self.last_done));
            self.last_done = arrival.done;
        }
        self.not_started += u64::from(class == Some(ErrorClass::NotStarted));

        let cell = u32::try_from(arrival.due.as_nanos() / self.cell.as_nanos()).unwrap_or(u32::MAX);
        let cell = self.cells.entry((cell, arrival.operation)).or_insert_with(|| LatencyCell {
            operation: arrival.operation,
            cell,
            ..LatencyCell::default()
        });
        cell.response.record(response_ns);
        if let Some(service_ns) = service_ns {
            cell.service.record(service_ns);
        }
        cell.errors += u32::from(class.is_some());

        let operation = arrival.operation as usize;
        self.totals[operation].add(response_ns, service_ns, arrival);
        let sample = RequestSample {
            operation: arrival.operation,
            due_ns: self.started_ns.saturating_add(nanos(arrival.due)),
            response_ns,
            service_ns: service_ns.unwrap_or_default(),
            status: arrival.status,
            error: class,
            received_bytes: arrival.received_bytes,
            sent_bytes: arrival.sent_bytes,
            trace_id: arrival.trace_id,
            slowest: false,
            phases: arrival.phases.of_request(arrival.done.saturating_sub(arrival.due)),
        };
        self.samples[operation].offer(&sample, &mut self.random);
        if let Some((class, text)) = &arrival.failure {
            self.error_count += 1;
            let first = || (0, cut(text));
            self.errors.entry((arrival.operation, *class)).or_insert_with(first).0 += 1;
        }
    }

    /// What came of a check; as many are told apart as the scenario writes.
    pub(crate) fn check(&mut self, operation: u32, name: &str, passed: bool) {
        let known = self.checks.iter().position(|c| c.operation == operation && c.name == name);
        let at = known.unwrap_or_else(|| {
            self.checks.push(CheckCount { operation, name: name.to_owned(), passes: 0, fails: 0 });
            self.checks.len() - 1
        });
        self.checks[at].passes += u64::from(passed);
        self.checks[at].fails += u64::from(!passed);
    }

    pub(crate) fn finish(mut self) -> Recorded {
        self.checks.sort_by_key(|check| check.operation);
        let errors = self.errors.into_iter().map(|((operation, class), (count, example))| ErrorCount {
            operation,
            class,
            count,
            example,
        });
        Recorded {
            cells: self.cells.into_values().collect(),
            requests: self.samples.into_iter().flat_map(Samples::finish).collect(),
            errors: errors.collect(),
            checks: self.checks,
            totals: self.totals,
        }
    }
}

impl Recorded {
    /// Median responses of the first tenth of the cells and of their second half; `None` with too few.
    pub(crate) fn warm_up_ms(&self) -> Option<(f64, f64)> {
        let cells = u64::from(self.cells.iter().map(|cell| cell.cell).max()?) + 1;
        let median = |part: &dyn Fn(u64) -> bool| {
            let mut all = Histogram::default();
            for cell in self.cells.iter().filter(|cell| part(u64::from(cell.cell))) {
                all.merge(&cell.response);
            }
            (all.count() >= MIN_WARM_UP_SAMPLES).then(|| all.quantile_ms(0.5)).flatten()
        };
        let first = median(&|cell| cell * 10 < cells)?;
        Some((first, median(&|cell| cell * 2 >= cells && cell > 0)?))
    }
}

impl OperationTotals {
    fn add(&mut self, response_ns: u64, service_ns: Option<u64>, arrival: &Arrival) {
        let first = self.offered == 0;
        self.offered += 1;
        self.sent_bytes += if service_ns.is_some() { arrival.sent_bytes } else { 0 };
        self.received_bytes += arrival.received_bytes;
        self.response_sum_ns += u128::from(response_ns);
        self.response_min_ns = if first { response_ns } else { self.response_min_ns.min(response_ns) };
        self.response_max_ns = self.response_max_ns.max(response_ns);
        if let Some(service_ns) = service_ns {
            let first = self.service_sum_ns == 0;
            self.service_sum_ns += u128::from(service_ns);
            self.service_min_ns = if first { service_ns } else { self.service_min_ns.min(service_ns) };
            self.service_max_ns = self.service_max_ns.max(service_ns);
        }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_EXAMPLE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
