//! `n_plus_one`: one call per row of an earlier result, on a database, a cache or another service.

use super::patterns::batch;
use super::patterns::effect::{Effect, effect, summary};
use super::patterns::frameworks::{self, Advice};
use super::patterns::pages;
use super::{Candidate, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{EndpointId, Group, Shape, ShapeId};
use crate::tree::NodeId;
use hashbrown::HashMap;
use model::{Remedy, Severity};

pub(super) const RULE: Rule = Rule {
    name: "n_plus_one",
    needs: &[Signal::Traces],
    why: "A call per row pays a round trip per row; the cost grows with the data, not with the work.",
    how: "The same template at least 5 times within one handling of a request, in half of the endpoint's requests, or in some where it runs once for each row of an earlier result; however far apart, and whatever connections are taken in between. Not: writes to a database (see `unbatched_writes`), equal parameters (see `redundant_call`), commands of a pipeline, pages of one result (OFFSET, or a range of the key that sorts it), fetches of a cursor, retries, jobs that are no request (a root that is no entry, in a service that marks its requests as such, or one that works for 30 s or makes 1,000 calls).",
    predicts: "The group becomes its first call plus 0.3 (N - 1) s; s is the median call less the round trip (5th percentile of the calls, or what the database's own time leaves of the median). Half of the gaps between the calls stays.",
    run,
};

/// Groups that are looked at for parameters and for the query before.
const MAX_GROUPS: usize = 200;
/// Queries of one endpoint that are asked whether their rows are as many.
const MAX_DRIVERS: usize = 64;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut drivers: HashMap<EndpointId, Vec<ShapeId>> = HashMap::new();
    for (id, shape) in facts.shapes().filter(|(_, s)| s.rows_mean.is_some()) {
        let known = drivers.entry(shape.endpoint).or_default();
        if known.len() < MAX_DRIVERS {
            known.push(id);
        }
    }
    let of = |shape: &Shape| drivers.get(&shape.endpoint).map_or(&[][..], Vec::as_slice);
    facts.shapes().filter_map(|(id, shape)| on_shape(facts, id, shape, of(shape))).collect()
}

fn on_shape(facts: &Facts<'_>, id: ShapeId, shape: &Shape, drivers: &[ShapeId]) -> Option<Candidate> {
    let t = facts.thresholds;
    let calls = t.n_plus_one_calls as usize;
    if shape.calls_max < calls || !can_be_one(facts, shape) {
        return None;
    }
    let share = shape.share_with(calls, facts.endpoint_of(shape));
    let driver = driver(facts, id, shape, drivers);
    let often = share >= t.n_plus_one_trace_share || (driver.is_some() && share >= t.n_plus_one_driven_share);
    let distinct = distinct_parameters(facts, shape);
    let equal = distinct.is_some_and(|d| d < calls);
    (often && !equal && !batch::is_job(facts, shape)).then(|| candidate(facts, id, driver, distinct))
}

fn can_be_one(facts: &Facts<'_>, shape: &Shape) -> bool {
    let kind = match (shape.class, effect(facts, shape)) {
        (_, Effect::Control) | (Class::Db, Effect::Write) => false,
        // Commands that ran side by side were sent in one go.
        (Class::Cache, _) => shape.overlap_share < 0.5,
        (class, _) => matches!(class, Class::Db | Class::Http | Class::Rpc),
    };
    kind && !is_retried(shape) && !batch::is_batched(facts, shape) && !are_pages(facts, shape)
}

/// One page after another of a long result: many rows each, where an N+1 has a call for each row.
fn are_pages(facts: &Facts<'_>, shape: &Shape) -> bool {
    shape.class == Class::Db
        && shape.rows_mean.is_none_or(|rows| rows >= 2.0)
        && pages::is_page(facts.name(shape.template))
}

/// Most calls failed: they are tries of one call.
fn is_retried(shape: &Shape) -> bool {
    shape.errors * 2 >= shape.calls
}

/// Median number of distinct parameters in the groups that are large; `None` where they are not known.
fn distinct_parameters(facts: &Facts<'_>, shape: &Shape) -> Option<usize> {
    let calls = facts.thresholds.n_plus_one_calls as usize;
    let mut counts = Vec::new();
    for group in shape.groups.iter().filter(|g| g.calls() >= calls).take(MAX_GROUPS) {
        let known = facts.nodes(group).iter().map(|n| facts.call(*n).params());
        let mut params: Vec<u64> = known.collect::<Option<_>>()?;
        params.sort_unstable();
        params.dedup();
        counts.push(params.len());
    }
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied()
}

