//! When a process switches so often that recording it would slow it: the records are given up. From then on running
//! time is sampled, queued and blocked time is looked at by turns, and the kernel's counts say how much there was of
//! each. It is never taken back: a process that did it once does it again.

use crate::perf::{Body, Events};
use crate::process::Process;
use crate::procfs;
use crate::sampler::Sampler;
use model::Gap;
use std::collections::HashMap;

/// Switches off a CPU in a second from which on they are not recorded. Each takes the process some 7 microseconds
/// (measured on a virtual machine): 2 % of a core.
const MAX_PER_S: u64 = 3000;
/// Switches for each thread that began, from which on threads last.
const MIN_PER_BIRTH: u64 = 50;
/// Over how long they are counted.
const SPAN_NS: u64 = 500_000_000;

/// Counts switches until there are too many of them.
#[derive(Debug, Default)]
pub(crate) struct SwitchRate {
    seen: u64,
    /// Threads that began.
    births: u64,
    since_ns: u64,
}

impl SwitchRate {
    pub(crate) fn count(&mut self) {
        self.seen += 1;
    }

    pub(crate) fn count_birth(&mut self) {
        self.births += 1;
    }

    /// Switches per second, where there are too many; asked at each tick. Where threads begin all the time, their
    /// switches are all that tells how long they ran: the kernel's count goes with a thread.
    fn excess(&mut self, now_ns: u64) -> Option<u64> {
        let span_ns = now_ns.saturating_sub(self.since_ns);
        if span_ns < SPAN_NS {
            return None;
        }
        let per_s = u128::from(self.seen) * 1_000_000_000 / u128::from(span_ns);
        let lasting = self.births.saturating_mul(MIN_PER_BIRTH) <= self.seen;
        (self.seen, self.births, self.since_ns) = (0, 0, now_ns);
        u64::try_from(per_s).ok().filter(|per_s| lasting && *per_s > MAX_PER_S)
    }
}

impl Sampler {
    /// Gives up the records of switches where there are too many.
    pub(crate) fn limit_switches(&mut self, now_ns: u64) {
        if self.events.is_none() || self.threads.unrecorded {
            return;
        }
        let Some(per_s) = self.switch_rate.excess(now_ns) else { return };
        let lost = self.open_again(now_ns, Events::without_switches);
        self.threads.unrecorded = true;
        for at in self.threads.living().to_vec() {
            if let Some(interval) = self.threads.all[at].timeline.part(now_ns) {
                self.weigh(at, interval);
            }
            let thread = &mut self.threads.all[at];
            thread.timeline.forget();
            (thread.registers, thread.watched, thread.looked_ns) = (None, false, now_ns);
        }
        let reason = format!(
            "{per_s} context switches a second: waits are looked at by turns instead of recorded one by one, \
             which would slow the process"
        );
        self.gap(Gap::new("profile", reason, "profile for longer where a rare wait matters"));
        self.tell_lost(lost);
    }

    /// Opens the events anew by `open`. Returns how many threads have none.
    pub(crate) fn open_again(
        &mut self,
        now_ns: u64,
        open: impl FnOnce(&mut Events, &[u32]) -> usize,
    ) -> usize {
        let held = std::mem::take(&mut self.held);
        held.into_iter().for_each(|event| self.apply(event));
        let Self { events: Some(events), threads, processes, .. } = self else { return 0 };
        let tids: Vec<u32> = threads.living().iter().map(|at| threads.all[*at].tid).collect();
        let mut lost = open(events, &tids);
        // Those that began or ended since the last drain told nobody.
        for process in processes.values().filter(|process| !process.ended) {
            let there = procfs::threads(process.pid);
            for tid in &there {
                if threads.knows(*tid) {
                    continue;
                }
                let added = threads.add(process.pid, *tid, now_ns, true);
                if let Some(at) = added.filter(|_| !events.add_late(*tid)) {
                    threads.all[at].watched = false;
                    lost += 1;
                }
            }
            let gone = |at: &usize| {
                let thread = &threads.all[*at];
                (thread.pid == process.pid && there.binary_search(&thread.tid).is_err()).then_some(thread.tid)
            };
            let gone: Vec<u32> = threads.living().iter().filter_map(gone).collect();
            gone.into_iter().for_each(|tid| threads.end(tid, now_ns));
        }
        lost
    }

    /// Says of threads whose events could not be opened again.
    pub(crate) fn tell_lost(&mut self, lost: usize) {
        if lost > 0 {
            let reason = format!("{lost} threads have no on-CPU stacks: descriptors ran out");
            self.gap(Gap::new("profile", reason, "raise the limit of open files (`ulimit -n`)"));
        }
    }
}

/// Whether a record is about what is profiled: whole CPUs tell of all processes.
pub(crate) fn concerns(processes: &HashMap<u32, Process>, pid: u32, body: &Body<'_>) -> bool {
    let ours = |pid| processes.get(pid).is_some_and(|process| !process.ended);
    ours(&pid) || matches!(body, Body::Fork { parent_pid, .. } if ours(parent_pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_switches_over_the_whole_span_are_too_many() {
        let mut rate = SwitchRate::default();
        (0..5000).for_each(|_| rate.count());
        assert_eq!(rate.excess(SPAN_NS / 2), None, "a burst may end");
        assert_eq!(rate.excess(SPAN_NS), Some(10_000));
        (0..1400).for_each(|_| rate.count());
        assert_eq!(rate.excess(2 * SPAN_NS), None);
        (0..5000).for_each(|_| rate.count());
        (0..1600).for_each(|_| rate.count_birth());
        assert_eq!(rate.excess(3 * SPAN_NS), None, "a thread for each request");
    }
}
