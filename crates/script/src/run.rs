//! One test from its script to its report: init, setup, scenarios, teardown, handleSummary. It has its own thread and
//! runtime, as scripts are not to delay the program nor the program them.

use crate::engine::{Engine, Kept, Realm, Sources};
use crate::log::{Level, Log};
use crate::metrics::{NoTags, Teller};
use crate::options::{Options, Overrides};
use crate::report::{self, EndpointRow, Report, exit};
use crate::runner::Outcome;
use crate::summary;
use crate::test::{HttpDefaults, Setup, Test};
use crate::user::{Phase, User};
use crate::virtual_user::{Members, VirtualUser, VirtualUsers, explain, load};
use anyhow::Context;
use load::drive::{Crew, Executor, Plan, drive, users_needed};
use load::http::{Client, Settings};
use net::Shutdown;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Tasks run before the runtime looks at sockets again.
const EVENT_INTERVAL: u32 = 31;
/// How often gauges and progress are told, as in k6.
const TICK: Duration = Duration::from_secs(1);
/// Thresholds that may end a test are judged every so many ticks, as in k6.
const JUDGE_TICKS: u32 = 2;
/// The thread's own stack: module code runs on it.
const THREAD_STACK_BYTES: usize = 16 << 20;
/// handleSummary may take so long, as in k6.
const SUMMARY_TIME: Duration = Duration::from_secs(120);

/// Module code may run so long unless told.
const INIT_LIMIT: Duration = Duration::from_secs(60);
/// A script may compute so long without waiting unless told.
const SLICE_LIMIT: Duration = Duration::from_secs(30);
/// One user may hold so much unless told.
const USER_MEMORY_BYTES: usize = 256 << 20;

/// Takes what scripts print, and warnings.
pub type Listener = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// A test while it runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub elapsed: Duration,
    /// When the last scenario's last iteration ends at the latest.
    pub latest_end: Duration,
    pub iterations: u64,
    pub active_users: u32,
    pub users: u32,
    pub requests: f64,
    pub failed_checks: u64,
    pub p95_ms: f64,
}

/// What to run and how.
#[derive(Clone)]
pub struct RunSettings {
    pub script: PathBuf,
    /// The script's text, where it is not read from its file.
    pub text: Option<String>,
    /// `__ENV`.
    pub env: BTreeMap<String, String>,
    pub overrides: Overrides,
    /// Folders below which `open` may read; empty: anywhere.
    pub open_below: Vec<PathBuf>,
    pub seed: u64,
    /// Send `traceparent` with every request.
    pub traceparent: bool,
    /// How long module code may run, and a script without waiting for anything: it would hold up all other users.
    pub init_limit: Duration,
    pub slice_limit: Duration,
    /// Memory of one virtual user; users that share a runtime share it.
    pub user_memory_bytes: usize,
    /// Time since 1970 at the start.
    pub unix_start: Duration,
    pub listener: Listener,
    pub progress: Option<watch::Sender<Progress>>,
    /// Put over what the script's options say about connections.
    pub connection: load::http::Overrides,
    /// Where each sample is told while the test runs.
    pub feed: Option<load::out::Feed>,
}

impl RunSettings {
    /// Nothing printed, no variables, `open` may read anything.
    #[must_use]
    pub fn new(script: impl Into<PathBuf>) -> Self {
        Self {
            script: script.into(),
            text: None,
            env: BTreeMap::new(),
            overrides: Overrides::default(),
            open_below: Vec::new(),
            seed: 0,
            traceparent: true,
            init_limit: INIT_LIMIT,
            slice_limit: SLICE_LIMIT,
            user_memory_bytes: USER_MEMORY_BYTES,
            unix_start: Duration::ZERO,
            listener: Arc::new(|_, _| {}),
            progress: None,
            connection: load::http::Overrides::default(),
            feed: None,
        }
    }
}

