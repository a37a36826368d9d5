//! When: due times of arrivals, from segments of constant or ramped rate.
//! Arrivals of a unit-rate process are mapped through the inverse of the cumulative rate (Lewis and Shedler 1979,
//! inversion), so that the ramp's integral is exact. Pure: the seed decides, no clock is read.

use crate::Share;
use anyhow::{Result, bail};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A rate above this is refused: one generator cannot send it.
const MAX_RATE_PER_S: f64 = 1e6;

/// How arrivals are spaced around their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Independent users: exponential gaps.
    #[default]
    Poisson,
    /// A metronome.
    Constant,
}

/// A stretch of time in which the rate goes from `from` to `to`, in arrivals per second, in a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawSegment")]
pub struct Segment {
    pub seconds: f64,
    pub from: f64,
    pub to: f64,
}

/// `{ seconds, rate }` or `{ seconds, from, to }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSegment {
    seconds: f64,
    rate: Option<f64>,
    from: Option<f64>,
    to: Option<f64>,
}

impl TryFrom<RawSegment> for Segment {
    type Error = &'static str;

    fn try_from(raw: RawSegment) -> Result<Self, Self::Error> {
        match (raw.rate, raw.from, raw.to) {
            (Some(rate), None, None) => Ok(Self { seconds: raw.seconds, from: rate, to: rate }),
            (None, Some(from), Some(to)) => Ok(Self { seconds: raw.seconds, from, to }),
            _ => Err("a segment needs `seconds` and either `rate` or both `from` and `to`"),
        }
    }
}

impl Segment {
    /// Arrivals per second gained each second.
    fn slope(&self) -> f64 {
        if self.seconds > 0.0 { (self.to - self.from) / self.seconds } else { 0.0 }
    }

    /// Expected arrivals in the whole segment.
    fn arrivals(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.seconds
    }

    /// Seconds into the segment at which `expected` arrivals have been; within [`Self::arrivals`].
    fn when(&self, expected: f64) -> f64 {
        if expected <= 0.0 && self.from > 0.0 {
            return 0.0;
        }
        let root = (self.from * self.from + 2.0 * self.slope() * expected).max(0.0).sqrt();
        let sum = self.from + root;
        if sum > 0.0 { (2.0 * expected / sum).min(self.seconds) } else { 0.0 }
    }
}

/// Segments in a row. After the last one its final rate holds for as long as the run lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    #[serde(default)]
    pub spacing: Spacing,
    pub segments: Vec<Segment>,
}

impl Pace {
    /// The same rate for ever.
    #[must_use]
    pub fn constant(rate_per_s: f64, spacing: Spacing) -> Self {
        Self { spacing, segments: vec![Segment { seconds: 0.0, from: rate_per_s, to: rate_per_s }] }
    }

    /// # Errors
    /// No segment, or one with a negative, infinite or absurd rate or length: names it.
    pub fn check(&self) -> Result<()> {
        if self.segments.is_empty() {
            bail!("segments: the pace has none, give at least one with `seconds` and `rate`");
        }
        for (at, segment) in self.segments.iter().enumerate() {
            if !(segment.seconds >= 0.0 && segment.seconds.is_finite()) {
                bail!("segments[{at}].seconds: {} is no length of time", segment.seconds);
            }
            for (field, rate) in [("from", segment.from), ("to", segment.to)] {
                if !(0.0..=MAX_RATE_PER_S).contains(&rate) {
                    bail!("segments[{at}].{field}: {rate} is no rate from 0 to {MAX_RATE_PER_S} per second");
                }
            }
        }
        Ok(())
    }

    /// Due times from the start of the run, ascending; endless unless the final rate is 0.
    #[must_use]
    pub fn arrivals(&self, seed: u64) -> Arrivals {
        Arrivals {
            segments: self.segments.clone(),
            spacing: self.spacing,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            unit: 0.0,
            first: true,
            at: 0,
            start_s: 0.0,
            before: 0.0,
            number: 0,
            share: Share::WHOLE,
        }
    }

    /// When the `n`-th arrival (from 0) is due; `None` where the pace ends before it. Takes time in the order of `n`.
    #[must_use]
    pub fn due(&self, n: usize, seed: u64) -> Option<Duration> {
        self.arrivals(seed).nth(n)
    }

    /// Mean number of arrivals in the first `length`.
    #[must_use]
    pub fn expected_arrivals(&self, length: Duration) -> f64 {
        let mut left = length.as_secs_f64();
        let mut sum = 0.0;
        for segment in &self.segments {
            let seconds = segment.seconds.min(left);
            sum += segment.from * seconds + segment.slope() * seconds * seconds / 2.0;
            left -= seconds;
        }
        sum + left * self.segments.last().map_or(0.0, |last| last.to)
    }
}

/// Due times, see [`Pace::arrivals`].
#[derive(Clone, Debug)]
pub struct Arrivals {
    segments: Vec<Segment>,
    spacing: Spacing,
    random: Xoshiro256PlusPlus,
    /// Position of the last arrival in the unit-rate process.
    unit: f64,
    first: bool,
    /// The segment of the last arrival, when it starts, and expected arrivals before it.
    at: usize,
    start_s: f64,
    before: f64,
    /// Arrivals so far, and which of them count here.
    number: u64,
    share: Share,
}

impl Arrivals {
    /// Only those of one generator; all generators must have the same seed.
    #[must_use]
    pub fn part(mut self, share: Share) -> Self {
        self.share = share;
        self
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            let due = self.next_of_all()?;
            let number = self.number;
            self.number += 1;
            if self.share.has(number) {
                return Some(due);
            }
        }
    }
}

