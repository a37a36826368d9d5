//! `[load]`: who sends what when, as the file says it and as flags change it. Checked here, nowhere else.

use crate::args::LoadOverrides;
use crate::connection::{Connection, ConnectionTable};
use crate::placeholders::Variables;
use anyhow::{Context, Result, anyhow, bail};
use load::drive::{Executor, Overflow, Plan, Stage, Supply};
use load::{Operation, Pace, Segment, Spacing, Variable, Workload};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// Scenarios side by side.
const MAX_SCENARIOS: usize = 100;
/// Iterations without a given time end after so long, as in k6.
const ITERATIONS_S: f64 = 600.0;
/// A day is longer than any measurement.
const MAX_SECONDS: f64 = 86_400.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadTable {
    /// Arrivals per second over all operations.
    rate: Option<f64>,
    /// In its place: users that wait for their answers.
    users: Option<u32>,
    #[serde(default)]
    arrivals: Spacing,
    #[serde(default = "default_duration")]
    duration_s: f64,
    #[serde(default = "default_warm_up")]
    warm_up_s: f64,
    #[serde(default = "default_timeout")]
    timeout_s: f64,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    http2: bool,
    /// `measure` varies the mix from window to window, to tell what a request of each operation costs.
    #[serde(default = "yes")]
    vary: bool,
    #[serde(default)]
    connection: ConnectionTable,
    /// Sent with every operation.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) operation: Vec<Operation>,
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, Variable>,
    /// Side by side, in place of rate, users and duration.
    #[serde(default)]
    scenario: Vec<ScenarioTable>,
}

fn yes() -> bool {
    true
}
fn default_duration() -> f64 {
    30.0
}
fn default_warm_up() -> f64 {
    2.0
}
fn default_timeout() -> f64 {
    30.0
}

/// `[[load.scenario]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioTable {
    name: String,
    executor: Option<ExecutorName>,
    #[serde(default)]
    start_s: f64,
    duration_s: Option<f64>,
    /// Arrivals per second.
    rate: Option<f64>,
    users: Option<u32>,
    iterations: Option<u64>,
    /// Rate or users where the stages begin.
    #[serde(default)]
    from: f64,
    #[serde(default)]
    stages: Vec<StageTable>,
    graceful_stop_s: Option<f64>,
    /// Of the file's operations; none: all.
    #[serde(default)]
    operations: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageTable {
    duration_s: f64,
    rate: Option<f64>,
    users: Option<f64>,
}

/// k6's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ExecutorName {
    ConstantArrivalRate,
    RampingArrivalRate,
    ConstantVus,
    RampingVus,
    SharedIterations,
    PerVuIterations,
}

#[derive(Clone, Debug)]
pub struct LoadSettings {
    /// Not used where there are users or workloads.
    pub rate: f64,
    pub users: Option<u32>,
    pub arrivals: Spacing,
    pub duration: Duration,
    pub warm_up: Duration,
    pub timeout: Duration,
    pub seed: u64,
    /// Never where scenarios run side by side: each has its own operations.
    pub vary: bool,
    pub connection: Connection,
    /// Scenarios side by side; the warm-up and `duration` together last as long as they do.
    pub workloads: Vec<Workload>,
}

