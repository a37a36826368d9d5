//! Tries a change under load and has it judged: in turns with the old form where it can be switched while the service
//! runs, else the old form from the last measurement against the new one.

use crate::apply::Guard;
use crate::session::Session;
use crate::trial::{self, CELL_MS, Layout};
use anyhow::Result;
use model::{
    Change, Design, Finding, Judgement, LatencyCell, Prediction, Recording, SCHEMA_VERSION, Trial, Verdict,
};
use std::time::{Duration, Instant};
use verify::{Arm, Metric, Window};

/// Requests in each arm from which on a p95 can be judged, see `docs/statistics.md`.
const MIN_FOR_P95: u64 = 100;
/// Pairs that a sequential trial is cut into, at most.
const SEQUENTIAL_PAIRS: u32 = 10;

/// What a trial found out.
pub struct Tried {
    pub judgement: Judgement,
    /// What was judged: the p95, or the median where the trial saw too few requests for the p95.
    pub prediction: Option<Prediction>,
}

impl Tried {
    pub fn declined() -> Self {
        Self::without_verdict("the change was declined")
    }

    pub fn failed(error: &anyhow::Error) -> Self {
        Self::without_verdict(&format!("the change could not be tried: {error:#}"))
    }

    fn without_verdict(reason: &str) -> Self {
        Self {
            judgement: Judgement {
                version: SCHEMA_VERSION,
                verdict: Verdict::Unclear,
                metric: String::new(),
                metrics: Vec::new(),
                prediction_held: None,
                reasons: vec![reason.to_owned()],
            },
            prediction: None,
        }
    }
}

/// Tries the change; the guard leaves it in whatever state the trial ended in.
pub async fn run(
    session: &mut Session,
    guard: &mut Guard,
    finding: &Finding,
    change: &Change,
    before: &Recording,
) -> Result<Tried> {
    let mut trial = if change.toggles_at_run_time() {
        interleaved(session, guard, finding, change, before).await?
    } else {
        sequential(session, guard, finding, change, before).await?
    };
    trial.prediction = finding.prediction.as_ref().map(|p| judgeable(p, &trial));
    let aim = trial.prediction.as_ref().and_then(|p| Metric::parse(&p.metric));
    let options =
        verify::Options { tolerance: session.settings.verify.tolerance, aim, ..verify::Options::default() };
    Ok(Tried { judgement: verify::judge(&trial, &options), prediction: trial.prediction })
}

/// One load over all windows, the change switched at their borders.
async fn interleaved(
    session: &Session,
    guard: &mut Guard,
    finding: &Finding,
    change: &Change,
    before: &Recording,
) -> Result<Trial> {
    let settings = &session.settings;
    let slow_ms = finding.prediction.as_ref().map_or(50.0, |p| p.before_ms);
    let slow = Duration::from_secs_f64(slow_ms / 1e3);
    let layout = Layout::for_requests(settings.verify.duration, slow, per_s(before, &finding.endpoint));
    let order = verify::schedule(layout.pairs as usize, settings.load.seed);
    let warm_up = settings.load.warm_up.min(layout.window);
    let total = warm_up + layout.total() + layout.settle;
    let options = session.load_options(total, CELL_MS, u64::from(layout.pairs));
    let what = format!("trying `{}` in {} turns", change.name, order.len());
    let load = session.run_load(options, &what);
    let switching = switch(session, guard, &order, &layout, warm_up);
    let (result, switched) = tokio::join!(load, switching);
    let (result, switched) = (result?, switched?);
    let since = |at: Instant| at.saturating_duration_since(result.started);
    let windows: Vec<Window> =
        switched.iter().map(|s| trial::counted(s.arm, since(s.in_force), since(s.ended), &layout)).collect();
    Ok(Trial {
        change: change.clone(),
        prediction: finding.prediction.clone(),
        design: Design::Interleaved,
        window_s: (layout.window - layout.settle - layout.tail).as_secs_f64(),
        operations: verify::pair_up(&result.cells, &result.operations, &windows),
    })
}

/// Requests of an operation in a second of a recording; 0 where it has none.
fn per_s(recording: &Recording, operation: &str) -> f64 {
    let seconds = recording.run.end_ns.saturating_sub(recording.run.start_ns) as f64 / 1e9;
    let Some(index) = recording.run.operations.iter().position(|name| name == operation) else { return 0.0 };
    let cells = recording.latencies.iter().filter(|cell| cell.operation as usize == index);
    cells.map(|cell| cell.response.count()).sum::<u64>() as f64 / seconds.max(f64::MIN_POSITIVE)
}

