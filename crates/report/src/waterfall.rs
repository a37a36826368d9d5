//! A typical and a slow trace of the chosen endpoints, ready to draw: rows in the order of the tree, alike siblings
//! in one row, the critical path marked, and no more rows than a person can read.

use crate::build::{Inputs, Measured};
use crate::clip::{LABEL, SENTENCE, line, without_secrets};
use crate::critical::{self, Timed};
use crate::data::{Waterfall, WaterfallRow, When};
use crate::number::round;
use crate::template::template;
use crate::traces::{Found, Traces};
use model::{Finding, SpanKind, SpanRef, SpanStatus, SpanTable};
use std::collections::HashMap;

/// Endpoints that get waterfalls; each up to four.
const MAX_ENDPOINTS: usize = 4;
/// Rows of one waterfall.
const MAX_ROWS: usize = 400;
/// Spans of one trace that are looked at; the rest is counted.
const MAX_SPANS: usize = 200_000;
/// Stretches drawn within one row.
const MAX_STRETCHES: usize = 60;
/// So many alike siblings become one row.
const MIN_GROUP: usize = 3;

/// The waterfalls of the page, the most telling endpoint first.
pub(crate) fn all(
    inputs: &Inputs<'_>,
    chosen: &[String],
    before: Option<&Traces>,
    after: Option<&Traces>,
) -> Vec<Waterfall> {
    let mut drawn = Vec::new();
    let any = |at| [before, after].into_iter().flatten().any(|t| t.of_endpoint(at).next().is_some());
    for (endpoint, name) in chosen.iter().enumerate().filter(|(at, _)| any(*at)).take(MAX_ENDPOINTS) {
        for (which, quantile) in [("typical", 0.5), ("slow", 0.95)] {
            for (when, measured, traces) in
                [(When::Before, inputs.before, before), (When::After, inputs.after, after)]
            {
                let (Some(measured), Some(traces)) = (measured, traces) else { continue };
                let Some(trace) = traces.at_quantile(endpoint, quantile) else { continue };
                // With few traces both quantiles are the same one.
                let twice = which == "slow"
                    && traces.at_quantile(endpoint, 0.5).is_some_and(|t| t.trace_id == trace.trace_id);
                if !twice {
                    let of = Drawn { endpoint: name, when, which };
                    drawn.push(draw(measured, traces, trace, &of));
                }
            }
        }
    }
    drawn
}

struct Drawn<'a> {
    endpoint: &'a str,
    when: When,
    which: &'static str,
}

fn draw(measured: Measured<'_>, traces: &Traces, trace: &Found, of: &Drawn<'_>) -> Waterfall {
    let spans = &measured.recording.spans;
    let rows = &traces.rows[trace.from..trace.to];
    let tree = Tree::new(spans, &rows[..rows.len().min(MAX_SPANS)], trace.root);
    let marks = Marks::new(&measured.diagnosis.findings);
    let (mut lines, drawn) = tree.lines(spans, &marks);
    let names = prune(&mut lines);
    Waterfall {
        endpoint: line(of.endpoint, LABEL),
        when: of.when,
        which: of.which,
        trace_id: format!("{:032x}", trace.trace_id),
        total_ms: round(tree.total_ms),
        spans: rows.len() as u64,
        hidden: (rows.len() as u64).saturating_sub(drawn) + lines.iter().map(|l| l.row.hidden).sum::<u64>(),
        names,
        rows: lines.into_iter().map(|l| l.row).collect(),
    }
}

/// Spans that findings speak of.
struct Marks<'a> {
    by_id: HashMap<String, &'a str>,
    by_statement: HashMap<String, &'a str>,
}

/// Findings whose spans are marked.
const MAX_MARKS: usize = 40;

