//! Completes stacks that were cut off: where the outermost function that was seen, at the very call it was in, stands
//! in whole stacks of the same thread, and is called from one place in all of them, those callers are its callers.
//! Where whole stacks differ, or there is none, nothing is added.

use crate::recorder::{Raw, Recorder};
use crate::stacks::Cell;
use std::collections::{HashMap, HashSet};

/// Stacks of threads that are remembered.
const MAX_ENDS: usize = 1 << 20;

/// Which stacks of which threads (both by number) are whole, and which were cut off, with the samples on CPU of each.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    whole: HashSet<(u32, u32)>,
    cut: HashMap<(u32, u32), u64>,
}

/// What whole stacks say of a frame's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    One(u32),
    Several,
}

impl Ends {
    /// A stack was unwound, `samples` times on a CPU.
    pub(crate) fn note(&mut self, thread: usize, stack: u32, whole: bool, samples: u64) {
        let key = (u32::try_from(thread).unwrap_or(u32::MAX), stack);
        if self.whole.len() + self.cut.len() >= MAX_ENDS {
            return;
        }
        if whole {
            self.whole.insert(key);
        } else {
            *self.cut.entry(key).or_default() += samples;
        }
    }

    /// Completes the stacks of `cells`. Returns how many samples on CPU have a whole stack by this.
    pub(crate) fn graft(&self, recorder: &mut Recorder, cells: &mut [Cell]) -> u64 {
        let mut by_thread: HashMap<u32, Vec<u32>> = HashMap::new();
        for (thread, stack) in &self.whole {
            by_thread.entry(*thread).or_default().push(*stack);
        }
        let mut callers: HashMap<u32, HashMap<Raw, Caller>> = HashMap::new();
        let (mut samples, mut grafted) = (0, HashMap::new());
        let mut cut: Vec<_> = self.cut.iter().collect();
        cut.sort_unstable();
        for ((thread, stack), many) in cut {
            let whole = by_thread.get(thread).map_or(&[][..], Vec::as_slice);
            let known = callers.entry(*thread).or_insert_with(|| callers_in(recorder, whole));
            let path = path(recorder, *stack);
            if let Some(Caller::One(below)) = path.first().and_then(|outermost| known.get(outermost)) {
                grafted.insert((*thread, *stack), recorder.above(*below, &path));
                samples += many;
            }
        }
        for cell in cells {
            if let Some(stack) = grafted.get(&(cell.thread, cell.stack)) {
                cell.stack = *stack;
            }
        }
        samples
    }
}

/// The frames of a stack, root first.
fn path(recorder: &Recorder, stack: u32) -> Vec<Raw> {
    let node = |at: u32| recorder.nodes().get(at as usize).filter(|_| at != 0);
    let mut frames: Vec<Raw> =
        std::iter::successors(node(stack), |(parent, _)| node(*parent)).map(|(_, raw)| *raw).collect();
    frames.reverse();
    frames
}

/// Where each frame of these stacks was called from.
fn callers_in(recorder: &Recorder, stacks: &[u32]) -> HashMap<Raw, Caller> {
    let mut seen = HashSet::new();
    let mut callers = HashMap::new();
    for stack in stacks {
        let mut at = *stack;
        while at != 0 && seen.insert(at) {
            let Some((parent, raw)) = recorder.nodes().get(at as usize) else { break };
            let caller = callers.entry(*raw).or_insert(Caller::One(*parent));
            if *caller != Caller::One(*parent) {
                *caller = Caller::Several;
            }
            at = *parent;
        }
    }
    callers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::State;

    /// Frames by letters, root first; `*` at the end: it was cut off. Tells what becomes of the last.
    fn check(stacks: &[&str], expected: &str) {
        let frame = |letter: char| Raw::Kernel(u64::from(u32::from(letter)));
        let (mut recorder, mut ends, mut last) = (Recorder::new(), Ends::default(), 0);
        for text in stacks {
            let frames: Vec<Raw> = text.trim_end_matches('*').chars().map(frame).collect();
            last = recorder.stack(&frames);
            ends.note(0, last, !text.ends_with('*'), 3);
        }
        let cell = |thread| Cell { window: 0, thread, stack: last, state: State::Running, weight_ns: 1 };
        let mut cells = [cell(0), cell(1)];
        let samples = ends.graft(&mut recorder, &mut cells);
        let wanted: Vec<Raw> = expected.chars().map(frame).collect();
        assert_eq!(path(&recorder, cells[0].stack), wanted, "{stacks:?}");
        assert_eq!(samples, if cells[0].stack == last { 0 } else { 3 });
        assert_eq!(cells[1].stack, last, "another thread's stays as it is");
    }

    #[test]
    fn a_stack_that_was_cut_off_gets_the_callers_that_its_outermost_frame_always_has() {
        check(&["srpax", "srpb", "pqy*"], "srpqy");
        check(&["srpax", "srqpb", "py*"], "py");
        check(&["sppx", "py*"], "py");
        check(&["srx", "py*"], "py");
        check(&["pq*", "py*"], "py");
    }
}
