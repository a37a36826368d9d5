//! speedscope's JSON: one profile per thread, weights in nanoseconds, the state as the outermost frame.

use crate::ledger::State;
use crate::stacks::Stacks;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Threads that are written, those with most time; the format has no place for thousands.
const MAX_THREADS: usize = 500;

/// The profile for <https://www.speedscope.app>.
#[must_use]
pub fn write(stacks: &Stacks) -> String {
    let states = State::ALL.iter().map(|state| json!({"name": state.name()}));
    let functions = stacks.frames.iter().map(|frame| {
        let mut value = json!({"name": stacks.strings.get(frame.function)});
        if !stacks.strings.get(frame.file).is_empty() {
            value["file"] = json!(stacks.strings.get(frame.file));
            value["line"] = json!(frame.line);
        }
        value
    });
    let frames: Vec<Value> = states.chain(functions).collect();
    let mut by_thread: BTreeMap<u32, (Vec<Vec<u64>>, Vec<u64>)> = BTreeMap::new();
    for cell in &stacks.cells {
        let (samples, weights) = by_thread.entry(cell.thread).or_default();
        let mut path = vec![cell.state.index() as u64];
        path.extend(stacks.path(cell.stack).iter().map(|frame| u64::from(*frame) + State::COUNT as u64));
        samples.push(path);
        weights.push(cell.weight_ns);
    }
    let total = |weights: &[u64]| weights.iter().fold(0_u64, |sum, w| sum.saturating_add(*w));
    let mut threads: Vec<_> = by_thread.into_iter().collect();
    threads.sort_by_key(|(thread, (_, weights))| (std::cmp::Reverse(total(weights)), *thread));
    threads.truncate(MAX_THREADS);
    let profiles: Vec<Value> = threads
        .into_iter()
        .map(|(thread, (samples, weights))| {
            let name = stacks
                .threads
                .get(thread as usize)
                .map_or(String::new(), |t| format!("{} ({})", t.name, t.tid));
            json!({"type": "sampled", "name": name, "unit": "nanoseconds", "startValue": 0,
                   "endValue": total(&weights), "samples": samples, "weights": weights})
        })
        .collect();
    json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": stacks.title,
        "exporter": "trimtab",
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": profiles,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::super::read_folded;
    use super::*;

    #[test]
    fn samples_point_to_frames_and_weights_sum() {
        let stacks = read_folded("blocked;main;recv 7\non CPU;main;work 5\n").unwrap();
        let value: Value = serde_json::from_str(&write(&stacks)).unwrap();
        let profile = &value["profiles"][0];
        assert_eq!(profile["endValue"], 12);
        let name = |at: &Value| value["shared"]["frames"][at.as_u64().unwrap() as usize]["name"].clone();
        let paths: Vec<Vec<Value>> = profile["samples"]
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_array().unwrap().iter().map(name).collect())
            .collect();
        assert!(paths.contains(&vec![json!("blocked"), json!("main"), json!("recv")]));
    }
}
