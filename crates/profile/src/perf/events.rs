//! Which events are opened on which threads, with what the kernel permits: everything with `CAP_PERFMON`, user stacks
//! and switches without, nothing where even that is forbidden.

use super::record::{REGISTERS, Record, SAMPLE_TYPE};
use super::ring::Ring;
use crate::sys::{self, Attributes};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

const SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
const CONTEXT_SWITCHES: u64 = 3;
/// It never happens: for the side band alone.
const NOTHING: u64 = 9;
const ANYBODY: i32 = -1;
/// `CLOCK_MONOTONIC`.
const CLOCK: i32 = 1;
const FLAG_DISABLED: u64 = 1;
const FLAG_INHERIT: u64 = 1 << 1;
const FLAG_NO_KERNEL: u64 = 1 << 5;
const FLAG_NO_HYPERVISOR: u64 = 1 << 6;
const FLAG_NO_IDLE: u64 = 1 << 7;
const FLAG_ENABLE_ON_EXEC: u64 = 1 << 12;
const FLAG_WATERMARK: u64 = 1 << 14;
const FLAG_SAMPLE_ID_ALL: u64 = 1 << 18;
const FLAG_NO_KERNEL_CHAIN: u64 = 1 << 21;
const FLAG_NO_USER_CHAIN: u64 = 1 << 22;
const FLAG_USE_CLOCK: u64 = 1 << 25;
/// mmap, comm, task, mmap2, comm_exec: the side band, from one event of each thread.
const FLAGS_SIDE_BAND: u64 = 1 << 8 | 1 << 9 | 1 << 13 | 1 << 23 | 1 << 24;
const FLAG_SWITCHES: u64 = 1 << 26;
/// CPUs of a machine on which whole CPUs are sampled: each wakes us at each sample, also at other processes'.
const MAX_WHOLE_CPUS: usize = 8;
/// Sizes of a ring that are tried; with its head page, the second is what an ordinary user may lock per CPU. The first
/// is for deep stacks, of which the second would hold seven.
const RING_BYTES: [usize; 5] = [2 << 20, 512 << 10, 256 << 10, 64 << 10, 32 << 10];
/// So many of them hold deep stacks.
const DEEP_SIZES: usize = 3;
/// Stacks of more bytes are deep.
const SHALLOW_BYTES: u32 = 16 << 10;
/// Bytes in a ring at which we are woken.
const WAKE_BYTES: u32 = 256 << 10;
/// Descriptors left to everything else.
const SPARE_DESCRIPTORS: usize = 256;
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// What the kernel permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Kernel frames, and registers at each switch.
    Full,
    /// User stacks, and switches without registers.
    UserOnly,
}

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) period_ns: u64,
    pub(crate) stack_bytes: u32,
    /// Wake [`Events::wait`] at each sample on CPU, so that what runs can still be found where it was.
    pub(crate) wake_at_samples: bool,
    /// Start with the next program that the calling thread starts, instead of at once.
    pub(crate) on_exec: bool,
}

/// What samples and switches are taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Threads and all that they start: samples and switches.
    Switches,
    /// Samples of whole CPUs, whatever runs there; switches of threads and all that they start. The clock of a CPU is
    /// not set anew at each switch, and not for each new thread.
    BesideCpus,
    /// Samples of threads and all that they start, without switches.
    Threads,
    /// Samples of whole CPUs, without switches.
    Cpus,
}

/// One kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Samples of a thread, with or without its switches, with maps, names and new threads.
    Clock { switches: bool },
    /// Samples of a CPU, with or without maps, names and new threads.
    WholeCpu { side_band: bool },
    /// Switches, maps, names and new threads.
    SideBand,
    /// The registers of a thread that leaves a CPU.
    Leaving,
}

/// Why there are no events.
#[derive(Debug)]
pub(crate) enum Forbidden {
    /// `perf_event_paranoid` or a seccomp filter.
    Denied(io::Error),
    Unsupported(io::Error),
}

/// Open events of any number of threads: one ring per CPU.
pub(crate) struct Events {
    setting: Setting,
    access: Access,
    scope: Scope,
    cpus: Vec<i32>,
    rings: Vec<Option<Ring>>,
    /// Events that write into a ring of another one.
    others: Vec<OwnedFd>,
    room: usize,
}

impl Events {
    /// Finds out what is permitted by opening an event on ourselves.
    ///
    /// # Errors
    /// The kernel permits none, or has none.
    pub(crate) fn probe(setting: Setting, cpus: Vec<i32>) -> Result<Self, Forbidden> {
        if !cfg!(target_arch = "x86_64") {
            return Err(Forbidden::Unsupported(io::Error::other("this is not x86-64")));
        }
        let scope = Scope::Switches;
        let kind = Kind::Clock { switches: true };
        let try_access = |access| sys::perf_event_open(&attributes(setting, access, kind), 0, -1);
        let access = match try_access(Access::Full) {
            Ok(_) => Access::Full,
            Err(_) => match try_access(Access::UserOnly) {
                Ok(_) => Access::UserOnly,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
                    return Err(Forbidden::Denied(error));
                }
                Err(error) => return Err(Forbidden::Unsupported(error)),
            },
        };
        let rings = cpus.iter().map(|_| None).collect();
        Ok(Self { setting, access, scope, cpus, rings, others: Vec::new(), room: descriptors() })
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Whether records of foreign processes come, too.
    pub(crate) fn of_all_processes(&self) -> bool {
        matches!(self.scope, Scope::Cpus | Scope::BesideCpus)
    }

