//! Stepped load under all instruments: the levels of a plan one after the other, all in one recording, and what
//! they say together. Which level is next and what they mean is decided in `scalability`.

use super::{CELL_MS, HOST_INTERVAL, Session, host_figures, id_of, nanos, scraped};
use crate::{clock, window};
use anyhow::Result;
use database::Snapshot;
use load::{LoadResult, Pace};
use model::metrics::names;
use model::{Gap, Goal, Level, LevelKind, LevelStop, MetricSeries, Recording, Scaling, Statement, StopKind};
use recording::Writer;
use scalability::plan::{Next, Plan};
use scalability::{Observed, Study, Used};
use std::path::Path;
use std::time::Duration;

/// Of each level, at least this share is left out at its start.
const LEAST_SETTLE: f64 = 0.1;
/// Of the time allowed for a request: a level that piles up shall not take long to drain.
const LEAST_TIMEOUT: Duration = Duration::from_secs(5);
/// Cells that tell whether response times have settled.
const MIN_STEADY_CELLS: usize = 10;

/// How levels are measured.
pub struct Stepping {
    pub plan: Plan,
    /// Of one level.
    pub length: Duration,
    /// Replicas are asked for this rate.
    pub for_rate: Option<f64>,
}

/// One level as it was driven.
struct Driven {
    kind: LevelKind,
    asked: f64,
    settle_cells: u32,
    steady: bool,
    most_in_flight: usize,
    result: LoadResult,
    /// Of the database, before and after it.
    looks: Option<(Snapshot, Snapshot)>,
}

impl Session {
    /// Measures levels until the plan ends them, saves all of them as one recording, and judges them. The recording
    /// that is returned is whole; [`window::cut_to_level`] leaves the level that its findings are of.
    pub async fn measure_levels(
        &mut self,
        folder: &Path,
        stepping: &Stepping,
        told: &dyn Fn(usize, &Level),
    ) -> Result<(Recording, Scaling)> {
        let writer = Writer::create(folder).inspect_err(|error| self.unsaved(error)).ok();
        self.begin(writer.as_ref()).await;
        let mut gaps = self.gaps.clone();
        self.find_processes(&mut gaps);
        let host = telemetry::host::sample(self.watched(), HOST_INTERVAL, clock::now_ns);
        let scrapes = self.scrapes(&mut gaps);
        let (driven, stop) = self.drive_levels(stepping, told, &mut gaps).await?;
        let mut metrics = host_figures(&host, &mut gaps);
        metrics.extend(scraped(&scrapes, &mut gaps));
        let result = joined(&driven);
        let (start_ns, end_ns) = (result.started_ns, result.started_ns + nanos(result.window));
        let batch = self.collect(&result, start_ns, &mut gaps).await;
        metrics.extend(batch.metrics);
        let mut recording = Recording {
            run: self.run(&id_of(folder), &result, (start_ns, end_ns), gaps),
            spans: batch.spans,
            metrics: window::metrics_within(metrics, start_ns, end_ns),
            latencies: result.cells.clone(),
            requests: result.requests.clone(),
            ..Recording::default()
        };
        let scaling = self.judge_levels(stepping, &driven, stop, &recording);
        self.add_reference(&driven, &scaling, &mut recording).await;
        self.finish(writer, &mut recording).await;
        recording.spans = window::traces_within(&recording.spans, start_ns, end_ns);
        Ok((recording, scaling))
    }

    async fn drive_levels(
        &self,
        stepping: &Stepping,
        told: &dyn Fn(usize, &Level),
        gaps: &mut Vec<Gap>,
    ) -> Result<(Vec<Driven>, LevelStop)> {
        let mut driven: Vec<Driven> = Vec::new();
        let mut levels: Vec<Level> = Vec::new();
        let mut before = self.look(gaps).await;
        loop {
            let (kind, asked) = match stepping.plan.next(&levels) {
                Next::Level(kind, asked) => (kind, asked),
                Next::Stop(stop) => return Ok((driven, stop)),
            };
            if let Some(first) = driven.first() {
                self.to_the_grid(&first.result).await;
            }
            let what =
                format!("level {} of {}", levels.len() + 1, stepping.plan.most().max(levels.len() + 1));
            let options = self.level_options(kind, asked, stepping.length, levels.len());
            let most_in_flight = options.max_in_flight;
            let result = self.run_load(options, &what).await?;
            let after = self.look(gaps).await;
            let looks = before.take().zip(after.clone());
            before = after;
            let early = !result.complete || self.shutdown.is_triggered();
            let (settle_cells, steady) = settled(&result, stepping.length);
            let level = Driven { kind, asked, settle_cells, steady, most_in_flight, result, looks };
            if early {
                driven.push(level);
                let reason = "ended early; the level that was not measured to its end is left out".to_owned();
                return Ok((driven, LevelStop { kind: StopKind::EndedEarly, reason }));
            }
            let seen = scalability::level(
                &observed(&level, Vec::new()),
                &stepping.plan.goals,
                &level.result.operations,
            );
            told(levels.len(), &seen);
            levels.push(seen);
            driven.push(level);
        }
    }

