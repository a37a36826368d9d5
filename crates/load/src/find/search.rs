//! Which rate to try next: doubling until the goals are missed, then halving the gap in proportion, each rate as often
//! as it takes to be sure. Pure: told what each window showed, it never measures.

/// Windows at one rate until they agree; then the majority counts.
const MIN_WINDOWS: usize = 2;
const MAX_WINDOWS: usize = 3;
/// More windows at the rate that is the answer, so that it stands on more than two.
const CONFIRMING_WINDOWS: usize = 4;
/// The chance that a window meets the goals falls around the capacity by a logistic curve of one of these widths, as
/// shares of the capacity: from an edge to chance over a fifth of it.
const WIDTHS: [f64; 6] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
/// Capacities that are tried for the interval, from the lowest rate / 4 to the highest * 4, evenly in logarithms.
const CAPACITIES: i32 = 800;
const BEYOND: f64 = 4.0;
/// Twice the difference in log-likelihood that a 95 % interval allows. Chi-squared's 3.84 holds for many windows; with a
/// dozen of them near the edge it covered 84 % in simulation.
const LIKELIHOOD_RATIO: f64 = 6.6;
/// Between two windows while doubling.
const GROWTH: f64 = 2.0;

/// What one window showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Met,
    Missed,
    /// The generator was the limit: it says nothing of the service.
    Unable,
}

/// Limits of a search, in arrivals per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub start: f64,
    pub most: f64,
    /// Ends when the lowest rate that misses is above the highest that meets by no more than this share.
    pub precision: f64,
}

/// All windows at one rate.
#[derive(Clone, Debug)]
struct Tried {
    rate: f64,
    met: usize,
    missed: usize,
}

impl Tried {
    fn windows(&self) -> usize {
        self.met + self.missed
    }

    /// `None`: not yet sure.
    fn answer(&self) -> Option<bool> {
        let agreed = self.windows() >= MIN_WINDOWS && (self.met == 0 || self.missed == 0);
        (agreed || self.windows() >= MAX_WINDOWS).then_some(self.met > self.missed)
    }
}

/// The state of a search.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    range: Range,
    /// Ascending by rate.
    tried: Vec<Tried>,
    /// From here on the generator is the limit.
    unable_from: Option<f64>,
    /// Where it was late once, which may have been chance.
    again: Option<f64>,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bracket {
    /// The highest rate whose windows met the goals, with all lower ones; `None`: not even the lowest.
    pub met: Option<f64>,
    /// The lowest rate above it whose windows missed them; `None`: none was found.
    pub missed: Option<f64>,
    /// 95 % interval, by profile likelihood, of the rate at which half of all windows meet the goals; the upper end is
    /// open without a rate that missed.
    pub low: f64,
    pub high: Option<f64>,
    /// Windows at the rate that met.
    pub windows: usize,
}

impl Search {
    pub(crate) fn new(range: Range) -> Self {
        Self { range, tried: Vec::new(), unable_from: None, again: None }
    }

    /// Takes in a window.
    pub(crate) fn take(&mut self, rate: f64, shown: Shown) {
        let again = self.again.take().is_some_and(|other| other.to_bits() == rate.to_bits());
        if shown == Shown::Unable && !again {
            self.again = Some(rate);
            return;
        }
        if shown == Shown::Unable {
            self.unable_from = Some(self.unable_from.map_or(rate, |known| known.min(rate)));
            return;
        }
        let at = self.tried.partition_point(|tried| tried.rate < rate);
        if self.tried.get(at).is_none_or(|tried| tried.rate > rate) {
            self.tried.insert(at, Tried { rate, met: 0, missed: 0 });
        }
        if shown == Shown::Met {
            self.tried[at].met += 1;
        } else {
            self.tried[at].missed += 1;
        }
    }

