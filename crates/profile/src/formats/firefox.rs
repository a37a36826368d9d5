//! The Firefox Profiler's processed profile format, version 49, as `docs-developer/processed-profile-format.md` and the
//! type definitions of that project describe it. Newer versions of the tool upgrade it on loading. Weights are
//! milliseconds; the state of a sample is its category.

use crate::ledger::State;
use crate::stacks::{FrameKind, Stacks};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

const FORMAT: u32 = 49;
/// Threads that are written, those with most samples.
const MAX_THREADS: usize = 500;
const COLOURS: [&str; State::COUNT] = ["orange", "yellow", "blue", "purple"];

/// The profile for <https://profiler.firefox.com>.
#[must_use]
pub fn write(stacks: &Stacks) -> String {
    let mut by_thread: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, cell) in stacks.cells.iter().enumerate() {
        by_thread.entry(cell.thread).or_default().push(at);
    }
    let mut chosen: Vec<(u32, Vec<usize>)> = by_thread.into_iter().collect();
    chosen.sort_by_key(|(thread, cells)| (std::cmp::Reverse(cells.len()), *thread));
    chosen.truncate(MAX_THREADS);
    let threads: Vec<Value> =
        chosen.iter().map(|(thread, cells)| thread_value(stacks, *thread, cells)).collect();
    let categories: Vec<Value> = State::ALL
        .iter()
        .map(|s| json!({"name": s.name(), "color": COLOURS[s.index()], "subcategories": ["Other"]}))
        .collect();
    json!({
        "meta": {
            "version": 24, "preprocessedProfileVersion": FORMAT, "product": stacks.title, "processType": 0,
            "interval": stacks.window_ns as f64 / 1e6, "startTime": stacks.start_unix_ns as f64 / 1e6,
            "stackwalk": 1, "debug": false, "symbolicated": true, "categories": categories, "markerSchema": [],
        },
        "libs": [],
        "threads": threads,
        "pages": [],
        "counters": [],
    })
    .to_string()
}

#[derive(Default)]
struct Texts {
    all: Vec<String>,
    index: HashMap<String, usize>,
}

impl Texts {
    fn add(&mut self, text: &str) -> usize {
        if let Some(known) = self.index.get(text) {
            return *known;
        }
        self.all.push(text.to_owned());
        self.index.insert(text.to_owned(), self.all.len() - 1);
        self.all.len() - 1
    }
}

/// Columns of the tables of one thread.
#[derive(Default)]
struct Tables {
    texts: Texts,
    frames: HashMap<u32, usize>,
    frame_func: Vec<usize>,
    frame_line: Vec<Value>,
    func_name: Vec<usize>,
    func_js: Vec<bool>,
    func_file: Vec<Value>,
    stacks: HashMap<(u32, State), usize>,
    stack_prefix: Vec<Value>,
    stack_frame: Vec<usize>,
    stack_category: Vec<usize>,
}

impl Tables {
    fn frame(&mut self, stacks: &Stacks, index: u32) -> usize {
        if let Some(known) = self.frames.get(&index) {
            return *known;
        }
        let frame = stacks.frames.get(index as usize).copied().unwrap_or_default();
        let file = stacks.strings.get(frame.file);
        self.func_name.push(self.texts.add(stacks.strings.get(frame.function)));
        self.func_js.push(frame.kind == FrameKind::JavaScript);
        self.func_file.push(if file.is_empty() { Value::Null } else { json!(self.texts.add(file)) });
        self.frame_func.push(self.func_name.len() - 1);
        self.frame_line.push(if frame.line == 0 { Value::Null } else { json!(frame.line) });
        self.frames.insert(index, self.frame_func.len() - 1);
        self.frame_func.len() - 1
    }

    /// The row of a stack; its callers' rows are made first.
    fn stack(&mut self, stacks: &Stacks, stack: u32, state: State) -> Option<usize> {
        let mut chain = Vec::new();
        let mut at = stack;
        while at != 0 && !self.stacks.contains_key(&(at, state)) {
            chain.push(at);
            at = stacks.nodes.get(at as usize)?.parent;
        }
        for node in chain.into_iter().rev() {
            let parent = stacks.nodes.get(node as usize)?.parent;
            let prefix = self.stacks.get(&(parent, state)).map_or(Value::Null, |row| json!(row));
            let frame = self.frame(stacks, stacks.nodes.get(node as usize)?.frame);
            self.stack_prefix.push(prefix);
            self.stack_frame.push(frame);
            self.stack_category.push(state.index());
            self.stacks.insert((node, state), self.stack_frame.len() - 1);
        }
        self.stacks.get(&(stack, state)).copied()
    }
}

