//! Brings when, what and how together: starts each arrival when it is due, waits for what is in flight, counts all.
//! It has its own thread and runtime, so that a busy program does not make it late.

use crate::client::{Client, Failure, Outcome, TraceIds};
use crate::options::nanos;
use crate::record::{Arrival, Progress, Record};
use crate::schedule::Schedule;
use crate::timer::Timer;
use crate::validity::{Figures, judge};
use crate::{Arrivals, LoadResult, Options, Requests, Scenario};
use anyhow::{Context, Result, anyhow};
use model::{ErrorClass, Histogram};
use net::{Connector, Shutdown, Target};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::HashMap;
use std::iter::Peekable;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};

/// Arrivals started in a row before others get a turn.
const BURST: usize = 32;
/// Tasks run before the runtime looks at sockets and timers again: fewer than tokio's 61 keep starts in time.
const EVENT_INTERVAL: u32 = 16;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Drives the scenario and returns what was measured, also where `shutdown` ends it early.
/// Dropping the future ends the load.
///
/// # Errors
/// A scenario or options that make no sense, or no resources for a thread. A service that fails is no error: its
/// failures are counted.
pub async fn run(scenario: &Scenario, options: &Options, shutdown: &Shutdown) -> Result<LoadResult> {
    options.check(scenario.operations.len()).context("load options")?;
    let requests = Requests::new(scenario, options.seed).context("scenario")?;
    let operations: Vec<String> =
        scenario.operations.iter().map(|operation| operation.name.clone()).collect();
    let target = Target::parse(&scenario.base_url)?;
    let connector = Connector::new(&options.tls, options.version)?;
    let client = Client::new(target.clone(), connector, options.timeout);

    let dropped = EndOnDrop(Shutdown::new());
    let ends = Ends { asked: shutdown.clone(), dropped: dropped.0.clone() };
    let options = options.clone();
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            let result = on_own_runtime(operations, &target, requests, client, &options, &ends);
            // Nobody listens where the caller gave up.
            drop(done.send(result));
        })
        .context("no thread for the load")?;
    result.await.context("the load's thread ended without a result")?
}

struct EndOnDrop(Shutdown);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.trigger();
    }
}

struct Ends {
    asked: Shutdown,
    dropped: Shutdown,
}

impl Ends {
    async fn any(&self) {
        tokio::select! {
            () = self.asked.wait() => {}
            () = self.dropped.wait() => {}
        }
    }
}

fn on_own_runtime(
    operations: Vec<String>,
    target: &Target,
    requests: Requests,
    client: Client,
    options: &Options,
    ends: &Ends,
) -> Result<LoadResult> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()
        .context("no runtime for the load")?;
    runtime.block_on(async {
        let timer = Timer::new()?;
        let before = Schedule::of_this_thread();
        let mut drive = Drive::new(operations.len(), requests, client, options);
        let window = drive.start_arrivals(timer, ends).await?;
        let wall = drive.started.elapsed();
        let schedule = before.zip(Schedule::of_this_thread()).map(|(before, after)| after.since(before));
        Ok(drive.finish(operations, target.display(), window, schedule.map(|s| (s, wall))))
    })
}

/// A request that was started and has not ended.
struct Started {
    operation: u32,
    due: Duration,
    at: Duration,
    trace: TraceIds,
    sent_bytes: u64,
}

/// The state of a run.
struct Drive<'a> {
    options: &'a Options,
    client: Arc<Client>,
    requests: Requests,
    arrivals: Peekable<Arrivals>,
    tasks: JoinSet<Outcome>,
    in_flight: HashMap<Id, Started>,
    record: Record,
    started: Instant,
    started_ns: u64,
    started_count: u64,
    held_back: u64,
    stale_retries: u64,
    lateness: Histogram,
    /// When the bound of requests in flight last let go.
    free_since: Duration,
    trace_random: Xoshiro256PlusPlus,
    last_progress: Progress,
}

