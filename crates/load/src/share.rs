//! One generator's part of a load that several drive together, each without knowing the others (k6's execution
//! segments): every n-th arrival, its part of the users, every n-th value of a sequence.

use anyhow::{Context, Result, ensure};
use std::fmt;
use std::str::FromStr;

/// More generators than this are refused.
const MAX_PARTS: u32 = 1000;

/// Part `index` (from 0) of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    index: u32,
    of: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Share {
    /// One generator does it all.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }

    /// Whether the `n`-th of all (from 0) belongs to this part.
    #[must_use]
    pub fn has(self, n: u64) -> bool {
        n % u64::from(self.of) == u64::from(self.index)
    }

    /// How many of `count` belong to this part; over all parts they add up to `count`.
    #[must_use]
    pub fn of_count(self, count: u64) -> u64 {
        let (index, of) = (u64::from(self.index), u64::from(self.of));
        count / of + u64::from(count % of > index)
    }

    /// As [`Self::of_count`].
    #[must_use]
    pub fn of_users(self, users: u32) -> u32 {
        users / self.of + u32::from(users % self.of > self.index)
    }

    /// The number among all parts of what is the `n`-th (from 0) here.
    #[must_use]
    pub fn number(self, n: u64) -> u64 {
        n.saturating_mul(u64::from(self.of)).saturating_add(u64::from(self.index))
    }
}

/// `1/4` is the first of four.
impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (number, of) = text.split_once('/')?;
            Some((number.trim().parse::<u32>().ok()?, of.trim().parse::<u32>().ok()?))
        };
        let (number, of) = parse().with_context(|| format!("segment `{text}`: expected one like 1/4"))?;
        ensure!((1..=MAX_PARTS).contains(&of), "segment `{text}`: from 1 to {MAX_PARTS} parts are possible");
        ensure!((1..=of).contains(&number), "segment `{text}`: the parts are numbered from 1 to {of}");
        Ok(Self { index: number - 1, of })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        for of in 1..=7 {
            let parts: Vec<Share> = (1..=of).map(|n| format!("{n}/{of}").parse().unwrap()).collect();
            for count in 0..50 {
                assert_eq!(parts.iter().map(|part| part.of_count(count)).sum::<u64>(), count);
                let had = parts.iter().map(|part| (0..count).filter(|n| part.has(*n)).count() as u64);
                let counts: Vec<u64> = parts.iter().map(|part| part.of_count(count)).collect();
                assert_eq!(had.collect::<Vec<_>>(), counts);
            }
            assert!(parts.iter().all(|part| part.has(part.number(12))));
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "1", "0/4", "5/4", "a/b", "1/0", "1/1001", "-1/2"] {
            let error = text.parse::<Share>().unwrap_err().to_string();
            assert!(error.contains(&format!("segment `{text}`")), "{error}");
        }
        assert_eq!("2/3".parse::<Share>().unwrap().to_string(), "2/3");
    }
}