/// The prediction for the highest quantile that the trial can tell anything about.
fn judgeable(prediction: &Prediction, trial: &Trial) -> Prediction {
    let Some(metric) = Metric::parse(&prediction.metric) else { return prediction.clone() };
    let pairs = trial.operations.get(&metric.operation).map_or(&[][..], Vec::as_slice);
    let before: u64 = pairs.iter().map(|p| p.before.count()).sum();
    let after: u64 = pairs.iter().map(|p| p.after.count()).sum();
    let median = prediction.quantiles.iter().find(|q| (q.quantile - 0.5).abs() < 1e-9);
    match median {
        Some(median) if before.min(after) < MIN_FOR_P95 => Prediction {
            metric: Metric { quantile: 0.5, ..metric }.name(),
            before_ms: median.before_ms,
            after_ms: median.after_ms,
            low_ms: median.low_ms,
            high_ms: median.high_ms,
            ..prediction.clone()
        },
        _ => prediction.clone(),
    }
}

struct Switched {
    arm: Arm,
    in_force: Instant,
    ended: Instant,
}

/// Switches along the order. An early end (Ctrl-C) returns the windows that are whole.
async fn switch(
    session: &Session,
    guard: &mut Guard,
    order: &[Arm],
    layout: &Layout,
    warm_up: Duration,
) -> Result<Vec<Switched>> {
    let mut windows = Vec::with_capacity(order.len());
    let mut border = Instant::now() + warm_up;
    until(session, border).await;
    for arm in order {
        match arm {
            Arm::Before => guard.revert().await?,
            Arm::After => guard.apply().await?,
        }
        let in_force = Instant::now();
        border += layout.window;
        until(session, border).await;
        if session.shutdown.is_triggered() {
            break;
        }
        windows.push(Switched { arm: *arm, in_force, ended: Instant::now() });
    }
    Ok(windows)
}

async fn until(session: &Session, moment: Instant) {
    tokio::select! {
        () = tokio::time::sleep_until(moment.into()) => {}
        () = session.shutdown.wait() => {}
    }
}

/// The old form's last measurement against a new load on the new form.
async fn sequential(
    session: &Session,
    guard: &mut Guard,
    finding: &Finding,
    change: &Change,
    before: &Recording,
) -> Result<Trial> {
    let settings = &session.settings;
    guard.apply().await?;
    let warm_up = settings.load.warm_up;
    let options = session.load_options(warm_up + settings.load.duration, before.run.cell_ms, 1);
    let result = session.run_load(options, &format!("measuring with `{}`", change.name)).await?;
    let warm_cells = u32::try_from(warm_up.as_millis() / u128::from(before.run.cell_ms.max(1))).unwrap_or(0);
    let after = crate::window::cells_from(&result.cells, warm_cells);
    let (cells, windows) = one_after_the_other(&before.latencies, &after);
    Ok(Trial {
        change: change.clone(),
        prediction: finding.prediction.clone(),
        design: Design::Sequential,
        window_s: settings.load.duration.as_secs_f64() / f64::from(SEQUENTIAL_PAIRS),
        operations: verify::pair_up(&cells, &result.operations, &windows),
    })
}

/// Two runs as pairs of windows: both cut into up to [`SEQUENTIAL_PAIRS`] parts, the n-th of one beside the n-th of the
/// other. Operations must be the same in both.
#[must_use]
pub fn one_after_the_other(before: &[LatencyCell], after: &[LatencyCell]) -> (Vec<LatencyCell>, Vec<Window>) {
    let length = |cells: &[LatencyCell]| cells.iter().map(|c| c.cell + 1).max().unwrap_or(0);
    let shorter = length(before).min(length(after));
    let part = shorter.div_ceil(SEQUENTIAL_PAIRS).max(1);
    let pairs = shorter / part;
    let mut cells = Vec::with_capacity(before.len() + after.len());
    let mut windows = Vec::new();
    // Laid out as before, after, before, after ... on one axis of cells.
    for (arm, source) in [(Arm::Before, before), (Arm::After, after)] {
        let offset = if arm == Arm::Before { 0 } else { part };
        for cell in source.iter().filter(|c| c.cell < part * pairs) {
            let (nth, within) = (cell.cell / part, cell.cell % part);
            cells.push(LatencyCell { cell: nth * 2 * part + offset + within, ..cell.clone() });
        }
        for nth in 0..pairs {
            let from_cell = nth * 2 * part + offset;
            windows.push(Window { arm, from_cell, to_cell: from_cell + part });
        }
    }
    (cells, windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_make_ten_pairs() {
        let run = |ms: u64| -> Vec<LatencyCell> {
            (0..20)
                .map(|cell| {
                    let mut made = LatencyCell { cell, ..LatencyCell::default() };
                    made.response.record(ms * 1_000_000);
                    made
                })
                .collect()
        };
        let (cells, windows) = one_after_the_other(&run(100), &run(10));
        let paired = verify::pair_up(&cells, &["GET /".to_owned()], &windows);
        let pairs = &paired["GET /"];
        assert_eq!(pairs.len(), 10);
        assert!(pairs.iter().all(|p| p.before.count() == 2 && p.after.count() == 2));
        assert!(pairs.iter().all(|p| p.before.quantile_ms(0.5) > p.after.quantile_ms(0.5)));
    }
}
