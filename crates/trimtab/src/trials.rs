//! Tries a change under load and has it judged: in turns with the old form where it can be switched while the service
//! runs, else the old form from the last measurement against the new one.

use crate::apply::{Guard, Hands};
use crate::session::Session;
use crate::trial::{self, CELL_MS, Layout};
use anyhow::Result;
use load::LoadResult;
use model::{
    Change, ChangeKind, Design, Finding, Judgement, LatencyCell, Prediction, Recording, SCHEMA_VERSION,
    Trial, Validity, ValidityIssue, Verdict,
};
use std::time::{Duration, Instant};
use verify::{Arm, Metric, Window};

/// Pairs that a sequential trial is cut into, at most.
const SEQUENTIAL_PAIRS: u32 = 10;
/// A later cell is damage: it would be a run of months.
const MAX_CELLS: u32 = 1 << 24;

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
    let (mut trial, doubts) = if change.toggles_at_run_time() {
        let aim = Aim { prediction: finding.prediction.as_ref(), per_s: per_s(before, &finding.endpoint) };
        interleaved(session, guard, &aim, change).await?
    } else {
        sequential(session, guard, finding, change, before).await?
    };
    trial.prediction = finding.prediction.as_ref().map(|p| judgeable(p, &trial));
    let aim = trial.prediction.as_ref().and_then(|p| Metric::parse(&p.metric));
    let options =
        verify::Options { tolerance: session.settings.verify.tolerance, aim, ..verify::Options::default() };
    let judgement = doubts.applied_to(verify::judge(&trial, &options));
    Ok(Tried { judgement, prediction: trial.prediction })
}

/// The same trial of nothing: both arms are the same service. What it says is noise.
pub async fn of_nothing(session: &mut Session) -> Result<Trial> {
    let nothing = || vec!["true".to_owned()];
    let change = Change {
        name: "nothing".to_owned(),
        description: "nothing is changed".to_owned(),
        kind: ChangeKind::Command { apply: nothing(), undo: nothing() },
    };
    let hands = Hands { service_url: String::new(), database_url: None };
    let mut guard = Guard::new(hands, change.clone());
    let (trial, _) = interleaved(session, &mut guard, &Aim::default(), &change).await?;
    guard.revert().await?;
    Ok(trial)
}

/// What a trial is laid out for.
#[derive(Default)]
struct Aim<'a> {
    prediction: Option<&'a Prediction>,
    /// Requests a second of the operation; 0: not known.
    per_s: f64,
}

/// What speaks against a trial, beside its figures.
#[derive(Debug, Default, PartialEq)]
struct Doubts {
    /// The figures are not to be used.
    invalid: Vec<String>,
    /// The arms may look more alike than they are: no difference is no finding.
    mixed: Option<String>,
    /// Told, and no more.
    noise: Vec<String>,
}

impl Doubts {
    fn of_load(result: &LoadResult) -> Self {
        let mut invalid = reasons_against(&result.validity);
        if !result.complete {
            invalid.push("the trial was ended early".to_owned());
        }
        Self { invalid, mixed: None, noise: noise_of(&result.validity) }
    }

    /// The judgement, unclear where the figures cannot carry its verdict; the reasons come first.
    fn applied_to(self, mut judgement: Judgement) -> Judgement {
        let mixed = self.mixed.filter(|_| judgement.verdict == Verdict::Same);
        judgement.reasons.extend(self.noise);
        if self.invalid.is_empty() && mixed.is_none() {
            return judgement;
        }
        judgement.verdict = Verdict::Unclear;
        judgement.prediction_held = None;
        judgement.reasons.splice(0..0, self.invalid.into_iter().chain(mixed));
        judgement
    }
}

/// Why a load's figures may look better than the truth: arrivals that never started. A generator that was late only
/// made them look worse, as times count from when requests were due.
pub fn reasons_against(validity: &Validity) -> Vec<String> {
    let flatters = |issue: &&ValidityIssue| issue.invalid && issue.kind == "dropped_arrivals";
    validity.issues.iter().filter(flatters).map(|issue| issue.reason.clone()).collect()
}

/// Why the arms differ by chance more than they should: late starts are in both.
fn noise_of(validity: &Validity) -> Vec<String> {
    let noisy = |issue: &&ValidityIssue| issue.invalid && issue.kind != "dropped_arrivals";
    validity.issues.iter().filter(noisy).map(|issue| issue.reason.clone()).collect()
}

