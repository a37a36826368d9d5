//! The nouns of Trimtab: goals, recordings, findings, predictions, changes, verdicts.
//! Pure values. Nothing here does I/O, reads a clock or draws a random number.

mod change;
mod costs;
mod diagnosis;
mod finding;
pub mod fixture;
mod function_name;
mod goal;
mod latency;
pub mod metrics;
mod profile;
mod recording;
mod rerun;
mod scaling;
mod spans;
pub mod sql;
mod statement;
mod strings;
pub mod template;
mod trial;

pub use change::{Change, ChangeKind, HttpCall};
pub use costs::{Attribution, COSTS_VERSION, Costs, Rate, ResourceCost, StatementCost, TimeSpent, resources};
pub use diagnosis::{Diagnosis, EndpointFigures, GoalResult, RecordingFigures, RuleNotRun, SCHEMA_VERSION};
pub use finding::{
    CodeRef, Confidence, Evidence, Finding, Grade, Place, Prediction, QuantilePrediction, Remedy, RemedyKind,
    Severity,
};
pub use function_name::{is_library_path, plain_name, short_name};
pub use goal::{Goal, GoalError, GoalMetric, Relation, VARIANT};
pub use latency::Histogram;
pub use metrics::{MetricKind, MetricSeries, Point};
pub use profile::{
    CallNode, CodeFrame, CodeKind, FunctionTime, Grown, Growth, MemoryUse, OperationTime, PROFILE_VERSION,
    Profile, StateMs, ThreadGroup, states,
};
pub use recording::{
    Environment, ErrorClass, Gap, LatencyCell, Recording, RequestPhases, RequestSample, Run, Validity,
    ValidityIssue,
};
pub use rerun::{Rerun, RerunRow, Stretch};
pub use scaling::{
    Bounds, Ceiling, Curve, CurvePoint, CurveStatus, Estimate, GoalRate, Knee, Level, LevelGoal, LevelKind,
    LevelState, LevelStop, LimitKind, Limiting, Replicas, ResourceUse, SCALING_VERSION, Scaling, StopKind,
};
pub use spans::{
    Attribute, PackedValue, ResourceId, SpanFields, SpanKind, SpanRef, SpanStatus, SpanTable, Value,
};
pub use statement::{Plan, PlanNode, Statement, TableFigures, WhatIf, WhatIfMethod};
pub use strings::{Strings, Sym, same_bytes};
pub use trial::{Design, Judgement, MetricVerdict, Pair, Step, Trial, Verdict};
