//! One process of a profile: its code, its interpreter if it has one, and reading the stack of a thread that is off CPU
//! without stopping it.

use crate::names::Names;
use crate::node;
use crate::perf::Registers;
use crate::procfs::{self, Mapping, Syscall};
use crate::python::{self, PythonThread, Reader};
use crate::recorder::{Raw, Recorder};
use crate::sys;
use crate::unwind::{CodeFiles, Copied, End, Space, Unwound};
use crate::wait;
use framehop::x86_64::CacheX86_64;
use model::Gap;

/// Bytes of a waiting thread's stack that are read at most.
const MAX_STACK_BYTES: u32 = 256 << 10;

pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) inner_pid: u32,
    pub(crate) space: Space,
    pub(crate) python: Option<Reader>,
    /// The kernel let us read its memory so far.
    readable: bool,
    /// Code was mapped since an interpreter was looked for.
    changed: bool,
    /// ... or since it was asked for the functions that its libraries chose.
    new_code: bool,
    pub(crate) is_node: bool,
    /// It has ended: its number may come again as a process that is none of ours.
    pub(crate) ended: bool,
    /// Its JavaScript was sampled by its inspector.
    pub(crate) has_javascript: bool,
}

/// What all processes share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) files: CodeFiles,
    pub(crate) names: Names,
    pub(crate) cache: CacheX86_64,
    pub(crate) gaps: Vec<Gap>,
    /// Room for a stack, used again and again.
    pub(crate) memory: Vec<u8>,
}

/// What was found out about a thread that is off CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is back on a CPU or queued for one, with this stack if one can be told.
    Runnable(Option<u32>),
    Waiting {
        stack: u32,
        for_gil: bool,
        /// How far its native stack could be told; `None` of an interpreter's.
        native_end: Option<End>,
    },
    /// It has ended, or may not be looked at.
    Nothing,
}

impl Process {
    pub(crate) fn load(pid: u32, shared: &mut Shared, python: bool) -> Self {
        let space = Space::load(pid, &mut shared.files);
        let inner_pid = procfs::status(pid).and_then(|status| status.inner_id).unwrap_or(pid);
        let mut process = Self {
            pid,
            inner_pid,
            space,
            python: None,
            readable: true,
            changed: !python,
            new_code: true,
            is_node: node::is_node(pid),
            ended: false,
            has_javascript: false,
        };
        if python {
            process.find_python(shared);
        }
        process
    }

    /// It runs another program now.
    pub(crate) fn replaced(&mut self) {
        (self.space, self.python, self.changed) = (Space::default(), None, true);
        self.new_code = true;
    }

    pub(crate) fn map(&mut self, map: &Mapping, shared: &mut Shared) {
        self.space.add(self.pid, map, &mut shared.files);
        (self.changed, self.new_code) = (true, true);
    }

    /// Asks for the functions that its libraries chose when they were loaded, if any were mapped since the last time.
    pub(crate) fn check_variants(&mut self, files: &mut CodeFiles) {
        if std::mem::take(&mut self.new_code) {
            self.space.read_variants(self.pid, files);
        }
    }

    /// Looks for an interpreter if code was mapped since the last time.
    pub(crate) fn check_python(&mut self, shared: &mut Shared, wanted: bool) {
        if self.changed {
            self.is_node = node::is_node(self.pid);
        }
        if wanted && self.changed && self.python.is_none() {
            self.find_python(shared);
        }
        self.changed = false;
    }

    /// The same soon after code was mapped, so that the first second of a command is told, too. What is not there yet
    /// may come: only the regular look says that it is missing.
    pub(crate) fn expect_python(&mut self, files: &CodeFiles) -> bool {
        if !self.changed || self.python.is_some() {
            return false;
        }
        if let Some(Ok(reader)) = python::find(self.pid, &self.space, files) {
            self.python = Some(reader);
        }
        self.python.is_some()
    }

    fn find_python(&mut self, shared: &mut Shared) {
        match python::find(self.pid, &self.space, &shared.files) {
            Some(Ok(reader)) => self.python = Some(reader),
            Some(Err(why)) => shared.gaps.push(Gap::new(
                "profile",
                format!("Python functions of process {} are not named: {}", self.pid, why.0),
                "native frames are shown; use CPython 3.8 to 3.13, not stripped of `_PyRuntime`",
            )),
            None => {}
        }
    }

    /// Memory from the stack pointer on, as much as there is.
    fn stack_memory(&mut self, sp: u64, bytes: u32, shared: &mut Shared) -> Vec<u8> {
        let mut memory = std::mem::take(&mut shared.memory);
        memory.clear();
        if !self.readable {
            return memory;
        }
        memory.resize(bytes as usize, 0);
        match sys::read_memory(self.pid, sp, &mut memory) {
            Ok(read) => memory.truncate(read),
            Err(error) => {
                memory.clear();
                if error.raw_os_error() == Some(libc::EPERM) {
                    self.readable = false;
                    shared.gaps.push(unreadable(self.pid));
                }
            }
        }
        memory
    }

    /// Frames of a user stack, root first.
    pub(crate) fn unwind(
        &self,
        registers: Registers,
        stack: Copied<'_>,
        cache: &mut CacheX86_64,
    ) -> (Vec<Raw>, End) {
        let unwound = self.space.unwind(registers, stack, cache);
        (self.frames(&unwound), unwound.end)
    }

