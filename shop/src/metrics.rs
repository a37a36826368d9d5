//! What the shop counts, told twice: to OpenTelemetry by the names of its semantic conventions,
//! and as Prometheus text. Gauges of pool and queues are read when somebody asks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram as OtelHistogram, Meter};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bucket bounds in seconds that the HTTP conventions recommend; the database ones begin lower.
const REQUEST_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const DATABASE_BOUNDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

type Labels<const N: usize> = [(&'static str, String); N];
type Observations<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;
type Level = Gauge<u64, AtomicU64>;

pub(crate) struct Metrics {
    registry: Registry,
    request_duration: Observations<3>,
    operation_duration: Observations<2>,
    pool_wait: Histogram,
    pool_count: Family<Labels<1>, Level>,
    pool_max: Level,
    pool_pending: Level,
    queue_depth: Family<Labels<1>, Level>,
    outcomes: Family<Labels<2>, Counter>,
    otel_request_duration: OtelHistogram<f64>,
    otel_operation_duration: OtelHistogram<f64>,
    otel_pool_wait: OtelHistogram<f64>,
}

/// State of the pool at one moment, in connections and waiting callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolLevel {
    pub used: u64,
    pub idle: u64,
    pub max: u64,
    pub pending: u64,
}

/// Name and number of waiting entries of each queue.
pub(crate) type QueueLevels = [(&'static str, u64); 2];

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_BOUNDS)
}

fn database_histogram() -> Histogram {
    Histogram::new(DATABASE_BOUNDS)
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let request_duration: Observations<3> = Family::new_with_constructor(request_histogram);
        let operation_duration: Observations<2> = Family::new_with_constructor(database_histogram);
        let mut metrics = Self {
            registry: Registry::default(),
            request_duration,
            operation_duration,
            pool_wait: database_histogram(),
            pool_count: Family::default(),
            pool_max: Level::default(),
            pool_pending: Level::default(),
            queue_depth: Family::default(),
            outcomes: Family::default(),
            otel_request_duration: seconds(meter, "http.server.request.duration", &REQUEST_BOUNDS),
            otel_operation_duration: seconds(meter, "db.client.operation.duration", &DATABASE_BOUNDS),
            otel_pool_wait: seconds(meter, "db.client.connection.wait_time", &DATABASE_BOUNDS),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let mut add = |name: &str, help: &str, metric: Box<dyn Registered>| metric.add(registry, name, help);
        add(
            "http_server_request_duration_seconds",
            "Time from the request's headers to the end of the answer",
            Box::new(self.request_duration.clone()),
        );
        add(
            "db_client_operation_duration_seconds",
            "Time of a database call",
            Box::new(self.operation_duration.clone()),
        );
        add(
            "db_client_connection_wait_time_seconds",
            "Time until the pool gave a connection",
            Box::new(self.pool_wait.clone()),
        );
        add("db_client_connection_count", "Connections of the pool", Box::new(self.pool_count.clone()));
        add("db_client_connection_max", "Largest size of the pool", Box::new(self.pool_max.clone()));
        add(
            "db_client_connection_pending_requests",
            "Callers that wait for a connection",
            Box::new(self.pool_pending.clone()),
        );
        add("queue_depth", "Entries that wait in a queue", Box::new(self.queue_depth.clone()));
        add("queue_outcomes", "Entries by what became of them", Box::new(self.outcomes.clone()));
    }

    pub(crate) fn request(&self, method: &str, route: &str, status: u16, duration: Duration) {
        let status_text = status.to_string();
        self.request_duration
            .get_or_create(&[
                ("http_request_method", method.to_owned()),
                ("http_route", route.to_owned()),
                ("http_response_status_code", status_text),
            ])
            .observe(duration.as_secs_f64());
        self.otel_request_duration.record(
            duration.as_secs_f64(),
            &[
                KeyValue::new("http.request.method", method.to_owned()),
                KeyValue::new("http.route", route.to_owned()),
                KeyValue::new("http.response.status_code", i64::from(status)),
                KeyValue::new("url.scheme", "http"),
            ],
        );
    }

    pub(crate) fn operation(&self, operation: &'static str, collection: &'static str, duration: Duration) {
        self.operation_duration
            .get_or_create(&[
                ("db_operation_name", operation.to_owned()),
                ("db_collection_name", collection.to_owned()),
            ])
            .observe(duration.as_secs_f64());
        self.otel_operation_duration.record(
            duration.as_secs_f64(),
            &[
                KeyValue::new("db.system.name", "postgresql"),
                KeyValue::new("db.operation.name", operation),
                KeyValue::new("db.collection.name", collection),
            ],
        );
    }

    pub(crate) fn pool_wait(&self, duration: Duration) {
        self.pool_wait.observe(duration.as_secs_f64());
        let pool = KeyValue::new("db.client.connection.pool.name", "shop");
        self.otel_pool_wait.record(duration.as_secs_f64(), &[pool]);
    }

    /// What became of `count` entries of a queue: `done`, `retried`, `refused` or `lost`.
    pub(crate) fn outcome(&self, queue: &'static str, outcome: &'static str, count: u64) {
        self.outcomes
            .get_or_create(&[("queue", queue.to_owned()), ("outcome", outcome.to_owned())])
            .inc_by(count);
    }

    /// The Prometheus page with the levels as they are now.
    ///
    /// # Errors
    /// Only when formatting fails, which would be a bug.
    pub(crate) fn page(&self, pool: PoolLevel, queues: QueueLevels) -> Result<String, std::fmt::Error> {
        for (state, value) in [("used", pool.used), ("idle", pool.idle)] {
            self.pool_count.get_or_create(&[("state", state.to_owned())]).set(value);
        }
        self.pool_max.set(pool.max);
        self.pool_pending.set(pool.pending);
        for (queue, depth) in queues {
            self.queue_depth.get_or_create(&[("queue", queue.to_owned())]).set(depth);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Lets the table in `register` hold metrics of several types.
trait Registered {
    fn add(self: Box<Self>, registry: &mut Registry, name: &str, help: &str);
}

impl<M: prometheus_client::registry::Metric> Registered for M {
    fn add(self: Box<Self>, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, *self);
    }
}

fn seconds(meter: &Meter, name: &'static str, bounds: &[f64]) -> OtelHistogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_boundaries(bounds.to_vec()).build()
}

/// Tells OpenTelemetry how to read the levels of pool and queues whenever it exports.
pub(crate) fn observe_levels(
    meter: &Meter,
    pool: impl Fn() -> PoolLevel + Send + Sync + 'static,
    queues: impl Fn() -> QueueLevels + Send + Sync + 'static,
) {
    let pool = Arc::new(pool);
    let name = || KeyValue::new("db.client.connection.pool.name", "shop");
    let level = Arc::clone(&pool);
    meter
        .i64_observable_up_down_counter("db.client.connection.count")
        .with_unit("{connection}")
        .with_callback(move |observer| {
            let now = level();
            for (state, value) in [("used", now.used), ("idle", now.idle)] {
                observer
                    .observe(signed(value), &[name(), KeyValue::new("db.client.connection.state", state)]);
            }
        })
        .build();
    let level = Arc::clone(&pool);
    meter
        .i64_observable_up_down_counter("db.client.connection.max")
        .with_unit("{connection}")
        .with_callback(move |observer| observer.observe(signed(level().max), &[name()]))
        .build();
    meter
        .i64_observable_up_down_counter("db.client.connection.pending_requests")
        .with_unit("{request}")
        .with_callback(move |observer| observer.observe(signed(pool().pending), &[name()]))
        .build();
    meter
        .u64_observable_gauge("queue.depth")
        .with_unit("{entry}")
        .with_callback(move |observer| {
            for (queue, depth) in queues() {
                observer.observe(depth, &[KeyValue::new("messaging.destination.name", queue)]);
            }
        })
        .build();
}

/// The conventions count connections with signed up-down counters.
fn signed(level: u64) -> i64 {
    i64::try_from(level).unwrap_or(i64::MAX)
}
