//! What it costs to make the calls of a group as one, by LOCALIZE's batch formula: the first call as it was recorded,
//! and a share of the service time for each further one; the round trips of the others are gone.

use super::effect::{Effect, effect};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::rules::{Fix, LoadEffect};
use crate::shape::{Shape, ShapeId};
use crate::simulate::{Cost, Transform};
use model::Grade;
use std::sync::Arc;

/// Time of one call, split, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::rules) struct Split {
    /// Paid once per call, however much is asked for.
    pub round_trip_ns: f64,
    /// Grows with what is asked for.
    pub service_ns: f64,
    /// The most that may grow so: all time that the other side works.
    pub service_most_ns: f64,
}

/// The round trip is the larger of the fastest twentieth of the calls and what is left of the median without the
/// other side's own time, where the database's statistics or the callee's spans tell it.
pub(in crate::rules) fn split(facts: &Facts<'_>, id: ShapeId) -> Split {
    let shape = facts.shape(id);
    let median = shape.duration_p50_ns;
    let served = served_ns(facts, id).map(|ns| ns.min(median));
    let floor = served.map_or(0.0, |served| median - served);
    let round_trip_ns = shape.duration_p5_ns.max(floor).min(median);
    let service_ns = median - round_trip_ns;
    Split { round_trip_ns, service_ns, service_most_ns: service_ns.max(served.unwrap_or(0.0)) }
}

fn served_ns(facts: &Facts<'_>, id: ShapeId) -> Option<f64> {
    let shape = facts.shape(id);
    if shape.class == Class::Db {
        return facts.statement(shape.template).map(|s| s.mean_ms() * 1e6).filter(|ns| *ns > 0.0);
    }
    let callee = facts.shapes.children(id).map(|c| facts.shape(c)).find(|c| c.class == Class::Server);
    callee.map(|c| c.duration_p50_ns)
}

/// The fix that makes the calls of these shapes as one per shape and handling.
pub(in crate::rules) fn merged(facts: &Facts<'_>, shapes: &[ShapeId], assumption: &str) -> Fix {
    let t = facts.thresholds;
    let kept = 1.0 - t.batch_gap_saved;
    let all = |marginal: &dyn Fn(&Split) -> f64, gap_kept: f64| {
        let mut out: Vec<Transform> = Vec::new();
        for &of in shapes {
            let cost = cost(marginal(&split(facts, of)), facts.shape(of).overlap_share > 0.5);
            out.push(Transform::Merge { of, to: cost, gap_kept });
            let around = brackets(facts, of);
            out.extend(around.into_iter().map(|of| Transform::Merge { of, to: Cost::Times(1.0), gap_kept }));
        }
        out
    };
    Fix {
        point: all(&|split| t.batch_marginal * split.service_ns, kept),
        least: all(&|split| split.service_most_ns, 1.0),
        most: all(&|_| 0.0, 0.0),
        grade: Grade::B,
        assumption: assumption.to_owned(),
        load: LoadEffect::Added,
    }
}

/// The first call and `further_ns` for each other one. Calls that ran side by side already are not made slower.
fn cost(further_ns: f64, parallel: bool) -> Cost {
    Cost::Each(Arc::new(move |case| {
        // Where another fix made the call quicker, what each further row costs is quicker alike.
        let quicker = if case.recorded_ns > 0.0 { case.ns / case.recorded_ns } else { 1.0 };
        let batch = case.ns + further_ns * quicker * case.calls.saturating_sub(1) as f64;
        if parallel { batch.min(case.longest_ns) } else { batch }
    }))
}

/// Kinds of siblings that are looked at.
const MAX_SIBLINGS: usize = 64;

/// Siblings that come with each call and go with it: connections taken, transactions begun and ended.
fn brackets(facts: &Facts<'_>, id: ShapeId) -> Vec<ShapeId> {
    let shape = facts.shape(id);
    let Some(parent) = shape.parent else { return Vec::new() };
    let comes_with = |other: &Shape| {
        let serves = match other.class {
            Class::Pool => shape.class == Class::Db || shape.class == Class::Cache,
            Class::Db => shape.class == Class::Db && effect(facts, other) == Effect::Control,
            _ => false,
        };
        // Each once or twice per call, and not once per request.
        serves && other.calls * 2 >= shape.calls && other.calls <= shape.calls * 3 && other.calls_max > 1
    };
    let siblings = facts.shapes.children(parent).take(MAX_SIBLINGS);
    siblings.filter(|c| *c != id && comes_with(facts.shape(*c))).collect()
}

/// Whether each call carries many commands already: a pipeline, a batch of statements.
pub(in crate::rules) fn is_batched(facts: &Facts<'_>, shape: &Shape) -> bool {
    let group = shape.groups.iter().max_by_key(|g| g.calls());
    let first = group.and_then(|g| facts.nodes(g).first());
    first.and_then(|n| facts.call(*n).batch()).is_some_and(|commands| commands >= 2.0)
}

/// A root that answers nobody: one that works through more than a request would, or one of a service whose requests
/// are marked as such, so that this is none of them.
pub(in crate::rules) fn is_job(facts: &Facts<'_>, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let endpoint = facts.endpoint_of(shape);
    let mean_ns = endpoint.root_ns as f64 / endpoint.trees.len().max(1) as f64;
    let long = mean_ns >= t.job_s * 1e9 || shape.calls_max >= t.job_calls as usize;
    let answers = || {
        let of_service = facts.shapes.endpoints.iter().filter(|e| e.service == endpoint.service);
        of_service.into_iter().any(|e| e.class == Class::Server)
    };
    match endpoint.class {
        Class::Internal => long || answers(),
        Class::Messaging => long,
        _ => false,
    }
}
