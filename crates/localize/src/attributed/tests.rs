//! Findings without any trace, from costs as the load's mix tells them.

use crate::testing::lines;
use crate::{Options, localize};
use expect_test::expect;
use model::{
    Attribution, Costs, Grade, LatencyCell, Plan, PlanNode, Rate, Recording, RequestSample, ResourceCost,
    Statement, StatementCost, TableFigures, WhatIf, WhatIfMethod, fixture, resources,
};

const ITEMS: &str = "SELECT * FROM items WHERE order_id = $1";

fn told(per_request: &[f64]) -> Attribution {
    let rate = |value: &f64| Some(Rate { value: *value, low: value * 0.95, high: value * 1.05 });
    Attribution {
        per_request: per_request.iter().map(rate).collect(),
        background_per_second: None,
        residual: 0.02,
        windows: 20,
    }
}

fn cost(text: &str, calls: &[f64], ms: &[f64], rows: &[f64]) -> StatementCost {
    StatementCost {
        text: text.to_owned(),
        calls: told(calls),
        ms: told(ms),
        rows: told(rows),
        blocks: told(&[]),
        wal_bytes: told(&[]),
    }
}

fn request(operation: u32, n: u64, ms: u64) -> RequestSample {
    RequestSample {
        operation,
        due_ns: fixture::EPOCH_NS + n * 1_000_000_000,
        response_ns: ms * 1_000_000,
        service_ns: ms * 1_000_000,
        status: 200,
        error: None,
        received_bytes: 2_000,
        sent_bytes: 0,
        trace_id: u128::from(n + 1) << 64 | u128::from(operation + 1),
        slowest: false,
        phases: model::RequestPhases::default(),
    }
}

/// Two operations: orders with 20 look-ups of items each, and one that computes.
fn recording() -> Recording {
    let mut recording = Recording::default();
    recording.run.operations = vec!["GET /orders".to_owned(), "GET /sum".to_owned()];
    recording.run.end_ns = 60_000_000_000;
    for operation in [0, 1] {
        let mut cell = LatencyCell { operation, ..LatencyCell::default() };
        for n in 0..60 {
            let request = request(operation, n, 95 + n % 11);
            cell.response.record(request.response_ns);
            recording.requests.push(request);
        }
        recording.latencies.push(cell);
    }
    recording.costs = Some(Costs {
        operations: recording.run.operations.clone(),
        statements: vec![
            cost(ITEMS, &[20.1, 0.0], &[70.0, 0.0], &[80.0, 0.0]),
            cost("SELECT id FROM orders WHERE customer_id = $1", &[1.0, 0.0], &[2.0, 0.0], &[20.0, 0.0]),
        ],
        resources: vec![ResourceCost {
            name: resources::CPU.to_owned(),
            unit: "ms".to_owned(),
            cost: told(&[4.0, 90.0]),
        }],
        round_trip_ms: Some(0.2),
        ..Costs::default()
    });
    recording
}

