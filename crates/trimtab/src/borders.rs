//! Looks at everything that counts at the borders of a run's windows, so that its growth can be told apart by endpoint.
//! It decides nothing: what the windows tell, crate `attribute` says.

use crate::clock;
use attribute::{Counter, Mix, Timed};
use database::{CacheLook, Server, Snapshot};
use load::{LoadResult, Segment};
use model::{Costs, Gap, Recording, Statement, resources};
use net::Shutdown;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use telemetry::host::{Usage, Watched};

const SIGNAL: &str = "attribution";
/// A window shorter than so many requests is mostly border.
const REQUESTS_LONG: f64 = 4.0;
/// Commands of a cache that are told one by one.
const MAX_COMMANDS: usize = 20;

/// When the windows of a run begin and end.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Before the first window.
    pub warm_up: Duration,
    pub length: Duration,
    pub count: usize,
    /// The load's mix varies from one to the next.
    pub varied: bool,
}

/// What there is to look at.
pub struct Sources<'a> {
    pub database: Option<&'a Server>,
    /// For a new connection, should the old one be gone.
    pub url: Option<&'a str>,
    pub service: Vec<Watched>,
    /// A Redis server.
    pub cache: Option<&'a str>,
}

/// One look.
#[derive(Default)]
struct Look {
    at: Option<Instant>,
    snapshot: Option<Snapshot>,
    /// Why there is no snapshot.
    problem: Option<String>,
    usage: Option<Usage>,
    cache: Option<CacheLook>,
    cache_problem: Option<String>,
    round_trip: Option<Duration>,
}

/// All looks of a run, from its warm-up's end on.
pub struct Looks {
    all: Vec<Look>,
    varied: bool,
    /// The connection that took the place of a broken one.
    pub again: Option<Server>,
}

/// Lets the load's rate and mix follow the plan after the warm-up.
pub fn vary(options: &mut load::Options, warm_up: Duration, planned: &attribute::Planned) {
    let usual = options.pace.segments.last().map_or(0.0, |s| s.to);
    let mut segments = vec![Segment { seconds: warm_up.as_secs_f64(), from: usual, to: usual }];
    let mut at = warm_up;
    for rates in &planned.rates {
        let total: f64 = rates.iter().sum();
        segments.push(Segment { seconds: planned.window.as_secs_f64(), from: total, to: total });
        options.mix.push((at, rates.clone()));
        at += planned.window;
    }
    options.pace.segments = segments;
}

/// Looks at each border until the last, or until the run is ended early.
pub async fn look(sources: &Sources<'_>, windows: &Windows, shutdown: &Shutdown) -> Looks {
    let mut looks = Looks { all: Vec::new(), varied: windows.varied, again: None };
    let begin = Instant::now();
    for border in 0..=windows.count {
        let passed = u32::try_from(border).unwrap_or(u32::MAX);
        let due = begin + windows.warm_up + windows.length.saturating_mul(passed);
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = shutdown.wait() => {}
        }
        let look = once(sources, &mut looks.again).await;
        looks.all.push(look);
        if shutdown.is_triggered() {
            break;
        }
    }
    looks
}

/// `again`: the connection that took the place of a broken one.
async fn once(sources: &Sources<'_>, again: &mut Option<Server>) -> Look {
    let mut look = Look::default();
    if let Some(first) = sources.database {
        let mut seen = again.as_ref().unwrap_or(first).snapshot().await;
        if seen.is_err()
            && let Some(url) = sources.url
            && let Ok(database) = Server::connect(url).await
        {
            seen = again.insert(database).snapshot().await;
        }
        match seen {
            Ok(snapshot) => look.snapshot = Some(snapshot),
            Err(error) => look.problem = Some(format!("{error:#}")),
        }
        look.round_trip = again.as_ref().unwrap_or(first).round_trip().await.ok();
    }
    if let Some(url) = sources.cache {
        match CacheLook::at(url).await {
            Ok(seen) => look.cache = Some(seen),
            Err(error) => look.cache_problem = Some(format!("{error:#}")),
        }
    }
    let watched = sources.service.clone();
    if !watched.is_empty() {
        let read = tokio::task::spawn_blocking(move || telemetry::host::usage(&watched)).await;
        look.usage = read.ok().flatten();
    }
    look.at = look.snapshot.as_ref().and_then(Snapshot::taken).or_else(|| Some(Instant::now()));
    look
}