impl<'a> Marks<'a> {
    fn new(findings: &'a [Finding]) -> Self {
        let mut marks = Self { by_id: HashMap::new(), by_statement: HashMap::new() };
        for finding in findings.iter().take(MAX_MARKS) {
            for id in &finding.evidence.span_ids {
                marks.by_id.entry(id.to_ascii_lowercase()).or_insert(&finding.rule);
            }
            if let Some(statement) = &finding.place.statement {
                marks.by_statement.entry(template(statement, SENTENCE)).or_insert(&finding.rule);
            }
        }
        marks
    }

    fn of(&self, span_id: u64, label: &str) -> Option<String> {
        let found = self.by_id.get(&format!("{span_id:016x}")).or_else(|| self.by_statement.get(label));
        found.map(|rule| line(rule, LABEL))
    }
}

/// The tree of one trace. Nodes are positions in `rows`.
struct Tree<'a> {
    rows: &'a [usize],
    timed: Vec<Timed>,
    own: Vec<Vec<(f64, f64)>>,
    /// The main root first, then those whose parents never arrived.
    roots: Vec<usize>,
    total_ms: f64,
}

impl<'a> Tree<'a> {
    fn new(spans: &SpanTable, rows: &'a [usize], recognized: usize) -> Self {
        let node: HashMap<u64, usize> =
            rows.iter().enumerate().map(|(n, &r)| (spans.span_ids[r], n)).collect();
        let parent = |n: usize| node.get(&spans.parent_ids[rows[n]]).copied().filter(|&p| p != n);
        let top = root_of(rows.iter().position(|&r| r == recognized).unwrap_or(0), &parent, rows.len());
        let origin = spans.starts_ns[rows[top]];
        let since = |ns: u64| (i128::from(ns) - i128::from(origin)) as f64 / 1e6;
        let mut timed: Vec<Timed> = rows
            .iter()
            .map(|&row| {
                let start_ms = since(spans.starts_ns[row]);
                let end_ms = start_ms + spans.durations_ns[row].max(0) as f64 / 1e6;
                Timed { start_ms, end_ms, children: Vec::new() }
            })
            .collect();
        let mut roots = vec![top];
        for n in 0..rows.len() {
            match parent(n) {
                Some(parent) => timed[parent].children.push(n),
                None if n != top => roots.push(n),
                None => {}
            }
        }
        let own = critical::path(&timed, top);
        let total_ms = timed[top].end_ms;
        Self { rows, timed, own, roots, total_ms }
    }

    /// Rows in the order of the tree, and how many spans they stand for.
    fn lines(&self, spans: &SpanTable, marks: &Marks<'_>) -> (Vec<Line>, u64) {
        let mut lines: Vec<Line> = Vec::new();
        let mut drawn = 0;
        let mut seen = vec![false; self.rows.len()];
        // A stack of groups still to be drawn, the next one last.
        let mut open: Vec<Group> = self.groups(spans, &self.roots, 0, None);
        open.reverse();
        while let Some(group) = open.pop() {
            let members: Vec<usize> = group.members.into_iter().filter(|&n| !seen[n]).collect();
            let Some(&first) = members.first() else { continue };
            for &n in &members {
                seen[n] = true;
            }
            let at = lines.len();
            let mut row = self.row(&members, group.depth);
            let span = spans.row(self.rows[first]);
            row.finding = marks.of(span.fields().span_id, &group.label);
            row.orphan = group.depth == 0 && first != self.roots[0];
            row.error = members.iter().any(|&n| spans.statuses[self.rows[n]] == SpanStatus::Error);
            row.kind = kind(span);
            drawn += members.len() as u64;
            let service = line(span.service(), LABEL);
            lines.push(Line { row, parent: group.parent, name: group.label, service });
            // All children of a group's members: alike ones fold again, so that a repeated subtree is drawn once.
            let children: Vec<usize> =
                members.iter().flat_map(|&n| self.timed[n].children.iter().copied()).collect();
            let below = self.groups(spans, &children, group.depth + 1, Some(at));
            open.extend(below.into_iter().rev());
        }
        (lines, drawn)
    }

