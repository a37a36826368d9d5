//! What past predictions teach: by rule, how much of the predicted gain came true. Pure.

use model::{Step, Verdict};
use std::collections::BTreeMap;

/// So many past steps weigh as much as the assumption that predictions are right.
const PRIOR_STEPS: f64 = 4.0;
/// One step counts at most so much, whatever happened in it.
const RANGE: (f64, f64) = (0.25, 2.0);

/// By rule: actual gain over predicted gain, shrunk towards 1. Only clear verdicts on a prediction teach.
#[must_use]
pub fn factors(steps: &[Step]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for step in steps {
        if let Some(ratio) = ratio(step) {
            let sum = sums.entry(step.finding.rule.clone()).or_default();
            sum.0 += ratio;
            sum.1 += 1.0;
        }
    }
    sums.into_iter().map(|(rule, (sum, count))| (rule, (sum + PRIOR_STEPS) / (count + PRIOR_STEPS))).collect()
}

fn ratio(step: &Step) -> Option<f64> {
    if matches!(step.judgement.verdict, Verdict::Unclear) {
        return None;
    }
    let predicted = step.finding.prediction.as_ref()?;
    let actual = step.judgement.metrics.iter().find(|m| m.metric == predicted.metric)?;
    let gain = 1.0 - actual.ratio;
    let share = predicted.gain_share();
    let ratio = gain / share;
    (share > 0.01 && ratio.is_finite()).then(|| ratio.clamp(RANGE.0, RANGE.1))
}
