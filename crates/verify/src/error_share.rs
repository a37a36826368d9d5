//! Did more requests fail after the change? A fast failure must not pass for a gain.
//!
//! Two proportions by the normal approximation with Yates' correction; failures come in bursts, so the variance is
//! widened by what the windows show over what independent requests would (design effect, never below 1).

use crate::chance::normal_cdf;
use model::{Histogram, Pair};

/// A rise by less than this share of all requests is not held against a change.
const MIN_RISE: f64 = 0.001;

/// Failures of one operation in both arms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ErrorShares {
    /// 0 to 1; 0 without requests.
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// One-sided p-value of "no more fail than before"; 1 where the rise is too small to matter.
    pub(crate) p_rise: f64,
}

/// Requests of a window: failed ones are among the responses. A source that keeps them out of the histogram still
/// cannot show a share above 1.
fn requests(histogram: &Histogram, errors: u64) -> f64 {
    histogram.count().max(errors) as f64
}

#[derive(Clone, Copy, Default)]
struct Arm {
    errors: f64,
    requests: f64,
}

impl Arm {
    fn of<'a>(windows: impl Iterator<Item = (&'a Histogram, u64)>) -> Self {
        windows.fold(Self::default(), |sum, (histogram, errors)| Self {
            errors: sum.errors + errors as f64,
            requests: sum.requests + requests(histogram, errors),
        })
    }

    fn share(&self) -> f64 {
        if self.requests > 0.0 { self.errors / self.requests } else { 0.0 }
    }
}

pub(crate) fn compare_errors(pairs: &[Pair]) -> ErrorShares {
    let before = Arm::of(pairs.iter().map(|pair| (&pair.before, pair.before_errors)));
    let after = Arm::of(pairs.iter().map(|pair| (&pair.after, pair.after_errors)));
    let rise = after.share() - before.share();
    let mut shares = ErrorShares { before: before.share(), after: after.share(), p_rise: 1.0 };
    if before.requests > 0.0 && after.requests > 0.0 && rise >= MIN_RISE {
        shares.p_rise = 1.0 - normal_cdf(z_of_rise(pairs, before, after));
    }
    shares
}

/// Standard errors by which the share after exceeds that before.
fn z_of_rise(pairs: &[Pair], before: Arm, after: Arm) -> f64 {
    let pooled = (before.errors + after.errors) / (before.requests + after.requests);
    let per_request = 1.0 / before.requests + 1.0 / after.requests;
    let independent = pooled * (1.0 - pooled) * per_request;
    let observed = variance_between_windows(pairs, before, after);
    let deviation = independent.max(observed).sqrt();
    let rise = (after.share() - before.share() - 0.5 * per_request).max(0.0);
    // Without deviation every request failed in both arms: no rise, then.
    if deviation > 0.0 { rise / deviation } else { 0.0 }
}

/// Variance of the difference of the shares as the windows scatter around it; 0 from fewer than two pairs.
fn variance_between_windows(pairs: &[Pair], before: Arm, after: Arm) -> f64 {
    if pairs.len() < 2 {
        return 0.0;
    }
    let k = pairs.len() as f64;
    let residual = |pair: &Pair| {
        let apart = |histogram: &Histogram, errors: u64, arm: Arm| {
            (errors as f64 - arm.share() * requests(histogram, errors)) / arm.requests
        };
        apart(&pair.after, pair.after_errors, after) - apart(&pair.before, pair.before_errors, before)
    };
    pairs.iter().map(|pair| residual(pair).powi(2)).sum::<f64>() * k / (k - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(before_errors: u64, after_errors: u64, requests: u64) -> Pair {
        let mut before = Histogram::default();
        before.add(1500, requests);
        Pair { after: before.clone(), before, before_errors, after_errors }
    }

    #[test]
    fn a_change_that_fails_half_of_the_time_is_seen() {
        let found = compare_errors(&vec![pair(0, 5, 10); 6]);
        assert!(found.p_rise < 1e-6, "{found:?}");
        assert!((found.after - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_two_proportion_test_agrees_with_the_textbook() {
        // 40 of 1000 against 60 of 1000: z = (0.02 - 0.001) / sqrt(0.05 * 0.95 * 0.002) = 1.949.
        let found = compare_errors(&[pair(40, 60, 1000)]);
        assert!((found.p_rise - 0.025_6).abs() < 3e-4, "{found:?}");
    }

    #[test]
    fn one_burst_of_failures_is_less_telling_than_the_same_number_spread_out() {
        let mut burst = vec![pair(1, 1, 100); 12];
        burst[5].after_errors = 25;
        let spread = vec![pair(1, 3, 100); 12];
        assert!(compare_errors(&burst).p_rise > 0.05);
        assert!(compare_errors(&spread).p_rise < 0.01);
    }

    #[test]
    fn equal_shares_and_no_requests_are_no_rise() {
        for pairs in [vec![], vec![Pair::default(); 3], vec![pair(10, 10, 10); 4], vec![pair(3, 3, 100); 4]] {
            assert!(compare_errors(&pairs).p_rise >= 0.5, "{pairs:?}");
        }
    }

    #[test]
    fn failures_kept_out_of_the_histogram_still_count() {
        let mut pairs = vec![pair(0, 0, 50); 6];
        for pair in &mut pairs {
            pair.after = Histogram::default();
            pair.after_errors = 50;
        }
        let found = compare_errors(&pairs);
        assert!(found.p_rise < 1e-6 && found.after <= 1.0, "{found:?}");
    }
}
