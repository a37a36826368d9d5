//! Recordings that no service sends: whatever comes in, every rule ends, nothing is unbounded, every figure is finite.

use localize::{Options, localize};
use model::{
    Attribute, Diagnosis, MetricKind, MetricSeries, Point, Recording, SpanFields, SpanKind, SpanStatus,
    SpanTable, Value,
};
use std::collections::BTreeMap;

const HOUR_NS: i64 = 3_600_000_000_000;
const YEAR_NS: i64 = 365 * 24 * HOUR_NS;
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// A table with a service and shorthand to append to.
struct Pen {
    table: SpanTable,
    resource: model::ResourceId,
}

impl Pen {
    fn new() -> Self {
        let mut table = SpanTable::default();
        let key = table.strings.intern("service.name");
        let value = table.pack(Value::Text("api"));
        let resource = table.add_resource(&[Attribute { key, value }]);
        Self { table, resource }
    }

    fn span(&mut self, fields: SpanFields, name: &str, pairs: &[(&str, Value<'_>)]) {
        let attributes: Vec<Attribute> = pairs
            .iter()
            .map(|(key, value)| {
                let key = self.table.strings.intern(key);
                Attribute { key, value: self.table.pack(*value) }
            })
            .collect();
        let name = self.table.strings.intern(name);
        self.table.push(SpanFields { name, resource: self.resource, ..fields }, &attributes);
    }

    fn recording(self) -> Recording {
        Recording { spans: self.table, ..Recording::default() }
    }
}

fn at(id: u64, parent: u64, start_ns: u64, duration_ns: i64) -> SpanFields {
    SpanFields {
        trace_id: 7,
        span_id: id,
        parent_id: parent,
        start_ns: EPOCH_NS + start_ns,
        duration_ns,
        ..SpanFields::default()
    }
}

fn db(id: u64, parent: u64, start_ns: u64, duration_ns: i64) -> SpanFields {
    SpanFields { kind: SpanKind::Client, ..at(id, parent, start_ns, duration_ns) }
}

const STATEMENT: (&str, Value<'_>) =
    ("db.query.text", Value::Text("SELECT * FROM items WHERE order_id = $1"));

/// Judged, and every figure finite.
fn judged(recording: &Recording) -> Diagnosis {
    let diagnosis = localize(recording, &Options::default());
    for finding in &diagnosis.findings {
        let figures = finding.prediction.iter().flat_map(|p| [p.before_ms, p.after_ms, p.low_ms, p.high_ms]);
        let others = [finding.confidence, finding.share_of_critical_path.unwrap_or(0.0)];
        assert!(figures.chain(others).all(f64::is_finite), "{finding:?}");
        assert!(finding.evidence.trace_ids.len() <= 10 && finding.evidence.span_ids.len() <= 200);
    }
    diagnosis
}

#[test]
fn a_trace_of_a_hundred_thousand_spans_ends() {
    let mut pen = Pen::new();
    let spans = 100_000_u64;
    pen.span(SpanFields { kind: SpanKind::Server, ..at(1, 0, 0, 400_000_000_000) }, "GET /all", &[]);
    for n in 0..spans {
        // Ten levels below each hundredth: wide and deep.
        let parent = if n % 10 == 0 { 1 } else { n + 1 };
        let (start, length) = (n * 4_000_000, 3_900_000 - i64::try_from(n % 10).expect("small") * 100_000);
        pen.span(
            db(n + 2, parent, start - start % 40_000_000 + n % 10 * 50_000, length),
            "SELECT",
            &[STATEMENT],
        );
    }
    let diagnosis = judged(&pen.recording());
    assert_eq!((diagnosis.recording.spans, diagnosis.recording.traces), (spans + 1, 1));
}

#[test]
fn one_parent_with_very_many_children_at_once_ends() {
    let mut pen = Pen::new();
    pen.span(SpanFields { kind: SpanKind::Server, ..at(1, 0, 0, 2_000_000_000) }, "GET /all", &[]);
    // All of them open at the same time: each overlaps each.
    for n in 0..1_000_000_u64 {
        pen.span(db(n + 2, 1, n, 1_000_000_000), "SELECT", &[STATEMENT]);
    }
    assert_eq!(judged(&pen.recording()).recording.spans, 1_000_001);
}

#[test]
fn ids_that_everybody_shares_end() {
    let mut pen = Pen::new();
    for n in 0..50_000_u64 {
        let kind = if n % 2 == 0 { SpanKind::Server } else { SpanKind::Client };
        pen.span(SpanFields { kind, ..at(5, 5, n * 1_000, 900) }, "GET /a", &[]);
    }
    for n in 0..50_000_u64 {
        pen.span(at(n + 100, 5, n * 1_000, 800), "child", &[]);
    }
    // The same span, again and again.
    for _ in 0..50_000 {
        pen.span(at(6, 0, 1_000, 800), "copy", &[]);
    }
    let diagnosis = judged(&pen.recording());
    assert!(diagnosis.gaps.iter().any(|g| g.reason.contains("received twice")), "{:?}", diagnosis.gaps);
}

#[test]
fn circles_of_parents_are_cut_and_counted() {
    let mut pen = Pen::new();
    let spans = 20_000;
    for n in 0..spans {
        pen.span(at(n + 1, (n + 1) % spans + 1, n * 1_000, 500), "f", &[]);
    }
    pen.span(at(90_000, 90_000, 0, 500), "itself", &[]);
    let diagnosis = judged(&pen.recording());
    assert!(diagnosis.gaps.iter().any(|g| g.reason.contains("their own ancestors")), "{:?}", diagnosis.gaps);
}

#[test]
fn spans_of_thirty_years_and_times_at_the_end_of_the_scale_do_not_overflow() {
    let mut pen = Pen::new();
    for trace in 0..40_u128 {
        for (n, start) in [(1_u64, 0), (2, 1), (3, u64::MAX - EPOCH_NS - 5)] {
            for (m, duration) in [(0_u64, 30 * YEAR_NS), (10, i64::MAX), (20, i64::MIN), (30, 0)] {
                let fields = at(n + m, if n + m == 1 { 0 } else { 1 }, start, duration);
                let kind = if n + m == 1 { SpanKind::Server } else { SpanKind::Client };
                pen.span(
                    SpanFields { trace_id: trace + 1, kind, ..fields },
                    "UPDATE",
                    &[
                        ("db.query.text", Value::Text("UPDATE a SET b = $1 WHERE id = $2")),
                        ("db.response.returned_rows", Value::Int(i64::MAX)),
                        ("http.response.body.size", Value::Float(f64::MAX)),
                        ("tracestate", Value::Text("ot=th:ffffffffffffff")),
                    ],
                );
            }
        }
    }
    let diagnosis = judged(&pen.recording());
    assert!(diagnosis.gaps.iter().any(|g| g.reason.contains("end before they start")));
}

/// xorshift64*: chance with a seed, for tests.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n.max(1)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }
}

const NAMES: &[&str] = &[
    "",
    "GET /a/{id}",
    "connect",
    "pool.acquire",
    "transaction",
    "toJSON",
    "send email",
    "orders publish",
    "\u{1f600}",
    "a.B/C",
    "x",
];
const TEXTS: &[&str] = &[
    "",
    "BEGIN",
    "COMMIT",
    "SELECT * FROM a WHERE id = $1",
    "UPDATE a SET b = $1",
    "INSERT INTO a VALUES ($1)",
    "SELECT (((",
    "'",
    "WITH x",
    "GET key:1",
    "http://h:80/a/7?b=1",
    "://",
    "ot=th:",
    "[\"application/json\"]",
    "{",
    "0",
    "-1",
    "1e999",
    "NaN",
    "gzip",
    "redis",
    "kafka",
];
const METRICS: &[&str] = &[
    "system.cpu.utilization",
    "process.cpu.cores",
    "system.io.pressure",
    "process.memory.usage",
    "jvm.gc.duration.sum",
    "db.client.connection.count",
    "db.client.connection.max",
    "k8s.container.cpu_limit_utilization",
    "hikaricp_connections_active",
    "hikaricp_connections_max",
    "system.cpu.logical.count",
];
const VALUES: &[f64] = &[0.0, 1.0, -1.0, 0.95, 1e308, -1e308, 1e-308, 5.0];

/// Spans of every kind with every attribute that is read, in no order, and metrics without sense.
fn nonsense(seed: u64) -> Recording {
    let mut chance = Chance(seed);
    let mut pen = Pen::new();
    for _ in 0..400 {
        let fields = SpanFields {
            trace_id: u128::from(chance.below(12)),
            span_id: chance.below(60),
            parent_id: chance.below(60),
            start_ns: chance
                .one(&[0, EPOCH_NS, EPOCH_NS + 5, u64::MAX])
                .saturating_add(chance.below(50_000_000)),
            duration_ns: i64::try_from(chance.below(60_000_000)).unwrap_or(0)
                * chance.one(&[1, 1, 1, -1, 1_000]),
            kind: SpanKind::from_number(chance.below(7)),
            status: chance.one(&[SpanStatus::Unset, SpanStatus::Error]),
            ..SpanFields::default()
        };
        let mut pairs: Vec<(&str, Value<'_>)> = Vec::new();
        for _ in 0..chance.below(8) {
            let key = chance.one(localize::ATTRIBUTES);
            let key = if key.ends_with('.') { "db.query.parameter.0" } else { key };
            let text = Value::Text(chance.one(TEXTS));
            let number = Value::Float(chance.one(VALUES));
            pairs.push((key, chance.one(&[text, text, number, Value::Int(i64::MIN), Value::Bool(true)])));
        }
        pen.span(fields, chance.one(NAMES), &pairs);
    }
    let rows = u32::try_from(pen.table.len()).expect("few");
    pen.table.links = (0..30).map(|n| (n * 13 % (rows + 9), u128::from(n % 12), u64::from(n))).collect();
    let mut recording = pen.recording();
    for _ in 0..20 {
        let points = (0..chance.below(15))
            .map(|n| Point { time_ns: n / 2 * 1_000_000_000, value: chance.one(VALUES) });
        let points = points.collect();
        let attributes: BTreeMap<String, String> = [
            ("service.name".to_owned(), chance.one(&["api", "", "db"]).to_owned()),
            ("db.client.connection.state".to_owned(), "used".to_owned()),
            ("process.role".to_owned(), chance.one(&["service", "database"]).to_owned()),
        ]
        .into();
        let kind = chance.one(&[MetricKind::Gauge, MetricKind::Counter]);
        recording.metrics.push(MetricSeries {
            name: chance.one(METRICS).to_owned(),
            unit: "1".to_owned(),
            kind,
            attributes,
            points,
        });
    }
    recording
}

#[test]
fn nonsense_of_every_kind_is_judged_and_judged_alike() {
    for seed in 1..=100 {
        let recording = nonsense(seed);
        let (once, again) = (judged(&recording), judged(&recording));
        assert_eq!(
            serde_json::to_string(&once).expect("JSON"),
            serde_json::to_string(&again).expect("JSON"),
            "seed {seed}"
        );
    }
}

/// The program reads recordings with no other attributes than the listed ones: nothing may depend on others.
#[test]
fn with_the_listed_attributes_alone_the_diagnosis_is_the_same() {
    for seed in 1..=30 {
        let whole = nonsense(seed);
        let mut pen = Pen::new();
        for row in 0..whole.spans.len() {
            let span = whole.spans.row(row);
            let listed = |key: &str| {
                localize::ATTRIBUTES.iter().any(|a| *a == key || (a.ends_with('.') && key.starts_with(a)))
            };
            let pairs: Vec<(&str, Value<'_>)> = span.attributes().filter(|(key, _)| listed(key)).collect();
            let name = whole.spans.strings.get(whole.spans.names[row]).to_owned();
            pen.span(whole.spans.fields(row), &name, &pairs);
        }
        pen.table.links.clone_from(&whole.spans.links);
        let projected = Recording { metrics: whole.metrics.clone(), ..pen.recording() };
        let json = |r: &Recording| serde_json::to_string(&judged(r)).expect("JSON");
        assert_eq!(json(&whole), json(&projected), "seed {seed}");
    }
}
