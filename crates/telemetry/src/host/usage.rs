//! What processes have used up to a moment, for differences over windows that somebody else chooses.

use super::PROC;
use super::processes::{Look, Watched, look, parents};
use std::collections::BTreeMap;
use std::path::Path;

/// Below this share of the ticks, the scheduler's figures miss threads that ended.
const MIN_RUN_SHARE: f64 = 0.7;

/// Counters of some processes at one moment.
pub struct Usage {
    /// By process.
    looks: BTreeMap<u32, Look>,
    /// Of the interfaces that the first process sees.
    received_bytes: Option<u64>,
}

/// Growth between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    pub cpu_ms: f64,
    /// Ready to run, but waiting for a CPU, summed over threads; `None` where the kernel does not tell.
    pub wait_ms: Option<f64>,
    pub received_bytes: Option<f64>,
}

/// Looks at these processes, and their children where that is asked for. `None` where none of them is there. Blocks for
/// as long as it takes to read some files of /proc.
#[must_use]
pub fn usage(watched: &[Watched]) -> Option<Usage> {
    of(Path::new(PROC), watched)
}

fn of(proc: &Path, watched: &[Watched]) -> Option<Usage> {
    let any = watched.iter().any(|watched| watched.include_children);
    let parents = if any { parents(proc) } else { BTreeMap::new() };
    let looks: BTreeMap<u32, Look> =
        watched.iter().filter_map(|w| Some((w.pid, look(proc, w, &parents)?))).collect();
    let first = watched.iter().find(|w| looks.contains_key(&w.pid))?;
    let devices = std::fs::read_to_string(proc.join(first.pid.to_string()).join("net/dev"));
    Some(Usage { looks, received_bytes: devices.ok().and_then(|text| received(&text)) })
}

/// `/proc/PID/net/dev`: bytes received by all interfaces.
fn received(text: &str) -> Option<u64> {
    let of = |line: &str| line.split_once(':')?.1.split_ascii_whitespace().next()?.parse::<u64>().ok();
    let mut interfaces = text.lines().filter_map(of).peekable();
    interfaces.peek()?;
    Some(interfaces.fold(0, u64::saturating_add))
}

impl Usage {
    /// Growth since `earlier`; processes that are in one of them only do not count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Used {
        let mut used = Used { wait_ms: Some(0.0), ..Used::default() };
        for (pid, look) in &self.looks {
            let Some(before) = earlier.looks.get(pid) else { continue };
            let growth = look.since(before);
            let exact = growth.run_s >= growth.cpu_s * MIN_RUN_SHARE;
            used.cpu_ms += 1e3 * if exact { growth.run_s } else { growth.cpu_s };
            used.wait_ms = used.wait_ms.zip(growth.wait_s).map(|(sum, more)| sum + more * 1e3);
        }
        used.received_bytes = self
            .received_bytes
            .zip(earlier.received_bytes)
            .and_then(|(now, then)| now.checked_sub(then))
            .map(|bytes| bytes as f64);
        used
    }
}

#[cfg(test)]
mod tests {
    use super::{of, received};
    use crate::host::Watched;
    use std::fs;
    use std::path::Path;

    fn put(root: &Path, run_ns: u64, ticks: u64, bytes: u64) {
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("10/stat", &format!("10 (shop) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 4 0 5 0 0"));
        write("10/task/10/schedstat", &format!("{run_ns} {} 3", run_ns / 2));
        write("10/net/dev", &format!("Inter-| Receive\n face |bytes\n lo: {bytes} 1\n eth0: 5 0\n"));
    }

    #[test]
    fn the_scheduler_is_believed_before_ticks_unless_threads_ended() {
        let root = tempfile::tempdir().unwrap();
        let watched = [Watched { role: "service".into(), pid: 10, include_children: false }];
        put(root.path(), 1_000_000, 1, 100);
        let first = of(root.path(), &watched).unwrap();
        put(root.path(), 26_000_000, 3, 700);
        let used = of(root.path(), &watched).unwrap().since(&first);
        assert_eq!((used.cpu_ms, used.wait_ms, used.received_bytes), (25.0, Some(12.5), Some(600.0)));
        put(root.path(), 2_000_000, 11, 100);
        let ended = of(root.path(), &watched).unwrap().since(&first);
        assert_eq!((ended.cpu_ms, ended.received_bytes), (100.0, Some(0.0)));
        assert!(of(Path::new("/nowhere"), &watched).is_none());
        assert_eq!(received("no interface here"), None);
    }
}
