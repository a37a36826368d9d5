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
    /// Time on CPU of threads without a sample that is shown as what others like them did.
    pub(crate) pooled_ns: u64,
}

/// What the cells of a thread are to sum to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The first window of its life.
    pub(crate) window: u32,
    pub(crate) ledger: Ledger,
    /// Threads with the same number are alike, and each is so short that it may have no sample.
    pub(crate) pool: Option<u32>,
}

/// Samples of threads that are alike: weight up to and with each, stack and state.
type Pool = Vec<(u64, u32, State)>;

/// The sample at a place between 0 (the first) and `of` (behind the last).
fn sample_at(pool: &Pool, place: u64, of: u64) -> Option<(u32, State)> {
    let whole = pool.last()?.0;
    let at = u128::from(place) * u128::from(whole) / u128::from(of.max(1));
    let sample = pool.get(pool.partition_point(|(up_to, ..)| u128::from(*up_to) <= at))?;
    Some((sample.1, sample.2))
}

/// Scales cells so that each thread's states sum to its ledger. A state of which nothing was sampled becomes one cell in
/// the first window of the thread's life: with a stack of its pool, where each is taken as often as it was sampled, else
/// with the stack `unknown`.
pub(crate) fn scale(mut cells: Vec<Cell>, ledgers: &[Wanted], unknown: u32) -> Scaled {
    let mut sums = vec![[0_u64; 3]; ledgers.len()];
    let mut pools: HashMap<(u32, usize), Pool> = HashMap::new();
    let mut unscaled_ns = [0; State::COUNT];
    for cell in &cells {
        unscaled_ns[cell.state.index()] += cell.weight_ns;
        if let Some(sum) = sums.get_mut(cell.thread as usize) {
            sum[group(cell.state)] += cell.weight_ns;
        }
        if let Some(pool) = ledgers.get(cell.thread as usize).and_then(|wanted| wanted.pool) {
            let pool = pools.entry((pool, group(cell.state))).or_default();
            let up_to = pool.last().map_or(0, |last| last.0) + cell.weight_ns;
            pool.push((up_to, cell.stack, cell.state));
        }
    }
    let wanted = |ledger: &Ledger| [ledger.running_ns, ledger.queued_ns, ledger.blocked_ns];
    let mut given = vec![[(0_u64, 0_u64); 3]; ledgers.len()];
    for cell in &mut cells {
        let (thread, group) = (cell.thread as usize, group(cell.state));
        let Some(Wanted { ledger, .. }) = ledgers.get(thread) else { continue };
        let (sampled, out) = &mut given[thread][group];
        *sampled += cell.weight_ns;
        // Rounding the running total, not each cell, makes the parts sum to the whole.
        let share =
            u128::from(*sampled) * u128::from(wanted(ledger)[group]) / u128::from(sums[thread][group].max(1));
        let total = u64::try_from(share).unwrap_or(u64::MAX);
        cell.weight_ns = total - *out;
        *out = total;
    }
    let pooled_ns = add_unsampled(&mut cells, ledgers, &sums, &pools, unknown);
    cells.retain(|cell| cell.weight_ns > 0);
    Scaled { cells, unscaled_ns, pooled_ns }
}

/// Adds cells for states of threads of which nothing was sampled. Returns how much time on CPU a pool stands for.
fn add_unsampled(
    cells: &mut Vec<Cell>,
    ledgers: &[Wanted],
    sums: &[[u64; 3]],
    pools: &HashMap<(u32, usize), Pool>,
    unknown: u32,
) -> u64 {
    let owed = || {
        let of = |(at, wanted): (usize, &Wanted)| {
            let Ledger { running_ns, queued_ns, blocked_ns, .. } = wanted.ledger;
            let by_group = [running_ns, queued_ns, blocked_ns].into_iter().enumerate();
            let (wanted, sums) = (*wanted, sums.get(at).copied().unwrap_or_default());
            by_group
                .filter(move |(group, ns)| sums[*group] == 0 && *ns > 0)
                .map(move |(group, ns)| (at, wanted, group, ns))
        };
        ledgers.iter().enumerate().flat_map(of)
    };
    let mut whole: HashMap<(u32, usize), u64> = HashMap::new();
    for (_, wanted, group, ns) in owed() {
        if let Some(pool) = wanted.pool {
            *whole.entry((pool, group)).or_default() += ns;
        }
    }
    let (mut given, mut pooled_ns) = (HashMap::<(u32, usize), u64>::new(), 0);
    for (at, wanted, group, weight_ns) in owed() {
        let sample = wanted.pool.and_then(|pool| {
            let given = given.entry((pool, group)).or_default();
            let place = *given + weight_ns / 2;
            *given += weight_ns;
            sample_at(pools.get(&(pool, group))?, place, *whole.get(&(pool, group))?)
        });
        pooled_ns += if sample.is_some() && group == 0 { weight_ns } else { 0 };
        let state = [State::Running, State::Queued, State::Blocked][group];
        let (stack, state) = sample.unwrap_or((unknown, state));
        let thread = u32::try_from(at).unwrap_or(u32::MAX);
        cells.push(Cell { window: wanted.window, thread, stack, state, weight_ns });
    }
    pooled_ns
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
        let scaled = scale(cells, &[Wanted { window: 0, ledger, pool: None }], 9);
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
    fn threads_without_a_sample_are_shown_as_what_others_like_them_did() {
        let wanted = |pool| Wanted { window: 3, ledger: Ledger::new(10, 10, 0), pool };
        let mut ledgers = vec![wanted(Some(0)); 102];
        ledgers.push(wanted(None));
        let cell =
            |thread, stack, weight_ns| Cell { window: 0, thread, stack, state: State::Running, weight_ns };
        let scaled = scale(vec![cell(0, 1, 30), cell(1, 2, 10)], &ledgers, 9);
        let of = |stack| scaled.cells.iter().filter(|c| c.stack == stack).map(|c| c.weight_ns).sum::<u64>();
        assert_eq!((of(1), of(2), of(9)), (10 + 750, 10 + 250, 10));
        assert_eq!(scaled.pooled_ns, 1000);
        assert!((0..103).all(|at| scaled.cells.iter().filter(|c| c.thread == at).count() == 1));
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
