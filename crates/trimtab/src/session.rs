//! A session keeps what outlives one measurement: the OTLP receiver, the database connection, who is watched.
//! [`Session::measure`] runs all instruments side by side over one window and returns one recording.

mod levels;
mod watching;

pub use levels::Stepping;

use crate::borders::{self, Sources, Windows};
use crate::clock;
use crate::output::Output;
use crate::profiling::{self, Wanted};
use crate::settings::{LoadSettings, Settings};
use crate::window;
use anyhow::{Context, Result};
use database::Server;
use load::{Clock, LoadResult, Pace, Progress};
use model::{Gap, MetricSeries, Recording, Run, Statement, ValidityIssue};
use net::Shutdown;
use recording::Writer;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};
use telemetry::host::{HostSampling, Watched};
use telemetry::prometheus::Scraping;
use telemetry::{Batch, Handle};
use tokio::sync::watch;

/// Length of a latency cell of a measurement.
const CELL_MS: u32 = 500;
/// How often the host and the watched processes are looked at.
const HOST_INTERVAL: Duration = Duration::from_millis(500);
/// How often arriving spans are looked for after a window.
const SPAN_POLL: Duration = Duration::from_millis(100);
/// Of the requests whose traces are waited for, this share is enough: sampling may drop the rest.
const ENOUGH_TRACES: f64 = 0.98;
/// How often Prometheus pages are read.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);
/// Fewer cells say nothing about steadiness.
const MIN_STEADY_CELLS: usize = 20;
/// Requests of each operation that are looked at one by one while the load's mix varies ...
const MAX_REQUESTS: usize = 50_000;
/// ... and that stay in the recording, beside the slowest.
const KEPT_REQUESTS: usize = 2_000;
/// Statements whose plans are asked for.
const MAX_PLANS: usize = 20;

/// What outlives one measurement.
pub struct Session {
    pub settings: Settings,
    pub shutdown: Shutdown,
    output: Output,
    receiver: Option<Handle>,
    database: Option<Server>,
    /// Processes that the settings name or Trimtab started.
    named: Vec<Watched>,
    /// Those that were found by their ports when the last measurement began.
    found: Vec<Watched>,
    /// Whether the service is profiled while it is measured.
    pub profile: Wanted,
    /// What cannot be seen in any measurement of this session.
    gaps: Vec<Gap>,
}

impl Session {
    /// Opens the database; one that cannot be opened is a gap. The receiver is there already, so that a service could
    /// be started with its address.
    pub async fn open(
        settings: Settings,
        receiver: Option<Handle>,
        output: Output,
        shutdown: Shutdown,
    ) -> Result<Self> {
        let mut gaps = Vec::new();
        if receiver.is_none() {
            gaps.push(Gap::new(
                "traces",
                "the OTLP receiver is switched off",
                "set [telemetry] listen = \"127.0.0.1:4318\"",
            ));
        }
        let database = open_database(&settings, &mut gaps).await;
        let mut named = vec![group("generator", std::process::id(), false)];
        if let Some(pid) = settings.service_pid {
            named.push(group("service", pid, true));
        }
        let profile = Wanted::default();
        Ok(Self { settings, shutdown, output, receiver, database, named, found: Vec::new(), profile, gaps })
    }

    /// Watches a process and its children from now on.
    pub fn watch(&mut self, role: &str, pid: u32) {
        self.named.push(group(role, pid, true));
    }

    /// The target answers at all: one request of the first operation's kind would be too much to ask, so one `GET /`.
    pub async fn check_target(&self) -> Result<()> {
        check_target(&self.settings).await
    }

