//! One row for each change: predicted beside actual, the error, and whether direction and interval were right. Pure.

use super::shop::Case;
use crate::args::PredictionsArgs;
use crate::figures::{Cell, Figures, Target, median};
use model::{Finding, Grade, Judgement, MetricVerdict, Severity, Verdict};

/// Promised: median error as share of the before-p95.
const MEDIAN_ERROR: f64 = 0.15;
/// From this predicted gain on the direction must be right, and with everything good nothing may promise it.
const TOLD_GAIN: f64 = 0.10;
/// A ratio's logarithm this far out on both sides is no interval.
const UNKNOWN_LN: f64 = 8.99;
const P50: f64 = 0.5;
const P95: f64 = 0.95;

/// One quantile, predicted and measured; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Actual {
    pub before_ms: f64,
    pub after_ms: f64,
    /// 95 % interval of the after.
    pub low_ms: f64,
    pub high_ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Predicted {
    pub before_ms: f64,
    pub after_ms: f64,
    /// 90 % interval of the after.
    pub low_ms: f64,
    pub high_ms: f64,
}

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub change: String,
    /// Empty where no finding named the change.
    pub rule: String,
    pub endpoint: String,
    pub grade: Option<Grade>,
    pub p95: (Option<Predicted>, Option<Actual>),
    pub p50: (Option<Predicted>, Option<Actual>),
    /// Of the smaller arm.
    pub requests: u64,
    pub verdict: Verdict,
}

impl Row {
    pub(crate) fn new(case: &Case, finding: &Finding, judgement: &Judgement) -> Self {
        let endpoint = if finding.endpoint.is_empty() {
            busiest(judgement).unwrap_or_default()
        } else {
            finding.endpoint.clone()
        };
        let actual = |quantile| actual(judgement, &endpoint, quantile);
        let predicted = |quantile| predicted(finding, quantile);
        Self {
            change: case.change.name.clone(),
            rule: finding.rule.clone(),
            grade: finding.prediction.as_ref().map(|p| p.grade),
            p95: (predicted(P95), actual(P95)),
            p50: (predicted(P50), actual(P50)),
            requests: of(judgement, &endpoint, P95).map_or(0, |m| m.requests_before.min(m.requests_after)),
            verdict: judgement.verdict,
            endpoint,
        }
    }

    /// |predicted after - actual after| as share of the actual before.
    pub(crate) fn error(&self) -> Option<f64> {
        error(self.p95)
    }

    /// Whether predicted and actual point the same way; `None` where the actual interval holds both ways.
    pub(crate) fn is_sign_right(&self) -> Option<bool> {
        let (predicted, actual) = (self.p95.0?, self.p95.1?);
        let is_told = actual.high_ms < actual.before_ms || actual.low_ms > actual.before_ms;
        is_told.then_some((predicted.after_ms < predicted.before_ms) == (actual.after_ms < actual.before_ms))
    }

    /// Whether the actual after lies within the predicted interval.
    pub(crate) fn is_inside(&self) -> Option<bool> {
        let (predicted, actual) = (self.p95.0?, self.p95.1?);
        Some((predicted.low_ms..=predicted.high_ms).contains(&actual.after_ms))
    }

    /// Whether the two intervals meet.
    fn meets(&self) -> Option<bool> {
        let (predicted, actual) = (self.p95.0?, self.p95.1?);
        Some(predicted.low_ms <= actual.high_ms && actual.low_ms <= predicted.high_ms)
    }

    fn predicted_gain(&self) -> Option<f64> {
        self.p95.0.map(|p| 1.0 - p.after_ms / p.before_ms)
    }

    /// For the one who waits.
    pub(crate) fn line(&self) -> String {
        let part = |pair: Option<(f64, f64)>| {
            pair.map_or_else(
                || "nothing".to_owned(),
                |(before, after)| format!("{before:.1} -> {after:.1} ms"),
            )
        };
        format!(
            "{}: {}: predicted {}, actual {}",
            self.change,
            self.endpoint,
            part(self.p95.0.map(|p| (p.before_ms, p.after_ms))),
            part(self.p95.1.map(|a| (a.before_ms, a.after_ms))),
        )
    }

    fn cells(&self) -> Vec<Cell> {
        let ((predicted, actual), (low, middle)) = (self.p95, self.p50);
        let yes = |answer: Option<bool>| {
            answer.map_or(Cell::Missing, |yes| Cell::text(if yes { "yes" } else { "no" }))
        };
        let word = |text: &str| if text.is_empty() { Cell::Missing } else { Cell::text(text) };
        vec![
            Cell::text(self.change.clone()),
            word(&self.rule),
            word(&self.endpoint),
            Cell::maybe(predicted.map(|p| p.before_ms), 1),
            Cell::maybe(predicted.map(|p| p.after_ms), 1),
            predicted.map_or(Cell::Missing, |p| Cell::text(format!("{:.1} to {:.1}", p.low_ms, p.high_ms))),
            self.grade.map_or(Cell::Missing, |grade| Cell::text(format!("{grade:?}"))),
            Cell::maybe(actual.map(|a| a.before_ms), 1),
            Cell::maybe(actual.map(|a| a.after_ms), 1),
            actual.map_or(Cell::Missing, |a| Cell::text(format!("{:.1} to {:.1}", a.low_ms, a.high_ms))),
            Cell::maybe(self.error().map(|share| share * 100.0), 0),
            yes(self.is_sign_right()),
            yes(self.is_inside()),
            yes(self.meets()),
            Cell::maybe(low.map(|p| p.after_ms), 1),
            Cell::maybe(middle.map(|a| a.before_ms), 1),
            Cell::maybe(middle.map(|a| a.after_ms), 1),
            Cell::number(self.requests as f64, 0),
        ]
    }
}

