//! V8's `.cpuprofile`, as Chrome and Node write it. V8 samples by the clock: what it calls idle counts as blocked, all
//! else as on CPU, though some of it was waiting for one.

use super::{only_thread, with_ledgers};
use crate::ledger::State;
use crate::stacks::{Builder, Frame, FrameKind, Stacks};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::HashMap;

/// A `.cpuprofile`, checked.
pub(crate) struct CpuProfile {
    parents: HashMap<u64, u64>,
    frames: HashMap<u64, CallFrame>,
    /// When it began, microseconds of V8's monotonic clock.
    pub(crate) start_us: u64,
    /// Node and microseconds of each sample: a sample lasts until the next one.
    pub(crate) samples: Vec<(u64, u64)>,
}

/// One function of a `.cpuprofile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallFrame {
    pub(crate) function: String,
    pub(crate) url: String,
    /// From 1 on; 0 where unknown.
    pub(crate) line: u32,
}

impl CpuProfile {
    pub(crate) fn new(profile: &Value) -> Result<Self> {
        let nodes =
            profile["nodes"].as_array().context("the profile has no `nodes`: it is no .cpuprofile")?;
        let mut checked = Self {
            parents: HashMap::new(),
            frames: HashMap::new(),
            start_us: profile["startTime"].as_u64().unwrap_or(0),
            samples: samples(profile),
        };
        for (at, node) in nodes.iter().enumerate() {
            let id = node["id"].as_u64().with_context(|| format!("node {at} has no `id`"))?;
            for child in node["children"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
                checked.parents.insert(child, id);
            }
            if let Some(parent) = node["parent"].as_u64() {
                checked.parents.insert(id, parent);
            }
            checked.frames.insert(id, call_frame(&node["callFrame"]));
        }
        ensure!(
            !checked.samples.is_empty(),
            "the profile has no `samples`: it is no .cpuprofile, or an empty one"
        );
        Ok(checked)
    }

    /// The frames of a node, root first, without `(root)`.
    pub(crate) fn path(&self, id: u64) -> Vec<&CallFrame> {
        let mut path = Vec::new();
        let mut at = Some(id);
        for _ in 0..crate::stacks::MAX_DEPTH {
            let Some(id) = at else { break };
            path.extend(self.frames.get(&id).filter(|frame| frame.function != "(root)"));
            at = self.parents.get(&id).copied();
        }
        path.reverse();
        path
    }

    /// V8 had nothing to do. Names in round brackets are no functions: `(root)`, `(idle)`, `(program)`.
    pub(crate) fn is_idle(&self, id: u64) -> bool {
        self.frames.get(&id).is_some_and(|frame| frame.function == "(idle)")
    }
}

fn call_frame(value: &Value) -> CallFrame {
    let name = value["functionName"].as_str().unwrap_or_default();
    let line = value["lineNumber"].as_i64().map_or(0, |line| u32::try_from(line + 1).unwrap_or(0));
    CallFrame {
        function: if name.is_empty() { "(anonymous)".to_owned() } else { name.to_owned() },
        url: value["url"].as_str().unwrap_or_default().to_owned(),
        line,
    }
}

fn samples(profile: &Value) -> Vec<(u64, u64)> {
    let numbers = |name: &str| profile[name].as_array().cloned().unwrap_or_default();
    let ids: Vec<u64> = numbers("samples").iter().filter_map(Value::as_u64).collect();
    let deltas: Vec<i64> = numbers("timeDeltas").iter().map(|v| v.as_i64().unwrap_or(0)).collect();
    // The first delta lies before the first sample; the last sample is taken to last as long as the one before.
    let last = deltas.last().copied().unwrap_or(0);
    let until_next = deltas.into_iter().skip(1).chain([last]);
    ids.into_iter().zip(until_next.map(|us| us.max(0).cast_unsigned())).collect()
}

/// Reads a `.cpuprofile`.
///
/// # Errors
/// It is no JSON or has no nodes or samples.
pub fn read(text: &str) -> Result<Stacks> {
    let profile: Value = serde_json::from_str(text).context("could not read the profile as JSON")?;
    let profile = CpuProfile::new(&profile)?;
    let mut builder = Builder::default();
    let thread = only_thread(&mut builder, "JavaScript");
    let mut stacks: HashMap<u64, (u32, State)> = HashMap::new();
    let mut at_ns = 0_u64;
    for (id, us) in &profile.samples {
        let (stack, state) = *stacks.entry(*id).or_insert_with(|| {
            let path = profile.path(*id);
            let stack = path.iter().fold(0, |below, frame| {
                let frame = value(frame, &mut builder);
                builder.push(below, frame)
            });
            (stack, if profile.is_idle(*id) { State::Blocked } else { State::Running })
        });
        let weight_ns = us.saturating_mul(1000);
        builder.add(at_ns, thread, stack, state, weight_ns);
        at_ns = at_ns.saturating_add(weight_ns);
    }
    Ok(with_ledgers(builder))
}

fn value(frame: &CallFrame, builder: &mut Builder) -> u32 {
    let (function, file) = (builder.text(&frame.function), builder.text(&frame.url));
    builder.frame(Frame { kind: FrameKind::JavaScript, function, file, line: frame.line, ..Frame::default() })
}

#[cfg(test)]
mod tests {
    use super::super::write_folded;
    use super::*;

    #[test]
    fn idle_time_is_blocked_and_each_sample_lasts_until_the_next() {
        let text = include_str!("../../testdata/small.cpuprofile");
        let expected = "blocked;(idle) 3000000\non CPU;handle;fib 3000000\n";
        assert_eq!(write_folded(&read(text).unwrap()), expected);
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let text =
            r#"{"nodes":[{"id":1,"children":[2]},{"id":2,"children":[1]}],"samples":[1],"timeDeltas":[5]}"#;
        assert!(read(text).is_ok());
        assert!(read("{}").unwrap_err().to_string().contains("nodes"));
    }
}
