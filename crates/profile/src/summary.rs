//! A profile in figures: the ledger, the functions that take most, what is waited for. Values only; text and JSON are
//! made of them.

use crate::ledger::{Ledger, State};
use crate::stacks::{Frame, FrameKind, Stacks};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;

/// Nanoseconds by [`State::index`].
pub type ByState = [u64; State::COUNT];

/// One function over all stacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub kind: FrameKind,
    /// File of machine code; empty for interpreters.
    pub module: String,
    /// Source file and the line that took most, where known.
    pub file: String,
    pub line: u32,
    /// While it was the innermost; labels of waits do not count as inner functions.
    pub self_ns: ByState,
    /// While it was anywhere on the stack; counted once where it calls itself.
    pub total_ns: ByState,
}

/// One thing that was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// `[waits: lock (futex)]`.
    pub name: String,
    pub ns: u64,
    /// The function outside of the system's libraries that waited longest for it, and how long.
    pub within: Option<(String, u64)>,
}

/// The figures of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub ledger: Ledger,
    /// All functions, the one with most time on CPU of its own first.
    pub functions: Vec<Function>,
    /// What was waited for, the longest first.
    pub waits: Vec<Wait>,
    /// Share of on-CPU user stacks that reached their first function, those that were completed from others of the
    /// same thread included; `None` where there are none.
    pub complete_share: Option<f64>,
    /// Share of on-CPU user stacks that were completed so.
    pub completed_share: Option<f64>,
    /// How far the on-CPU samples were off the kernel's count before they were scaled to it, as a share of it.
    pub running_error: Option<f64>,
    /// The profiler's own CPU time as a share of one core.
    pub own_share: f64,
}

/// Sums up a profile.
#[must_use]
pub fn summarize(stacks: &Stacks) -> Summary {
    let totals = stacks.totals();
    let mut functions: HashMap<Key, Sums> = HashMap::new();
    let mut waits: HashMap<&str, WaitSums> = HashMap::new();
    for (stack, weight) in &totals {
        let path = stacks.path(*stack);
        let frames: Vec<_> = path.iter().filter_map(|index| stacks.frames.get(*index as usize)).collect();
        let mut seen = Vec::with_capacity(frames.len());
        let inner = frames.iter().rposition(|frame| frame.kind != FrameKind::Label);
        for (at, frame) in frames.iter().enumerate() {
            if frame.kind == FrameKind::Label {
                if at + 1 == frames.len() {
                    let ns = weight[State::Blocked.index()] + weight[State::GilWait.index()];
                    let sums = waits.entry(stacks.strings.get(frame.function)).or_default();
                    sums.ns += ns;
                    let own = frames[..at].iter().rev().find(|frame| waits_itself(stacks, frame));
                    if let Some(own) = own {
                        *sums.within.entry(own.function).or_default() += ns;
                    }
                }
                continue;
            }
            let key = (frame.function, frame.module, frame.kind);
            let sums = functions.entry(key).or_default();
            if Some(at) == inner {
                add(&mut sums.own, weight);
                *sums.lines.entry((frame.file, frame.line)).or_default() += weight.iter().sum::<u64>();
            }
            if !seen.contains(&key) {
                seen.push(key);
                add(&mut sums.total, weight);
                sums.lines.entry((frame.file, frame.line)).or_default();
            }
        }
    }
    let mut functions: Vec<Function> =
        functions.into_iter().map(|(key, sums)| named(stacks, key, &sums)).collect();
    functions.sort_by(|a, b| {
        let rank = |f: &Function| (f.self_ns[0], f.total_ns[0], f.total_ns.iter().sum::<u64>());
        rank(b).cmp(&rank(a)).then_with(|| a.name.cmp(&b.name)).then_with(|| a.module.cmp(&b.module))
    });
    let mut waits: Vec<Wait> = waits
        .into_iter()
        .filter(|(_, sums)| sums.ns > 0)
        .map(|(name, sums)| Wait { name: name.to_owned(), ns: sums.ns, within: sums.longest(stacks) })
        .collect();
    waits.sort_by(|a, b| b.ns.cmp(&a.ns).then_with(|| a.name.cmp(&b.name)));
    let (ledger, quality) = (stacks.ledger(), stacks.quality);
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    Summary {
        ledger,
        functions,
        waits,
        complete_share: share(quality.complete_stacks + quality.grafted_stacks, quality.native_stacks),
        completed_share: share(quality.grafted_stacks, quality.native_stacks),
        // A file of stacks does not say what they were scaled from.
        running_error: quality
            .unscaled_ns
            .iter()
            .any(|ns| *ns > 0)
            .then(|| share(quality.unscaled_ns[0], ledger.running_ns).map(|ratio| ratio - 1.0))
            .flatten(),
        own_share: share(quality.own_cpu_ns, stacks.wall_ns).unwrap_or(0.0),
    }
}

