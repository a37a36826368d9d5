//! What was collected as a recording: operations, cells of response times, samples, counts as metrics, and gaps.
//! A kept line becomes a span without children as well, since that is what it is: the outside of one request.

use crate::collect::{Cell, Collector, Endpoint, Key, NOT_FOUND, is_error, method_name};
use crate::sample::{Kept, priority};
use crate::scan::Scan;
use crate::{hints, series};
use hashbrown::HashMap;
use model::{
    Attribute, ErrorClass, Gap, LatencyCell, MetricKind, MetricSeries, Point, Recording, RequestSample,
    ResourceId, SpanFields, SpanKind, SpanStatus, SpanTable, Value,
};
use std::collections::BTreeMap;

/// Endpoints of a recording; the rest of each method is one more.
const MAX_ENDPOINTS: usize = 300;
const NS_PER_S: u64 = 1_000_000_000;

/// What is known of one endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointSummary {
    /// `GET /orders/{id}`.
    pub name: String,
    pub requests: u64,
    /// 5xx, and clients that went away.
    pub errors: u64,
    pub statuses: BTreeMap<u16, u64>,
    /// Of replies whose size the log tells, in bytes.
    pub size_p50: Option<f64>,
    pub size_p95: Option<f64>,
}

/// A log, or several, as a recording.
#[derive(Debug)]
pub struct Collected {
    pub recording: Recording,
    /// Most requests first.
    pub endpoints: Vec<EndpointSummary>,
    /// Requests with a response time, of all.
    pub timed: u64,
    pub requests: u64,
}

impl Collector {
    /// The recording. `logs` are the names of what was read and how that went.
    #[must_use]
    pub fn finish(mut self, logs: &[(String, Scan)]) -> Collected {
        self.routes.settle();
        self.follow_merged();
        self.settle();
        let mut gaps = hints::gaps(&self, logs);
        let (mut endpoints, folded) = self.named();
        if let Some(gap) = folded {
            gaps.push(gap);
        }
        let mut recording = Recording::default();
        let seconds = self.cell_seconds();
        let start = self.first_ns.min(self.last_ns) / NS_PER_S * NS_PER_S;
        recording.run.start_ns = start;
        recording.run.end_ns = (self.last_ns / NS_PER_S + 1) * NS_PER_S;
        recording.run.id = logs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ");
        recording.run.complete = logs.iter().all(|(_, scan)| scan.ended_early.is_none());
        recording.run.cell_ms = u32::try_from(seconds * 1000).unwrap_or(u32::MAX);
        let service = service(&self.hosts);
        let first_cell = start / NS_PER_S / seconds;
        let mut cells = by_endpoint(std::mem::take(&mut self.cells));
        let mut spans = Spans::new(&service);
        for (number, named) in endpoints.iter_mut().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            recording.run.operations.push(named.name.clone());
            let mut of: BTreeMap<u64, Cell> = BTreeMap::new();
            for (at, cell) in named.keys.iter().filter_map(|key| cells.remove(key)).flatten() {
                of.entry(at).or_default().merge_from(&cell);
            }
            recording.latencies.extend(of.into_iter().map(|(at, cell)| LatencyCell {
                operation: number,
                cell: u32::try_from(at.saturating_sub(first_cell)).unwrap_or(u32::MAX),
                response: cell.response,
                service: cell.upstream,
                errors: cell.errors,
            }));
            recording.metrics.extend(metrics(named, start, recording.run.end_ns));
            for (chance, kept, slowest) in std::mem::take(&mut named.endpoint.samples).finish() {
                let sample = sample(number, chance, &kept, slowest);
                spans.add(&named.name, &sample, &kept);
                recording.requests.push(sample);
            }
        }
        recording.spans = spans.table;
        recording.run.gaps = gaps;
        let mut summaries: Vec<EndpointSummary> = endpoints.into_iter().map(summary).collect();
        summaries.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.name.cmp(&b.name)));
        Collected { recording, endpoints: summaries, timed: self.timed, requests: self.requests }
    }

    /// Endpoints by name, at most so many, and what had to be folded.
    fn named(&mut self) -> (Vec<Named>, Option<Gap>) {
        let mut all: Vec<(Key, Endpoint)> = std::mem::take(&mut self.endpoints).into_iter().collect();
        all.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then_with(|| a.0.cmp(&b.0)));
        let mut by_name: BTreeMap<String, Named> = BTreeMap::new();
        let (mut folded, mut requests) = (0_u64, 0);
        for (at, (key, endpoint)) in all.into_iter().enumerate() {
            let method = method_name(key.1);
            let name = if key.0 == NOT_FOUND {
                format!("{method} {}", series::NOT_FOUND)
            } else if at >= MAX_ENDPOINTS {
                folded += 1;
                requests += endpoint.requests;
                format!("{method} {}", series::OTHERS)
            } else {
                format!("{method} {}", self.routes.pattern(key.0))
            };
            let named = by_name.entry(name.clone()).or_insert_with(|| Named { name, ..Named::default() });
            named.keys.push(key);
            named.endpoint.merge(endpoint);
        }
        let gap = (folded > 0).then(|| {
            Gap::new(
                "log",
                format!("{folded} endpoints with {requests} requests are judged together: there are more than {MAX_ENDPOINTS}"),
                "give the log of one service, or log the route of the service's own router",
            )
        });
        (by_name.into_values().collect(), gap)
    }
}

