//! A trial: one load, the change switched on and off under it in random turns, and what each turn's requests took.
//! Laying out the windows is pure and tested; switching them is the little that is not.

use std::time::Duration;
use verify::{Arm, Window};

/// Length of a latency cell in a trial; borders of windows fall on cells.
pub const CELL_MS: u32 = 50;
/// After a switch, until what the old arm left behind is worked off.
const SETTLE: Duration = Duration::from_millis(200);
/// Windows shorter than this hold too little.
const MIN_WINDOW: Duration = Duration::from_secs(1);
/// Pairs at most: more would be all settling.
const MAX_PAIRS: u32 = 40;
/// Pairs at least: fewer carry no statistics.
const MIN_PAIRS: u32 = 6;
/// Requests expected in each arm: half as many are enough for a median, but arrivals come by chance.
const MIN_REQUESTS: f64 = 24.0;
/// A rare operation gets at most so many times the budget.
const MAX_STRETCH: f64 = 2.0;

/// How long a window is and how much of it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    pub window: Duration,
    /// At the start of a window, not counted.
    pub settle: Duration,
    /// At its end, not counted: a request that starts there would end in the other arm.
    pub tail: Duration,
    pub pairs: u32,
}

impl Layout {
    /// A layout for `budget` of load where a slow request takes `slow`. At least half of each window counts: where
    /// requests are slower than that allows, some end in the other arm, which makes the arms look more alike.
    #[must_use]
    pub fn for_budget(budget: Duration, slow: Duration) -> Self {
        let wanted = MIN_WINDOW.max(slow * 4);
        let fits = budget.as_secs_f64() / (2.0 * wanted.as_secs_f64());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let pairs = (fits.floor().max(1.0) as u32).clamp(MIN_PAIRS, MAX_PAIRS);
        let window = budget / (2 * pairs);
        let settle = SETTLE.max(slow / 2).min(window / 4);
        let tail = slow.min(window / 4);
        Self { window, settle, tail, pairs }
    }

    /// As [`Layout::for_budget`], but longer where requests are so rare, `per_s` of them a second, that the arms would
    /// see too few. An unknown rate (0 or not finite) changes nothing.
    #[must_use]
    pub fn for_requests(budget: Duration, slow: Duration, per_s: f64) -> Self {
        let layout = Self::for_budget(budget, slow);
        let expected = per_s * layout.counted_per_arm().as_secs_f64();
        if expected > 0.0 && expected < MIN_REQUESTS {
            Self::for_budget(budget.mul_f64((MIN_REQUESTS / expected).min(MAX_STRETCH)), slow)
        } else {
            layout
        }
    }

    /// Whether requests that take `slow` reach from one window into the next one's counted part.
    #[must_use]
    pub fn mixes(&self, slow: Duration) -> bool {
        slow > self.settle + self.tail
    }

    /// Of all windows of one arm together.
    fn counted_per_arm(&self) -> Duration {
        (self.window - self.settle - self.tail) * self.pairs
    }

    /// Load needed for all windows.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.window * (2 * self.pairs)
    }
}

/// The cells of a window that count, from the moments (since the start of the load) at which its arm was in force and
/// at which it ended.
#[must_use]
pub fn counted(arm: Arm, in_force: Duration, ended: Duration, layout: &Layout) -> Window {
    let cell = u128::from(CELL_MS);
    let from = (in_force + layout.settle).as_millis().div_ceil(cell);
    let to = ended.saturating_sub(layout.tail).as_millis() / cell;
    let small = |n: u128| u32::try_from(n).unwrap_or(u32::MAX);
    Window { arm, from_cell: small(from), to_cell: small(to.max(from)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: Duration = Duration::from_millis(CELL_MS as u64);

    #[test]
    fn a_layout_fits_its_budget_and_counts_most_of_a_window() {
        for (budget, slow) in [(14.0, 0.02), (14.0, 0.3), (40.0, 0.1), (40.0, 5.0), (5.0, 0.001)] {
            let layout = Layout::for_budget(Duration::from_secs_f64(budget), Duration::from_secs_f64(slow));
            assert!(layout.total() <= Duration::from_secs_f64(budget * 1.2), "{budget} {slow}: {layout:?}");
            assert!(layout.window >= (layout.settle + layout.tail) * 2, "{layout:?}");
            assert!((MIN_PAIRS..=MAX_PAIRS).contains(&layout.pairs));
        }
    }

    #[test]
    fn a_rare_operation_is_tried_for_longer() {
        let (budget, slow) = (Duration::from_secs(20), Duration::from_millis(300));
        let layout = |per_s| Layout::for_requests(budget, slow, per_s);
        for common in [30.0, 0.0, f64::NAN, f64::INFINITY] {
            assert_eq!(layout(common), Layout::for_budget(budget, slow), "{common}");
        }
        let rare = layout(2.5);
        assert!(rare.total() > budget.mul_f64(1.1) && rare.total() < budget * 2, "{rare:?}");
        let expected = 2.5 * rare.counted_per_arm().as_secs_f64();
        assert!((22.0..40.0).contains(&expected), "{expected} in {rare:?}");
        assert!(!rare.mixes(slow) && rare.mixes(Duration::from_secs(5)));
        assert!(layout(1e-6).total() <= budget * 2 + CELL, "{:?}", layout(1e-6));
    }

    #[test]
    fn what_is_near_a_switch_does_not_count() {
        let layout = Layout {
            window: Duration::from_secs(1),
            settle: Duration::from_millis(120),
            tail: Duration::from_millis(100),
            pairs: 6,
        };
        let counted = counted(Arm::After, Duration::from_secs(2), Duration::from_secs(3), &layout);
        assert_eq!((counted.from_cell, counted.to_cell), (43, 58));
    }
}
