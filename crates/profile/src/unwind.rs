//! Stacks of one process from registers and stack memory: its modules' unwind tables, fed to framehop. Names are
//! given later, by `symbols`: here an address is a module and a place in its file.

use crate::elf::{Elf, Image, u64_at};
use crate::perf::Registers;
use crate::procfs::{self, Mapping};
use crate::sys;
use crate::variants::{Variant, variants};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Files of code kept at most over all processes.
const MAX_MODULES: usize = 8192;
/// The kernel's own library in each process has two pages.
const MAX_VDSO_BYTES: u64 = 1 << 20;

type Bytes = Arc<[u8]>;

/// One file of code.
pub(crate) struct Code {
    /// As the process saw it.
    pub(crate) path: String,
    /// Open as long as the profile runs, so that a file which is deleted meanwhile can still be read.
    pub(crate) file: Option<File>,
    /// The whole image where there is no file.
    pub(crate) memory: Option<Vec<u8>>,
    unwind_tables: Option<ExplicitModuleSectionInfo<Bytes>>,
    /// Functions that it chose when it was loaded.
    variants: Vec<Variant>,
}

impl Code {
    fn elf(&self) -> Option<Elf<'_>> {
        match (&self.file, &self.memory) {
            (Some(file), _) => Elf::new(Image::File(file)),
            (None, Some(memory)) => Elf::new(Image::Memory(memory)),
            (None, None) => None,
        }
    }
}

/// All files of code that any process of the profile has mapped.
#[derive(Default)]
pub(crate) struct CodeFiles {
    files: Vec<Code>,
    /// By path, inode and process namespace (the root folder's inode).
    index: HashMap<(String, u64, u64), u32>,
}

impl CodeFiles {
    pub(crate) fn get(&self, index: u32) -> Option<&Code> {
        self.files.get(index as usize)
    }

    fn open(&mut self, pid: u32, map: &Mapping) -> Option<u32> {
        let root = std::fs::metadata(format!("/proc/{pid}/root/")).map_or(0, |m| m.ino());
        let key = (map.path.clone(), map.inode, root);
        if let Some(known) = self.index.get(&key) {
            return Some(*known);
        }
        if self.files.len() >= MAX_MODULES {
            return None;
        }
        let vdso = map.path == "[vdso]";
        let mut code = Code {
            path: map.path.clone(),
            file: if vdso { None } else { open_mapped(pid, map) },
            memory: if vdso { read_vdso(pid, map) } else { None },
            unwind_tables: None,
            variants: Vec::new(),
        };
        code.unwind_tables = code.elf().map(|elf| unwind_tables(&elf));
        let index = u32::try_from(self.files.len()).ok()?;
        self.files.push(code);
        self.index.insert(key, index);
        Some(index)
    }
}

fn read_vdso(pid: u32, map: &Mapping) -> Option<Vec<u8>> {
    let length = usize::try_from((map.end - map.start).min(MAX_VDSO_BYTES)).ok()?;
    let mut bytes = vec![0; length];
    let read = sys::read_memory(pid, map.start, &mut bytes).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// The mapped file itself, also where it was deleted or replaced or lies in another mount namespace.
fn open_mapped(pid: u32, map: &Mapping) -> Option<File> {
    if map.inode == 0 || !map.path.starts_with('/') {
        return None;
    }
    let tried = [
        PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", map.start, map.end)),
        PathBuf::from(format!("/proc/{pid}/root{}", map.path)),
        PathBuf::from(format!("/proc/{pid}/exe")),
        PathBuf::from(&map.path),
    ];
    tried.iter().find_map(|path| {
        // A path may have become a pipe, whose opening would wait.
        let metadata = std::fs::metadata(path).ok().filter(|m| m.is_file())?;
        (metadata.ino() == map.inode).then(|| File::open(path).ok())?
    })
}

fn unwind_tables(elf: &Elf<'_>) -> ExplicitModuleSectionInfo<Bytes> {
    let mut info = ExplicitModuleSectionInfo::<Bytes>::default();
    if let Some((range, bytes)) = elf.section(".eh_frame") {
        info.eh_frame_svma = Some(range);
        info.eh_frame = Some(bytes.into());
    }
    if let Some((range, bytes)) = elf.section(".eh_frame_hdr") {
        info.eh_frame_hdr_svma = Some(range);
        info.eh_frame_hdr = Some(bytes.into());
    }
    if info.eh_frame.is_none() {
        info.debug_frame = elf.section(".debug_frame").map(|(_, bytes)| bytes.into());
    }
    info.text_svma = elf.section_range(".text");
    info.got_svma = elf.section_range(".got");
    info
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A file of code, and the address as the file counts it.
    File { code: u32, address: u64 },
    /// Code that a process made by itself, or nothing at all.
    Nowhere(u64),
}

/// How far unwinding came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// To the thread's first function, or to the end of the memory that its stack has, as of a coroutine.
    Whole,
    /// To the end of the memory that it was given.
    Cut,
    /// To a frame whose caller cannot be told.
    #[default]
    Lost,
}