impl<'a> Drive<'a> {
    fn new(operations: usize, requests: Requests, client: Client, options: &'a Options) -> Self {
        let started = Instant::now();
        let started_ns = options.clock.unix_ns(started);
        Self {
            options,
            client: Arc::new(client),
            requests,
            arrivals: options.pace.arrivals(options.seed).peekable(),
            tasks: JoinSet::new(),
            in_flight: HashMap::new(),
            record: Record::new(operations, started_ns, options),
            started,
            started_ns,
            started_count: 0,
            held_back: 0,
            stale_retries: 0,
            lateness: Histogram::default(),
            free_since: Duration::ZERO,
            // Not from the seed alone: two runs must not share trace ids in one trace store.
            trace_random: Xoshiro256PlusPlus::seed_from_u64(options.seed ^ started_ns),
            last_progress: Progress::default(),
        }
    }

    /// Runs to the end and returns the window in which arrivals were due.
    async fn start_arrivals(&mut self, mut timer: Timer, ends: &Ends) -> Result<Duration> {
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut ended = pin!(ends.any());
        let last_start = self.options.duration + self.options.timeout;
        loop {
            self.start_due();
            let next = self.next_due();
            let elapsed = self.started.elapsed();
            let idle = self.tasks.is_empty() && next.is_none() && elapsed >= self.options.duration;
            if idle || elapsed > last_start {
                break;
            }
            let has_room = self.tasks.len() < self.options.max_in_flight;
            let end = if elapsed < self.options.duration { self.options.duration } else { last_start };
            let wake = self.started + next.unwrap_or(end);
            tokio::select! {
                biased;
                () = &mut ended => return self.end_early().await,
                Some(done) = self.tasks.join_next_with_id() => self.take_all(done)?,
                _ = tick.tick() => self.tell(),
                () = timer.until(wake), if has_room => {}
            }
        }
        self.await_tasks(self.options.timeout).await?;
        let window = self.options.duration;
        self.count_not_started(window, self.started.elapsed());
        self.tell();
        Ok(window)
    }

    /// Due time of the next arrival of the window.
    fn next_due(&mut self) -> Option<Duration> {
        self.arrivals.peek().copied().filter(|due| *due < self.options.duration)
    }

    /// Starts what is due, as far as the bound allows.
    fn start_due(&mut self) {
        for _ in 0..BURST {
            let Some(due) = self.next_due() else { return };
            let now = self.started.elapsed();
            if due > now || self.tasks.len() >= self.options.max_in_flight {
                return;
            }
            self.arrivals.next();
            self.start(due, now);
        }
    }

    fn start(&mut self, due: Duration, now: Duration) {
        self.held_back += u64::from(due < self.free_since);
        self.lateness.record(nanos(now - due.max(self.free_since)));
        self.started_count += 1;
        let prepared = self.requests.next_request();
        let trace = TraceIds {
            trace: self.trace_random.random::<u128>().max(1),
            span: self.trace_random.random::<u64>().max(1),
        };
        let (operation, sent_bytes) = (prepared.operation, prepared.body.len() as u64);
        let client = Arc::clone(&self.client);
        let task = self.tasks.spawn(async move { client.send(&prepared, trace).await });
        self.in_flight.insert(task.id(), Started { operation, due, at: now, trace, sent_bytes });
    }

    /// Takes in one ended request and all others that have ended.
    fn take_all(&mut self, first: Result<(Id, Outcome), tokio::task::JoinError>) -> Result<()> {
        let was_full = self.tasks.len() + 1 >= self.options.max_in_flight;
        let mut next = Some(first);
        while let Some(done) = next {
            let (id, outcome) = done.map_err(|error| anyhow!("a request's task failed: {error}"))?;
            self.take(id, outcome);
            next = self.tasks.try_join_next_with_id();
        }
        if was_full {
            self.free_since = self.started.elapsed();
        }
        Ok(())
    }

    fn take(&mut self, id: Id, outcome: Outcome) {
        let Some(started) = self.in_flight.remove(&id) else { return };
        self.stale_retries += u64::from(outcome.retried);
        self.record.take(&Arrival {
            operation: started.operation,
            due: started.due,
            done: outcome.done.saturating_duration_since(self.started),
            service: outcome.sent.map(|sent| outcome.done.saturating_duration_since(sent)),
            status: outcome.status,
            failure: outcome.failure,
            sent_bytes: outcome.sent_bytes,
            received_bytes: outcome.received_bytes,
            trace_id: started.trace.trace,
        });
    }