impl LoadTable {
    /// `path`: where the file lies, `name`: what errors call it.
    pub(crate) fn settings(
        self,
        path: &Path,
        name: &str,
        variables: &Variables,
        flags: &LoadOverrides,
    ) -> Result<LoadSettings> {
        let beside = path.parent().unwrap_or(Path::new(""));
        let mut connection =
            self.connection.check(beside, variables).map_err(|error| anyhow!("{name}: {error:#}"))?;
        if self.http2 && connection.overrides.version.is_none() {
            connection.overrides.version = Some(net::HttpVersion::Http2);
        }
        let connection = connection.with(flags.connection.check()?);
        let warm_up = seconds(self.warm_up_s, name, "load.warm_up_s")?;
        let timeout = seconds(self.timeout_s, name, "load.timeout_s")?;
        let seed = flags.seed.unwrap_or(self.seed);
        let most = connection.max_in_flight.unwrap_or(load::DEFAULT_MAX_IN_FLIGHT);
        let mut settings = LoadSettings {
            rate: 0.0,
            users: None,
            arrivals: self.arrivals,
            duration: Duration::ZERO,
            warm_up,
            timeout,
            seed,
            vary: self.vary && self.scenario.is_empty(),
            connection,
            workloads: Vec::new(),
        };
        if self.scenario.is_empty() {
            (settings.rate, settings.users) = rate_or_users(self.rate, self.users, name, flags)?;
            let field = if flags.duration.is_some() { "--duration" } else { "load.duration_s" };
            settings.duration = seconds(flags.duration.unwrap_or(self.duration_s), name, field)?;
            return Ok(settings);
        }
        if self.rate.or(flags.rate).is_some() || self.users.is_some() || flags.duration.is_some() {
            bail!(
                "{name}: each [[load.scenario]] has its own rate or users and duration_s: give none beside them"
            );
        }
        let how = How { arrivals: self.arrivals, timeout, seed, most };
        settings.workloads = workloads(&self.scenario, how).map_err(|error| anyhow!("{name}: {error:#}"))?;
        let ends = settings.workloads.iter().map(|w| w.plan.start + w.plan.executor.duration());
        let end = ends.max().unwrap_or_default();
        settings.warm_up = warm_up.min(end / 2);
        settings.duration = end - settings.warm_up;
        Ok(settings)
    }
}

fn rate_or_users(
    rate: Option<f64>,
    users: Option<u32>,
    name: &str,
    flags: &LoadOverrides,
) -> Result<(f64, Option<u32>)> {
    let (rate, users) = match (flags.rate.or(rate), users) {
        (Some(rate), None) => (rate, None),
        (Some(rate), Some(_)) if flags.rate.is_some() => (rate, None),
        (None, Some(users)) => (f64::from(users), Some(users)),
        (Some(_), Some(_)) => bail!("{name}: load.rate and load.users: give one of them"),
        (None, None) => bail!("{name}: load.rate is missing: how many requests per second?"),
    };
    if !(rate.is_finite() && rate > 0.0) {
        bail!("{name}: load.rate is {rate}, expected a number above 0");
    }
    Ok((rate, users))
}

/// What all scenarios share.
#[derive(Clone, Copy)]
struct How {
    arrivals: Spacing,
    timeout: Duration,
    seed: u64,
    most: usize,
}

fn workloads(tables: &[ScenarioTable], how: How) -> Result<Vec<Workload>> {
    if tables.len() > MAX_SCENARIOS {
        bail!("[[load.scenario]]: {} are more than {MAX_SCENARIOS}", tables.len());
    }
    let mut names = HashSet::new();
    let mut all = Vec::with_capacity(tables.len());
    for (number, table) in (0_u64..).zip(tables) {
        let place = || format!("[[load.scenario]] `{}`", table.name);
        if table.name.trim().is_empty() || !names.insert(table.name.as_str()) {
            bail!("{}: name: each needs its own", place());
        }
        all.push(table.workload(how, how.seed.wrapping_add(number)).with_context(place)?);
    }
    Ok(all)
}