#[derive(Default)]
struct Named {
    name: String,
    keys: Vec<Key>,
    endpoint: Endpoint,
}

fn summary(named: Named) -> EndpointSummary {
    let Endpoint { requests, errors, statuses, sizes, .. } = named.endpoint;
    EndpointSummary {
        name: named.name,
        requests,
        errors,
        statuses,
        size_p50: sizes.quantile_ns(0.5),
        size_p95: sizes.quantile_ns(0.95),
    }
}

fn by_endpoint(cells: HashMap<(Key, u64), Cell>) -> HashMap<Key, Vec<(u64, Cell)>> {
    let mut by: HashMap<Key, Vec<(u64, Cell)>> = HashMap::new();
    for ((key, at), cell) in cells {
        by.entry(key).or_default().push((at, cell));
    }
    by
}

/// The only host, or a word.
fn service(hosts: &HashMap<Box<str>, u64>) -> String {
    let mut names = hosts.keys();
    match (names.next(), names.next()) {
        (Some(one), None) => one.split(':').next().unwrap_or("").to_owned(),
        _ => "service".to_owned(),
    }
}

fn sample(operation: u32, chance: u64, kept: &Kept, slowest: bool) -> RequestSample {
    let made = u128::from(chance) << 64 | u128::from(priority(chance)) | 1;
    RequestSample {
        operation,
        due_ns: kept.begin_ns,
        response_ns: kept.duration_ns,
        service_ns: kept.upstream_ns.unwrap_or(kept.duration_ns),
        status: kept.status,
        error: is_error(kept.status).then_some(match kept.status {
            500.. => ErrorClass::ServerStatus,
            _ => ErrorClass::Closed,
        }),
        received_bytes: kept.sent_bytes.unwrap_or(0),
        sent_bytes: kept.received_bytes,
        trace_id: if kept.trace_id == 0 { made } else { kept.trace_id },
        slowest,
        phases: model::RequestPhases::default(),
    }
}

/// Requests by status, and quantiles of sizes.
fn metrics(named: &Named, start_ns: u64, end_ns: u64) -> Vec<MetricSeries> {
    let attributes = |more: &str, value: String| {
        let (method, route) = named.name.split_once(' ').unwrap_or(("", &named.name));
        [("http.request.method", method.to_owned()), ("http.route", route.to_owned()), (more, value)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<BTreeMap<String, String>>()
    };
    let counts = named.endpoint.statuses.iter().map(|(status, count)| MetricSeries {
        name: series::REQUESTS.to_owned(),
        unit: "{request}".to_owned(),
        kind: MetricKind::Counter,
        attributes: attributes("http.response.status_code", status.to_string()),
        points: vec![
            Point { time_ns: start_ns, value: 0.0 },
            Point { time_ns: end_ns, value: *count as f64 },
        ],
    });
    let sizes = [0.5, 0.95, 0.99].into_iter().filter_map(|q| {
        let value = named.endpoint.sizes.quantile_ns(q)?;
        Some(MetricSeries {
            name: series::SIZES.to_owned(),
            unit: "By".to_owned(),
            kind: MetricKind::Quantile,
            attributes: attributes("quantile", q.to_string()),
            points: vec![Point { time_ns: end_ns, value }],
        })
    });
    counts.chain(sizes).collect()
}

struct Spans {
    table: SpanTable,
    resource: ResourceId,
}

impl Spans {
    fn new(service: &str) -> Self {
        let mut table = SpanTable::default();
        let mut attribute = |key: &str, value: &str| Attribute {
            key: table.strings.intern(key),
            value: table.pack(Value::Text(value)),
        };
        let attributes = [attribute("service.name", service), attribute("telemetry.source", "access log")];
        let resource = table.add_resource(&attributes);
        Self { table, resource }
    }

    fn add(&mut self, name: &str, sample: &RequestSample, kept: &Kept) {
        let (method, route) = name.split_once(' ').unwrap_or(("", name));
        let mut values = vec![
            ("http.request.method", Value::Text(method)),
            ("http.route", Value::Text(route)),
            ("http.response.status_code", Value::Int(i64::from(kept.status))),
        ];
        if let Some(bytes) = kept.sent_bytes {
            values.push(("http.response.body.size", Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))));
        }
        if !kept.host.is_empty() {
            values.push(("server.address", Value::Text(&kept.host)));
        }
        let attributes: Vec<Attribute> = values
            .into_iter()
            .map(|(key, value)| Attribute {
                key: self.table.strings.intern(key),
                value: self.table.pack(value),
            })
            .collect();
        let fields = SpanFields {
            trace_id: sample.trace_id,
            span_id: priority(sample.due_ns ^ sample.response_ns) | 1,
            parent_id: 0,
            start_ns: kept.begin_ns,
            duration_ns: i64::try_from(kept.duration_ns).unwrap_or(i64::MAX),
            name: self.table.strings.intern(name),
            kind: SpanKind::Server,
            status: if sample.error.is_some() { SpanStatus::Error } else { SpanStatus::Unset },
            resource: self.resource,
            ..SpanFields::default()
        };
        self.table.push(fields, &attributes);
    }
}