    /// One window of all instruments, saved into `folder`. Ends early on shutdown, with what there is by then. What was
    /// received is on disk before the judging begins; a disk that is full costs the file, not the measurement.
    pub async fn measure(&mut self, folder: &Path, what: &str) -> Result<Recording> {
        let load = self.settings.load.clone();
        let writer = Writer::create(folder).inspect_err(|error| self.unsaved(error)).ok();
        self.begin(writer.as_ref()).await;
        let mut gaps = self.gaps.clone();
        self.find_processes(&mut gaps);
        let host = telemetry::host::sample(self.watched(), HOST_INTERVAL, clock::now_ns);
        let scrapes = self.scrapes(&mut gaps);
        let mut options = self.load_options(load.warm_up + load.duration, CELL_MS, 0);
        let windows = self.windows(&mut options, &mut gaps);
        let sources = self.sources();
        let (result, mut looks, profiled) = tokio::join!(
            Box::pin(self.run_load(options, what)),
            Box::pin(borders::look(&sources, &windows, &self.shutdown)),
            self.profiled(load.warm_up, load.duration)
        );
        if let Some(database) = looks.again.take() {
            self.database = Some(database);
        }
        let result = result?;
        let (statements, database_gaps) = looks.statements();
        gaps.extend(database_gaps);
        let mut metrics = host_figures(&host, &mut gaps);
        metrics.extend(scraped(&scrapes, &mut gaps));
        let warm_cells = u32::try_from(load.warm_up.as_millis() / u128::from(CELL_MS)).unwrap_or(0);
        let start_ns = result.started_ns + u64::from(warm_cells * CELL_MS) * 1_000_000;
        let end_ns = (result.started_ns + nanos(result.window)).max(start_ns);
        let batch = self.collect(&result, start_ns, &mut gaps).await;
        metrics.extend(batch.metrics);
        let plans = self.plans(&statements, &mut gaps).await;
        let mut recording = Recording {
            run: self.run(&id_of(folder), &result, (start_ns, end_ns), gaps),
            spans: batch.spans,
            metrics: window::metrics_within(metrics, start_ns, end_ns),
            latencies: window::cells_from(&result.cells, warm_cells),
            requests: window::thinned(
                window::requests_within(&result.requests, start_ns, end_ns),
                KEPT_REQUESTS,
            ),
            statements,
            plans,
            costs: None,
            profile: None,
        };
        if let Some(taken) = profiled {
            profiling::keep(taken, &result, &mut recording, writer.as_ref());
        }
        recording.costs = looks.costs(&result, &recording);
        recording.run.gaps.extend(recording.costs.iter().flat_map(|costs| costs.gaps.clone()));
        self.add_steadiness(&mut recording);
        self.finish(writer, &mut recording).await;
        recording.spans = window::traces_within(&recording.spans, start_ns, end_ns);
        Ok(recording)
    }

    /// Forgets what came before, and sends spans that find no room in memory to the recording.
    async fn begin(&self, writer: Option<&Writer>) {
        if let Some(receiver) = &self.receiver {
            drop(receiver.take());
            drop(receiver.set_sink(writer.map(Writer::span_sink)).await);
        }
    }

    /// Writes the recording. Where spans went to disk during the run, they are read back for the judging.
    async fn finish(&self, writer: Option<Writer>, recording: &mut Recording) {
        let sink = match &self.receiver {
            Some(receiver) => receiver.set_sink(None).await,
            None => None,
        };
        let mut flushed = 0;
        if let Some(mut sink) = sink {
            if let Err(error) = sink.flush() {
                self.unsaved(&error);
            }
            flushed = sink.written();
        }
        let Some(writer) = writer else { return };
        let folder = writer.folder().to_path_buf();
        if let Err(error) = writer.finish(recording) {
            self.unsaved(&error);
            return;
        }
        if flushed > 0 {
            match recording::read_spans(&folder, Some(localize::ATTRIBUTES)) {
                Ok((spans, gaps)) => {
                    recording.spans = spans;
                    recording.run.gaps.extend(gaps);
                }
                Err(error) => self.unsaved(&error),
            }
        }
    }

    fn unsaved(&self, error: &anyhow::Error) {
        self.output.warn(&format!("the recording is not saved whole: {error:#}"));
    }

