//! OpenTelemetry providers of the two services of this process (`shop` and `inventory`), exported by
//! OTLP over HTTP as protobuf. Nothing is registered globally, so that the shop can be embedded.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;

use crate::config::TelemetryConfig;
use crate::log;
use crate::trace::Trace;

const SHOP: &str = "shop";
const INVENTORY: &str = "inventory";
/// One export, connection included, may take this long; then its batch is lost.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// A collector's answer is tiny; a longer one is not read.
const EXPORT_ANSWER_BYTES: usize = 64 * 1024;

pub(crate) struct Telemetry {
    shop: SdkTracerProvider,
    inventory: SdkTracerProvider,
    meters: SdkMeterProvider,
}

impl Telemetry {
    /// Must be called within the runtime that is to carry the exports.
    ///
    /// # Errors
    /// When an exporter cannot be built, e.g. of an endpoint that is no URL.
    pub(crate) fn new(config: &TelemetryConfig) -> anyhow::Result<Self> {
        let shop = config.service_name.as_deref().unwrap_or(SHOP);
        let endpoint = config.traces_endpoint.as_deref();
        Ok(Self {
            shop: tracer_provider(shop, endpoint)?,
            inventory: tracer_provider(INVENTORY, endpoint)?,
            meters: meter_provider(shop, config.metrics_endpoint.as_deref())?,
        })
    }

    pub(crate) fn shop(&self) -> Trace {
        Trace::root(self.shop.tracer(SHOP))
    }

    pub(crate) fn inventory(&self) -> Trace {
        Trace::root(self.inventory.tracer(INVENTORY))
    }

    pub(crate) fn meter(&self) -> Meter {
        self.meters.meter(SHOP)
    }

    /// Exports what is still held, for each of the three providers within `limit`.
    /// Blocks: the SDK waits for its own threads.
    pub(crate) fn shutdown(&self, limit: Duration) {
        let results = [
            self.shop.shutdown_with_timeout(limit),
            self.inventory.shutdown_with_timeout(limit),
            self.meters.shutdown_with_timeout(limit),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            log::complain(&format!("the last telemetry was not exported: {error}"));
        }
    }
}

fn resource(service: &str) -> Resource {
    Resource::builder().with_service_name(service.to_owned()).build()
}

/// Without an endpoint no span is recorded, yet a caller's trace id is still known for the access log.
fn tracer_provider(service: &str, endpoint: Option<&str>) -> anyhow::Result<SdkTracerProvider> {
    let builder = SdkTracerProvider::builder().with_resource(resource(service));
    let Some(endpoint) = endpoint else {
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(ExportClient::new())
        .with_endpoint(endpoint)
        .build()
        .context("cannot build the trace exporter; check the OTEL_EXPORTER_OTLP_* variables")?;
    Ok(builder.with_batch_exporter(exporter).build())
}

fn meter_provider(service: &str, endpoint: Option<&str>) -> anyhow::Result<SdkMeterProvider> {
    let builder = SdkMeterProvider::builder().with_resource(resource(service));
    let Some(endpoint) = endpoint else { return Ok(builder.build()) };
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(ExportClient::new())
        .with_endpoint(endpoint)
        .build()
        .context("cannot build the metric exporter; check the OTEL_EXPORTER_OTLP_* variables")?;
    Ok(builder.with_periodic_exporter(exporter).build())
}

/// The SDK exports from threads of its own; hyper needs the runtime, so the request is carried out there.
#[derive(Debug)]
struct ExportClient {
    runtime: Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl ExportClient {
    fn new() -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { runtime: Handle::current(), client }
    }
}

#[async_trait]
impl HttpClient for ExportClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        // Everything happens inside of the task: timers and sockets can only be made in a runtime.
        let task = self.runtime.spawn(async move {
            tokio::time::timeout(EXPORT_TIMEOUT, async move {
                let (parts, body) = client.request(request.map(Full::new)).await?.into_parts();
                let body = Limited::new(body, EXPORT_ANSWER_BYTES).collect().await?.to_bytes();
                Ok::<_, HttpError>(Response::from_parts(parts, body))
            })
            .await?
        });
        task.await?
    }
}
