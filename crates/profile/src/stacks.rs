//! A profile as values: frames, a prefix tree of stacks, threads with their ledgers, and weights per window and
//! state. It reads no process and no clock; samplers and file readers fill it, outputs draw it.

use crate::ledger::{Ledger, State};
use model::{Gap, Strings, Sym};
use std::collections::HashMap;

/// Weight cells kept at most (about 50 MB); where more come, two windows become one.
pub const MAX_CELLS: usize = 2_000_000;
/// Nodes of the stack tree kept at most; deeper or newer stacks end in a marked frame and are counted.
pub const MAX_NODES: usize = 2_000_000;
/// Frames of one stack kept at most, those nearest to the leaf.
pub const MAX_DEPTH: usize = 512;
/// First length of a window.
pub const WINDOW_NS: u64 = 1_000_000_000;
const MAX_TEXT_BYTES: usize = 256 << 20;

/// What ran a frame's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum FrameKind {
    #[default]
    Native,
    Kernel,
    Python,
    JavaScript,
    /// No code: what a thread waited for, or why there is no stack. Its function is in square brackets.
    Label,
}

/// One function at one place. Texts are symbols of [`Stacks::strings`]; line 0 means unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Frame {
    pub kind: FrameKind,
    pub function: Sym,
    /// The file of machine code: program or library.
    pub module: Sym,
    /// The source file.
    pub file: Sym,
    pub line: u32,
    /// Its code was copied into its caller's by the compiler.
    pub inlined: bool,
}

/// A stack is a path from the root: a node is a frame below its parent. Node 0 is the root and has no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub parent: u32,
    pub frame: u32,
}

/// One thread of the profile.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    pub pid: u32,
    pub tid: u32,
    pub name: String,
    /// From when to when it was watched, nanoseconds since the profile began.
    pub begin_ns: u64,
    pub end_ns: u64,
    pub ledger: Ledger,
}

/// Weight of one stack in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The window began `window * window_ns` after the profile.
    pub window: u32,
    /// Index into [`Stacks::threads`].
    pub thread: u32,
    /// Index into [`Stacks::nodes`]: the leaf.
    pub stack: u32,
    pub state: State,
    pub weight_ns: u64,
}

/// How far a profile can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// User stacks that were unwound on CPU, and how many of them reached their first function.
    pub native_stacks: u64,
    pub complete_stacks: u64,
    /// How many others were completed from whole stacks of the same thread.
    pub grafted_stacks: u64,
    /// Records that the kernel had no room for.
    pub lost_records: u64,
    /// Reads of a process that changed meanwhile.
    pub torn_reads: u64,
    /// CPU time that the profiler itself took while sampling.
    pub own_cpu_ns: u64,
    /// Sum of samples before they were scaled to the ledger, by [`State::index`].
    pub unscaled_ns: [u64; State::COUNT],
}

/// A profile.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    /// What was profiled, as a person would name it.
    pub title: String,
    /// When it began, Unix nanoseconds; 0 where a file does not say.
    pub start_unix_ns: u64,
    pub wall_ns: u64,
    pub strings: Strings,
    pub frames: Vec<Frame>,
    pub nodes: Vec<Node>,
    pub threads: Vec<Thread>,
    pub window_ns: u64,
    /// Sorted, one per window, thread, stack and state.
    pub cells: Vec<Cell>,
    pub quality: Quality,
    pub gaps: Vec<Gap>,
}

impl Stacks {
    /// The frames of a stack, from the root to the leaf. A foreign index is an empty stack.
    #[must_use]
    pub fn path(&self, stack: u32) -> Vec<u32> {
        let mut path = Vec::new();
        let mut at = stack;
        while let Some(node) = self.nodes.get(at as usize).filter(|_| at != 0) {
            path.push(node.frame);
            at = node.parent;
        }
        path.reverse();
        path
    }

    /// The function of a frame as it is shown.
    #[must_use]
    pub fn function(&self, frame: u32) -> &str {
        self.frames.get(frame as usize).map_or("", |f| self.strings.get(f.function))
    }

    /// Weight of each stack in each state over all windows and threads, sorted by stack.
    #[must_use]
    pub fn totals(&self) -> Vec<(u32, [u64; State::COUNT])> {
        let mut totals: HashMap<u32, [u64; State::COUNT]> = HashMap::new();
        for cell in &self.cells {
            let of_state = &mut totals.entry(cell.stack).or_default()[cell.state.index()];
            *of_state = of_state.saturating_add(cell.weight_ns);
        }
        let mut totals: Vec<_> = totals.into_iter().collect();
        totals.sort_unstable_by_key(|(stack, _)| *stack);
        totals
    }

