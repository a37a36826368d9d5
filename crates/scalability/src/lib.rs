//! Levels of stepped load in, a judgement out: the curve through them with its doubt, the knee, the rate that meets
//! the goals, what is full first, how many replicas a rate needs. Measures nothing, reads no clock: the seed decides.

mod curve;
mod demand;
mod flow;
mod goals;
mod knee;
mod limit;
pub mod plan;
mod random;
mod replicas;

pub use curve::{Fit, Point, Usl, fit};
pub use knee::{Draws, draws};

use flow::{Errors, Flow};
use model::{
    Goal, GoalMetric, LatencyCell, Level, LevelKind, LevelState, LevelStop, Relation, SCALING_VERSION,
    Scaling,
};

/// More failures than this, and a level says nothing of the service's work.
const MOST_ERRORS: f64 = 0.05;
/// A mean of fewer requests is chance.
const LEAST_REQUESTS: u64 = 20;

/// A resource during one level.
#[derive(Clone, Debug, PartialEq)]
pub struct Used {
    /// `CPU`, `pool of connections`.
    pub name: String,
    /// Service or role; empty for the host.
    pub owner: String,
    /// `cores`, `share`.
    pub unit: &'static str,
    /// In its unit, mean over the counted part.
    pub used: f64,
    pub limit: Option<f64>,
    /// Replicas of the service would share it.
    pub shared: bool,
    /// It draws on another resource of the list, as a process does on the host's CPU.
    pub part: bool,
}

/// One level as it was driven and seen.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    pub kind: LevelKind,
    /// Arrivals per second, or users.
    pub asked: f64,
    /// Of this level alone, its first one is number 0.
    pub cells: &'a [LatencyCell],
    pub cell_ms: u32,
    /// In which arrivals were due.
    pub seconds: f64,
    /// Cells to leave out at its start.
    pub settle_cells: u32,
    /// Response times had settled.
    pub steady: bool,
    /// Unix nanoseconds.
    pub start_ns: u64,
    pub offered: u64,
    /// Arrivals that were never sent or got no answer in time.
    pub unanswered: u64,
    /// Requests in flight at most.
    pub most_in_flight: f64,
    /// Why the generator was in the way; empty where it was not.
    pub generator: Vec<String>,
    /// Other reasons to doubt it.
    pub doubts: Vec<String>,
    pub used: Vec<Used>,
}

impl Observed<'_> {
    /// Share of a CPU limit that a goal's subject uses: `host` or `*`, a service, a role (`db` is the database).
    fn used_share(&self, subject: &str) -> Option<f64> {
        let owner = match subject {
            "*" | "host" | "machine" => "",
            "db" => "database",
            other => other,
        };
        let of =
            self.used.iter().filter(|u| u.name.starts_with("CPU") && u.owner.eq_ignore_ascii_case(owner));
        of.filter_map(|u| Some(u.used / u.limit.filter(|l| *l > 0.0)?)).max_by(f64::total_cmp)
    }
}

/// All levels of one recording.
#[derive(Clone, Debug)]
pub struct Study<'a> {
    pub recording: &'a str,
    pub target: &'a str,
    /// Names that the cells point to.
    pub operations: &'a [String],
    /// In the order in which they were measured.
    pub levels: Vec<Observed<'a>>,
    pub goals: &'a [Goal],
    /// Logical processors of the machine.
    pub cpus: f64,
    /// Replicas are asked for this rate; else for that of a goal like `rate(*) > 200/s`, where there is one.
    pub for_rate: Option<f64>,
    pub stop: LevelStop,
    /// Of the resampling.
    pub seed: u64,
}

/// Figures of one level alone, for deciding on the next one.
#[must_use]
pub fn level(observed: &Observed<'_>, goals: &[Goal], operations: &[String]) -> Level {
    Flow::of(observed).level(goals, operations).0
}

