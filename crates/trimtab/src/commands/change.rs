//! `trimtab change`: applies one finding's remedy where Trimtab can, prints it where it cannot, takes it back on demand.

use super::{Answer, Setting, looping};
use crate::apply::Hands;
use crate::args::{ChangeArgs, LoadOverrides};
use crate::in_force::{self, InForce};
use crate::settings::Settings;
use crate::{clock, control, session, story};
use anyhow::{Context, Result, bail};
use model::{Change, ChangeKind, Diagnosis, Finding, Judgement, Step, Verdict};
use serde_json::json;
use std::time::Duration;

/// How long the sessions of a database are looked at before it is changed.
const SIGNS_LOOK: Duration = Duration::from_millis(1500);

pub(super) async fn run(setting: &Setting, args: &ChangeArgs) -> Result<Answer> {
    let settings = setting.settings(&LoadOverrides::default())?;
    let hands = Hands {
        service_url: settings.scenario.base_url.clone(),
        database_url: settings.database.url.clone(),
    };
    if args.undo {
        return undo(setting, &settings, &hands).await;
    }
    let journal = setting.journal();
    if let Some(other) = in_force::list(journal.folder())?.last() {
        bail!(
            "`{}` is in force: judge it with `trimtab verify` or take it back with `trimtab change --undo` first",
            other.change.name
        );
    }
    let (recording, findings) = findings(setting)?;
    let sql = settings.database.takes_indexes();
    let change_of = |finding: &Finding| control::change_for(finding, &settings.controls, sql, &[]);
    let wanted = args.fingerprint.as_deref();
    let numbered = wanted.and_then(|wanted| wanted.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
    let asked = match (wanted, numbered) {
        (None, _) => findings.first(),
        (_, Some(at)) => findings.get(at),
        (Some(wanted), None) => findings.iter().find(|f| f.fingerprint == wanted),
    };
    let mended = match wanted {
        Some(_) => asked.and_then(|f| change_of(f).map(|change| (f, change))),
        None => findings.iter().find_map(|f| change_of(f).map(|change| (f, change))),
    };
    let Some((finding, change)) = mended else {
        return by_hand(setting, asked, wanted);
    };
    if matches!(change.kind, ChangeKind::Sql { .. }) {
        let reasons = against_sql(setting, &settings).await?;
        if !reasons.is_empty() {
            return refused(setting, finding, &reasons);
        }
    }
    if !args.yes && !looping::consent(setting, finding, &change) {
        setting.output.result("Nothing was changed.");
        return Ok(Answer::No);
    }
    let note = InForce {
        change: change.clone(),
        finding: Some(finding.clone()),
        recording_before: Some(recording),
        since_ns: clock::now_ns(),
    };
    in_force::add(journal.folder(), &note).context("nothing was changed")?;
    if let Err(error) = apply(setting, &hands, &change).await {
        // It may be half made.
        hands.undo(&change).await?;
        in_force::remove(journal.folder(), &change.name)?;
        return Err(error);
    }
    let proves = matches!(change.kind, ChangeKind::Sql { .. }) && !args.no_proof;
    if !proves || setting.shutdown.is_triggered() {
        tell(setting, "applied", &change, &format!("Applied `{}`. Next: trimtab verify", change.name));
        return Ok(Answer::Yes);
    }
    setting.output.say(&format!("Applied `{}`; measuring whether it does what was predicted.", change.name));
    let proved = Box::pin(super::verify::prove(setting, settings, note)).await;
    let judgement = proved.with_context(|| {
        format!("`{}` is in force, but not proved; `trimtab change --undo` takes it back", change.name)
    })?;
    show_proof(setting, &change, &judgement)
}

/// Puts it in force, with its progress shown.
async fn apply(setting: &Setting, hands: &Hands, change: &Change) -> Result<()> {
    let output = setting.output;
    let mut show = |progress: &database::Progress| {
        let blocks = match progress.blocks_total {
            0 => String::new(),
            total => format!(", {} of {total} blocks", progress.blocks_done),
        };
        output.progress(&format!("{}: {}{blocks}", change.name, progress.phase));
    };
    let done = hands.apply_showing(change, &mut show).await;
    output.clear_line();
    done
}

/// Why the database may not be changed from here; nothing where it may.
async fn against_sql(setting: &Setting, settings: &Settings) -> Result<Vec<String>> {
    match settings.database.may_change {
        Some(true) => return Ok(Vec::new()),
        Some(false) => return Ok(vec!["[database] may_change is false".to_owned()]),
        None => {}
    }
    let url = settings.database.url.as_ref().context("no database is configured; set [database] url")?;
    setting.output.progress("looking whether others depend on this database");
    let signs = database::Database::connect(url).await?.production_signs(SIGNS_LOOK).await;
    setting.output.clear_line();
    signs
}

/// Says what was seen, and what a person can run.
fn refused(setting: &Setting, finding: &Finding, reasons: &[String]) -> Result<Answer> {
    if setting.output.json() {
        let told = json!({
            "version": model::SCHEMA_VERSION,
            "refused": reasons,
            "by_hand": finding.remedies,
        });
        setting.output.result(&told.to_string());
        return Ok(Answer::No);
    }
    let mut text = "Nothing was changed. What speaks against it:\n".to_owned();
    for reason in reasons {
        text.push_str(&format!("  - {}\n", story::one_line(reason)));
    }
    text.push_str("If nobody depends on this database, set [database] may_change = true. By hand:\n");
    for remedy in &finding.remedies {
        for (label, patch) in [("do", &remedy.patch), ("undo", &remedy.undo)] {
            if let Some(patch) = patch {
                text.push_str(&format!("    {label}: {}\n", story::one_line(patch)));
            }
        }
    }
    text.push_str("Then: trimtab verify");
    setting.output.result(&text);
    Ok(Answer::No)
}

fn show_proof(setting: &Setting, change: &Change, judgement: &Judgement) -> Result<Answer> {
    let kept = judgement.verdict == Verdict::Better;
    let undone = matches!(judgement.verdict, Verdict::Worse | Verdict::Same);
    if setting.output.json() {
        let judged: serde_json::Value = serde_json::from_str(&report::judgement_json(judgement))?;
        let told = json!({
            "version": model::SCHEMA_VERSION,
            "applied": story::shown(change),
            "kept": kept,
            "taken_back": undone,
            "judgement": judged,
        });
        setting.output.result(&told.to_string());
    } else {
        setting.output.result(&report::text::judgement(judgement));
        let end = match (kept, undone) {
            (true, _) => format!("`{}` stays.", change.name),
            (_, true) => format!("`{}` was taken back: it is not better.", change.name),
            _ => format!(
                "`{}` is in force, and it is not clear whether it helps: `trimtab verify` measures again, `trimtab change --undo` takes it back.",
                change.name
            ),
        };
        setting.output.result(&end);
    }
    Ok(match judgement.verdict {
        Verdict::Better => Answer::Yes,
        Verdict::Worse | Verdict::Same => Answer::No,
        Verdict::Unclear => Answer::Unknown,
    })
}

fn tell(setting: &Setting, what: &str, change: &Change, text: &str) {
    if setting.output.json() {
        let told = json!({ "version": model::SCHEMA_VERSION, what: story::shown(change) });
        setting.output.result(&told.to_string());
    } else {
        setting.output.result(text);
    }
}

/// The last recording's id with its findings, best first.
fn findings(setting: &Setting) -> Result<(String, Vec<Finding>)> {
    let folder =
        setting.journal().last_recording().context("no recording yet; `trimtab measure` makes one")?;
    let path = folder.join("findings.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}; run `trimtab localize` first", path.display()))?;
    let diagnosis: Diagnosis =
        serde_json::from_str(&text).with_context(|| format!("{} is not a diagnosis", path.display()))?;
    Ok((session::id_of(&folder), diagnosis.findings))
}

