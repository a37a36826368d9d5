//! Pass 8: what became slower since a baseline, and who is to blame. A service is suspected by its own time, by the
//! time on the way to and from it, and by its CPU; a way that did not become slower speaks for its two ends.

mod values;

use crate::facts::Facts;
use crate::resolve::Class;
use crate::rules::{Candidate, Fix, LoadEffect};
use crate::shape::{EndpointId, NO_SHAPE, ShapeId, quantile};
use crate::simulate::{Cost, Transform};
use crate::thresholds::Thresholds;
use crate::tree::NodeId;
use hashbrown::HashMap;
use model::{Grade, Place, Remedy, RemedyKind, Severity, Sym};
use std::collections::{BTreeMap, BTreeSet};

/// More suspects than this are not named.
const MAX_SUSPECTS: usize = 3;

/// A service that may have caused the difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    pub service: String,
    /// Time that a request takes longer because of it, mean over all requests, nanoseconds.
    pub increase_ns: f64,
    /// Of it, on the way to and from the service.
    pub edge_ns: f64,
    /// Share of the ways to and from it, and of its own work, that became slower; 0 to 1.
    pub agreement: f64,
    /// CPU as share of its limit, largest, before and now, where it became full since.
    pub cpu: Option<(f64, f64)>,
    /// Steps that became slower, with nanoseconds per call.
    pub steps: Vec<(Step, f64)>,
}

/// A kind of work that can be timed on its own: within one service, or on the way between two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub from: String,
    /// Equal to `from` for a service's own work.
    pub to: String,
    pub template: String,
}

/// Suspects, the likeliest first.
#[must_use]
pub fn suspects(now: &Facts<'_>, base: &Facts<'_>) -> Vec<Suspect> {
    let grown = growth(now, base);
    let full = newly_full(now, base);
    let mut services: BTreeSet<&str> = full.keys().map(String::as_str).collect();
    services.extend(grown.iter().flat_map(|g| [g.step.from.as_str(), g.step.to.as_str()]));
    let mut suspects: Vec<Suspect> =
        services.into_iter().map(|service| suspect(service, &grown, &full)).collect();
    let roots: f64 = base.shapes.endpoints.iter().map(|e| e.root_ns as f64).sum();
    let mean_ns = roots / base.forest.trees.len().max(1) as f64;
    let least_ns = now.thresholds.differential_min_share * mean_ns;
    suspects.retain(|s| s.cpu.is_some() || s.increase_ns > least_ns);
    suspects.sort_by(|a, b| b.order().partial_cmp(&a.order()).unwrap_or(std::cmp::Ordering::Equal));
    suspects
}

impl Suspect {
    /// A CPU that became full explains the rest; else the slowness that the neighbours bear out.
    fn order(&self) -> (f64, f64) {
        (self.cpu.map_or(0.0, |(before, now)| now - before), self.increase_ns * self.agreement)
    }
}

/// One step's change.
struct Growth {
    step: Step,
    /// Nanoseconds per request, mean over all requests.
    per_request_ns: f64,
    per_call_ns: f64,
    /// Beyond chance and worth a word.
    slower: bool,
}

fn suspect(service: &str, grown: &[Growth], full: &BTreeMap<String, (f64, f64)>) -> Suspect {
    let mut suspect = Suspect {
        service: service.to_owned(),
        increase_ns: 0.0,
        edge_ns: 0.0,
        agreement: 0.0,
        cpu: full.get(service).copied(),
        steps: Vec::new(),
    };
    // Per neighbour, not per step: a neighbour with many procedures has one voice.
    let mut voices: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for g in grown.iter().filter(|g| g.step.from == service || g.step.to == service) {
        let other = if g.step.from == service { &g.step.to } else { &g.step.from };
        let voice = voices.entry(other).or_default();
        voice.1 += 1.0;
        if g.slower {
            voice.0 += 1.0;
            suspect.increase_ns += g.per_request_ns;
            if g.step.from != g.step.to {
                suspect.edge_ns += g.per_request_ns;
            }
            suspect.steps.push((g.step.clone(), g.per_call_ns));
        }
    }
    let ways = voices.iter().filter(|(other, _)| **other != service);
    let own = voices.get(service).is_some_and(|(slower, _)| *slower > 0.0);
    let (agreeing, all) = ways.fold((0.0, 0.0), |(a, n), (_, (slower, of))| (a + slower / of, n + 1.0));
    suspect.agreement = match (own, all > 0.0) {
        (true, false) => 1.0,
        (false, false) => 0.0,
        (_, true) => agreeing / all,
    };
    if own && suspect.increase_ns > 0.0 {
        // Own work became slower: no neighbour needs to bear that out.
        let share = 1.0 - suspect.edge_ns / suspect.increase_ns;
        suspect.agreement = suspect.agreement.max(share);
    }
    suspect
}

