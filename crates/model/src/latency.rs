//! One latency sketch for everything: base-2 exponential buckets at scale 6.
//!
//! Bucket `i` holds the values in `(2^(i/64), 2^((i+1)/64)]` nanoseconds, so that any value is known within 0.54 %.
//! The same buckets are OpenTelemetry's exponential histogram (scale 6), Prometheus's native histogram (schema 6) and
//! `ceil(log2(ns) * 64) - 1` in SQL; histograms of many workers merge exactly by adding counts.

use serde::{Deserialize, Serialize};

/// Buckets per doubling: 2^6.
const BUCKETS_PER_DOUBLING: f64 = 64.0;

/// Counts of durations in nanoseconds, sparse, sorted by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    buckets: Vec<(i32, u64)>,
    count: u64,
}

impl Histogram {
    /// The bucket of a duration in nanoseconds; 0 ns counts as 1 ns.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "log2 of a u64 times 64 is below 4,097")]
    pub fn bucket_of(ns: u64) -> i32 {
        if ns <= 1 { -1 } else { ((ns as f64).log2() * BUCKETS_PER_DOUBLING).ceil() as i32 - 1 }
    }

    /// The value that stands for a bucket, in nanoseconds: its geometric middle.
    #[must_use]
    pub fn value_of(bucket: i32) -> f64 {
        ((f64::from(bucket) + 0.5) / BUCKETS_PER_DOUBLING).exp2()
    }

    /// Counts one duration.
    pub fn record(&mut self, ns: u64) {
        self.add(Self::bucket_of(ns), 1);
    }

    /// Adds `count` to a bucket; for merging and for reading a recording back.
    pub fn add(&mut self, bucket: i32, count: u64) {
        if count == 0 {
            return;
        }
        self.count += count;
        match self.buckets.binary_search_by_key(&bucket, |b| b.0) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Adds all of `other`; exact.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            self.add(bucket, count);
        }
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `(bucket, count)`, ascending.
    #[must_use]
    pub fn buckets(&self) -> &[(i32, u64)] {
        &self.buckets
    }

    /// The `q`-quantile (0 to 1) in nanoseconds by the nearest-rank rule; `None` without any value.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is between 1 and the count"
    )]
    pub fn quantile_ns(&self, q: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for &(bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(Self::value_of(bucket));
            }
        }
        None
    }

    /// The `q`-quantile in milliseconds.
    #[must_use]
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        self.quantile_ns(q).map(|ns| ns / 1e6)
    }

    /// The mean in milliseconds, from the buckets' middles.
    #[must_use]
    pub fn mean_ms(&self) -> Option<f64> {
        let sum: f64 = self.buckets.iter().map(|&(b, n)| Self::value_of(b) * n as f64).sum();
        (self.count > 0).then(|| sum / self.count as f64 / 1e6)
    }

    /// How many values lie in buckets above the one of `ns`.
    #[must_use]
    pub fn count_above(&self, ns: f64) -> u64 {
        self.buckets.iter().filter(|b| Self::value_of(b.0) > ns).map(|b| b.1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_value_is_known_within_0_55_percent() {
        let mut ns = 2_u64;
        while ns < 1 << 50 {
            let back = Histogram::value_of(Histogram::bucket_of(ns));
            assert!((back / ns as f64 - 1.0).abs() < 0.0055, "{ns} came back as {back}");
            ns += ns / 7 + 1;
        }
    }

    #[test]
    fn merging_is_adding() {
        let (mut left, mut right, mut both) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        for i in 0..1000_u64 {
            let ns = i * i * 37 + 5;
            if i % 3 == 0 {
                left.record(ns)
            } else {
                right.record(ns)
            }
            both.record(ns);
        }
        left.merge(&right);
        assert_eq!(left, both);
    }

    #[test]
    fn quantiles_follow_the_nearest_rank() {
        let mut histogram = Histogram::default();
        for ms in 1..=100_u64 {
            histogram.record(ms * 1_000_000);
        }
        let p95 = histogram.quantile_ms(0.95).unwrap_or_default();
        assert!((p95 / 95.0 - 1.0).abs() < 0.0055, "{p95}");
        assert_eq!(Histogram::default().quantile_ms(0.5), None);
        assert!(histogram.quantile_ms(0.0).is_some_and(|p| p < 1.01));
    }
}
