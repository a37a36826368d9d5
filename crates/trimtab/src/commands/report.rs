//! `trimtab report`: a recording and the journal as one HTML file.

use super::{Answer, Setting};
use crate::args::ReportArgs;
use crate::{clock, cycle};
use anyhow::{Context, Result};
use model::{Diagnosis, Recording, Step};
use report::{Inputs, Measured, ReportData, TraceUrl};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) fn run(setting: &Setting, args: &ReportArgs) -> Result<Answer> {
    let journal = setting.journal();
    let folder = match &args.recording {
        Some(folder) => folder.clone(),
        None => journal.last_recording().context("no recording yet; `trimtab measure` makes one")?,
    };
    let recording = super::read_recording(&folder)?;
    let goals: Vec<model::Goal> = recording.run.goals.iter().filter_map(|g| g.parse().ok()).collect();
    let diagnosis = cycle::diagnose(&recording, &goals, &journal);
    let (mut steps, unreadable) = journal.steps()?;
    if args.recording.is_some() {
        // Of a recording that was asked for by name, only the steps that rest on it or led to it.
        let id = Some(recording.run.id.as_str());
        steps.retain(|s| Some(s.recording_before.as_str()) == id || s.recording_after.as_deref() == id);
    }
    if unreadable > 0 {
        setting.output.warn(&format!("{unreadable} lines of the journal could not be read"));
    }
    let scaling = recording::read_scaling(&folder)?;
    let trace_url = args.trace_url.as_ref();
    let more = More { steps: &steps, scaling: scaling.as_ref(), trace_url, ..More::default() };
    write(&args.output, (&recording, &diagnosis), None, more)?;
    if setting.output.json() {
        let told = serde_json::json!({ "version": model::SCHEMA_VERSION, "report": args.output });
        setting.output.result(&told.to_string());
    } else {
        setting.output.result(&format!("Report: {}", args.output.display()));
    }
    Ok(Answer::Yes)
}

/// What a report may hold besides recordings and their diagnoses.
#[derive(Clone, Copy, Default)]
pub(crate) struct More<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) scaling: Option<&'a model::Scaling>,
    pub(crate) trace_url: Option<&'a TraceUrl>,
    pub(crate) state: &'a [report::State<'a>],
}

/// Writes the HTML file: a new one appears by rename.
pub(crate) fn write(
    path: &Path,
    first: (&Recording, &Diagnosis),
    last: Option<(&Recording, &Diagnosis)>,
    more: More<'_>,
) -> Result<()> {
    let measured = |(recording, diagnosis)| Measured { recording, diagnosis };
    let title = format!("Trimtab: {}", first.0.run.target);
    let inputs = Inputs {
        title: &title,
        created_ns: clock::now_ns(),
        before: Some(measured(first)),
        after: last.map(measured),
        steps: more.steps,
        scaling: more.scaling,
        trace_url: more.trace_url,
        state: more.state,
    };
    let html = report::html(&ReportData::new(&inputs));
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let what = || format!("could not write the report {}", path.display());
    // To be shown to others: readable as an ordinary file is, not private as a temporary one.
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(parent)
        .with_context(what)?;
    std::io::Write::write_all(&mut file, html.as_bytes()).with_context(what)?;
    file.persist(path).with_context(what)?;
    Ok(())
}
