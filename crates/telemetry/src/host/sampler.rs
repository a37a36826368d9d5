//! Two looks at /proc make a sample: shares and rates of the time between them.

use super::HostFigures;
use super::parse::{CpuTimes, DiskBytes, parse_diskstats, parse_meminfo, parse_pressure, parse_stat};
use super::processes::{self, Look, MAX_THREADS, Watched};
use crate::metric_store::{Attributes, Figure, MetricName, MetricStore};
use crate::report::IngestReport;
use model::Gap;
use model::metrics::names;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Gaps that are kept between two `take`s.
const MAX_GAPS: usize = 100;

#[derive(Default)]
struct Before {
    time_ns: u64,
    cpu: Option<CpuTimes>,
    disk: Option<DiskBytes>,
    cpu_pressure_us: Option<u64>,
    io_pressure_us: Option<u64>,
    groups: BTreeMap<u32, Look>,
}

pub(super) struct Sampler {
    proc: PathBuf,
    watched: Vec<Watched>,
    before: Before,
    store: MetricStore,
    gaps: BTreeSet<Gap>,
    ended: BTreeSet<u32>,
    /// Points beyond the store's bounds.
    counts: IngestReport,
}

impl Sampler {
    pub(super) fn new(proc: PathBuf, watched: Vec<Watched>) -> Self {
        Self {
            proc,
            watched,
            before: Before::default(),
            store: MetricStore::default(),
            gaps: BTreeSet::new(),
            ended: BTreeSet::new(),
            counts: IngestReport::default(),
        }
    }

    pub(super) fn watch(&mut self, watched: Vec<Watched>) {
        self.watched = watched;
        self.before.groups.clear();
        self.ended.clear();
    }

    pub(super) fn take(&mut self) -> HostFigures {
        let mut gaps: Vec<Gap> = std::mem::take(&mut self.gaps).into_iter().collect();
        gaps.extend(std::mem::take(&mut self.counts).gaps());
        HostFigures { series: self.store.take(), gaps }
    }

    /// Looks once; the second and every further look gives points.
    pub(super) fn sample(&mut self, now_ns: u64) {
        let seconds = now_ns.saturating_sub(self.before.time_ns) as f64 / 1e9;
        let seconds = (self.before.time_ns > 0 && seconds > 0.0).then_some(seconds);
        self.processors(now_ns);
        self.memory(now_ns);
        self.before.cpu_pressure_us =
            self.pressure("cpu", names::HOST_CPU_PRESSURE, self.before.cpu_pressure_us, (now_ns, seconds));
        self.before.io_pressure_us =
            self.pressure("io", names::HOST_IO_PRESSURE, self.before.io_pressure_us, (now_ns, seconds));
        self.disk(now_ns, seconds);
        self.groups(now_ns, seconds);
        self.before.time_ns = now_ns;
    }

    /// Reads and parses one file; what fails is a gap.
    fn read<T>(&mut self, name: &str, parse: fn(&str) -> Option<T>) -> Option<T> {
        let path = self.proc.join(name);
        let read = std::fs::read_to_string(&path);
        let problem = match &read {
            Ok(text) => match parse(text) {
                Some(value) => return Some(value),
                None => "is not as expected".to_owned(),
            },
            Err(error) => format!("cannot be read: {error}"),
        };
        self.gap(
            format!("{} {problem}", path.display()),
            "run on Linux with /proc visible; for /proc/pressure a \
             kernel with PSI",
        );
        None
    }

    fn gap(&mut self, reason: String, hint: &str) {
        if self.gaps.len() < MAX_GAPS {
            self.gaps.insert(Gap::new("host", reason, hint));
        }
    }

    fn point(&mut self, name: &str, unit: &str, attributes: Attributes, (now_ns, value): (u64, f64)) {
        self.store.push(
            &MetricName { name, unit },
            attributes,
            now_ns,
            Figure::Gauge(value),
            &mut self.counts,
        );
    }

