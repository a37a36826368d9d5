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
            measured: measured.map(|m| round(m.value)),
            met: measured.map(|m| goal.is_met_by(m.value)),
            requests: measured.and_then(|m| m.requests),
            low: measured.and_then(|m| m.low).map(round),
            high: measured.and_then(|m| m.high).map(round),
        });
    }
    (results, gaps)
}

/// A figure in its goal's unit; a percentile with the requests that it stands on and its interval.
#[derive(Clone, Copy)]
struct Measured {
    value: f64,
    requests: Option<u64>,
    low: Option<f64>,
    high: Option<f64>,
}

impl Measured {
    fn plain(value: f64) -> Self {
        Self { value, requests: None, low: None, high: None }
    }

    /// A percentile of `count` requests with its 95 % interval, by ranks that are binomial (normal approximation;
    /// Conover, Practical Nonparametric Statistics, 3.2). Open on a side whose rank lies outside of what was seen.
    fn quantile(count: u64, q: f64, at: impl Fn(f64) -> f64) -> Self {
        const Z: f64 = 1.96;
        let n = count as f64;
        let half = Z * (n * q * (1.0 - q)).sqrt();
        let (low, high) = ((n * q - half).floor(), (n * q + half).ceil());
        let share = |rank: f64| (rank >= 1.0 && rank <= n).then(|| at((rank / n).clamp(0.0, 1.0)));
        Self { value: at(q), requests: Some(count), low: share(low), high: share(high) }
    }
}

/// The worst over all endpoints that the goal concerns.
fn measure(facts: &Facts<'_>, goal: &Goal) -> Option<Measured> {
    match goal.metric {
        GoalMetric::Cpu => resource(facts, goal, names::HOST_CPU, names::PROCESS_CPU).map(Measured::plain),
        GoalMetric::Memory => {
            resource(facts, goal, names::HOST_MEMORY, names::PROCESS_MEMORY).map(Measured::plain)
        }
        GoalMetric::Lcp => None,
        metric => {
            let concerned = facts.endpoints().map(|e| e.0).filter(|e| goal.concerns(facts.load.name(*e)));
            let traced = concerned.filter_map(|e| measured_of(facts, e, metric));
            let unjoined = facts.load.unjoined.iter().chain(&facts.load.parted);
            let unjoined = unjoined.filter(|j| goal.concerns(&j.name));
            let figures = traced.chain(unjoined.filter_map(|j| of_operation(facts, j, metric)));
            let by_value = |a: &Measured, b: &Measured| a.value.total_cmp(&b.value);
            match goal.relation {
                model::Relation::Below => figures.max_by(by_value),
                model::Relation::Above => figures.min_by(by_value),
            }
        }
    }
}

fn measured_of(facts: &Facts<'_>, endpoint: EndpointId, metric: GoalMetric) -> Option<Measured> {
    let GoalMetric::Quantile(q) = metric else {
        return of_endpoint(facts, endpoint, metric).map(Measured::plain);
    };
    let load = &facts.load.endpoints[endpoint as usize];
    let seen = match load.responses.count() {
        0 => facts.shapes.endpoint(endpoint).trees.len() as u64,
        count => count,
    };
    Some(Measured::quantile(seen, q, |q| quantile_ms(facts, endpoint, q)))
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
fn of_operation(facts: &Facts<'_>, load: &Joined, metric: GoalMetric) -> Option<Measured> {
    let responses = &load.responses;
    match metric {
        GoalMetric::Quantile(_) if responses.is_empty() => None,
        GoalMetric::Quantile(q) => {
            Some(Measured::quantile(responses.count(), q, |q| responses.quantile_ms(q).unwrap_or_default()))
        }
        GoalMetric::Mean => responses.mean_ms().map(Measured::plain),
        GoalMetric::Errors => Some(Measured::plain(load.error_share())),
        GoalMetric::Rate => Some(Measured::plain(responses.count() as f64 / facts.seconds())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_has_an_interval_that_few_requests_leave_open() {
        // The value at a share is the share in percent: ranks can be read off.
        let of = |count| Measured::quantile(count, 0.95, |q| q * 100.0);
        let many = of(1000);
        assert_eq!((many.requests, many.value), (Some(1000), 95.0));
        // 950 -+ 1.96 * sqrt(1000 * 0.95 * 0.05) = 13.5 ranks
        assert!((many.low.unwrap_or_default() - 93.6).abs() < 1e-9, "{:?}", many.low);
        assert!((many.high.unwrap_or_default() - 96.4).abs() < 1e-9, "{:?}", many.high);
        assert!(of(20).low.is_some() && of(20).high.is_none());
        assert!(of(1).low.is_none() && of(1).high.is_none());
    }
}
