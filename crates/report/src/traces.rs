//! The span table read as traces: which rows belong together, which one is the root, whose endpoint it serves.

use model::{Goal, GoalMetric, Histogram, Recording, Relation, SpanKind, SpanRef, SpanTable};
use std::collections::{HashMap, HashSet};

/// The traces of the chosen endpoints.
pub(crate) struct Traces {
    /// Rows of the span table, by trace and start.
    pub(crate) rows: Vec<usize>,
    pub(crate) found: Vec<Found>,
}

/// A trace of a chosen endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) trace_id: u128,
    /// Range in [`Traces::rows`].
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Row that the endpoint was recognized by.
    pub(crate) root: usize,
    /// Index into the chosen endpoints.
    pub(crate) endpoint: usize,
    pub(crate) duration_ns: u64,
}

impl Traces {
    pub(crate) fn of_endpoint(&self, endpoint: usize) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(move |t| t.endpoint == endpoint)
    }

    /// Durations of an endpoint's server spans.
    pub(crate) fn durations(&self, endpoint: usize) -> Histogram {
        let mut all = Histogram::default();
        for trace in self.of_endpoint(endpoint) {
            all.record(trace.duration_ns);
        }
        all
    }

    /// The trace at a quantile of the endpoint's durations, by the nearest rank.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is at most the count"
    )]
    pub(crate) fn at_quantile(&self, endpoint: usize, quantile: f64) -> Option<&Found> {
        let mut all: Vec<&Found> = self.of_endpoint(endpoint).collect();
        all.sort_by_key(|t| (t.duration_ns, t.trace_id));
        let rank = (quantile * all.len() as f64).ceil() as usize;
        all.get(rank.max(1) - 1).copied()
    }
}

/// Groups the spans and recognizes the chosen endpoints: by the load's samples where they carry the trace's id, else
/// by the names that the root or a server span bears.
pub(crate) fn read(recording: &Recording, chosen: &[String]) -> Traces {
    let spans = &recording.spans;
    let mut rows: Vec<usize> = (0..spans.len()).collect();
    rows.sort_unstable_by_key(|&row| (spans.trace_ids[row], spans.starts_ns[row], row));
    let mut names = Names::new(chosen);
    let by_load = by_load(recording, &mut names);
    let mut found = Vec::new();
    let mut from = 0;
    while from < rows.len() {
        let trace_id = spans.trace_ids[rows[from]];
        let to = from + rows[from..].iter().take_while(|&&row| spans.trace_ids[row] == trace_id).count();
        let known = by_load.get(&trace_id).copied();
        if let Some((root, endpoint)) = recognize(spans, &rows[from..to], known, &mut names) {
            let duration_ns = u64::try_from(spans.durations_ns[root]).unwrap_or(0);
            found.push(Found { trace_id, from, to, root, endpoint, duration_ns });
        }
        from = to;
    }
    Traces { rows, found }
}

fn by_load(recording: &Recording, names: &mut Names<'_>) -> HashMap<u128, usize> {
    let operations: Vec<Option<usize>> = recording.run.operations.iter().map(|o| names.find(o)).collect();
    let endpoint = |operation: u32| operations.get(operation as usize).copied().flatten();
    let joined = recording.requests.iter().filter(|r| r.trace_id != 0);
    joined.filter_map(|r| Some((r.trace_id, endpoint(r.operation)?))).collect()
}

/// The row and the endpoint that it serves.
fn recognize(
    spans: &SpanTable,
    rows: &[usize],
    known: Option<usize>,
    names: &mut Names<'_>,
) -> Option<(usize, usize)> {
    let ids: HashSet<u64> = rows.iter().map(|&row| spans.span_ids[row]).collect();
    let is_root = |row: usize| {
        let (id, parent) = (spans.span_ids[row], spans.parent_ids[row]);
        parent != id && !ids.contains(&parent)
    };
    let heads: Vec<usize> =
        rows.iter().copied().filter(|&row| is_root(row) || spans.kinds[row] == SpanKind::Server).collect();
    let first = |wanted: &dyn Fn(usize) -> bool| heads.iter().copied().find(|&row| wanted(row));
    if let Some(endpoint) = known {
        let row = first(&|row| spans.kinds[row] == SpanKind::Server).or_else(|| first(&is_root))?;
        return Some((row, endpoint));
    }
    heads.iter().find_map(|&row| Some((row, names.of_span(spans.row(row))?)))
}

/// Labels compared with the chosen endpoints; each distinct label once.
struct Names<'a> {
    chosen: Vec<(Goal, &'a str)>,
    seen: HashMap<String, Option<usize>>,
}

/// Distinct labels that are remembered; beyond it they are compared again.
const MAX_LABELS: usize = 10_000;

impl<'a> Names<'a> {
    fn new(chosen: &'a [String]) -> Self {
        // A goal knows which endpoints it speaks of, whatever their path parameters are called.
        let goal = |name: &String| Goal {
            metric: GoalMetric::Mean,
            subject: name.clone(),
            relation: Relation::Below,
            limit: 0.0,
        };
        Self { chosen: chosen.iter().map(|n| (goal(n), n.as_str())).collect(), seen: HashMap::new() }
    }

    fn find(&mut self, label: &str) -> Option<usize> {
        if let Some(&known) = self.seen.get(label) {
            return known;
        }
        let exact = self.chosen.iter().position(|(_, name)| *name == label);
        let found = exact.or_else(|| self.chosen.iter().position(|(goal, _)| goal.concerns(label)));
        if self.seen.len() < MAX_LABELS {
            self.seen.insert(label.to_owned(), found);
        }
        found
    }

    fn of_span(&mut self, span: SpanRef<'_>) -> Option<usize> {
        let text = |keys: [&str; 2]| keys.iter().find_map(|k| span.attribute(k)?.as_text());
        let method = text(["http.request.method", "http.method"]);
        let route = text(["http.route", "url.template"]);
        if let (Some(method), Some(route)) = (method, route)
            && let Some(found) = self.find(&format!("{method} {route}"))
        {
            return Some(found);
        }
        if let (Some(method), Some(path)) = (method, text(["url.path", "http.target"]))
            && let Some(found) = self.find(&format!("{method} {}", path.split('?').next().unwrap_or("")))
        {
            return Some(found);
        }
        self.find(span.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(drawing: &str) -> Recording {
        Recording { spans: model::fixture::spans(drawing).expect("a drawing"), ..Recording::default() }
    }

    #[test]
    fn a_trace_is_found_by_its_route_whatever_the_parameter_is_called() {
        let recording = recording(
            r#"
            api server "GET /orders/{id}" 0..30

            api server "GET /orders/{id}" 0..10

            api server "GET /health" 0..1
            "#,
        );
        let traces = read(&recording, &["GET /orders/:order".to_owned()]);
        assert_eq!(traces.found.len(), 2);
        assert_eq!(traces.at_quantile(0, 0.5).map(|t| t.duration_ns), Some(10_000_000));
        assert_eq!(traces.at_quantile(0, 0.95).map(|t| t.duration_ns), Some(30_000_000));
        assert!(traces.at_quantile(1, 0.5).is_none());
    }

    #[test]
    fn a_span_that_is_its_own_parent_ends_no_reading() {
        let mut recording = recording("api server \"GET /a\" 0..1");
        recording.spans.parent_ids[0] = recording.spans.span_ids[0];
        assert_eq!(read(&recording, &["GET /a".to_owned()]).found.len(), 1);
    }
}
