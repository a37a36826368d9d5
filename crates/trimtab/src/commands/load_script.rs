//! `trimtab load run test.js`: a k6 script, with k6's flags, summary and exit codes.

use super::{Answer, Setting, load_outputs};
use crate::args::LoadRunArgs;
use crate::{clock, one_request, output};
use anyhow::{Context, Result, bail};
use clap::Args;
use load::out::Outputs;
use script::{Failed, Level, Overrides, Progress, Report, RunSettings};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What is typed for scripts alone; the names are k6's.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "k6 scripts")]
pub struct ScriptFlags {
    /// Virtual users
    #[arg(short = 'u', long, value_name = "N")]
    pub vus: Option<u32>,
    /// Iterations that the users share
    #[arg(short = 'i', long, value_name = "N")]
    pub iterations: Option<u64>,
    /// A stage, such as 30s:10; may be repeated
    #[arg(short = 's', long = "stage", value_name = "DURATION:TARGET")]
    pub stages: Vec<String>,
    /// A variable of the script's __ENV; may be repeated
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// A tag of every sample; may be repeated
    #[arg(long = "tag", value_name = "NAME=VALUE")]
    pub tags: Vec<String>,
    /// Do not call setup()
    #[arg(long)]
    pub no_setup: bool,
    /// Do not call teardown()
    #[arg(long)]
    pub no_teardown: bool,
    /// Judge no thresholds
    #[arg(long)]
    pub no_thresholds: bool,
    /// How much the summary lists: full has the parts of each request's time too
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    pub summary_mode: SummaryMode,
    /// Print no summary
    #[arg(long)]
    pub no_summary: bool,
    /// Figures of each trend in the summary, such as avg,p(99),count
    #[arg(long, value_delimiter = ',', value_name = "FIGURES")]
    pub summary_trend_stats: Vec<String>,
    /// Redirects to follow
    #[arg(long, value_name = "N")]
    pub max_redirects: Option<u32>,
    /// Requests per second of all users together at most
    #[arg(long, value_name = "PER_SECOND")]
    pub rps: Option<u32>,
    /// User-Agent header
    #[arg(long, value_name = "TEXT")]
    pub user_agent: Option<String>,
    /// Keep no body unless its request says so
    #[arg(long)]
    pub discard_response_bodies: bool,
    /// A connection for each request
    #[arg(long)]
    pub no_connection_reuse: bool,
    /// New connections for each iteration
    #[arg(long)]
    pub no_vu_connection_reuse: bool,
    /// Accept any certificate: for test systems only
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,
    /// Send no traceparent header
    #[arg(long)]
    pub no_traceparent: bool,
    /// A folder more from which scripts may read files; may be repeated
    #[arg(long, value_name = "FOLDER")]
    pub open_below: Vec<PathBuf>,
}

/// How much the summary lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SummaryMode {
    #[default]
    Compact,
    Full,
}

impl SummaryMode {
    fn detail(self) -> script::Detail {
        match self {
            Self::Compact => script::Detail::Compact,
            Self::Full => script::Detail::Full,
        }
    }
}

