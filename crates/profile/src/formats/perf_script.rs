//! The text of `perf script`: a head line per sample, an indented line per frame, leaf first, an empty line.

use super::with_ledgers;
use crate::ledger::State;
use crate::stacks::{Builder, Frame, FrameKind, Stacks, Thread};
use anyhow::{Result, ensure};
use std::collections::HashMap;

/// Head and first frame of a sample are there.
pub(super) fn looks_like(text: &str) -> bool {
    let mut lines =
        text.lines().filter(|line| !line.starts_with('#')).skip_while(|line| line.trim().is_empty());
    lines.next().is_some_and(|line| head(line).is_some())
}

struct Head<'a> {
    name: &'a str,
    pid: u32,
    tid: u32,
    time_ns: u64,
    weight: u64,
    event: &'a str,
}

/// `name pid/tid [cpu] seconds: period event:` where cpu, pid and period may be missing and the name may have spaces.
fn head(line: &str) -> Option<Head<'_>> {
    if line.starts_with(char::is_whitespace) && line.trim_start().split(' ').next().is_some_and(is_address) {
        return None;
    }
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| seconds(word).is_some())?;
    let before = &words[..at];
    let ids_at = before.iter().rposition(|word| ids(word).is_some())?;
    let (pid, tid) = ids(before[ids_at])?;
    let name = line[..line.find(before[ids_at])?].trim();
    let rest = &words[at + 1..];
    let weight = rest.first().and_then(|word| word.parse().ok());
    let event = rest.get(usize::from(weight.is_some())).copied().unwrap_or_default();
    Some(Head { name, pid, tid, time_ns: seconds(words[at])?, weight: weight.unwrap_or(1), event })
}

fn is_address(word: &str) -> bool {
    word.len() >= 4 && word.bytes().all(|b| b.is_ascii_hexdigit())
}

fn seconds(word: &str) -> Option<u64> {
    let (whole, part) = word.strip_suffix(':')?.split_once('.')?;
    let digits = part.len();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let part: u64 = part.parse().ok()?;
    let part = part * 10_u64.pow(9 - u32::try_from(digits).ok()?);
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(part)
}

fn ids(word: &str) -> Option<(u32, u32)> {
    match word.split_once('/') {
        Some((pid, tid)) => Some((pid.parse().ok()?, tid.parse().ok()?)),
        None => word.parse().ok().map(|tid| (0, tid)),
    }
}

/// `address symbol+0x1f (module)`.
fn frame(line: &str, builder: &mut Builder) -> Option<u32> {
    let (address, rest) = line.trim().split_once(' ')?;
    if !is_address(address) {
        return None;
    }
    let (symbol, module) = match rest.rsplit_once(" (") {
        Some((symbol, module)) => (symbol, module.trim_end_matches(')')),
        None => (rest, ""),
    };
    let symbol = match symbol.rsplit_once("+0x") {
        Some((name, offset)) if offset.bytes().all(|b| b.is_ascii_hexdigit()) => name,
        _ => symbol,
    };
    let kernel = module.starts_with("[kernel") || module.starts_with("[guest.kernel");
    let kind = if kernel { FrameKind::Kernel } else { FrameKind::Native };
    let (function, module) = (builder.text(symbol.trim()), builder.text(module));
    Some(builder.frame(Frame { kind, function, module, ..Frame::default() }))
}

/// Reads the text of `perf script`. Weights of clock events are nanoseconds; of others, whatever the event counts.
///
/// # Errors
/// There is no sample in it.
pub fn read(text: &str) -> Result<Stacks> {
    let mut builder = Builder::default();
    let mut threads: HashMap<(u32, u32), u32> = HashMap::new();
    let mut lines = text.lines().peekable();
    let (mut samples, mut first_ns) = (0_u64, None);
    while let Some(line) = lines.next() {
        let Some(head) = head(line) else { continue };
        let mut frames = Vec::new();
        while let Some(line) =
            lines.next_if(|line| line.starts_with(char::is_whitespace) && !line.trim().is_empty())
        {
            frames.extend(frame(line, &mut builder));
        }
        let thread = *threads.entry((head.pid, head.tid)).or_insert_with(|| {
            builder.thread(Thread {
                pid: head.pid,
                tid: head.tid,
                name: head.name.to_owned(),
                ..Thread::default()
            })
        });
        let stack = frames.iter().rev().fold(0, |below, frame| builder.push(below, *frame));
        let began = *first_ns.get_or_insert(head.time_ns);
        let state = if head.event.contains("sched_switch") { State::Blocked } else { State::Running };
        builder.add(head.time_ns.saturating_sub(began), thread, stack, state, head.weight);
        samples += 1;
    }
    ensure!(samples > 0, "there is no sample in the text: is it the output of `perf script`?");
    Ok(with_ledgers(builder))
}

#[cfg(test)]
mod tests {
    use super::super::write_folded;
    use super::*;

    #[test]
    fn names_with_spaces_periods_and_offsets_are_read() {
        let stacks = read(include_str!("../../testdata/perf-script.txt")).unwrap();
        let expected = "on CPU;_start;main;work<T: Copy> 10101010\non CPU;entry_SYSCALL_64;vfs_read 1\n";
        assert_eq!(write_folded(&stacks), expected);
        assert_eq!((stacks.threads[0].name.as_str(), stacks.threads[0].tid), ("my server", 1235));
    }

    #[test]
    fn text_without_samples_is_an_error() {
        assert!(read("hello\nworld\n").is_err());
        assert!(!looks_like("a;b;c 10\n"));
    }
}
