//! The ratio of a quantile after a change to that before, with a confidence interval: paired exceedance, inverted.
//!
//! For a ratio r, divide every duration after by r and take τ, the quantile of both arms together. Window by window
//! the shares above τ differ by d_j; r belongs to the interval when `|√K mean(d) / sd(d)|` stays below Student's t
//! with K - 1 degrees of freedom. Neighbours in time share their noise, which the difference removes; no density is
//! estimated, nothing is assumed of the shape. Windows of unequal size enter as a ratio estimate does: each by its
//! count, the variance from `(above_j - share · count_j)` (Cochran, Sampling Techniques, 1977, section 6.4).

use crate::chance::{t_cdf, t_quantile};
use crate::curve::{Curve, PER_E, milliseconds, pooled_quantile};
use model::Pair;

/// Neither end of an interval lies beyond this, as ln of the ratio: a factor of 8,103 either way.
pub(crate) const LN_RATIO_BOUND: f64 = 9.0;
/// Values that must be expected beyond the quantile in each arm; with fewer it cannot be told.
const MIN_BEYOND: f64 = 5.0;
/// Values beyond the quantile wanted in one batch, both arms together; below it neighbours are joined, since windows
/// that are nearly all empty of them tell little. Larger values cost power and gain nothing in `calibration` ...
const BEYOND_PER_BATCH: f64 = 0.5;
/// ... but not below this number of batches.
pub(crate) const MIN_BATCHES: usize = 6;
/// Neighbouring differences more alike than this (lag-1 autocorrelation) are joined ...
pub(crate) const MAX_AUTOCORRELATION: f64 = 0.2;
/// ... but not below this number of batches.
const MIN_DOUBLED_BATCHES: usize = 10;
/// Half a bucket: no sketch tells two quantiles apart more finely.
const RESOLUTION_LN: f64 = 0.5 / PER_E;
/// First step of the search for an end, as ln of the ratio, and its growth.
const FIRST_STEP_LN: f64 = 0.004;
const STEP_GROWTH: f64 = 1.5;
/// Halvings of a step of the search: to a millionth of it.
const HALVINGS: usize = 20;
/// Power at which a change counts as detectable.
const POWER: f64 = 0.8;

/// A quantile's ratio, after over before.
#[derive(Clone, Debug, PartialEq)]
pub struct RatioInterval {
    pub before_ms: f64,
    pub after_ms: f64,
    /// after / before.
    pub ratio: f64,
    /// Ends of the interval; `e^-9` and `e^9` where the data do not close it.
    pub low: f64,
    pub high: f64,
    /// Standard error of ln ratio: the interval's half width over t.
    pub se_log: f64,
    /// The smallest rise that would have been told from noise with power 0.8, as share: 0.1 is 10 %.
    /// The smallest fall is `detectable / (1 + detectable)`.
    pub detectable: f64,
    /// Independent differences that the interval rests on: pairs, or joined pairs.
    pub batches: usize,
    /// Lag-1 autocorrelation of their differences, after joining.
    pub autocorrelation: f64,
}

impl RatioInterval {
    /// Nothing is known but the quantiles themselves, where there are any.
    pub(crate) fn unknown(pairs: &[Pair], quantile: f64) -> Self {
        let before = Curve::new(pairs.iter().map(|pair| &pair.before)).quantile(quantile);
        let after = Curve::new(pairs.iter().map(|pair| &pair.after)).quantile(quantile);
        let ln_ratio = before.zip(after).map_or(0.0, |(before, after)| (after - before) / PER_E);
        Self {
            before_ms: before.map_or(0.0, milliseconds),
            after_ms: after.map_or(0.0, milliseconds),
            ratio: ln_ratio.clamp(-LN_RATIO_BOUND, LN_RATIO_BOUND).exp(),
            low: (-LN_RATIO_BOUND).exp(),
            high: LN_RATIO_BOUND.exp(),
            se_log: LN_RATIO_BOUND,
            detectable: LN_RATIO_BOUND.exp_m1(),
            batches: 0,
            autocorrelation: 0.0,
        }
    }

    /// Half the interval's width as ln of the ratio.
    #[must_use]
    pub fn half_width_log(&self) -> f64 {
        0.5 * (self.high / self.low).ln()
    }

    /// Whether both ends come from the data.
    #[must_use]
    pub fn closed(&self) -> bool {
        let bound = LN_RATIO_BOUND.exp() * (1.0 - 1e-9);
        self.low > 1.0 / bound && self.high < bound
    }
}

