//! `worker_queueing`: requests or messages lie in a queue before anybody takes them up.

use super::{Candidate, Fix, LoadEffect, Rule, Signal};
use crate::facts::Facts;
use crate::links::Link;
use crate::resolve::Class;
use crate::shape::{EndpointId, NO_SHAPE, Shape, ShapeId, quantile};
use crate::simulate::{Cost, Transform};
use crate::tree::{NodeId, TreeId};
use hashbrown::HashMap;
use model::{Grade, Remedy, RemedyKind, Severity, Sym};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const RULE: Rule = Rule {
    name: "worker_queueing",
    needs: &[Signal::Traces],
    why: "Time before the first line of code runs shows in no profile of the code; more workers, or shorter requests, are what shortens it.",
    how: "From sending to the start of the server's span pass 10 ms or more at p95 beyond the quickest twentieth, and 10 % of the request: seen by the load, or by a client in the traces whose clock needed no mending. Or messages lie longer in their queue, at p95 a second or more, than the work on them takes. Not where the CPU is full: then it is `cpu_saturation`.",
    predicts: "Each request is taken up as soon as the quickest twentieth. For messages nothing: nobody's request waits.",
    run,
};

/// Further kinds of messages that are named.
const MAX_KINDS: usize = 5;
/// The quickest twentieth is taken for the way there.
const WAY: f64 = 0.05;

fn run(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut out: Vec<Candidate> = messages(facts);
    if facts.saturation.is_cpu_full(facts.thresholds) {
        return out;
    }
    let sent = sent(facts);
    if !sent.is_empty() {
        out.extend(facts.endpoints().filter_map(|(id, _)| under_load(facts, id, &sent)));
    }
    let mut by_callee: BTreeMap<(EndpointId, Sym), Vec<ShapeId>> = BTreeMap::new();
    // Where clocks had to be mended, the time before the callee's span is an estimate.
    if facts.forest.ingest.realigned == 0 {
        for (id, shape) in facts.shapes().filter(|(_, s)| matches!(s.class, Class::Http | Class::Rpc)) {
            if let Some(callee) = callee(facts, id) {
                let service = facts.shape(callee).service;
                by_callee.entry((shape.endpoint, service)).or_default().push(id);
            }
        }
    }
    out.extend(by_callee.values().filter_map(|shapes| at_callee(facts, shapes)));
    out
}

fn callee(facts: &Facts<'_>, client: ShapeId) -> Option<ShapeId> {
    facts.shapes.children(client).find(|c| facts.shape(*c).class == Class::Server)
}

/// Waits of single calls or requests, nanoseconds, beyond the way there.
struct Waits {
    sorted: Vec<f64>,
    way_ns: f64,
}

impl Waits {
    fn of(all: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = all.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let way_ns = quantile(&sorted, WAY);
        Self { sorted, way_ns }
    }

    fn beyond_ms(&self, q: f64) -> f64 {
        (quantile(&self.sorted, q) - self.way_ns) / 1e6
    }

    fn mean_ns(&self) -> f64 {
        self.sorted.iter().map(|w| w - self.way_ns).sum::<f64>() / self.sorted.len().max(1) as f64
    }

    fn are_long(&self, facts: &Facts<'_>, whole_ns: f64) -> bool {
        let t = facts.thresholds;
        self.sorted.len() as u64 >= t.queue_calls
            && self.beyond_ms(0.95) >= t.queue_wait_ms
            && self.mean_ns() >= t.queue_wait_share * whole_ns
    }
}

/// By trace: when the load sent the request, Unix nanoseconds, and how long the response took from when it was due.
type Sent = HashMap<u128, (u64, u64)>;

/// Of a uniform sample: the slowest would make every queue look long.
fn sent(facts: &Facts<'_>) -> Sent {
    let requests = facts.recording.requests.iter();
    let sampled = requests.filter(|r| r.trace_id != 0 && r.error.is_none() && !r.slowest);
    let times = sampled.map(|request| {
        let late = request.response_ns.saturating_sub(request.service_ns);
        (request.trace_id, (request.due_ns.saturating_add(late), request.response_ns))
    });
    times.collect()
}

