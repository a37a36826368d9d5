//! Inputs for the tests and for looking at the page: a loop that went well, and the worst that can come.

use model::{
    Change, ChangeKind, CodeRef, Diagnosis, EndpointFigures, Environment, Evidence, Finding, Gap, GoalResult,
    Grade, Histogram, HttpCall, Judgement, LatencyCell, MetricVerdict, Place, Prediction, QuantilePrediction,
    Recording, RecordingFigures, Remedy, RemedyKind, Rerun, RerunRow, RuleNotRun, Run, Severity, Step,
    Stretch, Validity, ValidityIssue, Verdict,
};
use std::collections::BTreeMap;

pub(crate) const CREATED_NS: u64 = 1_795_380_000_000_000_000;
pub(crate) const HOSTILE: &str = "</script><img src=x onerror=alert(1)><!--\u{2028}{{script}}\u{202e}";

/// Endpoint, requests a second, p50 before, p50 after, sigma of the logarithm.
const MIX: [(&str, f64, f64, f64, f64); 5] = [
    ("GET /customers/{id}/orders", 22.0, 212.0, 31.0, 0.42),
    ("GET /products/{id}", 41.0, 38.0, 9.2, 0.35),
    ("POST /orders", 9.0, 121.0, 18.0, 0.5),
    ("GET /reports/sales", 1.5, 540.0, 505.0, 0.2),
    ("GET /health", 2.0, 0.41, 0.40, 0.3),
];

/// The inverse of the standard normal distribution at `(i + 0.5) / n`, by bisection of a logistic approximation:
/// good enough for a shape that looks real.
fn normal(i: u64, n: u64) -> f64 {
    let p = (i as f64 + 0.5) / n as f64;
    (p / (1.0 - p)).ln() / 1.702
}

fn latencies(after: bool, seconds: u32) -> Vec<LatencyCell> {
    let mut cells = Vec::new();
    for cell in 0..seconds {
        for (operation, (_, rate, before_ms, after_ms, sigma)) in MIX.iter().enumerate() {
            let wave = 1.0 + 0.2 * (f64::from(cell) * 0.7 + operation as f64).sin();
            let n = (rate * wave).round().max(1.0) as u64;
            let mut response = Histogram::default();
            for i in 0..n {
                // The same values in every cell, but in each another part of a long tail.
                let tail = if (i + u64::from(cell) * 7).is_multiple_of(41) { 2.6 } else { 1.0 };
                let p50 = if after { after_ms } else { before_ms };
                let ms = p50 * (sigma * normal(i, n)).exp() * tail * (0.94 + 0.12 * wave / 1.2);
                response.record((ms * 1e6) as u64);
            }
            let service = response.clone();
            let errors = u32::from(!after && operation == 2 && cell % 9 == 4);
            cells.push(LatencyCell { operation: operation as u32, cell, response, service, errors });
        }
    }
    cells
}

const TRACES_BEFORE: &str = r#"
repeat 20
api server "GET /customers/{id}/orders" 0..212
  api internal "pool.acquire" 0.4..6
  api db "SELECT id, created_at, status FROM orders WHERE customer_id = $1 ORDER BY created_at DESC LIMIT 50" 6..31
  api db "SELECT product_id, quantity, price FROM order_items WHERE order_id = $1" 32..35.1 x53 gap 0.2
  api internal "serialize" 206..211

repeat 2
api server "GET /customers/{id}/orders" 0..431
  api internal "pool.acquire" 0.4..160
  api db "SELECT id, created_at, status FROM orders WHERE customer_id = $1 ORDER BY created_at DESC LIMIT 50" 160..201
  api db "SELECT product_id, quantity, price FROM order_items WHERE order_id = $1" 202..206 x53 gap 0.2
  api internal "serialize" 425.6..430

repeat 20
api server "GET /products/{id}" 0..38
  api redis "GET product:{n}" 0.5..1.1
  api db "SELECT * FROM products WHERE id = $1" 1.4..8
  api http "GET http://shop:hunter2@inventory:8081/stock/7?token=abc" 8.2..24
    inventory server "GET /stock/{id}" 9..23
      inventory db "SELECT count FROM stock WHERE product_id = $1" 10..22
  api http "GET http://related:8082/products/7/related" 24.4..36
    related server "GET /products/{id}/related" 25..35 status=error

