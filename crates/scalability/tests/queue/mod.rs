//! A queue with `c` servers, simulated request by request, and its levels as the load would have recorded them.

use model::{LatencyCell, LevelKind};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use scalability::{Observed, Used};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const CELL_MS: u32 = 500;
const SETTLE_CELLS: u32 = 4;

/// Exponential service by `servers`, after a part that nobody waits for.
pub(crate) struct Queue {
    servers: usize,
    service_s: f64,
    pub(crate) before_s: f64,
    /// CPU that a request is said to have used: of the host with 4 cores, and of the database.
    pub(crate) cpu_s: f64,
    pub(crate) database_s: f64,
}

impl Queue {
    pub(crate) fn new(servers: usize, service_s: f64) -> Self {
        Self { servers, service_s, before_s: 0.0, cpu_s: 0.004, database_s: 0.0 }
    }
}

/// One level as recorded.
pub(crate) struct Level {
    kind: LevelKind,
    asked: f64,
    seconds: f64,
    cells: Vec<LatencyCell>,
    offered: u64,
    used: Vec<Used>,
    pub(crate) generator: Vec<String>,
}

impl Level {
    pub(crate) fn observed(&self) -> Observed<'_> {
        Observed {
            kind: self.kind,
            asked: self.asked,
            cells: &self.cells,
            cell_ms: CELL_MS,
            seconds: self.seconds,
            settle_cells: SETTLE_CELLS,
            steady: true,
            start_ns: 1_000_000_000,
            offered: self.offered,
            unanswered: 0,
            most_in_flight: 512.0,
            generator: self.generator.clone(),
            doubts: Vec::new(),
            used: self.used.clone(),
        }
    }
}

impl Level {
    /// All four cores are in use, 0.3 of them by the service, whose answers are counted in bytes too.
    pub(crate) fn others_fill_the_cpu(&mut self) {
        let part = |name: &str, unit: &'static str, used: f64| Used {
            name: name.to_owned(),
            owner: "service".to_owned(),
            unit,
            used,
            limit: None,
            shared: false,
            part: true,
        };
        self.used[0].used = 4.0;
        self.used.extend([part("CPU", "cores", 0.3), part("response bodies", "bytes/s", 5e6)]);
    }
}

/// Levels of one system.
pub(crate) struct Rig {
    pub(crate) levels: Vec<Level>,
}

impl Rig {
    /// Poisson arrivals at each rate.
    pub(crate) fn open(queue: &Queue, rates: &[f64], seconds: f64, seed: u64) -> Self {
        let one = |(at, rate): (usize, &f64)| {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed * 1000 + at as u64);
            let mut due = Vec::new();
            let mut now = 0.0;
            loop {
                now += exponential(&mut random, 1.0 / rate);
                if now >= seconds {
                    break;
                }
                due.push(now);
            }
            let done = serve(queue, &due, &mut random);
            let all: Vec<(f64, f64)> = due.into_iter().zip(done).collect();
            level(queue, LevelKind::Rate, *rate, seconds, &all)
        };
        Self { levels: rates.iter().enumerate().map(one).collect() }
    }

    /// Users without a pause.
    pub(crate) fn closed(queue: &Queue, users: &[f64], seconds: f64, seed: u64) -> Self {
        let one = |(at, users): (usize, &f64)| {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed * 1000 + at as u64);
            let mut free: Vec<f64> = vec![0.0; queue.servers];
            // The next arrival at the servers of each user, in time order.
            let mut next: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
            for user in 0..*users as u64 {
                let begins = user * 1_000;
                next.push(Reverse((begins + nanos(exponential(&mut random, queue.before_s)), begins)));
            }
            let mut all = Vec::new();
            while let Some(Reverse((at, due))) = next.pop() {
                let at = at as f64 / 1e9;
                if due as f64 / 1e9 >= seconds {
                    continue;
                }
                let server = earliest(&free);
                let done = free[server].max(at) + exponential(&mut random, queue.service_s);
                free[server] = done;
                all.push((due as f64 / 1e9, done));
                next.push(Reverse((nanos(done + exponential(&mut random, queue.before_s)), nanos(done))));
            }
            level(queue, LevelKind::Users, *users, seconds, &all)
        };
        Self { levels: users.iter().enumerate().map(one).collect() }
    }
}

fn exponential(random: &mut Xoshiro256PlusPlus, mean: f64) -> f64 {
    -(1.0 - random.random::<f64>()).ln() * mean
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn earliest(free: &[f64]) -> usize {
    (0..free.len()).min_by(|a, b| free[*a].total_cmp(&free[*b])).expect("a server")
}

/// First come, first served.
fn serve(queue: &Queue, due: &[f64], random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    let mut free: Vec<f64> = vec![0.0; queue.servers];
    due.iter()
        .map(|due| {
            let at = due + queue.before_s;
            let server = earliest(&free);
            let done = free[server].max(at) + exponential(random, queue.service_s);
            free[server] = done;
            done
        })
        .collect()
}

fn level(queue: &Queue, kind: LevelKind, asked: f64, seconds: f64, all: &[(f64, f64)]) -> Level {
    let count = (seconds * 1e3 / f64::from(CELL_MS)).round() as u32;
    let mut cells: Vec<LatencyCell> =
        (0..count).map(|cell| LatencyCell { cell, ..LatencyCell::default() }).collect();
    let counted = f64::from(SETTLE_CELLS * CELL_MS) / 1e3;
    let mut done_in_window = 0.0;
    for (due, done) in all {
        let cell = &mut cells[((due * 1e3) as u32 / CELL_MS).min(count - 1) as usize];
        cell.response.record(nanos(done - due));
        cell.service.record(nanos(done - due));
        done_in_window += f64::from(u8::from(*done >= counted && *done < seconds));
    }
    let rate = done_in_window / (seconds - counted);
    let cpu = |name: &str, owner: &str, demand: f64, part: bool| Used {
        name: name.to_owned(),
        owner: owner.to_owned(),
        unit: "cores",
        used: rate * demand,
        limit: Some(4.0),
        shared: owner == "database",
        part,
    };
    let mut used = vec![cpu("CPU", "", queue.cpu_s, false)];
    if queue.database_s > 0.0 {
        used.push(cpu("CPU", "database", queue.database_s, true));
    }
    Level { kind, asked, seconds, cells, offered: all.len() as u64, used, generator: Vec::new() }
}
