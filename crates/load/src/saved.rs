//! A result as a file, and several of them as one: histograms merge exactly by adding counts.

use crate::validity::{Figures, judge};
use crate::{CheckCount, ErrorCount, LoadResult, OperationTotals};
use anyhow::{Context, Result, bail, ensure};
use model::{ErrorClass, Histogram, LatencyCell, RequestSample};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Readers refuse a newer layout.
const FORMAT: u32 = 1;

/// A result as it is written, one JSON object. What cannot be merged is left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    format: u32,
    target: String,
    operations: Vec<String>,
    started_ns: u64,
    window_s: f64,
    complete: bool,
    cell_ms: u32,
    cells: Vec<LatencyCell>,
    requests: Vec<RequestSample>,
    errors: Vec<SavedError>,
    #[serde(default)]
    checks: Vec<CheckCount>,
    totals: Vec<OperationTotals>,
    started: u64,
    completed: u64,
    not_started: u64,
    held_back: u64,
    stale_retries: u64,
    connections: u64,
    lateness: Histogram,
    users: Option<u32>,
    longest_silence_s: f64,
    cpu_share: Option<f64>,
    run_queue_share: Option<f64>,
    one_key: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedError {
    operation: u32,
    class: ErrorClass,
    count: u64,
    example: String,
}

impl From<&LoadResult> for Saved {
    fn from(result: &LoadResult) -> Self {
        let errors = result.errors.iter().map(|error| SavedError {
            operation: error.operation,
            class: error.class,
            count: error.count,
            example: error.example.clone(),
        });
        Self {
            format: FORMAT,
            target: result.target.clone(),
            operations: result.operations.clone(),
            started_ns: result.started_ns,
            window_s: result.window.as_secs_f64(),
            complete: result.complete,
            cell_ms: result.cell_ms,
            cells: result.cells.clone(),
            requests: result.requests.clone(),
            errors: errors.collect(),
            checks: result.checks.clone(),
            totals: result.totals.clone(),
            started: result.started_count,
            completed: result.completed,
            not_started: result.figures.not_started,
            held_back: result.held_back,
            stale_retries: result.stale_retries,
            connections: result.connections,
            lateness: result.lateness.clone(),
            users: result.users,
            longest_silence_s: result.longest_silence.as_secs_f64(),
            cpu_share: result.figures.cpu_share,
            run_queue_share: result.figures.run_queue_share,
            one_key: result.figures.one_key.clone(),
        }
    }
}

/// Several results of generators that ran at the same time, as one. `now` stands for their start.
///
/// # Errors
/// Nothing to merge; results of other operations, cells or layouts: says which one differs.
pub fn merge(parts: &[Saved], now: Instant) -> Result<LoadResult> {
    let (first, others) = parts.split_first().context("no result to merge")?;
    let mut all = first.clone();
    check(first, first).context("result 1")?;
    for (at, part) in others.iter().enumerate() {
        check(first, part).with_context(|| format!("result {}", at + 2))?;
        all.add(part);
    }
    all.into_result(now)
}

fn check(first: &Saved, part: &Saved) -> Result<()> {
    ensure!(part.format == FORMAT, "its layout is {}, expected {FORMAT}", part.format);
    ensure!(part.operations == first.operations, "its operations are others than those of the first");
    ensure!(part.cell_ms == first.cell_ms, "its cells are {} ms, {} at first", part.cell_ms, first.cell_ms);
    ensure!(part.totals.len() == part.operations.len(), "its totals do not fit its operations");
    let window = |seconds: f64| Duration::try_from_secs_f64(seconds).context("a time that is none");
    window(part.window_s).and(window(part.longest_silence_s))?;
    let operations = part.operations.len();
    let known = |operation: u32| (operation as usize) < operations;
    if !part.cells.iter().all(|cell| known(cell.operation))
        || !part.errors.iter().all(|error| known(error.operation))
        || !part.requests.iter().all(|request| known(request.operation))
        || !part.checks.iter().all(|check| known(check.operation))
    {
        bail!("it names an operation that it does not list");
    }
    Ok(())
}

