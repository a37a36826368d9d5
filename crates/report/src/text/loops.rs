//! What `trimtab verify` and the loop print: a verdict, a step, the table of all steps.

use super::diagnosis::{interval, prediction};
use super::layout::{Align, Colour, Ink, column, table, usable, wrap};
use crate::clip::{LABEL, SENTENCE, line, without_secrets};
use crate::data::Span3;
use crate::headline;
use crate::number::{ms, percent};
use crate::steps::{StepFigures, figures};
use model::{Judgement, MetricVerdict, Step, Verdict};

const MAX_METRICS: usize = 12;
/// Intervals beyond it on either side are open.
const MAX_RATIO: f64 = 8000.0;
const MAX_EVIDENCE: usize = 2;

/// A verdict with each metric's ratio and interval, and every reason, in 100 columns without colour.
#[must_use]
pub fn judgement(of: &Judgement) -> String {
    const WIDTH: usize = 100;
    let subject = line(&of.metric, LABEL);
    let mut out = match of.prediction_held {
        Some(held) => format!("{}: {subject}; the prediction {}\n", word(of.verdict), hit(held)),
        None => format!("{}: {subject}\n", word(of.verdict)),
    };
    let row = |m: &&MetricVerdict| {
        let (ratio, detectable) = if is_told(m) {
            let ratio = format!("{} ({}..{})", signed(m.ratio), signed(m.low), signed(m.high));
            (ratio, percent(m.detectable))
        } else {
            ("too few requests".to_owned(), "–".to_owned())
        };
        let word = word(m.verdict).to_owned();
        let cells = vec![line(&m.metric, LABEL), ms(m.before_ms), ms(m.after_ms), ratio, detectable, word];
        (None, cells)
    };
    let shown = most_telling(of);
    let rows: Vec<_> = shown.iter().map(row).collect();
    if rows.is_empty() {
        out.push_str("  nothing was measured on both sides\n");
    } else {
        let head = [
            column("metric", Align::Left, 0),
            column("before", Align::Right, 0),
            column("after", Align::Right, 0),
            column("change (95 %)", Align::Right, 0),
            column("visible from", Align::Right, 1),
            column("verdict", Align::Left, 0),
        ];
        out.push_str(&table(&head, &rows, WIDTH, Colour::Off));
        if shown.len() < of.metrics.len() {
            let more = of.metrics.len() - shown.len();
            out.push_str(&format!("  and {more} more; `--format json` has them all\n"));
        }
    }
    for reason in &of.reasons {
        out.push_str(&wrap("  - ", &line(&without_secrets(reason), SENTENCE), WIDTH));
    }
    if let Some(needed) = of.metrics.iter().find(|m| m.metric == of.metric).and_then(|m| m.needed_s) {
        out.push_str(&wrap("  - ", &format!("clear after {} more of measuring", ms(needed * 1e3)), WIDTH));
    }
    out
}

/// What decided and what has a verdict come before the rest where not all find room; shown in the order of judging.
fn most_telling(of: &Judgement) -> Vec<&MetricVerdict> {
    let rank = |m: &MetricVerdict| match m.verdict {
        _ if m.metric == of.metric => 0,
        Verdict::Better | Verdict::Worse => 1,
        Verdict::Same | Verdict::Unclear if is_told(m) => 2,
        Verdict::Same | Verdict::Unclear => 3,
    };
    let mut order: Vec<(usize, &MetricVerdict)> = of.metrics.iter().enumerate().collect();
    order.sort_by_key(|(at, m)| (rank(m), *at));
    order.truncate(MAX_METRICS);
    order.sort_by_key(|(at, _)| *at);
    order.into_iter().map(|(_, m)| m).collect()
}

/// Whether there is an interval: one that is not known reaches from near 0 to thousands.
fn is_told(of: &MetricVerdict) -> bool {
    of.high < MAX_RATIO && of.low > 1.0 / MAX_RATIO
}

