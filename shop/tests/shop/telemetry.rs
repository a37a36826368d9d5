//! What the shop exports, as a collector receives it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;

use super::support::{Fixture, redis};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

type Bodies = Arc<Mutex<Vec<Bytes>>>;

/// A shop that sends its traces to a collector.
async fn observed() -> (Fixture, Bodies) {
    let (endpoint, bodies) = collector().await;
    let shop = Fixture::with(|config| {
        config.telemetry.traces_endpoint = Some(endpoint);
        config.redis_url = redis();
    })
    .await;
    (shop, bodies)
}

/// A collector that keeps what it is sent, of whatever signal.
async fn collector() -> (String, Bodies) {
    let bodies = Bodies::default();
    let router = Router::new()
        .route("/v1/any", post(async |State(bodies): State<Bodies>, body| bodies.lock().unwrap().push(body)))
        .with_state(Arc::clone(&bodies));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/any", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (endpoint, bodies)
}

struct Received {
    service: String,
    span: Span,
    attributes: BTreeMap<String, String>,
}

impl Received {
    fn has(&self, expected: &[(&str, &str)]) {
        for (key, value) in expected {
            let found = self.attributes.get(*key).map(String::as_str);
            assert_eq!(found, Some(*value), "{key} of {}", self.span.name);
        }
    }
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter().map(|entry| (entry.key.clone(), text(entry.value.as_ref()))).collect()
}

/// Ends the shop, which exports the last spans, and decodes everything; oldest first.
async fn received(shop: Fixture, bodies: &Bodies) -> Vec<Received> {
    shop.shop.shutdown().await;
    let mut all = Vec::new();
    for body in bodies.lock().unwrap().drain(..) {
        for part in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
            let service = attributes(&part.resource.unwrap().attributes)["service.name"].clone();
            for span in part.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let attributes = attributes(&span.attributes);
                all.push(Received { service: service.clone(), span, attributes });
            }
        }
    }
    all.sort_by_key(|received| received.span.start_time_unix_nano);
    all
}

