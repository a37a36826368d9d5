//! A histogram as a curve: how many values lie above a point, continuous in that point.
//!
//! Points are positions on the buckets' own scale, `64 log2(ns)`: bucket `i` covers `(i, i + 1]`, and a ratio of two
//! durations is a distance. The counts of a bucket are spread evenly over it, so that an interval found by moving one
//! curve against another does not jump from bucket to bucket.

use model::Histogram;

/// Positions per unit of the natural logarithm.
pub(crate) const PER_E: f64 = 64.0 / std::f64::consts::LN_2;
/// A quantile is sought to this part of a bucket: 1e-10 of its value.
const PRECISION: f64 = 1e-8;
/// Halvings of a bracket of positions at most: 40 bring even 4,096 (a factor of 2^64) below the precision.
const HALVINGS: usize = 40;

/// Cumulated counts of one or several histograms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Curve {
    /// Bucket and the count of all buckets before it, ascending.
    buckets: Vec<(i32, f64)>,
    total: f64,
}

impl Curve {
    pub(crate) fn new<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Self {
        let mut counts: Vec<(i32, u64)> =
            histograms.into_iter().flat_map(Histogram::buckets).copied().collect();
        counts.sort_unstable_by_key(|bucket| bucket.0);
        let mut curve = Self::default();
        for (bucket, count) in counts {
            if curve.buckets.last().is_none_or(|last| last.0 != bucket) {
                curve.buckets.push((bucket, curve.total));
            }
            curve.total += count as f64;
        }
        curve
    }

    /// How many values there are.
    pub(crate) fn total(&self) -> f64 {
        self.total
    }

    /// How many values lie above `position`, with the share of the bucket that it cuts.
    pub(crate) fn above(&self, position: f64) -> f64 {
        let next = self.buckets.partition_point(|bucket| f64::from(bucket.0) < position);
        let Some(at) = next.checked_sub(1) else { return self.total };
        let (bucket, before) = self.buckets[at];
        let after = self.buckets.get(next).map_or(self.total, |bucket| bucket.1);
        let share = (position - f64::from(bucket)).min(1.0);
        self.total - before - (after - before) * share
    }

    /// Where the `q`-quantile lies; `None` without values.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q.clamp(0.0, 1.0) * self.total;
        let next = self.buckets.partition_point(|bucket| bucket.1 < rank);
        let at = next.saturating_sub(1);
        let &(bucket, before) = self.buckets.get(at)?;
        let after = self.buckets.get(at + 1).map_or(self.total, |bucket| bucket.1);
        let share = if after > before { ((rank - before) / (after - before)).clamp(0.0, 1.0) } else { 0.0 };
        Some(f64::from(bucket) + share)
    }
}

/// Where the `q`-quantile of `left` and `right` together lies once `right` is moved down by `shift`.
/// It is between the two curves' own quantiles; `None` where one of them is empty.
pub(crate) fn pooled_quantile(left: &Curve, right: &Curve, shift: f64, q: f64) -> Option<f64> {
    let (a, b) = (left.quantile(q)?, right.quantile(q)? - shift);
    let (mut low, mut high) = (a.min(b), a.max(b));
    let wanted = (1.0 - q) * (left.total + right.total);
    for _ in 0..HALVINGS {
        if high - low < PRECISION {
            break;
        }
        let middle = 0.5 * (low + high);
        if left.above(middle) + right.above(middle + shift) > wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(0.5 * (low + high))
}

/// A position in milliseconds; finite whatever the bucket.
pub(crate) fn milliseconds(position: f64) -> f64 {
    (position / 64.0).min(1000.0).exp2() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[(i32, u64)]) -> Curve {
        let mut histogram = Histogram::default();
        values.iter().for_each(|&(bucket, count)| histogram.add(bucket, count));
        Curve::new([&histogram])
    }

    #[test]
    fn counts_above_fall_evenly_across_a_bucket() {
        let curve = of(&[(10, 4), (20, 4)]);
        let above: Vec<f64> =
            [-5.0, 10.0, 10.25, 11.0, 15.0, 20.0, 20.5, 21.0, 99.0].map(|at| curve.above(at)).to_vec();
        assert_eq!(above, [8.0, 8.0, 7.0, 4.0, 4.0, 4.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn a_quantile_leaves_its_share_above() {
        let curve = of(&[(-3, 5), (0, 10), (7, 1), (64, 34)]);
        for q in [0.01, 0.1, 0.3, 0.31, 0.5, 0.95, 0.999] {
            let position = curve.quantile(q).unwrap();
            assert!((curve.above(position) - (1.0 - q) * 50.0).abs() < 1e-9, "{q} at {position}");
        }
        assert_eq!(Curve::default().quantile(0.5), None);
    }

    #[test]
    fn the_pooled_quantile_leaves_its_share_of_both_above() {
        let (left, right) = (of(&[(0, 10), (30, 5), (90, 2)]), of(&[(5, 8), (40, 7), (200, 3)]));
        for shift in [-300.0, -7.3, 0.0, 2.5, 400.0] {
            let at = pooled_quantile(&left, &right, shift, 0.9).unwrap();
            let above = left.above(at) + right.above(at + shift);
            assert!((above - 3.5).abs() < 1e-6, "{above} above {at} at shift {shift}");
        }
    }

    #[test]
    fn milliseconds_are_the_buckets_values() {
        let bucket = Histogram::bucket_of(25_000_000);
        let ms = milliseconds(f64::from(bucket) + 0.5);
        assert!((ms / (Histogram::value_of(bucket) / 1e6) - 1.0).abs() < 1e-12);
    }
}