    /// Samples whole CPUs from now on, and records switches of these threads as before. Returns how many of them are
    /// lost to us; `None` where it is not permitted or there are too many CPUs.
    pub(crate) fn sample_whole_cpus(&mut self, tids: &[u32]) -> Option<usize> {
        let attributes = attributes(self.setting, self.access, Kind::WholeCpu { side_band: false });
        let few = self.scope == Scope::Switches && self.cpus.len() <= MAX_WHOLE_CPUS;
        let cpu = self.cpus.first().filter(|_| few)?;
        sys::perf_event_open(&attributes, ANYBODY, *cpu).ok()?;
        self.scope = Scope::BesideCpus;
        Some(self.open_again(tids))
    }

    /// Gives up the records of switches: each costs the process some microseconds. What is sampled from now on are
    /// whole CPUs where that is permitted, else these threads and all that they start. Returns how many threads are
    /// lost to us. Records that were not drained are lost.
    pub(crate) fn without_switches(&mut self, tids: &[u32]) -> usize {
        self.scope = if self.cpus.len() <= MAX_WHOLE_CPUS { Scope::Cpus } else { Scope::Threads };
        self.open_again(tids)
    }

    /// Copies so many bytes of each stack from now on. Returns how many threads are lost to us. Records that were not
    /// drained are lost.
    pub(crate) fn copy_stacks_of(&mut self, bytes: u32, tids: &[u32]) -> usize {
        let before = std::mem::replace(&mut self.setting.stack_bytes, bytes);
        let lost = self.open_again(tids);
        if self.rings.iter().any(Option::is_some) {
            return lost;
        }
        // No ring that is large enough was granted.
        self.setting.stack_bytes = before;
        self.open_again(tids)
    }

    fn open_again(&mut self, tids: &[u32]) -> usize {
        self.setting.on_exec = false;
        self.close();
        if self.of_all_processes() && self.add_cpus().is_err() {
            self.close();
            self.scope = if self.scope == Scope::Cpus { Scope::Threads } else { Scope::Switches };
        }
        tids.iter().filter(|tid| !self.add_late(**tid)).count()
    }

    /// Opens the events of a thread after those of all were opened anew; `false` where it is lost to us.
    pub(crate) fn add_late(&mut self, tid: u32) -> bool {
        // One that has ended meanwhile is no loss.
        let harmless = |error: io::Error| error.raw_os_error() == Some(libc::ESRCH);
        self.add(tid).map_or_else(harmless, |()| true)
    }

    fn close(&mut self) {
        self.others.clear();
        self.rings.iter_mut().for_each(|ring| *ring = None);
        self.room = descriptors();
    }

    fn add_cpus(&mut self) -> io::Result<()> {
        let kind = Kind::WholeCpu { side_band: self.scope == Scope::Cpus };
        for at in 0..self.cpus.len() {
            let event =
                sys::perf_event_open(&attributes(self.setting, self.access, kind), ANYBODY, self.cpus[at])?;
            self.attach(at, event)?;
        }
        Ok(())
    }

