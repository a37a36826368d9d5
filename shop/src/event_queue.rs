//! Events in batches: a bounded queue, one writer that waits for a full batch or the time limit.
//! A full queue refuses; a batch that the database refuses for good is counted as lost.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanKind};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::database::{Database, Statement};
use crate::error::Error;
use crate::log;
use crate::metrics::Metrics;
use crate::switches::SwitchBoard;
use crate::trace::{Span, Trace};

pub(crate) const NAME: &str = "events";
pub(crate) const CAPACITY: usize = 4_096;
const BATCH_ROWS: usize = 500;
const BATCH_TIME: Duration = Duration::from_millis(50);
const ATTEMPTS: u32 = 5;
/// Before the second attempt; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A span of a batch names no more of the requests that it came from.
const LINKS: usize = 32;

const INSERT: Statement = Statement {
    operation: "INSERT",
    collection: "events",
    sql: "INSERT INTO events (kind, customer_id, product_id) VALUES ($1, $2, $3)",
};
const INSERT_BATCH: Statement = Statement {
    operation: "INSERT",
    collection: "events",
    sql: "INSERT INTO events (kind, customer_id, product_id) \
          SELECT * FROM unnest($1::text[], $2::int4[], $3::int4[])",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    pub kind: String,
    pub customer_id: Option<i32>,
    pub product_id: Option<i32>,
}

struct Job {
    event: Event,
    origin: SpanContext,
}

/// Where events are written to.
pub(crate) struct EventStore {
    pub database: Arc<Database>,
    pub switches: Arc<SwitchBoard>,
    pub metrics: Arc<Metrics>,
}

impl EventStore {
    /// The naive form: one row, one statement, one commit.
    ///
    /// # Errors
    /// As of the database.
    pub(crate) async fn write(&self, trace: &Trace, event: &Event) -> Result<(), Error> {
        let session = self.database.session(trace, &self.switches.current()).await?;
        session.execute(trace, &INSERT, &[&event.kind, &event.customer_id, &event.product_id]).await?;
        Ok(())
    }

    async fn write_batch(&self, trace: &Trace, jobs: &[Job]) -> Result<(), Error> {
        let session = self.database.session(trace, &self.switches.current()).await?;
        let kinds: Vec<_> = jobs.iter().map(|job| job.event.kind.as_str()).collect();
        let customers: Vec<_> = jobs.iter().map(|job| job.event.customer_id).collect();
        let products: Vec<_> = jobs.iter().map(|job| job.event.product_id).collect();
        session.execute(trace, &INSERT_BATCH, &[&kinds, &customers, &products]).await?;
        Ok(())
    }
}

pub(crate) struct EventQueue {
    sender: mpsc::Sender<Job>,
    stop: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

impl EventQueue {
    /// The writer runs in `tasks`; it ends after `stop` when the queue is empty.
    pub(crate) fn start(
        capacity: usize,
        store: Arc<EventStore>,
        root: Trace,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(capacity);
        let (stop, stopped) = watch::channel(false);
        let metrics = Arc::clone(&store.metrics);
        tasks.spawn(Writer { receiver, stopped, store, root }.run());
        Self { sender, stop, metrics }
    }

    /// # Errors
    /// `Unavailable` when the queue is full: the client is to slow down.
    pub(crate) fn push(&self, trace: &Trace, event: Event) -> Result<(), Error> {
        let Ok(permit) = self.sender.try_reserve() else {
            self.metrics.outcome(NAME, "refused", 1);
            return Err(Error::Unavailable("too many events are waiting; try again in a second".to_owned()));
        };
        let span = trace.span(format!("send {NAME}"), SpanKind::Producer, attributes("send"));
        permit.send(Job { event, origin: span.trace().span_context() });
        Ok(())
    }

    pub(crate) fn depth(&self) -> u64 {
        self.depth_gauge()()
    }

    /// Reads the depth without keeping the queue open.
    pub(crate) fn depth_gauge(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let sender = self.sender.downgrade();
        move || sender.upgrade().map_or(0, |queue| (queue.max_capacity() - queue.capacity()) as u64)
    }

    /// Accepts nothing more; what is in the queue will still be written.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

fn attributes(operation: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "in_process"),
        KeyValue::new("messaging.destination.name", NAME),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation),
    ]
}

struct Writer {
    receiver: mpsc::Receiver<Job>,
    stopped: watch::Receiver<bool>,
    store: Arc<EventStore>,
    root: Trace,
}

impl Writer {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.write(&batch).await;
        }
    }

    /// At least one event; `None` when the queue was stopped and is empty.
    async fn next_batch(&mut self) -> Option<Vec<Job>> {
        let mut batch = vec![self.next().await?];
        let deadline = Instant::now() + BATCH_TIME;
        while batch.len() < BATCH_ROWS {
            match timeout_at(deadline, self.receiver.recv()).await {
                Ok(Some(job)) => batch.push(job),
                Ok(None) | Err(_) => break,
            }
        }
        Some(batch)
    }

    async fn next(&mut self) -> Option<Job> {
        tokio::select! {
            job = self.receiver.recv() => return job,
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
        self.receiver.close();
        self.receiver.recv().await
    }

    async fn write(&self, batch: &[Job]) {
        let span = self.span(batch);
        let rows = batch.len() as u64;
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            match self.store.write_batch(span.trace(), batch).await {
                Ok(()) => return self.store.metrics.outcome(NAME, "done", rows),
                Err(Error::Unavailable(_)) if attempt < ATTEMPTS => {
                    self.store.metrics.outcome(NAME, "retried", rows);
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    span.fail("database", "given up");
                    self.store.metrics.outcome(NAME, "lost", rows);
                    return log::complain(&format!("{rows} events were lost: {error:?}"));
                }
            }
        }
    }

    fn span(&self, batch: &[Job]) -> Span {
        let mut attributes = attributes("process");
        let count = i64::try_from(batch.len()).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new("messaging.batch.message_count", count));
        let links = batch.iter().take(LINKS).map(|job| job.origin.clone()).collect();
        self.root.linked_span(format!("process {NAME}"), SpanKind::Consumer, attributes, links)
    }
}
