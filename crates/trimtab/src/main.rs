//! Parse, resolve, run, exit code.

use clap::Parser;
use std::process::ExitCode;
use trimtab::args::Cli;
use trimtab::output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nobody is left to tell if even this cannot be printed.
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    match trimtab::commands::run(cli) {
        Ok(answer) => ExitCode::from(answer.code()),
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}
