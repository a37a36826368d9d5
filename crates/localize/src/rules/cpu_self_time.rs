//! `cpu_self_time`: the request's time is spent in the service's own code, with nothing called.

use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::cpu::{OwnTime, Proof, own_ms};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "cpu_self_time",
    needs: &[Signal::Traces],
    why: "No index and no cache below will help where the code itself computes; and on an event loop everybody else waits for it.",
    how: "One kind of span has 30 % or more of the endpoint's critical path as its own time, with nothing below it, 5 ms or more a request; the span's busy time says that it is CPU, or the CPU time that the load's mix tells of the endpoint, or the service that takes the request keeps half as many cores busy as this time would need. Own time that is no computing is a wait that no span shows (see `not_observable`).",
    predicts: "The part of it that is computing, or waiting for its turn on a CPU that the service itself fills, falls to a fifth, as a better algorithm or data structure makes it; from none of the gain to all of it.",
    run,
};

/// A run queue of this share of the cores in use is worth a word.
const TOLD: f64 = 0.1;
/// What mending hot code leaves of it, see `predicts`.
const LEFT: f64 = 0.2;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let t = facts.thresholds;
    let own = OwnTime::of(facts);
    facts
        .shapes()
        .filter(|(_, shape)| matches!(shape.class, Class::Server | Class::Internal))
        .filter(|(_, shape)| shape.own_share >= t.self_time_share && own_ms(facts, shape) >= t.min_gain_ms)
        .map(|(id, shape)| (id, shape, own.proof(facts, id)))
        // Own time that nothing says of whether it is computing may be a wait: it is `not_observable`'s.
        .filter(|(_, _, proof)| *proof != Proof::None && !proof.refutes(t.busy_share))
        // Where neighbours fill the CPU, own time is waiting for a turn, unless the service's use says otherwise.
        .filter(|(_, _, proof)| !is_shared(facts) || proof.share() >= t.busy_share)
        .map(|(id, shape, proof)| candidate(facts, id, shape, proof))
        .collect()
}

