//! Pass 3: what each request waited for. The critical path is walked backwards from the root's end (as CRISP does):
//! the child that ended last was waited for, before it the one that ended last before that child began.

use crate::thresholds::Thresholds;
use crate::tree::{Forest, NodeId, Tree};

/// Per node of the forest, in its order.
#[derive(Default)]
pub struct Critical {
    /// Own time on the critical path: of a request, these add up to the root's duration exactly. For a call whose
    /// server is in the tree, this is the edge: network, queueing, serialisation.
    pub path_ns: Vec<i64>,
    /// Time that the request would win without the node's own work: its duration without its critical children's,
    /// and not beyond the point where a sibling beside it would be waited for instead.
    pub drag_ns: Vec<i64>,
    /// Whether the node lies on the critical path.
    pub on_path: Vec<bool>,
}

/// How far siblings may overlap and still count as one after the other, for children of a node of this duration.
#[expect(clippy::cast_possible_truncation, reason = "a share of a duration")]
pub(crate) fn overlap_ns(parent_ns: i64, thresholds: &Thresholds) -> i64 {
    (parent_ns as f64 * thresholds.overlap_share).min(thresholds.overlap_ms * 1e6) as i64
}

/// The critical paths of all trees.
#[must_use]
pub fn critical(forest: &Forest, thresholds: &Thresholds) -> Critical {
    let nodes = forest.nodes.len();
    let mut walk = Walk {
        forest,
        thresholds,
        out: Critical { path_ns: vec![0; nodes], drag_ns: vec![0; nodes], on_path: vec![false; nodes] },
        children: Vec::new(),
        stack: Vec::new(),
    };
    for tree in &forest.trees {
        walk.tree(tree);
    }
    walk.out
}

/// The path of one tree, latest first, as node ids: for drawing and tests.
#[must_use]
pub fn path(forest: &Forest, critical: &Critical, tree: &Tree) -> Vec<NodeId> {
    let mut out = Vec::new();
    let mut stack = vec![tree.root];
    while let Some(node) = stack.pop() {
        out.push(node);
        let mut children: Vec<NodeId> =
            forest.children(node).filter(|c| critical.on_path[*c as usize]).collect();
        children.sort_by_key(|c| (forest.node(*c).end_ns, *c));
        stack.extend(children);
    }
    out
}

struct Walk<'a> {
    forest: &'a Forest,
    thresholds: &'a Thresholds,
    out: Critical,
    /// Children that the node waited for, by end, latest first.
    children: Vec<NodeId>,
    /// Nodes on the path with the window that is theirs.
    stack: Vec<(NodeId, i64, i64)>,
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree) {
        let root = self.forest.node(tree.root);
        self.stack.push((tree.root, root.start_ns, root.end_ns));
        while let Some((node, from, to)) = self.stack.pop() {
            self.node(node, from, to);
        }
    }

    fn node(&mut self, node: NodeId, from: i64, to: i64) {
        let forest = self.forest;
        let this = forest.node(node);
        let overlap = overlap_ns(this.duration_ns(), self.thresholds);
        self.children.clear();
        self.children.extend(forest.children(node).filter(|c| !forest.node(*c).detached));
        self.children.sort_unstable_by_key(|c| std::cmp::Reverse((forest.node(*c).end_ns, *c)));
        let mut cursor = to;
        let mut own = to - from;
        let mut children_ns = 0;
        for at in 0..self.children.len() {
            let id = self.children[at];
            let child = forest.node(id);
            let (start, end) = (child.start_ns.max(from), child.end_ns.min(cursor));
            let follows = child.end_ns <= cursor.saturating_add(overlap) && child.start_ns < cursor;
            if !follows || child.duration_ns() == 0 {
                continue;
            }
            children_ns += child.duration_ns();
            self.out.drag_ns[id as usize] = self.reach(at);
            if end > start {
                own -= end - start;
                self.stack.push((id, start, end));
            }
            cursor = child.start_ns;
        }
        let out = &mut self.out;
        let reach = if this.parent == crate::tree::NONE { i64::MAX } else { out.drag_ns[node as usize] };
        out.drag_ns[node as usize] = reach.min((this.duration_ns() - children_ns).max(0));
        out.path_ns[node as usize] = own;
        out.on_path[node as usize] = true;
    }

    /// How much earlier the wait could end without this child: until the latest sibling beside it ended.
    fn reach(&self, at: usize) -> i64 {
        let child = self.forest.node(self.children[at]);
        let beside = self.children[at + 1..].iter().map(|c| self.forest.node(*c).end_ns);
        let blocked = beside.into_iter().find(|end| *end < child.end_ns).unwrap_or(i64::MIN);
        child.end_ns - blocked.max(child.start_ns)
    }
}
