//! What `trimtab localize` prints.

use super::layout::{Align, Colour, Ink, column, table, usable, wrap};
use crate::clip::{LABEL, SENTENCE, clip, line, without_secrets};
use crate::findings::place;
use crate::headline::{Headline, Tone};
use crate::number::{count, digits, in_unit, ms, percent, plural, rate};
use model::{
    Diagnosis, EndpointFigures, Finding, Goal, Prediction, Rate, Remedy, RemedyKind, Severity, TimeSpent,
};
use std::fmt::Write as _;

const MAX_ENDPOINTS: usize = 20;
const MAX_FINDINGS: usize = 10;
const MAX_LINES: usize = 3;
const MAX_PATCH_LINES: usize = 6;
const MAX_RULES: usize = 40;

/// The diagnosis in text of `width` columns (40 to 160), sections in the order in which a person asks.
#[must_use]
pub fn diagnosis(diagnosis: &Diagnosis, width: usize, colour: Colour) -> String {
    let width = usable(width);
    let headline = Headline::of_diagnosis(diagnosis);
    let ink = match headline.tone {
        Tone::Good => Ink::Good,
        Tone::Warning => Ink::Warning,
        Tone::Bad => Ink::Bad,
        Tone::Unknown => Ink::Bold,
    };
    let mut out = colour.paint(ink, &clip(&headline.sentence, width));
    out.push('\n');
    if !headline.detail.is_empty() {
        out.push_str(&wrap("", &headline.detail, width));
    }
    out.push_str(&validity(diagnosis, width, colour));
    out.push_str(&goals(diagnosis, width, colour));
    out.push_str(&endpoints(diagnosis, width, colour));
    out.push_str(&time(diagnosis, width, colour));
    out.push_str(&findings(diagnosis, width, colour));
    out.push_str(&unseen(diagnosis, width, colour));
    out.push_str(&next(diagnosis, width, colour));
    out
}

fn heading(title: &str, colour: Colour) -> String {
    format!("\n{}\n", colour.paint(Ink::Bold, title))
}

fn validity(of: &Diagnosis, width: usize, colour: Colour) -> String {
    let mut out = String::new();
    for issue in &of.recording.validity.issues {
        let mark = if issue.invalid { "invalid: " } else { "doubtful: " };
        let text = without_secrets(&format!("{}; {}", issue.reason, issue.hint));
        let lines = wrap(mark, &line(&text, SENTENCE), width);
        out.push_str(&colour.paint(if issue.invalid { Ink::Bad } else { Ink::Warning }, lines.trim_end()));
        out.push('\n');
    }
    out
}

fn goals(of: &Diagnosis, width: usize, colour: Colour) -> String {
    let mut out = heading("Goals", colour);
    if of.goals.is_empty() {
        out.push_str("  none set; write some into trimtab.toml: p95(GET /orders) < 250 ms\n");
        return out;
    }
    let rows: Vec<(Option<Ink>, Vec<String>)> = of
        .goals
        .iter()
        .map(|result| {
            let unit = result.goal.parse::<Goal>().map_or("", |g| crate::build::unit(&g));
            let measured = result.measured.map_or_else(|| "–".to_owned(), |m| in_unit(m, unit));
            let (state, ink) = match result.met {
                Some(true) => ("met", Ink::Good),
                Some(false) => ("missed", Ink::Bad),
                None => ("not measured", Ink::Warning),
            };
            (Some(ink), vec![line(&result.goal, LABEL), measured, state.to_owned()])
        })
        .collect();
    let head =
        [column("goal", Align::Left, 0), column("measured", Align::Right, 0), column("", Align::Left, 0)];
    out.push_str(&table(&head, &rows, width, colour));
    out
}

