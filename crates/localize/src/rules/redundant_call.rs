//! `redundant_call`: one request asks the same thing twice, from whatever places in the code.

mod hidden;

use super::patterns::effect::{Effect, effect, subjects, summary};
use super::patterns::nodes;
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{EndpointId, NO_SHAPE, Shape, ShapeId};
use crate::tree::{NONE, NodeId, TreeId};
use hashbrown::{HashMap, HashSet};
use model::{Grade, Remedy, RemedyKind, Sym};
use std::collections::BTreeMap;

pub(super) const RULE: Rule = Rule {
    name: "redundant_call",
    needs: &[Signal::Traces],
    why: "The answer was already there; each repetition pays the round trip again.",
    how: "Two or more reads of one template with equal, known parameters within one handling of a request, in half of the requests that make the call. None of them after a failure, after a write to the same table or path, or as one of a poller's tries. Where parameters are not sent, look-ups by one key that are made three times in one handling are told of a single trace, as information.",
    predicts: "All but the first of each are gone, with the connections that served nothing else.",
    run,
};

/// Calls that could answer for each other.
type Kind = (EndpointId, Sym, Class, Sym);

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut kinds: BTreeMap<Kind, Vec<ShapeId>> = BTreeMap::new();
    for (id, shape) in facts.shapes().filter(|(_, s)| s.params_known > 1 && is_read(facts, s)) {
        kinds.entry((shape.endpoint, shape.service, shape.class, shape.template)).or_default().push(id);
    }
    let writers = writers(facts);
    let asked_twice = |shapes: &Vec<ShapeId>| {
        let calls =
            shapes.len() > 1 || facts.shape(shapes[0]).calls_max >= facts.thresholds.redundant_calls as usize;
        calls.then(|| of_kind(facts, shapes, &writers)).flatten()
    };
    let mut out: Vec<Candidate> = kinds.values().filter_map(asked_twice).collect();
    out.extend(hidden::run(facts));
    out
}

fn is_read(facts: &Facts<'_>, shape: &Shape) -> bool {
    let kind = match shape.class {
        // `SELECT 1` asks whether the connection lives.
        Class::Db => !subjects(Class::Db, facts.name(shape.template)).is_empty(),
        Class::Cache | Class::Http => true,
        _ => false,
    };
    kind && effect(facts, shape) == Effect::Read
}

/// One call: sorted so that those that could answer for each other stand together, in order of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    tree: TreeId,
    entry: NodeId,
    params: u64,
    start_ns: i64,
    node: NodeId,
}

/// What is asked again, over all requests.
#[derive(Default)]
struct Found {
    again: HashSet<NodeId>,
    trees: Vec<TreeId>,
    /// Calls with equal parameters, by request that has any.
    counts: Vec<usize>,
}

fn of_kind(facts: &Facts<'_>, shapes: &[ShapeId], writers: &Writers) -> Option<Candidate> {
    let asked = asked(facts, shapes);
    let read = facts.shape(shapes[0]);
    let about = about(read.class, facts.name(read.template));
    let writers: Vec<ShapeId> =
        about.into_iter().filter_map(|what| writers.get(&(read.endpoint, what))).flatten().copied().collect();
    let mut found = Found::default();
    for same in asked.chunk_by(|a, b| (a.tree, a.entry, a.params) == (b.tree, b.entry, b.params)) {
        let again = again(facts, same, &writers);
        if again.len() + 1 >= facts.thresholds.redundant_calls as usize {
            found.counts.push(again.len() + 1);
            found.trees.push(same[0].tree);
            found.again.extend(again);
        }
    }
    found.trees.dedup();
    let mut all: Vec<TreeId> = asked.iter().map(|a| a.tree).collect();
    all.dedup();
    let often = found.trees.len() as f64 >= all.len() as f64 * facts.thresholds.n_plus_one_trace_share;
    (often && !found.again.is_empty()).then(|| candidate(facts, found))
}

fn asked(facts: &Facts<'_>, shapes: &[ShapeId]) -> Vec<Asked> {
    let mut asked = Vec::new();
    for group in shapes.iter().flat_map(|id| &facts.shape(*id).groups) {
        for &node in facts.nodes(group).iter().filter(|n| !is_lower_layer(facts, **n)) {
            if let Some(params) = facts.call(node).params() {
                let start_ns = facts.node(node).start_ns;
                asked.push(Asked { tree: group.tree, entry: group.entry, params, start_ns, node });
            }
        }
    }
    asked.sort_unstable();
    asked
}

