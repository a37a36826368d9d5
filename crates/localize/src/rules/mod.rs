//! Pass 7: the rules. A rule is one file and one line of [`RULES`]: a pure function from facts to candidates.
//! It neither predicts, ranks nor drops anything small: it says what it saw and which transforms would mend it.

mod cache_stampede;
mod connection_per_request;
mod cpu_saturation;
mod cpu_self_time;
mod deferrable_work;
mod event_loop_blocked;
mod imbalance;
mod io_pressure;
mod large_payload;
mod lock_wait;
mod memory_pressure;
mod missing_compression;
mod missing_http_cache;
mod missing_index;
mod n_plus_one;
mod not_observable;
mod over_fetch;
mod patterns;
mod pool_saturation;
mod redundant_call;
mod repeated_subtree;
mod retry_storm;
mod scalability_limit;
mod serial_calls;
mod serialization;
mod slow_dependency;
mod slow_query;
mod transaction_over_call;
mod unbatched_writes;
mod uncached_read;
mod worker_queueing;

use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{EndpointId, ShapeId};
use crate::simulate::Transform;
use crate::tree::{NodeId, TreeId};
use model::{CodeRef, Grade, Place, Remedy, Severity};

/// What a rule needs to be able to run at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    Traces,
    /// Some span says which statement it ran.
    Statements,
    /// Figures by the database itself.
    DatabaseStatements,
    /// Some database span tells how many rows it returned.
    RowCounts,
    Plans,
    /// CPU utilization of the host or of containers.
    CpuMetrics,
    PoolMetrics,
    /// Spans tell the size of bodies.
    BodySizes,
    /// Spans tell the headers of replies.
    ResponseHeaders,
    /// Spans around turning data into text, or a profile.
    SerializationSpans,
    /// Two instances or more of one service, told apart by their resource.
    Instances,
    /// Garbage collection, or memory of host, container or process.
    MemoryMetrics,
    IoMetrics,
    /// How much of something with a limit is in use.
    UtilizationMetrics,
}

impl Signal {
    /// As `rules_not_run` names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Statements => "statement text on database spans",
            Self::DatabaseStatements => "statement statistics of the database",
            Self::RowCounts => "row counts on database spans",
            Self::Plans => "plans",
            Self::CpuMetrics => "cpu metrics",
            Self::PoolMetrics => "pool metrics",
            Self::BodySizes => "body sizes on spans",
            Self::ResponseHeaders => "captured response headers",
            Self::SerializationSpans => "spans of serializers, or a profile",
            Self::Instances => "two instances of a service",
            Self::MemoryMetrics => "memory metrics",
            Self::IoMetrics => "disk metrics",
            Self::UtilizationMetrics => "metrics of resources with a limit",
        }
    }

    /// Whether the recording has it.
    #[must_use]
    pub fn is_there(self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Traces => !facts.shapes.endpoints.is_empty(),
            Self::Statements => facts.calls.database_spans > facts.calls.without_statement,
            Self::DatabaseStatements => !facts.recording.statements.is_empty(),
            Self::RowCounts => facts.shapes.all.iter().any(|s| s.class == Class::Db && s.rows_mean.is_some()),
            Self::Plans => !facts.recording.plans.is_empty(),
            Self::CpuMetrics => facts.saturation.cpu().is_some(),
            Self::PoolMetrics => !facts.saturation.pools.is_empty(),
            Self::BodySizes => facts.shapes.all.iter().any(|s| s.bytes_mean.is_some()),
            Self::ResponseHeaders => patterns::headers::answers(facts).next().is_some(),
            Self::SerializationSpans => facts.shapes().any(|(_, s)| serialization::is_one(facts, s)),
            Self::Instances => facts.has_instances,
            Self::MemoryMetrics => !facts.runtime.gc.is_empty() || !facts.runtime.memory.is_empty(),
            Self::IoMetrics => facts.saturation.io_pressure.is_some(),
            Self::UtilizationMetrics => !facts.runtime.limited.is_empty(),
        }
    }
}