/// From when the load sent a request to when its root span began.
fn under_load(facts: &Facts<'_>, endpoint: EndpointId, by_trace: &Sent) -> Option<Candidate> {
    let mut waits: HashMap<TreeId, f64> = HashMap::new();
    let mut whole = 0.0;
    for &id in &facts.shapes.endpoint(endpoint).trees {
        let tree = &facts.forest.trees[id as usize];
        let Some((sent, response)) = by_trace.get(&tree.trace_id) else { continue };
        let wait = tree.start_ns as f64 - *sent as f64;
        // A span that begins before it was sent, or after the reply: two clocks.
        if *sent == 0 || wait < 0.0 || wait > *response as f64 {
            return None;
        }
        whole += *response as f64;
        waits.insert(id, wait);
    }
    let all = Waits::of(waits.values().copied());
    if !all.are_long(facts, whole / waits.len().max(1) as f64) {
        return None;
    }
    let (root, shape) = facts.shapes().find(|(_, s)| s.endpoint == endpoint && s.parent.is_none())?;
    let mut candidate = waiting(facts, root, shape, &all);
    let way = all.way_ns;
    let sooner: Arc<HashMap<TreeId, f64>> =
        Arc::new(waits.into_iter().map(|(tree, wait)| (tree, (wait - way).max(0.0))).collect());
    let to = |times: f64| vec![Transform::Arrival { sooner_ns: Arc::clone(&sooner), times }];
    candidate.fix = Some(fix(to(1.0), to(0.5)));
    Some(candidate)
}

/// From when clients in the traces sent a request to one service to when its span began. All these calls are explained
/// by it where most of their time is.
fn at_callee(facts: &Facts<'_>, clients: &[ShapeId]) -> Option<Candidate> {
    let mut waits: HashMap<NodeId, f64> = HashMap::new();
    let (mut calls_ns, mut per_request) = (0.0, 0.0);
    for shape in clients.iter().map(|id| facts.shape(*id)) {
        per_request += shape.calls as f64 / facts.endpoint_of(shape).trees.len().max(1) as f64;
        for &node in shape.groups.iter().flat_map(|g| facts.nodes(g)) {
            let server = facts.forest.children(node).find(|c| facts.node(*c).class == Class::Server);
            if let Some(server) = server {
                calls_ns += facts.node(node).duration_ns() as f64;
                waits.insert(node, (facts.node(server).start_ns - facts.node(node).start_ns) as f64);
            }
        }
    }
    let all = Waits::of(waits.values().copied());
    let heaviest = clients
        .iter()
        .copied()
        .max_by(|a, b| facts.shape(*a).path_share.total_cmp(&facts.shape(*b).path_share).then(b.cmp(a)))?;
    let shape = facts.shape(heaviest);
    let endpoint = facts.endpoint_of(shape);
    let whole = endpoint.root_ns as f64 / endpoint.trees.len().max(1) as f64 / per_request.max(1.0);
    if !all.are_long(facts, whole) {
        return None;
    }
    let mut candidate = waiting(facts, callee(facts, heaviest)?, shape, &all);
    let waited = all.mean_ns() * all.sorted.len() as f64 / calls_ns.max(1.0);
    let share: f64 = clients.iter().map(|id| facts.shape(*id).path_share).sum();
    candidate.share_of_critical_path = Some((waited * share).min(1.0));
    if waited >= facts.thresholds.symptom_share {
        candidate.claims = clients.to_vec();
    }
    let way = all.way_ns;
    let waits = Arc::new(waits);
    let to = |times: f64| {
        let one = |of: &ShapeId| {
            let waits = Arc::clone(&waits);
            let less = move |case: &crate::simulate::Case| {
                case.ns - waits.get(&case.node).map_or(0.0, |wait| (wait - way).max(0.0)) * times
            };
            Transform::Own { of: *of, to: Cost::Each(Arc::new(less)) }
        };
        clients.iter().map(one).collect::<Vec<_>>()
    };
    candidate.fix = Some(fix(to(1.0), to(0.5)));
    Some(candidate)
}

