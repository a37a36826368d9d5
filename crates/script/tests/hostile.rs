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
fn computing_setup_and_teardown_end_at_their_limits() {
    let script = "export const options = { setupTimeout: '50ms' };
        export function setup() { for (;;) {} } export default function () {}";
    refused(script, 100, &["setupTimeout"]);
    let script = "export const options = { teardownTimeout: '50ms' };
        export function teardown() { for (;;) {} } export default function () {}";
    let folder = tempfile::tempdir().unwrap();
    let (result, lines) = run_in(folder.path(), "", script);
    assert_eq!(result.unwrap().exit_code, 101, "{lines:?}");
}

#[test]
fn users_that_share_a_runtime_have_little_more_than_one() {
    let hold = "const a = []; for (let i = 0; i < 10; i++) a.push(new ArrayBuffer(1e7));";
    goes_on(&two_users(hold), "the bound of one virtual user");
    let folder = tempfile::tempdir().unwrap();
    let fits = format!("export default function () {{ {} }}", hold.replace("10;", "3;"));
    let (result, lines) = run_in(folder.path(), "", &fits);
    assert_eq!(result.unwrap().exceptions, 0, "{lines:?}");
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
    assert!(report.text(script::Detail::Full).contains("iterations"));
}

#[test]
fn any_options_are_taken_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (options, told) in [
        ("null", ""),
        ("5", "options"),
        ("'x'", "options"),
        ("[1]", "options"),
        ("{ get vus() { throw new Error('mine'); } }", "mine"),
        ("{ get vus() { for (;;) {} } }", "too long"),
        ("(() => { const a = {}; a.a = a; return a; })()", "circular"),
        ("{ vus: 10n }", "BigInt"),
        ("{ vus: -1 }", "options.vus"),
        ("{ vus: 1e300 }", "options.vus"),
        ("{ vus: 4e9, duration: '1s' }", "users: "),
        ("{ vus: 1.5 }", "options.vus"),
        ("{ iterations: {} }", "options.iterations"),
        ("{ duration: [] }", "options.duration"),
        ("{ duration: '99999999999999999999h' }", "options.duration"),
        ("{ stages: 'up' }", "options.stages"),
        ("{ stages: [7] }", "options.stages"),
        ("{ scenarios: [] }", "options.scenarios"),
        ("{ scenarios: { a: 1 } }", "options.scenarios.a"),
        ("{ thresholds: [] }", "options.thresholds"),
        ("{ thresholds: { http_reqs: 1 } }", "options.thresholds.http_reqs"),
        ("{ thresholds: { 'http_reqs{a': ['count>1'] } }", "options.thresholds"),
        ("{ tags: 1 }", "options.tags"),
        ("{ hosts: 'x' }", "options.hosts"),
        ("{ hosts: { a: '999.0.0.1' } }", "options.hosts.a"),
        ("{ tlsAuth: [1] }", "options.tlsAuth"),
        ("{ tlsVersion: 1 }", "options.tlsVersion"),
        ("{ summaryTrendStats: [{}] }", "options.summaryTrendStats"),
        ("{ userAgent: 1 }", "options.userAgent"),
        ("{ batch: 'x' }", "options.batch"),
        ("{ rps: -1 }", "options.rps"),
        ("{ blacklistIPs: ['::/200'] }", "options.blacklistIPs"),
        ("{ executionSegment: '1/6:1/2' }", "options.executionSegment"),
        ("{ vus: NaN, duration: null, tags: undefined, a: Symbol(), b: () => 1 }", ""),
        ("{ userAgent: 'x\\r\\ny: z' }", "options.userAgent"),
    ] {
        let script = format!("export const options = {options};\nexport default function () {{}}");
        match run_in(folder.path(), "", &script).0 {
            Ok(_) => assert!(told.is_empty(), "{options} was taken"),
            Err(failed) => {
                let text = failed.to_string();
                assert!(!told.is_empty() && text.contains(told), "{options}: {text}");
                assert!([104, 107].contains(&failed.exit_code), "{options}: {}", failed.exit_code);
            }
        }
    }
}

#[test]
fn a_rejected_promise_fails_its_iteration() {
    let folder = tempfile::tempdir().unwrap();
    for (body, told) in [
        ("await null; a.b();", "test.js:3"),
        ("Promise.reject(new Error('left alone'));", "Uncaught (in promise) Error: left alone"),
        ("await Promise.reject(5);", "5"),
    ] {
        let script = format!("let a;\nexport default async function () {{\n{body}\n}}");
        let (result, lines) = run_in(folder.path(), "", &script);
        assert_eq!(result.unwrap().exceptions, 1, "{body}: {lines:?}");
        assert!(lines[0].contains(told), "{body}: {lines:?}");
    }
    let script = "export default async function () { const a = Promise.reject(new Error('seen')); await a.catch(() => {}); }";
    assert_eq!(run_in(folder.path(), "", script).0.unwrap().exceptions, 0);
}