/// The remedies for a person.
fn by_hand(setting: &Setting, finding: Option<&Finding>, wanted: Option<&str>) -> Result<Answer> {
    let Some(finding) = finding else {
        match wanted {
            Some(wanted) => {
                bail!("the last recording has no finding {wanted}; `trimtab localize` lists them")
            }
            None => bail!("nothing was found in the last recording: there is nothing to change"),
        }
    };
    if setting.output.json() {
        let told = json!({ "version": model::SCHEMA_VERSION, "by_hand": finding.remedies });
        setting.output.result(&told.to_string());
        return Ok(Answer::No);
    }
    let (endpoint, title) = (story::one_line(&finding.endpoint), story::one_line(&finding.title));
    let mut text = format!("Trimtab cannot do this by itself. {endpoint}: {title}\n");
    for remedy in &finding.remedies {
        text.push_str(&format!("  {}\n", story::one_line(&remedy.text)));
        for (label, patch) in [("do", &remedy.patch), ("undo", &remedy.undo)] {
            if let Some(patch) = patch {
                text.push_str(&format!("    {label}: {}\n", story::one_line(patch)));
            }
        }
    }
    text.push_str("Then: trimtab verify\n");
    setting.output.result(&text);
    Ok(Answer::No)
}

/// Takes back what is in force; where nothing is noted, the last change that the loop kept.
async fn undo(setting: &Setting, settings: &Settings, hands: &Hands) -> Result<Answer> {
    let journal = setting.journal();
    let change = match in_force::list(journal.folder())?.pop() {
        Some(noted) => noted.change,
        None => last_kept(&journal.steps()?.0, settings)
            .context("no change is in force, and the journal knows of none that was kept")?,
    };
    hands.undo(&change).await?;
    in_force::remove(journal.folder(), &change.name)?;
    tell(setting, "taken_back", &change, &format!("Took `{}` back.", change.name));
    Ok(Answer::Yes)
}

/// The newest kept step's change; a control as the settings declare it today, as the journal leaves passwords out.
fn last_kept(steps: &[Step], settings: &Settings) -> Option<Change> {
    let change = &steps.iter().rev().find(|step| step.kept)?.change;
    let declared = settings.controls.iter().find(|control| control.name == change.name);
    Some(declared.map_or_else(|| change.clone(), control::Control::change))
}
