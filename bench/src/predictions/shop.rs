//! The demo's shop with its session, set up for long trials; and what can be changed on it.

use super::seconds;
use crate::args::PredictionsArgs;
use anyhow::{Context, Result};
use model::{Change, ChangeKind, Diagnosis, Evidence, Finding, HttpCall, Place, Recording, Severity};
use net::Shutdown;
use std::path::PathBuf;
use std::time::Duration;
use trimtab::apply::Hands;
use trimtab::args::{Colour, Common, Format};
use trimtab::control::Control;
use trimtab::demo::{self, Stage};
use trimtab::journal::Journal;
use trimtab::output::Output;
use trimtab::session::{self, Session};
use trimtab::settings::Settings;

/// A call of the shop's own interface takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads both tables that lack an index.
const INDEXED_ENDPOINT: &str = "GET /customers/{id}/orders";

/// What is tried.
#[derive(Clone)]
pub(crate) struct Case {
    pub change: Change,
    /// Absent for an index, which the findings themselves propose.
    pub control: Option<Control>,
    /// The best finding that it mends, if any.
    pub finding: Option<Finding>,
}

impl Case {
    pub(crate) fn index(change: Change, finding: &Finding) -> Self {
        Self { change, control: None, finding: Some(finding.clone()) }
    }

    /// An index that no finding proposed.
    pub(crate) fn silent_index(change: Change) -> Self {
        Self { change, control: None, finding: None }
    }

    pub(crate) fn switch(control: &Control) -> Self {
        Self { change: control.change(), control: Some(control.clone()), finding: None }
    }

    /// What it is to mend; empty where that is everything.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        match (&self.control, &self.finding) {
            (Some(control), _) => control.endpoints.clone(),
            (None, Some(finding)) => vec![finding.endpoint.clone()],
            (None, None) => vec![INDEXED_ENDPOINT.to_owned()],
        }
    }

    /// Stands for the finding that there is not: names the endpoint, so that its trial can be judged.
    pub(crate) fn nothing_found(&self) -> Finding {
        let endpoint = match &self.control {
            Some(control) => control.endpoints.first().cloned(),
            None => Some(INDEXED_ENDPOINT.to_owned()),
        };
        Finding {
            rule: String::new(),
            severity: Severity::Info,
            fingerprint: String::new(),
            title: String::new(),
            service: String::new(),
            endpoint: endpoint.unwrap_or_default(),
            place: Place::default(),
            calls_per_request: None,
            share_of_critical_path: None,
            prediction: None,
            remedies: Vec::new(),
            evidence: Evidence::default(),
            confidence: 0.0,
            rerun: None,
        }
    }
}

/// The indexes that the shop lacks on purpose: tried whether or not a finding asks for them.
pub(crate) fn missing_indexes() -> Vec<Change> {
    MIGRATIONS
        .iter()
        .map(|(table, apply, undo)| Change {
            name: format!("index on {table}"),
            description: format!("the shop's own migration on {table}"),
            kind: ChangeKind::Sql { apply: (*apply).to_owned(), undo: (*undo).to_owned() },
        })
        .collect()
}

/// Table, migration and undo.
const MIGRATIONS: [(&str, &str, &str); 2] = [
    (
        "order_items",
        include_str!("../../../shop/migrations/0003_order_items_order_id.sql"),
        include_str!("../../../shop/migrations/0003_order_items_order_id.undo.sql"),
    ),
    (
        "orders",
        include_str!("../../../shop/migrations/0004_orders_customer_id_created_at.sql"),
        include_str!("../../../shop/migrations/0004_orders_customer_id_created_at.undo.sql"),
    ),
];

/// The table that `CREATE INDEX ... ON table (...)` is for.
pub(crate) fn indexed_table(change: &Change) -> Option<&str> {
    let ChangeKind::Sql { apply, .. } = &change.kind else { return None };
    let mut words = apply.split_whitespace().skip_while(|word| !word.eq_ignore_ascii_case("on"));
    let name = words.nth(1)?.split('(').next()?.trim_matches('"');
    Some(name.rsplit('.').next().unwrap_or(name))
}