/// One rule.
pub struct Rule {
    /// One of the design's rule names.
    pub name: &'static str,
    /// All of these must be there.
    pub needs: &'static [Signal],
    /// Why it matters, for the docs: a sentence or two.
    pub why: &'static str,
    /// How it decides, for the docs.
    pub how: &'static str,
    /// How the gain is predicted, for the docs.
    pub predicts: &'static str,
    pub run: fn(&Facts<'_>) -> Vec<Candidate>,
}

/// Every rule, in order of precedence: a group of calls is claimed by the first that names it.
pub const RULES: &[Rule] = &[
    repeated_subtree::RULE,
    unbatched_writes::RULE,
    n_plus_one::RULE,
    retry_storm::RULE,
    redundant_call::RULE,
    lock_wait::RULE,
    cache_stampede::RULE,
    serial_calls::RULE,
    uncached_read::RULE,
    deferrable_work::RULE,
    worker_queueing::RULE,
    imbalance::RULE,
    slow_dependency::RULE,
    cpu_saturation::RULE,
    memory_pressure::RULE,
    io_pressure::RULE,
    missing_index::RULE,
    connection_per_request::RULE,
    pool_saturation::RULE,
    transaction_over_call::RULE,
    over_fetch::RULE,
    slow_query::RULE,
    large_payload::RULE,
    serialization::RULE,
    event_loop_blocked::RULE,
    cpu_self_time::RULE,
    missing_compression::RULE,
    missing_http_cache::RULE,
    scalability_limit::RULE,
    not_observable::RULE,
];

/// The root of the endpoint that takes the most time of those that a service answers; of all, without a name or where
/// the name (a role) is none of a service.
pub(super) fn heaviest_endpoint(facts: &Facts<'_>, service: &str) -> Option<ShapeId> {
    let answers = |s: &&(ShapeId, &crate::shape::Shape)| {
        s.1.parent.is_none() && facts.name(facts.endpoint_of(s.1).service) == service
    };
    let roots: Vec<_> = facts.shapes().filter(|(_, s)| s.parent.is_none()).collect();
    let named: Vec<_> = roots.iter().filter(|s| answers(s)).collect();
    let among = if named.is_empty() { roots.iter().collect() } else { named };
    let heaviest =
        among.into_iter().max_by_key(|(id, s)| (facts.endpoint_of(s).root_ns, std::cmp::Reverse(*id)));
    heaviest.map(|(id, _)| *id)
}

/// Whether calls of this class and template begin or end transactions, set up a connection, or ask whether it lives.
pub(crate) fn is_control(class: Class, template: &str) -> bool {
    patterns::effect::of_template(class, template) == patterns::effect::Effect::Control
}

/// What a rule saw. The engine predicts, ranks and drops.
#[derive(Clone)]
pub struct Candidate {
    pub endpoint: EndpointId,
    /// The shape that the finding is about; part of its fingerprint.
    pub shape: Option<ShapeId>,
    /// Shapes whose calls the finding explains: a later rule may not claim them again. Empty: claims nothing.
    pub claims: Vec<ShapeId>,
    pub title: String,
    /// The service that must change.
    pub service: String,
    pub place: Place,
    pub calls_per_request: Option<f64>,
    pub share_of_critical_path: Option<f64>,
    /// Two or three lines for a person, most telling first.
    pub lines: Vec<String>,
    /// Requests that show it, any order, without doubles.
    pub trees: Vec<TreeId>,
    /// Calls of one request that belong to it, for drawing.
    pub nodes: Vec<NodeId>,
    pub plan: Option<String>,
    /// `None`: nothing can be predicted; the finding is then for information unless `severity` says more.
    pub fix: Option<Fix>,
    pub remedies: Vec<Remedy>,
    /// 0 to 1.
    pub confidence: f64,
    /// At least so severe, whatever is predicted.
    pub severity: Option<Severity>,
    /// It says no more than that a call is slow: not told of a call that is part of a finding which saves more.
    pub yields: bool,
}

impl Candidate {
    /// A candidate on a shape, filled with what follows from it: place, service, share, traces.
    #[must_use]
    pub fn on_shape(facts: &Facts<'_>, id: ShapeId, title: String) -> Self {
        let shape = facts.shape(id);
        let mut trees: Vec<TreeId> = shape.groups.iter().map(|g| g.tree).collect();
        trees.dedup();
        let nodes = shape.groups.get(shape.groups.len() / 2).map(|g| facts.nodes(g).to_vec());
        let template = facts.name(shape.template).to_owned();
        let first = nodes.as_ref().and_then(|n| n.first());
        let function: Option<CodeRef> = first.and_then(|n| facts.calls.code(facts.call(*n)).cloned());
        let place = Place {
            shape: Some(facts.path(id)),
            statement: shape.class.is_storage().then_some(template),
            function,
            ..Place::default()
        };
        Self {
            endpoint: shape.endpoint,
            shape: Some(id),
            claims: vec![id],
            title,
            service: facts.name(shape.service).to_owned(),
            place,
            calls_per_request: Some(shape.calls as f64 / f64::from(shape.traces.max(1))),
            share_of_critical_path: Some(shape.path_share),
            lines: Vec::new(),
            trees,
            nodes: nodes.unwrap_or_default(),
            plan: None,
            fix: None,
            remedies: Vec::new(),
            confidence: 0.8,
            severity: None,
            yields: false,
        }
    }
}

/// What would mend it, as transforms of the recorded requests, and how far that may be trusted.
#[derive(Clone)]
pub struct Fix {
    pub point: Vec<Transform>,
    /// The least that the fix may bring, and the most.
    pub least: Vec<Transform>,
    pub most: Vec<Transform>,
    pub grade: Grade,
    /// What is assumed, in a sentence; never empty for grade C.
    pub assumption: String,
    pub load: LoadEffect,
}

/// Whether work that a fix removes shortens the wait of what stays, on a CPU that is nearly full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadEffect {
    /// It does: see [`crate::load_model`].
    #[default]
    Added,
    /// The transforms speak of that wait already, or the fix removes no work.
    Included,
}