impl Looks {
    /// The statements over the whole run. Where its ends cannot be compared, of the windows that can.
    #[must_use]
    pub fn statements(&self) -> (Vec<Statement>, Vec<Gap>) {
        let (Some(first), Some(last)) = (self.all.first(), self.all.last()) else {
            return (Vec::new(), Vec::new());
        };
        match (&first.snapshot, &last.snapshot) {
            (Some(before), Some(after)) => {
                let (whole, gaps) = Snapshot::delta(before, after);
                if Snapshot::broken(before, after).is_none() || self.all.len() <= 2 {
                    return (whole, gaps);
                }
                (self.sum_of_windows(), gaps)
            }
            (None, None) if first.problem.is_none() => (Vec::new(), Vec::new()),
            _ => {
                let why = self.all.iter().find_map(|l| l.problem.clone()).unwrap_or_default();
                let hint = "check that the database runs, and that no pooler ends the connection; the rest was measured";
                (self.sum_of_windows(), vec![Gap::new("statements", why, hint)])
            }
        }
    }

    fn sum_of_windows(&self) -> Vec<Statement> {
        let mut by_text: BTreeMap<String, Statement> = BTreeMap::new();
        for statement in self.windows().into_iter().filter_map(Result::ok).flatten() {
            let sum = by_text
                .entry(statement.text.clone())
                .or_insert_with(|| Statement { system: statement.system.clone(), ..Statement::default() });
            sum.calls += statement.calls;
            sum.total_ms += statement.total_ms;
            sum.rows += statement.rows;
            sum.blocks_hit += statement.blocks_hit;
            sum.blocks_read += statement.blocks_read;
            sum.temp_blocks += statement.temp_blocks;
            sum.wal_bytes += statement.wal_bytes;
        }
        let mut all: Vec<Statement> =
            by_text.into_iter().map(|(text, sum)| Statement { text, ..sum }).collect();
        all.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms).then_with(|| a.text.cmp(&b.text)));
        all
    }

    /// The statements of each window, or why it does not count.
    fn windows(&self) -> Vec<Result<Vec<Statement>, String>> {
        let one = |pair: &[Look]| match (&pair[0].snapshot, &pair[1].snapshot) {
            (Some(before), Some(after)) => match Snapshot::broken(before, after) {
                Some(gap) => Err(gap.reason),
                None => Ok(Snapshot::delta(before, after).0),
            },
            _ => {
                let problem = pair[0].problem.clone().or_else(|| pair[1].problem.clone());
                Err(problem.unwrap_or_else(|| "the database was not asked".to_owned()))
            }
        };
        self.all.windows(2).map(one).collect()
    }

    /// What a request of each operation costs. `result` has all requests of the run, or its cells do.
    #[must_use]
    pub fn costs(&self, result: &LoadResult, recording: &Recording) -> Option<Costs> {
        if !self.varied || self.all.len() < 3 {
            return None;
        }
        let clock = load::Clock { unix_ns: clock::now_ns(), at: Instant::now() };
        let borders: Vec<u64> = self.all.iter().map(|l| clock.unix_ns(l.at.unwrap_or(clock.at))).collect();
        let mut mix = mix(result, recording, &borders);
        let counters = self.counters();
        let told = self.windows();
        let mut statements = Vec::new();
        // Where no window tells of statements, the other counters do still.
        if told.iter().any(Result::is_ok) {
            for (window, told) in mix.windows.iter_mut().zip(told) {
                window.void = told.as_ref().err().cloned();
                statements.push(told.unwrap_or_default());
            }
        }
        let mut costs = attribute::costs(&mix, &statements, &counters);
        costs.varied = true;
        costs.round_trip_ms = self.round_trip_ms();
        costs.cache_round_trip_ms = self.cache_round_trip_ms();
        costs.gaps.extend(long_requests(result, costs.window_s));
        if let Some(problem) = self.all.iter().find_map(|l| l.cache_problem.clone()) {
            let hint = "check [cache] url; the role needs the commands INFO and PING";
            costs.gaps.push(Gap::new("cache", problem, hint));
        }
        Some(costs)
    }

    fn counters(&self) -> Vec<Counter> {
        let used: Vec<_> = self
            .all
            .windows(2)
            .map(|pair| pair[1].usage.as_ref().zip(pair[0].usage.as_ref()).map(|(now, then)| now.since(then)))
            .collect();
        let counter = |name: &str, unit: &str, of: &dyn Fn(&telemetry::host::Used) -> Option<f64>| Counter {
            name: name.to_owned(),
            unit: unit.to_owned(),
            growth: used.iter().map(|u| u.as_ref().and_then(of).unwrap_or(f64::NAN)).collect(),
        };
        let mut all = vec![
            counter(resources::CPU, "ms", &|u| Some(u.cpu_ms)),
            counter(resources::CPU_QUEUE, "ms", &|u| u.wait_ms),
            counter(resources::NETWORK, "By", &|u| u.received_bytes),
        ];
        all.extend(self.cache_counters());
        all
    }

    /// Time within the cache, its look-ups, and calls and time of its busiest commands.
    fn cache_counters(&self) -> Vec<Counter> {
        let Some(last) = self.all.iter().rev().find_map(|l| l.cache.as_ref()) else { return Vec::new() };
        let counter = |name: String, unit: &str, of: &dyn Fn(&CacheLook) -> Option<f64>| {
            let one = |pair: &[Look]| {
                let (then, now) = (pair[0].cache.as_ref()?, pair[1].cache.as_ref()?);
                // A server that started again, or counters that were reset, count from nothing.
                Some(of(now)? - of(then)?).filter(|growth| *growth >= 0.0)
            };
            let growth = self.all.windows(2).map(|pair| one(pair).unwrap_or(f64::NAN)).collect();
            Counter { name, unit: unit.to_owned(), growth }
        };
        let total = |look: &CacheLook| {
            Some(look.commands.values().map(|count| count.microseconds as f64 / 1e3).sum::<f64>())
        };
        let mut all = vec![
            counter(resources::CACHE.to_owned(), "ms", &total),
            counter(resources::CACHE_HITS.to_owned(), "{call}", &|look| Some(look.hits as f64)),
            counter(resources::CACHE_MISSES.to_owned(), "{call}", &|look| Some(look.misses as f64)),
            counter(resources::CACHE_READS.to_owned(), "{call}", &|look| look.reads.map(|n| n as f64)),
        ];
        let mut busiest: Vec<(&String, u64)> =
            last.commands.iter().map(|(name, count)| (name, count.calls)).collect();
        busiest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        for (name, _) in busiest.into_iter().take(MAX_COMMANDS) {
            let count = |look: &CacheLook| look.commands.get(name).copied().unwrap_or_default();
            let calls = |look: &CacheLook| Some(count(look).calls as f64);
            let ms = |look: &CacheLook| Some(count(look).microseconds as f64 / 1e3);
            all.push(counter(format!("{}{name}", resources::CACHE_CALLS), "{call}", &calls));
            all.push(counter(format!("{}{name}", resources::CACHE_TIME), "ms", &ms));
        }
        all
    }

    /// There and back to the cache, the median of the looks.
    fn cache_round_trip_ms(&self) -> Option<f64> {
        let looks = self.all.iter().filter_map(|l| l.cache.as_ref());
        median(looks.map(|look| look.round_trip.as_secs_f64() * 1e3).filter(|ms| *ms > 0.0).collect())
    }

    fn round_trip_ms(&self) -> Option<f64> {
        median(self.all.iter().filter_map(|l| l.round_trip).map(|d| d.as_secs_f64() * 1e3).collect())
    }
}

fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// What the load asked for in the windows between `borders`, Unix nanoseconds: from each request where all are known.
pub fn mix(result: &LoadResult, recording: &Recording, borders: &[u64]) -> Mix {
    match every_request(result) {
        Some(requests) => Mix::of_requests(&result.operations, borders, &requests),
        None => Mix::of_recording(recording, borders),
    }
}

/// The requests with their begin and end, if all of them were kept.
fn every_request(result: &LoadResult) -> Option<Vec<Timed>> {
    let mut kept = vec![0_u64; result.operations.len()];
    let mut all = Vec::with_capacity(result.requests.len());
    for request in &result.requests {
        *kept.get_mut(request.operation as usize)? += 1;
        let end_ns = request.due_ns.saturating_add(request.response_ns);
        let start_ns = end_ns.saturating_sub(request.service_ns);
        all.push(Timed { operation: request.operation, start_ns, end_ns });
    }
    let complete = kept.iter().zip(&result.totals).all(|(kept, totals)| *kept >= totals.offered);
    complete.then_some(all)
}

fn long_requests(result: &LoadResult, window_s: f64) -> Option<Gap> {
    let (sum_ns, count) =
        result.totals.iter().fold((0.0, 0), |(ns, n), t| (ns + t.service_sum_ns as f64, n + t.offered));
    let mean_s = sum_ns / count.max(1) as f64 / 1e9;
    (mean_s * REQUESTS_LONG > window_s).then(|| {
        let reason = format!(
            "requests of {mean_s:.1} s are long for windows of {window_s:.1} s: what they cost is smeared"
        );
        Gap::new(SIGNAL, reason, "measure for longer: a run is divided into at most 60 windows")
    })
}
