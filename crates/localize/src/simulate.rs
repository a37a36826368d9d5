//! Pass 9, its engine: a request run again with a fix. A request is gaps and calls; a call waits for the siblings
//! that ended before it began (unless they were seen to be independent), its parent for all of them, and every gap
//! stays as it was recorded. A fix is a list of transforms; without any, the recorded duration comes out.

use crate::critical::overlap_ns;
use crate::depend::Independent;
use crate::shape::{NO_SHAPE, ShapeId, Shapes};
use crate::thresholds::Thresholds;
use crate::tree::{Forest, NONE, NodeId, TreeId};
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// What a new duration may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub node: NodeId,
    /// The time as transforms before this one left it: of the call, or its own time where that is what changes.
    pub ns: f64,
    /// The time as it was recorded.
    pub recorded_ns: f64,
    /// Calls of the group, and which of them this is, from 0.
    pub calls: usize,
    pub position: usize,
    /// Longest call of the group.
    pub longest_ns: f64,
}

/// A new duration, nanoseconds; below 0 counts as 0.
#[derive(Clone)]
pub enum Cost {
    Ns(f64),
    /// The recorded time, so many times.
    Times(f64),
    /// The recorded time less so many nanoseconds.
    Less(f64),
    /// Anything else.
    Each(Arc<dyn Fn(&Case) -> f64 + Send + Sync>),
}

impl Cost {
    /// A batch of N: `round_trip + service + marginal * (N - 1) * service`.
    #[must_use]
    pub fn batch(round_trip_ns: f64, service_ns: f64, marginal: f64) -> Self {
        Self::Each(Arc::new(move |case| {
            round_trip_ns + service_ns + marginal * (case.calls.max(1) - 1) as f64 * service_ns
        }))
    }

    fn of(&self, case: &Case) -> f64 {
        let ns = match self {
            Self::Ns(ns) => *ns,
            Self::Times(factor) => case.ns * factor,
            Self::Less(ns) => case.ns - ns,
            Self::Each(function) => function(case),
        };
        ns.max(0.0)
    }
}

/// One part of a fix, on every call of a shape. Transforms are applied in order, each to what those before it left, so
/// that two fixes at once are one list: an index and a batch of the indexed reads, not the sum of two gains.
#[derive(Clone)]
pub enum Transform {
    /// Each call, with all below it, takes so long. 0 and a queue's price for work that is deferred.
    Duration { of: ShapeId, to: Cost },
    /// The calls are gone; of the gap before each, this share stays (row by row work on the results).
    Drop { of: ShapeId, gap_kept: f64 },
    /// The calls of a group become its first one, which takes so long; of the gaps before the others, this share stays.
    Merge { of: ShapeId, to: Cost, gap_kept: f64 },
    /// Calls of these shapes below one parent run in lanes: the lanes start together with the first call of all, each
    /// `dispatch_ns` after the one before; within a lane they follow each other. All take `stretch` times as long.
    Parallel { lanes: Vec<Vec<ShapeId>>, dispatch_ns: f64, stretch: f64 },
    /// The calls' own time, what no child covers, becomes so long. On a call with its server below it: the edge.
    Own { of: ShapeId, to: Cost },
    /// Requests are taken up sooner, each by so many nanoseconds: time before the root span, which only its caller sees.
    Arrival { sooner_ns: Arc<HashMap<TreeId, f64>>, times: f64 },
}

/// What the trees are made of, for running them again.
#[derive(Clone, Copy)]
pub struct Stage<'a> {
    pub forest: &'a Forest,
    pub shapes: &'a Shapes,
    pub independent: &'a Independent,
    pub thresholds: &'a Thresholds,
}

/// Runs trees again; holds the buffers.
pub struct Simulator<'a> {
    stage: Stage<'a>,
    edits: Vec<Edit>,
    new_ns: Vec<f64>,
    starts: Vec<f64>,
    latest: Vec<Latest>,
    open: BinaryHeap<Reverse<(i64, NodeId)>>,
}

