//! `cpu_saturation`: the CPU is full, so that everything waits for it; single spans are symptoms.

use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{EndpointId, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind, Severity};

pub(super) const RULE: Rule = Rule {
    name: "cpu_saturation",
    needs: &[Signal::Traces, Signal::CpuMetrics],
    why: "On a full CPU every span is slow because it waits for its turn; mending the slowest span misses the cause.",
    how: "The host, or a container against its limit, is 80 % busy or more over the window. It is told on the endpoint that takes the most time in all.",
    predicts: "Twice the CPU: on c cores shared by all, work takes 1 / (1 - rho^c) times as long as alone, so the own time of the full service (on a full host: of all services) shrinks by the ratio of that at half the load and now; from half of the gain to as if calls to others on that machine shrank alike. Nothing where programs that are not watched fill the CPU.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let t = facts.thresholds;
    if !facts.saturation.is_cpu_full(t) {
        return Vec::new();
    }
    let Some(busy) = facts.saturation.cpu() else { return Vec::new() };
    let heaviest = facts.endpoints().max_by_key(|(id, e)| (e.root_ns, std::cmp::Reverse(*id)));
    let Some((endpoint, _)) = heaviest else { return Vec::new() };
    let root = facts.shapes().find(|(_, s)| s.endpoint == endpoint && s.parent.is_none());
    root.map(|(id, _)| candidate(facts, id, busy)).into_iter().collect()
}

fn candidate(facts: &Facts<'_>, root: ShapeId, busy: f64) -> Candidate {
    let others = facts.saturation.cores_of_others(facts.thresholds);
    let mut candidate = Candidate::on_shape(facts, root, format!("the CPU is {:.0} % busy", busy * 100.0));
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = None;
    candidate.place.resource = Some("cpu".to_owned());
    candidate.lines = vec![who_uses_it(facts)];
    candidate.lines.extend(
        facts
            .saturation
            .cpu_pressure
            .map(|p| format!("{:.0} % of the time some task was ready and waited for a CPU", p * 100.0)),
    );
    let text = if let Some(others) = others {
        candidate.lines.push(format!("programs that are not watched use {others:.2} cores"));
        "end what else runs on this machine, or measure on a quiet one; if it is a part of the service, have it watched"
    } else {
        candidate.fix = Some(fix(facts, candidate.endpoint, busy));
        "mend what uses the most CPU (see the findings on that endpoint), or add CPUs, workers or replicas; do not judge single spans before"
    };
    let text = text.to_owned();
    candidate.remedies = vec![Remedy { kind: RemedyKind::Configuration, text, patch: None, undo: None }];
    candidate.confidence = 0.8;
    candidate.severity = Some(Severity::Warning);
    candidate
}

/// How many times as long work would take with twice the CPU, by processor sharing on `c` cores.
fn relief(facts: &Facts<'_>, busy: f64) -> f64 {
    let cores = facts.saturation.cpus;
    let stretch = |rho: f64| 1.0 / (1.0 - rho.min(facts.thresholds.load_model_cap).powf(cores));
    stretch(busy / 2.0) / stretch(busy)
}

fn fix(facts: &Facts<'_>, endpoint: EndpointId, busy: f64) -> Fix {
    let t = facts.thresholds;
    let host_full = facts.saturation.host_cpu.is_some_and(|u| u >= t.cpu_saturated);
    let is_full = |shape: &Shape| {
        let service = facts.saturation.services.get(facts.name(shape.service));
        host_full || service.and_then(|u| u.of_limit).is_some_and(|u| u >= t.cpu_saturated)
    };
    let shrunk = |factor: f64, calls_too: bool| {
        let computes = |s: &Shape| matches!(s.class, Class::Server | Class::Internal) || calls_too;
        let of_endpoint = facts.shapes().filter(|(_, s)| s.endpoint == endpoint);
        let shrunk = of_endpoint.filter(|(_, s)| is_full(s) && computes(s));
        shrunk.map(|(of, _)| Transform::Own { of, to: Cost::Times(factor) }).collect::<Vec<_>>()
    };
    let factor = relief(facts, busy);
    Fix {
        point: shrunk(factor, false),
        least: shrunk(f64::midpoint(1.0, factor), false),
        most: shrunk(factor, host_full),
        grade: Grade::C,
        assumption: "the service has twice the CPU, and its own time is computing or waiting for it"
            .to_owned(),
        load: LoadEffect::Included,
    }
}

fn who_uses_it(facts: &Facts<'_>) -> String {
    let saturation = &facts.saturation;
    let mut users: Vec<(f64, &str)> = saturation
        .roles
        .iter()
        .chain(&saturation.services)
        .filter_map(|(name, used)| used.cores.map(|cores| (cores, name.as_str())))
        .collect();
    users.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let list: Vec<String> = users.iter().take(4).map(|(cores, name)| format!("{name} {cores:.2}")).collect();
    if list.is_empty() {
        format!("of {:.0} cores; which process uses them was not seen", saturation.cpus)
    } else {
        format!("of {:.0} cores in use: {}", saturation.cpus, list.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;
    use model::metrics::names;
    use model::{MetricKind, MetricSeries, Point, Recording};

    fn recording(busy: f64) -> Recording {
        let mut recording = drawn("repeat 20\napi server \"GET /a\" 0..100\n  api db \"SELECT 1\" 5..60");
        recording.run.environment.cpus = 2;
        recording.metrics.push(MetricSeries {
            name: names::HOST_CPU.into(),
            unit: "1".into(),
            kind: MetricKind::Gauge,
            attributes: [("host.name".to_owned(), "h".to_owned())].into(),
            points: vec![Point { time_ns: 1, value: busy }],
        });
        recording
    }

    #[test]
    fn a_full_cpu_is_one_finding() {
        check_rule(
            "cpu_saturation",
            &recording(0.93),
            &expect![[r#"
                cpu_saturation GET /a | the CPU is 93 % busy | p95 100.0 -> 62.8 (17.2..81.4) C
            "#]],
        );
    }

    #[test]
    fn neighbours_that_fill_it_are_not_laid_on_the_service() {
        let mut recording = recording(0.95);
        recording.metrics.push(MetricSeries {
            name: names::PROCESS_CPU.into(),
            unit: "1".into(),
            kind: MetricKind::Gauge,
            attributes: [("process.role".to_owned(), "service".to_owned())].into(),
            points: vec![Point { time_ns: 1, value: 0.1 }],
        });
        let found = crate::localize(&recording, &crate::Options::default()).findings;
        let full = found.iter().find(|f| f.rule == "cpu_saturation").expect("a finding");
        assert!(full.evidence.lines.iter().any(|l| l.contains("not watched use 1.80 cores")), "{full:?}");
        assert!(full.remedies[0].text.contains("quiet"), "{full:?}");
    }

    #[test]
    fn a_half_busy_cpu_is_none() {
        check_rule("cpu_saturation", &recording(0.5), &expect![[""]]);
    }

    #[test]
    fn without_cpu_metrics_the_rule_does_not_run() {
        let mut blind = recording(0.9);
        blind.metrics.clear();
        check_rule(
            "cpu_saturation",
            &blind,
            &expect![[r#"
                not run: cpu_saturation (cpu metrics)
            "#]],
        );
    }
}
