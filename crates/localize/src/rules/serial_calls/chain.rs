//! Calls that follow each other closely below one parent, in request after request, and what is known of the values
//! that they are given.

use crate::facts::Facts;
use crate::resolve::Class;
use crate::rules::patterns::effect::{Effect, effect, subjects};
use crate::rules::patterns::{nodes, values};
use crate::shape::{EndpointId, NO_SHAPE, Shape, ShapeId};
use crate::tree::{NONE, NodeId};
use hashbrown::{HashMap, HashSet};
use model::Sym;
use std::collections::BTreeMap;

/// Handlings that are looked at for one parent, evenly spread.
const MAX_INSTANCES: usize = 200;
/// Children of one handling that are looked at.
const MAX_CHILDREN: usize = 1_000;
/// Share of the handlings in which one call must follow the other closely; in the others the machine may have paused.
const CLOSELY: f64 = 0.5;
/// Endpoints from which on a call may be one that they have in common.
const MIN_COMMON: usize = 3;
/// Shapes below a function that are searched for calls; one with more is not taken for a read.
const MAX_BELOW_STEP: usize = 128;

/// Shapes in the order in which they are called, and the handlings that show them.
pub(super) struct Chain {
    pub(super) parent: ShapeId,
    pub(super) shapes: Vec<ShapeId>,
    pub(super) instances: Vec<Instance>,
}

/// One handling: the node of each shape of the chain.
pub(super) struct Instance {
    pub(super) nodes: Vec<NodeId>,
}

/// Calls by service and template.
pub(super) type Common = HashSet<(Sym, Sym)>;

/// Calls that most endpoints which enter a service make, three or more, before any other: a session, a user, rights.
/// What follows waits for them on purpose.
pub(super) fn common(facts: &Facts<'_>) -> Common {
    let mut endpoints: HashMap<(Sym, Sym), HashSet<EndpointId>> = HashMap::new();
    for (_, shape) in facts.shapes().filter(|(_, s)| s.class.is_call()) {
        endpoints.entry((shape.service, shape.template)).or_default().insert(shape.endpoint);
    }
    let mut entering: HashMap<Sym, HashSet<EndpointId>> = HashMap::new();
    for (_, shape) in facts.shapes() {
        entering.entry(shape.service).or_default().insert(shape.endpoint);
    }
    let most = |((service, _), by): &((Sym, Sym), HashSet<EndpointId>)| {
        by.len() >= MIN_COMMON && entering.get(service).is_some_and(|all| by.len() * 2 > all.len())
    };
    let mut common: Common = endpoints.into_iter().filter(most).map(|(call, _)| call).collect();
    // What an endpoint reads of its own before it shows that nobody waits for it on purpose.
    let late: Vec<(Sym, Sym)> = facts
        .shapes()
        .filter(|(_, s)| s.class.is_call() && common.contains(&(s.service, s.template)))
        .filter(|(_, s)| {
            s.groups
                .first()
                .and_then(|g| facts.nodes(g).first())
                .is_some_and(|n| comes_late(facts, *n, &common))
        })
        .map(|(_, s)| (s.service, s.template))
        .collect();
    for call in &late {
        common.remove(call);
    }
    common
}

/// Whether the caller makes another call before it that is none of the common ones.
fn comes_late(facts: &Facts<'_>, node: NodeId, common: &Common) -> bool {
    let parent = facts.node(node).parent;
    if parent == NONE {
        return false;
    }
    facts.forest.children(parent).take(MAX_CHILDREN).take_while(|child| *child < node).any(|child| {
        let call = facts.call(child);
        facts.node(child).class.is_call()
            && !facts.is_control(child)
            && !common.contains(&(call.service, call.template))
    })
}

/// All chains below a shape.
pub(super) fn below(facts: &Facts<'_>, parent: ShapeId, common: &Common) -> Vec<Chain> {
    let eligible = |id: &ShapeId| {
        let shape = facts.shape(*id);
        !common.contains(&(shape.service, shape.template)) && is_step(facts, shape, *id)
    };
    let steps: HashSet<ShapeId> = facts.shapes.children(parent).filter(eligible).collect();
    if steps.len() < 2 {
        return Vec::new();
    }
    let handlings: Vec<NodeId> =
        facts.shape(parent).groups.iter().flat_map(|g| facts.nodes(g)).copied().collect();
    let count = handlings.len().min(MAX_INSTANCES);
    let sampled = (0..count).map(|n| handlings[n * handlings.len() / count.max(1)]);
    let rows: Vec<Row> = sampled.map(|node| row(facts, node, &steps)).collect();
    let chains = linked(&rows, facts.thresholds.serial_trace_share);
    chains.into_iter().map(|shapes| with_instances(parent, shapes, &rows)).collect()
}

