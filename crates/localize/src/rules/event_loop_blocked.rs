//! `event_loop_blocked`: while one request computes, its process does nothing else for anybody.

use super::{Candidate, Fix, LoadEffect, Rule, Signal, heaviest_endpoint};
use crate::facts::Facts;
use crate::resolve::Class;
use crate::shape::{EndpointId, NO_SHAPE, ShapeId, quantile};
use crate::simulate::{Cost, Transform};
use crate::tree::{NodeId, TreeId};
use hashbrown::{HashMap, HashSet};
use model::{Grade, Remedy, RemedyKind, ResourceId, Severity};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "event_loop_blocked",
    needs: &[Signal::Traces],
    why: "On one thread (an event loop, an interpreter's lock) each millisecond of computing is a millisecond that all other requests in the process wait.",
    how: "During stretches of 10 ms or more in which a request's own code runs with nothing called, no span of another request in the same process begins or ends, where 30 or more would have by the rate outside of such stretches: fewer than a tenth of them; and the median call has such a stretch. Told on the endpoint that loses the largest share of its time, rather another than the one that computes. Or the runtime itself tells that its event loop is 50 ms late or more at p99.",
    predicts: "The stretches run elsewhere: other requests no longer wait for them, be it in their own code, at the end of a call to elsewhere, or before they are taken up (where Trimtab's load tells that). The request that computes stays as long.",
    run,
};

/// Stretches of one process that are looked at.
const MAX_STRETCHES: usize = 20_000;
/// Begins and ends of spans that are remembered in all; later requests are then not looked at.
const MAX_EVENTS: usize = 1 << 18;
/// Of the largest share of its time that an endpoint loses, what counts as about as much.
const ABOUT_AS_MUCH: f64 = 0.5;
/// Of a stretch, this much at both ends is not counted, nanoseconds: clocks and exporters are not exact.
const MARGIN_NS: i64 = 500_000;

/// A time in which one request computes, Unix nanoseconds.
#[derive(Clone, Copy)]
struct Stretch {
    from: i64,
    until: i64,
    tree: TreeId,
    shape: ShapeId,
}

/// One process: its stretches, and when its spans begin and end.
#[derive(Default)]
struct Process {
    stretches: Vec<Stretch>,
    events: Vec<(i64, TreeId)>,
}

/// What was counted for stretches of one shape.
#[derive(Default)]
struct Counted {
    seen: f64,
    expected: f64,
    stretches: Vec<(ResourceId, Stretch)>,
}

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let t = facts.thresholds;
    let mut out: Vec<Candidate> = blocking(facts)
        .into_iter()
        .filter_map(|(shape, counted)| candidate(facts, shape, &counted))
        .collect();
    // What the runtime tells of itself, where the traces do not show whose code it is.
    let late = facts.runtime.loop_delay_ms.iter().filter(|(_, ms)| **ms >= t.loop_delay_ms);
    let unseen: Vec<Candidate> = late
        .filter(|(service, _)| out.iter().all(|c| c.service != **service))
        .filter_map(|(service, ms)| told_by_runtime(facts, service, *ms))
        .collect();
    out.extend(unseen);
    out
}

/// What calls of all endpoints lose to computing that blocks their process, nanoseconds.
pub(super) fn lost(facts: &Facts<'_>) -> HashMap<NodeId, f64> {
    let mut out = HashMap::new();
    for (_, counted) in blocking(facts) {
        for lost in victims(facts, &counted).into_values() {
            for (node, ns) in lost.by_node {
                *out.entry(node).or_default() += ns;
            }
        }
    }
    out
}

/// Endpoints whose own code is seen to hold its process up: what it does with its time is known.
pub(super) fn computing(facts: &Facts<'_>) -> HashSet<EndpointId> {
    let of = |(shape, counted): (ShapeId, Counted)| {
        let computes = facts.shape(shape).endpoint;
        candidate(facts, shape, &counted).filter(|c| c.endpoint != computes).map(|_| computes)
    };
    blocking(facts).into_iter().filter_map(of).collect()
}

/// Shapes whose stretches of computing let nobody else in the process go on.
fn blocking(facts: &Facts<'_>) -> Vec<(ShapeId, Counted)> {
    let mut by_shape: BTreeMap<ShapeId, Counted> = BTreeMap::new();
    let typical = typical(facts);
    let t = facts.thresholds;
    let is_long = |id: ShapeId| {
        typical.get(&id).is_some_and(|ns| {
            *ns >= (t.blocked_ms * 1e6).max(t.blocked_duration_share * facts.shape(id).duration_p50_ns)
        })
    };
    for (resource, process) in &processes(facts, is_long) {
        count(*resource, process, &mut by_shape);
    }
    let blocks =
        |(_, c): &(ShapeId, Counted)| c.expected >= t.blocked_events && c.seen < t.blocked_share * c.expected;
    by_shape.into_iter().filter(blocks).collect()
}

