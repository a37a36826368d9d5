//! What a blocked thread waits for, named from the system call that it is in. Numbers are those of x86-64.

/// What kind of thing a descriptor is, which decides what a read of it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Socket,
    Pipe,
    Terminal,
    File,
    Other,
}

fn thing(link: &str) -> Thing {
    if link.starts_with("socket:") {
        Thing::Socket
    } else if link.starts_with("pipe:") {
        Thing::Pipe
    } else if link.starts_with("/dev/pts") || link.starts_with("/dev/tty") {
        Thing::Terminal
    } else if link.starts_with('/') {
        Thing::File
    } else {
        Thing::Other
    }
}

/// The name of a wait, in square brackets. `number` is the system call, `None` where the thread waits outside of
/// one; `descriptor` tells what the first argument's descriptor is, and is asked only where that matters.
pub(crate) fn name(number: Option<u64>, descriptor: impl FnOnce() -> Option<String>) -> &'static str {
    let Some(number) = number else { return "[waits: page]" };
    match number {
        0 | 17 | 19 | 295 | 327 => by_thing(descriptor().as_deref(), "read"),
        1 | 18 | 20 | 40 | 275 | 296 | 328 => by_thing(descriptor().as_deref(), "write"),
        45 | 47 | 299 => "[waits: socket read]",
        44 | 46 | 307 => "[waits: socket write]",
        42 => "[waits: connect]",
        43 | 288 => "[waits: accept]",
        7 | 23 | 270 | 271 => "[waits: poll]",
        232 | 281 | 441 => "[waits: epoll]",
        202 | 449 | 454 | 455 | 456 => "[waits: lock (futex)]",
        35 | 230 => "[waits: sleep]",
        34 | 128 | 130 => "[waits: signal]",
        61 | 247 => "[waits: child process]",
        74 | 75 | 162 | 277 | 306 => "[waits: disk (sync)]",
        2 | 4 | 5 | 6 | 78 | 82 | 83 | 84 | 87 | 217 | 257 | 262 | 263 | 332 => "[waits: disk (file system)]",
        208 | 333 | 426 => "[waits: async I/O]",
        73 => "[waits: file lock]",
        9 | 10 | 11 | 12 | 25 | 28 => "[waits: memory]",
        65 | 220 | 242 | 243 => "[waits: message queue]",
        _ => "[waits: other system call]",
    }
}

fn by_thing(link: Option<&str>, verb: &str) -> &'static str {
    match (link.map(thing), verb) {
        (Some(Thing::Socket), "read") => "[waits: socket read]",
        (Some(Thing::Socket), _) => "[waits: socket write]",
        (Some(Thing::Pipe), "read") => "[waits: pipe read]",
        (Some(Thing::Pipe), _) => "[waits: pipe write]",
        (Some(Thing::Terminal), _) => "[waits: terminal]",
        (Some(Thing::File), "read") => "[waits: disk read]",
        (Some(Thing::File), _) => "[waits: disk write]",
        (Some(Thing::Other) | None, "read") => "[waits: read]",
        (Some(Thing::Other) | None, _) => "[waits: write]",
    }
}

/// Where a thread waits in a futex: the address of the word.
pub(crate) fn futex_word(number: Option<u64>, first_argument: u64) -> Option<u64> {
    (number == Some(202)).then_some(first_argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_named_after_what_is_read() {
        let read = |link: &str| name(Some(0), || Some(link.to_owned()));
        assert_eq!(read("socket:[5]"), "[waits: socket read]");
        assert_eq!(read("pipe:[5]"), "[waits: pipe read]");
        assert_eq!(read("/data/table.db"), "[waits: disk read]");
        assert_eq!(read("anon_inode:[eventfd]"), "[waits: read]");
        assert_eq!(name(Some(1), || None), "[waits: write]");
    }

    #[test]
    fn a_wait_outside_of_system_calls_is_for_a_page() {
        assert_eq!(name(None, || None), "[waits: page]");
        assert_eq!(name(Some(232), || None), "[waits: epoll]");
    }
}
