//! `memory_pressure`: memory runs out, leaks, or is collected so often that requests wait for it.

use super::{Candidate, Fix, LoadEffect, Rule, Signal, heaviest_endpoint};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::{Grade, Remedy, RemedyKind, Severity};

pub(super) const RULE: Rule = Rule {
    name: "memory_pressure",
    needs: &[Signal::Traces, Signal::MemoryMetrics],
    why: "A collection stops every request of the process; memory that runs out ends it.",
    how: "5 % of the time or more goes to garbage collection; or memory is over 90 % of its limit; or it grows by 10 % an hour or more (median slope over ten minutes at least, so that a cache which fills once does not count).",
    predicts: "Half of the collections: the service's own time shrinks by half of their share. For a limit or a leak nothing: they end in a restart, not in a slow request.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let t = facts.thresholds;
    let mut out = Vec::new();
    for (owner, share) in facts.runtime.gc.iter().filter(|(_, share)| **share >= t.gc_share) {
        out.extend(collected(facts, owner, *share));
    }
    for (owner, memory) in &facts.runtime.memory {
        let full = memory.share.filter(|s| *s >= t.memory_full).map(|share| {
            (
                format!("{} is {:.0} % full", memory_of(owner), share * 100.0),
                "raise the limit, bound caches and queues, read large results as a stream",
            )
        });
        let leaks = memory
            .growth_per_h
            .filter(|g| *g >= t.memory_growth_per_h && memory.seconds >= t.memory_growth_s);
        let leaks = leaks.map(|growth| {
            (
                format!("{} grows by {:.0} % an hour", memory_of(owner), growth * 100.0),
                "compare two heap profiles some minutes apart; bound what is kept per request, user or key",
            )
        });
        out.extend(full.or(leaks).and_then(|(title, remedy)| on_service(facts, owner, title, remedy)));
    }
    out
}

fn memory_of(owner: &str) -> String {
    if owner.is_empty() { "the host's memory".to_owned() } else { format!("{owner}'s memory") }
}

/// On the endpoint that takes the most time in the service; of the host, in all.
fn on_service(facts: &Facts<'_>, owner: &str, title: String, remedy: &str) -> Option<Candidate> {
    let root = heaviest_endpoint(facts, owner)?;
    let mut candidate = Candidate::on_shape(facts, root, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = None;
    candidate.place.resource = Some("memory".to_owned());
    candidate.severity = Some(Severity::Warning);
    candidate.remedies =
        vec![Remedy { kind: RemedyKind::Configuration, text: remedy.to_owned(), patch: None, undo: None }];
    candidate.confidence = 0.7;
    Some(candidate)
}

fn collected(facts: &Facts<'_>, owner: &str, share: f64) -> Option<Candidate> {
    let title = format!("{:.0} % of the time goes to garbage collection in {owner}", share * 100.0);
    let text = "allocate less on the hottest path (see a heap profile), give the heap more room, keep large replies out of memory by streaming";
    let mut candidate = on_service(facts, owner, title, text)?;
    candidate.place.resource = Some("garbage collection".to_owned());
    candidate.lines = vec![format!("collections hold {:.0} ms of each second", share * 1e3)];
    let own = |s: &Shape| {
        s.endpoint == candidate.endpoint
            && matches!(s.class, Class::Server | Class::Internal)
            && facts.name(s.service) == owner
    };
    let shapes: Vec<ShapeId> = facts.shapes().filter(|(_, s)| own(s)).map(|(id, _)| id).collect();
    let to = |left: f64| {
        let shrunk = |of: &ShapeId| Transform::Own { of: *of, to: Cost::Times(left) };
        shapes.iter().map(shrunk).collect::<Vec<_>>()
    };
    candidate.fix = Some(Fix {
        point: to(1.0 - share / 2.0),
        least: Vec::new(),
        most: to(1.0 - share),
        grade: Grade::C,
        assumption: "half of the collections are not needed".to_owned(),
        load: LoadEffect::Added,
    });
    Some(candidate)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn, gauge_series};
    use expect_test::expect;
    use model::Recording;

    fn recording(name: &str, points: &[(u64, f64)]) -> Recording {
        let mut recording = drawn("repeat 20\napi server \"GET /a\" 0..200\n  api db \"SELECT 1\" 5..60");
        recording.metrics.push(gauge_series(name, &[("service.name", "api")], points));
        recording
    }

    #[test]
    fn collections_that_hold_much_of_the_time_are_one_finding() {
        check_rule(
            "memory_pressure",
            &recording("jvm.gc.duration.sum", &[(0, 0.0), (10, 1.2)]),
            &expect![[r#"
                memory_pressure GET /a | 12 % of the time goes to garbage collection in api | p95 200.0 -> 191.3 (182.6..200.0) C
            "#]],
        );
    }

    #[test]
    fn a_full_limit_and_a_leak_are_told() {
        let leak: Vec<(u64, f64)> =
            (0..20_u32).map(|n| (u64::from(n) * 60, 1e8 + 1e6 * f64::from(n))).collect();
        check_rule(
            "memory_pressure",
            &recording("process.memory.usage", &leak),
            &expect![[r#"
                memory_pressure GET /a | api's memory grows by 55 % an hour | no prediction
            "#]],
        );
        check_rule(
            "memory_pressure",
            &recording("k8s.container.memory_limit_utilization", &[(0, 0.97)]),
            &expect![[r#"
                memory_pressure GET /a | api's memory is 97 % full | no prediction
            "#]],
        );
    }

    #[test]
    fn a_little_collecting_and_a_minute_of_growth_are_none() {
        check_rule(
            "memory_pressure",
            &recording("jvm.gc.duration.sum", &[(0, 0.0), (10, 0.3)]),
            &expect![[""]],
        );
        let minute: Vec<(u64, f64)> = (0..60_u32).map(|n| (u64::from(n), 1e8 + 1e6 * f64::from(n))).collect();
        check_rule("memory_pressure", &recording("process.memory.usage", &minute), &expect![[""]]);
    }

    #[test]
    fn without_memory_metrics_the_rule_does_not_run() {
        check_rule(
            "memory_pressure",
            &drawn("api server \"GET /a\" 0..200"),
            &expect![[r#"
                not run: memory_pressure (memory metrics)
            "#]],
        );
    }
}
