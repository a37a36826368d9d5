//! What stepped load showed: levels, the curve through them, its knee, what is full first, how many replicas a rate
//! needs. Values only; crate `scalability` makes them.

use serde::{Deserialize, Serialize};

/// The shape of [`Scaling`] as JSON; raised where a field changes its meaning or goes.
pub const SCALING_VERSION: u32 = 1;

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    /// Absent where the data set no upper end.
    pub high: Option<f64>,
}

/// What a level holds constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelKind {
    /// Arrivals per second, whatever the answers: an open model.
    Rate,
    /// Users that wait for their answers: a closed model.
    Users,
}

/// Whether a level's figures stand for its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelState {
    Steady,
    /// Response times were still changing at its end, without a backlog.
    Unsettled,
    /// More was due than was answered: throughput is what the service can do, response times depend on how long it went.
    Overloaded,
    /// The generator or its machine was in the way: not used for any fit.
    GeneratorLimited,
}

/// A goal at one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelGoal {
    pub goal: String,
    /// In the goal's own unit.
    pub measured: f64,
    pub met: bool,
}

/// One level, its settling left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    pub kind: LevelKind,
    /// Arrivals per second, or users.
    pub asked: f64,
    pub state: LevelState,
    /// The counted part, Unix nanoseconds.
    pub start_ns: u64,
    pub end_ns: u64,
    /// What was left out before it.
    pub settle_s: f64,
    pub requests: u64,
    pub offered_per_s: f64,
    /// Answered without an error, with its interval.
    pub throughput_per_s: Estimate,
    /// From the due time.
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// Mean from sending to the last byte.
    pub service_ms: f64,
    /// Requests in the service at once, mean. By Little's law it is throughput times service time.
    pub concurrency: f64,
    pub error_share: f64,
    pub goals: Vec<LevelGoal>,
    /// Reasons to doubt it.
    pub doubts: Vec<String>,
}

/// How much of a resource the levels used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourceUse {
    /// `CPU`, `pool of connections` ...
    pub name: String,
    /// Service, role; empty for the host.
    pub owner: String,
    /// `cores`, `share`, `statements`.
    pub unit: String,
    /// What there is of it, in its unit; absent where that is not known.
    pub limit: Option<f64>,
    /// Replicas of the service would share it.
    pub shared: bool,
    /// A part of another resource (a process on the host's CPU): it is not full by itself.
    pub part: bool,
    /// In its unit, one per level; absent where it was not seen.
    pub used: Vec<Option<f64>>,
    /// Utilization law: units in use per request each second, `U = background + X D`.
    pub demand: Option<Estimate>,
    pub background: f64,
    /// The throughput at which all of it is in use.
    pub full_at_per_s: Option<Estimate>,
}

/// Whether the Universal Scalability Law describes the levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurveStatus {
    Fits,
    DoesNotFit,
    CannotTell,
}

/// A point of the fitted curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    pub concurrency: f64,
    pub rate: Estimate,
}

/// `X(N) = gamma N / (1 + sigma (N - 1) + kappa N (N - 1))` (Gunther 2007).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub status: CurveStatus,
    /// Why, with its figure.
    pub reason: String,
    /// Throughput of one request at a time.
    pub gamma: Option<Estimate>,
    /// Share of the work that waits for its turn: contention.
    pub sigma: Option<Estimate>,
    /// What each further request costs all others: coherence.
    pub kappa: Option<Estimate>,
    /// Measured over fitted throughput, less 1, one per level; absent where the level was not used.
    pub residuals: Vec<Option<f64>>,
    pub points: Vec<CurvePoint>,
}

/// Where more load stops paying: throughput per response time is greatest there (Kleinrock 1979).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// `false`: not within the levels; `rate` and `concurrency` are then an extrapolation or absent.
    pub seen: bool,
    pub rate: Option<Estimate>,
    pub concurrency: Option<Estimate>,
    pub reason: String,
}

/// The most that the service answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    pub rate: Estimate,
    /// Requests at once at the peak, where throughput falls beyond it.
    pub concurrency: Option<f64>,
    /// Levels reached it; otherwise it is extrapolated.
    pub measured: bool,
}

/// The highest rate that meets the goals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalRate {
    /// Absent where no level meets them.
    pub rate: Option<Estimate>,
    /// The goal that breaks first; absent where none was missed.
    pub first_missed: Option<String>,
    pub reason: String,
}

/// What stands in the way of more throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// A resource that was watched.
    Resource,
    /// The service stopped answering more while all that was watched had room.
    Unseen,
    Generator,
    /// Other programs, the generator among them, used the CPU that the service needed.
    Machine,
    /// Nothing was full yet.
    NotReached,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limiting {
    pub kind: LimitKind,
    /// `CPU of the host`.
    pub resource: Option<String>,
    pub reason: String,
    /// What to do or look at next.
    pub hint: String,
}

/// Asymptotic bounds (Denning and Buzen 1978).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Response time without any queue.
    pub least_ms: f64,
    /// Throughput at which the fullest resource is full.
    pub most_per_s: f64,
    /// Requests at once beyond which queues are certain: where both bounds cross.
    pub concurrency: f64,
}

/// Replicas for a rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replicas {
    pub for_rate: f64,
    /// Absent where no number of them is enough, or none can be told.
    pub count: Option<u32>,
    pub low: Option<u32>,
    pub high: Option<u32>,
    /// What one of them answers within the goals.
    pub each_per_s: Option<Estimate>,
    /// Where a resource that all of them share is full.
    pub shared_full_at_per_s: Option<Estimate>,
    pub shared_resource: Option<String>,
    pub assumption: String,
    pub reason: String,
}

/// Why no further level was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// All levels that were asked for, or that `auto` wanted.
    Done,
    Overloaded,
    Errors,
    Timeouts,
    GoalFarMissed,
    Generator,
    /// As many levels as are ever measured.
    Most,
    EndedEarly,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelStop {
    pub kind: StopKind,
    pub reason: String,
}

/// All that stepped load showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    pub version: u32,
    pub recording: String,
    pub target: String,
    /// In the order in which they were measured.
    pub levels: Vec<Level>,
    /// The level that the findings of this recording are of: the highest one that meets the goals, or lies below the knee.
    pub reference: Option<u32>,
    pub goal_rate: Option<GoalRate>,
    pub knee: Knee,
    pub ceiling: Option<Ceiling>,
    pub curve: Curve,
    pub limit: Limiting,
    /// The one that is full first comes first.
    pub resources: Vec<ResourceUse>,
    pub bounds: Option<Bounds>,
    pub replicas: Option<Replicas>,
    pub stop: LevelStop,
}

impl ResourceUse {
    /// `CPU of the database`.
    #[must_use]
    pub fn title(&self) -> String {
        if self.owner.is_empty() { self.name.clone() } else { format!("{} of {}", self.name, self.owner) }
    }

    /// The largest share of it that a level used; `None` without a limit.
    #[must_use]
    pub fn highest_share(&self) -> Option<f64> {
        let limit = self.limit.filter(|limit| *limit > 0.0)?;
        self.used.iter().flatten().map(|used| used / limit).max_by(f64::total_cmp)
    }
}
