//! Chance for resampling: seeded, normal, and the quantiles of what came out.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::f64::consts::TAU;

/// Draws of every bootstrap.
pub(crate) const DRAWS: usize = 1000;
/// Two-sided 95 %.
const TAIL: f64 = 0.025;
/// `t(0.975)` for 1 to 30 degrees of freedom, then the normal's.
const T975: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];
pub(crate) const Z975: f64 = 1.960;

pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A standard normal number (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let (u, v): (f64, f64) = (self.0.random(), self.0.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
    }
}

/// `t(0.975)` of Student's distribution.
pub(crate) fn t975(freedom: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let at = freedom.max(1.0) as usize;
    T975.get(at - 1).copied().unwrap_or(Z975)
}

/// The 95 % interval of draws; its ends may be infinite. `None` without any.
pub(crate) fn interval(mut draws: Vec<f64>) -> Option<(f64, f64)> {
    draws.retain(|v| !v.is_nan());
    if draws.is_empty() {
        return None;
    }
    draws.sort_unstable_by(f64::total_cmp);
    let last = (draws.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank within the draws")]
    let at = |q: f64| draws[(q * last).round() as usize];
    Some((at(TAIL), at(1.0 - TAIL)))
}

/// Mean and standard error of the mean; 0 for fewer than two values.
pub(crate) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}