fn error((predicted, actual): (Option<Predicted>, Option<Actual>)) -> Option<f64> {
    let (predicted, actual) = (predicted?, actual?);
    Some((predicted.after_ms - actual.after_ms).abs() / actual.before_ms)
}

fn of<'a>(judgement: &'a Judgement, endpoint: &str, quantile: f64) -> Option<&'a MetricVerdict> {
    let is = |m: &&MetricVerdict| m.operation == endpoint && (m.quantile - quantile).abs() < 1e-9;
    judgement.metrics.iter().find(is)
}

fn actual(judgement: &Judgement, endpoint: &str, quantile: f64) -> Option<Actual> {
    let metric = of(judgement, endpoint, quantile)?;
    if !is_known(metric) {
        return None;
    }
    Some(Actual {
        before_ms: metric.before_ms,
        after_ms: metric.after_ms,
        low_ms: metric.low * metric.before_ms,
        high_ms: metric.high * metric.before_ms,
    })
}

/// Whether there were enough requests for this quantile: else the judge gives bounds, from e^-9 to e^9, in place of an
/// interval, and a figure that compares a handful of requests.
fn is_known(metric: &MetricVerdict) -> bool {
    metric.before_ms > 0.0 && (metric.low.ln() > -UNKNOWN_LN || metric.high.ln() < UNKNOWN_LN)
}

fn predicted(finding: &Finding, quantile: f64) -> Option<Predicted> {
    let all = &finding.prediction.as_ref()?.quantiles;
    let found = all.iter().find(|q| (q.quantile - quantile).abs() < 1e-9)?;
    Some(Predicted {
        before_ms: found.before_ms,
        after_ms: found.after_ms,
        low_ms: found.low_ms,
        high_ms: found.high_ms,
    })
}

/// Where no endpoint is named, the one with the most requests tells most.
fn busiest(judgement: &Judgement) -> Option<String> {
    judgement.metrics.iter().max_by_key(|m| m.requests_before).map(|m| m.operation.clone())
}

/// The table with its targets. `left`: findings with everything good, asked for in that mode only.
pub(crate) fn figures(args: &PredictionsArgs, rows: &[Row], left: &[Finding], untried: &[String]) -> Figures {
    let errors: Vec<f64> = rows.iter().filter_map(Row::error).collect();
    let is_told = |row: &&Row| row.p95.1.is_some() && row.predicted_gain().is_some_and(|g| g >= TOLD_GAIN);
    let told: Vec<&Row> = rows.iter().filter(is_told).collect();
    let wrong = told.iter().filter(|row| row.is_sign_right() == Some(false)).count();
    let untold = told.iter().filter(|row| row.is_sign_right().is_none()).count();
    let count = |of: fn(&Row) -> Option<bool>| rows.iter().filter(|row| of(row) == Some(true)).count();
    let mut targets = vec![
        Target::at_most(
            "median error of the after-p95, share of the before-p95",
            median(&errors),
            MEDIAN_ERROR,
            3,
        ),
        Target::at_most(
            &format!(
                "wrong directions of {} measured gains that were predicted with 10 % or more ({untold} trials told no direction)",
                told.len()
            ),
            (told.len() > untold).then_some(wrong as f64),
            0.0,
            0,
        ),
    ];
    if args.from_good && args.only.is_empty() {
        let loud = left.iter().filter(|finding| is_loud(finding)).count();
        targets.push(Target::at_most(
            "with everything good, findings above information that promise 10 % or more",
            Some(loud as f64),
            0.0,
            0,
        ));
    }
    let p50: Vec<f64> = rows.iter().filter_map(|row| error(row.p50)).collect();
    let measured = rows.iter().filter(|row| row.p95.1.is_some()).count();
    let predicted = rows.iter().filter(|row| row.p95.0.is_some()).count();
    let mut notes = vec![
        format!(
            "{predicted} of {} changes were predicted; {measured} saw enough requests for a p95",
            rows.len()
        ),
        format!(
            "of those with both, actual after-p95 within the predicted interval: {} of {}; the two intervals meet: {} of {}",
            count(Row::is_inside),
            errors.len(),
            count(Row::meets),
            errors.len()
        ),
        format!(
            "median error of the after-p50, share of the before-p50: {:.3}",
            median(&p50).unwrap_or(f64::NAN)
        ),
    ];
    notes.extend(rows.iter().filter(|row| row.rule.is_empty()).map(|row| {
        let verdict = format!("{:?}", row.verdict).to_lowercase();
        format!("no finding named `{}`; its trial says {verdict}", row.change)
    }));
    notes.extend(left.iter().filter(|f| is_loud(f)).map(told_left));
    if !untried.is_empty() {
        notes.push(format!("switches that were not tried: {}", untried.join(", ")));
    }
    Figures {
        name: "predictions",
        title: title(args),
        columns: &COLUMNS,
        rows: rows.iter().map(Row::cells).collect(),
        targets,
        notes,
    }
}

