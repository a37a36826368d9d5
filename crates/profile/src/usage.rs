//! How long the threads of processes have run, from the kernel's counts: no samples, no events, no permission needed
//! beyond one's own processes.

use crate::procfs;
use std::collections::BTreeSet;

/// Threads that are read at once.
const MAX_THREADS: usize = 4096;

/// A thread and the nanoseconds that it has run since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub pid: u32,
    pub tid: u32,
    pub name: String,
    pub ns: u64,
}

/// The threads of these processes and of all that they started. What ends meanwhile is left out.
#[must_use]
pub fn ran(pids: &[u32]) -> Vec<Ran> {
    let all: BTreeSet<u32> = pids.iter().flat_map(|pid| procfs::with_descendants(*pid)).collect();
    let threads = all.into_iter().flat_map(|pid| procfs::threads(pid).into_iter().map(move |tid| (pid, tid)));
    let read = |(pid, tid): (u32, u32)| {
        let (ns, _) = procfs::schedstat(pid, tid)?;
        Some(Ran { pid, tid, name: procfs::thread_name(pid, tid).unwrap_or_default(), ns })
    };
    threads.take(MAX_THREADS).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::ran;

    #[test]
    fn a_thread_that_computes_runs() {
        let me = std::process::id();
        let now = || ran(&[me]).iter().map(|thread| thread.ns).sum::<u64>();
        let before = now();
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 30 {
            std::hint::spin_loop();
        }
        assert!(now() > before);
        assert_eq!(ran(&[u32::MAX]), []);
    }
}
