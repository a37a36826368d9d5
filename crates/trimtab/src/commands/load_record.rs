//! `load run --output DIR`: a load test as a recording, for `report`, `localize` and `verify`.

use crate::session::{self, Session};
use anyhow::{Context, Result, bail};
use load::LoadResult;
use model::{Gap, Recording, Run};
use std::path::Path;

/// A folder that holds something else is not written to.
///
/// # Errors
/// It is no empty folder and no recording.
pub(super) fn check(folder: &Path) -> Result<()> {
    if folder.is_file() {
        bail!("--output {}: there is a file of that name", folder.display());
    }
    let mut entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("--output {}", folder.display())),
    };
    if entries.next().is_some() && !folder.join("run.json").is_file() {
        bail!("--output {}: the folder holds something else than a recording", folder.display());
    }
    Ok(())
}

/// Writes the whole run: nothing of it is cut off as a warm-up.
pub(super) fn write(session: &Session, result: &LoadResult, folder: &Path) -> Result<()> {
    let window_ns = u64::try_from(result.window.as_nanos()).unwrap_or(u64::MAX);
    let end_ns = result.started_ns.saturating_add(window_ns);
    let gap = Gap::new(
        "traces",
        "a load test alone looks at no traces, metrics or statements",
        "use `trimtab measure` to see where the time goes",
    );
    let recording = Recording {
        run: Run {
            format: recording::FORMAT,
            id: session::id_of(folder),
            target: result.target.clone(),
            start_ns: result.started_ns,
            end_ns,
            seed: session.settings.load.seed,
            goals: session.settings.goals.iter().map(ToString::to_string).collect(),
            operations: result.operations.clone(),
            cell_ms: result.cell_ms,
            environment: session::environment(),
            validity: result.validity.clone(),
            gaps: vec![gap],
            complete: result.complete,
        },
        latencies: result.cells.clone(),
        requests: result.requests.clone(),
        ..Recording::default()
    };
    let what = || format!("could not write the recording {}", folder.display());
    let writer = recording::Writer::create(folder).with_context(what)?;
    writer.finish(&recording).map(drop).with_context(what)
}
