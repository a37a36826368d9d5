//! From what was measured and judged to what is drawn. Every list has a named bound, so that a million endpoints or
//! a trace of a hundred thousand spans still make a page of less than 2 MB.

use crate::clip::{LABEL, SENTENCE, clip, line, without_secrets};
use crate::data::{
    DoubtView, EndpointRow, Figures, GapView, GoalState, GoalView, ReportData, RuleView, When, Window,
};
use crate::headline::Headline;
use crate::number::{bytes, count, finite, plural, utc};
use crate::trace_url::TraceUrl;
use crate::{charts, database, findings, flame, levels, pick, steps, text, traces, waterfall};
use model::{
    Diagnosis, EndpointFigures, Environment, Goal, GoalMetric, GoalResult, Recording, Scaling, Step,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

const MAX_ENDPOINTS: usize = 200;
const MAX_GOALS: usize = 60;
const MAX_STEPS: usize = 40;
const MAX_STATE: usize = 100;
const MAX_FINDINGS: usize = 40;
const MAX_GAPS: usize = 80;
const MAX_VERSIONS: usize = 30;
/// The embedded JSON stays below this; drawings are dropped until it does.
const MAX_JSON_BYTES: usize = 1_600_000;
/// Columns of the text for readers without scripts.
const PLAIN_WIDTH: usize = 100;

/// A recording and what was found in it.
#[derive(Clone, Copy)]
pub struct Measured<'a> {
    pub recording: &'a Recording,
    pub diagnosis: &'a Diagnosis,
}

/// What a report is made of. Anything may be absent or empty: the page then says so.
#[derive(Clone, Copy, Default)]
pub struct Inputs<'a> {
    pub title: &'a str,
    /// Unix nanoseconds.
    pub created_ns: u64,
    /// The only measurement, or the one before the first change.
    pub before: Option<Measured<'a>>,
    /// The measurement after the last change.
    pub after: Option<Measured<'a>>,
    /// Where the page's readers can look at a trace.
    pub trace_url: Option<&'a TraceUrl>,
    pub steps: &'a [Step],
    /// What stepped load showed, where the first measurement is of one.
    pub scaling: Option<&'a Scaling>,
    /// What the state of a database's server shows.
    pub state: &'a [database::State<'a>],
}

impl ReportData {
    /// Picks, bounds and rounds; draws nothing.
    #[must_use]
    pub fn new(inputs: &Inputs<'_>) -> Self {
        let last = inputs.after.or(inputs.before);
        let (before, after) = (inputs.before.map(|m| m.diagnosis), inputs.after.map(|m| m.diagnosis));
        let diagnosis = last.map(|m| m.diagnosis);
        let all_endpoints = joined_endpoints(before, after);
        let chosen = pick::endpoints(before, after, inputs.steps);
        let read = |m: Option<Measured<'_>>| m.map(|m| traces::read(m.recording, &chosen));
        let (traces_before, traces_after) = (read(inputs.before), read(inputs.after));
        let run = last.map(|m| &m.recording.run);
        let open = diagnosis.map_or(&[][..], |d| &d.findings);
        let mut data = Self {
            title: line(if inputs.title.is_empty() { "Trimtab report" } else { inputs.title }, LABEL),
            target: run.map(|r| line(&without_secrets(&r.target), LABEL)).unwrap_or_default(),
            created: utc(inputs.created_ns),
            headline: match last.filter(|_| is_database_alone(inputs)) {
                Some(last) => Headline::of_database(last.recording, inputs.state.len()),
                None => Headline::of_loop(before, after, inputs.steps),
            },
            database_alone: is_database_alone(inputs),
            windows: windows(inputs),
            goals: goals(before, after),
            levels: inputs.scaling.map(levels::shown),
            steps: newest(inputs.steps).iter().map(steps::view).collect(),
            steps_left_out: inputs.steps.len().saturating_sub(MAX_STEPS),
            findings: open.iter().take(MAX_FINDINGS).map(findings::view).collect(),
            findings_first: match (before, after) {
                (Some(first), Some(_)) => {
                    first.findings.iter().take(MAX_FINDINGS).map(findings::view).collect()
                }
                _ => Vec::new(),
            },
            findings_left_out: open.len().saturating_sub(MAX_FINDINGS),
            endpoints_left_out: all_endpoints.len().saturating_sub(MAX_ENDPOINTS),
            endpoints: shown_endpoints(all_endpoints, &chosen),
            charts: charts::all(inputs, &chosen, traces_before.as_ref(), traces_after.as_ref()),
            waterfalls: waterfall::all(inputs, &chosen, traces_before.as_ref(), traces_after.as_ref()),
            time: diagnosis.map(database::time).unwrap_or_default(),
            statements: last.map(|m| database::statements(m.recording)).unwrap_or_default(),
            state: inputs.state.iter().take(MAX_STATE).map(database::state).collect(),
            state_left_out: inputs.state.len().saturating_sub(MAX_STATE),
            statements_left_out: last.map_or(0, |m| database::left_out(m.recording)),
            flames: flame::all(inputs),
            gaps: diagnosis.map(gaps).unwrap_or_default(),
            rules_not_run: diagnosis
                .filter(|_| !is_database_alone(inputs))
                .map(rules_not_run)
                .unwrap_or_default(),
            doubts: doubts(inputs),
            environment: run.map(|r| environment(&r.environment)).unwrap_or_default(),
            trace_url: inputs.trace_url.map(|url| url.as_str().to_owned()),
            missing: BTreeMap::new(),
            left_out: Vec::new(),
            plain: plain(diagnosis, inputs),
        };
        data.missing = missing(&data, inputs);
        data.fit();
        data
    }

