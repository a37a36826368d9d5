//! `trimtab database`: a Postgres server alone, without load and without a change to it. Which statements cost most, which
//! indexes would serve them, and what of its state should be mended. What other databases tell is shown here, too.

use super::{Answer, Setting};
use crate::args::{DatabaseArgs, LoadOverrides};
use crate::clock;
use crate::output::Output;
use anyhow::{Context, Result, bail};
use database::{Database, MariaDb, Observation, PlanOptions, Snapshot, Sqlite};
use model::{Gap, Plan, Recording, Run, Statement, WhatIf, WhatIfMethod};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Version of the JSON object.
const VERSION: u32 = 1;
/// Statements shown in each of the two rankings.
const SHOWN: usize = 10;
/// How often the sessions are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Lines of the text are at least so long, however narrow the terminal.
const MIN_TEXT_CHARS: usize = 40;

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) url: String,
    /// Of the window; `None`: since the counters were reset.
    pub(super) seconds: Option<f64>,
    /// What the statements are taken from, in words; empty: the counters.
    pub(super) source: String,
    /// Of the server, where it was asked.
    pub(super) server_version: Option<String>,
    /// Words that hide an index from the planner and show it again, where the server knows such.
    pub(super) hiding: Option<(&'static str, &'static str)>,
    pub(super) statements: Vec<Statement>,
    pub(super) plans: Vec<Plan>,
    pub(super) observations: Vec<Observation>,
    pub(super) gaps: Vec<Gap>,
}

pub(super) async fn run(setting: &Setting, args: &DatabaseArgs) -> Result<Answer> {
    let url = match args.url.as_ref().or(setting.environment.database_url.as_ref()) {
        Some(url) => url.clone(),
        None => setting
            .settings(&LoadOverrides::default())?
            .database
            .url
            .context("no database is named; give its URL, or set [database] url in trimtab.toml")?,
    };
    if super::database_redis::is_meant(&url) {
        return super::database_redis::run(setting, args, &url).await;
    }
    if Sqlite::is_meant(&url) {
        return super::database_sqlite::run(setting, args, &url).await;
    }
    if MariaDb::is_meant(&url) {
        return super::database_mariadb::run(setting, args, &url).await;
    }
    if args.statements.is_some() {
        bail!("--statements is for SQLite files: this server counts its statements itself");
    }
    let seen = look(setting, args, &Database::connect(&url).await?).await?;
    tell(setting, args, &seen)?;
    let blind = seen.statements.is_empty() && !seen.gaps.is_empty();
    Ok(if blind { Answer::Unknown } else { Answer::Yes })
}

/// As text or JSON, and as a page where one is wanted.
pub(super) fn tell(setting: &Setting, args: &DatabaseArgs, seen: &Seen) -> Result<()> {
    if let Some(path) = &args.report {
        page(seen, path)?;
    }
    let advice = advice(&seen.plans);
    if setting.output.json() {
        setting.output.result(&as_json(seen, &advice).to_string());
    } else {
        setting.output.result(&as_text(setting, seen, &advice)?);
        if let Some(path) = &args.report {
            setting.output.result(&format!("Report: {}", path.display()));
        }
    }
    Ok(())
}

/// The same as a page, with the plans drawn.
fn page(seen: &Seen, path: &Path) -> Result<()> {
    let now_ns = clock::now_ns();
    let length_ns = seen.seconds.map_or(0, |s| Duration::from_secs_f64(s).as_nanos() as u64);
    let state: Vec<report::State<'_>> = seen
        .observations
        .iter()
        .map(|o| report::State {
            kind: o.kind,
            subject: &o.subject,
            reason: &o.reason,
            look: &o.look,
            mend: o.mend.as_deref(),
            undo: o.undo.as_deref(),
        })
        .collect();
    let recording = Recording {
        run: Run {
            target: seen.url.clone(),
            start_ns: now_ns.saturating_sub(length_ns),
            end_ns: now_ns,
            complete: true,
            gaps: seen.gaps.clone(),
            ..Run::default()
        },
        statements: seen.statements.clone(),
        plans: seen.plans.clone(),
        ..Recording::default()
    };
    let diagnosis = localize::localize(&recording, &localize::Options::default());
    let more = super::report::More { state: &state, ..super::report::More::default() };
    super::report::write(path, (&recording, &diagnosis), None, more)
}

