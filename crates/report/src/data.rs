//! What the page draws: the shape of the JSON that is embedded in it. Every list and text is bounded by its builder,
//! figures are rounded to four digits, and a figure that is not known is absent, never NaN.

use crate::flame::Flame;
use crate::headline::Headline;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything on the page. Made by [`ReportData::new`](crate::ReportData::new).
#[derive(Clone, Debug, Serialize)]
pub struct ReportData {
    pub(crate) title: String,
    pub(crate) target: String,
    /// `2026-11-22 20:31 UTC`.
    pub(crate) created: String,
    pub(crate) headline: Headline,
    /// One or two: before, and after where there is one.
    pub(crate) windows: Vec<Window>,
    pub(crate) goals: Vec<GoalView>,
    /// What stepped load showed.
    pub(crate) levels: Option<model::Scaling>,
    pub(crate) steps: Vec<StepView>,
    pub(crate) steps_left_out: usize,
    /// Of the last diagnosis, best first.
    pub(crate) findings: Vec<FindingView>,
    /// Of the first diagnosis, where a later one exists.
    pub(crate) findings_first: Vec<FindingView>,
    pub(crate) findings_left_out: usize,
    pub(crate) endpoints: Vec<EndpointRow>,
    pub(crate) endpoints_left_out: usize,
    pub(crate) charts: Vec<EndpointCharts>,
    pub(crate) waterfalls: Vec<Waterfall>,
    /// Where requests spend their time, as the load's mix tells it.
    pub(crate) time: Vec<TimeView>,
    pub(crate) statements: Vec<StatementView>,
    pub(crate) statements_left_out: usize,
    /// Only a database was looked at: the sections of a service have nothing to show.
    pub(crate) database_alone: bool,
    pub(crate) state: Vec<StateView>,
    pub(crate) state_left_out: usize,
    pub(crate) flames: Vec<Flame>,
    pub(crate) gaps: Vec<GapView>,
    pub(crate) rules_not_run: Vec<RuleView>,
    pub(crate) doubts: Vec<DoubtView>,
    pub(crate) environment: Vec<(String, String)>,
    /// Where a trace can be looked at, `{trace_id}` for the id.
    pub(crate) trace_url: Option<String>,
    /// By section: why it has nothing to show.
    pub(crate) missing: BTreeMap<&'static str, String>,
    /// What was left out so that the page stays small.
    pub(crate) left_out: Vec<String>,
    /// The same content as text, for readers without scripts.
    #[serde(skip)]
    pub(crate) plain: String,
}