fn told_by_runtime(facts: &Facts<'_>, service: &str, delay_ms: f64) -> Option<Candidate> {
    let root = heaviest_endpoint(facts, service)?;
    let title = format!("the event loop of {service} is up to {delay_ms:.0} ms late (p99)");
    let mut candidate = Candidate::on_shape(facts, root, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = None;
    candidate.place.resource = Some("event loop".to_owned());
    candidate.lines = vec!["the traces do not show whose code it is: profile the process".to_owned()];
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: "find what computes or blocks for long (a profile by wall time), move it to a worker, or cut it into slices"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.severity = Some(Severity::Warning);
    candidate.confidence = 0.7;
    Some(candidate)
}

/// Stretches of shapes that are long in the median call: others only wait now and then.
fn processes(facts: &Facts<'_>, is_long: impl Fn(ShapeId) -> bool) -> BTreeMap<ResourceId, Process> {
    let mut out: BTreeMap<ResourceId, Process> = BTreeMap::new();
    let least = ms(facts.thresholds.blocked_ms) + 2 * MARGIN_NS;
    let mut events = 0;
    for (id, tree) in (0..).zip(&facts.forest.trees) {
        let start = facts.began_ns(id);
        events += 2 * (tree.end - tree.root) as usize;
        if events > MAX_EVENTS {
            break;
        }
        for node in tree.root..tree.end {
            let this = facts.node(node);
            let shape = facts.shapes.of_node[node as usize];
            if shape == NO_SHAPE {
                continue;
            }
            let resource = facts.recording.spans.resources[this.row as usize];
            let process = out.entry(resource).or_default();
            let at = |ns: i64| start + ns;
            process.events.extend([(at(this.start_ns), id), (at(this.end_ns), id)]);
            if !matches!(this.class, Class::Server | Class::Internal)
                || !is_long(shape)
                || process.stretches.len() >= MAX_STRETCHES
            {
                continue;
            }
            own_stretches(facts, node, |from, until| {
                if until - from >= least {
                    let (from, until) = (at(from) + MARGIN_NS, at(until) - MARGIN_NS);
                    process.stretches.push(Stretch { from, until, tree: id, shape });
                }
            });
        }
    }
    out.retain(|_, process| !process.stretches.is_empty());
    for process in out.values_mut() {
        process.events.sort_unstable();
        let Process { events, stretches } = process;
        stretches.retain(|stretch| within(events, stretch).all(|(_, tree)| *tree != stretch.tree));
        process.stretches.sort_unstable_by_key(|s| (s.from, s.until, s.tree));
        // What begins within another one's stretch may be what waits for it.
        let mut until = i64::MIN;
        process.stretches.retain(|stretch| {
            let first = stretch.from >= until;
            until = if first { stretch.until } else { until };
            first
        });
    }
    out
}

/// Begins and ends of spans within a stretch; a request's own show that it did not compute all the time, wherever
/// its spans hang.
fn within<'a>(events: &'a [(i64, TreeId)], stretch: &Stretch) -> impl Iterator<Item = &'a (i64, TreeId)> {
    let from = events.partition_point(|event| event.0 < stretch.from);
    let to = events.partition_point(|event| event.0 <= stretch.until);
    events[from..to].iter()
}

/// Times within a node that no child covers.
fn own_stretches(facts: &Facts<'_>, node: NodeId, mut visit: impl FnMut(i64, i64)) {
    let this = facts.node(node);
    let mut until = this.start_ns;
    for child in facts.forest.children(node).map(|c| facts.node(c)).filter(|c| !c.detached) {
        if child.start_ns > until {
            visit(until, child.start_ns);
        }
        until = until.max(child.end_ns);
    }
    if this.end_ns > until {
        visit(until, this.end_ns);
    }
}

