//! Scripts of every kind that k6's own examples have, run against a small service: counts of requests, checks and
//! iterations, thresholds and exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod server;
#[path = "server/tls.rs"]
mod tls;

use script::{Failed, Level, Report, RunSettings};
use serde_json::Value;
use server::Server;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

type Lines = Arc<Mutex<Vec<(Level, String)>>>;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name)
}

fn settings(url: &str, name: &str) -> (RunSettings, Lines) {
    let mut settings = RunSettings::new(file(name));
    settings.env.insert("URL".to_owned(), url.to_owned());
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    settings.listener = Arc::new(move |level, text| kept.lock().unwrap().push((level, text.to_owned())));
    (settings, lines)
}

fn go(settings: RunSettings) -> Result<Report, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(script::run(settings, &net::Shutdown::new()))
}

/// What a script is expected to count.
struct Expected {
    requests: u64,
    iterations: u64,
    /// Passed; none may fail unless told.
    checks: u64,
    failed_checks: u64,
    exit_code: u8,
}

const fn counts(requests: u64, iterations: u64, checks: u64) -> Expected {
    Expected { requests, iterations, checks, failed_checks: 0, exit_code: 0 }
}

fn number(report: &Report, metric: &str, value: &str) -> u64 {
    report.data["metrics"][metric]["values"][value].as_f64().unwrap_or(0.0) as u64
}

fn failed_checks(group: &Value) -> Vec<String> {
    let items = |name: &str| group[name].as_array().cloned().unwrap_or_default();
    let failed = items("checks")
        .into_iter()
        .filter(|check| check["fails"] != 0)
        .map(|check| check["path"].to_string());
    failed.chain(items("groups").iter().flat_map(failed_checks)).collect()
}

#[track_caller]
fn check(name: &str, expected: &Expected) -> (Report, Vec<(Level, String)>) {
    check_on(&Server::start(), name, expected)
}

fn check_on(server: &Server, name: &str, expected: &Expected) -> (Report, Vec<(Level, String)>) {
    let (settings, lines) = settings(&server.url, name);
    let report = go(settings).unwrap_or_else(|failed| panic!("{name}: {failed}"));
    let lines = lines.lock().unwrap().clone();
    let told = format!(
        "{name}: failed checks {:?}, thresholds {:?}, {lines:?}",
        failed_checks(&report.data["root_group"]),
        report.failed_thresholds
    );
    assert_eq!(number(&report, "iterations", "count"), expected.iterations, "iterations of {told}");
    assert_eq!(number(&report, "checks", "fails"), expected.failed_checks, "failed checks of {told}");
    assert_eq!(number(&report, "checks", "passes"), expected.checks, "checks of {told}");
    assert_eq!(number(&report, "http_reqs", "count"), expected.requests, "requests of {told}");
    assert_eq!(report.exit_code, expected.exit_code, "exit code of {told}");
    (report, lines)
}

macro_rules! scripts {
    ($($name:ident, $file:literal, $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            check($file, &$expected);
        })*
    };
}

scripts! {
    cookies, "cookies.js", counts(10, 2, 14);
    custom_metrics, "custom_metrics.js", counts(4, 4, 0);
    graphql, "graphql.js", counts(1, 1, 3);
    form_post_and_upload, "form_post.js", counts(2, 1, 4);
    batch, "batch.js", counts(11, 1, 3);
    verbs, "verbs.js", counts(11, 1, 11);
    redirects, "redirects.js", counts(14, 1, 5);
    basic_and_digest_auth, "auth.js", counts(5, 1, 4);
    tags_and_sub_metrics, "tagging.js", counts(10, 2, 4);
    shared_array_and_csv, "shared_array.js", counts(0, 4, 16);
    base64, "encoding.js", counts(0, 1, 5);
    hashes, "crypto.js", counts(0, 1, 6);
    jwt, "jwt.js", counts(0, 1, 2);
    timers, "timers.js", counts(0, 2, 2);
    promises, "async.js", counts(8, 4, 8);
    local_modules, "modules.js", counts(0, 1, 2);
    typescript, "typed.ts", counts(2, 2, 2);
    jslib, "jslib.js", counts(2, 1, 7);
    response_callback, "callback.js", counts(5, 1, 1);
    network_errors, "errors.js", counts(6, 1, 6);
    html_is_searched, "html.js", counts(1, 1, 16);
    forms_and_links, "forms.js", counts(4, 1, 7);
    websockets_that_block, "ws.js", counts(0, 2, 10);
    websockets_with_events, "websockets.js", counts(0, 1, 4);
    response_fields, "headers.js", counts(3, 1, 7);
}

#[test]
fn a_response_tells_of_its_tls() {
    check_on(&Server::with(Some(tls::acceptor())), "tls.js", &counts(1, 1, 4));
}

#[test]
fn chais_words_are_checks_and_the_first_that_fails_ends_its_describe() {
    let expected = Expected { failed_checks: 2, ..counts(1, 1, 16) };
    let (report, lines) = check("chai.js", &expected);
    let groups = &report.data["root_group"]["groups"];
    assert_eq!(groups[0]["checks"][0]["name"], "expected status to equal 200");
    assert_eq!(groups[1]["checks"].as_array().map(Vec::len), Some(1));
    let said = |part: &str| lines.iter().any(|(_, text)| text.contains(part));
    assert!(said("expected one to equal 2, got 1") && said("nobody"), "{lines:?}");
    let page = &report.outputs[0].1;
    assert!(page.contains("&lt;chai&gt;") && page.contains("http_req_duration") && !page.contains("http://"));
}

