//! The curve through the levels with its doubt, its knee and its ceiling. Where the law does not describe the levels,
//! or they do not tell, the levels themselves answer as far as they can.

use crate::curve::{Fit, Point, Usl, fit, solve};
use crate::random::{Chance, DRAWS, Z975, interval, t975};
use model::{Ceiling, Curve, CurvePoint, CurveStatus, Estimate, Knee, Level, LevelKind, LevelState};

/// Levels of different concurrency that a fit of three parameters needs, one more than those.
const LEAST_LEVELS: usize = 4;
/// The largest concurrency over the smallest, below which nothing is told about growth.
const LEAST_SPREAD: f64 = 2.0;
/// A curve does not fit where a level lies farther from it than this share, and than so many of its errors.
const FAR_OFF: f64 = 0.2;
const FAR_OFF_ERRORS: f64 = 3.0;
/// Squared scatter over squared errors, beyond which the errors that were told are not to be believed.
const MORE_THAN_TOLD: f64 = 2.0;
/// A ceiling beyond so many times the highest throughput seen is not told.
const MOST_EXTRAPOLATED: f64 = 2.0;
/// Nor one beyond so many times the highest throughput of levels that were too much for the service.
const BEYOND_SEEN: f64 = 1.1;
/// Throughput of this share of the ceiling has reached it.
const REACHED: f64 = 0.9;
/// Users grew by this much while throughput grew by less than the other: flat.
const FLAT_USERS: f64 = 1.3;
const FLAT_RATE: f64 = 1.05;
/// Points of the drawn curve.
const CURVE_POINTS: usize = 40;

/// What the levels say together.
pub(crate) struct Fitted {
    pub(crate) curve: Curve,
    pub(crate) knee: Knee,
    pub(crate) ceiling: Option<Ceiling>,
}

/// Curves fitted to resampled points.
pub struct Draws(Vec<Usl>);

impl Draws {
    /// The 95 % interval of what a curve says; its ends may be infinite. `None` without any draw.
    pub fn interval(&self, of: impl Fn(&Usl) -> f64) -> Option<(f64, f64)> {
        interval(self.0.iter().map(of).collect())
    }
}

/// Parametric bootstrap (Efron and Tibshirani 1993, 6.5): rates are drawn around the curve with the points' errors
/// and fitted again. Points that scatter more than their errors allow widen all errors by the ratio (Birge 1932); where
/// they do so clearly, the scatter is all that is known, and few degrees of freedom widen it by Student's t.
#[must_use]
pub fn draws(fit: &Fit, points: &[Point], seed: u64) -> Draws {
    let scatter = if fit.freedom >= 1.0 { fit.chi_squared / fit.freedom } else { 1.0 };
    let few = if scatter > MORE_THAN_TOLD { t975(fit.freedom) / Z975 } else { 1.0 };
    let wider = scatter.max(1.0).sqrt() * few;
    let mut chance = Chance::new(seed);
    let draw = |_| {
        let rates: Vec<f64> = points
            .iter()
            .zip(&fit.errors)
            .map(|(p, e)| fit.usl.rate(p.concurrency) * (chance.normal() * e * wider).exp())
            .collect();
        solve(points, &rates, &fit.errors)
    };
    Draws((0..DRAWS).filter_map(draw).collect())
}

