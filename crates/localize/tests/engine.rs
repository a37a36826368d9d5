//! The engine as a whole: one defect is one finding however many requests show it, the same input gives the same
//! bytes, predictions speak of what the load measures, and what cannot be seen is said.

use localize::{Options, localize};
use model::metrics::names;
use model::{
    Gap, Histogram, LatencyCell, MetricKind, MetricSeries, Point, Recording, RequestSample, Run, Validity,
    ValidityIssue, fixture,
};

const ONE_DEFECT: &str = r#"
    repeat 8000
    api server "GET /orders" 0..120
      api db "SELECT id FROM orders WHERE customer_id = $1" 5..10
      api db "SELECT * FROM items WHERE order_id = $1" 10..18 x10 gap 2 db.query.parameter.0={t}{n}
"#;

fn drawn(drawing: &str) -> Recording {
    Recording { spans: fixture::spans(drawing).expect("a drawing"), ..Recording::default() }
}

fn gauge(name: &str, value: f64) -> MetricSeries {
    MetricSeries {
        name: name.to_owned(),
        unit: "1".to_owned(),
        kind: MetricKind::Gauge,
        attributes: std::collections::BTreeMap::new(),
        points: vec![Point { time_ns: 1, value }],
    }
}

#[test]
fn eight_thousand_traces_with_one_defect_are_one_finding() {
    let diagnosis = localize(&drawn(ONE_DEFECT), &Options::default());
    let rules: Vec<&str> = diagnosis.findings.iter().map(|f| f.rule.as_str()).collect();
    assert_eq!(rules, ["n_plus_one"]);
    let evidence = &diagnosis.findings[0].evidence;
    assert_eq!((evidence.traces, evidence.traces_of, evidence.trace_ids.len()), (8000, 8000, 10));
}

#[test]
fn the_same_input_gives_the_same_bytes_and_the_order_of_arrival_does_not_matter() {
    let drawing = ONE_DEFECT.replace("repeat 8000", "repeat 50");
    let bytes = |r: &Recording| serde_json::to_string(&localize(r, &Options::default())).expect("JSON");
    let forward = drawn(&drawing);
    assert_eq!(bytes(&forward), bytes(&drawn(&drawing)));
    let mut backward = drawn("");
    for row in (0..forward.spans.len()).rev() {
        let mut one = drawn("");
        let mut copy = |sym| one.spans.strings.intern(forward.spans.strings.get(sym));
        let fields = forward.spans.fields(row);
        let fields = model::SpanFields { name: copy(fields.name), scope: copy(fields.scope), ..fields };
        let pack = |to: &mut model::SpanTable, attributes: &[model::Attribute]| -> Vec<model::Attribute> {
            let moved = attributes.iter().map(|a| {
                let key = to.strings.intern(forward.spans.strings.get(a.key));
                model::Attribute { key, value: to.pack(forward.spans.unpack(a.value)) }
            });
            moved.collect()
        };
        let attributes = pack(&mut one.spans, forward.spans.packed_attributes(row));
        let resource = pack(&mut one.spans, forward.spans.packed_resource(fields.resource));
        let resource = one.spans.add_resource(&resource);
        one.spans.push(model::SpanFields { resource, ..fields }, &attributes);
        backward.spans.append(&one.spans);
    }
    assert_eq!(bytes(&forward), bytes(&backward));
}

/// The load saw every request 30 ms longer than its root span, and names the endpoint its own way.
fn under_load(recording: &mut Recording) {
    recording.run = Run {
        operations: vec!["list orders".to_owned()],
        start_ns: fixture::EPOCH_NS,
        end_ns: fixture::EPOCH_NS + 10_000_000_000,
        ..Run::default()
    };
    let mut response = Histogram::default();
    for trace in 1..=100_u128 {
        response.record(150_000_000);
        recording.requests.push(RequestSample {
            operation: 0,
            due_ns: 0,
            response_ns: 150_000_000,
            service_ns: 150_000_000,
            status: 200,
            error: None,
            received_bytes: 0,
            sent_bytes: 0,
            trace_id: trace,
            slowest: false,
            phases: model::RequestPhases::default(),
        });
    }
    recording.latencies.push(LatencyCell { response, ..LatencyCell::default() });
}

