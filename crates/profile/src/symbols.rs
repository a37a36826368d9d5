//! Names for raw frames, once, at the end: blazesym for files of code and the kernel, perf maps for code that programs
//! make at run time, the readers' names for interpreters. What has no name is shown as its module or address.

use crate::names::Names;
use crate::recorder::{Raw, Recorder};
use crate::stacks::{Builder, Frame, FrameKind};
use crate::unnamed::{MADE, label};
use crate::unwind::{Code, CodeFiles, function_in};
use blazesym::symbolize::source::{Elf, Kernel, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of a perf map that are read.
const MAX_PERF_MAP_BYTES: u64 = 256 << 20;
/// Bytes of a name that are kept: generic Rust can have a megabyte of it.
const MAX_NAME_BYTES: usize = 2048;

/// Gives every node of the recorder its stack in the builder; the answer is indexed by the recorder's nodes.
pub(crate) fn resolve(
    recorder: &Recorder,
    files: &CodeFiles,
    names: &Names,
    builder: &mut Builder,
    perf_maps: &mut PerfMaps,
) -> Vec<u32> {
    let mut found = of_files(recorder, files, builder);
    found.extend(of_kernel(recorder, builder));
    let mut stacks = vec![0];
    for (parent, raw) in recorder.nodes().iter().skip(1) {
        let frames = found.entry(*raw).or_insert_with(|| vec![other(*raw, names, builder, perf_maps)]);
        let below = stacks.get(*parent as usize).copied().unwrap_or(0);
        stacks.push(frames.iter().fold(below, |at, frame| builder.push(at, *frame)));
    }
    stacks
}

/// Frames of addresses in files, the outermost of inlined functions first.
fn of_files(recorder: &Recorder, files: &CodeFiles, builder: &mut Builder) -> HashMap<Raw, Vec<u32>> {
    let mut wanted: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (_, raw) in recorder.nodes() {
        if let Raw::Code { code, address } = raw {
            wanted.entry(*code).or_default().push(*address);
        }
    }
    let symbolizer = Symbolizer::builder().enable_auto_reload(false).build();
    let mut found = HashMap::new();
    for (index, mut addresses) in wanted {
        let Some(code) = files.get(index) else { continue };
        addresses.sort_unstable();
        addresses.dedup();
        let symbols = symbolize(&symbolizer, code, &addresses);
        for (at, address) in addresses.iter().enumerate() {
            let frames = match symbols.get(at) {
                Some(Symbolized::Sym(symbol)) => of_symbol(symbol, &code.path, builder),
                _ => vec![unnamed(code, *address, builder)],
            };
            found.insert(Raw::Code { code: index, address: *address }, frames);
        }
    }
    found
}

fn symbolize<'a>(symbolizer: &'a Symbolizer, code: &Code, addresses: &[u64]) -> Vec<Symbolized<'a>> {
    let Some(file) = &code.file else { return Vec::new() };
    // The path finds debug information that lies beside the file; the open descriptor also a deleted file.
    let same = |path: &Path| {
        let (there, here) = (std::fs::metadata(path).ok()?, file.metadata().ok()?);
        Some((there.ino(), there.dev()) == (here.ino(), here.dev()))
    };
    let path = PathBuf::from(&code.path);
    let path = if same(&path) == Some(true) {
        path
    } else {
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    };
    let input = Input::VirtOffset(addresses);
    let with_debug = symbolizer.symbolize(&Source::Elf(Elf::new(&path)), input);
    let result = with_debug.or_else(|_damaged_debug_information| {
        let mut plain = Elf::new(&path);
        plain.debug_syms = false;
        symbolizer.symbolize(&Source::Elf(plain), input)
    });
    result.unwrap_or_default()
}

fn of_symbol(symbol: &Sym<'_>, module: &str, builder: &mut Builder) -> Vec<u32> {
    let mut frames = vec![frame(&symbol.name, symbol.code_info.as_deref(), module, builder)];
    for inlined in &symbol.inlined {
        let mut inner = frame(&inlined.name, inlined.code_info.as_ref(), module, builder);
        inner.inlined = true;
        frames.push(inner);
    }
    frames.into_iter().map(|frame| builder.frame(frame)).collect()
}

