//! The highest rate that meets the goals: windows of open load at one rate after the other, each judged against the
//! goals, until the edge is known as well as asked. Says what stood in the way. Keeps what is known when ended early.

mod goals;
mod render;
mod search;

pub use goals::{GoalOutcome, Judged, Limit, Window, judge_goals};
pub use render::{capacity_json, capacity_text, window_text};
pub use search::{Bracket, Range};

use crate::{Options, Pace, Scenario, Spacing, run};
use anyhow::{Result, bail};
use goals::Part;
use model::{Goal, GoalMetric, Relation};
use net::Shutdown;
use search::Search;
use std::time::{Duration, Instant};

/// Share of each window that is its own warm-up.
const WARM_UP_SHARE: f64 = 0.2;
/// Cells of a window, so that its warm-up can be cut off.
const CELLS: u32 = 40;
/// A request may take this many times the longest response time that the goals allow before it is given up, so that a
/// window beyond the edge does not take long; at least [`MIN_TIMEOUT`].
const TIMEOUT_FACTOR: f64 = 8.0;
const MIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How to search.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// All must be met. Without one about errors, fewer than 1 % may fail.
    pub goals: Vec<Goal>,
    pub range: Range,
    /// Length of one window, its warm-up included.
    pub window: Duration,
    /// No window begins after this time.
    pub budget: Duration,
    pub spacing: Spacing,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The edge is known as well as asked, or there is none in the range.
    Found,
    Budget,
    Shutdown,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Capacity {
    pub target: String,
    pub bracket: Bracket,
    /// In the order in which they were measured.
    pub windows: Vec<Window>,
    /// What stood in the way at the lowest rate that did not do.
    pub limit: Option<Limit>,
    pub stop: Stop,
    pub elapsed: Duration,
}

/// Searches. `base` gives all but pace and duration; `told` hears of each window.
///
/// # Errors
/// Goals that the load cannot see, or as [`run`].
pub async fn find(
    scenario: &Scenario,
    base: &Options,
    options: &FindOptions,
    shutdown: &Shutdown,
    mut told: impl FnMut(&Window),
) -> Result<Capacity> {
    let goals = with_errors(&options.goals, scenario)?;
    let began = Instant::now();
    let mut search = Search::new(options.range);
    let mut windows: Vec<Window> = Vec::new();
    let mut target = String::new();
    let stop = loop {
        let Some(rate) = search.next_rate() else { break Stop::Found };
        if began.elapsed() >= options.budget {
            break Stop::Budget;
        }
        let settings = window_options(base, options, &goals, rate, windows.len());
        let result = run(scenario, &settings, shutdown).await?;
        target.clone_from(&result.target);
        if !result.complete || shutdown.is_triggered() {
            break Stop::Shutdown;
        }
        let part = Part::after(&result, options.window.mul_f64(WARM_UP_SHARE));
        let window = goals::judge(rate, &part, &goals);
        told(&window);
        search.take(rate, window.shown);
        windows.push(window);
    };
    let bracket = search.bracket();
    let beyond = windows.iter().filter(|window| window.limit.is_some());
    let lowest = beyond.min_by(|a, b| a.rate.total_cmp(&b.rate));
    Ok(Capacity {
        target,
        bracket,
        limit: lowest.and_then(|window| window.limit),
        windows,
        stop,
        elapsed: began.elapsed(),
    })
}

fn with_errors(goals: &[Goal], scenario: &Scenario) -> Result<Vec<Goal>> {
    let mut all = goals.to_vec();
    for goal in goals {
        if !matches!(
            goal.metric,
            GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Errors | GoalMetric::Rate
        ) {
            bail!("goal `{goal}`: the load alone does not see it, use a response time, errors or a rate");
        }
        let names = scenario.operations.iter().flat_map(|operation| operation.steps());
        if goal.subject != "*" && !names.clone().any(|step| step.name == goal.subject) {
            let known: Vec<&str> = names.map(|step| step.name.as_str()).collect();
            bail!("goal `{goal}`: no such operation, there are {}", known.join(", "));
        }
    }
    if !goals.iter().any(|goal| goal.metric == GoalMetric::Errors) {
        all.push(Goal {
            metric: GoalMetric::Errors,
            subject: "*".to_owned(),
            relation: Relation::Below,
            limit: 0.01,
        });
    }
    Ok(all)
}

fn window_options(
    base: &Options,
    options: &FindOptions,
    goals: &[Goal],
    rate: f64,
    number: usize,
) -> Options {
    let longest_ms = goals.iter().filter_map(|goal| match goal.metric {
        GoalMetric::Quantile(_) | GoalMetric::Mean => Some(goal.limit),
        _ => None,
    });
    let longest_ms = longest_ms.fold(0.0, f64::max);
    let patience = Duration::from_secs_f64(longest_ms * TIMEOUT_FACTOR / 1e3).max(MIN_TIMEOUT);
    let cell_ms = u32::try_from(options.window.as_millis()).unwrap_or(u32::MAX) / CELLS;
    let mut settings = base.clone();
    settings.pace = Pace::constant(rate, options.spacing);
    settings.users = None;
    settings.workloads = Vec::new();
    settings.duration = options.window;
    settings.timeout = base.timeout.min(patience);
    settings.cell_ms = cell_ms.max(1);
    settings.seed = base.seed.wrapping_add(number as u64);
    (settings.uniform_samples, settings.slowest_samples) = (0, 0);
    settings
}