    fn frames(&self, unwound: &Unwound) -> Vec<Raw> {
        unwound.places.iter().rev().map(|place| Raw::of(self.pid, *place)).collect()
    }

    /// Looks at a thread that is off CPU: what it waits for, and where. `left_with` are its registers when it left
    /// the CPU, where the kernel told them.
    pub(crate) fn look(
        &mut self,
        tid: u32,
        python: Option<PythonThread>,
        left_with: Option<Registers>,
        look: Look<'_>,
    ) -> Seen {
        let Look { shared, recorder, stack_bytes, now_ns } = look;
        let Some(call) = procfs::syscall(self.pid, tid) else { return Seen::Nothing };
        let Syscall::Waiting { number, arguments, sp, pc } = call else {
            // It may run again and change its stack under us: what does not end well is not believed.
            let stack = left_with.and_then(|registers| {
                let memory = self.stack_memory(registers.sp, stack_bytes, shared);
                let copied = Copied { bytes: &memory, all: memory.len() < stack_bytes as usize };
                let (frames, end) = self.unwind(registers, copied, &mut shared.cache);
                shared.memory = memory;
                (end == End::Whole).then(|| recorder.stack(&frames))
            });
            return Seen::Runnable(stack);
        };
        let for_gil = self.is_gil(number, arguments[0]);
        let label = if for_gil {
            "[waits: Python GIL]"
        } else {
            wait::name(number, || procfs::descriptor(self.pid, arguments[0]))
        };
        let mut frames = self.python_stack(python, shared, now_ns).unwrap_or_default();
        let mut native_end = None;
        if frames.is_empty() {
            let (native, end) = self.waiting_stack(pc, sp, left_with, stack_bytes, shared);
            (frames, native_end) = (native, Some(end));
        }
        frames.push(Raw::Label(label));
        Seen::Waiting { stack: recorder.stack(&frames), for_gil, native_end }
    }

    /// Whether a thread waits for Python's global lock: it was stopped within Python.
    pub(crate) fn waits_for_gil(&self, tid: u32) -> bool {
        let Some(Syscall::Waiting { number, arguments, .. }) = procfs::syscall(self.pid, tid) else {
            return false;
        };
        self.is_gil(number, arguments[0])
    }

    /// Whether a system call waits for Python's global lock.
    fn is_gil(&self, number: Option<u64>, first_argument: u64) -> bool {
        let word = wait::futex_word(number, first_argument);
        word.is_some_and(|word| self.python.as_ref().is_some_and(|python| python.is_gil(word)))
    }

    /// Whether a thread is still where it was when it was sampled on a CPU, as far as one can tell where switches are
    /// not recorded: it runs, or wants to.
    pub(crate) fn goes_on(&self, tid: u32) -> bool {
        match procfs::syscall(self.pid, tid) {
            Some(Syscall::Running) => true,
            Some(Syscall::Waiting { number, arguments, .. }) => self.is_gil(number, arguments[0]),
            None => false,
        }
    }

    /// The native frames of a thread that waits, root first.
    fn waiting_stack(
        &mut self,
        ip: u64,
        sp: u64,
        left_with: Option<Registers>,
        stack_bytes: u32,
        shared: &mut Shared,
    ) -> (Vec<Raw>, End) {
        let mut bytes = stack_bytes;
        loop {
            let memory = self.stack_memory(sp, bytes, shared);
            let is_all = memory.len() < bytes as usize;
            let copied = Copied { bytes: &memory, all: is_all };
            let unwound = match left_with.filter(|left| left.sp == sp) {
                Some(left) => self.space.unwind(Registers { ip, ..left }, copied, &mut shared.cache),
                None => {
                    let pid = self.pid;
                    let read = |at: u64, into: &mut [u8]| {
                        sys::read_memory(pid, at, into).is_ok_and(|read| read == into.len())
                    };
                    self.space.unwind_without_frame_pointer(ip, sp, copied, &mut shared.cache, read)
                }
            };
            shared.memory = memory;
            if unwound.end != End::Cut || is_all || bytes >= MAX_STACK_BYTES {
                return (self.frames(&unwound), unwound.end);
            }
            bytes = bytes.saturating_mul(4).min(MAX_STACK_BYTES);
        }
    }

    /// The Python frames of a thread, root first.
    pub(crate) fn python_stack(
        &mut self,
        thread: Option<PythonThread>,
        shared: &mut Shared,
        now_ns: u64,
    ) -> Option<Vec<Raw>> {
        self.python.as_mut()?.stack(thread?, &mut shared.names, now_ns)
    }
}

/// What a look needs besides the process.
pub(crate) struct Look<'a> {
    pub(crate) shared: &'a mut Shared,
    pub(crate) recorder: &'a mut Recorder,
    pub(crate) stack_bytes: u32,
    pub(crate) now_ns: u64,
}

fn unreadable(pid: u32) -> Gap {
    let scope = procfs::sysctl("kernel/yama/ptrace_scope").unwrap_or(0);
    let hint = if scope > 0 {
        format!(
            "kernel.yama.ptrace_scope is {scope}: `sudo sysctl kernel.yama.ptrace_scope=0`, or run as root"
        )
    } else {
        "run as the process's user or as root; a container needs CAP_SYS_PTRACE".to_owned()
    };
    let reason =
        format!("the memory of process {pid} may not be read: no stacks of blocked threads, no Python");
    Gap::new("profile", reason, hint)
}
