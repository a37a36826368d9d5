//! Which requests are kept one by one: a uniform reservoir (Vitter 1985, algorithm R) and the slowest.
//! Bounded by the sizes that it is given.

use model::RequestSample;
use rand::Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Samples of one operation.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    uniform: Vec<RequestSample>,
    uniform_size: usize,
    /// Response time and running number; the quickest of the slowest on top.
    slowest_order: BinaryHeap<Reverse<(u64, u64)>>,
    slowest: BTreeMap<u64, RequestSample>,
    slowest_size: usize,
    seen: u64,
}

impl Samples {
    pub(crate) fn new(uniform_size: usize, slowest_size: usize) -> Self {
        Self { uniform_size, slowest_size, ..Self::default() }
    }

    pub(crate) fn offer(&mut self, sample: &RequestSample, random: &mut impl Rng) {
        let number = self.seen;
        self.seen += 1;
        if self.uniform.len() < self.uniform_size {
            self.uniform.push(sample.clone());
        } else if self.uniform_size > 0 {
            let at = random.random_range(0..=number);
            if let Some(slot) = usize::try_from(at).ok().and_then(|at| self.uniform.get_mut(at)) {
                *slot = sample.clone();
            }
        }
        let slow_enough = match self.slowest_order.peek() {
            Some(Reverse((quickest, _))) if self.slowest_order.len() >= self.slowest_size => {
                sample.response_ns > *quickest
            }
            _ => self.slowest_size > 0,
        };
        if slow_enough {
            self.slowest_order.push(Reverse((sample.response_ns, number)));
            self.slowest.insert(number, RequestSample { slowest: true, ..sample.clone() });
            if self.slowest_order.len() > self.slowest_size
                && let Some(Reverse((_, dropped))) = self.slowest_order.pop()
            {
                self.slowest.remove(&dropped);
            }
        }
    }

    /// Sorted by due time; one that is in both samples comes once, as one of the slowest.
    pub(crate) fn finish(self) -> Vec<RequestSample> {
        let mut all: Vec<RequestSample> = self.slowest.into_values().chain(self.uniform).collect();
        // Of equal requests the one marked as slowest comes first and stays.
        let key = |kept: &RequestSample| (kept.due_ns, kept.trace_id, kept.response_ns);
        all.sort_by_key(|kept| (key(kept), !kept.slowest));
        all.dedup_by_key(|kept| key(kept));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn sample(n: u64, response_ns: u64) -> RequestSample {
        RequestSample {
            operation: 0,
            due_ns: n,
            response_ns,
            service_ns: 0,
            status: 200,
            error: None,
            received_bytes: 0,
            sent_bytes: 0,
            trace_id: u128::from(n) + 1,
            slowest: false,
            phases: model::RequestPhases::default(),
        }
    }

    #[test]
    fn the_slowest_are_kept_and_come_once() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut samples = Samples::new(1000, 3);
        for n in 0..100 {
            samples.offer(&sample(n, (n * 37) % 100), &mut random);
        }
        let all = samples.finish();
        assert_eq!(all.len(), 100);
        let mut slowest: Vec<u64> = all.iter().filter(|s| s.slowest).map(|s| s.response_ns).collect();
        slowest.sort_unstable();
        assert_eq!(slowest, [97, 98, 99]);
    }

    #[test]
    fn the_reservoir_is_uniform() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
        let mut late = 0;
        for _ in 0..200 {
            let mut samples = Samples::new(10, 0);
            for n in 0..100 {
                samples.offer(&sample(n, n), &mut random);
            }
            let kept = samples.finish();
            assert_eq!(kept.len(), 10);
            late += kept.iter().filter(|s| s.due_ns >= 50).count();
        }
        assert!((890..1110).contains(&late), "{late} of 2,000 from the later half");
    }

    #[test]
    fn sizes_of_zero_keep_nothing() {
        let mut samples = Samples::new(0, 0);
        samples.offer(&sample(1, 1), &mut Xoshiro256PlusPlus::seed_from_u64(3));
        assert!(samples.finish().is_empty());
    }
}
