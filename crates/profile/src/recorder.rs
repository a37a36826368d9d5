//! Stacks as they are sampled, before they have names: a prefix tree of raw frames, and weights. At the end weights
//! are scaled, thread by thread and state by state, so that they sum to the ledger.

use crate::ledger::{Ledger, State};
use crate::stacks::{Cell, Cells, MAX_DEPTH, MAX_NODES};
use crate::unwind::Place;
use std::collections::HashMap;

/// A frame that has no name yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Raw {
    Code {
        code: u32,
        address: u64,
    },
    /// Code that is in no file: made by a process at run time.
    Made {
        pid: u32,
        address: u64,
    },
    Kernel(u64),
    /// An index into the names that an interpreter's reader has given, and a line.
    Named {
        name: u32,
        line: u32,
    },
    Label(&'static str),
}

impl Raw {
    pub(crate) fn of(pid: u32, place: Place) -> Self {
        match place {
            Place::File { code, address } => Self::Code { code, address },
            Place::Nowhere(address) => Self::Made { pid, address },
        }
    }
}

/// The label of time for which no stack is known.
pub(crate) const NOT_SAMPLED: Raw = Raw::Label("[not sampled]");

#[derive(Default)]
pub(crate) struct Recorder {
    /// Parent and frame; node 0 is the root.
    nodes: Vec<(u32, Raw)>,
    index: HashMap<(u32, Raw), u32>,
    pub(crate) cells: Cells,
    pub(crate) refused_nodes: u64,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![(0, NOT_SAMPLED)], ..Self::default() }
    }

    /// The stack of these frames, root first; of a deeper one, the part near its leaf.
    pub(crate) fn stack(&mut self, frames: &[Raw]) -> u32 {
        self.above(0, &frames[frames.len().saturating_sub(MAX_DEPTH)..])
    }

    /// The stack of `frames` on top of `below`.
    pub(crate) fn above(&mut self, below: u32, frames: &[Raw]) -> u32 {
        frames.iter().fold(below, |parent, frame| self.push(parent, *frame))
    }

    fn push(&mut self, parent: u32, frame: Raw) -> u32 {
        if let Some(known) = self.index.get(&(parent, frame)) {
            return *known;
        }
        if self.nodes.len() >= MAX_NODES {
            self.refused_nodes += 1;
            return parent;
        }
        let index = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push((parent, frame));
        self.index.insert((parent, frame), index);
        index
    }

    /// Parents stand before their children.
    pub(crate) fn nodes(&self) -> &[(u32, Raw)] {
        &self.nodes
    }
}

/// What scaling did.
pub(crate) struct Scaled {
    pub(crate) cells: Vec<Cell>,
    /// Sums before scaling.
    pub(crate) unscaled_ns: [u64; State::COUNT],
}

/// Scales cells so that each thread's states sum to its ledger; a state of which nothing was sampled becomes one
/// cell with the stack `unknown` in the first window of the thread's life.
pub(crate) fn scale(mut cells: Vec<Cell>, ledgers: &[(u32, Ledger)], unknown: u32) -> Scaled {
    let mut sums = vec![[0_u64; 3]; ledgers.len()];
    let mut unscaled_ns = [0; State::COUNT];
    for cell in &cells {
        unscaled_ns[cell.state.index()] += cell.weight_ns;
        if let Some(sum) = sums.get_mut(cell.thread as usize) {
            sum[group(cell.state)] += cell.weight_ns;
        }
    }
    let wanted = |ledger: &Ledger| [ledger.running_ns, ledger.queued_ns, ledger.blocked_ns];
    let mut given = vec![[(0_u64, 0_u64); 3]; ledgers.len()];
    for cell in &mut cells {
        let (thread, group) = (cell.thread as usize, group(cell.state));
        let Some((_, ledger)) = ledgers.get(thread) else { continue };
        let (sampled, out) = &mut given[thread][group];
        *sampled += cell.weight_ns;
        // Rounding the running total, not each cell, makes the parts sum to the whole.
        let share =
            u128::from(*sampled) * u128::from(wanted(ledger)[group]) / u128::from(sums[thread][group].max(1));
        let total = u64::try_from(share).unwrap_or(u64::MAX);
        cell.weight_ns = total - *out;
        *out = total;
    }
    for (at, (window, ledger)) in ledgers.iter().enumerate() {
        for (group, state) in [State::Running, State::Queued, State::Blocked].into_iter().enumerate() {
            let weight_ns = wanted(ledger)[group];
            if sums[at][group] == 0 && weight_ns > 0 {
                let thread = u32::try_from(at).unwrap_or(u32::MAX);
                cells.push(Cell { window: *window, thread, stack: unknown, state, weight_ns });
            }
        }
    }
    cells.retain(|cell| cell.weight_ns > 0);
    Scaled { cells, unscaled_ns }
}

fn group(state: State) -> usize {
    match state {
        State::Running => 0,
        State::Queued => 1,
        State::Blocked | State::GilWait => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_weights_sum_to_the_ledger_to_the_nanosecond() {
        let ledger = Ledger::new(1000, 333, 100);
        let cell = |stack, state, weight_ns| Cell { window: 0, thread: 0, stack, state, weight_ns };
        let cells = vec![
            cell(1, State::Running, 7),
            cell(2, State::Running, 7),
            cell(3, State::Running, 7),
            cell(4, State::Blocked, 10),
            cell(4, State::GilWait, 30),
        ];
        let scaled = scale(cells, &[(0, ledger)], 9);
        let sum = |states: &[State]| -> u64 {
            scaled.cells.iter().filter(|c| states.contains(&c.state)).map(|c| c.weight_ns).sum()
        };
        assert_eq!(sum(&[State::Running]), 333);
        assert_eq!(sum(&[State::Blocked, State::GilWait]), 567);
        assert_eq!(sum(&[State::Queued]), 100);
        assert_eq!(scaled.unscaled_ns, [21, 0, 10, 30]);
        assert!(scaled.cells.iter().any(|c| c.stack == 9 && c.state == State::Queued));
    }

    #[test]
    fn a_stack_deeper_than_the_bound_keeps_its_leaf() {
        let mut recorder = Recorder::new();
        let deep: Vec<Raw> = (0..2000).map(Raw::Kernel).collect();
        let leaf = recorder.stack(&deep) as usize;
        assert_eq!(recorder.nodes().len(), MAX_DEPTH + 1);
        assert_eq!(recorder.nodes()[leaf].1, Raw::Kernel(1999));
    }
}
