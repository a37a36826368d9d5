//! What all passes before the rules found out, in one place: the only thing that a rule reads.

use crate::critical::Critical;
use crate::depend::Independent;
use crate::links::Link;
use crate::load::Load;
use crate::resolve::{Call, Calls};
use crate::runtime::Runtime;
use crate::saturation::Saturation;
use crate::shape::{Endpoint, EndpointId, Group, Shape, ShapeId, Shapes};
use crate::simulate::Stage;
use crate::thresholds::Thresholds;
use crate::tree::{Forest, Node, NodeId, TreeId};
use crate::{
    coverage, critical, depend, links, load, resolve, runtime, saturation, shape, tree, variants, wrappers,
};
use hashbrown::HashMap;
use model::{Plan, Recording, ResourceId, SpanTable, Statement, Sym, Value};
use std::collections::BTreeSet;

/// Attribute of the resource that a log's reader sets, and what it says there.
const SOURCE: &str = "telemetry.source";
const LOG: &str = "access log";
/// Levels of a path that are written out.
const MAX_PATH: usize = 32;

/// Facts about one recording.
pub struct Facts<'a> {
    pub recording: &'a Recording,
    pub thresholds: &'a Thresholds,
    /// One trace is judged by itself: no rule asks for several.
    pub single_trace: bool,
    pub calls: Calls,
    pub forest: Forest,
    pub critical: Critical,
    pub shapes: Shapes,
    pub independent: Independent,
    /// By endpoint, see [`coverage::coverage`].
    pub coverage: Vec<f64>,
    pub saturation: Saturation,
    pub runtime: Runtime,
    pub load: Load,
    /// Operations whose requests are drawn from what the load's mix told of them, see [`crate::attributed`].
    attributed: BTreeSet<u32>,
    /// Messages whose two ends were recorded.
    pub links: Vec<Link>,
    /// Some service has two instances or more.
    pub has_instances: bool,
    /// The spans are lines of an access log: nothing within a request could be seen.
    pub only_outside: bool,
    /// By shape: calls that only begin, end or set up, see [`crate::rules`]; asked of many nodes.
    controls: Vec<bool>,
    /// By key of the text: positions among the recording's statements and plans.
    statements: HashMap<String, usize>,
    plans: HashMap<String, usize>,
}

impl<'a> Facts<'a> {
    /// Runs passes 0 to 6.
    #[must_use]
    pub fn gather(recording: &'a Recording, thresholds: &'a Thresholds, single_trace: bool) -> Self {
        let mut calls = resolve::resolve(&recording.spans);
        let forest = tree::plant(&recording.spans, &calls, thresholds);
        let critical = critical::critical(&forest, thresholds);
        wrappers::tell_apart(&forest, &mut calls);
        let variants = variants::variants(&recording.spans, &forest, &mut calls);
        let shapes = shape::shapes(&forest, &calls, &critical, &variants);
        let independent = depend::learn(&forest, &shapes, thresholds);
        let coverage = coverage::coverage(&forest, &shapes);
        let saturation = saturation::saturation(recording);
        let load = load::join(recording, &forest, &shapes, &calls);
        let links = links::links(&recording.spans, &forest);
        let control = |s: &Shape| crate::rules::is_control(s.class, calls.name(s.template));
        let controls = shapes.all.iter().map(control).collect();
        let has_instances = has_instances(&recording.spans, &calls);
        let statements = by_key(recording.statements.iter().map(|s| s.text.as_str()));
        let plans = by_key(recording.plans.iter().map(|p| p.statement.as_str()));
        let single_trace = single_trace || forest.traces == 1;
        Self {
            recording,
            thresholds,
            single_trace,
            calls,
            forest,
            critical,
            shapes,
            independent,
            coverage,
            saturation,
            runtime: runtime::runtime(recording),
            load,
            attributed: BTreeSet::new(),
            links,
            has_instances,
            only_outside: is_log(recording),
            controls,
            statements,
            plans,
        }
    }

    /// These operations' requests were drawn.
    #[must_use]
    pub(crate) fn attributed(mut self, operations: &BTreeSet<u32>) -> Self {
        self.attributed.clone_from(operations);
        self
    }

    /// Whether the requests of an endpoint were not recorded, but drawn from what the load's mix told.
    #[must_use]
    pub fn is_attributed(&self, endpoint: EndpointId) -> bool {
        let operation = self.load.endpoints.get(endpoint as usize).and_then(|joined| joined.operation);
        operation.is_some_and(|operation| self.attributed.contains(&operation))
    }

    #[must_use]
    pub fn name(&self, sym: Sym) -> &str {
        self.calls.name(sym)
    }

    #[must_use]
    pub fn node(&self, node: NodeId) -> &Node {
        self.forest.node(node)
    }

    /// The span of a node, understood.
    #[must_use]
    pub fn call(&self, node: NodeId) -> &Call {
        &self.calls.rows[self.forest.node(node).row as usize]
    }

