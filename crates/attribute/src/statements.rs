//! What the requests of each operation do in a database: calls, time, rows, blocks and log bytes of each statement.

use crate::fit::Regression;
use crate::mix::Mix;
use model::{Attribution, Gap, Statement, StatementCost, sql};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Statements beyond this, by their time, are not attributed.
const MAX_STATEMENTS: usize = 5_000;

/// All statements, those with most time first, and what could not be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementCosts {
    /// The order of [`model::Attribution::per_request`].
    pub operations: Vec<String>,
    pub statements: Vec<StatementCost>,
    /// See [`Regression::condition`].
    pub condition: f64,
    pub gaps: Vec<Gap>,
}

/// Attributes the statements' growth in each window of `mix`; `windows` are the differences of snapshots at its borders,
/// in its order. A statement that a window does not know was not called in it.
#[must_use]
pub fn statements(mix: &Mix, windows: &[Vec<Statement>]) -> StatementCosts {
    let regression = Regression::new(mix);
    let mut gaps = regression.gaps().to_vec();
    if windows.len() != mix.windows.len() {
        let reason = format!("{} windows of statements for {} of requests", windows.len(), mix.windows.len());
        gaps.push(Gap::new("attribution", reason, "take a snapshot at each border of the windows"));
        return StatementCosts { operations: mix.operations.clone(), gaps, ..StatementCosts::default() };
    }
    let mut by_text: BTreeMap<String, Growth> = BTreeMap::new();
    for (at, window) in windows.iter().enumerate() {
        for statement in window {
            let growth = by_text
                .entry(sql::normalise(&statement.text))
                .or_insert_with(|| Growth(vec![[0.0; FIGURES]; windows.len()]));
            for (sum, figure) in growth.0[at].iter_mut().zip(figures(statement)) {
                *sum += figure;
            }
        }
    }
    let mut all: Vec<(String, Growth)> = by_text.into_iter().collect();
    all.sort_by(|a, b| b.1.total_ms().total_cmp(&a.1.total_ms()).then_with(|| a.0.cmp(&b.0)));
    if all.len() > MAX_STATEMENTS {
        let reason = format!("{} of {} statements are not attributed", all.len() - MAX_STATEMENTS, all.len());
        gaps.push(Gap::new("attribution", reason, "they are those with the least time in the database"));
        all.truncate(MAX_STATEMENTS);
    }
    let cost = |(text, growth): (String, Growth)| {
        let calls = regression.attribute(&growth.figure(0))?;
        let mut ms = regression.attribute(&growth.figure(1))?;
        what_is_called_takes_time(&calls, &mut ms, growth.total_ms() / growth.total_calls());
        Some(StatementCost {
            text,
            calls,
            ms,
            rows: regression.attribute(&growth.figure(2))?,
            blocks: regression.attribute(&growth.figure(3))?,
            wal_bytes: regression.attribute(&growth.figure(4))?,
        })
    };
    StatementCosts {
        operations: mix.operations.clone(),
        statements: all.into_iter().filter_map(cost).collect(),
        condition: regression.condition(),
        gaps,
    }
}

/// Where noise leaves no time to an operation that surely calls the statement, its calls times their mean length, as far
/// as the interval allows. Both `ms` and `mean_ms` (of a call) are milliseconds.
fn what_is_called_takes_time(calls: &Attribution, ms: &mut Attribution, mean_ms: f64) {
    if !mean_ms.is_finite() {
        return;
    }
    for (calls, ms) in calls.per_request.iter().zip(&mut ms.per_request) {
        if let (Some(calls), Some(ms)) = (calls, ms)
            && calls.low > 0.0
            && ms.value <= 0.0
        {
            ms.value = (calls.value * mean_ms).clamp(ms.low, ms.high.max(ms.low));
        }
    }
}

const FIGURES: usize = 5;

/// A statement's figures in each window.
struct Growth(Vec<[f64; FIGURES]>);

impl Growth {
    fn figure(&self, number: usize) -> Vec<f64> {
        self.0.iter().map(|window| window[number]).collect()
    }

    fn total_calls(&self) -> f64 {
        self.figure(0).iter().sum()
    }

    fn total_ms(&self) -> f64 {
        self.0.iter().map(|window| window[1]).filter(|ms| ms.is_finite()).sum()
    }
}

fn figures(statement: &Statement) -> [f64; FIGURES] {
    [
        statement.calls as f64,
        statement.total_ms,
        statement.rows as f64,
        statement.blocks_hit as f64 + statement.blocks_read as f64,
        statement.wal_bytes as f64,
    ]
}

#[cfg(test)]
mod tests {
    use super::{statements, what_is_called_takes_time};
    use crate::mix::{Mix, Timed, varied};
    use model::{Attribution, Rate, Statement};

    const SECOND: u64 = 1_000_000_000;
    const WINDOWS: usize = 20;
    /// Calls of each statement by one request of each of five endpoints, their length in milliseconds.
    const TRUTH: [(&str, [f64; 5]); 5] = [
        ("SELECT * FROM order_items WHERE order_id = $1", [20.0, 0.0, 0.0, 0.0, 0.0]),
        ("SELECT * FROM orders WHERE customer_id = $1", [1.0, 1.0, 0.0, 1.0, 0.0]),
        ("SELECT * FROM order_items WHERE order_id = ANY ($1)", [0.0, 1.0, 0.0, 0.0, 0.0]),
        ("SELECT * FROM products WHERE id = $1", [0.0, 0.0, 1.0, 3.0, 0.0]),
        ("INSERT INTO audit (what) VALUES ($1)", [0.0, 0.0, 0.0, 0.0, 2.0]),
    ];
    const MS: [f64; 5] = [60.0, 15.0, 3.0, 9.0, 6.0];
    const RATES: [f64; 5] = [10.0, 24.0, 16.0, 20.0, 12.0];
    /// A poller beside the load asks for products.
    const POLLS_PER_SECOND: u64 = 35;

