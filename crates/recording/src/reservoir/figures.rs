//! What stays exact when traces are dropped: how many there were, and the durations of all root spans by endpoint.

use model::{Gap, Histogram, SpanStatus, SpanTable};
use std::collections::{HashMap, HashSet};

/// Endpoints that are told apart; further ones count as one.
const MAX_ENDPOINTS: usize = 10_000;
/// Attributes that tell endpoints of one span name apart, newest spelling first.
const ROUTES: [&str; 3] = ["http.route", "url.template", "rpc.method"];

/// All root spans of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootFigures {
    pub service: String,
    /// The span's name as sent.
    pub name: String,
    /// The route, where one was sent.
    pub route: String,
    pub durations: Histogram,
    /// Root spans whose status was an error.
    pub errors: u64,
}

/// What was kept of what there was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thinned {
    pub spans: u64,
    pub kept_spans: u64,
    pub traces: u64,
    pub kept_traces: u64,
    /// Spans of kept traces that were beyond the bound of one trace.
    pub cut_spans: u64,
    pub max_bytes: usize,
    /// First start and last end of all root spans, Unix nanoseconds.
    pub start_ns: u64,
    pub end_ns: u64,
    /// Every root span by service, name and route, sorted; those of dropped traces too.
    pub roots: Vec<RootFigures>,
}

impl Thinned {
    /// What a reader of the diagnosis has to know.
    #[must_use]
    pub fn gap(&self) -> Gap {
        let cut = match self.cut_spans {
            0 => String::new(),
            spans => format!("; {spans} spans of very large traces were left out"),
        };
        Gap::new(
            "traces",
            format!(
                "{} of {} traces ({} of {} spans) were kept to stay within {} MiB of memory, the same share of each \
                 endpoint's fast and slow requests and at least 256 of each endpoint{cut}",
                self.kept_traces,
                self.traces,
                self.kept_spans,
                self.spans,
                self.max_bytes >> 20
            ),
            "each kept trace stands for those like it; name fewer files to judge all of their traces",
        )
    }
}

/// The counts under way.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) spans: u64,
    pub(super) late_spans: u64,
    pub(super) cut_spans: u64,
    dropped_traces: u64,
    start_ns: u64,
    end_ns: u64,
    index: HashMap<(String, String, String), u32>,
    roots: Vec<RootFigures>,
}

/// The route of a span.
pub(super) fn route(table: &SpanTable, row: usize) -> Option<&str> {
    ROUTES.iter().find_map(|key| table.row(row).attribute(key)?.as_text())
}

impl Figures {
    /// Counts spans that were not counted before.
    pub(super) fn count(&mut self, table: &SpanTable) {
        self.spans += table.len() as u64;
        for row in (0..table.len()).filter(|row| table.parent_ids[*row] == 0) {
            let endpoint = self.endpoint(table, row);
            let (start_ns, duration) = (table.starts_ns[row], table.durations_ns[row]);
            let duration_ns = u64::try_from(duration).unwrap_or(0);
            self.start_ns = if self.start_ns == 0 { start_ns } else { self.start_ns.min(start_ns) };
            self.end_ns = self.end_ns.max(start_ns.saturating_add(duration_ns));
            let figures = &mut self.roots[endpoint as usize];
            figures.durations.record(duration_ns);
            figures.errors += u64::from(table.statuses[row] == SpanStatus::Error);
        }
    }

    /// The number of a root span's endpoint.
    pub(super) fn endpoint(&mut self, table: &SpanTable, row: usize) -> u32 {
        let span = table.row(row);
        let words = [span.service(), span.name(), route(table, row).unwrap_or("")].map(str::to_owned);
        let [service, name, route] = words;
        let key = (service, name, route);
        if let Some(known) = self.index.get(&key) {
            return *known;
        }
        let next = u32::try_from(self.roots.len()).unwrap_or(u32::MAX);
        if self.roots.len() >= MAX_ENDPOINTS {
            // The last one takes all that follow.
            return next.saturating_sub(1);
        }
        let (service, name, route) = key.clone();
        self.roots.push(RootFigures { service, name, route, ..RootFigures::default() });
        self.index.insert(key, next);
        next
    }

    pub(super) fn drop_trace(&mut self) {
        self.dropped_traces += 1;
    }

    /// The result; `None` if nothing was left out.
    pub(super) fn finish(self, pool: &SpanTable, max_bytes: usize) -> Option<Thinned> {
        if self.dropped_traces == 0 && self.cut_spans == 0 {
            return None;
        }
        let kept_traces = pool.trace_ids.iter().collect::<HashSet<_>>().len() as u64;
        let mut roots: Vec<RootFigures> =
            self.roots.into_iter().filter(|root| !root.durations.is_empty()).collect();
        roots.sort_by(|a, b| (&a.service, &a.name, &a.route).cmp(&(&b.service, &b.name, &b.route)));
        Some(Thinned {
            spans: self.spans,
            kept_spans: pool.len() as u64,
            traces: kept_traces + self.dropped_traces,
            kept_traces,
            cut_spans: self.cut_spans,
            max_bytes,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            roots,
        })
    }
}