    /// The first of these attributes that a node's span has. Only keys of [`resolve::ATTRIBUTES`] may be asked for: a
    /// recording is read with no others.
    #[must_use]
    pub fn attribute(&self, node: NodeId, keys: &[&str]) -> Option<Value<'_>> {
        debug_assert!(keys.iter().all(|k| resolve::ATTRIBUTES.contains(k)), "{keys:?} are not read");
        let span = self.recording.spans.row(self.forest.node(node).row as usize);
        keys.iter().find_map(|key| span.attribute(key))
    }

    #[must_use]
    pub fn nodes(&self, group: &Group) -> &[NodeId] {
        self.shapes.nodes(group)
    }

    #[must_use]
    pub fn shape(&self, shape: ShapeId) -> &Shape {
        self.shapes.shape(shape)
    }

    #[must_use]
    pub fn endpoint_of(&self, shape: &Shape) -> &Endpoint {
        self.shapes.endpoint(shape.endpoint)
    }

    /// All shapes with their ids, parents before children.
    pub fn shapes(&self) -> impl Iterator<Item = (ShapeId, &Shape)> {
        (0..).zip(&self.shapes.all)
    }

    /// Whether anything was seen below a shape's calls.
    #[must_use]
    pub fn shape_has_children(&self, shape: ShapeId) -> bool {
        self.shapes.children(shape).next().is_some()
    }

    /// All endpoints with their ids.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        (0..).zip(&self.shapes.endpoints)
    }

    /// Duration of a tree's root, nanoseconds.
    #[must_use]
    pub fn root_ns(&self, tree: TreeId) -> i64 {
        self.forest.root_ns(&self.forest.trees[tree as usize])
    }

    /// Whether a node only begins or ends a transaction, or sets up a connection.
    #[must_use]
    pub fn is_control(&self, node: NodeId) -> bool {
        let shape = self.shapes.of_node[node as usize];
        let known = self.controls.get(shape as usize).copied();
        known.unwrap_or_else(|| {
            crate::rules::is_control(self.node(node).class, self.name(self.call(node).template))
        })
    }

    /// When a tree's root started, Unix nanoseconds; far enough from the largest number that times within the tree can
    /// be added.
    #[must_use]
    pub fn began_ns(&self, tree: TreeId) -> i64 {
        const FAR: i64 = i64::MAX / 4;
        i64::try_from(self.forest.trees[tree as usize].start_ns).map_or(FAR, |ns| ns.min(FAR))
    }

    /// Requests of an endpoint per second of the window; of the load where there is one, else of the traces.
    #[must_use]
    pub fn rate_per_s(&self, endpoint: EndpointId) -> f64 {
        let counted = self.load.endpoints.get(endpoint as usize).map_or(0.0, |j| j.requests);
        let traced = self.shapes.endpoint(endpoint).requests;
        traced.max(counted) / self.seconds()
    }

    /// Length of the window; of the traces where the run does not say; never below one second.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let run = self.recording.run.seconds();
        if run > 0.0 {
            return run.max(1.0);
        }
        let starts = self.forest.trees.iter().map(|t| t.start_ns);
        let (first, last) = (starts.clone().min().unwrap_or(0), starts.max().unwrap_or(0));
        ((last - first) as f64 / 1e9).max(1.0)
    }

    /// The database's figures for a template, if it has seen it.
    #[must_use]
    pub fn statement(&self, template: Sym) -> Option<&'a Statement> {
        let at = self.statements.get(&resolve::statement_key(self.name(template)))?;
        self.recording.statements.get(*at)
    }

    /// The plan of a template, if one was taken.
    #[must_use]
    pub fn plan(&self, template: Sym) -> Option<&'a Plan> {
        let at = self.plans.get(&resolve::statement_key(self.name(template)))?;
        self.recording.plans.get(*at)
    }

    /// Templates from the endpoint to the shape, joined by ` > `; of a very deep one, the lowest.
    #[must_use]
    pub fn path(&self, id: ShapeId) -> String {
        let mut names = Vec::new();
        let mut at = Some(id);
        while let Some(shape) = at.map(|id| self.shape(id)) {
            if names.len() == MAX_PATH {
                names.push("…");
                break;
            }
            names.push(self.name(shape.template));
            at = shape.parent;
        }
        names.reverse();
        names.join(" > ")
    }

    /// What the simulator needs.
    #[must_use]
    pub fn stage(&self) -> Stage<'_> {
        Stage {
            forest: &self.forest,
            shapes: &self.shapes,
            independent: &self.independent,
            thresholds: self.thresholds,
        }
    }
}

/// Resources of one service with different instances.
/// An access log, with or without response times.
fn is_log(recording: &Recording) -> bool {
    let spans = &recording.spans;
    let counted = recording.metrics.iter().any(|series| series.name == model::metrics::names::REQUESTS);
    let made = |resource: ResourceId| {
        let mut attributes = spans.packed_resource(resource).iter();
        attributes.any(|a| spans.strings.get(a.key) == SOURCE && spans.unpack(a.value).as_text() == Some(LOG))
    };
    let resources = (0..spans.resource_count()).filter_map(|number| u32::try_from(number).ok());
    counted && resources.map(ResourceId).all(made)
}

fn has_instances(spans: &SpanTable, calls: &Calls) -> bool {
    let mut first: HashMap<&str, Sym> = HashMap::new();
    for number in 0..spans.resource_count() {
        let resource = ResourceId(u32::try_from(number).unwrap_or(u32::MAX));
        let instance = calls.instance(resource);
        if instance != Sym::EMPTY && *first.entry(calls.service(resource)).or_insert(instance) != instance {
            return true;
        }
    }
    false
}

/// The first of equal keys stays.
fn by_key<'t>(texts: impl Iterator<Item = &'t str>) -> HashMap<String, usize> {
    let mut all = HashMap::new();
    for (at, text) in texts.enumerate() {
        all.entry(resolve::statement_key(text)).or_insert(at);
    }
    all
}