/// Why there is no interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shortage {
    /// Fewer pairs of windows with requests in them than needed.
    Pairs { have: usize, need: usize },
    /// Too few requests in the smaller arm for this quantile.
    Requests { have: f64, need: f64 },
    /// Quantile or confidence not strictly between 0 and 1.
    Question,
}

/// The interval of `quantile`'s ratio at `confidence` (both strictly between 0 and 1).
/// `None` where [`compare`] gives a reason against it.
#[must_use]
pub fn interval(pairs: &[Pair], quantile: f64, confidence: f64) -> Option<RatioInterval> {
    compare(pairs, quantile, confidence).ok()
}

/// As [`interval`], with the reason where there is none.
///
/// # Errors
/// Too few pairs, too few requests beyond the quantile, or a question out of range.
pub fn compare(pairs: &[Pair], quantile: f64, confidence: f64) -> Result<RatioInterval, Shortage> {
    if !within_unit(confidence) {
        return Err(Shortage::Question);
    }
    Comparison::new(pairs, quantile).map(|comparison| comparison.interval(confidence))
}

fn within_unit(share: f64) -> bool {
    share > 0.0 && share < 1.0
}

struct PairCurves {
    before: Curve,
    after: Curve,
}

/// Paired windows made ready for tests of many ratios.
pub(crate) struct Comparison {
    pairs: Vec<PairCurves>,
    before: Curve,
    after: Curve,
    quantile: f64,
    /// Quantiles of both arms, as positions.
    before_at: f64,
    after_at: f64,
    batches: usize,
    autocorrelation: f64,
}

impl Comparison {
    pub(crate) fn new(pairs: &[Pair], quantile: f64) -> Result<Self, Shortage> {
        if !within_unit(quantile) {
            return Err(Shortage::Question);
        }
        let used: Vec<&Pair> = pairs.iter().filter(|p| !p.before.is_empty() || !p.after.is_empty()).collect();
        let before = Curve::new(used.iter().map(|pair| &pair.before));
        let after = Curve::new(used.iter().map(|pair| &pair.after));
        let (have, need) = (before.total().min(after.total()), needed_requests(quantile));
        let (Some(before_at), Some(after_at)) = (before.quantile(quantile), after.quantile(quantile)) else {
            return Err(Shortage::Requests { have, need });
        };
        if have < need {
            return Err(Shortage::Requests { have, need });
        }
        if used.len() < 2 {
            return Err(Shortage::Pairs { have: used.len(), need: 2 });
        }
        let curves = |pair: &&Pair| PairCurves {
            before: Curve::new([&pair.before]),
            after: Curve::new([&pair.after]),
        };
        let pairs: Vec<PairCurves> = used.iter().map(curves).collect();
        let mut comparison =
            Self { pairs, before, after, quantile, before_at, after_at, batches: 0, autocorrelation: 0.0 };
        comparison.join_neighbours();
        Ok(comparison)
    }