/// One load over all windows, the change switched at their borders.
async fn interleaved(
    session: &Session,
    guard: &mut Guard,
    aim: &Aim<'_>,
    change: &Change,
) -> Result<(Trial, Doubts)> {
    let settings = &session.settings;
    let slow_ms = aim.prediction.map_or(50.0, |p| p.before_ms);
    let slow = Duration::from_secs_f64(slow_ms / 1e3);
    let layout = Layout::for_requests(settings.verify.duration, slow, aim.per_s);
    let order = verify::schedule(layout.pairs as usize, settings.load.seed);
    let warm_up = settings.load.warm_up.min(layout.window);
    let total = warm_up + layout.total() + layout.settle;
    let options = session.load_options(total, CELL_MS, u64::from(layout.pairs));
    let what = format!("trying `{}` in {} turns", change.name, order.len());
    let load = session.run_load(options, &what);
    let switching = switch(session, guard, &order, &layout, warm_up);
    let (result, switched) = tokio::try_join!(load, switching)?;
    let since = |at: Instant| at.saturating_duration_since(result.started);
    let windows: Vec<Window> =
        switched.iter().map(|s| trial::counted(s.arm, since(s.in_force), since(s.ended), &layout)).collect();
    let mixed = layout.mixes(slow).then(|| {
        format!(
            "requests of {slow_ms:.0} ms are long beside windows of {:.1} s: some ended in the other arm; measure for longer",
            layout.window.as_secs_f64()
        )
    });
    let trial = Trial {
        change: change.clone(),
        prediction: aim.prediction.cloned(),
        design: Design::Interleaved,
        window_s: (layout.window - layout.settle - layout.tail).as_secs_f64(),
        operations: verify::pair_up(&result.cells, &result.operations, &windows),
    };
    Ok((trial, Doubts { mixed, ..Doubts::of_load(&result) }))
}

/// Requests of an operation in a second of a recording; 0 where it has none.
fn per_s(recording: &Recording, operation: &str) -> f64 {
    let seconds = recording.run.end_ns.saturating_sub(recording.run.start_ns) as f64 / 1e9;
    let Some(index) = recording.run.operations.iter().position(|name| name == operation) else { return 0.0 };
    let cells = recording.latencies.iter().filter(|cell| cell.operation as usize == index);
    cells.map(|cell| cell.response.count()).sum::<u64>() as f64 / seconds.max(f64::MIN_POSITIVE)
}

/// The prediction for its own quantile, or for the median where the trial saw too few requests for that.
pub(crate) fn judgeable(prediction: &Prediction, trial: &Trial) -> Prediction {
    let operation = Metric::parse(&prediction.metric).map(|metric| metric.operation).unwrap_or_default();
    let pairs = trial.operations.get(&operation).map_or(&[][..], Vec::as_slice);
    let before: u64 = pairs.iter().map(|p| p.before.count()).sum();
    let after: u64 = pairs.iter().map(|p| p.after.count()).sum();
    verify::judgeable(prediction, before.min(after))
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
) -> Result<(Trial, Doubts)> {
    let settings = &session.settings;
    guard.apply().await?;
    let warm_up = settings.load.warm_up;
    let options = session.load_options(warm_up + settings.load.duration, before.run.cell_ms, 1);
    let result = session.run_load(options, &format!("measuring with `{}`", change.name)).await?;
    let warm_cells = u32::try_from(warm_up.as_millis() / u128::from(before.run.cell_ms.max(1))).unwrap_or(0);
    let after = crate::window::cells_from(&result.cells, warm_cells);
    let (cells, windows) = one_after_the_other(&before.latencies, &after);
    let cells_of_one = windows.first().map_or(0, |w| w.to_cell - w.from_cell);
    let trial = Trial {
        change: change.clone(),
        prediction: finding.prediction.clone(),
        design: Design::Sequential,
        window_s: f64::from(cells_of_one) * f64::from(before.run.cell_ms) / 1e3,
        operations: verify::pair_up(&cells, &result.operations, &windows),
    };
    let mut doubts = Doubts::of_load(&result);
    doubts.invalid.extend(reasons_against(&before.run.validity));
    Ok((trial, doubts))
}

/// Two runs as pairs of windows: both cut into up to [`SEQUENTIAL_PAIRS`] parts, the n-th of one beside the n-th of the
/// other. Operations must be the same in both.
#[must_use]
pub fn one_after_the_other(before: &[LatencyCell], after: &[LatencyCell]) -> (Vec<LatencyCell>, Vec<Window>) {
    let length = |cells: &[LatencyCell]| {
        cells.iter().map(|c| c.cell).filter(|cell| *cell < MAX_CELLS).max().map_or(0, |last| last + 1)
    };
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

    fn judged(verdict: Verdict) -> Judgement {
        Judgement { verdict, prediction_held: Some(true), ..Tried::declined().judgement }
    }

    #[test]
    fn figures_that_are_not_to_be_used_carry_no_verdict() {
        let doubts = Doubts { invalid: vec!["too late".to_owned()], ..Doubts::default() };
        let judgement = doubts.applied_to(judged(Verdict::Better));
        assert_eq!((judgement.verdict, judgement.prediction_held), (Verdict::Unclear, None));
        assert_eq!(judgement.reasons[0], "too late");
        assert_eq!(Doubts::default().applied_to(judged(Verdict::Better)), judged(Verdict::Better));
    }

    #[test]
    fn arms_that_mix_may_differ_but_are_not_the_same() {
        let mixed = || Doubts { mixed: Some("long".to_owned()), ..Doubts::default() };
        assert_eq!(mixed().applied_to(judged(Verdict::Same)).verdict, Verdict::Unclear);
        assert_eq!(mixed().applied_to(judged(Verdict::Better)), judged(Verdict::Better));
    }

    #[test]
    fn a_damaged_cell_is_left_out() {
        let cell = |cell| LatencyCell { cell, ..LatencyCell::default() };
        let run = [cell(0), cell(1), cell(u32::MAX)];
        let (_, windows) = one_after_the_other(&run, &run);
        assert_eq!(windows.len(), 4);
    }

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
