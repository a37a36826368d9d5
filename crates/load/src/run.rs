//! Brings when, what and how together: visitors of a scenario, driven by its pace or in a closed model, counted by a
//! record. It has its own thread and runtime, so that a busy program does not make it late.

use crate::drive::{Control, Crew, Driven, Plan, drive};
use crate::http::Client;
use crate::record::{Progress, Record};
use crate::requests::{Requests, blank};
use crate::schedule::Schedule;
use crate::tell::Teller;
use crate::validity::{Figures, judge};
use crate::visitor::{Book, Key, Visitors};
use crate::{LoadResult, Options, Scenario};
use anyhow::{Context, Result};
use model::Histogram;
use net::{Shutdown, Target};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// Tasks run before the runtime looks at sockets and timers again: fewer than tokio's 61 keep starts in time.
const EVENT_INTERVAL: u32 = 16;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// From so many requests on, it is told if they were all the same.
const MIN_KEYS: u64 = 100;

/// Drives the scenario and returns what was measured, also where `shutdown` ends it early.
/// Dropping the future ends the load.
///
/// # Errors
/// A scenario or options that make no sense, a data file that cannot be read, or no resources for a thread. A service
/// that fails is no error: its failures are counted.
pub async fn run(scenario: &Scenario, options: &Options, shutdown: &Shutdown) -> Result<LoadResult> {
    scenario.check().context("scenario")?;
    let operations = scenario.operations.iter().map(|operation| operation.steps().len()).sum();
    options.check(operations).context("load options")?;

    let dropped = EndOnDrop(Shutdown::new());
    let ends = Ends { asked: shutdown.clone(), dropped: dropped.0.clone() };
    let (scenario, options) = (scenario.clone(), options.clone());
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            // Nobody listens where the caller gave up.
            drop(done.send(on_own_runtime(&scenario, &options, &ends)));
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

fn on_own_runtime(scenario: &Scenario, options: &Options, ends: &Ends) -> Result<LoadResult> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()
        .context("no runtime for the load")?;
    LocalSet::new().block_on(&runtime, async {
        let run = Run::new(scenario, options)?;
        Box::pin(run.finished(ends)).await
    })
}

/// One run and its parts.
struct Run<'a> {
    options: &'a Options,
    target: String,
    plans: Vec<Plan>,
    client: Client,
    book: Rc<RefCell<Book>>,
    crew: Crew<Visitors>,
    control: Control,
}

impl<'a> Run<'a> {
    fn new(scenario: &Scenario, options: &'a Options) -> Result<Self> {
        let mut requests =
            Requests::new(scenario, &options.workloads, options.seed, options.share).context("scenario")?;
        requests.vary(&options.mix);
        let operations = requests.names().len();
        let client = Client::new(options.connection.clone())?;
        let plans = options.plans();
        let teller = options.feed.as_ref().map(|feed| {
            let tags = |at: usize| options.workloads.get(at).map(|w| w.tags.clone()).unwrap_or_default();
            let scenarios = plans.iter().enumerate().map(|(at, plan)| (plan.name.clone(), tags(at)));
            Teller::new(feed, options.clock, requests.names(), scenarios)
        });
        let started_ns = options.clock.unix_ns(Instant::now());
        let book = Rc::new(RefCell::new(Book {
            requests,
            record: Record::new(operations, started_ns, options),
            keys: vec![Key::None; operations],
            // Not from the seed alone: two runs must not share trace ids in one trace store.
            trace_random: Xoshiro256PlusPlus::seed_from_u64(
                options.seed ^ started_ns ^ u64::from(options.share.index()) << 32,
            ),
            lateness: Histogram::default(),
            started_count: 0,
            held_back: 0,
            in_flight: 0,
            teller,
        }));
        let control = Control::of_share(options.share);
        let crew = Crew::new(Visitors {
            book: Rc::clone(&book),
            control: control.clone(),
            pool: client.pool(),
            blank: blank(scenario, options.timeout)?,
            max_in_flight: options.max_in_flight,
        });
        let target = Target::parse(&scenario.base_url)?.display();
        Ok(Self { options, target, plans, client, book, crew, control })
    }

    async fn finished(self, ends: &Ends) -> Result<LoadResult> {
        let before = Schedule::of_this_thread();
        let began = Instant::now();
        let driven = drive(&self.crew, &self.plans, &self.control);
        let watched = async {
            ends.any().await;
            let ended = Instant::now();
            self.control.stop(self.options.grace);
            ended
        };
        let (driven, ended) = self.watch(driven, watched).await;
        let driven = driven?;
        let wall = began.elapsed();
        let schedule = before.zip(Schedule::of_this_thread()).map(|(before, after)| after.since(before));
        let started = self.control.started().unwrap_or(began);
        let planned = if self.options.workloads.is_empty() {
            self.options.duration
        } else {
            ended_after(&self.plans, &driven)
        };
        let early =
            ended.map(|ended| ended.saturating_duration_since(started)).filter(|after| *after < planned);
        let window = early.unwrap_or(planned);
        self.tell(Duration::ZERO, &mut Progress::default());
        Ok(self.finish(started, (window, early.is_none()), schedule.map(|schedule| (schedule, wall))))
    }

