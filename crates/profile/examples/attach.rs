//! The profiler alone, for measuring it: `attach PID SECONDS [SAMPLES_PER_S]` prints the figures of the profile.

use profile::summary::{summarize, text};
use profile::{Options, Session, Target};
use std::io::Write;
use std::time::Duration;

/// Functions in the text.
const ROWS: usize = 12;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let (pid, seconds) = (arguments.next().unwrap_or(0), arguments.next().unwrap_or(10));
    let usual = Options::default();
    let period_ns = arguments.next().map_or(usual.period_ns, |rate| 1_000_000_000 / u64::from(rate.max(1)));
    let mut session = Session::attach(Target::Process(pid), Options { period_ns, ..usual })?;
    session.run(Some(Duration::from_secs(u64::from(seconds))), &|| false, &mut |_| {});
    let stacks = session.finish(0);
    let shown = text(&stacks, &summarize(&stacks), ROWS);
    std::io::stdout().write_all(shown.as_bytes())?;
    Ok(())
}