impl ScenarioTable {
    fn workload(&self, how: How, seed: u64) -> Result<Workload> {
        let executor = self.executor(how, seed)?;
        let graceful_stop = match self.graceful_stop_s {
            Some(given) => length(given, "graceful_stop_s")?,
            None => how.timeout,
        };
        let plan = Plan {
            name: self.name.clone(),
            start: length(self.start_s, "start_s")?,
            graceful_stop,
            executor,
        };
        plan.check()?;
        let tags = self.tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Workload { plan, operations: self.operations.clone(), tags })
    }

    fn executor(&self, how: How, seed: u64) -> Result<Executor> {
        let kind = self.kind()?;
        if let Some(said) = self.executor.filter(|said| *said != kind) {
            bail!("executor: {said:?} does not go with what else is given, that is {kind:?}");
        }
        let most = u32::try_from(how.most).unwrap_or(u32::MAX);
        let arrivals = |segments: Vec<Segment>, duration: Duration| Executor::Arrivals {
            pace: Pace { spacing: how.arrivals, segments },
            duration,
            seed,
            supply: Supply { prepared: 0, most },
            overflow: Overflow::Wait(how.timeout),
        };
        let duration = |missing: Option<f64>| {
            let given = self.duration_s.or(missing).context("duration_s: it is missing")?;
            length(given, "duration_s")
        };
        let users = self.users.unwrap_or(1);
        let iterations = self.iterations.unwrap_or(1);
        Ok(match kind {
            ExecutorName::ConstantArrivalRate => {
                let rate = self.rate.unwrap_or_default();
                if rate <= 0.0 {
                    bail!("rate: {rate} is no number above 0");
                }
                arrivals(vec![Segment { seconds: 0.0, from: rate, to: rate }], duration(None)?)
            }
            ExecutorName::RampingArrivalRate => {
                let mut from = self.from;
                let mut segments = Vec::with_capacity(self.stages.len());
                for stage in &self.stages {
                    let to = stage.rate.unwrap_or_default();
                    segments.push(Segment { seconds: stage.duration_s, from, to });
                    from = to;
                }
                let total: f64 = self.stages.iter().map(|stage| stage.duration_s).sum();
                arrivals(segments, length(total, "stages: duration_s")?)
            }
            ExecutorName::ConstantVus => Executor::ConstantVus { users, duration: duration(None)? },
            ExecutorName::RampingVus => {
                let stage = |stage: &StageTable| -> Result<Stage> {
                    let duration = length(stage.duration_s, "stages: duration_s")?;
                    Ok(Stage { duration, target: stage.users.unwrap_or_default() })
                };
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "as casts saturate"
                )]
                let start = self.from.round() as u32;
                let stages = self.stages.iter().map(stage).collect::<Result<Vec<Stage>>>()?;
                Executor::RampingVus { start, stages, graceful_ramp_down: how.timeout }
            }
            ExecutorName::SharedIterations => {
                Executor::SharedIterations { users, iterations, max_duration: duration(Some(ITERATIONS_S))? }
            }
            ExecutorName::PerVuIterations => {
                Executor::PerVuIterations { users, iterations, max_duration: duration(Some(ITERATIONS_S))? }
            }
        })
    }

    /// The executor that the fields describe.
    fn kind(&self) -> Result<ExecutorName> {
        if !(0.0..=1e6).contains(&self.from) {
            bail!("from: {} is not from 0 to a million", self.from);
        }
        if !self.stages.is_empty() {
            if self.rate.is_some()
                || self.users.is_some()
                || self.iterations.is_some()
                || self.duration_s.is_some()
            {
                bail!("stages: rate, users, iterations or duration_s beside them: the stages say it");
            }
            let rates = self.stages.iter().all(|stage| stage.rate.is_some() && stage.users.is_none());
            let users = self.stages.iter().all(|stage| stage.users.is_some() && stage.rate.is_none());
            return match (rates, users) {
                (true, _) => Ok(ExecutorName::RampingArrivalRate),
                (_, true) => Ok(ExecutorName::RampingVus),
                _ => bail!("stages: give `rate` in each or `users` in each"),
            };
        }
        match (self.rate, self.users, self.iterations) {
            (Some(_), None, None) => Ok(ExecutorName::ConstantArrivalRate),
            (None, Some(_), None) => Ok(ExecutorName::ConstantVus),
            (None, _, Some(_)) if self.executor == Some(ExecutorName::PerVuIterations) => {
                Ok(ExecutorName::PerVuIterations)
            }
            (None, _, Some(_)) => Ok(ExecutorName::SharedIterations),
            (Some(_), _, _) => bail!("rate: users or iterations beside it: give one of them"),
            (None, None, None) => bail!("give `rate`, `users`, `iterations` or `stages`"),
        }
    }
}