/// What a fix does to one node.
#[derive(Clone, Copy)]
struct Edit {
    /// New duration with all below; NaN: as its children demand.
    leaf_ns: f64,
    /// Share of the gap before it that stays.
    gap: f64,
    /// Factor on its own time.
    own: f64,
    /// Starts so long after this sibling started ...
    beside: NodeId,
    after_ns: f64,
    /// ... or when this sibling ends.
    behind: NodeId,
    stretch: f64,
    /// The call is not made any more: nothing brings it back.
    gone: bool,
}

const KEEP: Edit = Edit {
    leaf_ns: f64::NAN,
    gap: 1.0,
    own: 1.0,
    beside: NONE,
    after_ns: 0.0,
    behind: NONE,
    stretch: 1.0,
    gone: false,
};

/// Of the children seen so far that have ended: by shape, the latest end as recorded and as simulated.
#[derive(Clone, Copy)]
struct Latest {
    shape: ShapeId,
    was: i64,
    is: f64,
}

impl<'a> Simulator<'a> {
    #[must_use]
    pub fn new(stage: Stage<'a>) -> Self {
        Self {
            stage,
            edits: Vec::new(),
            new_ns: Vec::new(),
            starts: Vec::new(),
            latest: Vec::new(),
            open: BinaryHeap::new(),
        }
    }

    /// The root's duration with the fix, nanoseconds; less than 0 where a request is taken up sooner by more than that.
    pub fn root_ns(&mut self, tree: TreeId, fix: &[Transform]) -> f64 {
        let (root, end) = {
            let tree = &self.stage.forest.trees[tree as usize];
            (tree.root, tree.end)
        };
        let nodes = (end - root) as usize;
        self.edits.clear();
        self.edits.resize(nodes, KEEP);
        for transform in fix {
            self.apply(tree, root, transform);
        }
        self.new_ns.clear();
        self.new_ns.resize(nodes, 0.0);
        self.starts.clear();
        self.starts.resize(nodes, 0.0);
        for node in (root..end).rev() {
            self.new_ns[(node - root) as usize] = self.duration(node, root);
        }
        self.new_ns[0] - sooner_ns(tree, fix)
    }

    /// Start and end of each node of the tree that [`Self::root_ns`] ran last, in nanoseconds after its root's start;
    /// `None`: the call is not made any more.
    #[must_use]
    pub fn placed(&self, tree: TreeId) -> Vec<Option<(f64, f64)>> {
        let forest = self.stage.forest;
        let (root, end) = {
            let tree = &forest.trees[tree as usize];
            (tree.root, tree.end)
        };
        let mut out: Vec<Option<(f64, f64)>> = Vec::with_capacity((end - root) as usize);
        // How much longer or shorter time within a node has become, and whether all of it was drawn out evenly.
        let mut within: Vec<(f64, bool)> = Vec::with_capacity(out.capacity());
        for id in root..end {
            let at = (id - root) as usize;
            let (node, edit, new_ns) = (forest.node(id), self.edits[at], self.new_ns[at]);
            let evenly = !edit.leaf_ns.is_nan();
            let own = if evenly { new_ns / (node.duration_ns() as f64).max(1.0) } else { edit.stretch };
            if id == root {
                out.push(Some((0.0, new_ns.max(0.0))));
                within.push((own, evenly));
                continue;
            }
            let above = (node.parent - root) as usize;
            let (factor, is_even) = within[above];
            let parent_start_ns = forest.node(node.parent).start_ns;
            let recorded = (node.start_ns - parent_start_ns) as f64;
            let placed = out[above].filter(|_| !edit.gone).map(|(start, _)| {
                if is_even {
                    let from = start + recorded * factor;
                    (from, from + node.duration_ns() as f64 * factor)
                } else if node.detached {
                    (start + recorded, start + recorded + new_ns)
                } else {
                    let from = start + self.starts[at] * factor;
                    (from, from + new_ns * factor)
                }
            });
            out.push(placed);
            within.push(if is_even { (factor, true) } else { (factor * own, evenly) });
        }
        out
    }

