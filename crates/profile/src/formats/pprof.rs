//! pprof's `profile.proto`, gzipped: the format of Go's tools, Pyroscope, Parca and Grafana. Fields are those of
//! `github.com/google/pprof/proto/profile.proto`.

use super::wire::{Message, Value, fields};
use super::{MAX_FILE_BYTES, with_ledgers};
use crate::ledger::State;
use crate::stacks::{Builder, Frame, FrameKind, Stacks, Thread};
use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;

/// Sample types of what we write, by [`State::index`].
const TYPES: [&str; State::COUNT] = ["on_cpu", "queued", "blocked", "gil_wait"];
const NANOSECONDS: &str = "nanoseconds";

/// The profile as gzipped pprof: one sample per thread and stack, one value per state in nanoseconds.
///
/// # Errors
/// Only where memory for packing cannot be had.
pub fn write(stacks: &Stacks) -> Result<Vec<u8>> {
    let plain = plain(stacks);
    let mut packed = Vec::new();
    GzEncoder::new(plain.as_slice(), Compression::default())
        .read_to_end(&mut packed)
        .context("could not pack")?;
    Ok(packed)
}

/// The same without packing.
pub(super) fn plain(stacks: &Stacks) -> Vec<u8> {
    let mut texts = Texts::default();
    let mut profile = Message::default();
    for name in TYPES {
        profile.bytes(1, &value_type(&mut texts, name, NANOSECONDS).0);
    }
    let mut samples: BTreeMap<(u32, u32), [u64; State::COUNT]> = BTreeMap::new();
    for cell in &stacks.cells {
        samples.entry((cell.thread, cell.stack)).or_default()[cell.state.index()] += cell.weight_ns;
    }
    for ((thread, stack), values) in &samples {
        profile.bytes(2, &sample(stacks, *thread, *stack, values, &mut texts).0);
    }
    let mut functions: HashMap<(model::Sym, model::Sym), u64> = HashMap::new();
    let mut function_messages = Vec::new();
    for (at, frame) in stacks.frames.iter().enumerate() {
        let next = functions.len() as u64 + 1;
        let function = *functions.entry((frame.function, frame.file)).or_insert_with(|| {
            let mut message = Message::default();
            let name = texts.index(stacks.strings.get(frame.function));
            message.number(1, next);
            message.number(2, name);
            message.number(3, name);
            message.number(4, texts.index(stacks.strings.get(frame.file)));
            function_messages.push(message.0);
            next
        });
        let mut line = Message::default();
        line.number(1, function);
        line.number(2, u64::from(frame.line));
        let mut location = Message::default();
        location.number(1, at as u64 + 1);
        location.bytes(4, &line.0);
        profile.bytes(4, &location.0);
    }
    for message in function_messages {
        profile.bytes(5, &message);
    }
    let default = texts.index(TYPES[0]);
    let period = value_type(&mut texts, TYPES[0], NANOSECONDS);
    for text in &texts.all {
        profile.bytes(6, text.as_bytes());
    }
    profile.number(9, stacks.start_unix_ns);
    profile.number(10, stacks.wall_ns);
    profile.bytes(11, &period.0);
    profile.number(12, 1);
    profile.number(14, default);
    profile.0
}

#[derive(Default)]
struct Texts {
    all: Vec<String>,
    index: HashMap<String, u64>,
}

impl Texts {
    /// Index 0 is the empty text, as the format demands.
    fn index(&mut self, text: &str) -> u64 {
        if self.all.is_empty() {
            self.all.push(String::new());
            self.index.insert(String::new(), 0);
        }
        if let Some(known) = self.index.get(text) {
            return *known;
        }
        let index = self.all.len() as u64;
        self.all.push(text.to_owned());
        self.index.insert(text.to_owned(), index);
        index
    }
}

fn value_type(texts: &mut Texts, kind: &str, unit: &str) -> Message {
    let mut message = Message::default();
    message.number(1, texts.index(kind));
    message.number(2, texts.index(unit));
    message
}

fn sample(stacks: &Stacks, thread: u32, stack: u32, values: &[u64], texts: &mut Texts) -> Message {
    let mut message = Message::default();
    let path: Vec<u64> = stacks.path(stack).iter().rev().map(|frame| u64::from(*frame) + 1).collect();
    message.packed(1, &path);
    message.packed(2, values);
    if let Some(thread) = stacks.threads.get(thread as usize) {
        let mut name = Message::default();
        name.number(1, texts.index("thread"));
        name.number(2, texts.index(&thread.name));
        message.bytes(3, &name.0);
        let mut tid = Message::default();
        tid.number(1, texts.index("thread_id"));
        tid.number(3, u64::from(thread.tid));
        message.bytes(3, &tid.0);
    }
    message
}

