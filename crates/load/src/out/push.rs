//! Sums to a metrics store every few seconds. They count from the start, so that a push that fails costs detail in time,
//! no counts; the last one is tried twice.

use super::aggregate::Aggregate;
use super::otlp::Window;
use super::{Origin, Samples, Target, Told, otlp, prometheus};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use net::{Call, Connector, HttpVersion, TlsOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A push that takes longer has failed.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer, what is told.
const MAX_ANSWER_CHARS: usize = 200;

pub(super) struct Push {
    display: String,
    shape: Shape,
    way: Arc<Way>,
    aggregate: Aggregate,
    /// Time of the first and of the last samples, Unix nanoseconds.
    from_ns: u64,
    to_ns: u64,
    going: Option<JoinHandle<Result<()>>>,
    made: u64,
    failed: u64,
    first_error: Option<String>,
    last_arrived: bool,
}

#[derive(Clone, Copy)]
enum Shape {
    Prometheus { native: bool },
    Otlp,
}

/// How the store is reached; headers may hold secrets.
struct Way {
    connector: Connector,
    url: String,
    headers: Vec<(String, String)>,
}

impl Push {
    /// `None` for a target that is a file.
    pub(super) fn open(target: &Target, origin: &Origin) -> Result<Option<Self>> {
        let (shape, url, headers, per_ms) = match target {
            Target::Csv(_) | Target::Json(_) => return Ok(None),
            Target::Prometheus { url, native } => {
                (Shape::Prometheus { native: *native }, url.clone(), prometheus::HEADERS, prometheus::PER_MS)
            }
            Target::Otlp(url) => (Shape::Otlp, otlp_url(url)?, otlp::HEADERS, otlp::PER_MS),
        };
        let fixed = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let connector = Connector::new(&TlsOptions::default(), HttpVersion::Http1)?;
        let headers = fixed.chain(origin.headers.iter().cloned()).collect();
        Ok(Some(Self {
            display: target.display(),
            shape,
            way: Arc::new(Way { connector, url, headers }),
            aggregate: Aggregate::new(per_ms),
            from_ns: 0,
            to_ns: 0,
            going: None,
            made: 0,
            failed: 0,
            first_error: None,
            last_arrived: true,
        }))
    }

    pub(super) fn take(&mut self, samples: &Samples) {
        if self.from_ns == 0 {
            self.from_ns = samples.time_ns;
        }
        self.to_ns = self.to_ns.max(samples.time_ns);
        self.aggregate.take(samples);
    }

    /// Begins a push, unless the last one still goes on: its turn is then left out.
    pub(super) async fn tick(&mut self) {
        if self.aggregate.groups.is_empty() {
            return;
        }
        if let Some(going) = self.going.take_if(|going| going.is_finished()) {
            self.ended(going).await;
        }
        if self.going.is_none() {
            let body = self.body();
            let way = Arc::clone(&self.way);
            self.going = Some(tokio::spawn(async move { way.send(body).await }));
        }
    }

    fn body(&mut self) -> Bytes {
        let body = match self.shape {
            Shape::Prometheus { native } => prometheus::body(&self.aggregate, self.to_ns, native),
            Shape::Otlp => otlp::body(&self.aggregate, Window { from_ns: self.from_ns, to_ns: self.to_ns }),
        };
        self.aggregate.pushed();
        body.into()
    }

    async fn ended(&mut self, going: JoinHandle<Result<()>>) {
        let done = going.await.map_err(anyhow::Error::from).and_then(|done| done);
        self.made += 1;
        self.last_arrived = done.is_ok();
        if let Err(error) = done {
            self.failed += 1;
            self.first_error.get_or_insert_with(|| format!("{error:#}"));
        }
    }

    pub(super) async fn finish(mut self) -> Told {
        if let Some(going) = self.going.take() {
            self.ended(going).await;
        }
        if !self.aggregate.groups.is_empty() {
            let body = self.body();
            for _ in 0..2 {
                let way = Arc::clone(&self.way);
                let body = body.clone();
                let going = tokio::spawn(async move { way.send(body).await });
                self.ended(going).await;
                if self.last_arrived {
                    break;
                }
            }
        }
        let series: usize = self.aggregate.groups.iter().map(|group| group.series.len()).sum();
        let mut text =
            format!("{}: {} metrics with their labels, {} pushes", self.display, series, self.made);
        if self.failed > 0 {
            let error = self.first_error.as_deref().unwrap_or("unknown");
            text.push_str(&format!(", {} of them failed: {error}", self.failed));
        }
        if !self.last_arrived {
            text.push_str("; the last figures did not arrive");
        }
        if self.aggregate.left_out > 0 {
            text.push_str(&format!(
                "; {} samples of too many metrics were left out",
                self.aggregate.left_out
            ));
        }
        Told { text, is_loss: self.failed > 0 || self.aggregate.left_out > 0 }
    }
}

impl Way {
    async fn send(&self, body: Bytes) -> Result<()> {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let call =
            Call { method: Method::POST, url: &self.url, headers: &headers, body, timeout: PUSH_TIMEOUT };
        let response = net::call(&self.connector, &call).await?;
        if response.is_success() {
            return Ok(());
        }
        let answer = String::from_utf8_lossy(&response.body);
        let answer: String = answer.trim().chars().take(MAX_ANSWER_CHARS).collect();
        bail!("status {}: {answer}", response.status)
    }
}

/// A collector's address without a path means its metrics endpoint (OpenTelemetry's exporter specification).
fn otlp_url(url: &str) -> Result<String> {
    let target = net::Target::parse(url).context("--out otlp")?;
    let path = target.path();
    if path == "/" { Ok(format!("{}/v1/metrics", url.trim_end_matches('/'))) } else { Ok(url.to_owned()) }
}