fn is_shared(facts: &Facts<'_>) -> bool {
    facts.saturation.cores_of_others(facts.thresholds).is_some()
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape, proof: Proof) -> Candidate {
    let own_ms = own_ms(facts, shape);
    let share = shape.own_share * 100.0;
    let title = format!("{own_ms:.1} ms a request in {}'s own code", facts.name(shape.template));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = Some(shape.own_share);
    candidate.lines =
        vec![format!("{share:.0} % of the critical path has no call below it: {own_ms:.1} ms a request")];
    candidate.lines.push(line(proof));
    let computed = proof.share();
    let own = |left: f64| vec![Transform::Own { of: id, to: Cost::Times(1.0 - computed * (1.0 - left)) }];
    candidate.fix = Some(Fix {
        point: own(LEFT),
        least: Vec::new(),
        most: vec![Transform::Own { of: id, to: Cost::Ns(0.0) }],
        grade: Grade::C,
        assumption: "the code can be made five times as fast".to_owned(),
        load: LoadEffect::Added,
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
        Proof::Told { share, .. } if share >= facts.thresholds.busy_share => 0.8,
        Proof::Watched { share, .. } if share >= facts.thresholds.busy_share => 0.65,
        Proof::Told { .. } | Proof::Watched { .. } | Proof::None => 0.4,
    };
    candidate
}

fn line(proof: Proof) -> String {
    match proof {
        Proof::Busy(share) => format!("the spans were on the CPU {:.0} % of their time", share * 100.0),
        Proof::Told { cpu_ms, own_ms, .. } => format!(
            "by the load's mix a request takes {cpu_ms:.1} ms of CPU, the service's own code {own_ms:.1} ms"
        ),
        Proof::Watched { cores, queued, demand, share, .. } if queued > cores * TOLD => format!(
            "the service keeps {cores:.2} cores busy and {queued:.2} threads waiting for one, this alone would need {demand:.2}: about {:.0} % of it is computing or waiting for its turn",
            share * 100.0
        ),
        Proof::Watched { cores, demand, share, .. } => format!(
            "the service keeps {cores:.2} cores busy, this alone would need {demand:.2}: about {:.0} % of it is computing",
            share * 100.0
        ),
        Proof::None => "no CPU figures: it may also be a wait that no span shows".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;
    use model::metrics::names;
    use model::{
        Attribution, Costs, MetricKind, MetricSeries, Point, Rate, Recording, RequestSample, ResourceCost,
        resources,
    };

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
        let mut recording = drawn(DRAWING);
        recording.metrics.push(service_cpu(0.9));
        check_rule(
            "cpu_self_time",
            &recording,
            &expect![[r#"
                cpu_self_time GET /recommendations | 90.0 ms a request in GET /recommendations's own code | p95 100.0 -> 31.6 (10.0..100.0) C
            "#]],
        );
    }

    #[test]
    fn own_time_of_a_service_that_nobody_watched_may_be_a_wait() {
        check_rule("cpu_self_time", &drawn(DRAWING), &expect![[""]]);
    }

    #[test]
    fn an_idle_cpu_refutes_it() {
        let mut recording = drawn(DRAWING);
        recording.metrics.push(service_cpu(0.05));
        check_rule("cpu_self_time", &recording, &expect![[""]]);
    }

    /// The requests of a drawing, joined to one operation that takes so many milliseconds of CPU by the load's mix.
    fn told_by_the_mix(recording: &mut Recording, cpu_ms: f64) {
        let mut traces = recording.spans.trace_ids.clone();
        traces.dedup();
        let rate = Rate { value: cpu_ms, low: cpu_ms * 0.9, high: cpu_ms * 1.1 };
        let cost = Attribution { per_request: vec![Some(rate)], windows: 20, ..Attribution::default() };
        let name = "GET /recommendations".to_owned();
        recording.run.operations = vec![name.clone()];
        let request = |id: &u128| RequestSample {
            operation: 0,
            due_ns: model::fixture::EPOCH_NS,
            response_ns: 100_000_000,
            service_ns: 100_000_000,
            status: 200,
            error: None,
            received_bytes: 0,
            sent_bytes: 0,
            trace_id: *id,
            slowest: false,
            phases: model::RequestPhases::default(),
        };
        recording.requests = traces.iter().map(request).collect();
        recording.costs = Some(Costs {
            operations: vec![name],
            resources: vec![ResourceCost { name: resources::CPU.into(), unit: "ms".into(), cost }],
            ..Costs::default()
        });
    }

    #[test]
    fn what_the_mix_tells_of_the_endpoint_outdoes_the_process_as_a_whole() {
        let mut recording = drawn(DRAWING);
        // Busy enough, but with something else.
        recording.metrics.push(service_cpu(0.9));
        told_by_the_mix(&mut recording, 4.0);
        check_rule("cpu_self_time", &recording, &expect![[""]]);
        told_by_the_mix(&mut recording, 80.0);
        let found = crate::localize(&recording, &crate::Options::default()).findings;
        let own = found.iter().find(|f| f.rule == "cpu_self_time").expect("a finding");
        assert!(own.evidence.lines.iter().any(|l| l.contains("80.0 ms of CPU")), "{own:?}");
    }

    #[test]
    fn the_process_that_takes_requests_says_nothing_of_a_service_behind_it() {
        let mut recording = drawn(
            r#"
        repeat 20
        api server "GET /page" 0..100
          api client "GET stock" 5..95
            stock server "GET /stock/{id}" 6..94
        "#,
        );
        recording.metrics.push(service_cpu(0.9));
        check_rule("cpu_self_time", &recording, &expect![[""]]);
    }

    #[test]
    fn waiting_for_a_turn_on_a_cpu_is_no_wait_for_something_else() {
        let mut recording = drawn(DRAWING);
        let queued = MetricSeries { name: names::PROCESS_RUN_QUEUE.into(), ..service_cpu(0.9) };
        recording.metrics.extend([service_cpu(0.05), queued]);
        let found = crate::localize(&recording, &crate::Options::default()).findings;
        let rules: Vec<&str> = found.iter().map(|f| f.rule.as_str()).collect();
        assert!(rules.contains(&"cpu_self_time"), "{rules:?}");
    }

    #[test]
    fn waiting_for_a_cpu_that_neighbours_fill_is_not_own_time() {
        let mut recording = drawn(DRAWING);
        recording.run.environment.cpus = 8;
        let host = MetricSeries { name: names::HOST_CPU.into(), attributes: [].into(), ..service_cpu(0.99) };
        recording.metrics.extend([service_cpu(0.3), host]);
        check_rule("cpu_self_time", &recording, &expect![[""]]);
    }

    #[test]
    fn computing_stays_computing_beside_loud_neighbours_and_many_rows() {
        let drawing = r#"
        repeat 20
        api server "GET /recommendations" 0..100 http.response.body.size=400
          api db "SELECT * FROM orders WHERE customer_id = $1" 5..35 db.response.returned_rows=5000
        "#;
        let mut recording = drawn(drawing);
        recording.run.environment.cpus = 8;
        let host = MetricSeries { name: names::HOST_CPU.into(), attributes: [].into(), ..service_cpu(0.99) };
        recording.metrics.extend([service_cpu(0.65), host]);
        let found = crate::localize(&recording, &crate::Options::default()).findings;
        let rules: Vec<&str> = found.iter().map(|f| f.rule.as_str()).collect();
        assert!(rules.contains(&"over_fetch") && rules.contains(&"cpu_self_time"), "{rules:?}");
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
