//! Does the outcome meet what was predicted? Compared as ratios, since load and machine may differ from the day of
//! the prediction.

use crate::interval::RatioInterval;
use crate::words::percent;
use model::Prediction;

/// Whether the interval of the outcome meets the predicted one, and a sentence on it. A prediction without a width
/// gets the tolerance, as share of the before. `None` where the outcome is unknown or the prediction is no ratio.
pub(crate) fn held(
    prediction: &Prediction,
    outcome: Option<&RatioInterval>,
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
    let held = outcome.low <= high && low <= outcome.high;
    let mut text = format!(
        "predicted for {metric}: {:.3} of before ({low:.3} to {high:.3}); measured {:.3} ({:.3} to {:.3}): {}",
        middle,
        outcome.ratio,
        outcome.low,
        outcome.high,
        if held { "held" } else { "missed" }
    );
    if held && outcome.low <= 1.0 && outcome.high >= 1.0 && high < 1.0 {
        text.push_str("; but the measurement would fit no change just as well");
    } else if !held {
        text.push_str(&format!(", by {} of before", percent((outcome.ratio - middle).abs())));
    }
    (Some(held), text)
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
