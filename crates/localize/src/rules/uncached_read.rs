//! `uncached_read`: the same reads come again and again, request after request, and nothing remembers them.

mod cache;
mod everybody;

use super::patterns::effect::{Effect, effect, subjects, summary};
use super::patterns::nodes;
use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{NO_SHAPE, Shape, ShapeId};
use crate::tree::NodeId;
use cache::{Cache, Read};
use hashbrown::{HashMap, HashSet};
use model::{Grade, Remedy, RemedyKind, Sym};

pub(super) const RULE: Rule = Rule {
    name: "uncached_read",
    needs: &[Signal::Traces],
    why: "What was read a moment ago and has not changed need not be read again: a cache takes the time and the load away.",
    how: "Reads of one template by one process, over all endpoints, by their parameters and in order of time: 30 % or more of an endpoint's would have been answered by a cache of 10,000 entries and 30 s, they hold 10 % of its critical path, and at most a tenth as many calls write to the same tables or path. One URL that never changes counts where different requests ask for it and its path names nothing personal or momentary. Not where parameters are not sent, after a look into a cache, within transactions, or after a write by the same endpoint.",
    predicts: "The recorded calls are played through that cache, each half of the window with the other half before it: each hit takes 0.02 ms, with the connection that served nothing else; each miss stays. At worst the cache is empty at the start, at best it is full. p95 moves only where fewer than 5 % of the requests miss.",
    run,
};

/// Calls of one process by template and class.
type Stream = (Sym, Class, Sym);

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let candidates: Vec<(ShapeId, &Shape)> =
        facts.shapes().filter(|(_, shape)| is_one(facts, shape)).collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let writes = writes(facts);
    let stream = |shape: &Shape| (shape.service, shape.class, shape.template);
    let mut streams: HashMap<Stream, Vec<&Shape>> =
        candidates.iter().map(|(_, shape)| (stream(shape), Vec::new())).collect();
    for (_, shape) in facts.shapes() {
        if let Some(known) = streams.get_mut(&stream(shape)) {
            known.push(shape);
        }
    }
    let mut caches: HashMap<Stream, Option<Cache>> = HashMap::new();
    let mut out = Vec::new();
    for (id, shape) in candidates {
        let key = stream(shape);
        let shapes = streams.get(&key).map_or(&[][..], Vec::as_slice);
        let cache = caches.entry(key).or_insert_with(|| play(facts, key, shapes, &writes));
        if let Some(cache) = cache {
            out.extend(on_shape(facts, id, cache));
        }
    }
    out
}

/// A read that may be worth remembering, by what is known without its neighbours.
fn is_one(facts: &Facts<'_>, shape: &Shape) -> bool {
    let t = facts.thresholds;
    let kind = match shape.class {
        Class::Db => !subjects(Class::Db, facts.name(shape.template)).is_empty(),
        // One URL may still answer each user with something else.
        Class::Http => shape.params_distinct >= 2 || everybody::is_for_everybody(facts, shape),
        _ => false,
    };
    kind && effect(facts, shape) == Effect::Read
        // What is to be remembered is told on the mapper's span.
        && !facts.shapes.is_lower_layer(shape)
        && shape.params_known == shape.calls
        && shape.path_share >= t.cache_path_share
        && shape.calls_mean < f64::from(t.n_plus_one_calls)
        && shape.errors * 2 < shape.calls
}

/// Calls that write, by what they write to, and the endpoints that do.
#[derive(Default)]
struct Writes {
    calls: HashMap<String, u64>,
    endpoints: HashSet<(String, crate::shape::EndpointId)>,
}

fn writes(facts: &Facts<'_>) -> Writes {
    let mut out = Writes::default();
    for (_, shape) in facts.shapes().filter(|(_, s)| effect(facts, s) == Effect::Write) {
        for subject in subjects(shape.class, facts.name(shape.template)) {
            *out.calls.entry(subject.clone()).or_default() += shape.calls;
            out.endpoints.insert((subject, shape.endpoint));
        }
    }
    out
}

/// The stream's calls through a cache; `None` where it is written too often.
fn play(facts: &Facts<'_>, stream: Stream, shapes: &[&Shape], writes: &Writes) -> Option<Cache> {
    let t = facts.thresholds;
    let subjects = subjects(stream.1, facts.name(stream.2));
    let mut reads: Vec<Read> = Vec::new();
    for shape in shapes {
        // What an endpoint reads again after its own write is not to come from a cache.
        if subjects.iter().any(|s| writes.endpoints.contains(&(s.clone(), shape.endpoint))) {
            continue;
        }
        for group in &shape.groups {
            let start = facts.began_ns(group.tree);
            // What one request asks twice is `redundant_call`'s.
            let mut asked = HashSet::new();
            let read = |node: &NodeId| {
                let this = facts.node(*node);
                let process = facts.recording.spans.resources[this.row as usize];
                let key = (process, facts.call(*node).params()?);
                Some(Read { node: *node, key, at_ns: start + this.start_ns, ready_ns: start + this.end_ns })
            };
            reads.extend(facts.nodes(group).iter().filter_map(read).filter(|r| asked.insert(r.key)));
        }
    }
    let written: u64 = subjects.iter().filter_map(|s| writes.calls.get(s)).sum();
    let rarely = written as f64 <= t.cache_write_share * reads.len() as f64;
    rarely.then(|| Cache::play(reads, t.cache_entries, t.cache_ttl_s))
}

