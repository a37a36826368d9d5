//! What of a trace is drawn: read back from the page's own data.

use model::{Diagnosis, EndpointFigures, Recording, SpanTable};
use report::{Inputs, Measured, ReportData};
use serde_json::Value;

/// The rows of the first waterfall: depth, count, name, and the milliseconds on the critical path.
fn rows(spans: SpanTable) -> Vec<String> {
    let recording = Recording { spans, ..Recording::default() };
    let mut diagnosis = Diagnosis::default();
    diagnosis.recording.endpoints =
        vec![EndpointFigures { endpoint: "GET /a".to_owned(), traces: 1, ..EndpointFigures::default() }];
    let measured = Measured { recording: &recording, diagnosis: &diagnosis };
    let data = ReportData::new(&Inputs { before: Some(measured), ..Inputs::default() });
    let json = serde_json::to_value(&data).expect("plain data");
    let waterfall = &json["waterfalls"][0];
    let row = |row: &Value| {
        let name = &waterfall["names"][row["name"].as_u64().unwrap_or(0) as usize];
        let indent = "  ".repeat(row["depth"].as_u64().unwrap_or(0) as usize);
        let orphan = if row["orphan"] == true { " orphan" } else { "" };
        format!(
            "{indent}{} x {} critical {}{orphan}",
            row["count"],
            name.as_str().unwrap_or(""),
            row["critical_ms"]
        )
    };
    waterfall["rows"].as_array().expect("rows").iter().map(row).collect()
}

fn spans(drawing: &str) -> SpanTable {
    model::fixture::spans(drawing).expect("a drawing")
}

#[test]
fn alike_siblings_share_a_row_and_so_do_their_children() {
    let drawn = rows(spans(
        r#"
        api server "GET /a" 0..100
          api db "SELECT * FROM items WHERE id = {n}" 10..14 x10 gap 1
            api internal "fetch" 11..13
          api internal "render" 70..90
        "#,
    ));
    assert_eq!(
        drawn,
        [
            "1 x GET /a critical 40.0",
            "  10 x SELECT * FROM items WHERE id = ? critical 20.0",
            "    10 x fetch critical 20.0",
            "  1 x render critical 20.0",
        ]
    );
}

#[test]
fn two_alike_siblings_stay_apart() {
    let drawn = rows(spans("api server \"GET /a\" 0..10\n  api internal \"b\" 1..2 x2 gap 1"));
    assert_eq!(drawn.len(), 3);
}

#[test]
fn a_span_whose_parent_never_came_is_drawn_as_such() {
    let mut spans =
        spans("api server \"GET /a\" 0..10\n  api internal \"b\" 1..2\n  api internal \"c\" 2..3");
    spans.parent_ids[1] = 0xdead;
    assert_eq!(rows(spans), ["1 x GET /a critical 9.0", "  1 x c critical 1.0", "1 x b critical 0.0 orphan"]);
}

#[test]
fn parents_in_a_circle_end_the_drawing_not_the_program() {
    let mut spans = spans("api server \"GET /a\" 0..10\n  api server \"GET /a\" 1..2");
    spans.parent_ids[0] = spans.span_ids[1];
    assert_eq!(rows(spans).len(), 2);
}
