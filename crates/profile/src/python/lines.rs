//! From a position in Python's byte code to a line, for the three table formats since 3.8. Pure; tables may be torn or
//! hostile, the answer is then `None` or a wrong line, never more.

use super::layout::LineTable;

/// The line of byte `at` of a code object's instructions.
pub(super) fn line(kind: LineTable, table: &[u8], first_line: u32, at: u32) -> Option<u32> {
    match kind {
        LineTable::Pairs => pairs(table, first_line, at),
        LineTable::Ranges => ranges(table, first_line, at),
        LineTable::Locations => locations(table, first_line, at),
    }
}

fn moved(line: u32, by: i64) -> u32 {
    u32::try_from(i64::from(line) + by).unwrap_or(0)
}

/// `Objects/lnotab_notes.txt` of 3.9: pairs of byte increment and signed line increment.
fn pairs(table: &[u8], first_line: u32, at: u32) -> Option<u32> {
    let (mut line, mut address) = (first_line, 0_u32);
    for pair in table.chunks_exact(2) {
        address += u32::from(pair[0]);
        if address > at {
            break;
        }
        line = moved(line, i64::from(pair[1].cast_signed()));
    }
    Some(line)
}

/// `Objects/lnotab_notes.txt` of 3.10: pairs of length and signed line increment, -128 for no line.
fn ranges(table: &[u8], first_line: u32, at: u32) -> Option<u32> {
    const NO_LINE: i8 = -128;
    let (mut line, mut end) = (first_line, 0_u32);
    for pair in table.chunks_exact(2) {
        let by = pair[1].cast_signed();
        if by != NO_LINE {
            line = moved(line, i64::from(by));
        }
        end += u32::from(pair[0]);
        if at < end {
            return (by != NO_LINE).then_some(line);
        }
    }
    None
}

/// `Objects/locations.md` of 3.11.
fn locations(table: &[u8], first_line: u32, at: u32) -> Option<u32> {
    const UNIT_BYTES: u32 = 2;
    let (mut line, mut end) = (first_line, 0_u32);
    let mut bytes = table.iter().copied();
    while let Some(head) = bytes.next() {
        let mut known = true;
        match (head >> 3) & 15 {
            15 => known = false,
            14 => {
                line = moved(line, signed(&mut bytes)?);
                for _ in 0..3 {
                    varint(&mut bytes)?;
                }
            }
            13 => line = moved(line, signed(&mut bytes)?),
            code @ 10..=12 => {
                line = moved(line, i64::from(code) - 10);
                bytes.nth(1)?;
            }
            _ => {
                bytes.next()?;
            }
        }
        end += (u32::from(head & 7) + 1) * UNIT_BYTES;
        if at < end {
            return known.then_some(line);
        }
    }
    None
}

fn varint(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    const MAX_SHIFT: u32 = 54;
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = bytes.next()?;
        value |= u64::from(byte & 63) << shift;
        if byte & 64 == 0 {
            return Some(value);
        }
        shift += 6;
        if shift > MAX_SHIFT {
            return None;
        }
    }
}

fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = varint(bytes)?;
    let size = i64::try_from(value >> 1).ok()?;
    Some(if value & 1 == 1 { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Tables of `def f(x):\n    y = x\n\n    return y` at line 1, as 3.9, 3.10 and 3.11 make them.
    #[test]
    fn each_format_finds_the_return() {
        assert_eq!(line(LineTable::Pairs, &[0, 1, 4, 2], 1, 4), Some(4));
        assert_eq!(line(LineTable::Pairs, &[0, 1, 4, 2], 1, 2), Some(2));
        assert_eq!(line(LineTable::Ranges, &[4, 1, 4, 2], 1, 4), Some(4));
        let locations = [0x80, 0x00, 0xd8, 0x08, 0x09, 0x80, 0x41, 0xe0, 0x0b, 0x0c];
        assert_eq!(line(LineTable::Locations, &locations, 1, 2), Some(2));
    }

    #[test]
    fn any_table_ends() {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(11);
        for _ in 0..20_000 {
            let table: Vec<u8> = (0..chance.random_range(0..40)).map(|_| chance.random()).collect();
            for kind in [LineTable::Pairs, LineTable::Ranges, LineTable::Locations] {
                let _unused = line(kind, &table, chance.random(), chance.random_range(0..200));
            }
        }
    }
}
