//! For tests of this crate: drawings in, lines of text out. The only place that knows the API.

use crate::thresholds::Thresholds;
use crate::tree::{self, Ingest};
use crate::{Options, localize, resolve};
use expect_test::Expect;
use model::{
    Attribute, Diagnosis, Finding, MetricKind, MetricSeries, Point, Recording, SpanTable, Value, fixture,
};

/// A recording of drawn traces and nothing else.
pub(crate) fn drawn(drawing: &str) -> Recording {
    let spans = fixture::spans(drawing).unwrap_or_else(|problem| panic!("{problem}"));
    Recording { spans, ..Recording::default() }
}

/// A gauge with its attributes and points: seconds and values.
pub(crate) fn gauge_series(name: &str, attributes: &[(&str, &str)], points: &[(u64, f64)]) -> MetricSeries {
    let point = |(s, value): &(u64, f64)| Point { time_ns: s * 1_000_000_000, value: *value };
    MetricSeries {
        name: name.to_owned(),
        unit: "1".to_owned(),
        kind: MetricKind::Gauge,
        attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        points: points.iter().map(point).collect(),
    }
}

/// The same spans, each trace made by the instance that `of` names for its number, from 1.
pub(crate) fn on_instances(mut recording: Recording, of: impl Fn(usize) -> &'static str) -> Recording {
    let spans = &mut recording.spans;
    let key = spans.strings.intern("service.instance.id");
    for row in 0..spans.len() {
        let trace = usize::try_from(spans.trace_ids[row]).unwrap_or(0);
        let mut attributes = spans.packed_resource(spans.resources[row]).to_vec();
        let value = spans.pack(Value::Text(of(trace)));
        attributes.push(Attribute { key, value });
        spans.resources[row] = spans.add_resource(&attributes);
    }
    recording
}

/// The findings of one rule only, for tests of that rule.
pub(crate) fn check_rule(rule: &str, recording: &Recording, expected: &Expect) {
    let mut diagnosis = localize(recording, &Options::default());
    diagnosis.findings.retain(|f| f.rule == rule);
    diagnosis.rules_not_run.retain(|r| r.rule == rule);
    expected.assert_eq(&lines(&diagnosis));
}

/// The trees of a table, one span a line, indented by depth: service, class, template, times in ms after the root's
/// start; then what had to be mended.
pub(crate) fn check_trees(spans: &SpanTable, expected: &Expect) {
    let calls = resolve::resolve(spans);
    let forest = tree::plant(spans, &calls, &Thresholds::default());
    let mut out = String::new();
    let mut depths: Vec<usize> = Vec::new();
    for node in &forest.nodes {
        let depth = if node.parent == tree::NONE { 0 } else { depths[node.parent as usize] + 1 };
        depths.push(depth);
        let call = &calls.rows[node.row as usize];
        let times = (node.start_ns as f64 / 1e6, node.end_ns as f64 / 1e6);
        let (service, template) = (calls.name(call.service), calls.name(call.template));
        let detached = if node.detached { " detached" } else { "" };
        let indent = "  ".repeat(depth);
        let class = node.class.word();
        out.push_str(&format!("{indent}{service} {class} {template} {}..{}{detached}\n", times.0, times.1));
    }
    if forest.ingest != Ingest::default() {
        out.push_str(&mended(&forest.ingest));
    }
    expected.assert_eq(&out);
}

fn mended(ingest: &Ingest) -> String {
    let text = format!("{ingest:?}");
    let inner = text.trim_start_matches("Ingest { ").trim_end_matches(" }");
    let parts: Vec<&str> = inner.split(", ").filter(|part| !part.ends_with(": 0")).collect();
    format!("mended: {}\n", parts.join(", "))
}

/// `rule endpoint | title | p95 before -> after (low..high) grade`, then `not run: rule (signal)`.
pub(crate) fn lines(diagnosis: &Diagnosis) -> String {
    let mut out: String = diagnosis.findings.iter().map(line).collect();
    for rule in &diagnosis.rules_not_run {
        out.push_str(&format!("not run: {} ({})\n", rule.rule, rule.missing_signal));
    }
    out
}

fn line(finding: &Finding) -> String {
    let prediction = finding.prediction.as_ref().map_or_else(
        || "no prediction".to_owned(),
        |p| {
            format!(
                "p95 {:.1} -> {:.1} ({:.1}..{:.1}) {:?}",
                p.before_ms, p.after_ms, p.low_ms, p.high_ms, p.grade
            )
        },
    );
    format!("{} {} | {} | {prediction}\n", finding.rule, finding.endpoint, finding.title)
}