/// By shape of a service's own steps: of each call the longest stretch, of those the median, nanoseconds. Stalls of the
/// whole machine lengthen some calls; what computes is long in most.
fn typical(facts: &Facts<'_>) -> HashMap<ShapeId, f64> {
    let mut longest: HashMap<ShapeId, Vec<f64>> = HashMap::new();
    let mut calls = 0;
    for node in facts.forest.trees.iter().flat_map(|tree| tree.root..tree.end) {
        let shape = facts.shapes.of_node[node as usize];
        if shape == NO_SHAPE || !matches!(facts.node(node).class, Class::Server | Class::Internal) {
            continue;
        }
        calls += 1;
        if calls > MAX_EVENTS {
            break;
        }
        let mut most = 0;
        own_stretches(facts, node, |from, until| most = most.max(until - from));
        longest.entry(shape).or_default().push(most as f64);
    }
    let median = |(shape, mut all): (ShapeId, Vec<f64>)| {
        all.sort_unstable_by(f64::total_cmp);
        (shape, quantile(&all, 0.5))
    };
    longest.into_iter().map(median).collect()
}

/// Events of other requests within each stretch, and as many as the rate outside of all stretches would bring.
fn count(resource: ResourceId, process: &Process, by_shape: &mut BTreeMap<ShapeId, Counted>) {
    let (Some(first), Some(last)) = (process.events.first(), process.events.last()) else { return };
    let covered: i64 = process.stretches.iter().map(|s| s.until - s.from).sum();
    let outside = (last.0 - first.0 - covered).max(1) as f64;
    let rate = process.events.len() as f64 / outside;
    for stretch in &process.stretches {
        let counted = by_shape.entry(stretch.shape).or_default();
        counted.seen += within(&process.events, stretch).count() as f64;
        counted.expected += rate * (stretch.until - stretch.from) as f64;
        counted.stretches.push((resource, *stretch));
    }
}

/// What the requests of one endpoint lose, nanoseconds.
#[derive(Default)]
struct Lost {
    by_node: HashMap<NodeId, f64>,
    /// Before the root span: the process took them up late.
    by_arrival: HashMap<TreeId, f64>,
    trees: Vec<TreeId>,
    total_ns: f64,
}

/// The stretches of one process that block others, by start.
#[derive(Default)]
struct Blocked {
    stretches: Vec<Stretch>,
    longest_ns: i64,
}

impl Blocked {
    /// Of the time from `from` until `until`, what requests other than `tree` block.
    fn within(&self, from: i64, until: i64, tree: TreeId) -> i64 {
        let first = self.stretches.partition_point(|s| s.from < from - self.longest_ns);
        let here = self.stretches[first..].iter().take_while(|s| s.from < until).filter(|s| s.tree != tree);
        here.map(|s| (s.until.min(until) - s.from.max(from)).max(0)).sum()
    }
}

/// What other requests lose, by their endpoint.
fn victims(facts: &Facts<'_>, counted: &Counted) -> BTreeMap<EndpointId, Lost> {
    let mut blocked: HashMap<ResourceId, Blocked> = HashMap::new();
    for (resource, stretch) in &counted.stretches {
        let of = blocked.entry(*resource).or_default();
        of.stretches.push(*stretch);
        of.longest_ns = of.longest_ns.max(stretch.until - stretch.from);
    }
    for of in blocked.values_mut() {
        of.stretches.sort_unstable_by_key(|s| s.from);
    }
    let mut out: BTreeMap<EndpointId, Lost> = BTreeMap::new();
    for (id, tree) in (0..).zip(&facts.forest.trees) {
        let Some(endpoint) = facts.shapes.of_tree[id as usize] else { continue };
        let start = facts.began_ns(id);
        for node in tree.root..tree.end {
            let this = facts.node(node);
            let resource = facts.recording.spans.resources[this.row as usize];
            let Some(process) = blocked.get(&resource) else { continue };
            if node == tree.root {
                let late = before_the_root(facts, endpoint, id, process);
                out.entry(endpoint).or_default().add_arrival(id, late);
            }
            let mut lost = 0;
            own_stretches(facts, node, |from, until| lost += process.within(start + from, start + until, id));
            let lost = (lost as f64).min(most_lost(facts, node));
            out.entry(endpoint).or_default().add(id, node, lost);
        }
    }
    out.retain(|_, lost| lost.total_ns > 0.0);
    out
}

impl Lost {
    fn add(&mut self, tree: TreeId, node: NodeId, ns: f64) {
        if ns > 0.0 {
            self.by_node.insert(node, ns);
            self.total_ns += ns;
            self.trees.push(tree);
        }
    }

    fn add_arrival(&mut self, tree: TreeId, ns: f64) {
        if ns > 0.0 {
            self.by_arrival.insert(tree, ns);
            self.total_ns += ns;
            self.trees.push(tree);
        }
    }
}