/// Which measurement something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    Before,
    After,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) when: When,
    pub(crate) id: String,
    pub(crate) start: String,
    pub(crate) seconds: Option<f64>,
    pub(crate) requests: u64,
    pub(crate) spans: u64,
    pub(crate) traces: u64,
    pub(crate) complete: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct GoalView {
    pub(crate) goal: String,
    /// `ms`, `share`, `per_s` or empty: how to read the numbers.
    pub(crate) unit: &'static str,
    pub(crate) limit: Option<f64>,
    pub(crate) before: Option<GoalState>,
    pub(crate) after: Option<GoalState>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct GoalState {
    pub(crate) measured: Option<f64>,
    pub(crate) met: Option<bool>,
}

/// An estimate with its interval, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Span3 {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct StepView {
    pub(crate) number: u32,
    pub(crate) change: String,
    pub(crate) description: String,
    pub(crate) apply: String,
    pub(crate) undo: String,
    pub(crate) finding: FindingView,
    /// `p95(GET /orders)`: what the figures below are of.
    pub(crate) metric: String,
    pub(crate) before_ms: Option<f64>,
    pub(crate) predicted: Option<Span3>,
    pub(crate) actual: Option<Span3>,
    pub(crate) verdict: model::Verdict,
    pub(crate) prediction_held: Option<bool>,
    /// |actual - predicted| as share of the before.
    pub(crate) error_share: Option<f64>,
    pub(crate) kept: bool,
    pub(crate) reasons: Vec<String>,
    pub(crate) metrics: Vec<MetricView>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct MetricView {
    pub(crate) metric: String,
    pub(crate) before_ms: Option<f64>,
    pub(crate) after_ms: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    pub(crate) detectable: Option<f64>,
    pub(crate) verdict: model::Verdict,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct FindingView {
    pub(crate) rule: String,
    pub(crate) severity: model::Severity,
    pub(crate) title: String,
    pub(crate) service: String,
    pub(crate) endpoint: String,
    /// What and where, in a line or two: `statement: SELECT ...`.
    pub(crate) place: Vec<(&'static str, String)>,
    pub(crate) evidence: Vec<String>,
    pub(crate) plan: Option<String>,
    pub(crate) calls_per_request: Option<f64>,
    pub(crate) share_of_critical_path: Option<f64>,
    pub(crate) confidence: Option<f64>,
    pub(crate) prediction: Option<PredictionView>,
    pub(crate) remedies: Vec<RemedyView>,
    pub(crate) trace_ids: Vec<String>,
    /// Traces that show it, of how many that could.
    pub(crate) traces: u64,
    pub(crate) traces_of: u64,
    pub(crate) rerun: Option<model::Rerun>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PredictionView {
    pub(crate) metric: String,
    pub(crate) before_ms: f64,
    pub(crate) after: Span3,
    pub(crate) grade: model::Grade,
    pub(crate) assumption: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RemedyView {
    pub(crate) kind: model::RemedyKind,
    pub(crate) text: String,
    pub(crate) patch: Option<String>,
    pub(crate) undo: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndpointRow {
    pub(crate) endpoint: String,
    pub(crate) service: String,
    pub(crate) before: Option<Figures>,
    pub(crate) after: Option<Figures>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) error_share: Option<f64>,
    pub(crate) traces: u64,
}

/// The distributions and series of one endpoint.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndpointCharts {
    pub(crate) endpoint: String,
    /// Limit of a latency goal on it: quantile and milliseconds.
    pub(crate) limit: Option<(f64, f64)>,
    pub(crate) before: Option<Chart>,
    pub(crate) after: Option<Chart>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Chart {
    pub(crate) distribution: Distribution,
    pub(crate) series: Option<Series>,
}

/// A histogram on a logarithmic axis: bin `i` covers `from_ms * factor^i` to `from_ms * factor^(i+1)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Distribution {
    /// `load` (from the due time) or `traces` (duration of the server's span).
    pub(crate) source: &'static str,
    pub(crate) count: u64,
    pub(crate) from_ms: f64,
    pub(crate) factor: f64,
    /// Share of all values in each bin; sums to 1.
    pub(crate) shares: Vec<f64>,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Figures over the window in bins of equal length; `None` where a bin saw too little.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Series {
    pub(crate) bin_s: f64,
    /// Length of the whole; the last bin may be shorter than the others.
    pub(crate) seconds: f64,
    pub(crate) rate: Vec<f64>,
    pub(crate) p50: Vec<Option<f64>>,
    pub(crate) p95: Vec<Option<f64>>,
    pub(crate) errors: Vec<u64>,
}

/// One trace, drawn.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Waterfall {
    pub(crate) endpoint: String,
    pub(crate) when: When,
    /// `typical` (p50) or `slow` (p95).
    pub(crate) which: &'static str,
    pub(crate) trace_id: String,
    pub(crate) total_ms: f64,
    pub(crate) spans: u64,
    /// Spans that are neither drawn nor part of a drawn group.
    pub(crate) hidden: u64,
    /// Distinct texts; rows point here.
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<WaterfallRow>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct WaterfallRow {
    pub(crate) depth: u32,
    pub(crate) name: u32,
    pub(crate) service: u32,
    pub(crate) kind: &'static str,
    /// From the root's start.
    pub(crate) start_ms: f64,
    pub(crate) duration_ms: f64,
    /// More than 1: so many alike siblings in one row; `bars` shows each.
    pub(crate) count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bars: Vec<(f64, f64)>,
    /// Stretches (start, length) in which nothing else could have made the request faster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) critical: Vec<(f64, f64)>,
    pub(crate) critical_ms: f64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) error: bool,
    /// Its parent never arrived.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) orphan: bool,
    /// Rules whose finding speaks of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finding: Option<String>,
    /// Spans below it that are not drawn.
    pub(crate) hidden: u64,
}

/// Where the time of one endpoint's requests goes, milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TimeView {
    pub(crate) endpoint: String,
    pub(crate) mean_ms: Option<f64>,
    pub(crate) database: Option<Span3>,
    pub(crate) cache: Option<Span3>,
    pub(crate) cpu: Option<Span3>,
    pub(crate) queue: Option<Span3>,
    pub(crate) rest_ms: Option<f64>,
    pub(crate) statements: Option<Span3>,
    pub(crate) residual: Option<f64>,
}

/// Something that the state of the database's server shows, and what to type.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StateView {
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) reason: String,
    pub(crate) look: String,
    pub(crate) mend: Option<String>,
    pub(crate) undo: Option<String>,
}

/// A statement of the database, with its plan.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StatementView {
    pub(crate) text: String,
    /// 0 to 1 of the database's time.
    pub(crate) share: Option<f64>,
    pub(crate) calls: u64,
    /// `None` where no call was timed.
    pub(crate) mean_ms: Option<f64>,
    /// Where no call was timed: what a call takes at least, if that is known.
    pub(crate) at_least_ms: Option<f64>,
    pub(crate) rows_per_call: Option<f64>,
    /// Endpoints that call it, with calls per request.
    pub(crate) callers: Vec<(String, Span3)>,
    /// The plan's nodes, parents first; empty where none was taken.
    pub(crate) nodes: Vec<PlanView>,
    /// The rows were counted while it was executed, not only estimated.
    pub(crate) executed: bool,
    pub(crate) indexes: Vec<IndexView>,
}

/// One node of a plan.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PlanView {
    pub(crate) depth: u32,
    /// `Seq Scan on order_items`.
    pub(crate) title: String,
    /// Conditions and sort keys.
    pub(crate) detail: Vec<String>,
    /// 0 to 1 of the plan's cost, without what lies below.
    pub(crate) cost_share: Option<f64>,
    pub(crate) estimated: Option<f64>,
    /// Rows that came: when it was executed, or, of the topmost node, as the database counted them.
    pub(crate) actual: Option<f64>,
}

/// An index that was tried for a statement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IndexView {
    pub(crate) create: String,
    pub(crate) undo: String,
    pub(crate) method: &'static str,
    pub(crate) before_ms: Option<f64>,
    pub(crate) after_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct GapView {
    pub(crate) signal: String,
    pub(crate) reason: String,
    pub(crate) hint: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RuleView {
    pub(crate) rule: String,
    pub(crate) missing_signal: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct DoubtView {
    pub(crate) when: When,
    pub(crate) invalid: bool,
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) hint: String,
}