#[test]
fn predictions_and_goals_speak_of_what_the_load_measures() {
    let mut recording = drawn(&ONE_DEFECT.replace("repeat 8000", "repeat 100"));
    under_load(&mut recording);
    let goals = vec!["p95(list orders) < 100 ms".parse().expect("a goal")];
    let diagnosis = localize(&recording, &Options { goals, ..Options::default() });
    let finding = &diagnosis.findings[0];
    let prediction = finding.prediction.as_ref().expect("a prediction");
    assert_eq!((finding.endpoint.as_str(), prediction.metric.as_str()), ("list orders", "p95(list orders)"));
    assert!((prediction.before_ms - 150.0).abs() < 1.0, "{}", prediction.before_ms);
    assert!((prediction.after_ms - 69.0).abs() < 1.0, "{}", prediction.after_ms);
    assert_eq!(diagnosis.goals[0].met, Some(false));
    assert_eq!(finding.severity, model::Severity::Critical);
}

#[test]
fn a_goal_for_an_endpoint_that_never_appears_names_those_that_do() {
    let recording = drawn(&ONE_DEFECT.replace("repeat 8000", "repeat 5"));
    let goals = vec!["p95(GET /order) < 1 ms".parse().expect("a goal")];
    let diagnosis = localize(&recording, &Options { goals, ..Options::default() });
    assert_eq!((diagnosis.goals[0].measured, diagnosis.goals[0].met), (None, None));
    let hints: Vec<&Gap> = diagnosis.gaps.iter().filter(|g| g.hint.contains("GET /orders")).collect();
    assert_eq!(hints.len(), 1);
}

#[test]
fn on_a_full_cpu_less_work_brings_more_and_the_grade_says_model() {
    let calm = drawn(&ONE_DEFECT.replace("repeat 8000", "repeat 100"));
    let on_cpu = |utilization: f64| {
        let mut recording = drawn(&ONE_DEFECT.replace("repeat 8000", "repeat 100"));
        recording.metrics = vec![gauge(names::HOST_CPU, utilization), gauge(names::HOST_CPUS, 2.0)];
        recording
    };
    let (busy, full) = (on_cpu(0.69), on_cpu(0.9));
    let predicted = |recording: &Recording| {
        let diagnosis = localize(recording, &Options::default());
        let found = diagnosis.findings.into_iter().find(|f| f.rule == "n_plus_one");
        found.and_then(|f| f.prediction).expect("a prediction")
    };
    let (busy, calm_alone) = (predicted(&busy), predicted(&calm));
    assert_eq!(
        (busy.after_ms, busy.high_ms, busy.grade),
        (calm_alone.after_ms, calm_alone.high_ms, calm_alone.grade)
    );
    assert!(busy.low_ms < calm_alone.low_ms, "{} {}", busy.low_ms, calm_alone.low_ms);
    let (calm, full) = (predicted(&calm), predicted(&full));
    assert!(full.after_ms < calm.after_ms, "{} {}", full.after_ms, calm.after_ms);
    assert_eq!((calm.grade, full.grade), (model::Grade::B, model::Grade::C));
    assert!(full.low_ms < full.after_ms && full.after_ms < full.high_ms);
}

#[test]
fn past_errors_correct_the_next_prediction() {
    let recording = drawn(&ONE_DEFECT.replace("repeat 8000", "repeat 20"));
    let gain = |ratio: f64| {
        let calibration = std::collections::BTreeMap::from([("n_plus_one".to_owned(), ratio)]);
        let diagnosis = localize(&recording, &Options { calibration, ..Options::default() });
        diagnosis.findings[0].prediction.as_ref().expect("a prediction").gain_ms()
    };
    assert!((gain(0.5) / gain(1.0) - 0.5).abs() < 1e-6);
}

