//! A profile made small: a tree of functions, grouped by kinds of threads, with what hardly counts folded into its
//! caller, so that a recording can keep it, rules can judge it and a page can draw it. Every nanosecond stays in it.

use crate::stacks::{Frame, FrameKind, Stacks};
use crate::summary::summarize;
use model::{
    CallNode, CodeFrame, CodeKind, Grown, Growth, PROFILE_VERSION, Profile, StateMs, Sym, ThreadGroup,
};
use std::collections::HashMap;

/// Nodes of the tree that are kept at most.
pub const MAX_KEPT_NODES: usize = 6000;
/// Windows that the growth is told in at most; more are joined.
const MAX_WINDOWS: u64 = 120;
/// A node stays where it has this share of all time in one of the states, with what it calls ...
const MIN_SHARE: f64 = 2e-4;
/// Functions below one another that are kept at most.
const MAX_KEPT_DEPTH: usize = 160;
const NS_PER_MS: f64 = 1e6;

/// The tree while it is made.
#[derive(Default)]
struct Tree {
    nodes: Vec<CallNode>,
    index: HashMap<(u32, u32), u32>,
    frames: Vec<CodeFrame>,
    frame_index: HashMap<(FrameKind, Sym, Sym), u32>,
    /// By frame: nanoseconds by file and line.
    lines: Vec<HashMap<(Sym, u32), u64>>,
}

impl Tree {
    fn child(&mut self, parent: u32, frame: u32) -> u32 {
        if let Some(known) = self.index.get(&(parent, frame)) {
            return *known;
        }
        let at = number(self.nodes.len());
        self.nodes.push(CallNode { parent, frame, ..CallNode::default() });
        self.index.insert((parent, frame), at);
        at
    }

    fn frame(&mut self, stacks: &Stacks, frame: &Frame) -> u32 {
        let key = (frame.kind, frame.function, frame.module);
        if let Some(known) = self.frame_index.get(&key) {
            return *known;
        }
        let at = self.add_frame(CodeFrame {
            kind: kind(frame.kind),
            function: stacks.strings.get(frame.function).to_owned(),
            module: stacks.strings.get(frame.module).to_owned(),
            ..CodeFrame::default()
        });
        self.frame_index.insert(key, at);
        at
    }

