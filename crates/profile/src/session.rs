//! A profile of living processes, from attaching to the finished values. One thread does everything: the caller's, for
//! as long as [`Session::run`] takes.

use crate::memory::Memory;
use crate::node::{self, Inspector};
use crate::perf::{Access, Events, Forbidden, Setting, wait_for};
use crate::procfs;
use crate::python;
use crate::recorder::{NOT_SAMPLED, Wanted, scale};
use crate::sampler::{Sampler, Watch};
use crate::stacks::{Builder, Quality, Stacks, Thread};
use crate::symbols::{PerfMaps, resolve};
use anyhow::{Context, Result, bail, ensure};
use model::Gap;
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::time::Duration;

/// Rounds of looking for threads that began while others were attached to.
const MAX_ROUNDS: usize = 8;
/// How often windows are closed and the kernel's counts are read.
const HOUSEKEEPING_NS: u64 = 1_000_000_000;

/// What to profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A process and everything that it has started.
    Process(u32),
    /// The processes that listen on a TCP port of this machine, and what they have started.
    Port(u16),
}

/// How to profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Nanoseconds of CPU time between two samples of one thread.
    pub period_ns: u64,
    /// Nanoseconds between two looks at threads that are off CPU, and at interpreters.
    pub tick_ns: u64,
    /// Bytes of user stack that are copied; a multiple of 8, at most 65 528. Deeper stacks are incomplete.
    pub stack_bytes: u32,
    /// Read Python's own stacks.
    pub python: bool,
    /// Use the kernel's perf events. Without, as where they are forbidden, threads are looked at.
    pub perf: bool,
}

impl Default for Options {
    /// 99 samples a second of CPU time, 49 looks a second, 16 KiB of stack.
    fn default() -> Self {
        Self { period_ns: 10_101_010, tick_ns: 20_408_163, stack_bytes: 16 << 10, python: true, perf: true }
    }
}

/// How a running profile stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub elapsed_ns: u64,
    pub threads: usize,
    pub on_cpu_samples: u64,
}

/// Everything that is needed to profile a command that has not been started yet.
pub struct Prepared {
    title: String,
    options: Options,
    events: Option<Events>,
    gaps: Vec<Gap>,
    began_ns: u64,
}

impl Prepared {
    /// The command runs as process `pid`.
    #[must_use]
    pub fn started(self, pid: u32) -> Session {
        let Self { title, options, events, gaps, began_ns } = self;
        let mut sampler = Sampler::new(options, began_ns, gaps);
        let watch = if events.is_some() { Watch::Switches } else { Watch::Looks };
        sampler.add_thread(pid, pid, began_ns, watch, true);
        sampler.events = events;
        sampler.load(pid);
        Session {
            sampler,
            options,
            title,
            pids: vec![pid],
            began_ns,
            own_cpu_ns: 0,
            inspectors: Vec::new(),
            memory: Memory::default(),
        }
    }
}

/// A profile that is being taken. Dropping it ends it.
pub struct Session {
    sampler: Sampler,
    options: Options,
    title: String,
    pids: Vec<u32>,
    began_ns: u64,
    own_cpu_ns: u64,
    inspectors: Vec<Inspector>,
    memory: Memory,
}

const NODE_HINT: &str = "start it by `trimtab measure -- node ...` or `trimtab profile -- node ...`, or allow the inspector (`--node-inspector` of `measure` and `profile`)";

