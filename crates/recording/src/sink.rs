//! Takes spans as they come and writes a file as soon as there are enough of them, so that memory stays bounded.

use crate::disk::Disk;
use crate::{SPANS_PER_FILE, spans};
use anyhow::Result;
use model::SpanTable;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Spans waiting for their file are written early when they hold more than this.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// Where the spans of one run go: `spans.parquet`, `spans-0001.parquet` and so on, each whole from the moment on that
/// it can be seen. Spans that wait for their file are written by [`SpanSink::flush`].
pub struct SpanSink {
    folder: PathBuf,
    disk: Disk,
    files: Arc<AtomicU32>,
    waiting: SpanTable,
    written: u64,
}

impl SpanSink {
    pub(crate) fn new(folder: PathBuf, disk: Disk, files: Arc<AtomicU32>) -> Self {
        Self { folder, disk, files, waiting: SpanTable::default(), written: 0 }
    }

    /// Takes spans. Whole files of them are written at once, the rest waits for more.
    ///
    /// # Errors
    /// The disk is full or gone: these spans are lost, those of earlier files can be read.
    pub fn write(&mut self, spans: SpanTable) -> Result<()> {
        if self.waiting.is_empty() {
            self.waiting = spans;
        } else {
            self.waiting.append(&spans);
        }
        if self.waiting.len() >= SPANS_PER_FILE || self.waiting.resident_bytes() >= MAX_WAITING_BYTES {
            return self.flush();
        }
        Ok(())
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// As [`SpanSink::write`].
    pub fn flush(&mut self) -> Result<()> {
        let spans = std::mem::take(&mut self.waiting);
        self.put(&spans)
    }

    /// Spans in files.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes `spans` straight to files.
    pub(crate) fn put(&mut self, spans: &SpanTable) -> Result<()> {
        let texts = spans::dictionary(spans);
        let mut from = 0;
        while from < spans.len() {
            let to = spans.len().min(from + SPANS_PER_FILE);
            let bytes = spans::encode(spans, &texts, from..to)?;
            let number = self.files.fetch_add(1, Ordering::Relaxed);
            self.disk.put(&self.folder.join(file_name(number)), &bytes)?;
            self.written += (to - from) as u64;
            from = to;
        }
        Ok(())
    }
}

/// Names sort as the files were written.
pub(crate) fn file_name(number: u32) -> String {
    if number == 0 { "spans.parquet".to_owned() } else { format!("spans-{number:04}.parquet") }
}