    /// A load that was still warming up is doubtful.
    fn add_steadiness(&self, recording: &mut Recording) {
        let means = verify::log_means(&recording.latencies);
        let warm_up = verify::warm_up(&means);
        if means.len() >= MIN_STEADY_CELLS && !warm_up.steady {
            recording.run.validity.issues.push(ValidityIssue {
                kind: "not_steady".to_owned(),
                invalid: false,
                reason: "response times were still changing at the end of the measurement".to_owned(),
                hint: "measure for longer, or raise load.warm_up_s".to_owned(),
            });
        }
    }

    /// Starts the scrapes that the settings ask for.
    fn scrapes(&self, gaps: &mut Vec<Gap>) -> Vec<Scraping> {
        let mut running = Vec::new();
        for url in &self.settings.telemetry.prometheus {
            match telemetry::prometheus::scrape(url, SCRAPE_INTERVAL, BTreeMap::new(), clock::now_ns) {
                Ok(scraping) => running.push(scraping),
                Err(error) => {
                    gaps.push(Gap::new("metrics", format!("{error:#}"), "check [telemetry] prometheus"))
                }
            }
        }
        running
    }

    /// Runs the load with its progress shown.
    pub async fn run_load(&self, mut options: load::Options, what: &str) -> Result<LoadResult> {
        let ends = options.workloads.iter().map(|w| w.plan.start + w.plan.executor.duration());
        if ends.max().is_some_and(|end| end != options.duration) {
            anyhow::bail!(
                "[[load.scenario]] has its own times, which {what} cannot change: use a file with load.rate"
            );
        }
        let (sender, receiver) = watch::channel(Progress::default());
        options.progress = Some(sender);
        let shown = tokio::spawn(show_progress(self.output, receiver, what.to_owned(), options.duration));
        let result = load::run(&self.settings.scenario, &options, &self.shutdown).await;
        shown.abort();
        self.output.clear_line();
        result
    }

    pub fn load_options(&self, duration: Duration, cell_ms: u32, salt: u64) -> load::Options {
        let load = &self.settings.load;
        let pace = Pace::constant(load.rate, load.arrivals);
        let now = Clock { unix_ns: clock::now_ns(), at: Instant::now() };
        let mut options = load::Options::new(pace, duration, load.seed.wrapping_add(salt), now);
        options.users = load.users;
        options.timeout = load.timeout;
        options.cell_ms = cell_ms;
        connect_as_set(&mut options, load);
        options.workloads.clone_from(&load.workloads);
        options
    }

    /// How the run is divided; varies the load's mix from window to window where that can tell its operations apart.
    fn windows(&self, options: &mut load::Options, gaps: &mut Vec<Gap>) -> Windows {
        let load = &self.settings.load;
        let whole = Windows { warm_up: load.warm_up, length: load.duration, count: 1, varied: false };
        let sources = self.sources();
        let blind = sources.database.is_none()
            && sources.service.is_empty()
            && sources.cache.is_none()
            && self.profile == Wanted::No;
        if !load.vary || blind {
            return whole;
        }
        let operations = &self.settings.scenario.operations;
        let weights: Vec<f64> = operations.iter().map(|o| o.weight).collect();
        let sum: f64 = weights.iter().sum();
        let rates: Vec<f64> = weights.iter().map(|weight| weight / sum * load.rate).collect();
        let planned = match attribute::plan(&rates, load.duration, Duration::ZERO) {
            Ok(planned) => planned,
            Err(why) => {
                let reason =
                    format!("which endpoint costs what was not told, the load's mix was left alone: {why}");
                gaps.push(Gap::new("attribution", reason, "measure for longer (--duration)"));
                return whole;
            }
        };
        borders::vary(options, load.warm_up, &planned);
        options.uniform_samples = MAX_REQUESTS;
        Windows { length: planned.window, count: planned.rates.len(), varied: true, ..whole }
    }