async fn look(setting: &Setting, args: &DatabaseArgs, database: &Database) -> Result<Seen> {
    let seconds = args.over.clamp(0.0, 86_400.0);
    let before = database.snapshot().await?;
    setting.output.progress("looking at the sessions");
    let looks = (seconds.max(args.watch.clamp(0.0, 3600.0)) / LOOK_INTERVAL.as_secs_f64()).ceil();
    let (waits, mut gaps) = tokio::select! {
        seen = database.watch(looks as u32, LOOK_INTERVAL) => seen,
        () = setting.shutdown.wait() => (Vec::new(), Vec::new()),
    };
    let after = database.snapshot().await?;
    let (statements, more) = if seconds > 0.0 { Snapshot::delta(&before, &after) } else { after.totals() };
    gaps.extend(more);
    // As long as it was, also where it was ended early.
    let length = before.taken().zip(after.taken()).map(|(from, to)| to.duration_since(from).as_secs_f64());
    let window = length.filter(|_| seconds > 0.0);
    setting.output.progress("asking for plans");
    let options = PlanOptions { may_build: args.may_build, most: args.most };
    let (plans, more) = database.plans(&statements, &options).await;
    gaps.extend(more);
    setting.output.progress("looking at the server's state");
    let (mut observations, more) = database.health(&statements, &plans).await;
    observations.extend(waits);
    gaps.extend(more);
    gaps.sort();
    gaps.dedup();
    setting.output.clear_line();
    let url = database.shown_url().to_owned();
    Ok(Seen { url, seconds: window, statements, plans, observations, gaps, ..Seen::default() })
}

/// One index, and the statements that it serves.
struct Advice<'p> {
    what_if: &'p WhatIf,
    served: Vec<(&'p Plan, &'p WhatIf)>,
}

/// The indexes in the order in which the statements with most time ask for them.
fn advice(plans: &[Plan]) -> Vec<Advice<'_>> {
    let mut all: Vec<Advice<'_>> = Vec::new();
    for (plan, what_if) in plans.iter().flat_map(|p| p.what_ifs.iter().map(move |w| (p, w))) {
        match all.iter_mut().find(|a| a.what_if.create == what_if.create) {
            Some(known) => known.served.push((plan, what_if)),
            None => all.push(Advice { what_if, served: vec![(plan, what_if)] }),
        }
    }
    all
}

impl Advice<'_> {
    /// Rows written per second to its table, and what the index adds to each in microseconds and bytes.
    fn writes(&self) -> (f64, f64, f64) {
        let tables = self.served.iter().flat_map(|(plan, _)| &plan.tables);
        let table = tables.into_iter().find(|t| t.name == self.what_if.table);
        table.map_or((0.0, 0.0, 0.0), |t| (t.writes_per_second, t.index_write_us, t.index_write_bytes))
    }
}

