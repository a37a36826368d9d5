//! Where CPython keeps what a stack needs, by version: offsets in bytes on 64-bit Linux, computed with `offsetof` from
//! the headers of 3.8.18, 3.9.18, 3.10.13, 3.11.7 and 3.12.1. From 3.13 on the interpreter publishes them itself
//! (`_Py_DebugOffsets`).

use crate::elf::u64_at;

/// How a frame refers to its caller and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    /// `PyFrameObject`, 3.8 to 3.10; the position in the code is a number of `unit` bytes each.
    Objects { last_instruction: u64, unit: u32 },
    /// `_PyInterpreterFrame`; the position is a pointer into the code.
    Interpreter { instruction: u64, owner: u64, code_start: u64 },
}

/// How a code object maps positions to lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineTable {
    /// `co_lnotab`, 3.8 and 3.9.
    Pairs,
    /// PEP 626, 3.10.
    Ranges,
    /// PEP 657, from 3.11 on.
    Locations,
}

/// The global lock: in the runtime up to 3.11, behind a pointer of the interpreter from 3.12 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gil {
    InRuntime(u64),
    BehindInterpreter(u64),
}

/// Size of `struct _gil_runtime_state`: a futex word inside of it is a wait for the lock.
pub(super) const GIL_BYTES: u64 = 208;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) runtime_interpreters: u64,
    pub(super) interpreter_next: u64,
    pub(super) interpreter_threads: u64,
    pub(super) thread_next: u64,
    pub(super) thread_pthread: u64,
    /// From 3.11 on.
    pub(super) thread_native_id: Option<u64>,
    pub(super) thread_frame: u64,
    /// In 3.11 and 3.12 the frame is behind one more pointer: its offset there.
    pub(super) c_frame: Option<u64>,
    pub(super) frame_back: u64,
    pub(super) frame_code: u64,
    pub(super) frames: Frames,
    pub(super) code_file: u64,
    pub(super) code_name: u64,
    pub(super) code_first_line: u64,
    pub(super) code_lines: u64,
    pub(super) line_table: LineTable,
    /// Size of the head of an ASCII string: its text follows.
    pub(super) ascii_bytes: u64,
    /// Size of the head of a compact string of wider characters.
    pub(super) compact_bytes: u64,
    pub(super) gil: Gil,
}

const V38: Layout = Layout {
    runtime_interpreters: 32,
    interpreter_next: 0,
    interpreter_threads: 8,
    thread_next: 8,
    thread_pthread: 176,
    thread_native_id: None,
    thread_frame: 24,
    c_frame: None,
    frame_back: 24,
    frame_code: 32,
    frames: Frames::Objects { last_instruction: 104, unit: 1 },
    code_file: 104,
    code_name: 112,
    code_first_line: 40,
    code_lines: 120,
    line_table: LineTable::Pairs,
    ascii_bytes: 48,
    compact_bytes: 72,
    gil: Gil::InRuntime(1152),
};

const V39: Layout = Layout { gil: Gil::InRuntime(352), ..V38 };

const V310: Layout = Layout {
    frames: Frames::Objects { last_instruction: 96, unit: 2 },
    line_table: LineTable::Ranges,
    ..V39
};

const V311: Layout = Layout {
    runtime_interpreters: 40,
    interpreter_next: 0,
    interpreter_threads: 16,
    thread_next: 8,
    thread_pthread: 152,
    thread_native_id: Some(160),
    thread_frame: 56,
    c_frame: Some(8),
    frame_back: 48,
    frame_code: 32,
    frames: Frames::Interpreter { instruction: 56, owner: 69, code_start: 184 },
    code_file: 112,
    code_name: 128,
    code_first_line: 72,
    code_lines: 136,
    line_table: LineTable::Locations,
    ascii_bytes: 48,
    compact_bytes: 72,
    gil: Gil::InRuntime(360),
};

const V312: Layout = Layout {
    interpreter_threads: 72,
    thread_pthread: 136,
    thread_native_id: Some(144),
    c_frame: Some(0),
    frame_back: 8,
    frame_code: 0,
    frames: Frames::Interpreter { instruction: 56, owner: 70, code_start: 192 },
    code_first_line: 68,
    ascii_bytes: 40,
    compact_bytes: 56,
    gil: Gil::BehindInterpreter(384),
    ..V311
};

/// The layout of a minor version that has no published offsets.
pub(super) fn known(minor: u32) -> Option<Layout> {
    match minor {
        8 => Some(V38),
        9 => Some(V39),
        10 => Some(V310),
        11 => Some(V311),
        12 => Some(V312),
        _ => None,
    }
}

/// Bytes at the start of `_PyRuntime` that [`published`] reads.
pub(super) const PUBLISHED_BYTES: usize = 71 * 8;
/// Nothing that we look for lies further into its structure; a greater offset is no offset.
const MAX_OFFSET: u64 = 1 << 20;

/// The offsets that 3.13 publishes at the start of `_PyRuntime`. `None` for other versions, for builds without the
/// global lock, and for bytes that are none.
pub(super) fn published(bytes: &[u8]) -> Option<Layout> {
    if bytes.get(..8)? != b"xdebugpy" {
        return None;
    }
    let word = |at: usize| u64_at(bytes, at * 8);
    let offset = |at: usize| word(at).filter(|offset| *offset < MAX_OFFSET);
    let (version, free_threaded) = (word(1)?, word(2)?);
    if version >> 16 != 0x030d || free_threaded != 0 {
        return None;
    }
    Some(Layout {
        runtime_interpreters: offset(5)?,
        interpreter_next: offset(8)?,
        interpreter_threads: offset(9)?,
        thread_next: offset(21)?,
        thread_pthread: offset(24)?,
        thread_native_id: Some(offset(25)?),
        thread_frame: offset(23)?,
        c_frame: None,
        frame_back: offset(29)?,
        frame_code: offset(30)?,
        frames: Frames::Interpreter { instruction: offset(31)?, owner: offset(33)?, code_start: offset(43)? },
        code_file: offset(35)?,
        code_name: offset(37)?,
        code_first_line: offset(39)?,
        code_lines: offset(38)?,
        line_table: LineTable::Locations,
        ascii_bytes: offset(70)?,
        compact_bytes: offset(70)? + 16,
        gil: Gil::BehindInterpreter(offset(14)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_without_the_cookie_or_of_another_version_publish_nothing() {
        let mut bytes = vec![0; PUBLISHED_BYTES];
        assert_eq!(published(&bytes), None);
        bytes[..8].copy_from_slice(b"xdebugpy");
        assert_eq!(published(&bytes), None);
        bytes[8..16].copy_from_slice(&0x030d_00f0_u64.to_le_bytes());
        assert!(published(&bytes).is_some());
        bytes[16] = 1;
        assert_eq!(published(&bytes), None);
    }
}
