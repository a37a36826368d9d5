//! What a run hands back: k6's data, the text for people, a table of endpoints, doubts, and k6's exit code.

use crate::endpoints::Endpoint;
use crate::summary::{self, Detail};
use crate::test::Test;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// k6's exit codes (`errext/exitcodes/codes.go`, as documented).
pub mod exit {
    pub const THRESHOLDS_FAILED: u8 = 99;
    pub const SETUP_TIMEOUT: u8 = 100;
    pub const TEARDOWN_TIMEOUT: u8 = 101;
    pub const INVALID_CONFIG: u8 = 104;
    pub const EXTERNAL_ABORT: u8 = 105;
    pub const SCRIPT_EXCEPTION: u8 = 107;
    pub const SCRIPT_ABORTED: u8 = 108;
    pub const MARKED_AS_FAILED: u8 = 110;
}

/// Requests of one endpoint: method with path template, or with the script's own name.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointRow {
    pub name: String,
    pub requests: u64,
    pub failed: u64,
    pub received_bytes: u64,
    /// From sending to the last byte, as k6 counts.
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// p95 of the first requests of iterations, from the time at which they were due; open models only.
    pub p95_from_schedule_ms: Option<f64>,
}

impl EndpointRow {
    pub(crate) fn new(name: String, endpoint: &Endpoint) -> Self {
        let of = |q| endpoint.service.quantile(q);
        let scheduled = endpoint.from_schedule.count > 0;
        Self {
            name,
            requests: endpoint.requests,
            failed: endpoint.failed,
            received_bytes: endpoint.received_bytes,
            p50_ms: of(0.5),
            p95_ms: of(0.95),
            p99_ms: of(0.99),
            max_ms: endpoint.service.max.max(0.0),
            p95_from_schedule_ms: scheduled.then(|| endpoint.from_schedule.quantile(0.95)),
        }
    }
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Report {
    pub exit_code: u8,
    /// The object that k6 hands to `handleSummary`.
    pub data: Value,
    pub endpoints: Vec<EndpointRow>,
    /// Metrics with a failed threshold.
    pub failed_thresholds: Vec<String>,
    /// What `handleSummary` returned: `stdout`, `stderr` or a path, and what to write there.
    pub outputs: Vec<(String, String)>,
    /// Reasons to distrust the figures.
    pub doubts: Vec<String>,
    /// How to read the figures.
    pub notes: Vec<String>,
    /// Why it ended early.
    pub ended_early: Option<String>,
    /// Iterations that ended with an exception.
    pub exceptions: u64,
    pub interrupted: u64,
}

impl Report {
    /// k6's text, then the table of endpoints and what to doubt.
    #[must_use]
    pub fn text(&self, detail: Detail) -> String {
        let mut out = summary::text(&self.data, "", detail);
        if !self.endpoints.is_empty() {
            out.push_str("\n  █ ENDPOINTS\n\n");
            let _written = writeln!(
                out,
                "    {:<40} {:>9} {:>7} {:>10} {:>10} {:>10} {:>10} {:>14}",
                "endpoint", "requests", "failed", "p50 ms", "p95 ms", "p99 ms", "max ms", "p95 scheduled"
            );
            for row in &self.endpoints {
                let scheduled =
                    row.p95_from_schedule_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
                let _written = writeln!(
                    out,
                    "    {:<40} {:>9} {:>7} {:>10.2} {:>10.2} {:>10.2} {:>10.2} {:>14}",
                    row.name,
                    row.requests,
                    row.failed,
                    row.p50_ms,
                    row.p95_ms,
                    row.p99_ms,
                    row.max_ms,
                    scheduled
                );
            }
        }
        for note in &self.notes {
            let _written = writeln!(out, "\n  {note}");
        }
        for doubt in &self.doubts {
            let _written = writeln!(out, "\n  ! {doubt}");
        }
        out
    }

    /// k6's `--summary-export` shape.
    #[must_use]
    pub fn export(&self) -> Value {
        summary::export(&self.data)
    }

    /// Thresholds as JUnit test cases.
    #[must_use]
    pub fn junit(&self) -> String {
        summary::junit(&self.data)
    }
}

/// A stall that is shorter is none.
const SILENCE: Duration = Duration::from_secs(1);

/// What to know about the model. `is_open`: all scenarios are arrival rates.
pub(crate) fn notes(is_open: bool) -> Vec<String> {
    let text = if is_open {
        "open model: \"p95 scheduled\" counts the first request of an iteration from when it was due; k6's own metrics \
         count from sending"
    } else {
        "closed model: virtual users wait for answers, so percentiles leave out the users that would have come \
         meanwhile; an arrival-rate scenario counts them"
    };
    vec![text.to_owned()]
}

pub(crate) fn doubts(test: &Test, silence: Duration) -> Vec<String> {
    let mut doubts = Vec::new();
    let dropped = test.control.counts().dropped;
    if dropped > 0 {
        let waited = test.waiting.borrow().mean();
        doubts.push(format!(
            "{dropped} arrivals never started, as no virtual user was free (when they were dropped, {waited:.0} ms after \
             they were due on average): the latencies do not hold them; give more maxVUs"
        ));
    }
    if silence > SILENCE {
        doubts.push(format!("for {:.1} s no request was answered", silence.as_secs_f64()));
    }
    for (kind, count) in test.log.held_back() {
        doubts.push(format!("{count} times: {kind}"));
    }
    doubts
}
