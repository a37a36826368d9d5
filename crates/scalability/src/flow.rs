//! From the cells of one level to its figures: what was answered within the counted part, how many requests were in
//! the service, and how far chance moves both. Cells are by due time; the answers' times follow from them.

use crate::Observed;
use crate::random::{Z975, mean_and_error};
use model::{Estimate, Goal, GoalMetric, Histogram, Level, LevelGoal, LevelKind, LevelState, Relation};

/// Parts of a level whose differences tell its error.
const MAX_BATCHES: usize = 20;
/// So much of what is due may stay unanswered or fail for want of an answer ...
const UNANSWERED_SHARE: f64 = 0.05;
/// ... and so much of what is due each second may pile up, before a level is overloaded.
const PILES_UP_SHARE: f64 = 0.03;
/// Fewer requests than this in the pile are chance.
const LEAST_PILE: f64 = 5.0;
/// A goal for every endpoint judges one alone only where so many requests are beyond its quantile.
const MIN_BEYOND: f64 = 5.0;
/// Nor a share of errors among fewer requests.
const MIN_FOR_ERRORS: u64 = 100;
/// Parts of a level whose differences tell the error of a goal's figure.
const GOAL_PARTS: usize = 5;
/// Cells of a level that are looked at: five hours of half seconds.
const MAX_CELLS: u32 = 36_000;

/// All operations of one cell.
#[derive(Default)]
struct Cell {
    response: Histogram,
    service: Histogram,
    errors: u64,
}

/// One level's cells, and what is known of the course of it.
pub(crate) struct Flow<'a> {
    of: &'a Observed<'a>,
    cells: Vec<Cell>,
    cell_s: f64,
    /// Counted cells.
    from: usize,
    to: usize,
}

/// What the fit needs of a level besides its figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Errors {
    /// Of ln throughput and ln service time.
    pub(crate) rate: f64,
    pub(crate) time: f64,
}

impl<'a> Flow<'a> {
    pub(crate) fn of(observed: &'a Observed<'a>) -> Self {
        let cell_s = f64::from(observed.cell_ms.max(1)) / 1e3;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by MAX_CELLS")]
        let count = ((observed.seconds / cell_s).round().max(1.0) as usize).min(MAX_CELLS as usize);
        let mut cells: Vec<Cell> = std::iter::repeat_with(Cell::default).take(count).collect();
        for cell in observed.cells {
            // What was due in the last instant belongs to the last cell.
            let at = (cell.cell as usize).min(count - 1);
            cells[at].response.merge(&cell.response);
            cells[at].service.merge(&cell.service);
            cells[at].errors += u64::from(cell.errors);
        }
        let from = (observed.settle_cells as usize).min(count - 1);
        Self { of: observed, cells, cell_s, from, to: count }
    }

    fn seconds(&self) -> f64 {
        (self.to - self.from) as f64 * self.cell_s
    }

    /// Arrivals that were due before a cell.
    fn due_by(&self, cell: usize) -> f64 {
        self.cells[..cell].iter().map(|c| c.response.count() as f64).sum()
    }

    /// Of those, the ones that were over by then. Within a cell, arrivals are taken to be due evenly.
    fn done_by(&self, cell: usize) -> f64 {
        let end = cell as f64 * self.cell_s;
        let mut done = 0.0;
        for (at, due) in self.cells[..cell].iter().enumerate() {
            let since = end - at as f64 * self.cell_s;
            for &(bucket, count) in due.response.buckets() {
                let took = Histogram::value_of(bucket) / 1e9;
                done += count as f64 * ((since - took) / self.cell_s).clamp(0.0, 1.0);
            }
        }
        done
    }

    /// Batches as ranges of cells, at most [`MAX_BATCHES`], together all counted cells.
    fn batches(&self) -> Vec<(usize, usize)> {
        let count = self.to - self.from;
        let batches = count.min(MAX_BATCHES);
        let edge = |n: usize| self.from + count * n / batches;
        (0..batches).map(|n| (edge(n), edge(n + 1))).collect()
    }

