//! The Universal Scalability Law, fitted by least squares whose parts may not be negative. A fit knows how far its
//! points lie from it; what follows from that is said elsewhere.

/// Points are never held for more exact than this, relative.
const LEAST_ERROR: f64 = 0.01;
/// The weights depend on the curve, and the curve on the weights: this many turns settle both.
const TURNS: usize = 8;
/// Smaller pivots, of columns with length 1, are taken for zero.
const SINGULAR: f64 = 1e-10;

/// `X(N) = gamma N / (1 + sigma (N - 1) + kappa N (N - 1))` (Gunther, Guerrilla Capacity Planning, 2007).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usl {
    /// Throughput at N = 1, per second.
    pub gamma: f64,
    /// 0 to 1.
    pub sigma: f64,
    pub kappa: f64,
}

/// One level as the fit sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Requests in the service at once, mean; above 0.
    pub concurrency: f64,
    /// Per second, above 0.
    pub rate: f64,
    /// Standard errors of ln rate and ln time.
    pub rate_error: f64,
    pub time_error: f64,
    /// The concurrency was held by the load (users), so that all that is not known is the rate.
    pub held: bool,
}

/// A fitted curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    pub usl: Usl,
    /// Standard error of each point's ln rate against the curve.
    pub errors: Vec<f64>,
    /// ln of measured over fitted rate.
    pub residuals: Vec<f64>,
    /// Sum of squared residuals, each over its error.
    pub chi_squared: f64,
    /// Points less parameters that are not 0.
    pub freedom: f64,
}

impl Usl {
    /// Throughput with N requests at once.
    #[must_use]
    pub fn rate(&self, n: f64) -> f64 {
        self.gamma * n / self.stretch(n)
    }

    /// Time in the service over that of one request alone.
    fn stretch(&self, n: f64) -> f64 {
        (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0)).max(f64::MIN_POSITIVE)
    }

    /// `d ln X / d ln N`: 1 where throughput grows as concurrency does, 0 at the peak, below it beyond.
    #[must_use]
    pub fn elasticity(&self, n: f64) -> f64 {
        1.0 - n * (self.sigma + self.kappa * (2.0 * n - 1.0)) / self.stretch(n)
    }

    /// The concurrency at which throughput over response time is greatest (Kleinrock 1979), where
    /// `(1 - sigma) - (sigma - kappa) N - 3 kappa N^2 = 0`; infinite for a straight line.
    #[must_use]
    pub fn knee(&self) -> f64 {
        let (own, linear, square) = (1.0 - self.sigma, self.sigma - self.kappa, 3.0 * self.kappa);
        if square <= f64::MIN_POSITIVE {
            return if linear <= f64::MIN_POSITIVE { f64::INFINITY } else { own / linear };
        }
        // The root without a difference of nearly equal numbers.
        let root = (linear * linear + 4.0 * square * own).sqrt();
        if linear >= 0.0 { 2.0 * own / (linear + root) } else { (root - linear) / (2.0 * square) }
    }

    /// The concurrency at which throughput is greatest, `sqrt((1 - sigma) / kappa)`; infinite without coherence.
    #[must_use]
    pub fn peak(&self) -> f64 {
        if self.kappa <= f64::MIN_POSITIVE { f64::INFINITY } else { ((1.0 - self.sigma) / self.kappa).sqrt() }
    }

    /// The greatest throughput: that at the peak, or `gamma / sigma` where it only comes near; infinite for a line.
    #[must_use]
    pub fn ceiling(&self) -> f64 {
        let peak = self.peak();
        if peak.is_finite() {
            self.rate(peak)
        } else if self.sigma > f64::MIN_POSITIVE {
            self.gamma / self.sigma
        } else {
            f64::INFINITY
        }
    }
}

