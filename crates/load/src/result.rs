//! What a run measured: plain values, sorted, ready for a recording.

use crate::validity::Figures;
use model::{ErrorClass, Histogram, LatencyCell, RequestSample, Validity};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCount {
    /// Index into [`LoadResult::operations`].
    pub operation: u32,
    pub class: ErrorClass,
    pub count: u64,
    /// What the first one said, without secrets.
    pub example: String,
}

/// What came of one of the scenario's checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckCount {
    /// Index into [`LoadResult::operations`].
    pub operation: u32,
    /// What is asked: `json /id is there`.
    pub name: String,
    pub passes: u64,
    pub fails: u64,
}

/// Sums over the run of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationTotals {
    /// Arrivals that were due, whatever became of them: the count of the cells' `response`.
    pub offered: u64,
    pub sent_bytes: u64,
    /// Of bodies.
    pub received_bytes: u64,
    /// Exact sums and extremes beside the histograms, nanoseconds.
    pub response_sum_ns: u128,
    pub response_min_ns: u64,
    pub response_max_ns: u64,
    pub service_sum_ns: u128,
    pub service_min_ns: u64,
    pub service_max_ns: u64,
}

impl OperationTotals {
    /// Adds another generator's.
    pub(crate) fn merge(&mut self, other: &Self) {
        let least = |a: u64, b: u64, a_sum: u128, b_sum: u128| match (a_sum, b_sum) {
            (0, _) => b,
            (_, 0) => a,
            _ => a.min(b),
        };
        self.response_min_ns =
            least(self.response_min_ns, other.response_min_ns, self.response_sum_ns, other.response_sum_ns);
        self.service_min_ns =
            least(self.service_min_ns, other.service_min_ns, self.service_sum_ns, other.service_sum_ns);
        self.response_max_ns = self.response_max_ns.max(other.response_max_ns);
        self.service_max_ns = self.service_max_ns.max(other.service_max_ns);
        self.offered += other.offered;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.response_sum_ns += other.response_sum_ns;
        self.service_sum_ns += other.service_sum_ns;
    }
}

/// What one run measured.
#[derive(Clone, Debug)]
pub struct LoadResult {
    /// Names; everything else points here.
    pub operations: Vec<String>,
    /// Base URL without secrets.
    pub target: String,
    /// Unix nanoseconds of the first moment at which an arrival could be due, and the same on the monotonic clock.
    pub started_ns: u64,
    pub started: Instant,
    /// In which arrivals were due; shorter than asked where the run was ended early.
    pub window: Duration,
    /// `false` where a shutdown ended the run early.
    pub complete: bool,
    pub cell_ms: u32,
    /// Cell `n` holds what was due from `started_ns + n * cell_ms`; sorted by cell, then operation; empty ones are left
    /// out. Failed requests are in `response`, and in `service` where they were sent.
    pub cells: Vec<LatencyCell>,
    /// Sorted by operation and due time.
    pub requests: Vec<RequestSample>,
    /// By operation, in the scenario's order.
    pub checks: Vec<CheckCount>,
    /// Users of a closed model; `None`: arrivals were due by a pace.
    pub users: Option<u32>,
    /// The longest time within the window without any response.
    pub longest_silence: Duration,
    /// Sorted by operation and class.
    pub errors: Vec<ErrorCount>,
    /// One per operation.
    pub totals: Vec<OperationTotals>,
    /// Arrivals that were due, that were started, and that got a complete response of any status.
    pub offered: u64,
    pub started_count: u64,
    pub completed: u64,
    /// Arrivals that had to wait for the bound of requests in flight.
    pub held_back: u64,
    /// Requests sent again as their keep-alive connection turned out to be closed.
    pub stale_retries: u64,
    pub connections: u64,
    /// CPU time of the generator's thread; absent where the system does not tell.
    pub cpu_s: Option<f64>,
    /// Start minus due time, or minus the moment at which the bound let it go: the generator's own delay.
    pub lateness: Histogram,
    /// What `validity` was judged from.
    pub figures: Figures,
    pub validity: Validity,
}

impl LoadResult {
    /// All response times of an operation.
    #[must_use]
    pub fn response(&self, operation: u32) -> Histogram {
        self.merged(operation, |cell| &cell.response)
    }

    /// All service times of an operation.
    #[must_use]
    pub fn service(&self, operation: u32) -> Histogram {
        self.merged(operation, |cell| &cell.service)
    }

    /// Failures of all kinds.
    #[must_use]
    pub fn error_count(&self) -> u64 {
        self.errors.iter().map(|error| error.count).sum()
    }

    fn merged(&self, operation: u32, part: impl Fn(&LatencyCell) -> &Histogram) -> Histogram {
        let mut all = Histogram::default();
        for cell in self.cells.iter().filter(|cell| cell.operation == operation) {
            all.merge(part(cell));
        }
        all
    }
}
