//! Which level is next, and when further ones say nothing. Pure: it sees the levels so far.

use model::{Goal, GoalMetric, Level, LevelKind, LevelState, LevelStop, Relation, StopKind};

/// No study has more levels.
pub const MAX_LEVELS: usize = 16;
/// Levels that `auto` measures.
const AUTO_LEVELS: usize = 10;
/// The first rate of `auto`, as share of what one user alone gets.
const FIRST_SHARE: f64 = 0.5;
/// Factor from one rate to the next while nothing bends, and once something does.
const FAR: f64 = 2.0;
const NEAR: f64 = 1.4;
/// Response times beyond so many times the quickest are a bend.
const BENT: f64 = 1.4;
/// Between the last level that was kept up with and the first that was not, levels are put in until they are so near.
const FINE: f64 = 1.15;
/// Users of `auto` grow by this factor; they end where two steps in a row add less than the second share.
const USERS_FACTOR: f64 = 2.0;
const FLAT: f64 = 1.03;
const MAX_USERS: f64 = 512.0;
/// Beyond these, further levels are not measured.
const MOST_ERRORS: f64 = 0.2;
const MOST_OVERLOADED: usize = 2;
/// A goal is far missed at so many times its limit, at two levels in a row.
const FAR_MISSED: f64 = 10.0;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub kind: LevelKind,
    /// Ascending; empty: found by what the levels show.
    pub levels: Vec<f64>,
    pub goals: Vec<Goal>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Level(LevelKind, f64),
    Stop(LevelStop),
}

impl Plan {
    /// Levels at most, for showing how far a study is; a study may end before.
    #[must_use]
    pub fn most(&self) -> usize {
        if self.levels.is_empty() { AUTO_LEVELS } else { self.levels.len().min(MAX_LEVELS) }
    }

    /// The next level after `so_far`, which are in the order in which they were measured.
    #[must_use]
    pub fn next(&self, so_far: &[Level]) -> Next {
        if let Some(stop) = self.pointless(so_far) {
            // Levels below what was too much are still worth it.
            return match self.between(so_far) {
                Some(rate) if matches!(stop.kind, StopKind::Overloaded | StopKind::GoalFarMissed) => {
                    Next::Level(LevelKind::Rate, rate)
                }
                _ => Next::Stop(stop),
            };
        }
        if so_far.len() >= MAX_LEVELS {
            return stop(StopKind::Most, format!("{MAX_LEVELS} levels are the most"));
        }
        if !self.levels.is_empty() {
            return match self.levels.get(so_far.len()) {
                Some(level) => Next::Level(self.kind, *level),
                None => stop(StopKind::Done, "all levels were measured".to_owned()),
            };
        }
        if so_far.len() >= AUTO_LEVELS {
            return stop(StopKind::Done, format!("{AUTO_LEVELS} levels were measured"));
        }
        match self.kind {
            LevelKind::Rate => rates(so_far),
            LevelKind::Users => users(so_far),
        }
    }

    /// Why no higher level is worth its time.
    fn pointless(&self, so_far: &[Level]) -> Option<LevelStop> {
        let last = so_far.last()?;
        let told = |kind, reason: String| Some(LevelStop { kind, reason });
        let at = crate::limit::asked(last);
        if last.state == LevelState::GeneratorLimited {
            let why = last.doubts.first().map_or("", String::as_str);
            return told(StopKind::Generator, format!("at {at} the generator itself was in the way: {why}"));
        }
        let overloaded: Vec<&Level> = so_far.iter().filter(|l| l.state == LevelState::Overloaded).collect();
        if overloaded.len() >= MOST_OVERLOADED {
            let lowest = overloaded.iter().map(|l| l.asked).fold(f64::INFINITY, f64::min);
            return told(StopKind::Overloaded, format!("from {lowest:.1}/s on more is due than is answered"));
        }
        if last.error_share > MOST_ERRORS {
            let percent = last.error_share * 100.0;
            return told(StopKind::Errors, format!("at {at} {percent:.0} % of the requests failed"));
        }
        let before = so_far.len().checked_sub(2).map(|n| &so_far[n])?;
        let goal = self.goals.iter().find(|g| far_missed(g, last) && far_missed(g, before))?;
        told(StopKind::GoalFarMissed, format!("at {at} {goal} is missed more than {FAR_MISSED:.0}-fold"))
    }

    /// Of `auto`: a rate between what was kept up with and what was not, while they are far apart.
    fn between(&self, so_far: &[Level]) -> Option<f64> {
        if !self.levels.is_empty() || self.kind != LevelKind::Rate || so_far.len() >= AUTO_LEVELS {
            return None;
        }
        let of = |state: fn(&Level) -> bool| {
            so_far.iter().filter(move |l| l.kind == LevelKind::Rate && state(l)).map(|l| l.asked)
        };
        let bad = of(|l| l.state == LevelState::Overloaded).reduce(f64::min)?;
        let good = of(|l| l.state != LevelState::Overloaded).filter(|r| *r < bad).reduce(f64::max)?;
        (bad > FINE * good).then(|| (bad * good).sqrt())
    }
}

fn stop(kind: StopKind, reason: String) -> Next {
    Next::Stop(LevelStop { kind, reason })
}

fn far_missed(goal: &Goal, level: &Level) -> bool {
    let time = matches!(goal.metric, GoalMetric::Quantile(_) | GoalMetric::Mean);
    let name = goal.to_string();
    let measured = level.goals.iter().find(|g| g.goal == name).map(|g| g.measured);
    time && goal.relation == Relation::Below && measured.is_some_and(|m| m > FAR_MISSED * goal.limit)
}

/// One user first, to know what a request takes alone; then rates, farther apart until something bends.
fn rates(so_far: &[Level]) -> Next {
    let Some(alone) = so_far.first() else { return Next::Level(LevelKind::Users, 1.0) };
    let rates = so_far.iter().filter(|l| l.kind == LevelKind::Rate);
    let Some(highest) = rates.max_by(|a, b| a.asked.total_cmp(&b.asked)) else {
        return Next::Level(LevelKind::Rate, round(alone.throughput_per_s.value * FIRST_SHARE));
    };
    let quickest = so_far.iter().map(|l| l.service_ms).fold(f64::INFINITY, f64::min);
    let bent = highest.state == LevelState::Overloaded || highest.mean_ms > BENT * quickest;
    Next::Level(LevelKind::Rate, round(highest.asked * if bent { NEAR } else { FAR }))
}

fn users(so_far: &[Level]) -> Next {
    let Some(last) = so_far.last() else { return Next::Level(LevelKind::Users, 1.0) };
    let flat = |n: usize| {
        let of = |at: usize| so_far[so_far.len() - at].throughput_per_s.value;
        so_far.len() > n && of(n) < FLAT * of(n + 1)
    };
    if flat(1) && flat(2) {
        return stop(StopKind::Overloaded, "twice as many users, twice, got no more answers".to_owned());
    }
    if last.asked >= MAX_USERS {
        return stop(StopKind::Most, format!("{MAX_USERS:.0} users are the most"));
    }
    Next::Level(LevelKind::Users, last.asked * USERS_FACTOR)
}

/// Two digits: a rate that can be said.
fn round(rate: f64) -> f64 {
    let rate = rate.max(0.1);
    let scale = 10_f64.powf(1.0 - rate.log10().floor());
    (rate * scale).round() / scale
}