    fn level_options(&self, kind: LevelKind, asked: f64, length: Duration, number: usize) -> load::Options {
        let mut options = self.load_options(length, CELL_MS, number as u64);
        match kind {
            LevelKind::Rate => {
                options.pace = Pace::constant(asked, self.settings.load.arrivals);
                options.users = None;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked where it is read"
            )]
            LevelKind::Users => options.users = Some(asked as u32),
        }
        options.timeout = options.timeout.min((length / 2).max(LEAST_TIMEOUT));
        options
    }

    /// Waits until the cells of the next level can lie on those of the first.
    async fn to_the_grid(&self, first: &LoadResult) {
        let cell_ns = u64::from(CELL_MS) * 1_000_000;
        let since = clock::now_ns().saturating_sub(first.started_ns);
        self.pause(Duration::from_nanos(cell_ns - since % cell_ns)).await;
    }

    async fn look(&self, gaps: &mut Vec<Gap>) -> Option<Snapshot> {
        match self.database.as_ref()?.snapshot().await {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                let hint = "see the hint of the error; the rest was measured";
                gaps.push(Gap::new("statements", format!("{error:#}"), hint));
                None
            }
        }
    }

    fn judge_levels(
        &self,
        stepping: &Stepping,
        driven: &[Driven],
        stop: LevelStop,
        recording: &Recording,
    ) -> Scaling {
        let whole = driven.iter().filter(|d| d.result.complete);
        let levels: Vec<Observed<'_>> = whole
            .map(|level| {
                let (from, to) = counted(level);
                let seen = Recording {
                    metrics: window::metrics_within(recording.metrics.clone(), from, to),
                    ..Recording::default()
                };
                observed(level, used(&seen, level))
            })
            .collect();
        let goals: &[Goal] = &stepping.plan.goals;
        scalability::analyse(&Study {
            recording: &recording.run.id,
            target: &recording.run.target,
            operations: &recording.run.operations,
            levels,
            goals,
            cpus: f64::from(recording.run.environment.cpus.max(1)),
            for_rate: stepping.for_rate,
            stop,
            seed: self.settings.load.seed,
        })
    }

    /// Statements, plans and doubts are those of the level that the findings are of.
    async fn add_reference(&self, driven: &[Driven], scaling: &Scaling, recording: &mut Recording) {
        let at =
            scaling.reference.and_then(|at| driven.iter().filter(|d| d.result.complete).nth(at as usize));
        let Some(level) = at else { return };
        recording.run.validity = level.result.validity.clone();
        let Some((before, after)) = &level.looks else { return };
        let (statements, more) = Snapshot::delta(before, after);
        recording.run.gaps.extend(more);
        recording.plans = self.plans(&statements, &mut recording.run.gaps).await;
        recording.statements = statements;
    }
}

/// The counted part of a level, Unix nanoseconds.
fn counted(level: &Driven) -> (u64, u64) {
    let start = level.result.started_ns;
    let settle = u64::from(level.settle_cells) * u64::from(CELL_MS) * 1_000_000;
    (start + settle, start + nanos(level.result.window))
}

/// Cells to leave out, and whether the rest is steady.
fn settled(result: &LoadResult, length: Duration) -> (u32, bool) {
    let means = verify::log_means(&result.cells);
    let warm_up = verify::warm_up(&means);
    let cells = length.as_secs_f64() * 1e3 / f64::from(CELL_MS);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of few cells")]
    let least = (cells * LEAST_SETTLE).ceil() as u32;
    let cut = u32::try_from(warm_up.cut).unwrap_or(0);
    let steady = means.len() < MIN_STEADY_CELLS || warm_up.steady;
    // A series that never settles is not made to look so by leaving half of it out.
    if steady { (cut.max(least), true) } else { (least, false) }
}

fn observed(level: &Driven, used: Vec<Used>) -> Observed<'_> {
    let result = &level.result;
    let unanswered = |class| matches!(class, model::ErrorClass::NotStarted | model::ErrorClass::Timeout);
    let (generator, doubts) = doubts(result);
    Observed {
        kind: level.kind,
        asked: level.asked,
        cells: &result.cells,
        cell_ms: result.cell_ms,
        seconds: result.window.as_secs_f64(),
        settle_cells: level.settle_cells,
        steady: level.steady,
        start_ns: result.started_ns,
        offered: result.offered,
        unanswered: result.errors.iter().filter(|e| unanswered(e.class)).map(|e| e.count).sum(),
        most_in_flight: level.most_in_flight as f64,
        generator,
        doubts,
        used,
    }
}

