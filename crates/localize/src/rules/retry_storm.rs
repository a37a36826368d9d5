//! `retry_storm`: calls fail and are made again within the request, which multiplies the load on what fails.

use super::patterns::effect::summary;
use super::patterns::nodes;
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::{Call, Class};
use crate::shape::{Group, Shape, ShapeId, quantile};
use crate::tree::{NodeId, TreeId};
use hashbrown::HashSet;
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "retry_storm",
    needs: &[Signal::Traces],
    why: "Each try waits for its own timeout, and a service that is down because of load gets more of it.",
    how: "The same call follows a failed one (no answer, status 408, 429 or 5xx) in the same handling, or the client says that it sent again, and failed tries are 10 % or more of the calls or 5 % or more of the critical path. Calls with other parameters, and answers that say no (404, 409), are no retries.",
    predicts: "The failed tries take no time; pauses between tries stay.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let calls = facts.shapes().filter(|(_, s)| matches!(s.class, Class::Http | Class::Rpc | Class::Db));
    calls.filter(|(_, s)| s.errors > 0).filter_map(|(id, shape)| on_shape(facts, id, shape)).collect()
}

#[derive(Default)]
struct Found {
    failed: HashSet<NodeId>,
    durations: Vec<f64>,
    path_ns: i64,
    trees: Vec<TreeId>,
    most_tries: usize,
}

fn on_shape(facts: &Facts<'_>, id: ShapeId, shape: &Shape) -> Option<Candidate> {
    let t = facts.thresholds;
    let mut found = Found::default();
    for group in &shape.groups {
        let failed = failed_tries(facts, group);
        if failed.is_empty() {
            continue;
        }
        found.most_tries = found.most_tries.max(failed.len() + 1);
        found.trees.push(group.tree);
        for node in failed {
            found.path_ns += facts.critical.path_ns[node as usize];
            found.durations.push(facts.node(node).duration_ns() as f64);
            found.failed.insert(node);
        }
    }
    found.trees.dedup();
    let roots = facts.endpoint_of(shape).root_ns.max(1) as f64;
    let path_share = found.path_ns as f64 / roots;
    let of_calls = found.failed.len() as f64 / shape.calls.max(1) as f64;
    let matters = of_calls >= t.retry_call_share || path_share >= t.retry_path_share;
    (matters && !found.failed.is_empty()).then(|| candidate(facts, id, found, path_share))
}

/// Tries of a group that failed and were followed by another try of the same call.
fn failed_tries(facts: &Facts<'_>, group: &Group) -> Vec<NodeId> {
    let nodes = facts.nodes(group);
    let call = |node: &NodeId| facts.call(*node);
    let known = nodes.iter().all(|n| call(n).params().is_some());
    // Where parameters are not sent, several that succeeded may have been several things.
    let succeeded = nodes.iter().filter(|n| !call(n).error).count();
    if nodes.len() < 2 || (!known && succeeded > 1) {
        return Vec::new();
    }
    let again = |pair: &[NodeId]| {
        let (first, next) = (call(&pair[0]), call(&pair[1]));
        let told = facts.calls.resent(facts.node(pair[1]).row) > 0;
        let same = told || first.params() == next.params();
        let after = facts.node(pair[1]).start_ns >= facts.node(pair[0]).end_ns;
        same && after && (told || may_be_tried_again(first))
    };
    nodes.windows(2).filter(|pair| again(pair)).map(|pair| pair[0]).collect()
}

fn may_be_tried_again(call: &Call) -> bool {
    call.error && matches!(call.status, 0 | 408 | 429 | 500..=599)
}

fn candidate(facts: &Facts<'_>, id: ShapeId, mut found: Found, path_share: f64) -> Candidate {
    let shape = facts.shape(id);
    let name = summary(facts, id);
    let title = format!("{name} is tried up to {} times", found.most_tries);
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.share_of_critical_path = Some(path_share);
    found.durations.sort_unstable_by(f64::total_cmp);
    let (low, middle, high) = (0.1, 0.5, 0.9);
    let at = |q: f64| quantile(&found.durations, q) / 1e6;
    candidate.lines = vec![
        format!(
            "{} of {} calls failed and were made again, in {} requests; {:.0} % of the critical path",
            found.failed.len(),
            shape.calls,
            found.trees.len(),
            path_share * 100.0
        ),
        if at(high) <= at(low) * 1.1 && at(middle) >= 100.0 {
            format!("failed tries all last {:.0} ms: a timeout", at(middle))
        } else {
            format!("a failed try lasts {:.1} ms at the median", at(middle))
        },
    ];
    candidate.trees = found.trees;
    candidate.fix = Some(Fix {
        point: nodes::take(facts, found.failed, 0.0),
        least: Vec::new(),
        most: vec![crate::simulate::Transform::Duration {
            of: id,
            to: crate::simulate::Cost::Ns(shape.duration_p5_ns),
        }],
        grade: Grade::B,
        assumption: "the call succeeds at the first try, as fast as the one that succeeded".to_owned(),
        load: LoadEffect::Included,
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: format!(
            "mend why {name} fails first; bound the tries by a budget (a tenth of the calls), wait longer and by chance between them, give all tries one deadline, and open a circuit breaker while it is down"
        ),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.85;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn a_ladder_of_timeouts_is_one_finding() {
        check_rule(
            "retry_storm",
            &drawn(
                r#"
            repeat 20
            api server "GET /quote" 0..460
              api http "GET http://rates/now/7" 5..205 status=error
              api http "GET http://rates/now/7" 210..410 status=error http.response.status_code=503
              api http "GET http://rates/now/7" 420..450 http.response.status_code=200
            "#,
            ),
            &expect![[r#"
                retry_storm GET /quote | GET rates/now/{id} is tried up to 3 times | p95 460.0 -> 60.0 (60.0..460.0) B
            "#]],
        );
    }

    #[test]
    fn a_client_that_says_so_is_believed() {
        check_rule(
            "retry_storm",
            &drawn(
                r#"
            repeat 20
            api server "GET /quote" 0..100
              api http "GET http://rates/now/7" 5..55 error=true
              api http "GET http://rates/now/7" 60..90 http.request.resend_count=1
            "#,
            ),
            &expect![[r#"
                retry_storm GET /quote | GET rates/now/{id} is tried up to 2 times | p95 100.0 -> 50.0 (50.0..100.0) B
            "#]],
        );
    }

    #[test]
    fn different_things_that_fail_and_answers_that_say_no_are_none() {
        check_rule(
            "retry_storm",
            &drawn(
                r#"
            repeat 20
            api server "GET /list" 0..200
              api http "GET http://rates/now/{n}" 5..35 x5 gap 1 status=error http.response.status_code=503

            repeat 20
            api server "GET /find" 0..200
              api http "GET http://rates/now/7" 5..105 status=error http.response.status_code=404
              api http "GET http://rates/now/7" 110..190
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "retry_storm",
            &drawn(""),
            &expect![[r#"
                not run: retry_storm (traces)
            "#]],
        );
    }
}
