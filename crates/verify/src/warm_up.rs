//! Where the warm-up ends, by MSER-5 on means of log latency. It cuts; it does not judge.

use model::LatencyCell;
use std::collections::BTreeMap;

/// Cells averaged to one value: the 5 of MSER-5, or as many as leave [`MIN_BATCHES`].
const CELLS_PER_BATCH: usize = 5;
/// With twelve batches 8 % of level series were called unsteady, with twenty 3 to 5 %.
const MIN_BATCHES: usize = 20;
/// Fewer cells tell nothing.
const MIN_CELLS: usize = 10;
/// A cut in the last tenth of the half that may be cut means that the series never settled.
const UNSETTLED_SHARE: f64 = 0.9;

/// What to leave out at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// Cells to cut off.
    pub cut: usize,
    /// `false`: the series had not settled by its middle, so that no verdict should rest on it.
    pub steady: bool,
}

/// The truncation that minimises `Σ (Y_i - mean)² / (n - d)²` over the cells kept, d at most half of them
/// (White 1997; MSER-5: White, Cobb and Spratt 2000). Means that are not finite (empty cells) are passed over.
/// A series of fewer than ten cells is left as it is: nothing can be told from it.
#[must_use]
pub fn warm_up(means: &[f64]) -> WarmUp {
    let seen: Vec<(usize, f64)> =
        means.iter().copied().enumerate().filter(|cell| cell.1.is_finite()).collect();
    if seen.len() < MIN_CELLS {
        return WarmUp { cut: 0, steady: true };
    }
    let width = (seen.len() / MIN_BATCHES).clamp(1, CELLS_PER_BATCH);
    let batches: Vec<f64> = seen
        .chunks_exact(width)
        .map(|chunk| chunk.iter().map(|cell| cell.1).sum::<f64>() / width as f64)
        .collect();
    let limit = batches.len() / 2;
    let cut = least_error(&batches, limit);
    let steady = (cut as f64) < UNSETTLED_SHARE * limit as f64;
    WarmUp { cut: if cut == 0 { 0 } else { seen[cut * width].0 }, steady }
}

/// The d in 0..=limit with the smallest squared standard error of the mean of `values[d..]`.
fn least_error(values: &[f64], limit: usize) -> usize {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    let mut best = (f64::INFINITY, 0);
    // From the end, so that each truncation adds one value to the last one's mean and squares (Welford).
    for (d, value) in values.iter().enumerate().rev() {
        count += 1.0;
        let apart = value - mean;
        mean += apart / count;
        squares += apart * (value - mean);
        let error = squares / (count * count);
        if d <= limit && error <= best.0 {
            best = (error, d);
        }
    }
    best.1
}

/// Means of ln latency per cell, for [`warm_up`], from cell 0 to the last one. Each operation is first brought to
/// mean 0, so that a cell with another mix of operations is no slower cell. Cells without any request are NaN.
#[must_use]
pub fn log_means(cells: &[LatencyCell]) -> Vec<f64> {
    let ln_sum = |cell: &LatencyCell| -> f64 {
        let middles = cell.response.buckets().iter();
        middles.map(|&(bucket, count)| (f64::from(bucket) + 0.5) / crate::curve::PER_E * count as f64).sum()
    };
    let mut operations: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for cell in cells {
        let of = operations.entry(cell.operation).or_default();
        of.0 += ln_sum(cell);
        of.1 += cell.response.count() as f64;
    }
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| !cell.response.is_empty()) {
        let (sum, count) = operations[&cell.operation];
        let here = cell.response.count() as f64;
        let of = sums.entry(cell.cell).or_default();
        of.0 += ln_sum(cell) - sum / count * here;
        of.1 += here;
    }
    let length = sums.keys().next_back().map_or(0, |last| (*last as usize + 1).min(MAX_CELLS));
    let mut means = vec![f64::NAN; length];
    for (cell, (sum, count)) in sums {
        if let Some(mean) = means.get_mut(cell as usize) {
            *mean = sum / count;
        }
    }
    means
}

/// Cells looked at: eleven days of seconds. A recording with a stray cell number must not take all memory.
const MAX_CELLS: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use model::Histogram;

    /// Noise without chance: the fractional parts of multiples of the golden ratio, centred.
    fn noise(i: usize) -> f64 {
        (i as f64 * 0.618_033_988_749_895).fract() - 0.5
    }

    #[test]
    fn a_slow_start_is_cut_and_little_more() {
        let means: Vec<f64> =
            (0..100).map(|i| noise(i) * 0.1 + if i < 12 { 2.0 - i as f64 / 6.0 } else { 0.0 }).collect();
        let found = warm_up(&means);
        assert!((10..=20).contains(&found.cut) && found.steady, "{found:?}");
    }

    #[test]
    fn a_level_series_keeps_most_of_itself() {
        let means: Vec<f64> = (0..100).map(|i| noise(i) * 0.1).collect();
        let found = warm_up(&means);
        assert!(found.cut <= 25 && found.steady, "{found:?}");
    }

    #[test]
    fn a_series_that_keeps_falling_is_not_steady() {
        for cells in [20, 60, 300] {
            let means: Vec<f64> = (0..cells).map(|i| noise(i) * 0.02 - i as f64 / cells as f64).collect();
            assert!(!warm_up(&means).steady, "{cells}");
        }
    }

    #[test]
    fn hostile_series_are_survived() {
        assert_eq!(warm_up(&[]), WarmUp { cut: 0, steady: true });
        assert_eq!(warm_up(&[f64::NAN; 50]), WarmUp { cut: 0, steady: true });
        assert_eq!(warm_up(&[1.0; 40]), WarmUp { cut: 0, steady: true });
        let mut holes: Vec<f64> = (0..40).map(noise).collect();
        holes[..8].fill(f64::INFINITY);
        assert!(warm_up(&holes).steady);
    }

    #[test]
    fn the_cut_counts_cells_and_not_seen_cells() {
        let mut means: Vec<f64> = (0..40).map(|i| noise(i) * 0.1).collect();
        means[..4].fill(f64::NAN);
        means[4..8].fill(5.0);
        assert!(warm_up(&means).cut >= 8, "{:?}", warm_up(&means));
    }

    #[test]
    fn another_mix_of_operations_is_no_slower_cell() {
        let cell = |operation: u32, cell: u32, ms: u64, times: u32| {
            let mut response = Histogram::default();
            (0..times).for_each(|_| response.record(ms * 1_000_000));
            LatencyCell { operation, cell, response, ..LatencyCell::default() }
        };
        let cells = [cell(0, 0, 10, 9), cell(1, 0, 500, 1), cell(0, 3, 10, 1), cell(1, 3, 500, 9)];
        let means = log_means(&cells);
        assert_eq!(means.len(), 4);
        assert!(means[0].abs() < 1e-12 && means[3].abs() < 1e-12 && means[1].is_nan(), "{means:?}");
    }
}
