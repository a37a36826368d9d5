//! `trimtab change`: applies one finding's remedy where Trimtab can, prints it where it cannot, takes it back on demand.

use super::{Answer, Setting, looping};
use crate::apply::Hands;
use crate::args::{ChangeArgs, LoadOverrides};
use crate::control;
use anyhow::{Context, Result, bail};
use model::{Change, Diagnosis, Finding};
use std::path::PathBuf;

/// The change in force, kept beside the journal so that it can be taken back later.
const IN_FORCE: &str = "change.json";

pub(super) async fn run(setting: &Setting, args: &ChangeArgs) -> Result<Answer> {
    let settings = setting.settings(&LoadOverrides::default())?;
    let hands = Hands {
        service_url: settings.scenario.base_url.clone(),
        database_url: settings.database.url.clone(),
    };
    if args.undo {
        return undo(setting, &hands).await;
    }
    let finding = finding(setting, args.fingerprint.as_deref())?;
    let sql = settings.database.may_change && settings.database.url.is_some();
    let Some(change) = control::change_for(&finding, &settings.controls, sql, &[]) else {
        setting.output.result(&by_hand(&finding));
        return Ok(Answer::No);
    };
    if !args.yes && !looping::consent(setting, &finding, &change) {
        setting.output.say("Nothing was changed.");
        return Ok(Answer::No);
    }
    remember(setting, &change)?;
    hands.apply(&change).await?;
    setting.output.say(&format!("Applied `{}`. Next: trimtab verify", change.name));
    Ok(Answer::Yes)
}

/// The finding of that fingerprint, or the best that was found.
fn finding(setting: &Setting, fingerprint: Option<&str>) -> Result<Finding> {
    let folder =
        setting.journal().last_recording().context("no recording yet; `trimtab measure` makes one")?;
    let path = folder.join("findings.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}; run `trimtab localize` first", path.display()))?;
    let diagnosis: Diagnosis =
        serde_json::from_str(&text).with_context(|| format!("{} is not a diagnosis", path.display()))?;
    let mut findings = diagnosis.findings.into_iter();
    let found = match fingerprint {
        Some(wanted) => findings.find(|f| f.fingerprint == wanted),
        None => findings.next(),
    };
    match (found, fingerprint) {
        (Some(finding), _) => Ok(finding),
        (None, Some(wanted)) => bail!("no finding {wanted} in {}", path.display()),
        (None, None) => bail!("nothing was found in {}: there is nothing to change", path.display()),
    }
}

/// The remedies for a person.
fn by_hand(finding: &Finding) -> String {
    let mut text = format!("Trimtab cannot do this by itself. {}: {}\n", finding.endpoint, finding.title);
    for remedy in &finding.remedies {
        text.push_str(&format!("  {}\n", remedy.text));
        for (label, patch) in [("do", &remedy.patch), ("undo", &remedy.undo)] {
            if let Some(patch) = patch {
                text.push_str(&format!("    {label}: {patch}\n"));
            }
        }
    }
    text.push_str("Then: trimtab verify\n");
    text
}

fn in_force(setting: &Setting) -> PathBuf {
    setting.journal().folder().join(IN_FORCE)
}

fn remember(setting: &Setting, change: &Change) -> Result<()> {
    let path = in_force(setting);
    std::fs::write(&path, serde_json::to_string_pretty(change)?)
        .with_context(|| format!("could not write {}, so nothing was changed", path.display()))
}

async fn undo(setting: &Setting, hands: &Hands) -> Result<Answer> {
    let path = in_force(setting);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("no change is in force ({} cannot be read)", path.display()))?;
    let change: Change =
        serde_json::from_str(&text).with_context(|| format!("{} is not a change", path.display()))?;
    hands.undo(&change).await?;
    std::fs::remove_file(&path).with_context(|| format!("could not remove {}", path.display()))?;
    setting.output.say(&format!("Took `{}` back.", change.name));
    Ok(Answer::Yes)
}
