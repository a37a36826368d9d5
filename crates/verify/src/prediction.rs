//! Does the outcome meet what was predicted? Compared as ratios, since load and machine may differ from the day of
//! the prediction.

use crate::interval::{RatioInterval, needed_requests};
use crate::judge::Metric;
use crate::words::percent;
use model::{MetricVerdict, Prediction};

/// What was measured of a metric: after / before, with the ends of its interval.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    ratio: f64,
    low: f64,
    high: f64,
}

impl From<&RatioInterval> for Outcome {
    fn from(of: &RatioInterval) -> Self {
        Self { ratio: of.ratio, low: of.low, high: of.high }
    }
}

/// The prediction for its own percentile, or for the median where the smaller arm of its operation has too few
/// `requests` for that.
#[must_use]
pub fn judgeable(prediction: &Prediction, requests: u64) -> Prediction {
    let metric =
        Metric::parse(&prediction.metric).filter(|m| (requests as f64) < needed_requests(m.quantile));
    let median = prediction.quantiles.iter().find(|q| (q.quantile - 0.5).abs() < 1e-9);
    match (metric, median) {
        (Some(metric), Some(median)) => Prediction {
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

/// Whether a judged trial meets a prediction that it was not made for, and a sentence on it: `None` as of
/// [`Judgement::prediction_held`](model::Judgement). `metrics` are those of the trial's judgement; `tolerance`, a share
/// of the before, stands in for the width of a prediction that has none. Where the percentile cannot tell,
/// the median is asked.
#[must_use]
pub fn held_by(prediction: &Prediction, metrics: &[MetricVerdict], tolerance: f64) -> (Option<bool>, String) {
    let requests = metrics
        .iter()
        .find(|judged| judged.metric == prediction.metric)
        .map_or(u64::MAX, |judged| judged.requests_before.min(judged.requests_after));
    let outcome = |prediction: &Prediction| {
        let judged = metrics.iter().find(|judged| judged.metric == prediction.metric)?;
        Some(Outcome { ratio: judged.ratio, low: judged.low, high: judged.high })
    };
    let own = judgeable(prediction, requests);
    let told = held(&own, outcome(&own), tolerance);
    let median = judgeable(prediction, 0);
    if told.0.is_some() || median.metric == own.metric {
        return told;
    }
    // A tail is often too uncertain where the middle is not.
    let by_median = held(&median, outcome(&median), tolerance);
    if by_median.0.is_some() { by_median } else { told }
}

/// Whether the interval of the outcome meets the predicted one, and a sentence on it. A prediction without a width
/// gets the tolerance, as share of the before; one with a width is met, too, where it is missed by less than this share
/// of what it predicts. `None` where the outcome is unknown, the prediction is no ratio, or the
/// outcome is so wide that it says nothing about the prediction.
pub(crate) fn held(
    prediction: &Prediction,
    outcome: Option<Outcome>,
    tolerance: f64,
) -> (Option<bool>, String) {
    let metric = &prediction.metric;
    let Some(outcome) = outcome else {
        return (None, format!("the prediction for {metric} could not be checked: it has no measured ratio"));
    };
    let Some((low, middle, high)) = ratios(prediction, tolerance) else {
        return (
            None,
            format!("the prediction for {metric} could not be checked: its figures are no durations"),
        );
    };
    let (lowest, highest) = slack((low, high), tolerance);
    let held = outcome.low <= highest && lowest <= outcome.high;
    let untestable = held && says_nothing(outcome, (low, middle, high), tolerance);
    let word = match (untestable, held) {
        (true, _) => "could not be tested, the measured interval is too wide",
        (false, true) => "held",
        (false, false) => "missed",
    };
    let mut text = format!(
        "predicted for {metric}: {:.3} of before ({low:.3} to {high:.3}); measured {:.3} ({:.3} to {:.3}): {word}",
        middle, outcome.ratio, outcome.low, outcome.high,
    );
    if !held {
        text.push_str(&format!(", by {} of before", percent((outcome.ratio - middle).abs())));
    }
    ((!untestable).then_some(held), text)
}

/// Whether an outcome would fit no change as well as it fits a predicted one, or is wider than the predicted change.
fn says_nothing(outcome: Outcome, (low, middle, high): (f64, f64, f64), tolerance: f64) -> bool {
    let holds = |ratio: f64| outcome.low <= ratio && ratio <= outcome.high;
    let a_change = high < 1.0 || low > 1.0;
    let room = (1.0 - middle).abs().max(2.0 * tolerance);
    (a_change && holds(1.0) && holds(low) && holds(high)) || outcome.high - outcome.low > room
}

/// The ends of a predicted ratio, wider by a share of themselves: 7.0 to 7.3 % of before is not refuted by 7.4 %. A
/// predicted change stays one: no end moves over 1.
fn slack((low, high): (f64, f64), tolerance: f64) -> (f64, f64) {
    let (lower, higher) = (low * (1.0 - tolerance), high * (1.0 + tolerance));
    (if low > 1.0 { lower.max(1.0) } else { lower }, if high < 1.0 { higher.min(1.0) } else { higher })
}

/// Low end, middle and high end of the predicted ratio.
fn ratios(prediction: &Prediction, tolerance: f64) -> Option<(f64, f64, f64)> {
    let before = prediction.before_ms;
    let middle = prediction.after_ms / before;
    if !(before > 0.0 && middle.is_finite() && middle >= 0.0) {
        return None;
    }
    let (low, high) = (prediction.low_ms / before, prediction.high_ms / before);
    let wide = low.is_finite() && high.is_finite() && high > low;
    Some(if wide {
        (low.min(middle), middle, high.max(middle))
    } else {
        ((middle - tolerance).max(0.0), middle, middle + tolerance)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Grade, QuantilePrediction, Verdict};

    fn prediction(before_ms: f64, (low_ms, after_ms, high_ms): (f64, f64, f64)) -> Prediction {
        Prediction {
            metric: "p95(GET /)".to_owned(),
            before_ms,
            after_ms,
            low_ms,
            high_ms,
            grade: Grade::B,
            assumption: String::new(),
            quantiles: Vec::new(),
            calibration: None,
        }
    }

    fn verdict(predicted: (f64, f64, f64), measured: (f64, f64, f64)) -> Option<bool> {
        let prediction = prediction(100.0, predicted);
        let (low, ratio, high) = measured;
        held(&prediction, Some(Outcome { ratio, low, high }), 0.05).0
    }

    #[test]
    fn a_narrow_prediction_is_not_missed_by_a_hair() {
        assert_eq!(verdict((7.0, 7.2, 7.3), (0.074, 0.075, 0.078)), Some(true));
        assert_eq!(verdict((7.0, 7.2, 7.3), (0.078, 0.080, 0.083)), Some(false));
        // What is predicted to get better is not met by what did not.
        assert_eq!(verdict((96.0, 97.0, 98.0), (1.001, 1.01, 1.02)), Some(false));
    }

    #[test]
    fn of_few_requests_the_median_is_judged() {
        let at = |quantile| QuantilePrediction {
            quantile,
            before_ms: 100.0 * quantile,
            after_ms: 50.0 * quantile,
            low_ms: 40.0 * quantile,
            high_ms: 60.0 * quantile,
        };
        let quantiles = vec![at(0.5), at(0.95)];
        let prediction = Prediction { quantiles, ..prediction(95.0, (40.0, 50.0, 60.0)) };
        let few = judgeable(&prediction, 99);
        assert_eq!((few.metric.as_str(), few.before_ms, few.high_ms), ("p50(GET /)", 50.0, 30.0));
        assert_eq!(judgeable(&prediction, 100), prediction);
    }

    #[test]
    fn where_the_tail_is_too_uncertain_the_median_is_asked() {
        let judged = |quantile: f64, (low, ratio, high): (f64, f64, f64)| MetricVerdict {
            metric: Metric { operation: "GET /".to_owned(), quantile }.name(),
            operation: "GET /".to_owned(),
            quantile,
            before_ms: 100.0,
            after_ms: 100.0 * ratio,
            ratio,
            low,
            high,
            detectable: 0.1,
            needed_s: None,
            verdict: Verdict::Unclear,
            requests_before: 500,
            requests_after: 500,
        };
        let median = QuantilePrediction {
            quantile: 0.5,
            before_ms: 50.0,
            after_ms: 25.0,
            low_ms: 22.0,
            high_ms: 28.0,
        };
        let prediction = Prediction { quantiles: vec![median], ..prediction(100.0, (40.0, 50.0, 60.0)) };
        let metrics = [judged(0.95, (0.1, 0.6, 3.0)), judged(0.5, (0.45, 0.49, 0.52))];
        let (held, text) = held_by(&prediction, &metrics, 0.05);
        assert!(held == Some(true) && text.starts_with("predicted for p50(GET /)"), "{text}");
        let (held, text) = held_by(&prediction, &metrics[..1], 0.05);
        assert!(held.is_none() && text.starts_with("predicted for p95(GET /)"), "{text}");
    }

    #[test]
    fn an_outcome_that_says_nothing_neither_keeps_nor_breaks_a_prediction() {
        let open = ((-9.0_f64).exp(), 1.0, 9.0_f64.exp());
        assert_eq!(verdict((45.0, 50.0, 55.0), open), None);
        assert_eq!(verdict((85.0, 90.0, 95.0), (0.8, 0.9, 1.02)), None);
        assert_eq!(verdict((85.0, 90.0, 95.0), (0.86, 0.9, 0.94)), Some(true));
        assert_eq!(verdict((98.0, 100.0, 102.0), (0.97, 1.0, 1.03)), Some(true));
        assert_eq!(verdict((45.0, 50.0, 55.0), (0.9, 1.4, 2.2)), Some(false));
    }
}