    fn apply(&mut self, tree: TreeId, root: NodeId, transform: &Transform) {
        let shapes = self.stage.shapes;
        match transform {
            Transform::Duration { of, to } => self.each(tree, root, *of, |edit, case| {
                edit.leaf_ns = to.of(&case);
            }),
            Transform::Drop { of, gap_kept } => self.each(tree, root, *of, |edit, _| {
                (edit.leaf_ns, edit.gap, edit.gone) = (0.0, *gap_kept, true);
            }),
            Transform::Merge { of, to, gap_kept } => self.each(tree, root, *of, |edit, case| {
                if case.position == 0 {
                    edit.leaf_ns = to.of(&case);
                } else {
                    (edit.leaf_ns, edit.gap, edit.gone) = (0.0, *gap_kept, true);
                }
            }),
            Transform::Own { of, to } => {
                for group in groups_of(shapes, *of, tree) {
                    self.own(root, shapes.nodes(group), to);
                }
            }
            Transform::Arrival { .. } => {}
            Transform::Parallel { lanes, dispatch_ns, stretch } => {
                let mut calls: Vec<(NodeId, usize)> = Vec::new();
                for (lane, shape) in (0..).zip(lanes).flat_map(|(at, lane)| lane.iter().map(move |s| (at, s)))
                {
                    let nodes = groups_of(shapes, *shape, tree).iter().flat_map(|group| shapes.nodes(group));
                    calls.extend(nodes.map(|node| (*node, lane)));
                }
                self.side_by_side(&mut calls, root, *dispatch_ns, *stretch);
            }
        }
    }

    /// Calls with their lanes.
    fn side_by_side(&mut self, calls: &mut [(NodeId, usize)], root: NodeId, dispatch_ns: f64, stretch: f64) {
        let forest = self.stage.forest;
        calls.sort_unstable_by_key(|(n, _)| (forest.node(*n).parent, forest.node(*n).start_ns, *n));
        for siblings in calls.chunk_by(|(a, _), (b, _)| forest.node(*a).parent == forest.node(*b).parent) {
            // The last call of each lane so far.
            let mut ends: Vec<(usize, NodeId)> = Vec::new();
            for (node, lane) in siblings {
                let edit = &mut self.edits[(node - root) as usize];
                edit.stretch = stretch;
                if let Some((_, last)) = ends.iter_mut().find(|(known, _)| known == lane) {
                    edit.behind = std::mem::replace(last, *node);
                } else {
                    if !ends.is_empty() {
                        (edit.beside, edit.after_ns) = (siblings[0].0, ends.len() as f64 * dispatch_ns);
                    }
                    ends.push((*lane, *node));
                }
            }
        }
    }

    /// Visits each call of a shape in a tree that is still made.
    fn each(&mut self, tree: TreeId, root: NodeId, shape: ShapeId, mut visit: impl FnMut(&mut Edit, Case)) {
        let Stage { shapes, forest, .. } = self.stage;
        for group in groups_of(shapes, shape, tree) {
            let nodes = shapes.nodes(group);
            let calls = nodes.iter().filter(|n| !self.edits[(**n - root) as usize].gone).count();
            let now = |edits: &[Edit], node: NodeId| {
                let edited = edits[(node - root) as usize].leaf_ns;
                if edited.is_nan() { forest.node(node).duration_ns() as f64 } else { edited }
            };
            let longest_ns = nodes.iter().map(|n| now(&self.edits, *n)).fold(0.0, f64::max);
            let mut position = 0;
            for &node in nodes {
                let ns = now(&self.edits, node);
                let edit = &mut self.edits[(node - root) as usize];
                if !edit.gone {
                    let recorded_ns = forest.node(node).duration_ns() as f64;
                    visit(edit, Case { node, ns, recorded_ns, calls, position, longest_ns });
                    position += 1;
                }
            }
        }
    }

    /// Changes the own time of each of these calls.
    fn own(&mut self, root: NodeId, nodes: &[NodeId], to: &Cost) {
        for (position, &node) in nodes.iter().enumerate() {
            let recorded_ns = self.own_ns(node);
            let edit = &mut self.edits[(node - root) as usize];
            if recorded_ns > 0.0 {
                let ns = recorded_ns * edit.own;
                let (calls, longest_ns) = (nodes.len(), ns);
                let new = to.of(&Case { node, ns, recorded_ns, calls, position, longest_ns });
                edit.own = new / recorded_ns;
            }
        }
    }

