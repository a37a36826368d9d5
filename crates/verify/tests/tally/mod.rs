//! Counts over many simulated trials how often their intervals are right.

use crate::series::{Layout, simulate};
use verify::{RatioInterval, compare};

/// How often intervals were right over many trials.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) trials: u32,
    /// No interval, or one that the data did not close.
    pub(crate) open: u32,
    /// The interval excludes 1.
    pub(crate) differs: u32,
    /// The interval holds the truth.
    pub(crate) covers: u32,
    /// Sum over the closed intervals, as ln of the ratio.
    pub(crate) half_width: f64,
}

impl Tally {
    pub(crate) fn share(&self, count: u32) -> f64 {
        f64::from(count) / f64::from(self.trials)
    }

    fn add(&mut self, interval: Option<&RatioInterval>, truth: f64) {
        self.trials += 1;
        let Some(found) = interval else {
            self.open += 1;
            self.covers += 1;
            return;
        };
        self.differs += u32::from(found.low > 1.0 || found.high < 1.0);
        self.covers += u32::from(found.low <= truth && truth <= found.high);
        if found.closed() {
            self.half_width += found.half_width_log();
        } else {
            self.open += 1;
        }
    }
}

/// Trials of a layout, seeds `first_seed` and up, judged on each of `quantiles`.
pub(crate) fn tally(layout: Layout, quantiles: &[f64], trials: u32, first_seed: u64) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); quantiles.len()];
    for trial in 0..trials {
        let pairs = simulate(layout, first_seed + u64::from(trial));
        for (tally, &quantile) in tallies.iter_mut().zip(quantiles) {
            tally.add(compare(&pairs, quantile, 0.95).ok().as_ref(), layout.ratio);
        }
    }
    tallies
}
