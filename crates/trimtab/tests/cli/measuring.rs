//! Measuring where something is missing: the target, the port, the endpoint of a goal, the database's permission.

use crate::service::{NO_TRACES, Service, settings, write};
use crate::support::{Ran, connect, free_port, postgres, program, run};
use serde_json::Value;
use std::path::Path;

const GOAL: &str = "\"p95(GET /items) < 10 s\"";

/// What `measure` found, as JSON, after it said yes.
fn measured(folder: &Path) -> Value {
    measured_with(folder, 0)
}

fn measured_with(folder: &Path, code: i32) -> Value {
    let ran = run(folder, &["measure", "-o", "recording", "--format", "json"]);
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(folder.join("recording/run.json").is_file());
    serde_json::from_str(&ran.out).unwrap()
}

/// The gap of a signal, as text with its hint.
fn gap(diagnosis: &Value, signal: &str) -> String {
    let gaps = diagnosis["gaps"].as_array().unwrap();
    let found = gaps.iter().find(|gap| gap["signal"] == signal);
    let gap = found.unwrap_or_else(|| panic!("no gap of {signal}: {gaps:#?}"));
    assert!(gap["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{gap}");
    gap.to_string()
}

#[test]
fn a_target_that_does_not_answer_is_an_error_with_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    write(folder.path(), &settings(port, GOAL, NO_TRACES));
    let address = format!("http://127.0.0.1:{port}");
    for command in
        [&["measure"][..], &["loop", "--yes"], &["load", "run", "trimtab.toml"], &["verify", "--aa"]]
    {
        let ran = run(folder.path(), command);
        assert_eq!(ran.code, Some(2), "{command:?}: {ran:?}");
        assert!(ran.err.contains(&address) && ran.err.contains("is it running?"), "{}", ran.err);
    }
    let init = run(folder.path(), &["init", &address, "--force"]);
    assert_eq!(init.code, Some(2), "{init:?}");
    assert!(init.err.contains(&address), "{}", init.err);
    let kept = std::fs::read_to_string(folder.path().join("trimtab.toml")).unwrap();
    assert_eq!(kept, settings(port, GOAL, NO_TRACES), "an error overwrites nothing");
}

#[test]
fn a_goal_for_an_endpoint_that_never_appears_is_unseen_and_names_those_that_do() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    write(folder.path(), &service.settings("\"p95(GET /itmes) < 1 s\"", NO_TRACES));
    let diagnosis = measured_with(folder.path(), 2);
    assert_eq!(diagnosis["goals"][0]["met"], Value::Null, "{diagnosis:#}");
    let gaps = diagnosis["gaps"].to_string();
    assert!(gaps.contains("GET /itmes") && gaps.contains("endpoints that were seen: GET /items"), "{gaps}");
    let text = run(folder.path(), &["measure", "--duration", "1"]);
    assert!(text.out.contains("unseen p95(GET /itmes)"), "{text:?}");
}

