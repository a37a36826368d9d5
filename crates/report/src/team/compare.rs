//! Two diagnoses of one service: what is new, what is gone, what has changed. Findings are matched by fingerprint.

use crate::clip::{SENTENCE, line, without_secrets};
use crate::number::{ms, percent};
use model::{Diagnosis, Finding, Severity};
use serde::Serialize;
use std::fmt::Write as _;

/// A finding whose figure moved by less than this share has not changed.
const SAME_SHARE: f64 = 0.1;

/// A finding that is in both, with a figure that moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    pub fingerprint: String,
    pub endpoint: String,
    pub title: String,
    /// What its mending would win, milliseconds.
    pub gain_ms: [Option<f64>; 2],
    pub calls_per_request: [Option<f64>; 2],
    pub severity: [Severity; 2],
}

/// An endpoint that is in both; p95 in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MovedEndpoint {
    pub endpoint: String,
    pub p95_ms: [f64; 2],
}

/// B against A.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub version: u32,
    pub new: Vec<Finding>,
    pub gone: Vec<Finding>,
    pub changed: Vec<Changed>,
    /// Findings that are in both and have not changed.
    pub same: usize,
    /// Endpoints whose p95 moved by a tenth or more, the most first. No verdict: `trimtab verify` gives one.
    pub endpoints: Vec<MovedEndpoint>,
}

impl Comparison {
    #[must_use]
    pub fn of(a: &Diagnosis, b: &Diagnosis) -> Self {
        let find = |of: &Diagnosis, fingerprint: &str| -> Option<usize> {
            of.findings.iter().position(|f| f.fingerprint == fingerprint)
        };
        let only = |of: &Diagnosis, other: &Diagnosis| -> Vec<Finding> {
            of.findings.iter().filter(|f| find(other, &f.fingerprint).is_none()).cloned().collect()
        };
        let (mut changed, mut same) = (Vec::new(), 0);
        for now in &b.findings {
            let Some(at) = find(a, &now.fingerprint) else { continue };
            match changes(&a.findings[at], now) {
                Some(change) => changed.push(change),
                None => same += 1,
            }
        }
        let mut endpoints: Vec<MovedEndpoint> = b
            .recording
            .endpoints
            .iter()
            .filter_map(|now| {
                let was = a
                    .recording
                    .endpoints
                    .iter()
                    .find(|e| e.endpoint == now.endpoint && e.service == now.service)?;
                let p95_ms = [was.p95_ms, now.p95_ms];
                moved(p95_ms.map(Some)).then(|| MovedEndpoint { endpoint: now.endpoint.clone(), p95_ms })
            })
            .collect();
        let factor = |e: &MovedEndpoint| (e.p95_ms[1] / e.p95_ms[0]).ln().abs();
        endpoints.sort_by(|x, y| factor(y).total_cmp(&factor(x)).then_with(|| x.endpoint.cmp(&y.endpoint)));
        Self { version: model::SCHEMA_VERSION, new: only(b, a), gone: only(a, b), changed, same, endpoints }
    }

