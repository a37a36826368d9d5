//! `trimtab compare`: two diagnoses, and what is new, gone or changed between them. Runs nothing.

use super::{Answer, Setting, localize};
use crate::args::CompareArgs;
use anyhow::{Context, Result};
use model::Diagnosis;
use report::team::Comparison;
use std::path::{Path, PathBuf};

pub(super) fn run(setting: &Setting, args: &CompareArgs) -> Result<Answer> {
    let compared = Comparison::of(&diagnosis(&args.before)?, &diagnosis(&args.after)?);
    let text = if setting.output.json() { compared.json() } else { compared.text() };
    setting.output.result(text.trim_end());
    Ok(Answer::of(!(args.fail_on_new && compared.is_worse())))
}

/// A diagnosis as JSON; or what is judged of a recording, traces or logs, without goals other than its own.
fn diagnosis(path: &Path) -> Result<Diagnosis> {
    if path.extension().is_some_and(|extension| extension == "json")
        && let Some(read) = as_diagnosis(path)?
    {
        return Ok(read);
    }
    let recording = localize::read(&[PathBuf::from(path)])?;
    let goals = recording.run.goals.iter().filter_map(|goal| goal.parse().ok()).collect();
    Ok(::localize::localize(&recording, &::localize::Options { goals, ..::localize::Options::default() }))
}

/// `None` where it is some other JSON, such as traces.
fn as_diagnosis(path: &Path) -> Result<Option<Diagnosis>> {
    let bytes = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    Ok(serde_json::from_slice(&bytes).ok())
}