#[test]
fn a_receiver_whose_port_is_taken_is_an_error_that_names_the_setting() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    for (field, other) in [("listen", "listen_grpc"), ("listen_grpc", "listen")] {
        let telemetry =
            format!("[telemetry]\n{field} = \"127.0.0.1:{}\"\n{other} = \"127.0.0.1:0\"", service.port);
        write(folder.path(), &service.settings(GOAL, &telemetry));
        let ran = run(folder.path(), &["measure"]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let parts = [&format!("[telemetry] {field}\n"), "in use", &service.port.to_string()];
        assert!(parts.iter().all(|part| ran.err.contains(*part)), "{}", ran.err);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_told_before_the_load() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    write(folder.path(), &service.settings(GOAL, NO_TRACES));
    std::fs::write(folder.path().join("file"), "").unwrap();
    let ran = run(folder.path(), &["measure", "-o", "file/recording"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("file/recording"), "{}", ran.err);
    assert_eq!(service.answered(), 0, "nothing was measured for nothing");
}

#[test]
fn a_recording_is_never_written_over() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    write(folder.path(), &service.settings(GOAL, NO_TRACES));
    measured(folder.path());
    let findings = std::fs::read(folder.path().join("recording/findings.json")).unwrap();
    let answered = service.answered();
    let ran = run(folder.path(), &["measure", "-o", "recording"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("holds a recording already"), "{}", ran.err);
    assert_eq!(std::fs::read(folder.path().join("recording/findings.json")).unwrap(), findings);
    assert_eq!(service.answered(), answered, "nothing was measured for nothing");
}

#[test]
fn without_traces_the_gap_says_how_to_send_them() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    let telemetry = "[telemetry]\nlisten = \"127.0.0.1:0\"\nlisten_grpc = \"\"\npatience_s = 0.2";
    write(folder.path(), &service.settings(GOAL, telemetry));
    let gap = gap(&measured(folder.path()), "traces");
    assert!(gap.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{gap}");
}

#[test]
fn recordings_without_a_common_operation_are_not_compared() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    let settings = service.settings(GOAL, NO_TRACES);
    write(folder.path(), &settings);
    assert_eq!(run(folder.path(), &["measure", "-o", "items"]).code, Some(0));
    write(folder.path(), &settings.replace("GET /items", "GET /people"));
    assert_eq!(run(folder.path(), &["measure", "-o", "people"]).code, Some(0));
    let ran = run(folder.path(), &["verify", "items", "people"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("no load on the same operation"), "{}", ran.err);
    let same = run(folder.path(), &["verify", "items", "items"]);
    assert!(matches!(same.code, Some(1 | 2)), "nothing is better than itself: {same:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hides_its_statements_is_a_gap_with_a_hint() {
    let server = postgres("pg_stat_statements").await;
    let bare = server.create_database("bare").await.unwrap();
    let seen = server.create_database("seen").await.unwrap();
    let client = connect(&seen).await;
    client
        .batch_execute(
            "CREATE EXTENSION pg_stat_statements; CREATE ROLE guest LOGIN PASSWORD 'guest'; SELECT 1",
        )
        .await
        .unwrap();
    let guest = seen.replacen(&credentials(&seen), "guest:guest", 1);
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    write(folder.path(), &service.settings(GOAL, NO_TRACES));
    for (url, hint) in [(&bare, "CREATE EXTENSION"), (&guest, "pg_read_all_stats")] {
        let ran = program(folder.path())
            .args(["measure", "--format", "json"])
            .env("TRIMTAB_DATABASE_URL", url)
            .output()
            .unwrap();
        let ran = Ran::from(ran);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let gap = gap(&serde_json::from_str(&ran.out).unwrap(), "statements");
        assert!(gap.contains(hint), "{gap}");
    }
}

/// `user:password` of a URL.
fn credentials(url: &str) -> String {
    let after = url.split_once("://").unwrap().1;
    after.split_once('@').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_nowhere_whether_right_or_wrong() {
    let server = postgres("").await;
    let right = credentials(&server.url());
    let right = right.split_once(':').unwrap().1;
    for password in [right, "wr0ng-s3cret"] {
        let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
        let url = server.url().replacen(right, password, 1);
        let database = format!("{NO_TRACES}\n[database]\nurl = \"{url}\"");
        write(folder.path(), &service.settings(GOAL, &database));
        let measured = run(folder.path(), &["measure", "-o", "recording"]);
        assert_eq!(measured.code, Some(0), "{measured:?}");
        let localized = run(folder.path(), &["localize", "recording"]);
        let reported = run(folder.path(), &["report", "recording", "-o", "report.html"]);
        assert_eq!((localized.code, reported.code), (Some(0), Some(0)), "{localized:?} {reported:?}");
        let gap = gap(&gaps(folder.path()), "statements");
        assert!(password == right || gap.contains("password authentication failed"), "{gap}");
        for ran in [measured, localized, reported] {
            assert!(!ran.out.contains(password) && !ran.err.contains(password), "{ran:?}");
        }
        std::fs::remove_file(folder.path().join("trimtab.toml")).unwrap();
        let files = files_below(folder.path());
        assert!(files.len() > 4, "{files:?}");
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(password.len()).any(|part| part == password.as_bytes());
            assert!(!found, "the password is in {}", file.display());
        }
    }
}

/// The gaps of the recording, shaped as a diagnosis shows them.
fn gaps(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("recording/run.json")).unwrap();
    let run: Value = serde_json::from_str(&text).unwrap();
    serde_json::json!({ "gaps": run["gaps"] })
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