#[test]
fn an_exception_has_its_line_and_a_caret() {
    let folder = tempfile::tempdir().unwrap();
    let (_, lines) = run_in(folder.path(), "", "let a;\nexport default function () {\n  a.b();\n}");
    assert!(
        lines[0].contains("test.js:3:") && lines[0].contains("  a.b();\n") && lines[0].ends_with('^'),
        "{lines:?}"
    );
}

#[test]
fn endless_recursion_in_module_code_is_told() {
    refused(
        "(function f(n) { return 1 + f(n + 1); })(0);\nexport default function () {}",
        107,
        &["stack", "test.js:1"],
    );
}

#[test]
fn endless_allocation_in_module_code_and_setup_is_bounded() {
    let grow = "const all = []; for (;;) { all.push(new Uint8Array(1 << 20)); }";
    refused(&format!("{grow}\nexport default function () {{}}"), 107, &["out of memory"]);
    refused(
        &format!("export function setup() {{ {grow} }}\nexport default function () {{}}"),
        107,
        &["setup() failed", "out of memory"],
    );
}

/// A server that sends this head and then zeros without end.
fn endless_body(head: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut asked = [0; 4096];
            let zeros = vec![b'0'; 1 << 20];
            let _read = stream.read(&mut asked).is_ok();
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(&zeros);
            }
        }
    });
    url
}

#[test]
fn a_reply_of_ten_gigabytes_is_bounded() {
    let url = endless_body("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n");
    let folder = tempfile::tempdir().unwrap();
    let script = "import http from 'k6/http';
        export default function () {
            const res = http.get(__ENV.URL);
            if (res.error === '' || res.error_code === 0) throw new Error(`taken: ${res.status} ${res.body.length}`);
        }";
    let (result, lines) = run_in(folder.path(), &url, script);
    assert_eq!(result.unwrap().exceptions, 0, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("bytes")), "{lines:?}");
}

#[test]
fn bytes_that_are_no_text_are_shown_as_far_as_they_are() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let script = "import http from 'k6/http'; import { check } from 'k6';
        export default function () {
            const res = http.get(`${__ENV.URL}/bytes`);
            if (res.body.length !== 3 || res.body.codePointAt(0) !== 0xfffd) throw new Error(JSON.stringify(res.body));
            let told = '';
            try { res.json(); } catch (error) { told = error.message; }
            if (!told.includes('cannot parse json')) throw new Error(told);
            if (res.html().find('p').size() !== 0) throw new Error('a page');
        }";
    let (result, lines) = run_in(folder.path(), &server.url, script);
    assert_eq!(result.unwrap().exceptions, 0, "{lines:?}");
}

#[test]
fn a_circle_of_redirects_ends() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let script = "import http from 'k6/http';
        export default function () {
            const res = http.get(`${__ENV.URL}/circle`, { redirects: 4 });
            if (res.status !== 302) throw new Error(`${res.status}`);
        }";
    assert_eq!(run_in(folder.path(), &server.url, script).0.unwrap().exceptions, 0);
    assert_eq!(server.total(), 5);
}

#[test]
fn forbidden_servers_get_nothing() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    for (option, code) in [("blacklistIPs: ['127.0.0.0/8']", 1110), ("blockHostnames: ['*.0.0.1']", 1111)] {
        let script = format!(
            "import http from 'k6/http'; export const options = {{ {option} }};
            export default function () {{
                const res = http.get(`${{__ENV.URL}}/ok`);
                if (res.error_code !== {code}) throw new Error(`${{res.error_code}} ${{res.error}}`);
            }}"
        );
        let (result, lines) = run_in(folder.path(), &server.url, &script);
        assert_eq!(result.unwrap().exceptions, 0, "{lines:?}");
    }
    assert_eq!(server.total(), 0);
}

#[test]
fn rps_holds_all_users_back() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let script = "import http from 'k6/http';
        export const options = { rps: 40, scenarios: { a: { executor: 'constant-vus', vus: 5, duration: '500ms' } } };
        export default function () { http.get(`${__ENV.URL}/ok`); }";
    let (result, lines) = run_in(folder.path(), &server.url, script);
    assert_eq!(result.unwrap().exceptions, 0, "{lines:?}");
    // 0.5 s of 40 a second, and what each user waits for at the end.
    assert!((1..=30).contains(&server.total()), "{}", server.total());
}