#[test]
fn groups_and_checks_lie_in_a_tree() {
    let expected = Expected { failed_checks: 6, ..counts(6, 6, 18) };
    let (report, _) = check("group_check.js", &expected);
    let shop = &report.data["root_group"]["groups"][0];
    assert_eq!((&shop["path"], &shop["groups"][0]["path"]), (&"::shop".into(), &"::shop::cart".into()));
    assert_eq!(shop["groups"][0]["checks"][1]["fails"], 6);
    assert_eq!(shop["id"].as_str().unwrap().len(), 32);
    let text = report.text(script::Detail::Full);
    assert!(text.contains("✗ never") && text.contains("█ cart"), "{text}");
}

#[test]
fn stages_ramp_users_up_and_down() {
    let server = Server::start();
    let (settings, _) = settings(&server.url, "stages.js");
    let report = go(settings).unwrap();
    let iterations = number(&report, "iterations", "count");
    assert_eq!(report.exit_code, 0);
    assert!((10..120).contains(&iterations), "{iterations}");
    assert_eq!(server.total(), number(&report, "http_reqs", "count"));
}

#[test]
fn a_failed_threshold_exits_with_99() {
    let (report, _) = check("thresholds_fail.js", &Expected { exit_code: 99, ..counts(3, 3, 0) });
    assert_eq!(report.failed_thresholds, ["http_req_duration"]);
    let thresholds = &report.data["metrics"]["http_req_duration"]["thresholds"];
    assert_eq!(thresholds["p(95)<0.0001"]["ok"], false);
    assert_eq!(thresholds["avg<60000"]["ok"], true);
    assert_eq!(report.export()["metrics"]["http_req_duration"]["thresholds"]["p(95)<0.0001"], true);
    assert!(report.junit().contains("failures=\"1\""));
}

#[test]
fn a_threshold_can_end_the_test() {
    let server = Server::start();
    let (settings, _) = settings(&server.url, "threshold_abort.js");
    let report = go(settings).unwrap();
    assert_eq!(report.exit_code, 99);
    assert!(report.ended_early.unwrap().contains("http_req_failed"));
    assert!(report.data["state"]["testRunDurationMs"].as_f64().unwrap() < 20_000.0);
}

#[test]
fn setup_data_reaches_iterations_teardown_and_summary() {
    let (report, _) = check("setup_teardown.js", &counts(2, 4, 4));
    assert_eq!(
        report.outputs,
        [
            ("result.json".to_owned(), "{\"checks\":4}".to_owned()),
            ("stdout".to_owned(), "iterations 4, setup Ann".to_owned()),
        ]
    );
}

#[test]
fn scenarios_run_side_by_side_each_with_its_own() {
    let server = Server::start();
    let (settings, lines) = settings(&server.url, "scenarios.js");
    let report = go(settings).unwrap();
    assert_eq!(
        report.exit_code,
        0,
        "{:?} {:?} {:?}",
        report.failed_thresholds,
        lines.lock().unwrap(),
        report.data["metrics"]["iterations"]
    );
    assert_eq!(server.total(), number(&report, "http_reqs", "count"));
    let row = report.endpoints.iter().find(|row| row.name == "GET /ok").unwrap();
    assert_eq!(row.requests, server.total());
    assert!(row.p95_from_schedule_ms.is_some());
}

#[test]
fn what_scripts_print_is_handed_over() {
    let (_, lines) = check("logging.js", &counts(0, 1, 0));
    let expected =
        [(Level::Info, "a 1 {\"b\":[true,null]}"), (Level::Warning, "careful"), (Level::Error, "Error: bad")];
    assert_eq!(lines, expected.map(|(level, text)| (level, text.to_owned())));
}

#[test]
fn an_exception_ends_one_iteration_and_not_the_test() {
    let (report, lines) = check("throws.js", &counts(6, 6, 0));
    assert!((1..=6).contains(&report.exceptions), "{}", report.exceptions);
    let (level, text) = &lines[0];
    assert_eq!(*level, Level::Error);
    assert!(text.contains("TypeError") && text.contains("throws.js:8:"), "{text}");
}

#[test]
fn a_script_can_abort_its_test() {
    let (report, _) = check("abort.js", &Expected { exit_code: 108, ..counts(3, 3, 0) });
    assert_eq!(report.ended_early.as_deref(), Some("test aborted: enough"));
}

#[test]
fn users_that_sleep_share_a_runtime() {
    let server = Server::start();
    let (settings, lines) = settings(&server.url, "sleeps.js");
    let report = go(settings).unwrap();
    let iterations = number(&report, "iterations", "count");
    assert!((60..=120).contains(&iterations), "{iterations} {:?}", lines.lock().unwrap());
    assert_eq!(number(&report, "checks", "fails"), 0);
    assert_eq!(report.interrupted, 0);
    assert_eq!(server.total(), iterations);
}