    fn merged(&self, part: (usize, usize), of: fn(&Cell) -> &Histogram) -> Histogram {
        let mut all = Histogram::default();
        self.cells[part.0..part.1].iter().for_each(|c| all.merge(of(c)));
        all
    }

    /// The level's figures and their errors.
    pub(crate) fn level(&self, goals: &[Goal], operations: &[String]) -> (Level, Errors) {
        let counted = (self.from, self.to);
        let (responses, services) =
            (self.merged(counted, |c| &c.response), self.merged(counted, |c| &c.service));
        let errors: u64 = self.cells[self.from..self.to].iter().map(|c| c.errors).sum();
        let due = responses.count() as f64;
        let error_share = if due > 0.0 { (errors as f64 / due).min(1.0) } else { 0.0 };
        let batches = self.batches();
        let edges: Vec<usize> = batches.iter().map(|b| b.0).chain([self.to]).collect();
        let done: Vec<f64> = edges.iter().map(|e| self.done_by(*e)).collect();
        let open: Vec<f64> = edges.iter().zip(&done).map(|(e, done)| self.due_by(*e) - done).collect();
        let answered = 1.0 - error_share;
        let rates: Vec<f64> = batches
            .iter()
            .zip(done.windows(2))
            .map(|(b, d)| (d[1] - d[0]) / ((b.1 - b.0) as f64 * self.cell_s) * answered)
            .collect();
        let rate = (done[done.len() - 1] - done[0]) / self.seconds() * answered;
        let (_, rate_error) = mean_and_error(&rates);
        let times: Vec<f64> =
            batches.iter().filter_map(|b| self.merged(*b, |c| &c.service).mean_ms()).map(f64::ln).collect();
        let (_, time_error) = mean_and_error(&times);
        let service_ms = services.mean_ms().unwrap_or(0.0);
        let state = self.state(&open, due / self.seconds(), rate);
        let in_service = match state {
            // No balance to speak of: the mean of what was open, less what the generator held back.
            LevelState::Overloaded => mean_and_error(&open).0.min(self.of.most_in_flight),
            _ => rate / answered.max(f64::MIN_POSITIVE) * service_ms / 1e3,
        };
        let quantile = |q: f64| responses.quantile_ms(q).unwrap_or(0.0);
        let settle_ns = self.of.start_ns + nanos(self.from as f64 * self.cell_s);
        let level = Level {
            kind: self.of.kind,
            asked: self.of.asked,
            state,
            start_ns: settle_ns,
            end_ns: settle_ns + nanos(self.seconds()),
            settle_s: self.from as f64 * self.cell_s,
            requests: responses.count(),
            offered_per_s: due / self.seconds(),
            throughput_per_s: Estimate {
                value: rate,
                low: (rate - Z975 * rate_error).max(0.0),
                high: Some(rate + Z975 * rate_error),
            },
            mean_ms: responses.mean_ms().unwrap_or(0.0),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            service_ms,
            concurrency: in_service,
            error_share,
            goals: goals.iter().filter_map(|g| self.goal(g, operations)).collect(),
            doubts: self.of.generator.iter().chain(&self.of.doubts).cloned().collect(),
        };
        let relative = if rate > 0.0 { rate_error / rate } else { 0.0 };
        (level, Errors { rate: relative, time: time_error })
    }

    fn state(&self, open: &[f64], due_per_s: f64, rate: f64) -> LevelState {
        let piled = open.last().unwrap_or(&0.0) - open.first().unwrap_or(&0.0);
        let piles_up = piled > LEAST_PILE && piled / self.seconds() > PILES_UP_SHARE * due_per_s;
        let unanswered = self.of.unanswered as f64 > UNANSWERED_SHARE * self.of.offered as f64;
        let open_model = self.of.kind == LevelKind::Rate;
        if open_model && (piles_up || unanswered) && rate < due_per_s {
            LevelState::Overloaded
        } else if !self.of.generator.is_empty() {
            LevelState::GeneratorLimited
        } else if self.of.steady {
            LevelState::Steady
        } else {
            LevelState::Unsettled
        }
    }

