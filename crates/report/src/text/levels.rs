//! Stepped load for a terminal: the levels, a small plot, and what they say together.

use super::layout::{Align, Colour, Ink, column, table, usable, wrap};
use crate::clip::{self, LABEL, SENTENCE, without_secrets};
use crate::number::{digits, ms, percent, rate};
use model::{
    Curve, CurveStatus, Estimate, Level, LevelKind, LevelState, LimitKind, ResourceUse, Scaling, StopKind,
};

/// Rows and columns of the plot.
const PLOT_ROWS: usize = 11;
const PLOT_COLUMNS: usize = 60;
/// Columns of the words on the left.
const LABEL_COLUMNS: usize = 24;
const MAX_RESOURCES: usize = 14;
const MAX_DOUBTS: usize = 6;

/// A text from outside in one line, without passwords of addresses.
fn line(text: &str, limit: usize) -> String {
    clip::line(&without_secrets(text), limit)
}

/// The head of the lines of [`level`].
#[must_use]
pub fn level_titles() -> String {
    format!(
        "{:>12} {:>11} {:>9} {:>9} {:>9} {:>9} {:>8}  state",
        "level", "answered", "p50", "p95", "p99", "at once", "errors"
    )
}

/// One level in a line.
#[must_use]
pub fn level(level: &Level) -> String {
    let missed: Vec<&str> = level.goals.iter().filter(|g| !g.met).map(|g| g.goal.as_str()).collect();
    let missed = match missed.as_slice() {
        [] => String::new(),
        [one] => format!(", misses {}", line(one, LABEL)),
        [one, more @ ..] => format!(", misses {} and {} more", line(one, LABEL), more.len()),
    };
    format!(
        "{:>12} {:>11} {:>9} {:>9} {:>9} {:>9} {:>8}  {}{missed}",
        asked(level),
        rate(level.throughput_per_s.value),
        ms(level.p50_ms),
        ms(level.p95_ms),
        ms(level.p99_ms),
        digits(level.concurrency),
        percent(level.error_share),
        state(level.state)
    )
}

fn state(state: LevelState) -> &'static str {
    match state {
        LevelState::Steady => "steady",
        LevelState::Unsettled => "not settled",
        LevelState::Overloaded => "overloaded",
        LevelState::GeneratorLimited => "generator too slow",
    }
}

fn asked(level: &Level) -> String {
    match level.kind {
        LevelKind::Rate => rate(level.asked),
        LevelKind::Users if level.asked < 1.5 => "1 user".to_owned(),
        LevelKind::Users => format!("{} users", digits(level.asked)),
    }
}

/// `61.2/s (58 to 63.9)`.
fn rates(of: &Estimate) -> String {
    format!("{} ({})", rate(of.value), interval(of))
}

fn interval(of: &Estimate) -> String {
    match of.high {
        Some(high) => format!("{} to {}", digits(of.low), digits(high)),
        None => format!("{} or more", digits(of.low)),
    }
}

/// What the levels say, in at most `width` columns.
#[must_use]
pub fn scaling(scaling: &Scaling, width: usize, colour: Colour) -> String {
    let width = usable(width);
    let mut out = String::from("\n");
    let mut told = |label: &str, ink: Ink, text: &str| {
        let padded = format!("  {label:<LABEL_COLUMNS$}");
        let wrapped = wrap(&padded, &line(text, SENTENCE * 3), width);
        out.push_str(&wrapped.replacen(label, &colour.paint(ink, label), 1));
    };
    answers(scaling, &mut told);
    out.push('\n');
    out.push_str(&plot(scaling));
    out.push_str(&resources(&scaling.resources, width, colour));
    out.push_str(&doubts(scaling, width));
    out
}