/// Why the generator was in the way, and what else speaks against a level's figures. A start that is late for less
/// than the service takes is a doubt about response times only.
fn doubts(result: &LoadResult) -> (Vec<String>, Vec<String>) {
    let (mut service_ns, mut sent) = (0.0, 0.0);
    for totals in &result.totals {
        service_ns += totals.service_sum_ns as f64;
        sent += totals.offered as f64;
    }
    let service_ms = if sent > 0.0 { service_ns / sent / 1e6 } else { 0.0 };
    let very_late = result.figures.lateness_p99_ms.is_some_and(|late| late > service_ms);
    let in_the_way = |kind: &str| kind == "generator_cpu" || (kind == "late_starts" && very_late);
    let (mut generator, mut doubts) = (Vec::new(), Vec::new());
    for issue in &result.validity.issues {
        if issue.invalid && in_the_way(&issue.kind) {
            generator.push(issue.reason.clone());
        } else if issue.kind != "few_samples" && issue.kind != "one_key" {
            doubts.push(issue.reason.clone());
        }
    }
    (generator, doubts)
}

/// Resources as the instruments saw them during a level.
fn used(seen: &Recording, level: &Driven) -> Vec<Used> {
    let cpus = mean(seen, names::HOST_CPUS).filter(|n| *n >= 1.0).unwrap_or(1.0);
    let mut all = Vec::new();
    for limited in localize::runtime::runtime(seen).limited {
        let of_host = limited.name == "CPU" && limited.service.is_empty();
        let (unit, times) = if of_host { ("cores", cpus) } else { ("share", 1.0) };
        all.push(Used {
            shared: limited.service == "database",
            name: limited.name,
            owner: limited.service,
            unit,
            used: limited.used * times,
            limit: Some(times),
            part: false,
        });
    }
    let role = |series: &MetricSeries| series.attribute("process.role").unwrap_or_default().to_owned();
    for series in seen.series(names::PROCESS_CPU) {
        let (Some(cores), owner) = (series.mean(), role(series)) else { continue };
        let (name, shared) = ("CPU".to_owned(), owner == "database");
        all.push(Used { name, owner, unit: "cores", used: cores, limit: Some(cpus), shared, part: true });
    }
    for series in seen.series(names::HOST_DISK_IO) {
        let Some(rate) = series.mean() else { continue };
        let direction = series.attribute("disk.io.direction").unwrap_or_default();
        all.push(bytes(format!("disk {direction}"), "", rate));
    }
    let seconds = level.result.window.as_secs_f64().max(f64::MIN_POSITIVE);
    let received: u64 = level.result.totals.iter().map(|t| t.received_bytes).sum();
    all.push(bytes("response bodies".to_owned(), "service", received as f64 / seconds));
    all.extend(statements(level));
    all
}

fn bytes(name: String, owner: &str, rate: f64) -> Used {
    let owner = owner.to_owned();
    Used { name, owner, unit: "bytes/s", used: rate, limit: None, shared: false, part: true }
}

/// Statements that ran at once, mean: time within the database by the utilization law.
fn statements(level: &Driven) -> Option<Used> {
    let (before, after) = level.looks.as_ref()?;
    let seconds = after.taken()?.checked_duration_since(before.taken()?)?.as_secs_f64();
    let (statements, _) = Snapshot::delta(before, after);
    let busy_ms: f64 = statements.iter().map(|s: &Statement| s.total_ms).sum();
    // The load fills a part of the time between two looks only.
    let driven = level.result.window.as_secs_f64().min(seconds).max(f64::MIN_POSITIVE);
    (!statements.is_empty()).then(|| Used {
        name: "statements at work".to_owned(),
        owner: "database".to_owned(),
        unit: "statements",
        used: busy_ms / 1e3 / driven,
        limit: None,
        shared: true,
        part: true,
    })
}

fn mean(seen: &Recording, name: &str) -> Option<f64> {
    seen.series(name).find_map(MetricSeries::mean)
}

/// All levels as one result, on the first one's time.
fn joined(driven: &[Driven]) -> LoadResult {
    let mut all = driven[0].result.clone();
    for level in &driven[1..] {
        let result = &level.result;
        let later_ns = result.started_ns.saturating_sub(all.started_ns);
        let later = later_ns as f64 / 1e6 / f64::from(CELL_MS);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours of half seconds")]
        let offset = later.round() as u32;
        all.cells
            .extend(result.cells.iter().map(|c| model::LatencyCell { cell: c.cell + offset, ..c.clone() }));
        all.requests.extend(result.requests.iter().cloned());
        all.window = Duration::from_nanos(later_ns) + result.window;
        all.complete = result.complete;
        all.offered += result.offered;
        all.completed += result.completed;
    }
    all
}