    /// The service's profile over the counted part of the window; `None` where none is wanted.
    async fn profiled(&self, warm_up: Duration, duration: Duration) -> Option<Result<profiling::Taken>> {
        if self.profile == Wanted::No {
            return None;
        }
        self.pause(warm_up).await;
        let pids: Vec<u32> = self.service().iter().map(|w| w.pid).collect();
        let target = profiling::target(&pids, &self.settings.scenario.base_url);
        let ways = (self.output, self.shutdown.clone());
        Some(profiling::take(target, self.profile, duration, ways).await)
    }

    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            () = self.shutdown.wait() => {}
        }
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            database: self.database.as_ref(),
            url: self.settings.database.url.as_deref(),
            cache: self.settings.database.cache_url.as_deref(),
            service: self.service(),
        }
    }

    async fn plans(&self, statements: &[Statement], gaps: &mut Vec<Gap>) -> Vec<model::Plan> {
        let Some(database) = &self.database else { return Vec::new() };
        if statements.is_empty() {
            return Vec::new();
        }
        self.output.progress("asking the database for plans");
        let options = database::PlanOptions { may_build: self.settings.database.may_build, most: MAX_PLANS };
        let (plans, more) = database.plans(statements, &options).await;
        gaps.extend(more);
        plans
    }

    /// Takes what was received, waiting for the spans of the requests that we know of.
    async fn collect(&self, result: &LoadResult, start_ns: u64, gaps: &mut Vec<Gap>) -> Batch {
        let Some(receiver) = &self.receiver else { return Batch::default() };
        self.output.progress("waiting for the last spans");
        let wanted: HashSet<u128> = result
            .requests
            .iter()
            .filter(|r| r.error.is_none() && r.trace_id != 0 && r.due_ns >= start_ns)
            .map(|r| r.trace_id)
            .collect();
        let deadline = Instant::now() + self.settings.telemetry.patience;
        let mut batch = receiver.take();
        let mut seen: HashSet<u128> = HashSet::new();
        loop {
            seen.extend(batch.spans.trace_ids.iter().filter(|t| wanted.contains(t)));
            // Spans that went to disk are not looked at: then the deadline decides.
            let enough = seen.len() as f64 >= wanted.len() as f64 * ENOUGH_TRACES && !wanted.is_empty();
            if enough || Instant::now() >= deadline || self.shutdown.is_triggered() {
                break;
            }
            tokio::time::sleep(SPAN_POLL).await;
            join(&mut batch, receiver.take());
        }
        // Children and metrics may come an export later than the root.
        tokio::time::sleep(SPAN_POLL * 3).await;
        join(&mut batch, receiver.take());
        if batch.report.flushed_spans == 0 {
            gaps.extend(trace_gap(wanted.len(), seen.len()));
        }
        gaps.extend(batch.report.gaps());
        batch
    }

    fn run(&self, id: &str, result: &LoadResult, (start_ns, end_ns): (u64, u64), mut gaps: Vec<Gap>) -> Run {
        gaps.sort();
        gaps.dedup();
        Run {
            format: recording::FORMAT,
            id: id.to_owned(),
            target: result.target.clone(),
            start_ns,
            end_ns,
            seed: self.settings.load.seed,
            goals: self.settings.goals.iter().map(ToString::to_string).collect(),
            operations: result.operations.clone(),
            cell_ms: CELL_MS,
            environment: environment(),
            validity: result.validity.clone(),
            gaps,
            complete: result.complete,
        }
    }
}

/// One request, sent as the load will be.
pub async fn check_target(settings: &Settings) -> Result<()> {
    let url = &settings.scenario.base_url;
    let mut connection = load::http::Settings::default();
    settings.load.connection.overrides.apply(&mut connection);
    load::reach(url, &connection, Duration::from_secs(5))
        .await
        .with_context(|| format!("the service at {} does not answer; is it running?", net::display_url(url)))
}

/// How the settings say that the service is reached.
pub fn connect_as_set(options: &mut load::Options, load: &LoadSettings) {
    load.connection.overrides.apply(&mut options.connection);
    if let Some(most) = load.connection.max_in_flight {
        options.max_in_flight = most;
    }
}

