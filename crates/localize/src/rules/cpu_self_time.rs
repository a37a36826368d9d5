//! `cpu_self_time`: the request's time is spent in the service's own code, with nothing called.

use super::{Candidate, Fix, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "cpu_self_time",
    needs: &[Signal::Traces],
    why: "No index and no cache below will help where the code itself computes; and on an event loop everybody else waits for it.",
    how: "One kind of span has 30 % or more of the endpoint's critical path as its own time, with nothing below it, 5 ms or more a request; the span's busy time says that it is CPU, or the service's CPU is seen to be in use.",
    predicts: "The own time falls to a fifth, as a better algorithm or data structure makes it; from none of the gain to all of it.",
    run,
};

/// What mending hot code leaves of it, see `predicts`.
const LEFT: f64 = 0.2;

/// How sure it is that own time is CPU time and not an unseen wait.
#[derive(Clone, Copy, PartialEq)]
enum Proof {
    Busy(f64),
    ProcessCpu(f64),
    None,
}

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let shared = facts.saturation.cores_of_others(facts.thresholds).is_some();
    facts
        .shapes()
        .filter(|(_, shape)| matches!(shape.class, Class::Server | Class::Internal))
        .filter(|(_, shape)| shape.own_share >= facts.thresholds.self_time_share)
        .filter(|(_, shape)| own_ms(facts, shape) >= facts.thresholds.min_gain_ms)
        // Where neighbours fill the CPU, own time is waiting for a turn, unless the spans tell their time on it.
        .filter(|(_, shape)| !shared || matches!(proof(facts, shape), Proof::Busy(_)))
        .filter_map(|(id, shape)| candidate(facts, id, shape))
        .collect()
}

/// Own time a request, milliseconds.
fn own_ms(facts: &Facts<'_>, shape: &Shape) -> f64 {
    let endpoint = facts.endpoint_of(shape);
    endpoint.root_ns as f64 / endpoint.trees.len().max(1) as f64 * shape.own_share / 1e6
}

fn proof(facts: &Facts<'_>, shape: &Shape) -> Proof {
    let (mut busy, mut all) = (0.0, 0.0);
    for node in shape.groups.iter().flat_map(|g| facts.nodes(g)) {
        if let Some(ns) = facts.call(*node).busy_ns() {
            busy += ns;
            all += facts.node(*node).duration_ns() as f64;
        }
    }
    if all > 0.0 {
        return Proof::Busy((busy / all).clamp(0.0, 1.0));
    }
    let service = facts.name(shape.service);
    let container = facts.saturation.services.get(service).and_then(|u| u.cores);
    let process = facts.saturation.roles.get("service").and_then(|u| u.cores);
    container.or(process).map_or(Proof::None, Proof::ProcessCpu)
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Option<Candidate> {
    let t = facts.thresholds;
    let proof = proof(facts, shape);
    let own_ms = own_ms(facts, shape);
    // Cores that this endpoint alone would keep busy if its own time were all CPU.
    let demand = own_ms / 1e3 * facts.rate_per_s(shape.endpoint);
    let refuted = match proof {
        Proof::Busy(share) => share < t.busy_share,
        Proof::ProcessCpu(cores) => cores < demand * t.busy_share,
        Proof::None => false,
    };
    if refuted {
        return None;
    }
    let share = shape.own_share * 100.0;
    let title = format!("{own_ms:.1} ms a request in {}'s own code", facts.name(shape.template));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = Some(shape.own_share);
    candidate.lines =
        vec![format!("{share:.0} % of the critical path has no call below it: {own_ms:.1} ms a request")];
    candidate.lines.push(match proof {
        Proof::Busy(share) => format!("the spans were on the CPU {:.0} % of their time", share * 100.0),
        Proof::ProcessCpu(cores) => {
            format!("the service keeps {cores:.2} cores busy; this alone needs {demand:.2}")
        }
        Proof::None => "no CPU figures: it may also be a wait that no span shows".to_owned(),
    });
    let own = |left: f64| vec![Transform::Own { of: id, to: Cost::Times(left) }];
    candidate.fix = Some(Fix {
        point: own(LEFT),
        least: Vec::new(),
        most: own(0.0),
        grade: Grade::C,
        assumption: "the code can be made five times as fast".to_owned(),
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "profile this endpoint and mend the hottest function: a set instead of a list, no work in loops that can be done once, a cached result; and keep CPU work off the threads that serve requests"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = match proof {
        Proof::Busy(_) => 0.8,
        Proof::ProcessCpu(_) => 0.65,
        Proof::None => 0.4,
    };
    Some(candidate)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;
    use model::metrics::names;
    use model::{MetricKind, MetricSeries, Point};

    const DRAWING: &str = r#"
        repeat 20
        api server "GET /recommendations" 0..100
          api db "SELECT * FROM orders WHERE id = $1" 5..15
        "#;

    fn service_cpu(cores: f64) -> MetricSeries {
        MetricSeries {
            name: names::PROCESS_CPU.into(),
            unit: "1".into(),
            kind: MetricKind::Gauge,
            attributes: [("process.role".to_owned(), "service".to_owned())].into(),
            points: vec![Point { time_ns: 1, value: cores }],
        }
    }

    #[test]
    fn time_without_any_call_is_one_finding() {
        check_rule(
            "cpu_self_time",
            &drawn(DRAWING),
            &expect![[r#"
                cpu_self_time GET /recommendations | 90.0 ms a request in GET /recommendations's own code | p95 100.0 -> 28.0 (10.0..100.0) C
            "#]],
        );
    }

    #[test]
    fn an_idle_cpu_refutes_it() {
        let mut recording = drawn(DRAWING);
        recording.metrics.push(service_cpu(0.05));
        check_rule("cpu_self_time", &recording, &expect![[""]]);
    }

    #[test]
    fn waiting_for_a_cpu_that_neighbours_fill_is_not_own_time() {
        let mut recording = drawn(DRAWING);
        recording.run.environment.cpus = 8;
        let host = MetricSeries { name: names::HOST_CPU.into(), attributes: [].into(), ..service_cpu(0.99) };
        recording.metrics.extend([service_cpu(0.9), host]);
        check_rule("cpu_self_time", &recording, &expect![[""]]);
    }

    #[test]
    fn busy_time_on_the_spans_decides() {
        let idle = DRAWING.replace("0..100", "0..100 busy_ns=1000000 idle_ns=99000000");
        check_rule("cpu_self_time", &drawn(&idle), &expect![[""]]);
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "cpu_self_time",
            &drawn(""),
            &expect![[r#"
                not run: cpu_self_time (traces)
            "#]],
        );
    }
}
