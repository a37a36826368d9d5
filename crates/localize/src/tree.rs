//! Pass 1: spans into trees, repaired so that every later pass may trust them: one root a tree, no cycles, children
//! within their parents unless detached, times from the root's start. What had to be mended is counted.

mod layers;

use crate::resolve::{Call, Calls, Class};
use crate::thresholds::Thresholds;
use model::{SpanKind, SpanTable};

/// The position of a node in [`Forest::nodes`].
pub type NodeId = u32;
/// The position of a tree in [`Forest::trees`].
pub type TreeId = u32;
/// No node.
pub const NONE: NodeId = u32::MAX;

/// A span in its tree. Children follow their parent directly, ordered by start.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Row of the span table.
    pub row: u32,
    /// [`NONE`] for a root.
    pub parent: NodeId,
    /// One past the last node below it.
    pub subtree_end: NodeId,
    /// Nanoseconds after the root's start, aligned and clamped.
    pub start_ns: i64,
    pub end_ns: i64,
    pub class: Class,
    /// Its parent did not wait for it: it ended after the parent did, in the same process.
    pub detached: bool,
}

impl Node {
    #[must_use]
    pub fn duration_ns(&self) -> i64 {
        self.end_ns - self.start_ns
    }
}

/// One root with all below it.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    pub trace_id: u128,
    /// The root; its `subtree_end` ends the tree.
    pub root: NodeId,
    pub end: NodeId,
    /// When the root started, Unix nanoseconds.
    pub start_ns: u64,
    /// The root named a parent that is not there, and is not the entry of a service.
    pub orphan: bool,
}

/// What was unusable or had to be mended, in spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingest {
    pub orphans: u64,
    pub cycles: u64,
    pub negative_durations: u64,
    pub missing_times: u64,
    pub duplicates: u64,
    /// Spans of a driver whose call a mapper's span shows already.
    pub second_layers: u64,
    pub joined_halves: u64,
    pub adopted: u64,
    pub realigned: u64,
    pub clamped: u64,
    pub detached: u64,
    /// Entries of a service after their caller had ended: requests of their own.
    pub apart: u64,
}

/// All trees, by start of their roots.
#[derive(Default)]
pub struct Forest {
    pub nodes: Vec<Node>,
    pub trees: Vec<Tree>,
    pub ingest: Ingest,
    pub traces: u64,
}

impl Forest {
    /// The nodes directly below one.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let end = self.nodes[node as usize].subtree_end;
        let mut at = node + 1;
        std::iter::from_fn(move || {
            let child = at;
            (child < end).then(|| {
                at = self.nodes[child as usize].subtree_end;
                child
            })
        })
    }

    #[must_use]
    pub fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node as usize]
    }

    /// Duration of a tree's root.
    #[must_use]
    pub fn root_ns(&self, tree: &Tree) -> i64 {
        self.nodes[tree.root as usize].duration_ns()
    }

    /// The nearest entry of a service at or above a node, else the root.
    #[must_use]
    pub fn entry(&self, mut node: NodeId) -> NodeId {
        loop {
            let this = &self.nodes[node as usize];
            if this.class == Class::Server || this.parent == NONE {
                return node;
            }
            node = this.parent;
        }
    }
}

/// Trees of a table whose rows were resolved.
#[must_use]
pub fn plant(table: &SpanTable, calls: &Calls, thresholds: &Thresholds) -> Forest {
    let mut order: Vec<(u128, u32)> =
        table.trace_ids.iter().zip(0..).map(|(trace, row)| (*trace, row)).collect();
    order.sort_unstable();
    let mut nursery =
        Nursery { table, calls, thresholds, forest: Forest::default(), spans: Vec::new(), apart: Vec::new() };
    nursery.forest.nodes.reserve(table.len());
    for trace in order.chunk_by(|a, b| a.0 == b.0) {
        nursery.trace(trace);
    }
    let mut forest = nursery.forest;
    let Forest { trees, nodes, .. } = &mut forest;
    trees.sort_unstable_by_key(|t| (t.start_ns, t.trace_id, nodes[t.root as usize].row));
    forest
}

