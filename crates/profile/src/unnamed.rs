//! Says which files of machine code a profile spends time in without knowing their functions.

use crate::ledger::State;
use crate::stacks::{FrameKind, Stacks};
use model::{Gap, Sym};
use std::collections::BTreeMap;

/// Percent of the time on CPU from which on it is said.
const SAID_PERCENT: u64 = 5;

/// How a file is shown whose function has no name.
pub(crate) fn label(path: &str) -> String {
    format!("[{}]", path.rsplit('/').next().unwrap_or(path))
}

/// A gap for each file whose nameless functions have a large part of the time on CPU for themselves.
pub(crate) fn gaps(stacks: &Stacks) -> Vec<Gap> {
    let mut by_module: BTreeMap<Sym, u64> = BTreeMap::new();
    let mut total_ns = 0_u64;
    for cell in stacks.cells.iter().filter(|cell| cell.state == State::Running) {
        total_ns += cell.weight_ns;
        let leaf = stacks.nodes.get(cell.stack as usize).filter(|_| cell.stack != 0);
        let Some(frame) = leaf.and_then(|node| stacks.frames.get(node.frame as usize)) else { continue };
        let function = stacks.strings.get(frame.function);
        // Cheap tests first: there are up to two million cells.
        if frame.kind == FrameKind::Native
            && function.starts_with('[')
            && function == label(stacks.strings.get(frame.module))
        {
            *by_module.entry(frame.module).or_default() += cell.weight_ns;
        }
    }
    let gap = |(module, ns): (Sym, u64)| {
        let percent = u64::try_from(u128::from(ns) * 100 / u128::from(total_ns.max(1))).unwrap_or(100);
        let path = stacks.strings.get(module);
        (percent >= SAID_PERCENT).then(|| {
            Gap::new(
                "profile",
                format!("{percent} % of the time on CPU is in functions of `{path}` that it does not name"),
                "install its debug symbols (Debian: libc6-dbg or NAME-dbgsym, Fedora: `dnf debuginfo-install`), \
                 or do not strip it",
            )
        })
    };
    by_module.into_iter().filter_map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::{Builder, Frame};

    /// What is said of a stripped file that has so many of a thousand nanoseconds.
    fn said(nameless_ns: u64) -> Vec<Gap> {
        let mut builder = Builder::default();
        let mut leaf = |function: &str| {
            let (function, module) = (builder.text(function), builder.text("/opt/app/stripped"));
            let frame = builder.frame(Frame { function, module, ..Frame::default() });
            builder.push(0, frame)
        };
        let (nameless, named) = (leaf("[stripped]"), leaf("work"));
        let cell = |stack, state, weight_ns| crate::Cell { window: 0, thread: 0, stack, state, weight_ns };
        let cells = vec![
            cell(nameless, State::Running, nameless_ns),
            cell(named, State::Running, 1000 - nameless_ns),
            cell(nameless, State::Blocked, 5000),
        ];
        gaps(&builder.finish_with(1, cells))
    }

    #[test]
    fn a_file_without_names_is_told_where_it_takes_much_time() {
        let gaps = said(70);
        assert!(gaps.len() == 1 && gaps[0].reason.contains("7 % of the time on CPU"), "{gaps:?}");
        assert_eq!(said(49), []);
    }
}