/// Of a node's own time, at most so much was lost: a call to elsewhere may have gone on meanwhile, and only its end is
/// seen late; as long as the quickest, it takes in any case.
fn most_lost(facts: &Facts<'_>, node: NodeId) -> f64 {
    let this = facts.node(node);
    let id = facts.shapes.of_node[node as usize];
    if matches!(this.class, Class::Server | Class::Internal) {
        return f64::INFINITY;
    }
    if id == NO_SHAPE {
        return 0.0;
    }
    (this.end_ns - this.start_ns) as f64 - facts.shape(id).duration_p5_ns
}

/// Of the time that a request's caller waited before its root span, beyond what is usual for the endpoint, what was
/// blocked: it came while nobody could take it up.
fn before_the_root(facts: &Facts<'_>, endpoint: EndpointId, tree: TreeId, process: &Blocked) -> f64 {
    let usual = facts.load.endpoints.get(endpoint as usize).map_or(0.0, |joined| joined.overhead_ns);
    let unusual = facts.load.overhead_ns(endpoint, tree) - usual;
    if !(unusual > 0.0 && unusual.is_finite()) {
        return 0.0;
    }
    let begin = facts.began_ns(tree) + facts.node(facts.forest.trees[tree as usize].root).start_ns;
    #[expect(clippy::cast_possible_truncation, reason = "nanoseconds of one request")]
    let came = begin.saturating_sub(unusual as i64);
    process.within(came, begin, tree) as f64
}

fn candidate(facts: &Facts<'_>, id: ShapeId, counted: &Counted) -> Option<Candidate> {
    let lost = victims(facts, counted);
    let computes = facts.shape(id).endpoint;
    let share = |(endpoint, lost): (&EndpointId, &Lost)| {
        lost.total_ns / (facts.shapes.endpoint(*endpoint).root_ns as f64).max(1.0)
    };
    let most = lost.iter().map(share).fold(0.0, f64::max);
    // Of its time, which endpoint loses most; one whose few requests met it by chance comes last. Where requests that
    // compute wait for each other as well, others that lose about as much tell more.
    let order = |at: &(EndpointId, Lost)| {
        let rare = (at.1.trees.len() as u64) < facts.thresholds.min_traces;
        let share = share((&at.0, &at.1));
        (!rare, at.0 != computes && share >= ABOUT_AS_MUCH * most, share)
    };
    let (endpoint, mut worst) = lost.into_iter().max_by(|a, b| {
        let (one, other) = (order(a), order(b));
        (one.0, one.1).cmp(&(other.0, other.1)).then(one.2.total_cmp(&other.2)).then(b.0.cmp(&a.0))
    })?;
    worst.trees.dedup();
    let shape = facts.shape(id);
    let stretches = counted.stretches.len().max(1) as f64;
    let all_ns: f64 = counted.stretches.iter().map(|(_, s)| (s.until - s.from) as f64).sum();
    let mean_ms = all_ns / stretches / 1e6;
    let name = facts.name(shape.template);
    let title = format!("{mean_ms:.0} ms of computing in {name} stop everybody else in the process");
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.endpoint = endpoint;
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = None;
    candidate.place.resource = Some("event loop".to_owned());
    candidate.lines = vec![
        format!(
            "in {} stretches of computing {:.0} spans of other requests began or ended, {:.0} were to be expected",
            counted.stretches.len(),
            counted.seen,
            counted.expected
        ),
        format!(
            "{} requests of {} waited for it, {:.1} ms each",
            worst.trees.len(),
            facts.load.name(endpoint),
            worst.total_ns / 1e6 / worst.trees.len().max(1) as f64
        ),
    ];
    candidate.fix = Some(fix(facts, worst.by_node, worst.by_arrival));
    candidate.trees = worst.trees;
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Code,
        text: format!(
            "move the computing of {name} off the thread that serves requests (spawn_blocking, worker threads, a process pool), cut it into slices that yield, or run more processes"
        ),
        patch: None,
        undo: None,
    }];
    // Whoever else is in the process waits, however few of them the p95 of one endpoint shows.
    candidate.severity = (endpoint != computes).then_some(Severity::Info);
    candidate.confidence = 0.8;
    Some(candidate)
}