fn named<'a>(spans: &'a [Received], name: &str) -> Vec<&'a Received> {
    spans.iter().filter(|received| received.span.name == name).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn traced(shop: &Fixture, method: &str, path: &str, body: &str) {
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let answer = shop.http().send(method, path, &[("traceparent", &traceparent)], body).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_naive_order_list_shows_its_connection_and_one_query_per_order() {
    let (shop, bodies) = observed().await;
    traced(&shop, "GET", "/customers/7/orders?limit=5", "").await;
    let spans = received(shop, &bodies).await;
    let server = named(&spans, "GET /customers/{id}/orders")[0];
    assert_eq!(server.service, "shop");
    assert_eq!((hex(&server.span.trace_id), hex(&server.span.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(server.span.kind(), SpanKind::Server);
    server.has(&[
        ("http.request.method", "GET"),
        ("http.route", "/customers/{id}/orders"),
        ("url.path", "/customers/7/orders"),
        ("url.query", "limit=5"),
        ("http.response.status_code", "200"),
    ]);
    assert_eq!(named(&spans, "connect").len(), 1);
    named(&spans, "SELECT orders")[0].has(&[
        ("db.system.name", "postgresql"),
        ("db.operation.name", "SELECT"),
        ("db.collection.name", "orders"),
        ("db.query.parameter.0", "7"),
        ("db.response.returned_rows", "5"),
        ("server.address", "127.0.0.1"),
    ]);
    let items = named(&spans, "SELECT order_items");
    assert_eq!(items.len(), 5);
    for item in items {
        assert_eq!(item.span.parent_span_id, server.span.span_id);
        assert_eq!(item.span.kind(), SpanKind::Client);
        assert!(item.attributes["db.query.text"].contains("WHERE order_id = $1"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_use_of_the_pool_connects_below_its_acquire_span() {
    let (shop, bodies) = observed().await;
    shop.switch(json!({ "connection": "pool" })).await;
    for _ in 0..2 {
        traced(&shop, "GET", "/customers/7/account", "").await;
    }
    let spans = received(shop, &bodies).await;
    let (acquires, connects) = (named(&spans, "pool.acquire"), named(&spans, "connect"));
    assert_eq!((acquires.len(), connects.len()), (2, 1));
    assert_eq!(connects[0].span.parent_span_id, acquires[0].span.span_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inventory_is_a_service_of_its_own_in_the_same_trace() {
    let (shop, bodies) = observed().await;
    traced(&shop, "GET", "/products/3/page", "").await;
    let spans = received(shop, &bodies).await;
    let (call, stock) = (named(&spans, "GET")[0], named(&spans, "GET /stock/{product_id}")[0]);
    assert_eq!((call.service.as_str(), stock.service.as_str()), ("shop", "inventory"));
    assert_eq!(stock.span.parent_span_id, call.span.span_id);
    assert_eq!(hex(&stock.span.trace_id), TRACE);
    call.has(&[("http.response.status_code", "200"), ("server.address", "127.0.0.1")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_mail_leaves_the_trace_and_links_back_to_it() {
    let (shop, bodies) = observed().await;
    let order = json!({ "customer_id": 5, "items": [{ "product_id": 4, "quantity": 3 }] }).to_string();
    traced(&shop, "POST", "/orders", &order).await;
    shop.switch(json!({ "confirmation_mail": "queued" })).await;
    traced(&shop, "POST", "/orders", &order).await;
    let spans = received(shop, &bodies).await;
    let sends = named(&spans, "smtp.send");
    let (producer, consumer) =
        (named(&spans, "send confirmation_mail")[0], named(&spans, "process confirmation_mail")[0]);
    assert_eq!(sends.len(), 2);
    assert_eq!(sends[0].span.parent_span_id, named(&spans, "POST /orders")[0].span.span_id);
    assert_eq!(sends[1].span.parent_span_id, consumer.span.span_id);
    assert_eq!(producer.span.kind(), SpanKind::Producer);
    assert_eq!(consumer.span.kind(), SpanKind::Consumer);
    assert_eq!(consumer.span.links[0].span_id, producer.span.span_id);
    assert_ne!(hex(&consumer.span.trace_id), TRACE);
    for name in ["BEGIN", "INSERT orders", "INSERT order_items", "COMMIT"] {
        assert_eq!(named(&spans, name).len(), 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_in_redis_is_one_client_span_and_no_query() {
    if redis().is_none() {
        return;
    }
    let (shop, bodies) = observed().await;
    shop.switch(json!({ "product_cache": "redis" })).await;
    for _ in 0..2 {
        traced(&shop, "GET", "/products/5", "").await;
    }
    let spans = received(shop, &bodies).await;
    let requests = named(&spans, "GET /products/{id}");
    let children = |server: &Received| {
        let below = |received: &&Received| received.span.parent_span_id == server.span.span_id;
        spans.iter().filter(below).map(|received| received.span.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(children(requests[0]), ["GET", "connect", "SELECT products", "SET"]);
    assert_eq!(children(requests[1]), ["GET"]);
    named(&spans, "GET")[0].has(&[("db.system.name", "redis"), ("db.query.text", "GET ?")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_exported_by_the_names_of_the_conventions() {
    let (endpoint, bodies) = collector().await;
    let shop = Fixture::with(|config| config.telemetry.metrics_endpoint = Some(endpoint)).await;
    shop.switch(json!({ "connection": "pool" })).await;
    shop.get("/customers/7/account").await;
    shop.shop.shutdown().await;
    let sent = bodies.lock().unwrap().concat();
    for name in [
        "http.server.request.duration",
        "db.client.operation.duration",
        "db.client.connection.count",
        "db.client.connection.max",
        "db.client.connection.pending_requests",
        "db.client.connection.wait_time",
        "queue.depth",
        "/customers/{id}/account",
    ] {
        assert!(sent.windows(name.len()).any(|part| part == name.as_bytes()), "{name} was not exported");
    }
}
