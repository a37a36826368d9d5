//! Watched processes with their descendants: CPU, run-queue wait and memory between two looks.

use super::parse::{ProcessStat, parse_process_stat, parse_schedstat, resident};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The kernel's unit of process times towards programs, on every architecture that we run on.
const TICKS_PER_S: f64 = 100.0;
/// Threads that are looked at per process; a process with more is told as a gap.
pub(super) const MAX_THREADS: usize = 4096;

/// A process whose figures are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// `service`, `database`, `generator`, `trimtab`.
    pub role: String,
    pub pid: u32,
    /// Take in what it started, as a database's server processes are.
    pub include_children: bool,
}

/// What is known of a group of processes at one moment, counted from their start.
#[derive(Default)]
pub(super) struct Look {
    /// By process and start: ticks on a CPU.
    ticks: BTreeMap<(u32, u64), u64>,
    /// By process and thread: nanoseconds of waiting.
    waits: BTreeMap<(u32, u32), u64>,
    /// By process and thread: nanoseconds on a CPU. Exact, but gone with a thread that ends.
    runs: BTreeMap<(u32, u32), u64>,
    pub(super) resident_bytes: u64,
    pub(super) name: String,
    /// The kernel told no waits.
    pub(super) no_waits: bool,
    pub(super) too_many_threads: bool,
}

/// Growth between two looks.
pub(super) struct Growth {
    pub(super) cpu_s: f64,
    /// The same from the scheduler, without the rounding of ticks; of threads that live still.
    pub(super) run_s: f64,
    /// `None` where the kernel tells no waits.
    pub(super) wait_s: Option<f64>,
}

impl Look {
    /// Growth since `earlier`; a process that is new counts from its start.
    pub(super) fn since(&self, earlier: &Self) -> Growth {
        let ticks: u64 = growth(&self.ticks, &earlier.ticks);
        let wait_ns: u64 = growth(&self.waits, &earlier.waits);
        Growth {
            cpu_s: ticks as f64 / TICKS_PER_S,
            run_s: growth(&self.runs, &earlier.runs) as f64 / 1e9,
            wait_s: (!self.no_waits).then_some(wait_ns as f64 / 1e9),
        }
    }
}

fn growth<K: Ord>(now: &BTreeMap<K, u64>, before: &BTreeMap<K, u64>) -> u64 {
    now.iter().map(|(key, value)| value.saturating_sub(before.get(key).copied().unwrap_or(0))).sum()
}

/// All processes with their parents, read once per sample if any group wants its descendants.
pub(super) fn parents(proc: &Path) -> BTreeMap<u32, u32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(proc, pid)?.parent))).collect()
}

fn stat(proc: &Path, pid: u32) -> Option<ProcessStat> {
    parse_process_stat(&fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?)
}

/// Looks at a group; `None` if its first process is gone.
pub(super) fn look(proc: &Path, watched: &Watched, parents: &BTreeMap<u32, u32>) -> Option<Look> {
    let first = stat(proc, watched.pid)?;
    let mut look = Look { name: first.name.clone(), ..Look::default() };
    let mut group = BTreeSet::from([watched.pid]);
    if watched.include_children {
        loop {
            let more: Vec<u32> = parents
                .iter()
                .filter(|(pid, parent)| group.contains(parent) && !group.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if more.is_empty() {
                break;
            }
            group.extend(more);
        }
    }
    for pid in group {
        // One that ended between the list and here took its figures along.
        if let Some(stat) = stat(proc, pid) {
            look.ticks.insert((pid, stat.started), stat.cpu_ticks);
            add_process(&proc.join(pid.to_string()), pid, &mut look);
        }
    }
    look.no_waits |= look.waits.is_empty();
    Some(look)
}

fn add_process(folder: &Path, pid: u32, look: &mut Look) {
    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
    look.resident_bytes += resident(&status).unwrap_or(0);
    let threads = fs::read_dir(folder.join("task")).into_iter().flatten().flatten();
    for (at, thread) in threads.enumerate() {
        if at >= MAX_THREADS {
            look.too_many_threads = true;
            return;
        }
        let number = thread.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        if let (Some(tid), Some(sched)) = (number, parse_schedstat(&text)) {
            look.waits.insert((pid, tid), sched.wait_ns);
            look.runs.insert((pid, tid), sched.run_ns);
        }
    }
}
