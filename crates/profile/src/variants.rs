//! Names of functions that a library chooses when it is loaded, as libc does `memcpy` by what the CPU can do. A stripped
//! library names the chooser alone; which function it chose stands in the library's own table of addresses, in the
//! memory of a process that runs it. Where functions begin and end is what the unwind tables say.

use crate::elf::{Elf, i32_at, u32_at, u64_at};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A chosen function: its addresses in the file, and its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) addresses: Range<u64>,
    pub(crate) name: String,
}

const SYMBOL_BYTES: usize = 24;
const RELOCATION_BYTES: usize = 24;
/// `STT_GNU_IFUNC` and `R_X86_64_IRELATIVE`.
const CHOOSER: u8 = 10;
const CHOSEN: u32 = 37;
/// Choosers and places that are looked at.
const MAX_CHOSEN: usize = 4096;

/// What the choosers of a file chose; `read` reads a word of the process at an address as the file counts it, and tells
/// it as the file counts it, too.
pub(crate) fn variants(elf: &Elf<'_>, read: impl Fn(u64) -> Option<u64>) -> Vec<Variant> {
    let choosers = choosers(elf).unwrap_or_default();
    if choosers.is_empty() {
        return Vec::new();
    }
    let starts = function_starts(elf).unwrap_or_default();
    let mut names: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for (place, chooser) in chosen_places(elf) {
        let Some(known) = choosers.get(&chooser) else { continue };
        let Some(function) = read(place).filter(|function| starts.binary_search(function).is_ok()) else {
            continue;
        };
        names.entry(function).or_default().extend(known.iter().map(String::as_str));
    }
    let variant = |(start, names): (u64, BTreeSet<&str>)| {
        let end = starts.get(starts.partition_point(|at| *at <= start)).copied();
        let plain = names.iter().any(|name| !name.starts_with('_'));
        let shown: Vec<&str> = names.into_iter().filter(|name| !plain || !name.starts_with('_')).collect();
        Some(Variant { addresses: start..end?, name: shown.join("/") })
    };
    names.into_iter().filter_map(variant).collect()
}

/// Exported names of choosers, by address.
fn choosers(elf: &Elf<'_>) -> Option<BTreeMap<u64, BTreeSet<String>>> {
    let (_, symbols) = elf.section(".dynsym")?;
    let (_, texts) = elf.section(".dynstr")?;
    let mut choosers: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let is_chooser = |symbol: &&[u8]| symbol.get(4).is_some_and(|info| info & 15 == CHOOSER);
    for symbol in symbols.chunks_exact(SYMBOL_BYTES).filter(is_chooser).take(MAX_CHOSEN) {
        let name = texts.get(u32_at(symbol, 0)? as usize..)?.split(|byte| *byte == 0).next()?;
        let name = String::from_utf8_lossy(name).into_owned();
        choosers.entry(u64_at(symbol, 8)?).or_default().insert(name);
    }
    Some(choosers)
}

/// Places that hold a chosen function's address, with the chooser's.
fn chosen_places(elf: &Elf<'_>) -> Vec<(u64, u64)> {
    let tables = [".rela.dyn", ".rela.plt"].into_iter().filter_map(|name| elf.section(name));
    let place = |row: &[u8]| {
        let kind = u32_at(row, 8)?;
        (kind == CHOSEN).then(|| Some((u64_at(row, 0)?, u64_at(row, 16)?)))?
    };
    let of = |(_, table): (_, Vec<u8>)| {
        table.chunks_exact(RELOCATION_BYTES).filter_map(place).take(MAX_CHOSEN).collect::<Vec<_>>()
    };
    tables.flat_map(of).collect()
}

/// Where functions begin, ascending: `.eh_frame_hdr` in the one form that linkers write.
fn function_starts(elf: &Elf<'_>) -> Option<Vec<u64>> {
    const FORM: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
    const ROWS_AT: usize = 12;
    let (range, bytes) = elf.section(".eh_frame_hdr")?;
    if !bytes.starts_with(&FORM) {
        return None;
    }
    let start = |row: &[u8]| Some(range.start.wrapping_add_signed(i64::from(i32_at(row, 0)?)));
    let mut starts: Vec<u64> = bytes.get(ROWS_AT..)?.chunks_exact(8).filter_map(start).collect();
    starts.sort_unstable();
    Some(starts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Image;
    use std::fs::File;

    #[test]
    fn the_copying_function_that_our_own_libc_chose_is_named() {
        let maps = crate::procfs::maps(std::process::id()).unwrap();
        let libc = maps.iter().find(|map| map.path.contains("/libc.so.6")).expect("tests run with glibc");
        let file = File::open(&libc.path).unwrap();
        let elf = Elf::new(Image::File(&file)).unwrap();
        let bias = elf.bias(libc.start, libc.file_offset).unwrap();
        let read = |place: u64| {
            let mut word = [0; 8];
            crate::sys::read_memory(std::process::id(), bias + place, &mut word).ok()?;
            Some(u64::from_le_bytes(word).wrapping_sub(bias))
        };
        let found = variants(&elf, read);
        // What `memmove` is, this program's own table says.
        let chosen = (libc::memmove as *const () as u64).wrapping_sub(bias);
        let copy = found.iter().find(|variant| variant.addresses.contains(&chosen));
        assert!(copy.is_some_and(|variant| variant.name.contains("memmove")), "{chosen:x} {found:x?}");
        assert!(variants(&elf, |_| Some(1)).is_empty(), "no function begins there");
    }
}
