//! `imbalance`: one instance of a service is slower than the others, and every request that reaches it pays.

use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Shape, ShapeId, quantile};
use crate::simulate::{Cost, Transform};
use crate::tree::NodeId;
use hashbrown::{HashMap, HashSet};
use model::{Grade, Remedy, RemedyKind, Sym};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "imbalance",
    needs: &[Signal::Traces, Signal::Instances],
    why: "The tail of all users is the median of the slow instance's users; no change of code mends it.",
    how: "Two instances or more of one service (service.instance.id, pod, container or host) answer the same kind of request 20 times each, and one has a p95 over twice and a median over 1.3 times that of all others, or a median over 1.5 times theirs, by more than chance (rank sum, 4 standard errors). Told once per instance, where it costs most.",
    predicts: "Its calls take as long as those of the others at the median.",
    run,
};

/// Calls of an instance that are compared, at most.
const MAX_CALLS: usize = 20_000;

/// One instance against all others on one shape.
struct Slow {
    instance: Sym,
    nodes: Vec<NodeId>,
    instances: usize,
    /// Median and p95, nanoseconds.
    own: (f64, f64),
    others: (f64, f64),
}

impl Slow {
    fn cost_ns(&self) -> f64 {
        (self.own.0 - self.others.0) * self.nodes.len() as f64
    }
}

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut worst: BTreeMap<(Sym, Sym), (ShapeId, Slow)> = BTreeMap::new();
    for (id, shape) in facts.shapes().filter(|(_, s)| s.class == Class::Server) {
        let Some(slow) = slowest(facts, shape) else { continue };
        let key = (shape.service, slow.instance);
        if worst.get(&key).is_none_or(|(_, known)| known.cost_ns() < slow.cost_ns()) {
            worst.insert(key, (id, slow));
        }
    }
    worst.into_values().map(|(id, slow)| candidate(facts, id, slow)).collect()
}

fn slowest(facts: &Facts<'_>, shape: &Shape) -> Option<Slow> {
    let t = facts.thresholds;
    let mut by_instance: HashMap<Sym, Vec<NodeId>> = HashMap::new();
    for &node in shape.groups.iter().flat_map(|g| facts.nodes(g)).take(MAX_CALLS) {
        let resource = facts.recording.spans.resources[facts.node(node).row as usize];
        by_instance.entry(facts.calls.instance(resource)).or_default().push(node);
    }
    by_instance.remove(&Sym::EMPTY);
    by_instance.retain(|_, nodes| nodes.len() as u64 >= t.imbalance_calls);
    if by_instance.len() < 2 {
        return None;
    }
    let instances = by_instance.len();
    let mut names: Vec<Sym> = by_instance.keys().copied().collect();
    names.sort_unstable();
    let of = |instance: Sym| {
        let (own, others): (Vec<_>, Vec<_>) = by_instance.iter().partition(|(name, _)| **name == instance);
        let times = |of: &[(&Sym, &Vec<NodeId>)]| {
            let nodes = of.iter().flat_map(|(_, nodes)| nodes.iter());
            let mut all: Vec<f64> = nodes.map(|n| facts.node(*n).duration_ns() as f64).collect();
            all.sort_unstable_by(f64::total_cmp);
            all
        };
        let (own, others) = (times(&own), times(&others));
        let figures = |all: &[f64]| (quantile(all, 0.5), quantile(all, 0.95));
        let (is, was) = (figures(&own), figures(&others));
        let tail = is.1 > t.imbalance_ratio * was.1 && is.0 > t.imbalance_median_ratio * was.0;
        let slower = tail || is.0 > t.imbalance_shift * was.0;
        (slower && rank_sum_z(&own, &others) > t.imbalance_sigma).then(|| Slow {
            instance,
            nodes: by_instance[&instance].clone(),
            instances,
            own: is,
            others: was,
        })
    };
    names.into_iter().filter_map(of).max_by(|a, b| a.cost_ns().total_cmp(&b.cost_ns()))
}

/// By how many standard errors the first sample's ranks lie above those of the second (Mann and Whitney 1947). Both
/// ascend.
fn rank_sum_z(first: &[f64], second: &[f64]) -> f64 {
    let (n, m) = (first.len() as f64, second.len() as f64);
    let mut wins = 0.0;
    let (mut below, mut equal) = (0, 0);
    for value in first {
        while below < second.len() && second[below] < *value {
            below += 1;
        }
        equal = equal.max(below);
        while equal < second.len() && second[equal] <= *value {
            equal += 1;
        }
        wins += below as f64 + (equal - below) as f64 / 2.0;
    }
    let error = (n * m * (n + m + 1.0) / 12.0).sqrt();
    if error > 0.0 { (wins - n * m / 2.0) / error } else { 0.0 }
}