repeat 20
api server "POST /orders" 0..121
  api db "INSERT INTO orders (customer_id, status) VALUES ($1, $2) RETURNING id" 2..9
  api internal "send_mail" 10..118
    api client "smtp send" 11..117
  api producer "orders.created publish" 118..119
"#;

const TRACES_AFTER: &str = r#"
repeat 20
api server "GET /customers/{id}/orders" 0..31
  api internal "pool.acquire" 0.4..0.9
  api db "SELECT id, created_at, status FROM orders WHERE customer_id = $1 ORDER BY created_at DESC LIMIT 50" 1..6
  api db "SELECT order_id, product_id, quantity, price FROM order_items WHERE order_id = ANY($1)" 6.4..25
  api internal "serialize" 26..30.6

repeat 20
api server "GET /products/{id}" 0..9.2
  api redis "GET product:{n}" 0.5..1.1
  api http "GET http://inventory:8081/stock/7" 1.2..8.6
    inventory server "GET /stock/{id}" 1.6..8.2
  api http "GET http://related:8082/products/7/related" 1.2..7.1
    related server "GET /products/{id}/related" 1.8..6.8

repeat 20
api server "POST /orders" 0..18
  api db "INSERT INTO orders (customer_id, status) VALUES ($1, $2) RETURNING id" 2..14
  api producer "mail enqueue" 15..15.4
"#;

pub(crate) fn recording(after: bool) -> Recording {
    let drawing = if after { TRACES_AFTER } else { TRACES_BEFORE };
    let start_ns = CREATED_NS - if after { 60_000_000_000 } else { 180_000_000_000 };
    let versions = [("trimtab", "0.1.0"), ("postgresql", "16.9")];
    Recording {
        run: Run {
            format: 1,
            id: if after { "20261122-203900-7c1e" } else { "20261122-203700-7c1e" }.to_owned(),
            target: "http://shop:hunter2@127.0.0.1:8080".to_owned(),
            start_ns,
            end_ns: start_ns + 40_000_000_000,
            seed: 1,
            goals: Vec::new(),
            operations: MIX.iter().map(|m| m.0.to_owned()).collect(),
            cell_ms: 1000,
            environment: Environment {
                host: "buildhost".to_owned(),
                os: "Linux 6.8".to_owned(),
                cpu_model: "Example CPU at 2.6 GHz".to_owned(),
                cpus: 2,
                memory_bytes: 8 << 30,
                versions: versions.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            },
            validity: Validity::default(),
            gaps: Vec::new(),
            complete: true,
        },
        spans: model::fixture::spans(drawing).expect("a drawing"),
        latencies: latencies(after, 40),
        ..Recording::default()
    }
}

fn endpoints(recording: &Recording) -> Vec<EndpointFigures> {
    let figures = |(at, (endpoint, ..)): (usize, &(&str, f64, f64, f64, f64))| {
        let all = recording.responses(at as u32);
        let errors: u32 =
            recording.latencies.iter().filter(|c| c.operation as usize == at).map(|c| c.errors).sum();
        // Rounded, so that they read back exactly.
        let ms = |q| (all.quantile_ms(q).unwrap_or_default() * 1e3).round() / 1e3;
        EndpointFigures {
            endpoint: (*endpoint).to_owned(),
            service: "api".to_owned(),
            requests: all.count(),
            rate_per_s: all.count() as f64 / 40.0,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            error_share: (f64::from(errors) / all.count() as f64 * 1e6).round() / 1e6,
            traces: 20,
            coverage: Some(0.97),
        }
    };
    MIX.iter().enumerate().map(figures).collect()
}

