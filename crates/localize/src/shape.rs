//! Pass 5: the same call in many requests is one shape. A shape is an endpoint and the path of (service, class,
//! template) from the root to the call; figures are kept per shape, so that 8,000 traces with one defect are one case.

use crate::critical::Critical;
use crate::resolve::{Calls, Class};
use crate::tree::{Forest, NONE, NodeId, Tree, TreeId};
use hashbrown::{HashMap, HashSet};
use model::Sym;
use std::ops::Range;

/// The position of a shape in [`Shapes::all`].
pub type ShapeId = u32;
/// The position of an endpoint in [`Shapes::endpoints`].
pub type EndpointId = u32;

/// Beyond so many shapes, further ones are not told apart: the templates hold values that we cannot recognise.
const MAX_SHAPES: usize = 200_000;
/// A weighted sample has so many places for each tree, and at least so many in all: enough for a p99.
const SPREAD: usize = 16;
const MIN_SPREAD: usize = 1_000;
/// The shape of what found no room.
pub const NO_SHAPE: ShapeId = u32::MAX;

/// A kind of request, by the entry that answers it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// As the traces name it; the load's name is in [`crate::load::Load`].
    pub template: Sym,
    pub service: Sym,
    pub class: Class,
    /// Its trees, in order of time.
    pub trees: Vec<TreeId>,
    /// Sum of its roots' durations.
    pub root_ns: i64,
    /// Requests that its trees stand for: more than trees where a sampler told what it left out.
    pub requests: f64,
}

impl Endpoint {
    /// At most `most` trees, evenly spread over the requests that they stand for: one that stands for many comes
    /// several times, so that quantiles of the sample are those of the requests.
    #[must_use]
    pub fn sample(&self, weights: &[f32], most: usize) -> Vec<TreeId> {
        let weight = |tree: &TreeId| weights.get(*tree as usize).map_or(1.0, |w| f64::from(*w));
        let heavy = self.requests > self.trees.len() as f64;
        let spread = self.trees.len().saturating_mul(SPREAD).max(MIN_SPREAD);
        let count = (if heavy { spread } else { self.trees.len() }).min(most);
        let step = self.requests / count.max(1) as f64;
        let mut out = Vec::with_capacity(count);
        let (mut passed, mut next) = (0.0, step / 2.0);
        for tree in &self.trees {
            passed += weight(tree);
            while next < passed && out.len() < count {
                out.push(*tree);
                next += step;
            }
        }
        out
    }
}

/// The calls of one shape while one request was handled by one service.
#[derive(Clone, Debug)]
pub struct Group {
    pub tree: TreeId,
    /// The entry of the service within which the calls were made.
    pub entry: NodeId,
    /// Where the nodes lie in [`Shapes::members`], by start.
    pub members: Range<usize>,
    /// Time on the critical path of the calls and of all below them.
    pub path_ns: i64,
}

impl Group {
    #[must_use]
    pub fn calls(&self) -> usize {
        self.members.len()
    }
}

/// One shape with its figures. Durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Shape {
    /// `None` for a root.
    pub parent: Option<ShapeId>,
    /// Shapes directly below, in order of first sight.
    pub children: Vec<ShapeId>,
    pub endpoint: EndpointId,
    pub service: Sym,
    pub class: Class,
    pub template: Sym,
    pub peer: Sym,
    /// Depth below the root.
    pub depth: u32,
    /// Its groups, in order of trees.
    pub groups: Vec<Group>,
    /// Requests that have it at all.
    pub traces: u32,
    pub calls: u64,
    /// Calls per group, mean and largest.
    pub calls_mean: f64,
    pub calls_max: usize,
    /// Mean share of the critical path (with all below), over all requests of the endpoint ...
    pub path_share: f64,
    /// ... and over the slowest twentieth of them.
    pub path_share_tail: f64,
    /// Mean share of the calls' own time on the critical path: without what lies below.
    pub own_share: f64,
    /// Of single calls: 5th percentile, median, 95th percentile.
    pub duration_p5_ns: f64,
    pub duration_p50_ns: f64,
    pub duration_p95_ns: f64,
    /// Median time from one call's end to the next one's start within a group; 0 without two in a row.
    pub gap_p50_ns: f64,
    /// Share of consecutive calls of a group that overlap.
    pub overlap_share: f64,
    /// Calls whose parameters are known, and distinct parameters among them.
    pub params_known: u64,
    pub params_distinct: u64,
    /// Mean rows and bytes of the calls that tell; `None` where none does.
    pub rows_mean: Option<f64>,
    pub bytes_mean: Option<f64>,
    pub errors: u64,
}

