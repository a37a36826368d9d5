//! One window against the goals: met, missed and by what, or not to be judged as the generator was the limit. Pure.

use super::search::Shown;
use crate::LoadResult;
use model::{ErrorClass, Goal, GoalMetric, Histogram, Relation};
use std::time::Duration;

/// A quantile of fewer samples beyond it is not judged for a single operation.
const MIN_BEYOND: f64 = 5.0;
/// Nor a share of errors among fewer requests.
const MIN_FOR_ERRORS: f64 = 200.0;
/// Share of a core beyond which this program is the limit.
const MAX_CPU_SHARE: f64 = 0.8;
/// Own lateness (p99) beyond this share of the shortest response time that a goal allows.
const MAX_LATE_SHARE: f64 = 0.25;
/// Fewer responses than this share of what was due means that the service cannot answer more.
const KEPT_UP_SHARE: f64 = 0.95;

/// What limits the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// This program or its machine.
    Generator,
    /// The service fails requests.
    Errors,
    /// The service answers fewer requests than are due, and they pile up.
    Throughput,
    /// It answers all, too slowly.
    Latency,
}

/// One goal in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub goal: String,
    /// In the goal's own unit: milliseconds, a share, per second.
    pub value: f64,
    pub met: bool,
}

/// What one window came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub rate: f64,
    pub completed_per_s: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub error_share: f64,
    /// The most frequent error, in words.
    pub error: Option<String>,
    pub goals: Vec<Judged>,
    pub met: bool,
    /// What stood in the way; `None` where all goals were met.
    pub limit: Option<Limit>,
    pub(super) shown: Shown,
}

/// The part of a window after its own warm-up.
pub(super) struct Part<'a> {
    result: &'a LoadResult,
    from_cell: u32,
    seconds: f64,
}

impl<'a> Part<'a> {
    pub(super) fn after(result: &'a LoadResult, warm_up: Duration) -> Self {
        let cell_s = f64::from(result.cell_ms) / 1e3;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cells are few")]
        let from_cell = (warm_up.as_secs_f64() / cell_s).round() as u32;
        let seconds = (result.window.as_secs_f64() - f64::from(from_cell) * cell_s).max(cell_s);
        Self { result, from_cell, seconds }
    }

    /// Responses and errors of an operation, or of all.
    fn responses(&self, operation: Option<u32>) -> (Histogram, u64) {
        let mut all = Histogram::default();
        let mut errors = 0;
        let cells = self.result.cells.iter().filter(|cell| cell.cell >= self.from_cell);
        for cell in cells.filter(|cell| operation.is_none_or(|only| cell.operation == only)) {
            all.merge(&cell.response);
            errors += u64::from(cell.errors);
        }
        (all, errors)
    }

    /// The operations that a goal's subject names; `None` stands for all of them together.
    fn subjects(&self, goal: &Goal) -> Vec<Option<u32>> {
        let named = (0_u32..).zip(&self.result.operations).filter(|(_, name)| **name == goal.subject);
        let named: Vec<Option<u32>> = named.map(|(at, _)| Some(at)).collect();
        if goal.subject != "*" {
            return named;
        }
        let beyond = match goal.metric {
            GoalMetric::Quantile(q) => MIN_BEYOND / (1.0 - q).max(1e-6),
            GoalMetric::Errors => MIN_FOR_ERRORS,
            _ => 1.0,
        };
        let enough = |at: &u32| self.responses(Some(*at)).0.count() as f64 >= beyond;
        let operations = u32::try_from(self.result.operations.len()).unwrap_or(u32::MAX);
        std::iter::once(None).chain((0..operations).filter(enough).map(Some)).collect()
    }

    fn value(&self, metric: GoalMetric, operation: Option<u32>) -> Option<f64> {
        let (responses, errors) = self.responses(operation);
        match metric {
            GoalMetric::Quantile(q) => responses.quantile_ms(q),
            GoalMetric::Mean => responses.mean_ms(),
            GoalMetric::Errors => Some(errors as f64 / responses.count().max(1) as f64),
            GoalMetric::Rate => Some(responses.count().saturating_sub(errors) as f64 / self.seconds),
            _ => None,
        }
    }

    /// The goal at the subject that is worst off; `None` where the load does not see it.
    fn judge(&self, goal: &Goal) -> Option<Judged> {
        let values = self.subjects(goal).into_iter().filter_map(|subject| self.value(goal.metric, subject));
        let value = match goal.relation {
            Relation::Below => values.reduce(f64::max),
            Relation::Above => values.reduce(f64::min),
        }?;
        let met = match goal.relation {
            Relation::Below => value < goal.limit,
            Relation::Above => value > goal.limit,
        };
        Some(Judged { goal: goal.to_string(), value, met })
    }
}