fn frame(name: &str, info: Option<&CodeInfo<'_>>, module: &str, builder: &mut Builder) -> Frame {
    let file = info.map(|info| info.to_path().to_string_lossy().into_owned()).unwrap_or_default();
    Frame {
        kind: FrameKind::Native,
        function: builder.text(&shortened(name)),
        module: builder.text(module),
        file: builder.text(&file),
        line: info.and_then(|info| info.line).unwrap_or(0),
        inlined: false,
    }
}

/// Without the hash that Rust's older mangling appends, and not longer than the bound.
fn shortened(name: &str) -> String {
    let is_hash = |tail: &str| tail.len() == 16 && tail.bytes().all(|b| b.is_ascii_hexdigit());
    let name = match name.rsplit_once("::h") {
        Some((rest, tail)) if is_hash(tail) => rest,
        _ => name,
    };
    let end = name.char_indices().nth(MAX_NAME_BYTES / 4).map_or(name.len(), |(at, _)| at);
    name[..end].to_owned()
}

/// A stripped file has no names, but its calls have addresses: one frame for each page would tell nothing, so the
/// whole file is one.
fn unnamed(code: &Code, address: u64, builder: &mut Builder) -> u32 {
    let name = function_in(code, address).unwrap_or_else(|| label(&code.path));
    let (function, module) = (builder.text(&name), builder.text(&code.path));
    builder.frame(Frame { function, module, ..Frame::default() })
}

fn of_kernel(recorder: &Recorder, builder: &mut Builder) -> HashMap<Raw, Vec<u32>> {
    let mut addresses: Vec<u64> = recorder
        .nodes()
        .iter()
        .filter_map(|(_, raw)| if let Raw::Kernel(address) = raw { Some(*address) } else { None })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return HashMap::new();
    }
    let symbolizer = Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).build();
    let source = Kernel { debug_syms: false, vmlinux: blazesym::MaybeDefault::None, ..Kernel::default() };
    let symbols =
        symbolizer.symbolize(&Source::Kernel(source), Input::AbsAddr(&addresses)).unwrap_or_default();
    let name = |at: usize| match symbols.get(at) {
        Some(Symbolized::Sym(symbol)) => symbol.name.to_string(),
        _ => "[kernel]".to_owned(),
    };
    let module = builder.text("[kernel]");
    let mut found = HashMap::new();
    for (at, address) in addresses.iter().enumerate() {
        let function = builder.text(&name(at));
        let frame = builder.frame(Frame { kind: FrameKind::Kernel, function, module, ..Frame::default() });
        found.insert(Raw::Kernel(*address), vec![frame]);
    }
    found
}

fn other(raw: Raw, names: &Names, builder: &mut Builder, perf_maps: &mut PerfMaps) -> u32 {
    match raw {
        Raw::Named { name, line } => {
            let Some(name) = names.get(name) else { return builder.named(FrameKind::Label, "[unknown]") };
            let (function, file) = (builder.text(&name.function), builder.text(&name.file));
            builder.frame(Frame { kind: name.kind, function, file, line, ..Frame::default() })
        }
        Raw::Made { pid, address } => match perf_maps.name(pid, address) {
            Some(name) => made(&name, builder),
            None => builder.named(FrameKind::Native, MADE),
        },
        Raw::Label(label) => builder.named(FrameKind::Label, label),
        Raw::Code { .. } | Raw::Kernel(_) => builder.named(FrameKind::Native, "[unknown]"),
    }
}

/// A function that a runtime made, by its name in the perf map. V8's has tier, place and line in it.
fn made(name: &str, builder: &mut Builder) -> u32 {
    let kind = kind_of_made(name);
    let Some((function, file, line)) = script_place(name).filter(|_| kind == FrameKind::JavaScript) else {
        return builder.named(kind, &shortened(name));
    };
    let function = builder.text(if function.is_empty() { "(anonymous)" } else { function });
    let file = builder.text(file);
    builder.frame(Frame { kind, function, file, line, ..Frame::default() })
}