fn answers(scaling: &Scaling, told: &mut dyn FnMut(&str, Ink, &str)) {
    if let Some(goals) = &scaling.goal_rate {
        match &goals.rate {
            Some(found) if found.high.is_none() => {
                told(
                    "meets the goals",
                    Ink::Good,
                    &format!("up to {} at least; {}", rate(found.value), goals.reason),
                );
            }
            Some(found) => {
                told("meets the goals", Ink::Good, &format!("up to {}; {}", rates(found), goals.reason));
            }
            None => told("meets the goals", Ink::Bad, &format!("never: {}", goals.reason)),
        }
    }
    let knee = &scaling.knee;
    match (&knee.rate, &knee.concurrency) {
        (Some(at), Some(concurrency)) if knee.seen => told(
            "knee",
            Ink::Bold,
            &format!(
                "{}, {} requests at once ({}); {}",
                rates(at),
                digits(concurrency.value),
                interval(concurrency),
                knee.reason
            ),
        ),
        _ => told("knee", Ink::Bold, &knee.reason),
    }
    if let Some(ceiling) = &scaling.ceiling {
        let how = if ceiling.measured { "" } else { "; by the curve, no level was there" };
        let falls = ceiling
            .concurrency
            .map_or(String::new(), |n| format!("; beyond {} requests at once it answers fewer", digits(n)));
        told("most it answers", Ink::Bold, &format!("{}{falls}{how}", rates(&ceiling.rate)));
    }
    let limit = &scaling.limit;
    let (label, ink) = match limit.kind {
        LimitKind::Resource => ("full first", Ink::Warning),
        LimitKind::Unseen => ("what is full", Ink::Warning),
        LimitKind::Generator => ("limit: the generator", Ink::Bad),
        LimitKind::Machine => ("limit: this machine", Ink::Bad),
        LimitKind::NotReached => ("no limit reached", Ink::Good),
    };
    told(label, ink, &limit.reason);
    told("", Ink::Dim, &format!("-> {}", limit.hint));
    if let Some(bounds) = &scaling.bounds {
        told(
            "bounds",
            Ink::Bold,
            &format!(
                "no request takes less than {}, no more than {} are answered; from {} requests at once on they queue",
                ms(bounds.least_ms),
                rate(bounds.most_per_s),
                digits(bounds.concurrency)
            ),
        );
    }
    replicas(scaling, told);
    told("curve", Ink::Bold, &curve(&scaling.curve));
    if scaling.stop.kind != StopKind::Done {
        told("ended", Ink::Bold, &scaling.stop.reason);
    }
}

fn replicas(scaling: &Scaling, told: &mut dyn FnMut(&str, Ink, &str)) {
    let Some(replicas) = &scaling.replicas else { return };
    let text = match (replicas.count, replicas.low, replicas.high) {
        (None, _, _) => replicas.reason.clone(),
        (Some(count), Some(low), Some(high)) if low != high => {
            format!("{count} ({low} to {high}): {}", replicas.reason)
        }
        (Some(count), None, _) => format!("at most {count}: {}", replicas.reason),
        (Some(count), _, _) => format!("{count}: {}", replicas.reason),
    };
    let ink = if replicas.count.is_some() { Ink::Bold } else { Ink::Bad };
    told(&format!("replicas for {}", rate(replicas.for_rate)), ink, &text);
    told("", Ink::Dim, &format!("assumes: {}", replicas.assumption));
}

fn curve(curve: &Curve) -> String {
    let status = match curve.status {
        CurveStatus::Fits => "USL fits",
        CurveStatus::DoesNotFit => "USL does not fit",
        CurveStatus::CannotTell => "cannot tell",
    };
    let part = |name: &str, of: &Option<Estimate>, times: f64, unit: &str| {
        let Some(of) = of else { return String::new() };
        let scaled =
            Estimate { value: of.value * times, low: of.low * times, high: of.high.map(|h| h * times) };
        format!("; {name} {}{unit} ({})", digits(scaled.value), interval(&scaled))
    };
    format!(
        "{status}: {}{}{}{}",
        curve.reason,
        part("one at a time", &curve.gamma, 1.0, "/s"),
        part("contention sigma", &curve.sigma, 100.0, " %"),
        part("coherence kappa", &curve.kappa, 100.0, " %")
    )
}