    /// Responses and errors of one operation, or of all, in a part of the level.
    fn responses(&self, operation: Option<u32>, part: (usize, usize)) -> (Histogram, u64) {
        let (mut all, mut errors) = (Histogram::default(), 0);
        let last = self.cells.len() - 1;
        let within = self.of.cells.iter().filter(|c| (part.0..part.1).contains(&(c.cell as usize).min(last)));
        for cell in within.filter(|c| operation.is_none_or(|only| c.operation == only)) {
            all.merge(&cell.response);
            errors += u64::from(cell.errors);
        }
        (all, errors)
    }

    /// Standard errors of the goals' measured values: of ln for times, absolute for shares. 0 where nothing is known.
    pub(crate) fn goal_errors(&self, goals: &[Goal], operations: &[String]) -> Vec<f64> {
        let count = self.to - self.from;
        let parts = count.min(GOAL_PARTS);
        let edge = |n: usize| self.from + count * n / parts;
        let error = |goal: &Goal| {
            let values = (0..parts).filter_map(|n| self.measured(goal, operations, (edge(n), edge(n + 1))));
            let logs = matches!(goal.metric, GoalMetric::Quantile(_) | GoalMetric::Mean);
            let values: Vec<f64> = if logs { values.map(f64::ln).collect() } else { values.collect() };
            mean_and_error(&values).1
        };
        goals.iter().map(error).collect()
    }

    fn goal(&self, goal: &Goal, operations: &[String]) -> Option<LevelGoal> {
        let measured = self.measured(goal, operations, (self.from, self.to))?;
        Some(LevelGoal { goal: goal.to_string(), measured, met: goal.is_met_by(measured) })
    }

    /// The goal's figure at the operation that is worst off; `None` where the load does not see it.
    fn measured(&self, goal: &Goal, operations: &[String], part: (usize, usize)) -> Option<f64> {
        if goal.metric == GoalMetric::Cpu {
            return self.of.used_share(&goal.subject);
        }
        let subjects = self.subjects(goal, operations);
        let values = subjects.into_iter().filter_map(|subject| self.value(goal.metric, subject, part));
        match goal.relation {
            Relation::Below => values.reduce(f64::max),
            Relation::Above => values.reduce(f64::min),
        }
    }

    fn subjects(&self, goal: &Goal, operations: &[String]) -> Vec<Option<u32>> {
        let all = (0_u32..).zip(operations);
        if goal.subject != "*" {
            return all.filter(|(_, name)| goal.concerns(name)).map(|(at, _)| Some(at)).collect();
        }
        let enough = |count: u64| match goal.metric {
            GoalMetric::Quantile(q) => count as f64 >= MIN_BEYOND / (1.0 - q).max(1e-6),
            GoalMetric::Errors => count >= MIN_FOR_ERRORS,
            _ => count > 0,
        };
        let whole = (self.from, self.to);
        let alone = all.map(|(at, _)| at).filter(|at| enough(self.responses(Some(*at), whole).0.count()));
        std::iter::once(None).chain(alone.map(Some)).collect()
    }

    fn value(&self, metric: GoalMetric, operation: Option<u32>, part: (usize, usize)) -> Option<f64> {
        let (responses, errors) = self.responses(operation, part);
        let seconds = (part.1 - part.0) as f64 * self.cell_s;
        match metric {
            GoalMetric::Quantile(q) => responses.quantile_ms(q),
            GoalMetric::Mean => responses.mean_ms(),
            GoalMetric::Errors if responses.is_empty() => None,
            GoalMetric::Errors => Some(errors as f64 / responses.count() as f64),
            GoalMetric::Rate => Some(responses.count().saturating_sub(errors) as f64 / seconds),
            _ => None,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of one level")]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