/// Why there is no report: what to say, and k6's exit code.
#[derive(Debug)]
pub struct Failed {
    pub exit_code: u8,
    pub error: anyhow::Error,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl std::error::Error for Failed {}

fn failed(exit_code: u8) -> impl Fn(anyhow::Error) -> Failed {
    move |error| Failed { exit_code, error }
}

/// Runs a script. `shutdown` ends it early, with a report; dropping the future ends it without.
///
/// # Errors
/// The script cannot be loaded, its options make no sense, or setup fails.
pub async fn run(settings: RunSettings, shutdown: &Shutdown) -> Result<Report, Failed> {
    let dropped = EndOnDrop(Shutdown::new());
    let (asked, given_up) = (shutdown.clone(), dropped.0.clone());
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("script".to_owned())
        .stack_size(THREAD_STACK_BYTES)
        .spawn(move || {
            let result = on_own_runtime(&settings, asked, given_up);
            // Nobody listens where the caller gave up.
            drop(done.send(result));
        })
        .context("no thread for the script")
        .map_err(failed(exit::INVALID_CONFIG))?;
    let result = result.await.context("the script's thread ended without a result");
    result.map_err(failed(exit::SCRIPT_EXCEPTION))?
}

struct EndOnDrop(Shutdown);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

fn on_own_runtime(settings: &RunSettings, asked: Shutdown, given_up: Shutdown) -> Result<Report, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()
        .context("no runtime for the script")
        .map_err(failed(exit::INVALID_CONFIG))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let prepared = prepare(settings)?;
        let control = prepared.test.control.clone();
        let stopper = tokio::task::spawn_local(async move {
            tokio::select! {
                () = asked.wait() => {}
                () = given_up.wait() => {}
            }
            control.stop(Duration::ZERO);
        });
        let report = Box::pin(prepared.run(settings)).await;
        stopper.abort();
        report
    })
}

/// A test whose script and options are read.
struct Prepared {
    test: Rc<Test>,
    users: Rc<VirtualUsers>,
    options: Options,
    plans: Vec<Plan>,
    exports: Vec<String>,
    /// Runs setup, teardown and handleSummary.
    host: VirtualUser,
}

/// Reads the options with a first evaluation of the script, and then makes the test that they ask for.
fn prepare(settings: &RunSettings) -> Result<Prepared, Failed> {
    let listener = Arc::clone(&settings.listener);
    let log = || {
        let listener = Arc::clone(&listener);
        Log::new(Rc::new(move |level, text: &str| listener(level, text)))
    };
    let sources = Sources::new(&settings.script, settings.text.clone());
    let setup = Setup {
        env: settings.env.clone(),
        folder: sources.folder(),
        open_below: settings.open_below.clone(),
        seed: settings.seed,
        traceparent: settings.traceparent,
        init_limit: settings.init_limit,
        slice_limit: settings.slice_limit,
        user_memory_bytes: settings.user_memory_bytes,
        ..Setup::default()
    };
    let invalid = failed(exit::INVALID_CONFIG);
    let client = Client::new(Settings::default()).map_err(&invalid)?;
    let first = Test::new(setup.clone(), client, log(), settings.unix_start);
    let (options_json, exports) = first_look(&first, &sources)?;
    sources.settle();
    let raw: Value = serde_json::from_str(&options_json).unwrap_or(Value::Null);
    let mut options = Options::read(&raw, &settings.overrides, &settings.env).map_err(&invalid)?;
    settings.connection.apply(&mut options.settings);
    let options_json = options.in_force.to_string();
    let setup = Setup {
        http: HttpDefaults { ..options.http.clone() },
        network: options.settings.clone(),
        tags: options.tags.clone(),
        keep_cookies: options.keep_cookies,
        fresh_connections: options.fresh_connections,
        options_json,
        share: options.share,
        ..setup
    };
    let client = Client::new(options.settings.clone()).map_err(&invalid)?;
    let test = Test::new(setup, client, log(), settings.unix_start);
    test.metrics.teller.replace(settings.feed.as_ref().map(|feed| Teller::new(feed, settings.unix_start)));
    // What the first look has read is not read again.
    test.shared.replace(first.shared.take());
    test.files.replace(first.files.take());
    for name in &options.unknown {
        test.log.say(Level::Warning, &format!("options.{name}: there is no such option, it is ignored"));
    }
    for name in &options.without_effect {
        test.log.say(Level::Warning, &format!("options.{name} has no effect here"));
    }
    let users = Rc::new(VirtualUsers::new(&test, &sources, options.min_iteration));
    let engine = Engine::new(Rc::clone(&sources), settings.user_memory_bytes).map_err(&invalid)?;
    let host =
        VirtualUser::new(&users, &engine, User::new(0, &test)).map_err(failed(exit::SCRIPT_EXCEPTION))?;
    for scenario in &options.scenarios {
        if !exports.contains(&scenario.exec) {
            let error = anyhow::anyhow!(
                "scenario `{}`: the script exports no function `{}`",
                scenario.name,
                scenario.exec
            );
            return Err(invalid(error));
        }
    }
    for (name, thresholds) in &options.thresholds {
        let watched = test.metrics.watch(name, thresholds.clone());
        watched.map_err(|why| invalid(anyhow::anyhow!("options.thresholds.{name}: {why}")))?;
    }
    let plans: Vec<Plan> = options.scenarios.iter().map(|scenario| scenario.plan.clone()).collect();
    // Set once, here.
    let _first = test.scenarios.set(options.scenarios.clone()).is_ok();
    Ok(Prepared { test, users, options, plans, exports, host })
}

