//! From a recording on disk to findings, as `trimtab localize` does it: spans per CPU-second and bytes in memory of a
//! process that does nothing else.

use crate::args::{JudgeArgs, LocalizeArgs};
use crate::figures::{Cell, Figures, Target, median};
use crate::process::Helper;
use crate::traffic;
use anyhow::{Context, Result, ensure};
use model::Recording;
use recording::Writer;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::Path;
use telemetry::{Intake, otlp};

/// Promised: from a recording to findings.
const SPANS_PER_CPU_S: f64 = 400_000.0;
const RESIDENT_BYTES: f64 = 350.0;
/// What the helper says between its phases.
const READ: &str = "read";

/// The helper's last word.
#[derive(Deserialize, Serialize)]
struct Judged {
    spans: u64,
    findings: usize,
    json_bytes: usize,
}

pub(crate) fn run(args: &LocalizeArgs) -> Result<Figures> {
    let folder = tempfile::tempdir().context("could not make a folder")?;
    let written = write(folder.path(), args.spans)?;
    let mut rows = Vec::new();
    let mut targets = Vec::new();
    for needed_only in [false, true] {
        let rounds = (0..args.rounds.max(1)).map(|_| round(folder.path(), written, needed_only));
        let rounds = rounds.collect::<Result<Vec<Round>>>()?;
        let middle = |of: fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
        let spans = written as f64;
        let whole = middle(|r| r.read_s + r.judge_s).map(|s| spans / s);
        let resident = middle(|r| r.resident_bytes).map(|bytes| bytes / spans);
        rows.push(vec![
            Cell::text(if needed_only { "those of the rules (`trimtab localize`)" } else { "all" }),
            Cell::maybe(middle(|r| r.read_s).map(|s| spans / s), 0),
            Cell::maybe(middle(|r| r.judge_s).map(|s| spans / s), 0),
            Cell::maybe(whole, 0),
            Cell::maybe(resident, 0),
            Cell::maybe(middle(|r| r.peak_bytes).map(|bytes| bytes / spans), 0),
            Cell::number(rounds[0].judged.findings as f64, 0),
        ]);
        if needed_only {
            let name = "from a recording to findings, spans per CPU-second";
            targets.push(Target::at_least(name, whole, SPANS_PER_CPU_S, 0));
            targets.push(Target::at_most("resident bytes a span, read", resident, RESIDENT_BYTES, 0));
        }
    }
    Ok(Figures {
        name: "localize",
        title: format!(
            "{written} spans of 20 attributes from a recording on disk to findings as JSON; median of {} rounds.",
            args.rounds.max(1)
        ),
        columns: &[
            "attributes read",
            "read, spans/CPU-s",
            "judge, spans/CPU-s",
            "both, spans/CPU-s",
            "resident B/span",
            "peak B/span",
            "findings",
        ],
        rows,
        targets,
        notes: Vec::new(),
    })
}

/// Writes the recording; returns its spans.
fn write(folder: &Path, spans: usize) -> Result<u64> {
    let mut intake = Intake::default();
    for body in traffic::bodies(spans) {
        otlp::walk_traces(&body, &mut intake).context("the benchmark's own spans")?;
    }
    let recording = Recording { spans: intake.take().spans, ..Recording::default() };
    Writer::create(folder)?.finish(&recording)?;
    Ok(recording.spans.len() as u64)
}

struct Round {
    read_s: f64,
    judge_s: f64,
    resident_bytes: f64,
    peak_bytes: f64,
    judged: Judged,
}

fn round(folder: &Path, written: u64, needed_only: bool) -> Result<Round> {
    let mut words = vec!["internal-localize".into(), folder.as_os_str().to_owned()];
    words.extend(needed_only.then(|| "--needed-only".into()));
    let mut helper = Helper::this(words)?;
    helper.hear()?;
    let (begin_s, (begin_bytes, _)) = (helper.cpu_s()?, helper.resident_bytes()?);
    helper.tell("read")?;
    ensure!(helper.hear()? == READ, "the helper did not read the recording");
    let (read_s, (read_bytes, _)) = (helper.cpu_s()?, helper.resident_bytes()?);
    helper.tell("judge")?;
    let judged: Judged = serde_json::from_str(&helper.hear()?).context("the helper's answer")?;
    let (judged_s, (_, peak_bytes)) = (helper.cpu_s()?, helper.resident_bytes()?);
    ensure!(judged.spans == written, "{} of {written} spans were read", judged.spans);
    ensure!(judged.json_bytes > 0, "nothing was printed");
    Ok(Round {
        read_s: read_s - begin_s,
        judge_s: judged_s - read_s,
        resident_bytes: read_bytes - begin_bytes,
        peak_bytes: peak_bytes - begin_bytes,
        judged,
    })
}

/// The helper: reads and judges, one phase for each line that it is told.
pub(crate) fn judge(args: &JudgeArgs) -> Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let mut out = std::io::stdout();
    let mut phase = |said: &str| -> Result<()> {
        writeln!(out, "{said}")?;
        out.flush()?;
        lines.next().context("nobody listens")??;
        Ok(())
    };
    phase("ready")?;
    let recording = recording::read_wanted(&args.folder, args.needed_only.then_some(localize::ATTRIBUTES))?;
    phase(READ)?;
    let diagnosis = localize::localize(&recording, &localize::Options::default());
    let judged = Judged {
        spans: recording.spans.len() as u64,
        findings: diagnosis.findings.len(),
        json_bytes: report::json(&diagnosis).len(),
    };
    // Waits to be ended: what it holds is looked at from outside.
    phase(&serde_json::to_string(&judged)?)
}
