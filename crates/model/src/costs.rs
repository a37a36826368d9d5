//! What one request of each operation costs: statements of a database, commands of a cache, CPU, bytes. Told from how
//! counters grew while the load's mix varied; nothing of it comes from the service itself.

use crate::Gap;
use serde::{Deserialize, Serialize};

/// Version of [`Costs`] as it is saved; readers pass over a newer one.
pub const COSTS_VERSION: u32 = 1;

/// A figure with its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// What a counter grows by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attribution {
    /// Growth per request, by operation. `None`: nothing was asked of it, or it cannot be told from others.
    pub per_request: Vec<Option<Rate>>,
    /// Growth per second that no request causes.
    pub background_per_second: Option<Rate>,
    /// Length of what the fit leaves over, as share of the length of the growth, 0 to 1. Large where the work depends on
    /// data, is cached, or comes later than its request.
    pub residual: f64,
    /// Windows that counted.
    pub windows: usize,
}

impl Attribution {
    /// Growth per request of an operation, where it can be told.
    #[must_use]
    pub fn of(&self, operation: usize) -> Option<Rate> {
        self.per_request.get(operation).copied().flatten()
    }
}

/// A statement's growth per request of each operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementCost {
    /// Its identity, as [`crate::sql::normalise`] makes it.
    pub text: String,
    pub calls: Attribution,
    /// Milliseconds within the database.
    pub ms: Attribution,
    pub rows: Attribution,
    /// Shared blocks, found or read.
    pub blocks: Attribution,
    pub wal_bytes: Attribution,
}

/// Another counter's growth per request of each operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceCost {
    /// One of [`resources`], or a counter's own name.
    pub name: String,
    /// `ms`, `By`, `{call}`.
    pub unit: String,
    pub cost: Attribution,
}

/// Names of resources that are part of where a request's time goes.
pub mod resources {
    /// Milliseconds on a CPU of the service's processes.
    pub const CPU: &str = "service_cpu";
    /// Milliseconds in which the service's threads waited for a CPU.
    pub const CPU_QUEUE: &str = "service_cpu_queue";
    /// Milliseconds within the cache.
    pub const CACHE: &str = "cache";
    /// Look-ups in the cache that found a value, and those that did not.
    pub const CACHE_HITS: &str = "cache_hits";
    pub const CACHE_MISSES: &str = "cache_misses";
    /// Times that the cache read from a client's socket: a pipeline of many commands is one.
    pub const CACHE_READS: &str = "cache_reads";
    /// Begins the name of calls of one command: `cache_calls_get`.
    pub const CACHE_CALLS: &str = "cache_calls_";
    /// Begins the name of milliseconds within one command: `cache_time_get`.
    pub const CACHE_TIME: &str = "cache_time_";
    /// Bytes that the service's network interfaces received.
    pub const NETWORK: &str = "network_received";
}

/// All that was attributed in one window of measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// [`COSTS_VERSION`] of the writer.
    pub version: u32,
    /// The order of [`Attribution::per_request`]: the run's operations.
    pub operations: Vec<String>,
    /// Mean length of a window.
    pub window_s: f64,
    /// The load's mix was varied from window to window for this.
    pub varied: bool,
    /// Of the mix: the ratio of the largest to the smallest singular value of its columns, scaled to length one.
    pub condition: f64,
    /// From the service's host to the database and back, with an empty statement: median, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
    /// To the cache and back, with `PING`: median, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_round_trip_ms: Option<f64>,
    /// Those with most time first.
    pub statements: Vec<StatementCost>,
    /// By name.
    pub resources: Vec<ResourceCost>,
    /// What could not be told apart, and which windows do not count.
    pub gaps: Vec<Gap>,
}

impl Costs {
    #[must_use]
    pub fn resource(&self, name: &str) -> Option<&Attribution> {
        self.resources.iter().find(|r| r.name == name).map(|r| &r.cost)
    }
}

/// Where the time of one operation's requests goes, on average, without any trace. The parts may overlap: two statements
/// at once take as long as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimeSpent {
    pub endpoint: String,
    /// Mean time of a request as the load saw it.
    pub mean_ms: f64,
    /// Within the database, over all of its statements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_ms: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ms: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_queue_ms: Option<Rate>,
    /// What none of them explains: the network, locks, other services; not below 0.
    pub rest_ms: f64,
    /// Statements of the database per request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statements: Option<Rate>,
    /// The largest share that any of the fits leaves over, 0 to 1.
    pub residual: f64,
}
