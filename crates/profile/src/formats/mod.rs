//! Profiles as files of other tools: written as folded stacks, SVG, pprof, speedscope and Firefox Profiler JSON; read
//! from folded stacks, `perf script`, pprof and `.cpuprofile`. Files come from anywhere: all sizes are bounded.

mod cpuprofile;
mod firefox;
mod folded;
mod perf_script;
mod pprof;
mod speedscope;
mod svg;
mod wire;

pub use cpuprofile::read as read_cpuprofile;
pub(crate) use cpuprofile::{CallFrame, CpuProfile};
pub use firefox::write as write_firefox;
pub use folded::{read as read_folded, write as write_folded};
pub use perf_script::read as read_perf_script;
pub use pprof::{read as read_pprof, write as write_pprof};
pub use speedscope::write as write_speedscope;
pub use svg::write as write_svg;

use crate::ledger::{Ledger, State};
use crate::stacks::{Builder, Stacks, Thread};
use anyhow::{Context, Result, ensure};

/// Bytes of a profile file that are read, and of what it unpacks to.
pub const MAX_FILE_BYTES: usize = 1 << 30;

/// Reads a profile of any known format, told by its first bytes.
///
/// # Errors
/// The file is too large, of no known format, or damaged; the message says which and where.
pub fn read(bytes: &[u8]) -> Result<Stacks> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    ensure!(bytes.len() <= MAX_FILE_BYTES, "the profile is larger than {} MiB", MAX_FILE_BYTES >> 20);
    ensure!(!bytes.is_empty(), "the profile is empty");
    if bytes.starts_with(&GZIP) {
        return read_pprof(bytes);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        _ => return read_pprof(bytes),
    };
    let start = text.trim_start();
    if start.starts_with('{') {
        return read_cpuprofile(text);
    }
    if perf_script::looks_like(text) {
        return read_perf_script(text);
    }
    read_folded(text).context("the profile is neither pprof, .cpuprofile nor `perf script` text, and as folded stacks it is damaged")
}

/// Whether the beginning of a file is that of a profile in text: `perf script`, `.cpuprofile`, folded stacks. Packed
/// ones have nothing that tells them from other packed files.
#[must_use]
pub fn looks_like_one(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start();
    if text.starts_with('{') {
        return text.contains("\"callFrame\"") && text.contains("\"nodes\"");
    }
    if perf_script::looks_like(text) {
        return true;
    }
    let is_folded = |line: &str| {
        line.rsplit_once(' ').is_some_and(|(stack, weight)| {
            stack.contains(';') && !weight.is_empty() && weight.bytes().all(|b| b.is_ascii_digit())
        })
    };
    // The last line may be cut.
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).take(5).collect();
    !lines.is_empty() && lines.iter().all(|line| is_folded(line))
}

/// Gives the threads of a profile that was read from a file the ledger that its weights make.
fn with_ledgers(builder: Builder) -> Stacks {
    let mut stacks = builder.finish();
    let mut ledgers = vec![Ledger::default(); stacks.threads.len()];
    for cell in &stacks.cells {
        let Some(ledger) = ledgers.get_mut(cell.thread as usize) else { continue };
        let part = match cell.state {
            State::Running => &mut ledger.running_ns,
            State::Queued => &mut ledger.queued_ns,
            State::Blocked | State::GilWait => &mut ledger.blocked_ns,
        };
        *part = part.saturating_add(cell.weight_ns);
        ledger.wall_ns = ledger.wall_ns.saturating_add(cell.weight_ns);
    }
    for (thread, ledger) in stacks.threads.iter_mut().zip(ledgers) {
        thread.ledger = ledger;
        if thread.end_ns == 0 {
            thread.end_ns = ledger.wall_ns;
        }
    }
    if stacks.wall_ns == 0 {
        stacks.wall_ns = stacks.threads.iter().map(|t| t.ledger.wall_ns).max().unwrap_or(0);
    }
    stacks
}

/// The one thread of a file that knows no threads.
fn only_thread(builder: &mut Builder, name: &str) -> u32 {
    builder.thread(Thread { name: name.to_owned(), ..Thread::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn seeds() -> Vec<Vec<u8>> {
        let stacks = read_folded("on CPU;main;a;b 10\nblocked;main;[waits: sleep] 90\n").unwrap();
        vec![
            write_folded(&stacks).into_bytes(),
            write_pprof(&stacks).unwrap(),
            pprof::plain(&stacks),
            include_bytes!("../../testdata/small.cpuprofile").to_vec(),
            include_bytes!("../../testdata/perf-script.txt").to_vec(),
        ]
    }

    #[test]
    fn texts_of_profilers_are_told_from_other_texts() {
        let texts: Vec<bool> = seeds().iter().map(|seed| looks_like_one(seed)).collect();
        assert_eq!(texts, [true, false, false, true, true]);
        for other in ["{\"resourceSpans\":[]}", "127.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 12", "", "a;b"] {
            assert!(!looks_like_one(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn each_format_is_recognized() {
        for seed in seeds() {
            assert!(read(&seed).unwrap().weight_ns() > 0);
        }
    }

    #[test]
    fn damaged_files_are_an_error_or_a_profile() {
        let mut chance = Xoshiro256PlusPlus::seed_from_u64(5);
        for seed in seeds() {
            for _ in 0..2000 {
                let mut bytes = seed.clone();
                for _ in 0..chance.random_range(1..8) {
                    let at = chance.random_range(0..bytes.len());
                    bytes[at] = chance.random();
                }
                if chance.random_bool(0.3) {
                    bytes.truncate(chance.random_range(0..bytes.len()));
                }
                if let Ok(stacks) = read(&bytes) {
                    let _written = (write_folded(&stacks), write_svg(&stacks), write_pprof(&stacks).unwrap());
                    let _summed = crate::summary::summarize(&stacks);
                }
            }
        }
    }
}