/// Fits the law; `None` with fewer points than parameters, or points that are none.
///
/// Time in the service is `N / X = p + s N + r N (N - 1)` with `p = (1 - sigma) / gamma`, `s = sigma / gamma`,
/// `r = kappa / gamma`, so that least squares of parts that may not be negative gives the constrained fit. Each point
/// counts by its relative error across the curve: that of the rate where the curve is flat, that of the time where it
/// is steep (effective variance, Orear 1982).
#[must_use]
pub fn fit(points: &[Point]) -> Option<Fit> {
    let sound =
        |p: &Point| p.concurrency > 0.0 && p.rate > 0.0 && p.concurrency.is_finite() && p.rate.is_finite();
    if points.len() < 3 || !points.iter().all(sound) {
        return None;
    }
    let mut errors: Vec<f64> =
        points.iter().map(|p| p.time_error.max(p.rate_error).max(LEAST_ERROR)).collect();
    let mut usl = solve(points, &rates(points), &errors)?;
    for _ in 0..TURNS {
        errors = points.iter().map(|point| across(&usl, point)).collect();
        usl = solve(points, &rates(points), &errors)?;
    }
    let residuals: Vec<f64> = points.iter().map(|p| (p.rate / usl.rate(p.concurrency)).ln()).collect();
    let chi_squared = residuals.iter().zip(&errors).map(|(r, e)| (r / e) * (r / e)).sum();
    let parameters = 1 + u8::from(usl.sigma > 0.0) + u8::from(usl.kappa > 0.0);
    let freedom = points.len() as f64 - f64::from(parameters);
    Some(Fit { usl, errors, residuals, chi_squared, freedom })
}

fn rates(points: &[Point]) -> Vec<f64> {
    points.iter().map(|p| p.rate).collect()
}

/// Standard error of a point's ln rate against the curve.
fn across(usl: &Usl, point: &Point) -> f64 {
    if point.held {
        return point.rate_error.max(LEAST_ERROR);
    }
    let steep = usl.elasticity(point.concurrency).clamp(-1.0, 1.0);
    ((1.0 - steep) * point.rate_error).hypot(steep * point.time_error).max(LEAST_ERROR)
}

/// The constrained fit for given rates at the points' concurrencies and given relative errors.
pub(crate) fn solve(points: &[Point], rates: &[f64], errors: &[f64]) -> Option<Usl> {
    let mut gram = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for ((point, rate), error) in points.iter().zip(rates).zip(errors) {
        let n = point.concurrency;
        // Relative errors of the time: each row over its own time.
        let weight = rate / (n * error);
        let row = [weight, n * weight, n * (n - 1.0) * weight];
        for i in 0..3 {
            right[i] += row[i] / error;
            for j in 0..3 {
                gram[i][j] += row[i] * row[j];
            }
        }
    }
    let [p, s, r] = not_negative(&gram, &right)?;
    let one = p + s;
    (one > 0.0).then(|| Usl { gamma: 1.0 / one, sigma: s / one, kappa: r / one })
}

/// The least squares solution without negative parts, by trying each set of parts that are not 0: there are seven.
fn not_negative(gram: &[[f64; 3]; 3], right: &[f64; 3]) -> Option<[f64; 3]> {
    let scale: Vec<f64> = (0..3).map(|i| gram[i][i].sqrt()).collect();
    if scale.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let mut best: Option<(f64, [f64; 3])> = None;
    for set in 1..8_u8 {
        let inside: Vec<usize> = (0..3).filter(|i| set & (1 << i) != 0 && scale[*i] > 0.0).collect();
        let Some(found) = solve_set(gram, right, &scale, &inside) else { continue };
        if found.iter().any(|v| *v < 0.0) {
            continue;
        }
        // |a x - y|^2 less |y|^2, which is the same for all.
        let explained: f64 = (0..3).map(|i| found[i] * right[i]).sum();
        if best.is_none_or(|(most, _)| explained > most) {
            best = Some((explained, found));
        }
    }
    best.map(|(_, found)| found)
}

