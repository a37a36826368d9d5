//! Records of a perf ring, parsed from bytes. Layouts are those of `perf_event_open(2)` for the sample type that
//! `events` asks for. Bytes may be anything: what does not fit is `None`.

use crate::elf::{u32_at, u64_at};

/// `PERF_SAMPLE_TID | TIME | CALLCHAIN | PERIOD | REGS_USER | STACK_USER`.
pub(super) const SAMPLE_TYPE: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 8 | 1 << 12 | 1 << 13;
/// Frame pointer, stack pointer and instruction pointer in the kernel's numbering of x86-64's registers.
pub(super) const REGISTERS: u64 = 1 << 6 | 1 << 7 | 1 << 8;
/// Bytes before a record's body: type, flags, size.
pub(super) const HEADER_BYTES: usize = 8;

const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const MMAP2: u32 = 10;
const LOST_SAMPLES: u32 = 13;
const SWITCH: u32 = 14;
const FLAG_13: u16 = 1 << 13;
const SWITCH_OUT_PREEMPT: u16 = 1 << 14;
/// Entries of a call chain from here on are no addresses: they say whose addresses follow.
const CONTEXT_MARKS: u64 = -4095_i64 as u64;
const CONTEXT_KERNEL: u64 = -128_i64 as u64;
const CHAIN_MAX: usize = 1024;
const ABI_64: u64 = 2;

/// User registers that unwinding begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) bp: u64,
}

/// A thread was caught on a CPU, or leaving it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample<'a> {
    /// Nanoseconds of CPU time that it stands for; 1 for a thread that leaves the CPU.
    pub(crate) period: u64,
    /// Kernel addresses, leaf first.
    pub(crate) kernel: Vec<u64>,
    pub(crate) registers: Option<Registers>,
    /// User stack from `registers.sp` on.
    pub(crate) stack: &'a [u8],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    Sample(Sample<'a>),
    SwitchIn,
    SwitchOut { preempted: bool },
    Fork { parent_pid: u32, parent_tid: u32 },
    Exit,
    Name { name: String, exec: bool },
    Map { start: u64, bytes: u64, file_offset: u64, inode: u64, path: String },
}

/// One record: whose, when (nanoseconds of the monotonic clock), what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Of {
        pid: u32,
        tid: u32,
        time: u64,
        body: Body<'a>,
    },
    /// The kernel had no room for so many records.
    Lost(u64),
    /// A kind that we did not ask for.
    Other,
}

/// Reads the body of a record with the header's `kind` and `flags`.
pub(super) fn parse(kind: u32, flags: u16, body: &[u8]) -> Option<Record<'_>> {
    match kind {
        SAMPLE => sample(body),
        LOST => Some(Record::Lost(u64_at(body, 8)?)),
        LOST_SAMPLES => Some(Record::Lost(u64_at(body, 0)?)),
        SWITCH if flags & FLAG_13 != 0 => {
            trailed(body, Body::SwitchOut { preempted: flags & SWITCH_OUT_PREEMPT != 0 })
        }
        SWITCH => trailed(body, Body::SwitchIn),
        FORK | EXIT => {
            let (pid, tid) = (u32_at(body, 0)?, u32_at(body, 8)?);
            let parent = Body::Fork { parent_pid: u32_at(body, 4)?, parent_tid: u32_at(body, 12)? };
            let event = if kind == FORK { parent } else { Body::Exit };
            Some(Record::Of { pid, tid, time: u64_at(body, 16)?, body: event })
        }
        COMM => {
            let name = text(body.get(8..body.len().checked_sub(16)?)?);
            trailed(body, Body::Name { name, exec: flags & FLAG_13 != 0 })
        }
        MMAP2 => {
            let map = Body::Map {
                start: u64_at(body, 8)?,
                bytes: u64_at(body, 16)?,
                file_offset: u64_at(body, 24)?,
                inode: u64_at(body, 40)?,
                path: text(body.get(64..body.len().checked_sub(16)?)?),
            };
            trailed(body, map)
        }
        _ => Some(Record::Other),
    }
}

/// A record that ends with pid, tid and time (`sample_id_all`).
fn trailed<'a>(bytes: &[u8], body: Body<'a>) -> Option<Record<'a>> {
    let tail = bytes.get(bytes.len().checked_sub(16)?..)?;
    Some(Record::Of { pid: u32_at(tail, 0)?, tid: u32_at(tail, 4)?, time: u64_at(tail, 8)?, body })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

