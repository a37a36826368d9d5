//! Folded stacks: a line per stack, frames from the root joined by `;`, a space, a number. The first frame is the state;
//! numbers are nanoseconds. Files of other tools have neither: all their time then counts as on CPU.

use super::{only_thread, with_ledgers};
use crate::ledger::State;
use crate::stacks::{Builder, FrameKind, Stacks};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The profile as folded stacks, sorted. `;` and line ends within names become `:` and spaces.
#[must_use]
pub fn write(stacks: &Stacks) -> String {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (stack, weights) in stacks.totals() {
        let path = stacks.path(stack);
        for state in State::ALL.into_iter().filter(|state| weights[state.index()] > 0) {
            let mut line = state.name().to_owned();
            for frame in &path {
                line.push(';');
                line.extend(stacks.function(*frame).chars().map(plain));
            }
            *lines.entry(line).or_default() += weights[state.index()];
        }
    }
    let mut out = String::new();
    for (line, weight) in lines {
        // Writing to a string does not fail.
        let _infallible = writeln!(out, "{line} {weight}");
    }
    out
}

fn plain(c: char) -> char {
    match c {
        ';' => ':',
        c if c.is_control() => ' ',
        c => c,
    }
}

/// Reads folded stacks.
///
/// # Errors
/// A line without a number, named by its position.
pub fn read(text: &str) -> Result<Stacks> {
    let mut builder = Builder::default();
    let thread = only_thread(&mut builder, "all threads");
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = at + 1;
        let (path, weight) = line
            .trim_end()
            .rsplit_once(' ')
            .with_context(|| format!("line {number} has no number at its end"))?;
        let weight: f64 =
            weight.parse().with_context(|| format!("line {number}: `{weight}` is no number of samples"))?;
        ensure!(weight.is_finite() && weight >= 0.0, "line {number}: `{weight}` is no number of samples");
        let first = path.split(';').next().unwrap_or_default();
        let state = State::ALL.into_iter().find(|state| state.name() == first);
        let frames = path.split(';').skip(usize::from(state.is_some())).filter(|frame| !frame.is_empty());
        let stack = frames.fold(0, |below, name| {
            let label = name.starts_with("[waits: ") || name == "[not sampled]";
            let frame = builder.named(if label { FrameKind::Label } else { FrameKind::Native }, name);
            builder.push(below, frame)
        });
        builder.add(0, thread, stack, state.unwrap_or(State::Running), weight as u64);
    }
    Ok(with_ledgers(builder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "blocked;main;recv;[waits: socket read] 7\non CPU;main;work 5\nqueued for a CPU;main 1\n";
        assert_eq!(write(&read(text).unwrap()), text);
    }

    #[test]
    fn a_file_of_another_tool_counts_as_on_cpu_and_a_bad_line_is_named() {
        let stacks = read("java;a b;c 3\n").unwrap();
        assert_eq!(write(&stacks), "on CPU;java;a b;c 3\n");
        assert!(read("a 1\nb\n").unwrap_err().to_string().contains("line 2"));
        assert!(read("a -1\n").is_err());
    }
}
