//! A step of the loop as it is drawn: what was predicted beside what came.

use crate::clip::{BLOCK, LABEL, SENTENCE, clip, line, without_secrets};
use crate::data::{MetricView, Span3, StepView};
use crate::findings;
use crate::number::{finite, round};
use model::{ChangeKind, MetricVerdict, Prediction, Step};

const MAX_METRICS: usize = 30;
const MAX_REASONS: usize = 12;
/// An interval of a ratio that is wider than this has an open end.
const OPEN: f64 = 1e4;

/// The metric that a step is told by, with what was predicted of it and what came. Milliseconds.
pub(crate) struct StepFigures<'a> {
    pub(crate) metric: &'a str,
    pub(crate) before_ms: Option<f64>,
    pub(crate) predicted: Option<Span3>,
    pub(crate) actual: Option<Span3>,
}

/// Of the metric that the prediction speaks of, else of the one that decided.
pub(crate) fn figures(step: &Step) -> StepFigures<'_> {
    let prediction = step.finding.prediction.as_ref();
    let judged = judged(step, prediction);
    let before = judged.map(|m| m.before_ms).or(prediction.map(|p| p.before_ms));
    StepFigures {
        metric: judged.map(|m| m.metric.as_str()).or(prediction.map(|p| p.metric.as_str())).unwrap_or(""),
        before_ms: before.and_then(finite),
        predicted: prediction.and_then(after),
        actual: judged.and_then(outcome),
    }
}

/// |actual - predicted| as share of the before; `None` where one of them is missing.
pub(crate) fn error_share(of: &StepFigures<'_>) -> Option<f64> {
    let (predicted, actual) = (of.predicted?, of.actual?);
    let before = of.before_ms.filter(|ms| *ms > 0.0)?;
    finite((actual.value - predicted.value).abs() / before)
}

/// The predicted value with its 90 % interval.
pub(crate) fn after(prediction: &Prediction) -> Option<Span3> {
    interval(prediction.after_ms, prediction.low_ms, prediction.high_ms)
}

/// The measured value with its 95 % interval: the ratio's, on the value before.
fn outcome(of: &MetricVerdict) -> Option<Span3> {
    // An arm without requests, or an interval that says nothing, is no measurement.
    if of.before_ms <= 0.0 || of.after_ms <= 0.0 || of.high > of.low * OPEN {
        return None;
    }
    interval(of.after_ms, of.before_ms * of.low, of.before_ms * of.high)
}

fn interval(value: f64, low: f64, high: f64) -> Option<Span3> {
    let value = finite(value)?;
    Some(Span3 { value, low: finite(low).unwrap_or(value), high: finite(high).unwrap_or(value) })
}

fn judged<'a>(step: &'a Step, prediction: Option<&Prediction>) -> Option<&'a MetricVerdict> {
    let named = |name: &str| step.judgement.metrics.iter().find(|m| m.metric == name);
    prediction
        .and_then(|p| named(&p.metric))
        .or_else(|| named(&step.judgement.metric))
        .or_else(|| step.judgement.metrics.first())
}

/// What a change does, and what undoes it, as text.
pub(crate) fn apply_and_undo(kind: &ChangeKind) -> (String, String) {
    let call = |c: &model::HttpCall| format!("{} {} {}", c.method, c.url, c.body);
    let (apply, undo) = match kind {
        ChangeKind::Sql { apply, undo } => (apply.clone(), undo.clone()),
        ChangeKind::Http { apply, undo } => (call(apply), call(undo)),
        ChangeKind::Command { apply, undo } => (apply.join(" "), undo.join(" ")),
        ChangeKind::Manual { text } => (text.clone(), String::new()),
    };
    let clean = |text: &str| clip(without_secrets(text).trim(), BLOCK);
    (clean(&apply), clean(&undo))
}

pub(crate) fn view(step: &Step) -> StepView {
    let figures = figures(step);
    let (apply, undo) = apply_and_undo(&step.change.kind);
    StepView {
        number: step.number,
        change: line(&step.change.name, LABEL),
        description: line(&without_secrets(&step.change.description), SENTENCE),
        apply,
        undo,
        finding: findings::view(&step.finding),
        metric: line(figures.metric, LABEL),
        before_ms: figures.before_ms,
        predicted: figures.predicted,
        actual: figures.actual,
        verdict: step.judgement.verdict,
        prediction_held: step.judgement.prediction_held,
        error_share: error_share(&figures).map(round),
        kept: step.kept,
        reasons: step.judgement.reasons.iter().take(MAX_REASONS).map(|r| line(r, SENTENCE)).collect(),
        metrics: step.judgement.metrics.iter().take(MAX_METRICS).map(metric).collect(),
    }
}

fn metric(of: &MetricVerdict) -> MetricView {
    MetricView {
        metric: line(&of.metric, LABEL),
        before_ms: finite(of.before_ms),
        after_ms: finite(of.after_ms),
        ratio: finite(of.ratio),
        low: finite(of.low),
        high: finite(of.high),
        detectable: finite(of.detectable),
        verdict: of.verdict,
    }
}
