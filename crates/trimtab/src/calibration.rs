//! What past predictions teach: by rule, how much of the predicted gain came true. Pure.

use model::{Step, Verdict};
use std::collections::BTreeMap;

/// So many past steps weigh as much as the assumption that predictions are right.
const PRIOR_STEPS: f64 = 4.0;
/// Wider intervals, as ln of high over low, bound nothing.
const MAX_WIDTH: f64 = 4.0;
/// One step counts at most so much, whatever happened in it.
const RANGE: (f64, f64) = (0.25, 2.0);

/// By rule: actual gain over the gain that was predicted before any correction, shrunk towards 1. Every trial that
/// bounded the effect teaches, the more the better it was bounded: leaving out the unclear ones would leave out the
/// small effects. What failed, or had no requests, teaches nothing about time.
#[must_use]
pub fn factors(steps: &[Step]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for step in steps {
        if let Some((ratio, weight)) = lesson(step) {
            let sum = sums.entry(step.finding.rule.clone()).or_default();
            sum.0 += ratio * weight;
            sum.1 += weight;
        }
    }
    sums.into_iter()
        .map(|(rule, (sum, weight))| (rule, (sum + PRIOR_STEPS) / (weight + PRIOR_STEPS)))
        .collect()
}

/// Actual over uncorrected gain, and how much that counts, 0 to 1.
fn lesson(step: &Step) -> Option<(f64, f64)> {
    let predicted = step.finding.prediction.as_ref()?;
    let actual = step.judgement.metrics.iter().find(|m| m.metric == predicted.metric)?;
    // Judged worse although this metric is not: by errors, which may be quick.
    let by_other = step.judgement.verdict == Verdict::Worse && actual.verdict != Verdict::Worse;
    let seen = actual.requests_before > 0 && actual.requests_after > 0;
    let width = (actual.high / actual.low).ln();
    if by_other || !seen || !(0.0..=MAX_WIDTH).contains(&width) {
        return None;
    }
    let raw_share = predicted.gain_share() / predicted.calibration.unwrap_or(1.0);
    let ratio = (1.0 - actual.ratio) / raw_share;
    (raw_share > 0.01 && ratio.is_finite())
        .then(|| (ratio.clamp(RANGE.0, RANGE.1), 1.0 / (1.0 + width * width)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step whose fix truly gains `gain` of the before, predicted as `predicted` times `factor`.
    fn step(predicted: f64, factor: Option<f64>, gain: f64, verdict: &str, (low, high): (f64, f64)) -> Step {
        let after = 100.0 * (1.0 - predicted * factor.unwrap_or(1.0));
        let text = serde_json::json!({
            "number": 1, "started_ns": 0, "kept": true, "recording_before": "a", "recording_after": null,
            "change": { "name": "x", "description": "", "kind": { "kind": "manual", "text": "" } },
            "finding": { "rule": "n_plus_one", "severity": "warning", "fingerprint": "v1:0", "title": "", "service": "",
                "endpoint": "GET /", "place": {}, "remedies": [], "confidence": 1.0,
                "prediction": { "metric": "p95(GET /)", "before_ms": 100.0, "after_ms": after, "low_ms": after,
                    "high_ms": after, "grade": "B", "assumption": "", "quantiles": [], "calibration": factor },
                "evidence": { "lines": [], "trace_ids": [], "traces": 0, "traces_of": 0, "span_ids": [] } },
            "judgement": { "version": 1, "verdict": verdict, "metric": "", "prediction_held": null, "reasons": [],
                "metrics": [{ "metric": "p95(GET /)", "operation": "GET /", "quantile": 0.95, "before_ms": 100.0,
                    "after_ms": 100.0 * (1.0 - gain), "ratio": 1.0 - gain, "low": low, "high": high,
                    "detectable": 0.1, "verdict": "better", "requests_before": 100, "requests_after": 100 }] },
        });
        serde_json::from_value(text).expect("a step")
    }

    #[test]
    fn what_is_learnt_does_not_feed_on_itself() {
        // The fix gains half of what the rule says; each step is predicted with what was learnt before.
        let mut steps = Vec::new();
        for _ in 0..300 {
            let factor = factors(&steps).get("n_plus_one").copied();
            steps.push(step(0.8, factor, 0.4, "better", (0.6, 0.6)));
        }
        let learnt = factors(&steps)["n_plus_one"];
        assert!((learnt - 0.5).abs() < 0.02, "{learnt}");
    }

    #[test]
    fn what_says_nothing_about_time_teaches_nothing() {
        let failed = step(0.5, None, 0.95, "worse", (0.04, 0.06));
        let open = step(0.5, None, 0.1, "unclear", (1e-4, 8e3));
        assert!(factors(&[failed, open]).is_empty());
        let unclear = factors(&[step(0.5, None, 0.1, "unclear", (0.7, 1.1))])["n_plus_one"];
        assert!(unclear < 1.0, "a small effect that stayed unclear teaches modesty: {unclear}");
    }
}