    /// The rate of the next window; `None` at the end.
    pub(crate) fn next_rate(&self) -> Option<f64> {
        if self.again.is_some() {
            return self.again;
        }
        let Some(last) = self.tried.last() else { return self.first() };
        if let Some(unsure) = self.unsure() {
            return Some(unsure);
        }
        let (met, missed) = gap(&self.tried, Tried::answer_or_majority);
        let ceiling = self.unable_from.unwrap_or(f64::INFINITY);
        match (met, missed) {
            (Some(met), None) => {
                let next = (last.rate * GROWTH).min(self.range.most);
                if next < ceiling && next > met {
                    return Some(next);
                }
                let between = (met * ceiling).sqrt();
                let open = ceiling.is_finite() && ceiling > met * (1.0 + self.range.precision);
                if open { Some(between) } else { self.confirm(met) }
            }
            (Some(met), Some(missed)) if missed > met * (1.0 + self.range.precision) => {
                Some((met * missed).sqrt())
            }
            (Some(met), Some(_)) => self.confirm(met),
            (None, Some(missed)) => {
                let next = missed / GROWTH;
                (next * GROWTH.powi(LOWER_STEPS) >= self.range.start).then_some(next)
            }
            (None, None) => None,
        }
    }

    fn first(&self) -> Option<f64> {
        match self.unable_from {
            None => Some(self.range.start.min(self.range.most)),
            Some(rate) => {
                let next = rate / GROWTH;
                (next * GROWTH.powi(LOWER_STEPS) >= self.range.start).then_some(next)
            }
        }
    }

    /// While the rate is only doubled, one window that met is enough; near the edge it takes more.
    fn unsure(&self) -> Option<f64> {
        let any_missed = self.tried.iter().any(|tried| tried.missed > 0);
        let (met, missed) = gap(&self.tried, Tried::answer_or_majority);
        let near = |tried: &&Tried| {
            let is = |edge: Option<f64>| edge.is_some_and(|edge| edge.to_bits() == tried.rate.to_bits());
            any_missed && (is(met) || is(missed)) && tried.answer().is_none()
        };
        self.tried.iter().find(near).map(|tried| tried.rate)
    }

    fn confirm(&self, rate: f64) -> Option<f64> {
        let tried = self.tried.iter().find(|tried| tried.rate.to_bits() == rate.to_bits())?;
        (tried.windows() < CONFIRMING_WINDOWS).then_some(rate)
    }

    /// What is known so far.
    pub(crate) fn bracket(&self) -> Bracket {
        let (met, missed) = gap(&self.tried, Tried::answer_or_majority);
        let windows = |rate: f64| {
            self.tried.iter().find(|t| t.rate.to_bits() == rate.to_bits()).map_or(0, Tried::windows)
        };
        let (low, high) = interval(&self.tried);
        Bracket {
            met,
            missed,
            // The answer itself is never outside.
            low: met.map_or(low, |met| low.min(met)),
            high: missed.map(|_| high).filter(|high| high.is_finite()),
            windows: met.map_or(0, windows),
        }
    }
}

/// How often a rate below the start may be halved.
const LOWER_STEPS: i32 = 8;

impl Tried {
    fn answer_or_majority(&self) -> bool {
        self.answer().unwrap_or(self.met > self.missed)
    }
}

/// The highest rate that meets the goals with all below it, and the next one, which does not.
fn gap(tried: &[Tried], meets: impl Fn(&Tried) -> bool) -> (Option<f64>, Option<f64>) {
    let missed = tried.iter().position(|tried| !meets(tried));
    let met = missed.unwrap_or(tried.len()).checked_sub(1);
    (met.map(|at| tried[at].rate), missed.map(|at| tried[at].rate))
}

/// Log-likelihood of all windows if the capacity were this, at the width that fits best.
fn likelihood(tried: &[Tried], capacity: f64) -> f64 {
    let of_width = |width: f64| -> f64 {
        let of_rate = |tried: &Tried| {
            let over = (tried.rate / capacity - 1.0) / width;
            // ln(1 + e^x), also for large x.
            let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
            -(tried.met as f64 * softplus(over) + tried.missed as f64 * softplus(-over))
        };
        tried.iter().map(of_rate).sum()
    };
    WIDTHS.into_iter().map(of_width).fold(f64::NEG_INFINITY, f64::max)
}

