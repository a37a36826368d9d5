//! Small dense linear algebra on symmetric matrices: Cholesky, Jacobi's eigenvalues, least squares that may not be
//! negative (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23, on the normal equations).

/// A symmetric matrix, by rows.
pub(crate) type Matrix = Vec<Vec<f64>>;

/// Smaller pivots than this, of a matrix with ones on its diagonal, are taken for zero.
const SINGULAR: f64 = 1e-12;
/// A gradient below this, relative to the largest, does not call for another column.
const FLAT: f64 = 1e-10;
/// Sweeps of Jacobi's method: it converges in fewer than ten.
const MAX_SWEEPS: usize = 64;

/// Solves `m x = b` for a positive definite matrix; `None` if it is none.
pub(crate) fn cholesky(m: &Matrix, b: &[f64]) -> Option<Vec<f64>> {
    let n = b.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let rest = m[i][j] - sum;
            lower[i][j] = if i == j {
                if rest.is_nan() || rest <= SINGULAR {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / lower[j][j]
            };
        }
    }
    let mut x = b.to_vec();
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| lower[i][k] * x[k]).sum();
        x[i] = (x[i] - sum) / lower[i][i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| lower[k][i] * x[k]).sum();
        x[i] = (x[i] - sum) / lower[i][i];
    }
    Some(x)
}

/// Eigenvalues and, in the same order, unit eigenvectors of a symmetric matrix.
pub(crate) fn eigen(m: &Matrix) -> (Vec<f64>, Matrix) {
    let n = m.len();
    let mut a = m.clone();
    let mut v: Matrix = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..MAX_SWEEPS {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j].abs()).sum();
        if off < SINGULAR {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut v, p, q);
            }
        }
    }
    let vectors = (0..n).map(|column| (0..n).map(|row| v[row][column]).collect()).collect();
    ((0..n).map(|i| a[i][i]).collect(), vectors)
}

