//! Which statuses an operation takes as success: `200`, `"200-299"` or a list of both.

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Statuses from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

/// Ranges of statuses; 200 to 399 unless told, as k6 does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect(pub Vec<StatusRange>);

impl Default for Expect {
    fn default() -> Self {
        Self(vec![StatusRange { first: 200, last: 399 }])
    }
}

impl Expect {
    #[must_use]
    pub fn takes(&self, status: u16) -> bool {
        self.0.iter().any(|range| (range.first..=range.last).contains(&status))
    }
}

const EXPECTED: &str = "a status like 200, a range like \"200-299\", or a list of these";

fn range(text: &str) -> Option<StatusRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = StatusRange { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? };
    (range.first >= 100 && range.first <= range.last && range.last <= 599).then_some(range)
}

impl Serialize for Expect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|range| format!("{}-{}", range.first, range.last)))
    }
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Statuses)
    }
}

struct Statuses;

impl<'de> Visitor<'de> for Statuses {
    type Value = Expect;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Expect, E> {
        let range = range(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &EXPECTED))?;
        Ok(Expect(vec![range]))
    }

    fn visit_u64<E: Error>(self, status: u64) -> Result<Expect, E> {
        self.visit_str(&status.to_string())
    }

    fn visit_i64<E: Error>(self, status: i64) -> Result<Expect, E> {
        self.visit_str(&status.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Expect, A::Error> {
        let mut all = Vec::new();
        while let Some(Expect(ranges)) = items.next_element()? {
            all.extend(ranges);
        }
        if all.is_empty() { Err(A::Error::invalid_length(0, &EXPECTED)) } else { Ok(Expect(all)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Holder {
        expect: Expect,
    }

    fn read(text: &str) -> Result<Expect, String> {
        toml::from_str::<Holder>(&format!("expect = {text}")).map(|h| h.expect).map_err(|e| e.to_string())
    }

    #[test]
    fn statuses_ranges_and_lists_are_read() {
        assert!(read("201").unwrap().takes(201));
        let list = read("[200, \"404-410\"]").unwrap();
        assert!(list.takes(200) && list.takes(405) && !list.takes(201));
        assert!(Expect::default().takes(304) && !Expect::default().takes(400));
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for text in ["\"ok\"", "42", "-1", "[]", "\"300-200\"", "true"] {
            assert!(read(text).unwrap_err().contains("a status like 200"), "{text}");
        }
    }
}
