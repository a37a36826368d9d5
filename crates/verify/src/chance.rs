//! Distribution functions: normal, Student's t and the regularised incomplete beta function beneath it.
//! Only what verdicts need, to about 1e-10; no tables, no fitting.

use std::f64::consts::PI;

/// Continued fractions and series end after this many terms, converged or not.
const MAX_TERMS: usize = 500;
/// Halvings of a bracket: more than a double has bits.
const MAX_HALVINGS: usize = 80;

/// ln Γ(x) for x > 0: Stirling's series (DLMF 5.11.1) at x + n ≥ 8, brought back by Γ(x + 1) = x Γ(x).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut back) = (x, 0.0);
    while x < 8.0 {
        back -= x.ln();
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    // B_2k / (2k (2k - 1) x^(2k-1)), k = 1 to 7.
    let terms = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
    ];
    let series = terms.iter().rev().fold(0.0, |sum, term| sum * y + term) / x;
    back + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln() + series
}

/// The regularised incomplete beta function `I_x(a, b)` for a, b > 0.
/// Continued fraction DLMF 8.17.22 by Lentz's method, on the side where it converges fast.
pub(crate) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    (front.exp() / a * beta_fraction(a, b, x)).clamp(0.0, 1.0)
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for m in 1..MAX_TERMS {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            step = c * d;
            value *= step;
        }
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

/// P(T ≤ t) of Student's t with `freedom` > 0 degrees of freedom (DLMF 8.17; infinities allowed).
pub(crate) fn t_cdf(t: f64, freedom: f64) -> f64 {
    if t.is_infinite() {
        return if t > 0.0 { 1.0 } else { 0.0 };
    }
    let tail = 0.5 * incomplete_beta(0.5 * freedom, 0.5, freedom / (freedom + t * t));
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// The `p`-quantile (0 < p < 1) of Student's t with `freedom` degrees of freedom, by bisection of [`t_cdf`].
pub(crate) fn t_quantile(p: f64, freedom: f64) -> f64 {
    if p < 0.5 {
        return -t_quantile(1.0 - p, freedom);
    }
    let (mut low, mut high) = (0.0, 1.0);
    while t_cdf(high, freedom) < p && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..MAX_HALVINGS {
        let middle = 0.5 * (low + high);
        if t_cdf(middle, freedom) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// P(Z ≤ z) of the standard normal: Φ(z) = 1/2 + φ(z)(z + z³/3 + z⁵/(3·5) + …), Marsaglia,
/// Journal of Statistical Software 11(4), 2004.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    if z.abs() > 8.0 {
        return if z > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut sum, mut term) = (z, z);
    for odd in (3..MAX_TERMS).step_by(2) {
        term *= z * z / odd as f64;
        sum += term;
        if term.abs() < 1e-17 {
            break;
        }
    }
    (0.5 + sum * (-0.5 * z * z).exp() / (2.0 * PI).sqrt()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64, within: f64) {
        assert!((left - right).abs() <= within, "{left} is not {right} within {within}");
    }

    #[test]
    fn ln_gamma_of_known_points() {
        close(ln_gamma(0.5), PI.sqrt().ln(), 1e-12);
        close(ln_gamma(1.0), 0.0, 1e-12);
        close(ln_gamma(11.0), 3_628_800.0_f64.ln(), 1e-11);
        close(ln_gamma(100.0), 359.134_205_369_575_4, 1e-9);
    }

    #[test]
    fn incomplete_beta_of_known_points() {
        // I_x(1, b) = 1 - (1 - x)^b; I_x(a, 1) = x^a; I_0.5(a, a) = 1/2.
        close(incomplete_beta(1.0, 3.0, 0.2), 1.0 - 0.8_f64.powi(3), 1e-13);
        close(incomplete_beta(4.0, 1.0, 0.7), 0.7_f64.powi(4), 1e-13);
        close(incomplete_beta(37.5, 37.5, 0.5), 0.5, 1e-12);
        // P(X >= 3), X binomial(10, 0.2).
        close(incomplete_beta(3.0, 8.0, 0.2), 0.322_200_473_6, 1e-9);
        assert!(incomplete_beta(2.0, 2.0, -1.0) <= 0.0);
        assert!(incomplete_beta(2.0, 2.0, 2.0) >= 1.0);
    }

    #[test]
    fn student_t_agrees_with_the_printed_table() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, upper critical values.
        for (freedom, p, value) in [
            (1.0, 0.975, 12.706),
            (2.0, 0.975, 4.303),
            (5.0, 0.975, 2.571),
            (9.0, 0.975, 2.262),
            (19.0, 0.975, 2.093),
            (39.0, 0.975, 2.023),
            (100.0, 0.975, 1.984),
            (5.0, 0.90, 1.476),
            (19.0, 0.995, 2.861),
            (10.0, 0.999, 4.144),
        ] {
            close(t_quantile(p, freedom), value, 6e-4);
            close(t_quantile(1.0 - p, freedom), -value, 6e-4);
        }
        close(t_quantile(0.8, 19.0), 0.861, 6e-4);
        close(t_quantile(0.975, 1e6), 1.959_966, 1e-5);
    }

    #[test]
    fn the_t_distribution_is_a_distribution() {
        assert!(t_cdf(f64::NEG_INFINITY, 5.0) <= 0.0 && t_cdf(f64::INFINITY, 5.0) >= 1.0);
        close(t_cdf(0.0, 7.0), 0.5, 1e-14);
        // One degree of freedom is Cauchy's: P(T <= 1) = 3/4.
        close(t_cdf(1.0, 1.0), 0.75, 1e-12);
        let steps: Vec<f64> = (-50..50).map(|i| t_cdf(f64::from(i) / 5.0, 11.0)).collect();
        assert!(steps.is_sorted());
    }

    #[test]
    fn the_normal_agrees_with_the_printed_table() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.841_344_746), (1.96, 0.975_002_105), (-2.576, 0.004_997_532)] {
            close(normal_cdf(z), p, 1e-9);
        }
        assert!(normal_cdf(-40.0) <= 0.0 && normal_cdf(40.0) >= 1.0);
        assert!(normal_cdf(7.9) <= 1.0 && normal_cdf(-7.9) >= 0.0);
    }
}