/// With few digits, so that it reads back exactly.
fn rounded(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

pub(crate) fn prediction(metric: &str, before_ms: f64, after_ms: f64, grade: Grade) -> Prediction {
    let quantile = |quantile, before_ms: f64, after_ms: f64| QuantilePrediction {
        quantile,
        before_ms,
        after_ms,
        low_ms: rounded(after_ms * 0.84),
        high_ms: rounded(after_ms * 1.37),
    };
    Prediction {
        metric: metric.to_owned(),
        before_ms,
        after_ms,
        low_ms: rounded(after_ms * 0.84),
        high_ms: rounded(after_ms * 1.37),
        grade,
        assumption: "the batched query takes what the slowest of its parts took".to_owned(),
        quantiles: vec![quantile(0.5, before_ms / 2.0, after_ms / 2.0), quantile(0.95, before_ms, after_ms)],
        calibration: None,
    }
}

/// A finding with every field filled.
pub(crate) fn n_plus_one() -> Finding {
    Finding {
        rule: "n_plus_one".to_owned(),
        severity: Severity::Critical,
        fingerprint: "v1:00c0ffee00c0ffee".to_owned(),
        title: "53 queries for the items of the orders, one after another".to_owned(),
        service: "api".to_owned(),
        endpoint: "GET /customers/{id}/orders".to_owned(),
        place: Place {
            shape: Some("GET /customers/{id}/orders > SELECT order_items".to_owned()),
            statement: Some(
                "SELECT product_id, quantity, price FROM order_items WHERE order_id = $1".to_owned(),
            ),
            function: Some(CodeRef {
                function: "orders::list".to_owned(),
                file: Some("src/orders.rs".to_owned()),
                line: Some(88),
            }),
            resource: Some("postgresql".to_owned()),
            page: Some("/orders".to_owned()),
        },
        calls_per_request: Some(53.0),
        share_of_critical_path: Some(0.82),
        prediction: Some(prediction("p95(GET /customers/{id}/orders)", 438.0, 95.0, Grade::B)),
        remedies: vec![Remedy {
            kind: RemedyKind::Sql,
            text: "fetch the items of all orders in one query".to_owned(),
            patch: Some(
                "SELECT order_id, product_id, quantity, price FROM order_items WHERE order_id = ANY($1)"
                    .to_owned(),
            ),
            undo: Some("one query per order".to_owned()),
        }],
        evidence: Evidence {
            lines: vec![
                "the same statement runs 53 times in a typical request, never two at once".to_owned(),
                "82 % of the critical path; 22 of 22 traces show it".to_owned(),
            ],
            trace_ids: vec!["00000000000000000000000000000001".to_owned()],
            traces: 22,
            traces_of: 22,
            span_ids: vec!["0000000000000003".to_owned()],
            plan: Some("Seq Scan on order_items\n  Filter: (order_id = $1)".to_owned()),
        },
        confidence: 0.95,
        rerun: Some(rerun()),
    }
}

/// 53 calls that become one.
fn rerun() -> Rerun {
    let stretch = |calls, start_ms: f64, end_ms: f64| {
        let total_ms = end_ms - start_ms;
        Stretch { calls, start_ms, end_ms, total_ms }
    };
    let row = |depth, name: &str, class: &str, before, after| RerunRow {
        depth,
        name: name.to_owned(),
        service: "api".to_owned(),
        class: class.to_owned(),
        found: false,
        before,
        after,
    };
    let items = "SELECT product_id, quantity, price FROM order_items WHERE order_id = $1";
    Rerun {
        trace_id: "00000000000000000000000000000001".to_owned(),
        before_ms: 402.5,
        after_ms: 88.25,
        rows: vec![
            row(
                0,
                "GET /customers/{id}/orders",
                "server",
                stretch(1, 0.0, 402.5),
                Some(stretch(1, 0.0, 88.25)),
            ),
            row(1, "SELECT * FROM orders", "db", stretch(1, 1.5, 21.5), Some(stretch(1, 1.5, 21.5))),
            RerunRow {
                found: true,
                ..row(1, items, "db", stretch(53, 22.5, 380.5), Some(stretch(1, 22.5, 66.5)))
            },
            row(1, "GET http://audit/log", "http", stretch(1, 381.5, 401.5), None),
        ],
        hidden: 3,
    }
}

fn finding(
    rule: &str,
    title: &str,
    endpoint: &str,
    lines: [&str; 2],
    predicted: Option<Prediction>,
) -> Finding {
    Finding {
        rule: rule.to_owned(),
        severity: Severity::Warning,
        title: title.to_owned(),
        endpoint: endpoint.to_owned(),
        prediction: predicted,
        place: Place::default(),
        evidence: Evidence { lines: lines.map(str::to_owned).to_vec(), ..Evidence::default() },
        remedies: Vec::new(),
        ..n_plus_one()
    }
}

/// A diagnosis with every field filled.
pub(crate) fn diagnosis(after: bool) -> Diagnosis {
    let recording = recording(after);
    let endpoints = endpoints(&recording);
    let limits = [(0, 150.0), (1, 50.0), (2, 120.0)];
    let mut goals: Vec<GoalResult> = limits
        .iter()
        .map(|&(at, limit): &(usize, f64)| {
            let e = &endpoints[at];
            GoalResult {
                goal: format!("p95({}) < {limit} ms", e.endpoint),
                measured: Some(e.p95_ms),
                met: Some(e.p95_ms < limit),
                requests: Some(480),
                low: Some(e.p95_ms * 0.9),
                high: Some(e.p95_ms * 1.1),
            }
        })
        .collect();
    goals.push(GoalResult {
        goal: "errors(*) < 1 %".to_owned(),
        measured: Some(0.0004),
        met: Some(true),
        ..GoalResult::default()
    });
    let sales = finding(
        "cpu_self_time",
        "The sales report computes for 480 ms on an async thread",
        "GET /reports/sales",
        ["89 % of the request is spent on the CPU, in one span", "the endpoint has no goal"],
        Some(prediction("p95(GET /reports/sales)", 741.0, 690.0, Grade::C)),
    );
    Diagnosis {
        version: model::SCHEMA_VERSION,
        recording: RecordingFigures {
            id: recording.run.id.clone(),
            start_ns: recording.run.start_ns,
            end_ns: recording.run.end_ns,
            spans: recording.spans.len() as u64,
            traces: 62,
            endpoints,
            validity: Validity {
                issues: vec![ValidityIssue {
                    kind: "generator_cpu".to_owned(),
                    invalid: false,
                    reason: "the generator used 0.71 of a core, more than 0.5".to_owned(),
                    hint: "run it on another machine".to_owned(),
                }],
            },
        },
        goals,
        time: Vec::new(),
        findings: if after { vec![sales] } else { vec![n_plus_one(), sales] },
        gaps: vec![Gap::new(
            "statements",
            "pg_stat_statements is not loaded on this server",
            "Add it to shared_preload_libraries and restart Postgres.",
        )],
        rules_not_run: vec![
            RuleNotRun { rule: "lock_wait".to_owned(), missing_signal: "database waits".to_owned() },
            RuleNotRun { rule: "cache_stampede".to_owned(), missing_signal: "cache metrics".to_owned() },
        ],
    }
}

/// A judgement with every field filled.
pub(crate) fn judgement(metric: &str, before_ms: f64, after_ms: f64, held: Option<bool>) -> Judgement {
    let ratio = after_ms / before_ms;
    let verdict = if ratio < 0.95 { Verdict::Better } else { Verdict::Unclear };
    let one = |quantile: f64, factor: f64| MetricVerdict {
        metric: metric.replace("p95", &format!("p{}", quantile * 100.0)),
        operation: metric.trim_start_matches("p95(").trim_end_matches(')').to_owned(),
        quantile,
        before_ms: before_ms * factor,
        after_ms: after_ms * factor,
        ratio,
        low: ratio * 0.92,
        high: ratio * 1.09,
        detectable: 0.06,
        needed_s: (verdict == Verdict::Unclear).then_some(84.0),
        verdict,
        requests_before: 880,
        requests_after: 874,
    };
    let reason = match verdict {
        Verdict::Better => "the 95 % interval of the ratio lies below 1",
        _ => "the 95 % interval of the ratio holds 1",
    };
    Judgement {
        version: model::SCHEMA_VERSION,
        verdict,
        metric: metric.to_owned(),
        metrics: vec![one(0.5, 0.5), one(0.95, 1.0)],
        prediction_held: held,
        reasons: vec![reason.to_owned()],
    }
}

fn step(
    number: u32,
    finding: Finding,
    change: (&str, &str),
    kind: ChangeKind,
    after: f64,
    held: bool,
) -> Step {
    let p = finding.prediction.clone().expect("a prediction");
    let judgement = judgement(&p.metric, p.before_ms, after, Some(held));
    Step {
        number,
        started_ns: CREATED_NS,
        kept: judgement.verdict == Verdict::Better,
        change: Change { name: change.0.to_owned(), description: change.1.to_owned(), kind },
        finding,
        judgement,
        recording_before: "before".to_owned(),
        recording_after: Some("after".to_owned()),
    }
}

fn switch(name: &str) -> ChangeKind {
    let call = |on: &str| HttpCall {
        method: "PUT".to_owned(),
        url: "http://admin:hunter2@127.0.0.1:8080/switches".to_owned(),
        body: format!("{{\"{name}\":\"{on}\"}}"),
    };
    ChangeKind::Http { apply: call("on"), undo: call("off") }
}

pub(crate) fn steps() -> Vec<Step> {
    let products = finding(
        "serial_calls",
        "Inventory and related products are fetched one after another",
        "GET /products/{id}",
        ["two calls that do not need each other take 27.4 of 38 ms", "20 of 20 traces show it"],
        Some(prediction("p95(GET /products/{id})", 71.0, 26.0, Grade::B)),
    );
    let mail = finding(
        "deferrable_work",
        "The mail is sent while the customer waits",
        "POST /orders",
        ["106 ms of the critical path follow the last write", "the reply does not depend on it"],
        Some(prediction("p95(POST /orders)", 291.0, 41.0, Grade::C)),
    );
    let index = finding(
        "missing_index",
        "order_items is read whole for each order",
        "GET /customers/{id}/orders",
        [
            "the plan is a sequential scan of 800,000 rows",
            "the index was built and tried: cost 16,400 -> 8.4",
        ],
        Some(prediction("p95(GET /customers/{id}/orders)", 95.0, 62.0, Grade::A)),
    );
    let sales = finding(
        "cpu_self_time",
        "The sales report computes for 480 ms on an async thread",
        "GET /reports/sales",
        ["89 % of the request is spent on the CPU", "other requests wait behind it"],
        Some(prediction("p95(GET /reports/sales)", 741.0, 690.0, Grade::C)),
    );
    let sql = ChangeKind::Sql {
        apply: "CREATE INDEX CONCURRENTLY order_items_order_id ON order_items (order_id);".to_owned(),
        undo: "DROP INDEX CONCURRENTLY order_items_order_id;".to_owned(),
    };
    vec![
        step(
            1,
            n_plus_one(),
            ("batched items", "the items of all orders in one query"),
            switch("items"),
            102.0,
            true,
        ),
        step(2, mail, ("queued mail", "mail goes to a bounded queue"), switch("mail"), 36.0, true),
        step(3, products, ("gathered calls", "both calls at once"), switch("gather"), 31.0, true),
        step(4, index, ("index order_items(order_id)", "found by the plan"), sql, 78.0, false),
        step(5, sales, ("off-loaded report", "computed on a blocking thread"), switch("report"), 731.0, true),
    ]
}

/// A diagnosis of `n` endpoints, and figures that no honest instrument would give.
pub(crate) fn many(n: usize) -> Diagnosis {
    let endpoint = |at: usize| EndpointFigures {
        endpoint: format!("GET /generated/path/{at}"),
        service: "api".to_owned(),
        requests: at as u64,
        p50_ms: if at.is_multiple_of(1000) { f64::NAN } else { at as f64 },
        p95_ms: f64::INFINITY,
        ..EndpointFigures::default()
    };
    let mut many = diagnosis(false);
    many.recording.endpoints = (0..n).map(endpoint).collect();
    many
}

const STATE: [report::State<'static>; 2] = [
    report::State {
        kind: "misestimate",
        subject: "SELECT id FROM sales WHERE city = $1 AND region = $2",
        reason: "the planner expects 16 rows, 800 came per call: city, region depend on each other",
        look: "EXPLAIN (ANALYZE, BUFFERS) SELECT id FROM sales WHERE city = $1 AND region = $2",
        mend: Some("CREATE STATISTICS s (dependencies) ON city, region FROM sales; ANALYZE sales"),
        undo: Some("DROP STATISTICS s"),
    },
    report::State {
        kind: "connection_churn",
        subject: "server",
        reason: "699 connections were made in 15 s",
        look: "SELECT sessions FROM pg_stat_database",
        mend: None,
        undo: None,
    },
];

/// Names that try to leave the place that they are put in, statements of 100 kB, figures that are none.
pub(crate) fn hostile() -> (Recording, Diagnosis, Vec<Step>) {
    let mut recording = recording(false);
    let name = recording.spans.strings.intern(HOSTILE);
    for at in 0..recording.spans.len() {
        recording.spans.names[at] = name;
        recording.spans.durations_ns[at] = if at % 7 == 3 { -5 } else { recording.spans.durations_ns[at] };
    }
    recording.run.operations[0] = HOSTILE.to_owned();
    recording.run.id = HOSTILE.to_owned();
    let mut diagnosis = diagnosis(false);
    diagnosis.recording.endpoints[0].endpoint = HOSTILE.to_owned();
    diagnosis.recording.endpoints[1].p95_ms = f64::NAN;
    let finding = &mut diagnosis.findings[0];
    finding.title = format!("{HOSTILE} {}", "W".repeat(3000));
    finding.endpoint = HOSTILE.to_owned();
    let rerun = finding.rerun.as_mut().expect("a drawing");
    rerun.rows[1].name = format!("{HOSTILE} {}", "W".repeat(100_000));
    rerun.rows[2].class = HOSTILE.to_owned();
    rerun.rows[3].before.end_ms = -1e300;
    finding.place.statement = Some(format!("SELECT {HOSTILE} {}", "column_with_a_long_name, ".repeat(4000)));
    finding.evidence.lines = vec![HOSTILE.to_owned(); 500];
    diagnosis.goals.push(GoalResult {
        goal: HOSTILE.to_owned(),
        measured: Some(f64::NAN),
        met: None,
        ..GoalResult::default()
    });
    diagnosis.goals.push(GoalResult { goal: "p95(GET /never) < 10 ms".to_owned(), ..GoalResult::default() });
    diagnosis.gaps.push(Gap::new(HOSTILE, HOSTILE, "see postgres://shop:hunter2@db/shop"));
    let mut steps = steps();
    steps[0].change.name = HOSTILE.to_owned();
    steps[0].judgement.metrics[1].after_ms = f64::NAN;
    steps[1].judgement.metrics.clear();
    steps[2].finding.prediction = None;
    (recording, diagnosis, steps)
}

/// Nothing at all, but well formed.
pub(crate) fn nothing() -> (Recording, Diagnosis) {
    (Recording::default(), Diagnosis { version: 1, ..Diagnosis::default() })
}

/// A study of stepped load with every field filled.
pub(crate) fn scaling() -> model::Scaling {
    serde_json::from_str(include_str!("levels.json")).expect("a study")
}

/// A map of names to pages, for tests that look at each.
pub(crate) fn pages() -> BTreeMap<&'static str, String> {
    use report::{Inputs, Measured, ReportData, html};
    let (before, after) = (recording(false), recording(true));
    let (first, last, steps) = (diagnosis(false), diagnosis(true), steps());
    let title = "Shop: orders under load";
    let trace_url: report::TraceUrl = "http://localhost:16686/trace/{trace_id}".parse().expect("an address");
    let full = Inputs {
        title,
        created_ns: CREATED_NS,
        before: Some(Measured { recording: &before, diagnosis: &first }),
        after: Some(Measured { recording: &after, diagnosis: &last }),
        steps: &steps,
        scaling: None,
        trace_url: Some(&trace_url),
        state: &STATE,
    };
    let single = Inputs { after: None, steps: &[], ..full };
    let (empty_recording, empty_diagnosis) = nothing();
    let empty = Measured { recording: &empty_recording, diagnosis: &empty_diagnosis };
    let (bad_recording, bad_diagnosis, bad_steps) = hostile();
    let bad = Measured { recording: &bad_recording, diagnosis: &bad_diagnosis };
    let wide = many(10_000);
    let page = |inputs: Inputs<'_>| html(&ReportData::new(&inputs));
    let (mut hot, mut mended) = (recording(false), recording(true));
    (hot.profile, mended.profile) = (Some(profile(false)), Some(profile(true)));
    let flame = Inputs {
        before: Some(Measured { recording: &hot, diagnosis: &first }),
        after: Some(Measured { recording: &mended, diagnosis: &last }),
        ..full
    };
    BTreeMap::from([
        ("typical", page(full)),
        ("single", page(single)),
        ("levels", page(Inputs { scaling: Some(&scaling()), ..single })),
        ("flame", page(flame)),
        ("nothing", page(Inputs::default())),
        ("empty", page(Inputs { before: Some(empty), after: Some(empty), ..Inputs::default() })),
        ("many", page(Inputs { before: Some(Measured { recording: &before, diagnosis: &wide }), ..single })),
        (
            "hostile",
            page(Inputs { title: HOSTILE, before: Some(bad), after: Some(bad), steps: &bad_steps, ..full }),
        ),
    ])
}

