//! Distributions and series of the chosen endpoints, thinned to what a chart can show.

use crate::build::{Inputs, Measured};
use crate::clip::{LABEL, line};
use crate::data::{Chart, Distribution, EndpointCharts, Series};
use crate::number::{finite, round};
use crate::traces::Traces;
use model::{Diagnosis, Goal, GoalMetric, Histogram, LatencyCell, Recording};

/// Bins of one distribution.
const MAX_BINS: f64 = 160.0;
const MIN_BINS: f64 = 8.0;
/// Bins of one series.
const MAX_POINTS: f64 = 60.0;
/// No longer bins than leave a series so many, however few responses they hold.
const MIN_POINTS: f64 = 10.0;
/// Responses that a bin of a series should hold, so that its p95 says something.
const PER_POINT: f64 = 60.0;
/// A p95 of fewer responses than this is left out.
const MIN_FOR_P95: u64 = 20;
/// Buckets of a histogram per doubling.
const PER_DOUBLING: f64 = 64.0;

/// The charts of the page, the most telling endpoint first; an endpoint of which nothing is known is left out.
pub(crate) fn all(
    inputs: &Inputs<'_>,
    chosen: &[String],
    before: Option<&Traces>,
    after: Option<&Traces>,
) -> Vec<EndpointCharts> {
    let mut charts = Vec::new();
    for (at, endpoint) in chosen.iter().enumerate() {
        let one =
            |m: Option<Measured<'_>>, traces: Option<&Traces>| chart(m?.recording, endpoint, at, traces?);
        let drawn = EndpointCharts {
            endpoint: line(endpoint, LABEL),
            limit: inputs.before.or(inputs.after).and_then(|m| limit(m.diagnosis, endpoint)),
            before: one(inputs.before, before),
            after: one(inputs.after, after),
        };
        if drawn.before.is_some() || drawn.after.is_some() {
            charts.push(drawn);
        }
    }
    charts
}

/// Quantile and limit of the first latency goal on the endpoint.
fn limit(diagnosis: &Diagnosis, endpoint: &str) -> Option<(f64, f64)> {
    diagnosis.goals.iter().find_map(|result| {
        let goal: Goal = result.goal.parse().ok()?;
        match goal.metric {
            GoalMetric::Quantile(q) if goal.concerns(endpoint) => Some((q, finite(goal.limit)?)),
            _ => None,
        }
    })
}

fn chart(recording: &Recording, endpoint: &str, at: usize, traces: &Traces) -> Option<Chart> {
    let operation = recording.run.operations.iter().position(|o| o == endpoint);
    let cells: Vec<&LatencyCell> = match operation {
        Some(operation) => recording.latencies.iter().filter(|c| c.operation as usize == operation).collect(),
        None => Vec::new(),
    };
    let mut all = Histogram::default();
    for cell in &cells {
        all.merge(&cell.response);
    }
    if let Some(distribution) = distribution(&all, "load") {
        return Some(Chart { distribution, series: series(recording, &cells) });
    }
    Some(Chart { distribution: distribution(&traces.durations(at), "traces")?, series: None })
}

fn distribution(of: &Histogram, source: &'static str) -> Option<Distribution> {
    let buckets = of.buckets();
    let (first, last) = (buckets.first()?.0, buckets.last()?.0);
    // Few values in many bins draw noise: Rice's rule. 16 bins a doubling show all that a person can tell apart.
    let most = (2.0 * (of.count() as f64).cbrt()).clamp(MIN_BINS, MAX_BINS);
    let mut shift = 2;
    while f64::from((last >> shift).saturating_sub(first >> shift)) >= most {
        shift += 1;
    }
    let base = first >> shift;
    let bins = usize::try_from((last >> shift).saturating_sub(base)).unwrap_or(0) + 1;
    let mut counts = vec![0_u64; bins];
    for &(bucket, count) in buckets {
        if let Some(bin) = usize::try_from((bucket >> shift) - base).ok().and_then(|b| counts.get_mut(b)) {
            *bin += count;
        }
    }
    let width = f64::from(1 << shift) / PER_DOUBLING;
    let quantile = |q| of.quantile_ms(q).and_then(finite);
    Some(Distribution {
        source,
        count: of.count(),
        from_ms: round((f64::from(base) * width).exp2() / 1e6),
        factor: width.exp2(),
        shares: counts.iter().map(|&c| round(c as f64 / of.count() as f64)).collect(),
        p50_ms: quantile(0.5)?,
        p95_ms: quantile(0.95)?,
        p99_ms: quantile(0.99)?,
    })
}

