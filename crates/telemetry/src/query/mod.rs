//! Traces from where they are kept already: the HTTP interfaces of Jaeger and Tempo. They are asked once, for the newest
//! traces of one service; what a store would not give is a gap. Credentials are headers that the caller brings.

mod address;

pub use address::Query;

use crate::files;
use crate::intake::{Batch, Intake};
use address::{Kind, decoded, encoded};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use net::{Call, Connector, HttpVersion, Response, TlsOptions, call};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Traces that are asked for at a time.
const AT_A_TIME: usize = 8;
/// Bytes of all answers; further traces are not fetched, which is told.
const MAX_BYTES: usize = 4 << 30;
/// Bytes that spans may hold; beyond, a sample is kept.
const MAX_RESIDENT_BYTES: usize = 1 << 30;
/// Services that are listed in a message.
const LISTED: usize = 20;

/// Header names and values that go with each request. They are never shown.
#[derive(Clone, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Reads `Authorization=Bearer%20abc,X-Scope-OrgID=1`, as `OTEL_EXPORTER_OTLP_HEADERS` is written.
    ///
    /// # Errors
    /// A part has no `=`, or its name is none; values are not repeated.
    pub fn parse(text: &str) -> Result<Self> {
        let pair = |pair: &str| {
            let (name, value) =
                pair.split_once('=').context("headers are written `name=value,name=value`")?;
            let name = name.trim();
            let valid = http::HeaderName::try_from(name).is_ok();
            ensure!(valid, "a header's name holds letters, digits and `-` only");
            let value = decoded(value.trim());
            ensure!(
                http::HeaderValue::try_from(&value).is_ok(),
                "the value of header `{name}` cannot be sent"
            );
            Ok((name.to_owned(), value))
        };
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        Ok(Self(parts.map(pair).collect::<Result<_>>()?))
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Headers({})", self.0.len())
    }
}

/// Fetches the newest traces of the query's service that began before `now_ns`, Unix nanoseconds.
///
/// # Errors
/// The store does not answer, refuses, or has no such traces; the message says what it does have.
pub async fn fetch(query: &Query, headers: &Headers, now_ns: u64) -> Result<Batch> {
    let connector = Connector::new(&TlsOptions::default(), HttpVersion::Auto)?;
    let store = Arc::new(Store { query: query.clone(), headers: headers.clone(), connector, now_ns });
    if query.service.is_empty() {
        let services = store.services().await?;
        bail!("{} has traces of several services; name one: {}", query.display(), listed(&services));
    }
    let mut intake = Intake::sampling_above(MAX_RESIDENT_BYTES);
    let found = match query.kind {
        Kind::Jaeger => store.jaeger(&mut intake).await?,
        Kind::Tempo => store.tempo(&mut intake).await?,
    };
    if intake.report.spans == 0 {
        let services = store.services().await.unwrap_or_default();
        let known =
            if services.is_empty() { String::new() } else { format!("; it knows: {}", listed(&services)) };
        let asked = store.query.lookback.as_secs();
        bail!("{} holds no spans of the last {asked} s{known}", query.display());
    }
    if found >= query.limit as usize {
        let lost = format!(
            "{} has more traces than the {} that were asked for; the newest were taken",
            query.display(),
            query.limit
        );
        intake.report.lost(lost);
    }
    Ok(intake.take())
}

fn listed(services: &BTreeSet<String>) -> String {
    let mut words: Vec<&str> = services.iter().take(LISTED).map(String::as_str).collect();
    if services.len() > LISTED {
        words.push("...");
    }
    words.join(", ")
}

struct Store {
    query: Query,
    headers: Headers,
    connector: Connector,
    now_ns: u64,
}

impl Store {
    /// Names of all services, as far as the store tells.
    async fn services(&self) -> Result<BTreeSet<String>> {
        let (path, field) = match self.query.kind {
            Kind::Jaeger => ("/api/services", "data"),
            Kind::Tempo => ("/api/search/tag/service.name/values", "tagValues"),
        };
        let answer: Json =
            serde_json::from_slice(&self.get(path).await?.body).context("a list of services")?;
        let list = answer.get(field).and_then(Json::as_array).into_iter().flatten();
        Ok(list.filter_map(Json::as_str).map(str::to_owned).collect())
    }