/// A stack, leaf first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unwound {
    pub(crate) places: Vec<Place>,
    pub(crate) end: End,
}

#[derive(Clone)]
struct Mapped {
    start: u64,
    end: u64,
    bias: u64,
    code: u32,
}

/// The code of one process.
#[derive(Clone, Default)]
pub(crate) struct Space {
    unwinder: UnwinderX86_64<Bytes>,
    mapped: Vec<Mapped>,
}

impl Space {
    /// Takes over everything that the process has mapped now.
    pub(crate) fn load(pid: u32, files: &mut CodeFiles) -> Self {
        let mut space = Self::default();
        for map in procfs::maps(pid).unwrap_or_default() {
            space.add(pid, &map, files);
        }
        space
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mapped.is_empty()
    }

    pub(crate) fn add(&mut self, pid: u32, map: &Mapping, files: &mut CodeFiles) {
        if map.path.is_empty() || (map.path.starts_with('[') && map.path != "[vdso]") {
            return;
        }
        let Some(code) = files.open(pid, map) else { return };
        let Some(file) = files.get(code) else { return };
        let Some(bias) = file.elf().and_then(|elf| elf.bias(map.start, map.file_offset)) else { return };
        let overlaps = |m: &Mapped| m.start < map.end && map.start < m.end;
        for old in self.mapped.iter().filter(|m| overlaps(m)) {
            self.unwinder.remove_module(old.start);
        }
        self.mapped.retain(|m| !overlaps(m));
        let at = self.mapped.partition_point(|m| m.start < map.start);
        self.mapped.insert(at, Mapped { start: map.start, end: map.end, bias, code });
        if let Some(tables) = &file.unwind_tables {
            let range = map.start..map.end;
            self.unwinder.add_module(Module::new(map.path.clone(), range, bias, tables.clone()));
        }
    }

    /// Learns what functions the libraries of a process chose when they were loaded, where that is not known yet.
    pub(crate) fn read_variants(&self, pid: u32, files: &mut CodeFiles) {
        for mapped in &self.mapped {
            let Some(code) = files.files.get_mut(mapped.code as usize) else { continue };
            if !code.variants.is_empty() {
                continue;
            }
            let read = |place: u64| {
                let mut word = [0; 8];
                let read = sys::read_memory(pid, place.wrapping_add(mapped.bias), &mut word).ok()?;
                (read == word.len()).then(|| u64::from_le_bytes(word).wrapping_sub(mapped.bias))
            };
            code.variants = code.elf().map(|elf| variants(&elf, read)).unwrap_or_default();
        }
    }

    /// The first mapping of a file whose name `wanted` likes: its file and bias.
    pub(crate) fn find(&self, files: &CodeFiles, wanted: impl Fn(&str) -> bool) -> Option<(u32, u64)> {
        let of = |m: &&Mapped| files.get(m.code).is_some_and(|code| wanted(&code.path));
        self.mapped.iter().find(of).map(|m| (m.code, m.bias))
    }

    pub(crate) fn place(&self, address: u64) -> Place {
        let at = self.mapped.partition_point(|m| m.end <= address);
        match self.mapped.get(at) {
            Some(m) if m.start <= address => {
                Place::File { code: m.code, address: address.wrapping_sub(m.bias) }
            }
            _ => Place::Nowhere(address),
        }
    }