impl ScriptFlags {
    /// What is typed in place of the script's own options.
    fn options(&self) -> Vec<(&'static str, Value)> {
        let switch = |given: bool| given.then_some(Value::Bool(true));
        let stats = &self.summary_trend_stats;
        [
            ("summaryTrendStats", (!stats.is_empty()).then(|| stats.as_slice().into())),
            ("maxRedirects", self.max_redirects.map(Value::from)),
            ("rps", self.rps.map(Value::from)),
            ("userAgent", self.user_agent.as_deref().map(Value::from)),
            ("discardResponseBodies", switch(self.discard_response_bodies)),
            ("noConnectionReuse", switch(self.no_connection_reuse)),
            ("noVUConnectionReuse", switch(self.no_vu_connection_reuse)),
            ("insecureSkipTLSVerify", switch(self.insecure_skip_tls_verify)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Whether a file is a script and no scenario.
pub(super) fn is_script(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    one_request::url(file).is_none() && matches!(extension, Some("js" | "ts" | "mjs" | "mts"))
}

pub(super) async fn run(setting: &Setting, args: &LoadRunArgs) -> Result<Answer> {
    let settings = settings(setting, args)?;
    let (told, telling) = watch::channel(Progress::default());
    let live = tokio::spawn(show(setting.output, telling));
    let outputs = load_outputs::open(setting, args)?;
    let feed = outputs.as_ref().map(Outputs::feed);
    let settings = RunSettings { progress: Some(told), feed, ..settings };
    let done = script::run(settings, &setting.shutdown).await;
    live.abort();
    load_outputs::finish(setting, outputs).await;
    match done {
        Ok(report) => finish(setting, args, &report),
        Err(Failed { exit_code, error }) => {
            output::error(&error);
            Ok(Answer::Exit(exit_code))
        }
    }
}

fn settings(setting: &Setting, args: &LoadRunArgs) -> Result<RunSettings> {
    let flags = &args.script;
    let here = std::env::current_dir().context("the working directory is gone")?;
    let file = here.join(&args.file);
    if !file.is_file() {
        bail!("there is no script {}", args.file.display());
    }
    let mut settings = RunSettings::new(&file);
    settings.env.clone_from(&setting.environment.variables.0);
    settings.env.extend(pairs("--env", &flags.env)?);
    settings.overrides = Overrides {
        vus: flags.vus,
        duration: args.load.duration.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9))),
        iterations: flags.iterations,
        stages: flags.stages.clone(),
        tags: pairs("--tag", &flags.tags)?,
        no_setup: flags.no_setup,
        no_teardown: flags.no_teardown,
        no_thresholds: flags.no_thresholds,
        options: flags.options(),
        share: args.segment.as_ref().map(|text| text.parse().context("--segment")).transpose()?,
    };
    settings.open_below = readable(&here, &file, &flags.open_below)?;
    settings.seed = args.load.seed.unwrap_or_else(clock::now_ns);
    settings.traceparent = !flags.no_traceparent;
    settings.connection = connection(args)?;
    settings.unix_start = Duration::from_nanos(clock::now_ns());
    let output = setting.output;
    settings.listener = Arc::new(move |level, text| match level {
        Level::Debug => {}
        Level::Info => output.aside(text),
        Level::Warning | Level::Error => output.warn(text),
    });
    Ok(settings)
}

/// What is typed about connections; what only scenarios have is refused.
fn connection(args: &LoadRunArgs) -> Result<load::http::Overrides> {
    let connection = args.load.connection.check()?;
    for (flag, given, instead) in [
        ("--max-in-flight", connection.max_in_flight.is_some(), "a script says vus or maxVUs"),
        ("--compression", connection.accept_encoding.is_some(), "a script sets its Accept-Encoding header"),
        ("--output", args.output_dir.is_some(), "a recording needs a scenario file; --out writes samples"),
        ("--save", args.output.save.is_some(), "a saved result needs a scenario file"),
        ("--users", args.users.is_some(), "a script has --vus"),
        ("--rate", args.load.rate.is_some(), "a script says its rate in options.scenarios"),
    ] {
        if given {
            bail!("{flag}: not for scripts: {instead}");
        }
    }
    Ok(connection.overrides)
}

pub(super) fn pairs(flag: &str, texts: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let (name, value) =
            text.split_once('=').with_context(|| format!("{flag} {text}: expected NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
}

/// The working directory, the script's folder, the repository that it lies in, and what was allowed.
fn readable(here: &Path, file: &Path, more: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let folder = file.parent().unwrap_or(here);
    let repository = folder.ancestors().find(|folder| folder.join(".git").exists());
    let usual = [Some(here), Some(folder), repository].into_iter().flatten().map(Path::to_path_buf);
    let real = |folder: PathBuf| {
        std::fs::canonicalize(&folder).with_context(|| format!("--open-below {}", folder.display()))
    };
    let mut all = usual.chain(more.iter().cloned()).map(real).collect::<Result<Vec<_>>>()?;
    all.sort();
    all.dedup();
    Ok(all)
}

/// A line that rewrites itself.
async fn show(output: output::Output, mut telling: watch::Receiver<Progress>) {
    while telling.changed().await.is_ok() {
        let now = telling.borrow_and_update().clone();
        let left = now.latest_end.saturating_sub(now.elapsed);
        output.progress(&format!(
            "{:.0} s, {:.0} s left: {} of {} users busy, {} iterations, {:.0} requests, p95 {:.1} ms, {} failed checks",
            now.elapsed.as_secs_f64(),
            left.as_secs_f64(),
            now.active_users,
            now.users,
            now.iterations,
            now.requests,
            now.p95_ms,
            now.failed_checks,
        ));
    }
}

fn finish(setting: &Setting, args: &LoadRunArgs, report: &Report) -> Result<Answer> {
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
    };
    if let Some(path) = &args.output.summary_export {
        write(path, &serde_json::to_string_pretty(&report.export())?)?;
    }
    if let Some(path) = &args.output.junit {
        write(path, &report.junit())?;
    }
    let mut shown = false;
    for (place, text) in &report.outputs {
        match place.as_str() {
            "stdout" => {
                setting.output.result(text);
                shown = true;
            }
            "stderr" => setting.output.aside(text),
            path => write(Path::new(path), text)?,
        }
    }
    if setting.output.json() {
        setting.output.result(&serde_json::to_string_pretty(&report.export())?);
    } else if !shown && report.outputs.is_empty() && !args.script.no_summary {
        setting.output.result(&report.text(args.script.summary_mode.detail()));
    }
    if let Some(why) = &report.ended_early {
        setting.output.warn(why);
    }
    if !report.failed_thresholds.is_empty() {
        let metrics = report.failed_thresholds.join(", ");
        setting.output.warn(&format!("thresholds on metrics '{metrics}' have been crossed"));
    }
    let doubtful = args.output.strict && !report.doubts.is_empty();
    Ok(if report.exit_code == 0 && doubtful { Answer::Unknown } else { Answer::Exit(report.exit_code) })
}