    /// Drops what is least telling, the last of each list first, until the page is small enough, and says so.
    fn fit(&mut self) {
        let mut dropped: BTreeMap<&'static str, usize> = BTreeMap::new();
        while serde_json::to_vec(self).map_or(0, |json| json.len()) > MAX_JSON_BYTES {
            let Some(what) = self.drop_one() else { break };
            *dropped.entry(what).or_default() += 1;
        }
        let left_out = dropped.into_iter();
        self.left_out.extend(
            left_out.map(|(what, n)| format!("{} left out to keep this file small", plural(n, what))),
        );
    }

    /// What it was; `None`: nothing is left.
    fn drop_one(&mut self) -> Option<&'static str> {
        fn last<T>(list: &mut Vec<T>, what: &'static str) -> Option<&'static str> {
            list.pop().map(|_| what)
        }
        last(&mut self.waterfalls, "waterfall")
            .or_else(|| last(&mut self.flames, "flame graph"))
            .or_else(|| last(&mut self.charts, "chart"))
            .or_else(|| {
                let shown = self.steps.iter_mut().map(|step| &mut step.finding);
                let shown = shown.chain(&mut self.findings).chain(&mut self.findings_first).rev();
                shown.filter_map(|f| f.rerun.take()).next().map(|_| "before-and-after drawing")
            })
            .or_else(|| last(&mut self.findings_first, "earlier finding"))
            .or_else(|| last(&mut self.findings, "finding"))
            .or_else(|| last(&mut self.statements, "statement"))
            .or_else(|| last(&mut self.state, "line of the server's state"))
            .or_else(|| last(&mut self.endpoints, "endpoint"))
            .or_else(|| last(&mut self.steps, "step"))
    }
}

fn plain(diagnosis: Option<&Diagnosis>, inputs: &Inputs<'_>) -> String {
    let shown = newest(inputs.steps);
    let table = if shown.is_empty() { String::new() } else { text::steps_table(shown, PLAIN_WIDTH) };
    let found = diagnosis.map(|d| text::diagnosis(d, PLAIN_WIDTH, text::Colour::Off)).unwrap_or_default();
    let levels = inputs.scaling.map(|s| text::scaling(s, PLAIN_WIDTH, text::Colour::Off)).unwrap_or_default();
    format!("{levels}{table}\n{found}")
}

fn windows(inputs: &Inputs<'_>) -> Vec<Window> {
    let one = |when, m: Measured<'_>| {
        let (run, figures) = (&m.recording.run, &m.diagnosis.recording);
        let (start, end) =
            if run.end_ns > 0 { (run.start_ns, run.end_ns) } else { (figures.start_ns, figures.end_ns) };
        let seconds = end.saturating_sub(start) as f64 / 1e9;
        Window {
            when,
            id: line(if run.id.is_empty() { &figures.id } else { &run.id }, LABEL),
            start: utc(start),
            seconds: finite(seconds).filter(|s| *s > 0.0),
            requests: m.recording.latencies.iter().map(|c| c.response.count()).sum(),
            spans: figures.spans.max(m.recording.spans.len() as u64),
            traces: figures.traces,
            complete: run.complete,
        }
    };
    let before = inputs.before.map(|m| one(When::Before, m));
    let after = inputs.after.map(|m| one(When::After, m));
    before.into_iter().chain(after).collect()
}

