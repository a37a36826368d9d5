//! A finding: what is slow, where, how we know, what to do, and what that will bring.

use crate::Rerun;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// How a prediction was made, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Grade {
    /// Measured: the plan was executed, the page replayed, the flag toggled.
    A,
    /// Every recorded trace was re-simulated with the fix.
    B,
    /// A model with a stated assumption.
    C,
}

/// One quantile before and after the fix, in milliseconds, with a 90 % interval of the after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantilePrediction {
    /// 0.5, 0.95, 0.99.
    pub quantile: f64,
    pub before_ms: f64,
    pub after_ms: f64,
    pub low_ms: f64,
    pub high_ms: f64,
}

/// What a fix will bring. The flat fields speak of p95; `quantiles` of all three.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// `p95(GET /orders)`.
    pub metric: String,
    pub before_ms: f64,
    pub after_ms: f64,
    pub low_ms: f64,
    pub high_ms: f64,
    pub grade: Grade,
    /// What was assumed, in a sentence; never empty for grade C.
    pub assumption: String,
    pub quantiles: Vec<QuantilePrediction>,
    /// What past errors multiplied the gain by; absent where they changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<f64>,
}

impl Prediction {
    /// Milliseconds of p95 that the fix saves.
    #[must_use]
    pub fn gain_ms(&self) -> f64 {
        self.before_ms - self.after_ms
    }

    /// Gain as share of the before; 0 where that is 0.
    #[must_use]
    pub fn gain_share(&self) -> f64 {
        if self.before_ms > 0.0 { self.gain_ms() / self.before_ms } else { 0.0 }
    }
}

/// A place in code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CodeRef {
    pub function: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// Where a finding is. What does not apply is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Path of templates from the endpoint to the span, joined by ` > `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// Normalised statement text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<CodeRef>,
    /// Called service, host or resource (`pool`, `cpu`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemedyKind {
    /// Statements to run on the database.
    Sql,
    /// A change of code, described.
    Code,
    /// A value of a configuration.
    Configuration,
    /// A control of the gateway.
    Gateway,
}

/// One way to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    pub kind: RemedyKind,
    pub text: String,
    /// SQL, patch or setting, ready to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// How we know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Two or three lines for a person, most telling first.
    pub lines: Vec<String>,
    /// Traces that show it, lower-case hex, at most ten, typical ones first.
    pub trace_ids: Vec<String>,
    /// Traces that show it, of how many that could.
    pub traces: u64,
    pub traces_of: u64,
    /// Rows of the span table of one typical trace that belong to the finding; for drawing.
    pub span_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// 0 to 1: how sure we are that the finding is real and the remedy applies.
pub type Confidence = f64;

/// One bottleneck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// One of the rule names of the design.
    pub rule: String,
    pub severity: Severity,
    /// Stable over runs: `v1:` and 16 hex digits of rule, endpoint and shape.
    pub fingerprint: String,
    pub title: String,
    pub service: String,
    /// As the load and the goals name it: `GET /customers/{id}/orders`.
    pub endpoint: String,
    pub place: Place,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_request: Option<f64>,
    /// 0 to 1 of the endpoint's critical path, mean over its traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_of_critical_path: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
    pub remedies: Vec<Remedy>,
    pub evidence: Evidence,
    pub confidence: Confidence,
    /// A request that shows it, before and after; of the first findings whose fix was run on recorded traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Rerun>,
}