/// A span of the trace at hand. Times are nanoseconds after the trace's first start.
#[derive(Clone, Copy)]
struct Local {
    row: u32,
    id: u64,
    parent_id: u64,
    start: i64,
    end: i64,
    parent: u32,
    class: Class,
    class_sent: bool,
    has_children: bool,
    missing_parent: bool,
    dead: bool,
    detached: bool,
}

/// A child within its parent: start, end, span, and the shift of what is below it.
type Below = (i64, i64, u32, i64);

struct Nursery<'a> {
    table: &'a SpanTable,
    calls: &'a Calls,
    thresholds: &'a Thresholds,
    forest: Forest,
    spans: Vec<Local>,
    /// Entries that are requests of their own, with the shift of what is below them.
    apart: Vec<(u32, i64)>,
}

impl Nursery<'_> {
    fn trace(&mut self, rows: &[(u128, u32)]) {
        let Some(&(trace_id, _)) = rows.first() else { return };
        self.forest.traces += 1;
        let base = self.gather(rows);
        self.link();
        self.break_cycles();
        self.infer_classes();
        let children = self.adopt_covered();
        let children = self.drop_second_layers(children);
        for root in 0..self.spans.len() {
            if self.spans[root].parent == NONE && !self.spans[root].dead {
                self.grow((root, 0), &children, trace_id, base);
            }
        }
        while let Some((entry, shift)) = self.apart.pop() {
            self.grow((entry as usize, shift), &children, trace_id, base);
        }
    }

    fn call(&self, local: &Local) -> &Call {
        &self.calls.rows[local.row as usize]
    }

    /// The trace's spans with plain times; returns the Unix time that they count from.
    fn gather(&mut self, rows: &[(u128, u32)]) -> u64 {
        let table = self.table;
        let starts = rows.iter().map(|r| table.starts_ns[r.1 as usize]).filter(|start| *start > 0);
        let base = starts.min().unwrap_or(0);
        self.spans.clear();
        for &(_, row) in rows {
            let at = row as usize;
            let (start, duration) = (table.starts_ns[at], table.durations_ns[at]);
            if duration < 0 {
                self.forest.ingest.negative_durations += 1;
            }
            if start == 0 {
                self.forest.ingest.missing_times += 1;
            }
            let start = i64::try_from(start.saturating_sub(base)).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
            let call = &self.calls.rows[at];
            self.spans.push(Local {
                row,
                id: table.span_ids[at],
                parent_id: table.parent_ids[at],
                start,
                end: start + duration.clamp(0, i64::MAX / 4),
                parent: NONE,
                class: call.class,
                class_sent: call.class_sent,
                has_children: false,
                missing_parent: false,
                dead: false,
                detached: false,
            });
        }
        base
    }

    /// Parents by id: halves of a Zipkin pair joined, copies dropped, missing parents marked.
    fn link(&mut self) {
        let mut index: Vec<(u64, u32)> = self.spans.iter().zip(0..).map(|(s, at)| (s.id, at)).collect();
        index.sort_unstable();
        let mut halves: Vec<(u32, u32)> = Vec::new();
        for same in index.chunk_by(|a, b| a.0 == b.0 && a.0 != 0) {
            if same.len() > 1 {
                self.settle_shared_id(same, &mut halves);
            }
        }
        for at in 0..self.spans.len() {
            let span = self.spans[at];
            if span.dead || span.parent != NONE || span.parent_id == 0 {
                continue;
            }
            let first = index.partition_point(|(id, _)| *id < span.parent_id);
            let candidates = index[first..].iter().take_while(|(id, _)| *id == span.parent_id).map(|c| c.1);
            match self.choose_parent(at, candidates) {
                Some(parent) => self.spans[at].parent = parent,
                None => self.spans[at].missing_parent = true,
            }
        }
        for (client, server) in halves {
            self.spans[server as usize].parent = client;
        }
        for at in 0..self.spans.len() {
            if let Some(parent) =
                self.spans.get(self.spans[at].parent as usize).map(|_| self.spans[at].parent)
            {
                self.spans[parent as usize].has_children = true;
            }
        }
    }

    /// Spans that share an id: a client and its server (Zipkin) are parent and child, equal spans are copies.
    fn settle_shared_id(&mut self, same: &[(u64, u32)], halves: &mut Vec<(u32, u32)>) {
        let mut alike: Vec<u32> = same.iter().map(|s| s.1).collect();
        let key = |span: &Local| (span.start, span.end, span.class);
        alike.sort_unstable_by_key(|at| (key(&self.spans[*at as usize]), *at));
        for pair in alike.windows(2) {
            if key(&self.spans[pair[0] as usize]) == key(&self.spans[pair[1] as usize]) {
                self.spans[pair[1] as usize].dead = true;
                self.forest.ingest.duplicates += 1;
            }
        }
        let alive = same.iter().map(|s| s.1).filter(|at| !self.spans[*at as usize].dead);
        let alive: Vec<u32> = alive.take(MAX_SHARED_ID).collect();
        for (n, &later) in alive.iter().enumerate() {
            for &earlier in &alive[..n] {
                let (a, b) = (self.spans[earlier as usize].class, self.spans[later as usize].class);
                if (a == Class::Server) != (b == Class::Server) {
                    halves.push(if b == Class::Server { (earlier, later) } else { (later, earlier) });
                    self.forest.ingest.joined_halves += 1;
                }
            }
        }
    }

    /// Of several spans with the parent's id, the one in the child's own service, servers before clients.
    fn choose_parent(&self, child: usize, candidates: impl Iterator<Item = u32>) -> Option<u32> {
        let own = self.call(&self.spans[child]).service;
        let candidates = candidates.take(MAX_SHARED_ID);
        candidates.filter(|c| *c as usize != child && !self.spans[*c as usize].dead).max_by_key(|c| {
            let span = &self.spans[*c as usize];
            (self.call(span).service == own, span.class == Class::Server, std::cmp::Reverse(span.row))
        })
    }

    fn break_cycles(&mut self) {
        let mut visited = vec![0_u32; self.spans.len()];
        for at in 0..self.spans.len() {
            let stamp = u32::try_from(at).unwrap_or(0) + 1;
            let mut walker = at;
            while visited[walker] == 0 {
                visited[walker] = stamp;
                let parent = self.spans[walker].parent;
                if parent == NONE {
                    break;
                }
                if visited[parent as usize] == stamp {
                    self.spans[walker].parent = NONE;
                    self.spans[walker].missing_parent = true;
                    self.forest.ingest.cycles += 1;
                    break;
                }
                walker = parent as usize;
            }
        }
    }

    /// Spans without a kind: called from another service, it is an entry; calling one, it is a call.
    fn infer_classes(&mut self) {
        for at in 0..self.spans.len() {
            let span = self.spans[at];
            if span.class_sent || span.dead {
                continue;
            }
            let parent = self.spans.get(span.parent as usize).copied();
            let remote = |p: &Local| self.call(p).service != self.call(&span).service;
            if parent.as_ref().is_some_and(remote) || (parent.is_none() && span.class == Class::Rpc) {
                self.spans[at].class = Class::Server;
                if let Some(parent) = self.spans.get_mut(span.parent as usize)
                    && parent.class == Class::Internal
                    && !parent.class_sent
                {
                    parent.class = Class::Rpc;
                }
            }
        }
        for span in &mut self.spans {
            // A name like a procedure's, but nobody answers: a function of the service itself.
            if span.class == Class::Rpc && !span.class_sent && !span.has_children {
                span.class = Class::Internal;
            }
        }
    }

    /// Children of each span by start; a leaf that covers a sibling becomes its parent.
    fn adopt_covered(&mut self) -> Vec<(u32, u32)> {
        let mut children = self.children_by_start();
        let mut adopted = Vec::new();
        for siblings in children.chunk_by(|a, b| a.0 == b.0) {
            if siblings.len() > 1 {
                self.find_covered(siblings, &mut adopted);
            }
        }
        if adopted.is_empty() {
            return children;
        }
        for (child, parent) in adopted {
            self.spans[child as usize].parent = parent;
            self.spans[parent as usize].has_children = true;
            self.forest.ingest.adopted += 1;
        }
        children = self.children_by_start();
        children
    }

    /// `(parent, child)`, sorted by parent, then start, then the longer first.
    fn children_by_start(&self) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = self
            .spans
            .iter()
            .zip(0..)
            .filter(|(s, _)| s.parent != NONE && !s.dead)
            .map(|(s, at)| (s.parent, at))
            .collect();
        pairs.sort_unstable_by_key(|&(parent, at)| {
            let span = &self.spans[at as usize];
            (parent, span.start, std::cmp::Reverse(span.end), span.row)
        });
        pairs
    }

    fn find_covered(&self, siblings: &[(u32, u32)], adopted: &mut Vec<(u32, u32)>) {
        let mut open: Vec<u32> = Vec::new();
        for &(_, at) in siblings {
            let span = &self.spans[at as usize];
            open.retain(|o| self.spans[*o as usize].end > span.start);
            if open.len() > MAX_KEPT_OPEN {
                open.drain(..open.len() - MAX_KEPT_OPEN);
            }
            let covering = open.iter().rev().take(MAX_OPEN_SIBLINGS).filter(|o| self.covers(**o, at));
            if let Some(parent) = covering.min_by_key(|o| self.spans[**o as usize].end) {
                adopted.push((at, *parent));
            }
            if !span.has_children && !span.class.is_storage() && span.class != Class::Pool {
                open.push(at);
            }
        }
    }

    /// Whether a leaf is likely the true parent of a sibling within its time. Within one service only where the leaf
    /// does not even tell its kind, so that its parent is to be doubted as well, and not of tasks started together.
    fn covers(&self, leaf: u32, other: u32) -> bool {
        let (l, o) = (&self.spans[leaf as usize], &self.spans[other as usize]);
        if o.start < l.start || o.end > l.end || o.end - o.start >= l.end - l.start {
            return false;
        }
        let same_service = self.call(l).service == self.call(o).service;
        if !same_service || o.class == Class::Server {
            return true;
        }
        let started_together = ((o.start - l.start) as f64) < STARTED_TOGETHER * (l.end - l.start) as f64;
        l.class == Class::Internal && !l.class_sent && !started_together
    }

    /// Emits one tree, parents first: aligned, clamped, detached tails marked.
    fn grow(&mut self, (root, shift): (usize, i64), children: &[(u32, u32)], trace_id: u128, base: u64) {
        let first = self.next_node();
        let origin = self.spans[root].start;
        let orphan = self.spans[root].missing_parent && self.spans[root].class != Class::Server;
        if orphan {
            self.forest.ingest.orphans += 1;
        }
        // (span, parent node, shift in ns)
        let mut stack = vec![(u32::try_from(root).unwrap_or(NONE), NONE, shift)];
        let mut below: Vec<Below> = Vec::new();
        while let Some((at, parent, shift)) = stack.pop() {
            let node = self.next_node();
            let span = self.spans[at as usize];
            self.forest.nodes.push(Node {
                row: span.row,
                parent,
                subtree_end: node + 1,
                start_ns: span.start - origin,
                end_ns: span.end - origin,
                class: span.class,
                detached: span.detached,
            });
            below.clear();
            let from = children.partition_point(|c| c.0 < at);
            let own = || children[from..].iter().take_while(|c| c.0 == at).map(|c| c.1);
            let cut = own().map(|child| self.cut_off(at, child, shift)).max().unwrap_or(0);
            for child in own() {
                let shift = self.fit(at, child, shift, cut);
                if self.is_apart(at, child) {
                    self.spans[child as usize].detached = false;
                    self.forest.ingest.apart += 1;
                    self.apart.push((child, shift));
                    continue;
                }
                let fitted = &self.spans[child as usize];
                below.push((fitted.start, fitted.end, child, shift));
            }
            below.sort_unstable();
            self.part_cut(at, &mut below);
            stack.extend(below.iter().rev().map(|&(_, _, child, shift)| (child, node, shift)));
        }
        let end = self.next_node();
        for node in (first + 1..end).rev() {
            let Node { parent, subtree_end, .. } = self.forest.nodes[node as usize];
            let above = &mut self.forest.nodes[parent as usize];
            above.subtree_end = above.subtree_end.max(subtree_end);
        }
        let start_ns = base.saturating_add(u64::try_from(origin).unwrap_or(0));
        self.forest.trees.push(Tree { trace_id, root: first, end, start_ns, orphan });
    }

    /// Whether a service was entered after the caller had ended: a redirect that a browser followed, a message that a
    /// worker took up, work that nobody waited for. It is a request of its own.
    fn is_apart(&self, parent: u32, child: u32) -> bool {
        let (p, c) = (&self.spans[parent as usize], &self.spans[child as usize]);
        let consumes =
            c.class == Class::Messaging && self.table.kinds.get(c.row as usize) == Some(&SpanKind::Consumer);
        (c.class == Class::Server || consumes) && c.detached && c.start >= p.end
    }

    fn next_node(&self) -> NodeId {
        u32::try_from(self.forest.nodes.len()).unwrap_or(NONE)
    }

    /// Puts a child within its parent, whose times are final. Returns the shift for what is below the child.
    /// `cut` is by how much the parent's start was cut at least, see [`Self::cut_off`].
    fn fit(&mut self, parent: u32, child: u32, mut shift: i64, cut: i64) -> i64 {
        let before = shift;
        let p = self.spans[parent as usize];
        let mut c = self.spans[child as usize];
        c.start += shift;
        c.end += shift;
        if self.table.starts_ns[c.row as usize] == 0 {
            (c.start, c.end) = (p.start, p.start + (c.end - c.start));
        }
        let remote = self.call(&p).service != self.call(&c).service;
        let outside = (p.start - c.start).max(c.end - p.end);
        if outside > 0 && remote && p.class != Class::Server && c.class == Class::Server {
            let slack = (p.end - p.start) - (c.end - c.start);
            let tolerance = self.tolerance(&p);
            if outside > tolerance && slack >= 0 {
                // Two clocks: the server's work lies in the middle of the client's wait.
                let aligned = p.start + slack / 2 - c.start;
                c.start += aligned;
                c.end += aligned;
                shift += aligned;
                self.forest.ingest.realigned += 1;
            }
        }
        if self.clock_step(&p, &c) > 0 {
            let over = self.cut_off(parent, child, before);
            // Its start was cut to the clock's step, and so was its parent's: it ended in time. Its siblings go with
            // it as far as they can, so that their order stays.
            let back = over.max(cut.min(c.start - p.start)).max(0);
            c.start -= back;
            c.end -= back;
            shift -= back;
            self.forest.ingest.clamped += u64::from(over > 0);
        }
        let late = c.start >= p.end && c.end > p.end;
        let early = c.end <= p.start && c.start < p.start;
        let tail = !remote && c.end - p.end > self.tolerance(&p) && !is_layer(&p, &c);
        if p.detached || late || early || tail || c.class == Class::Messaging && c.end > p.end {
            c.detached = true;
            self.forest.ingest.detached += u64::from(!p.detached);
        } else if c.start < p.start || c.end > p.end {
            c.start = c.start.clamp(p.start, p.end);
            c.end = c.end.clamp(c.start, p.end);
            self.forest.ingest.clamped += 1;
        }
        self.spans[child as usize] = c;
        shift
    }

    /// A start that was cut to the clock's step seems to lie up to one step before the end of the sibling that it
    /// waited for: what overlaps by less is moved behind it, by no more than was cut off.
    fn part_cut(&mut self, parent: u32, below: &mut [Below]) {
        let limit = self.spans[parent as usize].end;
        let mut moved = false;
        for at in 1..below.len() {
            let (start, end, child, shift) = below[at];
            if !self.is_cut(child) || self.spans[child as usize].detached {
                continue;
            }
            let before = below[at.saturating_sub(MAX_KEPT_OPEN)..at].iter();
            let ends = before.filter(|b| self.is_cut(b.2)).map(|b| b.1 - start);
            let Some(over) = ends.filter(|over| (1..COARSE_STEP_NS as i64).contains(over)).max() else {
                continue;
            };
            let (start, end) = ((start + over).min(limit), (end + over).min(limit));
            below[at] = (start, end, child, shift + over);
            let span = &mut self.spans[child as usize];
            (span.start, span.end) = (start, end);
            moved = true;
        }
        if moved {
            below.sort_unstable();
        }
    }

    /// Whether a start tells whole milliseconds only.
    fn is_cut(&self, at: u32) -> bool {
        self.table.starts_ns[self.spans[at as usize].row as usize].is_multiple_of(COARSE_STEP_NS)
    }

    /// By how much a child seems to end after its parent only because both starts were cut; 0 where that is not why.
    fn cut_off(&self, parent: u32, child: u32, shift: i64) -> i64 {
        let (p, c) = (&self.spans[parent as usize], &self.spans[child as usize]);
        let over = c.end + shift - p.end;
        if (1..=self.clock_step(p, c)).contains(&over) { over } else { 0 }
    }

    /// How far two starts may be wrong against each other: a clock that only tells whole milliseconds (as JavaScript's
    /// does, while durations are exact) cuts each by up to one.
    fn clock_step(&self, parent: &Local, child: &Local) -> i64 {
        let whole = |span: &Local| self.table.starts_ns[span.row as usize].is_multiple_of(COARSE_STEP_NS);
        if whole(parent) && whole(child) { COARSE_STEP_NS as i64 } else { 0 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a share of a duration")]
    fn tolerance(&self, parent: &Local) -> i64 {
        let share = (parent.end - parent.start) as f64 * self.thresholds.overlap_share;
        (self.thresholds.overrun_ms * 1e6).max(share) as i64
    }
}

/// Whether a step fills the one around it, as a handler fills the framework's span, and ends a little later: a hook
/// ended the outer one, nothing was left behind.
fn is_layer(outer: &Local, inner: &Local) -> bool {
    let whole = outer.end - outer.start;
    let within = (inner.end.min(outer.end) - inner.start.max(outer.start)).saturating_mul(10);
    let internal = outer.class == Class::Internal && inner.class == Class::Internal;
    internal && within >= whole.saturating_mul(9) && (inner.end - outer.end).saturating_mul(10) <= whole
}

/// A clock that tells no finer.
const COARSE_STEP_NS: u64 = 1_000_000;
/// Of spans with one id, so many are told apart.
const MAX_SHARED_ID: usize = 32;
/// Of siblings that overlap, so many are remembered, the newest.
const MAX_KEPT_OPEN: usize = 64;
/// At most so many open siblings are looked at for a covering one.
const MAX_OPEN_SIBLINGS: usize = 16;
/// Siblings that start within this share of the longer one's time were started side by side.
const STARTED_TOGETHER: f64 = 0.02;

#[cfg(test)]
mod tests;
