//! Writing a recording: spans as they come, everything else at the end, `run.json` last.

use crate::disk::Disk;
use crate::sink::SpanSink;
use crate::{FORMAT, metrics, requests, spans_read};
use anyhow::{Context, Result, ensure};
use model::{Diagnosis, Recording, Run, Scaling};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

pub(crate) const RUN: &str = "run.json";
pub(crate) const METRICS: &str = "metrics.parquet";
pub(crate) const LATENCIES: &str = "latencies.parquet";
pub(crate) const REQUESTS: &str = "requests.parquet";
pub(crate) const STATEMENTS: &str = "statements.json";
pub(crate) const COSTS: &str = "costs.json";
pub(crate) const PROFILE: &str = "profile.json";
pub(crate) const PROFILES: &str = "profiles.pb.gz";
pub(crate) const PLANS: &str = "plans";
pub(crate) const FINDINGS: &str = "findings.json";
pub(crate) const SCALING: &str = "levels.json";

/// Bytes of a gzipped profile that a recording keeps.
pub(crate) const MAX_PROFILE_BYTES: usize = 50 << 20;

/// A recording's folder while it is written.
pub struct Writer {
    folder: PathBuf,
    disk: Disk,
    /// Files of spans so far, counted over all sinks.
    span_files: Arc<AtomicU32>,
}

impl Writer {
    /// Makes the folder, or takes an empty one.
    ///
    /// # Errors
    /// It cannot be made, or it holds a recording already, finished or not.
    pub fn create(folder: &Path) -> Result<Self> {
        Self::on(folder, Disk::real())
    }

    pub(crate) fn on(folder: &Path, disk: Disk) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| {
            format!("cannot make the folder {}; may this user write there?", folder.display())
        })?;
        let taken = folder.join(RUN).exists() || !spans_read::files(folder)?.is_empty();
        ensure!(!taken, "{} holds a recording already; remove it or name another folder", folder.display());
        Ok(Self { folder: folder.to_owned(), disk, span_files: Arc::new(AtomicU32::new(0)) })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A way for spans to the disk while the run goes on. All sinks of a writer share their file numbers.
    #[must_use]
    pub fn span_sink(&self) -> SpanSink {
        SpanSink::new(self.folder.clone(), self.disk.clone(), Arc::clone(&self.span_files))
    }

    /// Writes the rest and closes the recording. `recording.spans` are those that no sink has written; sinks must
    /// have been flushed. The format's number is set here.
    ///
    /// # Errors
    /// The disk is full or gone: what was written before can be read as an unfinished recording.
    pub fn finish(self, recording: &Recording) -> Result<PathBuf> {
        self.span_sink().put(&recording.spans)?;
        self.put(METRICS, &metrics::encode(&recording.metrics)?)?;
        self.put(LATENCIES, &requests::encode_latencies(&recording.latencies)?)?;
        self.put(REQUESTS, &requests::encode_requests(&recording.requests)?)?;
        self.put(STATEMENTS, &json(&recording.statements)?)?;
        if let Some(costs) = &recording.costs {
            self.put(COSTS, &json(costs)?)?;
        }
        if let Some(profile) = &recording.profile {
            self.put(PROFILE, &packed(profile)?)?;
        }
        if !recording.plans.is_empty() {
            let plans = self.folder.join(PLANS);
            fs::create_dir_all(&plans).with_context(|| format!("cannot make {}", plans.display()))?;
        }
        for (at, plan) in recording.plans.iter().enumerate() {
            self.put(&format!("{PLANS}/{at:04}.json"), &json(plan)?)?;
        }
        let run = Run { format: FORMAT, ..recording.run.clone() };
        self.put(RUN, &json(&run)?)?;
        Ok(self.folder)
    }

    /// Puts a whole profile, gzipped pprof, into the recording; more than [`MAX_PROFILE_BYTES`] is refused.
    ///
    /// # Errors
    /// It is too large, or the disk is full.
    pub fn put_profile(&self, pprof: &[u8]) -> Result<()> {
        ensure!(
            pprof.len() <= MAX_PROFILE_BYTES,
            "the profile takes {} MiB, more than {} are not kept; measure for a shorter time",
            pprof.len() >> 20,
            MAX_PROFILE_BYTES >> 20
        );
        self.put(PROFILES, pprof)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.disk.put(&self.folder.join(name), bytes)
    }
}

/// Puts what the diagnosis found beside the recording, in place of what an earlier one found.
///
/// # Errors
/// The folder cannot be written.
pub fn write_findings(folder: &Path, diagnosis: &Diagnosis) -> Result<()> {
    Disk::real().put(&folder.join(FINDINGS), &json(diagnosis)?)
}

/// Puts what stepped load showed beside its recording.
///
/// # Errors
/// The folder cannot be written.
pub fn write_scaling(folder: &Path, scaling: &Scaling) -> Result<()> {
    Disk::real().put(&folder.join(SCALING), &json(scaling)?)
}

/// Without line breaks: thousands of nodes are for programs.
fn packed(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("as JSON")
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).context("as JSON")?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_and_what_was_flushed_is_read() {
        let spans = model::fixture::spans("repeat 500\napi server \"GET /\" 0..10 a=1 b=two").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = {
            let probe = Writer::create(&folder.path().join("probe")).unwrap();
            probe.span_sink().put(&spans).unwrap();
            fs::metadata(probe.folder().join("spans.parquet")).unwrap().len()
        };
        let room = usize::try_from(file).unwrap() * 5 / 2;
        let full = folder.path().join("full");
        let writer = Writer::on(&full, Disk::with_room_for(room)).unwrap();
        let mut sink = writer.span_sink();
        for _ in 0..2 {
            sink.write(spans.clone()).unwrap();
            sink.flush().unwrap();
        }
        sink.write(spans.clone()).unwrap();
        let error = format!("{:#}", sink.flush().unwrap_err());
        assert!(error.contains("spans-0002.parquet") && error.contains("free some space"), "{error}");
        let error = format!("{:#}", writer.finish(&Recording { spans, ..Recording::default() }).unwrap_err());
        assert!(error.contains("free some space"), "{error}");
        let back = crate::read(&full).unwrap();
        assert_eq!((back.spans.len(), back.run.complete), (1000, false));
    }
}