fn endpoints(of: &Diagnosis, width: usize, colour: Colour) -> String {
    let mut out = heading("Endpoints", colour);
    let all = &of.recording.endpoints;
    if all.is_empty() {
        out.push_str("  no request was seen\n");
        return out;
    }
    let time = |e: &EndpointFigures| e.requests.max(e.traces) as f64 * e.p50_ms;
    let mut order: Vec<&EndpointFigures> = all.iter().collect();
    order.sort_by(|a, b| time(b).total_cmp(&time(a)).then_with(|| a.endpoint.cmp(&b.endpoint)));
    // An access log, or a load alone: nobody traced.
    let traced = all.iter().any(|e| e.traces > 0);
    let row = |e: &&EndpointFigures| {
        let mut cells = vec![
            line(&e.endpoint, LABEL),
            rate(e.rate_per_s),
            ms(e.p50_ms),
            ms(e.p95_ms),
            ms(e.p99_ms),
            percent(e.error_share),
        ];
        cells.extend(traced.then(|| count(e.traces)));
        (None, cells)
    };
    let rows: Vec<_> = order.iter().take(MAX_ENDPOINTS).map(row).collect();
    let mut head = vec![
        column("endpoint", Align::Left, 0),
        column("rate", Align::Right, 1),
        column("p50", Align::Right, 2),
        column("p95", Align::Right, 0),
        column("p99", Align::Right, 3),
        column("errors", Align::Right, 0),
    ];
    head.extend(traced.then(|| column("traces", Align::Right, 4)));
    out.push_str(&table(&head, &rows, width, colour));
    let more = all.len().saturating_sub(MAX_ENDPOINTS);
    if more > 0 {
        writeln!(out, "  … {} more", count(more as u64)).unwrap_or_default();
    }
    out
}

/// Where each endpoint's time goes, as the load's mix tells it.
fn time(of: &Diagnosis, width: usize, colour: Colour) -> String {
    if of.time.is_empty() {
        return String::new();
    }
    let mut out = heading("Where a request's time goes (told from the load's mix, without traces)", colour);
    let part = |rate: Option<Rate>| rate.map_or_else(|| "–".to_owned(), |rate| ms(rate.value));
    let row = |spent: &TimeSpent| {
        let interval = |r: Rate| format!("{} ({})", ms(r.value), interval(r.low, r.high));
        let cells = vec![
            line(&spent.endpoint, LABEL),
            ms(spent.mean_ms),
            spent.database_ms.map_or_else(|| "–".to_owned(), interval),
            spent.statements.map_or_else(|| "–".to_owned(), |rate| digits(rate.value)),
            part(spent.cache_ms),
            part(spent.cpu_ms),
            part(spent.cpu_queue_ms),
            ms(spent.rest_ms),
            percent(spent.residual),
        ];
        (None, cells)
    };
    let rows: Vec<_> = of.time.iter().take(MAX_ENDPOINTS).map(row).collect();
    let head = [
        column("endpoint", Align::Left, 0),
        column("mean", Align::Right, 0),
        column("database (95 %)", Align::Right, 0),
        column("statements", Align::Right, 1),
        column("cache", Align::Right, 4),
        column("cpu", Align::Right, 0),
        column("cpu queue", Align::Right, 2),
        column("rest", Align::Right, 0),
        column("left over", Align::Right, 3),
    ];
    out.push_str(&table(&head, &rows, width, colour));
    out
}

fn findings(of: &Diagnosis, width: usize, colour: Colour) -> String {
    let mut out = heading("Findings", colour);
    if of.findings.is_empty() {
        out.push_str("  none\n");
    }
    for (at, finding) in of.findings.iter().take(MAX_FINDINGS).enumerate() {
        out.push_str(&one(finding, at + 1, width, colour));
    }
    let more = of.findings.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        writeln!(out, "  … {} more", count(more as u64)).unwrap_or_default();
    }
    out
}

fn one(finding: &Finding, number: usize, width: usize, colour: Colour) -> String {
    let ink = match finding.severity {
        Severity::Critical => Ink::Bad,
        Severity::Warning => Ink::Warning,
        Severity::Info => Ink::Dim,
    };
    let lead = format!("{number:>3}. ");
    let title = wrap(&lead, &line(&without_secrets(&finding.title), SENTENCE), width);
    let mut out = colour.paint(ink, title.trim_end());
    out.push('\n');
    let subject = format!("{} · {}", finding.rule, finding.endpoint);
    out.push_str(&colour.paint(Ink::Dim, wrap("     ", &line(&subject, SENTENCE), width).trim_end()));
    out.push('\n');
    if let Some((name, text)) = place(&finding.place).first() {
        out.push_str(&wrap("     ", &format!("{name}: {}", clip(text, 3 * LABEL)), width));
    }
    for evidence in finding.evidence.lines.iter().take(MAX_LINES) {
        out.push_str(&wrap("     - ", &line(&without_secrets(evidence), SENTENCE), width));
    }
    if let Some(prediction) = &finding.prediction {
        out.push_str(&wrap("     ", &format!("predicted {}", self::prediction(prediction)), width));
    }
    if let Some(remedy) = finding.remedies.first() {
        out.push_str(&wrap("     do: ", &line(&without_secrets(&remedy.text), SENTENCE), width));
        let patch = remedy.patch.as_deref().unwrap_or("");
        let indent = if remedy.kind == RemedyKind::Sql { "         " } else { "         | " };
        for text in patch.lines().take(MAX_PATCH_LINES) {
            out.push_str(&wrap(indent, &line(&without_secrets(text), SENTENCE), width));
        }
    }
    out
}