/// Share of a statement's time that is left with the index.
fn share_left(what_if: &WhatIf) -> f64 {
    let (before, after) =
        what_if.ms_before.zip(what_if.ms_after).unwrap_or((what_if.cost_before, what_if.cost_after));
    (after / before.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
}

fn as_json(seen: &Seen, advice: &[Advice<'_>]) -> Value {
    let by_text: BTreeMap<&str, &Statement> = seen.statements.iter().map(|s| (s.text.as_str(), s)).collect();
    let served = |(plan, what_if): &(&Plan, &WhatIf)| {
        let ms = by_text.get(plan.statement.as_str()).map_or(0.0, |s| s.mean_ms());
        json!({
            "statement": plan.statement,
            "cost_before": what_if.cost_before,
            "cost_after": what_if.cost_after,
            "before_ms": ms,
            "after_ms": ms * share_left(what_if),
        })
    };
    let one = |a: &Advice<'_>| {
        let (writes, us, bytes) = a.writes();
        json!({
            "table": a.what_if.table,
            "columns": a.what_if.columns,
            "create": a.what_if.create,
            "undo": a.what_if.undo,
            "hide": toggled(seen, a.what_if).map(|(hide, _)| hide),
            "show": toggled(seen, a.what_if).map(|(_, show)| show),
            "method": a.what_if.method,
            "bytes": a.what_if.bytes,
            "writes_per_second": writes,
            "us_per_write": us,
            "wal_bytes_per_write": bytes,
            "statements": a.served.iter().map(served).collect::<Vec<_>>(),
        })
    };
    json!({
        "version": VERSION,
        "database": seen.url,
        "window_s": seen.seconds,
        "server_version": seen.server_version,
        "statements": seen.statements,
        "indexes": advice.iter().map(one).collect::<Vec<_>>(),
        "observations": seen.observations,
        "plans": seen.plans,
        "gaps": seen.gaps,
    })
}

fn as_text(setting: &Setting, seen: &Seen, advice: &[Advice<'_>]) -> Result<String> {
    let output = &setting.output;
    let mut text = String::new();
    let span = match seen.seconds {
        Some(seconds) => format!("over {seconds:.0} s"),
        None if seen.source.is_empty() => "since its counters were reset".to_owned(),
        None => seen.source.clone(),
    };
    writeln!(text, "{}", output.bold(&format!("{} {span}", seen.url)))?;
    let total_ms: f64 = seen.statements.iter().map(|s| s.total_ms).sum();
    let width = output.width.saturating_sub(46).max(MIN_TEXT_CHARS);
    ranking(&mut text, &output.bold("Statements by total time"), &seen.statements, total_ms, width)?;
    let mut by_mean: Vec<Statement> = seen.statements.clone();
    let mean = |s: &Statement| s.at_least_ms.unwrap_or_else(|| s.mean_ms());
    by_mean.sort_by(|a, b| mean(b).total_cmp(&mean(a)).then_with(|| a.text.cmp(&b.text)));
    ranking(&mut text, &output.bold("Statements by mean time"), &by_mean, total_ms, width)?;
    if !advice.is_empty() {
        writeln!(text, "\n{}", output.bold("Indexes that would help"))?;
    }
    for (place, one) in advice.iter().enumerate() {
        index(&mut text, place + 1, one, seen, output.width)?;
    }
    if advice.is_empty() && !seen.plans.is_empty() {
        writeln!(text, "\nNo index would help {} statements that were looked at.", seen.plans.len())?;
    }
    if !seen.observations.is_empty() {
        let what = if Sqlite::is_meant(&seen.url) { "State of the file" } else { "State of the server" };
        writeln!(text, "\n{}", output.bold(what))?;
    }
    for seen in &seen.observations {
        observation(&mut text, output, seen)?;
        if seen.subject.contains(' ') {
            writeln!(text, "    {}", cut(&seen.subject, output.width))?;
        }
    }
    if !seen.gaps.is_empty() {
        writeln!(text, "\n{}", output.bold("Not seen"))?;
    }
    for gap in &seen.gaps {
        writeln!(text, "  {}\n    {}", gap.reason, output.dim(&gap.hint))?;
    }
    Ok(text)
}

/// A sentence, and below it what to type.
pub(super) fn observation(text: &mut String, output: &Output, seen: &Observation) -> Result<()> {
    writeln!(text, "  {}: {}", seen.kind, seen.reason)?;
    let parts = [("look", Some(&seen.look)), ("mend", seen.mend.as_ref()), ("undo", seen.undo.as_ref())];
    for (label, what) in parts.into_iter().filter_map(|(label, what)| Some((label, what?))) {
        writeln!(text, "    {}", output.dim(&format!("{label}: {what}")))?;
    }
    Ok(())
}

fn ranking(
    text: &mut String,
    title: &str,
    statements: &[Statement],
    total_ms: f64,
    width: usize,
) -> Result<()> {
    if statements.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{title}\n  {:>6} {:>10} {:>10} {:>10}", "share", "calls", "mean ms", "rows/call")?;
    for statement in statements.iter().take(SHOWN) {
        let (share, mean, rows) = figures(statement, total_ms);
        writeln!(
            text,
            "  {share:>6} {:>10} {mean:>10} {rows:>10}  {}",
            statement.calls,
            cut(&statement.text, width)
        )?;
    }
    Ok(())
}

/// Share, mean and rows of a call; what is not known is a dash.
fn figures(statement: &Statement, total_ms: f64) -> (String, String, String) {
    let unknown = || "–".to_owned();
    match statement.at_least_ms {
        None => (
            format!("{:.1}%", 100.0 * statement.total_ms / total_ms.max(f64::MIN_POSITIVE)),
            format!("{:.3}", statement.mean_ms()),
            format!("{:.1}", statement.rows as f64 / statement.calls.max(1) as f64),
        ),
        Some(ms) if ms > 0.0 => (unknown(), format!("> {:.0} s", ms / 1e3), unknown()),
        Some(_) => (unknown(), unknown(), unknown()),
    }
}

fn index(text: &mut String, number: usize, advice: &Advice<'_>, seen: &Seen, width: usize) -> Result<()> {
    let (what_if, statements) = (advice.what_if, &seen.statements);
    let copied = advice
        .served
        .iter()
        .any(|(plan, _)| statements.iter().any(|s| s.text == plan.statement && s.system == "sqlite"));
    let method = match what_if.method {
        WhatIfMethod::Executed if copied => "made on a copy of the file",
        WhatIfMethod::Executed => "built and rolled back",
        WhatIfMethod::Hypothetical => "the planner was shown it",
        WhatIfMethod::Estimated => "estimated",
    };
    writeln!(
        text,
        "  {number}. {} ({}), {}; {method}",
        what_if.table,
        what_if.columns.join(", "),
        size(what_if.bytes)
    )?;
    for (plan, tried) in &advice.served {
        let ms = statements.iter().find(|s| s.text == plan.statement).map_or(0.0, Statement::mean_ms);
        let left = share_left(tried);
        writeln!(
            text,
            "     {ms:.2} -> {:.2} ms  {}",
            ms * left,
            cut(&plan.statement, width.saturating_sub(26))
        )?;
    }
    let (writes, us, bytes) = advice.writes();
    if us > 0.0 {
        writeln!(
            text,
            "     costs each row written about {us:.0} us and {bytes:.0} B of log; {writes:.1} rows a second are written"
        )?;
    }
    writeln!(text, "     do:   {}\n     undo: {}", what_if.create, what_if.undo)?;
    if let Some((hide, show)) = toggled(seen, what_if) {
        writeln!(text, "     compare, once it is there: {hide}\n     and back: {show}")?;
    }
    Ok(())
}

/// SQL that takes an index from the planner at once, and gives it back.
fn toggled(seen: &Seen, what_if: &WhatIf) -> Option<(String, String)> {
    let (hide, show) = seen.hiding?;
    let (table, name) = what_if.undo.split_once(" DROP INDEX ")?;
    let alter = |how: &str| format!("{table} ALTER INDEX {name} {how}");
    Some((alter(hide), alter(show)))
}

fn size(bytes: u64) -> String {
    match bytes {
        0 => "of unknown size".to_owned(),
        1..0x10_0000 => format!("about {} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("about {:.0} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}

pub(super) fn cut(text: &str, width: usize) -> String {
    let width = width.max(MIN_TEXT_CHARS);
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width - 3).collect();
    format!("{kept}...")
}
