//! Time series of figures: what hosts, processes, services and pools report.
//! Names follow OpenTelemetry's conventions; [`names`] lists those that rules look for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How to read the points of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// A level at a moment.
    Gauge,
    /// A total that only grows; a fall is a restart.
    Counter,
    /// One quantile of a distribution since the last point, the quantile as attribute `quantile`.
    Quantile,
}

/// One value at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Unix time in nanoseconds.
    pub time_ns: u64,
    pub value: f64,
}

/// A named series with its attributes. Points ascend in time and are finite: NaN and infinities become gaps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSeries {
    pub name: String,
    /// UCUM, as OpenTelemetry gives it: `s`, `By`, `1`, `{request}`.
    pub unit: String,
    pub kind: MetricKind,
    /// Attributes of the resource and of the point, resource first when both have a key.
    pub attributes: BTreeMap<String, String>,
    pub points: Vec<Point>,
}

impl MetricSeries {
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }

    /// `service.name`, where the series has one.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.attribute("service.name")
    }

    /// Mean of a gauge's values; `None` without points.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.points.iter().map(|p| p.value).sum();
        (!self.points.is_empty()).then(|| sum / self.points.len() as f64)
    }

    /// The largest value; `None` without points.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.points.iter().map(|p| p.value).max_by(f64::total_cmp)
    }

    /// Growth per second of a counter over its points, restarts skipped; `None` under two points.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let seconds = last.time_ns.saturating_sub(first.time_ns) as f64 / 1e9;
        let growth: f64 = self.points.windows(2).map(|w| (w[1].value - w[0].value).max(0.0)).sum();
        (seconds > 0.0).then(|| growth / seconds)
    }
}

/// Series that instruments write and rules read.
pub mod names {
    /// Gauge, 0 to 1 of the whole host. Attribute `host.name`.
    pub const HOST_CPU: &str = "system.cpu.utilization";
    /// Gauge, number of logical processors of the host.
    pub const HOST_CPUS: &str = "system.cpu.logical.count";
    /// Gauge, 0 to 1.
    pub const HOST_MEMORY: &str = "system.memory.utilization";
    /// Gauge, share of time in which a task waited for a CPU (PSI `cpu some`), 0 to 1.
    pub const HOST_CPU_PRESSURE: &str = "system.cpu.pressure";
    /// Gauge, share of time in which a task waited for the disk (PSI `io some`), 0 to 1.
    pub const HOST_IO_PRESSURE: &str = "system.io.pressure";
    /// Gauge, bytes per second, attribute `disk.io.direction`.
    pub const HOST_DISK_IO: &str = "system.disk.io.rate";
    /// Gauge, cores in use by one process group. Attributes `process.role` (`service`, `database`, `generator`,
    /// `trimtab`), `process.executable.name`, `process.pid`.
    pub const PROCESS_CPU: &str = "process.cpu.cores";
    /// Gauge, seconds of run-queue wait per second, summed over threads. Attributes as above.
    pub const PROCESS_RUN_QUEUE: &str = "process.run_queue.wait";
    /// Gauge, resident bytes. Attributes as above.
    pub const PROCESS_MEMORY: &str = "process.memory.usage";
    /// Gauge, cores in use by a container.
    pub const CONTAINER_CPU: &str = "container.cpu.usage";
    /// Gauge, 0 to 1 of the container's limit.
    pub const CONTAINER_CPU_LIMIT: &str = "k8s.container.cpu_limit_utilization";
    /// Gauge, connections by `db.client.connection.state` (`idle`, `used`).
    pub const POOL_CONNECTIONS: &str = "db.client.connection.count";
    /// Gauge, the pool's size.
    pub const POOL_MAX: &str = "db.client.connection.max";
    /// Gauge, callers that wait for a connection.
    pub const POOL_PENDING: &str = "db.client.connection.pending_requests";
    /// Quantile (or counter of sums), seconds of waiting for a connection.
    pub const POOL_WAIT: &str = "db.client.connection.wait_time";
    /// Counter of requests that a log tells. Attributes `http.request.method`, `http.route`,
    /// `http.response.status_code`.
    pub const REQUESTS: &str = "http.server.requests";
    /// Quantiles of the bytes of replies that a log tells. Attributes `http.request.method`, `http.route`, `quantile`.
    pub const REPLY_BYTES: &str = "http.server.response.body.size";
}