    /// The ledger of all threads together.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.threads.iter().fold(Ledger::default(), |sum, thread| sum.plus(thread.ledger))
    }

    /// Weight over everything; equals the ledger's wall where the profile adds up.
    #[must_use]
    pub fn weight_ns(&self) -> u64 {
        self.cells.iter().fold(0, |sum, cell| sum.saturating_add(cell.weight_ns))
    }
}

/// Weights as they come in, bounded.
#[derive(Debug)]
pub(crate) struct Cells {
    cells: Vec<Cell>,
    index: HashMap<(u32, u32, u32, State), usize>,
    window_ns: u64,
    limit: usize,
}

impl Default for Cells {
    fn default() -> Self {
        Self { cells: Vec::new(), index: HashMap::new(), window_ns: WINDOW_NS, limit: MAX_CELLS }
    }
}

impl Cells {
    /// Adds weight; `at_ns` counts from the profile's beginning.
    pub(crate) fn add(&mut self, at_ns: u64, thread: u32, stack: u32, state: State, weight_ns: u64) {
        if weight_ns == 0 {
            return;
        }
        if self.cells.len() >= self.limit {
            self.make_room();
        }
        let window = u32::try_from(at_ns / self.window_ns).unwrap_or(u32::MAX);
        let cells = &mut self.cells;
        let at = *self.index.entry((window, thread, stack, state)).or_insert_with(|| {
            cells.push(Cell { window, thread, stack, state, weight_ns: 0 });
            cells.len() - 1
        });
        cells[at].weight_ns = cells[at].weight_ns.saturating_add(weight_ns);
    }

    /// Forgets where the cells of past windows lie, which saves their index; what comes late makes a second
    /// cell, and [`Self::finish`] joins them.
    pub(crate) fn close_windows(&mut self) {
        self.index.clear();
    }

    /// Takes out what one thread has in one state.
    pub(crate) fn remove(&mut self, thread: u32, state: State) {
        self.index.clear();
        self.cells.retain(|cell| cell.thread != thread || cell.state != state);
    }

    /// Joins what is double, then makes windows longer until half of the room is free. Where one window alone
    /// fills the room, the limit gives way: the caller's threads and stacks are bounded too.
    fn make_room(&mut self) {
        self.index.clear();
        join(&mut self.cells);
        while self.cells.len() > self.limit / 2 && self.cells.iter().any(|cell| cell.window > 0) {
            self.window_ns = self.window_ns.saturating_mul(2);
            self.cells.iter_mut().for_each(|cell| cell.window /= 2);
            join(&mut self.cells);
        }
        self.limit = self.limit.max(self.cells.len().saturating_mul(2));
    }

    /// The window's length and the cells, sorted and joined.
    pub(crate) fn finish(mut self) -> (u64, Vec<Cell>) {
        join(&mut self.cells);
        (self.window_ns, self.cells)
    }
}

pub(crate) fn join(cells: &mut Vec<Cell>) {
    let key = |cell: &Cell| (cell.window, cell.thread, cell.stack, cell.state);
    cells.sort_unstable();
    cells.dedup_by(|next, kept| {
        let same = key(next) == key(kept);
        if same {
            kept.weight_ns = kept.weight_ns.saturating_add(next.weight_ns);
        }
        same
    });
}

/// Fills a [`Stacks`]: interns frames and stacks, gathers weights.
#[derive(Debug)]
pub struct Builder {
    stacks: Stacks,
    frame_index: HashMap<Frame, u32>,
    node_index: HashMap<Node, u32>,
    cells: Cells,
    refused_nodes: u64,
}

impl Default for Builder {
    fn default() -> Self {
        let root = Node { parent: 0, frame: u32::MAX };
        let strings = Strings::with_max_bytes(MAX_TEXT_BYTES);
        Self {
            stacks: Stacks { nodes: vec![root], strings, ..Stacks::default() },
            frame_index: HashMap::new(),
            node_index: HashMap::new(),
            cells: Cells::default(),
            refused_nodes: 0,
        }
    }
}

impl Builder {
    /// The values that are neither frames nor weights: title, times, threads, quality, gaps.
    pub fn facts(&mut self) -> &mut Stacks {
        &mut self.stacks
    }

    pub fn text(&mut self, text: &str) -> Sym {
        self.stacks.strings.intern(text)
    }

