//! What is seen of a process's memory from outside: resident bytes and page faults. Which code allocates is not seen:
//! that needs a restart with an allocator that tells.

use crate::procfs;
use model::{Gap, MemoryUse};

/// Of one process, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    resident_bytes: u64,
    peak_bytes: u64,
    minor_faults: u64,
    major_faults: u64,
}

/// The processes of a profile as they were at its beginning.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    first: Vec<(u32, Look)>,
}

impl Memory {
    pub(crate) fn begin(pids: &[u32]) -> Self {
        Self { first: pids.iter().filter_map(|pid| Some((*pid, look(*pid)?))).collect() }
    }

    /// What became of those that live still.
    pub(crate) fn end(&self) -> Vec<MemoryUse> {
        let grown = |(pid, first): &(u32, Look)| {
            let last = look(*pid)?;
            Some(MemoryUse {
                pid: *pid,
                resident_first_bytes: first.resident_bytes,
                resident_last_bytes: last.resident_bytes,
                resident_peak_bytes: last.peak_bytes,
                minor_faults: last.minor_faults.saturating_sub(first.minor_faults),
                major_faults: last.major_faults.saturating_sub(first.major_faults),
            })
        };
        self.first.iter().filter_map(grown).collect()
    }

    /// What a look from outside cannot tell.
    pub(crate) fn gap() -> Gap {
        Gap::new(
            "profile",
            "which code allocates memory is not seen: only resident bytes and page faults are",
            "for allocation sites start the service with an allocator that tells: memray (Python), \
             --heap-prof (Node), jemalloc's prof:true or heaptrack (native), pprof's heap profile (Go)",
        )
    }
}

fn look(pid: u32) -> Option<Look> {
    let (resident_bytes, peak_bytes) = parse_status(&procfs::text(pid, "status")?)?;
    let (minor_faults, major_faults) = parse_stat(&procfs::text(pid, "stat")?)?;
    Some(Look { resident_bytes, peak_bytes, minor_faults, major_faults })
}

/// Resident bytes now and at most.
fn parse_status(text: &str) -> Option<(u64, u64)> {
    let kib = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let now = kib("VmRSS:")?;
    Some((now, kib("VmHWM:").unwrap_or(now)))
}

/// Page faults: fields 10 and 12, counted from after the name, which may hold anything.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some((fields.get(7)?.parse().ok()?, fields.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Memory, parse_stat, parse_status};

    #[test]
    fn the_kernels_files_are_read() {
        let status = "Name:\ta b\nVmHWM:\t   900 kB\nVmRSS:\t   800 kB\nThreads:\t1\n";
        assert_eq!(parse_status(status), Some((800 << 10, 900 << 10)));
        assert_eq!(parse_status("VmRSS: many kB\n"), None);
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1234 0 5 0 10 2 0 0 20 0 1 0";
        assert_eq!(parse_stat(stat), Some((1234, 5)));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn pages_that_are_touched_are_faults() {
        let memory = Memory::begin(&[std::process::id()]);
        let touched = std::hint::black_box(vec![1_u8; 32 << 20]);
        let told = memory.end();
        assert!(told[0].resident_last_bytes > 32 << 20 && told[0].minor_faults > 0, "{told:?}");
        assert_eq!(touched[5], 1);
    }
}
