//! Snappy's block format, as Prometheus wants bodies (github.com/google/snappy, `format_description.txt`). One greedy
//! pass: bodies are small and say the same labels again and again.

use super::protobuf::varint;

/// Sequences of four bytes are looked up in a table of this many places.
const TABLE_BITS: u32 = 14;
/// A copy reaches back no farther: its offset has two bytes.
const MAX_OFFSET: usize = 0xffff;
const MAX_COPY: usize = 64;
const SHORTEST_COPY: usize = 4;

pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() / 2 + 16);
    varint(input.len() as u64, &mut out);
    // Where a sequence was seen last, plus 1; 0: never.
    let mut seen = vec![0_usize; 1 << TABLE_BITS];
    let (mut at, mut literal_from) = (0, 0);
    while at + SHORTEST_COPY <= input.len() {
        let slot = slot(&input[at..at + SHORTEST_COPY]);
        let before = std::mem::replace(&mut seen[slot], at + 1);
        let from = before.wrapping_sub(1);
        let fits = before > 0 && at - from <= MAX_OFFSET;
        let length = if fits { common(input, from, at) } else { 0 };
        if length < SHORTEST_COPY {
            at += 1;
            continue;
        }
        literal(&input[literal_from..at], &mut out);
        copy(at - from, length, &mut out);
        at += length;
        literal_from = at;
    }
    literal(&input[literal_from..], &mut out);
    out
}

fn slot(four: &[u8]) -> usize {
    let word = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize
}

/// How many bytes from `from` on are those from `at` on.
fn common(input: &[u8], from: usize, at: usize) -> usize {
    input[at..].iter().zip(&input[from..]).take_while(|(a, b)| a == b).count()
}

fn literal(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let less_one = bytes.len() - 1;
    if less_one < 60 {
        out.push((less_one as u8) << 2);
    } else {
        let length = (less_one as u64).to_le_bytes();
        let used = length.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        out.push((59 + used as u8) << 2);
        out.extend_from_slice(&length[..used]);
    }
    out.extend_from_slice(bytes);
}

fn copy(offset: usize, length: usize, out: &mut Vec<u8>) {
    let mut left = length;
    while left > 0 {
        let now = left.min(MAX_COPY);
        out.push((now as u8 - 1) << 2 | 2);
        out.extend_from_slice(&(offset as u16).to_le_bytes());
        left -= now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::out::reader::decompress;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn what_is_compressed_comes_back_whatever_it_is() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(4);
        for size in [0, 1, 3, 4, 59, 60, 61, 62, 300, 70_000, 200_000] {
            for letters in [1_u8, 3, 255] {
                let input: Vec<u8> = (0..size).map(|_| random.random_range(0..letters)).collect();
                assert_eq!(decompress(&compress(&input)), input, "{size} bytes of {letters} letters");
            }
        }
    }

    #[test]
    fn what_repeats_becomes_short() {
        let labels = "__name__=k6_http_reqs_total,method=GET,name=/orders,".repeat(200);
        assert!(compress(labels.as_bytes()).len() * 10 < labels.len());
    }
}