    /// Unwinds; `stack` is the memory from the stack pointer on.
    pub(crate) fn unwind(&self, registers: Registers, stack: Copied<'_>, cache: &mut CacheX86_64) -> Unwound {
        let start = UnwindRegsX86_64::new(registers.ip, registers.sp, registers.bp);
        let mut unwound = Unwound::default();
        let pc = FrameAddress::from_instruction_pointer(registers.ip);
        self.go_on(&mut unwound, pc, start, Stack { base: registers.sp, copied: stack }, cache);
        unwound
    }

    /// Unwinds where the frame pointer is not known, as of a thread that has not moved since we came. Code that needs
    /// it stores it on the stack in front of a return address: of the places that look so, the first counts from which
    /// the rest of the stack unwinds to its end, and whose call, where it names its target, could have led here.
    pub(crate) fn unwind_without_frame_pointer(
        &self,
        ip: u64,
        sp: u64,
        stack: Copied<'_>,
        cache: &mut CacheX86_64,
        read_code: impl Fn(u64, &mut [u8]) -> bool,
    ) -> Unwound {
        const CANDIDATES: usize = 64;
        let memory = Stack { base: sp, copied: stack };
        let mut unwound = Unwound::default();
        let pc = FrameAddress::from_instruction_pointer(ip);
        let stuck = self.go_on(&mut unwound, pc, UnwindRegsX86_64::new(ip, sp, NO_FRAME), memory, cache);
        let Some((at, registers)) = stuck.filter(|(_, registers)| registers.bp() == NO_FRAME) else {
            return unwound;
        };
        let slots = stack.bytes.len() as u64 / 8;
        let first = registers.sp().saturating_sub(sp).div_ceil(8);
        let looks_right = |slot: &u64| {
            let place = sp + slot * 8;
            let (Some(next), Some(back)) = (memory.word(place), memory.word(place + 8)) else { return false };
            let in_code = matches!(self.place(back.wrapping_sub(1)), Place::File { .. });
            in_code && (next == 0 || next > place || next < sp) && may_call(back, at.address(), &read_code)
        };
        for slot in (first..slots).filter(looks_right).take(CANDIDATES) {
            let mut tried = unwound.clone();
            tried.places.pop();
            let from = UnwindRegsX86_64::new(registers.ip(), registers.sp(), sp + slot * 8);
            self.go_on(&mut tried, at, from, memory, cache);
            if tried.end == End::Whole {
                return tried;
            }
        }
        unwound
    }

    /// Adds frames from `at` on. Where it gets stuck: the frame whose caller cannot be told, and its registers.
    fn go_on(
        &self,
        unwound: &mut Unwound,
        at: FrameAddress,
        mut registers: UnwindRegsX86_64,
        stack: Stack<'_>,
        cache: &mut CacheX86_64,
    ) -> Option<(FrameAddress, UnwindRegsX86_64)> {
        let mut beyond = false;
        let mut read = |address: u64| {
            beyond = stack.is_short_of(address);
            stack.word(address).ok_or(())
        };
        let mut at = at;
        let stuck = loop {
            if unwound.places.len() >= crate::stacks::MAX_DEPTH {
                break None;
            }
            unwound.places.push(self.place(at.address_for_lookup()));
            let before = registers;
            match self.unwinder.unwind_frame(at, &mut registers, cache, &mut read) {
                Ok(Some(back)) => match FrameAddress::from_return_address(back) {
                    Some(next) => at = next,
                    None => break Some((at, before)),
                },
                Ok(None) => {
                    // Zeros look like the end of a stack, but may lie there by chance: the first function of a thread
                    // is one whose tables say so, whatever the memory holds.
                    let mut again = UnwindRegsX86_64::new(before.ip(), before.sp(), NO_FRAME);
                    let first = self.unwinder.unwind_frame(at, &mut again, cache, &mut |_| Err(()));
                    if matches!(first, Ok(None)) {
                        unwound.end = End::Whole;
                        return None;
                    }
                    break Some((at, before));
                }
                Err(_) => break Some((at, before)),
            }
        };
        let ends_here = stuck.is_some_and(|(_, registers)| stack.ends_at(registers.sp()));
        unwound.end = match (beyond, ends_here) {
            (true, _) => End::Cut,
            (false, true) => End::Whole,
            (false, false) => End::Lost,
        };
        stuck
    }
}

