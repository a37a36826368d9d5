//! Turns records and looks into weights: who runs with which stack, who waits where. Time is an argument.

use crate::deeper::StackFit;
use crate::formats::{CallFrame, CpuProfile};
use crate::graft::Ends;
use crate::ledger::State;
use crate::names::Name;
use crate::node::{self, OfThread};
use crate::perf::{Body, Events, Record, Registers};
use crate::process::{Look, Process, Seen, Shared};
use crate::procfs::{self, Mapping};
use crate::recorder::{NOT_SAMPLED, Raw, Recorder};
use crate::session::Options;
use crate::short_runs::RunSamples;
use crate::stacks::{FrameKind, Quality};
use crate::switches::{SwitchRate, concerns};
use crate::threads::Threads;
use crate::timeline::{Interval, Now};
use crate::unwind::End;
use model::Gap;
use std::collections::HashMap;

/// Looks at threads per tick; with more that want one, they take turns.
const MAX_LOOKS: usize = 64;
/// Looks per second in the long run: one costs some 20 microseconds of CPU, all of them 0.2 % of a core.
const LOOKS_PER_S: u64 = 100;
/// Looks that may be saved up.
const MOST_LOOKS: u64 = 64;
/// What a look costs of a purse that is filled with nanoseconds times [`LOOKS_PER_S`].
const LOOK_PRICE: u64 = 1_000_000_000;
/// Processes whose code is kept at most.
const MAX_PROCESSES: usize = 4096;
/// So long after a sample a Python thread that has not gone to wait for anything is taken to be about where it was.
const FRESH_NS: u64 = 25_000_000;
/// How often the list of an interpreter's threads is read, and how much later for each thread.
const PYTHON_THREADS_NS: u64 = 100_000_000;
const PYTHON_THREAD_NS: u64 = 10_000_000;
const MOST_PYTHON_THREADS_NS: u64 = 1_000_000_000;
/// ... and at most, for threads that have just begun: a server may start one for each request.
const NEW_THREADS_NS: u64 = 20_000_000;

/// How a thread's states are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Each switch is recorded.
    Switches,
    /// It is looked at.
    Looks,
}

/// What a record says of one thread, with its stack already unwound.
enum Happened {
    /// With a stack; how far it was unwound, where it has user frames.
    Ran(u32, Option<End>),
    Left(Registers),
    In,
    Out {
        preempted: bool,
    },
    Began {
        parent_pid: u32,
        parent_tid: u32,
    },
    Ended,
    Named(String),
}

pub(crate) struct Event {
    time: u64,
    pid: u32,
    tid: u32,
    what: Happened,
}

pub(crate) struct Sampler {
    options: Options,
    began_ns: u64,
    pub(crate) events: Option<Events>,
    pub(crate) threads: Threads,
    pub(crate) processes: HashMap<u32, Process>,
    pub(crate) shared: Shared,
    pub(crate) recorder: Recorder,
    pub(crate) quality: Quality,
    pub(crate) on_cpu_samples: u64,
    /// Events that are newer than the last drain's beginning: another CPU's ring may still hold an older one.
    pub(crate) held: Vec<Event>,
    pub(crate) switch_rate: SwitchRate,
    pub(crate) stack_fit: StackFit,
    pub(crate) run_samples: RunSamples,
    pub(crate) ends: Ends,
    /// Samples of Python threads that are to be named: thread, time, native stack.
    fresh: Vec<(usize, u64, u32)>,
    next_look: usize,
    /// What may be spent on looks.
    purse: u64,
    /// How often a thread that wants a look gets one.
    seen_every_ns: u64,
    next_python_ns: u64,
    next_new_ns: u64,
}

impl Sampler {
    pub(crate) fn new(options: Options, began_ns: u64, gaps: Vec<Gap>) -> Self {
        Self {
            options,
            began_ns,
            events: None,
            threads: Threads::default(),
            processes: HashMap::new(),
            shared: Shared { gaps, ..Shared::default() },
            recorder: Recorder::new(),
            quality: Quality::default(),
            on_cpu_samples: 0,
            held: Vec::new(),
            switch_rate: SwitchRate::default(),
            stack_fit: StackFit::default(),
            run_samples: RunSamples::default(),
            ends: Ends::default(),
            fresh: Vec::new(),
            next_look: 0,
            purse: MOST_LOOKS * LOOK_PRICE,
            seen_every_ns: options.tick_ns,
            next_python_ns: 0,
            next_new_ns: 0,
        }
    }

