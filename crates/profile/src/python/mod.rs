//! Stacks of CPython 3.8 to 3.13, read from the interpreter's memory while it runs. Nothing is stopped and nothing is
//! written; a read that the interpreter changed under us is dropped and counted.

mod layout;
mod lines;

use crate::elf::{u32_at, u64_at};
use crate::names::{Name, Names};
use crate::procfs;
use crate::recorder::Raw;
use crate::stacks::{FrameKind, MAX_DEPTH};
use crate::sys;
use crate::unwind::{CodeFiles, Space, symbol_address};
use layout::{Frames, GIL_BYTES, Gil, Layout, PUBLISHED_BYTES};
use std::collections::HashMap;
use std::path::Path;

/// Threads and interpreters that are followed at most.
const MAX_THREADS: usize = 4096;
const MAX_INTERPRETERS: usize = 64;
/// Code objects whose names are kept; where there are more, all are read again.
const MAX_CODE: usize = 100_000;
const MAX_NAME_BYTES: u64 = 4096;
const MAX_TABLE_BYTES: u64 = 1 << 20;
const MAX_CODE_BYTES: u64 = 16 << 20;
/// Code objects may be freed and their memory reused: what is remembered of them is forgotten so often.
const REMEMBERED_NS: u64 = 10_000_000_000;

struct CodeObject {
    name: u32,
    first_line: u32,
    table: Vec<u8>,
}

/// One thread that runs Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PythonThread {
    /// As the process itself numbers it: in its innermost pid namespace.
    pub(crate) inner_tid: u32,
    state: u64,
}

/// Where the interpreter keeps a thread, and the thread's number (from 3.11 on) or its `struct pthread`.
struct State {
    address: u64,
    thread: u64,
}

/// Reads one process.
pub(crate) struct Reader {
    pid: u32,
    runtime: u64,
    layout: Layout,
    code_type: Option<u64>,
    /// Where `struct pthread` keeps the thread's number, for versions that do not.
    tid_at: Option<usize>,
    gils: Vec<u64>,
    code: HashMap<u64, CodeObject>,
    forget_at_ns: u64,
    pub(crate) torn: u64,
}

/// Why the Python of a process cannot be read.
pub(crate) struct Unreadable(pub(crate) String);

/// Whether a process has a Python interpreter mapped, by the names of its files.
pub(crate) fn is_mapped(pid: u32) -> bool {
    procfs::maps(pid).unwrap_or_default().iter().any(|map| is_python(&map.path))
}

fn is_python(path: &str) -> bool {
    let name = Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or_default();
    name.starts_with("libpython3.") || name.starts_with("python")
}

/// Finds the interpreter in a process: `None` where there is none.
pub(crate) fn find(pid: u32, space: &Space, files: &CodeFiles) -> Option<Result<Reader, Unreadable>> {
    // The program links to the library or holds it: whichever has the symbol.
    let candidates = [
        space.find(files, |path| is_python(path) && path.contains("libpython")),
        space.find(files, is_python),
    ];
    let candidates: Vec<(u32, u64)> = candidates.into_iter().flatten().collect();
    let first = candidates.first()?;
    let found = candidates
        .iter()
        .find_map(|(code, bias)| Some((*code, *bias, symbol_address(files, *code, *bias, "_PyRuntime")?.0)));
    let Some((code, bias, runtime)) = found else {
        let path = files.get(first.0).map_or("", |code| code.path.as_str());
        return Some(Err(Unreadable(format!("`{path}` does not say where its `_PyRuntime` is"))));
    };
    let version = symbol_address(files, code, bias, "Py_Version").and_then(|(address, _)| {
        let mut bytes = [0; 4];
        (sys::read_memory(pid, address, &mut bytes).ok()? == 4).then(|| u32::from_le_bytes(bytes))
    });
    let minor = match version {
        Some(hex) if hex >> 24 == 3 => Some((hex >> 16) & 255),
        _ => space_version(space, files),
    };
    let mut head = vec![0; PUBLISHED_BYTES];
    if let Err(error) = sys::read_memory(pid, runtime, &mut head) {
        return Some(Err(Unreadable(format!("its memory cannot be read: {error}"))));
    }
    let layout = minor.and_then(layout::known).or_else(|| layout::published(&head));
    let Some(layout) = layout else {
        let version = minor.map_or("of an unknown version".to_owned(), |minor| format!("3.{minor}"));
        return Some(Err(Unreadable(format!(
            "CPython {version} is not among 3.8 to 3.13 with a global lock"
        ))));
    };
    let code_type = symbol_address(files, code, bias, "PyCode_Type").map(|(address, _)| address);
    Some(Ok(Reader {
        pid,
        runtime,
        layout,
        code_type,
        tid_at: None,
        gils: Vec::new(),
        code: HashMap::new(),
        forget_at_ns: 0,
        torn: 0,
    }))
}