fn fix(facts: &Facts<'_>, lost: HashMap<NodeId, f64>, late: HashMap<TreeId, f64>) -> Fix {
    let mut shapes: Vec<ShapeId> = lost.keys().map(|n| facts.shapes.of_node[*n as usize]).collect();
    shapes.sort_unstable();
    shapes.dedup();
    shapes.retain(|s| *s != NO_SHAPE);
    let (lost, late) = (Arc::new(lost), Arc::new(late));
    let to = |times: f64| {
        let one = |of: &ShapeId| {
            let lost = Arc::clone(&lost);
            let less = move |case: &crate::simulate::Case| {
                case.ns - lost.get(&case.node).copied().unwrap_or(0.0) * times
            };
            Transform::Own { of: *of, to: Cost::Each(Arc::new(less)) }
        };
        let sooner = Transform::Arrival { sooner_ns: Arc::clone(&late), times };
        shapes.iter().map(one).chain([sooner]).collect::<Vec<_>>()
    };
    Fix {
        point: to(1.0),
        least: to(0.5),
        most: to(1.0),
        grade: Grade::B,
        assumption: "there is a CPU for the computing beside the one that serves requests".to_owned(),
        load: LoadEffect::Included,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a threshold in milliseconds")]
fn ms(ms: f64) -> i64 {
    (ms * 1e6) as i64
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn, gauge_series};
    use expect_test::expect;

    /// Requests come every 100 ms: a long one computes for 300 ms; the quick ones that arrive meanwhile wait for its end.
    fn drawing(blocked: bool) -> String {
        let mut out = String::new();
        for _ in 0..15 {
            out.push_str("api server \"GET /report\" 0..290\n\n");
            for waits in [190, 90] {
                let from = if blocked { waits } else { 1 };
                let to = from + 8;
                out.push_str(&format!("api server \"GET /ping\" 0..{}\n  api db \"SELECT 1\" {from}..{to}\n  api db \"SELECT 2\" {}..{}\n\n", to + 9, to + 1, to + 8));
            }
            out.push_str("repeat 3\napi server \"GET /ping\" 0..20\n  api db \"SELECT 1\" 1..8\n  api db \"SELECT 2\" 9..18\n\n");
        }
        out
    }

    #[test]
    fn computing_during_which_nothing_else_moves_is_one_finding() {
        check_rule(
            "event_loop_blocked",
            &drawn(&drawing(true)),
            &expect![[r#"
                event_loop_blocked GET /ping | 289 ms of computing in GET /report stop everybody else in the process | p95 207.0 -> 20.0 (20.0..112.2) B
            "#]],
        );
    }

    /// The answer of the database has come long since, but nobody can take it: only the call's end is late.
    #[test]
    fn calls_that_end_late_are_waits_for_the_loop_too() {
        let ping = |late: i64| {
            let (end, next) = (99 + late, 100 + late);
            format!(
                "api server \"GET /ping\" 0..{}\n  api db \"SELECT 1\" 92..{end}\n  api db \"SELECT 2\" {next}..{}\n\n",
                next + 10,
                next + 7
            )
        };
        let usual = format!("repeat 3\n{}", ping(0));
        let drawing = format!(
            "{}api server \"GET /report\" 0..290\n\nrepeat 3\napi internal \"pause\" 0..1\n\n{usual}",
            ping(292)
        )
        .repeat(15);
        check_rule(
            "event_loop_blocked",
            &drawn(&drawing),
            &expect![[r#"
            event_loop_blocked GET /ping | 289 ms of computing in GET /report stop everybody else in the process | p95 402.0 -> 113.0 (113.0..257.5) B
        "#]],
        );
    }

    #[test]
    fn computing_beside_which_others_go_on_is_none() {
        check_rule("event_loop_blocked", &drawn(&drawing(false)), &expect![[""]]);
    }

    #[test]
    fn what_the_runtime_tells_of_its_loop_is_believed() {
        let late = |seconds: f64| {
            let mut recording = drawn("repeat 20\napi server \"GET /a\" 0..90\n  api db \"SELECT 1\" 1..89");
            let api = [("service.name", "api")];
            recording.metrics.push(gauge_series("nodejs.eventloop.delay.p99", &api, &[(0, seconds)]));
            recording
        };
        check_rule(
            "event_loop_blocked",
            &late(0.18),
            &expect![[r#"
                event_loop_blocked GET /a | the event loop of api is up to 180 ms late (p99) | no prediction
            "#]],
        );
        check_rule("event_loop_blocked", &late(0.012), &expect![[""]]);
    }

    #[test]
    fn a_lonely_request_blocks_nobody() {
        check_rule(
            "event_loop_blocked",
            &drawn("repeat 60\napi server \"GET /report\" 0..90"),
            &expect![[""]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "event_loop_blocked",
            &drawn(""),
            &expect![[r#"
                not run: event_loop_blocked (traces)
            "#]],
        );
    }
}