    pub(crate) fn gap(&mut self, gap: Gap) {
        if !self.shared.gaps.contains(&gap) {
            self.shared.gaps.push(gap);
        }
    }

    pub(crate) fn add_thread(&mut self, pid: u32, tid: u32, begin_ns: u64, watch: Watch, fresh: bool) {
        if let Some(at) = self.threads.add(pid, tid, begin_ns, fresh) {
            self.threads.all[at].watched = watch == Watch::Switches;
        }
    }

    pub(crate) fn period_ns(&self) -> u64 {
        self.options.period_ns
    }

    /// Takes over the code of a process.
    pub(crate) fn load(&mut self, pid: u32) {
        process(&mut self.processes, &mut self.shared, pid, self.options.python);
    }

    /// Reads all records that the kernel has written.
    pub(crate) fn drain(&mut self, now_ns: impl Fn() -> u64) {
        let Some(mut events) = self.events.take() else { return };
        let complete_until = now_ns();
        let mut happened = std::mem::take(&mut self.held);
        let whole_cpus = events.of_all_processes();
        events.drain(|record| match record {
            Record::Of { pid, body, .. } if whole_cpus && !concerns(&self.processes, pid, &body) => {}
            Record::Of { pid, tid, time, body } => {
                if let Some(what) = self.understand(pid, body, whole_cpus) {
                    happened.push(Event { time, pid, tid, what });
                }
            }
            Record::Lost(many) => self.quality.lost_records += many,
            Record::Other => {}
        });
        self.events = Some(events);
        happened.sort_by_key(|event| event.time);
        let later = happened.split_off(happened.partition_point(|event| event.time < complete_until));
        self.held = later;
        happened.into_iter().for_each(|event| self.apply(event));
        self.name_python(now_ns());
    }

    /// Applies what was held back: at the end nothing older can come.
    pub(crate) fn flush(&mut self) {
        let held = std::mem::take(&mut self.held);
        held.into_iter().for_each(|event| self.apply(event));
        self.name_python(u64::MAX);
    }

    /// Gives samples on CPU of Python threads their Python stacks, if the thread has not gone elsewhere since: it still
    /// runs, was stopped there, or lost the global lock there. Else the native stack counts, which was taken at the very moment.
    fn name_python(&mut self, now_ns: u64) {
        for (at, time, native) in std::mem::take(&mut self.fresh) {
            let Self { threads, processes, shared, recorder, options, .. } = self;
            let unrecorded = threads.unrecorded;
            let thread = &mut threads.all[at];
            let there = matches!(thread.timeline.now, Now::On | Now::Off { preempted: true });
            let fresh = now_ns.saturating_sub(time) < FRESH_NS;
            let process = processes.get_mut(&thread.pid).filter(|_| fresh);
            let process = process.filter(|process| match unrecorded {
                true => process.goes_on(thread.tid),
                false => there || process.waits_for_gil(thread.tid),
            });
            let frames = process.and_then(|process| process.python_stack(thread.python, shared, now_ns));
            let stack = frames.filter(|frames| !frames.is_empty()).map(|frames| recorder.stack(&frames));
            let stack = stack.unwrap_or(native);
            thread.last_stack = stack;
            let weight = options.period_ns;
            self.add(time, at, stack, State::Running, weight);
        }
    }

