//! Confirmation mails after the answer: a bounded queue, a few workers, retries with growing pauses.
//! A full queue refuses before anything is written; a mail that fails for good is counted and reported.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanKind};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use crate::error::Error;
use crate::log;
use crate::mail::{Mail, Mailer};
use crate::metrics::Metrics;
use crate::trace::Trace;

pub(crate) const NAME: &str = "confirmation_mail";
pub(crate) const CAPACITY: usize = 1_000;
const WORKERS: usize = 4;
const ATTEMPTS: u32 = 5;
/// Before the second attempt; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

struct Job {
    mail: Mail,
    origin: SpanContext,
}

pub(crate) struct MailQueue {
    sender: mpsc::Sender<Job>,
    stop: watch::Sender<bool>,
}

/// A place in the queue, taken before the order is written.
pub(crate) struct Place(mpsc::OwnedPermit<Job>);

impl MailQueue {
    /// The workers run in `tasks`; they end after `stop` when the queue is empty.
    pub(crate) fn start(
        capacity: usize,
        mailer: &Arc<Mailer>,
        root: &Trace,
        metrics: &Arc<Metrics>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(capacity);
        let (stop, stopped) = watch::channel(false);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            let worker = Worker {
                receiver: Arc::clone(&receiver),
                stopped: stopped.clone(),
                mailer: Arc::clone(mailer),
                root: root.clone(),
                metrics: Arc::clone(metrics),
            };
            tasks.spawn(worker.run());
        }
        Self { sender, stop }
    }

    /// # Errors
    /// `Unavailable` when the queue is full.
    pub(crate) fn reserve(&self) -> Result<Place, Error> {
        self.sender.clone().try_reserve_owned().map(Place).map_err(|_| {
            Error::Unavailable("too many confirmation mails are waiting; try again in a second".to_owned())
        })
    }

    pub(crate) fn depth(&self) -> u64 {
        self.depth_gauge()()
    }

    /// Reads the depth without keeping the queue open.
    pub(crate) fn depth_gauge(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let sender = self.sender.downgrade();
        move || sender.upgrade().map_or(0, |queue| (queue.max_capacity() - queue.capacity()) as u64)
    }

    /// Accepts nothing more; what is in the queue will still be sent.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Place {
    pub(crate) fn send(self, trace: &Trace, mail: Mail) {
        let span = trace.span(format!("send {NAME}"), SpanKind::Producer, attributes("send", "send"));
        let origin = span.trace().span_context();
        self.0.send(Job { mail, origin });
    }
}

fn attributes(name: &'static str, kind: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "in_process"),
        KeyValue::new("messaging.destination.name", NAME),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.operation.type", kind),
    ]
}

struct Worker {
    receiver: Arc<Mutex<mpsc::Receiver<Job>>>,
    stopped: watch::Receiver<bool>,
    mailer: Arc<Mailer>,
    root: Trace,
    metrics: Arc<Metrics>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(job) = self.next().await {
            self.deliver(&job).await;
        }
    }

    /// `None` when the queue was stopped and is empty.
    async fn next(&mut self) -> Option<Job> {
        let mut receiver = self.receiver.lock().await;
        tokio::select! {
            job = receiver.recv() => return job,
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
        receiver.close();
        receiver.recv().await
    }

    async fn deliver(&self, job: &Job) {
        let span = self.root.linked_span(
            format!("process {NAME}"),
            SpanKind::Consumer,
            attributes("process", "process"),
            vec![job.origin.clone()],
        );
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            match self.mailer.send(span.trace(), &job.mail).await {
                Ok(()) => return self.metrics.outcome(NAME, "done", 1),
                Err(error) if attempt == ATTEMPTS => {
                    span.fail("smtp", "given up");
                    self.metrics.outcome(NAME, "lost", 1);
                    log::complain(&format!("`{}` was not mailed: {error:#}", job.mail.subject));
                }
                Err(_) => {
                    self.metrics.outcome(NAME, "retried", 1);
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }
}