/// Cells joined into at most [`MAX_POINTS`] bins, longer ones where responses are rare.
fn series(recording: &Recording, cells: &[&LatencyCell]) -> Option<Series> {
    let run = &recording.run;
    let cell_s = f64::from(run.cell_ms) / 1e3;
    let last = u64::from(cells.iter().map(|c| c.cell).max()?);
    if run.cell_ms == 0 {
        return None;
    }
    // The window counts also where nothing came; an end that makes no sense is not believed.
    let within = (run.seconds() / cell_s).ceil();
    let total =
        if within > last as f64 && within < (last as f64 + 1.0) * 10.0 { within } else { last as f64 + 1.0 };
    let responses: u64 = cells.iter().map(|c| c.response.count()).sum();
    let telling = (total * PER_POINT / responses.max(1) as f64).min(total / MIN_POINTS);
    let per_bin = (total / MAX_POINTS).max(telling).ceil().max(1.0);
    let mut bins: Vec<(Histogram, u64)> = Vec::new();
    for cell in cells {
        let at = (f64::from(cell.cell) / per_bin).floor();
        let Some(at) = index(at) else { continue };
        if bins.len() <= at {
            bins.resize_with(at + 1, Default::default);
        }
        bins[at].0.merge(&cell.response);
        bins[at].1 += u64::from(cell.errors);
    }
    let lengths = (0..bins.len()).map(|at| (total - at as f64 * per_bin).clamp(1.0, per_bin) * cell_s);
    let quantile = |h: &Histogram, q| h.quantile_ms(q).and_then(finite);
    Some(Series {
        bin_s: round(per_bin * cell_s),
        seconds: round(total * cell_s),
        rate: bins.iter().zip(lengths).map(|(b, s)| round(b.0.count() as f64 / s)).collect(),
        p50: bins.iter().map(|b| quantile(&b.0, 0.5)).collect(),
        p95: bins.iter().map(|b| quantile(&b.0, 0.95).filter(|_| b.0.count() >= MIN_FOR_P95)).collect(),
        errors: bins.iter().map(|b| b.1).collect(),
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within the bins")]
fn index(at: f64) -> Option<usize> {
    (0.0..MAX_POINTS).contains(&at).then_some(at as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(cell: u32, count: u64, ms: u64) -> LatencyCell {
        let mut response = Histogram::default();
        response.add(Histogram::bucket_of(ms * 1_000_000), count);
        LatencyCell { cell, response, ..LatencyCell::default() }
    }

    #[test]
    fn shares_add_up_whatever_the_range() {
        let mut wide = Histogram::default();
        for ns in [0, 5_000_000, 6_000_000, u64::MAX] {
            wide.record(ns);
        }
        let drawn = distribution(&wide, "load").expect("values");
        assert!(drawn.shares.len() <= 160, "{}", drawn.shares.len());
        assert!((drawn.shares.iter().sum::<f64>() - 1.0).abs() < 1e-3);
        assert_eq!(distribution(&Histogram::default(), "load"), None);
    }

    #[test]
    fn a_bin_covers_the_values_that_it_counts() {
        let mut one = Histogram::default();
        one.record(100_000_000);
        let drawn = distribution(&one, "load").expect("a value");
        assert!(drawn.from_ms <= 100.0 && 100.0 <= drawn.from_ms * drawn.factor, "{drawn:?}");
    }

    #[test]
    fn an_hour_of_cells_becomes_sixty_points() {
        let mut recording = Recording::default();
        recording.run.cell_ms = 1000;
        recording.run.end_ns = 3_600_000_000_000;
        let cells: Vec<LatencyCell> = (0..3600).map(|c| cell(c, 10, 20)).collect();
        let drawn = series(&recording, &cells.iter().collect::<Vec<_>>()).expect("a series");
        assert_eq!((drawn.rate.len(), drawn.bin_s), (60, 60.0));
        assert!(drawn.rate.iter().all(|r| (r - 10.0).abs() < 1e-9));
    }

    #[test]
    fn a_cell_from_far_away_and_a_window_without_end_are_borne() {
        let mut recording = Recording::default();
        recording.run.cell_ms = 1000;
        let cells = [cell(0, 1, 20), cell(u32::MAX, 1, 20)];
        let drawn = series(&recording, &cells.iter().collect::<Vec<_>>()).expect("a series");
        assert_eq!(drawn.rate.len(), 10);
        assert_eq!(drawn.p95[0], None);
    }
}
