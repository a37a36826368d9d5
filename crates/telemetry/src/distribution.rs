//! A histogram as senders give it, only to take differences and quantiles of: explicit bounds (OTLP, Prometheus) or
//! base-2 exponential buckets (OTLP). Latencies of our own load are `model::Histogram`, which needs none of this.

use crate::bounds::MAX_BUCKETS;
use std::collections::BTreeMap;

/// Counts of values by bucket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// `counts[i]` values lie in `(bounds[i - 1], bounds[i]]`; there is one more count than bounds.
    Explicit { bounds: Vec<f64>, counts: Vec<u64> },
    /// Bucket `i` holds `(base^i, base^(i+1)]`, base = 2^(2^-scale).
    Exponential { scale: i32, zeros: u64, buckets: BTreeMap<i32, u64> },
}

/// OTLP's range is -10 to 20.
const SCALES: std::ops::RangeInclusive<i64> = -16..=24;

impl Distribution {
    /// `None` unless bounds ascend, are numbers, and counts fit them.
    pub(crate) fn explicit(bounds: Vec<f64>, counts: Vec<u64>) -> Option<Self> {
        let ascend = bounds.windows(2).all(|w| w[0] < w[1]) && bounds.iter().all(|b| b.is_finite());
        let fit = counts.len() == bounds.len() + 1 || (counts.is_empty() && bounds.is_empty());
        (ascend && fit && counts.len() <= MAX_BUCKETS).then_some(Self::Explicit { bounds, counts })
    }

    /// `None` if scale or offset are out of range or there are too many buckets.
    pub(crate) fn exponential(scale: i64, zeros: u64, offset: i64, counts: &[u64]) -> Option<Self> {
        if !SCALES.contains(&scale) || counts.len() > MAX_BUCKETS {
            return None;
        }
        let first = i32::try_from(offset).ok()?;
        first.checked_add(i32::try_from(counts.len()).ok()?)?;
        let buckets = counts.iter().zip(first..).filter(|(n, _)| **n > 0).map(|(n, at)| (at, *n)).collect();
        Some(Self::Exponential { scale: i32::try_from(scale).ok()?, zeros, buckets })
    }

    /// What was added since `earlier`; all of it if the counting began anew.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        self.minus(earlier).unwrap_or_else(|| self.clone())
    }

    fn minus(&self, earlier: &Self) -> Option<Self> {
        match (self, earlier) {
            (Self::Explicit { bounds, counts }, Self::Explicit { bounds: old_bounds, counts: old }) => {
                if bounds != old_bounds || counts.len() != old.len() {
                    return None;
                }
                let counts: Option<Vec<u64>> =
                    counts.iter().zip(old).map(|(a, b)| a.checked_sub(*b)).collect();
                Some(Self::Explicit { bounds: bounds.clone(), counts: counts? })
            }
            (
                Self::Exponential { scale, zeros, .. },
                Self::Exponential { scale: old, zeros: old_zeros, .. },
            ) => {
                let common = *scale.min(old);
                let mut buckets = self.at_scale(common);
                for (at, count) in earlier.at_scale(common) {
                    let left = buckets.entry(at).or_default();
                    *left = left.checked_sub(count)?;
                }
                Some(Self::Exponential { scale: common, zeros: zeros.checked_sub(*old_zeros)?, buckets })
            }
            _ => None,
        }
    }

    fn at_scale(&self, coarser: i32) -> BTreeMap<i32, u64> {
        let mut all = BTreeMap::new();
        if let Self::Exponential { scale, buckets, .. } = self {
            let halvings = u32::try_from(scale - coarser).unwrap_or(0).min(31);
            for (at, count) in buckets {
                let sum: &mut u64 = all.entry(at >> halvings).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        all
    }

    /// The `q`-quantile in the histogram's own unit: linear within an explicit bucket as Prometheus's
    /// `histogram_quantile`, the geometric middle of an exponential one. `None` without values.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        match self {
            Self::Explicit { bounds, counts } => explicit_quantile(bounds, counts, q),
            Self::Exponential { scale, zeros, buckets } => {
                let total = buckets.values().fold(*zeros, |all, n| all.saturating_add(*n));
                let rank = q * total as f64;
                let mut seen = *zeros as f64;
                if total == 0 || seen >= rank && *zeros > 0 {
                    return (total > 0).then_some(0.0);
                }
                let width = f64::from(-scale).exp2();
                for (at, count) in buckets {
                    seen += *count as f64;
                    if seen >= rank {
                        return Some(((f64::from(*at) + 0.5) * width).exp2());
                    }
                }
                None
            }
        }
    }
}