    fn add_frame(&mut self, frame: CodeFrame) -> u32 {
        self.frames.push(frame);
        self.lines.push(HashMap::new());
        number(self.frames.len() - 1)
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn kind(kind: FrameKind) -> CodeKind {
    match kind {
        FrameKind::Native => CodeKind::Native,
        FrameKind::Kernel => CodeKind::Kernel,
        FrameKind::Python => CodeKind::Python,
        FrameKind::JavaScript => CodeKind::JavaScript,
        FrameKind::Label => CodeKind::Label,
    }
}

/// Makes a profile small. It is divided among no operations yet; the growth tells how to.
#[must_use]
pub fn distil(stacks: &Stacks) -> (Profile, Growth) {
    let mut tree = Tree { nodes: vec![CallNode::default()], ..Tree::default() };
    let (groups, group_nodes) = group_threads(stacks, &mut tree);
    let windows = stacks.wall_ns.div_ceil(stacks.window_ns.max(1)).max(1);
    let joined = windows.div_ceil(MAX_WINDOWS).max(1);
    let mut leaves: HashMap<(u32, u32), u32> = HashMap::new();
    let mut grown: HashMap<(u32, u8, u32), f64> = HashMap::new();
    for cell in &stacks.cells {
        let group = group_nodes.get(cell.thread as usize).copied().unwrap_or(0);
        let leaf = *leaves
            .entry((group, cell.stack))
            .or_insert_with(|| insert(stacks, &mut tree, group, cell.stack));
        note_lines(stacks, &mut tree, cell.stack, cell.weight_ns);
        let ms = cell.weight_ns as f64 / NS_PER_MS;
        let state = cell.state.index();
        tree.nodes[leaf as usize].own_ms[state] += ms;
        let window = u32::try_from(u64::from(cell.window) / joined).unwrap_or(u32::MAX);
        let state = u8::try_from(state).unwrap_or(0);
        *grown.entry((leaf, state, window)).or_default() += ms;
    }
    let kept = prune(&mut tree);
    let mut folded: HashMap<(u32, u8, u32), f64> = HashMap::new();
    for ((node, state, window), ms) in grown {
        *folded.entry((kept[node as usize], state, window)).or_default() += ms;
    }
    let mut own: Vec<Grown> =
        folded.into_iter().map(|((node, state, window), ms)| Grown { node, state, window, ms }).collect();
    own.sort_by_key(|g| (g.node, g.state, g.window));
    let growth = Growth { borders_ns: borders(stacks, joined), own };
    (finish(stacks, tree, groups), growth)
}

fn finish(stacks: &Stacks, mut tree: Tree, groups: Vec<ThreadGroup>) -> Profile {
    for (frame, lines) in tree.frames.iter_mut().zip(&tree.lines) {
        let hottest = lines.iter().max_by_key(|((file, line), ns)| (**ns, std::cmp::Reverse((*line, *file))));
        if let Some(((file, line), _)) = hottest {
            stacks.strings.get(*file).clone_into(&mut frame.file);
            frame.line = *line;
        }
    }
    let summary = summarize(stacks);
    let mut ledger_ms = StateMs::default();
    for node in &tree.nodes {
        ledger_ms.iter_mut().zip(node.own_ms).for_each(|(sum, ms)| *sum += ms);
    }
    Profile {
        version: PROFILE_VERSION,
        title: stacks.title.clone(),
        wall_ms: stacks.wall_ns as f64 / NS_PER_MS,
        ledger_ms,
        unscaled_error: summary.running_error,
        own_share: summary.own_share,
        groups,
        frames: tree.frames,
        nodes: tree.nodes,
        splits: vec![vec![1.0]],
        ..Profile::default()
    }
}

/// One node below the root for all threads of a name, and by thread which it is.
fn group_threads(stacks: &Stacks, tree: &mut Tree) -> (Vec<ThreadGroup>, Vec<u32>) {
    let mut groups: Vec<ThreadGroup> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut nodes = Vec::with_capacity(stacks.threads.len());
    for thread in &stacks.threads {
        let name = group_name(&thread.name, thread.pid != 0 && thread.pid == thread.tid);
        let at = *index.entry(name.clone()).or_insert_with(|| {
            groups.push(ThreadGroup { name, ..ThreadGroup::default() });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.threads += 1;
        group.wall_ms += thread.ledger.wall_ns as f64 / NS_PER_MS;
        nodes.push(at);
    }
    let first = tree.frames.len();
    for group in &groups {
        let frame = tree.add_frame(CodeFrame {
            kind: CodeKind::Threads,
            function: group.name.clone(),
            ..CodeFrame::default()
        });
        tree.child(0, frame);
    }
    for cell in &stacks.cells {
        if let Some(group) = nodes.get(cell.thread as usize).and_then(|at| groups.get_mut(*at)) {
            group.own_ms[cell.state.index()] += cell.weight_ns as f64 / NS_PER_MS;
        }
    }
    (groups, nodes.into_iter().map(|at| number(first + at + 1)).collect())
}

/// Names without their numbers: `worker-3` and `worker-7` are one kind of thread.
fn group_name(name: &str, is_main: bool) -> String {
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || "-_#: ".contains(c));
    let bare = if bare.is_empty() { name } else { bare };
    let bare = if bare.is_empty() { "threads" } else { bare };
    if is_main { format!("{bare} (main thread)") } else { bare.to_owned() }
}

fn insert(stacks: &Stacks, tree: &mut Tree, group: u32, stack: u32) -> u32 {
    let mut at = group;
    for index in stacks.path(stack).iter().take(MAX_KEPT_DEPTH) {
        let Some(frame) = stacks.frames.get(*index as usize) else { continue };
        let frame = tree.frame(stacks, frame);
        at = tree.child(at, frame);
    }
    at
}

/// Which line of each function on a stack the time went through.
fn note_lines(stacks: &Stacks, tree: &mut Tree, stack: u32, weight_ns: u64) {
    let Some(leaf) = stacks.nodes.get(stack as usize).filter(|_| stack != 0) else { return };
    let mut at = stack;
    let mut steps = 0;
    while at != 0 && steps < MAX_KEPT_DEPTH {
        let Some(node) = stacks.nodes.get(at as usize) else { break };
        if let Some(frame) = stacks.frames.get(node.frame as usize)
            && frame.line > 0
            && let Some(kept) = tree.frame_index.get(&(frame.kind, frame.function, frame.module))
        {
            // What a function does itself says more than where it calls.
            let weight = if node.frame == leaf.frame { weight_ns } else { weight_ns / 8 };
            *tree.lines[*kept as usize].entry((frame.file, frame.line)).or_default() += weight;
        }
        at = node.parent;
        steps += 1;
    }
}

/// Folds small nodes into their callers until few enough are left; by old node the one that holds its time now.
fn prune(tree: &mut Tree) -> Vec<u32> {
    let mut total: Vec<StateMs> = tree.nodes.iter().map(|node| node.own_ms).collect();
    for at in (1..total.len()).rev() {
        let (own, parent) = (total[at], tree.nodes[at].parent as usize);
        total[parent].iter_mut().zip(own).for_each(|(sum, ms)| *sum += ms);
    }
    let all = total.first().copied().unwrap_or_default();
    let share = |at: usize| {
        total[at].iter().zip(all).map(|(ms, all)| if all > 0.0 { ms / all } else { 0.0 }).fold(0.0, f64::max)
    };
    let mut least = MIN_SHARE;
    while (1..total.len()).filter(|at| share(*at) >= least).count() > MAX_KEPT_NODES {
        least *= 2.0;
    }
    let mut kept = vec![0_u32; total.len()];
    let mut nodes = vec![CallNode::default()];
    nodes[0].own_ms = tree.nodes[0].own_ms;
    for at in 1..total.len() {
        let node = tree.nodes[at];
        let parent = kept[node.parent as usize];
        let is_group = tree.frames.get(node.frame as usize).is_some_and(|f| f.kind == CodeKind::Threads);
        if is_group || share(at) >= least {
            kept[at] = number(nodes.len());
            nodes.push(CallNode { parent, ..node });
        } else {
            kept[at] = parent;
            let own = &mut nodes[parent as usize].own_ms;
            own.iter_mut().zip(node.own_ms).for_each(|(sum, ms)| *sum += ms);
        }
    }
    tree.nodes = nodes;
    tree.index.clear();
    drop_unused_frames(tree);
    kept
}

fn drop_unused_frames(tree: &mut Tree) {
    let mut used = vec![u32::MAX; tree.frames.len()];
    let (mut frames, mut lines) = (Vec::new(), Vec::new());
    for node in tree.nodes.iter_mut().skip(1) {
        let at = node.frame as usize;
        if used[at] == u32::MAX {
            used[at] = number(frames.len());
            frames.push(tree.frames[at].clone());
            lines.push(std::mem::take(&mut tree.lines[at]));
        }
        node.frame = used[at];
    }
    (tree.frames, tree.lines) = (frames, lines);
    tree.frame_index.clear();
}

fn borders(stacks: &Stacks, joined: u64) -> Vec<u64> {
    let length = stacks.window_ns.max(1).saturating_mul(joined);
    let windows = stacks.wall_ns.div_ceil(length).max(1);
    let at = |n: u64| stacks.start_unix_ns.saturating_add((n * length).min(stacks.wall_ns));
    (0..=windows).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::{distil, group_name};
    use crate::formats::read_folded;
    use model::states::{BLOCKED, ON_CPU};

    #[test]
    fn every_millisecond_stays_and_small_functions_fold_into_their_callers() {
        let mut text = String::from("main;handle;build 900000000\nblocked;main;[waits: epoll] 5000000000\n");
        (0..500).for_each(|n| text.push_str(&format!("main;handle;small{n} 10000\n")));
        let stacks = read_folded(&text).unwrap();
        let (profile, growth) = distil(&stacks);
        assert!(profile.nodes.len() < 10, "{}", profile.nodes.len());
        assert!((profile.ledger_ms[ON_CPU] - 905.0).abs() < 1e-6, "{:?}", profile.ledger_ms);
        assert!((profile.ledger_ms[BLOCKED] - 5000.0).abs() < 1e-6, "{:?}", profile.ledger_ms);
        let told: f64 = growth.own.iter().map(|g| g.ms).sum();
        assert!((told - 5905.0).abs() < 1e-6, "{told}");
        let handle = profile
            .nodes
            .iter()
            .position(|n| n.own_ms[ON_CPU] > 4.9 && profile.frames[n.frame as usize].function == "handle");
        assert!(handle.is_some(), "{:?}", profile.nodes);
        let sound = profile.nodes.iter().enumerate().skip(1).all(|(at, n)| (n.parent as usize) < at);
        assert!(sound);
    }

    #[test]
    fn threads_of_a_kind_are_one_group() {
        assert_eq!(group_name("worker-12", false), "worker");
        assert_eq!(group_name("python3", true), "python (main thread)");
        assert_eq!(group_name("12", false), "12");
        assert_eq!(group_name("", false), "threads");
    }
}
