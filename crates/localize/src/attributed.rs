//! The second source of facts: what the load's mix told of each operation, drawn as the requests that it describes, so
//! that every rule reads it as it reads traces. Only for operations whose traces show nothing within the request; what
//! was found on them is graded lower and says where it comes from. Where there are traces too, the two are compared.

mod cache;

use crate::Options;
use crate::facts::Facts;
use crate::load::Joined;
use crate::predict::round;
use crate::resolve::{Class, statement_key};
use crate::shape::{Endpoint, EndpointId};
use hashbrown::HashMap;
use model::{
    Attribute, Costs, Finding, Gap, Grade, Rate, Recording, RequestSample, ResourceId, SpanFields, SpanKind,
    SpanStatus, SpanTable, StatementCost, Sym, TimeSpent, Value, resources,
};
use std::collections::BTreeSet;

/// Rules that the drawing can bear: they ask how often and how long, not when.
const RULES: &[&str] = &[
    "n_plus_one",
    "unbatched_writes",
    "redundant_call",
    "missing_index",
    "over_fetch",
    "slow_query",
    "cpu_self_time",
    "cpu_saturation",
    "memory_pressure",
    "io_pressure",
    "pool_saturation",
];
/// Requests drawn of an operation.
const MAX_TREES: usize = 200;
/// Calls drawn of one statement in one request.
const MAX_CALLS: usize = 1_000;
/// Spans drawn in all.
const MAX_SPANS: usize = 400_000;
/// Fewer calls per request are not drawn.
const MIN_CALLS: f64 = 0.05;
/// A figure so near to a whole number is one.
const NEAR_WHOLE: f64 = 0.2;
/// Share of a request that its statements may fill.
const MAX_FILLED: f64 = 0.95;
/// Spans and counters may differ by so many calls, or by so much of them.
const TOLERATED_CALLS: f64 = 0.3;
const TOLERATED_SHARE: f64 = 0.2;
/// Disagreements that are told.
const MAX_TOLD: usize = 5;
/// A statement's text is cut here.
const MAX_SHOWN: usize = 100;

/// A recording with the drawn requests, and the operations that they are of.
pub(crate) struct Drawn {
    pub(crate) recording: Recording,
    pub(crate) operations: BTreeSet<u32>,
}

impl Drawn {
    /// As gathered from traces.
    pub(crate) fn facts<'a>(&'a self, options: &'a Options<'_>) -> Facts<'a> {
        let facts = Facts::gather(&self.recording, &options.thresholds, options.single_trace);
        facts.attributed(&self.operations)
    }
}

/// Draws the requests of the operations that traces say nothing of; `None` where there is none.
#[must_use]
pub(crate) fn draw(facts: &Facts<'_>) -> Option<Drawn> {
    let recording = facts.recording;
    let costs = recording.costs.as_ref()?;
    let blind = |j: &&Joined| j.operation.is_some_and(|o| !calls_of(costs, o).is_empty());
    // What calls nothing computes, or waits: its processor time is worth a drawing, too.
    let computes =
        |o: &u32| costs.resource(resources::CPU).is_some_and(|cost| cost.of(*o as usize).is_some());
    let unjoined: Vec<u32> = facts
        .load
        .unjoined
        .iter()
        .filter_map(|j| j.operation)
        .filter(|o| computes(o) || !calls_of(costs, *o).is_empty())
        .collect();
    let bare: Vec<(u32, &Endpoint)> = facts
        .endpoints()
        .zip(&facts.load.endpoints)
        .filter(|((id, _), joined)| is_bare(facts, *id) && blind(joined))
        .filter_map(|((_, endpoint), joined)| Some((joined.operation?, endpoint)))
        .collect();
    if unjoined.is_empty() && bare.is_empty() {
        return None;
    }
    let system = recording.statements.first().map_or("postgresql", |s| s.system.as_str());
    let mut pen = Pen { system: system.to_owned(), ..Pen::default() };
    for operation in &unjoined {
        pen.operation(recording, costs, *operation);
    }
    // Their traces give way: they say no more than that the request was there.
    let given_up: BTreeSet<u128> = bare
        .iter()
        .flat_map(|(_, e)| e.trees.iter().map(|t| facts.forest.trees[*t as usize].trace_id))
        .collect();
    for (operation, _) in &bare {
        pen.operation(recording, costs, *operation);
    }
    let mut spans = if given_up.is_empty() {
        recording.spans.clone()
    } else {
        recording.spans.filtered(|row| !given_up.contains(&recording.spans.trace_ids[row]))
    };
    if pen.table.is_empty() {
        return None;
    }
    spans.append(&pen.table);
    let operations = unjoined.into_iter().chain(bare.into_iter().map(|(o, _)| o)).collect();
    Some(Drawn { recording: Recording { spans, ..without_spans(recording) }, operations })
}