    /// The kinds of events of one thread.
    fn kinds(&self) -> &'static [Kind] {
        match (self.scope, self.access) {
            (Scope::Switches, Access::Full) => &[Kind::Clock { switches: true }, Kind::Leaving],
            (Scope::Switches, Access::UserOnly) => &[Kind::Clock { switches: true }],
            (Scope::BesideCpus, Access::Full) => &[Kind::SideBand, Kind::Leaving],
            (Scope::BesideCpus, Access::UserOnly) => &[Kind::SideBand],
            (Scope::Threads, _) => &[Kind::Clock { switches: false }],
            (Scope::Cpus, _) => &[],
        }
    }

    /// Opens the events of one thread (0: of the calling one) and of all that it starts from now on.
    ///
    /// # Errors
    /// The thread has ended (`ESRCH`), is another user's (`EACCES`), or descriptors have run out (`EMFILE`).
    pub(crate) fn add(&mut self, tid: u32) -> io::Result<()> {
        let tid = i32::try_from(tid).map_err(|_| io::ErrorKind::InvalidInput)?;
        let kinds = self.kinds();
        if self.room < kinds.len() * self.cpus.len() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        for at in 0..self.cpus.len() {
            for kind in kinds {
                let attributes = attributes(self.setting, self.access, *kind);
                match sys::perf_event_open(&attributes, tid, self.cpus[at]) {
                    Ok(event) => self.attach(at, event)?,
                    // The CPU was taken away.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn attach(&mut self, at: usize, event: OwnedFd) -> io::Result<()> {
        self.room = self.room.saturating_sub(1);
        let start = |event: &OwnedFd| if self.setting.on_exec { Ok(()) } else { sys::enable(event) };
        if let Some(ring) = &self.rings[at] {
            sys::redirect(&event, ring.event())?;
            start(&event)?;
            self.others.push(event);
            return Ok(());
        }
        let deep = self.setting.stack_bytes > SHALLOW_BYTES;
        let sizes = if deep { &RING_BYTES[..DEEP_SIZES] } else { &RING_BYTES[1..] };
        let (mut event, mut refused) = (event, None::<io::Error>);
        for bytes in sizes {
            match Ring::new(event, *bytes) {
                Ok(ring) => {
                    start(ring.event())?;
                    self.rings[at] = Some(ring);
                    return Ok(());
                }
                Err((back, error)) => (event, refused) = (back, Some(error)),
            }
        }
        Err(refused.unwrap_or_else(|| io::ErrorKind::OutOfMemory.into()))
    }

    /// Waits until a ring is half full, but not longer than `patience`.
    pub(crate) fn wait(&self, patience: Duration) {
        wait_for(self.rings.iter().flatten().map(Ring::event), patience);
    }

    /// Hands over all new records, CPU by CPU: in order for one CPU, not over several.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Record<'_>)) {
        for ring in self.rings.iter_mut().flatten() {
            ring.drain(&mut each);
        }
    }
}

/// Waits for any of these descriptors, or for none where there are none.
pub(crate) fn wait_for<'a>(events: impl Iterator<Item = &'a OwnedFd>, patience: Duration) {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut polled: Vec<PollFd<'_>> = events.map(|e| PollFd::new(e, PollFlags::IN)).collect();
    let timeout = rustix::time::Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    // A signal ends the wait early, which does no harm: the caller looks at the clock.
    let _early = poll(&mut polled, Some(&timeout));
    // The event of a thread that has ended ends each wait at once: it is left out of one more.
    let (news, over) = (PollFlags::IN, PollFlags::HUP | PollFlags::ERR);
    if polled.iter().any(|p| p.revents().intersects(over))
        && !polled.iter().any(|p| p.revents().intersects(news))
    {
        polled.retain(|p| !p.revents().intersects(over));
        let _early = poll(&mut polled, Some(&timeout));
    }
}

fn attributes(setting: Setting, access: Access, kind: Kind) -> Attributes {
    let mut flags =
        FLAG_DISABLED | FLAG_NO_HYPERVISOR | FLAG_SAMPLE_ID_ALL | FLAG_NO_USER_CHAIN | FLAG_USE_CLOCK;
    // Of a thread that leaves the CPU the registers are wanted; what it waits for is looked up.
    let (config, more) = match kind {
        Kind::Clock { switches: true } => (CPU_CLOCK, FLAG_INHERIT | FLAGS_SIDE_BAND | FLAG_SWITCHES),
        Kind::Clock { switches: false } => (CPU_CLOCK, FLAG_INHERIT | FLAGS_SIDE_BAND),
        Kind::WholeCpu { side_band: true } => (CPU_CLOCK, FLAG_NO_IDLE | FLAGS_SIDE_BAND),
        Kind::WholeCpu { side_band: false } => (CPU_CLOCK, FLAG_NO_IDLE),
        Kind::SideBand => (NOTHING, FLAG_INHERIT | FLAGS_SIDE_BAND | FLAG_SWITCHES | FLAG_NO_KERNEL_CHAIN),
        Kind::Leaving => (CONTEXT_SWITCHES, FLAG_INHERIT | FLAG_NO_KERNEL_CHAIN),
    };
    flags |= more;
    let clock = config == CPU_CLOCK;
    // Without the flag, `wakeup` is a number of samples; the ring wakes at half its size in any case.
    let wake_at_samples = clock && setting.wake_at_samples;
    if !wake_at_samples {
        flags |= FLAG_WATERMARK;
    }
    if access == Access::UserOnly {
        flags |= FLAG_NO_KERNEL;
    }
    if setting.on_exec {
        flags |= FLAG_ENABLE_ON_EXEC;
    }
    Attributes {
        kind: SOFTWARE,
        size: u32::try_from(size_of::<Attributes>()).unwrap_or(0),
        config,
        sample_period: if clock { setting.period_ns } else { 1 },
        sample_type: SAMPLE_TYPE,
        flags,
        wakeup: if wake_at_samples { 1 } else { WAKE_BYTES },
        sample_regs_user: REGISTERS,
        sample_stack_user: if clock { setting.stack_bytes } else { 0 },
        clock_id: CLOCK,
        ..Attributes::default()
    }
}

/// Raises the soft limit of descriptors to the hard one and says how many events fit.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    let granted = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => limit.current.unwrap_or(1024),
    };
    usize::try_from(granted).unwrap_or(usize::MAX).saturating_sub(SPARE_DESCRIPTORS)
}