    /// Chooses how many batches the pairs are joined to: enough values in each, and no memory between them.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the number of pairs"
    )]
    fn join_neighbours(&mut self) {
        let pairs = self.pairs.len();
        let beyond = (self.before.total() + self.after.total()) * tail(self.quantile);
        let wanted = (beyond / BEYOND_PER_BATCH).min(pairs as f64) as usize;
        self.batches = wanted.max(MIN_BATCHES).min(pairs);
        self.autocorrelation = lag_one(&self.residuals(self.point()).1);
        while self.autocorrelation > MAX_AUTOCORRELATION && self.batches / 2 >= MIN_DOUBLED_BATCHES {
            self.batches /= 2;
            self.autocorrelation = lag_one(&self.residuals(self.point()).1);
        }
    }

    /// The estimate of the ratio, as a distance of positions.
    fn point(&self) -> f64 {
        (self.after_at - self.before_at).clamp(-LN_RATIO_BOUND * PER_E, LN_RATIO_BOUND * PER_E)
    }

    /// Mean difference of the shares above the pooled quantile at this shift, and each batch's deviation from it.
    fn residuals(&self, shift: f64) -> (f64, Vec<f64>) {
        let threshold =
            pooled_quantile(&self.before, &self.after, shift, self.quantile).unwrap_or(self.before_at);
        let (before_count, after_count) = (self.before.total(), self.after.total());
        let before_share = self.before.above(threshold) / before_count;
        let after_share = self.after.above(threshold + shift) / after_count;
        let mut batches = vec![0.0; self.batches];
        for (at, pair) in self.pairs.iter().enumerate() {
            let before = pair.before.above(threshold) - before_share * pair.before.total();
            let after = pair.after.above(threshold + shift) - after_share * pair.after.total();
            let batch = at * self.batches / self.pairs.len();
            batches[batch] += after / after_count - before / before_count;
        }
        batches.iter_mut().for_each(|residual| *residual *= self.batches as f64);
        (after_share - before_share, batches)
    }

    /// `√K mean(d) / sd(d)` at this shift: positive where the values after are larger than the shift says.
    fn statistic(&self, shift: f64) -> f64 {
        let (mean, residuals) = self.residuals(shift);
        if mean.abs() < 1e-12 {
            return 0.0;
        }
        let k = residuals.len() as f64;
        let variance = residuals.iter().map(|r| r * r).sum::<f64>() / (k - 1.0);
        // Without any spread the quotient is infinite, which is what it means.
        k.sqrt() * mean / variance.sqrt()
    }

    /// Pairs with requests in them.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs.len()
    }

    fn freedom(&self) -> f64 {
        self.batches as f64 - 1.0
    }

    /// P-value of "the ratio is at least `ratio`" against "it is below": small speaks for better.
    pub(crate) fn p_below(&self, ratio: f64) -> f64 {
        t_cdf(self.statistic(ratio.ln() * PER_E), self.freedom())
    }

    /// P-value of "the ratio is at most `ratio`" against "it is above": small speaks for worse.
    pub(crate) fn p_above(&self, ratio: f64) -> f64 {
        t_cdf(-self.statistic(ratio.ln() * PER_E), self.freedom())
    }

    pub(crate) fn interval(&self, confidence: f64) -> RatioInterval {
        let t = t_quantile(0.5 + confidence / 2.0, self.freedom());
        let point = self.point() / PER_E;
        let low = self.end(point, -1.0, t).min(point - RESOLUTION_LN);
        let high = self.end(point, 1.0, t).max(point + RESOLUTION_LN);
        // An open end says nothing of the spread: the closed one alone does.
        let (down, up) = (point - low, high - point);
        let half_width = match (low > -LN_RATIO_BOUND, high < LN_RATIO_BOUND) {
            (true, false) => down,
            (false, true) => up,
            _ => 0.5 * (down + up),
        };
        let se_log = half_width / t;
        RatioInterval {
            before_ms: milliseconds(self.before_at),
            after_ms: milliseconds(self.after_at),
            ratio: point.exp(),
            low: low.exp(),
            high: high.exp(),
            se_log,
            detectable: (se_log * (t + t_quantile(POWER, self.freedom()))).min(LN_RATIO_BOUND).exp_m1(),
            batches: self.batches,
            autocorrelation: self.autocorrelation,
        }
    }

    /// The end of the interval in `direction` from the estimate, as ln: steps outward until the statistic says no,
    /// then bisects that step. The bound itself where it never does.
    fn end(&self, point: f64, direction: f64, t: f64) -> f64 {
        let outside = |ln_ratio: f64| -direction * self.statistic(ln_ratio * PER_E) > t;
        let bound = direction * LN_RATIO_BOUND;
        let (mut inner, mut step) = (point, FIRST_STEP_LN);
        loop {
            let outer = point + direction * step;
            if outer.abs() >= LN_RATIO_BOUND && outer * direction > 0.0 {
                return if outside(bound) { bisect(inner, bound, outside) } else { bound };
            }
            if outside(outer) {
                return bisect(inner, outer, outside);
            }
            inner = outer;
            step *= STEP_GROWTH;
        }
    }
}

/// Where `outside` turns true between `inner` (false) and `outer` (true).
fn bisect(mut inner: f64, mut outer: f64, outside: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = 0.5 * (inner + outer);
        if outside(middle) {
            outer = middle;
        } else {
            inner = middle;
        }
    }
    0.5 * (inner + outer)
}

/// The smaller share that a quantile cuts off.
fn tail(quantile: f64) -> f64 {
    quantile.min(1.0 - quantile)
}

/// Requests that each arm must hold for this quantile.
pub(crate) fn needed_requests(quantile: f64) -> f64 {
    (MIN_BEYOND / tail(quantile) - 1e-6).ceil()
}

fn lag_one(residuals: &[f64]) -> f64 {
    let squares: f64 = residuals.iter().map(|r| r * r).sum();
    let products: f64 = residuals.windows(2).map(|w| w[0] * w[1]).sum();
    if squares > 0.0 { products / squares } else { 0.0 }
}