    /// What a record says of a thread. Code that is mapped is taken over at once, stacks are unwound at once.
    fn understand(&mut self, pid: u32, body: Body<'_>, whole_cpus: bool) -> Option<Happened> {
        let Self { processes, shared, recorder, quality, options, .. } = self;
        match body {
            Body::Sample(sample) if sample.period == 1 => sample.registers.map(Happened::Left),
            Body::Sample(sample) => {
                self.on_cpu_samples += 1;
                self.run_samples.samples += 1;
                let process = process(processes, shared, pid, options.python)?;
                let copied = self.stack_fit.copied(sample.stack, options.stack_bytes);
                let unwound =
                    sample.registers.map(|registers| process.unwind(registers, copied, &mut shared.cache));
                let end = unwound.as_ref().map(|(_, end)| *end);
                if let Some(end) = end {
                    quality.native_stacks += 1;
                    quality.complete_stacks += u64::from(end == End::Whole);
                    self.stack_fit.count(end);
                }
                let mut frames = unwound.map(|(frames, _)| frames).unwrap_or_default();
                frames.extend(sample.kernel.iter().rev().map(|address| Raw::Kernel(*address)));
                Some(Happened::Ran(recorder.stack(&frames), end))
            }
            Body::SwitchIn => Some(Happened::In),
            Body::SwitchOut { preempted } => Some(Happened::Out { preempted }),
            Body::Fork { parent_pid, parent_tid } => {
                if parent_pid != pid && processes.get(&pid).is_none_or(|known| known.ended) {
                    processes.remove(&pid);
                    let space = processes.get(&parent_pid).map(|parent| parent.space.clone());
                    let child = process(processes, shared, pid, false)?;
                    // Of several CPUs' records the child's own may have come first, and found nobody who knew it.
                    if !whole_cpus || child.space.is_empty() {
                        child.space = space.unwrap_or_default();
                    }
                }
                Some(Happened::Began { parent_pid, parent_tid })
            }
            Body::Exit => Some(Happened::Ended),
            Body::Name { name, exec } => {
                if exec {
                    let process = process(processes, shared, pid, false)?;
                    process.replaced();
                }
                Some(Happened::Named(name))
            }
            Body::Map { start, bytes, file_offset, inode, path } => {
                let process = process(processes, shared, pid, options.python)?;
                let end = start.saturating_add(bytes);
                process.map(&Mapping { start, end, file_offset, inode, path }, shared);
                None
            }
        }
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let Event { time, pid, tid, what } = event;
        match what {
            Happened::Began { parent_pid, parent_tid } => {
                self.switch_rate.count_birth();
                // A thread of a process that is watched by looks alone cannot hand on its events.
                let added = self.threads.begin(pid, tid, time, parent_tid);
                if added.is_none() && parent_pid != pid {
                    self.gap(Gap::new("profile", "a child process is missing", "profile for a shorter time"));
                }
                return;
            }
            Happened::Ended => {
                let part = self.threads.find(tid).and_then(|(at, t)| Some((at, t.timeline.part(time)?)));
                if let Some((at, interval)) = part {
                    self.weigh(at, interval);
                }
                self.threads.end(tid, time);
                return;
            }
            _ => {}
        }
        if !self.threads.knows(tid) {
            // A whole CPU's clock also finds a thread that has told its end already.
            if !procfs::has_thread(pid, tid) {
                return;
            }
            self.threads.add(pid, tid, time, true);
        }
        if matches!(what, Happened::Ran(..)) {
            self.meet(tid, time);
        }
        let (seen_every_ns, unrecorded) = (self.seen_every_ns, self.threads.unrecorded);
        let Some((at, thread)) = self.threads.find(tid) else { return };
        match what {
            Happened::Ran(stack, end) => {
                thread.last_stack = stack;
                if unrecorded {
                    thread.timeline.sampled(self.options.period_ns);
                }
                if thread.python.is_some() {
                    self.fresh.push((at, time, stack));
                } else {
                    let weight = self.options.period_ns;
                    self.add(time, at, stack, State::Running, weight);
                    if let Some(end) = end {
                        self.ends.note(at, stack, end == End::Whole, 1);
                    }
                }
            }
            Happened::Left(registers) => thread.registers = Some(registers),
            Happened::In => {
                thread.ran = true;
                let interval = thread.timeline.switch_in(time, seen_every_ns);
                if let Some(interval) = interval {
                    self.weigh(at, interval);
                }
            }
            Happened::Out { preempted } => {
                thread.ran = true;
                self.switch_rate.count();
                let before_ns = thread.timeline.ran_ns;
                thread.timeline.switch_out(time, preempted);
                self.run_samples.ran_ns += thread.timeline.ran_ns - before_ns;
            }
            Happened::Named(name) => thread.name = name,
            Happened::Began { .. } | Happened::Ended => {}
        }
    }

    /// A thread that has just begun may be an interpreter's, and gone before its list is read next.
    fn meet(&mut self, tid: u32, now_ns: u64) {
        let unknown = |(_, thread): (usize, &mut crate::threads::Thread)| {
            thread.python.is_none() && thread.is_young(now_ns)
        };
        if now_ns >= self.next_new_ns && self.threads.find(tid).is_some_and(unknown) {
            self.next_new_ns = now_ns + NEW_THREADS_NS;
            self.find_python_threads();
        }
    }

