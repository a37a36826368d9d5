//! Runs one script and prints its summary: `cargo run --release -p script --example k6 -- test.js NAME=VALUE...`.
//! For measuring beside k6; the program itself is `trimtab load run`.

use script::{RunSettings, run};
use std::process::ExitCode;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints what it found")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else {
        eprintln!("usage: k6 FILE [NAME=VALUE]...");
        return ExitCode::from(2);
    };
    let here = std::env::current_dir().unwrap_or_default();
    let mut settings = RunSettings::new(here.join(file));
    settings.env =
        arguments.filter_map(|pair| pair.split_once('=').map(|(n, v)| (n.into(), v.into()))).collect();
    settings.listener = Arc::new(|level, text| eprintln!("{}: {text}", level.name()));
    match run(settings, &net::Shutdown::new()).await {
        Ok(report) => {
            println!("{}", report.text(script::Detail::Full));
            ExitCode::from(report.exit_code)
        }
        Err(failed) => {
            eprintln!("{failed}");
            ExitCode::from(failed.exit_code)
        }
    }
}