    /// The index of a frame, the same for the same frame.
    pub fn frame(&mut self, frame: Frame) -> u32 {
        if let Some(known) = self.frame_index.get(&frame) {
            return *known;
        }
        let index = u32::try_from(self.stacks.frames.len()).unwrap_or(u32::MAX);
        self.stacks.frames.push(frame);
        self.frame_index.insert(frame, index);
        index
    }

    /// A frame that has a name and nothing else.
    pub fn named(&mut self, kind: FrameKind, name: &str) -> u32 {
        let function = self.text(name);
        self.frame(Frame { kind, function, ..Frame::default() })
    }

    /// The stack of `frame` on top of `parent`. Where the tree is full, the parent, and it is counted.
    pub fn push(&mut self, parent: u32, frame: u32) -> u32 {
        let node = Node { parent, frame };
        if let Some(known) = self.node_index.get(&node) {
            return *known;
        }
        if self.stacks.nodes.len() >= MAX_NODES {
            self.refused_nodes += 1;
            return parent;
        }
        let index = u32::try_from(self.stacks.nodes.len()).unwrap_or(u32::MAX);
        self.stacks.nodes.push(node);
        self.node_index.insert(node, index);
        index
    }

    /// Adds a thread and returns its index.
    pub fn thread(&mut self, thread: Thread) -> u32 {
        self.stacks.threads.push(thread);
        u32::try_from(self.stacks.threads.len() - 1).unwrap_or(u32::MAX)
    }

    /// Adds weight; `at_ns` counts from the profile's beginning.
    pub fn add(&mut self, at_ns: u64, thread: u32, stack: u32, state: State, weight_ns: u64) {
        self.cells.add(at_ns, thread, stack, state, weight_ns);
    }

    /// Closes the profile with the weights that were added.
    #[must_use]
    pub fn finish(mut self) -> Stacks {
        let (window_ns, cells) = std::mem::take(&mut self.cells).finish();
        self.finish_with(window_ns, cells)
    }

    /// Closes the profile with weights that were gathered elsewhere.
    pub(crate) fn finish_with(mut self, window_ns: u64, mut cells: Vec<Cell>) -> Stacks {
        join(&mut cells);
        (self.stacks.window_ns, self.stacks.cells) = (window_ns, cells);
        if self.refused_nodes > 0 {
            let many = self.refused_nodes;
            self.stacks.gaps.push(Gap::new(
                "profile",
                format!("{many} stacks were cut short: there are more than {MAX_NODES} different ones"),
                "profile for a shorter time",
            ));
        }
        self.stacks.gaps.sort();
        self.stacks.gaps.dedup();
        self.stacks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_share_their_nodes_and_weights_add() {
        let mut builder = Builder::default();
        let thread = builder.thread(Thread::default());
        let (main, work) =
            (builder.named(FrameKind::Native, "main"), builder.named(FrameKind::Native, "work"));
        let below = builder.push(0, main);
        let leaf = builder.push(below, work);
        assert_eq!(leaf, builder.push(below, work));
        builder.add(5, thread, leaf, State::Running, 10);
        builder.cells.close_windows();
        builder.add(7, thread, leaf, State::Running, 20);
        builder.add(WINDOW_NS, thread, leaf, State::Blocked, 1);
        let stacks = builder.finish();
        assert_eq!(stacks.cells.len(), 2);
        assert_eq!(stacks.totals(), [(leaf, [30, 0, 1, 0])]);
        let names: Vec<&str> = stacks.path(leaf).iter().map(|f| stacks.function(*f)).collect();
        assert_eq!(names, ["main", "work"]);
    }

    #[test]
    fn a_full_table_gets_longer_windows_and_keeps_every_nanosecond() {
        let mut cells = Cells { limit: 100, ..Cells::default() };
        for second in 0..250 {
            cells.add(second * WINDOW_NS, 0, 1, State::Running, 3);
        }
        let (window_ns, cells) = cells.finish();
        assert_eq!(window_ns, 4 * WINDOW_NS);
        assert_eq!(cells.iter().map(|cell| cell.weight_ns).sum::<u64>(), 750);
        assert!(cells.len() <= 100);
    }

    #[test]
    fn one_window_with_more_cells_than_the_limit_is_kept() {
        let mut cells = Cells { limit: 10, ..Cells::default() };
        (0..50).for_each(|stack| cells.add(0, 0, stack, State::Running, 1));
        assert_eq!(cells.finish().1.len(), 50);
    }
}