/// Own times per call of every step, ascending.
#[derive(Default)]
struct Times {
    ns: Vec<f64>,
}

fn growth(now: &Facts<'_>, base: &Facts<'_>) -> Vec<Growth> {
    let (before, after) = (times(base), times(now));
    let requests = now.forest.trees.len().max(1) as f64;
    let t = now.thresholds;
    let mut grown = Vec::new();
    for (step, after) in after {
        let Some(before) = before.get(&step) else { continue };
        let per_call_ns = shift(&before.ns, &after.ns);
        let level = quantile(&before.ns, 0.5).max(1.0);
        let error = (variance(&before.ns) / before.ns.len() as f64
            + variance(&after.ns) / after.ns.len() as f64)
            .sqrt();
        let slower =
            per_call_ns > t.differential_growth * level && per_call_ns > t.differential_sigma * error;
        grown.push(Growth {
            per_request_ns: per_call_ns * after.ns.len() as f64 / requests,
            step,
            per_call_ns,
            slower,
        });
    }
    grown
}

/// Mean difference of the deciles: the tails, which one long pause moves, have no voice.
fn shift(before: &[f64], after: &[f64]) -> f64 {
    let deciles = (1..10).map(|d| f64::from(d) / 10.0);
    deciles.map(|q| quantile(after, q) - quantile(before, q)).sum::<f64>() / 9.0
}

/// Variance within the middle nine tenths.
fn variance(ascending: &[f64]) -> f64 {
    let middle = &ascending[ascending.len() / 20..ascending.len() - ascending.len() / 20];
    let count = middle.len().max(1) as f64;
    let mean = middle.iter().sum::<f64>() / count;
    middle.iter().map(|ns| (ns - mean).powi(2)).sum::<f64>() / count
}

fn times(facts: &Facts<'_>) -> BTreeMap<Step, Times> {
    let mut by_sym: HashMap<(Sym, Sym, Sym), Times> = HashMap::new();
    for node in 0..facts.forest.nodes.len() {
        let node = NodeId::try_from(node).unwrap_or(NodeId::MAX);
        if facts.shapes.of_node[node as usize] != NO_SHAPE && facts.critical.on_path[node as usize] {
            let times = by_sym.entry(step_of(facts, node)).or_default();
            times.ns.push(facts.critical.path_ns[node as usize] as f64);
        }
    }
    let named = |sym: Sym| facts.name(sym).to_owned();
    by_sym
        .into_iter()
        .map(|((from, to, template), mut times)| {
            times.ns.sort_unstable_by(f64::total_cmp);
            (Step { from: named(from), to: named(to), template: named(template) }, times)
        })
        .collect()
}

/// From which service to which, doing what.
fn step_of(facts: &Facts<'_>, node: NodeId) -> (Sym, Sym, Sym) {
    let call = facts.call(node);
    let to = match facts.node(node).class {
        Class::Http | Class::Rpc => {
            let callee = facts.forest.children(node).find(|c| facts.node(*c).class == Class::Server);
            callee.map_or(call.service, |c| facts.call(c).service)
        }
        _ => call.service,
    };
    (call.service, to, call.template)
}

/// Services whose CPU became full since: largest share of the limit, before and now.
fn newly_full(now: &Facts<'_>, base: &Facts<'_>) -> BTreeMap<String, (f64, f64)> {
    let t: &Thresholds = now.thresholds;
    let mut full = BTreeMap::new();
    for (service, used) in &now.saturation.services {
        let before = base.saturation.services.get(service).copied().unwrap_or_default();
        let (Some(is), Some(was)) = (used.of_limit_max, before.of_limit_max) else { continue };
        if !service.is_empty() && is >= t.cpu_saturated && is >= was * t.differential_cpu_ratio {
            full.insert(service.clone(), (was, is));
        }
    }
    full
}

/// The suspects as candidates, in order, each with the rule that it falls under.
#[must_use]
pub fn candidates(now: &Facts<'_>, base: &Facts<'_>) -> Vec<(&'static str, Candidate)> {
    let suspects = suspects(now, base);
    suspects.iter().take(MAX_SUSPECTS).filter_map(|suspect| candidate(now, base, suspect)).collect()
}