#[test]
fn the_rules_find_it_without_a_trace() {
    let diagnosis = localize(&recording(), &Options::default());
    let mut shown = diagnosis.clone();
    shown.rules_not_run.clear();
    expect![[r#"
        n_plus_one GET /orders | 20 x SELECT ... FROM items per GET /orders | p95 105.2 -> 21.4 (9.5..34.2) C
        cpu_self_time GET /sum | 99.8 ms a request in GET /sum's own code | p95 105.2 -> 29.3 (0.0..105.2) C
    "#]]
    .assert_eq(&lines(&shown));
    let first = &diagnosis.findings[0];
    assert!(first.evidence.lines[0].contains("20.10 calls a request (19.09 to 21.11)"), "{first:?}");
    assert!(first.evidence.trace_ids.is_empty() && first.evidence.traces == 0);
    assert_eq!(first.prediction.as_ref().map(|p| p.grade), Some(Grade::C));
    assert_eq!((diagnosis.recording.spans, diagnosis.recording.traces), (0, 0));
    assert!(diagnosis.gaps.iter().any(|g| g.reason.contains("no trace shows what")));
}

#[test]
fn an_index_is_found_and_its_grade_is_lower() {
    let mut recording = recording();
    let calls = 1200;
    recording.statements = vec![Statement {
        text: ITEMS.to_owned(),
        calls,
        total_ms: 3.5 * calls as f64,
        ..Statement::default()
    }];
    recording.plans = vec![Plan {
        statement: ITEMS.to_owned(),
        executed: None,
        root: PlanNode {
            kind: "Seq Scan".to_owned(),
            relation: Some("items".to_owned()),
            ..PlanNode::default()
        },
        tables: vec![TableFigures {
            name: "items".to_owned(),
            rows: 8e5,
            blocks: 5000,
            ..TableFigures::default()
        }],
        what_ifs: vec![WhatIf {
            table: "items".to_owned(),
            columns: vec!["order_id".to_owned()],
            create: "CREATE INDEX CONCURRENTLY i ON items (order_id)".to_owned(),
            undo: "DROP INDEX CONCURRENTLY i".to_owned(),
            method: WhatIfMethod::Hypothetical,
            cost_before: 11834.0,
            cost_after: 23.7,
            ms_before: None,
            ms_after: None,
            bytes: 1 << 24,
        }],
    }];
    let diagnosis = localize(&recording, &Options::default());
    let index = diagnosis.findings.iter().find(|f| f.rule == "missing_index").unwrap();
    let prediction = index.prediction.as_ref().unwrap();
    assert_eq!((index.endpoint.as_str(), prediction.grade), ("GET /orders", Grade::C));
    // 70 of 100 ms are the statement's.
    assert!((25.0..40.0).contains(&prediction.after_ms), "{prediction:?}");
}

#[test]
fn where_the_time_goes_is_told_without_a_trace() {
    let time = localize(&recording(), &Options::default()).time;
    assert_eq!(time.len(), 2);
    let orders = time.iter().find(|t| t.endpoint == "GET /orders").unwrap();
    assert!((orders.database_ms.unwrap().value - 72.0).abs() < 1e-6, "{orders:?}");
    assert!((orders.statements.unwrap().value - 21.1).abs() < 1e-6, "{orders:?}");
    assert!((orders.rest_ms - (orders.mean_ms - 76.0)).abs() < 1e-3, "{orders:?}");
    assert!(orders.cache_ms.is_none() && orders.residual < 0.03);
}

#[test]
fn traces_are_believed_and_compared() {
    let mut recording = recording();
    recording.run.operations = vec!["GET /orders".to_owned()];
    recording.latencies.truncate(1);
    recording.requests.clear();
    recording.spans = fixture::spans(
        r#"
        repeat 60
        service server "GET /orders" 0..100
          service db "SELECT id FROM orders WHERE customer_id = $1" 5..7
          service db "SELECT * FROM items WHERE order_id = $1" 10..13 x2 gap 1
        "#,
    )
    .unwrap();
    let diagnosis = localize(&recording, &Options::default());
    assert!(diagnosis.findings.iter().all(|f| f.rule != "n_plus_one"), "{:?}", diagnosis.findings);
    let gap = diagnosis.gaps.iter().find(|g| g.signal == "attribution").unwrap();
    let said =
        "GET /orders: its traces show 2.0 calls a request, the database counted 20.1 (19.1 to 21.1) of: ";
    assert_eq!(gap.reason, format!("{said}{ITEMS}"));
    assert_eq!(diagnosis.gaps.iter().filter(|g| g.signal == "attribution").count(), 1);
}

#[test]
fn traces_that_end_at_the_door_give_way() {
    let mut recording = recording();
    recording.spans = fixture::spans("repeat 60\nservice server \"GET /orders\" 0..100").unwrap();
    let found = localize(&recording, &Options::default()).findings;
    assert!(found.iter().any(|f| f.rule == "n_plus_one" && f.endpoint == "GET /orders"), "{found:?}");
}

#[test]
fn what_cannot_be_told_is_not_drawn() {
    let mut recording = recording();
    for cost in &mut recording.costs.as_mut().unwrap().statements {
        cost.calls.per_request = vec![None, None];
    }
    let found = localize(&recording, &Options::default()).findings;
    assert!(found.iter().all(|f| f.rule != "n_plus_one"), "{found:?}");
}

/// Twenty look-ups in a cache by a request for orders, in so many goes.
fn with_cache(reads: Option<f64>) -> Recording {
    let mut recording = recording();
    let costs = recording.costs.as_mut().unwrap();
    costs.statements.clear();
    costs.cache_round_trip_ms = Some(2.0);
    let mut add = |name: String, unit: &str, per_request: &[f64]| {
        costs.resources.push(ResourceCost { name, unit: unit.to_owned(), cost: told(per_request) });
    };
    add(format!("{}get", resources::CACHE_CALLS), "{call}", &[20.1, 0.0]);
    add(format!("{}get", resources::CACHE_TIME), "ms", &[0.2, 0.0]);
    add(resources::CACHE_HITS.to_owned(), "{call}", &[15.0, 0.0]);
    add(resources::CACHE_MISSES.to_owned(), "{call}", &[5.0, 0.0]);
    if let Some(reads) = reads {
        add(resources::CACHE_READS.to_owned(), "{call}", &[reads, 0.0]);
    }
    recording
}

#[test]
fn look_ups_in_a_cache_one_by_one_are_found_without_a_trace() {
    let diagnosis = localize(&with_cache(Some(20.2)), &Options::default());
    let found = diagnosis.findings.iter().find(|f| f.rule == "n_plus_one").unwrap();
    let prediction = found.prediction.as_ref().unwrap();
    assert_eq!((found.endpoint.as_str(), prediction.grade), ("GET /orders", Grade::C));
    // 20 of 2.01 ms become one.
    assert!((40.0..70.0).contains(&prediction.after_ms), "{prediction:?}");
    let line = &found.evidence.lines[0];
    assert!(line.contains("20.10 GET a request") && line.contains("75 % of a request's look-ups"), "{line}");
    assert!(found.remedies[0].text.contains("MGET"), "{found:?}");
}

#[test]
fn a_pipeline_is_no_finding_nor_is_what_may_be_one() {
    for reads in [Some(1.0), None] {
        let found = localize(&with_cache(reads), &Options::default()).findings;
        assert!(found.iter().all(|f| f.rule != "n_plus_one"), "{reads:?} {found:?}");
    }
}