/// Switches of the shop that the demo's settings leave out: no rule of today names them.
pub(crate) fn extra_controls() -> Vec<Control> {
    let call = |value: &str| {
        let body = format!(r#"{{"export_body":"{value}"}}"#);
        Some(HttpCall { method: "PUT".into(), url: "/switches".into(), body })
    };
    vec![Control {
        name: "export_body=streamed".into(),
        description: "stream the export instead of building it in memory".into(),
        remedies: Vec::new(),
        endpoints: vec!["GET /export/orders".into()],
        matches: None,
        apply: call("streamed"),
        undo: call("in_memory"),
        apply_command: Vec::new(),
        undo_command: Vec::new(),
    }]
}

/// Raises the rates of these operations to `per_s`, the others stay as they are.
fn raised(load: &Load, operations: &[String], per_s: f64) -> Load {
    let sum: f64 = load.weights.iter().map(|(_, weight)| weight).sum();
    let is_meant = |name: &str| operations.iter().any(|wanted| wanted == name);
    let weights: Vec<(String, f64)> = load
        .weights
        .iter()
        .map(|(name, weight)| {
            let own = weight / sum * load.rate;
            (name.clone(), if is_meant(name) { own.max(per_s) } else { own })
        })
        .collect();
    Load { rate: weights.iter().map(|(_, per_s)| per_s).sum(), weights }
}

/// The mix of operations: names with weights, and requests per second of all.
#[derive(Clone, Debug)]
struct Load {
    rate: f64,
    weights: Vec<(String, f64)>,
}

impl Load {
    fn of(settings: &Settings) -> Self {
        let operations = settings.scenario.operations.iter();
        Self { rate: settings.load.rate, weights: operations.map(|o| (o.name.clone(), o.weight)).collect() }
    }

    fn apply_to(&self, settings: &mut Settings) {
        settings.load.rate = self.rate;
        for (operation, (_, weight)) in settings.scenario.operations.iter_mut().zip(&self.weights) {
            operation.weight = *weight;
        }
    }

    /// Operations that come so often.
    fn frequent(&self, per_s: f64) -> impl Iterator<Item = &str> {
        let sum: f64 = self.weights.iter().map(|(_, weight)| weight).sum();
        self.weights
            .iter()
            .filter(move |(_, weight)| weight / sum * self.rate >= per_s)
            .map(|(name, _)| name.as_str())
    }
}

/// A running shop under measurement.
pub(crate) struct Shop {
    pub session: Session,
    pub hands: Hands,
    pub output: Output,
    stage: Stage,
    journal: Journal,
    /// As the demo has it.
    usual: Load,
    at_least_per_s: f64,
    _folder: tempfile::TempDir,
}

impl Shop {
    pub(crate) async fn open(args: &PredictionsArgs, json: bool) -> Result<Self> {
        let common = Common {
            config: PathBuf::new(),
            format: if json { Format::Json } else { Format::Text },
            quiet: false,
            color: Colour::Never,
        };
        let output = Output::new(&common, true, None);
        let folder = tempfile::tempdir().context("could not make a folder")?;
        let receiver = session::listen("127.0.0.1:0", None).await?;
        let stage = Stage::start(output, args.offline, session::endpoint(Some(&receiver)).as_deref()).await?;
        let mut settings = demo::settings(&stage.url, &stage.database_url, args.seed)?;
        settings.load.duration = seconds(args.measure, "--measure")?;
        settings.verify.duration = seconds(args.trial, "--trial")?;
        let usual = Load::of(&settings);
        let hands = Hands { service_url: stage.url.clone(), database_url: Some(stage.database_url.clone()) };
        let mut session = Session::open(settings, Some(receiver), output, Shutdown::new()).await?;
        if let Some(pid) = stage.shop.pid() {
            session.watch("service", pid);
        }
        session.watch("database", stage.postgres.pid());
        let journal = Journal::at(args.recordings.clone().unwrap_or_else(|| folder.path().to_path_buf()));
        Ok(Self {
            session,
            hands,
            output,
            stage,
            journal,
            usual,
            at_least_per_s: args.at_least,
            _folder: folder,
        })
    }

    /// Measures and judges, small gains included.
    pub(crate) async fn look(&mut self, what: &str) -> Result<(Recording, Diagnosis)> {
        self.output.progress(what);
        let folder = self.journal.new_recording("look")?;
        let recording = self.session.measure(&folder, what).await?;
        let mut options =
            localize::Options { goals: self.session.settings.goals.clone(), ..localize::Options::default() };
        options.thresholds.min_gain_ms = 0.0;
        options.thresholds.min_gain_share = 0.0;
        let diagnosis = localize::localize(&recording, &options);
        Ok((recording, diagnosis))
    }

    /// From now on the operations that a case is about come often enough for a p95, the others as in the demo.
    pub(crate) fn aim_at(&mut self, case: &Case) {
        raised(&self.usual, &case.endpoints(), self.at_least_per_s).apply_to(&mut self.session.settings);
    }

    /// Whether a trial sees enough requests of the operation.
    pub(crate) fn is_frequent(&self, endpoint: &str) -> bool {
        let half = self.at_least_per_s / 2.0;
        Load::of(&self.session.settings).frequent(half).any(|name| name == endpoint)
    }

    /// Measures before one change is tried. What cannot be switched is compared with this very measurement, which then
    /// is as long as the trial.
    pub(crate) async fn look_for(
        &mut self,
        change: &Change,
        args: &PredictionsArgs,
        what: &str,
    ) -> Result<(Recording, Diagnosis)> {
        if change.toggles_at_run_time() {
            return self.look(what).await;
        }
        self.session.settings.load.duration = seconds(args.trial, "--trial")?;
        let looked = self.look(what).await;
        self.session.settings.load.duration = seconds(args.measure, "--measure")?;
        looked
    }

    /// The shop answers and its database is at rest with it: one request that needs both.
    pub(crate) async fn settle(&self) -> Result<()> {
        let url = format!("{}/healthz", self.stage.url);
        net::get(&url, &[], PATIENCE).await.map(drop).context("the shop died in a trial")
    }

    /// Names of the shop's switches that no change of ours sets.
    pub(crate) async fn untried(&self) -> Result<Vec<String>> {
        let url = format!("{}/switches", self.stage.url);
        let answer = net::get(&url, &[], PATIENCE).await.context("could not ask for the switches")?;
        let switches: serde_json::Value =
            serde_json::from_slice(&answer.body).context("the shop's switches are no JSON")?;
        let extra = extra_controls();
        let calls: Vec<&str> = self
            .session
            .settings
            .controls
            .iter()
            .chain(&extra)
            .filter_map(|control| control.apply.as_ref())
            .map(|call| call.body.as_str())
            .collect();
        let all = switches["switches"].as_array().context("the shop told no switches")?;
        let names = all.iter().filter_map(|switch| switch["name"].as_str());
        let untried = names.filter(|name| calls.iter().all(|body| !body.contains(&format!("\"{name}\""))));
        Ok(untried.map(str::to_owned).collect())
    }

    pub(crate) async fn close(self) {
        drop(self.session);
        self.stage.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_of_a_case_are_raised_and_the_others_stay() {
        let mut settings =
            demo::settings("http://127.0.0.1:1", "postgres://127.0.0.1/x", 1).expect("settings");
        let rates = |settings: &Settings| -> Vec<f64> {
            let sum: f64 = settings.scenario.operations.iter().map(|o| o.weight).sum();
            settings.scenario.operations.iter().map(|o| o.weight / sum * settings.load.rate).collect()
        };
        let before = rates(&settings);
        let usual = Load::of(&settings);
        let wanted = ["GET /reports/sales".to_owned(), "POST /orders".to_owned()];
        raised(&usual, &wanted, 3.0).apply_to(&mut settings);
        let after = rates(&settings);
        for (operation, (before, after)) in settings.scenario.operations.iter().zip(before.iter().zip(after))
        {
            let expected = if wanted.contains(&operation.name) { before.max(3.0) } else { *before };
            assert!((expected - after).abs() < 1e-9, "{}: {before} {after}", operation.name);
        }
        assert!(Load::of(&settings).frequent(2.9).any(|name| name == "GET /reports/sales"));
        assert!(!usual.frequent(2.9).any(|name| name == "GET /reports/sales"));
    }

    #[test]
    fn the_shops_migrations_are_on_the_tables_that_they_are_named_after() {
        let indexes = missing_indexes();
        let tables: Vec<_> = indexes.iter().filter_map(indexed_table).collect();
        assert_eq!(tables, ["order_items", "orders"]);
    }
}