#[derive(Default)]
struct WaitSums {
    ns: u64,
    within: HashMap<model::Sym, u64>,
}

impl WaitSums {
    fn longest(&self, stacks: &Stacks) -> Option<(String, u64)> {
        let longest =
            self.within.iter().max_by_key(|(function, ns)| (**ns, std::cmp::Reverse(**function)))?;
        Some((stacks.strings.get(*longest.0).to_owned(), *longest.1))
    }
}

/// Libraries through which everything waits.
const SYSTEM_LIBRARIES: &[&str] =
    &["libc.so", "libpthread", "libstdc++", "libgcc", "ld-linux", "[kernel]", "[vdso]"];

/// The same within programs that hold their libraries, by the paths of their functions.
const LIBRARY_PATHS: &[&str] =
    &["std::", "core::", "alloc::", "parking_lot", "lock_api::", "tokio::", "mio::", "runtime."];

/// A function with a name of its own, outside of libraries as far as they are known, and of labels.
fn waits_itself(stacks: &Stacks, frame: &Frame) -> bool {
    let (name, module) = (stacks.strings.get(frame.function), stacks.strings.get(frame.module));
    let file = module.rsplit('/').next().unwrap_or(module);
    let is_system = SYSTEM_LIBRARIES.iter().any(|library| file.starts_with(library));
    let path = name.trim_start_matches(['<', '&', ' ']);
    let is_named = !name.starts_with('[') && !LIBRARY_PATHS.iter().any(|library| path.starts_with(library));
    if model::is_library_path(stacks.strings.get(frame.file)) {
        return false;
    }
    matches!(frame.kind, FrameKind::Python | FrameKind::JavaScript)
        || (frame.kind == FrameKind::Native && is_named && !is_system && !file.is_empty())
}

type Key = (model::Sym, model::Sym, FrameKind);

#[derive(Default)]
struct Sums {
    own: ByState,
    total: ByState,
    lines: HashMap<(model::Sym, u32), u64>,
}

fn add(to: &mut ByState, weight: &ByState) {
    to.iter_mut().zip(weight).for_each(|(to, weight)| *to = to.saturating_add(*weight));
}

