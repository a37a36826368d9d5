//! A trial: before, one change, after; and its verdict.

use crate::{Change, Finding, Histogram, Prediction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How before and after were laid out in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// Both arms at once, one load split between them.
    Duet,
    /// A and B in turn, order random within each pair.
    Interleaved,
    /// All of A, then all of B: drift cannot be told from effect.
    Sequential,
}

/// One window of each arm, next to each other in time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub before: Histogram,
    pub after: Histogram,
    pub before_errors: u64,
    pub after_errors: u64,
}

/// What is to be judged: response times per operation, in pairs of windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub change: Change,
    pub prediction: Option<Prediction>,
    pub design: Design,
    /// Length of one window in seconds.
    pub window_s: f64,
    /// By operation; pairs in the order of time.
    pub operations: BTreeMap<String, Vec<Pair>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Better,
    Worse,
    Same,
    Unclear,
}

/// One metric of one operation, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricVerdict {
    /// `p95(GET /orders)`.
    pub metric: String,
    pub operation: String,
    pub quantile: f64,
    pub before_ms: f64,
    pub after_ms: f64,
    /// after / before, with a 95 % interval.
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
    /// The smallest change that this trial could have told from noise (power 0.8), as share: 0.1 is 10 %.
    pub detectable: f64,
    /// Seconds of measuring still needed for `Unclear` to become clear; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed_s: Option<f64>,
    pub verdict: Verdict,
    pub requests_before: u64,
    pub requests_after: u64,
}

/// The verdict on a trial. `metric` names the one that decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub version: u32,
    pub verdict: Verdict,
    pub metric: String,
    pub metrics: Vec<MetricVerdict>,
    /// Does the interval of the outcome meet the interval that was predicted? Absent without a prediction.
    pub prediction_held: Option<bool>,
    /// Every reason for the verdict and every doubt, in sentences.
    pub reasons: Vec<String>,
}

/// One round of the loop, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub number: u32,
    /// Unix nanoseconds.
    pub started_ns: u64,
    pub finding: Finding,
    pub change: Change,
    pub judgement: Judgement,
    pub kept: bool,
    /// Names of the recordings before and after, in the project's folder.
    pub recording_before: String,
    pub recording_after: Option<String>,
}