    /// One request for all. How many traces came.
    async fn jaeger(&self, intake: &mut Intake) -> Result<usize> {
        let Query { service, limit, more, lookback, .. } = &self.query;
        let end = self.now_ns / 1000;
        let start = end.saturating_sub(u64::try_from(lookback.as_micros()).unwrap_or(u64::MAX));
        let service = encoded(service);
        let path = format!(
            "/api/traces?service={service}&start={start}&end={end}&limit={limit}&lookback=custom{more}"
        );
        let answer = self.get(&path).await.context("fewer traces at a time (`limit=100`) may help")?;
        files::read_body(&answer.body, &self.query.display(), intake)?;
        let traces: BTreeSet<u128> = intake.trace_ids().collect();
        Ok(traces.len())
    }

    /// A search, then a request for each trace found. How many were found.
    async fn tempo(self: &Arc<Self>, intake: &mut Intake) -> Result<usize> {
        let Query { service, limit, more, lookback, .. } = &self.query;
        let end = self.now_ns / 1_000_000_000;
        let start = end.saturating_sub(lookback.as_secs());
        let tags = encoded(&format!("service.name=\"{}\"", service.replace('"', "")));
        let path = format!("/api/search?tags={tags}&start={start}&end={}&limit={limit}{more}", end + 1);
        let answer: Json =
            serde_json::from_slice(&self.get(&path).await?.body).context("a list of traces")?;
        let list = answer.get("traces").and_then(Json::as_array).into_iter().flatten();
        let ids = list.filter_map(|trace| trace.get("traceID")?.as_str());
        // Only what is an id goes into a path.
        let ids: Vec<String> =
            ids.filter(|id| crate::json::hex_number(id).is_some()).map(|id| format!("{id:0>32}")).collect();
        let mut waiting = ids.iter();
        let mut asked = JoinSet::new();
        let mut bytes = 0;
        let mut failed = 0_u64;
        let mut first = None;
        loop {
            while asked.len() < AT_A_TIME
                && bytes < MAX_BYTES
                && let Some(id) = waiting.next()
            {
                let (store, id) = (Arc::clone(self), id.clone());
                asked.spawn(async move { store.trace(&id).await });
            }
            let Some(answer) = asked.join_next().await else { break };
            match answer.context("a request broke down").and_then(|answer| answer) {
                Ok(body) => {
                    bytes += body.len();
                    if let Err(problem) = files::read_body(&body, "a trace", intake) {
                        failed += 1;
                        first.get_or_insert(format!("{problem:#}"));
                    }
                }
                Err(problem) => {
                    failed += 1;
                    first.get_or_insert(format!("{problem:#}"));
                }
            }
        }
        let left = waiting.len();
        if left > 0 {
            intake.report.lost(format!("{left} traces more were not fetched: {} GiB came", MAX_BYTES >> 30));
        }
        if let Some(first) = first {
            ensure!(failed < ids.len() as u64, "no trace could be fetched; the first: {first}");
            intake
                .report
                .lost(format!("{failed} of {} traces could not be fetched; the first: {first}", ids.len()));
        }
        Ok(ids.len())
    }

    /// A trace by its id, by the newer interface or else the older.
    async fn trace(&self, id: &str) -> Result<Bytes> {
        let answer = self.ask(&format!("/api/v2/traces/{id}")).await?;
        if answer.status == 404 {
            return Ok(self.get(&format!("/api/traces/{id}")).await?.body);
        }
        Ok(self.checked(answer)?.body)
    }

    async fn get(&self, path: &str) -> Result<Response> {
        let answer = self.ask(path).await?;
        self.checked(answer)
    }

    async fn ask(&self, path: &str) -> Result<Response> {
        let url = format!("{}{path}", self.query.base);
        let mut headers = vec![("accept", "application/json")];
        headers.extend(self.headers.0.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let asked =
            Call { method: Method::GET, url: &url, headers: &headers, body: Bytes::new(), timeout: PATIENCE };
        call(&self.connector, &asked).await
    }

    /// An answer that is a yes; of others the message is told, cut short.
    fn checked(&self, answer: Response) -> Result<Response> {
        if answer.is_success() {
            return Ok(answer);
        }
        let hint = match answer.status {
            401 | 403 => "set TRIMTAB_FROM_HEADERS to what it wants, like `Authorization=Bearer%20...`",
            404 => "is it the query port (Jaeger 16686, Tempo 3200), with its base path?",
            _ => "see its log",
        };
        let said = String::from_utf8_lossy(&answer.body);
        let said = crate::bounds::cut(said.trim(), MAX_SAID_BYTES);
        bail!("{} answers {}: {said}; {hint}", self.query.display(), answer.status)
    }
}

/// Of an answer that is a no.
const MAX_SAID_BYTES: usize = 200;