fn candidate(facts: &Facts<'_>, base: &Facts<'_>, suspect: &Suspect) -> Option<(&'static str, Candidate)> {
    let (endpoint, shapes) = worst_endpoint(facts, suspect)?;
    let rule = match suspect.cpu {
        Some(_) => "cpu_saturation",
        None if suspect.edge_ns * 2.0 > suspect.increase_ns => "slow_dependency",
        None => "cpu_self_time",
    };
    let name = &suspect.service;
    let mut lines = Vec::new();
    if let Some((before, now)) = suspect.cpu {
        lines.push(format!("its cpu rose from {:.0} % to {:.0} % of the limit", before * 100.0, now * 100.0));
    }
    if suspect.increase_ns > 0.0 {
        lines.push(format!(
            "a request takes {:.2} ms longer because of it, {:.2} ms of it on the way to and from it",
            suspect.increase_ns / 1e6,
            suspect.edge_ns / 1e6
        ));
    }
    lines.extend(slowest_step(suspect));
    lines.extend(values::in_common(facts, base, suspect, endpoint));
    let mut trees: Vec<u32> =
        shapes.iter().flat_map(|(id, _)| facts.shape(*id).groups.iter().map(|g| g.tree)).collect();
    trees.sort_unstable();
    trees.dedup();
    let candidate = Candidate {
        endpoint,
        shape: None,
        claims: Vec::new(),
        title: format!("{name} became slower than in the baseline"),
        service: name.clone(),
        place: Place { resource: Some(name.clone()), ..Place::default() },
        calls_per_request: None,
        share_of_critical_path: None,
        lines,
        trees,
        nodes: Vec::new(),
        plan: None,
        fix: Some(back_to_baseline(&shapes)),
        remedies: vec![remedy(rule, name)],
        confidence: 0.5 + 0.4 * if suspect.cpu.is_some() { 1.0 } else { suspect.agreement },
        severity: Some(Severity::Warning),
        yields: false,
    };
    Some((rule, candidate))
}

/// The step that became slower by most.
fn slowest_step(suspect: &Suspect) -> Option<String> {
    let (step, ns) = suspect.steps.iter().max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0)))?;
    let place = if step.from == step.to { String::new() } else { format!(" on the way from {}", step.from) };
    Some(format!("most of all {}{place}: {:.2} ms longer a call", step.template, ns / 1e6))
}

fn remedy(rule: &str, service: &str) -> Remedy {
    let text = match rule {
        "cpu_saturation" => format!("find what uses the cpu of {service} since then, or raise its limit"),
        "slow_dependency" => format!("look at the network, connections and queue in front of {service}"),
        _ => format!("look at what changed in {service} since the baseline"),
    };
    Remedy { kind: RemedyKind::Configuration, text, patch: None, undo: None }
}

/// Where the suspect costs most, and the shapes there that became slower, with nanoseconds per call.
fn worst_endpoint(facts: &Facts<'_>, suspect: &Suspect) -> Option<(EndpointId, Vec<(ShapeId, f64)>)> {
    let mut by_endpoint: BTreeMap<EndpointId, (f64, Vec<(ShapeId, f64)>)> = BTreeMap::new();
    for (id, shape) in facts.shapes() {
        let Some(&node) = shape.groups.first().and_then(|g| facts.nodes(g).first()) else { continue };
        let (from, to, template) = step_of(facts, node);
        let names = (facts.name(from), facts.name(to), facts.name(template));
        let touched = names.0 == suspect.service || names.1 == suspect.service;
        let same = |s: &Step| (s.from.as_str(), s.to.as_str(), s.template.as_str()) == names;
        let slower = suspect.steps.iter().find(|(step, _)| same(step)).map(|(_, ns)| *ns);
        if touched {
            let entry = by_endpoint.entry(shape.endpoint).or_default();
            let ns = slower.unwrap_or(0.0);
            entry.0 += ns * shape.calls as f64;
            if ns > 0.0 {
                entry.1.push((id, ns));
            }
        }
    }
    let worst = by_endpoint.into_iter().max_by(|a, b| a.1.0.total_cmp(&b.1.0).then(b.0.cmp(&a.0)))?;
    Some((worst.0, worst.1.1))
}

fn back_to_baseline(shapes: &[(ShapeId, f64)]) -> Fix {
    let less = |factor: f64| {
        let each = |(id, ns): &(ShapeId, f64)| Transform::Own { of: *id, to: Cost::Less(ns * factor) };
        shapes.iter().map(each).collect::<Vec<_>>()
    };
    Fix {
        point: less(1.0),
        least: less(0.5),
        most: less(1.5),
        grade: Grade::B,
        assumption: "its work and the way to it take as long as in the baseline again".to_owned(),
        load: LoadEffect::Added,
    }
}

#[cfg(test)]
mod tests;