    /// Waits for the end of the load and tells of its progress; when it was asked to end, if it was.
    async fn watch<D>(
        &self,
        driven: impl Future<Output = D>,
        ended: impl Future<Output = Instant>,
    ) -> (D, Option<Instant>) {
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut driven, mut ended) = (std::pin::pin!(driven), std::pin::pin!(ended));
        let mut early = None;
        let mut last = Progress::default();
        loop {
            tokio::select! {
                biased;
                at = &mut ended, if early.is_none() => early = Some(at),
                done = &mut driven => return (done, early),
                _ = tick.tick() => {
                    let elapsed = self.control.started().map_or(Duration::ZERO, |started| started.elapsed());
                    self.tell(elapsed, &mut last);
                }
            }
        }
    }

    fn tell(&self, elapsed: Duration, last: &mut Progress) {
        if let Some(teller) = &mut self.book.borrow_mut().teller {
            if let Some(started) = self.control.started() {
                teller.begin(started);
            }
            teller.tick(self.control.counts().active);
        }
        let Some(listener) = &self.options.progress else { return };
        let elapsed =
            if elapsed.is_zero() { self.control.started().map_or(elapsed, |s| s.elapsed()) } else { elapsed };
        let book = self.book.borrow();
        let seconds = (elapsed.saturating_sub(last.elapsed)).as_secs_f64();
        let completed = book.record.completed;
        let progress = Progress {
            elapsed,
            offered: book.started_count + book.record.not_started,
            completed,
            errors: book.record.error_count,
            in_flight: book.in_flight,
            rate_per_s: (completed - last.completed) as f64 / seconds.max(1e-3),
            p50_ms: book.record.response.quantile_ms(0.5),
            p95_ms: book.record.response.quantile_ms(0.95),
        };
        *last = progress.clone();
        listener.send_replace(progress);
    }

    fn finish(
        self,
        started: Instant,
        (window, complete): (Duration, bool),
        schedule: Option<(Schedule, Duration)>,
    ) -> LoadResult {
        let Self { options, target, client, book, crew, control, .. } = self;
        drop((crew, control));
        // All tasks of the run have ended.
        let Ok(book) = Rc::try_unwrap(book) else { unreachable!("visitors ended with their crew") };
        let book = book.into_inner();
        let operations = book.requests.names().to_vec();
        let share = |ns: u64, wall: Duration| ns as f64 / wall.as_nanos().max(1) as f64;
        let (completed, not_started) = (book.record.completed, book.record.not_started);
        let response_p95_ms = book.record.response.quantile_ms(0.95);
        let prepared_ns = book.record.started_ns;
        let quiet_end = window.saturating_sub(book.record.last_done);
        let silence = book.record.silence.max(quiet_end).min(window);
        let mut recorded = book.record.finish();
        // What has gathered is handed over.
        drop(book.teller);
        let started_ns = options.clock.unix_ns(started);
        // The record began a little before the first arrival could be due.
        let early_ns = started_ns.saturating_sub(prepared_ns);
        let figures = Figures {
            offered: book.started_count + not_started,
            not_started,
            held_back: book.held_back,
            lateness_p99_ms: book.lateness.quantile_ms(0.99),
            response_p95_ms,
            cpu_share: schedule.map(|(s, wall)| share(s.on_cpu_ns, wall)),
            run_queue_share: schedule.map(|(s, wall)| share(s.waited_ns, wall)),
            samples: operations.iter().cloned().zip(recorded.totals.iter().map(|t| t.offered)).collect(),
            warm_up_ms: options.judge_warm_up.then(|| recorded.warm_up_ms()).flatten(),
            one_key: one_key(&operations, &book.keys, &recorded.totals),
            closed: options
                .closed_users()
                .map(|users| (users, silence.as_secs_f64() / window.as_secs_f64().max(1e-9))),
        };
        for kept in &mut recorded.requests {
            kept.due_ns += early_ns;
        }
        LoadResult {
            operations,
            target,
            started_ns,
            started,
            window,
            complete,
            cell_ms: options.cell_ms,
            cells: recorded.cells,
            requests: recorded.requests,
            checks: recorded.checks,
            users: options.closed_users(),
            longest_silence: silence,
            errors: recorded.errors,
            totals: recorded.totals,
            offered: figures.offered,
            started_count: book.started_count,
            completed,
            held_back: book.held_back,
            stale_retries: client.retried(),
            connections: client.opened(),
            cpu_s: schedule.map(|(schedule, _)| schedule.on_cpu_ns as f64 / 1e9),
            lateness: book.lateness,
            validity: judge(&figures),
            figures,
        }
    }
}

/// When the last scenario had nothing more to begin, after the start.
fn ended_after(plans: &[Plan], driven: &[Driven]) -> Duration {
    let ends = plans.iter().zip(driven).map(|(plan, driven)| plan.start + driven.window);
    ends.max().unwrap_or_default().max(Duration::from_millis(1))
}

/// Operations with a place for an id in their names whose requests were all the same.
fn one_key(operations: &[String], keys: &[Key], totals: &[crate::OperationTotals]) -> Vec<String> {
    let all = operations.iter().zip(keys).zip(totals);
    all.filter(|((name, key), totals)| {
        matches!(key, Key::One(_)) && totals.offered >= MIN_KEYS && has_id(name)
    })
    .map(|((name, _), _)| name.clone())
    .collect()
}

/// `GET /orders/{id}`, `GET /orders/:id`, `GET /orders/123`.
fn has_id(name: &str) -> bool {
    let path = name.split_whitespace().next_back().unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    path.split('/').any(|part| {
        part.starts_with(['{', ':']) || (!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_place_for_an_id_are_known() {
        for (name, expected) in [
            ("GET /orders/{id}", true),
            ("GET /orders/:id/items", true),
            ("GET /orders/123", true),
            ("GET /orders", false),
            ("GET /v2/orders?id=1", false),
            ("checkout", false),
        ] {
            assert_eq!(has_id(name), expected, "{name}");
        }
    }
}