/// The earlier query that has one row for each call, with the share of requests where that holds.
fn driver(facts: &Facts<'_>, id: ShapeId, shape: &Shape, drivers: &[ShapeId]) -> Option<(ShapeId, f64)> {
    let groups: Vec<&Group> = shape.groups.iter().filter(|g| g.calls() > 1).take(MAX_GROUPS).collect();
    let others = drivers.iter().map(|other| (*other, facts.shape(*other)));
    let others = others.filter(|(other, s)| *other != id && s.service == shape.service);
    let of = |(other, s): (ShapeId, &Shape)| {
        let equal = groups.iter().filter(|group| rows_before(facts, s, group) == Some(group.calls())).count();
        (other, equal as f64 / groups.len().max(1) as f64)
    };
    let best = others.map(of).max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
    (best.1 >= facts.thresholds.n_plus_one_rows_share).then_some(best)
}

/// Rows of the last call of a shape before a group began, within the same handling.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows, read as one")]
fn rows_before(facts: &Facts<'_>, shape: &Shape, group: &Group) -> Option<usize> {
    let first = facts.node(*facts.nodes(group).first()?).start_ns;
    let from = shape.groups.partition_point(|g| g.tree < group.tree);
    let same = shape.groups[from..].iter().take_while(|g| g.tree == group.tree);
    let nodes = same.filter(|g| g.entry == group.entry).flat_map(|g| facts.nodes(g));
    let last = nodes.filter(|n| facts.node(**n).end_ns <= first).last()?;
    facts.call(*last).rows().map(|rows| rows as usize)
}

fn candidate(
    facts: &Facts<'_>,
    id: ShapeId,
    driver: Option<(ShapeId, f64)>,
    distinct: Option<usize>,
) -> Candidate {
    let shape = facts.shape(id);
    let mut calls: Vec<usize> = shape.groups.iter().map(Group::calls).filter(|calls| *calls > 1).collect();
    calls.sort_unstable();
    let median = calls.get(calls.len() / 2).copied().unwrap_or(0);
    let title = format!("{median} x {} per {}", summary(facts, id), facts.load.name(shape.endpoint));
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.lines = vec![
        format!(
            "{:.1} calls per request (at most {}), {:.0} % of the critical path",
            shape.calls as f64 / f64::from(shape.traces.max(1)),
            shape.calls_max,
            shape.path_share * 100.0
        ),
        format!(
            "a call takes {:.2} ms at the median, {:.2} ms lie between two{}",
            shape.duration_p50_ns / 1e6,
            shape.gap_p50_ns / 1e6,
            if shape.overlap_share > 0.5 { "; they run side by side" } else { "" }
        ),
    ];
    if let Some((query, share)) = driver {
        let name = summary(facts, query);
        candidate.lines.push(format!("one for each row of {name}: in {:.0} % of the groups", share * 100.0));
    } else if let Some(distinct) = distinct {
        candidate.lines.push(format!("with {distinct} different parameters in a group at the median"));
    }
    let assumption = "the calls can be made as one; what the code does between them is halved";
    candidate.fix = Some(batch::merged(facts, &[id], assumption));
    candidate.remedies = remedies(facts, shape, candidate.nodes.first().copied());
    if shape.class == Class::Db && shape.overlap_share > 0.5 {
        // Side by side they cost the database and its connections more than the one who waits.
        candidate.severity = Some(Severity::Info);
    }
    candidate.confidence = match (driver, distinct) {
        (Some(_), _) | (_, Some(_)) => 0.95,
        _ if shape.overlap_share > 0.5 => 0.6,
        _ => 0.85,
    };
    candidate
}

fn remedies(facts: &Facts<'_>, shape: &Shape, node: Option<NodeId>) -> Vec<Remedy> {
    let class = shape.class;
    let sends = shape.parent.is_some_and(|p| facts.shape(p).class == Class::Messaging);
    let generic = match class {
        Class::Cache if sends => {
            "send all messages in one go: the client's batch or bulk call, or one message that lists the work"
        }
        Class::Cache if effect(facts, shape) == Effect::Write => {
            "write all in one go: a pipeline, or a command that takes several values"
        }
        Class::Cache => "ask for all keys at once: MGET, or a pipeline",
        Class::Http | Class::Rpc => "ask for all of them in one request: a bulk endpoint, or a data loader",
        _ => "load all rows in one statement: `WHERE ... = ANY($1)`, a join, or the mapper's eager loading",
    };
    let nodes: Vec<NodeId> = node.filter(|_| class == Class::Db).into_iter().collect();
    frameworks::remedies(facts, &nodes, Advice::EagerLoad, generic)
}

#[cfg(test)]
mod tests;