fn waiting(facts: &Facts<'_>, entry: ShapeId, shape: &Shape, waits: &Waits) -> Candidate {
    let service = facts.name(facts.shape(entry).service).to_owned();
    let p95 = waits.beyond_ms(0.95);
    let title = format!("requests wait {p95:.0} ms (p95) before {service} takes them up");
    let mut candidate = Candidate::on_shape(facts, entry, title);
    candidate.endpoint = shape.endpoint;
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.place.resource = Some("workers".to_owned());
    let cpu = facts.saturation.cpu();
    candidate.lines = vec![format!(
        "{:.1} ms at the median and {p95:.1} ms at p95 between sending and the first span of {service}, {:.1} ms of way taken off",
        waits.beyond_ms(0.5),
        waits.way_ns / 1e6
    )];
    candidate.lines.push(match cpu {
        Some(busy) => {
            format!("the CPU is {:.0} % busy: it is workers or a limit that are short", busy * 100.0)
        }
        None => "no CPU figures: a full CPU may be behind it".to_owned(),
    });
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Configuration,
        text: "give it more workers, threads or accept slots (see what its server calls them), shorten what holds them, and bound the queue so that overload is refused early"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = if cpu.is_some() { 0.75 } else { 0.55 };
    candidate
}

fn fix(point: Vec<Transform>, least: Vec<Transform>) -> Fix {
    Fix {
        most: point.clone(),
        point,
        least,
        grade: Grade::B,
        assumption: "there is a free worker for each request".to_owned(),
        load: LoadEffect::Included,
    }
}

/// Consumers that take messages up late.
fn messages(facts: &Facts<'_>) -> Vec<Candidate> {
    let mut by_shape: BTreeMap<ShapeId, Vec<&Link>> = BTreeMap::new();
    for link in &facts.links {
        let shape = facts.shapes.of_node[link.consumer as usize];
        if shape != NO_SHAPE {
            by_shape.entry(shape).or_default().push(link);
        }
    }
    let mut by_worker: BTreeMap<Sym, Vec<(f64, Candidate)>> = BTreeMap::new();
    for (id, links) in by_shape {
        if let Some(candidate) = lying(facts, id, &links) {
            let waited = links.iter().map(|l| l.wait_ns as f64).sum::<f64>();
            by_worker.entry(facts.shape(id).service).or_default().push((waited, candidate));
        }
    }
    by_worker.into_values().filter_map(of_worker).collect()
}

/// Messages of all kinds wait for the same workers: one finding, on the kind that waits longest in all.
fn of_worker(mut kinds: Vec<(f64, Candidate)>) -> Option<Candidate> {
    kinds.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.title.cmp(&b.1.title)));
    let others: Vec<String> = kinds
        .iter()
        .skip(1)
        .take(MAX_KINDS)
        .map(|(_, c)| c.title.replacen("messages wait ", "", 1))
        .collect();
    let (_, mut first) = kinds.into_iter().next()?;
    if !others.is_empty() {
        first.lines.push(format!("the same workers let others wait as well: {}", others.join(", ")));
    }
    Some(first)
}