/// Judges the sound levels; `points` are theirs, with their places among all.
pub(crate) fn judge(levels: &[Level], points: &[(usize, Point)], seed: u64) -> Fitted {
    let only: Vec<Point> = points.iter().map(|p| p.1).collect();
    let (low, high) = spread(&only);
    if let Some(reason) = cannot_tell(&only, low, high) {
        let curve = nothing(levels, CurveStatus::CannotTell, reason);
        return Fitted {
            knee: measured_knee(levels, points),
            ceiling: measured_ceiling(levels, points),
            curve,
        };
    }
    let Some(fit) = fit(&only) else {
        let curve = nothing(levels, CurveStatus::CannotTell, "no curve goes through these levels".to_owned());
        return Fitted {
            knee: measured_knee(levels, points),
            ceiling: measured_ceiling(levels, points),
            curve,
        };
    };
    let draws = draws(&fit, &only, seed);
    let worst = fit
        .residuals
        .iter()
        .zip(&fit.errors)
        .filter(|(r, e)| r.abs() > FAR_OFF && r.abs() > FAR_OFF_ERRORS * **e)
        .map(|(r, _)| r.exp_m1())
        .max_by(|a, b| a.abs().total_cmp(&b.abs()));
    let mut residuals = vec![None; levels.len()];
    for ((at, _), residual) in points.iter().zip(&fit.residuals) {
        residuals[*at] = Some(residual.exp_m1());
    }
    let of = |value: fn(&Usl) -> f64| estimate(value(&fit.usl), draws.interval(value));
    let (status, reason) = match worst {
        Some(worst) => (
            CurveStatus::DoesNotFit,
            format!(
                "a level lies {:.0} % off the curve, more than chance allows: read the levels, not the curve",
                worst.abs() * 100.0
            ),
        ),
        None => {
            let most = fit.residuals.iter().fold(0.0_f64, |most, r| most.max(r.exp_m1().abs()));
            let reason = format!("all {} levels lie within {:.1} % of the curve", only.len(), most * 100.0);
            (CurveStatus::Fits, reason)
        }
    };
    let curve = Curve {
        status,
        reason,
        gamma: Some(of(|u| u.gamma)),
        sigma: Some(of(|u| u.sigma)),
        kappa: Some(of(|u| u.kappa)),
        residuals,
        points: drawn(&fit.usl, &draws, low, high),
    };
    if worst.is_some() {
        return Fitted {
            knee: measured_knee(levels, points),
            ceiling: measured_ceiling(levels, points),
            curve,
        };
    }
    let ceiling = fitted_ceiling(levels, points, &fit.usl, &draws);
    let mut knee = fitted_knee(levels, &fit.usl, &draws, high);
    // No knee lies above what the levels showed to be the most.
    let most = ceiling.as_ref().filter(|c| c.measured).and_then(|c| c.rate.high);
    if let Some((rate, most)) = knee.rate.as_mut().zip(most) {
        rate.high = rate.high.map(|high| high.min(most).max(rate.value)).or(Some(most.max(rate.value)));
    }
    Fitted { knee, ceiling, curve }
}

fn spread(points: &[Point]) -> (f64, f64) {
    let all = points.iter().map(|p| p.concurrency);
    (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max))
}

fn cannot_tell(points: &[Point], low: f64, high: f64) -> Option<String> {
    if points.len() < LEAST_LEVELS {
        return Some(format!(
            "{} levels can be used, a curve of three parameters needs {LEAST_LEVELS}: give more levels",
            points.len()
        ));
    }
    (high < LEAST_SPREAD * low).then(|| {
        format!("the levels held {low:.2} to {high:.2} requests at once, too much alike to tell: spread them wider")
    })
}

fn nothing(levels: &[Level], status: CurveStatus, reason: String) -> Curve {
    Curve {
        status,
        reason,
        gamma: None,
        sigma: None,
        kappa: None,
        residuals: vec![None; levels.len()],
        points: Vec::new(),
    }
}

/// A value with the interval of its draws; what is infinite is absent or bounded by the value.
fn estimate(value: f64, interval: Option<(f64, f64)>) -> Estimate {
    let (low, high) = interval.unwrap_or((0.0, f64::INFINITY));
    Estimate {
        value,
        low: if low.is_finite() { low.min(value) } else { value },
        high: Some(high.max(value)).filter(|h| h.is_finite()),
    }
}

fn drawn(usl: &Usl, draws: &Draws, low: f64, high: f64) -> Vec<CurvePoint> {
    let from = (low / 1.5).max(1e-6);
    let step = (high * 1.3 / from).powf(1.0 / (CURVE_POINTS - 1) as f64);
    let point = |at: usize| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a few points")]
        let n = from * step.powi(at as i32);
        CurvePoint { concurrency: n, rate: estimate(usl.rate(n), draws.interval(|u| u.rate(n))) }
    };
    (0..CURVE_POINTS).map(point).collect()
}