fn goals(before: Option<&Diagnosis>, after: Option<&Diagnosis>) -> Vec<GoalView> {
    let results =
        |d: Option<&Diagnosis>| -> Vec<GoalResult> { d.map(|d| d.goals.clone()).unwrap_or_default() };
    let (before, after) = (results(before), results(after));
    let mut names: Vec<&str> = Vec::new();
    for result in before.iter().chain(&after) {
        if names.len() < MAX_GOALS && !names.contains(&result.goal.as_str()) {
            names.push(&result.goal);
        }
    }
    let state = |all: &[GoalResult], name: &str| {
        let found = all.iter().find(|g| g.goal == name)?;
        Some(GoalState { measured: found.measured.and_then(finite), met: found.met })
    };
    names
        .iter()
        .map(|name| {
            let parsed: Option<Goal> = name.parse().ok();
            GoalView {
                goal: line(name, LABEL),
                unit: parsed.as_ref().map_or("", unit),
                limit: parsed.and_then(|g| finite(g.limit)),
                before: state(&before, name),
                after: state(&after, name),
            }
        })
        .collect()
}

/// How the page and the terminal read a goal's numbers.
pub(crate) fn unit(goal: &Goal) -> &'static str {
    match goal.metric {
        GoalMetric::Quantile(_) | GoalMetric::Mean | GoalMetric::Lcp => "ms",
        GoalMetric::Errors | GoalMetric::Cpu | GoalMetric::Memory => "share",
        GoalMetric::Rate => "per_s",
    }
}

type Joined<'a> = (Option<&'a EndpointFigures>, Option<&'a EndpointFigures>);

/// Every endpoint once, by name and service.
fn joined_endpoints<'a>(before: Option<&'a Diagnosis>, after: Option<&'a Diagnosis>) -> Vec<Joined<'a>> {
    let mut joined: Vec<Joined<'a>> = Vec::new();
    let mut at: HashMap<(&str, &str), usize> = HashMap::new();
    let of = |d: Option<&'a Diagnosis>| d.map_or(&[][..], |d| d.recording.endpoints.as_slice());
    for figures in of(before) {
        at.entry((&figures.endpoint, &figures.service)).or_insert(joined.len());
        joined.push((Some(figures), None));
    }
    for figures in of(after) {
        match at.get(&(figures.endpoint.as_str(), figures.service.as_str())) {
            Some(&known) => joined[known].1 = Some(figures),
            None => joined.push((None, Some(figures))),
        }
    }
    joined
}

/// The chosen endpoints first, then those that take the most time.
fn shown_endpoints(mut joined: Vec<Joined<'_>>, chosen: &[String]) -> Vec<EndpointRow> {
    joined.sort_by_cached_key(|j| {
        let name = name_of(j);
        let rank = chosen.iter().position(|c| c == name).unwrap_or(chosen.len());
        let weight = j.0.or(j.1).map_or(0.0, |f| f.requests.max(f.traces) as f64 * f.p50_ms.max(0.0));
        // Positive floats order as their bits; what is not finite is last.
        let bits = if weight.is_finite() { weight.to_bits() } else { 0 };
        (rank, Reverse(bits), name.to_owned())
    });
    joined.truncate(MAX_ENDPOINTS);
    joined
        .iter()
        .map(|j| EndpointRow {
            endpoint: line(name_of(j), LABEL),
            service: line(j.0.or(j.1).map_or("", |f| &f.service), LABEL),
            before: j.0.map(figures),
            after: j.1.map(figures),
        })
        .collect()
}

fn name_of<'a>(joined: &Joined<'a>) -> &'a str {
    joined.0.or(joined.1).map_or("", |f| &f.endpoint)
}

fn figures(of: &EndpointFigures) -> Figures {
    Figures {
        requests: of.requests,
        rate_per_s: finite(of.rate_per_s),
        p50_ms: finite(of.p50_ms),
        p95_ms: finite(of.p95_ms),
        p99_ms: finite(of.p99_ms),
        error_share: finite(of.error_share),
        traces: of.traces,
    }
}

fn gaps(diagnosis: &Diagnosis) -> Vec<GapView> {
    let view = |g: &model::Gap| GapView {
        signal: line(&g.signal, LABEL),
        reason: line(&without_secrets(&g.reason), SENTENCE),
        hint: line(&without_secrets(&g.hint), SENTENCE),
    };
    diagnosis.gaps.iter().take(MAX_GAPS).map(view).collect()
}

