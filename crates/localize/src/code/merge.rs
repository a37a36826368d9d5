//! What the profile's rules told, as findings among those of the traces: predicted, the small dropped, each in the place
//! that its gain gives it. Where both speak of the same time, the profile knows the function.

use super::{Code, Endpoint, RULES, Told, remedy};
use crate::Options;
use crate::facts::Facts;
use crate::rank::fingerprint_of;
use crate::standing;
use model::{Evidence, Finding, GoalResult, Place, Prediction, QuantilePrediction, Severity};

/// Functions of one endpoint that one rule tells at most.
const MAX_PER_RULE: usize = 3;
/// Rules of traces that say less than a function's name does.
const SAID_BETTER: [&str; 2] = ["cpu_self_time", "serialization"];
/// Rules that name where a request's time on CPU goes.
const NAMES_CODE: [&str; 3] = ["hot_function", "linear_scan", "serialization"];

/// Adds the profile's findings to those of the traces, best first.
pub fn merged(
    facts: &Facts<'_>,
    options: &Options<'_>,
    goals: &[GoalResult],
    mut findings: Vec<Finding>,
) -> Vec<Finding> {
    let Some(code) = Code::of(facts) else { return findings };
    let judge = Judge { code: &code, options, goals };
    let mut told = judge.all(&findings);
    told.sort_by(|a, b| judge.order(b).cmp(&judge.order(a)).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
    for finding in &mut told {
        let same = |f: &Finding| SAID_BETTER.contains(&f.rule.as_str()) && f.endpoint == finding.endpoint;
        if !NAMES_CODE.contains(&finding.rule.as_str()) {
            continue;
        }
        if let Some(at) = findings.iter().position(same) {
            let known = findings.remove(at);
            finding.place.shape = known.place.shape;
            finding.evidence.trace_ids = known.evidence.trace_ids;
            finding.evidence.span_ids = known.evidence.span_ids;
            (finding.evidence.traces, finding.evidence.traces_of) =
                (known.evidence.traces, known.evidence.traces_of);
        }
    }
    for finding in told {
        let order = judge.order(&finding);
        let at = findings.iter().position(|f| judge.order(f) < order).unwrap_or(findings.len());
        findings.insert(at, finding);
    }
    findings
}

struct Judge<'a> {
    code: &'a Code<'a>,
    options: &'a Options<'a>,
    goals: &'a [GoalResult],
}