impl Shape {
    /// Share of the endpoint's requests with at least `calls` in one group.
    #[must_use]
    pub fn share_with(&self, calls: usize, endpoint: &Endpoint) -> f64 {
        let mut trees: Vec<TreeId> =
            self.groups.iter().filter(|g| g.calls() >= calls).map(|g| g.tree).collect();
        trees.dedup();
        trees.len() as f64 / endpoint.trees.len().max(1) as f64
    }
}

/// All shapes and endpoints.
#[derive(Default)]
pub struct Shapes {
    pub all: Vec<Shape>,
    pub endpoints: Vec<Endpoint>,
    /// Nodes by group, see [`Group::members`].
    pub members: Vec<NodeId>,
    /// Shape of each node; [`NO_SHAPE`] outside endpoints.
    pub of_node: Vec<ShapeId>,
    /// Endpoint of each tree; `None` where the root is no entry.
    pub of_tree: Vec<Option<EndpointId>>,
    /// By tree: requests that it stands for.
    pub weights: Vec<f32>,
    /// Nodes that found no room among the shapes.
    pub unshaped: u64,
    /// Spans that stand alone beside a service's requests, and belong to no endpoint.
    pub lone: u64,
}

impl Shapes {
    /// A driver's span directly below a mapper's of the same statement: one call, seen twice.
    #[must_use]
    pub fn is_lower_layer(&self, shape: &Shape) -> bool {
        let same = |above: &Shape| {
            (above.service, above.class, above.template) == (shape.service, shape.class, shape.template)
        };
        shape.parent.is_some_and(|above| same(self.shape(above)))
    }

    #[must_use]
    pub fn shape(&self, id: ShapeId) -> &Shape {
        &self.all[id as usize]
    }

    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> &Endpoint {
        &self.endpoints[id as usize]
    }

    #[must_use]
    pub fn nodes(&self, group: &Group) -> &[NodeId] {
        &self.members[group.members.clone()]
    }

    /// Shapes directly below one, in order of first sight.
    pub fn children(&self, id: ShapeId) -> impl Iterator<Item = ShapeId> + '_ {
        self.shape(id).children.iter().copied()
    }

    /// Whether a shape is another or lies below it.
    #[must_use]
    pub fn is_within(&self, mut id: ShapeId, above: ShapeId) -> bool {
        loop {
            if id == above {
                return true;
            }
            let Some(parent) = self.shape(id).parent else { return false };
            id = parent;
        }
    }
}

/// Shapes of all trees with an endpoint. `variants`: by tree, see [`crate::variants`].
#[must_use]
pub fn shapes(forest: &Forest, calls: &Calls, critical: &Critical, variants: &[Option<Sym>]) -> Shapes {
    let mut builder = Builder {
        forest,
        calls,
        critical,
        out: Shapes { of_node: vec![NO_SHAPE; forest.nodes.len()], ..Shapes::default() },
        endpoints: HashMap::new(),
        known: HashMap::new(),
    };
    builder.find_endpoints(variants);
    builder.name_nodes();
    builder.group();
    builder.measure();
    builder.out
}

/// The span that names the endpoint: a caller's own span above a single entry does not.
pub(crate) fn entry(forest: &Forest, root: NodeId) -> NodeId {
    let mut at = root;
    while matches!(forest.node(at).class, Class::Http | Class::Rpc | Class::Browser) {
        let mut children = forest.children(at);
        match (children.next(), children.next()) {
            (Some(only), None) => at = only,
            _ => return root,
        }
    }
    at
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    parent: ShapeId,
    endpoint: EndpointId,
    service: Sym,
    class: Class,
    template: Sym,
}

/// Of a service's time: what single spans of one name take beside its requests.
const LONE_SHARE: f64 = 0.01;

/// One span alone that is no request by its kind.
fn is_lone(forest: &Forest, tree: &Tree) -> bool {
    let class = forest.node(tree.root).class;
    tree.end == tree.root + 1 && matches!(class, Class::Internal | Class::Http | Class::Rpc)
}

