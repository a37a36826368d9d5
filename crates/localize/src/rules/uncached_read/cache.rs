//! A cache that was not there: which of the recorded reads would have been answered by the least-recently-used cache
//! with a time to live.

use crate::tree::NodeId;
use hashbrown::{HashMap, HashSet};
use model::ResourceId;
use std::collections::BTreeMap;

/// Parameters within one process: each process has a cache of its own.
pub(super) type Key = (ResourceId, u64);

/// One recorded read, Unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Read {
    pub(super) at_ns: i64,
    /// When the answer was there: only then can it answer others.
    pub(super) ready_ns: i64,
    pub(super) key: Key,
    pub(super) node: NodeId,
}

/// The reads that would have been answered ...
#[derive(Default)]
pub(super) struct Cache {
    /// ... by a cache that was empty when the recording began,
    pub(super) cold: HashSet<NodeId>,
    /// ... by one that had seen the other half of the recording,
    pub(super) warmed: HashSet<NodeId>,
    /// ... by one that had seen all of it.
    pub(super) full: HashSet<NodeId>,
}

impl Cache {
    pub(super) fn play(mut reads: Vec<Read>, entries: usize, ttl_s: f64) -> Self {
        reads.sort_unstable();
        let cold = hits(&reads, entries, ttl_s);
        let (first, second) = reads.split_at(reads.len() / 2);
        // The second half was preceded by the first one in truth; the first one is preceded by the second in thought.
        let mut warmed: HashSet<NodeId> =
            second.iter().map(|r| r.node).filter(|node| cold.contains(node)).collect();
        warmed.extend(again(second, first, entries, ttl_s));
        let full = again(&reads, &reads, entries, ttl_s);
        Self { cold, warmed, full }
    }
}

/// Hits of `reads` where `before` directly preceded them.
fn again(before: &[Read], reads: &[Read], entries: usize, ttl_s: f64) -> HashSet<NodeId> {
    let (Some(last), Some(first)) = (before.iter().map(|r| r.ready_ns).max(), reads.first()) else {
        return hits(reads, entries, ttl_s);
    };
    let shift = last.max(first.at_ns) - first.at_ns;
    let mut all = before.to_vec();
    all.extend(reads.iter().map(|r| Read { at_ns: r.at_ns + shift, ready_ns: r.ready_ns + shift, ..*r }));
    hits_from(&all, before.len(), entries, ttl_s)
}

fn hits(reads: &[Read], entries: usize, ttl_s: f64) -> HashSet<NodeId> {
    hits_from(reads, 0, entries, ttl_s)
}

/// Hits among `reads[from..]`. Entries live from when they are ready; the least recently used goes first.
#[expect(clippy::cast_possible_truncation, reason = "a time to live of seconds in nanoseconds")]
fn hits_from(reads: &[Read], from: usize, entries: usize, ttl_s: f64) -> HashSet<NodeId> {
    let ttl_ns = (ttl_s * 1e9) as i64;
    // By key: when the entry was ready, and when (by position) it was last used.
    let mut held: HashMap<Key, (i64, usize)> = HashMap::new();
    let mut by_use: BTreeMap<usize, Key> = BTreeMap::new();
    let mut out = HashSet::new();
    for (at, read) in reads.iter().enumerate() {
        let known = held.get(&read.key).copied();
        let ready_ns = match known {
            Some((ready, _)) if read.at_ns < ready => ready.min(read.ready_ns),
            Some((ready, _)) if read.at_ns - ready < ttl_ns => {
                if at >= from {
                    out.insert(read.node);
                }
                ready
            }
            _ => read.ready_ns,
        };
        if let Some((_, used)) = known {
            by_use.remove(&used);
        }
        held.insert(read.key, (ready_ns, at));
        by_use.insert(at, read.key);
        if held.len() > entries
            && let Some((_, oldest)) = by_use.pop_first()
        {
            held.remove(&oldest);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(keys: &[u64], every_ms: i64) -> Vec<Read> {
        let read = |(at, key): (usize, &u64)| {
            let at_ns = i64::try_from(at).expect("few") * every_ms * 1_000_000;
            let node = NodeId::try_from(at).expect("few");
            Read { at_ns, ready_ns: at_ns + 500_000, key: (ResourceId(0), *key), node }
        };
        keys.iter().enumerate().map(read).collect()
    }

    fn hit(keys: &[u64], every_ms: i64, entries: usize) -> Vec<NodeId> {
        let mut hits: Vec<NodeId> = hits(&reads(keys, every_ms), entries, 1.0).into_iter().collect();
        hits.sort_unstable();
        hits
    }

    #[test]
    fn what_was_read_within_the_time_to_live_is_a_hit() {
        assert_eq!(hit(&[1, 2, 1, 2, 3], 10, 10), [2, 3]);
        assert_eq!(hit(&[1, 2, 1], 600, 10), [] as [NodeId; 0]);
    }

    #[test]
    fn the_least_recently_used_entry_gives_way() {
        assert_eq!(hit(&[1, 2, 1, 3, 1, 2], 10, 2), [2, 4]);
    }

    #[test]
    fn an_answer_that_is_still_on_its_way_answers_nobody() {
        let mut both = reads(&[1, 1], 0);
        assert!(hits(&both, 10, 1.0).is_empty());
        both[1].at_ns = 600_000;
        assert_eq!(hits(&both, 10, 1.0).len(), 1);
    }

    #[test]
    fn each_half_is_judged_with_the_other_before_it() {
        let cache = Cache::play(reads(&[1, 2, 1, 3], 10), 10, 1.0);
        let sorted = |set: &HashSet<NodeId>| {
            let mut all: Vec<NodeId> = set.iter().copied().collect();
            all.sort_unstable();
            all
        };
        assert_eq!(sorted(&cache.cold), [2]);
        assert_eq!(sorted(&cache.warmed), [0, 2]);
        assert_eq!(sorted(&cache.full), [0, 1, 2, 3]);
    }
}
