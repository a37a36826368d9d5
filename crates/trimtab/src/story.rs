//! What the loop says as it goes: short texts for a person that no other command needs. Pure.

use crate::output::Output;
use model::{Change, ChangeKind, Diagnosis, Finding, GoalResult, HttpCall};
use std::path::Path;

/// Goals, one a line: `missed  p95(GET /orders) < 250 ms   1240 ms`.
pub fn goals(diagnosis: &Diagnosis, output: Output) -> String {
    let width = diagnosis.goals.iter().map(|g| g.goal.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for goal in &diagnosis.goals {
        let word = match goal.met {
            Some(true) => "met   ",
            Some(false) => "missed",
            None => "unseen",
        };
        let measured = goal.measured.map_or_else(|| "not measured".to_owned(), |m| figure(&goal.goal, m));
        let measured = format!("{measured}{}", doubt(goal));
        text.push_str(&format!("  {} {:width$}  {measured}\n", output.bold(word), goal.goal));
    }
    if text.is_empty() { "  no goals are set\n".to_owned() } else { text }
}

/// What a percentile stands on, and where its true value may lie.
fn doubt(goal: &GoalResult) -> String {
    let Some(requests) = goal.requests else { return String::new() };
    let figure = |value: f64| figure(&goal.goal, value);
    let range = match (goal.low, goal.high) {
        (Some(low), Some(high)) => format!(", 95 %: {} to {}", figure(low), figure(high)),
        (Some(low), None) => format!(", 95 %: {} or more", figure(low)),
        (None, Some(high)) => format!(", 95 %: up to {}", figure(high)),
        (None, None) => String::new(),
    };
    format!("  ({requests} requests{range})")
}

/// A goal's figure in the goal's own unit.
fn figure(goal: &str, measured: f64) -> String {
    if goal.ends_with('%') {
        format!("{:.2} %", measured * 100.0)
    } else if goal.ends_with("/s") {
        format!("{measured:.1}/s")
    } else {
        format!("{measured:.1} ms")
    }
}

/// What is about to be changed, and what is expected of it.
pub fn proposal(number: u32, finding: &Finding, change: &Change, output: Output) -> String {
    let head = output.bold(&format!("Step {number}: {}", one_line(&change.description)));
    let how = match &change.kind {
        ChangeKind::Sql { apply, .. } => apply.clone(),
        ChangeKind::Http { apply, .. } => format!("{} {} {}", apply.method, apply.url, apply.body),
        ChangeKind::Command { apply, .. } => apply.join(" "),
        ChangeKind::Manual { text } => text.clone(),
    };
    let how = output.dim(&one_line(&how));
    format!("\n{head}\n  for {} on {}\n  {how}", finding.rule, one_line(&finding.endpoint))
}

/// What a person does to take a change back.
pub fn undo_by_hand(change: &Change) -> String {
    let text = match &change.kind {
        ChangeKind::Sql { undo, .. } => format!("run this SQL: {undo}"),
        ChangeKind::Http { undo, .. } => format!("send {} {} {}", undo.method, undo.url, undo.body),
        ChangeKind::Command { undo, .. } => format!("run: {}", undo.join(" ")),
        ChangeKind::Manual { text } => format!("take back: {text}"),
    };
    one_line(&text)
}

/// Text from a service or from settings for a terminal: one line, no control characters, no passwords of URLs.
pub fn one_line(text: &str) -> String {
    report::text::one_line(text)
}

/// A change as it may be kept and shown: URLs without their passwords and queries.
pub fn shown(change: &Change) -> Change {
    let call = |call: &HttpCall| HttpCall {
        url: report::text::without_secrets(&call.url),
        body: report::text::without_secrets(&call.body),
        ..call.clone()
    };
    let words = |words: &[String]| words.iter().map(|w| report::text::without_secrets(w)).collect::<Vec<_>>();
    let kind = match &change.kind {
        ChangeKind::Http { apply, undo } => ChangeKind::Http { apply: call(apply), undo: call(undo) },
        ChangeKind::Command { apply, undo } => ChangeKind::Command { apply: words(apply), undo: words(undo) },
        other @ (ChangeKind::Sql { .. } | ChangeKind::Manual { .. }) => other.clone(),
    };
    Change { kind, ..change.clone() }
}

/// After `measure`: goals, where the recording is, what next.
pub fn measured(diagnosis: &Diagnosis, folder: &Path, output: Output) -> String {
    let figures = &diagnosis.recording;
    let mut text = goals(diagnosis, output);
    text.push_str(&format!(
        "{} spans of {} traces, {} findings, {} gaps\nrecording: {}\n",
        figures.spans,
        figures.traces,
        diagnosis.findings.len(),
        diagnosis.gaps.len(),
        folder.display()
    ));
    for issue in &figures.validity.issues {
        let word = if issue.invalid { "invalid" } else { "doubtful" };
        text.push_str(&format!("{word}: {}; {}\n", issue.reason, issue.hint));
    }
    text.push_str("next: trimtab localize\n");
    text
}
