//! When users iterate, as k6's executors say it. Pure: values, their check, and what follows from them.

use crate::Share;
use crate::pace::{Pace, Segment, Spacing};
use anyhow::{Result, bail};
use std::time::Duration;

/// More users of one scenario than this are refused.
pub const MAX_USERS: u32 = 100_000;
/// Longer runs than this are refused: 30 days.
const MAX_DURATION: Duration = Duration::from_secs(30 * 86_400);
/// What k6 grants unless told.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// One scenario: who iterates when. Several run side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub name: String,
    /// After the start of the test.
    pub start: Duration,
    /// How long iterations may go on after the regular end.
    pub graceful_stop: Duration,
    pub executor: Executor,
}

/// In `duration`, go in a straight line to `target` users, or arrivals per time unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    pub duration: Duration,
    pub target: f64,
}

/// What becomes of an arrival for which no user is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is dropped and counted, as k6 does.
    Drop,
    /// It waits for a user, up to this long after the regular end; those that still wait then are told as not started.
    Wait(Duration),
}

/// Users of an arrival-rate executor: made before the test, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    pub prepared: u32,
    pub most: u32,
}

/// k6's executors; `Arrivals` is both arrival-rate ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Executor {
    ConstantVus { users: u32, duration: Duration },
    RampingVus { start: u32, stages: Vec<Stage>, graceful_ramp_down: Duration },
    SharedIterations { users: u32, iterations: u64, max_duration: Duration },
    PerVuIterations { users: u32, iterations: u64, max_duration: Duration },
    Arrivals { pace: Pace, duration: Duration, seed: u64, supply: Supply, overflow: Overflow },
}

impl Executor {
    /// `rate` iterations per `time_unit`, evenly spaced, dropped where no user is free.
    #[must_use]
    pub fn constant_arrival_rate(rate: f64, time_unit: Duration, duration: Duration, supply: Supply) -> Self {
        let pace = Pace::constant(rate / time_unit.as_secs_f64(), Spacing::Constant);
        Self::Arrivals { pace, duration, seed: 0, supply, overflow: Overflow::Drop }
    }

    /// From `start` iterations per `time_unit` through the stages.
    #[must_use]
    pub fn ramping_arrival_rate(start: f64, time_unit: Duration, stages: &[Stage], supply: Supply) -> Self {
        let unit_s = time_unit.as_secs_f64();
        let mut from = start / unit_s;
        let mut segments = Vec::with_capacity(stages.len());
        for stage in stages {
            let to = stage.target / unit_s;
            segments.push(Segment { seconds: stage.duration.as_secs_f64(), from, to });
            from = to;
        }
        let pace = Pace { spacing: Spacing::Constant, segments };
        let duration = stages.iter().map(|stage| stage.duration).sum();
        Self::Arrivals { pace, duration, seed: 0, supply, overflow: Overflow::Drop }
    }

    /// From the scenario's start to its regular end, at most.
    #[must_use]
    pub fn duration(&self) -> Duration {
        match self {
            Self::ConstantVus { duration, .. } | Self::Arrivals { duration, .. } => *duration,
            Self::RampingVus { stages, .. } => stages.iter().map(|stage| stage.duration).sum(),
            Self::SharedIterations { max_duration, .. } | Self::PerVuIterations { max_duration, .. } => {
                *max_duration
            }
        }
    }

    /// Users to make before the test.
    #[must_use]
    pub fn users(&self) -> u32 {
        match self {
            Self::ConstantVus { users, .. } | Self::PerVuIterations { users, .. } => *users,
            // More would have nothing to do.
            Self::SharedIterations { users, iterations, .. } => {
                u32::try_from(*iterations).unwrap_or(u32::MAX).min(*users)
            }
            Self::RampingVus { start, stages, .. } => {
                ramp(*start, stages).iter().map(|step| step.1).max().unwrap_or(0)
            }
            Self::Arrivals { supply, .. } => supply.prepared,
        }
    }

    /// One generator's part. Arrivals are split where they come from, ramps at each of their steps.
    pub(crate) fn part(&self, share: Share) -> Self {
        let mut part = self.clone();
        match &mut part {
            Self::ConstantVus { users, .. } | Self::PerVuIterations { users, .. } => {
                *users = share.of_users(*users);
            }
            Self::SharedIterations { users, iterations, .. } => {
                *users = share.of_users(*users);
                *iterations = share.of_count(*iterations);
            }
            Self::Arrivals { supply, .. } => {
                supply.prepared = share.of_users(supply.prepared);
                supply.most = share.of_users(supply.most).max(1);
            }
            Self::RampingVus { .. } => {}
        }
        part
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::RampingVus { stages, .. } => {
                if stages.is_empty() {
                    bail!("stages: there is none");
                }
                if let Some(bad) = stages.iter().find(|s| !(0.0..=f64::from(MAX_USERS)).contains(&s.target)) {
                    bail!("stages: a target of {} users is not from 0 to {MAX_USERS}", bad.target);
                }
            }
            Self::Arrivals { pace, supply, .. } => {
                pace.check()?;
                if supply.most == 0 || supply.prepared > supply.most || supply.most > MAX_USERS {
                    bail!(
                        "users: {} prepared and {} at most make no sense, at most {MAX_USERS} are possible",
                        supply.prepared,
                        supply.most
                    );
                }
            }
            Self::SharedIterations { iterations: 0, .. } | Self::PerVuIterations { iterations: 0, .. } => {
                bail!("iterations: it is 0")
            }
            _ => {}
        }
        if self.users() > MAX_USERS {
            bail!("users: {} are more than {MAX_USERS}", self.users());
        }
        let idle = !matches!(self, Self::Arrivals { .. } | Self::RampingVus { .. }) && self.users() == 0;
        if idle {
            bail!("users: it is 0");
        }
        if self.duration().is_zero() {
            bail!("duration: it is 0");
        }
        if self.duration() > MAX_DURATION {
            bail!("duration: {:?} is longer than {MAX_DURATION:?}", self.duration());
        }
        Ok(())
    }
}