    fn operations() -> Vec<String> {
        ["/orders", "/orders2", "/product", "/customer", "/note"].map(str::to_owned).to_vec()
    }

    /// Arrivals whose mix varies from second to second, served by four connections; each request spreads its statements
    /// over its time.
    fn simulated() -> (Mix, Vec<Vec<Statement>>) {
        let borders: Vec<u64> = (0..=WINDOWS as u64).map(|w| w * SECOND).collect();
        let mut calls = vec![[0_u64; TRUTH.len()]; WINDOWS];
        let mut call = |statement: usize, at: u64| {
            if let Some(window) = calls.get_mut((at / SECOND) as usize) {
                window[statement] += 1;
            }
        };
        let mut requests = Vec::new();
        let mut free = [0_u64; 4];
        for (window, factors) in varied(MS.len(), WINDOWS).iter().enumerate() {
            let mut arrivals: Vec<(u64, usize)> = Vec::new();
            for (operation, factor) in factors.iter().enumerate() {
                let count = (RATES[operation] * factor) as u64;
                let due = |i: u64| window as u64 * SECOND + SECOND * i / count + i * 7919 % 1000 * 9000;
                arrivals.extend((0..count).map(|i| (due(i), operation)));
            }
            arrivals.sort_unstable();
            for (due, operation) in arrivals {
                let Some(connection) = free.iter_mut().min() else { continue };
                let start = due.max(*connection);
                let length = (MS[operation] * 1e6 * (0.7 + (due % 600) as f64 / 1000.0)) as u64;
                *connection = start + length;
                for (statement, (_, by_operation)) in TRUTH.iter().enumerate() {
                    let count = by_operation[operation] as u64;
                    (0..count).for_each(|i| call(statement, start + length * (i + 1) / (count + 1)));
                }
                requests.push(Timed { operation: operation as u32, start_ns: start, end_ns: start + length });
            }
        }
        for poll in 0..WINDOWS as u64 * POLLS_PER_SECOND {
            call(3, poll * SECOND / POLLS_PER_SECOND);
        }
        let statement = |at: usize, calls: u64| Statement {
            text: TRUTH[at].0.to_owned(),
            calls,
            total_ms: calls as f64 * 0.5,
            rows: calls * 4,
            blocks_hit: calls * 3,
            wal_bytes: if at == 4 { calls * 100 } else { 0 },
            ..Statement::default()
        };
        let window =
            |c: &[u64; 5]| (0..5).filter(|s| c[*s] > 0).map(|s| statement(s, c[s])).collect::<Vec<_>>();
        let windows = calls.iter().map(window).collect();
        (Mix::of_requests(&operations(), &borders, &requests), windows)
    }

    #[test]
    fn mixed_traffic_is_told_apart_within_a_fifth_of_a_call() {
        let (mix, windows) = simulated();
        let costs = statements(&mix, &windows);
        assert_eq!(costs.gaps, []);
        for (text, truth) in TRUTH {
            let cost = costs.statements.iter().find(|c| c.text == text).unwrap();
            let found: Vec<f64> = cost.calls.per_request.iter().map(|r| r.unwrap().value).collect();
            let near = found.iter().zip(truth).all(|(found, truth)| (found - truth).abs() < 0.2);
            assert!(near, "{text}: {found:?}, truth {truth:?}");
        }
        let products = costs.statements.iter().find(|c| c.text.contains("products")).unwrap();
        let polls = products.calls.background_per_second.unwrap().value;
        assert!((polls - POLLS_PER_SECOND as f64).abs() < 3.0, "{polls} polls a second");
        let audit = costs.statements.iter().find(|c| c.text.contains("audit")).unwrap();
        assert!((audit.wal_bytes.per_request[4].unwrap().value - 200.0).abs() < 20.0);
    }

    #[test]
    fn what_is_called_is_not_told_to_take_no_time() {
        let rates = |all: [(f64, f64, f64); 3]| Attribution {
            per_request: all.map(|(value, low, high)| Some(Rate { value, low, high })).to_vec(),
            ..Attribution::default()
        };
        let calls = rates([(2.0, 1.9, 2.1), (0.0, 0.0, 0.1), (1.0, 0.9, 1.1)]);
        let mut ms = rates([(0.0, 0.0, 0.3), (0.0, 0.0, 0.3), (5.0, 4.0, 6.0)]);
        what_is_called_takes_time(&calls, &mut ms, 0.1);
        let value = |ms: &Attribution| ms.per_request.iter().map(|r| r.unwrap().value).collect::<Vec<f64>>();
        assert_eq!(value(&ms), [0.2, 0.0, 5.0]);
        what_is_called_takes_time(&calls, &mut ms, f64::NAN);
        let mut ms = rates([(0.0, 0.0, 0.3); 3]);
        what_is_called_takes_time(&calls, &mut ms, 1.0);
        assert_eq!(value(&ms), [0.3, 0.0, 0.3], "not beyond the interval");
    }

    #[test]
    fn statements_without_their_windows_are_refused() {
        let (mix, windows) = simulated();
        let costs = statements(&mix, &windows[1..]);
        assert!(costs.statements.is_empty() && costs.gaps.len() == 1, "{:?}", costs.gaps);
    }
}
