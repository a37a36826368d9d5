//! `trimtab measure`: all instruments over one window, saved as a recording.

use super::{Answer, Setting};
use crate::args::MeasureArgs;
use crate::process::{Running, Stdout};
use crate::profiling::Wanted;
use crate::session::{self, Session};
use crate::{clock, cycle, story};
use anyhow::{Context, Result, bail};
use recording::Writer;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a service that we started may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// From one look whether it answers to the next.
const START_POLL: Duration = Duration::from_millis(100);

pub(super) async fn run(setting: &Setting, args: &MeasureArgs) -> Result<Answer> {
    let settings = setting.settings(&args.load)?;
    if let Some(folder) = &args.output {
        // Before the load, not after it: another recording in that folder stays as it is.
        drop(Writer::create(folder)?);
    }
    let receiver = session::open_receiver(&settings).await?;
    let endpoint = session::endpoint(receiver.as_ref());
    let wanted = wanted(args);
    let mut environment = Vec::new();
    if wanted != Wanted::No {
        environment =
            super::profile::node_environment(&args.command, setting.environment.node_options.as_deref());
    }
    let service = start(&args.command, endpoint.as_deref(), environment).await?;
    let mut session = Session::open(settings, receiver, setting.output, setting.shutdown.clone()).await?;
    if args.stepped.wanted() {
        return Box::pin(super::measure_levels::run(setting, args, &mut session, service)).await;
    }
    session.profile = wanted;
    let (recording, folder) = Box::pin(measure(setting, args, &mut session, service)).await?;
    if wanted.is_required() && recording.profile.is_none() {
        let gap = recording.run.gaps.iter().find(|gap| gap.signal == "profile");
        bail!("{}", gap.map_or("the service was not profiled", |gap| gap.reason.as_str()));
    }
    let diagnosis = cycle::diagnose(&recording, &session.settings.goals, &setting.journal());
    super::save_findings(setting, &folder, &diagnosis);
    if setting.output.json() {
        setting.output.result(&report::json(&diagnosis));
    } else {
        setting.output.result(&story::measured(&diagnosis, &folder, setting.output));
    }
    Ok(Answer::of_goals(&diagnosis))
}

fn wanted(args: &MeasureArgs) -> Wanted {
    match args {
        MeasureArgs { node_inspector: true, .. } => Wanted::WithInspector,
        MeasureArgs { profile: true, .. } => Wanted::Yes,
        MeasureArgs { no_profile: true, .. } => Wanted::No,
        _ => Wanted::IfPossible,
    }
}

async fn measure(
    setting: &Setting,
    args: &MeasureArgs,
    session: &mut Session,
    service: Option<Running>,
) -> Result<(model::Recording, PathBuf)> {
    let mut service = service;
    let folder = ready(setting, args, session, service.as_mut()).await?;
    let recording = session.measure(&folder, "measuring").await;
    if let Some(running) = service {
        running.stop().await;
    }
    Ok((recording?, folder))
}

/// Waits until the service answers, has it watched, and names the folder of the recording.
pub(super) async fn ready(
    setting: &Setting,
    args: &MeasureArgs,
    session: &mut Session,
    service: Option<&mut Running>,
) -> Result<PathBuf> {
    if let Some(running) = service {
        wait_until_it_answers(session, running).await?;
        if let Some(pid) = running.pid() {
            session.watch("service", pid);
        }
    } else {
        session.check_target().await?;
    }
    match &args.output {
        Some(folder) => Ok(folder.clone()),
        None => setting.journal().new_recording(&clock::stamp(clock::now_ns())),
    }
}

async fn start(
    command: &[String],
    otlp: Option<&str>,
    mut environment: Vec<(String, String)>,
) -> Result<Option<Running>> {
    if command.is_empty() {
        return Ok(None);
    }
    if let Some(endpoint) = otlp {
        environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.to_owned()));
        environment.push(("OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(), "http/protobuf".to_owned()));
    }
    let (running, _) = Running::start(command, &environment, Stdout::Discarded, START_PATIENCE).await?;
    Ok(Some(running))
}

async fn wait_until_it_answers(session: &Session, running: &mut Running) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let answer = session.check_target().await;
        if answer.is_ok() {
            return Ok(());
        }
        if let Some(status) = running.ended() {
            bail!("the service ended at its start with {status}");
        }
        if Instant::now() >= deadline || session.shutdown.is_triggered() {
            return answer.context("the service that was started did not become ready");
        }
        tokio::time::sleep(START_POLL).await;
    }
}
