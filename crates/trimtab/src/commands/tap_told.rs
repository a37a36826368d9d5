//! What `trimtab tap` says: a line while it runs, a table of statements at the end, the same as JSON.

use super::Setting;
use super::database::cut;
use super::tap::Tapped;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;
use tap::{Counts, StatementFigures};

/// Version of the JSON object.
const VERSION: u32 = 1;
/// Statements shown as text; the JSON holds all.
const SHOWN: usize = 20;
/// So many in a row look like a loop ...
const LONG_RUN: u64 = 5;
/// ... if so large a share of all calls follow one of the same statement.
const LOOP_SHARE: f64 = 0.5;

pub(super) fn progress(counts: &Counts, rate: f64) -> String {
    let mut text =
        format!("{} connections open, {} statements ({rate:.0}/s)", counts.open, counts.statements);
    for (count, what) in [
        (counts.errors, "errors"),
        (counts.encrypted, "connections encrypted"),
        (counts.not_understood, "not understood"),
        (counts.refused, "refused"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn mean_ms(figures: &StatementFigures) -> f64 {
    ms(figures.total_ns) / figures.calls.max(1) as f64
}

/// Calls that look like a loop: one after the other, many times.
fn is_loop(figures: &StatementFigures) -> bool {
    figures.longest_run >= LONG_RUN && figures.repeats as f64 >= LOOP_SHARE * figures.calls as f64
}

pub(super) fn json(tapped: &Tapped) -> String {
    let statement = |figures: &StatementFigures| -> Value {
        json!({
            "text": figures.text,
            "calls": figures.calls,
            "total_ms": ms(figures.total_ns),
            "mean_ms": mean_ms(figures),
            "p95_ms": figures.times.quantile_ms(0.95),
            "rows": figures.rows,
            "errors": figures.errors,
            "repeats": figures.repeats,
            "longest_run": figures.longest_run,
            "looks_like_a_loop": is_loop(figures),
            "prepares": figures.prepares,
            "prepare_ms": ms(figures.prepare_ns),
        })
    };
    let counts = &tapped.counts;
    json!({
        "version": VERSION,
        "listen": tapped.listen.to_string(),
        "to": tapped.to.to_string(),
        "window_s": tapped.seconds,
        "connections": {
            "all": counts.connections,
            "encrypted": counts.encrypted,
            "not_understood": counts.not_understood,
            "refused": counts.refused,
            "cancel_requests": counts.cancels,
        },
        "calls": counts.statements,
        "errors": counts.errors,
        "bytes": counts.bytes,
        "statements": tapped.statements.iter().map(statement).collect::<Vec<_>>(),
        "recording": tapped.folder,
        "gaps": tapped.gaps,
    })
    .to_string()
}

pub(super) fn text(setting: &Setting, tapped: &Tapped) -> Result<String> {
    let (output, counts) = (&setting.output, &tapped.counts);
    let mut text = String::new();
    let head = format!("{} through {}, {:.0} s", tapped.to, tapped.listen, tapped.seconds);
    writeln!(text, "{}", output.bold(&head))?;
    writeln!(
        text,
        "  {} statements on {} connections, {} errors, {:.1} MiB",
        counts.statements,
        counts.connections,
        counts.errors,
        counts.bytes as f64 / f64::from(1 << 20)
    )?;
    if !tapped.statements.is_empty() {
        writeln!(text, "\n{}", output.bold("Statements by total time"))?;
        let names = ["share", "calls", "mean ms", "p95 ms", "rows/call", "errors", "in a row"];
        let [share, calls, mean, p95, rows, errors, run] = names;
        writeln!(text, "  {share:>6} {calls:>9} {mean:>9} {p95:>9} {rows:>9} {errors:>6} {run:>8}")?;
    }
    let total: u64 = tapped.statements.iter().map(|figures| figures.total_ns).sum();
    for figures in tapped.statements.iter().take(SHOWN) {
        writeln!(
            text,
            "  {:>5.1}% {:>9} {:>9.3} {:>9.3} {:>9.1} {:>6} {:>8}  {}",
            100.0 * figures.total_ns as f64 / total.max(1) as f64,
            figures.calls,
            mean_ms(figures),
            figures.times.quantile_ms(0.95).unwrap_or(0.0),
            figures.rows as f64 / figures.calls.max(1) as f64,
            figures.errors,
            figures.longest_run,
            cut(&figures.text, output.width.saturating_sub(66))
        )?;
    }
    let more = tapped.statements.len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(text, "  {more} more; --format json tells all")?;
    }
    hints(&mut text, setting, tapped)?;
    writeln!(text, "\n{}", output.bold("Not seen"))?;
    for gap in &tapped.gaps {
        writeln!(text, "  {}\n    {}", gap.reason, output.dim(&gap.hint))?;
    }
    if let Some(folder) = &tapped.folder {
        writeln!(text, "\nRecording: {0}\nNext: trimtab localize {0}", folder.display())?;
    }
    Ok(text)
}

/// What a table does not show by itself.
fn hints(text: &mut String, setting: &Setting, tapped: &Tapped) -> Result<()> {
    let mut lines = Vec::new();
    let width = setting.output.width.saturating_sub(4);
    for figures in tapped.statements.iter().take(SHOWN) {
        if is_loop(figures) {
            lines.push(format!(
                "up to {} times in a row on one connection, as a loop does (N+1):\n    {}",
                figures.longest_run,
                cut(&figures.text, width)
            ));
        }
        let each_time = figures.prepares >= LONG_RUN && figures.prepares * 2 >= figures.calls;
        if each_time {
            lines.push(format!(
                "prepared {} times for {} calls, in round trips of its own ({:.0} ms):\n    {}",
                figures.prepares,
                figures.calls,
                ms(figures.prepare_ns),
                cut(&figures.text, width)
            ));
        }
    }
    if !lines.is_empty() {
        writeln!(text, "\n{}", setting.output.bold("Worth a look"))?;
        lines.iter().try_for_each(|line| writeln!(text, "  {line}"))?;
    }
    Ok(())
}