    fn processors(&mut self, now_ns: u64) {
        let Some(cpu) = self.read("stat", parse_stat) else { return };
        if let Some(before) = self.before.cpu.replace(cpu) {
            let total = cpu.total.saturating_sub(before.total);
            if total > 0 {
                let share = cpu.busy.saturating_sub(before.busy) as f64 / total as f64;
                self.point(names::HOST_CPU, "1", Attributes::new(), (now_ns, share));
                self.point(names::HOST_CPUS, "{cpu}", Attributes::new(), (now_ns, f64::from(cpu.cpus)));
            }
        }
    }

    fn memory(&mut self, now_ns: u64) {
        let Some(memory) = self.read("meminfo", parse_meminfo) else { return };
        if memory.total_bytes > 0 {
            let used = 1.0 - memory.available_bytes as f64 / memory.total_bytes as f64;
            self.point(names::HOST_MEMORY, "1", Attributes::new(), (now_ns, used));
        }
    }

    fn pressure(
        &mut self,
        file: &str,
        name: &str,
        before: Option<u64>,
        (now_ns, seconds): (u64, Option<f64>),
    ) -> Option<u64> {
        let us = self.read(&format!("pressure/{file}"), parse_pressure)?;
        if let (Some(before), Some(seconds)) = (before, seconds) {
            let share = us.saturating_sub(before) as f64 / 1e6 / seconds;
            self.point(name, "1", Attributes::new(), (now_ns, share.min(1.0)));
        }
        Some(us)
    }

    fn disk(&mut self, now_ns: u64, seconds: Option<f64>) {
        let Some(disk) = self.read("diskstats", parse_diskstats) else { return };
        if let (Some(before), Some(seconds)) = (self.before.disk.replace(disk), seconds) {
            for (direction, now, then) in
                [("read", disk.read, before.read), ("write", disk.written, before.written)]
            {
                let rate = now.saturating_sub(then) as f64 / seconds;
                let attributes = Attributes::from([("disk.io.direction".to_owned(), direction.to_owned())]);
                self.point(names::HOST_DISK_IO, "By/s", attributes, (now_ns, rate));
            }
        }
    }

    fn groups(&mut self, now_ns: u64, seconds: Option<f64>) {
        let any = self.watched.iter().any(|watched| watched.include_children);
        let parents = if any { processes::parents(&self.proc) } else { BTreeMap::new() };
        for watched in self.watched.clone() {
            if self.ended.contains(&watched.pid) {
                continue;
            }
            match processes::look(&self.proc, &watched, &parents) {
                Some(look) => self.group(&watched, look, now_ns, seconds),
                None => {
                    self.ended.insert(watched.pid);
                    let reason =
                        format!("the process {} ({}) ended or cannot be seen", watched.pid, watched.role);
                    self.gap(reason, "look at its log; its figures end where it ended");
                }
            }
        }
    }

