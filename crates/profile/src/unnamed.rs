//! Says what code a profile spends time in without knowing its functions: of which files, or made at run time.

use crate::ledger::State;
use crate::stacks::{FrameKind, Stacks};
use model::{Gap, Sym};
use std::collections::BTreeMap;

/// Percent of the time on CPU from which on it is said.
const SAID_PERCENT: u64 = 5;

/// How code without a file is shown that no perf map names.
pub(crate) const MADE: &str = "[code made at run time]";
const MADE_HINT: &str = "have the runtime write a perf map: Java `-XX:+PreserveFramePointer` at its start and `jcmd PID Compiler.perfmap` \
                         while it is profiled, .NET `DOTNET_PerfMapEnabled=1`, Ruby `--yjit-perf`";

/// How a file is shown whose function has no name.
pub(crate) fn label(path: &str) -> String {
    format!("[{}]", path.rsplit('/').next().unwrap_or(path))
}

/// A gap for each file whose nameless functions have a large part of the time on CPU for themselves, and for code that
/// was made at run time.
pub(crate) fn gaps(stacks: &Stacks) -> Vec<Gap> {
    let mut by_module: BTreeMap<Sym, u64> = BTreeMap::new();
    let (mut total_ns, mut made_ns) = (0_u64, 0_u64);
    for cell in stacks.cells.iter().filter(|cell| cell.state == State::Running) {
        total_ns += cell.weight_ns;
        let leaf = stacks.nodes.get(cell.stack as usize).filter(|_| cell.stack != 0);
        let Some(frame) = leaf.and_then(|node| stacks.frames.get(node.frame as usize)) else { continue };
        let function = stacks.strings.get(frame.function);
        // Cheap tests first: there are up to two million cells.
        if frame.kind != FrameKind::Native || !function.starts_with('[') {
            continue;
        }
        if function == MADE {
            made_ns += cell.weight_ns;
        } else if function == label(stacks.strings.get(frame.module)) {
            *by_module.entry(frame.module).or_default() += cell.weight_ns;
        }
    }
    let percent = |ns: u64| {
        let percent = u64::try_from(u128::from(ns) * 100 / u128::from(total_ns.max(1))).unwrap_or(100);
        (percent >= SAID_PERCENT).then_some(percent)
    };
    let of_file = |(module, ns): (Sym, u64)| {
        let (percent, path) = (percent(ns)?, stacks.strings.get(module));
        let reason =
            format!("{percent} % of the time on CPU is in functions of `{path}` that it does not name");
        let hint = "install its debug symbols (Debian: libc6-dbg or NAME-dbgsym, Fedora: `dnf debuginfo-install`), \
                    or do not strip it";
        Some(Gap::new("profile", reason, hint))
    };
    let made = percent(made_ns).map(|percent| {
        let reason = format!("{percent} % of the time on CPU is in code made at run time that nothing names");
        Gap::new("profile", reason, MADE_HINT)
    });
    // Node has advice of its own.
    let has_advice = stacks.gaps.iter().any(|gap| gap.reason.starts_with("JavaScript functions"));
    by_module.into_iter().filter_map(of_file).chain(made.filter(|_| !has_advice)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::{Builder, Frame};

    /// What is said of a stripped file and of code made at run time that have so many of a thousand nanoseconds.
    fn said(nameless_ns: u64, made_ns: u64) -> Vec<Gap> {
        let mut builder = Builder::default();
        let mut leaf = |function: &str| {
            let (function, module) = (builder.text(function), builder.text("/opt/app/stripped"));
            let frame = builder.frame(Frame { function, module, ..Frame::default() });
            builder.push(0, frame)
        };
        let (nameless, made, named) = (leaf("[stripped]"), leaf(MADE), leaf("work"));
        let cell = |stack, state, weight_ns| crate::Cell { window: 0, thread: 0, stack, state, weight_ns };
        let cells = vec![
            cell(nameless, State::Running, nameless_ns),
            cell(made, State::Running, made_ns),
            cell(named, State::Running, 1000 - nameless_ns - made_ns),
            cell(nameless, State::Blocked, 5000),
        ];
        gaps(&builder.finish_with(1, cells))
    }

    #[test]
    fn a_file_without_names_is_told_where_it_takes_much_time() {
        let gaps = said(70, 49);
        assert!(gaps.len() == 1 && gaps[0].reason.contains("7 % of the time on CPU"), "{gaps:?}");
        assert_eq!(said(49, 49), []);
        let gaps = said(0, 500);
        assert!(gaps.len() == 1 && gaps[0].hint.contains("jcmd"), "{gaps:?}");
    }
}
