//! What all connections of a receiver share: the intake, its bound, and the way to the disk.

use super::Options;
use crate::intake::Intake;
use crate::report::Unusable;
use model::SpanTable;
use recording::SpanSink;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedMutexGuard, Semaphore};

/// Bodies that are read or worked on at a time, so that the memory for them is bounded.
const MAX_BODIES: usize = 16;

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) bodies: Semaphore,
    intake: Mutex<Intake>,
    /// Held while a write is under way: one at a time, so that what waits for the disk is bounded.
    sink: Arc<tokio::sync::Mutex<Option<SpanSink>>>,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            bodies: Semaphore::new(MAX_BODIES),
            intake: Mutex::new(Intake::default()),
            sink: Arc::default(),
        }
    }

    /// The intake; never held across an await.
    pub(super) fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn set_sink(&self, sink: Option<SpanSink>) -> Option<SpanSink> {
        std::mem::replace(&mut *self.sink.lock().await, sink)
    }

    /// Is there room for one more body? At the bound spans are sent to the disk first.
    pub(super) fn has_room(self: &Arc<Self>) -> bool {
        let mut intake = self.intake();
        if intake.resident_bytes() < self.options.max_resident_bytes {
            return true;
        }
        let sink = Arc::clone(&self.sink).try_lock_owned().ok().filter(|sink| sink.is_some());
        let Some(sink) = sink else {
            intake.report.refused += 1;
            return false;
        };
        let spans = intake.take_spans();
        intake.report.flushed_spans += spans.len() as u64;
        drop(intake);
        let shared = Arc::clone(self);
        // The task ends with its write and keeps the sink's lock until then: whoever wants the sink waits for it.
        drop(tokio::task::spawn_blocking(move || shared.write(spans, sink)));
        true
    }

    fn write(&self, spans: SpanTable, mut sink: OwnedMutexGuard<Option<SpanSink>>) {
        let lost = spans.len() as u64;
        let written = sink.as_mut().map_or(Ok(()), |sink| sink.write(spans));
        if let Err(error) = written {
            let mut intake = self.intake();
            intake.report.flushed_spans = intake.report.flushed_spans.saturating_sub(lost);
            intake.report.count(Unusable::SpanMemory, lost);
            intake.report.disk_error.get_or_insert(format!("{error:#}"));
            // Writing again to a full disk would lose the next spans as well: senders wait instead.
            *sink = None;
        }
    }
}
