//! Attribute keys as they repeat from span to span. A key is found by the key that came before it in the last span
//! alike, so that most cost one comparison of bytes; and each key knows whether its values repeat.

use crate::bounds::{MAX_KEY_BYTES, MAX_KEYS};
use hashbrown::HashMap;
use model::{PackedValue, Strings, Sym, same_bytes};

/// Values looked at before a key is judged.
const LOOKED_AT: u32 = 512;

/// The number of a key in its table; 0 stands before the first attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct KeyId(u32);

struct Entry {
    text: Box<[u8]>,
    sym: Sym,
    next: KeyId,
    last: Sym,
    seen: u32,
    fresh: u32,
    /// Values hardly repeat: they are stored without a search.
    unshared: bool,
}

pub(crate) struct Keys {
    entries: Vec<Entry>,
    index: HashMap<Box<[u8]>, KeyId>,
}

/// Why there is no key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    NotUtf8,
    TooLong,
    Full,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let start = Entry {
            text: Box::default(),
            sym: Sym::EMPTY,
            next: KeyId(0),
            last: Sym::EMPTY,
            seen: 0,
            fresh: 0,
            unshared: false,
        };
        Self { entries: vec![start], index: HashMap::new() }
    }

    /// The key of `text` where `previous` was the one before it.
    pub(crate) fn find(
        &mut self,
        strings: &mut Strings,
        previous: KeyId,
        text: &[u8],
    ) -> Result<KeyId, NoKey> {
        let guess = self.entries[previous.0 as usize].next;
        if guess != KeyId(0) && same_bytes(&self.entries[guess.0 as usize].text, text) {
            return Ok(guess);
        }
        let found = match self.index.get(text) {
            Some(found) => *found,
            None => self.add(strings, text)?,
        };
        self.entries[previous.0 as usize].next = found;
        Ok(found)
    }

    fn add(&mut self, strings: &mut Strings, text: &[u8]) -> Result<KeyId, NoKey> {
        let words = std::str::from_utf8(text).map_err(|_| NoKey::NotUtf8)?;
        if text.len() > MAX_KEY_BYTES {
            return Err(NoKey::TooLong);
        }
        if self.entries.len() > MAX_KEYS {
            return Err(NoKey::Full);
        }
        let sym = strings.intern(words);
        let id = KeyId(u32::try_from(self.entries.len()).map_err(|_| NoKey::Full)?);
        self.entries.push(Entry {
            text: text.into(),
            sym,
            next: KeyId(0),
            last: Sym::EMPTY,
            seen: 0,
            fresh: 0,
            unshared: false,
        });
        self.index.insert(text.into(), id);
        Ok(id)
    }

    pub(crate) fn sym(&self, id: KeyId) -> Sym {
        self.entries[id.0 as usize].sym
    }

    /// A text value of the key; `None` if it is not UTF-8.
    pub(crate) fn text(&mut self, strings: &mut Strings, id: KeyId, text: &[u8]) -> Option<PackedValue> {
        let entry = &mut self.entries[id.0 as usize];
        if entry.unshared {
            return Some(PackedValue::text(strings.push_unshared(std::str::from_utf8(text).ok()?)));
        }
        if strings.is(entry.last, text) {
            return Some(PackedValue::text(entry.last));
        }
        let before = strings.len();
        let sym = strings.intern(std::str::from_utf8(text).ok()?);
        entry.last = sym;
        entry.seen = entry.seen.saturating_add(1);
        entry.fresh = entry.fresh.saturating_add(u32::from(strings.len() > before));
        entry.unshared = entry.seen >= LOOKED_AT && entry.fresh > entry.seen / 2;
        Some(PackedValue::text(sym))
    }

    pub(crate) fn resident_bytes(&self) -> usize {
        let texts: usize = self.entries.iter().map(|entry| entry.text.len() * 2).sum();
        texts + self.entries.capacity() * size_of::<Entry>() + self.index.capacity() * 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_with_and_without_a_guess() {
        let (mut strings, mut keys) = (Strings::default(), Keys::new());
        for _ in 0..3 {
            let a = keys.find(&mut strings, KeyId::default(), b"a").unwrap();
            let b = keys.find(&mut strings, a, b"b").unwrap();
            assert_eq!(keys.find(&mut strings, KeyId::default(), b"b"), Ok(b));
            assert_eq!(strings.get(keys.sym(b)), "b");
        }
        assert_eq!(keys.find(&mut strings, KeyId::default(), b"\xff"), Err(NoKey::NotUtf8));
    }

    #[test]
    fn hostile_keys_stop_at_the_bound() {
        let (mut strings, mut keys) = (Strings::default(), Keys::new());
        for at in 0..MAX_KEYS {
            keys.find(&mut strings, KeyId::default(), format!("k{at}").as_bytes()).unwrap();
        }
        assert_eq!(keys.find(&mut strings, KeyId::default(), b"one more"), Err(NoKey::Full));
        assert!(keys.find(&mut strings, KeyId::default(), b"k7").is_ok());
    }

    #[test]
    fn values_that_never_repeat_are_no_longer_searched_for() {
        let (mut strings, mut keys) = (Strings::default(), Keys::new());
        let id = keys.find(&mut strings, KeyId::default(), b"id").unwrap();
        for at in 0..2 * LOOKED_AT {
            let value = keys.text(&mut strings, id, format!("v{at}").as_bytes()).unwrap();
            assert_eq!(value.as_sym().map(|sym| strings.get(sym).to_owned()), Some(format!("v{at}")));
        }
        assert!(keys.entries[id.0 as usize].unshared);
    }
}