/// `JS:*fib /srv/app.js:2:14`: function, file and line. The marks of V8's compilers (`~^+*`) would make three functions
/// of one.
fn script_place(name: &str) -> Option<(&str, &str, u32)> {
    let (_, rest) = name.split_once(':')?;
    let rest = rest.trim_start_matches(['~', '^', '+', '*', '\'']);
    let (function, place) = rest.rsplit_once(' ').unwrap_or(("", rest));
    let (head, last) = place.rsplit_once(':')?;
    let last: u32 = last.parse().ok()?;
    match head.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?))) {
        Some((file, line)) => Some((function, file, line)),
        None => Some((function, head, last)),
    }
}

/// V8 and Python mark their functions in a perf map.
fn kind_of_made(name: &str) -> FrameKind {
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if is(&["JS:", "LazyCompile:", "Function:", "Script:", "Eval:"]) {
        FrameKind::JavaScript
    } else if is(&["py::"]) {
        FrameKind::Python
    } else {
        FrameKind::Native
    }
}

/// `/tmp/perf-PID.map` of each process: what programs say of the code that they made.
#[derive(Default)]
pub(crate) struct PerfMaps {
    maps: HashMap<u32, Vec<(u64, u64, String)>>,
}

impl PerfMaps {
    /// Reads the map of a process; `inner` is its number inside its own pid namespace. Done while it still runs.
    pub(crate) fn load(&mut self, pid: u32, inner: u32) {
        let paths = [format!("/proc/{pid}/root/tmp/perf-{inner}.map"), format!("/tmp/perf-{inner}.map")];
        let small = |path: &&String| {
            std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= MAX_PERF_MAP_BYTES)
        };
        if let Some(bytes) = paths.iter().find(small).and_then(|path| std::fs::read(path).ok()) {
            self.maps.insert(pid, parse_perf_map(&String::from_utf8_lossy(&bytes)));
        }
    }

    pub(crate) fn has(&self, pid: u32) -> bool {
        self.maps.contains_key(&pid)
    }

    fn name(&self, pid: u32, address: u64) -> Option<String> {
        let map = self.maps.get(&pid)?;
        let (start, bytes, name) =
            map.get(map.partition_point(|(start, ..)| *start <= address).checked_sub(1)?)?;
        (address - start < *bytes).then(|| name.clone())
    }
}

/// Lines of `START SIZE name`, hexadecimal. Code is moved and replaced: of two at one address the later counts.
fn parse_perf_map(text: &str) -> Vec<(u64, u64, String)> {
    let parse = |line: &str| {
        let (start, rest) = line.split_once(' ')?;
        let (bytes, name) = rest.split_once(' ')?;
        let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        Some((hex(start)?, (hex(bytes)?, name.trim().to_owned())))
    };
    let last: BTreeMap<u64, (u64, String)> = text.lines().filter_map(parse).collect();
    last.into_iter().map(|(start, (bytes, name))| (start, bytes, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perf_map_names_the_code_that_was_made_last() {
        let text = "1000 10 JS:~old a.js:1\n1000 20 JS:*fib srv.js:2\nbroken\n2000 zz x\n";
        let maps = PerfMaps { maps: HashMap::from([(5, parse_perf_map(text))]) };
        assert_eq!(maps.name(5, 0x101f).as_deref(), Some("JS:*fib srv.js:2"));
        assert_eq!(maps.name(5, 0x1020), None);
        assert_eq!(maps.name(5, 0xfff), None);
        assert_eq!(maps.name(6, 0x1000), None);
    }

    #[test]
    fn functions_of_scripts_have_their_place_and_one_name_for_all_compilers() {
        assert_eq!(script_place("JS:*fib /srv/app.js:2:14"), Some(("fib", "/srv/app.js", 2)));
        assert_eq!(script_place("JS:~fib srv.js:2"), Some(("fib", "srv.js", 2)));
        assert_eq!(script_place("LazyCompile:^ /srv/a.js:7:1"), Some(("", "/srv/a.js", 7)));
        assert_eq!(
            script_place("JS:*get fib file:///srv/a.mjs:7:1"),
            Some(("get fib", "file:///srv/a.mjs", 7))
        );
        assert_eq!(script_place("Script:~"), None);
    }

    #[test]
    fn hashes_of_rust_names_are_cut() {
        assert_eq!(shortened("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(shortened("a::hello"), "a::hello");
    }
}
