//! For tests of this crate: drawings in, lines of text out. The only place that knows the API.

use crate::{Options, localize};
use expect_test::Expect;
use model::{Diagnosis, Finding, Recording, fixture};

/// A recording of drawn traces and nothing else.
pub(crate) fn drawn(drawing: &str) -> Recording {
    let spans = fixture::spans(drawing).unwrap_or_else(|problem| panic!("{problem}"));
    Recording { spans, ..Recording::default() }
}

/// The findings of a drawing, one a line.
pub(crate) fn check(drawing: &str, expected: &Expect) {
    check_recording(&drawn(drawing), expected);
}

/// The findings of one rule only, for tests of that rule.
pub(crate) fn check_rule(rule: &str, recording: &Recording, expected: &Expect) {
    let mut diagnosis = localize(recording, &Options::default());
    diagnosis.findings.retain(|f| f.rule == rule);
    diagnosis.rules_not_run.retain(|r| r.rule == rule);
    expected.assert_eq(&lines(&diagnosis));
}

pub(crate) fn check_recording(recording: &Recording, expected: &Expect) {
    let mut diagnosis = localize(recording, &Options::default());
    diagnosis.rules_not_run.clear();
    expected.assert_eq(&lines(&diagnosis));
}

/// `rule endpoint | title | p95 before -> after (low..high) grade`, then `not run: rule (signal)`.
pub(crate) fn lines(diagnosis: &Diagnosis) -> String {
    let mut out: String = diagnosis.findings.iter().map(line).collect();
    for rule in &diagnosis.rules_not_run {
        out.push_str(&format!("not run: {} ({})\n", rule.rule, rule.missing_signal));
    }
    out
}

fn line(finding: &Finding) -> String {
    let prediction = finding.prediction.as_ref().map_or_else(
        || "no prediction".to_owned(),
        |p| {
            format!(
                "p95 {:.1} -> {:.1} ({:.1}..{:.1}) {:?}",
                p.before_ms, p.after_ms, p.low_ms, p.high_ms, p.grade
            )
        },
    );
    format!("{} {} | {} | {prediction}\n", finding.rule, finding.endpoint, finding.title)
}
