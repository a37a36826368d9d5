//! Every benchmark with tiny sizes, as a user would run it: so none of them rots. Figures are not judged here, a debug
//! build on a busy machine reaches no target; that they are figures is.

use serde_json::Value;
use std::process::Command;

/// Runs a benchmark and returns its JSON. Exit code 1 is an answer as well: a target was missed.
#[expect(clippy::disallowed_methods, reason = "the program under test, waited for here")]
fn bench(words: &[&str]) -> Value {
    let output =
        Command::new(env!("CARGO_BIN_EXE_bench")).arg("--json").args(words).output().expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{words:?}: {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
}

#[track_caller]
fn number(row: &Value, column: &str) -> f64 {
    row[column].as_f64().unwrap_or_else(|| panic!("no number in `{column}`: {row}"))
}

#[test]
fn spans_that_are_received_are_on_disk() {
    let told = bench(&["ingest", "--spans", "2000", "--rounds", "1", "--alone"]);
    let rows = told["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2, "{told}");
    assert!(number(&rows[0], "disk B/span") > 1.0 && number(&rows[0], "resident B/span") > 1.0, "{told}");
    assert_eq!(told["notes"][0], "skipped rotel: not asked for");
}

#[test]
fn a_recording_becomes_findings() {
    let told = bench(&["localize", "--spans", "20000", "--rounds", "1"]);
    let row = &told["rows"][0];
    assert!(number(row, "both, spans/CPU-s") > 0.0, "{told}");
    assert!(number(row, "findings") >= 1.0, "a query for each row is a finding: {told}");
}

#[test]
fn the_load_generator_is_measured_over_both_protocols_and_in_a_closed_model() {
    let told = bench(&["load", "--rate", "200", "--duration", "0.5", "--rounds", "1"]);
    let rows = told["rows"].as_array().expect("rows");
    assert!(rows.len() >= 3, "{told}");
    // Behind them are the peers that are installed.
    for row in rows.iter().take(3) {
        assert!(number(row, "requests/CPU-s") > 0.0 && number(row, "errors") < 1.0, "{told}");
    }
}

#[test]
fn a_switch_is_predicted_and_tried() {
    let words = ["predictions", "--only", "confirmation_mail", "--measure", "2", "--trial", "4"];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("predictions.md");
    let output = ["--output", path.to_str().expect("UTF-8")];
    let told = bench(&[&words[..], &output].concat());
    let row = &told["rows"][0];
    assert_eq!(row["change"], "confirmation_mail=queued", "{told}");
    assert!(number(row, "predicted p95 before ms") > 0.0 && number(row, "requests") > 0.0, "{told}");
    let document = std::fs::read_to_string(path).expect("the document");
    assert!(document.contains("| confirmation_mail=queued |"), "{document}");
}

#[test]
fn a_demo_is_timed_and_leaves_nobody_behind() {
    let told = bench(&["demo", "--runs", "1", "--steps", "0"]);
    let row = &told["rows"][0];
    assert!(number(row, "seconds") > 1.0, "{told}");
    assert!(number(row, "left behind") < 1.0, "{told}");
}