impl Plan {
    /// # Errors
    /// Names the field that makes no sense.
    pub fn check(&self) -> Result<()> {
        if self.start > MAX_DURATION || self.graceful_stop > MAX_DURATION {
            bail!("start or graceful stop: longer than {MAX_DURATION:?}");
        }
        self.executor.check()
    }

    /// After the start of the test, when its last iteration is cut off at the latest.
    #[must_use]
    pub fn latest_end(&self) -> Duration {
        self.start + self.executor.duration() + self.graceful_stop
    }
}

/// Users that may be at work at once, over all plans: what to make before the test.
#[must_use]
pub fn users_needed(plans: &[Plan]) -> u32 {
    // The most are needed where some plan starts.
    let at = |moment: Duration| -> u32 {
        let going = plans.iter().filter(|plan| plan.start <= moment && moment < plan.latest_end());
        going.map(|plan| plan.executor.users()).fold(0, u32::saturating_add)
    };
    plans.iter().map(|plan| at(plan.start)).max().unwrap_or(0)
}

/// When the number of users changes, and to what; ascending, the first at 0.
pub(crate) fn ramp(start: u32, stages: &[Stage]) -> Vec<(Duration, u32)> {
    let mut steps = vec![(Duration::ZERO, start)];
    let (mut users, mut before) = (start, Duration::ZERO);
    for stage in stages {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as casts saturate")]
        let target = (stage.target.round() as u32).min(MAX_USERS);
        let change = users.abs_diff(target);
        for step in 1..=change {
            let at = before + stage.duration.mul_f64(f64::from(step) / f64::from(change));
            let now = if target > users { users + step } else { users - step };
            steps.push((at, now));
        }
        (users, before) = (target, before + stage.duration);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn stage(duration_s: u64, target: f64) -> Stage {
        Stage { duration: seconds(duration_s), target }
    }

    #[test]
    fn a_ramp_changes_one_user_at_a_time() {
        let stages = [stage(2, 6.0), stage(1, 5.0), stage(0, 3.0), stage(4, 3.0), stage(1, 4.0)];
        let steps: Vec<(u64, u32)> = ramp(4, &stages).iter().map(|(t, n)| (t.as_secs(), *n)).collect();
        assert_eq!(steps, [(0, 4), (1, 5), (2, 6), (3, 5), (3, 4), (3, 3), (8, 4)]);
    }

    #[test]
    fn users_are_needed_where_plans_overlap() {
        let plan = |start, users| Plan {
            name: "x".to_owned(),
            start: seconds(start),
            graceful_stop: seconds(5),
            executor: Executor::ConstantVus { users, duration: seconds(10) },
        };
        assert_eq!(users_needed(&[plan(0, 10), plan(14, 7), plan(30, 12)]), 17);
        assert_eq!(users_needed(&[plan(0, 10), plan(15, 7)]), 10);
        assert_eq!(users_needed(&[]), 0);
    }

    #[test]
    fn rates_count_per_time_unit() {
        let supply = Supply { prepared: 1, most: 2 };
        let executor =
            Executor::ramping_arrival_rate(60.0, seconds(60), &[stage(10, 60.0), stage(10, 120.0)], supply);
        let Executor::Arrivals { pace, duration, .. } = &executor else { panic!("{executor:?}") };
        assert_eq!((pace.segments[1].from, pace.segments[1].to, duration.as_secs()), (1.0, 2.0, 20));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refused = |executor| {
            let plan = Plan { name: String::new(), start: seconds(0), graceful_stop: seconds(0), executor };
            plan.check().unwrap_err().to_string()
        };
        let supply = |prepared, most| Supply { prepared, most };
        let rate = |rate, supply| Executor::constant_arrival_rate(rate, seconds(1), seconds(1), supply);
        assert!(refused(Executor::ConstantVus { users: 0, duration: seconds(1) }).contains("users"));
        assert!(refused(Executor::ConstantVus { users: 1, duration: seconds(0) }).contains("duration"));
        assert!(refused(rate(-1.0, supply(1, 1))).contains("segments[0].from"));
        assert!(refused(rate(1.0, supply(2, 1))).contains("2 prepared and 1 at most"));
        let shared = Executor::SharedIterations { users: 1, iterations: 0, max_duration: seconds(1) };
        assert!(refused(shared).contains("iterations"));
        let stages = vec![stage(1, 1e9)];
        let ramping = Executor::RampingVus { start: 0, stages, graceful_ramp_down: seconds(0) };
        assert!(refused(ramping).contains("stages"));
    }
}
