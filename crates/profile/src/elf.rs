//! The little of ELF that unwinding needs: sections, the addresses of code, symbols by name. 64-bit little-endian
//! only. Files may be damaged or hostile: every offset is checked and every size has a bound.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of one section at most; the unwind tables of the largest browsers have 60 MB.
const MAX_SECTION_BYTES: u64 = 256 << 20;
const MAX_HEADERS: usize = 4096;
const PT_LOAD: u32 = 1;
const EXECUTABLE: u32 = 1;
const SHT_NOBITS: u32 = 8;

/// Where the bytes come from.
pub(crate) enum Image<'a> {
    File(&'a File),
    Memory(&'a [u8]),
}

impl Image<'_> {
    fn read(&self, at: u64, length: u64) -> Option<Vec<u8>> {
        if length > MAX_SECTION_BYTES {
            return None;
        }
        let length_here = usize::try_from(length).ok()?;
        match self {
            Self::File(file) => {
                // A damaged header must not make us take memory that the file cannot fill.
                if at.checked_add(length)? > file.metadata().ok()?.len() {
                    return None;
                }
                let mut bytes = vec![0; length_here];
                file.read_exact_at(&mut bytes, at).ok()?;
                Some(bytes)
            }
            Self::Memory(bytes) => {
                let at = usize::try_from(at).ok()?;
                bytes.get(at..at.checked_add(length_here)?).map(<[u8]>::to_vec)
            }
        }
    }
}

struct Segment {
    address: u64,
    file_offset: u64,
    file_bytes: u64,
    executable: bool,
}

struct Section {
    name: String,
    kind: u32,
    address: u64,
    file_offset: u64,
    bytes: u64,
    link: u32,
}

/// The headers of one file.
pub(crate) struct Elf<'a> {
    image: Image<'a>,
    segments: Vec<Segment>,
    sections: Vec<Section>,
}

impl<'a> Elf<'a> {
    /// Reads the headers; `None` where it is no 64-bit little-endian ELF file or is damaged.
    pub(crate) fn new(image: Image<'a>) -> Option<Self> {
        let head = image.read(0, 64)?;
        if head.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let segments = table(&image, u64_at(&head, 32)?, u16_at(&head, 54)?, u16_at(&head, 56)?)
            .iter()
            .filter_map(|entry| segment(entry))
            .collect();
        // Stripped to the bone, or only the loaded part is in memory: no sections is fine.
        let rows = table(&image, u64_at(&head, 40)?, u16_at(&head, 58)?, u16_at(&head, 60)?);
        let names_at = usize::from(u16_at(&head, 62)?);
        let names = rows.get(names_at).and_then(|row| image.read(u64_at(row, 24)?, u64_at(row, 32)?));
        let names = names.unwrap_or_default();
        let sections = rows.iter().filter_map(|row| section(row, &names)).collect();
        Some(Self { image, segments, sections })
    }

    /// What to subtract from an address in a process to get the address in the file, where a mapping of code
    /// begins at `start` with the file's byte `file_offset`. Both are whole pages, but the file's segment need
    /// not begin with one, so its own page is what counts.
    pub(crate) fn bias(&self, start: u64, file_offset: u64) -> Option<u64> {
        let page = !(rustix::param::page_size() as u64 - 1);
        let holds = |s: &&Segment| {
            let first = s.file_offset & page;
            first <= file_offset && file_offset < s.file_offset.saturating_add(s.file_bytes)
        };
        let code = self.segments.iter().filter(holds).max_by_key(|s| s.executable)?;
        let address = (code.address & page).wrapping_add(file_offset - (code.file_offset & page));
        Some(start.wrapping_sub(address))
    }

    /// A section's addresses and bytes.
    pub(crate) fn section(&self, name: &str) -> Option<(Range<u64>, Vec<u8>)> {
        let section = self.sections.iter().find(|s| s.name == name && s.kind != SHT_NOBITS)?;
        let bytes = self.image.read(section.file_offset, section.bytes)?;
        Some((section.address..section.address.checked_add(section.bytes)?, bytes))
    }

    /// The addresses of a section, whether or not its bytes are in the file.
    pub(crate) fn section_range(&self, name: &str) -> Option<Range<u64>> {
        let section = self.sections.iter().find(|s| s.name == name)?;
        Some(section.address..section.address.checked_add(section.bytes)?)
    }