/// The capacities that the windows do not rule out; 0 or infinity where they rule out none to that side.
fn interval(tried: &[Tried]) -> (f64, f64) {
    let (Some(first), Some(last)) = (tried.first(), tried.last()) else { return (0.0, f64::INFINITY) };
    let (least, most) = (first.rate / BEYOND, last.rate * BEYOND);
    let capacity = |at: i32| least * (most / least).powf(f64::from(at) / f64::from(CAPACITIES));
    let all: Vec<(i32, f64)> = (0..=CAPACITIES).map(|at| (at, likelihood(tried, capacity(at)))).collect();
    let best = all.iter().map(|(_, fit)| *fit).fold(f64::NEG_INFINITY, f64::max);
    let fits = |(_, fit): &&(i32, f64)| 2.0 * (best - fit) <= LIKELIHOOD_RATIO;
    let low = all.iter().find(fits).map_or(0, |(at, _)| *at);
    let high = all.iter().rev().find(fits).map_or(CAPACITIES, |(at, _)| *at);
    let low = if low == 0 { 0.0 } else { capacity(low) };
    (low, if high == CAPACITIES { f64::INFINITY } else { capacity(high) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    const RANGE: Range = Range { start: 10.0, most: 100_000.0, precision: 0.05 };

    /// Searches a service that meets its goals with this chance at each rate; the windows that it took.
    fn search(range: Range, seed: u64, chance: impl Fn(f64) -> f64) -> (Bracket, usize) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut search = Search::new(range);
        for windows in 0..200 {
            let Some(rate) = search.next_rate() else { return (search.bracket(), windows) };
            assert!(rate.is_finite() && rate > 0.0 && rate <= range.most, "{rate}");
            let met = random.random::<f64>() < chance(rate);
            search.take(rate, if met { Shown::Met } else { Shown::Missed });
        }
        panic!("no end after 200 windows");
    }

    /// Falls from 1 to 0 around the capacity.
    fn soft(capacity: f64, width: f64) -> impl Fn(f64) -> f64 {
        move |rate| 1.0 / (1.0 + ((rate / capacity - 1.0) / width).exp())
    }

    #[test]
    fn a_sharp_capacity_is_found_within_the_precision_in_few_windows() {
        for capacity in [3.0, 11.0, 420.0, 7_777.0] {
            let (bracket, windows) = search(RANGE, 1, |rate| f64::from(rate <= capacity));
            let (met, missed) = (bracket.met.unwrap(), bracket.missed.unwrap());
            assert!(met <= capacity && capacity < missed, "{capacity}: {bracket:?}");
            assert!(missed / met <= 1.05 + 1e-9, "{bracket:?}");
            assert!(bracket.low <= met && bracket.high.is_none_or(|high| high >= missed), "{bracket:?}");
            assert!(windows <= 32, "{capacity}: {windows} windows");
        }
    }

    #[test]
    fn the_interval_covers_a_soft_capacity_nearly_always() {
        for width in [0.01, 0.03, 0.08] {
            let covers = |seed: &u64| {
                let (bracket, _) = search(RANGE, *seed, soft(500.0, width));
                bracket.low <= 500.0 && bracket.high.is_none_or(|high| high >= 500.0)
            };
            let covered = (0..100).filter(covers).count();
            // Three standard deviations below 95.
            assert!(covered >= 88, "width {width}: {covered} of 100");
        }
    }

    #[test]
    fn a_service_without_an_edge_ends_at_the_highest_rate() {
        let range = Range { most: 1000.0, ..RANGE };
        let (bracket, _) = search(range, 1, |_| 1.0);
        assert_eq!((bracket.met, bracket.missed, bracket.high), (Some(1000.0), None, None));
    }

    #[test]
    fn a_service_that_never_meets_its_goals_ends_soon() {
        let (bracket, windows) = search(RANGE, 1, |_| 0.0);
        assert_eq!(bracket.met, None);
        assert!(windows <= 30, "{windows}");
    }

    #[test]
    fn the_generators_limit_is_no_limit_of_the_service() {
        let mut search = Search::new(RANGE);
        while let Some(rate) = search.next_rate() {
            search.take(rate, if rate > 300.0 { Shown::Unable } else { Shown::Met });
        }
        let bracket = search.bracket();
        assert!(bracket.met.unwrap() > 270.0 && bracket.missed.is_none(), "{bracket:?}");
    }
}
