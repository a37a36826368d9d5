//! A summary in Markdown as forges render it: for a pipeline's summary page or a comment on a pull request.

use super::{Acknowledgements, Standing};
use crate::clip::{SENTENCE, line, without_secrets};
use crate::headline::Headline;
use crate::number::{digits, ms, percent};
use model::{Diagnosis, Finding, Severity};
use std::fmt::Write as _;

const MAX_FINDINGS: usize = 20;
/// A forge's comment holds 65,536 characters.
const MAX_LINES: usize = 3;

/// Headline, goals, findings best first, acknowledgements that need a hand, and what could not be seen.
#[must_use]
pub fn markdown(diagnosis: &Diagnosis, acknowledged: &Acknowledgements) -> String {
    let headline = Headline::of_diagnosis(diagnosis);
    let mut out = format!("## {}\n\n", cell(&headline.sentence));
    if !headline.detail.is_empty() {
        let _infallible = writeln!(out, "{}\n", cell(&headline.detail));
    }
    goals(&mut out, diagnosis);
    findings(&mut out, diagnosis, acknowledged);
    for (entry, standing) in acknowledged.standings(diagnosis) {
        let what = match standing {
            Standing::InForce => continue,
            Standing::Expired => "has expired: the finding counts again",
            Standing::Unmatched => "matches no finding any more: remove it",
        };
        let _infallible = writeln!(out, "- the acknowledgement of `{}` {what}", code(&entry.fingerprint));
    }
    if !diagnosis.gaps.is_empty() {
        let _infallible = writeln!(out, "\n<details><summary>Not seen: {}</summary>\n", diagnosis.gaps.len());
        for gap in &diagnosis.gaps {
            let _infallible =
                writeln!(out, "- {}: {}. {}", cell(&gap.signal), cell(&gap.reason), cell(&gap.hint));
        }
        out.push_str("\n</details>\n");
    }
    out
}

fn goals(out: &mut String, diagnosis: &Diagnosis) {
    if diagnosis.goals.is_empty() {
        return;
    }
    out.push_str("| goal | measured | |\n|---|---:|---|\n");
    for goal in &diagnosis.goals {
        let answer = match goal.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        let measured = goal.measured.map_or_else(|| "–".to_owned(), digits);
        let _infallible = writeln!(out, "| {} | {measured} | {answer} |", cell(&goal.goal));
    }
    out.push('\n');
}

fn findings(out: &mut String, diagnosis: &Diagnosis, acknowledged: &Acknowledgements) {
    let shown: Vec<&Finding> =
        diagnosis.findings.iter().filter(|f| f.severity > Severity::Info).take(MAX_FINDINGS).collect();
    let all = diagnosis.findings.len();
    if shown.is_empty() {
        let _infallible = writeln!(out, "No finding above information ({all} in all).");
        return;
    }
    out.push_str("| | endpoint | finding | predicted | gain |\n|---|---|---|---|---:|\n");
    for finding in &shown {
        let mark = match (acknowledged.of(finding), finding.severity) {
            (Some(_), _) => "acknowledged",
            (None, Severity::Critical) => "**critical**",
            _ => "warning",
        };
        let (predicted, gain) = finding.prediction.as_ref().map_or_else(
            || ("–".to_owned(), "–".to_owned()),
            |p| {
                let from_to = format!("{} -> {} (grade {:?})", ms(p.before_ms), ms(p.after_ms), p.grade);
                (from_to, percent(p.gain_share()))
            },
        );
        let (endpoint, title) = (cell(&finding.endpoint), cell(&finding.title));
        let _infallible = writeln!(out, "| {mark} | {endpoint} | {title} | {predicted} | {gain} |");
    }
    out.push('\n');
    for finding in shown {
        let title = format!("{}: {}", finding.endpoint, finding.title);
        let _infallible = writeln!(out, "<details><summary>{}</summary>\n", cell(&title));
        for evidence in finding.evidence.lines.iter().take(MAX_LINES) {
            let _infallible = writeln!(out, "- {}", cell(evidence));
        }
        for remedy in finding.remedies.iter().take(1) {
            let _infallible = writeln!(out, "- do: {}", cell(&remedy.text));
        }
        if let Some(entry) = acknowledged.of(finding) {
            let _infallible =
                writeln!(out, "- acknowledged until {}: {}", cell(&entry.until), cell(&entry.reason));
        }
        let _infallible =
            writeln!(out, "- `{}`, rule `{}`\n\n</details>", code(&finding.fingerprint), code(&finding.rule));
    }
    let left = all.saturating_sub(MAX_FINDINGS);
    if left > 0 {
        let _infallible = writeln!(out, "\n{left} findings more are in the JSON.");
    }
}

/// One line of a table: what Markdown, HTML or a mention would make of it is taken away.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in line(&without_secrets(text), SENTENCE).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '@' => out.push_str("&#64;"),
            c => out.push(c),
        }
    }
    out
}

/// Within backticks.
fn code(text: &str) -> String {
    line(text, SENTENCE).replace('`', "'")
}

#[cfg(test)]
mod tests {
    use super::super::acknowledged::tests::{entry, finding};
    use super::*;
    use model::GoalResult;

    #[test]
    fn a_table_survives_hostile_names() {
        let goal =
            GoalResult { goal: "p95(GET /a|b) < 1 ms".into(), met: Some(false), ..GoalResult::default() };
        let mut loud = finding("v1:a", Severity::Critical);
        loud.title = "![x](http://evil) | @all\n# <script>".into();
        let diagnosis = Diagnosis { goals: vec![goal], findings: vec![loud], ..Diagnosis::default() };
        let text = markdown(&diagnosis, &Acknowledgements::default());
        let row = text.lines().find(|l| l.starts_with("| **critical**")).expect("a row");
        assert_eq!(row.replace("\\|", "").matches('|').count(), 6, "{row}");
        assert!(!text.contains("<script>") && !text.contains("[x](") && !text.contains("@all"), "{text}");
        assert!(text.contains("p95(GET /a\\|b) &lt; 1 ms | – | **missed**"), "{text}");
    }

    #[test]
    fn acknowledgements_that_need_a_hand_are_named() {
        let diagnosis =
            Diagnosis { findings: vec![finding("v1:a", Severity::Warning)], ..Diagnosis::default() };
        let entries = vec![entry("v1:a", "2020-01-01"), entry("v1:gone", "2099-01-01")];
        let known = Acknowledgements::new(entries, "2026-11-23").expect("days");
        let text = markdown(&diagnosis, &known);
        assert!(
            text.contains("`v1:a` has expired") && text.contains("`v1:gone` matches no finding"),
            "{text}"
        );
        let quiet = markdown(&Diagnosis::default(), &known);
        assert!(quiet.contains("No finding above information (0 in all)"), "{quiet}");
    }
}