fn lying(facts: &Facts<'_>, id: ShapeId, links: &[&Link]) -> Option<Candidate> {
    let t = facts.thresholds;
    let shape = facts.shape(id);
    let mut waits: Vec<f64> = links.iter().map(|l| l.wait_ns as f64).collect();
    waits.sort_unstable_by(f64::total_cmp);
    let p95 = quantile(&waits, 0.95);
    let is_one = links.len() as u64 >= t.queue_calls
        && waits.first().is_some_and(|w| *w >= 0.0)
        && p95 >= t.message_wait_s * 1e9
        && quantile(&waits, 0.5) > shape.duration_p50_ns;
    if !is_one {
        return None;
    }
    let name = facts.name(shape.template);
    let title = format!("messages wait {:.1} s (p95) before `{name}`", p95 / 1e9);
    let mut candidate = Candidate::on_shape(facts, id, title);
    candidate.claims.clear();
    candidate.calls_per_request = None;
    candidate.share_of_critical_path = None;
    candidate.place.resource = Some("queue".to_owned());
    candidate.severity = Some(Severity::Warning);
    candidate.lines = vec![format!(
        "{} messages: {:.1} s in the queue at the median, {:.1} ms of work each",
        links.len(),
        quantile(&waits, 0.5) / 1e9,
        shape.duration_p50_ns / 1e6
    )];
    let mut senders: Vec<&str> = links
        .iter()
        .filter_map(|l| facts.shapes.of_tree[l.producer_tree as usize])
        .map(|endpoint| facts.load.name(endpoint))
        .collect();
    senders.sort_unstable();
    senders.dedup();
    if !senders.is_empty() {
        candidate.lines.push(format!("sent by {}", senders.join(", ")));
    }
    candidate.remedies = vec![Remedy {
        kind: RemedyKind::Configuration,
        text: "add consumers (and partitions), take several messages at a time, or make the work on each shorter; watch the queue's age rather than its length"
            .to_owned(),
        patch: None,
        undo: None,
    }];
    candidate.confidence = 0.8;
    Some(candidate)
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_rule, drawn};
    use expect_test::expect;
    use model::{Recording, RequestSample, fixture};

    const CLIENT: &str = r#"
        repeat 20
        web server "GET /page" 0..60
          web http "GET http://api/items" 5..15
            api server "GET /items" 6..14

        repeat 20
        web server "GET /page" 0..160
          web http "GET http://api/items" 5..115
            api server "GET /items" 106..114
        "#;

    #[test]
    fn calls_that_lie_before_the_callee_begins_are_one_finding() {
        check_rule(
            "worker_queueing",
            &drawn(CLIENT),
            &expect![[r#"
                worker_queueing GET /page | requests wait 100 ms (p95) before api takes them up | p95 160.0 -> 60.0 (60.0..110.0) B
            "#]],
        );
    }

    #[test]
    fn a_slow_callee_and_a_long_way_are_none() {
        check_rule("worker_queueing", &drawn(&CLIENT.replace("106..114", "6..114")), &expect![[""]]);
        check_rule(
            "worker_queueing",
            &drawn(
                &CLIENT.replace("0..60", "0..160").replace("5..15", "5..115").replace("6..14", "106..114"),
            ),
            &expect![[""]],
        );
    }

    fn under_load(wait_ms: u64) -> Recording {
        let mut recording = drawn("repeat 40\napi server \"GET /a\" 0..20\n  api db \"SELECT 1\" 1..19");
        recording.run.operations = vec!["GET /a".to_owned()];
        for trace in 1..=40_u64 {
            let start = fixture::EPOCH_NS + trace * 100_000_000;
            let wait = if trace.is_multiple_of(3) { 1_000_000 } else { wait_ms * 1_000_000 };
            recording.requests.push(RequestSample {
                operation: 0,
                due_ns: start - wait,
                response_ns: wait + 21_000_000,
                service_ns: wait + 21_000_000,
                status: 200,
                error: None,
                received_bytes: 0,
                sent_bytes: 0,
                trace_id: u128::from(trace),
                slowest: false,
                phases: model::RequestPhases::default(),
            });
        }
        recording
    }

    #[test]
    fn requests_of_the_load_that_wait_to_be_taken_up_are_one_finding() {
        check_rule(
            "worker_queueing",
            &under_load(60),
            &expect![[r#"
                worker_queueing GET /a | requests wait 59 ms (p95) before api takes them up | p95 81.0 -> 22.0 (22.0..51.5) B
            "#]],
        );
        check_rule("worker_queueing", &under_load(2), &expect![[""]]);
    }

    #[test]
    fn messages_that_lie_longer_than_their_work_takes_are_one_finding() {
        let drawing = r#"
            repeat 20
            api server "POST /orders" 0..20
              api producer "orders publish" 5..8 messaging.system=kafka
                mail consumer "orders process" 2400..2450 messaging.system=kafka
            "#;
        check_rule(
            "worker_queueing",
            &drawn(drawing),
            &expect![[r#"
                worker_queueing orders process | messages wait 2.4 s (p95) before `orders process` | no prediction
            "#]],
        );
        check_rule("worker_queueing", &drawn(&drawing.replace("2400..2450", "9..60")), &expect![[""]]);
    }

    #[test]
    fn kinds_of_messages_that_wait_for_the_same_workers_are_one_finding() {
        let drawing = r#"
            repeat 20
            api server "POST /orders" 0..20
              api producer "orders publish" 5..8 messaging.system=redis
                mail consumer "orders process" 2400..2450 messaging.system=redis
              api producer "mails publish" 10..12 messaging.system=redis
                mail consumer "mails process" 1400..1450 messaging.system=redis
            "#;
        check_rule(
            "worker_queueing",
            &drawn(drawing),
            &expect![[r#"
                worker_queueing orders process | messages wait 2.4 s (p95) before `orders process` | no prediction
            "#]],
        );
    }

    #[test]
    fn without_traces_the_rule_does_not_run() {
        check_rule(
            "worker_queueing",
            &drawn(""),
            &expect![[r#"
                not run: worker_queueing (traces)
            "#]],
        );
    }
}
