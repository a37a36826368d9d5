//! Values that were seen of one parameter, and the variable that draws like them.

use crate::plan::Variable;
use hashbrown::HashMap;

/// Different values that are counted; further ones are one.
const MAX_VALUES: usize = 5000;
/// Longer values are not kept.
const MAX_VALUE_BYTES: usize = 200;
/// Entries of a list in the scenario; frequent values stand several times.
const MAX_LIST: usize = 200;
/// Whole numbers that fill this share of their range are drawn from the range.
const DENSE: f64 = 0.25;

#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    counts: HashMap<Box<str>, u64>,
    /// Of values beyond the bound.
    others: u64,
    total: u64,
}

impl Values {
    pub(crate) fn add(&mut self, value: &str) {
        self.total += 1;
        if let Some(count) = self.counts.get_mut(value) {
            *count += 1;
        } else if self.counts.len() < MAX_VALUES && value.len() <= MAX_VALUE_BYTES {
            self.counts.insert(value.into(), 1);
        } else {
            self.others += 1;
        }
    }

    /// The value, where there was never another.
    pub(crate) fn only(&self) -> Option<&str> {
        (self.counts.len() == 1 && self.others == 0)
            .then(|| self.counts.keys().next().map(|value| &**value))?
    }

    pub(crate) fn any(&self, is: impl Fn(&str) -> bool) -> bool {
        self.counts.keys().any(|value| is(value))
    }

    /// Most frequent first.
    fn ranked(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(value, count)| (&**value, *count)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.len().cmp(&b.0.len())).then_with(|| a.0.cmp(b.0)));
        all
    }

    /// The variable, and where it comes from.
    pub(crate) fn variable(&self) -> (Variable, String) {
        let ranked = self.ranked();
        let numbers: Vec<i64> = ranked.iter().filter_map(|(value, _)| whole(value)).collect();
        if ranked.len() > MAX_LIST && numbers.len() == ranked.len() {
            let (from, to) =
                (numbers.iter().min().copied().unwrap_or(1), numbers.iter().max().copied().unwrap_or(1));
            let filled = ranked.len() as f64 / (to.abs_diff(from) as f64 + 1.0);
            if filled >= DENSE || self.others > 0 {
                let skew = skew(&ranked);
                let comment = format!(
                    "{}{} different numbers in {} requests; skew by their frequencies (the busiest had {})",
                    ranked.len(),
                    if self.others > 0 { " or more" } else { "" },
                    self.total,
                    ranked[0].1
                );
                return (Variable::Integer { from, to, skew }, comment);
            }
        }
        let shown = ranked.len().min(MAX_LIST);
        let covered: u64 = ranked[..shown].iter().map(|(_, count)| count).sum();
        let comment = if shown == ranked.len() && self.others == 0 {
            format!("as often as they came in {} requests", self.total)
        } else {
            format!(
                "the {shown} most frequent of {}{} values, {:.0} % of {} requests, as often as they came",
                ranked.len(),
                if self.others > 0 { " or more" } else { "" },
                covered as f64 / self.total.max(1) as f64 * 100.0,
                self.total
            )
        };
        (Variable::List(list(&ranked[..shown])), comment)
    }
}

/// A number that is written as numbers are: `007` is a text.
fn whole(value: &str) -> Option<i64> {
    value.parse::<i64>().ok().filter(|number| number.to_string() == value)
}

/// Each value as often as its share of the list's places, at least once.
fn list(ranked: &[(&str, u64)]) -> Vec<String> {
    let total: u64 = ranked.iter().map(|(_, count)| count).sum();
    let least = ranked.last().map_or(1, |(_, count)| *count).max(1);
    let places = |count: u64| -> u64 {
        // As many places as keep the ratio to the rarest, if there is room; else by share.
        let exact = count as f64 / least as f64;
        let fits = total as f64 / least as f64 <= MAX_LIST as f64;
        let room = MAX_LIST.saturating_sub(ranked.len()) as f64;
        let by_share = 1.0 + room * count as f64 / total.max(1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the length of the list"
        )]
        let places = if fits { exact.round() } else { by_share.floor() } as u64;
        places.max(1)
    };
    ranked
        .iter()
        .flat_map(|(value, count)| {
            let times = usize::try_from(places(*count)).unwrap_or(1);
            std::iter::repeat_n((*value).to_owned(), times)
        })
        .collect()
}

/// The exponent of Zipf's law that fits the ranks (least squares on logarithms); 0 where values are alike: ranks fall
/// by chance alone, so that the counts must vary more than Poisson's, whose variance is its mean.
fn skew(ranked: &[(&str, u64)]) -> f64 {
    const BY_CHANCE: f64 = 1.5;
    let mean = ranked.iter().map(|(_, count)| *count as f64).sum::<f64>() / ranked.len().max(1) as f64;
    let squares = ranked.iter().map(|(_, count)| (*count as f64 - mean).powi(2)).sum::<f64>();
    if squares <= BY_CHANCE * mean * (ranked.len().max(2) - 1) as f64 {
        return 0.0;
    }
    let points: Vec<(f64, f64)> = ranked
        .iter()
        .enumerate()
        .filter(|(_, (_, count))| *count >= 3)
        .map(|(rank, (_, count))| (((rank + 1) as f64).ln(), (*count as f64).ln()))
        .collect();
    if points.len() < 5 {
        return 0.0;
    }
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let over: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let under: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let slope = if under > 0.0 { -over / under } else { 0.0 };
    (slope.clamp(0.0, 2.0) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_a_list_with_their_frequencies() {
        let mut values = Values::default();
        for value in ["open", "open", "open", "closed"] {
            values.add(value);
        }
        let (variable, comment) = values.variable();
        assert_eq!(variable, Variable::List(["open", "open", "open", "closed"].map(str::to_owned).to_vec()));
        assert_eq!(comment, "as often as they came in 4 requests");
    }

    #[test]
    fn many_numbers_are_a_range_with_the_skew_of_their_frequencies() {
        let mut values = Values::default();
        for rank in 1..=1000_u32 {
            for _ in 0..(20_000 / rank) {
                values.add(&rank.to_string());
            }
        }
        let (variable, _) = values.variable();
        assert_eq!(variable, Variable::Integer { from: 1, to: 1000, skew: 1.0 });
    }

    #[test]
    fn numbers_that_come_alike_have_no_skew() {
        let mut values = Values::default();
        let mut state = 1_u64;
        for _ in 0..7000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            values.add(&(1 + (state >> 33) % 3000).to_string());
        }
        let (variable, _) = values.variable();
        assert!(matches!(variable, Variable::Integer { skew: 0.0, .. }), "{variable:?}");
    }

    #[test]
    fn lists_are_bounded() {
        let mut values = Values::default();
        for n in 0..50_000_u32 {
            values.add(&format!("name-{}", n % 9000));
        }
        let (variable, _) = values.variable();
        let Variable::List(list) = variable else { panic!("{variable:?}") };
        assert!((100..=2 * MAX_LIST).contains(&list.len()), "{}", list.len());
    }
}
