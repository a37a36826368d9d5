//! Requests to endpoints: counts, statuses, sizes, response times in cells of time. Bounded in endpoints and cells;
//! at the bound endpoints are folded and cells made longer, and both are told.

use crate::request::Request;
use crate::routes::{RouteId, Routes};
use crate::sample::{Kept, Samples, priority};
use hashbrown::HashMap;
use model::Histogram;
use std::collections::BTreeMap;

/// Cells over all endpoints; then they are made longer.
const MAX_CELLS: usize = 100_000;
/// Lengths of a cell in seconds; each divides the next.
const CELL_SECONDS: [u64; 8] = [1, 5, 10, 60, 300, 3600, 21_600, 86_400];
/// Most frequent paths that were not found, kept to be told.
const MAX_MISSING: usize = 200;
const MAX_HOSTS: usize = 1000;

/// Methods that have endpoints of their own; anything else is `OTHER`.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "TRACE"];
pub(crate) const OTHER_METHOD: u8 = METHODS.len() as u8;

pub(crate) fn method_number(method: &str) -> u8 {
    let at = METHODS.iter().position(|known| known.eq_ignore_ascii_case(method));
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(OTHER_METHOD)
}

pub(crate) fn method_name(number: u8) -> &'static str {
    METHODS.get(usize::from(number)).copied().unwrap_or("OTHER")
}

/// Whether a status is a failure of the service or of its speed: 5xx, and clients that went away (nginx's 499, none).
#[must_use]
pub fn is_error(status: u16) -> bool {
    status >= 500 || status == 499 || status < 100
}

/// An endpoint's figures over the whole log.
#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Body sizes in place of nanoseconds.
    pub(crate) sizes: Histogram,
    pub(crate) samples: Samples,
}

impl Endpoint {
    pub(crate) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.sizes.merge(&other.sizes);
        self.samples.merge(other.samples);
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) response: Histogram,
    pub(crate) upstream: Histogram,
    pub(crate) errors: u32,
}

impl Cell {
    pub(crate) fn merge_from(&mut self, other: &Self) {
        self.response.merge(&other.response);
        self.upstream.merge(&other.upstream);
        self.errors += other.errors;
    }
}

/// Route and method.
pub(crate) type Key = (RouteId, u8);
/// Paths that do not exist, whatever they are.
pub(crate) const NOT_FOUND: RouteId = RouteId::MAX;

/// Collects requests, of one log or several.
#[derive(Debug)]
pub struct Collector {
    pub(crate) routes: Routes,
    pub(crate) endpoints: HashMap<Key, Endpoint>,
    /// By endpoint and number of the cell since 1970.
    pub(crate) cells: HashMap<(Key, u64), Cell>,
    /// Index into the lengths.
    cell: usize,
    /// Routes that became others and whose cells are still their own.
    moved: HashMap<RouteId, RouteId>,
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    pub(crate) requests: u64,
    pub(crate) timed: u64,
    pub(crate) missing: HashMap<Box<str>, u64>,
    pub(crate) hosts: HashMap<Box<str>, u64>,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            routes: Routes::default(),
            endpoints: HashMap::new(),
            cells: HashMap::new(),
            cell: 0,
            moved: HashMap::new(),
            first_ns: u64::MAX,
            last_ns: 0,
            requests: 0,
            timed: 0,
            missing: HashMap::new(),
            hosts: HashMap::new(),
        }
    }
}

impl Collector {
    pub(crate) fn cell_seconds(&self) -> u64 {
        CELL_SECONDS[self.cell]
    }