#[test]
fn an_invalid_load_is_a_gap_and_lowers_every_confidence() {
    let mut recording = drawn(&ONE_DEFECT.replace("repeat 8000", "repeat 20"));
    recording.run.validity = Validity {
        issues: vec![ValidityIssue {
            kind: "generator_cpu".to_owned(),
            invalid: true,
            reason: "the generator used 99 % of its core".to_owned(),
            hint: "lower the rate".to_owned(),
        }],
    };
    let diagnosis = localize(&recording, &Options::default());
    assert!(diagnosis.findings.iter().all(|f| f.confidence <= 0.5));
    assert!(diagnosis.gaps.iter().any(|g| g.signal == "load" && g.reason.contains("99 %")));
}

#[test]
fn two_traces_are_too_few_but_one_alone_is_judged() {
    let few =
        ONE_DEFECT.replace("repeat 8000", "repeat 2") + "\nrepeat 300\napi server \"GET /orders\" 0..9\n";
    assert!(localize(&drawn(&few), &Options::default()).findings.iter().all(|f| f.rule != "n_plus_one"));
    let one = drawn(&ONE_DEFECT.replace("repeat 8000", "repeat 1"));
    assert_eq!(localize(&one, &Options::default()).findings[0].rule, "n_plus_one");
}

#[test]
fn an_empty_recording_names_the_rules_that_could_not_run() {
    let diagnosis = localize(&Recording::default(), &Options::default());
    assert!(diagnosis.findings.is_empty());
    assert!(diagnosis.rules_not_run.iter().any(|r| r.rule == "n_plus_one" && r.missing_signal == "traces"));
}

#[test]
fn a_slow_call_is_no_finding_where_its_cause_was_found_below_it() {
    let recording = drawn(
        r#"
        repeat 20
        web server "GET /page" 0..130
          web http "GET http://api/orders" 5..125
            api server "GET /orders" 6..124
              api db "SELECT * FROM items WHERE order_id = $1" 10..18 x11 gap 2
        "#,
    );
    let diagnosis = localize(&recording, &Options::default());
    let found: Vec<(&str, &str)> =
        diagnosis.findings.iter().map(|f| (f.rule.as_str(), f.service.as_str())).collect();
    assert_eq!(found, [("n_plus_one", "api")]);
}

#[test]
fn the_same_group_of_calls_is_one_finding() {
    let recording = drawn(
        r#"
        repeat 20
        web server "GET /page" 0..130
          web http "GET http://api/orders/7" 5..17 x8 gap 1
        "#,
    );
    let diagnosis = localize(&recording, &Options::default());
    let calls = diagnosis.findings.iter().filter(|f| f.calls_per_request == Some(8.0));
    assert_eq!(calls.count(), 1);
}

#[test]
fn what_brings_little_is_no_finding() {
    let small = "repeat 20\napi server \"GET /a\" 0..1000\n  api db \"SELECT $1\" 5..7 x8\n  api db \"SELECT x\" 30..990";
    let diagnosis = localize(&drawn(small), &Options::default());
    assert!(diagnosis.findings.iter().all(|f| f.rule != "n_plus_one"));
}

#[test]
fn a_very_wide_and_a_very_deep_request_are_judged_in_linear_time() {
    let (mut wide, mut deep) = (String::from("api server \"GET /wide\" 0..30000\n"), String::new());
    for n in 0..10_000 {
        wide.push_str(&format!("  api internal \"{}\" {n}..{}\n", letters(n), n + 2));
        deep.push_str(&format!("api internal \"f\" {n}..{}\n", 30_000 - n));
    }
    let mut recording = drawn(&format!("{wide}\n{deep}"));
    let first = recording.spans.len() - 10_000;
    for row in first + 1..recording.spans.len() {
        recording.spans.parent_ids[row] = recording.spans.span_ids[row - 1];
    }
    let diagnosis = localize(&recording, &Options::default());
    assert_eq!((diagnosis.recording.spans, diagnosis.recording.traces), (20_001, 2));
}

