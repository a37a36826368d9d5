//! `trimtab localize`: a recording, trace files or access logs in, ranked findings out. Runs nothing.

use super::{Answer, Setting};
use crate::access_logs::{self, LogFlags, Logs};
use crate::acknowledged;
use crate::args::{LoadOverrides, LocalizeArgs, TeamFlags};
use crate::files;
use crate::settings::Settings;
use crate::story;
use anyhow::{Context, Result, bail};
use model::{Diagnosis, Goal, Recording};
use report::team::{FailOn, RuleText, Standing, junit, markdown, sarif};
use std::path::PathBuf;

pub(super) fn run(setting: &Setting, args: &LocalizeArgs) -> Result<Answer> {
    let inputs =
        if args.inputs.is_empty() && args.from.is_none() {
            let last = setting.journal().last_recording();
            vec![last.context(
                "no recording yet; `trimtab measure` makes one, or name a recording or trace files",
            )?]
        } else {
            args.inputs.clone()
        };
    let Reading { recording, logs } = match &args.from {
        Some(address) => Reading { recording: super::localize_from::read(setting, address)?, logs: None },
        None => read_any(setting, &inputs, &args.logs)?,
    };
    let baseline = match args.baseline.as_slice() {
        [] => None,
        files => Some(read_any(setting, files, &args.logs)?.recording),
    };
    let goals = goals(setting, args, &inputs, &recording)?;
    let (steps, _) = setting.journal().steps()?;
    let options = localize::Options {
        goals,
        baseline: baseline.as_ref(),
        calibration: crate::calibration::factors(&steps),
        ..localize::Options::default()
    };
    let mut diagnosis = localize::localize(&recording, &options);
    if let Some(logs) = &logs {
        logs.settle(&mut diagnosis, &options.goals, baseline.is_some());
    }
    if let [folder] = inputs.as_slice()
        && folder.is_dir()
    {
        super::save_findings(setting, folder, &diagnosis);
    }
    if setting.output.json() {
        setting.output.result(&report::json(&diagnosis));
    } else {
        setting.output.result(&report::text::diagnosis(
            &diagnosis,
            setting.output.width,
            setting.output.paint(),
        ));
        if let Some(logs) = &logs {
            setting.output.result(&logs.text);
        }
    }
    team(setting, &args.team, &diagnosis)
}

/// The forms for a team's tools, and what makes a pipeline fail.
fn team(setting: &Setting, flags: &TeamFlags, diagnosis: &Diagnosis) -> Result<Answer> {
    let config = &setting.common.config;
    let known = acknowledged::read(flags.acknowledged.as_deref(), config)?;
    for (entry, standing) in known.standings(diagnosis) {
        match standing {
            Standing::InForce => setting
                .output
                .say(&format!("acknowledged until {}: {}: {}", entry.until, entry.fingerprint, entry.reason)),
            Standing::Expired => setting.output.warn(&format!(
                "the acknowledgement of {} ended with {}: the finding counts again",
                entry.fingerprint, entry.until
            )),
            Standing::Unmatched => setting.output.say(&format!(
                "the acknowledgement of {} matches no finding: it can be removed",
                entry.fingerprint
            )),
        }
    }
    if let Some(path) = &flags.sarif {
        let texts: Vec<RuleText<'_>> = localize::rules::RULES
            .iter()
            .map(|rule| RuleText { name: rule.name, how: rule.how, why: rule.why })
            .collect();
        let place = config.file_name().unwrap_or_default().to_string_lossy();
        let text = sarif(diagnosis, &known, &texts, env!("CARGO_PKG_VERSION"), &place);
        files::write_whole(path, text.as_bytes())?;
    }
    if let Some(path) = &flags.junit {
        files::write_whole(path, junit(diagnosis, &known).as_bytes())?;
    }
    if let Some(path) = &flags.markdown {
        files::append(path, markdown(diagnosis, &known).as_bytes())?;
    }
    if flags.fail_on.is_empty() {
        return Ok(Answer::of_goals(diagnosis));
    }
    let reasons: Vec<String> = flags.fail_on.iter().flat_map(|on| on.reasons(diagnosis, &known)).collect();
    for reason in &reasons {
        setting.output.say(&format!("fails: {}", story::one_line(reason)));
    }
    let unseen = flags.fail_on.contains(&FailOn::Goal) && Answer::of_goals(diagnosis) == Answer::Unknown;
    Ok(if reasons.is_empty() && unseen { Answer::Unknown } else { Answer::of(reasons.is_empty()) })
}

