//! Interned strings: each distinct text once, named by a 32-bit symbol.
//! Bounded in count and bytes; what does not fit becomes one shared marker and is counted.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::ops::Range;

/// The name of a string in one [`Strings`]. `Sym::EMPTY` is the empty string in every table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sym(pub(crate) u32);

impl Sym {
    pub const EMPTY: Self = Self(0);
    /// What a string became that the table had no room for; reads as `"…"`.
    pub const OVERFLOW: Self = Self(1);

    /// The position in its table, from 0 without gaps.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// More distinct strings than this are refused: 30 bits, since a packed value keeps two for its tag.
const MAX_STRINGS: usize = 1 << 30;
/// More text than this is refused, so that an end fits 32 bits.
const MAX_BYTES: usize = u32::MAX as usize;

/// An append-only table of strings. Reading is one slice; interning is one hash.
#[derive(Clone)]
pub struct Strings {
    text: String,
    ends: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    max_bytes: usize,
    refused: u64,
}

impl Default for Strings {
    fn default() -> Self {
        Self::with_max_bytes(MAX_BYTES)
    }
}

impl Strings {
    /// A table that keeps at most `max_bytes` of text (never more than 4 GiB).
    #[must_use]
    pub fn with_max_bytes(max_bytes: usize) -> Self {
        let mut table = Self {
            text: String::new(),
            ends: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            max_bytes: max_bytes.min(MAX_BYTES),
            refused: 0,
        };
        table.append("");
        table.append("…");
        let hash = table.hasher.hash_one("");
        let hasher = table.hasher.clone();
        table.index.insert_unique(hash, 0, |_| hasher.hash_one(""));
        table
    }

    /// The symbol of `text`, the same for the same text.
    pub fn intern(&mut self, text: &str) -> Sym {
        let hash = self.hasher.hash_one(text);
        if let Some(&found) = self
            .index
            .find(hash, |&at| same_bytes(bytes(self.text.as_bytes(), &self.ends, at), text.as_bytes()))
        {
            return Sym(found);
        }
        let Some(sym) = self.try_append(text) else { return Sym::OVERFLOW };
        let Self { text: all, ends, index, hasher, .. } = self;
        index.insert_unique(hash, sym.0, |&at| hasher.hash_one(slice(all, ends, at)));
        sym
    }

    /// A new symbol for `text` without looking whether it is there already: for values that hardly ever repeat.
    /// Two symbols made so may name equal texts.
    pub fn push_unshared(&mut self, text: &str) -> Sym {
        self.try_append(text).unwrap_or(Sym::OVERFLOW)
    }

    /// The symbol of `text` if it was interned before.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Sym> {
        let hash = self.hasher.hash_one(text);
        self.index.find(hash, |&at| slice(&self.text, &self.ends, at) == text).map(|&at| Sym(at))
    }

    /// The text of a symbol of this table; of a foreign symbol that is out of range, the empty string.
    #[must_use]
    pub fn get(&self, sym: Sym) -> &str {
        if sym.index() < self.ends.len() { slice(&self.text, &self.ends, sym.0) } else { "" }
    }

    /// Is `text` the text of a symbol? Quicker than to [`get`](Self::get) it.
    #[must_use]
    pub fn is(&self, sym: Sym, text: &[u8]) -> bool {
        if sym.index() >= self.ends.len() {
            return text.is_empty();
        }
        same_bytes(bytes(self.text.as_bytes(), &self.ends, sym.0), text)
    }

    /// Every text by symbol, the empty string and the overflow marker first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.symbols().map(|sym| self.get(sym))
    }

    /// Every symbol, ascending without gaps.
    pub fn symbols(&self) -> impl Iterator<Item = Sym> + use<> {
        (0..u32::try_from(self.ends.len()).unwrap_or(u32::MAX)).map(Sym)
    }

    /// How many symbols there are, the empty string and the overflow marker included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Never true: the empty string is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bound on text that it was made with.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// How many strings found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Bytes held, text and tables.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 4 + self.index.capacity() * 5
    }

    fn try_append(&mut self, text: &str) -> Option<Sym> {
        if self.text.len() + text.len() > self.max_bytes || self.ends.len() >= MAX_STRINGS {
            self.refused += 1;
            return None;
        }
        Some(self.append(text))
    }

    fn append(&mut self, text: &str) -> Sym {
        let at = u32::try_from(self.ends.len()).unwrap_or(1);
        self.text.push_str(text);
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        Sym(at)
    }
}

fn slice<'a>(text: &'a str, ends: &[u32], at: u32) -> &'a str {
    &text[range(ends, at)]
}

/// As [`slice`], without a look whether the borders are those of characters.
fn bytes<'a>(text: &'a [u8], ends: &[u32], at: u32) -> &'a [u8] {
    &text[range(ends, at)]
}

fn range(ends: &[u32], at: u32) -> Range<usize> {
    let at = at as usize;
    let from = if at == 0 { 0 } else { ends[at - 1] as usize };
    from..ends[at] as usize
}

/// Equality for texts of some ten bytes, which a call of `memcmp` costs more than the comparison.
#[inline]
#[must_use]
pub fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        // The last eight bytes overlap what the whole chunks have compared.
        (Some(a_end), Some(b_end)) if a.len() <= 64 => {
            let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
            a_end == b_end && a.iter().zip(b).all(|(a, b)| a == b)
        }
        (Some(_), _) => a == b,
        _ => a.iter().zip(b).all(|(a, b)| a == b),
    }
}

impl std::fmt::Debug for Strings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Strings({} strings, {} bytes)", self.ends.len(), self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_has_one_symbol() {
        let mut strings = Strings::default();
        let a = strings.intern("GET /orders");
        assert_eq!(a, strings.intern("GET /orders"));
        assert_ne!(a, strings.intern("GET /order"));
        assert_eq!(strings.get(a), "GET /orders");
        assert_eq!(strings.intern(""), Sym::EMPTY);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_reads_as_a_marker() {
        let mut strings = Strings::with_max_bytes(16);
        let long = strings.intern("a text of more than sixteen bytes");
        assert_eq!((strings.get(long), strings.refused()), ("…", 1));
        let short = strings.intern("short");
        assert_eq!(strings.get(short), "short");
        assert!(strings.is(short, b"short") && !strings.is(short, b"shirt"));
        assert!(strings.is(Sym(99), b"") && !strings.is(Sym(99), b"short"));
    }

    #[test]
    fn bytes_are_the_same_only_if_all_are() {
        let text: Vec<u8> = (0..200).collect();
        for length in 0..text.len() {
            let a = &text[..length];
            assert!(same_bytes(a, &text.clone()[..length]), "{length}");
            assert!(!same_bytes(a, &text[..length + 1]), "{length}");
            for at in 0..length {
                let mut b = a.to_vec();
                b[at] ^= 1;
                assert!(!same_bytes(a, &b), "{at} of {length}");
            }
        }
    }

    #[test]
    fn growth_keeps_every_symbol() {
        let mut strings = Strings::default();
        let all: Vec<Sym> = (0..10_000).map(|i| strings.intern(&format!("k{i}"))).collect();
        for (i, sym) in all.iter().enumerate() {
            assert_eq!(strings.get(*sym), format!("k{i}"));
            assert_eq!(strings.find(&format!("k{i}")), Some(*sym));
        }
        assert_eq!(strings.iter().nth(all[77].index()), Some("k77"));
    }
}