/// One rotation that makes `a[p][q]` zero.
fn rotate(a: &mut Matrix, v: &mut Matrix, p: usize, q: usize) {
    if a[p][q].abs() < f64::MIN_POSITIVE {
        return;
    }
    let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let t = if theta.abs() < f64::MIN_POSITIVE { 1.0 } else { t };
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for row in a.iter_mut() {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
    let (above, below) = a.split_at_mut(q);
    for (x, y) in above[p].iter_mut().zip(below[0].iter_mut()) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
    for row in v.iter_mut() {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
}

/// The `x >= 0` that minimises `|a x - y|`, given `gram = aᵀa` with ones on its diagonal and `b = aᵀy`. Exact: it
/// ends when no column outside the solution would lower the error.
pub(crate) fn non_negative(gram: &Matrix, b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let scale = b.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    let mut x = vec![0.0; n];
    let mut inside: Vec<usize> = Vec::new();
    let mut barred = vec![false; n];
    // Each turn adds a column for good, or bars one: more turns than this would be a cycle by rounding.
    for _ in 0..8 * n + 8 {
        let gradient = |j: usize| b[j] - (0..n).map(|k| gram[j][k] * x[k]).sum::<f64>();
        let next = (0..n)
            .filter(|j| !inside.contains(j) && !barred[*j])
            .map(|j| (j, gradient(j)))
            .filter(|(_, w)| *w > FLAT * scale)
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((column, _)) = next else { break };
        inside.push(column);
        barred[column] = !settle(gram, b, &mut x, &mut inside);
    }
    x
}

/// Moves to the least squares solution of the columns inside, dropping those that would become negative on the way.
/// `false`: the newest column depends on the others, and is out again.
fn settle(gram: &Matrix, b: &[f64], x: &mut [f64], inside: &mut Vec<usize>) -> bool {
    while !inside.is_empty() {
        let part: Matrix = inside.iter().map(|i| inside.iter().map(|j| gram[*i][*j]).collect()).collect();
        let right: Vec<f64> = inside.iter().map(|i| b[*i]).collect();
        let Some(z) = cholesky(&part, &right) else {
            if let Some(newest) = inside.pop() {
                x[newest] = 0.0;
            }
            return false;
        };
        let step = inside
            .iter()
            .zip(&z)
            .filter(|(_, z)| **z <= 0.0)
            .map(|(i, z)| x[*i] / (x[*i] - z))
            .fold(f64::INFINITY, f64::min);
        if step.is_infinite() {
            for (i, z) in inside.iter().zip(z) {
                x[*i] = z;
            }
            return true;
        }
        let step = if step.is_nan() { 0.0 } else { step };
        for (i, z) in inside.iter().zip(&z) {
            x[*i] += step * (z - x[*i]);
        }
        let before = inside.len();
        let negative: Vec<usize> =
            inside.iter().zip(&z).filter(|(_, z)| **z <= 0.0).map(|(i, _)| *i).collect();
        let least = negative.iter().copied().min_by(|a, b| x[*a].total_cmp(&x[*b]));
        inside.retain(|i| Some(*i) != least && !(negative.contains(i) && x[*i] <= f64::EPSILON));
        for i in negative.iter().filter(|i| !inside.contains(i)) {
            x[*i] = 0.0;
        }
        debug_assert!(inside.len() < before, "each turn drops a column");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{Matrix, cholesky, eigen, non_negative};

    fn near(a: &[f64], b: &[f64]) {
        assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9), "{a:?} {b:?}");
    }

    #[test]
    fn a_system_is_solved_and_a_singular_one_refused() {
        let m: Matrix = vec![vec![4.0, 2.0], vec![2.0, 3.0]];
        near(&cholesky(&m, &[8.0, 7.0]).unwrap(), &[1.25, 1.5]);
        assert!(cholesky(&vec![vec![1.0, 1.0], vec![1.0, 1.0]], &[1.0, 1.0]).is_none());
        assert!(cholesky(&vec![vec![f64::NAN]], &[1.0]).is_none());
    }

    #[test]
    fn eigenvalues_and_vectors_are_found() {
        let m: Matrix = vec![vec![2.0, 1.0, 0.0], vec![1.0, 2.0, 0.0], vec![0.0, 0.0, 5.0]];
        let (values, vectors) = eigen(&m);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        near(&sorted, &[1.0, 3.0, 5.0]);
        for (value, vector) in values.iter().zip(&vectors) {
            let product: Vec<f64> =
                m.iter().map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect();
            near(&product, &vector.iter().map(|v| v * value).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_would_be_negative_is_zero_and_the_rest_is_fitted_anew() {
        // Unconstrained: (2, -1). With the second at zero the first is b0.
        let gram: Matrix = vec![vec![1.0, 0.5], vec![0.5, 1.0]];
        near(&non_negative(&gram, &[1.5, 0.0]), &[1.5, 0.0]);
        near(&non_negative(&gram, &[2.0, 1.9]), &[1.4, 1.2]);
        near(&non_negative(&gram, &[-1.0, -2.0]), &[0.0, 0.0]);
    }

    #[test]
    fn two_equal_columns_do_not_loop() {
        let gram: Matrix = vec![vec![1.0, 1.0], vec![1.0, 1.0]];
        let x = non_negative(&gram, &[3.0, 3.0]);
        assert!((x[0] + x[1] - 3.0).abs() < 1e-9, "{x:?}");
    }

    /// The conditions of Karush, Kuhn and Tucker hold: zero gradient inside, none positive outside.
    #[test]
    fn random_problems_end_at_their_optimum() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
        };
        for _ in 0..300 {
            let (rows, columns) = (12, 6);
            let a: Matrix = (0..rows).map(|_| (0..columns).map(|_| random()).collect()).collect();
            let norm: Vec<f64> =
                (0..columns).map(|j| a.iter().map(|r| r[j] * r[j]).sum::<f64>().sqrt()).collect();
            let dot = |i: usize, j: usize| a.iter().map(|r| r[i] * r[j]).sum::<f64>() / (norm[i] * norm[j]);
            let gram: Matrix = (0..columns).map(|i| (0..columns).map(|j| dot(i, j)).collect()).collect();
            let b: Vec<f64> = (0..columns).map(|_| random()).collect();
            let x = non_negative(&gram, &b);
            for j in 0..columns {
                let gradient = b[j] - (0..columns).map(|k| gram[j][k] * x[k]).sum::<f64>();
                assert!(x[j] >= 0.0 && gradient < 1e-8 && (x[j] == 0.0 || gradient.abs() < 1e-8), "{x:?}");
            }
        }
    }
}
