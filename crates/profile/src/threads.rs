//! All threads of a profile: which there are, what the kernel has counted for them, and what they do now.

use crate::ledger::Ledger;
use crate::perf::Registers;
use crate::procfs;
use crate::python::PythonThread;
use crate::stacks;
use crate::timeline::Timeline;
use std::collections::HashMap;

/// Threads that are kept at most; later ones are counted as missed.
pub(crate) const MAX_THREADS: usize = 100_000;

pub(crate) struct Thread {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    /// Its number inside its own pid namespace.
    pub(crate) inner_tid: u32,
    pub(crate) name: String,
    begin_ns: u64,
    end_ns: Option<u64>,
    pub(crate) timeline: Timeline,
    /// On CPU and queued nanoseconds when the watch began, and as last read.
    first: (u64, u64),
    last: (u64, u64),
    /// It ran since `last` was read.
    pub(crate) ran: bool,
    /// User registers when it last left a CPU.
    pub(crate) registers: Option<Registers>,
    /// The newest stack that is known of it.
    pub(crate) last_stack: u32,
    pub(crate) python: Option<PythonThread>,
    /// Its switches are recorded. If not, what it does is looked up at each tick.
    pub(crate) watched: bool,
    /// When it was looked at last.
    pub(crate) looked_ns: u64,
}

impl Thread {
    /// It began within the last second.
    pub(crate) fn is_young(&self, now_ns: u64) -> bool {
        const YOUNG_NS: u64 = 1_000_000_000;
        now_ns.saturating_sub(self.begin_ns) < YOUNG_NS
    }

    fn ledger(&self, now_ns: u64) -> Ledger {
        let wall = self.end_ns.unwrap_or(now_ns).saturating_sub(self.begin_ns);
        let running = self.last.0.saturating_sub(self.first.0);
        let queued = self.last.1.saturating_sub(self.first.1);
        if self.end_ns.is_some() {
            // The kernel's count went with the thread; its switches or samples saw its end.
            let preempted = self.timeline.preempted_ns;
            return Ledger::new(wall, running.max(self.timeline.ran_ns), queued.max(preempted));
        }
        Ledger::new(wall, running, queued)
    }
}

/// What is known of a thread when it is added.
struct Known {
    inner_tid: u32,
    name: String,
    /// On CPU and queued nanoseconds.
    counted: (u64, u64),
}

#[derive(Default)]
pub(crate) struct Threads {
    pub(crate) all: Vec<Thread>,
    /// Living threads by number.
    index: HashMap<u32, usize>,
    /// Their positions, ascending.
    living: Vec<usize>,
    pub(crate) missed: u64,
    /// Switches are not recorded any more.
    pub(crate) unrecorded: bool,
}

impl Threads {
    pub(crate) fn find(&mut self, tid: u32) -> Option<(usize, &mut Thread)> {
        let at = *self.index.get(&tid)?;
        Some((at, self.all.get_mut(at)?))
    }

    pub(crate) fn knows(&self, tid: u32) -> bool {
        self.index.contains_key(&tid)
    }

    /// Adds a thread that another one has just started, with its name. A server may start one for each request, so nothing
    /// is asked of the kernel where that can be told.
    pub(crate) fn begin(&mut self, pid: u32, tid: u32, begin_ns: u64, parent_tid: u32) -> Option<usize> {
        let of = |tid: &u32| self.index.get(tid).and_then(|at| self.all.get(*at));
        let same_space = of(&pid).is_some_and(|leader| leader.inner_tid == leader.tid);
        let name = of(&parent_tid).map(|parent| parent.name.clone());
        match name.filter(|_| same_space) {
            Some(name) => {
                self.insert(pid, tid, begin_ns, true, Known { inner_tid: tid, name, counted: (0, 0) })
            }
            None => self.add(pid, tid, begin_ns, true),
        }
    }

    /// Adds a thread that was there before the watch (`fresh` false), or that has just begun.
    pub(crate) fn add(&mut self, pid: u32, tid: u32, begin_ns: u64, fresh: bool) -> Option<usize> {
        if self.knows(tid) {
            return self.index.get(&tid).copied();
        }
        let inner = procfs::thread_status(pid, tid).and_then(|status| status.inner_id);
        // One that has ended already had the name of the one that started it, or gave itself one, which a record tells.
        let leader = || self.index.get(&pid).and_then(|at| self.all.get(*at));
        let name = procfs::thread_name(pid, tid).or_else(|| leader().map(|leader| leader.name.clone()));
        let known = Known {
            inner_tid: inner.unwrap_or(tid),
            name: name.unwrap_or_default(),
            counted: procfs::schedstat(pid, tid).unwrap_or_default(),
        };
        self.insert(pid, tid, begin_ns, fresh, known)
    }

    fn insert(&mut self, pid: u32, tid: u32, begin_ns: u64, fresh: bool, known: Known) -> Option<usize> {
        if self.knows(tid) {
            return self.index.get(&tid).copied();
        }
        if self.all.len() >= MAX_THREADS {
            self.missed += 1;
            return None;
        }
        let at = self.all.len();
        self.all.push(Thread {
            pid,
            tid,
            inner_tid: known.inner_tid,
            name: known.name,
            begin_ns,
            end_ns: None,
            timeline: Timeline::new(begin_ns),
            first: if fresh { (0, 0) } else { known.counted },
            last: known.counted,
            ran: true,
            registers: None,
            last_stack: 0,
            python: None,
            watched: fresh && !self.unrecorded,
            looked_ns: begin_ns,
        });
        self.index.insert(tid, at);
        self.living.push(at);
        Some(at)
    }

    /// A thread has ended; its number may come again.
    pub(crate) fn end(&mut self, tid: u32, at_ns: u64) {
        if let Some(at) = self.index.remove(&tid) {
            self.all[at].end_ns = Some(at_ns);
            self.living.retain(|living| *living != at);
        }
    }

    /// A process has ended, with all threads that it had left.
    pub(crate) fn end_process(&mut self, pid: u32, at_ns: u64) {
        let of = |at: &usize| self.all[*at].pid == pid;
        let tids: Vec<u32> = self.living.iter().filter(|at| of(at)).map(|at| self.all[*at].tid).collect();
        tids.into_iter().for_each(|tid| self.end(tid, at_ns));
    }

    /// Positions of the living, ascending.
    pub(crate) fn living(&self) -> &[usize] {
        &self.living
    }

    pub(crate) fn living_mut(&mut self) -> impl Iterator<Item = &mut Thread> {
        let living = &self.living;
        let of = |(at, thread)| living.binary_search(&at).is_ok().then_some(thread);
        self.all.iter_mut().enumerate().filter_map(of)
    }

    /// Asks the kernel for the counts of a living thread; `false` where it is gone.
    pub(crate) fn count(&mut self, at: usize) -> bool {
        let Some(thread) = self.all.get_mut(at) else { return false };
        match procfs::schedstat(thread.pid, thread.tid) {
            Some(counted) => {
                thread.last = counted;
                thread.ran = false;
                true
            }
            None => false,
        }
    }

    /// The values of all threads; `began_ns` is the profile's beginning.
    pub(crate) fn finish(&self, began_ns: u64, now_ns: u64) -> Vec<stacks::Thread> {
        let value = |thread: &Thread| stacks::Thread {
            pid: thread.pid,
            tid: thread.tid,
            name: thread.name.clone(),
            begin_ns: thread.begin_ns.saturating_sub(began_ns),
            end_ns: thread.end_ns.unwrap_or(now_ns).saturating_sub(began_ns),
            ledger: thread.ledger(now_ns),
        };
        self.all.iter().map(value).collect()
    }
}
