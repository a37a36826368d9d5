//! `serial_calls`: reads that do not need each other are made one after another. Only what traces show is taken for
//! independence: calls seen to overlap once, or given values that were known before the first of them began.

mod chain;
#[cfg(test)]
mod tests;

use super::patterns::effect::summary;
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::cpu::database_share;
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::ShapeId;
use crate::simulate::Transform;
use chain::Chain;
use model::{Grade, Remedy, RemedyKind};

pub(super) const RULE: Rule = Rule {
    name: "serial_calls",
    needs: &[Signal::Traces],
    why: "Waits that could run side by side are added up.",
    how: "Reads below one parent, each once, follow each other closely and never overlap in 95 % of the requests. They are taken for independent where they were seen to overlap, or where every value they are given was known before the first of them: it is in the request's URL, always the same, given to the first as well, or (where values are not sent) compared with the same key. Calls to different services that do not tell their values are believed less. Never within a transaction of several statements; not a page of a list and the count of it, nor what most endpoints of the service read before anything of their own (a session).",
    predicts: "The calls start together: the longest of them, by request, and 0.2 ms for each further one to start; where the CPU is more than 60 % busy, longer by its load and by what the calls compute (a database by what its processes used, a call that nobody watched half of its time). Statements on one connection stay one after another. At worst only different callees run side by side.",
    run,
};

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let common = chain::common(facts);
    let machine = Machine::of(facts);
    (0..)
        .zip(&facts.shapes.all)
        .flat_map(|(parent, _)| chain::below(facts, parent, &common))
        .filter_map(|chain| best(facts, &chain, &machine))
        .collect()
}

/// The part of a chain that can run side by side.
struct Side {
    calls: Vec<ShapeId>,
    /// Some call does not tell its values.
    doubtful: bool,
}

fn best(facts: &Facts<'_>, chain: &Chain, machine: &Machine) -> Option<Candidate> {
    let sides = (0..chain.shapes.len()).map(|start| from(facts, chain, start));
    let saved = |side: &Side| {
        let each = side.calls.iter().map(|id| facts.shape(*id).duration_p50_ns);
        each.clone().sum::<f64>() - each.fold(0.0, f64::max)
    };
    let side = sides.filter(|s| s.calls.len() >= 2).max_by(|a, b| saved(a).total_cmp(&saved(b)))?;
    Some(candidate(facts, chain, &side, machine))
}

/// The call at `start` and the later ones that could have begun with it.
fn from(facts: &Facts<'_>, chain: &Chain, start: usize) -> Side {
    let mut side = Side { calls: vec![chain.shapes[start]], doubtful: false };
    // What follows a failure may be made because of it.
    let fails = |id: &ShapeId| facts.shape(*id).errors * 2 >= facts.shape(*id).calls;
    if fails(&chain.shapes[start]) {
        return side;
    }
    for at in start + 1..chain.shapes.len() {
        let id = chain.shapes[at];
        let overlapped = chain.shapes[start..at].iter().all(|earlier| facts.independent.holds(*earlier, id));
        if chain.shapes[start..at].iter().any(|earlier| chain::is_total(facts, *earlier, id)) {
            continue;
        }
        let known = if overlapped { Some(true) } else { chain.was_known(facts, start, at) };
        let elsewhere = || {
            let remote = |id: &ShapeId| matches!(facts.shape(*id).class, Class::Http | Class::Rpc);
            let before = &chain.shapes[start..at];
            remote(&id)
                && before.iter().all(|b| remote(b) && chain::callee(facts, *b) != chain::callee(facts, id))
        };
        match known {
            Some(true) => side.calls.push(id),
            None if elsewhere() => {
                side.calls.push(id);
                side.doubtful = true;
            }
            _ => {}
        }
    }
    side
}

