//! The order of an interleaved trial's windows, and the pairs that its cells make.

use model::{LatencyCell, Pair};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;

/// The two sides of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// Without the change.
    Before,
    /// With it.
    After,
}

/// A stretch of one arm: cells `from_cell` up to but without `to_cell`. Cells between two windows, in which the
/// service settles after a switch, belong to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub arm: Arm,
    pub from_cell: u32,
    pub to_cell: u32,
}

/// The arms in the order to measure them: `pairs` times both, the order drawn anew for each pair, so that neither
/// drift nor a rhythm of the service falls on one arm. The same seed gives the same order.
#[must_use]
pub fn schedule(pairs: usize, seed: u64) -> Vec<Arm> {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut order = || if chance.random() { [Arm::Before, Arm::After] } else { [Arm::After, Arm::Before] };
    (0..pairs).flat_map(|_| order()).collect()
}

/// The pairs of every operation, in the order of time: each window together with the next one if that is of the
/// other arm; a window left alone is dropped. Every operation has every pair, empty where it had no request.
/// Cells of operations out of range, and outside all windows, are passed over.
#[must_use]
pub fn pair_up(
    cells: &[LatencyCell],
    operations: &[String],
    windows: &[Window],
) -> BTreeMap<String, Vec<Pair>> {
    let places = places(windows);
    let pairs = places.len() / 2;
    let mut paired = vec![vec![Pair::default(); pairs]; operations.len()];
    for cell in cells {
        let next = places.partition_point(|place| place.0.from_cell <= cell.cell);
        let Some(&(window, pair)) = next.checked_sub(1).and_then(|at| places.get(at)) else { continue };
        let Some(of) = paired.get_mut(cell.operation as usize) else { continue };
        if cell.cell >= window.to_cell {
            continue;
        }
        let of = &mut of[pair];
        let (histogram, errors) = match window.arm {
            Arm::Before => (&mut of.before, &mut of.before_errors),
            Arm::After => (&mut of.after, &mut of.after_errors),
        };
        histogram.merge(&cell.response);
        *errors += u64::from(cell.errors);
    }
    operations.iter().cloned().zip(paired).collect()
}

/// The windows that have a partner, by time, each with its pair's number.
fn places(windows: &[Window]) -> Vec<(Window, usize)> {
    let mut sorted = windows.to_vec();
    sorted.sort_by_key(|window| window.from_cell);
    let mut places = Vec::with_capacity(sorted.len());
    let mut waiting: Option<Window> = None;
    for window in sorted {
        match waiting.take() {
            Some(first) if first.arm != window.arm => {
                let pair = places.len() / 2;
                places.extend([(first, pair), (window, pair)]);
            }
            _ => waiting = Some(window),
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(operation: u32, cell: u32, errors: u32) -> LatencyCell {
        let mut made = LatencyCell { operation, cell, errors, ..LatencyCell::default() };
        made.response.record((u64::from(cell) + 1) * 1_000_000);
        made
    }

    fn window(arm: Arm, from_cell: u32, to_cell: u32) -> Window {
        Window { arm, from_cell, to_cell }
    }

    #[test]
    fn every_pair_has_both_arms_and_the_order_varies() {
        let arms = schedule(40, 7);
        assert_eq!(arms, schedule(40, 7));
        assert_ne!(arms, schedule(40, 8));
        assert!(arms.chunks(2).all(|pair| pair[0] != pair[1]));
        let first_before = arms.chunks(2).filter(|pair| pair[0] == Arm::Before).count();
        assert!((10..=30).contains(&first_before), "{first_before}");
    }

    #[test]
    fn cells_go_to_the_window_that_holds_them() {
        let windows = [
            window(Arm::After, 0, 2),
            window(Arm::Before, 3, 5),
            window(Arm::Before, 6, 8),
            window(Arm::After, 9, 11),
        ];
        let cells: Vec<LatencyCell> = (0..12).map(|at| cell(0, at, at)).collect();
        let paired = pair_up(&cells, &["a".to_owned(), "b".to_owned()], &windows);
        let a = &paired["a"];
        // Cells 2, 5, 8 are for settling, 11 is past the end.
        let counts: Vec<_> = a.iter().map(|p| (p.before_errors, p.after_errors)).collect();
        assert_eq!(counts, [(3 + 4, 1), (6 + 7, 9 + 10)]);
        assert_eq!(a.iter().map(|p| p.before.count() + p.after.count()).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(paired["b"], vec![Pair::default(); 2]);
    }

    #[test]
    fn a_window_without_a_partner_is_dropped() {
        let windows = [
            window(Arm::Before, 0, 1),
            window(Arm::Before, 1, 2),
            window(Arm::After, 2, 3),
            window(Arm::After, 3, 4),
        ];
        let cells: Vec<LatencyCell> = (0..4).map(|at| cell(0, at, 1 << at)).collect();
        let paired = pair_up(&cells, &["a".to_owned()], &windows);
        let pairs: Vec<_> = paired["a"].iter().map(|p| (p.before_errors, p.after_errors)).collect();
        assert_eq!(pairs, [(2, 4)]);
    }

    #[test]
    fn strange_cells_and_windows_are_survived() {
        let windows = [window(Arm::Before, 5, 2), window(Arm::After, 5, u32::MAX)];
        let paired = pair_up(&[cell(9, 5, 1), cell(0, u32::MAX, 1)], &["a".to_owned()], &windows);
        assert_eq!(paired["a"], [Pair::default()]);
        assert!(pair_up(&[], &[], &[]).is_empty());
        assert!(schedule(0, 1).is_empty());
    }
}