/// Everything but the spans, which are the larger part.
fn without_spans(recording: &Recording) -> Recording {
    Recording {
        run: recording.run.clone(),
        spans: SpanTable::default(),
        metrics: recording.metrics.clone(),
        latencies: recording.latencies.clone(),
        requests: recording.requests.clone(),
        statements: recording.statements.clone(),
        plans: recording.plans.clone(),
        costs: recording.costs.clone(),
        profile: recording.profile.clone(),
    }
}

/// All traces of the endpoint are a single span: an entry, and nothing within.
fn is_bare(facts: &Facts<'_>, id: EndpointId) -> bool {
    let root = facts.shapes().find(|(_, s)| s.endpoint == id && s.parent.is_none());
    root.is_some_and(|(root, s)| s.class == Class::Server && !facts.shape_has_children(root))
}

/// Whether a rule's candidate on this endpoint may stand.
#[must_use]
pub(crate) fn may_claim(facts: &Facts<'_>, rule: &str, endpoint: EndpointId) -> bool {
    if !facts.is_attributed(endpoint) {
        return true;
    }
    RULES.contains(&rule) && (rule != "cpu_self_time" || rate(facts, endpoint, resources::CPU).is_some())
}

/// What a request of an endpoint takes of a resource, where the load's mix told it.
#[must_use]
pub(crate) fn rate(facts: &Facts<'_>, endpoint: EndpointId, resource: &str) -> Option<Rate> {
    let operation = facts.load.endpoints.get(endpoint as usize)?.operation?;
    facts.recording.costs.as_ref()?.resource(resource)?.of(operation as usize)
}

/// One statement, or a command of a cache, as a request calls it.
struct Call<'a> {
    text: &'a str,
    /// A command: `get`.
    cache: bool,
    calls: f64,
    /// Of one call, there and back.
    ms: f64,
    rows: f64,
}

fn calls_of(costs: &Costs, operation: u32) -> Vec<Call<'_>> {
    let called = |cost| call(costs, cost, operation as usize);
    let mut all: Vec<Call<'_>> = costs.statements.iter().filter_map(called).collect();
    all.extend(cache::commands(costs, operation as usize));
    // What is called once comes first, that with most rows before the others: calls per row follow it.
    all.sort_by(|a, b| {
        (a.calls.total_cmp(&b.calls)).then_with(|| b.rows.total_cmp(&a.rows)).then_with(|| a.text.cmp(b.text))
    });
    all
}

fn call<'c>(costs: &Costs, cost: &'c StatementCost, operation: usize) -> Option<Call<'c>> {
    let StatementCost { calls, ms, rows, .. } = cost;
    let told = calls.of(operation).filter(|rate| rate.low > 0.0 && rate.value >= MIN_CALLS)?;
    let each = |rate: Option<Rate>| rate.map_or(0.0, |rate| rate.value) / told.value;
    Some(Call {
        text: &cost.text,
        cache: false,
        calls: whole_calls(told),
        ms: each(ms.of(operation)) + costs.round_trip_ms.unwrap_or(0.0),
        rows: each(rows.of(operation)),
    })
}

/// A whole number where the figure may be one.
fn whole_calls(told: Rate) -> f64 {
    let near = told.value.round();
    let whole = near >= 1.0 && (told.value - near).abs() <= NEAR_WHOLE.max((told.high - told.low) / 2.0);
    if whole { near } else { told.value }.min(MAX_CALLS as f64)
}

#[derive(Default)]
struct Pen {
    table: SpanTable,
    next_id: u64,
    /// Of the statements.
    system: String,
}

impl Pen {
    fn operation(&mut self, recording: &Recording, costs: &Costs, operation: u32) {
        let Some(name) = recording.run.operations.get(operation as usize) else { return };
        let requests = typical(recording, operation);
        let calls = calls_of(costs, operation);
        let mean_ns =
            requests.iter().map(|r| r.service_ns as f64).sum::<f64>() / requests.len().max(1) as f64;
        let service = self.attribute("service.name", Value::Text("service"));
        let resource = self.table.add_resource(&[service]);
        for (number, request) in requests.into_iter().enumerate() {
            let each = calls.iter().map(|call| count(call.calls, number)).sum::<usize>();
            if self.table.len() + each + 1 > MAX_SPANS {
                return;
            }
            let root = self.root(name, resource, request);
            self.calls(&calls, (number, request), root, mean_ns);
        }
    }

