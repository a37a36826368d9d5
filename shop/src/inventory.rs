//! The inventory: a second HTTP service on its own port, and the shop's client of it.
//! Its declared service time is the only thing that makes it slow.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::trace::{Span, Trace};

/// Declared: what a remote stock system would take to answer.
pub(crate) const SERVICE_TIME: Duration = Duration::from_millis(25);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_BYTES: usize = 4096;
const ROUTE: &str = "/stock/{product_id}";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stock {
    pub product_id: i32,
    pub available: i32,
    pub warehouse: String,
}

/// The service. Its stock follows from the product's number, so that every run sees the same.
pub(crate) fn router(trace: Trace) -> Router {
    Router::new().route(ROUTE, get(stock)).with_state(trace)
}

async fn stock(State(root): State<Trace>, headers: HeaderMap, Path(product_id): Path<i32>) -> Json<Stock> {
    let attributes = vec![
        KeyValue::new("http.request.method", "GET"),
        KeyValue::new("http.route", ROUTE),
        KeyValue::new("url.path", format!("/stock/{product_id}")),
        KeyValue::new("url.scheme", "http"),
    ];
    let span = root.of_caller(&headers).span(format!("GET {ROUTE}"), SpanKind::Server, attributes);
    tokio::time::sleep(SERVICE_TIME).await;
    span.set(KeyValue::new("http.response.status_code", 200_i64));
    let warehouse = ["north", "south", "west"][product_id.unsigned_abs() as usize % 3].to_owned();
    Json(Stock { product_id, available: product_id.wrapping_mul(7_919).rem_euclid(500), warehouse })
}

/// The shop's side, with kept-alive connections.
pub(crate) struct Inventory {
    client: Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
}

impl Inventory {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), address }
    }

    /// # Errors
    /// `Unavailable` when the inventory does not answer properly in time.
    pub(crate) async fn stock(&self, trace: &Trace, product_id: i32) -> Result<Stock, Error> {
        let url = format!("http://{}/stock/{product_id}", self.address);
        let attributes = vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("url.full", url.clone()),
            KeyValue::new("url.template", ROUTE),
            KeyValue::new("server.address", self.address.ip().to_string()),
            KeyValue::new("server.port", i64::from(self.address.port())),
        ];
        let span = trace.span("GET", SpanKind::Client, attributes);
        match tokio::time::timeout(CALL_TIMEOUT, self.call(&span, &url)).await {
            Ok(Ok(stock)) => Ok(stock),
            Ok(Err(error)) => {
                span.fail("inventory", &error.to_string());
                Err(Error::Unavailable("the inventory does not answer properly".to_owned()))
            }
            Err(_) => {
                span.fail("timeout", "no answer in time");
                Err(Error::Unavailable("the inventory does not answer in time".to_owned()))
            }
        }
    }

    async fn call(&self, span: &Span, url: &str) -> anyhow::Result<Stock> {
        let mut request = Request::get(url).body(Empty::new())?;
        span.trace().inject(request.headers_mut());
        let (parts, body) = self.client.request(request).await?.into_parts();
        span.set(KeyValue::new("http.response.status_code", i64::from(parts.status.as_u16())));
        anyhow::ensure!(parts.status.is_success(), "status {}", parts.status);
        let collected = Limited::new(body, ANSWER_BYTES).collect().await;
        let bytes = collected.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        span.set(KeyValue::new("http.response.body.size", i64::try_from(bytes.len())?));
        Ok(serde_json::from_slice(&bytes)?)
    }
}
