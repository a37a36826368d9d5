//! A recording: everything that the instruments saw in one window. The only seam between measuring and judging.

use crate::{Costs, Histogram, MetricSeries, Plan, Profile, SpanTable, Statement};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What could not be seen, why, and what to do so that it can.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// The instrument or signal: `traces`, `metrics`, `statements`, `plans`, `load`, `host`.
    pub signal: String,
    /// What is missing and why, in a sentence.
    pub reason: String,
    /// What to do so that it can be seen.
    pub hint: String,
}

impl Gap {
    #[must_use]
    pub fn new(signal: &str, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { signal: signal.to_owned(), reason: reason.into(), hint: hint.into() }
    }
}

/// Where the measuring was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub host: String,
    pub os: String,
    pub cpu_model: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// Versions of what took part: `trimtab`, `postgresql` ...
    pub versions: BTreeMap<String, String>,
}

/// `run.json`: what was measured, when, and under which goals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Layout of the directory; readers refuse a newer major one.
    pub format: u32,
    /// Stable name: time of start plus a short hash of the settings.
    pub id: String,
    /// Base URL of the service, without user, password or query.
    pub target: String,
    /// Window of the measurement, Unix nanoseconds; warm-up cut off.
    pub start_ns: u64,
    pub end_ns: u64,
    pub seed: u64,
    /// The goals as the user wrote them.
    pub goals: Vec<String>,
    /// Names of the load's operations; [`LatencyCell::operation`] points here.
    pub operations: Vec<String>,
    /// Length of a latency cell.
    pub cell_ms: u32,
    pub environment: Environment,
    pub validity: Validity,
    pub gaps: Vec<Gap>,
    /// `false` where the run was ended early and holds only a part.
    pub complete: bool,
}

impl Run {
    /// Length of the window in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.end_ns.saturating_sub(self.start_ns) as f64 / 1e9
    }
}

/// Can the load's figures be trusted? Empty issues: valid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    pub issues: Vec<ValidityIssue>,
}

/// One reason to doubt the load's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidityIssue {
    /// `late_starts`, `generator_cpu`, `run_queue`, `dropped_arrivals`, `few_samples`, `not_steady`.
    pub kind: String,
    /// `true`: the figures are not to be used; `false`: doubtful.
    pub invalid: bool,
    /// The figure and the limit that it broke, in a sentence.
    pub reason: String,
    pub hint: String,
}

/// Responses of one operation that were due in one cell of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyCell {
    /// Index into [`Run::operations`].
    pub operation: u32,
    /// Which cell: the window began `cell * cell_ms` before.
    pub cell: u32,
    /// From the due time to the last byte: what a user waits.
    pub response: Histogram,
    /// From sending to the last byte: what the service took.
    pub service: Histogram,
    pub errors: u32,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No address for the name.
    Dns,
    /// Refused, reset or unreachable while connecting.
    Connect,
    Tls,
    /// No complete response within the time allowed.
    Timeout,
    /// The connection ended before the response did.
    Closed,
    /// Not HTTP, or not as HTTP demands.
    Protocol,
    /// A response with status 4xx that the scenario did not expect.
    ClientStatus,
    /// A response with status 5xx.
    ServerStatus,
    /// A check of the scenario said no.
    Check,
    /// Due, but never sent: the generator had no room.
    NotStarted,
}

/// One request that was kept: the slowest, and a uniform sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestSample {
    /// Index into [`Run::operations`].
    pub operation: u32,
    /// When it was due, Unix nanoseconds.
    pub due_ns: u64,
    /// From the due time to the last byte.
    pub response_ns: u64,
    /// From sending to the last byte.
    pub service_ns: u64,
    /// 0 where no response came.
    pub status: u16,
    pub error: Option<ErrorClass>,
    /// Body bytes received.
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub trace_id: u128,
    /// Kept because it is among the slowest, else as part of the uniform sample.
    pub slowest: bool,
    /// All 0 where they are not known.
    #[serde(default)]
    pub phases: RequestPhases,
}

/// How a kept request's time was spent, as its sender saw it; nanoseconds, together the response time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestPhases {
    /// From the due time to the start, and waiting for a connection.
    pub queue_ns: u64,
    pub lookup_ns: u64,
    pub connect_ns: u64,
    pub tls_ns: u64,
    pub send_ns: u64,
    /// From the last byte sent to the first one received.
    pub wait_ns: u64,
    pub receive_ns: u64,
}

/// Everything that the instruments saw in one window.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub run: Run,
    pub spans: SpanTable,
    pub metrics: Vec<MetricSeries>,
    pub latencies: Vec<LatencyCell>,
    pub requests: Vec<RequestSample>,
    pub statements: Vec<Statement>,
    pub plans: Vec<Plan>,
    /// What a request of each operation costs, where the load's mix could tell it.
    pub costs: Option<Costs>,
    /// What the service's threads did, where they were profiled.
    pub profile: Option<Profile>,
}

impl Recording {
    /// All response times of one operation.
    #[must_use]
    pub fn responses(&self, operation: u32) -> Histogram {
        let mut all = Histogram::default();
        for cell in self.latencies.iter().filter(|c| c.operation == operation) {
            all.merge(&cell.response);
        }
        all
    }

    /// The series of a name.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a MetricSeries> {
        self.metrics.iter().filter(move |s| s.name == name)
    }
}
