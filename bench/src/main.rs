//! Benchmarks: what was promised beside what is measured. Parse, run, print, exit code: 0 all targets reached, 1 one
//! missed, 2 could not be measured. Sizes are parameters, so that tests run every one of them small.

mod args;
mod demo;
mod figures;
mod from_recording;
mod generator;
mod ingest;
mod machine;
mod predictions;
mod process;
mod traffic;

use anyhow::{Context, Result};
use args::{Bench, Cli};
use clap::Parser;
use figures::Figures;
use std::io::Write;
use std::process::ExitCode;
use trimtab::output;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    // The demo starts its own program again as the shop; here that program is this one.
    if words.get(1).is_some_and(|word| word == "internal-shop") {
        return Ok(program(&words));
    }
    if words.get(1).is_some_and(|word| word == args::PROGRAM) {
        return Ok(program(&words[1..]));
    }
    let cli = Cli::parse_from(words);
    let figures = match cli.bench {
        Bench::Predictions(args) => async_main(predictions::run(&args, cli.json))?,
        Bench::Demo(args) => demo::run(&args)?,
        Bench::Ingest(args) => async_main(ingest::run(&args))?,
        Bench::Localize(args) => from_recording::run(&args)?,
        Bench::Load(args) => async_main(generator::run(&args))?,
        Bench::InternalReceiver(args) => {
            async_main(ingest::receiver::serve(&args))?;
            return Ok(ExitCode::SUCCESS);
        }
        Bench::InternalLocalize(args) => {
            from_recording::judge(&args)?;
            return Ok(ExitCode::SUCCESS);
        }
        Bench::InternalServer => {
            async_main(generator::serve())?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    print(&figures, cli.json)?;
    Ok(ExitCode::from(u8::from(!figures.reached())))
}

/// This program as `trimtab`: what is measured is always what was just built.
fn program(words: &[String]) -> ExitCode {
    match trimtab::args::Cli::try_parse_from(words)
        .map_err(anyhow::Error::from)
        .and_then(trimtab::commands::run)
    {
        Ok(answer) => ExitCode::from(answer.code()),
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}

fn async_main<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the async runtime")?;
    runtime.block_on(Box::pin(work))
}

fn print(figures: &Figures, json: bool) -> Result<()> {
    let text = if json { serde_json::to_string_pretty(&figures.json())? } else { figures.text() };
    writeln!(std::io::stdout(), "{}", text.trim_end()).context("could not print the figures")
}
