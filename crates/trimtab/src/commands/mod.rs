//! One file per command: settings in, answer out. The exit code is the answer.

mod change;
mod compare;
mod database;
mod database_mariadb;
mod database_redis;
mod database_sqlite;
mod demo;
mod init;
mod load;
mod load_find;
mod load_from;
mod load_merge;
mod load_outputs;
mod load_record;
pub(crate) mod load_script;
mod localize;
mod localize_from;
mod localize_profile;
mod looping;
mod measure;
pub(crate) mod measure_levels;
mod profile;
mod report;
pub(crate) mod tap;
mod tap_told;
mod verify;

use crate::args::{Cli, Command, Common, LoadOverrides};
use crate::journal::Journal;
use crate::output::Output;
use crate::settings::{Environment, Settings};
use crate::{trials, window};
use anyhow::{Context, Result, bail};
use model::{Diagnosis, Recording};
use net::Shutdown;
use std::future::Future;
use std::path::Path;

/// The answer of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    /// Goal missed, not better, rolled back.
    No,
    /// Could not answer.
    Unknown,
    /// Another program's code: a script's run ends as k6's.
    Exit(u8),
}

impl Answer {
    pub fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Unknown => 2,
            Self::Exit(code) => code,
        }
    }

    /// Whether a yes.
    pub fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    /// Whether all goals are met. One that was not measured is no yes, nor is one that is met by figures that flatter.
    pub(crate) fn of_goals(diagnosis: &Diagnosis) -> Self {
        let any = |state| diagnosis.goals.iter().any(|goal| goal.met == state);
        let flattering = !trials::reasons_against(&diagnosis.recording.validity).is_empty();
        if any(Some(false)) {
            Self::No
        } else if any(None) || (flattering && any(Some(true))) {
            Self::Unknown
        } else {
            Self::Yes
        }
    }
}

/// What every command is given.
pub(crate) struct Setting {
    pub common: Common,
    pub output: Output,
    pub environment: Environment,
    pub shutdown: Shutdown,
}

impl Setting {
    pub(crate) fn settings(&self, flags: &LoadOverrides) -> Result<Settings> {
        Settings::load(&self.common.config, &self.environment, flags)
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::beside(&self.common.config)
    }
}

/// A recording as it is judged: what its window holds. On disk there is the warm-up too.
fn read_recording(folder: &Path) -> Result<Recording> {
    read_wanted(folder, None)
}

/// A recording with what the rules look at, and no other attribute.
fn read_for_judging(folder: &Path) -> Result<Recording> {
    read_wanted(folder, Some(::localize::ATTRIBUTES))
}

fn read_wanted(folder: &Path, attributes: Option<&[&str]>) -> Result<Recording> {
    let mut recording = recording::read_wanted(folder, attributes)?;
    window::cut_to_window(&mut recording);
    measure_levels::cut_to_reference(folder, &mut recording);
    Ok(recording)
}

/// Keeps the findings beside their recording; where that fails, the answer is given all the same.
fn save_findings(setting: &Setting, folder: &Path, diagnosis: &Diagnosis) {
    if !folder.join("run.json").is_file() {
        return; // The recording was not saved, which was told.
    }
    if let Err(error) = recording::write_findings(folder, diagnosis) {
        setting.output.warn(&format!("the findings are not saved: {error:#}"));
    }
}

/// Runs a command to its answer.
pub fn run(cli: Cli) -> Result<Answer> {
    let environment = Environment::read();
    let output = Output::new(&cli.common, environment.no_color, environment.columns);
    let context = Setting { common: cli.common, output, environment, shutdown: Shutdown::new() };
    match cli.command {
        Command::Demo(args) => block_on(&context, demo::run(&context, &args)),
        Command::Init(args) => block_on(&context, init::run(&context, &args)),
        Command::Measure(args) => block_on(&context, measure::run(&context, &args)),
        Command::Localize(args) => localize::run(&context, &args),
        Command::Compare(args) => compare::run(&context, &args),
        Command::Change(args) => block_on(&context, change::run(&context, &args)),
        Command::Verify(args) => block_on(&context, verify::run(&context, &args)),
        Command::Loop(args) => block_on(&context, looping::run(&context, &args)),
        Command::Database(args) => block_on(&context, database::run(&context, &args)),
        Command::Tap(args) => block_on(&context, tap::run(&context, &args)),
        Command::Load(args) => block_on(&context, load::run(&context, &args)),
        Command::Profile(args) => block_on(&context, profile::run(&context, &args)),
        Command::Report(args) => report::run(&context, &args),
        Command::InternalShop(args) => block_on_shop(&args.action),
    }
}

/// Runs on a fresh runtime; the first Ctrl-C (or SIGTERM) asks for an early end, the second ends at once.
fn block_on(context: &Setting, work: impl Future<Output = Result<Answer>>) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the async runtime")?;
    runtime.block_on(async {
        // A task of its own: work may be waiting for an answer on the terminal.
        let signals = tokio::spawn(listen(context.shutdown.clone(), context.output));
        tokio::select! {
            answer = Box::pin(work) => answer,
            _ = signals => bail!("ended by a second signal"),
        }
    })
}

async fn listen(shutdown: Shutdown, output: Output) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        output.warn("signals cannot be watched: Ctrl-C ends without a report");
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if shutdown.is_triggered() {
            // Dropping the work takes back what is in force: the guards see to it.
            return;
        }
        output.say("Ending early; what was measured is kept. Once more ends at once.");
        shutdown.trigger();
    }
}

/// The built-in service, in a process of its own.
fn block_on_shop(action: &str) -> Result<Answer> {
    anyhow::ensure!(action == "serve", "unknown action `{action}`, expected serve");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the async runtime")?;
    runtime.block_on(async {
        let config = shop::Config::from_env()?;
        Box::pin(shop::run(config, shop::stop_signal()?)).await
    })?;
    Ok(Answer::Yes)
}