fn candidate(facts: &Facts<'_>, chain: &Chain, side: &Side, machine: &Machine) -> Candidate {
    let calls = &side.calls;
    let endpoint = facts.shape(calls[0]).endpoint;
    let title =
        format!("{} independent reads one after another per {}", calls.len(), facts.load.name(endpoint));
    let mut candidate = Candidate::on_shape(facts, calls[0], title);
    candidate.claims.clear();
    candidate.shape = Some(chain.parent);
    candidate.place.shape = Some(facts.path(chain.parent));
    candidate.place.statement = None;
    candidate.place.resource = Some("calls in sequence".to_owned());
    candidate.calls_per_request = Some(calls.len() as f64);
    let share: f64 = calls.iter().map(|id| facts.shape(*id).path_share).sum();
    candidate.share_of_critical_path = Some(share.min(1.0));
    let example = chain.instances.get(chain.instances.len() / 2);
    candidate.nodes = example.map(|i| i.nodes.clone()).unwrap_or_default();
    let each = calls
        .iter()
        .take(5)
        .map(|id| format!("{} ({:.1} ms)", summary(facts, *id), facts.shape(*id).duration_p50_ns / 1e6));
    candidate.lines = vec![
        format!("in this order, never at the same time: {}", each.collect::<Vec<_>>().join(", ")),
        format!(
            "{:.0} % of the critical path in {} handlings looked at",
            share * 100.0,
            chain.instances.len()
        ),
        if side.doubtful {
            "the calls do not tell their values: look whether one needs another's result".to_owned()
        } else {
            "no call is given a value that was not known before the first of them".to_owned()
        },
    ];
    candidate.fix = Some(fix(facts, chain, side, machine));
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "start the calls together and wait for all: join!, asyncio.gather, Promise.all, errgroup, Task.WhenAll; statements of one database each on a pooled connection of its own".to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = if side.doubtful { 0.4 } else { 0.75 };
    candidate
}

/// From this utilization of the CPU on, calls that run side by side slow each other down.
const CALM: f64 = 0.6;
/// A call of which nothing is known computes for this share of its time and waits for the rest.
const UNWATCHED: f64 = 0.5;

fn fix(facts: &Facts<'_>, chain: &Chain, side: &Side, machine: &Machine) -> Fix {
    let parallel = |lanes: Vec<Vec<ShapeId>>, stretch: f64| {
        vec![Transform::Parallel { lanes, dispatch_ns: facts.thresholds.dispatch_ms * 1e6, stretch }]
    };
    let likely = stretch(facts, &side.calls, machine, UNWATCHED);
    let longest = stretch(facts, &side.calls, machine, 1.0);
    let point = lanes(&side.calls, |one, other| chain.on_one_connection(facts, one, other));
    let least = lanes(&side.calls, |one, other| chain::callee(facts, one) == chain::callee(facts, other));
    let most = lanes(&side.calls, |_, _| false);
    let stays = point.len() < side.calls.len();
    let more = if stays { "; statements on one connection stay one after another" } else { "" };
    Fix {
        point: parallel(point, likely),
        least: if side.doubtful { Vec::new() } else { parallel(least, longest) },
        most: parallel(most, 1.0),
        grade: if side.doubtful { Grade::C } else { Grade::B },
        assumption: format!("none of the calls needs another's result{more}"),
        load: LoadEffect::Included,
    }
}

/// What the prediction needs to know of the machine.
struct Machine {
    /// Share of the CPU in use, where it is more than a little.
    busy: Option<f64>,
    /// Share of the database's calls that is computing.
    database: Option<f64>,
}

impl Machine {
    fn of(facts: &Facts<'_>) -> Self {
        let busy = facts.saturation.cpu().filter(|u| *u >= CALM);
        Self { busy, database: busy.and_then(|_| database_share(facts)) }
    }
}

/// How much longer calls take side by side: the longest shares a busy CPU with what the others compute, as far as it
/// computes itself. `unwatched`: the share of its time that a call computes of which nothing is known.
fn stretch(facts: &Facts<'_>, calls: &[ShapeId], machine: &Machine, unwatched: f64) -> f64 {
    let Some(busy) = machine.busy else { return 1.0 };
    let database = machine.database;
    let of = |id: &ShapeId| {
        let shape = facts.shape(*id);
        let share = database.filter(|_| shape.class == Class::Db).unwrap_or(unwatched);
        (shape.duration_p50_ns, share)
    };
    let all: Vec<(f64, f64)> = calls.iter().map(of).collect();
    let Some((lasts, share)) = all.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0)) else { return 1.0 };
    let others = all.iter().map(|(ns, share)| ns * share).sum::<f64>() - lasts * share;
    let count = calls.len() as f64;
    1.0 + busy.min(1.0) * (count - 1.0) / count * share.min(others / lasts.max(1.0))
}

/// The calls in lanes: one that has to wait for a call of a lane is put behind it.
fn lanes(calls: &[ShapeId], waits: impl Fn(ShapeId, ShapeId) -> bool) -> Vec<Vec<ShapeId>> {
    let mut lanes: Vec<Vec<ShapeId>> = Vec::new();
    for id in calls {
        match lanes.iter_mut().find(|lane| lane.iter().any(|other| waits(*other, *id))) {
            Some(lane) => lane.push(*id),
            None => lanes.push(vec![*id]),
        }
    }
    lanes
}
