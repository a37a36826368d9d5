//! Settings: `trimtab.toml`, environment and flags, merged and checked in one place. Nothing downstream checks again.

use crate::args::LoadOverrides;
use crate::control::Control;
pub use crate::load_settings::LoadSettings;
use crate::load_settings::LoadTable;
use crate::one_request::OneRequest;
use crate::placeholders::{self, Variables};
use anyhow::{Context, Result, anyhow, bail};
use load::Scenario;
use model::Goal;
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// What the file may hold. Unknown keys are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    goals: Vec<toml::Spanned<String>>,
    service: Option<ServiceTable>,
    load: Option<LoadTable>,
    #[serde(default)]
    telemetry: TelemetryTable,
    #[serde(default)]
    database: DatabaseTable,
    #[serde(default)]
    cache: CacheTable,
    #[serde(default)]
    verify: VerifyTable,
    #[serde(default)]
    control: Vec<Control>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    url: String,
    /// Process to watch beside the service's own figures.
    pid: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TelemetryTable {
    /// OTLP over HTTP and gRPC; empty: none.
    listen: String,
    listen_grpc: String,
    prometheus: Vec<String>,
    /// How long to wait for the last spans of a window.
    patience_s: f64,
}

impl Default for TelemetryTable {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:4318".into(),
            listen_grpc: "127.0.0.1:4317".into(),
            prometheus: Vec::new(),
            patience_s: 6.0,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatabaseTable {
    url: Option<String>,
    /// A throw-away or staging copy: indexes may be built within a transaction that is rolled back, to measure them.
    may_build: bool,
    /// Indexes may be created and dropped by `change` and `loop`. Unset: `change` looks whether this is a production
    /// database, and `loop` changes nothing.
    may_change: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CacheTable {
    /// `redis://[user:password@]host[:port]`: its commands are counted by endpoint.
    url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VerifyTable {
    tolerance: f64,
    /// Seconds of measuring for one trial.
    duration_s: f64,
}

impl Default for VerifyTable {
    fn default() -> Self {
        Self { tolerance: 0.05, duration_s: 40.0 }
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    pub goals: Vec<Goal>,
    pub scenario: Scenario,
    pub load: LoadSettings,
    pub service_pid: Option<u32>,
    pub telemetry: TelemetrySettings,
    pub database: DatabaseSettings,
    pub verify: VerifySettings,
    pub controls: Vec<Control>,
}

#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    pub listen: Option<String>,
    pub listen_grpc: Option<String>,
    pub prometheus: Vec<String>,
    pub patience: Duration,
}

#[derive(Clone, Default)]
pub struct DatabaseSettings {
    pub url: Option<String>,
    pub may_build: bool,
    /// `None`: nobody has said.
    pub may_change: Option<bool>,
    /// Of a Redis server.
    pub cache_url: Option<String>,
}

impl DatabaseSettings {
    /// Whether there is a database on which indexes can be made from here: on Postgres only, for others the SQL is told.
    pub fn takes_indexes(&self) -> bool {
        self.url.as_ref().is_some_and(|url| !database::MariaDb::is_meant(url))
    }
}

impl std::fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = self.url.as_deref().map(net::display_url);
        write!(
            f,
            "DatabaseSettings {{ url: {url:?}, may_build: {}, may_change: {:?} }}",
            self.may_build, self.may_change
        )
    }
}

#[derive(Clone, Copy, Debug)]
pub struct VerifySettings {
    pub tolerance: f64,
    pub duration: Duration,
}

/// What the environment adds: the same names for every command.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub database_url: Option<String>,
    pub cache_url: Option<String>,
    pub service_url: Option<String>,
    /// Headers for the store that traces are fetched from, `name=value,name=value`.
    pub from_headers: Option<String>,
    /// For `${NAME}` in a scenario.
    pub variables: Variables,
    /// <https://no-color.org>
    pub no_color: bool,
    /// Width of the terminal, where the shell exports it.
    pub columns: Option<usize>,
    /// What the user gives every Node program.
    pub node_options: Option<String>,
}

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "settings are merged here")]
    pub fn read() -> Self {
        Self {
            database_url: std::env::var("TRIMTAB_DATABASE_URL").ok(),
            cache_url: std::env::var("TRIMTAB_CACHE_URL").ok(),
            service_url: std::env::var("TRIMTAB_SERVICE_URL").ok(),
            from_headers: std::env::var("TRIMTAB_FROM_HEADERS").ok(),
            variables: Variables(std::env::vars_os().filter_map(text).collect()),
            no_color: std::env::var("NO_COLOR").is_ok_and(|v| !v.is_empty()),
            columns: std::env::var("COLUMNS").ok().and_then(|v| v.parse().ok()),
            node_options: std::env::var("NODE_OPTIONS").ok(),
        }
    }
}