/// Now, in nanoseconds of the monotonic clock: the one that records carry.
fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000) + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl Session {
    /// Attaches to what runs already.
    ///
    /// # Errors
    /// Nothing of it runs, or it belongs to another user. That perf is forbidden is no error but a gap.
    pub fn attach(target: Target, options: Options) -> Result<Self> {
        let roots = roots(target)?;
        let mut pids: Vec<u32> = roots.iter().flat_map(|pid| procfs::with_descendants(*pid)).collect();
        pids.sort_unstable();
        pids.dedup();
        let title = roots.first().map(|pid| title(*pid)).unwrap_or_default();
        let python = options.python && pids.iter().any(|pid| python::is_mapped(*pid));
        let (mut events, gaps) = open(options, false, python);
        let began_ns = monotonic_ns();
        let mut sampler = Sampler::new(options, began_ns, gaps);
        for pid in &pids {
            attach_process(*pid, roots.contains(pid), began_ns, &mut events, &mut sampler)?;
        }
        ensure!(!sampler.threads.living().is_empty(), "the process ended before it could be profiled");
        sampler.events = events;
        for pid in &pids {
            sampler.load(*pid);
        }
        let memory = Memory::begin(&pids);
        Ok(Self { sampler, options, title, pids, began_ns, own_cpu_ns: 0, inspectors: Vec::new(), memory })
    }

    /// Makes ready to profile a command from its first instruction, with everything that it starts: the next program
    /// that the calling thread starts is the one. `title` names it.
    #[must_use]
    pub fn prepare(title: &str, options: Options) -> Prepared {
        let (mut events, mut gaps) = open(options, true, options.python);
        let opened = events.as_mut().map(|events| events.add(0));
        if let Some(Err(error)) = opened {
            gaps.push(forbidden(&Forbidden::Denied(error)));
            events = None;
        }
        Prepared { title: title.to_owned(), options, events, gaps, began_ns: monotonic_ns() }
    }

    /// Opens the inspector of each Node process that is profiled, and samples JavaScript with it. It is closed with
    /// the session. Until then every local user can run code in those processes: ask before.
    pub fn open_inspectors(&mut self) {
        for pid in self.pids.iter().copied().filter(|pid| node::is_node(*pid)) {
            match Inspector::start(pid) {
                Ok(inspector) => self.inspectors.push(inspector),
                Err(error) => {
                    let reason = format!("JavaScript functions of process {pid} are not named: {error:#}");
                    self.sampler.gap(Gap::new("profile", reason, NODE_HINT));
                }
            }
        }
    }

    /// The processes that are profiled.
    #[must_use]
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// What is profiled, as a person would name it.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Threads that live now.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.sampler.threads.living().len()
    }

    /// Memory of the processes since the profile began; empty for a command from its start.
    #[must_use]
    pub fn memory(&self) -> Vec<model::MemoryUse> {
        self.memory.end()
    }

    /// Samples until `stop` says so (asked at every tick), `duration` is over, or everything has ended.
    pub fn run(
        &mut self,
        duration: Option<Duration>,
        stop: &dyn Fn() -> bool,
        progress: &mut dyn FnMut(Progress),
    ) {
        let cpu_before = nanoseconds(ClockId::ThreadCPUTime);
        let begin = monotonic_ns();
        let limit = duration.map_or(u64::MAX, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        let end = begin.saturating_add(limit);
        let mut next_tick = begin;
        let mut next_keeping = begin + HOUSEKEEPING_NS;
        loop {
            let now = monotonic_ns();
            if now >= end || stop() {
                break;
            }
            if now < next_tick {
                self.wait(Duration::from_nanos(next_tick.min(end) - now));
                self.sampler.drain(monotonic_ns);
                continue;
            }
            // A tick that comes too late is not made up for.
            next_tick = now.saturating_add(self.options.tick_ns);
            self.sampler.drain(monotonic_ns);
            self.sampler.limit_switches(monotonic_ns());
            self.sampler.deepen(monotonic_ns());
            self.sampler.catch_short_runs(monotonic_ns());
            self.sampler.tick(monotonic_ns());
            if now >= next_keeping {
                next_keeping = now + HOUSEKEEPING_NS;
                self.sampler.keep_house(monotonic_ns());
                progress(Progress {
                    elapsed_ns: now - self.began_ns,
                    threads: self.sampler.threads.living().len(),
                    on_cpu_samples: self.sampler.on_cpu_samples,
                });
            }
            if self.sampler.threads.living().is_empty() {
                break;
            }
        }
        self.own_cpu_ns += nanoseconds(ClockId::ThreadCPUTime).saturating_sub(cpu_before);
    }

    fn wait(&self, patience: Duration) {
        match &self.sampler.events {
            Some(events) => events.wait(patience),
            None => wait_for(std::iter::empty(), patience),
        }
    }

    /// Ends the profile and names its frames. `start_unix_ns` is when it began.
    #[must_use]
    pub fn finish(mut self, start_unix_ns: u64) -> Stacks {
        self.sampler.drain(monotonic_ns);
        let now = monotonic_ns();
        self.sampler.keep_house(now);
        self.sampler.flush();
        let mut perf_maps = PerfMaps::default();
        for process in self.sampler.processes.values() {
            perf_maps.load(process.pid, process.inner_pid);
        }
        self.name_javascript(&perf_maps);
        let sampler = self.sampler;
        let mut recorder = sampler.recorder;
        let (window_ns, mut cells) = std::mem::take(&mut recorder.cells).finish();
        let grafted_stacks = sampler.ends.graft(&mut recorder, &mut cells);
        let unknown = recorder.stack(&[NOT_SAMPLED]);
        let threads = sampler.threads.finish(self.began_ns, now);
        let mut builder = Builder::default();
        let stacks =
            resolve(&recorder, &sampler.shared.files, &sampler.shared.names, &mut builder, &mut perf_maps);
        let window = |begin_ns: u64| u32::try_from(begin_ns / window_ns).unwrap_or(u32::MAX);
        let pools = pools(&threads, now.saturating_sub(self.began_ns));
        let wanted = |(thread, pool): (&Thread, Option<u32>)| Wanted {
            window: window(thread.begin_ns),
            ledger: thread.ledger,
            pool,
        };
        let ledgers: Vec<Wanted> = threads.iter().zip(pools).map(wanted).collect();
        let mut scaled = scale(cells, &ledgers, unknown);
        for cell in &mut scaled.cells {
            cell.stack = stacks.get(cell.stack as usize).copied().unwrap_or(0);
        }
        let facts = builder.facts();
        (facts.title, facts.start_unix_ns) = (self.title, start_unix_ns);
        facts.wall_ns = now.saturating_sub(self.began_ns);
        facts.threads = threads;
        let torn = sampler.processes.values().filter_map(|p| p.python.as_ref()).map(|p| p.torn).sum();
        facts.quality = Quality {
            own_cpu_ns: self.own_cpu_ns,
            torn_reads: torn,
            grafted_stacks,
            unscaled_ns: scaled.unscaled_ns,
            ..sampler.quality
        };
        facts.gaps = sampler.shared.gaps;
        facts.gaps.push(Memory::gap());
        facts.gaps.extend(missed(sampler.threads.missed, sampler.quality.lost_records));
        let mut stacks = builder.finish_with(window_ns, scaled.cells);
        stacks.gaps.extend(pooled(scaled.pooled_ns, stacks.ledger().running_ns));
        stacks.gaps.extend(crate::unnamed::gaps(&stacks));
        stacks
    }
}