fn fitted_knee(levels: &[Level], usl: &Usl, draws: &Draws, highest: f64) -> Knee {
    let n = usl.knee();
    let top = levels.iter().map(|l| l.throughput_per_s.value).fold(0.0, f64::max);
    if n > highest {
        let beyond = if n.is_finite() && n < MOST_EXTRAPOLATED * highest {
            format!("; the curve would put it near {n:.1} requests at once, {:.1}/s", usl.rate(n))
        } else {
            String::new()
        };
        let reason = format!("no knee seen up to {highest:.1} requests at once, {top:.1}/s{beyond}");
        return Knee { seen: false, rate: None, concurrency: None, reason };
    }
    // The rate at the knee of each drawn curve: both move together.
    let rate = estimate(usl.rate(n), draws.interval(|u| u.rate(u.knee().min(1e9))));
    let concurrency = estimate(n, draws.interval(Usl::knee));
    let reason = "beyond it a further request waits longer than it adds to throughput".to_owned();
    Knee { seen: true, rate: Some(rate), concurrency: Some(concurrency), reason }
}

/// Without a curve: the level with the greatest throughput over response time, between its neighbours.
fn measured_knee(levels: &[Level], points: &[(usize, Point)]) -> Knee {
    let mut sorted: Vec<&Point> = points.iter().map(|p| &p.1).collect();
    sorted.sort_by(|a, b| a.concurrency.total_cmp(&b.concurrency));
    let power = |p: &Point| p.rate * p.rate / p.concurrency;
    let best = (0..sorted.len()).max_by(|a, b| power(sorted[*a]).total_cmp(&power(sorted[*b])));
    let unknown = |reason: String| Knee { seen: false, rate: None, concurrency: None, reason };
    let Some(best) = best else { return unknown("no level can be used".to_owned()) };
    if best + 1 == sorted.len() {
        let top = levels.iter().map(|l| l.throughput_per_s.value).fold(0.0, f64::max);
        let most = sorted[best].concurrency;
        return unknown(format!("no knee seen up to {most:.1} requests at once, {top:.1}/s"));
    }
    let between = |of: fn(&Point) -> f64| {
        let (before, after) = (sorted[best.saturating_sub(1)], sorted[best + 1]);
        let here = of(sorted[best]);
        Some(Estimate { value: here, low: of(before).min(here), high: Some(of(after).max(here)) })
    };
    let reason = "read from the levels: throughput over response time is greatest there".to_owned();
    Knee { seen: true, rate: between(|p| p.rate), concurrency: between(|p| p.concurrency), reason }
}

/// Whether levels went on without throughput going on: an overloaded one, or more users for no more answers.
pub(crate) fn flattened(levels: &[Level]) -> bool {
    if levels.iter().any(|l| l.state == LevelState::Overloaded) {
        return true;
    }
    let mut users: Vec<&Level> = levels.iter().filter(|l| l.kind == LevelKind::Users).collect();
    users.sort_by(|a, b| a.asked.total_cmp(&b.asked));
    users.windows(2).any(|pair| {
        pair[1].asked >= FLAT_USERS * pair[0].asked
            && pair[1].throughput_per_s.value < FLAT_RATE * pair[0].throughput_per_s.value
    })
}

fn fitted_ceiling(levels: &[Level], points: &[(usize, Point)], usl: &Usl, draws: &Draws) -> Option<Ceiling> {
    let seen = points.iter().map(|p| p.1.rate).fold(0.0, f64::max);
    let (most, flat) = (usl.ceiling(), flattened(levels));
    // Where more was due than was answered, the levels know better than a curve that goes on.
    if flat && most > BEYOND_SEEN * seen {
        return measured_ceiling(levels, points);
    }
    let rate = estimate(most, draws.interval(Usl::ceiling));
    let highest = points.iter().map(|p| p.1.concurrency).fold(0.0, f64::max);
    let measured = flat || seen >= REACHED * most;
    let known = most.is_finite()
        && most <= MOST_EXTRAPOLATED * seen
        && rate.high.is_some_and(|high| high <= MOST_EXTRAPOLATED * rate.low)
        && usl.knee() <= highest;
    let concurrency = Some(usl.peak()).filter(|p| *p <= MOST_EXTRAPOLATED * highest);
    (measured || known).then_some(Ceiling { rate, concurrency, measured })
}

/// The highest throughput of a level, where the levels went beyond what the service answers.
fn measured_ceiling(levels: &[Level], points: &[(usize, Point)]) -> Option<Ceiling> {
    if !flattened(levels) {
        return None;
    }
    let sound = points.iter().map(|(at, _)| &levels[*at]);
    let best = sound.max_by(|a, b| a.throughput_per_s.value.total_cmp(&b.throughput_per_s.value))?;
    Some(Ceiling { rate: best.throughput_per_s, concurrency: None, measured: true })
}