/// Variables that are no text are as if they were not set.
fn text((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

impl Settings {
    /// Reads, merges and checks. Errors name file, line and field.
    pub fn load(path: &Path, environment: &Environment, flags: &LoadOverrides) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read {}; `trimtab init URL` writes one", path.display()))?;
        Self::parse(&text, &path.display().to_string(), environment, flags)
    }

    /// The same from a text; `name` is what errors call it.
    pub fn parse(text: &str, name: &str, environment: &Environment, flags: &LoadOverrides) -> Result<Self> {
        let (file, goals) = if is_yaml(name) {
            yaml(text, name)?
        } else {
            let file: File = toml::from_str(text).map_err(|error| unreadable(&error, text, name))?;
            let goals = goals(&file.goals, text, name)?;
            (file, goals)
        };
        Self::check(file, goals, name, environment, flags)
    }

    /// Of one request and nothing else, as it was typed.
    pub fn of_request(
        request: &OneRequest<'_>,
        environment: &Environment,
        flags: &LoadOverrides,
    ) -> Result<Self> {
        let name = net::display_url(request.url);
        let file = serde_json::from_value(request.tables().with_context(|| name.clone())?)?;
        let environment = Environment { service_url: None, ..environment.clone() };
        Self::check(file, Vec::new(), &name, &environment, flags)
    }

    fn check(
        file: File,
        goals: Vec<Goal>,
        name: &str,
        environment: &Environment,
        flags: &LoadOverrides,
    ) -> Result<Self> {
        let service = file.service;
        let url = environment.service_url.clone().or(service.as_ref().map(|s| s.url.clone()));
        let url =
            url.with_context(|| format!("{name}: no service; add [service] with url = \"http://...\""))?;
        let mut table =
            file.load.with_context(|| format!("{name}: no [load] table: what should be requested?"))?;
        let mut scenario = Scenario {
            base_url: url,
            headers: std::mem::take(&mut table.headers),
            operations: std::mem::take(&mut table.operation),
            variables: std::mem::take(&mut table.variables),
        };
        placeholders::fill(&mut scenario, &environment.variables)
            .map_err(|error| anyhow!("{name}: [load]: {error:#}"))?;
        let load = table.settings(Path::new(name), name, &environment.variables, flags)?;
        if let Some(encodings) = &load.connection.accept_encoding
            && !scenario.headers.keys().any(|name| name.eq_ignore_ascii_case("accept-encoding"))
        {
            scenario.headers.insert("accept-encoding".to_owned(), encodings.clone());
        }
        scenario.check().map_err(|error| anyhow!("{name}: [load]: {error:#}"))?;
        check_named(&scenario, &load).map_err(|error| anyhow!("{name}: {error:#}"))?;
        let mut names = HashSet::new();
        for control in &file.control {
            if let Some(problem) = control.problem() {
                bail!("{name}: [[control]]: {problem}");
            }
            if !names.insert(control.name.as_str()) {
                bail!("{name}: [[control]]: two controls are named `{}`", control.name);
            }
        }
        let listen = |address: String| (!address.trim().is_empty()).then_some(address);
        Ok(Self {
            goals,
            scenario,
            load,
            service_pid: service.and_then(|s| s.pid),
            telemetry: TelemetrySettings {
                listen: listen(file.telemetry.listen),
                listen_grpc: listen(file.telemetry.listen_grpc),
                prometheus: file.telemetry.prometheus,
                patience: seconds(file.telemetry.patience_s, name, "telemetry.patience_s")?,
            },
            database: DatabaseSettings {
                url: environment.database_url.clone().or(file.database.url),
                may_build: file.database.may_build,
                may_change: file.database.may_change,
                cache_url: flags.cache.clone().or(environment.cache_url.clone()).or(file.cache.url),
            },
            verify: VerifySettings {
                tolerance: share(file.verify.tolerance, name, "verify.tolerance")?,
                duration: seconds(file.verify.duration_s, name, "verify.duration_s")?,
            },
            controls: file.control,
        })
    }
}

fn is_yaml(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml"))
}

/// The same tables as in TOML, by the parser that reads OpenAPI files. It keeps no lines, so that errors name fields.
fn yaml(text: &str, name: &str) -> Result<(File, Vec<Goal>)> {
    let mut document = traffic::document(text).with_context(|| name.to_owned())?;
    let written = document.as_object_mut().and_then(|map| map.remove("goals")).unwrap_or_default();
    let written: Option<Vec<String>> =
        serde_json::from_value(written).map_err(|_| anyhow!("{name}: goals: expected a list of texts"))?;
    let goal = |text: String| text.parse().map_err(|error| anyhow!("{name}: goals: {error}"));
    let goals = written.unwrap_or_default().into_iter().map(goal).collect::<Result<Vec<Goal>>>()?;
    let file = serde_json::from_value(document).map_err(|error| anyhow!("{name}: {error}"))?;
    Ok((file, goals))
}

/// What is wrong and where. Never the line itself: it may hold a password.
fn unreadable(error: &toml::de::Error, text: &str, name: &str) -> anyhow::Error {
    let Some(span) = error.span() else { return anyhow!("{name}: {}", error.message()) };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    anyhow!("{name}, line {line}, column {column}: {}", error.message())
}

/// More than nothing and less than all.
fn share(number: f64, name: &str, field: &str) -> Result<f64> {
    if number > 0.0 && number < 1.0 {
        Ok(number)
    } else {
        bail!("{name}: {field} is {number}, expected a share between 0 and 1, such as 0.05 for 5 %")
    }
}

fn goals(written: &[toml::Spanned<String>], text: &str, name: &str) -> Result<Vec<Goal>> {
    written
        .iter()
        .map(|goal| {
            let line = text[..goal.span().start.min(text.len())].matches('\n').count() + 1;
            goal.get_ref().parse().map_err(|error| anyhow!("{name}:{line}: goals: {error}"))
        })
        .collect()
}

/// Operations that scenarios side by side name.
fn check_named(scenario: &Scenario, load: &LoadSettings) -> Result<()> {
    for workload in &load.workloads {
        for name in &workload.operations {
            if !scenario.operations.iter().any(|operation| operation.name == *name) {
                bail!("[[load.scenario]] `{}`: operations: there is no `{name}`", workload.plan.name);
            }
        }
    }
    Ok(())
}

/// A day is longer than any measurement.
const MAX_SECONDS: f64 = 86_400.0;

fn seconds(number: f64, name: &str, field: &str) -> Result<Duration> {
    if (0.0..=MAX_SECONDS).contains(&number) {
        return Ok(Duration::from_secs_f64(number));
    }
    bail!("{name}: {field} is {number}, expected seconds from 0 to {MAX_SECONDS}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
goals = [
    "p95(GET /items) < 250 ms",
]
[service]
url = "http://127.0.0.1:1"
[load]
rate = 5
[[load.operation]]
name = "GET /items"
path = "/items"
"#;

    fn parse(text: &str) -> Result<Settings> {
        Settings::parse(text, "trimtab.toml", &Environment::default(), &LoadOverrides::default())
    }

    #[test]
    fn a_small_file_is_enough() {
        let settings = parse(GOOD).expect("settings");
        assert_eq!(settings.goals.len(), 1);
        assert_eq!(settings.load.duration, Duration::from_secs(30));
    }

    #[test]
    fn a_scenario_may_be_yaml() {
        let text = "goals: ['p95(GET /items) < 250 ms']\nservice: { url: 'http://127.0.0.1:1' }\nload:\n  rate: 5\n  \
                    operation:\n    - { name: GET /items, path: /items, expect: 200, check: [{ json: /id, equals: 7 }] }\n";
        let parse =
            |text: &str| Settings::parse(text, "a.yaml", &Environment::default(), &LoadOverrides::default());
        let settings = parse(text).expect("settings");
        assert_eq!((settings.goals.len(), settings.load.rate), (1, 5.0));
        assert_eq!(settings.scenario.operations[0].name, "GET /items");
        for (from, to, part) in [
            ("rate: 5", "rte: 5", "a.yaml: unknown field `rte`"),
            ("250 ms", "250", "a.yaml: goals: goal"),
            ("rate: 5", "rate: -5", "a.yaml: load.rate is -5"),
            ("service: {", "service: [", "a.yaml"),
        ] {
            let error = format!("{:#}", parse(&text.replace(from, to)).expect_err(to));
            assert!(error.contains(part), "{to}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_field() {
        for (from, to, part) in [
            ("rate = 5", "rate = -5", "trimtab.toml: load.rate is -5"),
            ("rate = 5", "rate = nan", "load.rate"),
            ("rate = 5", "rte = 5", "unknown field `rte`"),
            ("< 250 ms", "< 250", "trimtab.toml:3: goals: goal `p95(GET /items) < 250`"),
            ("[service]", "[servise]", "unknown field `servise`"),
            ("rate = 5", "rate = ", "line 8"),
            ("rate = 5", "rate = 5\nwarm_up_s = 1e300", "load.warm_up_s"),
            ("rate = 5", "rate = 5\nusers = 5", "load.rate and load.users"),
            ("rate = 5", "seed = 5", "load.rate is missing"),
            ("rate = 5", "users = 0", "load.rate is 0"),
        ] {
            let error = parse(&GOOD.replace(from, to)).expect_err(to).to_string();
            assert!(error.contains(part), "{to}: {error}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_not_shown() {
        for line in ["ulr = \"postgres://u:hunter2@h/d\"", "url = \"postgres://u:hunter2@h/d"] {
            let error = parse(&format!("{GOOD}\n[database]\n{line}\n")).expect_err(line).to_string();
            assert!(error.contains("trimtab.toml, line ") && error.contains(", column "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        let twice = "\n[[control]]\nname = \"a\"\nremedies = [\"n_plus_one\"]\napply_command = [\"true\"]\nundo_command = [\"true\"]\n";
        for (more, part) in [
            ("\n[verify]\ntolerance = 5\n".to_owned(), "verify.tolerance is 5"),
            (twice.repeat(2), "two controls are named `a`"),
        ] {
            let error = parse(&format!("{GOOD}{more}")).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown_by_debug() {
        let environment =
            Environment { database_url: Some("postgres://u:hunter2@h/d".into()), ..Environment::default() };
        let settings = Settings::parse(GOOD, "x", &environment, &LoadOverrides::default()).expect("settings");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
