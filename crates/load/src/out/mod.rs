//! Samples out of a running test: rows in files (CSV and JSON lines, in k6's shapes) and sums pushed to a metrics store
//! (Prometheus remote write, OTLP over HTTP). A thread of its own writes them from a bounded queue: a sink that is slow
//! or fails loses samples, which is told at the end, and never holds up the load.

mod aggregate;
mod csv;
mod file;
mod json;
mod otlp;
mod prometheus;
mod protobuf;
mod push;
#[cfg(test)]
mod reader;
mod sinks;
mod snappy;
mod target;

pub use target::{Target, parse_headers};

use anyhow::{Context, Result};
use sinks::Sinks;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Samples handed over together: waking the writer for each would cost more than writing it.
const BATCH: usize = 64;
/// Batches that may wait for the writer; with those below, some megabytes.
const MAX_WAITING_BATCHES: usize = 256;

/// Names and tag values: most are constants.
pub type Text = Cow<'static, str>;

/// How a metric's values add up, as in k6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Share of values that are not 0.
    Rate,
    Trend,
}

/// What a metric's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    None,
    Milliseconds,
    Bytes,
}

/// A metric as samples name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: Text,
    pub kind: Kind,
    pub unit: Unit,
}

impl Metric {
    /// One whose name is known beforehand.
    #[must_use]
    pub const fn fixed(name: &'static str, kind: Kind, unit: Unit) -> Self {
        Self { name: Cow::Borrowed(name), kind, unit }
    }
}

/// Values of one moment that share their tags: one request's, say.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Unix nanoseconds.
    pub time_ns: u64,
    pub values: Vec<(Metric, f64)>,
    /// k6's names: `method`, `name`, `status`, `url` ...; `trace_id`, `vu` and `iter` are told in files alone.
    pub tags: Vec<(Text, Text)>,
}

/// Who is speaking: part of what is pushed.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Names and values of tags that every sample carries, unless it has its own.
    pub labels: Vec<(String, String)>,
    /// Sent with every push: `authorization` and its like. Never shown.
    pub headers: Vec<(String, String)>,
}

/// The running writer of all sinks.
pub struct Outputs {
    feed: Feed,
    told: oneshot::Receiver<Vec<Told>>,
}

/// How one sink fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The sink and what it did, in a sentence, without secrets.
    pub text: String,
    /// Something did not arrive.
    pub is_loss: bool,
}

/// Where samples are handed in. Clones feed the same writer, each with a batch of its own.
pub struct Feed {
    sender: mpsc::Sender<Vec<Samples>>,
    lost: Arc<AtomicU64>,
    batch: Vec<Samples>,
}

impl Outputs {
    /// Opens the files and starts the writer.
    ///
    /// # Errors
    /// A file that cannot be made, a URL that is none: names the target. No thread to be had.
    pub fn start(targets: &[Target], origin: &Origin) -> Result<Self> {
        let lost = Arc::<AtomicU64>::default();
        let sinks = Sinks::open(targets, origin, Arc::clone(&lost))?;
        let (sender, receiver) = mpsc::channel(MAX_WAITING_BATCHES);
        let (done, told) = oneshot::channel();
        std::thread::Builder::new()
            .name("outputs".to_owned())
            .spawn(move || {
                // Nobody listens where the caller gave up.
                drop(done.send(sinks::write(receiver, sinks)));
            })
            .context("no thread for the outputs")?;
        Ok(Self { feed: Feed { sender, lost, batch: Vec::new() }, told })
    }

    #[must_use]
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Waits until all that was handed in is written, once every other feed is gone.
    pub async fn finish(self) -> Vec<Told> {
        let Self { feed, told } = self;
        drop(feed);
        let failed = || vec![Told { text: "the writer of --out failed".to_owned(), is_loss: true }];
        told.await.unwrap_or_else(|_| failed())
    }
}

impl Feed {
    /// Takes samples; where the queue is full they are counted as lost.
    pub fn send(&mut self, samples: Samples) {
        self.batch.push(samples);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over what has gathered; whoever drives the load calls it about once per second.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        if let Err(mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch)) =
            self.sender.try_send(batch)
        {
            self.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
    }
}

impl Clone for Feed {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), lost: Arc::clone(&self.lost), batch: Vec::new() }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.flush();
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Feed")
    }
}

/// A tag's value; empty where it is missing.
fn tag<'a>(samples: &'a Samples, name: &str) -> &'a str {
    samples.tags.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

/// Tags that would make a series of each request, and are no part of what is pushed.
const PER_REQUEST: &[&str] = &["error", "iter", "trace_id", "url", "vu"];
/// Of those, the ones that files hold apart from the tags, as k6 does.
const METADATA: &[&str] = &["iter", "trace_id", "vu"];

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        Samples { time_ns: 1, values: Vec::new(), tags: Vec::new() }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut feed = Feed { sender, lost: Arc::default(), batch: Vec::new() };
        for _ in 0..BATCH * 3 {
            feed.send(samples());
        }
        assert_eq!(feed.lost.load(Ordering::Relaxed), 2 * BATCH as u64);
        assert_eq!(receiver.try_recv().unwrap().len(), BATCH);
        feed.send(samples());
        let lost = Arc::clone(&feed.lost);
        drop(feed);
        assert_eq!(receiver.try_recv().unwrap().len(), 1, "what has gathered is handed over at the end");
        assert_eq!(lost.load(Ordering::Relaxed), 2 * BATCH as u64);
    }
}