/// A name without digits, different for every number.
fn letters(mut n: usize) -> String {
    let mut name = String::from("f");
    while n > 0 {
        name.push(char::from(b'a' + u8::try_from(n % 26).unwrap_or(0)));
        n /= 26;
    }
    name
}

#[test]
fn findings_mended_at_once_are_one_prediction_and_not_a_sum() {
    let recording = drawn(
        r#"
        repeat 20
        api server "GET /orders" 0..200
          api db "SELECT * FROM items WHERE order_id = $1" 10..18 x10 gap 2 db.query.parameter.0={t}{n}
          api http "GET http://rates/now" 120..190 url.full=http://rates/{t}
            rates server "GET /now" 121..189
              rates db "SELECT * FROM rates WHERE day = $1" 122..127 x10 gap 1 db.query.parameter.0={t}{n}
        "#,
    );
    let options = Options::default();
    let found = localize(&recording, &options).findings;
    let both: Vec<&str> =
        found.iter().filter(|f| f.rule == "n_plus_one").map(|f| f.fingerprint.as_str()).collect();
    let of = |prints: &[&str]| localize::predict_together(&recording, &options, prints)[0].gain_ms();
    let gains: Vec<f64> = both.iter().map(|f| of(&[f])).collect();
    assert_eq!(both.len(), 2);
    // These two lie one after the other, so here the sum is right; the same one twice is not mended twice.
    assert!((of(&both) - gains.iter().sum::<f64>()).abs() < 0.1, "{} {gains:?}", of(&both));
    assert!(of(&[both[0], both[0]]) <= gains[0] * 1.05);
    assert!(localize::predict_together(&recording, &options, &["v1:unknown"]).is_empty());
}

#[test]
fn a_sampled_trace_stands_for_those_that_were_left_out() {
    // All slow requests were kept, one of a hundred quick ones: most requests are quick.
    let recording = drawn(
        r#"
        repeat 50
        api server "GET /a" 0..10 tracestate=ot=th:fd70a3d70a3d7
          api db "SELECT 1" 1..9

        repeat 50
        api server "GET /a" 0..500
          api db "SELECT 1" 1..499
        "#,
    );
    let figures = &localize(&recording, &Options::default()).recording.endpoints[0];
    assert_eq!((figures.traces, figures.requests), (100, 5050));
    assert!((figures.p95_ms - 10.0).abs() < 1e-6 && figures.rate_per_s > 500.0, "{figures:?}");
}

#[test]
fn a_job_that_takes_its_time_is_an_endpoint_and_a_name_looked_up_is_none() {
    let spans = |cleanup: &str| {
        fixture::spans(&format!(
            "repeat 20\nshop server \"GET /items\" 0..100\n  shop db \"SELECT * FROM items\" 5..90\n\nrepeat 20\nshop internal \"cron.cleanup\" {cleanup}\n\nrepeat 5\nshop internal \"dns.lookup\" 0..80\n"
        ))
        .expect("a drawing")
    };
    let told = |cleanup: &str| {
        let recording = Recording { spans: spans(cleanup), ..Recording::default() };
        let diagnosis = localize(&recording, &Options::default());
        let aside =
            diagnosis.gaps.iter().find(|g| g.reason.contains("stand alone")).map(|g| g.reason.clone());
        let names: Vec<String> = diagnosis.recording.endpoints.into_iter().map(|e| e.endpoint).collect();
        (names, aside.unwrap_or_default())
    };
    let (names, aside) = told("0..5000");
    assert_eq!(names, ["GET /items", "cron.cleanup"]);
    assert!(aside.starts_with("5 spans"), "{aside}");
    let (names, aside) = told("0..0.5");
    assert_eq!(names, ["GET /items"]);
    assert!(aside.starts_with("25 spans"), "{aside}");
}