impl Session {
    /// Puts the inspectors' stacks in place of the native ones of the threads that run JavaScript. V8 samples by the clock, also while
    /// the thread is queued: the ledger scales that away.
    fn name_javascript(&mut self, perf_maps: &PerfMaps) {
        for mut inspector in std::mem::take(&mut self.inspectors) {
            let pid = inspector.pid;
            match inspector.stop() {
                Ok(all) => {
                    for one in &all {
                        self.sampler.replace_running(pid, one);
                    }
                    if inspector.unseen_workers > 0 {
                        let reason = format!(
                            "{} worker threads of process {pid} that began or ended meanwhile are not named",
                            inspector.unseen_workers
                        );
                        self.sampler.gap(Gap::new("profile", reason, "profile while the workers go on"));
                    }
                }
                Err(error) => {
                    let reason = format!("JavaScript functions of process {pid} are not named: {error:#}");
                    self.sampler.gap(Gap::new("profile", reason, NODE_HINT));
                }
            }
        }
        let unnamed: Vec<u32> = self
            .sampler
            .processes
            .values()
            .filter(|p| p.is_node && !p.has_javascript)
            .map(|p| p.pid)
            .collect();
        for pid in unnamed.into_iter().filter(|pid| !perf_maps.has(*pid)) {
            let reason =
                format!("JavaScript functions of process {pid} are not named: it writes no perf map");
            self.sampler.gap(Gap::new("profile", reason, NODE_HINT));
        }
    }
}

/// Threads that began and ended while they were watched are alike where process and name are the same.
fn pools(threads: &[Thread], end_ns: u64) -> Vec<Option<u32>> {
    let mut numbers = HashMap::new();
    let number = |thread: &Thread| {
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let short = thread.begin_ns > 0 && thread.end_ns < end_ns;
        short.then(|| *numbers.entry((thread.pid, thread.name.clone())).or_insert(next))
    };
    threads.iter().map(number).collect()
}

/// A gap where much time on CPU is of threads that were too short to be sampled.
fn pooled(pooled_ns: u64, running_ns: u64) -> Option<Gap> {
    const SAID_PERCENT: u64 = 5;
    let percent = u64::try_from(u128::from(pooled_ns) * 100 / u128::from(running_ns.max(1))).unwrap_or(100);
    (percent >= SAID_PERCENT).then(|| {
        let reason = format!(
            "{percent} % of the time on CPU is of threads that ended before they were sampled: it is shown as what \
             others of the same name did"
        );
        Gap::new("profile", reason, "sample more often (`--rate`), or profile for longer")
    })
}

fn missed(threads: u64, records: u64) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if threads > 0 {
        let reason =
            format!("{threads} threads are missing: more than {} began", crate::threads::MAX_THREADS);
        gaps.push(Gap::new("profile", reason, "profile for a shorter time"));
    }
    if records > 0 {
        let reason =
            format!("the kernel lost {records} records: the profiler did not get to read them in time");
        gaps.push(Gap::new("profile", reason, "sample less often, or give the profiler CPU time"));
    }
    gaps
}