/// A driver's span directly below a mapper's of the same statement: one call, seen twice.
fn is_lower_layer(facts: &Facts<'_>, node: NodeId) -> bool {
    let above = facts.node(node).parent;
    if above == NONE {
        return false;
    }
    let template = |n: NodeId| facts.call(n).template;
    facts.node(above).class == facts.node(node).class && template(above) == template(node)
}

/// Shapes that write, by their endpoint and what they write to.
type Writers = HashMap<(EndpointId, String), Vec<ShapeId>>;

fn writers(facts: &Facts<'_>) -> Writers {
    let mut out = Writers::new();
    for (id, shape) in facts.shapes().filter(|(_, s)| effect(facts, s) == Effect::Write) {
        for what in about(shape.class, facts.name(shape.template)) {
            out.entry((shape.endpoint, what)).or_default().push(id);
        }
    }
    out
}

/// What a call is about. Which key of a cache a command writes is not looked at: any may be the one.
fn about(class: Class, template: &str) -> Vec<String> {
    if class == Class::Cache { vec!["cache".to_owned()] } else { subjects(class, template) }
}

/// The calls whose answer an earlier one had given.
fn again(facts: &Facts<'_>, same: &[Asked], writers: &[ShapeId]) -> Vec<NodeId> {
    let mut out = Vec::new();
    let mut answered: Option<NodeId> = None;
    for asked in same {
        let failed = facts.call(asked.node).error;
        match answered {
            Some(first) if !written_between(facts, asked.tree, first, asked.node, writers) => {
                if !failed {
                    out.push(asked.node);
                }
            }
            _ => answered = (!failed).then_some(asked.node),
        }
    }
    if is_polling(facts, same) { Vec::new() } else { out }
}

fn written_between(
    facts: &Facts<'_>,
    tree: TreeId,
    first: NodeId,
    then: NodeId,
    writers: &[ShapeId],
) -> bool {
    let (from, to) = (facts.node(first).start_ns, facts.node(then).start_ns);
    writers.iter().any(|writer| {
        let groups = &facts.shape(*writer).groups;
        let at = groups.partition_point(|g| g.tree < tree);
        let here = groups[at..].iter().take_while(|g| g.tree == tree);
        here.flat_map(|g| facts.nodes(g)).any(|n| (from..to).contains(&facts.node(*n).start_ns))
    })
}

/// Three calls or more with nothing but waiting between them: it is looked whether something has happened yet.
fn is_polling(facts: &Facts<'_>, same: &[Asked]) -> bool {
    let pause_ns = facts.thresholds.polling_gap_ms * 1e6;
    let waits = |pair: &[Asked]| {
        let (a, b) = (facts.node(pair[0].node), facts.node(pair[1].node));
        let gap = (b.start_ns - a.end_ns) as f64;
        a.parent == b.parent && a.subtree_end == pair[1].node && gap >= pause_ns
    };
    same.len() > 2 && same.windows(2).all(waits)
}

