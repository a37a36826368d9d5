//! Which requests are kept one by one: the slowest, and a uniform sample by smallest random priority, so that samples of
//! two endpoints that become one merge exactly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Of each endpoint.
const UNIFORM: usize = 100;
const SLOWEST: usize = 10;

/// A request that was kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kept {
    pub(crate) begin_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) upstream_ns: Option<u64>,
    pub(crate) status: u16,
    pub(crate) sent_bytes: Option<u64>,
    pub(crate) received_bytes: u64,
    pub(crate) trace_id: u128,
    pub(crate) host: Box<str>,
}

#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// The largest priority on top, to be dropped next.
    uniform: BinaryHeap<(u64, Kept)>,
    /// The quickest of the slowest on top.
    slowest: BinaryHeap<Reverse<(u64, u64, Kept)>>,
}

impl Samples {
    /// Whether a request of that priority and duration would be kept.
    pub(crate) fn wants(&self, priority: u64, duration_ns: u64) -> bool {
        self.uniform.len() < UNIFORM
            || self.uniform.peek().is_some_and(|(most, _)| priority < *most)
            || self.slowest.len() < SLOWEST
            || self.slowest.peek().is_some_and(|Reverse((least, ..))| duration_ns > *least)
    }

    pub(crate) fn offer(&mut self, priority: u64, kept: &Kept) {
        self.uniform.push((priority, kept.clone()));
        if self.uniform.len() > UNIFORM {
            self.uniform.pop();
        }
        self.slowest.push(Reverse((kept.duration_ns, priority, kept.clone())));
        if self.slowest.len() > SLOWEST {
            self.slowest.pop();
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (priority, kept) in other.uniform {
            self.uniform.push((priority, kept));
            if self.uniform.len() > UNIFORM {
                self.uniform.pop();
            }
        }
        for slow in other.slowest {
            self.slowest.push(slow);
            if self.slowest.len() > SLOWEST {
                self.slowest.pop();
            }
        }
    }

    /// Each once with its priority and whether it is one of the slowest, by time.
    pub(crate) fn finish(self) -> Vec<(u64, Kept, bool)> {
        let slowest = self.slowest.into_iter().map(|Reverse((_, priority, kept))| (priority, kept, true));
        let mut all: Vec<_> =
            slowest.chain(self.uniform.into_iter().map(|(p, kept)| (p, kept, false))).collect();
        all.sort_by_key(|(priority, kept, slowest)| (kept.begin_ns, *priority, !slowest));
        all.dedup_by_key(|(priority, ..)| *priority);
        all
    }
}

/// A number for the n-th request that looks like chance and is the same each time (Vigna's SplitMix64).
pub(crate) fn priority(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