    fn group(&mut self, watched: &Watched, look: Look, now_ns: u64, seconds: Option<f64>) {
        let attributes = || {
            Attributes::from([
                ("process.role".to_owned(), watched.role.clone()),
                ("process.executable.name".to_owned(), look.name.clone()),
                ("process.pid".to_owned(), watched.pid.to_string()),
            ])
        };
        self.point(names::PROCESS_MEMORY, "By", attributes(), (now_ns, look.resident_bytes as f64));
        if look.no_waits {
            let reason =
                format!("run-queue waits of process {} ({}) cannot be read", watched.pid, watched.role);
            self.gap(reason, "run as the same user or as root, on a kernel with schedstats");
        }
        if look.too_many_threads {
            let reason = format!("process {} has more than {MAX_THREADS} threads", watched.pid);
            self.gap(reason, "its run-queue wait is too low");
        }
        let earlier = self.before.groups.remove(&watched.pid);
        if let (Some(earlier), Some(seconds)) = (earlier, seconds) {
            let growth = look.since(&earlier);
            self.point(names::PROCESS_CPU, "{cpu}", attributes(), (now_ns, growth.cpu_s / seconds));
            if let Some(wait_s) = growth.wait_s {
                self.point(names::PROCESS_RUN_QUEUE, "s/s", attributes(), (now_ns, wait_s / seconds));
            }
        }
        self.before.groups.insert(watched.pid, look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn put(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A /proc at second `at`: a service (10) with a child (11), each with one thread.
    fn proc(root: &Path, at: u64) {
        put(root, "stat", &format!("cpu  {} 0 0 {} 0 0 0 0\ncpu0 1\ncpu1 1\n", at * 50, at * 150));
        put(root, "meminfo", "MemTotal: 1000 kB\nMemAvailable: 250 kB\n");
        put(root, "pressure/cpu", &format!("some avg10=0 total={}\n", at * 100_000));
        put(root, "diskstats", &format!("8 0 sda 1 0 {} 0 1 0 {} 0 0\n", at * 2, at * 4));
        for (pid, parent) in [(10, 1), (11, 10)] {
            let stat = format!("{pid} (shop) S {parent} 1 1 0 -1 0 0 0 0 0 {} 0 0 0 20 0 4 0 5 0 0", at * 25);
            put(root, &format!("{pid}/stat"), &stat);
            put(root, &format!("{pid}/status"), "VmRSS: 8 kB\n");
            put(root, &format!("{pid}/task/{pid}/schedstat"), &format!("1 {} 3", at * 1_000_000));
        }
    }

    fn watched(include_children: bool) -> Vec<Watched> {
        vec![Watched { role: "service".into(), pid: 10, include_children }]
    }

    #[test]
    fn two_looks_make_shares_and_rates() {
        let root = tempfile::tempdir().unwrap();
        let mut sampler = Sampler::new(root.path().to_owned(), watched(true));
        for at in 1..=3 {
            proc(root.path(), at);
            sampler.sample(at * 1_000_000_000);
        }
        let figures = sampler.take();
        let last = |name: &str| {
            let series = figures.series.iter().find(|s| s.name == name).unwrap();
            series.points.last().unwrap().value
        };
        let close =
            |name: &str, wanted: f64| assert!((last(name) - wanted).abs() < 1e-9, "{name} {}", last(name));
        close(names::HOST_CPU, 0.25);
        close(names::HOST_CPUS, 2.0);
        close(names::HOST_MEMORY, 0.75);
        close(names::HOST_CPU_PRESSURE, 0.1);
        close(names::HOST_DISK_IO, 1024.0);
        close(names::PROCESS_CPU, 0.5);
        close(names::PROCESS_RUN_QUEUE, 0.002);
        close(names::PROCESS_MEMORY, 16_384.0);
        // There is no pressure/io there.
        assert_eq!(figures.gaps.len(), 1);
        assert!(figures.gaps[0].reason.contains("pressure/io"), "{}", figures.gaps[0].reason);
    }

    #[test]
    fn a_process_that_ends_is_one_gap() {
        let root = tempfile::tempdir().unwrap();
        let mut sampler = Sampler::new(root.path().to_owned(), watched(false));
        proc(root.path(), 1);
        sampler.sample(1_000_000_000);
        fs::remove_dir_all(root.path().join("10")).unwrap();
        sampler.sample(2_000_000_000);
        sampler.sample(3_000_000_000);
        let gaps = sampler.take().gaps;
        let told: Vec<_> = gaps.iter().filter(|gap| gap.reason.contains("process 10 (service)")).collect();
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn without_proc_there_are_gaps_only() {
        let root = tempfile::tempdir().unwrap();
        let mut sampler = Sampler::new(root.path().join("none"), watched(true));
        sampler.sample(1);
        sampler.sample(2);
        let figures = sampler.take();
        assert_eq!(figures.series, []);
        assert_eq!(figures.gaps.len(), 6);
    }
}
