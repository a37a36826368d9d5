//! The regression: growth of a counter in each window = requests of each operation times its cost, plus seconds times
//! the background, no cost below zero. With an interval for each figure, and without figures that the mix cannot tell.

use crate::mix::Mix;
use crate::solve::{Matrix, eigen, non_negative};
use model::{Attribution, Gap, Rate};

const SIGNAL: &str = "attribution";
/// Beyond this condition number (of columns scaled to length one) the columns depend on each other too much for single
/// figures (Belsley, Kuh and Welsch, Regression Diagnostics, 1980, section 3.2).
const MAX_CONDITION: f64 = 30.0;
/// A column with less than this part in a dependence takes none.
const MIN_PART: f64 = 0.2;
/// Windows beyond the number of columns that a fit needs: with fewer, its error cannot be seen.
const SPARE_WINDOWS: usize = 3;
/// Leverage is cut here: a window that decides a figure alone has no residual to judge by.
const MAX_LEVERAGE: f64 = 0.99;
/// Of the intervals.
const NORMAL_975: f64 = 1.959_964;

/// A mix, prepared for any number of counters.
#[derive(Clone, Debug)]
pub struct Regression {
    operations: Vec<String>,
    /// Requests of each operation, then seconds, for each usable window; `None` for one that does not count.
    rows: Vec<Option<Vec<f64>>>,
    prepared: Prepared,
    gaps: Vec<Gap>,
}

/// The windows of one fit.
#[derive(Clone, Debug, Default)]
struct Prepared {
    windows: Vec<usize>,
    /// Columns that are not zero throughout: operations, then possibly the background.
    columns: Vec<usize>,
    norms: Vec<f64>,
    /// The columns scaled to length one, by window.
    design: Matrix,
    gram: Matrix,
    /// The inverse of `gram` without the directions that it cannot tell.
    inverse: Matrix,
    rank: usize,
    condition: f64,
    /// For each of `columns`: its figure cannot be told.
    doubtful: Vec<bool>,
    /// Columns that cannot be told from each other, as places in `columns`.
    groups: Vec<Vec<usize>>,
}

impl Regression {
    #[must_use]
    pub fn new(mix: &Mix) -> Self {
        let width = mix.operations.len();
        let row = |window: &crate::Window| {
            let mut row = window.requests.clone();
            row.push(window.seconds);
            let sound = row.len() == width + 1 && row.iter().all(|v| v.is_finite() && *v >= 0.0);
            (sound && window.seconds > 0.0 && window.void.is_none()).then_some(row)
        };
        let rows: Vec<Option<Vec<f64>>> = mix.windows.iter().map(row).collect();
        let usable: Vec<usize> = (0..rows.len()).filter(|w| rows[*w].is_some()).collect();
        let prepared = Prepared::new(&rows, &usable, width + 1);
        let mut regression = Self { operations: mix.operations.clone(), rows, prepared, gaps: Vec::new() };
        regression.gaps = regression.find_gaps(mix);
        regression
    }

    /// Of the mix: the ratio of the largest to the smallest singular value, with columns scaled to length one. Infinite
    /// where two operations always come together.
    #[must_use]
    pub fn condition(&self) -> f64 {
        self.prepared.condition
    }

    /// What the windows cannot tell, and what to do so that they can.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// A counter's growth in each window, attributed. Windows whose growth is no number, or negative, do not count.
    /// `None` where too few windows are left.
    #[must_use]
    pub fn attribute(&self, growth: &[f64]) -> Option<Attribution> {
        let sound = |w: &&usize| growth.get(**w).is_some_and(|g| g.is_finite() && *g >= 0.0);
        let usable: Vec<usize> = self.prepared.windows.iter().filter(sound).copied().collect();
        if usable.len() == self.prepared.windows.len() {
            return self.prepared.fit(growth, self.operations.len());
        }
        Prepared::new(&self.rows, &usable, self.operations.len() + 1).fit(growth, self.operations.len())
    }

    fn find_gaps(&self, mix: &Mix) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let lost = mix.windows.len() - self.prepared.windows.len();
        if lost > 0 {
            let why = mix.windows.iter().find_map(|w| w.void.clone());
            let why = why.unwrap_or_else(|| "its counts are no numbers".to_owned());
            let reason = format!("{lost} of {} windows do not count: first, {why}", mix.windows.len());
            gaps.push(Gap::new(SIGNAL, reason, "measure longer, or remove the reason"));
        }
        if !self.prepared.is_enough() {
            let reason = format!(
                "{} windows are too few to tell {} operations and the background apart",
                self.prepared.windows.len(),
                self.operations.len()
            );
            let hint = format!("measure at least {} windows", self.operations.len() + 1 + SPARE_WINDOWS);
            gaps.push(Gap::new(SIGNAL, reason, hint));
            return gaps;
        }
        for group in &self.prepared.groups {
            let name = |place: &usize| match self.operations.get(self.prepared.columns[*place]) {
                Some(operation) => operation.clone(),
                None => "the background".to_owned(),
            };
            let names: Vec<String> = group.iter().map(name).collect();
            let reason =
                format!("{} grow together in every window: they cannot be told apart", names.join(", "));
            gaps.push(Gap::new(
                SIGNAL,
                reason,
                "vary the load's mix, and its total rate, from window to window",
            ));
        }
        gaps
    }
}