/// Evaluates the script once: its options as JSON, and the names of the functions that it exports.
fn first_look(test: &Rc<Test>, sources: &Rc<Sources>) -> Result<(String, Vec<String>), Failed> {
    let broken = failed(exit::SCRIPT_EXCEPTION);
    let engine = Engine::new(Rc::clone(sources), test.setup.user_memory_bytes).map_err(&broken)?;
    let user = User::new(0, test);
    let realm = Realm::new(&engine, &user).map_err(&broken)?;
    load(&realm, &user).map_err(&broken)?;
    let read = engine.limited(test.setup.init_limit, || {
        realm.with(&user, |ctx| exports(ctx, &realm).map_err(|error| crate::engine::raised(ctx, &error)))
    });
    read.map_err(|raised| {
        let why = format!("the script's exports and options cannot be read: {}", explain(&raised));
        broken(anyhow::anyhow!(
            "{why}{}",
            raised.place.map(|place| sources.caret(&place)).unwrap_or_default()
        ))
    })
}

/// The options as JSON, and the names of functions. Getters of the script's may run.
fn exports(ctx: &rquickjs::Ctx<'_>, realm: &Realm) -> rquickjs::Result<(String, Vec<String>)> {
    let script = realm.kept(ctx, Kept::Script)?;
    let mut exports = Vec::new();
    let mut options = "{}".to_owned();
    for entry in
        script.as_object().into_iter().flat_map(|script| script.props::<String, rquickjs::Value<'_>>())
    {
        let (name, value) = entry?;
        if value.is_function() {
            exports.push(name);
        } else if name == "options"
            && let Some(json) = ctx.json_stringify(value)?
        {
            options = json.to_string()?;
        }
    }
    Ok((options, exports))
}

impl Prepared {
    async fn run(mut self, settings: &RunSettings) -> Result<Report, Failed> {
        let crew = Crew::new(Members(Rc::clone(&self.users)));
        let users = self.test.control.share().of_users(users_needed(&self.plans)).max(1);
        crew.prepare(users).await.map_err(failed(exit::SCRIPT_EXCEPTION))?;
        if !settings.overrides.no_setup && self.exports.iter().any(|name| name == "setup") {
            self.set_up().await?;
        }
        let started = Instant::now();
        let control = self.test.control.clone();
        let ticks = tokio::task::spawn_local(tick(
            Rc::clone(&self.test),
            latest_end(&self.plans),
            settings.progress.clone(),
        ));
        let driven = drive(&crew, &self.plans, &control).await;
        let elapsed = started.elapsed();
        ticks.abort();
        driven.map_err(failed(exit::SCRIPT_EXCEPTION))?;
        sample(&self.test);
        drop(crew);
        let teardown =
            if settings.overrides.no_teardown || !self.exports.iter().any(|name| name == "teardown") {
                None
            } else {
                self.tear_down().await
            };
        Ok(Box::pin(self.report(elapsed, teardown)).await)
    }

    /// Runs a function of the script outside of any scenario; `Err` with why.
    async fn host_turn(&mut self, phase: Phase, limit: Duration) -> Result<Option<String>, Option<String>> {
        self.host.user.phase.set(phase);
        let name = match phase {
            Phase::Setup => "::setup",
            Phase::Teardown => "::teardown",
            _ => "",
        };
        self.host.user.group.replace(name.to_owned());
        let ends = Instant::now() + limit;
        self.host.user.ends.set(Some(ends));
        match tokio::time::timeout(limit, self.host.turn()).await {
            Err(_) => Err(None),
            Ok(None) => Err(Some("the script ended".to_owned())),
            // It was interrupted in its computing.
            Ok(Some(Outcome { failure: Some(_), .. })) if Instant::now() >= ends => Err(None),
            Ok(Some(outcome)) => match outcome.failure {
                Some(raised) => Err(Some(explain(&raised))),
                None => Ok(outcome.returned),
            },
        }
    }

    async fn set_up(&mut self) -> Result<(), Failed> {
        let limit = self.options.setup_timeout;
        match self.host_turn(Phase::Setup, limit).await {
            Ok(returned) => {
                self.users.setup_data.replace(returned);
                Ok(())
            }
            Err(None) => {
                let error =
                    anyhow::anyhow!("setup() took longer than {} s: see setupTimeout", limit.as_secs_f64());
                Err(failed(exit::SETUP_TIMEOUT)(error))
            }
            Err(Some(why)) => {
                let aborted = self.test.aborted.borrow().is_some();
                let code = if aborted { exit::SCRIPT_ABORTED } else { exit::SCRIPT_EXCEPTION };
                Err(failed(code)(anyhow::anyhow!("setup() failed: {why}")))
            }
        }
    }

    /// The exit code where it went wrong.
    async fn tear_down(&mut self) -> Option<u8> {
        let data = self.users.setup_data.borrow().clone();
        if let Err(error) = self.host.give_data(data.as_deref()) {
            self.test.log.say(Level::Error, &format!("teardown: {error}"));
        }
        match self.host_turn(Phase::Teardown, self.options.teardown_timeout).await {
            Ok(_) => None,
            Err(None) => {
                self.test.log.say(Level::Error, "teardown() took too long: see teardownTimeout");
                Some(exit::TEARDOWN_TIMEOUT)
            }
            Err(Some(why)) => {
                self.test.log.say(Level::Error, &format!("teardown() failed: {why}"));
                Some(exit::SCRIPT_EXCEPTION)
            }
        }
    }

    async fn report(mut self, elapsed: Duration, teardown: Option<u8>) -> Report {
        let judged = self.test.metrics.judge(elapsed);
        let setup_data = self.users.setup_data.borrow().clone();
        let setup_data: Value =
            setup_data.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let data = summary::data(&self.test.metrics, &self.options.trend_stats, elapsed, &setup_data);
        let outputs = self.outputs(&data).await;
        let is_open = self.plans.iter().all(|plan| matches!(plan.executor, Executor::Arrivals { .. }));
        let aborted = self.test.aborted.borrow().clone();
        let threshold_abort = aborted.as_deref().is_some_and(|why| why.starts_with(BY_THRESHOLD));
        let exit_code = match () {
            () if aborted.is_some() && !threshold_abort => exit::SCRIPT_ABORTED,
            () if !judged.failed.is_empty() => exit::THRESHOLDS_FAILED,
            () if self.test.failed.get() => exit::MARKED_AS_FAILED,
            () if let Some(code) = teardown => code,
            () if self.test.control.is_stopped() && aborted.is_none() => exit::EXTERNAL_ABORT,
            () => 0,
        };
        let rows = self.test.endpoints.rows();
        let (_, silence) = self.test.silence.get();
        Report {
            exit_code,
            data,
            endpoints: rows.into_iter().map(|(name, row)| EndpointRow::new(name, &row)).collect(),
            failed_thresholds: judged.failed,
            outputs,
            doubts: report::doubts(&self.test, silence),
            notes: report::notes(is_open),
            ended_early: aborted,
            exceptions: self.users.failures.get(),
            interrupted: self.test.control.counts().interrupted,
        }
    }

    /// What `handleSummary` wants written where.
    async fn outputs(&mut self, data: &Value) -> Vec<(String, String)> {
        if !self.exports.iter().any(|name| name == "handleSummary") {
            return Vec::new();
        }
        if self.host.give_data(Some(&data.to_string())).is_err() {
            return Vec::new();
        }
        let returned = match self.host_turn(Phase::Summary, SUMMARY_TIME).await {
            Ok(returned) => returned,
            Err(why) => {
                let why = why.unwrap_or_else(|| "it took too long".to_owned());
                self.test.log.say(Level::Error, &format!("handleSummary() failed: {why}"));
                return Vec::new();
            }
        };
        let value: Value = returned.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or(Value::Null);
        let entries = value.as_object().into_iter().flatten();
        entries
            .filter_map(|(place, content)| content.as_str().map(|text| (place.clone(), text.to_owned())))
            .collect()
    }
}

const BY_THRESHOLD: &str = "a threshold ended the test";

fn latest_end(plans: &[Plan]) -> Duration {
    plans.iter().map(|plan| plan.start + plan.executor.duration()).max().unwrap_or_default()
}

/// Gauges as k6 samples them.
fn sample(test: &Test) {
    let metrics = &test.metrics;
    metrics.add(metrics.builtin.vus, f64::from(test.control.counts().active), &NoTags);
    metrics.add(metrics.builtin.vus_max, f64::from(test.users.get()), &NoTags);
}

async fn tick(test: Rc<Test>, latest_end: Duration, progress: Option<watch::Sender<Progress>>) {
    let started = Instant::now();
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    interval.tick().await;
    for count in 1_u32.. {
        interval.tick().await;
        sample(&test);
        if let Some(teller) = &mut *test.metrics.teller.borrow_mut() {
            teller.flush();
        }
        let elapsed = started.elapsed();
        if count % JUDGE_TICKS == 0
            && let Some(metric) = test.metrics.judge(elapsed).abort
        {
            test.abort(&format!("{BY_THRESHOLD}: {metric}"));
        }
        if let Some(progress) = &progress {
            progress.send_replace(now(&test, elapsed, latest_end));
        }
    }
}

fn now(test: &Test, elapsed: Duration, latest_end: Duration) -> Progress {
    use crate::metrics::Sink;
    let counts = test.control.counts();
    let metrics = &test.metrics;
    let requests = metrics.read(metrics.builtin.http_reqs, |sink| match sink {
        Sink::Counter { sum, .. } => *sum,
        _ => 0.0,
    });
    let failed_checks = metrics.read(metrics.builtin.checks, |sink| match sink {
        Sink::Rate { passes, total } => total - passes,
        _ => 0,
    });
    let p95_ms = metrics.read(metrics.builtin.http_req_duration, |sink| match sink {
        Sink::Trend(trend) => trend.quantile(0.95),
        _ => 0.0,
    });
    Progress {
        elapsed,
        latest_end,
        iterations: counts.completed,
        active_users: counts.active,
        users: test.users.get(),
        requests,
        failed_checks,
        p95_ms,
    }
}