/// One round of the loop: the finding with its evidence, what was predicted, what came, the verdict.
#[must_use]
pub fn step(step: &Step, width: usize, colour: Colour) -> String {
    let width = usable(width);
    let title = format!("step {}: {}", step.number, line(&without_secrets(&step.finding.title), SENTENCE));
    let mut out = colour.paint(Ink::Bold, wrap("", &title, width).trim_end());
    out.push('\n');
    for evidence in step.finding.evidence.lines.iter().take(MAX_EVIDENCE) {
        out.push_str(&wrap("  - ", &line(&without_secrets(evidence), SENTENCE), width));
    }
    let change = without_secrets(&format!("{}: {}", step.change.name, step.change.description));
    out.push_str(&wrap("  change     ", &line(&change, SENTENCE), width));
    let predicted = step.finding.prediction.as_ref().map_or_else(|| "nothing".to_owned(), prediction);
    out.push_str(&wrap("  predicted  ", &predicted, width));
    let figures = figures(step);
    out.push_str(&wrap("  actual     ", &actual(&figures), width));
    let outcome = outcome(step);
    out.push_str(&colour.paint(ink(step), wrap("  verdict    ", &outcome, width).trim_end()));
    out.push('\n');
    out
}

/// All steps in one table, and how well the predictions did.
#[must_use]
pub fn steps_table(steps: &[Step], width: usize) -> String {
    let width = usable(width);
    if steps.is_empty() {
        return "no change was tried\n".to_owned();
    }
    let value = |s: Option<Span3>| {
        s.map_or_else(|| "–".to_owned(), |s| format!("{} ({})", ms(s.value), bare(interval(s.low, s.high))))
    };
    let row = |step: &Step| {
        let figures = figures(step);
        let cells = vec![
            format!("{}. {}", step.number, line(&step.change.name, LABEL)),
            line(figures.metric, 36),
            figures.before_ms.map_or_else(|| "–".to_owned(), ms),
            value(figures.predicted),
            value(figures.actual),
            format!("{}, {}", word(step.judgement.verdict), kept(step)),
        ];
        (None, cells)
    };
    let rows: Vec<_> = steps.iter().map(row).collect();
    let head = [
        column("step", Align::Left, 0),
        column("metric", Align::Left, 3),
        column("before", Align::Right, 2),
        column("predicted", Align::Right, 0),
        column("actual", Align::Right, 0),
        column("verdict", Align::Left, 0),
    ];
    let mut out = table(&head, &rows, width, Colour::Off);
    let held = headline::predictions(steps);
    if !held.is_empty() {
        out.push_str(&wrap("  ", &held, width));
    }
    out
}

/// An interval without its unit, beside a value that has one; with it where the two differ.
fn bare(interval: String) -> String {
    interval.strip_suffix(" ms").map(str::to_owned).unwrap_or(interval)
}

fn actual(figures: &StepFigures<'_>) -> String {
    let (Some(before), Some(actual)) = (figures.before_ms, figures.actual) else {
        return "not told: too few requests".to_owned();
    };
    let range = interval(actual.low, actual.high);
    format!("{} {} -> {} ({range})", line(figures.metric, LABEL), ms(before), ms(actual.value))
}

fn outcome(step: &Step) -> String {
    let held = match step.judgement.prediction_held {
        Some(held) => format!(", prediction {}", hit(held)),
        None => String::new(),
    };
    // What decided, which need not be what the change was about.
    let (reasons, metric) = (&step.judgement.reasons, &step.judgement.metric);
    let decisive = reasons.iter().find(|r| !metric.is_empty() && r.contains(metric.as_str()));
    let why = decisive.or(reasons.first()).map_or_else(String::new, |r| format!(": {}", line(r, SENTENCE)));
    format!("{}{held}, {}{why}", word(step.judgement.verdict), kept(step))
}

fn kept(step: &Step) -> &'static str {
    if step.kept { "kept" } else { "reverted" }
}

fn hit(held: bool) -> &'static str {
    if held { "held" } else { "missed" }
}

fn ink(step: &Step) -> Ink {
    match step.judgement.verdict {
        Verdict::Better => Ink::Good,
        Verdict::Worse => Ink::Bad,
        Verdict::Same | Verdict::Unclear => Ink::Warning,
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Same => "same",
        Verdict::Unclear => "unclear",
    }
}

/// A ratio as signed change: `-77 %`, `+4.2 %`.
fn signed(ratio: f64) -> String {
    if ratio.is_finite() && ratio >= 1.0 {
        format!("+{}", percent(ratio - 1.0))
    } else {
        percent(ratio - 1.0)
    }
}