impl Prepared {
    fn new(rows: &[Option<Vec<f64>>], usable: &[usize], width: usize) -> Self {
        let value = |w: usize, c: usize| rows[w].as_ref().map_or(0.0, |r| r[c]);
        let norm = |c: usize| usable.iter().map(|w| value(*w, c).powi(2)).sum::<f64>().sqrt();
        let (columns, norms): (Vec<usize>, Vec<f64>) =
            (0..width).map(|c| (c, norm(c))).filter(|(_, n)| *n > 0.0 && n.is_finite()).unzip();
        let scaled = |w: &usize| columns.iter().zip(&norms).map(|(c, n)| value(*w, *c) / n).collect();
        let design: Matrix = usable.iter().map(scaled).collect();
        let size = columns.len();
        let dot = |i: usize, j: usize| design.iter().map(|r| r[i] * r[j]).sum::<f64>();
        let gram: Matrix = (0..size).map(|i| (0..size).map(|j| dot(i, j)).collect()).collect();
        let mut prepared = Self { windows: usable.to_vec(), columns, norms, design, gram, ..Self::default() };
        prepared.judge_separation();
        prepared
    }

    /// Condition, generalised inverse, and which columns depend on which.
    fn judge_separation(&mut self) {
        let size = self.columns.len();
        let (values, vectors) = eigen(&self.gram);
        let largest = values.iter().copied().fold(0.0, f64::max);
        let condition = |value: f64| (largest / value.max(0.0)).sqrt();
        self.condition = values.iter().map(|v| condition(*v)).fold(1.0, f64::max);
        self.doubtful = vec![false; size];
        self.inverse = vec![vec![0.0; size]; size];
        for (value, vector) in values.iter().zip(&vectors) {
            if condition(*value) > MAX_CONDITION {
                let group: Vec<usize> = (0..size).filter(|c| vector[*c].abs() > MIN_PART).collect();
                for place in &group {
                    self.doubtful[*place] = true;
                }
                self.groups.push(group);
                continue;
            }
            self.rank += 1;
            for i in 0..size {
                for j in 0..size {
                    self.inverse[i][j] += vector[i] * vector[j] / value;
                }
            }
        }
        self.groups.sort();
    }

    fn is_enough(&self) -> bool {
        !self.columns.is_empty() && self.windows.len() >= self.columns.len() + SPARE_WINDOWS
    }

    fn fit(&self, growth: &[f64], operations: usize) -> Option<Attribution> {
        if !self.is_enough() {
            return None;
        }
        let y: Vec<f64> = self.windows.iter().map(|w| growth[*w]).collect();
        let size = self.columns.len();
        let b: Vec<f64> =
            (0..size).map(|c| self.design.iter().zip(&y).map(|(row, y)| row[c] * y).sum()).collect();
        let x = non_negative(&self.gram, &b);
        let (free, errors) = self.unconstrained(&y, &b);
        let rate = |place: usize| {
            let norm = self.norms[place];
            let (value, middle, half) = (x[place] / norm, free[place] / norm, errors[place] / norm);
            Rate { value, low: (middle - half).min(value).max(0.0), high: (middle + half).max(value) }
        };
        let told = |column: usize| {
            let place = self.columns.iter().position(|c| *c == column)?;
            (!self.doubtful[place]).then(|| rate(place))
        };
        Some(Attribution {
            per_request: (0..operations).map(told).collect(),
            background_per_second: told(operations),
            residual: length(&self.left_over(&y, &x)) / length(&y).max(f64::MIN_POSITIVE),
            windows: y.len(),
        })
    }

    /// The ordinary least squares solution, and half the width of its intervals: standard errors that hold where some
    /// windows scatter more than others (HC3; MacKinnon and White, 1985), times Student's quantile.
    fn unconstrained(&self, y: &[f64], b: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let times = |v: &[f64]| -> Vec<f64> {
            self.inverse.iter().map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum()).collect()
        };
        let x = times(b);
        let mut variances = vec![0.0; x.len()];
        for (row, left) in self.design.iter().zip(self.left_over(y, &x)) {
            let pull = times(row);
            let leverage: f64 = row.iter().zip(&pull).map(|(a, b)| a * b).sum();
            let error = left / (1.0 - leverage.min(MAX_LEVERAGE));
            for (variance, pull) in variances.iter_mut().zip(&pull) {
                *variance += (pull * error).powi(2);
            }
        }
        let quantile = student_975((y.len() - self.rank) as f64);
        (x, variances.into_iter().map(|v| v.sqrt() * quantile).collect())
    }

    fn left_over(&self, y: &[f64], x: &[f64]) -> Vec<f64> {
        let fitted = |row: &Vec<f64>| row.iter().zip(x).map(|(a, x)| a * x).sum::<f64>();
        self.design.iter().zip(y).map(|(row, y)| y - fitted(row)).collect()
    }
}

fn length(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// The 97.5 % quantile of Student's distribution: the expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5),
/// within 1 % from three degrees of freedom on.
fn student_975(freedom: f64) -> f64 {
    let (z, n) = (NORMAL_975, freedom.max(1.0));
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    let first = (z3 + z) / 4.0;
    let second = (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0;
    let third = (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0;
    z + first / n + second / (n * n) + third / n.powi(3)
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