fn rules_not_run(diagnosis: &Diagnosis) -> Vec<RuleView> {
    let view = |r: &model::RuleNotRun| RuleView {
        rule: line(&r.rule, LABEL),
        missing_signal: line(&r.missing_signal, SENTENCE),
    };
    diagnosis.rules_not_run.iter().take(MAX_GAPS).map(view).collect()
}

fn doubts(inputs: &Inputs<'_>) -> Vec<DoubtView> {
    let of = |when, m: Option<Measured<'_>>| -> Vec<DoubtView> {
        let Some(m) = m else { return Vec::new() };
        let judged = &m.diagnosis.recording.validity.issues;
        let issues = if judged.is_empty() { &m.recording.run.validity.issues } else { judged };
        let view = |i: &model::ValidityIssue| DoubtView {
            when,
            invalid: i.invalid,
            kind: line(&i.kind, LABEL),
            reason: line(&without_secrets(&i.reason), SENTENCE),
            hint: line(&without_secrets(&i.hint), SENTENCE),
        };
        issues.iter().take(MAX_GAPS).map(view).collect()
    };
    let mut all = of(When::Before, inputs.before);
    all.extend(of(When::After, inputs.after));
    all
}

fn environment(of: &Environment) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push((line(name, LABEL), clip(&value, LABEL)));
        }
    };
    row("host", of.host.clone());
    row("system", of.os.clone());
    row("processor", of.cpu_model.clone());
    row("logical CPUs", if of.cpus > 0 { count(u64::from(of.cpus)) } else { String::new() });
    row("memory", if of.memory_bytes > 0 { bytes(of.memory_bytes) } else { String::new() });
    for (name, version) in of.versions.iter().take(MAX_VERSIONS) {
        row(name, version.clone());
    }
    rows
}

/// A server was looked at, and no request.
fn is_database_alone(inputs: &Inputs<'_>) -> bool {
    let alone = |m: &Measured<'_>| {
        let recording = m.recording;
        let seen = !recording.statements.is_empty() || !inputs.state.is_empty();
        seen && recording.spans.is_empty() && recording.latencies.is_empty() && m.diagnosis.goals.is_empty()
    };
    inputs.before.as_ref().is_some_and(alone) && inputs.after.is_none() && inputs.steps.is_empty()
}

/// A sentence for each section that has nothing to show.
fn missing(data: &ReportData, inputs: &Inputs<'_>) -> BTreeMap<&'static str, String> {
    let mut missing = BTreeMap::new();
    let mut say = |section, empty: bool, why: &str| {
        if empty {
            missing.insert(section, why.to_owned());
        }
    };
    let measured = inputs.before.or(inputs.after);
    let spans = measured.is_some_and(|m| !m.recording.spans.is_empty());
    say(
        "goals",
        data.goals.is_empty(),
        "No goals were set, so nothing can be met or missed. Write some into trimtab.toml: p95(GET /orders) < 250 ms.",
    );
    say(
        "steps",
        data.steps.is_empty(),
        "No change was tried, so there is no prediction to compare with an outcome.",
    );
    let no_findings = match (measured, spans) {
        (None, _) => "Nothing was measured, so nothing could be found.",
        (_, false) => {
            "No finding, but the recording holds no spans: most rules need traces. See the gaps below."
        }
        _ => "No rule found anything that is worth a change.",
    };
    say("findings", data.findings.is_empty(), no_findings);
    say(
        "endpoints",
        data.endpoints.is_empty(),
        "No request was seen: neither the load nor a trace names an endpoint.",
    );
    say(
        "charts",
        data.charts.is_empty(),
        "No distribution to draw: the recording holds neither latencies nor traces of an endpoint.",
    );
    let no_waterfalls = match (measured, spans) {
        (None, _) => "No trace to draw: nothing was measured.",
        (_, false) => {
            "No trace to draw: the recording holds no spans. Point the service's OTLP exporter at Trimtab."
        }
        _ => "No trace to draw: none of the recorded traces could be matched with an endpoint of the table.",
    };
    say("waterfalls", data.waterfalls.is_empty(), no_waterfalls);
    say(
        "gaps",
        data.gaps.is_empty() && data.rules_not_run.is_empty(),
        "No gaps: every instrument saw what it should, and every rule could run.",
    );
    say("environment", data.environment.is_empty(), "The recording does not say where it was made.");
    if measured.is_none() {
        missing.insert("gaps", "Nothing was measured: everything is a gap. Run trimtab measure.".to_owned());
    }
    missing
}

/// The steps that have room: the last ones.
fn newest(steps: &[Step]) -> &[Step] {
    &steps[steps.len().saturating_sub(MAX_STEPS)..]
}
