//! Trace and metric files: OTLP as JSON lines, JSON or protobuf, Jaeger's and Zipkin's JSON, plain, gzip or zstd.
//! The kind is told by the content, never by the name. Files are read in pieces, whatever their size: beyond the memory
//! for spans a sample of whole traces is kept.

mod document;
mod jaeger;
mod json;
mod protobuf;
mod source;
mod zipkin;

use crate::intake::{Batch, Intake};
use anyhow::{Context, Result, bail, ensure};
use source::Source;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes that spans may hold; judging them takes as much again. Ten million spans of 20 attributes exceed it.
const MAX_RESIDENT_BYTES: usize = 1 << 30;
/// Bytes looked at and kept at a time; grows for a longer line or message.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes of one line of JSON or one message of protobuf that are held at a time.
const MAX_PIECE_BYTES: usize = 128 << 20;

/// Reads files in the given order. Beside `X.jsonl.gz`, a file `X.metrics.jsonl.gz` is read as well. Lines that
/// cannot be read are counted in the report, as is what is missing of a file that breaks off; the rest is kept.
///
/// # Errors
/// A file cannot be opened, or is none of the kinds that we know; none of the files holds a span. The message names
/// the file.
pub fn read(paths: &[PathBuf]) -> Result<Batch> {
    read_within(paths, MAX_RESIDENT_BYTES)
}

/// As [`read`], with spans holding at most about so many bytes: beyond, whole traces are left out, the same share of
/// each endpoint and latency band; the report says how many.
///
/// # Errors
/// As [`read`].
pub fn read_within(paths: &[PathBuf], max_resident_bytes: usize) -> Result<Batch> {
    let mut intake = Intake::sampling_above(max_resident_bytes);
    let mut empty = Vec::new();
    for path in paths {
        let before = Held::of(&intake);
        read_file(path, &mut intake)?;
        if !before.has_more(&Held::of(&intake)) {
            empty.push(path);
        }
        let beside = metrics_beside(path);
        if let Some(beside) = beside.filter(|beside| beside.is_file() && !paths.contains(beside)) {
            read_file(&beside, &mut intake)?;
        }
    }
    if intake.report.spans == 0 {
        bail!("{}", nothing(paths, &intake));
    }
    for path in empty {
        intake.report.lost(format!("{} holds no spans", name_of(path)));
    }
    Ok(intake.take())
}

/// Reads traces that came as one body: OTLP as JSON or protobuf, Jaeger's or Zipkin's JSON. `name` is for messages.
///
/// # Errors
/// It is none of them.
pub fn read_body(body: &[u8], name: &str, intake: &mut Intake) -> Result<()> {
    add(&mut &*body, name, intake)
}

/// What an intake holds, to tell whether a file gave anything.
#[derive(PartialEq)]
struct Held(u64, u64, u64);

impl Held {
    fn of(intake: &Intake) -> Self {
        Self(intake.report.spans, intake.report.points, intake.report.log_records)
    }

    fn has_more(&self, later: &Self) -> bool {
        self != later
    }
}

/// Why no file gave a span.
fn nothing(paths: &[PathBuf], intake: &Intake) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let mut told = match names.as_slice() {
        [one] => format!("{one} holds no spans"),
        _ => format!("{} hold no spans", names.join(", ")),
    };
    let report = &intake.report;
    let reasons = report.unusable.iter().map(|(reason, times)| format!("{times} {}", reason.words()));
    let problems: Vec<String> =
        reasons.chain(report.first_malformed.clone()).chain(report.losses.first().cloned()).collect();
    if !problems.is_empty() {
        told.push_str(&format!(" that can be used: {}", problems.join("; ")));
    } else if report.points > 0 {
        told.push_str(&format!(
            ", only {} metric points; name the file of the traces as well",
            report.points
        ));
    } else if report.log_records > 0 {
        told.push_str(&format!(", only {} log records; export the traces as well", report.log_records));
    }
    told
}

fn metrics_beside(path: &Path) -> Option<PathBuf> {
    let (stem, rest) = path.file_name()?.to_str()?.split_once('.')?;
    (!rest.starts_with("metrics.")).then(|| path.with_file_name(format!("{stem}.metrics.{rest}")))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read_file(path: &Path, intake: &mut Intake) -> Result<()> {
    let mut source = Source::open(path)?;
    let name = name_of(path);
    let read = add(&mut source, &name, intake);
    intake.report.bytes += source.bytes;
    let broken = source.take_broken();
    if source.bytes == 0
        && let Some(broken) = broken
    {
        bail!("cannot unpack {}: {broken}", path.display());
    }
    if let Some(broken) = broken {
        intake.report.lost(format!("{name}: {broken}; what came before was read"));
    }
    read.with_context(|| format!("cannot read {}", path.display()))
}

/// Reads uncompressed bytes; `name` is for messages.
fn add(source: &mut dyn Read, name: &str, intake: &mut Intake) -> Result<()> {
    let mut head = Vec::with_capacity(PIECE_BYTES);
    source.take(PIECE_BYTES as u64).read_to_end(&mut head).context("cannot read on")?;
    ensure!(!head.is_empty(), "it is empty");
    ensure!(!head.starts_with(b"PAR1"), "it is a Parquet file; name the folder of the recording instead");
    if head.starts_with(b"\xef\xbb\xbf") {
        head.drain(..3);
    }
    match head.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{' | b'[') => json::read(head, source, name, intake),
        // What is only white space so far holds no traces whatever comes.
        None => bail!("it is empty"),
        Some(_) => protobuf::read(head, source, name, intake),
    }
}