/// What was read.
struct Reading {
    recording: Recording,
    /// Where access logs were among the inputs.
    logs: Option<Logs>,
}

/// Access logs are told from other files by their content; beside trace files both are one recording.
fn read_any(setting: &Setting, inputs: &[PathBuf], flags: &LogFlags) -> Result<Reading> {
    let options = flags.options();
    let (log_files, others): (Vec<PathBuf>, Vec<PathBuf>) =
        inputs.iter().cloned().partition(|path| access_logs::is_log(path, &options));
    if log_files.is_empty() {
        return Ok(Reading { recording: read(&others)?, logs: None });
    }
    let mut logs = access_logs::read(&log_files, &options)?;
    for line in &logs.described {
        setting.output.say(line);
    }
    if !others.is_empty() {
        access_logs::join(&mut logs, read(&others)?);
    }
    Ok(Reading { recording: std::mem::take(&mut logs.recording), logs: Some(logs) })
}

/// One recording's folder, any number of trace files as one recording, or trace files beside a recording: what a tap saw,
/// and what the service told.
pub(crate) fn read(inputs: &[PathBuf]) -> Result<Recording> {
    if super::localize_profile::is_one(inputs) {
        return super::localize_profile::read(&inputs[0]);
    }
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = inputs.iter().cloned().partition(|p| p.is_dir());
    let folder = match folders.as_slice() {
        [] => None,
        [folder] => Some(folder),
        [one, other, ..] => {
            bail!("{} and {} are two recordings: give one, and trace files", one.display(), other.display())
        }
    };
    if let Some(folder) = folder.filter(|_| files.is_empty()) {
        return super::read_for_judging(folder);
    }
    let read = telemetry::files::read(&files)?;
    let gaps = read.report.gaps();
    if let Some(folder) = folder {
        let mut recording = super::read_for_judging(folder)?;
        recording.spans.append(&read.spans);
        recording.metrics.extend(read.metrics);
        recording.run.gaps.extend(gaps);
        return Ok(recording);
    }
    let mut recording = Recording { spans: read.spans, metrics: read.metrics, ..Recording::default() };
    recording.run.id =
        inputs.first().and_then(|p| p.file_name()).unwrap_or_default().to_string_lossy().into_owned();
    recording.run.complete = true;
    recording.run.gaps = gaps;
    Ok(recording)
}

/// Flags first. Then the settings file, as goals are edited there after a measurement; but a recording from elsewhere
/// brings its own.
fn goals(
    setting: &Setting,
    args: &LocalizeArgs,
    inputs: &[PathBuf],
    recording: &Recording,
) -> Result<Vec<Goal>> {
    let parse = |texts: &[String]| -> Result<Vec<Goal>> {
        texts.iter().map(|text| text.parse::<Goal>().map_err(anyhow::Error::from)).collect()
    };
    if !args.goals.is_empty() {
        return parse(&args.goals);
    }
    let own = inputs.iter().all(|input| input.starts_with(setting.journal().folder()));
    if setting.common.config.is_file() && (own || recording.run.goals.is_empty()) {
        return Ok(
            Settings::load(&setting.common.config, &setting.environment, &LoadOverrides::default())?.goals
        );
    }
    parse(&recording.run.goals)
}