impl Saved {
    fn add(&mut self, other: &Self) {
        let mut cells: BTreeMap<(u32, u32), LatencyCell> =
            self.cells.drain(..).map(|cell| ((cell.cell, cell.operation), cell)).collect();
        for cell in &other.cells {
            let known = cells.entry((cell.cell, cell.operation)).or_insert_with(|| LatencyCell {
                operation: cell.operation,
                cell: cell.cell,
                ..LatencyCell::default()
            });
            known.response.merge(&cell.response);
            known.service.merge(&cell.service);
            known.errors = known.errors.saturating_add(cell.errors);
        }
        self.cells = cells.into_values().collect();
        for error in &other.errors {
            let same =
                |known: &&mut SavedError| (known.operation, known.class) == (error.operation, error.class);
            match self.errors.iter_mut().find(same) {
                Some(known) => known.count += error.count,
                None => self.errors.push(error.clone()),
            }
        }
        for check in &other.checks {
            let same =
                |known: &&mut CheckCount| known.operation == check.operation && known.name == check.name;
            match self.checks.iter_mut().find(same) {
                Some(known) => {
                    known.passes += check.passes;
                    known.fails += check.fails;
                }
                None => self.checks.push(check.clone()),
            }
        }
        self.checks.sort_by_key(|check| check.operation);
        self.errors.sort_by_key(|error| (error.operation, error.class));
        for (totals, more) in self.totals.iter_mut().zip(&other.totals) {
            totals.merge(more);
        }
        self.requests.extend_from_slice(&other.requests);
        self.requests.sort_by_key(|request| (request.operation, request.due_ns, request.trace_id));
        self.lateness.merge(&other.lateness);
        self.started += other.started;
        self.completed += other.completed;
        self.not_started += other.not_started;
        self.held_back += other.held_back;
        self.stale_retries += other.stale_retries;
        self.connections += other.connections;
        self.started_ns = self.started_ns.min(other.started_ns);
        self.window_s = self.window_s.max(other.window_s);
        self.complete &= other.complete;
        self.users = self.users.zip(other.users).map(|(a, b)| a.saturating_add(b));
        // While one was silent the other may have been answered: the shorter one bounds both.
        self.longest_silence_s = self.longest_silence_s.min(other.longest_silence_s);
        self.cpu_share = worse(self.cpu_share, other.cpu_share);
        self.run_queue_share = worse(self.run_queue_share, other.run_queue_share);
        self.one_key.retain(|name| other.one_key.contains(name));
    }

    fn into_result(self, now: Instant) -> Result<LoadResult> {
        let window = Duration::try_from_secs_f64(self.window_s).context("a window that is none")?;
        let mut response = Histogram::default();
        for cell in &self.cells {
            response.merge(&cell.response);
        }
        let samples = self.operations.iter().cloned().zip(self.totals.iter().map(|totals| totals.offered));
        let figures = Figures {
            offered: self.started + self.not_started,
            not_started: self.not_started,
            held_back: self.held_back,
            lateness_p99_ms: self.lateness.quantile_ms(0.99),
            response_p95_ms: response.quantile_ms(0.95),
            cpu_share: self.cpu_share,
            run_queue_share: self.run_queue_share,
            samples: samples.collect(),
            warm_up_ms: None,
            one_key: self.one_key,
            closed: self.users.map(|users| (users, self.longest_silence_s / self.window_s.max(1e-9))),
        };
        let errors = self.errors.into_iter().map(|error| ErrorCount {
            operation: error.operation,
            class: error.class,
            count: error.count,
            example: error.example,
        });
        Ok(LoadResult {
            operations: self.operations,
            target: self.target,
            started_ns: self.started_ns,
            started: now,
            window,
            complete: self.complete,
            cell_ms: self.cell_ms,
            cells: self.cells,
            requests: self.requests,
            checks: self.checks,
            users: self.users,
            longest_silence: Duration::try_from_secs_f64(self.longest_silence_s).unwrap_or_default(),
            errors: errors.collect(),
            totals: self.totals,
            offered: figures.offered,
            started_count: self.started,
            completed: self.completed,
            held_back: self.held_back,
            stale_retries: self.stale_retries,
            connections: self.connections,
            cpu_s: None,
            lateness: self.lateness,
            validity: judge(&figures),
            figures,
        })
    }
}

fn worse(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}