    pub(crate) fn weigh(&mut self, at: usize, interval: Interval) {
        self.add(interval.end_ns, at, interval.stack, interval.state, interval.weight_ns);
    }

    fn add(&mut self, time: u64, at: usize, stack: u32, state: State, weight_ns: u64) {
        let thread = u32::try_from(at).unwrap_or(u32::MAX);
        let stack = if stack == 0 { self.recorder.stack(&[NOT_SAMPLED]) } else { stack };
        self.recorder.cells.add(time.saturating_sub(self.began_ns), thread, stack, state, weight_ns);
    }

    /// Looks at threads that are off CPU and at interpreters.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        let Self { processes, shared, options, .. } = self;
        if options.python && processes.values_mut().any(|process| process.expect_python(&shared.files)) {
            self.next_python_ns = now_ns;
        }
        if now_ns >= self.next_python_ns {
            let many = self.threads.living().len() as u64;
            let each = (PYTHON_THREADS_NS + many * PYTHON_THREAD_NS).min(MOST_PYTHON_THREADS_NS);
            self.next_python_ns = now_ns + each;
            self.find_python_threads();
        }
        let spent = self.options.tick_ns.saturating_mul(LOOKS_PER_S);
        self.purse = (self.purse + spent).min(MOST_LOOKS * LOOK_PRICE);
        let affordable = self.purse / LOOK_PRICE;
        let living = self.threads.living().len();
        let (mut wanted, mut looked, mut paid, mut resume) = (0_u64, 0, 0_u64, None);
        for step in 0..living {
            let place = (self.next_look + step) % living;
            let Some(at) = self.threads.living().get(place).copied() else { break };
            if !self.wants_look(at) {
                continue;
            }
            wanted += 1;
            // The first look at an idle thread is free: there is one of each.
            let free = self.threads.all[at].timeline.now == Now::Unknown && !self.threads.unrecorded;
            if looked < MAX_LOOKS && (free || paid < affordable) {
                looked += 1;
                paid += u64::from(!free);
                self.look(at, now_ns);
            } else if resume.is_none() {
                resume = Some(place);
            }
        }
        self.next_look = resume.unwrap_or(0);
        self.purse -= paid * LOOK_PRICE;
        // Where threads take turns, each of them is looked at as if ticks were longer.
        self.seen_every_ns = self.options.tick_ns * wanted.div_ceil((looked as u64).max(1)).max(1);
    }

    fn wants_look(&self, at: usize) -> bool {
        let thread = &self.threads.all[at];
        if !thread.watched {
            return true;
        }
        thread.timeline.wants_look()
    }

    fn look(&mut self, at: usize, now_ns: u64) {
        let Self { threads, processes, shared, recorder, options, .. } = self;
        let unrecorded = threads.unrecorded;
        let thread = &mut threads.all[at];
        let elapsed_ns = now_ns.saturating_sub(thread.looked_ns);
        thread.looked_ns = now_ns;
        let (watched, now, last) = (thread.watched, thread.timeline.now, thread.last_stack);
        let Some(process) = processes.get_mut(&thread.pid) else { return };
        let registers = if now == Now::Unknown { None } else { thread.registers };
        let stack_bytes = options.stack_bytes;
        let look = Look { shared, recorder, stack_bytes, now_ns };
        let seen = process.look(thread.tid, thread.python, registers, look);
        match seen {
            Seen::Waiting { stack, for_gil, native_end } => {
                let state = if for_gil { State::GilWait } else { State::Blocked };
                thread.last_stack = stack;
                if let Some(end) = native_end {
                    self.ends.note(at, stack, end == End::Whole, 0);
                }
                if watched {
                    thread.timeline.look(stack, state);
                } else {
                    self.add(now_ns, at, stack, state, elapsed_ns);
                }
            }
            Seen::Runnable(stack) => {
                let frames = process.python_stack(thread.python, shared, now_ns).filter(|f| !f.is_empty());
                let python = frames.map(|frames| recorder.stack(&frames));
                let stack = python.or(stack).unwrap_or(last);
                match now {
                    Now::Off { preempted: true } => thread.timeline.look(stack, State::Queued),
                    Now::Off { preempted: false } if watched => {
                        // It was woken and has no CPU yet.
                        let weight = options.tick_ns;
                        self.add(now_ns, at, stack, State::Queued, weight);
                    }
                    _ if watched => {}
                    // What runs is sampled by a clock: this one may have no CPU.
                    _ if unrecorded => self.add(now_ns, at, stack, State::Queued, elapsed_ns),
                    _ => {
                        let stack = python.unwrap_or_else(|| recorder.stack(&[NO_STACK]));
                        self.add(now_ns, at, stack, State::Running, elapsed_ns);
                    }
                }
            }
            Seen::Nothing => {}
        }
    }

    /// Takes V8's samples for the time on CPU of a thread of a process.
    pub(crate) fn replace_running(&mut self, pid: u32, of: &OfThread) {
        let tid = match of.inner_tid {
            None => Some(pid),
            Some(inner) => self
                .threads
                .all
                .iter()
                .find(|one| one.pid == pid && one.inner_tid == inner)
                .map(|one| one.tid),
        };
        let Some((at, _)) = tid.and_then(|tid| self.threads.find(tid)) else { return };
        let profile = &of.profile;
        let thread = u32::try_from(at).unwrap_or(u32::MAX);
        self.recorder.cells.remove(thread, State::Running);
        let mut time = profile.start_us.saturating_mul(1000);
        for (id, us) in &profile.samples {
            let weight_ns = us.saturating_mul(1000);
            if !profile.is_idle(*id) {
                let stack = self.javascript(profile, *id);
                self.add(time, at, stack, State::Running, weight_ns);
            }
            time = time.saturating_add(weight_ns);
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.has_javascript = true;
        }
    }

    fn javascript(&mut self, profile: &CpuProfile, id: u64) -> u32 {
        let Self { shared, recorder, .. } = self;
        let frame = |frame: &CallFrame| {
            let file = node::script(frame).to_owned();
            let name = Name { kind: FrameKind::JavaScript, function: frame.function.clone(), file };
            shared.names.add(name).map(|name| Raw::Named { name, line: frame.line })
        };
        let frames: Vec<Raw> = profile.path(id).into_iter().filter_map(frame).collect();
        recorder.stack(&frames)
    }

    fn find_python_threads(&mut self) {
        for process in self.processes.values_mut() {
            let inner_pid = process.inner_pid;
            let Some(reader) = &mut process.python else { continue };
            let found: HashMap<u32, _> =
                reader.threads(inner_pid).into_iter().map(|thread| (thread.inner_tid, thread)).collect();
            for thread in self.threads.living_mut().filter(|thread| thread.pid == process.pid) {
                thread.python = found.get(&thread.inner_tid).copied();
            }
        }
    }

    /// Closes the window: gives out the parts of intervals that go on, reads the kernel's counts, finds what is new.
    pub(crate) fn keep_house(&mut self, now_ns: u64) {
        for at in self.threads.living().to_vec() {
            if let Some(interval) = self.threads.all[at].timeline.part(now_ns) {
                self.weigh(at, interval);
            }
            let thread = &self.threads.all[at];
            let (pid, tid) = (thread.pid, thread.tid);
            let wanted = thread.ran || !thread.watched;
            // The end of a watched thread is recorded, with its time, but records may be lost.
            if wanted && !self.threads.count(at) && !procfs::has_thread(pid, tid) {
                self.threads.end(tid, now_ns);
            }
        }
        self.recorder.cells.close_windows();
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        for pid in pids {
            if !procfs::is_alive(pid) {
                self.threads.end_process(pid, now_ns);
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.ended = true;
                }
                continue;
            }
            if self.events.is_none() {
                for tid in procfs::threads(pid) {
                    self.add_thread(pid, tid, now_ns, Watch::Looks, false);
                }
            }
            if let Some(process) = self.processes.get_mut(&pid) {
                process.check_python(&mut self.shared, self.options.python);
                process.check_variants(&mut self.shared.files);
            }
        }
    }
}

/// The label of threads that run where perf is forbidden.
const NO_STACK: Raw = Raw::Label("[no stack: perf is forbidden]");

fn process<'a>(
    processes: &'a mut HashMap<u32, Process>,
    shared: &mut Shared,
    pid: u32,
    python: bool,
) -> Option<&'a mut Process> {
    if !processes.contains_key(&pid) {
        if processes.len() >= MAX_PROCESSES {
            return None;
        }
        processes.insert(pid, Process::load(pid, shared, python));
    }
    processes.get_mut(&pid)
}