impl Arrivals {
    fn next_of_all(&mut self) -> Option<Duration> {
        self.unit += match self.spacing {
            Spacing::Poisson => -(1.0 - self.random.random::<f64>()).ln(),
            Spacing::Constant if self.first => 0.0,
            Spacing::Constant => 1.0,
        };
        self.first = false;
        while let Some(segment) = self.segments.get(self.at) {
            let expected = self.unit - self.before;
            // An arrival exactly at the end belongs to what follows.
            if expected < segment.arrivals() {
                return Some(Duration::from_secs_f64(self.start_s + segment.when(expected)));
            }
            self.before += segment.arrivals();
            self.start_s += segment.seconds;
            self.at += 1;
        }
        let rate = self.segments.last().map_or(0.0, |last| last.to);
        let due_s = self.start_s + (self.unit - self.before) / rate;
        Duration::try_from_secs_f64(due_s).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(pace: &Pace, seed: u64, length_s: u64) -> Vec<f64> {
        let end = Duration::from_secs(length_s);
        pace.arrivals(seed).take_while(|due| *due < end).map(|due| due.as_secs_f64()).collect()
    }

    #[test]
    fn a_metronome_is_exact() {
        let pace = Pace::constant(200.0, Spacing::Constant);
        let dues = within(&pace, 1, 10);
        assert_eq!(dues.len(), 2000);
        assert!((dues[1999] - 9.995).abs() < 1e-9);
        assert_eq!(pace.due(7, 9), Some(Duration::from_millis(35)));
    }

    #[test]
    fn counts_of_a_poisson_process_have_equal_mean_and_variance() {
        let pace = Pace::constant(50.0, Spacing::Poisson);
        let mut counts = vec![0_u32; 4000];
        for due in within(&pace, 42, 4000) {
            counts[due as usize] += 1;
        }
        let n = counts.len() as f64;
        let mean = counts.iter().map(|c| f64::from(*c)).sum::<f64>() / n;
        let variance = counts.iter().map(|c| (f64::from(*c) - mean).powi(2)).sum::<f64>() / (n - 1.0);
        // Five standard errors: of the mean sqrt(50/4000), of the variance 50 * sqrt(2/4000).
        assert!((mean - 50.0).abs() < 0.56, "mean {mean}");
        assert!((variance - 50.0).abs() < 5.6, "variance {variance}");
    }

    #[test]
    fn a_ramp_delivers_its_integral() {
        let ramp = Segment { seconds: 10.0, from: 0.0, to: 100.0 };
        let hold = Segment { seconds: 5.0, from: 100.0, to: 100.0 };
        let down = Segment { seconds: 10.0, from: 100.0, to: 0.0 };
        let pace = Pace { spacing: Spacing::Constant, segments: vec![ramp, hold, down] };
        assert!((pace.expected_arrivals(Duration::from_secs(25)) - 1500.0).abs() < 1e-9);
        let dues = within(&pace, 1, 1000);
        assert_eq!(dues.len(), 1500);
        // Half of the ramp's time holds a quarter of its arrivals.
        assert_eq!(dues.iter().filter(|due| **due < 5.0).count(), 125);
        assert_eq!(dues.iter().filter(|due| **due < 10.0).count(), 500);
        assert!(dues.is_sorted());
    }

    #[test]
    fn a_rate_of_zero_is_a_pause_or_the_end() {
        assert_eq!(within(&Pace::constant(0.0, Spacing::Constant), 1, 100), Vec::<f64>::new());
        assert_eq!(within(&Pace::constant(0.0, Spacing::Poisson), 1, 100), Vec::<f64>::new());
        let pause = Segment { seconds: 10.0, from: 0.0, to: 0.0 };
        let work = Segment { seconds: 1.0, from: 10.0, to: 10.0 };
        let pace = Pace { spacing: Spacing::Constant, segments: vec![pause, work, pause] };
        let dues = within(&pace, 1, 100);
        assert_eq!((dues.len(), dues[0]), (10, 10.0));
    }

    #[test]
    fn parts_of_a_pace_are_the_whole_pace() {
        let pace = Pace::constant(100.0, Spacing::Poisson);
        let mut all = Vec::new();
        for part in ["1/3", "2/3", "3/3"] {
            all.extend(pace.arrivals(5).part(part.parse().unwrap()).take(100));
        }
        all.sort();
        assert_eq!(all, pace.arrivals(5).take(300).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_decides() {
        let pace = Pace::constant(100.0, Spacing::Poisson);
        assert_eq!(within(&pace, 3, 5), within(&pace, 3, 5));
        assert_ne!(within(&pace, 3, 5), within(&pace, 4, 5));
    }

    #[test]
    fn bad_paces_are_refused_by_field() {
        let refused = |text: &str| match toml::from_str::<Pace>(text) {
            Ok(pace) => pace.check().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(refused("segments = []").contains("segments"));
        assert!(refused("segments = [{ seconds = 1, rate = -5 }]").contains("segments[0].from"));
        assert!(refused("segments = [{ seconds = nan, rate = 5 }]").contains("segments[0].seconds"));
        assert!(refused("segments = [{ seconds = 1, from = 5 }]").contains("`from` and `to`"));
        assert!(refused("segments = [{ seconds = 1, rat = 5 }]").contains("rat"));
        let good: Pace = toml::from_str("segments = [{ seconds = 1, from = 5, to = 9 }]").unwrap();
        good.check().unwrap();
    }
}