fn roots(target: Target) -> Result<Vec<u32>> {
    match target {
        Target::Process(pid) => {
            ensure!(procfs::status(pid).is_some(), "there is no process {pid}");
            ensure!(procfs::is_alive(pid), "process {pid} has ended and waits for its parent to notice");
            ensure!(
                procfs::command_line(pid).is_some_and(|line| !line.is_empty()),
                "process {pid} is a thread of the kernel, which has no user stacks"
            );
            Ok(vec![pid])
        }
        Target::Port(port) => {
            let pids = procfs::listening(port);
            ensure!(
                !pids.is_empty(),
                "no process that may be looked at listens on port {port}; is it in a container or another user's? \
                 give its process number, or run as root"
            );
            Ok(pids)
        }
    }
}

fn title(pid: u32) -> String {
    const MAX_CHARS: usize = 120;
    let line = procfs::command_line(pid).unwrap_or_default();
    // Arguments may hold passwords: the program's name and first argument tell enough.
    let words: Vec<&str> = line.split(' ').take(2).filter(|word| !word.contains([':', '=', '@'])).collect();
    format!("{} (process {pid})", words.join(" ")).chars().take(MAX_CHARS).collect()
}

fn attach_process(
    pid: u32,
    is_root: bool,
    now_ns: u64,
    events: &mut Option<Events>,
    sampler: &mut Sampler,
) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let owner = procfs::status(pid).map(|status| status.uid);
    if let Some(owner) = owner.filter(|owner| own != 0 && *owner != own) {
        if is_root {
            bail!("process {pid} belongs to user {owner}, not to you ({own}): run as that user or as root");
        }
        return Ok(());
    }
    // Threads may begin while others are attached to; a thread that is attached to hands it on to its own.
    for _ in 0..MAX_ROUNDS {
        let fresh: Vec<u32> =
            procfs::threads(pid).into_iter().filter(|t| !sampler.threads.knows(*t)).collect();
        if fresh.is_empty() {
            break;
        }
        for tid in fresh {
            let opened = events.as_mut().map(|events| events.add(tid));
            let watch = match opened {
                Some(Ok(())) => Watch::Switches,
                Some(Err(error)) => match error.raw_os_error() {
                    Some(libc::ESRCH) => continue,
                    Some(libc::EMFILE | libc::ENFILE) => {
                        sampler.gap(too_many_threads());
                        Watch::Looks
                    }
                    _ => {
                        let context = format!("could not attach to thread {tid} of process {pid}");
                        return Err(error).context(context);
                    }
                },
                None => Watch::Looks,
            };
            sampler.add_thread(pid, tid, now_ns, watch, false);
        }
    }
    Ok(())
}

fn too_many_threads() -> Gap {
    Gap::new(
        "profile",
        "descriptors ran out: some threads have no on-CPU stacks and their waits are looked up instead of recorded",
        "raise the limit of open files (`ulimit -n`) to more than 2 x threads x CPUs",
    )
}

fn open(options: Options, on_exec: bool, wake_at_samples: bool) -> (Option<Events>, Vec<Gap>) {
    if !options.perf {
        let gap = Gap::new("profile", "no on-CPU stacks: perf was not wanted", "profile with perf events");
        return (None, vec![gap]);
    }
    let setting = Setting {
        period_ns: options.period_ns,
        stack_bytes: options.stack_bytes & !7,
        wake_at_samples,
        on_exec,
    };
    match Events::probe(setting, procfs::online_cpus()) {
        Ok(events) => {
            let gaps = if events.access() == Access::UserOnly { vec![no_kernel()] } else { Vec::new() };
            (Some(events), gaps)
        }
        Err(why) => (None, vec![forbidden(&why)]),
    }
}

fn paranoid() -> String {
    procfs::sysctl("kernel/perf_event_paranoid").map_or("unknown".to_owned(), |level| level.to_string())
}

fn no_kernel() -> Gap {
    Gap::new(
        "profile",
        format!("no kernel frames: kernel.perf_event_paranoid is {} and this is not root", paranoid()),
        "`sudo sysctl kernel.perf_event_paranoid=1`, or run as root or with CAP_PERFMON",
    )
}

fn forbidden(why: &Forbidden) -> Gap {
    match why {
        Forbidden::Denied(error) => Gap::new(
            "profile",
            format!(
                "no on-CPU stacks: perf is forbidden here ({error}); kernel.perf_event_paranoid is {}",
                paranoid()
            ),
            "`sudo sysctl kernel.perf_event_paranoid=2`, or run as root; a container needs CAP_PERFMON or a \
             seccomp profile that lets perf_event_open through",
        ),
        Forbidden::Unsupported(error) => Gap::new(
            "profile",
            format!("no on-CPU stacks: the kernel has no usable perf events ({error})"),
            "profile on Linux 5.11 or newer on x86-64",
        ),
    }
}