/// Judges all levels.
#[must_use]
pub fn analyse(study: &Study<'_>) -> Scaling {
    let flows: Vec<Flow<'_>> = study.levels.iter().map(Flow::of).collect();
    let (levels, errors): (Vec<Level>, Vec<Errors>) =
        flows.iter().map(|flow| flow.level(study.goals, study.operations)).unzip();
    let used: Vec<bool> = levels.iter().map(is_sound).collect();
    let points: Vec<(usize, Point)> = levels
        .iter()
        .zip(&errors)
        .enumerate()
        .filter(|(at, _)| used[*at])
        .map(|(at, (level, errors))| (at, point(level, *errors)))
        .collect();
    let fitted = knee::judge(&levels, &points, study.seed);
    let resources = demand::resources(study, &levels, &used);
    let goal_errors: Vec<Vec<f64>> =
        flows.iter().map(|flow| flow.goal_errors(study.goals, study.operations)).collect();
    let goal_rate = goals::rate(study, &levels, &goal_errors, fitted.ceiling.as_ref());
    let bounds = demand::bounds(&levels, &used, &resources);
    let limit = limit::judge(study, &levels, &resources, fitted.ceiling.as_ref());
    let reference = reference(&levels, goal_rate.is_some(), &fitted.knee);
    let for_rate = study.for_rate.or_else(|| rate_goal(study.goals));
    let mut scaling = Scaling {
        version: SCALING_VERSION,
        recording: study.recording.to_owned(),
        target: study.target.to_owned(),
        levels,
        reference,
        goal_rate,
        knee: fitted.knee,
        ceiling: fitted.ceiling,
        curve: fitted.curve,
        limit,
        resources,
        bounds,
        replicas: None,
        stop: study.stop.clone(),
    };
    scaling.replicas = for_rate.map(|rate| replicas::needed(&scaling, rate));
    scaling
}

/// Whether a level tells of the service's work.
fn is_sound(level: &Level) -> bool {
    level.state != LevelState::GeneratorLimited
        && level.error_share <= MOST_ERRORS
        && level.requests >= LEAST_REQUESTS
        && level.throughput_per_s.value > 0.0
        && level.concurrency > 0.0
}

fn point(level: &Level, errors: Errors) -> Point {
    Point {
        concurrency: level.concurrency,
        rate: level.throughput_per_s.value,
        rate_error: errors.rate,
        time_error: errors.time,
        held: level.kind == LevelKind::Users || level.state == LevelState::Overloaded,
    }
}

/// The level whose findings matter: the highest that meets all goals; without goals the highest up to the knee, or
/// the highest that was kept up with.
fn reference(levels: &[Level], goals: bool, knee: &model::Knee) -> Option<u32> {
    let kept_up = |l: &&(usize, &Level)| matches!(l.1.state, LevelState::Steady | LevelState::Unsettled);
    let all: Vec<(usize, &Level)> = levels.iter().enumerate().collect();
    let below = knee.concurrency.filter(|_| knee.seen).map_or(f64::INFINITY, |k| k.value);
    let wanted = |l: &&(usize, &Level)| {
        if goals { l.1.goals.iter().all(|g| g.met || is_rate(&g.goal)) } else { l.1.concurrency <= below }
    };
    let highest = |all: &mut dyn Iterator<Item = &(usize, &Level)>| {
        all.max_by(|a, b| a.1.throughput_per_s.value.total_cmp(&b.1.throughput_per_s.value)).map(|l| l.0)
    };
    // Where no level meets the goals, the lowest load is the one to look into.
    let lowest = || {
        all.iter()
            .filter(kept_up)
            .min_by(|a, b| a.1.throughput_per_s.value.total_cmp(&b.1.throughput_per_s.value))
            .map(|l| l.0)
    };
    let at = highest(&mut all.iter().filter(kept_up).filter(wanted)).or_else(lowest);
    at.and_then(|at| u32::try_from(at).ok())
}

/// A rate is what is asked for: low levels miss it by design.
fn is_rate(goal: &str) -> bool {
    goal.parse::<Goal>().is_ok_and(|goal| goal.metric == GoalMetric::Rate)
}

/// The rate of a goal like `rate(*) > 200/s`.
fn rate_goal(goals: &[Goal]) -> Option<f64> {
    let wanted =
        |g: &&Goal| g.metric == GoalMetric::Rate && g.relation == Relation::Above && g.subject == "*";
    goals.iter().filter(wanted).map(|g| g.limit).max_by(f64::total_cmp)
}