/// A profile of a service with two endpoints: one function computes, one waits for a lock.
pub(crate) fn profile(after: bool) -> model::Profile {
    use model::{CallNode, CodeFrame, CodeKind, OperationTime, Profile};
    let code = |function: &str, file: &str, line: u32| CodeFrame {
        kind: CodeKind::Python,
        function: function.to_owned(),
        file: file.to_owned(),
        line,
        ..CodeFrame::default()
    };
    let group = CodeFrame { kind: CodeKind::Threads, function: "web".into(), ..CodeFrame::default() };
    let wait =
        CodeFrame { kind: CodeKind::Label, function: "[waits: lock (futex)]".into(), ..CodeFrame::default() };
    let frames = vec![
        group,
        code("dispatch", "web/router.py", 20),
        code("recommend", "shop/recommend.py", 41),
        code("similarity</script><img src=x>", "shop/recommend.py", 12),
        code("take", "shop/stock.py", 7),
        wait,
    ];
    let node = |parent, frame, own_ms, of: u32| CallNode { parent, frame, own_ms, split: [of; 4] };
    let scan = if after { 800.0 } else { 9000.0 };
    let nodes = vec![
        CallNode::default(),
        node(0, 0, [20.0, 5.0, 0.0, 0.0], 3),
        node(1, 1, [300.0, 20.0, 0.0, 40.0], 3),
        node(2, 2, [700.0, 0.0, 0.0, 0.0], 1),
        node(3, 3, [scan, 400.0, 0.0, 0.0], 1),
        node(2, 4, [100.0, 0.0, 0.0, 0.0], 2),
        node(5, 5, [0.0, 0.0, 6000.0, 0.0], 2),
    ];
    let splits = vec![vec![0.0, 0.0, 1.0], vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.5, 0.4, 0.1]];
    let time = |requests| OperationTime { requests, cpu_ms: None };
    Profile {
        version: model::PROFILE_VERSION,
        title: "python3 app.py (process 4711)".to_owned(),
        wall_ms: 40_000.0,
        own_share: 0.008,
        unscaled_error: Some(-0.02),
        frames,
        nodes,
        splits,
        operations: vec!["GET /recommendations".into(), "POST /orders".into()],
        times: vec![time(200.0), time(400.0)],
        residual: 0.07,
        windows: 40,
        ..Profile::default()
    }
}