    /// A node's time that no child covers.
    fn own_ns(&self, id: NodeId) -> f64 {
        let forest = self.stage.forest;
        let node = forest.node(id);
        let (mut covered, mut until) = (0, node.start_ns);
        for child in forest.children(id).map(|c| forest.node(c)).filter(|c| !c.detached) {
            covered += (child.end_ns - child.start_ns.max(until)).max(0);
            until = until.max(child.end_ns);
        }
        (node.duration_ns() - covered).max(0) as f64
    }

    /// New duration of a node whose children have theirs.
    fn duration(&mut self, id: NodeId, root: NodeId) -> f64 {
        let Stage { forest, shapes, independent, thresholds } = self.stage;
        let edit = self.edits[(id - root) as usize];
        if !edit.leaf_ns.is_nan() {
            return edit.leaf_ns * edit.stretch;
        }
        let node = forest.node(id);
        let overlap = overlap_ns(node.duration_ns(), thresholds);
        self.latest.clear();
        self.open.clear();
        let (mut last_was, mut last_is) = (node.start_ns, 0.0_f64);
        for child in forest.children(id) {
            let this = forest.node(child);
            if this.detached {
                continue;
            }
            while let Some(&Reverse((end, sibling))) = self.open.peek() {
                if end > this.start_ns.saturating_add(overlap) {
                    break;
                }
                self.open.pop();
                let at = (sibling - root) as usize;
                note(
                    &mut self.latest,
                    shapes.of_node[sibling as usize],
                    end,
                    self.starts[at] + self.new_ns[at],
                );
            }
            let own_edit = self.edits[(child - root) as usize];
            let shape = shapes.of_node[child as usize];
            let start = if own_edit.behind != NONE {
                let before = (own_edit.behind - root) as usize;
                self.starts[before] + self.new_ns[before]
            } else if own_edit.beside == NONE {
                let (was, is) = anchor(&self.latest, shape, independent).unwrap_or((node.start_ns, 0.0));
                is + (this.start_ns - was) as f64 * own_edit.gap * edit.own
            } else {
                self.starts[(own_edit.beside - root) as usize] + own_edit.after_ns
            };
            let at = (child - root) as usize;
            self.starts[at] = start;
            last_was = last_was.max(this.end_ns);
            last_is = last_is.max(start + self.new_ns[at]);
            self.open.push(Reverse((this.end_ns, child)));
        }
        let tail = (node.end_ns - last_was) as f64 * edit.own;
        (last_is + tail).max(0.0) * edit.stretch
    }
}

/// What a request's way to its root span becomes shorter by.
fn sooner_ns(tree: TreeId, fix: &[Transform]) -> f64 {
    let of = |transform: &Transform| match transform {
        Transform::Arrival { sooner_ns, times } => sooner_ns.get(&tree).map_or(0.0, |ns| ns * times),
        _ => 0.0,
    };
    fix.iter().map(of).sum()
}

fn groups_of(shapes: &Shapes, shape: ShapeId, tree: TreeId) -> &[crate::shape::Group] {
    let Some(shape) = shapes.all.get(shape as usize) else { return &[] };
    let from = shape.groups.partition_point(|g| g.tree < tree);
    let length = shape.groups[from..].partition_point(|g| g.tree == tree);
    &shape.groups[from..from + length]
}

/// Of one parent's children, so many shapes are told apart; all others count as one that is waited for.
const MAX_SIBLING_SHAPES: usize = 128;

fn note(latest: &mut Vec<Latest>, shape: ShapeId, was: i64, is: f64) {
    let full = latest.len() >= MAX_SIBLING_SHAPES && latest.iter().all(|l| l.shape != shape);
    let shape = if full { NO_SHAPE } else { shape };
    match latest.iter_mut().find(|l| l.shape == shape) {
        Some(known) => (known.was, known.is) = (known.was.max(was), known.is.max(is)),
        None => latest.push(Latest { shape, was, is }),
    }
}

/// When the last sibling ended that a call of this shape may wait for, as recorded and as simulated.
fn anchor(latest: &[Latest], shape: ShapeId, independent: &Independent) -> Option<(i64, f64)> {
    latest
        .iter()
        .filter(|l| shape == NO_SHAPE || !independent.holds(l.shape, shape))
        .map(|l| (l.was, l.is))
        .reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
}

#[cfg(test)]
mod tests;
