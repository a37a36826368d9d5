//! What the kernel says of the calling thread: time on a CPU, and time in which it was ready but had none.
//! Linux only; elsewhere there is nothing to say.

/// Totals of one thread in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) on_cpu_ns: u64,
    pub(crate) waited_ns: u64,
}

impl Schedule {
    /// Of the calling thread, from `/proc/thread-self/schedstat`; `None` where the kernel does not tell.
    pub(crate) fn of_this_thread() -> Option<Self> {
        parse(&std::fs::read_to_string("/proc/thread-self/schedstat").ok()?)
    }

    /// Growth since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            on_cpu_ns: self.on_cpu_ns.saturating_sub(earlier.on_cpu_ns),
            waited_ns: self.waited_ns.saturating_sub(earlier.waited_ns),
        }
    }
}

fn parse(text: &str) -> Option<Schedule> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    Some(Schedule { on_cpu_ns: numbers.next()?.ok()?, waited_ns: numbers.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_are_read_and_anything_else_is_nothing() {
        assert_eq!(parse("12 34 5\n"), Some(Schedule { on_cpu_ns: 12, waited_ns: 34 }));
        assert_eq!(parse("12"), None);
        assert_eq!(parse("a b c"), None);
    }
}
