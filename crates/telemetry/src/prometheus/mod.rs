//! Prometheus's text format, and a scrape at an interval. Plain HTTP only; what cannot be scraped becomes a gap.

mod text;

use crate::Clock;
use crate::metric_store::MetricStore;
use crate::report::IngestReport;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use model::{Gap, MetricSeries};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Bytes of one answer.
const MAX_SCRAPE_BYTES: usize = 64 << 20;
/// An answer that takes longer is a gap.
const PATIENCE: Duration = Duration::from_secs(5);

/// Texts of the format, one after another, made into series.
#[derive(Default)]
pub struct Scraped {
    store: MetricStore,
    report: IngestReport,
    failures: u64,
    last_failure: Option<String>,
}

impl Scraped {
    /// Adds one text, scraped at `time_ns`; each series also gets `attributes`. Lines that cannot be read are counted.
    pub fn add(&mut self, body: &str, time_ns: u64, attributes: &BTreeMap<String, String>) {
        self.report.requests += 1;
        self.report.bytes += body.len() as u64;
        text::read(body, time_ns, attributes, &mut self.store, &mut self.report);
    }

    /// What came since the last time. Histograms are quantiles of what was added between two scrapes.
    pub fn take(&mut self) -> (Vec<MetricSeries>, Vec<Gap>) {
        let report = std::mem::take(&mut self.report);
        let mut gaps = report.gaps();
        for gap in &mut gaps {
            "metrics".clone_into(&mut gap.signal);
        }
        if let Some(failure) = self.last_failure.take() {
            let reason = format!("{} scrapes failed; the last: {failure}", self.failures);
            gaps.push(Gap::new(
                "metrics",
                reason,
                "open the address in a browser; it must show lines of metrics",
            ));
            self.failures = 0;
        }
        (self.store.take(), gaps)
    }
}

/// A scrape that runs; dropping it ends it.
pub struct Scraping {
    scraped: Arc<Mutex<Scraped>>,
    _task: JoinSet<()>,
}

impl Scraping {
    /// What came since the last time.
    #[must_use]
    pub fn take(&self) -> (Vec<MetricSeries>, Vec<Gap>) {
        lock(&self.scraped).take()
    }
}

/// Scrapes `url` (`http://localhost:9100/metrics`) every `interval` from now on. Needs a tokio runtime.
///
/// # Errors
/// The URL is none of http.
pub fn scrape(
    url: &str,
    interval: Duration,
    attributes: BTreeMap<String, String>,
    clock: Clock,
) -> Result<Scraping> {
    let target = Target::of(url)?;
    let scraped = Arc::new(Mutex::new(Scraped::default()));
    let own = Arc::clone(&scraped);
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let time_ns = clock();
            let got = tokio::time::timeout(PATIENCE, target.get()).await;
            let mut scraped = lock(&own);
            match got.unwrap_or_else(|_| bail_late(&target)) {
                Ok(body) => scraped.add(&body, time_ns, &attributes),
                Err(error) => {
                    scraped.failures += 1;
                    scraped.last_failure = Some(format!("{error:#}"));
                }
            }
        }
    });
    Ok(Scraping { scraped, _task: task })
}

fn bail_late(target: &Target) -> Result<String> {
    bail!("{} did not answer within {} s", target.shown(), PATIENCE.as_secs())
}

fn lock(scraped: &Mutex<Scraped>) -> MutexGuard<'_, Scraped> {
    scraped.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where to scrape; user and password of the URL are not kept.
struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn of(url: &str) -> Result<Self> {
        // The URL itself is not printed: it may hold a password.
        let uri: Uri =
            url.parse().context("the address to scrape is no URL; write http://host:port/metrics")?;
        ensure!(
            uri.scheme_str() == Some("http"),
            "only http:// can be scraped, write http://host:port/metrics"
        );
        let host = uri.host().context("the address to scrape has no host")?.to_owned();
        let path = uri.path_and_query().map_or("/metrics", |path| path.as_str());
        let path = if path == "/" { "/metrics" } else { path };
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), path: path.to_owned() })
    }

    fn shown(&self) -> String {
        let path = self.path.split('?').next().unwrap_or("");
        format!("http://{}:{}{path}", self.host, self.port)
    }

    async fn get(&self) -> Result<String> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port)).await;
        let stream = stream.with_context(|| format!("cannot connect to {}", self.shown()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(&self.path)
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::ACCEPT, "text/plain;version=0.0.4, application/openmetrics-text;q=0.5")
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            ensure!(status.is_success(), "{} answered {status}", self.shown());
            let body = Limited::new(response.into_body(), MAX_SCRAPE_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{}: {error}", self.shown()))?;
            String::from_utf8(body.to_bytes().into()).with_context(|| format!("{} is no text", self.shown()))
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            got = &mut exchange => got,
            // The connection may end first, with the answer complete.
            _ = &mut connection => exchange.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let target = Target::of("http://me:secret@db:9187/metrics?token=secret").unwrap();
        assert_eq!(target.shown(), "http://db:9187/metrics");
        assert_eq!(Target::of("http://h").unwrap().shown(), "http://h:80/metrics");
        for bad in ["https://me:secret@db/", "me:secret@db", "http://", "ftp://x"] {
            let error = Target::of(bad).err().map(|error| format!("{error:#}")).unwrap();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
