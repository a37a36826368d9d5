//! Access logs among the inputs of a command: found by their content, read as a recording, and what a diagnosis of
//! them may claim.

use access_log::{Collected, Collector, EndpointSummary, Options, Unit};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use model::{Diagnosis, EndpointFigures, Goal, GoalMetric, Recording, Relation, RuleNotRun};
use std::fs::File;
use std::path::{Path, PathBuf};

/// How a log is to be read, where that cannot be told from it.
#[derive(Clone, Debug, Default, Args)]
pub struct LogFlags {
    /// The server's format string (nginx's log_format, Apache's LogFormat, Envoy's), or a name: combined, common,
    /// nginx, apache, caddy, traefik, haproxy, envoy, istio, json, logfmt
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Unit of response times where the log does not tell it
    #[arg(long, value_enum, value_name = "UNIT")]
    pub log_unit: Option<LogUnit>,
    /// Only requests to this host
    #[arg(long, value_name = "HOST")]
    pub log_host: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogUnit {
    S,
    Ms,
    Us,
    Ns,
}

impl LogFlags {
    /// As the reader wants them.
    #[must_use]
    pub fn options(&self) -> Options {
        let unit = self.log_unit.map(|unit| match unit {
            LogUnit::S => Unit::Seconds,
            LogUnit::Ms => Unit::Milliseconds,
            LogUnit::Us => Unit::Microseconds,
            LogUnit::Ns => Unit::Nanoseconds,
        });
        Options { format: self.log_format.clone(), unit, host: self.log_host.clone() }
    }
}

/// Logs that were read.
pub struct Logs {
    pub recording: Recording,
    /// A line for each log: format, counts, what was not read.
    pub described: Vec<String>,
    /// Statuses, sizes and the course over time.
    pub text: String,
    endpoints: Vec<EndpointSummary>,
    seconds: f64,
    requests: u64,
    timed: u64,
    /// Nothing but logs was read: what needs the inside of requests cannot be said.
    pub alone: bool,
}

/// Whether a file's first lines are those of an access log.
#[must_use]
pub fn is_log(path: &Path, options: &Options) -> bool {
    path.is_file() && File::open(path).is_ok_and(|file| access_log::sniff(file, options))
}

/// Reads logs, several as one.
///
/// # Errors
/// A file cannot be opened, or is of no known format.
pub fn read(paths: &[PathBuf], options: &Options) -> Result<Logs> {
    let mut collector = Collector::default();
    let mut scans = Vec::new();
    for path in paths {
        let file = File::open(path).with_context(|| format!("could not read {}", path.display()))?;
        let scan = access_log::scan(file, options, |request| collector.take(request))
            .with_context(|| format!("could not read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        scans.push((name, scan));
    }
    let described = scans.iter().map(|(name, scan)| access_log::describe(name, scan)).collect();
    let collected = collector.finish(&scans);
    let text = collected.text();
    let Collected { recording, endpoints, timed, requests } = collected;
    let seconds = recording.run.seconds().max(1.0);
    Ok(Logs { recording, described, text, endpoints, seconds, requests, timed, alone: true })
}

/// The log's requests and the traces' spans as one recording: the traces' own spans take the place of the log's.
pub fn join(logs: &mut Logs, traces: Recording) {
    logs.alone = false;
    logs.recording.spans = traces.spans;
    logs.recording.metrics.extend(traces.metrics);
    logs.recording.run.gaps.retain(|gap| gap.signal != "traces");
    logs.recording.run.gaps.extend(traces.run.gaps);
}

/// Rules whose finding would say more than the outside of a request shows, and what they miss.
const NEED_STEPS: &[&str] = &["cpu_self_time"];

impl Logs {
    /// Takes back what a log alone cannot show, and adds what it shows without response times.
    pub fn settle(&self, diagnosis: &mut Diagnosis, goals: &[Goal], compared: bool) {
        if self.alone && !compared {
            diagnosis.findings.retain(|finding| !NEED_STEPS.contains(&finding.rule.as_str()));
            diagnosis.rules_not_run.extend(NEED_STEPS.iter().map(|rule| RuleNotRun {
                rule: (*rule).to_owned(),
                missing_signal: "steps within requests (traces)".to_owned(),
            }));
            diagnosis.rules_not_run.sort();
        }
        if self.timed == 0 && self.requests > 0 {
            self.count_only(diagnosis, goals);
        }
    }

    fn count_only(&self, diagnosis: &mut Diagnosis, goals: &[Goal]) {
        let seconds = self.seconds;
        diagnosis.recording.endpoints = self.endpoints.iter().map(|e| figures(e, seconds)).collect();
        diagnosis.recording.endpoints.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        for (goal, result) in goals.iter().zip(&mut diagnosis.goals) {
            let concerned =
                self.endpoints.iter().filter(|e| goal.concerns(&e.name)).map(|e| figures(e, seconds));
            let figure = |of: EndpointFigures| match goal.metric {
                GoalMetric::Errors => Some(of.error_share),
                GoalMetric::Rate => Some(of.rate_per_s),
                _ => None,
            };
            let all = concerned.filter_map(figure);
            let worst = match goal.relation {
                Relation::Below => all.max_by(f64::total_cmp),
                Relation::Above => all.min_by(f64::total_cmp),
            };
            if let Some(worst) = worst {
                result.measured = Some(worst);
                result.met = Some(goal.is_met_by(worst));
                diagnosis.gaps.retain(|gap| !gap.reason.contains(&format!("the goal `{goal}`")));
            }
        }
    }
}

/// Times that are not known are no numbers.
fn figures(of: &EndpointSummary, seconds: f64) -> EndpointFigures {
    EndpointFigures {
        endpoint: of.name.clone(),
        requests: of.requests,
        rate_per_s: of.requests as f64 / seconds,
        p50_ms: f64::NAN,
        p95_ms: f64::NAN,
        p99_ms: f64::NAN,
        error_share: of.errors as f64 / of.requests.max(1) as f64,
        ..EndpointFigures::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 300 seconds of one endpoint that takes 400 ms and fails once in ten.
    fn diagnosed(timed: bool) -> Diagnosis {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let mut log = String::new();
        for second in 0..300 {
            let status = if second % 10 == 0 { 503 } else { 200 };
            let time = if timed { " 0.400" } else { "" };
            log.push_str(&format!(
                "10.0.0.7 - - [22/Nov/2026:21:{:02}:{:02} +0000] \"GET /orders/{second} HTTP/1.1\" {status} 5 \"-\" \"x\"{time}\n",
                second / 60,
                second % 60
            ));
        }
        std::fs::write(&path, log).expect("written");
        let options = Options::default();
        assert!(is_log(&path, &options));
        let logs = read(&[path], &options).expect("a log");
        let goals = ["errors(*) < 1 %", "rate(GET /orders/{id}) > 0.5/s", "p95(GET /orders/{id}) < 300 ms"];
        let goals: Vec<Goal> = goals.iter().map(|goal| goal.parse().expect("a goal")).collect();
        let judged = localize::Options { goals: goals.clone(), ..localize::Options::default() };
        let mut diagnosis = localize::localize(&logs.recording, &judged);
        logs.settle(&mut diagnosis, &goals, false);
        diagnosis
    }

    fn rules(diagnosis: &Diagnosis) -> Vec<&str> {
        diagnosis.findings.iter().map(|finding| finding.rule.as_str()).collect()
    }

    fn met(diagnosis: &Diagnosis) -> Vec<Option<bool>> {
        diagnosis.goals.iter().map(|goal| goal.met).collect()
    }

    #[test]
    fn a_log_with_times_is_judged_and_claims_nothing_about_the_inside() {
        let diagnosis = diagnosed(true);
        assert_eq!(met(&diagnosis), [Some(false), Some(true), Some(false)]);
        assert_eq!(rules(&diagnosis), ["slow_endpoint", "failing_requests"]);
        assert!(diagnosis.rules_not_run.iter().any(|rule| rule.rule == "cpu_self_time"));
    }

    #[test]
    fn a_log_without_times_is_judged_by_rates_and_errors() {
        let diagnosis = diagnosed(false);
        assert_eq!(met(&diagnosis), [Some(false), Some(true), None]);
        let [endpoint] = diagnosis.recording.endpoints.as_slice() else { panic!("one endpoint") };
        assert_eq!((endpoint.endpoint.as_str(), endpoint.requests), ("GET /orders/{id}", 300));
        assert!((endpoint.error_share - 0.1).abs() < 1e-9 && endpoint.p95_ms.is_nan());
        assert!(diagnosis.gaps.iter().any(|gap| gap.reason.contains("no response time")));
        assert_eq!(rules(&diagnosis), ["failing_requests"]);
    }
}
