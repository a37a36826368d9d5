//! When threads run too shortly for a clock of their own, as those of a server do that starts one for each request: a
//! new thread's clock begins with a whole period. Whole CPUs are sampled from then on, where that is permitted.

use crate::perf::{Access, Events};
use crate::sampler::Sampler;
use model::Gap;

/// Samples on CPU against the time on CPU that switches tell.
#[derive(Debug, Default)]
pub(crate) struct RunSamples {
    pub(crate) ran_ns: u64,
    pub(crate) samples: u64,
    /// Something was done about it, or cannot be.
    settled: bool,
}

impl RunSamples {
    /// A tenth of the samples is missing, and more than chance explains: three standard deviations.
    fn are_too_few(&self, period_ns: u64) -> bool {
        let expected = self.ran_ns / period_ns.max(1);
        let missing = expected.saturating_sub(self.samples);
        missing * 10 > expected && missing.saturating_mul(missing) > expected.saturating_mul(9)
    }

    /// Not even a quarter is there.
    fn are_hardly_any(&self, period_ns: u64) -> bool {
        self.samples * 4 < self.ran_ns / period_ns.max(1)
    }
}

impl Sampler {
    /// Samples whole CPUs where threads run too shortly to be sampled one by one.
    pub(crate) fn catch_short_runs(&mut self, now_ns: u64) {
        if self.run_samples.settled || !self.run_samples.are_too_few(self.period_ns()) {
            return;
        }
        let Some(access) = self.events.as_ref().map(Events::access).filter(|_| !self.threads.unrecorded)
        else {
            return;
        };
        // Without the kernel's samples some are missing in any case.
        if access == Access::UserOnly && !self.run_samples.are_hardly_any(self.period_ns()) {
            return;
        }
        self.run_samples.settled = true;
        let mut permitted = false;
        if access == Access::Full {
            let lost = self.open_again(now_ns, |events: &mut Events, tids| {
                let lost = events.sample_whole_cpus(tids);
                permitted = lost.is_some();
                lost.unwrap_or(0)
            });
            self.tell_lost(lost);
        }
        if !permitted {
            self.gap(Gap::new(
                "profile",
                "threads run too shortly to be sampled one by one: much of their time on CPU is `[not sampled]`",
                "run as root or with CAP_PERFMON, which lets whole CPUs be sampled (at most 8)",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_missing_than_chance_explains() {
        let few = |ran_ns, samples| RunSamples { ran_ns, samples, settled: false }.are_too_few(10);
        assert!(few(200, 1), "1 of 20");
        assert!(!few(50, 0), "0 of 5 may be chance");
        assert!(!few(100_000, 9_500), "a twentieth is near enough");
        assert!(few(100_000, 8_500));
        assert!(!few(1000, 120));
        let hardly = |ran_ns, samples| RunSamples { ran_ns, samples, settled: false }.are_hardly_any(10);
        assert!(hardly(1000, 24) && !hardly(1000, 25));
    }
}