/// The minor version from the name of a file that is mapped: `libpython3.9.so`, `python3.9`.
fn space_version(space: &Space, files: &CodeFiles) -> Option<u32> {
    let (code, _) = space.find(files, |path| minor_in(path).is_some())?;
    minor_in(&files.get(code)?.path)
}

fn minor_in(path: &str) -> Option<u32> {
    let rest = path.rsplit_once("python3.")?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

impl Reader {
    fn bytes(&self, address: u64, length: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        let read = sys::read_memory(self.pid, address, &mut bytes).ok()?;
        (read == bytes.len()).then_some(bytes)
    }

    fn word(&self, address: u64) -> Option<u64> {
        u64_at(&self.bytes(address, 8)?, 0)
    }

    /// The threads of all interpreters. Also learns where the global locks are.
    pub(crate) fn threads(&mut self, own_tid: u32) -> Vec<PythonThread> {
        let states = self.states();
        if self.layout.thread_native_id.is_none() && self.tid_at.is_none() {
            // The main thread's number is that of the process: where it stands, the others' stand too.
            self.tid_at = states.iter().find_map(|state| self.place_of(state.thread, own_tid));
        }
        let thread =
            |state: &State| Some(PythonThread { inner_tid: self.native_id(state)?, state: state.address });
        states.iter().filter_map(thread).collect()
    }

    fn states(&mut self) -> Vec<State> {
        let layout = self.layout;
        let of_thread = layout.thread_native_id.unwrap_or(layout.thread_pthread);
        let mut states = Vec::new();
        self.gils.clear();
        let mut interpreter = self.word(self.runtime + layout.runtime_interpreters).unwrap_or(0);
        for _ in 0..MAX_INTERPRETERS {
            if interpreter == 0 {
                break;
            }
            self.gils.extend(match layout.gil {
                Gil::InRuntime(at) => Some(self.runtime + at),
                Gil::BehindInterpreter(at) => self.word(interpreter.wrapping_add(at)),
            });
            let mut state = self.word(interpreter.wrapping_add(layout.interpreter_threads)).unwrap_or(0);
            while state != 0 && states.len() < MAX_THREADS {
                let Some((next, thread)) = self.two_words(state, layout.thread_next, of_thread) else {
                    break;
                };
                states.push(State { address: state, thread });
                state = next;
            }
            interpreter = self.word(interpreter.wrapping_add(layout.interpreter_next)).unwrap_or(0);
        }
        states
    }

    /// Two words of a structure: in one read where they are near each other, since each read is a system call.
    fn two_words(&self, structure: u64, first: u64, second: u64) -> Option<(u64, u64)> {
        const NEAR: u64 = 1024;
        let from = first.min(second);
        if first.max(second) - from > NEAR {
            return Some((
                self.word(structure.wrapping_add(first))?,
                self.word(structure.wrapping_add(second))?,
            ));
        }
        let bytes = self.bytes(structure.wrapping_add(from), first.max(second) - from + 8)?;
        let at = |place: u64| u64_at(&bytes, usize::try_from(place - from).ok()?);
        Some((at(first)?, at(second)?))
    }

    fn native_id(&self, state: &State) -> Option<u32> {
        if self.layout.thread_native_id.is_some() {
            return u32::try_from(state.thread).ok();
        }
        u32_at(&self.bytes(state.thread.wrapping_add(self.tid_at? as u64), 4)?, 0)
    }

    /// Where the `struct pthread` of a thread holds a number.
    fn place_of(&self, pthread: u64, tid: u32) -> Option<usize> {
        const PTHREAD_BYTES: u64 = 1024;
        let bytes = self.bytes(pthread, PTHREAD_BYTES)?;
        (0..bytes.len()).step_by(4).find(|at| u32_at(&bytes, *at) == Some(tid))
    }

    /// Whether a futex word belongs to a global lock.
    pub(crate) fn is_gil(&self, word: u64) -> bool {
        self.gils.iter().any(|gil| (*gil..gil.saturating_add(GIL_BYTES)).contains(&word))
    }

    /// The frames of a thread, root first; empty where it runs no Python now, `None` where the read was torn.
    pub(crate) fn stack(&mut self, thread: PythonThread, names: &mut Names, now_ns: u64) -> Option<Vec<Raw>> {
        if now_ns >= self.forget_at_ns || self.code.len() >= MAX_CODE {
            self.code.clear();
            self.forget_at_ns = now_ns + REMEMBERED_NS;
        }
        let stack = self.walk(thread, names);
        if stack.is_none() {
            self.torn += 1;
        }
        stack
    }

    fn walk(&mut self, thread: PythonThread, names: &mut Names) -> Option<Vec<Raw>> {
        const FRAME_BYTES: u64 = 112;
        const OWNED_BY_C: u8 = 3;
        let layout = self.layout;
        let mut frame = self.word(thread.state.wrapping_add(layout.thread_frame))?;
        if let Some(at) = layout.c_frame {
            frame = self.word(frame.wrapping_add(at))?;
        }
        let mut stack = Vec::new();
        while frame != 0 && stack.len() < MAX_DEPTH {
            let bytes = self.bytes(frame, FRAME_BYTES)?;
            let field = |at: u64| u64_at(&bytes, usize::try_from(at).ok()?);
            let (back, code) = (field(layout.frame_back)?, field(layout.frame_code)?);
            let at = match layout.frames {
                Frames::Objects { last_instruction, unit } => {
                    let last = u32_at(&bytes, usize::try_from(last_instruction).ok()?)?;
                    Some(last.cast_signed().max(0).cast_unsigned().saturating_mul(unit))
                }
                Frames::Interpreter { owner, .. }
                    if bytes.get(usize::try_from(owner).ok()?) == Some(&OWNED_BY_C) =>
                {
                    None
                }
                Frames::Interpreter { instruction, code_start, .. } => {
                    let start = code.wrapping_add(code_start);
                    let at = field(instruction)?.wrapping_sub(start);
                    // One before the start: the frame has not begun.
                    Some(u32::try_from(at).ok().filter(|at| u64::from(*at) < MAX_CODE_BYTES).unwrap_or(0))
                }
            };
            if let Some(at) = at {
                stack.push(self.frame(code, at, names)?);
            }
            frame = back;
        }
        stack.reverse();
        Some(stack)
    }

    fn frame(&mut self, code: u64, at: u32, names: &mut Names) -> Option<Raw> {
        if !self.code.contains_key(&code) {
            let object = self.code_object(code, names)?;
            self.code.insert(code, object);
        }
        let object = self.code.get(&code)?;
        let line = lines::line(self.layout.line_table, &object.table, object.first_line, at);
        Some(Raw::Named { name: object.name, line: line.unwrap_or(object.first_line) })
    }

    fn code_object(&self, address: u64, names: &mut Names) -> Option<CodeObject> {
        const CODE_BYTES: u64 = 160;
        const TYPE_AT: usize = 8;
        let bytes = self.bytes(address, CODE_BYTES)?;
        if self.code_type.is_some_and(|expected| u64_at(&bytes, TYPE_AT) != Some(expected)) {
            return None;
        }
        let field = |at: u64| u64_at(&bytes, usize::try_from(at).ok()?);
        let function = self.text(field(self.layout.code_name)?)?;
        let file = self.text(field(self.layout.code_file)?)?;
        let first_line = u32_at(&bytes, usize::try_from(self.layout.code_first_line).ok()?)?;
        let table = self.byte_string(field(self.layout.code_lines)?)?;
        let name = names.add(Name { kind: FrameKind::Python, function, file })?;
        Some(CodeObject { name, first_line, table })
    }

    /// A `bytes` object.
    fn byte_string(&self, address: u64) -> Option<Vec<u8>> {
        const HEAD: u64 = 32;
        let length = self.word(address.wrapping_add(16)).filter(|length| *length <= MAX_TABLE_BYTES)?;
        self.bytes(address.wrapping_add(HEAD), length)
    }

    /// A `str` object: compact ASCII, or compact with characters of 1, 2 or 4 bytes.
    fn text(&self, address: u64) -> Option<String> {
        let head = self.bytes(address, 36)?;
        let length = u64_at(&head, 16)?.min(MAX_NAME_BYTES);
        let state = u32_at(&head, 32)?;
        let (width, compact, ascii) = (u64::from((state >> 2) & 7), state & 32 != 0, state & 64 != 0);
        if !compact || !matches!(width, 1 | 2 | 4) {
            return None;
        }
        let at = if ascii { self.layout.ascii_bytes } else { self.layout.compact_bytes };
        let bytes = self.bytes(address.wrapping_add(at), length * width)?;
        let unit = |chunk: &[u8]| chunk.iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        let chunks = bytes.chunks_exact(usize::try_from(width).ok()?);
        Some(chunks.map(|c| char::from_u32(unit(c)).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_file_names() {
        assert_eq!(minor_in("/usr/lib/libpython3.10.so.1.0"), Some(10));
        assert_eq!(minor_in("/opt/python3.9/bin/python3.9"), Some(9));
        assert_eq!(minor_in("/usr/bin/python3"), None);
    }
}
