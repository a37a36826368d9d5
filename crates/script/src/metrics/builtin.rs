//! k6's built-in metrics, under k6's names.

use super::{Contains, Kind, MetricId, Metrics};

/// Where the built-in metrics are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Builtin {
    pub(crate) vus: MetricId,
    pub(crate) vus_max: MetricId,
    pub(crate) iterations: MetricId,
    pub(crate) iteration_duration: MetricId,
    pub(crate) dropped_iterations: MetricId,
    pub(crate) checks: MetricId,
    pub(crate) group_duration: MetricId,
    pub(crate) http_reqs: MetricId,
    pub(crate) http_req_failed: MetricId,
    pub(crate) http_req_duration: MetricId,
    pub(crate) http_req_blocked: MetricId,
    pub(crate) http_req_connecting: MetricId,
    pub(crate) http_req_tls_handshaking: MetricId,
    pub(crate) http_req_sending: MetricId,
    pub(crate) http_req_waiting: MetricId,
    pub(crate) http_req_receiving: MetricId,
    pub(crate) ws_connecting: MetricId,
    pub(crate) ws_msgs_received: MetricId,
    pub(crate) ws_msgs_sent: MetricId,
    pub(crate) ws_ping: MetricId,
    pub(crate) ws_session_duration: MetricId,
    pub(crate) ws_sessions: MetricId,
    pub(crate) data_sent: MetricId,
    pub(crate) data_received: MetricId,
}

impl Default for Builtin {
    fn default() -> Self {
        Self::with(|_, _, _| MetricId(0))
    }
}

impl Builtin {
    pub(super) fn register(metrics: &Metrics) -> Self {
        Self::with(|name, kind, contains| {
            let registered = metrics.register(name, kind, contains);
            debug_assert!(registered.is_ok(), "names of built-in metrics differ");
            registered.unwrap_or(MetricId(0))
        })
    }

    fn with(mut make: impl FnMut(&str, Kind, Contains) -> MetricId) -> Self {
        use Contains::{Data, Default, Time};
        use Kind::{Counter, Gauge, Rate, Trend};
        Self {
            vus: make("vus", Gauge, Default),
            vus_max: make("vus_max", Gauge, Default),
            iterations: make("iterations", Counter, Default),
            iteration_duration: make("iteration_duration", Trend, Time),
            dropped_iterations: make("dropped_iterations", Counter, Default),
            checks: make("checks", Rate, Default),
            group_duration: make("group_duration", Trend, Time),
            http_reqs: make("http_reqs", Counter, Default),
            http_req_failed: make("http_req_failed", Rate, Default),
            http_req_duration: make("http_req_duration", Trend, Time),
            http_req_blocked: make("http_req_blocked", Trend, Time),
            http_req_connecting: make("http_req_connecting", Trend, Time),
            http_req_tls_handshaking: make("http_req_tls_handshaking", Trend, Time),
            http_req_sending: make("http_req_sending", Trend, Time),
            http_req_waiting: make("http_req_waiting", Trend, Time),
            http_req_receiving: make("http_req_receiving", Trend, Time),
            ws_connecting: make("ws_connecting", Trend, Time),
            ws_msgs_received: make("ws_msgs_received", Counter, Default),
            ws_msgs_sent: make("ws_msgs_sent", Counter, Default),
            ws_ping: make("ws_ping", Trend, Time),
            ws_session_duration: make("ws_session_duration", Trend, Time),
            ws_sessions: make("ws_sessions", Counter, Default),
            data_sent: make("data_sent", Counter, Data),
            data_received: make("data_received", Counter, Data),
        }
    }
}