/// `p95(GET /orders) 412 ms -> 95 ms (80 ms..130 ms), grade B`.
pub(super) fn prediction(of: &Prediction) -> String {
    format!(
        "{} {} -> {} ({}), grade {:?}",
        line(&of.metric, LABEL),
        ms(of.before_ms),
        ms(of.after_ms),
        interval(of.low_ms, of.high_ms),
        of.grade
    )
}

/// `80..130 ms`: the unit once, that of the upper end.
pub(super) fn interval(low_ms: f64, high_ms: f64) -> String {
    let high = ms(high_ms);
    let Some((_, unit)) = high.split_once(' ') else { return format!("{}..{high}", ms(low_ms)) };
    let factor = match unit {
        "s" => 1e-3,
        "µs" => 1e3,
        _ => 1.0,
    };
    format!("{}..{high}", digits(low_ms * factor))
}

fn unseen(of: &Diagnosis, width: usize, colour: Colour) -> String {
    if of.gaps.is_empty() && of.rules_not_run.is_empty() {
        return String::new();
    }
    let mut out = heading("Not seen", colour);
    for gap in &of.gaps {
        let text = without_secrets(&format!("{}: {}", gap.signal, gap.reason));
        out.push_str(&wrap("  - ", &line(&text, SENTENCE), width));
        if !gap.hint.is_empty() {
            out.push_str(&wrap("    ", &line(&without_secrets(&gap.hint), SENTENCE), width));
        }
    }
    if !of.rules_not_run.is_empty() {
        let rules: Vec<String> = of
            .rules_not_run
            .iter()
            .take(MAX_RULES)
            .map(|r| format!("{} ({})", line(&r.rule, LABEL), line(&r.missing_signal, LABEL)))
            .collect();
        let lead = format!("{} could not run: ", plural(of.rules_not_run.len(), "rule"));
        out.push_str(&wrap("  - ", &format!("{lead}{}", rules.join(", ")), width));
    }
    out
}

/// How the best finding is mended; an index further down is one command away.
fn step(findings: &[Finding]) -> Option<String> {
    let by_command = |r: &Remedy| r.kind == RemedyKind::Sql && r.patch.is_some() && r.undo.is_some();
    let has = |f: &Finding| f.remedies.iter().any(by_command);
    let at = findings.iter().position(|f| !f.remedies.is_empty())?;
    let verify = "trimtab verify says whether it came as predicted";
    if has(&findings[at]) {
        return Some(format!("apply finding {} with trimtab change {}; {verify}", at + 1, at + 1));
    }
    let by_hand = match &findings[at].prediction {
        Some(_) => format!("make the change of finding {} and restart the service; {verify}", at + 1),
        None => format!("do what finding {} says, then look again", at + 1),
    };
    let index = findings.iter().position(has);
    let other = index.map(|at| format!("; finding {} trimtab change {} can apply", at + 1, at + 1));
    Some(by_hand + &other.unwrap_or_default())
}

/// What a person should do now.
fn next(of: &Diagnosis, width: usize, colour: Colour) -> String {
    let tally = crate::headline::Tally::of(of);
    let text = if of.recording.endpoints.is_empty() && of.recording.spans == 0 {
        "run trimtab measure while the service is under load"
    } else if of.recording.validity.issues.iter().any(|i| i.invalid) {
        "mend what made the load invalid, then measure again"
    } else if tally.met > 0 && tally.missed == 0 && tally.unknown == 0 {
        "hold back: every goal is met; measure again after the next release"
    } else if let Some(step) = step(&of.findings) {
        return format!("{}{}", heading("Next", colour), wrap("  ", &step, width));
    } else if of.gaps.is_empty() && of.findings.is_empty() {
        "more load, or a slower environment: nothing stands out in this recording"
    } else if of.findings.is_empty() {
        "close the gaps above, then measure again"
    } else {
        "look at the evidence of finding 1; no remedy is known for it"
    };
    format!("{}{}", heading("Next", colour), wrap("  ", text, width))
}
