//! What a metric keeps of its samples: sums and sketches of a fixed size.

use super::Kind;
use model::Histogram;
use std::time::Duration;

/// So many values are kept as they are, so that percentiles of few values are exact.
const EXACT_VALUES: usize = 512;
/// A trend's unit becomes so many of the histogram's: milliseconds become nanoseconds.
const SCALE: f64 = 1e6;

#[derive(Clone, Debug)]
pub(crate) enum Sink {
    Counter { sum: f64, samples: u64 },
    Gauge { value: f64, min: f64, max: f64, samples: u64 },
    Rate { passes: u64, total: u64 },
    Trend(Box<Trend>),
}

impl Sink {
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter { sum: 0.0, samples: 0 },
            Kind::Gauge => Self::Gauge { value: 0.0, min: 0.0, max: 0.0, samples: 0 },
            Kind::Rate => Self::Rate { passes: 0, total: 0 },
            Kind::Trend => Self::Trend(Box::default()),
        }
    }

    pub(crate) fn add(&mut self, added: f64) {
        match self {
            Self::Counter { sum, samples } => {
                *sum += added;
                *samples += 1;
            }
            Self::Gauge { value, min, max, samples } => {
                *value = added;
                *min = if *samples == 0 { added } else { min.min(added) };
                *max = if *samples == 0 { added } else { max.max(added) };
                *samples += 1;
            }
            Self::Rate { passes, total } => {
                *passes += u64::from(added != 0.0);
                *total += 1;
            }
            Self::Trend(trend) => trend.add(added),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Counter { samples, .. } | Self::Gauge { samples, .. } => *samples == 0,
            Self::Rate { total, .. } => *total == 0,
            Self::Trend(trend) => trend.count == 0,
        }
    }

    /// Per second of the test.
    pub(crate) fn per_second(&self, elapsed: Duration) -> f64 {
        let Self::Counter { sum, .. } = self else { return 0.0 };
        sum / elapsed.as_secs_f64().max(1e-9)
    }
}

/// Distribution of values: exact while there are few, then known within 0.54 %; count, mean, extremes always exact.
#[derive(Clone, Debug)]
pub(crate) struct Trend {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    exact: Vec<f64>,
    positive: Histogram,
    zeros: u64,
    negative: Histogram,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            exact: Vec::new(),
            positive: Histogram::default(),
            zeros: 0,
            negative: Histogram::default(),
        }
    }
}

impl Trend {
    pub(crate) fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if self.count <= EXACT_VALUES as u64 {
            self.exact.push(value);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let scaled = (value.abs() * SCALE) as u64;
        match value {
            _ if scaled == 0 => self.zeros += 1,
            v if v > 0.0 => self.positive.record(scaled),
            _ => self.negative.record(scaled),
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The `q`-quantile (0 to 1); 0 without values. Of few values interpolated as k6 does, else nearest rank.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is between 0 and the count"
    )]
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let q = q.clamp(0.0, 1.0);
        if self.count == 0 {
            return 0.0;
        }
        if self.count <= EXACT_VALUES as u64 {
            let mut sorted = self.exact.clone();
            sorted.sort_by(f64::total_cmp);
            let at = q * (sorted.len() - 1) as f64;
            let (below, part) = (at.floor() as usize, at.fract());
            let above = sorted[(below + 1).min(sorted.len() - 1)];
            return sorted[below] + (above - sorted[below]) * part;
        }
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count);
        let below = self.negative.count();
        let value = if rank <= below {
            let share = (below - rank + 1) as f64 / below as f64;
            -self.negative.quantile_ns(share).unwrap_or(0.0) / SCALE
        } else if rank <= below + self.zeros {
            0.0
        } else {
            let share = (rank - below - self.zeros) as f64 / self.positive.count().max(1) as f64;
            self.positive.quantile_ns(share).unwrap_or(0.0) / SCALE
        };
        value.clamp(self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_exact_and_many_are_close() {
        let mut trend = Trend::default();
        for value in [4.0, 1.0, 3.0, 2.0] {
            trend.add(value);
        }
        assert!((trend.quantile(0.5) - 2.5).abs() < 1e-9);
        let mut trend = Trend::default();
        for value in 1..=10_000 {
            trend.add(f64::from(value) - 5_000.0);
        }
        for (q, expected) in [(0.95, 4_500.0), (0.25, -2_500.0), (1.0, 5_000.0), (0.0, -4_999.0)] {
            let got = trend.quantile(q);
            assert!((got - expected).abs() < 30.0, "{q}: {got}");
        }
        assert!((trend.mean() - 0.5).abs() < 1e-9);
    }
}