impl Judge<'_> {
    fn all(&self, known: &[Finding]) -> Vec<Finding> {
        let mut out = Vec::new();
        let mut claimed: Vec<(usize, u32)> = Vec::new();
        for rule in RULES {
            let full = known.iter().any(|f| f.rule == "cpu_saturation");
            if rule.name == "cpu_queueing" && full {
                continue;
            }
            let mut counts = vec![0; self.code.endpoints.len()];
            for told in (rule.run)(self.code) {
                let endpoint = told.endpoint;
                let again = told.claims.iter().any(|frame| claimed.contains(&(endpoint, *frame)));
                // Asked last: it walks the whole profile.
                let spilled = || {
                    NAMES_CODE.contains(&rule.name)
                        && told.claims.first().is_some_and(|frame| self.code.is_spilled(endpoint, *frame))
                };
                if again || counts[endpoint] == MAX_PER_RULE || spilled() {
                    continue;
                }
                let claims = told.claims.clone();
                if let Some(finding) = self.finding(rule.name, told) {
                    counts[endpoint] += 1;
                    claimed.extend(claims.into_iter().map(|frame| (endpoint, frame)));
                    out.push(finding);
                }
            }
        }
        out
    }

    fn finding(&self, rule: &str, told: Told) -> Option<Finding> {
        let t = self.code.facts.thresholds;
        let endpoint = &self.code.endpoints[told.endpoint];
        let calibration = self.options.calibration.get(rule).copied().unwrap_or(1.0);
        let prediction = told.prediction.map(|p| calibrated(p, calibration));
        let small = |p: &Prediction| p.gain_ms() < (t.min_gain_share * p.before_ms).max(t.min_gain_ms);
        if prediction.as_ref().is_some_and(small) {
            return None;
        }
        let mut lines = told.lines;
        let excess = self.excess_ms(endpoint);
        let severity = self.severity(endpoint, prediction.as_ref(), told.share, excess);
        if excess == Some(0.0) {
            lines.push("hold back: all goals of this endpoint are met".to_owned());
        }
        let service = self.service(&endpoint.name);
        let function = told.function.as_ref().map_or("", |f| f.function.as_str());
        Some(Finding {
            rule: rule.to_owned(),
            severity,
            fingerprint: fingerprint_of(&[
                rule,
                &service,
                &endpoint.name,
                function,
                told.resource.unwrap_or(""),
            ]),
            title: told.title,
            service,
            endpoint: endpoint.name.clone(),
            place: Place {
                function: told.function,
                resource: told.resource.map(str::to_owned),
                ..Place::default()
            },
            calls_per_request: None,
            share_of_critical_path: told.share.map(crate::predict::round),
            prediction,
            remedies: vec![remedy(told.remedy)],
            evidence: Evidence { lines, ..Evidence::default() },
            confidence: told.confidence,
            rerun: None,
        })
    }

    /// The service that the traces name for an endpoint.
    fn service(&self, endpoint: &str) -> String {
        let facts = self.code.facts;
        let found = facts.endpoints().find(|(id, _)| facts.load.name(*id) == endpoint);
        found.map_or_else(|| "service".to_owned(), |(_, e)| facts.name(e.service).to_owned())
    }

    /// What the endpoint misses its goals on response time by; 0: all are met; `None`: there are none.
    fn excess_ms(&self, endpoint: &Endpoint) -> Option<f64> {
        standing::excess_ms(&self.options.goals, &endpoint.name, &endpoint.responses)
    }

    fn severity(
        &self,
        endpoint: &Endpoint,
        prediction: Option<&Prediction>,
        share: Option<f64>,
        excess: Option<f64>,
    ) -> Severity {
        let t = self.code.facts.thresholds;
        let quick = endpoint.responses.quantile_ms(0.95).is_some_and(|ms| ms <= t.quick_p95_ms);
        let gain = prediction.map_or(share.unwrap_or(0.0), Prediction::gain_share);
        let won = |excess: f64| prediction.map_or(0.0, Prediction::gain_ms) / excess;
        match excess {
            Some(excess) if excess > 0.0 && won(excess) >= t.critical_goal_share => Severity::Critical,
            Some(excess) if excess <= 0.0 => Severity::Info,
            None if quick => Severity::Info,
            _ if gain >= t.warning_gain_share => Severity::Warning,
            _ => Severity::Info,
        }
    }

    /// Larger is better: a missed goal first, then milliseconds saved each second for all users, in thousandths.
    fn order(&self, finding: &Finding) -> (bool, i64, i64) {
        let missed = self.options.goals.iter().zip(self.goals);
        let missed =
            missed.into_iter().any(|(goal, r)| r.met == Some(false) && goal.concerns(&finding.endpoint));
        let gain = finding.prediction.as_ref().map_or(0.0, |p| p.gain_ms().max(0.0));
        let share = finding.share_of_critical_path.unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, reason = "they fit by far")]
        let whole = |value: f64| (value * 1e3) as i64;
        let told = if finding.prediction.is_some() { 0 } else { whole(share) };
        (missed, whole(gain * self.rate(&finding.endpoint)), told)
    }

    fn rate(&self, name: &str) -> f64 {
        let facts = self.code.facts;
        let traced = facts.endpoints().find(|(id, _)| facts.load.name(*id) == name);
        let profiled = self.code.endpoints.iter().find(|e| e.name == name);
        traced.map(|(id, _)| facts.rate_per_s(id)).or(profiled.map(|e| e.rate_per_s)).unwrap_or(0.0)
    }
}

/// The past's errors correct the gain.
fn calibrated(mut prediction: Prediction, calibration: f64) -> Prediction {
    if (calibration - 1.0).abs() <= 1e-9 {
        return prediction;
    }
    let less =
        |before: f64, after: f64| crate::predict::round((before - (before - after) * calibration).max(0.0));
    for q in &mut prediction.quantiles {
        *q = QuantilePrediction {
            after_ms: less(q.before_ms, q.after_ms),
            low_ms: less(q.before_ms, q.low_ms),
            high_ms: less(q.before_ms, q.high_ms),
            ..*q
        };
    }
    let p95 = prediction.quantiles[1];
    (prediction.after_ms, prediction.low_ms, prediction.high_ms) = (p95.after_ms, p95.low_ms, p95.high_ms);
    prediction.calibration = Some(calibration);
    prediction
}
