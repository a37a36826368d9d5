//! Cuts what was received down to one window of time: whole traces, whole cells. Pure.

use model::{LatencyCell, MetricSeries, Recording, RequestSample, SpanTable};
use std::collections::HashMap;

/// Leaves the warm-up's traces and those of other callers before and after it out of a recording as it is on disk. An
/// unfinished one has no window and stays whole.
pub fn cut_to_window(recording: &mut Recording) {
    let (start_ns, end_ns) = (recording.run.start_ns, recording.run.end_ns);
    if start_ns < end_ns {
        recording.spans = traces_within(&recording.spans, start_ns, end_ns);
    }
}

/// Leaves one level of a recording of stepped load (its counted part, Unix nanoseconds): what is judged of it.
pub fn cut_to_level(recording: &mut Recording, start_ns: u64, end_ns: u64) {
    let cell_ns = u64::from(recording.run.cell_ms.max(1)) * 1_000_000;
    let cell = |at_ns: u64| {
        let since = at_ns.saturating_sub(recording.run.start_ns);
        u32::try_from((since + cell_ns / 2) / cell_ns).unwrap_or(u32::MAX)
    };
    let (first, end) = (cell(start_ns), cell(end_ns));
    recording.latencies.retain(|c| c.cell < end);
    recording.latencies = cells_from(&recording.latencies, first);
    recording.requests = requests_within(&recording.requests, start_ns, end_ns);
    recording.metrics = metrics_within(std::mem::take(&mut recording.metrics), start_ns, end_ns);
    recording.spans = traces_within(&recording.spans, start_ns, end_ns);
    (recording.run.start_ns, recording.run.end_ns) = (start_ns, end_ns);
}

/// The traces that began within `from_ns..to_ns` (Unix nanoseconds), each with all its spans.
#[must_use]
pub fn traces_within(spans: &SpanTable, from_ns: u64, to_ns: u64) -> SpanTable {
    let mut begins: HashMap<u128, u64> = HashMap::with_capacity(spans.len() / 8);
    for (trace, start) in spans.trace_ids.iter().zip(&spans.starts_ns) {
        let begin = begins.entry(*trace).or_insert(*start);
        *begin = (*begin).min(*start);
    }
    spans.filtered(|row| {
        begins.get(&spans.trace_ids[row]).is_some_and(|begin| (from_ns..to_ns).contains(begin))
    })
}

/// Cells from `first` on, numbered from there.
#[must_use]
pub fn cells_from(cells: &[LatencyCell], first: u32) -> Vec<LatencyCell> {
    cells
        .iter()
        .filter(|c| c.cell >= first)
        .map(|c| LatencyCell { cell: c.cell - first, ..c.clone() })
        .collect()
}

/// Requests that were due within the window.
#[must_use]
pub fn requests_within(requests: &[RequestSample], from_ns: u64, to_ns: u64) -> Vec<RequestSample> {
    requests.iter().filter(|r| (from_ns..to_ns).contains(&r.due_ns)).cloned().collect()
}

/// At most so many requests of each operation, evenly spread; the slowest all stay.
#[must_use]
pub fn thinned(requests: Vec<RequestSample>, most: usize) -> Vec<RequestSample> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for request in requests.iter().filter(|r| !r.slowest) {
        *counts.entry(request.operation).or_default() += 1;
    }
    let mut seen: HashMap<u32, usize> = HashMap::new();
    let kept = |request: &RequestSample| {
        let all = counts.get(&request.operation).copied().unwrap_or(0);
        if request.slowest || all <= most {
            return true;
        }
        let number = seen.entry(request.operation).or_default();
        *number += 1;
        *number * most / all > (*number - 1) * most / all
    };
    let mut requests = requests;
    requests.retain(kept);
    requests
}

/// Series with their points within the window; those without any are left out.
#[must_use]
pub fn metrics_within(metrics: Vec<MetricSeries>, from_ns: u64, to_ns: u64) -> Vec<MetricSeries> {
    metrics
        .into_iter()
        .filter_map(|mut series| {
            series.points.retain(|p| (from_ns..to_ns).contains(&p.time_ns));
            (!series.points.is_empty()).then_some(series)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::fixture;

    #[test]
    fn a_trace_that_began_before_the_window_is_left_out_whole() {
        let spans = fixture::spans(
            r#"
            repeat 3
            api server "GET /" 0..90
              api db "SELECT 1" 60..70
            "#,
        )
        .expect("a drawing");
        let second = spans.starts_ns[2];
        let cut = traces_within(&spans, second, second + 1);
        assert_eq!(cut.len(), 2);
        assert_eq!(cut.trace_ids[0], spans.trace_ids[2]);
    }

    #[test]
    fn a_recording_without_a_window_stays_whole() {
        let spans = fixture::spans("repeat 3\napi server \"GET /\" 0..90\n").expect("a drawing");
        let second_ns = spans.starts_ns[1];
        let mut recording = Recording { spans, ..Recording::default() };
        cut_to_window(&mut recording);
        assert_eq!(recording.spans.len(), 3);
        (recording.run.start_ns, recording.run.end_ns) = (second_ns, second_ns + 1);
        cut_to_window(&mut recording);
        assert_eq!(recording.spans.len(), 1);
    }

    #[test]
    fn one_level_of_a_recording_is_left_with_its_own_cells() {
        let cells = (0..10).map(|cell| LatencyCell { cell, ..LatencyCell::default() }).collect();
        let mut recording = Recording { latencies: cells, ..Recording::default() };
        (recording.run.cell_ms, recording.run.start_ns) = (500, 1_000_000_000);
        recording.run.end_ns = 6_000_000_000;
        cut_to_level(&mut recording, 3_010_000_000, 4_490_000_000);
        let kept: Vec<u32> = recording.latencies.iter().map(|c| c.cell).collect();
        assert_eq!(kept, [0, 1, 2]);
        assert_eq!((recording.run.start_ns, recording.run.end_ns), (3_010_000_000, 4_490_000_000));
    }

    #[test]
    fn samples_are_thinned_evenly_and_the_slowest_stay() {
        let request = |n: u64| RequestSample {
            operation: 0,
            due_ns: n,
            response_ns: 0,
            service_ns: 0,
            status: 200,
            error: None,
            received_bytes: 0,
            sent_bytes: 0,
            trace_id: 0,
            slowest: n == 3,
            phases: model::RequestPhases::default(),
        };
        let kept = thinned((0..101).map(request).collect(), 10);
        assert_eq!(kept.len(), 11);
        assert!(kept.iter().any(|r| r.slowest));
        assert!(kept.iter().filter(|r| r.due_ns < 50).count() >= 5);
    }

    #[test]
    fn cells_are_counted_from_the_window() {
        let cells: Vec<LatencyCell> =
            (0..5).map(|cell| LatencyCell { cell, ..LatencyCell::default() }).collect();
        let kept: Vec<u32> = cells_from(&cells, 3).iter().map(|c| c.cell).collect();
        assert_eq!(kept, [0, 1]);
    }
}
