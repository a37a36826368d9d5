//! `trimtab load run`: a load test alone.

use super::{Answer, Setting, load_find, load_merge, load_script};
use crate::args::{LoadArgs, LoadCommand, LoadOutputArgs, LoadRunArgs};
use crate::session::Session;
use crate::settings::Settings;
use anyhow::{Context, Result};
use load::{LoadResult, Saved};
use std::path::Path;

pub(super) async fn run(setting: &Setting, args: &LoadArgs) -> Result<Answer> {
    match &args.command {
        LoadCommand::Run(args) if load_script::is_script(&args.file) => {
            Box::pin(load_script::run(setting, args)).await
        }
        LoadCommand::Run(args) => run_file(setting, args).await,
        LoadCommand::From(args) => super::load_from::run(setting, args),
        LoadCommand::Find(args) => Box::pin(load_find::run(setting, args)).await,
        LoadCommand::Merge(args) => load_merge::run(setting, args),
    }
}

async fn run_file(setting: &Setting, args: &LoadRunArgs) -> Result<Answer> {
    let settings = Settings::load(&args.file, &setting.environment, &args.load)?;
    let duration = settings.load.warm_up + settings.load.duration;
    let session = Session::open(settings, None, setting.output, setting.shutdown.clone()).await?;
    session.check_target().await?;
    let mut options = session.load_options(duration, 1000, 0);
    options.judge_warm_up = true;
    options.users = args.users.or(options.users);
    if let Some(segment) = &args.segment {
        options.share = segment.parse().context("--segment")?;
    }
    let result = session.run_load(options, "load").await?;
    show(setting, &result, &args.output)?;
    Ok(answer(&result, args.output.strict))
}

/// Writes the files that were asked for, and prints the summary.
pub(super) fn show(setting: &Setting, result: &LoadResult, args: &LoadOutputArgs) -> Result<()> {
    let summary = load::summary(result);
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
    };
    if let Some(path) = &args.summary_export {
        write(path, serde_json::to_string_pretty(&load::k6_json(&summary))?)?;
    }
    if let Some(path) = &args.save {
        write(path, serde_json::to_string(&Saved::from(result))?)?;
    }
    if setting.output.json() {
        setting.output.result(&serde_json::to_string_pretty(&load::k6_json(&summary))?);
    } else {
        setting.output.result(&load::text(&summary));
    }
    Ok(())
}

/// Figures that are not to be used are no answer; doubtful ones only where asked.
pub(super) fn answer(result: &LoadResult, strict: bool) -> Answer {
    let issues = &result.validity.issues;
    let invalid = issues.iter().any(|issue| issue.invalid);
    if invalid || (strict && !issues.is_empty()) { Answer::Unknown } else { Answer::Yes }
}