/// A file as its messages lie there, numbers not yet looked up.
#[derive(Default)]
struct File<'a> {
    types: Vec<(u64, u64)>,
    samples: Vec<Sample>,
    locations: HashMap<u64, Location>,
    functions: HashMap<u64, (u64, u64)>,
    mappings: HashMap<u64, u64>,
    texts: Vec<&'a [u8]>,
    time_ns: u64,
    duration_ns: u64,
    period: u64,
    period_unit: u64,
    default_type: u64,
}

#[derive(Default)]
struct Location {
    id: u64,
    mapping: u64,
    /// Functions and lines, the innermost first.
    lines: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Sample {
    locations: Vec<u64>,
    values: Vec<u64>,
    /// Name and text of labels.
    labels: Vec<(u64, u64, u64)>,
}

/// Reads pprof, gzipped or plain. Files of Trimtab keep their states; of others, one sample type is taken: the default
/// one, else one in time, else the last; delays (Go's block and mutex profiles) count as blocked.
///
/// # Errors
/// It is no pprof, damaged, or unpacks to more than [`MAX_FILE_BYTES`].
pub fn read(bytes: &[u8]) -> Result<Stacks> {
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let limit = MAX_FILE_BYTES as u64 + 1;
        GzDecoder::new(bytes)
            .take(limit)
            .read_to_end(&mut unpacked)
            .context("could not unpack the profile")?;
        ensure!(
            unpacked.len() <= MAX_FILE_BYTES,
            "the profile unpacks to more than {} MiB",
            MAX_FILE_BYTES >> 20
        );
        unpacked.as_slice()
    } else {
        bytes
    };
    let file = parse(bytes).context("could not read the profile as pprof")?;
    ensure!(!file.types.is_empty(), "the profile is no pprof: it has no sample types");
    Ok(build(&file))
}

