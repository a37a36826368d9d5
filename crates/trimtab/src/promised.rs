//! What findings promised before a change that somebody made by hand: those that are gone after it are held against
//! what was measured. A finding that is left keeps its promise for later.

use model::{Diagnosis, Finding, Judgement, Severity};

/// Findings that are told, best first.
const MOST: usize = 5;

/// Adds a sentence for each finding that is gone, and whether the promise of the best of them held. A judgement that
/// has a prediction of its own keeps it.
pub fn hold(before: &Diagnosis, after: &Diagnosis, tolerance: f64, judgement: &mut Judgement) {
    if judgement.prediction_held.is_some() {
        return;
    }
    let mut told = Vec::new();
    for finding in gone(before, after).into_iter().take(MOST) {
        let Some(prediction) = &finding.prediction else { continue };
        let (held, text) = verify::held_by(prediction, &judgement.metrics, tolerance);
        if finding.severity > Severity::Info && judgement.prediction_held.is_none() {
            judgement.prediction_held = held;
        }
        told.push(format!("gone since: {}, {text}", finding.title));
    }
    judgement.reasons.splice(0..0, told);
}

/// In the order of the diagnosis before. What could not be looked for after the change is not gone.
fn gone<'a>(before: &'a Diagnosis, after: &Diagnosis) -> Vec<&'a Finding> {
    let left = |finding: &Finding| {
        after.findings.iter().any(|f| f.fingerprint == finding.fingerprint)
            || after.rules_not_run.iter().any(|rule| rule.rule == finding.rule)
    };
    before.findings.iter().filter(|finding| !left(finding)).collect()
}

#[cfg(test)]
mod tests {
    use super::hold;
    use model::{Diagnosis, Judgement, RuleNotRun};
    use model::{Evidence, Finding, Grade, MetricVerdict, Place, Prediction, Severity, Verdict};

    fn finding(fingerprint: &str, severity: Severity, (low_ms, high_ms): (f64, f64)) -> Finding {
        let prediction = Prediction {
            metric: "p95(GET /teams/{id})".to_owned(),
            before_ms: 200.0,
            after_ms: low_ms.midpoint(high_ms),
            low_ms,
            high_ms,
            grade: Grade::B,
            assumption: String::new(),
            quantiles: Vec::new(),
            calibration: None,
        };
        Finding {
            rule: "n_plus_one".to_owned(),
            severity,
            fingerprint: fingerprint.to_owned(),
            title: format!("finding {fingerprint}"),
            service: "club".to_owned(),
            endpoint: "GET /teams/{id}".to_owned(),
            place: Place::default(),
            calls_per_request: None,
            share_of_critical_path: None,
            prediction: Some(prediction),
            remedies: Vec::new(),
            evidence: Evidence::default(),
            confidence: 0.9,
            rerun: None,
        }
    }

    fn found(findings: Vec<Finding>) -> Diagnosis {
        Diagnosis { findings, ..Diagnosis::default() }
    }

    /// p95 fell to 0.3 of before.
    fn judged() -> Judgement {
        let measured = MetricVerdict {
            metric: "p95(GET /teams/{id})".to_owned(),
            operation: "GET /teams/{id}".to_owned(),
            quantile: 0.95,
            before_ms: 200.0,
            after_ms: 60.0,
            ratio: 0.3,
            low: 0.27,
            high: 0.33,
            detectable: 0.05,
            needed_s: None,
            verdict: Verdict::Better,
            requests_before: 900,
            requests_after: 900,
        };
        Judgement {
            version: 1,
            verdict: Verdict::Better,
            metric: measured.metric.clone(),
            metrics: vec![measured],
            prediction_held: None,
            reasons: vec!["p95 is better".to_owned()],
        }
    }

    #[test]
    fn what_is_gone_is_held_against_its_promise_and_what_is_left_is_not() {
        let (kept, broken) = ((50.0, 70.0), (120.0, 140.0));
        for (range, held) in [(kept, true), (broken, false)] {
            let before = found(vec![
                finding("a", Severity::Warning, range),
                finding("b", Severity::Critical, (190.0, 195.0)),
            ]);
            let after = found(vec![finding("b", Severity::Critical, (190.0, 195.0))]);
            let mut judgement = judged();
            hold(&before, &after, 0.05, &mut judgement);
            assert_eq!(judgement.prediction_held, Some(held));
            assert_eq!(judgement.reasons.len(), 2, "{:?}", judgement.reasons);
            assert!(judgement.reasons[0].starts_with("gone since: finding a, predicted for p95"));
        }
    }

    #[test]
    fn what_was_not_looked_for_is_not_gone() {
        let before = found(vec![finding("a", Severity::Warning, (50.0, 70.0))]);
        let unseen = RuleNotRun { rule: "n_plus_one".to_owned(), missing_signal: "traces".to_owned() };
        let after = Diagnosis { rules_not_run: vec![unseen], ..Diagnosis::default() };
        let mut judgement = judged();
        hold(&before, &after, 0.05, &mut judgement);
        assert_eq!(judgement, judged());
    }

    #[test]
    fn nothing_gone_or_only_information_decides_nothing() {
        let mut judgement = judged();
        hold(&found(Vec::new()), &found(Vec::new()), 0.05, &mut judgement);
        assert_eq!(judgement, judged());
        let before = found(vec![finding("a", Severity::Info, (50.0, 70.0))]);
        hold(&before, &found(Vec::new()), 0.05, &mut judgement);
        assert_eq!(judgement.prediction_held, None);
        assert_eq!(judgement.reasons.len(), 2);
    }
}
