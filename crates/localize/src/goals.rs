//! Goals against what was measured: by the load where there was one, else by server spans; CPU and memory by metrics.

use crate::facts::Facts;
use crate::load::Joined;
use crate::predict::round;
use crate::shape::{EndpointId, quantile};
use model::metrics::names;
use model::{Gap, Goal, GoalMetric, GoalResult, MetricSeries};

/// Each goal's result, in the order given, and a gap for each that speaks of nothing that was seen.
#[must_use]
pub(crate) fn judge(facts: &Facts<'_>, goals: &[Goal]) -> (Vec<GoalResult>, Vec<Gap>) {
    let mut gaps = Vec::new();
    let mut results = Vec::new();
    for goal in goals {
        let measured = measure(facts, goal);
        if measured.is_none() {
            gaps.push(unseen(facts, goal));
        }
        results.push(GoalResult {
            goal: goal.to_string(),
            measured: measured.map(round),
            met: measured.map(|m| goal.is_met_by(m)),
        });
    }
    (results, gaps)
}

/// The worst over all endpoints that the goal concerns.
fn measure(facts: &Facts<'_>, goal: &Goal) -> Option<f64> {
    match goal.metric {
        GoalMetric::Cpu => resource(facts, goal, names::HOST_CPU, names::PROCESS_CPU),
        GoalMetric::Memory => resource(facts, goal, names::HOST_MEMORY, names::PROCESS_MEMORY),
        GoalMetric::Lcp => None,
        metric => {
            let concerned = facts.endpoints().map(|e| e.0).filter(|e| goal.concerns(facts.load.name(*e)));
            let traced = concerned.filter_map(|e| of_endpoint(facts, e, metric));
            let unjoined = facts.load.unjoined.iter().filter(|j| goal.concerns(&j.name));
            let figures = traced.chain(unjoined.filter_map(|j| of_operation(facts, j, metric)));
            match goal.relation {
                model::Relation::Below => figures.max_by(f64::total_cmp),
                model::Relation::Above => figures.min_by(f64::total_cmp),
            }
        }
    }
}

/// A figure of one endpoint, in the goal's unit; `None` where the metric is none of an endpoint.
pub(crate) fn of_endpoint(facts: &Facts<'_>, endpoint: EndpointId, metric: GoalMetric) -> Option<f64> {
    let load = &facts.load.endpoints[endpoint as usize];
    match metric {
        GoalMetric::Quantile(q) => Some(quantile_ms(facts, endpoint, q)),
        GoalMetric::Mean => load.responses.mean_ms().or_else(|| {
            let of = facts.shapes.endpoint(endpoint);
            (!of.trees.is_empty()).then(|| of.root_ns as f64 / of.trees.len() as f64 / 1e6)
        }),
        GoalMetric::Errors => Some(error_share(facts, endpoint)),
        GoalMetric::Rate => Some(facts.rate_per_s(endpoint)),
        GoalMetric::Cpu | GoalMetric::Memory | GoalMetric::Lcp => None,
    }
}

/// Of an operation that only the load knows.
fn of_operation(facts: &Facts<'_>, load: &Joined, metric: GoalMetric) -> Option<f64> {
    match metric {
        GoalMetric::Quantile(q) => load.responses.quantile_ms(q),
        GoalMetric::Mean => load.responses.mean_ms(),
        GoalMetric::Errors => Some(load.error_share()),
        GoalMetric::Rate => Some(load.responses.count() as f64 / facts.seconds()),
        GoalMetric::Cpu | GoalMetric::Memory | GoalMetric::Lcp => None,
    }
}

/// Of more requests than this, evenly spread ones decide a quantile.
const MAX_ROOTS: usize = 1 << 20;

/// A response time of an endpoint: by the load, else by the roots of its traces.
#[must_use]
pub(crate) fn quantile_ms(facts: &Facts<'_>, endpoint: EndpointId, q: f64) -> f64 {
    let load = &facts.load.endpoints[endpoint as usize];
    load.responses.quantile_ms(q).unwrap_or_else(|| {
        let trees = facts.shapes.endpoint(endpoint).sample(&facts.shapes.weights, MAX_ROOTS);
        let mut roots: Vec<f64> = trees.iter().map(|t| facts.root_ns(*t) as f64).collect();
        roots.sort_unstable_by(f64::total_cmp);
        quantile(&roots, q) / 1e6
    })
}

/// Failed requests, 0 to 1.
#[must_use]
pub(crate) fn error_share(facts: &Facts<'_>, endpoint: EndpointId) -> f64 {
    let load = &facts.load.endpoints[endpoint as usize];
    if !load.responses.is_empty() || load.errors > 0 {
        return load.error_share();
    }
    let trees = &facts.shapes.endpoint(endpoint).trees;
    let failed = |t: &&u32| facts.call(facts.forest.trees[**t as usize].root).error;
    trees.iter().filter(failed).count() as f64 / trees.len().max(1) as f64
}

/// A host's share where the subject names none of the roles, else a role's cores as share of all.
fn resource(facts: &Facts<'_>, goal: &Goal, host: &str, role: &str) -> Option<f64> {
    // The short names that people write.
    let subject = match goal.subject.as_str() {
        "db" => "database",
        "app" => "service",
        other => other,
    };
    if matches!(subject, "*" | "host") {
        return facts.recording.series(host).filter_map(MetricSeries::mean).max_by(f64::total_cmp);
    }
    let whole = if role == names::PROCESS_CPU {
        facts.saturation.cpus
    } else {
        facts.recording.run.environment.memory_bytes as f64
    };
    let of_role =
        |s: &&MetricSeries| s.attribute("process.role").is_some_and(|r| r.eq_ignore_ascii_case(subject));
    let used: Vec<f64> =
        facts.recording.series(role).filter(of_role).filter_map(MetricSeries::mean).collect();
    if !used.is_empty() && whole > 0.0 {
        return Some(used.iter().sum::<f64>() / whole);
    }
    let by_service = facts.saturation.services.iter().find(|(name, _)| name.eq_ignore_ascii_case(subject));
    by_service.and_then(|(_, figures)| figures.of_limit).filter(|_| role == names::PROCESS_CPU)
}

fn unseen(facts: &Facts<'_>, goal: &Goal) -> Gap {
    let unjoined = facts.load.unjoined.iter().map(|j| j.name.as_str());
    let mut seen: Vec<&str> = facts.endpoints().map(|e| facts.load.name(e.0)).chain(unjoined).collect();
    seen.sort_unstable();
    seen.dedup();
    match goal.metric {
        GoalMetric::Cpu | GoalMetric::Memory => Gap::new(
            "metrics",
            format!("nothing was measured for the goal `{goal}`"),
            "measure on the service's host, or name `host` or a role: service, database",
        ),
        GoalMetric::Lcp => Gap::new(
            "pages",
            format!("nothing was measured for the goal `{goal}`"),
            "pages are not measured in this recording",
        ),
        _ if seen.is_empty() => Gap::new(
            "traces",
            format!("nothing was measured for the goal `{goal}`: no endpoint was seen"),
            "send traces or drive load",
        ),
        _ => Gap::new(
            "traces",
            format!("the goal `{goal}` speaks of an endpoint that was not seen"),
            format!("endpoints that were seen: {}", seen.join(", ")),
        ),
    }
}
