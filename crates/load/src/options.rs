//! How one run is done, apart from what it sends. Clocks come from outside.

use crate::drive::{Executor, Overflow, Plan, Supply};
use crate::http::Settings;
use crate::out::Feed;
use crate::record::Progress;
use crate::{Pace, Share};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// More cells of time than this, over all operations, are refused: each holds two histograms.
const MAX_CELLS: u64 = 1_000_000;
/// More samples per operation than this are refused.
const MAX_SAMPLES: usize = 1_000_000;
/// More requests in flight than this are refused: each may need a socket.
const MAX_IN_FLIGHT: usize = 60_000;
/// Requests open at once unless told.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 512;
const MAX_CLOSED_USERS: u32 = 60_000;

/// One moment on both clocks, so that what is timed by the monotonic one can be told in Unix time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub unix_ns: u64,
    pub at: Instant,
}

impl Clock {
    /// Unix nanoseconds of another moment.
    #[must_use]
    pub fn unix_ns(&self, at: Instant) -> u64 {
        match at.checked_duration_since(self.at) {
            Some(after) => self.unix_ns.saturating_add(nanos(after)),
            None => self.unix_ns.saturating_sub(nanos(self.at - at)),
        }
    }
}

/// Nanoseconds; 584 years are the most.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One of several scenarios of a run: who sends when, and which operations.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub plan: Plan,
    /// Names of operations, of those that begin a flow; none: all.
    pub operations: Vec<String>,
    /// Tags of its samples in the outputs.
    pub tags: Vec<(String, String)>,
}

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// When arrivals are due, where [`Self::users`] is `None`.
    pub pace: Pace,
    /// A closed model in place of the pace: so many users, each of which sends its next request when it has an answer.
    pub users: Option<u32>,
    /// Arrivals are due within this time from the start; answers may come later.
    pub duration: Duration,
    /// Weights of the scenario's operations in place of their own, each from a moment after the start on; ascending.
    pub mix: Vec<(Duration, Vec<f64>)>,
    /// Decides due times, operations, variables and samples; trace ids differ from run to run.
    pub seed: u64,
    /// This generator's part of the load, where several drive it together with the same seed.
    pub share: Share,
    /// From sending (connecting included) to the last byte.
    pub timeout: Duration,
    /// Requests open at once, and so connections with HTTP/1.1. At the bound arrivals wait, which counts as response
    /// time; those that cannot start until `timeout` after the end are [`model::ErrorClass::NotStarted`].
    pub max_in_flight: usize,
    pub cell_ms: u32,
    /// Per operation, drawn uniformly.
    pub uniform_samples: usize,
    /// Per operation.
    pub slowest_samples: usize,
    /// How long requests in flight may go on after a shutdown.
    pub grace: Duration,
    /// Look for a beginning that is slower than the rest; not where the caller cuts off a warm-up himself.
    pub judge_warm_up: bool,
    /// How the service is reached.
    pub connection: Settings,
    /// Scenarios that run side by side, in place of pace and users; `duration` is the end of the last one.
    pub workloads: Vec<Workload>,
    /// Where each request is told while the load runs.
    pub feed: Option<Feed>,
    pub clock: Clock,
    /// Told once per second.
    pub progress: Option<watch::Sender<Progress>>,
}

impl Options {
    /// The defaults: 10 s timeout, 512 in flight, cells of 1 s, 2,000 uniform and 50 slowest samples, 1 s grace.
    #[must_use]
    pub fn new(pace: Pace, duration: Duration, seed: u64, clock: Clock) -> Self {
        Self {
            pace,
            users: None,
            duration,
            mix: Vec::new(),
            seed,
            share: Share::WHOLE,
            timeout: Duration::from_secs(10),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            cell_ms: 1000,
            uniform_samples: 2000,
            slowest_samples: 50,
            grace: Duration::from_secs(1),
            judge_warm_up: false,
            connection: Settings::default(),
            workloads: Vec::new(),
            feed: None,
            clock,
            progress: None,
        }
    }

    /// # Errors
    /// Names the field whose value makes no sense or would need unbounded memory.
    pub fn check(&self, operations: usize) -> Result<()> {
        for workload in &self.workloads {
            workload.plan.check().with_context(|| format!("scenario `{}`", workload.plan.name))?;
        }
        match self.users {
            _ if !self.workloads.is_empty() => {}
            None => self.pace.check()?,
            Some(0 | MAX_CLOSED_USERS..) => bail!("users: it is not from 1 to {MAX_CLOSED_USERS}"),
            Some(_) => {}
        }
        if self.duration.is_zero() {
            bail!("duration: it is 0");
        }
        if self.timeout.is_zero() {
            bail!("timeout: it is 0");
        }
        if !(1..=MAX_IN_FLIGHT).contains(&self.max_in_flight) {
            bail!("max_in_flight: {} is not from 1 to {MAX_IN_FLIGHT}", self.max_in_flight);
        }
        if self.uniform_samples.max(self.slowest_samples) > MAX_SAMPLES {
            bail!("samples: more than {MAX_SAMPLES} per operation");
        }
        if self.cell_ms == 0 {
            bail!("cell_ms: it is 0");
        }
        let cells = nanos(self.duration) / 1_000_000 / u64::from(self.cell_ms) + 1;
        if cells.saturating_mul(operations as u64) > MAX_CELLS {
            bail!(
                "cell_ms: {} makes more than {MAX_CELLS} cells of this duration, use longer ones",
                self.cell_ms
            );
        }
        Ok(())
    }

    /// What is driven: the workloads, or one plan from pace or users. Requests that go on at the end have their own time
    /// limit; arrivals that still wait may start as long.
    pub(crate) fn plans(&self) -> Vec<Plan> {
        if !self.workloads.is_empty() {
            return self.workloads.iter().map(|workload| workload.plan.clone()).collect();
        }
        let most = u32::try_from(self.max_in_flight).unwrap_or(u32::MAX);
        let executor = match self.users {
            Some(users) => Executor::ConstantVus { users, duration: self.duration },
            None => Executor::Arrivals {
                pace: self.pace.clone(),
                duration: self.duration,
                seed: self.seed,
                supply: Supply { prepared: 0, most },
                overflow: Overflow::Wait(self.timeout),
            },
        };
        vec![Plan { name: "load".to_owned(), start: Duration::ZERO, graceful_stop: self.timeout, executor }]
    }

    /// Users of a closed model, at most at once; `None` where any arrivals are due by a pace.
    pub(crate) fn closed_users(&self) -> Option<u32> {
        let plans = self.plans();
        let open = plans.iter().any(|plan| matches!(plan.executor, Executor::Arrivals { .. }));
        (!open).then(|| crate::drive::users_needed(&plans))
    }
}