fn length(number: f64, field: &str) -> Result<Duration> {
    if (0.0..=MAX_SECONDS).contains(&number) {
        return Ok(Duration::from_secs_f64(number));
    }
    bail!("{field}: {number} is no number of seconds from 0 to {MAX_SECONDS}")
}

fn seconds(number: f64, name: &str, field: &str) -> Result<Duration> {
    if (0.0..=MAX_SECONDS).contains(&number) {
        return Ok(Duration::from_secs_f64(number));
    }
    bail!("{name}: {field} is {number}, expected seconds from 0 to {MAX_SECONDS}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LoadSettings> {
        let table: LoadTable = toml::from_str(text)?;
        table.settings(Path::new("a.toml"), "a.toml", &Variables::default(), &LoadOverrides::default())
    }

    #[test]
    fn scenarios_run_side_by_side_with_the_executor_that_their_fields_describe() {
        let settings = parse(
            "timeout_s = 5\nwarm_up_s = 2\n\
             [[scenario]]\nname = 'browse'\nrate = 50\nduration_s = 30\noperations = ['a']\ntags = { team = 'web' }\n\
             [[scenario]]\nname = 'ramp'\nstart_s = 10\nfrom = 5\nstages = [{ duration_s = 20, rate = 40 }, { duration_s = 10, rate = 0 }]\n\
             [[scenario]]\nname = 'jobs'\nexecutor = 'per-vu-iterations'\nusers = 3\niterations = 7\nduration_s = 9\n\
             [[scenario]]\nname = 'closed'\nusers = 4\nduration_s = 8\n",
        )
        .expect("settings");
        assert_eq!(settings.warm_up + settings.duration, Duration::from_secs(40));
        let plans: Vec<&Plan> = settings.workloads.iter().map(|workload| &workload.plan).collect();
        let Executor::Arrivals { pace, overflow, .. } = &plans[1].executor else { panic!("{plans:?}") };
        assert_eq!((pace.segments[0].from, pace.segments[1].to), (5.0, 0.0));
        assert_eq!(*overflow, Overflow::Wait(Duration::from_secs(5)));
        assert!(matches!(plans[2].executor, Executor::PerVuIterations { users: 3, iterations: 7, .. }));
        assert!(matches!(plans[3].executor, Executor::ConstantVus { users: 4, .. }));
        assert_eq!(settings.workloads[0].tags[0].1, "web");
    }

    #[test]
    fn scenarios_that_make_no_sense_are_named() {
        let one = |fields: &str| format!("[[scenario]]\nname = 'x'\n{fields}\n");
        for (text, problem) in [
            (one("rate = 5"), "a.toml: [[load.scenario]] `x`: duration_s: it is missing"),
            (one("rate = 0\nduration_s = 5"), "`x`: rate: 0"),
            (one(""), "`x`: give `rate`, `users`, `iterations` or `stages`"),
            (one("rate = 5\nusers = 5\nduration_s = 1"), "`x`: rate: users"),
            (one("executor = 'ramping-vus'\nrate = 5\nduration_s = 1"), "`x`: executor: RampingVus"),
            (one("executor = 'fast'\nrate = 5"), "unknown variant `fast`"),
            (
                one("stages = [{ duration_s = 1, rate = 1 }, { duration_s = 1, users = 1 }]"),
                "`x`: stages: give",
            ),
            (one("users = 5\nduration_s = -1"), "`x`: duration_s: -1"),
            (one("users = 5\nduration_s = 1").repeat(2), "`x`: name: each needs its own"),
            (format!("rate = 5\n{}", one("users = 5\nduration_s = 1")), "a.toml: each [[load.scenario]]"),
        ] {
            let error = format!("{:#}", parse(&text).expect_err(&text));
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
