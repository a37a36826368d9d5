//! The sales report: mean order value of the latest orders with a bootstrap confidence interval.
//! The resampling is honest computation, and deterministic: its random numbers come from a fixed seed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::extract::Parameters;
use crate::App;
use crate::database::Statement;
use crate::error::Error;
use crate::switches::Report as ReportSwitch;
use crate::trace::Trace;

const LATEST: Statement = Statement {
    operation: "SELECT",
    collection: "orders",
    sql: "SELECT total_cents FROM orders ORDER BY id DESC LIMIT $1",
};
const ORDERS: u32 = 2_000;
const RESAMPLES: u32 = 4_000;
const MOST_ORDERS: u32 = 20_000;
const MOST_RESAMPLES: u32 = 20_000;
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportParameters {
    orders: Option<u32>,
    resamples: Option<u32>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Report {
    orders: usize,
    mean_cents: f64,
    /// Bounds of the central 95 % of the resampled means.
    low_cents: f64,
    high_cents: f64,
}

pub(super) async fn sales(
    State(app): State<Arc<App>>,
    trace: Trace,
    Parameters(parameters): Parameters<ReportParameters>,
) -> Result<Json<Report>, Error> {
    let orders = parameters.orders.unwrap_or(ORDERS);
    let resamples = parameters.resamples.unwrap_or(RESAMPLES);
    if !(1..=MOST_ORDERS).contains(&orders) || !(1..=MOST_RESAMPLES).contains(&resamples) {
        return Err(Error::BadRequest(format!(
            "orders must be from 1 to {MOST_ORDERS}, resamples from 1 to {MOST_RESAMPLES}"
        )));
    }
    let switches = app.switches.current();
    let session = app.database.session(&trace, &switches).await?;
    let rows = session.query(&trace, &LATEST, &[&i64::from(orders)]).await?;
    drop(session);
    let totals = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    let report = match switches.report {
        ReportSwitch::OnAsyncThreads => compute(&totals, resamples),
        ReportSwitch::Offloaded => {
            let permit = Arc::clone(&app.report_threads).acquire_owned().await;
            let task = tokio::task::spawn_blocking(move || {
                let report = compute(&totals, resamples);
                drop(permit);
                report
            });
            task.await.map_err(|error| Error::Internal(format!("report: {error}")))?
        }
    };
    Ok(Json(report))
}

/// Percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13).
fn compute(totals: &[i64], resamples: u32) -> Report {
    if totals.is_empty() {
        return Report { orders: 0, mean_cents: 0.0, low_cents: 0.0, high_cents: 0.0 };
    }
    let count = totals.len() as u64;
    let mean = |sum: i64| sum as f64 / count as f64;
    let mut state = SEED;
    let mut means: Vec<i64> =
        (0..resamples).map(|_| (0..count).map(|_| totals[below(next(&mut state), count)]).sum()).collect();
    means.sort_unstable();
    let rank = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
    Report {
        orders: totals.len(),
        mean_cents: mean(totals.iter().sum()),
        low_cents: mean(rank(0.025)),
        high_cents: mean(rank(0.975)),
    }
}

/// xorshift64* (Vigna 2016): small, fast, and good enough to draw samples.
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

/// A number below `bound` by multiplication (Lemire 2019), without its rejection step: the bias is below 1e-14.
fn below(random: u64, bound: u64) -> usize {
    ((u128::from(random) * u128::from(bound)) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_mean_and_narrows_with_the_data() {
        let few: Vec<i64> = (0..50).map(|n| n * 100).collect();
        let many: Vec<i64> = (0..2_000).map(|n| n % 50 * 100).collect();
        let width = |report: &Report| report.high_cents - report.low_cents;
        let (few, many) = (compute(&few, 500), compute(&many, 500));
        for report in [&few, &many] {
            assert!(
                report.low_cents < report.mean_cents && report.mean_cents < report.high_cents,
                "{report:?}"
            );
        }
        assert!(width(&many) < width(&few) / 4.0, "{few:?} {many:?}");
    }

    #[test]
    fn the_same_data_gives_the_same_report() {
        let totals = [100, 250, 40, 900];
        assert_eq!(compute(&totals, 100), compute(&totals, 100));
        assert_eq!(compute(&[], 100).orders, 0);
    }
}