    /// What is in flight may go on for the grace; what is due and not started is counted.
    async fn end_early(&mut self) -> Result<Duration> {
        let window = self.started.elapsed().min(self.options.duration);
        self.count_not_started(window, window);
        self.await_tasks(self.options.grace).await?;
        self.tell();
        Ok(window)
    }

    /// Waits for the requests in flight; those that do not end in time are counted as timed out.
    async fn await_tasks(&mut self, limit: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + limit;
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.tasks.join_next_with_id()).await {
            self.take_all(done)?;
        }
        self.tasks.abort_all();
        let now = self.started.elapsed();
        let mut cut_off: Vec<Started> = self.in_flight.drain().map(|(_, started)| started).collect();
        cut_off.sort_by_key(|started| started.due);
        for started in cut_off {
            let text =
                format!("no complete response when the run ended, {:?} after sending", now - started.at);
            self.record.take(&Arrival {
                operation: started.operation,
                due: started.due,
                done: now,
                service: Some(now - started.at),
                status: 0,
                failure: Some(Failure { class: ErrorClass::Timeout, text }),
                sent_bytes: started.sent_bytes,
                received_bytes: 0,
                trace_id: started.trace.trace,
            });
        }
        Ok(())
    }

    /// Counts arrivals of the window that were never started with the time that they waited, which is a lower bound.
    fn count_not_started(&mut self, window: Duration, now: Duration) {
        while let Some(due) = self.arrivals.next_if(|due| *due < window) {
            let prepared = self.requests.next_request();
            let text = format!("{} requests were in flight already", self.options.max_in_flight);
            self.record.take(&Arrival {
                operation: prepared.operation,
                due,
                done: now,
                service: None,
                status: 0,
                failure: Some(Failure { class: ErrorClass::NotStarted, text }),
                sent_bytes: 0,
                received_bytes: 0,
                trace_id: 0,
            });
        }
    }

    fn tell(&mut self) {
        let Some(listener) = &self.options.progress else { return };
        let elapsed = self.started.elapsed();
        let seconds = (elapsed - self.last_progress.elapsed).as_secs_f64();
        let completed = self.record.completed;
        let progress = Progress {
            elapsed,
            offered: self.started_count + self.record.not_started,
            completed,
            errors: self.record.error_count,
            in_flight: self.tasks.len(),
            rate_per_s: (completed - self.last_progress.completed) as f64 / seconds.max(1e-3),
            p50_ms: self.record.response.quantile_ms(0.5),
            p95_ms: self.record.response.quantile_ms(0.95),
        };
        self.last_progress = progress.clone();
        listener.send_replace(progress);
    }

    fn finish(
        self,
        operations: Vec<String>,
        target: String,
        window: Duration,
        schedule: Option<(Schedule, Duration)>,
    ) -> LoadResult {
        let share = |ns: u64, wall: Duration| ns as f64 / wall.as_nanos().max(1) as f64;
        let (completed, not_started) = (self.record.completed, self.record.not_started);
        let response_p95_ms = self.record.response.quantile_ms(0.95);
        let recorded = self.record.finish();
        let figures = Figures {
            offered: self.started_count + not_started,
            not_started,
            held_back: self.held_back,
            lateness_p99_ms: self.lateness.quantile_ms(0.99),
            response_p95_ms,
            cpu_share: schedule.map(|(s, wall)| share(s.on_cpu_ns, wall)),
            run_queue_share: schedule.map(|(s, wall)| share(s.waited_ns, wall)),
            samples: operations.iter().cloned().zip(recorded.totals.iter().map(|t| t.offered)).collect(),
        };
        LoadResult {
            operations,
            target,
            started_ns: self.started_ns,
            started: self.started,
            window,
            complete: window >= self.options.duration,
            cell_ms: self.options.cell_ms,
            cells: recorded.cells,
            requests: recorded.requests,
            errors: recorded.errors,
            totals: recorded.totals,
            offered: figures.offered,
            started_count: self.started_count,
            completed,
            held_back: self.held_back,
            stale_retries: self.stale_retries,
            connections: self.client.connections(),
            lateness: self.lateness,
            validity: judge(&figures),
            figures,
        }
    }
}
