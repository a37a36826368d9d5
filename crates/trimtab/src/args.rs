//! What was typed, as typed. Meaning is given in `settings`; nothing here reads a file.

use crate::access_logs::LogFlags;
use crate::commands::load_script::ScriptFlags;
use crate::commands::measure_levels::LevelFlags;
use crate::commands::tap::TapArgs;
use crate::connection::ConnectionFlags;
use crate::one_request::RequestFlags;
use clap::{Args, Parser, Subcommand, ValueEnum};
use report::team::FailOn;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "trimtab",
    version,
    about = "The performance loop in one program: goals -> measure -> localize -> change -> verify",
    after_help = "Examples:
  trimtab demo                            the whole loop on a built-in slow service
  trimtab init http://127.0.0.1:8080      write a trimtab.toml to edit
  trimtab measure                         all instruments, under load -> a recording
  trimtab localize                        ranked findings of the last recording
  trimtab localize traces.jsonl.gz        ... of trace files
  trimtab compare a.json b.json           which findings are new, gone or changed
  trimtab verify                          measure again and judge against the last recording

Exit codes: 0 yes; 1 the answer is no (goal missed, not better); 2 could not answer."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Common {
    /// Settings file
    #[arg(long, global = true, default_value = "trimtab.toml", env = "TRIMTAB_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Output for people or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// No progress, only results
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole loop on the built-in shop: nothing to install, nothing left behind
    Demo(DemoArgs),
    /// Look at a service and write a trimtab.toml with goals to edit
    Init(InitArgs),
    /// Drive the load and record what all instruments see
    Measure(MeasureArgs),
    /// Say what is slow, why, and what a fix will bring
    Localize(LocalizeArgs),
    /// Say which findings are new, gone or changed between two diagnoses
    Compare(CompareArgs),
    /// Apply the remedy of one finding where Trimtab can, else print it
    Change(ChangeArgs),
    /// Judge a change: better, worse, same or unclear
    Verify(VerifyArgs),
    /// Run the loop on your service: measure, localize, change, verify, until the goals are met
    Loop(LoopArgs),
    /// Look at a database alone (Postgres, MariaDB, MySQL, SQLite, Redis): statements, indexes that would help, its state; changes nothing
    Database(DatabaseArgs),
    /// Stand between an application and its Postgres server, and record the statements: needs no traces
    Tap(TapArgs),
    /// Load tests alone
    Load(LoadArgs),
    /// A flame graph that adds up: of a running process, a command, or another profiler's file
    Profile(ProfileArgs),
    /// Write the report of a recording as one HTML file
    Report(ReportArgs),
    /// The demo's service alone
    #[command(hide = true, name = "internal-shop")]
    InternalShop(InternalShopArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab demo
  trimtab demo --steps 2 --keep
  trimtab demo --seed 7 --report shop.html")]
pub struct DemoArgs {
    /// End after this many changes
    #[arg(long, value_name = "N")]
    pub steps: Option<u32>,
    /// Leave the shop and its database running afterwards, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Seed of the load's chance
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Never fetch anything: use the Postgres of this machine or fail
    #[arg(long)]
    pub offline: bool,
    /// Where to write the report
    #[arg(long, default_value = "trimtab-demo.html", value_name = "FILE")]
    pub report: PathBuf,
    /// Stop starting new steps after this many seconds
    #[arg(long, default_value_t = 165, value_name = "SECONDS")]
    pub budget: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab init http://127.0.0.1:8080            its endpoints, where it serves an OpenAPI description
  trimtab init http://127.0.0.1:8080 --writes   also those that change data")]
pub struct InitArgs {
    /// Base URL of the service
    pub url: String,
    /// Keep operations that change data (POST, PUT, PATCH, DELETE); else they are written as comments
    #[arg(long)]
    pub writes: bool,
    /// Overwrite an existing settings file
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab measure
  trimtab measure --duration 60 --rate 80
  trimtab measure --levels                          stepped load: how much it can take, what is full first
  trimtab measure --levels 10,20,40,80 --for-rate 500
  trimtab measure -- node server.js        start the service, measure it, end it")]
pub struct MeasureArgs {
    #[command(flatten)]
    pub load: LoadOverrides,
    #[command(flatten)]
    pub stepped: LevelFlags,
    /// Profile the service's processes too, and fail where that cannot be done
    #[arg(long, conflicts_with = "no_profile")]
    pub profile: bool,
    /// Do not profile: without either flag it is done where permission and cost allow
    #[arg(long)]
    pub no_profile: bool,
    /// Profile, and open the debug port of a running node: until the end every local user can run code in it
    #[arg(long, conflicts_with = "no_profile")]
    pub node_inspector: bool,
    /// Where to save the recording
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Start the service with this command, and end it afterwards
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct LoadOverrides {
    /// How long to measure: 30, 30s, 1m30s
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub duration: Option<f64>,
    /// Requests per second over all operations
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Seed of the load's chance
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// redis://user:password@host:port whose commands are counted by endpoint; also TRIMTAB_CACHE_URL, [cache] url
    #[arg(long, value_name = "URL")]
    pub cache: Option<String>,
    #[command(flatten)]
    pub connection: Box<ConnectionFlags>,
}

/// `30`, `1.5`, `30s`, `1m30s`, `500ms`, `2h` as seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no time such as 30, 30s or 1m30s");
    if let Ok(number) = text.parse::<f64>() {
        return if number.is_finite() && number >= 0.0 { Ok(number) } else { Err(wrong()) };
    }
    let (mut sum, mut rest) = (0.0, text.trim());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        sum += number
            * match unit {
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return Err(wrong()),
            };
        rest = tail;
    }
    if text.trim().is_empty() { Err(wrong()) } else { Ok(sum) }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab localize                                     the last recording
  trimtab localize .trimtab/recordings/20261122-2101   a recording
  trimtab localize spans.jsonl.gz more.json            OTLP, Jaeger or Zipkin files
  trimtab localize access.log --goal 'p95(*) < 300 ms' an access log, also .gz and .zst
  trimtab localize now.jsonl --baseline healthy.jsonl  what changed, and in which service
  trimtab localize --from 'jaeger://host:16686/orders?lookback=1h&limit=500'
                                                       traces of a service that Jaeger (or Tempo) keeps")]
pub struct LocalizeArgs {
    /// A recording, or trace files and access logs; without any, the last recording
    pub inputs: Vec<PathBuf>,
    /// A healthy recording or trace file to compare with
    #[arg(long, value_name = "RECORDING_OR_FILE")]
    pub baseline: Vec<PathBuf>,
    /// Fetch the traces: jaeger://HOST:16686/SERVICE or tempo://HOST:3200/SERVICE (jaegers://, tempos:// with TLS),
    /// then `?lookback=1h&limit=500`; headers for it come from TRIMTAB_FROM_HEADERS, as name=value,name=value
    #[arg(long, value_name = "ADDRESS", conflicts_with = "inputs")]
    pub from: Option<String>,
    /// Goals, in place of those of the settings file or recording
    #[arg(long = "goal", value_name = "GOAL")]
    pub goals: Vec<String>,
    #[command(flatten)]
    pub logs: LogFlags,
    #[command(flatten)]
    pub team: TeamFlags,
}

/// For pipelines.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "In a pipeline")]
pub struct TeamFlags {
    /// What makes the exit code 1: goal (a missed goal), finding, finding:PERCENT (findings above information that promise
    /// so much), never; several may be given [default: goal]
    #[arg(long = "fail-on", value_name = "WHAT")]
    pub fail_on: Vec<FailOn>,
    /// Findings that are lived with: fingerprint, reason, until [default: trimtab.acknowledged.toml beside the settings]
    #[arg(long, value_name = "FILE")]
    pub acknowledged: Option<PathBuf>,
    /// Write SARIF 2.1.0 for code scanning
    #[arg(long, value_name = "FILE")]
    pub sarif: Option<PathBuf>,
    /// Write goals and findings as JUnit test cases
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write a summary in Markdown, as $GITHUB_STEP_SUMMARY wants it
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab compare before/findings.json after/findings.json
  trimtab compare .trimtab/recordings/20261122-2101 .trimtab/recordings/20261122-2130
  trimtab compare main.json branch.json --fail-on-new

Findings are matched by fingerprint. Whether response times got better, `trimtab verify` says with statistics.")]
pub struct CompareArgs {
    /// The older: what `trimtab localize --format json` printed, a recording, or a file of traces
    pub before: PathBuf,
    /// The newer
    pub after: PathBuf,
    /// Exit with 1 where there is a new finding above information
    #[arg(long)]
    pub fail_on_new: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab change                        the best finding that Trimtab can mend itself
  trimtab change 2                      the second finding that `trimtab localize` lists
  trimtab change v1:0a1b2c3d4e5f6071    the finding with that fingerprint
  trimtab change --yes                  in scripts: an index is made, measured, and dropped again if it does not help
  trimtab change --undo                 take the last change back

An index is made without locking writers out, and only where nothing says that others depend on the database;
[database] may_change = true or false says it for certain.")]
pub struct ChangeArgs {
    /// Number of the finding in the last diagnosis, or its fingerprint; without, the best that Trimtab can mend itself
    #[arg(value_name = "FINDING")]
    pub fingerprint: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Take the last change back
    #[arg(long)]
    pub undo: bool,
    /// Do not measure whether an index keeps what was predicted: `trimtab verify` will
    #[arg(long)]
    pub no_proof: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab verify                    measure again and judge against the last recording
  trimtab verify BEFORE AFTER       judge two recordings
  trimtab verify --aa               measure twice without a change: this machine's own noise")]
pub struct VerifyArgs {
    /// Two recordings, the older first
    pub recordings: Vec<PathBuf>,
    /// Nothing has changed: say how often this set-up would cry wolf
    #[arg(long)]
    pub aa: bool,
    /// Differences up to this share count as the same; without: as the settings say, else 0.05
    #[arg(long, value_name = "SHARE")]
    pub tolerance: Option<f64>,
    #[command(flatten)]
    pub load: LoadOverrides,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab loop                  ask before each change
  trimtab loop --yes --steps 3")]
pub struct LoopArgs {
    /// End after this many changes
    #[arg(long, value_name = "N")]
    pub steps: Option<u32>,
    /// Do not ask before a change
    #[arg(long)]
    pub yes: bool,
    /// Where to write the report
    #[arg(long, default_value = "trimtab-report.html", value_name = "FILE")]
    pub report: PathBuf,
    #[command(flatten)]
    pub load: LoadOverrides,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab database postgres://reader@127.0.0.1/shop             since the counters were reset
  trimtab database postgres://reader@127.0.0.1/shop --over 60   what the next minute brings
  trimtab database --format json                                the database of trimtab.toml
  trimtab database postgres://reader@127.0.0.1/shop --report database.html
  trimtab database redis://127.0.0.1:6379 --over 10             commands, hit ratio, large keys, slow log
  trimtab database mysql://reader@127.0.0.1/shop --over 60      MariaDB and MySQL
  trimtab database sqlite:shop.db --statements queries.sql      plans, indexes proved on a copy of the file

Reading is enough: on Postgres pg_read_all_stats and SELECT on the tables; on MariaDB and MySQL PROCESS and SELECT on the
tables and on performance_schema; for SQLite files the program sqlite3.")]
pub struct DatabaseArgs {
    /// postgres://user:password@host:port/database, mysql:// or mariadb://, redis://user:password@host:port, or sqlite:file; without it TRIMTAB_DATABASE_URL or trimtab.toml
    pub url: Option<String>,
    /// For SQLite: statements of a file (ended by `;`, or one a line), of traces, or of a recording
    #[arg(long, value_name = "FILE")]
    pub statements: Option<PathBuf>,
    /// Count statements over the next seconds, not since the counters were reset
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = seconds)]
    pub over: f64,
    /// Look at what sessions wait for, so many seconds
    #[arg(long, default_value = "2", value_name = "DURATION", value_parser = seconds)]
    pub watch: f64,
    /// Look at the plans of so many statements
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub most: usize,
    /// Build indexes in transactions that are rolled back, and execute reads: on a private copy only
    #[arg(long)]
    pub may_build: bool,
    /// Also write a page with the plans drawn as trees
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  trimtab load run trimtab.toml --rate 50")]
pub struct LoadArgs {
    #[command(subcommand)]
    pub command: LoadCommand,
}

#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Run a scenario file, a k6 script, or one request
    #[command(after_help = "Examples:
  trimtab load run http://127.0.0.1:8080/orders --rate 50 --duration 30s
  trimtab load run https://api.test/notes --rate 5 -H 'content-type: application/json' -d '{\"text\": \"hi\"}'
  trimtab load run scenario.toml --rate 50 --duration 30s --summary-export summary.json
  trimtab load run scenario.yaml --out csv=requests.csv.gz --junit junit.xml
  trimtab load run test.js --out prometheus=http://127.0.0.1:9090/api/v1/write --out otlp=http://127.0.0.1:4318
  trimtab load run scenario.toml --output run1      a recording, then: trimtab report run1")]
    Run(Box<LoadRunArgs>),
    /// Make a scenario of what was seen: access logs, traces, a recording, HAR, OpenAPI, Postman
    #[command(after_help = "Examples:
  trimtab load from access.log -o trimtab.toml                 mix, rate and ids of an access log (.gz, .zst)
  trimtab load from shop.har --url http://127.0.0.1:8080       what a browser did, against another address
  trimtab load from shop.har --flow --writes                   the same as one user's flow, login and all
  trimtab load from openapi.yaml --writes -o scenario.toml     with the operations that change data
  trimtab load from traces.jsonl.gz --service web              what entered one service
  trimtab load from .trimtab/recordings/20261122-2101          a recording")]
    From(LoadFromArgs),
    /// Find the highest rate that meets the goals
    #[command(after_help = "Examples:
  trimtab load find --goal \"p95 < 250 ms\"
  trimtab load find http://127.0.0.1:8080/orders --goal \"p95 < 250 ms\"
  trimtab load find scenario.toml --goal \"p99(GET /orders) < 1 s\" --start 50 --budget 600")]
    Find(LoadFindArgs),
    /// Add up the results of generators that shared a load
    #[command(after_help = "Example:
  trimtab load run scenario.toml --segment 1/2 --save a.json    on one machine
  trimtab load run scenario.toml --segment 2/2 --save b.json    on another, at the same time
  trimtab load merge a.json b.json")]
    Merge(LoadMergeArgs),
}

#[derive(Debug, Args)]
pub struct LoadFromArgs {
    /// Access logs, a trace file, a recording, or a HAR, OpenAPI (JSON, YAML) or Postman 2.1 file
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// Where to write the scenario; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
    /// The service to load, in place of the one that the source names
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Keep operations that change data (POST, PUT, PATCH, DELETE); else they are written as comments
    #[arg(long)]
    pub writes: bool,
    /// Of a HAR file: one user's requests in their order with their pauses, ids and tokens taken from earlier answers
    #[arg(long)]
    pub flow: bool,
    /// At the rate of the busiest minute in place of the mean
    #[arg(long)]
    pub peak: bool,
    /// At most so many operations, the most frequent
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub max_operations: usize,
    /// Of traces: what entered this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    #[command(flatten)]
    pub logs: LogFlags,
}

#[derive(Debug, Args)]
pub struct LoadRunArgs {
    /// Scenario (TOML or YAML), a trimtab.toml with a [load] table, a k6 script, or a URL
    pub file: PathBuf,
    #[command(flatten)]
    pub load: LoadOverrides,
    #[command(flatten)]
    pub request: RequestFlags,
    /// Write samples while it runs: csv=FILE, json=FILE (.gz compresses), prometheus=URL (remote write),
    /// prometheus-native=URL (native histograms), otlp=URL; may be repeated. TRIMTAB_OUT_HEADERS holds headers of the
    /// pushes, as name=value,name=value
    #[arg(long, short, value_name = "WHERE")]
    pub out: Vec<String>,
    /// Save a recording of the scenario's run
    #[arg(long = "output", value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// So many users that wait for their answers, in place of a rate: hides waiting users
    #[arg(long, value_name = "N")]
    pub users: Option<u32>,
    /// This generator's part of the load, such as 1/4; all parts need the same seed
    #[arg(long, value_name = "N/OF")]
    pub segment: Option<String>,
    /// Begin at this time, so that several generators begin together: `date -d '+1 min' +%s`
    #[arg(long, value_name = "UNIX_SECONDS")]
    pub start_at: Option<u64>,
    #[command(flatten)]
    pub output: LoadOutputArgs,
    #[command(flatten)]
    pub script: ScriptFlags,
}

#[derive(Debug, Args)]
pub struct LoadOutputArgs {
    /// Write the summary in k6's shape
    #[arg(long, value_name = "FILE")]
    pub summary_export: Option<PathBuf>,
    /// Write the whole result, for `load merge`
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Write goals, thresholds and checks as JUnit test cases
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Name so many of the slowest requests; with --format json, of each operation
    #[arg(long, default_value_t = load::SLOW_REQUESTS, value_name = "N")]
    pub slowest: usize,
    /// Exit with 2 where the figures are doubtful
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
pub struct LoadMergeArgs {
    /// Results of `load run --save`
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub output: LoadOutputArgs,
}

#[derive(Debug, Args)]
pub struct LoadFindArgs {
    /// Scenario, a trimtab.toml with a [load] table, or a URL; without one, the settings file
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub load: LoadOverrides,
    #[command(flatten)]
    pub request: RequestFlags,
    /// What must be met; without one, the goals of the file
    #[arg(long = "goal", value_name = "GOAL")]
    pub goals: Vec<String>,
    /// The first rate to try; without one, the file's
    #[arg(long, value_name = "PER_SECOND")]
    pub start: Option<f64>,
    /// The highest rate to try
    #[arg(long, default_value_t = 100_000.0, value_name = "PER_SECOND")]
    pub most: f64,
    /// Stop when the edge is known to this share
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    pub precision: f64,
    /// How long at each rate
    #[arg(long, default_value = "6s", value_name = "DURATION", value_parser = seconds)]
    pub window: f64,
    /// Begin no window after this time
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = seconds)]
    pub budget: f64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab profile 4711 --output flame.svg        a process, for ten seconds
  trimtab profile :8080 --duration 60            whatever listens on a port
  trimtab profile -o cpu.pb.gz -- ./server       a command, from its first instruction to its end
  trimtab profile :3000 --node-inspector         JavaScript of a running node
  trimtab profile old.pb.gz -o old.svg           another profiler's file: pprof, perf script, .cpuprofile, folded")]
pub struct ProfileArgs {
    /// A process number, :PORT, or a profile file
    pub target: Option<String>,
    /// How long to profile; without, ten seconds for what runs already, to its end for a command
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub duration: Option<f64>,
    /// Samples per second of CPU time of each thread
    #[arg(long, default_value_t = 99.0, value_name = "PER_SECOND")]
    pub rate: f64,
    /// Write the profile: .svg, .folded, .pb.gz, .speedscope.json, .firefox.json; may be given several times
    #[arg(long, short, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// What the written files hold, where their names do not say
    #[arg(long, value_enum)]
    pub kind: Option<ProfileKind>,
    /// Functions to list
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Show Python as its interpreter's own functions
    #[arg(long)]
    pub no_python: bool,
    /// Open the debug port of a running node: until the end every local user can run code in it
    #[arg(long)]
    pub node_inspector: bool,
    /// Start this command and profile it with all that it starts
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileKind {
    Svg,
    Folded,
    Pprof,
    Speedscope,
    Firefox,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  trimtab report                            the last recording and the journal
  trimtab report .trimtab/recordings/X -o x.html
  trimtab report --trace-url 'http://localhost:16686/trace/{trace_id}'    trace ids lead to Jaeger")]
pub struct ReportArgs {
    /// A recording; without one, the last
    pub recording: Option<PathBuf>,
    /// Where to write it
    #[arg(long, short, default_value = "trimtab-report.html", value_name = "FILE")]
    pub output: PathBuf,
    /// Where a trace can be looked at; `{trace_id}` stands for its id
    #[arg(long, env = "TRIMTAB_TRACE_URL", value_name = "URL")]
    pub trace_url: Option<report::TraceUrl>,
}

#[derive(Debug, Args)]
pub struct InternalShopArgs {
    /// `serve` or `seed`
    pub action: String,
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_numbers_of_seconds_or_have_units() {
        for (text, expected) in
            [("30", 30.0), ("1.5", 1.5), ("30s", 30.0), ("1m30s", 90.0), ("500ms", 0.5), ("2h", 7200.0)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "30x", "-5", "nan", "1m30", "1..2s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