fn on_shape(facts: &Facts<'_>, id: ShapeId, cache: &Cache) -> Option<Candidate> {
    let shape = facts.shape(id);
    let calls = || shape.groups.iter().flat_map(|g| facts.nodes(g)).copied();
    let example = shape.groups.get(shape.groups.len() / 2).and_then(|g| facts.nodes(g).first())?;
    let of = |hits: &HashSet<NodeId>| -> HashSet<NodeId> { calls().filter(|n| hits.contains(n)).collect() };
    let (warmed, cold) = (of(&cache.warmed), of(&cache.cold));
    let ratio = warmed.len() as f64 / shape.calls.max(1) as f64;
    if ratio < facts.thresholds.cache_hit_ratio || nodes::in_transaction(facts, *example) {
        return None;
    }
    // What is read after a look into a cache has one, and missed it.
    if super::cache_stampede::follows_cache(facts, shape) {
        return None;
    }
    Some(candidate(facts, id, ratio, [cold, warmed, of(&cache.full)]))
}

/// `hits`: with an empty cache, with the other half of the window before, with the whole window before.
fn candidate(facts: &Facts<'_>, id: ShapeId, ratio: f64, hits: [HashSet<NodeId>; 3]) -> Candidate {
    let t = facts.thresholds;
    let shape = facts.shape(id);
    let title = format!(
        "{} in {}: {:.0} % repeat one of the last {:.0} s",
        summary(facts, id),
        facts.load.name(shape.endpoint),
        ratio * 100.0,
        t.cache_ttl_s
    );
    let mut candidate = Candidate::on_shape(facts, id, title);
    // A read of another service is a symptom where its cause was found there; one of the database may have an index
    // missing as well.
    if shape.class == Class::Db {
        candidate.claims.clear();
    }
    candidate.lines = vec![
        format!(
            "{} calls with {} different parameters; a cache of {} entries and {:.0} s answers {:.0} % of them",
            shape.calls,
            shape.params_distinct,
            t.cache_entries,
            t.cache_ttl_s,
            ratio * 100.0
        ),
        format!(
            "they hold {:.0} % of the critical path, {:.2} ms a call at the median",
            shape.path_share * 100.0,
            shape.duration_p50_ns / 1e6
        ),
    ];
    candidate.fix = Some(fix(facts, ratio, hits));
    let mut texts = vec![format!(
        "keep the answer for up to {:.0} s: a cache in the process with a bound on entries and one load at a time per key, or Redis where several processes must agree; drop the entry on write",
        t.cache_ttl_s
    )];
    if shape.class == Class::Http {
        texts.push("let the callee send Cache-Control and an ETag, and honour them".to_owned());
    }
    let remedy = |text| Remedy { kind: RemedyKind::Code, text, patch: None, undo: None };
    candidate.remedies = texts.into_iter().map(remedy).collect();
    candidate.confidence = if shape.class == Class::Db { 0.7 } else { 0.6 };
    if shape.class == Class::Http && shape.params_distinct < 2 {
        candidate.lines.push(
            "one URL, whatever the request asks for: look whether its answer depends on who asks".to_owned(),
        );
        candidate.confidence = 0.5;
    }
    candidate
}

fn fix(facts: &Facts<'_>, ratio: f64, hits: [HashSet<NodeId>; 3]) -> Fix {
    let hit_ns = facts.thresholds.cache_hit_ms * 1e6;
    let [least, point, most] = hits.map(|mut hits| {
        let connections = nodes::serving(facts, &hits);
        hits.extend(connections.into_iter().filter(|n| facts.shapes.of_node[*n as usize] != NO_SHAPE));
        nodes::take(facts, hits, hit_ns)
    });
    let assumption = format!(
        "answers may be up to {:.0} s old; {:.0} % hits, as the keys repeated in the recording; p95 moves only where fewer than 5 % of the requests miss",
        facts.thresholds.cache_ttl_s,
        ratio * 100.0
    );
    Fix { point, least, most, grade: Grade::B, assumption, load: LoadEffect::Added }
}

#[cfg(test)]
mod tests;