fn thread_value(stacks: &Stacks, thread: u32, cells: &[usize]) -> Value {
    let mut tables = Tables::default();
    let (mut rows, mut times, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for cell in cells.iter().filter_map(|at| stacks.cells.get(*at)) {
        rows.push(tables.stack(stacks, cell.stack, cell.state).map_or(Value::Null, |row| json!(row)));
        times.push(f64::from(cell.window) * stacks.window_ns as f64 / 1e6);
        weights.push(cell.weight_ns as f64 / 1e6);
    }
    let info = stacks.threads.get(thread as usize).cloned().unwrap_or_default();
    let same = |value: Value, count: usize| vec![value; count];
    let (frames, functions) = (tables.frame_func.len(), tables.func_name.len());
    json!({
        "name": info.name, "processName": stacks.title, "processType": "default", "isMainThread": info.pid == info.tid,
        "pid": info.pid.to_string(), "tid": info.tid, "pausedRanges": [],
        "processStartupTime": 0, "processShutdownTime": null,
        "registerTime": info.begin_ns as f64 / 1e6, "unregisterTime": info.end_ns as f64 / 1e6,
        "samples": {"length": rows.len(), "stack": rows, "time": times, "weight": weights, "weightType": "tracing-ms"},
        "markers": {"length": 0, "data": [], "name": [], "startTime": [], "endTime": [], "phase": [], "category": []},
        "stackTable": {
            "length": tables.stack_frame.len(), "prefix": tables.stack_prefix, "frame": tables.stack_frame,
            "subcategory": same(json!(0), tables.stack_frame.len()), "category": tables.stack_category,
        },
        "frameTable": {
            "length": frames, "func": tables.frame_func, "line": tables.frame_line,
            "address": same(json!(-1), frames), "inlineDepth": same(json!(0), frames),
            "category": same(Value::Null, frames), "subcategory": same(Value::Null, frames),
            "nativeSymbol": same(Value::Null, frames), "innerWindowID": same(json!(0), frames),
            "implementation": same(Value::Null, frames), "column": same(Value::Null, frames),
        },
        "funcTable": {
            "length": functions, "name": tables.func_name, "isJS": tables.func_js, "fileName": tables.func_file,
            "relevantForJS": same(json!(false), functions), "resource": same(json!(-1), functions),
            "lineNumber": same(Value::Null, functions), "columnNumber": same(Value::Null, functions),
        },
        "resourceTable": {"length": 0, "lib": [], "name": [], "host": [], "type": []},
        "nativeSymbols": {"length": 0, "libIndex": [], "address": [], "name": [], "functionSize": []},
        "stringArray": tables.texts.all,
    })
}

#[cfg(test)]
mod tests {
    use super::super::read_folded;
    use super::*;

    #[test]
    fn every_column_of_a_table_has_its_length_and_stacks_lead_to_names() {
        let stacks = read_folded("blocked;main;recv 7000000\non CPU;main;work 5000000\n").unwrap();
        let value: Value = serde_json::from_str(&write(&stacks)).unwrap();
        let thread = &value["threads"][0];
        for table in ["samples", "stackTable", "frameTable", "funcTable", "markers", "resourceTable"] {
            let length = thread[table]["length"].as_u64().unwrap();
            for column in thread[table].as_object().unwrap().values().filter_map(Value::as_array) {
                assert_eq!(column.len() as u64, length, "{table}");
            }
        }
        let number = |value: &Value| value.as_u64().unwrap() as usize;
        let stack = number(&thread["samples"]["stack"][0]);
        let frame = number(&thread["stackTable"]["frame"][stack]);
        let name = number(&thread["funcTable"]["name"][number(&thread["frameTable"]["func"][frame])]);
        assert!(["work", "recv"].contains(&thread["stringArray"][name].as_str().unwrap()));
        assert_eq!(thread["samples"]["weight"].as_array().unwrap().len(), 2);
    }
}
