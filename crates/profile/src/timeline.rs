//! One thread's switches in order, turned into intervals: on a CPU, or off it, with what was found out about the
//! stack meanwhile. Time is an argument; nothing here looks at a process.

use crate::ledger::State;

/// What a thread does as of its last switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Now {
    /// No switch has been seen since it is watched.
    Unknown,
    On,
    Off {
        /// It wanted to go on: it is queued.
        preempted: bool,
    },
}

/// Weight that became certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// When it ended.
    pub(crate) end_ns: u64,
    pub(crate) stack: u32,
    pub(crate) state: State,
    pub(crate) weight_ns: u64,
}

/// The timeline of one thread. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) now: Now,
    since_ns: u64,
    /// The stack of this interval, and what it waits in.
    seen: Option<(u32, State)>,
    /// A part of this interval has been given out.
    partly: bool,
    /// Nanoseconds on a CPU, by switches.
    pub(crate) ran_ns: u64,
    /// Nanoseconds off it although it wanted to go on; waits after a wake-up are not seen by switches.
    pub(crate) preempted_ns: u64,
}

impl Timeline {
    pub(crate) fn new(begin_ns: u64) -> Self {
        Self { now: Now::Unknown, since_ns: begin_ns, seen: None, partly: false, ran_ns: 0, preempted_ns: 0 }
    }

    /// It got a CPU. `tick_ns` is how often somebody looks: an interval that is shorter is seen in proportion to
    /// its length, and so stands for a whole tick when it was seen (the estimator of Horvitz and Thompson).
    pub(crate) fn switch_in(&mut self, at_ns: u64, tick_ns: u64) -> Option<Interval> {
        if self.now == Now::On {
            return None;
        }
        let length = at_ns.saturating_sub(self.since_ns);
        if self.now == (Now::Off { preempted: true }) {
            self.preempted_ns += length;
        }
        let interval = self.seen.take().map(|(stack, state)| {
            let weight_ns = if self.partly { length } else { length.max(tick_ns) };
            Interval { end_ns: at_ns, stack, state, weight_ns }
        });
        (self.now, self.since_ns, self.partly) = (Now::On, at_ns, false);
        interval
    }

    /// It lost its CPU, or gave it up.
    pub(crate) fn switch_out(&mut self, at_ns: u64, preempted: bool) {
        if matches!(self.now, Now::Off { .. }) {
            return;
        }
        self.ran_ns += at_ns.saturating_sub(self.since_ns);
        (self.now, self.since_ns) = (Now::Off { preempted }, at_ns);
        (self.seen, self.partly) = (None, false);
    }

    /// From now on nothing is known of switches.
    pub(crate) fn forget(&mut self) {
        (self.now, self.seen, self.partly) = (Now::Unknown, None, false);
    }

    /// A sample on a CPU, where switches are not known.
    pub(crate) fn sampled(&mut self, period_ns: u64) {
        self.ran_ns += period_ns;
    }

    /// Whether nobody has yet looked at the interval that goes on.
    pub(crate) fn wants_look(&self) -> bool {
        self.now != Now::On && self.seen.is_none()
    }

    /// Somebody looked, at a time of this interval.
    pub(crate) fn look(&mut self, stack: u32, state: State) {
        if self.now != Now::On {
            self.seen = Some((stack, state));
        }
    }

    /// The part of the interval that is over by now: at the end of a window and of the profile.
    pub(crate) fn part(&mut self, at_ns: u64) -> Option<Interval> {
        let length = at_ns.saturating_sub(self.since_ns);
        match self.now {
            Now::On => {
                self.ran_ns += length;
                self.since_ns = self.since_ns.max(at_ns);
                None
            }
            Now::Unknown | Now::Off { .. } => {
                let (stack, state) = self.seen?;
                if self.now == (Now::Off { preempted: true }) {
                    self.preempted_ns += length;
                }
                self.since_ns = self.since_ns.max(at_ns);
                self.partly = true;
                Some(Interval { end_ns: at_ns, stack, state, weight_ns: length })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 20;

    #[test]
    fn a_long_wait_weighs_its_length_and_a_short_one_a_tick() {
        let mut line = Timeline::new(0);
        line.switch_out(10, false);
        line.look(7, State::Blocked);
        let long = line.switch_in(1010, TICK).unwrap();
        assert_eq!((long.stack, long.weight_ns), (7, 1000));
        line.switch_out(1020, false);
        line.look(7, State::Blocked);
        assert_eq!(line.switch_in(1025, TICK).unwrap().weight_ns, TICK);
        line.switch_out(1030, false);
        assert_eq!(line.switch_in(1035, TICK), None);
        assert_eq!(line.ran_ns, 10 + 10 + 5);
    }

    #[test]
    fn parts_of_a_wait_sum_to_the_wait() {
        let mut line = Timeline::new(0);
        line.look(3, State::Blocked);
        let parts = line.part(100).unwrap().weight_ns + line.part(200).unwrap().weight_ns;
        assert_eq!(parts + line.switch_in(205, TICK).unwrap().weight_ns, 205);
    }

    #[test]
    fn the_first_switch_says_what_went_on_before_it() {
        let mut ran = Timeline::new(0);
        ran.switch_out(50, true);
        let mut slept = Timeline::new(0);
        slept.switch_in(50, TICK);
        assert_eq!((ran.ran_ns, slept.ran_ns), (50, 0));
        ran.switch_in(80, TICK);
        assert_eq!(ran.preempted_ns, 30);
    }

    #[test]
    fn a_lost_record_does_not_count_time_twice() {
        let mut line = Timeline::new(0);
        line.switch_in(10, TICK);
        line.switch_in(20, TICK);
        line.switch_out(30, false);
        line.switch_out(40, false);
        assert_eq!(line.ran_ns, 20);
    }
}
