//! Values drawn for each request. Pure: the generator of chance is handed in.

use crate::Share;
use anyhow::{Result, bail};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Longest random text.
const MAX_TEXT_LENGTH: usize = 1 << 20;
/// Strongest skew: above it nearly every draw is the first value.
const MAX_SKEW: f64 = 10.0;
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Where a variable's values come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Variable {
    /// `from` to `to`, both included. Uniform; with `skew` s > 0 by Zipf's law: the k-th value k^-s as often as the
    /// first, so that `from` is the most frequent.
    Integer {
        from: i64,
        to: i64,
        #[serde(default)]
        skew: f64,
    },
    /// One of the values, each equally often.
    List { values: Vec<String> },
    /// `from`, then `step` more with each request that uses it.
    Sequence {
        #[serde(default)]
        from: i64,
        #[serde(default = "one")]
        step: i64,
    },
    /// A random UUID, version 4.
    Uuid,
    /// Random lower-case letters and digits.
    Text { length: usize },
    /// A column of a CSV file with a header line. Variables of one file come from one row.
    Csv {
        file: PathBuf,
        column: String,
        #[serde(default)]
        order: Order,
    },
}

/// Which row of a data file comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Each equally often.
    #[default]
    Random,
    /// One after the other, again from the first after the last.
    Sequence,
}

fn one() -> i64 {
    1
}

impl Variable {
    /// # Errors
    /// An empty range or list, a bad skew or length: names the field.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Integer { from, to, .. } if from > to => bail!("from: {from} is above `to` = {to}"),
            Self::Integer { skew, .. } if !(0.0..=MAX_SKEW).contains(skew) => {
                bail!("skew: {skew} is not between 0 (uniform) and {MAX_SKEW}")
            }
            Self::List { values } if values.is_empty() => bail!("values: the list is empty"),
            Self::Text { length } if *length > MAX_TEXT_LENGTH => {
                bail!("length: {length} is above {MAX_TEXT_LENGTH}")
            }
            _ => Ok(()),
        }
    }
}

/// A variable with what it needs to draw: the sequence's next value, Zipf's constants.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    variable: Variable,
    next: i64,
    /// To the next value of this generator.
    step: i64,
    zipf: Option<Zipf>,
    column: Vec<String>,
}

impl Source {
    /// Of a checked variable.
    ///
    /// # Errors
    /// A data file that cannot be read.
    pub(crate) fn new(variable: &Variable, share: Share) -> Result<Self> {
        let column = match variable {
            Variable::Csv { file, column, .. } => crate::csv::read_column(file, column)?,
            _ => Vec::new(),
        };
        let (index, of) = (i64::from(share.index()), i64::from(share.of()));
        let (next, step) = match variable {
            Variable::Sequence { from, step } => {
                (from.wrapping_add(step.wrapping_mul(index)), step.wrapping_mul(of))
            }
            _ => (index, of),
        };
        let zipf = match variable {
            Variable::Integer { from, to, skew } if *skew > 0.0 => Some(Zipf::new(to.abs_diff(*from), *skew)),
            _ => None,
        };
        Ok(Self { variable: variable.clone(), next, step, zipf, column })
    }

    /// As [`Self::draw`]; `row` is the same for all variables of a request.
    #[expect(clippy::cast_possible_truncation, reason = "an index below the number of rows")]
    pub(crate) fn draw_row(&mut self, random: &mut impl Rng, row: u64) -> String {
        let rows = self.column.len() as u64;
        match &self.variable {
            Variable::Csv { order: Order::Random, .. } => self.column[(row % rows) as usize].clone(),
            Variable::Csv { order: Order::Sequence, .. } => {
                let at = self.next.cast_unsigned() % rows;
                self.next = self.next.wrapping_add(self.step);
                self.column[at as usize].clone()
            }
            _ => self.draw(random),
        }
    }

    fn draw(&mut self, random: &mut impl Rng) -> String {
        match &self.variable {
            Variable::Csv { .. } => String::new(),
            Variable::Integer { from, to, .. } => match &self.zipf {
                Some(zipf) => from.saturating_add_unsigned(zipf.draw(random) - 1).to_string(),
                None => random.random_range(*from..=*to).to_string(),
            },
            Variable::List { values } => values[random.random_range(0..values.len())].clone(),
            Variable::Sequence { .. } => {
                let value = self.next;
                self.next = self.next.wrapping_add(self.step);
                value.to_string()
            }
            Variable::Uuid => uuid(random.random()),
            Variable::Text { length } => {
                (0..*length).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
            }
        }
    }
}