fn candidate(facts: &Facts<'_>, mut found: Found) -> Candidate {
    let mut by_shape: BTreeMap<ShapeId, usize> = BTreeMap::new();
    for node in &found.again {
        *by_shape.entry(facts.shapes.of_node[*node as usize]).or_default() += 1;
    }
    let main = by_shape.iter().max_by_key(|(id, calls)| (**calls, std::cmp::Reverse(**id)));
    let id = main.map_or(NO_SHAPE, |(id, _)| *id);
    let shape = facts.shape(id);
    found.counts.sort_unstable();
    let count = found.counts[found.counts.len() / 2];
    let name = facts.load.name(shape.endpoint);
    let title = format!("{count} x {} with equal parameters per {name}", summary(facts, id));
    let mut candidate = Candidate::on_shape(facts, id, title);
    let again = found.again.len();
    candidate.calls_per_request = Some(count as f64);
    let with_below =
        |n: &NodeId| (*n..facts.node(*n).subtree_end).map(|at| facts.critical.path_ns[at as usize]);
    let path_ns: i64 = found.again.iter().flat_map(with_below).sum();
    let root_ns = facts.endpoint_of(shape).root_ns.max(1);
    candidate.share_of_critical_path = Some(path_ns as f64 / root_ns as f64);
    candidate.lines = vec![
        format!(
            "{again} calls in {} requests were given the same parameters as one before them in the same request",
            found.trees.len()
        ),
        format!(
            "a call takes {:.2} ms at the median; nothing was written to the same in between",
            shape.duration_p50_ns / 1e6
        ),
    ];
    if by_shape.len() > 1 {
        candidate.lines.push(format!("they come from {} places in the code", by_shape.len()));
    }
    candidate.trees = found.trees;
    let mut gone = found.again;
    let connections = nodes::serving(facts, &gone);
    gone.extend(connections.into_iter().filter(|n| facts.shapes.of_node[*n as usize] != NO_SHAPE));
    let fix = nodes::take(facts, gone, 0.0);
    candidate.fix = Some(Fix {
        point: fix.clone(),
        least: fix.clone(),
        most: fix,
        grade: Grade::B,
        assumption: "the first answer still holds when it is asked for again".to_owned(),
        load: LoadEffect::Added,
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
    use expect_test::{Expect, expect};

    fn check(drawing: &str, expected: &Expect) {
        check_rule("redundant_call", &drawn(drawing), expected);
    }

    #[test]
    fn the_same_user_read_three_times_is_one_finding() {
        check(
            r#"
            repeat 20
            api server "GET /me" 0..60
              api db "SELECT * FROM users WHERE id = $1" 5..15 x3 gap 2 db.query.parameter.0=7
            "#,
            &expect![[r#"
                redundant_call GET /me | 3 x SELECT ... FROM users with equal parameters per GET /me | p95 60.0 -> 40.0 (40.0..40.0) B
            "#]],
        );
    }

    #[test]
    fn a_mapper_and_the_driver_below_it_are_one_call() {
        check(
            r#"
            repeat 20
            api server "GET /catalog" 0..60
              api db "SELECT sum(price) FROM catalog" 5..55
                api db "SELECT sum(price) FROM catalog" 6..54
            "#,
            &expect![[""]],
        );
    }

    #[test]
    fn middleware_and_handler_that_ask_the_same_are_one_finding() {
        check(
            r#"
            repeat 20
            api server "GET /me" 0..60
              api internal "auth" 1..20
                api db "SELECT * FROM users WHERE id = 7" 5..15
              api internal "handler" 21..60
                api client "pool.acquire" 22..24
                api db "SELECT * FROM users WHERE id = 7" 25..45
            "#,
            &expect![[r#"
                redundant_call GET /me | 2 x SELECT ... FROM users with equal parameters per GET /me | p95 60.0 -> 38.0 (38.0..38.0) B
            "#]],
        );
    }

    #[test]
    fn other_or_unknown_parameters_are_none() {
        check(
            r#"
            repeat 20
            api server "GET /me" 0..60
              api db "SELECT * FROM users WHERE id = $1" 5..15 x3 gap 2 db.query.parameter.0={n}

            repeat 20
            api server "GET /you" 0..60
              api db "SELECT * FROM users WHERE id = $1" 5..15 x3 gap 2
            "#,
            &expect![[""]],
        );
    }

    #[test]
    fn reads_after_writes_retries_polls_locks_and_pings_are_none() {
        check(
            r#"
            repeat 20
            api server "PUT /me" 0..60
              api db "SELECT * FROM users WHERE id = $1" 5..15 db.query.parameter.0=7
              api db "UPDATE users SET name = $1 WHERE id = $2" 16..26
              api db "SELECT * FROM users WHERE id = $1" 27..37 db.query.parameter.0=7

            repeat 20
            api server "GET /flaky" 0..60
              api http "GET http://x/a" 5..15 x3 gap 2 status=error
              api http "GET http://x/a" 45..55

            repeat 20
            api server "GET /poll" 0..200
              api http "GET http://jobs/job/7" 5..10 x4 gap 40

            repeat 20
            api server "POST /lock" 0..60
              api db "SELECT * FROM users WHERE id = 7 FOR UPDATE" 5..15 x3 gap 2

            repeat 20
            api server "GET /ping" 0..60
              api db "SELECT 1" 5..15 x3 gap 2
            "#,
            &expect![[""]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check(
            "",
            &expect![[r#"
            not run: redundant_call (traces)
        "#]],
        );
    }
}