/// A goal at the end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalOutcome {
    pub goal: String,
    /// In the goal's own unit: milliseconds, a share, per second; `None` where a load test does not see it.
    pub value: Option<f64>,
    pub met: Option<bool>,
    pub metric: GoalMetric,
    /// Why it was not measured.
    pub unseen: Option<&'static str>,
}

impl GoalOutcome {
    /// The value with its unit.
    #[must_use]
    pub fn value_text(&self) -> String {
        match (self.value, self.metric) {
            (None, _) => "not measured".to_owned(),
            (Some(share), GoalMetric::Errors) => format!("{:.2} %", share * 100.0),
            (Some(rate), GoalMetric::Rate) => format!("{rate:.1}/s"),
            (Some(ms), _) => format!("{ms:.1} ms"),
        }
    }
}

/// What became of each goal, over the whole run.
#[must_use]
pub fn judge_goals(result: &LoadResult, goals: &[Goal]) -> Vec<GoalOutcome> {
    let part = Part::after(result, Duration::ZERO);
    let outcome = |goal: &Goal| {
        let judged = part.judge(goal);
        let unseen = match goal.metric {
            _ if judged.is_some() => None,
            GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Errors | GoalMetric::Rate => {
                Some("no request was of that operation")
            }
            _ => Some("a load test alone does not see it"),
        };
        GoalOutcome {
            unseen,
            goal: goal.to_string(),
            value: judged.as_ref().map(|judged| judged.value),
            met: judged.map(|judged| judged.met),
            metric: goal.metric,
        }
    };
    goals.iter().map(outcome).collect()
}

/// Judges one window at a rate.
pub(super) fn judge(rate: f64, part: &Part<'_>, goals: &[Goal]) -> Window {
    let (responses, errors) = part.responses(None);
    let judged: Vec<Judged> = goals.iter().filter_map(|goal| part.judge(goal)).collect();
    let met = judged.iter().all(|judged| judged.met);
    let count = responses.count();
    let unanswered = part
        .result
        .errors
        .iter()
        .filter(|error| matches!(error.class, ErrorClass::NotStarted | ErrorClass::Timeout));
    let unanswered: u64 = unanswered.map(|error| error.count).sum();
    let quantile = |q| responses.quantile_ms(q).unwrap_or_default();
    let error_share = errors as f64 / count.max(1) as f64;
    let kept_up = part.result.completed as f64 >= KEPT_UP_SHARE * part.result.offered as f64;
    let generator = !met && is_generator(part.result, goals);
    let limit = if met {
        None
    } else if generator {
        Some(Limit::Generator)
    } else if !kept_up || unanswered * 2 > errors.max(1) || queues(part.result) {
        Some(Limit::Throughput)
    } else if judged.iter().any(|j| !j.met && j.goal.starts_with("errors")) {
        Some(Limit::Errors)
    } else {
        Some(Limit::Latency)
    };
    let worst = part.result.errors.iter().max_by_key(|error| error.count);
    Window {
        rate,
        completed_per_s: count.saturating_sub(errors) as f64 / part.seconds,
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        error_share,
        error: worst.map(|error| error.example.clone()),
        shown: match (generator, met) {
            (true, _) => Shown::Unable,
            (false, true) => Shown::Met,
            (false, false) => Shown::Missed,
        },
        goals: judged,
        met,
        limit,
    }
}

/// Whether the goals may have been missed for this program's sake: it was near the end of its core, or late by a good
/// part of what the goals allow. Where they are met all the same, its lateness, which counts as response, is no matter.
fn is_generator(result: &LoadResult, goals: &[Goal]) -> bool {
    let allowed_ms = goals.iter().filter_map(|goal| match goal.metric {
        GoalMetric::Quantile(_) | GoalMetric::Mean => Some(goal.limit),
        _ => None,
    });
    let allowed_ms = allowed_ms.fold(f64::INFINITY, f64::min);
    let figures = &result.figures;
    figures.cpu_share.is_some_and(|share| share > MAX_CPU_SHARE)
        || figures.lateness_p99_ms.is_some_and(|late| late > allowed_ms * MAX_LATE_SHARE)
}

/// Whether responses grew all the time, as they do where more is due than is answered: the last quarter's median is
/// twice the first one's.
fn queues(result: &LoadResult) -> bool {
    let cells = result.cells.iter().map(|cell| cell.cell).max().unwrap_or(0) + 1;
    let median = |from: u32, to: u32| {
        let mut all = Histogram::default();
        for cell in result.cells.iter().filter(|cell| (from..to).contains(&cell.cell)) {
            all.merge(&cell.response);
        }
        all.quantile_ms(0.5)
    };
    let (first, last) = (median(cells / 4, cells / 2), median(cells - cells / 4, cells));
    cells >= 8 && first.zip(last).is_some_and(|(first, last)| last > 2.0 * first && last > first + 10.0)
}
