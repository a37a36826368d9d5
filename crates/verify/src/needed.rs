//! How much more measuring a verdict would take: an interval's half width falls with the square root of the length.

use crate::chance::t_quantile;
use crate::interval::{RatioInterval, Shortage};
use crate::judge::Options;
use model::{Design, Trial};

/// A verdict is not planned for on a margin finer than this share of the tolerance: a ratio that sits on a border
/// would never be told.
const LEAST_MARGIN: f64 = 0.5;

/// Pairs of windows after which an interval that `pairs` pairs gave would have this half width (as ln of the ratio).
/// `None` where no length of measuring can be named: a width that is not positive, or an interval without error.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within u32")]
pub fn required_windows(
    interval: &RatioInterval,
    pairs: usize,
    half_width_log: f64,
    confidence: f64,
) -> Option<usize> {
    let now = interval.se_log * t_quantile(0.5 + confidence / 2.0, interval.batches.max(2) as f64 - 1.0);
    let required = (pairs as f64 * (now / half_width_log).powi(2)).ceil();
    (half_width_log > 0.0 && required <= f64::from(u32::MAX)).then_some(required as usize)
}

/// Seconds of measuring still needed until the interval would lie on one side of a border, should its estimate hold.
/// `tests` is how many metrics share the level of confidence; 1 for a metric that stands alone.
#[must_use]
pub fn needed_s(
    trial: &Trial,
    interval: &RatioInterval,
    pairs: usize,
    options: &Options,
    tests: usize,
) -> Option<f64> {
    let margin = margin(interval.ratio.ln(), options.tolerance);
    let confidence = 1.0 - (1.0 - options.confidence) / tests.max(1) as f64;
    let required = required_windows(interval, pairs, margin, confidence)?;
    // An open end has no width to reckon with: as much again is the least that can be told.
    let least = if interval.closed() { 1 } else { pairs };
    seconds_of(trial, required.saturating_sub(pairs).max(least) as f64)
}

/// As [`needed_s`], where there is no interval yet.
pub(crate) fn needed_for(trial: &Trial, shortage: Shortage, pairs: usize) -> Option<f64> {
    match shortage {
        Shortage::Pairs { have, need } => seconds_of(trial, need.saturating_sub(have) as f64),
        Shortage::Requests { have, need } if have > 0.0 => {
            seconds_of(trial, (pairs as f64 * (need / have - 1.0)).ceil().max(1.0))
        }
        Shortage::Requests { .. } | Shortage::Question => None,
    }
}

/// The widest half width with which an interval around `ln_ratio` would lie on one side of a border.
fn margin(ln_ratio: f64, tolerance: f64) -> f64 {
    let (upper, lower) = (tolerance.ln_1p(), (-tolerance).ln_1p());
    let better = -ln_ratio;
    let worse = ln_ratio - upper;
    let same = (upper - ln_ratio).min(ln_ratio - lower);
    better.max(worse).max(same).max(LEAST_MARGIN * upper)
}

fn seconds_of(trial: &Trial, pairs: f64) -> Option<f64> {
    let per_pair = match trial.design {
        Design::Duet => trial.window_s,
        Design::Interleaved | Design::Sequential => 2.0 * trial.window_s,
    };
    let seconds = pairs * per_pair;
    (seconds.is_finite() && per_pair > 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_width_takes_four_times_the_windows() {
        let interval = RatioInterval {
            before_ms: 1.0,
            after_ms: 1.0,
            ratio: 1.0,
            low: (-0.2_f64).exp(),
            high: 0.2_f64.exp(),
            se_log: 0.2 / t_quantile(0.975, 19.0),
            detectable: 0.3,
            batches: 20,
            autocorrelation: 0.0,
        };
        assert_eq!(required_windows(&interval, 20, 0.1, 0.95), Some(80));
        for never in [0.0, -1.0, f64::NAN, 1e-30] {
            assert_eq!(required_windows(&interval, 20, never, 0.95), None);
        }
    }

    #[test]
    fn the_margin_is_the_distance_to_the_easiest_border() {
        assert!((margin(-0.3, 0.05) - 0.3).abs() < 1e-12);
        assert!((margin(0.3, 0.05) - (0.3 - 1.05_f64.ln())).abs() < 1e-12);
        assert!((margin(0.0, 0.05) - 1.05_f64.ln()).abs() < 1e-12);
        assert!(margin(1.05_f64.ln(), 0.05) > 0.02);
    }
}