    /// Whether B has a finding above information that A has not.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        self.new.iter().any(|finding| finding.severity > Severity::Info)
    }

    /// One JSON object and a line feed.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!(
            "{} new, {} gone, {} changed, {} the same\n",
            self.new.len(),
            self.gone.len(),
            self.changed.len(),
            self.same
        );
        for (heading, findings) in [("New", &self.new), ("Gone", &self.gone)] {
            if !findings.is_empty() {
                let _infallible = writeln!(out, "\n{heading}");
            }
            for f in findings {
                let gain = f.prediction.as_ref().map_or_else(String::new, |p| {
                    format!(", {} would be won ({})", ms(p.gain_ms()), percent(p.gain_share()))
                });
                let what = told(&format!("{}: {}{gain}", f.endpoint, f.title));
                let _infallible = writeln!(
                    out,
                    "  {:<8} {what}\n           {} {}",
                    word(f.severity),
                    f.rule,
                    f.fingerprint
                );
            }
        }
        if !self.changed.is_empty() {
            out.push_str("\nChanged\n");
        }
        for c in &self.changed {
            let _infallible = writeln!(out, "  {}", told(&format!("{}: {}", c.endpoint, c.title)));
            if c.severity[0] != c.severity[1] {
                let _infallible =
                    writeln!(out, "    severity {} -> {}", word(c.severity[0]), word(c.severity[1]));
            }
            if moved(c.gain_ms) {
                let [was, now] = c.gain_ms.map(|gain| gain.map_or_else(|| "–".to_owned(), ms));
                let _infallible = writeln!(out, "    would win {was} -> {now}");
            }
            if moved(c.calls_per_request) {
                let [was, now] =
                    c.calls_per_request.map(|n| n.map_or_else(|| "–".to_owned(), |n| format!("{n:.1}")));
                let _infallible = writeln!(out, "    calls per request {was} -> {now}");
            }
        }
        if !self.endpoints.is_empty() {
            out.push_str("\np95 that moved by a tenth or more (for a verdict: trimtab verify)\n");
        }
        for e in &self.endpoints {
            let _infallible =
                writeln!(out, "  {} {} -> {}", told(&e.endpoint), ms(e.p95_ms[0]), ms(e.p95_ms[1]));
        }
        out
    }
}

fn changes(was: &Finding, now: &Finding) -> Option<Changed> {
    let gain = |f: &Finding| f.prediction.as_ref().map(model::Prediction::gain_ms);
    let changed = Changed {
        fingerprint: now.fingerprint.clone(),
        endpoint: now.endpoint.clone(),
        title: now.title.clone(),
        gain_ms: [gain(was), gain(now)],
        calls_per_request: [was.calls_per_request, now.calls_per_request],
        severity: [was.severity, now.severity],
    };
    let is_changed =
        moved(changed.gain_ms) || moved(changed.calls_per_request) || was.severity != now.severity;
    is_changed.then_some(changed)
}

fn moved([was, now]: [Option<f64>; 2]) -> bool {
    match (was, now) {
        (Some(was), Some(now)) => (now - was).abs() > SAME_SHARE * was.abs().max(now.abs()),
        (was, now) => was.is_some() != now.is_some(),
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

fn told(text: &str) -> String {
    line(&without_secrets(text), SENTENCE)
}

#[cfg(test)]
mod tests {
    use super::super::acknowledged::tests::finding;
    use super::*;

    fn of(findings: Vec<Finding>) -> Diagnosis {
        Diagnosis { findings, ..Diagnosis::default() }
    }

    #[test]
    fn findings_are_new_gone_changed_or_the_same() {
        let mut more = finding("v1:more", Severity::Warning);
        let a = of(vec![
            finding("v1:gone", Severity::Critical),
            finding("v1:same", Severity::Info),
            more.clone(),
        ]);
        more.calls_per_request = Some(32.0);
        let b = of(vec![more, finding("v1:same", Severity::Info), finding("v1:new", Severity::Info)]);
        let compared = Comparison::of(&a, &b);
        let names = |all: &[Finding]| all.iter().map(|f| f.fingerprint.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&compared.new), names(&compared.gone)),
            (vec!["v1:new".into()], vec!["v1:gone".into()])
        );
        assert_eq!((compared.changed.len(), compared.same), (1, 1));
        assert!(!compared.is_worse(), "what is new is information only");
        let back = Comparison::of(&b, &a);
        assert!(back.is_worse());
        let text = compared.text();
        assert!(text.starts_with("1 new, 1 gone, 1 changed, 1 the same"), "{text}");
        assert!(text.contains("calls per request 16.0 -> 32.0"), "{text}");
    }

    #[test]
    fn two_of_one_are_the_same() {
        let one = of(vec![finding("v1:a", Severity::Critical)]);
        let compared = Comparison::of(&one, &one);
        assert_eq!((compared.same, compared.changed.len()), (1, 0));
        assert_eq!(compared.text(), "0 new, 0 gone, 0 changed, 1 the same\n");
    }
}
