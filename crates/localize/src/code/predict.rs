//! What mending code brings an endpoint, from the response times that the load measured: the time that goes is taken to
//! be the same share of slow requests as of average ones, and on a nearly full CPU or loop what stays waits less.

use super::{Code, Endpoint};
use crate::predict::round;
use model::{Grade, Prediction, QuantilePrediction, states};

const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// Milliseconds of one request that a fix saves.
#[derive(Clone, Copy)]
pub(super) struct Saved {
    pub(super) point_ms: f64,
    pub(super) least_ms: f64,
    pub(super) most_ms: f64,
    /// It is time on a CPU: its going relieves what waits for that CPU.
    pub(super) cpu: bool,
}

impl Saved {
    /// Code of `own_ms` that becomes `speedup` times as fast: `1 - 1 / speedup` of it goes, from half of that to all.
    pub(super) fn faster(own_ms: f64, speedup: f64) -> Self {
        let point_ms = own_ms * (1.0 - 1.0 / speedup);
        Self { point_ms, least_ms: point_ms / 2.0, most_ms: own_ms, cpu: true }
    }

    /// A wait that goes, from half of it to all.
    pub(super) fn wait(ms: f64, point: f64) -> Self {
        Self { point_ms: ms * point, least_ms: ms * point / 2.0, most_ms: ms, cpu: false }
    }
}

/// `None` where no response times are known.
pub(super) fn saved(
    code: &Code<'_>,
    endpoint: &Endpoint,
    saved: Saved,
    assumption: &str,
) -> Option<Prediction> {
    let mean = endpoint.responses.mean_ms().filter(|mean| *mean > 0.0)?;
    let left = |ms: f64| 1.0 - (ms / mean).clamp(0.0, 0.98);
    let relief = |ms: f64| if saved.cpu { relief(code, ms * endpoint.rate_per_s / 1e3) } else { 1.0 };
    let point = left(saved.point_ms) * f64::midpoint(1.0, relief(saved.point_ms));
    let low = left(saved.most_ms) * relief(saved.most_ms);
    let high = left(saved.least_ms);
    predicted(endpoint, assumption, |_, before| (before * point, before * low, before * high))
}

/// How a share `blocked` of all time in which a loop stands still for others shows in their response times: those that
/// come then are the slowest, so that without it a quantile is what is now the quantile of the rest.
pub(super) fn unblocked(
    endpoint: &Endpoint,
    blocked: f64,
    busy: f64,
    assumption: &str,
) -> Option<Prediction> {
    let at = |q: f64, gone: f64| {
        endpoint.responses.quantile_ms((q * (1.0 - gone.clamp(0.0, 0.95))).clamp(0.0, 1.0)).unwrap_or(0.0)
    };
    // Who waits behind those that waited is held up too: on a busy loop more than the blocked share.
    let most = blocked / (1.0 - busy.clamp(0.0, 0.9));
    let point = f64::midpoint(blocked, most);
    predicted(endpoint, assumption, |q, _| (at(q, point), at(q, most), at(q, blocked / 2.0)))
}

fn predicted(
    endpoint: &Endpoint,
    assumption: &str,
    after: impl Fn(f64, f64) -> (f64, f64, f64),
) -> Option<Prediction> {
    let of = |q: f64| {
        let before = endpoint.responses.quantile_ms(q)?;
        let (point, low, high) = after(q, before);
        Some(QuantilePrediction {
            quantile: q,
            before_ms: round(before),
            after_ms: round(point.min(before)),
            low_ms: round(low.min(point)),
            high_ms: round(high.clamp(point.min(before), before)),
        })
    };
    let quantiles: Vec<QuantilePrediction> = QUANTILES.iter().map(|q| of(*q)).collect::<Option<_>>()?;
    let p95 = quantiles[1];
    Some(Prediction {
        metric: format!("p95({})", endpoint.name),
        before_ms: p95.before_ms,
        after_ms: p95.after_ms,
        low_ms: p95.low_ms,
        high_ms: p95.high_ms,
        grade: Grade::C,
        assumption: assumption.to_owned(),
        quantiles,
        calibration: None,
    })
}

/// How much shorter everything takes when the service needs `cores` less: `1 / (1 - rho^c)` before and after, of the
/// fullest of the host's CPUs (`c` cores) and of a thread that works alone.
fn relief(code: &Code<'_>, cores: f64) -> f64 {
    let t = code.facts.thresholds;
    let stretch = |rho: f64, c: f64| 1.0 / (1.0 - rho.clamp(0.0, t.load_model_cap).powf(c));
    let ratio = |rho: f64, c: f64| {
        if rho <= t.load_model_from {
            return 1.0;
        }
        let rho = rho.min(t.load_model_cap);
        stretch((rho - cores / c).max(0.0), c) / stretch(rho, c)
    };
    let c = code.facts.saturation.cpus.max(1.0);
    let host = code.facts.saturation.cpu().map_or(1.0, |rho| ratio(rho, c));
    host.min(ratio(alone(code), 1.0))
}

/// Share of the time that the busiest lone thread is on a CPU; of an interpreter with a global lock, all its threads.
pub(super) fn alone(code: &Code<'_>) -> f64 {
    let profile = code.profile;
    let wall = profile.wall_ms.max(1.0);
    let lone = profile.groups.iter().filter(|g| g.threads == 1).map(|g| g.own_ms[states::ON_CPU] / wall);
    let locked = profile.ledger_ms[states::LOCKED_OUT] > 0.0;
    let all = if locked { profile.ledger_ms[states::ON_CPU] / wall } else { 0.0 };
    lone.fold(all, f64::max).min(1.0)
}
