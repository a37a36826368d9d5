//! What the rules on requests from outside told, as findings among the others, each before the first that presses less.

use super::{Endpoint, Outside, RULES, Told};
use crate::Options;
use crate::facts::Facts;
use crate::rank::fingerprint_of;
use model::{Evidence, Finding, Place, Remedy, RemedyKind, Severity};

/// Trace ids of a finding.
const MAX_TRACE_IDS: usize = 10;

/// Adds them.
pub fn merged(facts: &Facts<'_>, options: &Options<'_>, mut findings: Vec<Finding>) -> Vec<Finding> {
    let outside = Outside::of(facts, options);
    let mut told: Vec<(f64, bool, Finding)> = Vec::new();
    for rule in RULES {
        for of in &outside.endpoints {
            let same = |f: &&Finding| f.endpoint == of.name;
            let told_already = findings.iter().filter(same).any(|f| f.rule == rule.name);
            // What has a cause and a prediction needs no pointing at.
            let explained = rule.is_pointer && findings.iter().filter(same).any(|f| f.prediction.is_some());
            if told_already || explained {
                continue;
            }
            if let Some(seen) = (rule.run)(&outside, of) {
                let share = seen.share;
                told.push((share, presses(of), finding(facts, rule.name, of, seen)));
            }
        }
    }
    told.sort_by(|a, b| {
        let order = |t: &(f64, bool, Finding)| (t.1, t.2.severity);
        order(b).cmp(&order(a)).then(b.0.total_cmp(&a.0)).then_with(|| a.2.fingerprint.cmp(&b.2.fingerprint))
    });
    let missed = |f: &Finding| outside.endpoints.iter().any(|of| of.name == f.endpoint && presses(of));
    let order = |missed: bool, f: &Finding| -> (bool, Severity, bool) {
        (missed, f.severity, f.prediction.is_some())
    };
    for (_, presses, finding) in told {
        let own = order(presses, &finding);
        let at = findings.iter().position(|f| order(missed(f), f) < own).unwrap_or(findings.len());
        findings.insert(at, finding);
    }
    findings
}

/// A goal of the endpoint is missed.
fn presses(of: &Endpoint<'_>) -> bool {
    of.fails_goal || of.excess_ms.is_some_and(|ms| ms > 0.0)
}

fn finding(facts: &Facts<'_>, rule: &str, of: &Endpoint<'_>, told: Told) -> Finding {
    let traced = facts.endpoints().find(|(id, _)| facts.load.name(*id) == of.name);
    let service = traced.map_or_else(|| "service".to_owned(), |(_, e)| facts.name(e.service).to_owned());
    // A log has no traces but those that were made of its lines.
    let ids = told.requests.iter().filter(|id| **id != 0 && !facts.only_outside).take(MAX_TRACE_IDS);
    Finding {
        rule: rule.to_owned(),
        severity: told.severity,
        fingerprint: fingerprint_of(&[rule, &service, of.name, "outside"]),
        title: told.title,
        service,
        endpoint: of.name.to_owned(),
        place: Place::default(),
        calls_per_request: None,
        share_of_critical_path: None,
        prediction: None,
        remedies: vec![Remedy {
            kind: RemedyKind::Code,
            text: told.remedy.to_owned(),
            patch: None,
            undo: None,
        }],
        evidence: Evidence {
            lines: told.lines,
            trace_ids: ids.map(|id| format!("{id:032x}")).collect(),
            ..Evidence::default()
        },
        confidence: told.confidence,
        rerun: None,
    }
}