/// Throughput over requests at once: `o` levels, `.` the fitted curve.
fn plot(scaling: &Scaling) -> String {
    let levels = scaling.levels.iter().filter(|l| l.concurrency > 0.0 && l.throughput_per_s.value > 0.0);
    let levels: Vec<(f64, f64)> = levels.map(|l| (l.concurrency, l.throughput_per_s.value)).collect();
    if levels.len() < 2 {
        return String::new();
    }
    let curve: Vec<(f64, f64)> = scaling.curve.points.iter().map(|p| (p.concurrency, p.rate.value)).collect();
    let all = || levels.iter().chain(&curve);
    let (low, high) = all().fold((f64::INFINITY, 0.0_f64), |(l, h), p| (l.min(p.0), h.max(p.0)));
    let top = all().fold(0.0_f64, |most, p| most.max(p.1)) * 1.02;
    if !(low > 0.0 && high > low && top > 0.0 && high.is_finite() && top.is_finite()) {
        return String::new();
    }
    let mut grid = vec![vec![' '; PLOT_COLUMNS]; PLOT_ROWS];
    for (points, mark) in [(&curve, '.'), (&levels, 'o')] {
        for (n, x) in points {
            let across = (n / low).ln() / (high / low).ln() * (PLOT_COLUMNS - 1) as f64;
            let up = x / top * (PLOT_ROWS - 1) as f64;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the plot")]
            let (column, row) =
                (across.round() as usize, PLOT_ROWS - 1 - (up.round() as usize).min(PLOT_ROWS - 1));
            grid[row][column.min(PLOT_COLUMNS - 1)] = mark;
        }
    }
    let mut out = String::from("  answered a second\n");
    for (at, row) in grid.iter().enumerate() {
        let label = if at == 0 {
            digits(top / 1.02)
        } else if at + 1 == PLOT_ROWS {
            "0".to_owned()
        } else {
            String::new()
        };
        let text: String = row.iter().collect();
        writeln_to(&mut out, format_args!("  {label:>9} |{}", text.trim_end()));
    }
    let dashes = "-".repeat(PLOT_COLUMNS);
    writeln_to(&mut out, format_args!("  {:>9} +{dashes}", ""));
    let (left, right) = (digits(low), digits(high));
    let middle = "requests at once (logarithmic); o level, . curve";
    let room = PLOT_COLUMNS.saturating_sub(left.len() + right.len());
    writeln_to(&mut out, format_args!("  {:>9}  {left}{middle:^room$}{right}", ""));
    out.push('\n');
    out
}

fn writeln_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.push_str(&text.to_string());
    out.push('\n');
}

fn resources(resources: &[ResourceUse], width: usize, colour: Colour) -> String {
    if resources.is_empty() {
        return String::new();
    }
    let columns = [
        column("resource", Align::Left, 0),
        column("used at most", Align::Right, 2),
        column("a request costs", Align::Right, 3),
        column("full at", Align::Right, 1),
    ];
    let row = |r: &ResourceUse| {
        let most = r.used.iter().flatten().copied().max_by(f64::total_cmp);
        let used = match (most, r.highest_share()) {
            (Some(most), _) if r.unit == "bytes/s" => format!("{}/s", bytes(most)),
            (Some(most), Some(share)) if r.unit == "cores" => {
                format!("{} cores, {}", digits(most), percent(share))
            }
            (_, Some(share)) => percent(share),
            (Some(most), None) => digits(most),
            (None, None) => "–".to_owned(),
        };
        let full = r.full_at_per_s.as_ref().map_or_else(|| "–".to_owned(), rates);
        (
            None,
            vec![
                line(&r.title(), LABEL),
                used,
                r.demand.map_or_else(|| "–".to_owned(), |d| cost(d.value, &r.unit)),
                full,
            ],
        )
    };
    let rows: Vec<(Option<Ink>, Vec<String>)> = resources.iter().take(MAX_RESOURCES).map(row).collect();
    let mut out = table(&columns, &rows, width, colour);
    if resources.len() > MAX_RESOURCES {
        writeln_to(&mut out, format_args!("  ... {} more", resources.len() - MAX_RESOURCES));
    }
    out
}

/// A demand with its unit: units in use times seconds, a request.
pub(crate) fn cost(demand: f64, unit: &str) -> String {
    match unit {
        "cores" => format!("{} CPU", ms(demand * 1e3)),
        "bytes/s" => bytes(demand),
        _ => ms(demand * 1e3),
    }
}

fn bytes(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes are not negative")]
    crate::number::bytes(value.max(0.0).round() as u64)
}

fn doubts(scaling: &Scaling, width: usize) -> String {
    let all = scaling.levels.iter().flat_map(|l| l.doubts.iter().map(move |d| (asked(l), d)));
    let all: Vec<String> = all.map(|(at, doubt)| format!("at {at}: {}", line(doubt, SENTENCE))).collect();
    let mut out = String::new();
    for doubt in all.iter().take(MAX_DOUBTS) {
        out.push_str(&wrap("  ! ", doubt, width));
    }
    if all.len() > MAX_DOUBTS {
        writeln_to(&mut out, format_args!("  ! ... {} more doubts, in the JSON", all.len() - MAX_DOUBTS));
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}