/// Gauss's elimination with the largest pivot, on columns brought to length 1.
fn solve_set(gram: &[[f64; 3]; 3], right: &[f64; 3], scale: &[f64], inside: &[usize]) -> Option<[f64; 3]> {
    let n = inside.len();
    let mut rows: Vec<Vec<f64>> = inside
        .iter()
        .map(|&i| {
            let mut row: Vec<f64> = inside.iter().map(|&j| gram[i][j] / (scale[i] * scale[j])).collect();
            row.push(right[i] / scale[i]);
            row
        })
        .collect();
    for at in 0..n {
        let pivot = (at..n).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs()))?;
        rows.swap(at, pivot);
        if rows[at][at].abs() < SINGULAR {
            return None;
        }
        let above = rows[at].clone();
        for row in &mut rows[at + 1..] {
            let times = row[at] / above[at];
            row.iter_mut().zip(&above).for_each(|(v, a)| *v -= times * a);
        }
    }
    let mut solved = vec![0.0; n];
    for at in (0..n).rev() {
        let known: f64 = (at + 1..n).map(|j| rows[at][j] * solved[j]).sum();
        solved[at] = (rows[at][n] - known) / rows[at][at];
    }
    let mut out = [0.0; 3];
    for (&i, value) in inside.iter().zip(&solved) {
        out[i] = value / scale[i];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(usl: Usl, at: &[f64]) -> Vec<Point> {
        let point = |n: &f64| Point {
            concurrency: *n,
            rate: usl.rate(*n),
            rate_error: 0.02,
            time_error: 0.02,
            held: false,
        };
        at.iter().map(point).collect()
    }

    #[test]
    fn points_on_a_curve_give_the_curve_back() {
        for (gamma, sigma, kappa) in [
            (100.0, 0.05, 0.0002),
            (995.6, 0.0267, 0.000_769),
            (20.0, 0.5, 0.0),
            (40.0, 0.0, 0.0),
            (8.0, 0.0, 0.01),
        ] {
            let true_one = Usl { gamma, sigma, kappa };
            let found = fit(&exact(true_one, &[0.2, 1.0, 2.0, 5.0, 12.0, 30.0, 80.0])).expect("a fit").usl;
            assert!((found.gamma / gamma - 1.0).abs() < 1e-5, "{found:?}");
            assert!((found.sigma - sigma).abs() < 1e-5 && (found.kappa - kappa).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn better_than_linear_is_a_line_not_a_negative_part() {
        let mut points = exact(Usl { gamma: 10.0, sigma: 0.0, kappa: 0.0 }, &[1.0, 2.0, 4.0, 8.0]);
        for point in &mut points {
            point.rate *= point.concurrency.powf(0.1);
        }
        let found = fit(&points).expect("a fit").usl;
        assert!(found.sigma >= 0.0 && found.kappa >= 0.0 && found.knee() > 100.0, "{found:?}");
    }

    #[test]
    fn the_knee_of_a_single_queue_is_at_half_its_rate() {
        // R = S / (1 - rho): sigma is 1/2 and the ceiling 1 / S.
        let queue = Usl { gamma: 50.0, sigma: 0.5, kappa: 0.0 };
        assert!((queue.ceiling() - 100.0).abs() < 1e-9);
        assert!((queue.knee() - 1.0).abs() < 1e-9 && (queue.rate(queue.knee()) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn the_knee_is_where_rate_over_time_is_greatest() {
        for (sigma, kappa) in [(0.02, 0.0005), (0.0, 0.001), (0.3, 0.01), (0.001, 0.02)] {
            let usl = Usl { gamma: 10.0, sigma, kappa };
            let power = |n: f64| usl.rate(n) * usl.rate(n) / n;
            let knee = usl.knee();
            assert!(power(knee) > power(knee * 1.02) && power(knee) > power(knee * 0.98), "{usl:?} {knee}");
            let peak = usl.peak();
            assert!(usl.rate(peak) > usl.rate(peak * 1.02) && usl.rate(peak) > usl.rate(peak * 0.98));
        }
    }

    #[test]
    fn points_that_are_none_give_no_fit() {
        let points = exact(Usl { gamma: 10.0, sigma: 0.1, kappa: 0.0 }, &[1.0, 2.0]);
        assert_eq!(fit(&points), None);
        let mut more = exact(Usl { gamma: 10.0, sigma: 0.1, kappa: 0.0 }, &[1.0, 2.0, 3.0]);
        more[1].rate = f64::NAN;
        assert_eq!(fit(&more), None);
        more[1].rate = 0.0;
        assert_eq!(fit(&more), None);
        let same = exact(Usl { gamma: 10.0, sigma: 0.1, kappa: 0.0 }, &[2.0, 2.0, 2.0]);
        assert!(fit(&same).is_some_and(|f| f.usl.rate(2.0).is_finite()));
    }
}
