//! What was typed. Defaults are the sizes at which the published figures were measured.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The hidden word that turns this program into `trimtab` itself.
pub(crate) const PROGRAM: &str = "internal-trimtab";

#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "What was promised beside what is measured",
    after_help = "Example:
  cargo xtask bench predictions

Exit codes: 0 all targets reached; 1 a target missed; 2 could not be measured."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub bench: Bench,
    /// Print one JSON object
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Every switch of the shop alone: predicted beside actual
    Predictions(PredictionsArgs),
    /// The demo, several times, with other seeds
    Demo(DemoArgs),
    /// Spans received over HTTP and kept, beside rotel
    Ingest(IngestArgs),
    /// From a recording on disk to findings
    Localize(LocalizeArgs),
    /// What a request costs the load generator
    Load(LoadArgs),
    #[command(hide = true)]
    InternalReceiver(ReceiverArgs),
    #[command(hide = true)]
    InternalLocalize(JudgeArgs),
    #[command(hide = true)]
    InternalServer,
}

#[derive(Debug, Args)]
pub(crate) struct PredictionsArgs {
    /// Start from the good form of everything and make one thing naive at a time
    #[arg(long)]
    pub from_good: bool,
    /// Only changes whose name contains one of these
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Seconds of the measurement that predictions are made from
    #[arg(long, default_value_t = 25.0, value_name = "SECONDS")]
    pub measure: f64,
    /// Seconds of the trial of each change
    #[arg(long, default_value_t = 65.0, value_name = "SECONDS")]
    pub trial: f64,
    /// The demo's load, but what a change is about at least so often: a p95 takes a hundred requests of each arm
    #[arg(long, default_value_t = 6.0, value_name = "PER_SECOND")]
    pub at_least: f64,
    /// Seed of the load's chance
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Never fetch anything: use the Postgres of this machine or fail
    #[arg(long)]
    pub offline: bool,
    /// Keep the recordings that predictions were made from here
    #[arg(long, value_name = "FOLDER")]
    pub recordings: Option<PathBuf>,
    /// Write the table as Markdown, `docs/predictions.md`
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub runs: u64,
    /// Seed of the first run; the others follow
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// A `trimtab` other than the one that was built with this benchmark
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Passed on: end after this many changes
    #[arg(long, value_name = "N")]
    pub steps: Option<u32>,
    /// Passed on: never fetch anything
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Spans that each receiver is sent in each round
    #[arg(long, default_value_t = 500_000, value_name = "N")]
    pub spans: usize,
    /// Rounds of all receivers in turn; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// Do not fetch or run rotel
    #[arg(long)]
    pub alone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LocalizeArgs {
    /// Spans of the recording
    #[arg(long, default_value_t = 500_000, value_name = "N")]
    pub spans: usize,
    /// Rounds; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Arrivals per second
    #[arg(long, default_value_t = 10_000.0, value_name = "PER_SECOND")]
    pub rate: f64,
    /// Seconds of each round
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    pub duration: f64,
    /// Rounds; the median counts
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiverArgs {
    /// Where the recording goes
    pub folder: PathBuf,
    /// Bytes that spans may hold in memory before they go to disk
    pub max_resident_bytes: usize,
}

#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    pub folder: PathBuf,
    /// Read only the attributes that the rules look at
    #[arg(long)]
    pub needed_only: bool,
}