/// A frame pointer at which no frame begins: a rule that needs the register fails, and no other does.
const NO_FRAME: u64 = 1;

/// Memory of a stack.
#[derive(Clone, Copy)]
pub(crate) struct Copied<'a> {
    pub(crate) bytes: &'a [u8],
    /// There is no more: what follows is not mapped.
    pub(crate) all: bool,
}

/// A piece of a thread's stack.
#[derive(Clone, Copy)]
struct Stack<'a> {
    base: u64,
    copied: Copied<'a>,
}

impl Stack<'_> {
    /// The address lies behind the piece, not far from it.
    fn is_short_of(&self, address: u64) -> bool {
        const FAR: u64 = 1 << 20;
        let end = self.end();
        (end.saturating_sub(7)..end.saturating_add(FAR)).contains(&address)
    }

    /// The stack ends at this stack pointer: no caller can have a frame behind it.
    fn ends_at(&self, sp: u64) -> bool {
        const NO_FRAME_BYTES: u64 = 64;
        self.copied.all && self.end().checked_sub(sp).is_some_and(|left| left <= NO_FRAME_BYTES)
    }

    fn end(&self) -> u64 {
        self.base.saturating_add(self.copied.bytes.len() as u64)
    }

    fn word(&self, address: u64) -> Option<u64> {
        u64_at(self.copied.bytes, usize::try_from(address.checked_sub(self.base)?).ok()?)
    }
}

/// Whether the call in front of a return address can have led to a function that holds `inside`. A call by pointer
/// can lead anywhere.
fn may_call(back: u64, inside: u64, read_code: &impl Fn(u64, &mut [u8]) -> bool) -> bool {
    const CALL: u8 = 0xe8;
    const LARGEST_FUNCTION: u64 = 1 << 18;
    let mut code = [0; 7];
    if !read_code(back.wrapping_sub(7), &mut code) {
        return false;
    }
    if code[2] == CALL {
        let offset = i64::from(i32::from_le_bytes([code[3], code[4], code[5], code[6]]));
        let target = back.wrapping_add_signed(offset);
        return inside.checked_sub(target).is_some_and(|distance| distance < LARGEST_FUNCTION);
    }
    // `call *register`, `call *memory` in its lengths: FF /2.
    let by_pointer = |at: usize| code[at] == 0xff && (code[at + 1] >> 3) & 7 == 2;
    (0..=5).any(by_pointer)
}

/// The address of a symbol in a process.
pub(crate) fn symbol_address(files: &CodeFiles, code: u32, bias: u64, name: &str) -> Option<(u64, u64)> {
    let (address, bytes) = files.get(code)?.elf()?.symbol(name)?;
    Some((address.wrapping_add(bias), bytes))
}

/// The function of an address in a file that blazesym cannot open or does not know.
pub(crate) fn function_in(code: &Code, address: u64) -> Option<String> {
    let chosen = code.variants.iter().find(|variant| variant.addresses.contains(&address));
    chosen.map(|variant| variant.name.clone()).or_else(|| code.elf()?.function_at(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_ends_where_its_memory_does_and_is_short_where_more_was_not_copied() {
        let stack = |all| Stack { base: 0x1000, copied: Copied { bytes: &[0; 256], all } };
        assert!(stack(true).ends_at(0x1100) && stack(true).ends_at(0x10c0));
        assert!(!stack(true).ends_at(0x1000) && !stack(true).ends_at(0x1108));
        assert!(!stack(false).ends_at(0x1100));
        assert!(stack(false).is_short_of(0x10f9) && stack(false).is_short_of(0x9000));
        assert!(!stack(false).is_short_of(0x10f8) && !stack(false).is_short_of(0xfff), "there it is read");
        assert!(!stack(false).is_short_of(u64::MAX), "too far to be of this stack");
    }
}
