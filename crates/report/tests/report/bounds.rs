//! The page stays small whatever it is made of.

use crate::sample;
use model::{Diagnosis, EndpointFigures, Plan, Recording, SpanFields, Statement};
use report::{Inputs, Measured, ReportData, html};

const MOST_BYTES: usize = 2_000_000;

#[test]
fn endpoints_without_number_make_a_small_page() {
    let mut diagnosis = sample::diagnosis(false);
    diagnosis.recording.endpoints = (0..200_000)
        .map(|n| EndpointFigures { endpoint: format!("GET /{n}"), requests: n, ..EndpointFigures::default() })
        .collect();
    let recording = sample::recording(false);
    let measured = Measured { recording: &recording, diagnosis: &diagnosis };
    let page = html(&ReportData::new(&Inputs { before: Some(measured), ..Inputs::default() }));
    assert!(page.len() < MOST_BYTES, "{}", page.len());
    assert!(page.contains("\"endpoints_left_out\":199800"));
}

/// Deep and broad at once: every other span hangs below the one before, and no two have the same name.
#[test]
fn a_trace_of_a_hundred_thousand_spans_makes_a_small_page() {
    let drawing = "api server \"GET /health\" 0..400";
    let mut recording = sample::recording(false);
    recording.spans = model::fixture::spans(drawing).expect("a drawing");
    let root = recording.spans.fields(0);
    for n in 0..100_000_u64 {
        let different = char::from_u32(0x4e00 + u32::try_from(n % 20_000).unwrap_or(0)).unwrap_or('x');
        let name = recording.spans.strings.intern(&format!("{different} {}", "x".repeat(900)));
        let parent_id = if n.is_multiple_of(2) { root.span_id } else { 1_000_000 + n - 1 };
        let (span_id, start_ns, duration_ns) = (1_000_000 + n, root.start_ns + n * 4_000, 3_000);
        recording.spans.push(SpanFields { span_id, parent_id, name, start_ns, duration_ns, ..root }, &[]);
    }
    let diagnosis = sample::diagnosis(false);
    let measured = Measured { recording: &recording, diagnosis: &diagnosis };
    let data =
        ReportData::new(&Inputs { before: Some(measured), after: Some(measured), ..Inputs::default() });
    let json = serde_json::to_value(&data).expect("plain data");
    let drawn = &json["waterfalls"][0];
    assert_eq!(drawn["spans"], 100_001);
    assert_eq!(drawn["rows"].as_array().map(Vec::len), Some(400));
    let shown: u64 = drawn["rows"].as_array().into_iter().flatten().filter_map(|r| r["count"].as_u64()).sum();
    assert_eq!(shown + drawn["hidden"].as_u64().unwrap_or(0), 100_001);
    let page = html(&data);
    assert!(page.len() < MOST_BYTES, "{}", page.len());
}

/// One below the other, so that every row has ancestors to keep.
#[test]
fn a_chain_of_ten_thousand_spans_is_cut_not_followed_for_ever() {
    let mut recording = sample::recording(false);
    recording.spans = model::fixture::spans("api server \"GET /health\" 0..400").expect("a drawing");
    let root = recording.spans.fields(0);
    for n in 0..10_000_u64 {
        let name = recording.spans.strings.intern(&format!("level {}", char::from(b'a' + (n % 26) as u8)));
        let parent_id = if n == 0 { root.span_id } else { 1_000_000 + n - 1 };
        let (start_ns, duration_ns) = (root.start_ns + n, root.duration_ns - 2 * n as i64);
        recording
            .spans
            .push(SpanFields { span_id: 1_000_000 + n, parent_id, name, start_ns, duration_ns, ..root }, &[]);
    }
    let diagnosis = sample::diagnosis(false);
    let measured = Measured { recording: &recording, diagnosis: &diagnosis };
    let data = ReportData::new(&Inputs { before: Some(measured), ..Inputs::default() });
    let json = serde_json::to_value(&data).expect("plain data");
    let rows = json["waterfalls"][0]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 400);
    assert_eq!(json["waterfalls"][0]["hidden"], 10_001 - 400);
}

#[test]
fn thousands_of_findings_steps_and_gaps_make_a_small_page() {
    let (recording, mut diagnosis, steps) = sample::hostile();
    diagnosis.findings = vec![diagnosis.findings[0].clone(); 2_000];
    diagnosis.gaps = vec![diagnosis.gaps[0].clone(); 2_000];
    let steps = vec![steps[0].clone(); 500];
    let measured = Measured { recording: &recording, diagnosis: &diagnosis };
    let inputs = Inputs { before: Some(measured), after: Some(measured), steps: &steps, ..Inputs::default() };
    let page = html(&ReportData::new(&inputs));
    assert!(page.len() < MOST_BYTES, "{}", page.len());
    assert!(page.contains("\"steps_left_out\":460"));
}

#[test]
fn the_same_inputs_make_the_same_bytes() {
    assert_eq!(sample::pages(), sample::pages());
}

#[test]
fn no_password_of_an_address_is_on_any_page() {
    for (name, page) in sample::pages() {
        assert!(!page.contains("hunter2"), "{name}");
    }
}

#[test]
fn a_page_of_a_database_alone_says_what_would_help_and_has_no_empty_sections_of_a_service() {
    let statement = Statement { text: "SELECT 1".to_owned(), calls: 1, ..Default::default() };
    let plan = Plan { statement: "SELECT 1".to_owned(), ..Plan::default() };
    let mut recording = Recording { statements: vec![statement], plans: vec![plan], ..Recording::default() };
    let diagnosis = Diagnosis::default();
    let state = [report::State {
        kind: "spill",
        subject: "SELECT 1",
        reason: "each call writes 4 MB",
        look: "SELECT 2",
        mend: Some("SET work_mem"),
        undo: None,
    }];
    let page = |recording: &Recording| {
        let measured = Measured { recording, diagnosis: &diagnosis };
        html(&ReportData::new(&Inputs { before: Some(measured), state: &state, ..Inputs::default() }))
    };
    let told = page(&recording);
    for part in ["No index would help: 1 statement of this database.", "1 thing of its state", "SET work_mem"]
    {
        assert!(told.contains(part), "{part}");
    }
    assert!(told.contains("\"database_alone\":true"));
    // Who could look at nothing has not found that nothing would help.
    recording.plans.clear();
    assert!(page(&recording).contains("None of 1 statement of this database could be looked at."));
}