fn explicit_quantile(bounds: &[f64], counts: &[u64], q: f64) -> Option<f64> {
    let total: f64 = counts.iter().map(|n| *n as f64).sum();
    if total <= 0.0 || bounds.is_empty() {
        return None;
    }
    let rank = q * total;
    let mut seen = 0.0;
    for (at, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && seen + count >= rank {
            // Beyond the last bound nothing is known but that bound.
            let Some(&upper) = bounds.get(at) else { break };
            let lower = if at == 0 { upper.min(0.0) } else { bounds[at - 1] };
            return Some(lower + (upper - lower) * ((rank - seen) / count).clamp(0.0, 1.0));
        }
        seen += count;
    }
    bounds.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_quantiles_are_linear_within_a_bucket() {
        let all = Distribution::explicit(vec![0.1, 0.2, 0.4], vec![10, 10, 0, 0]).unwrap();
        assert_eq!(all.quantile(0.5), Some(0.1));
        let p95 = all.quantile(0.95).unwrap();
        assert!((p95 - 0.19).abs() < 1e-12, "{p95}");
        let beyond = Distribution::explicit(vec![0.1], vec![0, 5]).unwrap();
        assert_eq!(beyond.quantile(0.5), Some(0.1));
        assert_eq!(Distribution::explicit(vec![], vec![]).unwrap().quantile(0.5), None);
    }

    #[test]
    fn exponential_quantiles_hit_the_bucket() {
        // Scale 6, one value of 250: bucket ceil(log2(250) * 64) - 1.
        let at = model::Histogram::bucket_of(250);
        let one = Distribution::exponential(6, 0, i64::from(at), &[1]).unwrap();
        let p50 = one.quantile(0.5).unwrap();
        assert!((p50 / 250.0 - 1.0).abs() < 0.006, "{p50}");
        assert_eq!(Distribution::exponential(3, 5, 0, &[]).unwrap().quantile(0.9), Some(0.0));
    }

    #[test]
    fn differences_cross_scales_and_restarts() {
        let fine = Distribution::exponential(1, 0, 4, &[3, 3]).unwrap();
        let coarse = Distribution::exponential(0, 0, 2, &[4]).unwrap();
        assert_eq!(fine.since(&coarse), Distribution::exponential(0, 0, 2, &[2]).unwrap());
        let restarted = Distribution::explicit(vec![1.0], vec![1, 0]).unwrap();
        let before = Distribution::explicit(vec![1.0], vec![9, 9]).unwrap();
        assert_eq!(restarted.since(&before), restarted);
    }

    #[test]
    fn hostile_shapes_are_refused() {
        assert_eq!(Distribution::explicit(vec![2.0, 1.0], vec![1, 1, 1]), None);
        assert_eq!(Distribution::explicit(vec![f64::NAN], vec![1, 1]), None);
        assert_eq!(Distribution::explicit(vec![1.0], vec![1]), None);
        assert_eq!(Distribution::exponential(99, 0, 0, &[]), None);
        assert_eq!(Distribution::exponential(3, 0, i64::MAX, &[1]), None);
        assert_eq!(Distribution::exponential(3, 0, i64::from(i32::MAX), &[1]), None);
    }
}