fn told_left(finding: &Finding) -> String {
    let gain = finding.prediction.as_ref().map_or(0.0, |p| p.gain_share() * 100.0);
    format!(
        "left with everything good: {} on {}: {} ({gain:.0} %)",
        finding.rule, finding.endpoint, finding.title
    )
}

const COLUMNS: [&str; 18] = [
    "change",
    "found by",
    "endpoint",
    "predicted p95 before ms",
    "predicted after",
    "predicted interval",
    "grade",
    "actual p95 before ms",
    "actual after",
    "actual interval",
    "error, % of before",
    "sign right",
    "inside",
    "intervals meet",
    "predicted p50 after ms",
    "actual p50 before ms",
    "actual p50 after ms",
    "requests",
];

fn is_loud(finding: &Finding) -> bool {
    finding.severity > Severity::Info
        && finding.prediction.as_ref().is_some_and(|p| p.gain_share() >= TOLD_GAIN)
}

fn title(args: &PredictionsArgs) -> String {
    let (from, to) =
        if args.from_good { ("good", "naive before, good after") } else { ("naive", "good after") };
    format!(
        "Every switch of the shop alone, from the all-{from} state ({to}): {} s of measuring, {} s of trial each, seed {}; what a change is about at least {} times a second.",
        args.measure, args.trial, args.seed, args.at_least
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(predicted: (f64, f64), actual: (f64, f64)) -> Row {
        let (before_ms, after_ms) = predicted;
        let predicted = Predicted { before_ms, after_ms, low_ms: after_ms * 0.8, high_ms: after_ms * 1.2 };
        let (before_ms, after_ms) = actual;
        let actual = Actual { before_ms, after_ms, low_ms: after_ms * 0.9, high_ms: after_ms * 1.1 };
        Row {
            change: "x=good".into(),
            rule: "n_plus_one".into(),
            endpoint: "GET /".into(),
            grade: Some(Grade::B),
            p95: (Some(predicted), Some(actual)),
            p50: (None, None),
            requests: 100,
            verdict: Verdict::Better,
        }
    }

    fn args() -> PredictionsArgs {
        PredictionsArgs {
            from_good: false,
            only: Vec::new(),
            measure: 1.0,
            at_least: 1.0,
            trial: 1.0,
            seed: 1,
            recordings: None,
            offline: true,
            output: None,
        }
    }

    #[test]
    fn a_figure_without_an_interval_is_not_compared() {
        let metric = |low: f64, high: f64| MetricVerdict {
            metric: "p95(GET /)".into(),
            operation: "GET /".into(),
            quantile: 0.95,
            before_ms: 100.0,
            after_ms: 50.0,
            ratio: 0.5,
            low,
            high,
            detectable: 0.1,
            needed_s: None,
            verdict: Verdict::Unclear,
            requests_before: 3,
            requests_after: 3,
        };
        assert!(is_known(&metric(0.4, 0.6)) && is_known(&metric(0.4, 9_f64.exp())));
        assert!(!is_known(&metric((-9_f64).exp(), 9_f64.exp())));
    }

    #[test]
    fn the_error_is_a_share_of_the_actual_before() {
        let row = row((100.0, 40.0), (200.0, 60.0));
        assert!((row.error().expect("both") - 0.1).abs() < 1e-12);
        assert_eq!(
            (row.is_sign_right(), row.is_inside(), row.meets()),
            (Some(true), Some(false), Some(false))
        );
    }

    #[test]
    fn a_wrong_direction_is_counted_where_much_was_promised() {
        let rows = [
            row((100.0, 50.0), (100.0, 120.0)),
            row((100.0, 95.0), (100.0, 120.0)),
            row((100.0, 50.0), (100.0, 101.0)),
        ];
        let figures = figures(&args(), &rows, &[], &[]);
        assert_eq!(figures.targets[1].measured, Some(1.0));
        assert!(!figures.reached());
    }

    #[test]
    fn a_change_that_no_finding_named_is_told_and_has_no_error() {
        let mut silent = row((100.0, 50.0), (100.0, 50.0));
        (silent.rule, silent.p95.0) = (String::new(), None);
        let figures =
            figures(&args(), &[silent, row((100.0, 50.0), (100.0, 52.0))], &[], &["pool_size".into()]);
        assert!(figures.notes.iter().any(|n| n.contains("no finding named `x=good`")), "{:?}", figures.notes);
        assert!(figures.notes.iter().any(|n| n.contains("not tried: pool_size")));
        assert!((figures.targets[0].measured.expect("one") - 0.02).abs() < 1e-9);
    }
}
