//! A plan as the text of a `trimtab.toml`: every figure with a comment that says where it came from.

use crate::plan::{Operation, Plan, Variable};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Values of a list on one line.
const VALUES_PER_LINE: usize = 10;

/// The settings file.
#[must_use]
pub fn toml(plan: &Plan) -> String {
    let mut out = String::new();
    let mut say = |text: &str| {
        for line in text.lines() {
            writeln!(out, "# {}", printable(line)).unwrap_or_default();
        }
    };
    say(&format!("Made by `trimtab load from {}`: {}.", plan.source.name, plan.source.what));
    say("Edit it, then `trimtab load run` or `trimtab measure`. Weights are shares of the arrivals.");
    for note in &plan.notes {
        say(&format!("- {note}"));
    }
    out.push_str("\ngoals = [\n    \"errors(*) < 1 %\",\n");
    for (goal, comment) in &plan.goals {
        let comment = if comment.is_empty() { String::new() } else { format!("   # {}", printable(comment)) };
        writeln!(out, "    {},{comment}", quoted(goal)).unwrap_or_default();
    }
    writeln!(out, "]\n\n[service]\nurl = {}   # {}", quoted(&plan.base_url), plan.base_url_comment)
        .unwrap_or_default();
    writeln!(out, "\n[load]\nrate = {}   # {}", plan.rate, printable(&plan.rate_comment)).unwrap_or_default();
    writeln!(out, "warm_up_s = 3\n{}", duration(plan)).unwrap_or_default();
    if !plan.headers.is_empty() {
        writeln!(out, "headers = {}", inline(&plan.headers)).unwrap_or_default();
    }
    for operation in &plan.operations {
        out.push_str(&written(operation));
    }
    out.push_str(&variables(plan));
    out
}

/// Long enough for a p95 of the rarest operation with a goal, within what people wait for.
fn duration(plan: &Plan) -> String {
    const REQUESTS: f64 = 110.0;
    let all: f64 = plan.used().map(|operation| operation.weight).sum();
    let of_goal = |operation: &&Operation| {
        let subject = format!("({})", operation.name);
        plan.goals.iter().any(|(goal, _)| goal.contains(&subject))
    };
    let least = plan.used().filter(of_goal).map(|operation| operation.weight).fold(f64::INFINITY, f64::min);
    let seconds = (REQUESTS * all / (plan.rate * least)).clamp(30.0, 120.0);
    let seconds = (seconds / 10.0).ceil() * 10.0;
    let requests = plan.rate * least / all * seconds;
    match requests.is_finite() && requests > 0.0 {
        true => format!(
            "duration_s = {seconds:.0}   # {requests:.0} requests of the rarest operation with a goal; a p95 needs 100"
        ),
        false => "duration_s = 30".to_owned(),
    }
}

fn written(operation: &Operation) -> String {
    let mut text = String::from("\n");
    if !operation.comment.is_empty() {
        writeln!(text, "# {}", printable(&operation.comment)).unwrap_or_default();
    }
    let mut table = format!("[[load.operation]]\nname = {}\n", quoted(&operation.name));
    if operation.method != "GET" {
        writeln!(table, "method = {}", quoted(&operation.method)).unwrap_or_default();
    }
    writeln!(table, "path = {}\nweight = {}", quoted(&operation.path), operation.weight).unwrap_or_default();
    if !operation.headers.is_empty() {
        writeln!(table, "headers = {}", inline(&operation.headers)).unwrap_or_default();
    }
    if !operation.body.is_empty() {
        writeln!(table, "body = {}", quoted_line(&operation.body)).unwrap_or_default();
    }
    if !operation.extract.is_empty() {
        writeln!(table, "extract = {}", extracted(operation)).unwrap_or_default();
    }
    if !operation.then.is_empty() {
        table.push_str("then = [\n");
        for step in &operation.then {
            writeln!(table, "    {},", inline_step(step)).unwrap_or_default();
        }
        table.push_str("]\n");
    }
    if operation.held_back.is_empty() {
        return text + &table;
    }
    writeln!(text, "# Held back: {}", printable(&operation.held_back)).unwrap_or_default();
    for line in table.lines() {
        writeln!(text, "# {line}").unwrap_or_default();
    }
    text
}

/// A step of a flow on one line.
fn inline_step(step: &Operation) -> String {
    let mut parts = vec![format!("name = {}", quoted(&step.name))];
    if step.method != "GET" {
        parts.push(format!("method = {}", quoted(&step.method)));
    }
    parts.push(format!("path = {}", quoted(&step.path)));
    if step.pause_s > 0.0 {
        parts.push(format!("pause_s = {}", step.pause_s));
    }
    if !step.headers.is_empty() {
        parts.push(format!("headers = {}", inline(&step.headers)));
    }
    if !step.body.is_empty() {
        parts.push(format!("body = {}", quoted_line(&step.body)));
    }
    if !step.extract.is_empty() {
        parts.push(format!("extract = {}", extracted(step)));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn extracted(step: &Operation) -> String {
    let all: Vec<String> =
        step.extract.iter().map(|(name, at)| format!("{name} = {{ json = {} }}", quoted(at))).collect();
    format!("{{ {} }}", all.join(", "))
}

fn variables(plan: &Plan) -> String {
    let mut used = BTreeSet::new();
    for operation in plan.used() {
        let texts = operation.headers.values().chain([&operation.path, &operation.body]);
        used.extend(texts.flat_map(|text| named_in(text)));
    }
    used.extend(plan.headers.values().flat_map(|text| named_in(text)));
    let mut text = String::new();
    for (name, (variable, comment)) in &plan.variables {
        let held_back = if used.contains(name.as_str()) { "" } else { "# " };
        writeln!(text, "# {}\n{held_back}{name} = {}", printable(comment), table(variable, held_back))
            .unwrap_or_default();
    }
    if text.is_empty() { text } else { format!("\n# Drawn anew for each request.\n[load.variables]\n{text}") }
}

fn named_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(name, _)| name.trim())
}

fn table(variable: &Variable, held_back: &str) -> String {
    match variable {
        Variable::Integer { from, to, skew } if *skew > 0.0 => {
            format!("{{ kind = \"integer\", from = {from}, to = {to}, skew = {skew} }}")
        }
        Variable::Integer { from, to, .. } => format!("{{ kind = \"integer\", from = {from}, to = {to} }}"),
        Variable::Sequence => "{ kind = \"sequence\", from = 1 }".to_owned(),
        Variable::Uuid => "{ kind = \"uuid\" }".to_owned(),
        Variable::Text { length } => format!("{{ kind = \"text\", length = {length} }}"),
        Variable::List(values) => {
            let lines: Vec<String> = values
                .chunks(VALUES_PER_LINE)
                .map(|chunk| chunk.iter().map(|value| quoted_line(value)).collect::<Vec<_>>().join(", "))
                .collect();
            let joined = lines.join(&format!(",\n{held_back}    "));
            format!("{{ kind = \"list\", values = [{joined}] }}")
        }
    }
}

fn inline(headers: &std::collections::BTreeMap<String, String>) -> String {
    let all: Vec<String> =
        headers.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted_line(value))).collect();
    format!("{{ {} }}", all.join(", "))
}

fn quoted(text: &str) -> String {
    quoted_line(text)
}

/// A TOML string on one line, whatever it holds.
fn quoted_line(text: &str) -> String {
    let plain = |c: char| c != '\'' && !c.is_control();
    if text.contains('"') && text.chars().all(plain) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => write!(out, "\\u{:04X}", u32::from(c)).unwrap_or_default(),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A comment's text: one line, no control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}
