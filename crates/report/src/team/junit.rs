//! JUnit XML, as continuous integration shows tests: one suite of goals, one of findings.

use super::Acknowledgements;
use crate::clip::without_secrets;
use crate::number::digits;
use model::{Diagnosis, GoalResult, Severity};
use std::fmt::Write as _;

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

struct Case {
    name: String,
    class: String,
    outcome: Outcome,
}

/// Both suites. A goal fails where it is missed and is skipped where it was not measured; a finding above information
/// fails, an acknowledged one is skipped. Without any such finding there is one case that passes.
#[must_use]
pub fn junit(diagnosis: &Diagnosis, acknowledged: &Acknowledgements) -> String {
    let goals: Vec<Case> = diagnosis.goals.iter().map(goal).collect();
    let mut findings: Vec<Case> = diagnosis
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Info)
        .map(|finding| Case {
            name: format!("{}: {}", finding.rule, finding.title),
            class: format!("trimtab.findings.{}", finding.endpoint),
            outcome: match acknowledged.of(finding) {
                Some(entry) => {
                    Outcome::Skipped(format!("acknowledged until {}: {}", entry.until, entry.reason))
                }
                None => Outcome::Failed(finding.evidence.lines.join("\n")),
            },
        })
        .collect();
    if findings.is_empty() {
        let name = "no finding above information".to_owned();
        findings.push(Case { name, class: "trimtab.findings".to_owned(), outcome: Outcome::Passed });
    }
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"trimtab\">\n");
    for (name, cases) in [("goals", goals), ("findings", findings)] {
        suite(&mut out, name, &cases);
    }
    out.push_str("</testsuites>\n");
    out
}

fn goal(goal: &GoalResult) -> Case {
    let measured =
        goal.measured.map_or_else(|| "not measured".to_owned(), |m| format!("measured {}", digits(m)));
    let outcome = match goal.met {
        Some(true) => Outcome::Passed,
        Some(false) => Outcome::Failed(measured),
        None => Outcome::Skipped(measured),
    };
    Case { name: goal.goal.clone(), class: "trimtab.goals".to_owned(), outcome }
}

fn suite(out: &mut String, name: &str, cases: &[Case]) {
    let count = |is: fn(&Outcome) -> bool| cases.iter().filter(|case| is(&case.outcome)).count();
    let failures = count(|o| matches!(o, Outcome::Failed(_)));
    let skipped = count(|o| matches!(o, Outcome::Skipped(_)));
    let tests = cases.len();
    let _infallible = writeln!(
        out,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">"
    );
    for case in cases {
        let (name, class) = (xml(&case.name), xml(&case.class));
        let _infallible = write!(out, "    <testcase name=\"{name}\" classname=\"{class}\"");
        let _infallible = match &case.outcome {
            Outcome::Passed => writeln!(out, "/>"),
            Outcome::Failed(why) => {
                writeln!(out, "><failure message=\"{name}\">{}</failure></testcase>", xml(why))
            }
            Outcome::Skipped(why) => writeln!(out, "><skipped message=\"{}\"/></testcase>", xml(why)),
        };
    }
    out.push_str("  </testsuite>\n");
}

/// Text without secrets, without what XML 1.0 does not allow, and escaped.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in without_secrets(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::acknowledged::tests::{entry, finding};
    use super::*;

    #[test]
    fn goals_and_findings_are_cases() {
        let goal = |met| GoalResult { goal: "p95(GET /\"a\") < 1 ms".into(), met, ..GoalResult::default() };
        let diagnosis = Diagnosis {
            goals: vec![goal(Some(true)), goal(Some(false)), goal(None)],
            findings: vec![
                finding("v1:a", Severity::Critical),
                finding("v1:b", Severity::Warning),
                finding("v1:c", Severity::Info),
            ],
            ..Diagnosis::default()
        };
        let known = Acknowledgements::new(vec![entry("v1:b", "2099-01-01")], "2026-11-23").expect("a day");
        let text = junit(&diagnosis, &known);
        assert!(
            text.contains("name=\"goals\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""),
            "{text}"
        );
        assert!(text.contains("name=\"findings\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"1\""));
        assert!(text.contains("GET /a&lt;b&gt;") && text.contains("&quot;a&quot;"));
        let none = junit(&Diagnosis::default(), &known);
        assert!(none.contains("<testcase name=\"no finding above information\""), "{none}");
    }

    #[test]
    fn what_xml_does_not_allow_is_left_out() {
        assert_eq!(xml("a\u{1b}[31m\u{0}\u{ffff}\n<"), "a [31m  &#10;&lt;");
    }
}