/// RFC 9562 section 5.4: 122 random bits, version and variant set.
fn uuid(bits: u128) -> String {
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (4 << 76) | (2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Zipf's law on 1 to n by rejection-inversion, constant time for any n
/// (Hörmann and Derflinger 1996, "Rejection-inversion to generate variates from monotone discrete distributions").
#[derive(Clone, Debug)]
struct Zipf {
    n: f64,
    skew: f64,
    area_low: f64,
    area_high: f64,
    squeeze: f64,
}

impl Zipf {
    /// On 1 to `span + 1`.
    fn new(span: u64, skew: f64) -> Self {
        let mut zipf = Self { n: span as f64 + 1.0, skew, area_low: 0.0, area_high: 0.0, squeeze: 0.0 };
        zipf.area_low = zipf.area(1.5) - 1.0;
        zipf.area_high = zipf.area(zipf.n + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse(zipf.area(2.5) - zipf.weight(2.0));
        zipf
    }

    /// Integral of x^-skew, up to a constant.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        expm1_over((1.0 - self.skew) * log) * log
    }

    fn inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.skew)).max(-1.0);
        (log1p_over(t) * area).exp()
    }

    fn weight(&self, k: f64) -> f64 {
        (-self.skew * k.ln()).exp()
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "k is clamped to 1..=n")]
    fn draw(&self, random: &mut impl Rng) -> u64 {
        loop {
            let area = self.area_high + random.random::<f64>() * (self.area_low - self.area_high);
            let x = self.inverse(area);
            let k = x.round().clamp(1.0, self.n);
            if k - x <= self.squeeze || area >= self.area(k + 0.5) - self.weight(k) {
                return k as u64;
            }
        }
    }
}

/// (e^x - 1) / x, also near 0.
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// ln(1 + x) / x, also near 0.
fn log1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn draws(variable: &Variable, n: usize) -> Vec<String> {
        variable.check().unwrap();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut source = Source::new(variable, Share::WHOLE).unwrap();
        (0..n).map(|n| source.draw_row(&mut random, n as u64)).collect()
    }

    #[test]
    fn uniform_integers_cover_their_range() {
        let drawn = draws(&Variable::Integer { from: -2, to: 2, skew: 0.0 }, 5000);
        for value in -2..=2_i64 {
            let count = drawn.iter().filter(|d| **d == value.to_string()).count();
            assert!((850..1150).contains(&count), "{value}: {count}");
        }
    }

    #[test]
    fn a_zipf_draw_follows_its_law() {
        for skew in [0.5, 1.0, 1.3] {
            let n = 200_000;
            let drawn = draws(&Variable::Integer { from: 1, to: 1000, skew }, n);
            let all: f64 = (1..=1000).map(|k| f64::from(k).powf(-skew)).sum();
            for k in [1_i32, 2, 10, 100] {
                let expected = n as f64 * f64::from(k).powf(-skew) / all;
                let count = drawn.iter().filter(|d| **d == k.to_string()).count() as f64;
                assert!(
                    (count - expected).abs() < 5.0 * expected.sqrt(),
                    "skew {skew}, {k}: {count}, {expected}"
                );
            }
            assert!(drawn.iter().all(|d| (1..=1000).contains(&d.parse::<i32>().unwrap())));
        }
    }

    #[test]
    fn extreme_ranges_do_not_overflow() {
        for skew in [0.0, 1.0, 10.0] {
            assert_eq!(draws(&Variable::Integer { from: i64::MIN, to: i64::MAX, skew }, 100).len(), 100);
            assert_eq!(draws(&Variable::Integer { from: 5, to: 5, skew }, 1), ["5"]);
        }
    }

    #[test]
    fn sequences_lists_texts_and_uuids() {
        assert_eq!(draws(&Variable::Sequence { from: 5, step: -2 }, 3), ["5", "3", "1"]);
        let list = Variable::List { values: vec!["a".into(), "b".into()] };
        assert!(draws(&list, 100).iter().all(|d| d == "a" || d == "b"));
        assert_eq!(draws(&Variable::Text { length: 12 }, 1)[0].len(), 12);
        let id = &draws(&Variable::Uuid, 1)[0];
        assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }

    #[test]
    fn generators_share_a_sequence_without_overlap() {
        let of = |share: &str| {
            let variable = Variable::Sequence { from: 1, step: 10 };
            let mut source = Source::new(&variable, share.parse().unwrap()).unwrap();
            let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
            (0..3).map(|_| source.draw_row(&mut random, 0)).collect::<Vec<_>>()
        };
        assert_eq!(
            (of("1/2"), of("2/2")),
            (
                vec!["1".into(), "21".into(), "41".into()],
                vec!["11".to_owned(), "31".to_owned(), "51".to_owned()]
            )
        );
    }

    #[test]
    fn bad_variables_are_refused_by_field() {
        let refused = |variable: Variable| variable.check().unwrap_err().to_string();
        assert!(refused(Variable::Integer { from: 2, to: 1, skew: 0.0 }).starts_with("from"));
        assert!(refused(Variable::Integer { from: 1, to: 2, skew: f64::NAN }).starts_with("skew"));
        assert!(refused(Variable::List { values: vec![] }).starts_with("values"));
        assert!(refused(Variable::Text { length: usize::MAX }).starts_with("length"));
    }
}
