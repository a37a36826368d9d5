//! Around each request: its server span, its duration in the metrics, its line in the access log.
//! All three end when the last byte of the body is handed over, so that a streamed answer counts in full.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use crate::App;
use crate::log::{self, AccessEntry};
use crate::trace::Span;

/// The route of what no route matches; a path from outside never becomes a metric's label.
const NO_ROUTE: &str = "other";

pub(crate) async fn request(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let method = known_method(request.method());
    let path = request.uri().path().to_owned();
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.path", path.clone()),
        KeyValue::new("url.scheme", "http"),
    ];
    if route != NO_ROUTE {
        attributes.push(KeyValue::new("http.route", route.clone()));
    }
    if let Some(query) = request.uri().query() {
        attributes.push(KeyValue::new("url.query", query.to_owned()));
    }
    let name = if route == NO_ROUTE { method.to_owned() } else { format!("{method} {route}") };
    let span = app.root.of_caller(request.headers()).span(name, SpanKind::Server, attributes);
    request.extensions_mut().insert(span.trace().clone());

    let response = next.run(request).await;
    let status = response.status().as_u16();
    let exchange = Exchange { app, span, started, method, route, path, status, bytes: 0 };
    response.map(|body| Body::new(ObservedBody { body, exchange }))
}

/// Methods that telemetry may name; anything else is `_OTHER`, as the conventions want it.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

struct Exchange {
    app: Arc<App>,
    span: Span,
    started: Instant,
    method: &'static str,
    route: String,
    path: String,
    status: u16,
    bytes: u64,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        self.app.metrics.request(self.method, &self.route, self.status, duration);
        self.span.set(KeyValue::new("http.response.status_code", i64::from(self.status)));
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        self.span.set(KeyValue::new("http.response.body.size", bytes));
        if self.status >= 500 {
            self.span.fail(self.status.to_string(), "");
        }
        if self.app.access_log.is_on() {
            self.app.access_log.write(&AccessEntry {
                time: log::now(),
                method: self.method,
                route: &self.route,
                path: &self.path,
                status: self.status,
                duration_ms: duration.as_secs_f64() * 1e3,
                bytes: self.bytes,
                trace_id: self.span.trace().span_context().trace_id().to_string(),
            });
        }
    }
}

struct ObservedBody {
    body: Body,
    exchange: Exchange,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.exchange.bytes += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