/// A recording is named after its folder.
pub fn id_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn group(role: &str, pid: u32, include_children: bool) -> Watched {
    Watched { role: role.to_owned(), pid, include_children }
}

fn host_figures(host: &HostSampling, gaps: &mut Vec<Gap>) -> Vec<MetricSeries> {
    let figures = host.take();
    gaps.extend(figures.gaps);
    figures.series
}

fn scraped(scrapes: &[Scraping], gaps: &mut Vec<Gap>) -> Vec<MetricSeries> {
    let mut all = Vec::new();
    for scraping in scrapes {
        let (series, more) = scraping.take();
        all.extend(series);
        gaps.extend(more);
    }
    all
}

/// Adds what came later to what came before.
fn join(batch: &mut Batch, more: Batch) {
    batch.spans.append(&more.spans);
    batch.metrics.extend(more.metrics);
    batch.report.add(&more.report);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn trace_gap(wanted: usize, seen: usize) -> Option<Gap> {
    if wanted == 0 || seen as f64 >= wanted as f64 * ENOUGH_TRACES {
        return None;
    }
    let reason = if seen == 0 {
        format!("no trace arrived for any of {wanted} sampled requests")
    } else {
        format!("traces arrived for {seen} of {wanted} sampled requests only")
    };
    Some(Gap::new(
        "traces",
        reason,
        "point the service's OTLP exporter at Trimtab (OTEL_EXPORTER_OTLP_ENDPOINT), honour the traceparent header, and sample every request while measuring",
    ))
}

/// This machine and this program.
pub fn environment() -> model::Environment {
    let mut environment = telemetry::host::environment();
    environment.versions.insert("trimtab".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    environment
}

/// A line a second: how far, how fast, how slow.
async fn show_progress(
    output: Output,
    mut receiver: watch::Receiver<Progress>,
    what: String,
    total: Duration,
) {
    while receiver.changed().await.is_ok() {
        let now = receiver.borrow_and_update().clone();
        let left = total.saturating_sub(now.elapsed).as_secs_f64();
        let p95 = now.p95_ms.map_or_else(String::new, |ms| format!(", p95 {ms:.0} ms"));
        let errors = if now.errors > 0 { format!(", {} errors", now.errors) } else { String::new() };
        output.progress(&format!("{what}: {:.0}/s{p95}{errors}, {left:.0} s left", now.rate_per_s));
    }
}

/// The receiver that the settings ask for.
pub async fn open_receiver(settings: &Settings) -> Result<Option<Handle>> {
    match &settings.telemetry.listen {
        Some(address) => listen(address, settings.telemetry.listen_grpc.as_deref()).await.map(Some),
        None => Ok(None),
    }
}

/// Listens for OTLP over HTTP, and for gRPC where an address is given.
pub async fn listen(http: &str, grpc: Option<&str>) -> Result<Handle> {
    let mut listeners = vec![telemetry::bind(http).await.context("[telemetry] listen")?];
    if let Some(address) = grpc {
        listeners.push(telemetry::bind(address).await.context("[telemetry] listen_grpc")?);
    }
    telemetry::Receiver::start(listeners, telemetry::Options::default())
}

/// What a service's `OTEL_EXPORTER_OTLP_ENDPOINT` shall be.
pub fn endpoint(receiver: Option<&Handle>) -> Option<String> {
    receiver?.addresses().first().map(|address| format!("http://{address}"))
}

/// The database, or a gap that says why not.
async fn open_database(settings: &Settings, gaps: &mut Vec<Gap>) -> Option<Server> {
    let Some(url) = &settings.database.url else {
        gaps.push(Gap::new(
            "statements",
            "no database is configured",
            "set TRIMTAB_DATABASE_URL, or [database] url, to see statements and plans",
        ));
        return None;
    };
    match Server::connect(url).await {
        Ok(database) => Some(database),
        Err(error) => {
            gaps.push(Gap::new(
                "statements",
                format!("{error:#}"),
                "check the URL and that the database runs",
            ));
            None
        }
    }
}
