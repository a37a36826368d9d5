//! `redundant_call`: one request asks the same thing twice.

use super::{Candidate, Fix, Rule, Signal, only_reads};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{Group, Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use crate::tree::NodeId;
use hashbrown::HashSet;
use model::{Grade, Remedy, RemedyKind};
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "redundant_call",
    needs: &[Signal::Traces],
    why: "The answer was already there; each repetition pays the round trip again.",
    how: "Two or more reads of one template with equal, known parameters within one handling of a request, none of them after a failure or after a write to the same table, in half of the requests that make the call.",
    predicts: "All but the first of each are gone.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    facts
        .shapes()
        .filter(|(_, shape)| is_read(facts, shape) && shape.params_known > 0)
        .filter_map(|(id, shape)| {
            let groups: Vec<(&Group, Vec<NodeId>)> = shape
                .groups
                .iter()
                .map(|g| (g, repeated(facts, shape, g)))
                .filter(|(_, nodes)| {
                    nodes.len() + 1 >= facts.thresholds.redundant_calls as usize && !nodes.is_empty()
                })
                .collect();
            let often =
                groups.len() as f64 >= shape.groups.len() as f64 * facts.thresholds.n_plus_one_trace_share;
            (often && !groups.is_empty()).then(|| candidate(facts, id, shape, &groups))
        })
        .collect()
}

fn is_read(facts: &Facts<'_>, shape: &Shape) -> bool {
    let name = facts.name(shape.template);
    match shape.class {
        Class::Db | Class::Cache => only_reads(name),
        Class::Http => name.starts_with("GET "),
        _ => false,
    }
}

/// Calls of a group that repeat an earlier one.
fn repeated(facts: &Facts<'_>, shape: &Shape, group: &Group) -> Vec<NodeId> {
    if shape.class == Class::Db && writes_to_the_same(facts, shape, group) {
        return Vec::new();
    }
    let mut seen: HashSet<u64> = HashSet::new();
    let mut again = Vec::new();
    for node in facts.nodes(group) {
        let call = facts.call(*node);
        let Some(params) = call.params() else { continue };
        if call.error {
            seen.remove(&params);
        } else if !seen.insert(params) {
            again.push(*node);
        }
    }
    again
}

fn writes_to_the_same(facts: &Facts<'_>, shape: &Shape, group: &Group) -> bool {
    let tables = model::sql::operation_and_tables(facts.name(shape.template)).tables;
    let tree = &facts.forest.trees[group.tree as usize];
    (tree.root..tree.end).map(|n| facts.call(n)).filter(|c| c.class == Class::Db).any(|call| {
        let name = facts.name(call.template);
        !only_reads(name) && model::sql::operation_and_tables(name).tables.iter().any(|t| tables.contains(t))
    })
}

fn candidate(facts: &Facts<'_>, id: ShapeId, shape: &Shape, groups: &[(&Group, Vec<NodeId>)]) -> Candidate {
    let again: usize = groups.iter().map(|(_, nodes)| nodes.len()).sum();
    let per_request = again as f64 / groups.len().max(1) as f64;
    let template = facts.name(shape.template);
    let mut candidate = Candidate::on_shape(
        facts,
        id,
        format!("{per_request:.1} repeated calls with equal parameters per request: {template}"),
    );
    candidate.trees = groups.iter().map(|(g, _)| g.tree).collect();
    candidate.trees.dedup();
    candidate.lines = vec![
        format!(
            "in {} of {} requests the same parameters are asked for again",
            groups.len(),
            shape.groups.len()
        ),
        format!("each call takes {:.2} ms at the median", shape.duration_p50_ns / 1e6),
    ];
    let gone: Arc<HashSet<NodeId>> =
        Arc::new(groups.iter().flat_map(|(_, nodes)| nodes.iter().copied()).collect());
    let cost = Cost::Each(Arc::new(move |case| if gone.contains(&case.node) { 0.0 } else { case.ns }));
    let fix = vec![Transform::Duration { of: id, to: cost }];
    candidate.fix = Some(Fix {
        point: fix.clone(),
        least: fix.clone(),
        most: fix,
        grade: Grade::B,
        assumption: "the first answer still holds when it is asked for again".to_owned(),
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "keep the first answer for the length of the request: pass it on, or memoize it by request"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.9;
    candidate
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;

    #[test]
    fn the_same_user_read_three_times_is_one_finding() {
        check_rule(
            "redundant_call",
            &drawn(
                r#"
            repeat 20
            api server "GET /me" 0..60
              api db "SELECT * FROM users WHERE id = $1" 5..15 x3 gap 2 db.query.parameter.0=7
            "#,
            ),
            &expect![[r#"
                redundant_call GET /me | 2.0 repeated calls with equal parameters per request: SELECT * FROM users WHERE id = $1 | p95 60.0 -> 40.0 (40.0..40.0) B
            "#]],
        );
    }

    #[test]
    fn other_parameters_are_none() {
        check_rule(
            "redundant_call",
            &drawn(
                r#"
            repeat 20
            api server "GET /me" 0..60
              api db "SELECT * FROM users WHERE id = $1" 5..15 x3 gap 2 db.query.parameter.0={n}
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn unknown_parameters_are_not_taken_for_equal() {
        check_rule(
            "redundant_call",
            &drawn(
                r#"
            repeat 20
            api server "GET /me" 0..60
              api db "SELECT * FROM users WHERE id = $1" 5..15 x3 gap 2
            "#,
            ),
            &expect![[""]],
        );
    }

    #[test]
    fn a_read_after_a_write_is_none() {
        check_rule(
            "redundant_call",
            &drawn(
                r#"
            repeat 20
            api server "PUT /me" 0..60
              api db "SELECT * FROM users WHERE id = $1" 5..15 db.query.parameter.0=7
              api db "UPDATE users SET name = $1 WHERE id = $2" 16..26
              api db "SELECT * FROM users WHERE id = $1" 27..37 db.query.parameter.0=7
            "#,
            ),
            &expect![[""]],
        );
    }
}