    /// Alike siblings together, in the order of their first start.
    fn groups(&self, spans: &SpanTable, siblings: &[usize], depth: u32, parent: Option<usize>) -> Vec<Group> {
        let mut siblings = siblings.to_vec();
        if depth > 0 {
            siblings
                .sort_by(|&a, &b| self.timed[a].start_ms.total_cmp(&self.timed[b].start_ms).then(a.cmp(&b)));
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut at: HashMap<(String, String), usize> = HashMap::new();
        for n in siblings {
            let span = spans.row(self.rows[n]);
            let label = label(span);
            let known = *at.entry((span.service().to_owned(), label.clone())).or_insert(groups.len());
            if known == groups.len() {
                groups.push(Group { members: Vec::new(), label, depth, parent });
            }
            groups[known].members.push(n);
        }
        // Two of a kind are easier to read apart.
        let mut apart: Vec<Group> = Vec::new();
        for group in groups {
            if group.members.len() >= MIN_GROUP {
                apart.push(group);
            } else {
                let label = group.label;
                apart.extend(group.members.into_iter().map(|n| Group {
                    members: vec![n],
                    label: label.clone(),
                    depth,
                    parent,
                }));
            }
        }
        if depth > 0 {
            apart.sort_by(|a, b| {
                self.timed[a.members[0]].start_ms.total_cmp(&self.timed[b.members[0]].start_ms)
            });
        }
        apart
    }

    fn row(&self, members: &[usize], depth: u32) -> WaterfallRow {
        let bars: Vec<(f64, f64)> =
            members.iter().map(|&n| (self.timed[n].start_ms, self.timed[n].end_ms)).collect();
        let start = bars.iter().map(|b| b.0).fold(f64::INFINITY, f64::min);
        let end = bars.iter().map(|b| b.1).fold(f64::NEG_INFINITY, f64::max);
        let own: Vec<(f64, f64)> = members.iter().flat_map(|&n| self.own[n].iter().copied()).collect();
        WaterfallRow {
            depth,
            start_ms: round(start),
            duration_ms: round(end - start),
            count: members.len() as u64,
            bars: if members.len() > 1 { stretches(bars, self.total_ms) } else { Vec::new() },
            critical_ms: round(own.iter().map(|s| s.1 - s.0).sum()),
            critical: stretches(own, self.total_ms),
            ..WaterfallRow::default()
        }
    }
}

struct Group {
    members: Vec<usize>,
    label: String,
    depth: u32,
    parent: Option<usize>,
}

struct Line {
    row: WaterfallRow,
    /// Position of the parent's line.
    parent: Option<usize>,
    name: String,
    service: String,
}

/// Up from a node to the one without a parent; `limit` steps end a circle.
fn root_of(mut at: usize, parent: &dyn Fn(usize) -> Option<usize>, limit: usize) -> usize {
    for _ in 0..limit {
        match parent(at) {
            Some(up) => at = up,
            None => break,
        }
    }
    at
}

/// (start, length) of stretches, in order; near ones joined until they are few enough.
fn stretches(mut all: Vec<(f64, f64)>, total_ms: f64) -> Vec<(f64, f64)> {
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut apart = total_ms.max(1e-3) * 1e-5;
    loop {
        let mut joined: Vec<(f64, f64)> = Vec::new();
        for &(start, end) in &all {
            match joined.last_mut() {
                Some(last) if start - last.1 <= apart => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        if joined.len() <= MAX_STRETCHES {
            return joined.iter().map(|s| (round(s.0), round(s.1 - s.0))).collect();
        }
        apart *= 2.0;
    }
}

/// Keeps the rows that hold the most time and their ancestors; each kept row counts what is missing below it.
/// Fills in the positions of names, and answers the names.
fn prune(lines: &mut Vec<Line>) -> Vec<String> {
    let keep = kept(lines);
    let mut moved: Vec<Option<usize>> = vec![None; lines.len()];
    let mut hidden: Vec<u64> = vec![0; lines.len()];
    let mut next = 0;
    for at in 0..lines.len() {
        if keep[at] {
            moved[at] = Some(next);
            next += 1;
        } else {
            let mut up = lines[at].parent;
            while let Some(parent) = up.filter(|&p| !keep[p]) {
                up = lines[parent].parent;
            }
            hidden[up.unwrap_or(0)] += lines[at].row.count;
        }
    }
    let mut at = 0;
    lines.retain_mut(|line| {
        line.row.hidden = hidden[at];
        line.parent = line.parent.and_then(|p| moved[p]);
        at += 1;
        moved[at - 1].is_some()
    });
    let mut names: Vec<String> = Vec::new();
    let mut known: HashMap<String, u32> = HashMap::new();
    let mut number = |text: &str| {
        *known.entry(text.to_owned()).or_insert_with(|| {
            names.push(text.to_owned());
            u32::try_from(names.len() - 1).unwrap_or(0)
        })
    };
    for line in lines {
        line.row.name = number(&line.name);
        line.row.service = number(&line.service);
    }
    names
}

fn kept(lines: &[Line]) -> Vec<bool> {
    if lines.len() <= MAX_ROWS {
        return vec![true; lines.len()];
    }
    let mut order: Vec<usize> = (0..lines.len()).collect();
    let weight = |at: usize| (lines[at].row.critical_ms, lines[at].row.duration_ms);
    order.sort_by(|&a, &b| {
        let (a_, b_) = (weight(a), weight(b));
        b_.0.total_cmp(&a_.0).then(b_.1.total_cmp(&a_.1)).then(a.cmp(&b))
    });
    let mut keep = vec![false; lines.len()];
    keep[0] = true;
    let mut count = 1;
    for at in order {
        let mut chain = Vec::new();
        let mut up = Some(at);
        while let Some(line) = up.filter(|&l| !keep[l]) {
            chain.push(line);
            up = lines[line].parent;
        }
        if count + chain.len() <= MAX_ROWS {
            count += chain.len();
            for line in chain {
                keep[line] = true;
            }
        } else if count >= MAX_ROWS {
            break;
        }
    }
    keep
}

/// What a row is called: the statement of a database call, the address of an HTTP call, else the span's name.
fn label(span: SpanRef<'_>) -> String {
    let text =
        |keys: &[&str]| keys.iter().find_map(|k| span.attribute(k)?.as_text()).filter(|t| !t.is_empty());
    if let Some(statement) = text(&["db.query.text", "db.statement", "db.query.summary"]) {
        return template(statement, SENTENCE);
    }
    if span.fields().kind == SpanKind::Client
        && let Some(url) = text(&["url.full", "http.url"])
    {
        let method = text(&["http.request.method", "http.method"]).unwrap_or("HTTP");
        return line(&format!("{method} {}", without_secrets(url)), SENTENCE);
    }
    if let (Some(method), Some(route)) =
        (text(&["http.request.method", "http.method"]), text(&["http.route"]))
    {
        return line(&format!("{method} {route}"), SENTENCE);
    }
    let name = span.name();
    if name.is_empty() { "(no name)".to_owned() } else { line(&without_secrets(name), SENTENCE) }
}

/// How a bar is coloured.
fn kind(span: SpanRef<'_>) -> &'static str {
    let has = |keys: &[&str]| keys.iter().any(|k| span.attribute(k).is_some());
    let system = ["db.system.name", "db.system"].iter().find_map(|k| span.attribute(k)?.as_text());
    match (system, span.fields().kind) {
        (Some("redis" | "memcached" | "valkey"), _) => "cache",
        (Some(_), _) => "db",
        _ if has(&["messaging.system"]) => "messaging",
        (None, SpanKind::Client) => "call",
        (None, SpanKind::Server | SpanKind::Consumer) => "server",
        (None, SpanKind::Producer) => "messaging",
        _ => "internal",
    }
}