    fn attribute(&mut self, key: &str, value: Value<'_>) -> Attribute {
        Attribute { key: self.table.strings.intern(key), value: self.table.pack(value) }
    }

    fn root(&mut self, name: &str, resource: ResourceId, request: &RequestSample) -> SpanFields {
        let (method, path) = name.split_once(' ').unwrap_or(("", ""));
        let mut attributes = Vec::new();
        if path.starts_with('/') {
            attributes.push(self.attribute("http.request.method", Value::Text(method)));
            attributes.push(self.attribute("http.route", Value::Text(path)));
        }
        if let Ok(bytes) = i64::try_from(request.received_bytes) {
            attributes.push(self.attribute("http.response.body.size", Value::Int(bytes)));
        }
        let id = self.id();
        let fields = SpanFields {
            trace_id: if request.trace_id == 0 { u128::from(id) } else { request.trace_id },
            span_id: id,
            parent_id: 0,
            start_ns: (request.due_ns + request.response_ns).saturating_sub(request.service_ns),
            duration_ns: i64::try_from(request.service_ns).unwrap_or(i64::MAX),
            name: self.table.strings.intern(name),
            kind: SpanKind::Server,
            status: SpanStatus::Unset,
            resource,
            scope: Sym::EMPTY,
        };
        self.table.push(fields, &attributes);
        fields
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// One after another from the request's begin on. A request that took longer than the mean waited in its statements
    /// in proportion; what is left over lies between the calls, at most half of one each, and after them.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as casts saturate")]
    fn calls(
        &mut self,
        calls: &[Call<'_>],
        (number, request): (usize, &RequestSample),
        root: SpanFields,
        mean_ns: f64,
    ) {
        let whole = request.service_ns as f64;
        let counts: Vec<usize> = calls.iter().map(|call| count(call.calls, number)).collect();
        let asked: f64 = calls.iter().zip(&counts).map(|(call, n)| call.ms * 1e6 * *n as f64).sum();
        let stretch = (whole / mean_ns.max(1.0)).min(whole * MAX_FILLED / asked.max(1.0));
        let between: usize = counts.iter().sum();
        let left = (whole - asked * stretch).max(0.0) / (between + 1) as f64;
        let mut at = root.start_ns as f64;
        for (call, times) in calls.iter().zip(counts) {
            let length = call.ms * 1e6 * stretch;
            let attributes = self.statement(call);
            for _ in 0..times {
                at += left.min(length / 2.0);
                let fields = SpanFields {
                    span_id: self.id(),
                    parent_id: root.span_id,
                    start_ns: at as u64,
                    duration_ns: length as i64,
                    kind: SpanKind::Client,
                    ..root
                };
                self.table.push(fields, &attributes);
                at += length;
            }
        }
    }

    fn statement(&mut self, call: &Call<'_>) -> Vec<Attribute> {
        let text = call.text;
        if call.cache {
            let name = text.to_ascii_uppercase();
            return vec![
                self.attribute("db.system.name", Value::Text("redis")),
                self.attribute("db.query.text", Value::Text(&name)),
            ];
        }
        let system = self.system.clone();
        let mut attributes = vec![
            self.attribute("db.system.name", Value::Text(&system)),
            self.attribute("db.query.text", Value::Text(text)),
        ];
        let reads = text.get(..6).is_some_and(|verb| verb.eq_ignore_ascii_case("select"));
        if reads && call.rows > 0.0 {
            #[expect(clippy::cast_possible_truncation, reason = "as casts saturate")]
            let rows = call.rows.round() as i64;
            attributes.push(self.attribute("db.response.returned_rows", Value::Int(rows)));
        }
        // Where nothing varies, every call asks the same.
        if !text.contains('$') {
            attributes.push(self.attribute("db.query.parameter.0", Value::Int(0)));
        }
        attributes
    }
}

/// Calls in the request of this number, so that all requests together have the mean.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by MAX_CALLS")]
fn count(calls: f64, number: usize) -> usize {
    let up_to = |n: usize| (calls * n as f64 + 1e-6).floor() as usize;
    up_to(number + 1) - up_to(number)
}

/// Requests of an operation that stand for all of them: the slowest are as many as their share.
fn typical(recording: &Recording, operation: u32) -> Vec<&RequestSample> {
    let of = |slowest: bool| {
        let mut some: Vec<&RequestSample> = recording
            .requests
            .iter()
            .filter(|r| r.operation == operation && r.error.is_none() && r.slowest == slowest)
            .collect();
        some.sort_by_key(|r| (r.response_ns, r.due_ns));
        some
    };
    let (slow, usual) = (of(true), of(false));
    let all = recording.responses(operation).count().max((slow.len() + usual.len()) as u64).max(1);
    let wanted = (slow.len() + usual.len()).min(MAX_TREES);
    let slow_wanted = if usual.is_empty() { wanted } else { (wanted * slow.len()).div_ceil(all as usize) };
    let mut some = spread(&usual, wanted.saturating_sub(slow_wanted));
    some.extend(spread(&slow, slow_wanted));
    // In no order of their times: fractional calls are dealt out by number.
    some.sort_by_key(|r| (r.due_ns, r.trace_id));
    some
}

fn spread<'a>(all: &[&'a RequestSample], wanted: usize) -> Vec<&'a RequestSample> {
    let wanted = wanted.min(all.len());
    (0..wanted).map(|n| all[(2 * n + 1) * all.len() / (2 * wanted)]).collect()
}