fn sample(bytes: &[u8]) -> Option<Record<'_>> {
    let (pid, tid, time) = (u32_at(bytes, 0)?, u32_at(bytes, 4)?, u64_at(bytes, 8)?);
    let period = u64_at(bytes, 16)?;
    let count = usize::try_from(u64_at(bytes, 24)?).ok()?;
    let chain_end = 32_usize.checked_add(count.checked_mul(8)?)?;
    let chain = bytes.get(32..chain_end)?;
    let kernel = kernel_part(chain);
    let abi = u64_at(bytes, chain_end)?;
    let mut at = chain_end + 8;
    let mut registers = None;
    if abi != 0 {
        let [bp, sp, ip] = [u64_at(bytes, at)?, u64_at(bytes, at + 8)?, u64_at(bytes, at + 16)?];
        at += 24;
        registers = (abi == ABI_64).then_some(Registers { ip, sp, bp });
    }
    let reserved = usize::try_from(u64_at(bytes, at)?).ok()?;
    let stack = if reserved == 0 {
        &[][..]
    } else {
        let copied = bytes.get(at + 8..(at + 8).checked_add(reserved)?)?;
        let filled = usize::try_from(u64_at(bytes, at + 8 + reserved)?).ok()?;
        copied.get(..filled)?
    };
    Some(Record::Of { pid, tid, time, body: Body::Sample(Sample { period, kernel, registers, stack }) })
}

fn kernel_part(chain: &[u8]) -> Vec<u64> {
    let mut kernel = Vec::new();
    let mut in_kernel = false;
    for entry in chain.chunks_exact(8).take(CHAIN_MAX).filter_map(|e| u64_at(e, 0)) {
        if entry >= CONTEXT_MARKS {
            in_kernel = entry == CONTEXT_KERNEL;
        } else if in_kernel {
            kernel.push(entry);
        }
    }
    kernel
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn sample_bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend([7u32.to_le_bytes(), 8u32.to_le_bytes()].concat());
        let words =
            [99, 10, 3, CONTEXT_KERNEL, 0xffff_ffff_8100_0000, CONTEXT_MARKS + 5, ABI_64, 1, 2, 3, 16];
        words.iter().for_each(|w| bytes.extend(w.to_le_bytes()));
        bytes.extend([1; 16]);
        bytes.extend(8u64.to_le_bytes());
        bytes
    }

    #[test]
    fn a_sample_has_kernel_frames_registers_and_the_filled_part_of_the_stack() {
        let bytes = sample_bytes();
        let expected = Sample {
            period: 10,
            kernel: vec![0xffff_ffff_8100_0000],
            registers: Some(Registers { bp: 1, sp: 2, ip: 3 }),
            stack: &[1; 8],
        };
        let record = Record::Of { pid: 7, tid: 8, time: 99, body: Body::Sample(expected) };
        assert_eq!(parse(SAMPLE, 0, &bytes), Some(record));
    }

    #[test]
    fn switches_say_whether_the_thread_wanted_to_go_on() {
        let body = [[7u32.to_le_bytes(), 8u32.to_le_bytes()].concat(), 5u64.to_le_bytes().to_vec()].concat();
        let of = |body| Some(Record::Of { pid: 7, tid: 8, time: 5, body });
        assert_eq!(parse(SWITCH, 0, &body), of(Body::SwitchIn));
        assert_eq!(parse(SWITCH, FLAG_13, &body), of(Body::SwitchOut { preempted: false }));
        assert_eq!(
            parse(SWITCH, FLAG_13 | SWITCH_OUT_PREEMPT, &body),
            of(Body::SwitchOut { preempted: true })
        );
    }

    #[test]
    fn any_bytes_are_a_record_or_none() {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(3);
        let good = sample_bytes();
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..chance.random_range(0..6) {
                let at = chance.random_range(0..bytes.len());
                bytes[at] = chance.random();
            }
            bytes.truncate(chance.random_range(0..=good.len()));
            let kind = if chance.random() { SAMPLE } else { chance.random_range(0..16) };
            if let Some(Record::Of { body: Body::Sample(sample), .. }) = parse(kind, chance.random(), &bytes)
            {
                assert!(sample.stack.len() < good.len() && sample.kernel.len() < good.len());
            }
        }
    }
}