fn candidate(facts: &Facts<'_>, id: ShapeId, slow: Slow) -> Candidate {
    let shape = facts.shape(id);
    let (service, instance) = (facts.name(shape.service), facts.name(slow.instance));
    let title = format!("instance {instance} of {service} is slower than the others");
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.place.resource = Some(instance.to_owned());
    candidate.lines = vec![
        format!(
            "{:.1} ms at the median and {:.1} ms at p95, the other {} {:.1} and {:.1} ms",
            slow.own.0 / 1e6,
            slow.own.1 / 1e6,
            slow.instances - 1,
            slow.others.0 / 1e6,
            slow.others.1 / 1e6
        ),
        format!("it answers {} of {} calls", slow.nodes.len(), shape.calls),
    ];
    let nodes: Arc<HashSet<NodeId>> = Arc::new(slow.nodes.into_iter().collect());
    candidate.trees.retain(|tree| {
        let tree = &facts.forest.trees[*tree as usize];
        (tree.root..tree.end).any(|node| nodes.contains(&node))
    });
    candidate.nodes = candidate
        .trees
        .first()
        .map(|tree| &facts.forest.trees[*tree as usize])
        .map_or_else(Vec::new, |tree| (tree.root..tree.end).filter(|n| nodes.contains(n)).collect());
    let to = |factor: f64| {
        let nodes = Arc::clone(&nodes);
        let each = Cost::Each(Arc::new(
            move |case| if nodes.contains(&case.node) { case.ns * factor } else { case.ns },
        ));
        vec![Transform::Duration { of: id, to: each }]
    };
    let ratio = slow.others.0 / slow.own.0.max(1.0);
    candidate.fix = Some(Fix {
        point: to(ratio),
        least: to(f64::midpoint(1.0, ratio)),
        most: to(slow.others.1 / slow.own.1.max(1.0) * ratio),
        grade: Grade::B,
        assumption: "the instance becomes like the others, or they take its calls without becoming slower"
            .to_owned(),
        load: LoadEffect::Included,
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Configuration,
        text: format!(
            "look at what is different on {instance} (host, CPU limit, version, cold caches) and replace it; balance by outstanding requests instead of in turn, and eject outliers"
        ),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.85;
    candidate
}

#[cfg(test)]
mod tests {
    use super::rank_sum_z;
    use crate::testing::{check_rule, drawn, on_instances};
    use expect_test::expect;

    const DRAWING: &str = r#"
        repeat 60
        api server "GET /a" 0..20
          api db "SELECT 1" 1..19

        repeat 30
        api server "GET /a" 0..90
          api db "SELECT 1" 1..89
        "#;

    #[test]
    fn a_slow_instance_is_one_finding() {
        let recording =
            on_instances(
                drawn(DRAWING),
                |trace| if trace > 60 { "pod-c" } else { ["pod-a", "pod-b"][trace % 2] },
            );
        check_rule(
            "imbalance",
            &recording,
            &expect![[r#"
                imbalance GET /a | instance pod-c of api is slower than the others | p95 90.0 -> 20.0 (20.0..55.0) B
            "#]],
        );
    }

    #[test]
    fn slow_requests_on_every_instance_are_none() {
        let recording = on_instances(drawn(DRAWING), |trace| ["pod-a", "pod-b", "pod-c"][trace % 3]);
        check_rule("imbalance", &recording, &expect![[""]]);
    }

    #[test]
    fn a_median_that_is_far_off_is_enough_and_one_that_is_a_little_off_is_not() {
        let on_c = |ms: &str| {
            let drawing = DRAWING.replace("0..90", &format!("0..{ms}")).replace("1..89", "1..19");
            on_instances(
                drawn(&drawing),
                |trace| if trace > 60 { "pod-c" } else { ["pod-a", "pod-b"][trace % 2] },
            )
        };
        check_rule(
            "imbalance",
            &on_c("35"),
            &expect![[r#"
            imbalance GET /a | instance pod-c of api is slower than the others | p95 35.0 -> 20.0 (20.0..27.5) B
        "#]],
        );
        check_rule("imbalance", &on_c("28"), &expect![[""]]);
    }

    #[test]
    fn few_calls_tell_nothing() {
        let recording = on_instances(drawn(DRAWING), |trace| if trace > 80 { "pod-c" } else { "pod-a" });
        check_rule("imbalance", &recording, &expect![[""]]);
    }

    #[test]
    fn without_instances_the_rule_does_not_run() {
        check_rule(
            "imbalance",
            &drawn(DRAWING),
            &expect![[r#"
                not run: imbalance (two instances of a service)
            "#]],
        );
    }

    #[test]
    fn the_rank_sum_is_that_of_the_books() {
        // Without ties, all of three above all of four: U = 12, mean 6, error sqrt(3 * 4 * 8 / 12) = 2.83.
        assert!((rank_sum_z(&[5.0, 6.0, 7.0], &[1.0, 2.0, 3.0, 4.0]) - 2.1213).abs() < 1e-3);
        assert!(rank_sum_z(&[1.0, 1.0], &[1.0, 1.0, 1.0]).abs() < 1e-9);
        assert!(rank_sum_z(&[], &[1.0]).abs() < 1e-9);
    }
}
