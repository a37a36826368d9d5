//! When stacks are deeper than what is copied of them, as those of async programs in Rust are, whose futures lie on the
//! stack: from then on as much is copied as the kernel can, which is 64 KiB. It is never taken back.

use crate::sampler::Sampler;
use crate::unwind::{Copied, End};

/// Bytes that are copied then, as the kernel counts them: a record has at most 64 KiB, and less is filled.
const DEEP_BYTES: u32 = 65_528;
/// Stacks that must have been cut off, and the share of all (one in so many).
const MIN_CUT: u64 = 1;
const ONE_IN: u64 = 100;

/// Counts stacks that are longer than what was copied.
#[derive(Debug, Default)]
pub(crate) struct StackFit {
    samples: u64,
    cut: u64,
    /// Nothing more can be copied.
    deep: bool,
}

impl StackFit {
    pub(crate) fn count(&mut self, end: End) {
        self.samples += 1;
        self.cut += u64::from(end == End::Cut);
    }

    /// A stack of a sample; `usual` bytes are copied where they are not deep.
    pub(crate) fn copied<'a>(&self, bytes: &'a [u8], usual: u32) -> Copied<'a> {
        // The kernel makes room for the rest of a record.
        const OTHERS: usize = 1024;
        let wanted = if self.deep { DEEP_BYTES } else { usual } as usize;
        Copied { bytes, all: bytes.len() + OTHERS < wanted }
    }

    fn is_too_short(&self) -> bool {
        !self.deep && self.cut >= MIN_CUT && self.cut * ONE_IN >= self.samples
    }
}

impl Sampler {
    /// Copies more of each stack where too many were cut off.
    pub(crate) fn deepen(&mut self, now_ns: u64) {
        if self.events.is_none() || !self.stack_fit.is_too_short() {
            return;
        }
        self.stack_fit.deep = true;
        let lost = self.open_again(now_ns, |events, tids| events.copy_stacks_of(DEEP_BYTES, tids));
        self.tell_lost(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stack_in_a_hundred_that_is_cut_off_is_too_many() {
        let mut fit = StackFit::default();
        (0..300).for_each(|_| fit.count(End::Whole));
        (0..50).for_each(|_| fit.count(End::Lost));
        (0..3).for_each(|_| fit.count(End::Cut));
        assert!(!fit.is_too_short(), "3 of 353");
        fit.count(End::Cut);
        assert!(fit.is_too_short(), "4 of 354");
        fit.deep = true;
        assert!(!fit.is_too_short());
    }
}
