//! Where a thread's time went: running, queued for a CPU, or blocked. The three sum to the time it was watched.

/// What a thread does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Running,
    /// Could run, but has no CPU.
    Queued,
    Blocked,
    /// Blocked, and what it waits for is Python's global lock.
    GilWait,
}

impl State {
    pub const COUNT: usize = 4;
    pub const ALL: [Self; Self::COUNT] = [Self::Running, Self::Queued, Self::Blocked, Self::GilWait];

    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "on CPU",
            Self::Queued => "queued for a CPU",
            Self::Blocked => "blocked",
            Self::GilWait => "waiting for the GIL",
        }
    }
}

/// Nanoseconds of one thread, or of several together. `blocked_ns` includes the waits for Python's global lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub wall_ns: u64,
    pub running_ns: u64,
    pub queued_ns: u64,
    pub blocked_ns: u64,
}

impl Ledger {
    /// From what the kernel counted: blocked is the rest of the wall time. The kernel charges a thread in steps
    /// of its clock tick, so that running and queued are cut to the wall where they are a little longer.
    #[must_use]
    pub fn new(wall_ns: u64, running_ns: u64, queued_ns: u64) -> Self {
        let running_ns = running_ns.min(wall_ns);
        let queued_ns = queued_ns.min(wall_ns - running_ns);
        Self { wall_ns, running_ns, queued_ns, blocked_ns: wall_ns - running_ns - queued_ns }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            wall_ns: self.wall_ns.saturating_add(other.wall_ns),
            running_ns: self.running_ns.saturating_add(other.running_ns),
            queued_ns: self.queued_ns.saturating_add(other.queued_ns),
            blocked_ns: self.blocked_ns.saturating_add(other.blocked_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_states_sum_to_the_wall_time_whatever_the_kernel_says() {
        for (wall, running, queued) in [(10, 3, 4), (10, 12, 4), (10, 8, 4), (0, 1, 1)] {
            let ledger = Ledger::new(wall, running, queued);
            assert_eq!(ledger.running_ns + ledger.queued_ns + ledger.blocked_ns, wall);
        }
    }
}