/// A read that is made about once a handling, or a function of the service that makes nothing but reads.
fn is_step(facts: &Facts<'_>, shape: &Shape, id: ShapeId) -> bool {
    let reads = match shape.class {
        Class::Db | Class::Http | Class::Rpc => effect(facts, shape) == Effect::Read,
        Class::Internal => {
            let calls = calls_of(facts, id);
            !calls.is_empty() && calls.iter().all(|c| is_plain_read(facts, facts.shape(*c)))
        }
        _ => false,
    };
    reads && shape.calls_mean < 1.5 && shape.path_share >= facts.thresholds.serial_path_share
}

fn is_plain_read(facts: &Facts<'_>, shape: &Shape) -> bool {
    shape.class != Class::Cache && effect(facts, shape) == Effect::Read
}

/// The calls of a step: itself, or the calls below a function up to the border of the service.
fn calls_of(facts: &Facts<'_>, id: ShapeId) -> Vec<ShapeId> {
    let mut out = Vec::new();
    let mut open = vec![id];
    let mut seen = 0;
    while let Some(at) = open.pop() {
        seen += 1;
        if seen + open.len() > MAX_BELOW_STEP {
            return Vec::new();
        }
        if facts.shape(at).class.is_call() {
            out.push(at);
        } else if facts.shape(at).class == Class::Internal {
            open.extend(facts.shapes.children(at).take(MAX_BELOW_STEP));
        }
    }
    out.sort_unstable();
    out
}

/// The children of one handling that matter: each with whether it follows the one before closely.
struct Row {
    steps: Vec<(ShapeId, NodeId, Follows)>,
}

/// How a step stands to the one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follows {
    Closely,
    /// After a pause, as a busy machine makes.
    Later,
    /// Beside it, or something else lies between.
    Not,
}

#[expect(clippy::cast_possible_truncation, reason = "a share of a duration")]
fn row(facts: &Facts<'_>, handling: NodeId, eligible: &HashSet<ShapeId>) -> Row {
    let t = facts.thresholds;
    let mut steps: Vec<(ShapeId, NodeId, Follows)> = Vec::new();
    // What lies between the step before and this one, and whether that may lie there.
    let (mut between_ns, mut broken) = (0_i64, true);
    let mut transaction = Transaction::default();
    for child in facts.forest.children(handling).take(MAX_CHILDREN) {
        let node = facts.node(child);
        let shape = facts.shapes.of_node[child as usize];
        if node.detached || shape == NO_SHAPE {
            continue;
        }
        if node.class == Class::Pool {
            between_ns += node.duration_ns();
        } else if node.class == Class::Db && facts.is_control(child) {
            between_ns += (node.end_ns - node.start_ns.max(ended(facts, &steps))).max(0);
            let open = nodes::is_open_after(facts, child, transaction.open);
            broken |= transaction.change(open, node.start_ns < ended(facts, &steps), &mut steps);
        } else if transaction.open && transaction.calls > 0 {
            // The second statement of one transaction: neither it nor what comes after follows anything freely.
            transaction.calls += u32::from(makes_calls(facts, child));
            broken = true;
        } else if eligible.contains(&shape) {
            transaction.calls += u32::from(transaction.open);
            transaction.has_step |= transaction.open;
            let follows = steps.last().map_or(Follows::Not, |(_, before, _)| {
                let before = facts.node(*before);
                let overlap = crate::critical::overlap_ns(facts.node(handling).duration_ns(), t);
                let allowed =
                    (before.duration_ns() as f64 * t.serial_gap_share).max(t.serial_gap_ms * 1e6) as i64;
                let gap = node.start_ns - before.end_ns;
                match gap {
                    _ if broken || gap < -overlap => Follows::Not,
                    _ if gap - between_ns <= allowed => Follows::Closely,
                    _ => Follows::Later,
                }
            });
            steps.push((shape, child, follows));
            (between_ns, broken) = (0, false);
        } else if node.class.is_call() || node.class == Class::Internal && node.subtree_end > child + 1 {
            transaction.calls += u32::from(transaction.open && makes_calls(facts, child));
            broken = true;
        }
    }
    Row { steps }
}

