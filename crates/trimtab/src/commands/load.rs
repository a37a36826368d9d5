//! `trimtab load run`: a load test alone.

use super::{Answer, Setting};
use crate::args::{LoadArgs, LoadCommand, LoadRunArgs};
use crate::session::Session;
use crate::settings::Settings;
use anyhow::{Context, Result};

pub(super) async fn run(setting: &Setting, args: &LoadArgs) -> Result<Answer> {
    match &args.command {
        LoadCommand::Run(args) => run_file(setting, args).await,
        LoadCommand::From(args) => super::load_from::run(setting, args),
    }
}

async fn run_file(setting: &Setting, args: &LoadRunArgs) -> Result<Answer> {
    let settings = Settings::load(&args.file, &setting.environment, &args.load)?;
    let duration = settings.load.warm_up + settings.load.duration;
    let session = Session::open(settings, None, setting.output, setting.shutdown.clone()).await?;
    session.check_target().await?;
    let options = session.load_options(duration, 1000, 0);
    let result = session.run_load(options, "load").await?;
    let summary = load::summary(&result);
    if let Some(path) = &args.summary_export {
        let json = serde_json::to_string_pretty(&load::k6_json(&summary))?;
        std::fs::write(path, json).with_context(|| format!("could not write {}", path.display()))?;
    }
    if setting.output.json() {
        setting.output.result(&serde_json::to_string_pretty(&load::k6_json(&summary))?);
    } else {
        setting.output.result(&load::text(&summary));
    }
    let doubtful = !result.validity.issues.is_empty();
    let invalid = result.validity.issues.iter().any(|i| i.invalid);
    if invalid || (args.strict && doubtful) {
        return Ok(Answer::Unknown);
    }
    Ok(Answer::Yes)
}