fn named(stacks: &Stacks, key: Key, sums: &Sums) -> Function {
    let (function, module, kind) = key;
    let hottest = sums.lines.iter().max_by_key(|(place, ns)| (**ns, std::cmp::Reverse(place.1), place.0));
    let (file, line) = hottest.map_or((model::Sym::EMPTY, 0), |(place, _)| *place);
    Function {
        name: stacks.strings.get(function).to_owned(),
        kind,
        module: stacks.strings.get(module).to_owned(),
        file: stacks.strings.get(file).to_owned(),
        line,
        self_ns: sums.own,
        total_ns: sums.total,
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// The figures for people, `rows` functions of each kind at most.
#[must_use]
pub fn text(stacks: &Stacks, summary: &Summary, rows: usize) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _infallible = write_text(&mut out, stacks, summary, rows);
    out
}

fn write_text(out: &mut String, stacks: &Stacks, summary: &Summary, rows: usize) -> std::fmt::Result {
    let ledger = summary.ledger;
    writeln!(out, "{}", stacks.title)?;
    let threads = stacks.threads.len();
    writeln!(
        out,
        "{} watched, {threads} threads, {} of thread time:",
        seconds(stacks.wall_ns),
        seconds(ledger.wall_ns)
    )?;
    for (state, ns) in [
        ("on CPU", ledger.running_ns),
        ("queued for a CPU", ledger.queued_ns),
        ("blocked", ledger.blocked_ns),
    ] {
        writeln!(out, "  {state:<18} {:>12}  {:>7}", seconds(ns), percent(ns, ledger.wall_ns))?;
    }
    writeln!(out, "\nOn CPU, by function:\n      self    total")?;
    let running = State::Running.index();
    for function in summary.functions.iter().filter(|f| f.total_ns[running] > 0).take(rows) {
        let (own, total) = (function.self_ns[running], function.total_ns[running]);
        let place = place(function);
        let (own, total) = (percent(own, ledger.running_ns), percent(total, ledger.running_ns));
        writeln!(out, "  {own:>8} {total:>8}  {}{place}", model::short_name(&function.name))?;
    }
    if !summary.waits.is_empty() {
        writeln!(out, "\nBlocked, by what was waited for:")?;
        for Wait { name, ns, within } in summary.waits.iter().take(rows) {
            write!(out, "  {:>12} {:>8}  {name}", seconds(*ns), percent(*ns, ledger.blocked_ns))?;
            if let Some((function, of)) = within {
                write!(out, ", {} of it in {}", percent(*of, *ns), model::short_name(function))?;
            }
            writeln!(out)?;
        }
    }
    writeln!(out)?;
    if let Some(share) = summary.complete_share {
        let many = stacks.quality.native_stacks;
        write!(out, "{:.1} % of {many} on-CPU stacks are complete", share * 100.0)?;
        match summary.completed_share.filter(|share| *share > 0.0) {
            Some(share) => writeln!(
                out,
                ", {:.1} % by the callers that their outermost function has in all whole stacks of its thread",
                share * 100.0
            )?,
            None => writeln!(out)?,
        }
    }
    if let Some(error) = summary.running_error {
        writeln!(
            out,
            "on-CPU samples are {:+.1} % off the kernel's count; weights are scaled to it",
            error * 100.0
        )?;
    }
    if stacks.quality.own_cpu_ns > 0 {
        writeln!(out, "the profiler took {:.2} % of a core", summary.own_share * 100.0)?;
    }
    for gap in &stacks.gaps {
        writeln!(out, "gap: {}\n     {}", gap.reason, gap.hint)?;
    }
    Ok(())
}

fn place(function: &Function) -> String {
    match (function.file.as_str(), function.line) {
        ("", _) => {
            let module = function.module.rsplit('/').next().unwrap_or_default();
            if module.is_empty() { String::new() } else { format!("  ({module})") }
        }
        (file, 0) => format!("  ({file})"),
        (file, line) => format!("  ({file}:{line})"),
    }
}

/// The figures for programs. Times in milliseconds, keys in a fixed order.
#[must_use]
pub fn json(stacks: &Stacks, summary: &Summary, rows: usize) -> Value {
    let ms = |ns: u64| ns as f64 / 1e6;
    let states = |by: &ByState| json!({"on_cpu_ms": ms(by[0]), "queued_ms": ms(by[1]), "blocked_ms": ms(by[2]), "gil_wait_ms": ms(by[3])});
    let ledger = |l: &Ledger| json!({"wall_ms": ms(l.wall_ns), "on_cpu_ms": ms(l.running_ns), "queued_ms": ms(l.queued_ns), "blocked_ms": ms(l.blocked_ns)});
    let functions: Vec<Value> = summary
        .functions
        .iter()
        .take(rows)
        .map(|f| {
            json!({"function": f.name, "module": f.module, "file": f.file, "line": f.line,
                   "self": states(&f.self_ns), "total": states(&f.total_ns)})
        })
        .collect();
    let waits: Vec<Value> = summary
        .waits
        .iter()
        .map(|wait| {
            let within =
                wait.within.as_ref().map(|(function, ns)| json!({"function": function, "ms": ms(*ns)}));
            json!({"for": wait.name, "ms": ms(wait.ns), "mostly_in": within})
        })
        .collect();
    let threads: Vec<Value> = stacks
        .threads
        .iter()
        .map(|t| json!({"pid": t.pid, "tid": t.tid, "name": t.name, "ledger": ledger(&t.ledger)}))
        .collect();
    json!({
        "version": 1,
        "title": stacks.title,
        "start_unix_ns": stacks.start_unix_ns,
        "wall_ms": ms(stacks.wall_ns),
        "ledger": ledger(&summary.ledger),
        "functions": functions,
        "waits": waits,
        "threads": threads,
        "quality": {
            "on_cpu_stacks": stacks.quality.native_stacks,
            "complete_share": summary.complete_share,
            "completed_share": summary.completed_share,
            "running_error": summary.running_error,
            "own_cpu_share": summary.own_share,
            "lost_records": stacks.quality.lost_records,
            "torn_reads": stacks.quality.torn_reads,
        },
        "gaps": stacks.gaps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::read_folded;

    #[test]
    fn recursion_counts_once_and_a_wait_belongs_to_its_caller() {
        let stacks =
            read_folded("main;fib;fib;fib 10\nmain;work 5\nblocked;main;recv;[waits: socket read] 7\n")
                .unwrap();
        let summary = summarize(&stacks);
        let of = |name: &str| summary.functions.iter().find(|f| f.name == name).unwrap();
        assert_eq!((of("fib").self_ns[0], of("fib").total_ns[0]), (10, 10));
        assert_eq!(of("main").total_ns, [15, 0, 7, 0]);
        assert_eq!(of("recv").self_ns[2], 7);
        let wait = Wait { name: "[waits: socket read]".to_owned(), ns: 7, within: None };
        assert_eq!(summary.waits, [wait]);
        assert_eq!(summary.functions[0].name, "fib");
    }
}
