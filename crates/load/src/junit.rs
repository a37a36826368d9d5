//! The end of a load test as JUnit test cases, for CI: goals, checks, requests of each operation, trust in the figures. Pure.

use crate::Summary;
use std::fmt::Write;

/// One case, and why it failed or could not be judged.
struct Case {
    name: String,
    failure: Option<String>,
    skipped: Option<String>,
}

/// JUnit's XML: a suite each for goals, checks, operations and validity.
#[must_use]
pub fn junit(summary: &Summary) -> String {
    let suites = [
        ("goals", goals(summary)),
        ("checks", checks(summary)),
        ("requests", requests(summary)),
        ("validity", validity(summary)),
    ];
    let count = |cases: &[Case]| {
        let failures = cases.iter().filter(|case| case.failure.is_some()).count();
        let skipped = cases.iter().filter(|case| case.skipped.is_some()).count();
        format!("tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\"", cases.len())
    };
    let all: usize = suites.iter().map(|(_, cases)| cases.len()).sum();
    let failed = suites.iter().flat_map(|(_, cases)| cases).filter(|case| case.failure.is_some()).count();
    let mut out = format!("<?xml version=\"1.0\"?>\n<testsuites tests=\"{all}\" failures=\"{failed}\">\n");
    for (name, cases) in suites.iter().filter(|(_, cases)| !cases.is_empty()) {
        let _written =
            writeln!(out, "<testsuite name=\"{name}\" {} time=\"{:.3}\">", count(cases), summary.seconds);
        for case in cases {
            let title = escape(&case.name);
            let inner = match (&case.failure, &case.skipped) {
                (Some(why), _) => format!("<failure message=\"{}\" />", escape(why)),
                (None, Some(why)) => format!("<skipped message=\"{}\" />", escape(why)),
                (None, None) => String::new(),
            };
            let _written = if inner.is_empty() {
                writeln!(out, "  <testcase classname=\"load.{name}\" name=\"{title}\" />")
            } else {
                writeln!(out, "  <testcase classname=\"load.{name}\" name=\"{title}\">{inner}</testcase>")
            };
        }
        out.push_str("</testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(name: String, failure: Option<String>) -> Case {
    Case { name, failure, skipped: None }
}

fn goals(summary: &Summary) -> Vec<Case> {
    let of = |goal: &crate::GoalOutcome| Case {
        name: goal.goal.clone(),
        failure: (goal.met == Some(false)).then(|| format!("measured {}", goal.value_text())),
        skipped: goal.unseen.map(str::to_owned),
    };
    summary.goals.iter().map(of).collect()
}

fn checks(summary: &Summary) -> Vec<Case> {
    let of = |check: &crate::CheckCount| {
        let operation = summary.operations.get(check.operation as usize).map_or("", |o| o.name.as_str());
        let all = check.passes + check.fails;
        let failure = (check.fails > 0).then(|| format!("{} of {all} failed", check.fails));
        case(format!("{operation}: {}", check.name), failure)
    };
    summary.checks.iter().map(of).collect()
}

fn requests(summary: &Summary) -> Vec<Case> {
    let of = |one: &crate::OperationSummary| {
        let first = one.errors.first().map_or("", |(_, _, example)| example.as_str());
        let failure = (one.failed > 0).then(|| format!("{} of {} failed: {first}", one.failed, one.requests));
        case(one.name.clone(), failure)
    };
    summary.operations.iter().map(of).collect()
}

/// Only what makes the figures useless fails.
fn validity(summary: &Summary) -> Vec<Case> {
    let issues = &summary.validity.issues;
    let mut cases: Vec<Case> = issues
        .iter()
        .map(|issue| case(issue.kind.clone(), issue.invalid.then(|| issue.reason.clone())))
        .collect();
    if cases.is_empty() {
        cases.push(case("figures can be trusted".to_owned(), None));
    }
    cases
}

/// For XML 1.0: characters that it does not know are left out.
fn escape(text: &str) -> String {
    let known = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    let text: String = text.chars().map(|c| if known(c) { c } else { '\u{fffd}' }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckCount, GoalOutcome, OperationSummary};
    use model::{ErrorClass, GoalMetric, Validity};

    #[test]
    fn goals_checks_and_errors_become_cases() {
        let goal = |goal: &str, value: Option<f64>, met| GoalOutcome {
            goal: goal.to_owned(),
            value,
            met,
            metric: GoalMetric::Errors,
            unseen: met.is_none().then_some("a load test alone does not see it"),
        };
        let one = OperationSummary {
            name: "GET /a?b&c".to_owned(),
            requests: 9,
            failed: 2,
            errors: vec![(ErrorClass::ServerStatus, 2, "status 503\u{1}".to_owned())],
            ..OperationSummary::default()
        };
        let summary = Summary {
            target: String::new(),
            seconds: 2.5,
            complete: true,
            all: one.clone(),
            operations: vec![one],
            not_started: 0,
            stale_retries: 0,
            lateness_p99_ms: 0.0,
            users: None,
            longest_silence_s: 0.0,
            slowest: Vec::new(),
            kept: Vec::new(),
            checks: vec![CheckCount {
                operation: 0,
                name: "json /id is there".to_owned(),
                passes: 9,
                fails: 0,
            }],
            goals: vec![goal("errors(*) < 1 %", Some(0.22), Some(false)), goal("cpu(db) < 60 %", None, None)],
            validity: Validity::default(),
        };
        expect_test::expect![[r#"
            <?xml version="1.0"?>
            <testsuites tests="5" failures="2">
            <testsuite name="goals" tests="2" failures="1" skipped="1" time="2.500">
              <testcase classname="load.goals" name="errors(*) &lt; 1 %"><failure message="measured 22.00 %" /></testcase>
              <testcase classname="load.goals" name="cpu(db) &lt; 60 %"><skipped message="a load test alone does not see it" /></testcase>
            </testsuite>
            <testsuite name="checks" tests="1" failures="0" skipped="0" time="2.500">
              <testcase classname="load.checks" name="GET /a?b&amp;c: json /id is there" />
            </testsuite>
            <testsuite name="requests" tests="1" failures="1" skipped="0" time="2.500">
              <testcase classname="load.requests" name="GET /a?b&amp;c"><failure message="2 of 9 failed: status 503�" /></testcase>
            </testsuite>
            <testsuite name="validity" tests="1" failures="0" skipped="0" time="2.500">
              <testcase classname="load.validity" name="figures can be trusted" />
            </testsuite>
            </testsuites>
        "#]]
        .assert_eq(&junit(&summary));
    }
}
