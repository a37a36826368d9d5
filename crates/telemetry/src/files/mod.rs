//! Trace and metric files: OTLP as JSON lines, JSON or protobuf, Jaeger's and Zipkin's JSON, plain, gzip or zstd.
//! The kind is told by the content, never by the name.

mod jaeger;
mod zipkin;

use crate::inflate::Coding;
use crate::intake::{Batch, Intake};
use crate::otlp;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// Uncompressed bytes of one file.
const MAX_FILE_BYTES: usize = 4 << 30;

/// Reads files in the given order. Beside `X.jsonl.gz`, a file `X.metrics.jsonl.gz` is read as well. Lines that
/// cannot be read are counted in the report; the others are kept.
///
/// # Errors
/// A file cannot be opened, or holds nothing that we know; the message names it.
pub fn read(paths: &[PathBuf]) -> Result<Batch> {
    let mut intake = Intake::default();
    for path in paths {
        read_file(path, &mut intake)?;
        let beside = metrics_beside(path);
        if let Some(beside) = beside.filter(|beside| beside.is_file() && !paths.contains(beside)) {
            read_file(&beside, &mut intake)?;
        }
    }
    Ok(intake.take())
}

fn metrics_beside(path: &Path) -> Option<PathBuf> {
    let (stem, rest) = path.file_name()?.to_str()?.split_once('.')?;
    (!rest.starts_with("metrics.")).then(|| path.with_file_name(format!("{stem}.metrics.{rest}")))
}

fn read_file(path: &Path, intake: &mut Intake) -> Result<()> {
    let raw = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let inflated = Coding::of(&raw).map(|coding| coding.inflate(&raw, MAX_FILE_BYTES)).transpose();
    let bytes = inflated.with_context(|| format!("cannot unpack {}", path.display()))?.unwrap_or(raw);
    intake.report.bytes += bytes.len() as u64;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    add(&bytes, &name, intake).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads the uncompressed content of a file; `name` is for messages.
///
/// # Errors
/// It holds nothing that we know.
fn add(bytes: &[u8], name: &str, intake: &mut Intake) -> Result<()> {
    ensure!(!bytes.is_empty(), "it is empty");
    ensure!(!bytes.starts_with(b"PAR1"), "it is a Parquet file; name the folder of the recording instead");
    let start = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match start.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{' | b'[') => documents(start, name, intake),
        _ => protobuf(bytes, intake),
    }
}

fn protobuf(bytes: &[u8], intake: &mut Intake) -> Result<()> {
    const HINT: &str = "it is neither JSON (OTLP, Jaeger, Zipkin) nor OTLP protobuf";
    // Traces and metrics look alike until their points: whichever gives something is meant.
    let traces = otlp::walk_traces(bytes, intake).context(HINT)?;
    let mut kept = traces.kept + traces.rejected;
    if kept == 0 {
        kept = otlp::walk_metrics(bytes, intake).context(HINT)?.kept;
    }
    intake.report.requests += 1;
    ensure!(kept > 0, HINT);
    Ok(())
}

/// One document after another, usually one a line. After one that cannot be read, the next line is tried.
fn documents(bytes: &[u8], name: &str, intake: &mut Intake) -> Result<()> {
    let mut from = 0;
    let mut read = 0;
    while from < bytes.len() {
        let mut stream = serde_json::Deserializer::from_slice(&bytes[from..]).into_iter::<Json>();
        let problem = loop {
            match stream.next() {
                None => return finish(read, intake),
                Some(Err(error)) => break error.to_string(),
                Some(Ok(document)) => match add_document(&document, intake) {
                    Ok(()) => {
                        read += 1;
                        intake.report.requests += 1;
                    }
                    Err(error) => {
                        let line = line_of(bytes, from + stream.byte_offset());
                        intake.report.malformed(format!("{name}, line {line}: {error:#}"));
                    }
                },
            }
        };
        let at = from + stream.byte_offset();
        let start = at + bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        intake.report.malformed(format!("{name}, line {}: {problem}", line_of(bytes, start + 1)));
        let rest = bytes[start..].iter().position(|&byte| byte == b'\n');
        from = rest.map_or(bytes.len(), |end| start + end + 1);
        if read == 0 {
            // Not even the first document: this is no file of lines.
            break;
        }
    }
    finish(read, intake)
}

fn finish(read: u64, intake: &Intake) -> Result<()> {
    match (&intake.report.first_malformed, read) {
        (Some(problem), 0) => bail!("{problem}"),
        _ => Ok(()),
    }
}

/// The number of the line that ends before or holds the byte before `at`.
fn line_of(bytes: &[u8], at: usize) -> usize {
    let before = &bytes[..at.saturating_sub(1).min(bytes.len())];
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

fn add_document(document: &Json, intake: &mut Intake) -> Result<()> {
    if jaeger::is(document) {
        return jaeger::read(document, intake);
    }
    if zipkin::is(document) {
        zipkin::read(document, intake);
        return Ok(());
    }
    let documents = document.as_array().map_or(std::slice::from_ref(document), Vec::as_slice);
    documents
        .iter()
        .try_for_each(|document| otlp::read_json(document, intake).map(drop))
        .context("no traces: neither OTLP nor Jaeger (`data`) nor Zipkin (a list of spans)")
}
