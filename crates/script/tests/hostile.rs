//! Scripts that are wrong or that mean harm: each is told with its place, and what can go on goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod server;

use script::{Failed, Report, RunSettings};
use server::Server;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn run_in(folder: &Path, url: &str, text: &str) -> (Result<Report, Failed>, Vec<String>) {
    let mut settings = RunSettings::new(folder.join("test.js"));
    settings.text = Some(text.to_owned());
    settings.env.insert("URL".to_owned(), url.to_owned());
    settings.open_below = vec![folder.canonicalize().unwrap()];
    settings.init_limit = Duration::from_millis(300);
    settings.slice_limit = Duration::from_millis(300);
    settings.user_memory_bytes = 32 << 20;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    settings.listener = Arc::new(move |_, text| kept.lock().unwrap().push(text.to_owned()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let result = runtime.block_on(script::run(settings, &net::Shutdown::new()));
    let lines = lines.lock().unwrap().clone();
    (result, lines)
}

#[track_caller]
fn refused(text: &str, exit_code: u8, parts: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (result, _) = run_in(folder.path(), "", text);
    let failed = result.expect_err("the script was taken");
    let told = failed.to_string();
    assert_eq!(failed.exit_code, exit_code, "{told}");
    for part in parts {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    told
}

/// Runs a script in which one of two users misbehaves; the other must finish.
#[track_caller]
fn goes_on(text: &str, told: &str) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start();
    let (result, lines) = run_in(folder.path(), &server.url, text);
    let report = result.unwrap();
    assert!(report.exceptions >= 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(told)), "`{told}` is not in: {lines:?}");
    assert!(server.total() >= 3, "the other user did not go on: {} {lines:?}", server.total());
}

fn two_users(bad: &str) -> String {
    format!(
        "import http from 'k6/http';
        export const options = {{ scenarios: {{ a: {{ executor: 'per-vu-iterations', vus: 2, iterations: 3 }} }} }};
        export default function () {{
            if (__VU === 1) {{ {bad} }}
            http.get(`${{__ENV.URL}}/ok`);
        }}"
    )
}

#[test]
fn a_syntax_error_has_file_line_and_caret() {
    let told = refused(
        "import http from 'k6/http';\nconst = 3;\nexport default function () {}",
        107,
        &["test.js:2:"],
    );
    assert!(told.contains("const = 3;\n") && told.trim_end().ends_with('^'), "{told}");
}

#[test]
fn an_exception_in_module_code_has_its_place() {
    refused("let a;\na.b();\nexport default function () {}", 107, &["test.js:2", "TypeError"]);
}

#[test]
fn unsupported_imports_name_module_and_line() {
    let script = |module: &str| {
        format!("import {{ check }} from 'k6';\nimport x from '{module}';\nexport default () => {{}};")
    };
    for (module, why) in [
        ("k6/x/kafka", "extensions"),
        ("k6/browser", "not supported"),
        ("k6/no", "no such module"),
        ("https://example.com/x.js", "nothing is fetched"),
        ("lodash", "bundle"),
        ("./missing.js", "there is no file"),
    ] {
        let told = refused(&script(module), 107, &["test.js:2", module, why]);
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn endless_module_code_is_ended() {
    refused(
        "let n = 0;\nfor (;;) { n += 1; }\nexport default function () {}",
        107,
        &["init context ran longer", "test.js"],
    );
}

#[test]
fn endless_setup_is_ended() {
    refused(
        "export function setup() { for (;;) {} }\nexport default function () {}",
        107,
        &["setup() failed", "without waiting"],
    );
}

#[test]
fn slow_setup_has_a_limit() {
    let script = "import { sleep } from 'k6'; export const options = { setupTimeout: '50ms' };
        export function setup() { sleep(10); } export default function () {}";
    refused(script, 100, &["setupTimeout"]);
}

#[test]
fn an_endless_iteration_fails_and_others_go_on() {
    goes_on(&two_users("for (;;) {}"), "without waiting");
}

#[test]
fn endless_allocation_fails_one_user() {
    goes_on(&two_users("const all = []; for (;;) { all.push(new Uint8Array(1 << 20)); }"), "out of memory");
}

#[test]
fn endless_recursion_fails_one_iteration() {
    goes_on(&two_users("(function f(n) { return 1 + f(n + 1); })(0);"), "stack");
}

#[test]
fn what_a_script_catches_does_not_keep_it_alive() {
    let folder = tempfile::tempdir().unwrap();
    let script = "import { sleep } from 'k6';
        export const options = { vus: 3, duration: '100ms', scenarios: { a: { executor: 'constant-vus', vus: 3, duration: '100ms', gracefulStop: '0s' } } };
        export default function () { for (;;) { try { sleep(30); } catch (e) { sleep(1); } finally { sleep(1); } } }";
    let (result, lines) = run_in(folder.path(), "", script);
    let report = result.unwrap();
    assert_eq!((report.interrupted, report.exit_code), (3, 0), "{lines:?}");
}

#[test]
fn wrong_options_are_named() {
    let script =
        |options: &str| format!("export const options = {options};\nexport default function () {{}}");
    refused(&script("{ vus: 'many' }"), 104, &["options.vus"]);
    refused(
        &script("{ scenarios: { a: { executor: 'constant-vus', vus: 1, duration: '1x' } } }"),
        104,
        &["options.scenarios.a.duration"],
    );
    refused(&script("{ thresholds: { nothing: ['rate>1'] } }"), 104, &["options.thresholds.nothing"]);
    refused(
        &script("{ scenarios: { a: { executor: 'constant-vus', duration: '1s', exec: 'gone' } } }"),
        104,
        &["gone"],
    );
}

#[test]
fn open_reads_no_other_folder() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("secret.txt"), "secret").unwrap();
    std::fs::write(folder.path().join("own.txt"), "own").unwrap();
    std::os::unix::fs::symlink(other.path().join("secret.txt"), folder.path().join("link.txt")).unwrap();
    let outside = other.path().join("secret.txt");
    for (path, part) in [
        (outside.to_string_lossy().as_ref(), "outside"),
        ("./link.txt", "outside"),
        ("/dev/zero", "outside"),
        ("./none.txt", "No such file"),
        (".", "it is no file"),
    ] {
        let script = format!("const a = open('{path}');\nexport default function () {{}}");
        let (result, _) = run_in(folder.path(), "", &script);
        let told = result.expect_err("it was opened").to_string();
        assert!(told.contains(part) && told.contains("test.js:1"), "{path}: {told}");
    }
    let script =
        "const a = open('own.txt');\nexport default function () { if (a !== 'own') throw new Error(a); }";
    assert_eq!(run_in(folder.path(), "", script).0.unwrap().exceptions, 0);
    let script = "export default function () { open('own.txt'); }";
    let (result, lines) = run_in(folder.path(), "", script);
    assert_eq!(result.unwrap().exceptions, 1);
    assert!(lines[0].contains("init stage"), "{lines:?}");
}

#[test]
fn a_promise_that_never_comes_ends_its_iteration() {
    let script = "export default async function () { await new Promise(() => {}); }";
    let folder = tempfile::tempdir().unwrap();
    let (result, lines) = run_in(folder.path(), "", script);
    assert_eq!(result.unwrap().exceptions, 1);
    assert!(lines[0].contains("never comes"), "{lines:?}");
}

#[test]
fn requests_belong_into_iterations() {
    refused(
        "import http from 'k6/http';\nhttp.get('http://127.0.0.1:1/');\nexport default () => {};",
        107,
        &["init context"],
    );
}

#[test]
fn a_failing_summary_and_teardown_keep_the_report() {
    let script = "export default function () {}
        export function teardown() { throw new Error('left'); }
        export function handleSummary() { throw new Error('no summary'); }";
    let folder = tempfile::tempdir().unwrap();
    let (result, lines) = run_in(folder.path(), "", script);
    let report = result.unwrap();
    assert_eq!(report.exit_code, 107);
    assert!(
        lines.iter().any(|line| line.contains("left"))
            && lines.iter().any(|line| line.contains("no summary")),
        "{lines:?}"
    );
    assert!(report.text().contains("iterations"));
}
