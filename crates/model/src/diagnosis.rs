//! What `trimtab localize` answers; the JSON that other programs may rely on.

use crate::{Finding, Gap, TimeSpent, Validity};
use serde::{Deserialize, Serialize};

/// Version of the JSON; grows with every change that a reader could notice.
pub const SCHEMA_VERSION: u32 = 1;

/// An endpoint's figures over the window. From the load where there was one, else from server spans.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointFigures {
    pub endpoint: String,
    pub service: String,
    /// Requests counted.
    pub requests: u64,
    pub rate_per_s: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// 0 to 1.
    pub error_share: f64,
    /// Traces seen of it.
    pub traces: u64,
    /// Share of root time that child spans explain, 0 to 1; absent without traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
}

/// The recording that was judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordingFigures {
    pub id: String,
    pub start_ns: u64,
    pub end_ns: u64,
    pub spans: u64,
    pub traces: u64,
    pub endpoints: Vec<EndpointFigures>,
    pub validity: Validity,
}

/// A goal against its measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoalResult {
    pub goal: String,
    /// In the goal's unit; absent where nothing was seen of it.
    pub measured: Option<f64>,
    /// Absent where nothing was seen of it.
    pub met: Option<bool>,
    /// What a percentile stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Of the percentile's 95 % interval; absent where the requests are too few to bound it on that side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// A rule that could not run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleNotRun {
    pub rule: String,
    pub missing_signal: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    pub version: u32,
    pub recording: RecordingFigures,
    pub goals: Vec<GoalResult>,
    /// Where each endpoint's time goes, as the load's mix tells it; those with most time first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub time: Vec<TimeSpent>,
    /// Ranked, best first.
    pub findings: Vec<Finding>,
    pub gaps: Vec<Gap>,
    pub rules_not_run: Vec<RuleNotRun>,
}