/// Whether a node is a call, or makes one.
fn makes_calls(facts: &Facts<'_>, node: NodeId) -> bool {
    let below = node..facts.node(node).subtree_end;
    below.take(MAX_BELOW_STEP).any(|at| facts.node(at).class.is_call() && !facts.is_control(at))
}

/// A transaction around reads: one that holds a single statement is that statement's own affair.
#[derive(Default)]
struct Transaction {
    open: bool,
    calls: u32,
    /// The last step is one of these calls.
    has_step: bool,
}

impl Transaction {
    /// After a statement that may begin or end it; `within`: that statement ran within the last step, as mappers make
    /// it. Returns whether what was seen so far ends there.
    fn change(&mut self, open: bool, within: bool, steps: &mut Vec<(ShapeId, NodeId, Follows)>) -> bool {
        let many = self.calls > 1;
        if self.open && !open && many && self.has_step {
            steps.pop();
        }
        if open != self.open {
            self.has_step = open && within;
            self.calls = u32::from(self.has_step);
        }
        self.open = open;
        many
    }
}

/// When the last step ended.
fn ended(facts: &Facts<'_>, steps: &[(ShapeId, NodeId, Follows)]) -> i64 {
    steps.last().map_or(i64::MIN / 2, |(_, node, _)| facts.node(*node).end_ns)
}

/// Shapes that follow each other in nearly all rows that have either.
fn linked(rows: &[Row], share: f64) -> Vec<Vec<ShapeId>> {
    let mut seen: BTreeMap<ShapeId, usize> = BTreeMap::new();
    // Of each pair: how often one follows the other, and how often closely.
    let mut pairs: BTreeMap<(ShapeId, ShapeId), (usize, usize)> = BTreeMap::new();
    for row in rows {
        for (at, (shape, _, follows)) in row.steps.iter().enumerate() {
            *seen.entry(*shape).or_default() += 1;
            if *follows != Follows::Not && at > 0 {
                let count = pairs.entry((row.steps[at - 1].0, *shape)).or_default();
                count.0 += 1;
                count.1 += usize::from(*follows == Follows::Closely);
            }
        }
    }
    let next: BTreeMap<ShapeId, ShapeId> = pairs
        .iter()
        .filter(|((a, b), (all, closely))| {
            let seen = seen[a].max(seen[b]) as f64;
            a != b && *all as f64 >= share * seen && *closely as f64 >= CLOSELY * seen
        })
        .map(|((a, b), _)| (*a, *b))
        .collect();
    let inner: HashSet<ShapeId> = next.values().copied().collect();
    let heads = next.keys().filter(|shape| !inner.contains(*shape));
    let chain = |head: &ShapeId| {
        let mut chain = vec![*head];
        while let Some(after) = chain.last().and_then(|last| next.get(last)) {
            if chain.contains(after) {
                break;
            }
            chain.push(*after);
        }
        chain
    };
    heads.map(chain).collect()
}

fn with_instances(parent: ShapeId, shapes: Vec<ShapeId>, rows: &[Row]) -> Chain {
    let of_row = |row: &Row| {
        let by_shape: HashMap<ShapeId, NodeId> =
            row.steps.iter().map(|(shape, node, _)| (*shape, *node)).collect();
        let nodes: Option<Vec<NodeId>> = shapes.iter().map(|shape| by_shape.get(shape).copied()).collect();
        nodes.map(|nodes| Instance { nodes })
    };
    let instances = rows.iter().filter_map(of_row).collect();
    Chain { parent, shapes, instances }
}

/// Whether one read is a page of a list and the other counts the list: frameworks make the two as one step.
pub(super) fn is_total(facts: &Facts<'_>, one: ShapeId, other: ShapeId) -> bool {
    let (one, other) = (facts.shape(one), facts.shape(other));
    let template = |s: &Shape| facts.name(s.template).to_ascii_uppercase();
    let counts = |s: &Shape| {
        let text = template(s);
        text.strip_prefix("SELECT").is_some_and(|rest| rest.trim_start().starts_with("COUNT("))
    };
    let about = |s: &Shape| subjects(Class::Db, facts.name(s.template));
    let both = one.class == Class::Db && other.class == Class::Db;
    both && counts(one) != counts(other) && about(one) == about(other)
}