/// Says of the findings that stand on the drawing where they come from, and grades them lower.
pub(crate) fn restate(facts: &Facts<'_>, findings: &mut [Finding]) {
    let Some(costs) = &facts.recording.costs else { return };
    let named: HashMap<&str, u32> = facts
        .endpoints()
        .filter(|(id, _)| facts.is_attributed(*id))
        .filter_map(|(id, _)| Some((facts.load.name(id), facts.load.endpoints[id as usize].operation?)))
        .collect();
    for finding in findings {
        let Some(operation) = named.get(finding.endpoint.as_str()) else { continue };
        let evidence = &mut finding.evidence;
        (evidence.traces, evidence.traces_of) = (0, 0);
        evidence.trace_ids.clear();
        evidence.span_ids.clear();
        let statement = finding.place.statement.as_deref().map(statement_key);
        let cost = statement.and_then(|key| costs.statements.iter().find(|s| statement_key(&s.text) == key));
        let mut least = 1.0;
        if let Some((cost, calls)) = cost.and_then(|c| Some((c, c.calls.of(*operation as usize)?))) {
            evidence.lines.insert(
                0,
                format!(
                    "told without traces, from {} windows of a varied load: {:.2} calls a request ({:.2} to {:.2}), {:.0} % of the growth is left over",
                    cost.calls.windows,
                    calls.value,
                    calls.low,
                    calls.high,
                    cost.calls.residual * 100.0
                ),
            );
            least = 1.0 - cost.calls.residual.clamp(0.0, 1.0);
        } else if let Some((line, residual)) = finding
            .place
            .statement
            .as_deref()
            .and_then(|command| cache::evidence(costs, *operation as usize, command))
        {
            evidence.lines.insert(0, line);
            least = 1.0 - residual.clamp(0.0, 1.0);
        }
        finding.confidence = round(finding.confidence * 0.9 * least);
        if let Some(prediction) = &mut finding.prediction {
            prediction.grade = match prediction.grade {
                Grade::A => Grade::B,
                Grade::B | Grade::C => Grade::C,
            };
            let said = "what a request calls is told from the load's mix, and its calls are taken to run one after another";
            prediction.assumption = match prediction.assumption.as_str() {
                "" => said.to_owned(),
                other => format!("{other}; {said}"),
            };
        }
    }
}

/// Where the time of each operation goes, those with most time first.
#[must_use]
pub(crate) fn time_spent(recording: &Recording) -> Vec<TimeSpent> {
    let Some(costs) = &recording.costs else { return Vec::new() };
    let mut all: Vec<(f64, TimeSpent)> = (0_u32..)
        .zip(&recording.run.operations)
        .filter_map(|(number, name)| {
            let responses = recording.responses(number);
            let mean_ms = responses.mean_ms()?;
            let at = costs.operations.iter().position(|o| o == name)?;
            Some((mean_ms * responses.count() as f64, one(costs, at, name, mean_ms)))
        })
        .filter(|(_, spent)| [spent.database_ms, spent.cache_ms, spent.cpu_ms].iter().any(Option::is_some))
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.endpoint.cmp(&b.1.endpoint)));
    all.into_iter().map(|(_, spent)| spent).collect()
}