fn parse(bytes: &[u8]) -> Result<File<'_>> {
    let mut file = File::default();
    fields(bytes, |field, value| {
        match field {
            1 => file.types.push(two(value.bytes())?),
            2 => file.samples.push(parse_sample(value.bytes())?),
            3 => {
                let (mut id, mut name) = (0, 0);
                fields(value.bytes(), |field, value| {
                    match field {
                        1 => id = value.number(),
                        5 => name = value.number(),
                        _ => {}
                    }
                    Ok(())
                })?;
                file.mappings.insert(id, name);
            }
            4 => {
                let location = parse_location(value.bytes())?;
                file.locations.insert(location.id, location);
            }
            5 => {
                let (mut id, mut name, mut source) = (0, 0, 0);
                fields(value.bytes(), |field, value| {
                    match field {
                        1 => id = value.number(),
                        2 => name = value.number(),
                        4 => source = value.number(),
                        _ => {}
                    }
                    Ok(())
                })?;
                file.functions.insert(id, (name, source));
            }
            6 => file.texts.push(value.bytes()),
            9 => file.time_ns = value.number(),
            10 => file.duration_ns = value.number(),
            11 => file.period_unit = two(value.bytes())?.1,
            12 => file.period = value.number(),
            14 => file.default_type = value.number(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(file)
}

/// Fields 1 and 2 of a small message.
fn two(bytes: &[u8]) -> Result<(u64, u64)> {
    let mut pair = (0, 0);
    fields(bytes, |field, value| {
        match field {
            1 => pair.0 = value.number(),
            2 => pair.1 = value.number(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(pair)
}

fn parse_sample(bytes: &[u8]) -> Result<Sample> {
    let mut sample = Sample::default();
    fields(bytes, |field, value| {
        match field {
            1 => value.numbers(&mut sample.locations)?,
            2 => value.numbers(&mut sample.values)?,
            3 => {
                let (mut key, mut text, mut number) = (0, 0, 0);
                fields(value.bytes(), |field, value: Value<'_>| {
                    match field {
                        1 => key = value.number(),
                        2 => text = value.number(),
                        3 => number = value.number(),
                        _ => {}
                    }
                    Ok(())
                })?;
                sample.labels.push((key, text, number));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(sample)
}

fn parse_location(bytes: &[u8]) -> Result<Location> {
    let mut location = Location::default();
    fields(bytes, |field, value| {
        match field {
            1 => location.id = value.number(),
            2 => location.mapping = value.number(),
            4 => location.lines.push(two(value.bytes())?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(location)
}

impl File<'_> {
    fn text(&self, index: u64) -> String {
        let bytes =
            usize::try_from(index).ok().and_then(|at| self.texts.get(at)).copied().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Nanoseconds that one unit stands for.
    fn factor(&self, unit: &str) -> Option<u64> {
        match unit {
            "nanoseconds" | "ns" => Some(1),
            "microseconds" | "us" => Some(1000),
            "milliseconds" | "ms" => Some(1_000_000),
            "seconds" | "s" => Some(1_000_000_000),
            _ => None,
        }
    }

    /// Which values count, as what, and nanoseconds per unit.
    fn columns(&self) -> Vec<(usize, State, u64)> {
        let types: Vec<(String, String)> =
            self.types.iter().map(|(kind, unit)| (self.text(*kind), self.text(*unit))).collect();
        let ours = TYPES.iter().all(|name| types.iter().any(|(kind, _)| kind == name));
        if ours {
            let column = |(at, state): (usize, State)| {
                Some((types.iter().position(|(kind, _)| kind == TYPES[at])?, state, 1))
            };
            return State::ALL.into_iter().enumerate().filter_map(column).collect();
        }
        let default = self.text(self.default_type);
        let wanted = types
            .iter()
            .position(|(kind, _)| !default.is_empty() && *kind == default)
            .or_else(|| types.iter().rposition(|(_, unit)| self.factor(unit).is_some()))
            .unwrap_or(types.len() - 1);
        let (kind, unit) = &types[wanted];
        let state = if kind == "delay" { State::Blocked } else { State::Running };
        let per_sample = self.factor(&self.text(self.period_unit)).map(|f| f.saturating_mul(self.period));
        let factor = self.factor(unit).or(per_sample.filter(|ns| *ns > 0 && unit == "count")).unwrap_or(1);
        vec![(wanted, state, factor)]
    }
}

fn build(file: &File<'_>) -> Stacks {
    let mut builder = Builder::default();
    let mut threads: HashMap<(String, u64), u32> = HashMap::new();
    let columns = file.columns();
    for sample in &file.samples {
        let label =
            |name: &[&str]| sample.labels.iter().find(|(key, ..)| name.contains(&file.text(*key).as_str()));
        let name = label(&["thread", "thread_name"]).map_or(String::new(), |(_, text, _)| file.text(*text));
        let tid = label(&["thread_id", "tid"]).map_or(0, |(_, _, number)| *number);
        let thread = *threads.entry((name.clone(), tid)).or_insert_with(|| {
            let tid = u32::try_from(tid).unwrap_or(0);
            builder.thread(Thread { tid, name, ..Thread::default() })
        });
        let mut stack = 0;
        for location in sample.locations.iter().rev() {
            let Some(Location { mapping, lines, .. }) = file.locations.get(location) else { continue };
            for (depth, (function, line)) in lines.iter().rev().enumerate() {
                let (name, source) = file.functions.get(function).copied().unwrap_or_default();
                let name = file.text(name);
                let module = file.mappings.get(mapping).map_or(String::new(), |m| file.text(*m));
                let frame = Frame {
                    kind: if name.starts_with("[waits: ") { FrameKind::Label } else { FrameKind::Native },
                    function: builder.text(&name),
                    module: builder.text(&module),
                    file: builder.text(&file.text(source)),
                    line: u32::try_from(*line).unwrap_or(0),
                    inlined: depth > 0,
                };
                let frame = builder.frame(frame);
                stack = builder.push(stack, frame);
            }
        }
        for (at, state, factor) in &columns {
            let value = sample.values.get(*at).map_or(0, |value| value.cast_signed().max(0).cast_unsigned());
            builder.add(0, thread, stack, *state, value.saturating_mul(*factor));
        }
    }
    let facts = builder.facts();
    (facts.start_unix_ns, facts.wall_ns) = (file.time_ns, file.duration_ns);
    with_ledgers(builder)
}

#[cfg(test)]
mod tests {
    use super::super::{read_folded, write_folded};
    use super::*;

    #[test]
    fn what_is_written_is_read_again_with_its_states() {
        let text = "blocked;main;recv;[waits: socket read] 7\non CPU;main;work 5\nqueued for a CPU;main 1\n";
        let stacks = read_folded(text).unwrap();
        let again = read(&write(&stacks).unwrap()).unwrap();
        assert_eq!(write_folded(&again), text);
        assert_eq!(again.threads[0].name, "all threads");
    }

    #[test]
    fn a_profile_of_samples_is_counted_in_periods() {
        let mut texts = Texts::default();
        let mut profile = Message::default();
        profile.bytes(1, &value_type(&mut texts, "samples", "count").0);
        let mut sample = Message::default();
        sample.packed(2, &[3]);
        profile.bytes(2, &sample.0);
        profile.bytes(11, &value_type(&mut texts, "cpu", "milliseconds").0);
        profile.number(12, 10);
        texts.all.iter().for_each(|text| profile.bytes(6, text.as_bytes()));
        assert_eq!(read(&profile.0).unwrap().weight_ns(), 30_000_000);
    }

    #[test]
    fn other_bytes_are_refused_with_a_reason() {
        let error = format!("{:#}", read(&[0xff; 40]).unwrap_err());
        assert!(error.contains("pprof"), "{error}");
    }
}
