//! The texts of /proc, parsed. `None` where a text is not as the kernel writes it.

/// Clock ticks since boot, over all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    pub busy: u64,
    pub total: u64,
    /// Processors that are online.
    pub cpus: u32,
}

/// `/proc/stat`. Waiting for the disk counts as idle.
#[must_use]
pub fn parse_stat(text: &str) -> Option<CpuTimes> {
    let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; guest times are within user.
    let ticks: Vec<u64> = all.split_ascii_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let (idle, wait) = (*ticks.get(3)?, ticks.get(4).copied().unwrap_or(0));
    let total = ticks.iter().sum();
    let numbered = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
    };
    let cpus = u32::try_from(text.lines().filter(numbered).count()).ok()?;
    Some(CpuTimes { busy: total - idle - wait, total, cpus })
}

/// Bytes of main memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub total_bytes: u64,
    /// What programs can still get without swapping.
    pub available_bytes: u64,
}

/// `/proc/meminfo`.
#[must_use]
pub fn parse_meminfo(text: &str) -> Option<Memory> {
    let of = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = rest.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Memory { total_bytes: of("MemTotal")?, available_bytes: of("MemAvailable")? })
}

/// `/proc/pressure/*`: microseconds in which some task had to wait.
#[must_use]
pub fn parse_pressure(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

/// Bytes since boot over all disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskBytes {
    pub read: u64,
    pub written: u64,
}

/// `/proc/diskstats`. Partitions, loops, memory disks and what is made of other disks are left out, so that nothing
/// counts twice. A sector has 512 bytes there, whatever the disk.
#[must_use]
pub fn parse_diskstats(text: &str) -> Option<DiskBytes> {
    const SECTOR_BYTES: u64 = 512;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    let names: Vec<&str> = rows.iter().filter_map(|row| row.get(2).copied()).collect();
    let layered = ["loop", "ram", "dm-", "md", "zram", "sr"];
    let counts = |name: &str| {
        let part = names.iter().any(|whole| whole.len() < name.len() && name.starts_with(whole));
        !part && !layered.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut all = DiskBytes::default();
    for row in rows.iter().filter(|row| row.get(2).is_some_and(|name| counts(name))) {
        let sectors = |at: usize| row.get(at)?.parse::<u64>().ok()?.checked_mul(SECTOR_BYTES);
        all.read = all.read.saturating_add(sectors(5)?);
        all.written = all.written.saturating_add(sectors(9)?);
    }
    Some(all)
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessStat {
    /// As the kernel names it, at most 15 bytes.
    pub name: String,
    pub parent: u32,
    /// Clock ticks on a CPU, all threads, also those that ended.
    pub cpu_ticks: u64,
    /// Clock ticks after boot at which it started; tells a process from a later one with its number.
    pub started: u64,
}

/// `/proc/PID/stat`. The name may hold spaces and parentheses.
#[must_use]
pub fn parse_process_stat(text: &str) -> Option<ProcessStat> {
    let (before, after) = text.rsplit_once(") ")?;
    let (_, name) = before.split_once(" (")?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    // After the name: state is field 3 of proc(5), so field n stands at n - 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(ProcessStat {
        name: name.to_owned(),
        parent: u32::try_from(number(4)?).ok()?,
        cpu_ticks: number(14)?.checked_add(number(15)?)?,
        started: number(22)?,
    })
}

/// One thread, nanoseconds since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedStat {
    pub run_ns: u64,
    /// Ready to run, but waiting for a CPU.
    pub wait_ns: u64,
}

/// `/proc/PID/task/TID/schedstat`.
#[must_use]
pub fn parse_schedstat(text: &str) -> Option<SchedStat> {
    let mut words = text.split_ascii_whitespace();
    Some(SchedStat { run_ns: words.next()?.parse().ok()?, wait_ns: words.next()?.parse().ok()? })
}

/// `VmRSS` of `/proc/PID/status` in bytes; a kernel thread has none.
pub(super) fn resident(text: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_leaves_guests_and_disk_waits_out() {
        let text = "cpu  100 10 50 800 40 0 0 0 30 0\ncpu0 50 5 25 400 20 0 0 0 15 0\ncpu1 1 2 3 4\nintr 5\n";
        assert_eq!(parse_stat(text), Some(CpuTimes { busy: 160, total: 1000, cpus: 2 }));
        assert_eq!(parse_stat("cpu  x"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn memory_is_in_kib() {
        let text = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    4000 kB\n";
        let memory = Memory { total_bytes: 16_384_000, available_bytes: 4_096_000 };
        assert_eq!(parse_meminfo(text), Some(memory));
        assert_eq!(parse_meminfo("MemTotal: 5 kB"), None);
    }

    #[test]
    fn pressure_is_the_total_of_some() {
        let text = "some avg10=1.53 avg60=0.87 avg300=0.73 total=9012345\nfull avg10=0.00 total=77\n";
        assert_eq!(parse_pressure(text), Some(9_012_345));
        assert_eq!(parse_pressure("full total=3"), None);
    }

    #[test]
    fn partitions_and_layers_do_not_count_twice() {
        let text = "   8  0 sda 10 0 100 0 5 0 50 0 0 0 0\n   8  1 sda1 10 0 99 0 5 0 49 0 0 0 0\n \
                    259 0 nvme0n1 1 0 2 0 1 0 4 0 0\n 259 1 nvme0n1p1 1 0 2 0 1 0 4 0 0\n 253 0 dm-0 1 0 7 0 1 0 7 0\n";
        assert_eq!(parse_diskstats(text), Some(DiskBytes { read: 102 * 512, written: 54 * 512 }));
        assert_eq!(parse_diskstats("8 0 sda 1"), None);
    }

    #[test]
    fn a_process_may_be_named_anything() {
        let after = "S 7 1 1 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 4 0 555 1000 200";
        let stat = ProcessStat { name: "a) (b c".into(), parent: 7, cpu_ticks: 42, started: 555 };
        assert_eq!(parse_process_stat(&format!("12 (a) (b c) {after}")), Some(stat));
        assert_eq!(parse_process_stat("12 (cut off"), None);
        assert_eq!(parse_process_stat("12 (x) S 1"), None);
    }

    #[test]
    fn a_thread_runs_and_waits() {
        assert_eq!(parse_schedstat("5 7 9\n"), Some(SchedStat { run_ns: 5, wait_ns: 7 }));
        assert_eq!(parse_schedstat("5"), None);
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t      12 kB\n"), Some(12_288));
    }
}