    /// Counts a request.
    pub fn take(&mut self, request: &Request<'_>) {
        let number = self.requests;
        self.requests += 1;
        self.first_ns = self.first_ns.min(request.begin_ns);
        let end_ns = request.begin_ns.saturating_add(request.duration_ns.unwrap_or(0));
        self.last_ns = self.last_ns.max(end_ns);
        if !request.host.is_empty() {
            count(&mut self.hosts, &request.host, MAX_HOSTS);
        }
        let key = self.key(request);
        let error = is_error(request.status);
        let endpoint = self.endpoints.entry(key).or_default();
        endpoint.requests += 1;
        endpoint.errors += u64::from(error);
        *endpoint.statuses.entry(request.status).or_default() += 1;
        if let Some(bytes) = request.sent_bytes {
            endpoint.sizes.record(bytes);
        }
        let Some(duration_ns) = request.duration_ns else { return };
        self.timed += 1;
        let priority = priority(number);
        if endpoint.samples.wants(priority, duration_ns) {
            endpoint.samples.offer(
                priority,
                &Kept {
                    begin_ns: request.begin_ns,
                    duration_ns,
                    upstream_ns: request.upstream_ns,
                    status: request.status,
                    sent_bytes: request.sent_bytes,
                    received_bytes: request.received_bytes.unwrap_or(0),
                    trace_id: request.trace_id,
                    host: request.host.chars().take(80).collect::<String>().into(),
                },
            );
        }
        let at = request.begin_ns / 1_000_000_000 / self.cell_seconds();
        let cell = self.cells.entry((key, at)).or_default();
        cell.response.record(duration_ns);
        if let Some(upstream_ns) = request.upstream_ns {
            cell.upstream.record(upstream_ns);
        }
        cell.errors += u32::from(error);
        if self.cells.len() > MAX_CELLS {
            self.lengthen();
        }
    }

    fn key(&mut self, request: &Request<'_>) -> Key {
        let method = method_number(&request.method);
        let path = if request.route.starts_with('/') { &*request.route } else { request.path() };
        // A scanner's thousand paths that do not exist are no endpoints.
        if matches!(request.status, 400 | 404 | 405) {
            let known = self.routes.find(path, &mut Vec::new()).map(|route| (route, method));
            return known.filter(|key| self.endpoints.contains_key(key)).unwrap_or_else(|| {
                count(&mut self.missing, path, MAX_MISSING);
                (NOT_FOUND, method)
            });
        }
        let route = self.routes.learn(path);
        if self.routes.has_merged() {
            self.follow_merged();
        }
        (route, method)
    }

    /// Patterns became one: so do their figures. Cells follow when there is need to.
    pub(crate) fn follow_merged(&mut self) {
        for (from, into) in self.routes.take_merged() {
            self.moved.insert(from, into);
            for method in 0..=OTHER_METHOD {
                if let Some(moved) = self.endpoints.remove(&(from, method)) {
                    self.endpoints.entry((into, method)).or_default().merge(moved);
                }
            }
        }
    }

    /// Cells of routes that became others join theirs.
    pub(crate) fn settle(&mut self) {
        if self.moved.is_empty() {
            return;
        }
        let moved = std::mem::take(&mut self.moved);
        let end = |mut route: RouteId| {
            while let Some(next) = moved.get(&route) {
                route = *next;
            }
            route
        };
        self.rebuild(|(key, at)| ((end(key.0), key.1), at));
    }

    /// Fewer cells: of one endpoint, else of longer time.
    fn lengthen(&mut self) {
        self.settle();
        while self.cells.len() > MAX_CELLS / 2 {
            let Some(longer) = CELL_SECONDS.get(self.cell + 1) else { return };
            let factor = longer / self.cell_seconds();
            self.cell += 1;
            self.rebuild(|(key, at)| (key, at / factor));
        }
    }

    fn rebuild(&mut self, place: impl Fn((Key, u64)) -> (Key, u64)) {
        let old = std::mem::take(&mut self.cells);
        let mut new: HashMap<(Key, u64), Cell> = HashMap::with_capacity(old.len() / 2);
        for (at, cell) in old {
            match new.entry(place(at)) {
                hashbrown::hash_map::Entry::Occupied(mut known) => known.get_mut().merge_from(&cell),
                hashbrown::hash_map::Entry::Vacant(free) => {
                    free.insert(cell);
                }
            }
        }
        self.cells = new;
    }
}

/// Counts a text, as long as there is room for it.
fn count(counts: &mut HashMap<Box<str>, u64>, text: &str, most: usize) {
    if let Some(known) = counts.get_mut(text) {
        *known += 1;
    } else if counts.len() < most {
        let short: String = text.chars().take(120).collect();
        *counts.entry(short.into()).or_default() += 1;
    }
}