/// Who is called: a host, a service, a database.
pub(super) fn callee(facts: &Facts<'_>, id: ShapeId) -> String {
    let shape = facts.shape(id);
    let template = facts.name(shape.template);
    let server = facts.shapes.children(id).map(|c| facts.shape(c)).find(|c| c.class == Class::Server);
    match (shape.class, server) {
        (_, Some(server)) => facts.name(server.service).to_owned(),
        (Class::Http, None) => {
            let place = template.split_once(' ').map_or(template, |(_, place)| place);
            place.split('/').next().unwrap_or("").to_owned()
        }
        (Class::Rpc, None) => template.rsplit_once('/').map_or(template, |(service, _)| service).to_owned(),
        (Class::Internal, None) => {
            let calls = calls_of(facts, id);
            calls.first().map(|c| callee(facts, *c)).unwrap_or_default()
        }
        _ => facts.name(shape.peer).to_owned(),
    }
}

impl Chain {
    /// Whether the values given to the call at `at` were known before the one at `start` began. `None` where the
    /// spans do not tell.
    pub(super) fn was_known(&self, facts: &Facts<'_>, start: usize, at: usize) -> Option<bool> {
        match self.by_values(facts, start, at) {
            None => self.by_keys(facts, start, at),
            known => known,
        }
    }

    fn by_values(&self, facts: &Facts<'_>, start: usize, at: usize) -> Option<bool> {
        // What is left of the call's values without those known before; the known ones; by handling.
        let mut left: Vec<Vec<String>> = Vec::new();
        let mut contexts: HashSet<Vec<String>> = HashSet::new();
        for instance in &self.instances {
            let mut before = values::of_request(facts, facts.forest.entry(instance.nodes[at]));
            for node in &instance.nodes[..=start] {
                before.extend(given(facts, *node).unwrap_or_default());
            }
            let values = given(facts, instance.nodes[at])?;
            left.push(values.into_iter().filter(|v| !before.iter().any(|b| same(b, v))).collect());
            contexts.insert(before);
        }
        let all = left.len().max(1) as f64;
        let share = |count: usize| count as f64 / all >= facts.thresholds.serial_trace_share;
        if share(left.iter().filter(|l| l.is_empty()).count()) {
            return Some(true);
        }
        // A value that never changes while the requests do is written in the code.
        let constant = left.iter().filter(|l| Some(*l) == left.first()).count();
        Some(share(constant) && contexts.len() > 1)
    }

    fn by_keys(&self, facts: &Facts<'_>, start: usize, at: usize) -> Option<bool> {
        let of_step = |id: ShapeId| -> Option<Vec<String>> {
            let mut out = Vec::new();
            for call in calls_of(facts, id) {
                let shape = facts.shape(call);
                out.extend((shape.class == Class::Db).then(|| values::keys(facts.name(shape.template)))??);
            }
            Some(out)
        };
        let keys = of_step(self.shapes[at])?;
        let before: Vec<String> =
            self.shapes[..=start].iter().filter_map(|id| of_step(*id)).flatten().collect();
        Some(keys.iter().all(|key| before.contains(key)))
    }

    /// Whether two statements ran on a connection that was taken before the first and not again before the second.
    pub(super) fn on_one_connection(&self, facts: &Facts<'_>, one: ShapeId, other: ShapeId) -> bool {
        let is_db = |id| facts.shape(id).class == Class::Db;
        let place = |id| self.shapes.iter().position(|s| *s == id);
        let (Some(one_at), Some(other_at), true) = (place(one), place(other), is_db(one) && is_db(other))
        else {
            return false;
        };
        let Some(instance) = self.instances.first() else { return false };
        let (first, second) = (instance.nodes[one_at], instance.nodes[other_at]);
        let pools =
            facts.forest.children(facts.node(first).parent).filter(|n| facts.node(*n).class == Class::Pool);
        let (mut before, mut between) = (false, false);
        for pool in pools {
            before |= pool < first;
            between |= pool > first && pool < second;
        }
        before && !between
    }
}

/// Values given to a step: to all calls of it. `None` where one does not tell.
fn given(facts: &Facts<'_>, node: NodeId) -> Option<Vec<String>> {
    if facts.node(node).class.is_call() {
        return values::of_call(facts, node);
    }
    let mut out = Vec::new();
    let mut at = node + 1;
    while at < facts.node(node).subtree_end {
        let this = facts.node(at);
        if this.class.is_call() {
            if !facts.is_control(at) {
                out.extend(values::of_call(facts, at)?);
            }
            at = this.subtree_end;
        } else {
            at += 1;
        }
    }
    Some(out)
}

/// `id=7` and `7` name the same value.
fn same(known: &str, value: &str) -> bool {
    let bare = |text: &str| text.split_once('=').map_or(text, |(_, value)| value).to_owned();
    known == value || bare(known) == bare(value)
}
