//! `trimtab load run`: a load test alone.

use super::{Answer, Setting, load_find, load_merge, load_outputs, load_record, load_script};
use crate::args::{LoadArgs, LoadCommand, LoadOutputArgs, LoadRunArgs};
use crate::session::Session;
use crate::{clock, one_request};
use anyhow::{Context, Result, ensure};
use load::out::Outputs;
use load::{LoadResult, Saved};
use model::Goal;
use std::path::Path;
use std::time::Duration;

pub(super) async fn run(setting: &Setting, args: &LoadArgs) -> Result<Answer> {
    match &args.command {
        LoadCommand::Run(args) if !begin_at(setting, args.start_at).await? => Ok(Answer::Unknown),
        LoadCommand::Run(args) if load_script::is_script(&args.file) => {
            args.request.refuse_beside(&args.file)?;
            Box::pin(load_script::run(setting, args)).await
        }
        LoadCommand::Run(args) => run_file(setting, args).await,
        LoadCommand::From(args) => super::load_from::run(setting, args),
        LoadCommand::Find(args) => Box::pin(load_find::run(setting, args)).await,
        LoadCommand::Merge(args) => load_merge::run(setting, args),
    }
}

/// A generator that is later than this would not fit the others' cells of time.
const MAX_LATE_S: u64 = 2;

/// Waits for the time at which all generators begin; `false` where Ctrl-C came first.
async fn begin_at(setting: &Setting, start_at: Option<u64>) -> Result<bool> {
    let Some(start_s) = start_at else { return Ok(true) };
    let now_ns = clock::now_ns();
    let start_ns = start_s.saturating_mul(1_000_000_000);
    ensure!(
        start_ns.saturating_add(MAX_LATE_S * 1_000_000_000) >= now_ns,
        "--start-at {start_s}: that was {} s ago, the others have begun",
        (now_ns - start_ns) / 1_000_000_000
    );
    setting.output.progress(&format!("waiting until {start_s} (Unix seconds)"));
    tokio::select! {
        () = tokio::time::sleep(Duration::from_nanos(start_ns.saturating_sub(now_ns))) => Ok(true),
        () = setting.shutdown.wait() => Ok(false),
    }
}

async fn run_file(setting: &Setting, args: &LoadRunArgs) -> Result<Answer> {
    let pace = (args.load.rate, args.users);
    let settings = one_request::settings(&args.file, &args.request, pace, &setting.environment, &args.load)?;
    let duration = settings.load.warm_up + settings.load.duration;
    let session = Session::open(settings, None, setting.output, setting.shutdown.clone()).await?;
    session.check_target().await?;
    let mut options = session.load_options(duration, 1000, 0);
    options.judge_warm_up = true;
    options.users = args.users.or(options.users);
    if let Some(segment) = &args.segment {
        options.share = segment.parse().context("--segment")?;
    }
    ensure!(
        options.users.is_none() || options.workloads.is_empty(),
        "--users: the scenarios of {} have their own users",
        args.file.display()
    );
    if let Some(folder) = &args.output_dir {
        load_record::check(folder)?;
    }
    options.slowest_samples = options.slowest_samples.max(args.output.slowest);
    let outputs = load_outputs::open(setting, args)?;
    options.feed = outputs.as_ref().map(Outputs::feed);
    if !options.workloads.is_empty() {
        options.duration = duration;
    }
    let result = session.run_load(options, "load").await;
    load_outputs::finish(setting, outputs).await;
    let result = result?;
    if let Some(folder) = &args.output_dir {
        load_record::write(&session, &result, folder)?;
        setting.output.note(&format!("recording: {0}; see it with: trimtab report {0}", folder.display()));
    }
    show(setting, &result, &session.settings.goals, &args.output)
}

/// Writes the files that were asked for, and prints the summary. Goals that are missed are a no; figures that are not to
/// be used are no answer, doubtful ones only where asked.
pub(super) fn show(
    setting: &Setting,
    result: &LoadResult,
    goals: &[Goal],
    args: &LoadOutputArgs,
) -> Result<Answer> {
    let mut summary = load::summary(result, args.slowest);
    summary.goals = load::judge_goals(result, goals);
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
    };
    if let Some(path) = &args.summary_export {
        write(path, serde_json::to_string_pretty(&load::k6_json(&summary))?)?;
    }
    if let Some(path) = &args.junit {
        write(path, load::junit(&summary))?;
    }
    if let Some(path) = &args.save {
        write(path, serde_json::to_string(&Saved::from(result))?)?;
    }
    if setting.output.json() {
        setting.output.result(&serde_json::to_string_pretty(&load::k6_json(&summary))?);
    } else {
        setting.output.result(&load::text(&summary));
    }
    let issues = &result.validity.issues;
    let invalid = issues.iter().any(|issue| issue.invalid);
    let missed = summary.goals.iter().any(|goal| goal.met == Some(false));
    Ok(match () {
        () if invalid || (args.strict && !issues.is_empty()) => Answer::Unknown,
        () if missed => Answer::No,
        () => Answer::Yes,
    })
}
