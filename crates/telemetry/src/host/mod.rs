//! Figures of the host and of watched processes from /proc, at an interval. What cannot be read or vanishes becomes
//! a gap, told once; processes are only looked at, never touched.

mod parse;
mod processes;
mod sampler;
mod usage;

pub use parse::{CpuTimes, DiskBytes, Memory, ProcessStat, SchedStat};
pub use parse::{
    parse_diskstats, parse_meminfo, parse_pressure, parse_process_stat, parse_schedstat, parse_stat,
};
pub use processes::Watched;
pub use usage::{Usage, Used, usage};

use crate::Clock;
use model::{Environment, Gap, MetricSeries};
use sampler::Sampler;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

const PROC: &str = "/proc";

/// What was seen of the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFigures {
    pub series: Vec<MetricSeries>,
    pub gaps: Vec<Gap>,
}

/// Sampling in the background; dropping it ends it.
pub struct HostSampling {
    sampler: Arc<Mutex<Sampler>>,
    _task: JoinSet<()>,
}

/// Samples host and processes every `interval` from now on. Needs a tokio runtime.
#[must_use]
pub fn sample(watched: Vec<Watched>, interval: Duration, clock: Clock) -> HostSampling {
    let sampler = Arc::new(Mutex::new(Sampler::new(PathBuf::from(PROC), watched)));
    let mut task = JoinSet::new();
    let own = Arc::clone(&sampler);
    task.spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let sampler = Arc::clone(&own);
            // /proc answers from memory, but a process of many threads has many files.
            let read = tokio::task::spawn_blocking(move || lock(&sampler).sample(clock()));
            if read.await.is_err() {
                return;
            }
        }
    });
    HostSampling { sampler, _task: task }
}

impl HostSampling {
    /// What was seen since the last time.
    #[must_use]
    pub fn take(&self) -> HostFigures {
        lock(&self.sampler).take()
    }

    /// Watches these processes from now on, in place of the earlier ones.
    pub fn watch(&self, watched: Vec<Watched>) {
        lock(&self.sampler).watch(watched);
    }
}

fn lock(sampler: &Mutex<Sampler>) -> MutexGuard<'_, Sampler> {
    sampler.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where we run, without versions of programs. What cannot be read stays empty.
#[must_use]
pub fn environment() -> Environment {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let release = read("/etc/os-release");
    let kernel = read("/proc/sys/kernel/osrelease");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let cpus = parse_stat(&read("/proc/stat")).map_or(0, |times| times.cpus);
    Environment {
        host: read("/proc/sys/kernel/hostname").trim().to_owned(),
        os: format!("{} (Linux {})", name.trim_matches('"'), kernel.trim()),
        cpu_model: model.trim_start_matches([' ', '\t', ':']).trim().to_owned(),
        cpus,
        memory_bytes: parse_meminfo(&read("/proc/meminfo")).map_or(0, |memory| memory.total_bytes),
        versions: BTreeMap::new(),
    }
}