fn one(costs: &Costs, at: usize, name: &str, mean_ms: f64) -> TimeSpent {
    let known = !costs.statements.is_empty();
    let sum = |of: &dyn Fn(&StatementCost) -> Option<Rate>| {
        let rates = costs.statements.iter().filter_map(of);
        // Errors of single statements are taken to be independent.
        let (value, low, high) = rates.fold((0.0, 0.0, 0.0), |(v, l, h), r| {
            (v + r.value, l + (r.value - r.low).powi(2), h + (r.high - r.value).powi(2))
        });
        rounded(Rate { value, low: (value - f64::sqrt(low)).max(0.0), high: value + f64::sqrt(high) })
    };
    let told = costs.statements.iter().any(|s| s.ms.of(at).is_some());
    let database_ms = (known && told).then(|| sum(&|s| s.ms.of(at)));
    let resource = |name: &str| costs.resource(name).and_then(|c| c.of(at)).map(rounded);
    let (cache_ms, cpu_ms) = (resource(resources::CACHE), resource(resources::CPU));
    let cpu_queue_ms = resource(resources::CPU_QUEUE);
    let parts = [database_ms, cache_ms, cpu_ms, cpu_queue_ms];
    let explained: f64 = parts.iter().flatten().map(|rate| rate.value).sum();
    let matters = |s: &&StatementCost| s.ms.of(at).is_some_and(|r| r.value >= 0.05 * mean_ms);
    let residuals = costs.statements.iter().filter(matters).map(|s| s.ms.residual);
    let others = [resources::CPU, resources::CACHE].map(|n| costs.resource(n).map_or(0.0, |c| c.residual));
    TimeSpent {
        endpoint: name.to_owned(),
        mean_ms: round(mean_ms),
        database_ms,
        cache_ms,
        cpu_ms,
        cpu_queue_ms,
        rest_ms: round((mean_ms - explained).max(0.0)),
        statements: (known && told).then(|| sum(&|s| s.calls.of(at))),
        residual: round(residuals.chain(others).fold(0.0, f64::max)),
    }
}

fn rounded(rate: Rate) -> Rate {
    Rate { value: round(rate.value), low: round(rate.low), high: round(rate.high) }
}

/// Where traces and the database's counters do not agree on how often a request calls a statement.
#[must_use]
pub(crate) fn disagreements(facts: &Facts<'_>) -> Vec<Gap> {
    let Some(costs) = &facts.recording.costs else { return Vec::new() };
    let mut seen: HashMap<(EndpointId, String), f64> = HashMap::new();
    for (_, shape) in facts.shapes().filter(|(_, s)| s.class == Class::Db) {
        let key = (shape.endpoint, statement_key(facts.name(shape.template)));
        *seen.entry(key).or_default() += shape.calls as f64;
    }
    let mut found: Vec<(f64, Gap)> = Vec::new();
    for (id, endpoint) in facts.endpoints().filter(|(id, _)| !facts.is_attributed(*id)) {
        let Some(operation) = facts.load.endpoints[id as usize].operation else { continue };
        // Without any statement on its spans there is nothing to compare: that is another gap.
        if !seen.keys().any(|(of, _)| *of == id) {
            continue;
        }
        for cost in &costs.statements {
            let Some(told) = cost.calls.of(operation as usize) else { continue };
            let spans = seen.get(&(id, statement_key(&cost.text))).copied().unwrap_or(0.0)
                / endpoint.trees.len().max(1) as f64;
            let apart = (told.value - spans).abs();
            let within = told.low - TOLERATED_CALLS <= spans && spans <= told.high + TOLERATED_CALLS;
            if within || apart <= TOLERATED_SHARE * told.value.max(spans) || is_control(&cost.text) {
                continue;
            }
            let ms = cost.ms.of(operation as usize).map_or(0.0, |r| r.value);
            found.push((ms, disagreement(facts.load.name(id), cost, told, spans)));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.into_iter().take(MAX_TOLD).map(|(_, gap)| gap).collect()
}

fn is_control(text: &str) -> bool {
    crate::rules::is_control(Class::Db, text)
}

fn disagreement(endpoint: &str, cost: &StatementCost, told: Rate, spans: f64) -> Gap {
    let text: String = cost.text.chars().take(MAX_SHOWN).collect();
    let reason = format!(
        "{endpoint}: its traces show {spans:.1} calls a request, the database counted {:.1} ({:.1} to {:.1}) of: {text}",
        told.value, told.low, told.high
    );
    let hint = if spans < told.value {
        "some calls have no span: check that every connection and driver of the service is instrumented"
    } else {
        "some calls did not reach this database as this statement: a cache, a replica, or another text"
    };
    Gap::new("attribution", reason, hint)
}

#[cfg(test)]
mod tests;
