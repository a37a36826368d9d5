//! `trimtab demo`: the loop on the built-in shop, from missed goals to met ones.

use super::{Answer, Setting};
use crate::apply::Hands;
use crate::args::DemoArgs;
use crate::cycle::{Cycle, Limits};
use crate::demo::{self, Stage};
use crate::journal::Journal;
use crate::session::{self, Session};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

pub(super) async fn run(setting: &Setting, args: &DemoArgs) -> Result<Answer> {
    let begun = Instant::now();
    let output = setting.output;
    let folder =
        tempfile::Builder::new().prefix("trimtab-demo-").tempdir().context("could not make a folder")?;
    let receiver = session::listen("127.0.0.1:0", None).await?;
    let endpoint = session::endpoint(Some(&receiver));
    let started = Stage::start(output, args.offline, endpoint.as_deref());
    let stage = tokio::select! {
        stage = started => stage?,
        () = setting.shutdown.wait() => return Ok(Answer::Unknown),
    };
    let outcome =
        story(setting, args, &stage, receiver, Journal::at(folder.path().to_path_buf()), begun).await;
    if args.keep && outcome.is_ok() {
        output.say(&format!("The shop stays at {} until Ctrl-C.", stage.url));
        setting.shutdown.wait().await;
    }
    stage.stop().await;
    outcome
}

async fn story(
    setting: &Setting,
    args: &DemoArgs,
    stage: &Stage,
    receiver: telemetry::Handle,
    journal: Journal,
    begun: Instant,
) -> Result<Answer> {
    let output = setting.output;
    let settings = demo::settings(&stage.url, &stage.database_url, args.seed)?;
    let hands = Hands { service_url: stage.url.clone(), database_url: Some(stage.database_url.clone()) };
    let mut session = Session::open(settings, Some(receiver), output, setting.shutdown.clone()).await?;
    if let Some(pid) = stage.shop.pid() {
        session.watch("service", pid);
    }
    session.watch("database", stage.postgres.pid());
    output.say("Goals (crates/trimtab/src/demo/trimtab.toml shows all settings):");
    let limits = Limits { steps: args.steps, deadline: Some(begun + Duration::from_secs(args.budget)) };
    let outcome = Cycle::new(&mut session, &journal, output, hands, limits, None).run().await?;
    super::looping::conclude(setting, &outcome, &args.report)?;
    output.say(&format!("Took {:.0} s.", begun.elapsed().as_secs_f64()));
    Ok(outcome.ending.answer())
}