    /// Address and size of a symbol.
    pub(crate) fn symbol(&self, name: &str) -> Option<(u64, u64)> {
        self.find_symbol(|symbol, address, bytes| {
            (symbol == name.as_bytes() && address != 0).then_some((address, bytes))
        })
    }

    /// The function that an address lies in.
    pub(crate) fn function_at(&self, wanted: u64) -> Option<String> {
        self.find_symbol(|symbol, address, bytes| {
            let inside = address <= wanted && wanted < address.checked_add(bytes)?;
            inside.then(|| String::from_utf8_lossy(symbol).into_owned())
        })
    }

    fn find_symbol<T>(&self, check: impl Fn(&[u8], u64, u64) -> Option<T>) -> Option<T> {
        const SYMBOL_BYTES: usize = 24;
        for wanted in [".dynsym", ".symtab"] {
            let Some(at) = self.sections.iter().find(|s| s.name == wanted) else { continue };
            let Some(names) = self.sections.get(at.link as usize) else { continue };
            let (Some(table), Some(names)) =
                (self.image.read(at.file_offset, at.bytes), self.image.read(names.file_offset, names.bytes))
            else {
                continue;
            };
            for entry in table.chunks_exact(SYMBOL_BYTES) {
                let Some(name) = u32_at(entry, 0).and_then(|n| c_text(&names, n as usize)) else { continue };
                let (Some(address), Some(bytes)) = (u64_at(entry, 8), u64_at(entry, 16)) else { continue };
                if let Some(found) = check(name, address, bytes) {
                    return Some(found);
                }
            }
        }
        None
    }
}

fn table(image: &Image<'_>, at: u64, entry_bytes: u16, count: u16) -> Vec<Vec<u8>> {
    let count = usize::from(count).min(MAX_HEADERS);
    let total = u64::from(entry_bytes) * count as u64;
    let Some(bytes) = image.read(at, total).filter(|_| entry_bytes > 0) else { return Vec::new() };
    bytes.chunks_exact(usize::from(entry_bytes)).map(<[u8]>::to_vec).collect()
}

fn segment(entry: &[u8]) -> Option<Segment> {
    let segment = Segment {
        executable: u32_at(entry, 4)? & EXECUTABLE != 0,
        file_offset: u64_at(entry, 8)?,
        address: u64_at(entry, 16)?,
        file_bytes: u64_at(entry, 32)?,
    };
    (u32_at(entry, 0)? == PT_LOAD).then_some(segment)
}

fn section(row: &[u8], names: &[u8]) -> Option<Section> {
    let name = c_text(names, u32_at(row, 0)? as usize).unwrap_or_default();
    Some(Section {
        name: String::from_utf8_lossy(name).into_owned(),
        kind: u32_at(row, 4)?,
        address: u64_at(row, 16)?,
        file_offset: u64_at(row, 24)?,
        bytes: u64_at(row, 32)?,
        link: u32_at(row, 40)?,
    })
}

/// The bytes up to a NUL.
fn c_text(bytes: &[u8], at: usize) -> Option<&[u8]> {
    bytes.get(at..)?.split(|b| *b == 0).next()
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(crate) fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    u32_at(bytes, at).map(u32::cast_signed)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn own_program() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn our_own_program_has_unwind_tables_and_a_bias_that_hits_a_function() {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::new(Image::File(&file)).unwrap();
        assert!(!elf.section(".eh_frame_hdr").unwrap().1.is_empty());
        let here = own_program as *const () as u64;
        let maps = crate::procfs::maps(std::process::id()).unwrap();
        let map = maps.iter().find(|m| m.start <= here && here < m.end).unwrap();
        let name = elf.function_at(here - elf.bias(map.start, map.file_offset).unwrap()).unwrap();
        assert!(name.contains("own_program"), "{name}");
    }

    #[test]
    fn a_damaged_file_is_refused_or_read_but_never_breaks_us() {
        let mut whole = own_program();
        whole.truncate(1 << 16);
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(7);
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..8 {
                let at = chance.random_range(0..1024.min(bytes.len()));
                bytes[at] = chance.random();
            }
            bytes.truncate(chance.random_range(0..whole.len()));
            if let Some(elf) = Elf::new(Image::Memory(&bytes)) {
                let _unused = (elf.section(".eh_frame"), elf.symbol("main"), elf.bias(0x1000, 0x1000));
            }
        }
    }
}
