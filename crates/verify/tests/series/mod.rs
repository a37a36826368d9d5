//! Simulated trials with a known truth, for the tests and for the table of `docs/statistics.md`.

use model::{Histogram, Pair};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::f64::consts::PI;
use verify::{Arm, schedule};

/// Median latency: 50 ms, as ln of nanoseconds.
const LN_MEDIAN: f64 = 17.727_533_560_002_96;
/// Deviation of ln latency that a request has for itself, and that it shares with its neighbours.
const OWN: f64 = 0.3;
const SHARED: f64 = 0.2;
/// Correlation of the shared part from request to request.
const CORRELATION: f64 = 0.95;
/// A pause begins at one request in this many, lasts 10 to 50 requests and multiplies their latency by 2 to 4.
const REQUESTS_PER_PAUSE: f64 = 1500.0;
/// Deviation of ln latency from window to window, on the hard series.
const RUN_TO_RUN: f64 = 0.03;
/// Growth of latency from the first request of the trial to its last, on the hard series.
const DRIFT: f64 = 0.08;
/// Buckets that a series can reach: latencies of 1 ns to 2^40 ns.
const BUCKETS: usize = 64 * 40;

/// What a series is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Independent lognormal requests.
    Independent,
    /// Correlated neighbours, pauses, windows that differ, drift.
    Hard,
}

/// One simulated trial.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) kind: Kind,
    pub(crate) pairs: usize,
    pub(crate) requests_per_arm: usize,
    /// True ratio of latency, after over before.
    pub(crate) ratio: f64,
}

/// One trial: windows in the order of [`schedule`], one continuous series through all of them.
pub(crate) fn simulate(layout: Layout, seed: u64) -> Vec<Pair> {
    let mut service = Service::new(layout.kind, seed, 2 * layout.requests_per_arm);
    let mut counts = vec![0_u64; BUCKETS];
    let arms = schedule(layout.pairs, seed);
    let mut pairs = vec![Pair::default(); layout.pairs];
    for (at, arm) in arms.iter().enumerate() {
        let pair = at / 2;
        let share = |upto: usize| layout.requests_per_arm * upto / layout.pairs;
        let requests = share(pair + 1) - share(pair);
        let factor = if *arm == Arm::After { layout.ratio } else { 1.0 };
        let window = service.window(requests, factor.ln(), &mut counts);
        match arm {
            Arm::Before => pairs[pair].before = window,
            Arm::After => pairs[pair].after = window,
        }
    }
    pairs
}

struct Service {
    kind: Kind,
    chance: Xoshiro256PlusPlus,
    spare: Option<f64>,
    shared: f64,
    pause_left: u32,
    pause_ln: f64,
    sent: usize,
    length: usize,
}

impl Service {
    fn new(kind: Kind, seed: u64, length: usize) -> Self {
        let chance = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut service =
            Self { kind, chance, spare: None, shared: 0.0, pause_left: 0, pause_ln: 0.0, sent: 0, length };
        service.shared = service.normal();
        service
    }

    fn window(&mut self, requests: usize, ln_factor: f64, counts: &mut [u64]) -> Histogram {
        counts.fill(0);
        let level = if self.kind == Kind::Hard { RUN_TO_RUN * self.normal() } else { 0.0 };
        for _ in 0..requests {
            let ln_ns = LN_MEDIAN + level + ln_factor + self.deviation();
            let bucket = (ln_ns / std::f64::consts::LN_2 * 64.0).ceil() - 1.0;
            counts[bucket.clamp(0.0, BUCKETS as f64 - 1.0) as usize] += 1;
        }
        let mut histogram = Histogram::default();
        for (bucket, &count) in counts.iter().enumerate().filter(|c| *c.1 > 0) {
            histogram.add(bucket as i32, count);
        }
        histogram
    }

    /// Of the next request's ln latency from the median.
    fn deviation(&mut self) -> f64 {
        if self.kind == Kind::Independent {
            return (OWN * OWN + SHARED * SHARED).sqrt() * self.normal();
        }
        self.shared = CORRELATION * self.shared + (1.0 - CORRELATION * CORRELATION).sqrt() * self.normal();
        if self.pause_left > 0 {
            self.pause_left -= 1;
        } else if self.chance.random::<f64>() * REQUESTS_PER_PAUSE < 1.0 {
            self.pause_left = self.chance.random_range(10..=50);
            self.pause_ln = self.chance.random_range(2.0_f64..4.0).ln();
        }
        let pause = if self.pause_left > 0 { self.pause_ln } else { 0.0 };
        self.sent += 1;
        let drift = DRIFT.ln_1p() * self.sent as f64 / self.length as f64;
        OWN * self.normal() + SHARED * self.shared + pause + drift
    }

    /// Box and Muller's transform gives two at a time.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.chance.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (2.0 * PI * self.chance.random::<f64>()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}