struct Builder<'a> {
    forest: &'a Forest,
    calls: &'a Calls,
    critical: &'a Critical,
    out: Shapes,
    endpoints: HashMap<(Sym, Sym), EndpointId>,
    known: HashMap<Key, ShapeId>,
}

impl Builder<'_> {
    fn find_endpoints(&mut self, variants: &[Option<Sym>]) {
        let aside = self.aside();
        for (id, tree) in (0..).zip(&self.forest.trees) {
            let entry = entry(self.forest, tree.root);
            let node = self.forest.node(entry);
            let call = &self.calls.rows[node.row as usize];
            // The half of a shared span that tells neither name nor time.
            let nothing = call.template == Sym::EMPTY && self.forest.root_ns(tree) == 0;
            let lone = is_lone(self.forest, tree) && aside.contains(&(call.service, call.template));
            self.out.lone += u64::from(lone);
            let none = tree.orphan || nothing || lone || node.class.is_storage() || node.class == Class::Pool;
            let name = variants.get(id as usize).copied().flatten().unwrap_or(call.template);
            let endpoint = (!none).then(|| self.endpoint(call.service, name, node.class));
            self.out.of_tree.push(endpoint);
            let weight = self.calls.weight(self.forest.node(tree.root).row);
            #[expect(clippy::cast_possible_truncation, reason = "a count of requests, bounded")]
            self.out.weights.push(weight as f32);
            if let Some(endpoint) = endpoint {
                let endpoint = &mut self.out.endpoints[endpoint as usize];
                endpoint.trees.push(id);
                endpoint.root_ns = endpoint.root_ns.saturating_add(self.forest.root_ns(tree));
                endpoint.requests += weight;
            }
        }
    }

    /// What services that mark their requests as such do beside them in single spans, little in all: a name looked up, a
    /// connection kept alive. A job that takes its time is none of it.
    fn aside(&self) -> HashSet<(Sym, Sym)> {
        let (mut of_services, mut lone) = (HashMap::<Sym, i64>::new(), HashMap::<(Sym, Sym), i64>::new());
        let mut answering = HashSet::new();
        for tree in &self.forest.trees {
            let node = self.forest.node(tree.root);
            let call = &self.calls.rows[node.row as usize];
            let ns = self.forest.root_ns(tree);
            let all = of_services.entry(call.service).or_default();
            *all = all.saturating_add(ns);
            if node.class == Class::Server {
                answering.insert(call.service);
            }
            if is_lone(self.forest, tree) {
                let all = lone.entry((call.service, call.template)).or_default();
                *all = all.saturating_add(ns);
            }
        }
        let little = |(service, ns): (Sym, i64)| {
            ns as f64 <= LONE_SHARE * of_services.get(&service).copied().unwrap_or(0) as f64
        };
        let of_a_network = |name: Sym| {
            let name = self.calls.name(name);
            ["dns.", "tcp.", "tls.", "ipc."].iter().any(|kind| name.starts_with(kind))
        };
        lone.into_iter()
            .filter(|((service, name), ns)| {
                answering.contains(service) && (of_a_network(*name) || little((*service, *ns)))
            })
            .map(|(named, _)| named)
            .collect()
    }

    fn endpoint(&mut self, service: Sym, template: Sym, class: Class) -> EndpointId {
        *self.endpoints.entry((service, template)).or_insert_with(|| {
            self.out.endpoints.push(Endpoint {
                template,
                service,
                class,
                trees: Vec::new(),
                root_ns: 0,
                requests: 0.0,
            });
            u32::try_from(self.out.endpoints.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn name_nodes(&mut self) {
        for (tree, endpoint) in self.forest.trees.iter().zip(self.out.of_tree.clone()) {
            let Some(endpoint) = endpoint else { continue };
            for node in tree.root..tree.end {
                let parent = self.forest.node(node).parent;
                let above = if parent == NONE { NO_SHAPE } else { self.out.of_node[parent as usize] };
                if parent != NONE && above == NO_SHAPE {
                    self.out.unshaped += 1;
                    continue;
                }
                self.out.of_node[node as usize] = self.shape_of(node, above, endpoint);
            }
        }
    }

    fn shape_of(&mut self, node: NodeId, parent: ShapeId, endpoint: EndpointId) -> ShapeId {
        let class = self.forest.node(node).class;
        let call = &self.calls.rows[self.forest.node(node).row as usize];
        let key = Key { parent, endpoint, service: call.service, class, template: call.template };
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        if self.out.all.len() >= MAX_SHAPES {
            self.out.unshaped += 1;
            return NO_SHAPE;
        }
        let depth = self.out.all.get(parent as usize).map_or(0, |p| p.depth + 1);
        self.out.all.push(Shape {
            parent: (parent != NO_SHAPE).then_some(parent),
            children: Vec::new(),
            endpoint,
            service: call.service,
            class,
            template: call.template,
            peer: call.peer,
            depth,
            groups: Vec::new(),
            traces: 0,
            calls: 0,
            calls_mean: 0.0,
            calls_max: 0,
            path_share: 0.0,
            path_share_tail: 0.0,
            own_share: 0.0,
            duration_p5_ns: 0.0,
            duration_p50_ns: 0.0,
            duration_p95_ns: 0.0,
            gap_p50_ns: 0.0,
            overlap_share: 0.0,
            params_known: 0,
            params_distinct: 0,
            rows_mean: None,
            bytes_mean: None,
            errors: 0,
        });
        let id = u32::try_from(self.out.all.len() - 1).unwrap_or(NO_SHAPE);
        if let Some(above) = self.out.all.get_mut(parent as usize) {
            above.children.push(id);
        }
        self.known.insert(key, id);
        id
    }

    /// Nodes of each tree by shape and entry.
    fn group(&mut self) {
        let below = self.path_with_below();
        let entries = self.entries();
        let mut order: Vec<(ShapeId, NodeId, i64, NodeId)> = Vec::new();
        for (id, tree) in (0..).zip(&self.forest.trees) {
            order.clear();
            for node in tree.root..tree.end {
                let shape = self.out.of_node[node as usize];
                if shape != NO_SHAPE {
                    order.push((shape, entries[node as usize], self.forest.node(node).start_ns, node));
                }
            }
            order.sort_unstable();
            for same in order.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
                let from = self.out.members.len();
                self.out.members.extend(same.iter().map(|s| s.3));
                let path_ns = same.iter().map(|s| below[s.3 as usize]).sum();
                let group =
                    Group { tree: id, entry: same[0].1, members: from..self.out.members.len(), path_ns };
                self.out.all[same[0].0 as usize].groups.push(group);
            }
        }
    }

    /// Per node: its time on the critical path with all below it.
    fn path_with_below(&self) -> Vec<i64> {
        let mut below = self.critical.path_ns.clone();
        for node in (0..self.forest.nodes.len()).rev() {
            let parent = self.forest.nodes[node].parent;
            if parent != NONE {
                below[parent as usize] += below[node];
            }
        }
        below
    }

    /// Per node: the entry of the service that made it. An entry's own is the one above, so that a service that is
    /// called many times is one group of its caller.
    fn entries(&self) -> Vec<NodeId> {
        let mut within = vec![NONE; self.forest.nodes.len()];
        let mut own = vec![NONE; self.forest.nodes.len()];
        for (at, node) in self.forest.nodes.iter().enumerate() {
            let id = u32::try_from(at).unwrap_or(NONE);
            let above = if node.parent == NONE { id } else { within[node.parent as usize] };
            own[at] = above;
            within[at] = if node.class == Class::Server { id } else { above };
        }
        own
    }

    fn measure(&mut self) {
        let tail = |endpoint: &Endpoint| {
            let from = tail_from_ns(self.forest, endpoint);
            let root_ns = |tree: TreeId| self.forest.root_ns(&self.forest.trees[tree as usize]);
            let slowest = endpoint.trees.iter().filter(|tree| root_ns(**tree) >= from);
            (from, slowest.map(|tree| self.weight(*tree)).sum())
        };
        let tails: Vec<(i64, f64)> = self.out.endpoints.iter().map(tail).collect();
        let mut all = std::mem::take(&mut self.out.all);
        for shape in &mut all {
            self.measure_one(shape, tails[shape.endpoint as usize]);
        }
        self.out.all = all;
    }

    fn weight(&self, tree: TreeId) -> f64 {
        self.out.weights.get(tree as usize).map_or(1.0, |w| f64::from(*w))
    }

    /// `tail`: from which root duration on a request is among the slowest, and how many are.
    fn measure_one(&self, shape: &mut Shape, (tail_from, tail): (i64, f64)) {
        let endpoint = &self.out.endpoints[shape.endpoint as usize];
        let mut sums = Sums::default();
        let mut last_tree = None;
        for group in &shape.groups {
            let tree = &self.forest.trees[group.tree as usize];
            let root_ns = self.forest.root_ns(tree).max(1) as f64;
            shape.traces += u32::from(last_tree != Some(group.tree));
            last_tree = Some(group.tree);
            shape.calls_max = shape.calls_max.max(group.calls());
            let weight = self.weight(group.tree);
            shape.path_share += weight * group.path_ns as f64 / root_ns;
            if self.forest.root_ns(tree) >= tail_from {
                shape.path_share_tail += weight * group.path_ns as f64 / root_ns;
            }
            let members = &self.out.members[group.members.clone()];
            for (n, &node) in members.iter().enumerate() {
                let next = members.get(n + 1).map(|next| self.forest.node(*next).start_ns);
                sums.add(self.forest, self.calls, node, next);
                shape.own_share += weight * self.critical.path_ns[node as usize] as f64 / root_ns;
            }
        }
        let requests = endpoint.requests.max(1.0);
        shape.path_share /= requests;
        shape.own_share /= requests;
        shape.path_share_tail /= tail.max(1.0);
        shape.calls = sums.calls;
        shape.calls_mean = sums.calls as f64 / shape.groups.len().max(1) as f64;
        sums.finish(shape);
    }
}

/// From this root duration on, a request is among the slowest twentieth.
fn tail_from_ns(forest: &Forest, endpoint: &Endpoint) -> i64 {
    let mut roots: Vec<i64> =
        endpoint.trees.iter().map(|t| forest.root_ns(&forest.trees[*t as usize])).collect();
    roots.sort_unstable();
    roots.get(roots.len() * 19 / 20).copied().unwrap_or(0)
}

#[derive(Default)]
struct Sums {
    calls: u64,
    durations: Vec<f64>,
    gaps: Vec<f64>,
    pairs: u64,
    overlaps: u64,
    params: Vec<u64>,
    rows: (f64, u64),
    bytes: (f64, u64),
    errors: u64,
}

impl Sums {
    fn add(&mut self, forest: &Forest, calls: &Calls, id: NodeId, next_start: Option<i64>) {
        let node = forest.node(id);
        let call = &calls.rows[node.row as usize];
        self.calls += 1;
        self.durations.push(node.duration_ns() as f64);
        if let Some(next) = next_start {
            self.pairs += 1;
            if next < node.end_ns {
                self.overlaps += 1;
            } else {
                self.gaps.push((next - node.end_ns) as f64);
            }
        }
        self.params.extend(call.params());
        if let Some(rows) = call.rows() {
            self.rows = (self.rows.0 + rows, self.rows.1 + 1);
        }
        if let Some(bytes) = call.bytes() {
            self.bytes = (self.bytes.0 + bytes, self.bytes.1 + 1);
        }
        self.errors += u64::from(call.error);
    }

    fn finish(mut self, shape: &mut Shape) {
        self.durations.sort_unstable_by(f64::total_cmp);
        self.gaps.sort_unstable_by(f64::total_cmp);
        shape.duration_p5_ns = quantile(&self.durations, 0.05);
        shape.duration_p50_ns = quantile(&self.durations, 0.5);
        shape.duration_p95_ns = quantile(&self.durations, 0.95);
        shape.gap_p50_ns = quantile(&self.gaps, 0.5);
        shape.overlap_share = self.overlaps as f64 / self.pairs.max(1) as f64;
        shape.params_known = self.params.len() as u64;
        self.params.sort_unstable();
        self.params.dedup();
        shape.params_distinct = self.params.len() as u64;
        let mean = |(sum, count): (f64, u64)| (count > 0).then(|| sum / count as f64);
        shape.rows_mean = mean(self.rows);
        shape.bytes_mean = mean(self.bytes);
        shape.errors = self.errors;
    }
}

/// The `q`-quantile of ascending values by the nearest-rank rule; 0 of none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is between 1 and the length"
)]
#[must_use]
pub fn quantile(ascending: &[f64], q: f64) -> f64 {
    let rank = (q.clamp(0.0, 1.0) * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}
