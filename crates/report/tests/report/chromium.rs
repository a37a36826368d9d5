//! The pages in a real Chromium: they draw, say what they must, and neither break their policy nor ask the network.
//! A browser that is not there is a failure, not a skip: a page that nobody opened is not tested.

use crate::sample;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Chromium's own names for its program, Debian's first.
const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// What a page became: its elements after the script ran, and what the browser said on its console.
pub(crate) struct Opened {
    pub(crate) dom: String,
    console: Vec<String>,
}

fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = NAMES.iter().find_map(|name| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
    });
    found.expect("no chromium on PATH; install it: apt-get install -y chromium (Debian), or google-chrome")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of these tests that starts a browser; it ends itself"
)]
fn run(arguments: &[OsString]) -> Output {
    Command::new(chromium()).args(arguments).output().expect("chromium starts")
}

fn open(page: &str, extra: &[&str]) -> Opened {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("report.html");
    std::fs::write(&file, page).expect("the page is written");
    let mut arguments: Vec<OsString> = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-extensions",
        "--disable-sync",
        "--no-first-run",
        "--no-default-browser-check",
        // Whatever the page or the browser might look up goes nowhere.
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=10000",
        "--window-size=1280,2000",
    ]
    .map(OsString::from)
    .into();
    arguments.extend(extra.iter().map(OsString::from));
    arguments.push(flag("--user-data-dir=", &folder.path().join("profile")));
    arguments.push("--dump-dom".into());
    arguments.push(flag("file://", &file));
    let output = run(&arguments);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "chromium failed: {log}");
    let console = log.lines().filter(|l| l.contains("CONSOLE")).map(str::to_owned).collect();
    Opened { dom: String::from_utf8_lossy(&output.stdout).replace("&nbsp;", " "), console }
}

fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

/// Everything that must never happen on a page; empty if all is well.
fn complaints(opened: &Opened) -> Vec<String> {
    let mut complaints: Vec<String> = opened.console.clone();
    let head = opened.dom.split("<head>").next().unwrap_or("");
    if !head.contains("data-state=\"drawn\"") {
        complaints.push(format!("the script did not reach its end: {head}"));
    }
    if head.contains("data-errors=") {
        complaints.push(format!("uncaught: {head}"));
    }
    let drawn = drawn(opened);
    for never in ["NaN", "undefined", "Infinity", "[object ", "<img", "onerror=\""] {
        if drawn.contains(never) {
            complaints.push(format!("`{never}` is on the page"));
        }
    }
    complaints
}

/// The part that the script drew: what stands before the data and the text for readers without scripts.
pub(crate) fn drawn(opened: &Opened) -> &str {
    let body = opened.dom.split("<body>").nth(1).unwrap_or("");
    body.split("<noscript>").next().unwrap_or("")
}

pub(crate) fn assert_well(page: &str, expected: &[&str]) -> Opened {
    let opened = open(page, &[]);
    assert_eq!(complaints(&opened), Vec::<String>::new());
    let text = drawn(&opened);
    for part in expected {
        assert!(text.contains(part), "`{part}` is not on the page");
    }
    opened
}

#[test]
fn the_typical_report_draws_goals_steps_charts_and_a_waterfall() {
    let opened = assert_well(
        &sample::pages()["typical"],
        &[
            "All 4 goals are met after 4 kept changes.",
            "4 of 5 predictions held; median error 5.5 % of the value before.",
            "✓ met",
            "id=\"prediction-chart\"",
            "95 ms (79.8–130 ms), grade B",
            "class=\"card distribution\"",
            "class=\"card series\"",
            "id=\"waterfall\"",
            "53 ×",
            "53 queries for the items of the orders",
            "pg_stat_statements is not loaded on this server",
            "lock wait",
            "Example CPU at 2.6 GHz",
            "the generator used 0.71 of a core",
        ],
    );
    let text = drawn(&opened);
    assert_eq!(text.matches("class=\"card step\"").count(), 5);
    assert_eq!(text.matches("class=\"card distribution\"").count(), 5);
    assert!(text.matches("class=\"c-predicted band\"").count() >= 5, "an interval for each prediction");
    assert!(!opened.dom.contains("hunter2"), "a password is on the page");
}

#[test]
fn a_finding_shows_a_request_before_and_after_its_fix() {
    let opened = assert_well(
        &sample::pages()["single"],
        &[
            "One request: 403 ms as recorded, 88.3 ms run again with the fix",
            "3 more spans not drawn.",
            "not made any more",
            "in 22 of 22 traces",
            "href=\"http://localhost:16686/trace/00000000000000000000000000000001\"",
            "href=\"#finding-1\"",
            "id=\"finding-1\"",
        ],
    );
    let row = drawn(&opened).split("<tr class=\"found\">").nth(1).expect("the row of the finding");
    let row = row.split("</tr>").next().unwrap_or("");
    assert!(row.contains("53 → 1 × ") && row.contains("358 ms") && row.contains("44 ms"), "{row}");
}

/// What a person would do, done by a script of the test: the page's own policy would refuse it.
fn with_hands(page: &str, script: &str) -> String {
    let policy = page.split("http-equiv=\"Content-Security-Policy\"").nth(1).expect("a policy");
    let policy = policy.split("content=\"").nth(1).and_then(|p| p.split('"').next()).expect("its text");
    let hands = format!("<script>(() => {{ {script} }})();</script></body>");
    page.replace(policy, "").replace("</body>", &hands)
}

const PRESS: &str = "const box = document.querySelector('.flame-box'), press = (key) => box.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true })); \
    const button = (text) => [...document.querySelectorAll('#flame button')].find((b) => b.textContent === text); \
    const says = () => document.querySelector('.flame-says').textContent; const out = []; const done = () => { document.title = 'said ' + out.join(' | '); };";

#[test]
fn the_flame_graph_draws_each_state_and_says_how_it_was_taken() {
    let opened = assert_well(
        &sample::pages()["flame"],
        &[
            "id=\"flame\"",
            "python3 app.py (process 4711)",
            "the profiler took 0.8 % of a core",
            "leaves 7 % unexplained",
            "class=\"f-cpu",
            "class=\"f-gil",
            "similarity&lt;/script&gt;",
        ],
    );
    assert!(!drawn(&opened).contains("class=\"f-blocked k3\""), "waits are shown when they are asked for");
}

#[test]
fn the_flame_graph_is_moved_by_keys_zoomed_searched_and_compared() {
    let script = format!(
        "{PRESS} button('before').click(); press('ArrowDown'); press('ArrowDown'); press('ArrowDown'); out.push(says()); \
         press('Enter'); out.push('crumbs ' + document.querySelectorAll('.flame-crumbs button').length); press('Escape'); \
         const search = document.querySelector('.flame-search'); search.value = 'simil'; search.dispatchEvent(new Event('input')); out.push(says()); \
         out.push('hits ' + document.querySelectorAll('.f-hit').length); search.value = ''; search.dispatchEvent(new Event('input')); \
         const select = document.querySelector('#flame select'); select.value = 'POST /orders'; select.dispatchEvent(new Event('change')); \
         button('blocked').click(); out.push('blocked ' + document.querySelectorAll('rect.f-blocked').length); out.push(says()); \
         select.value = 'GET /recommendations'; select.dispatchEvent(new Event('change')); button('difference').click(); \
         out.push('less ' + document.querySelectorAll('rect.f-less').length); \
         const top = () => document.querySelector('#flame g[data-box=\"0\"] .f-frame').getAttribute('y'); const icicle = top(); button('Flame').click(); \
         out.push('turned ' + (Number(top()) > Number(icicle))); done();"
    );
    let opened = open(&with_hands(&sample::pages()["flame"], &script), &[]);
    assert_eq!(complaints(&opened), Vec::<String>::new());
    let said = opened.dom.split("<title>").nth(1).and_then(|t| t.split("</title>").next()).unwrap_or("");
    for part in [
        // 700 + 9,000 + 400 ms of 40 s.
        "recommend · shop/recommend.py:41: 253 ms in each second",
        "crumbs 4",
        "“simil”: 89 % of the time",
        "hits 1",
        "blocked 5",
        "15.6 ms a request",
        "less ",
        "turned true",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    assert!(!said.contains("less 0"), "{said}");
}

#[test]
fn a_single_measurement_has_no_before_and_no_steps() {
    let opened = assert_well(&sample::pages()["single"], &["3 of 4 goals missed.", "The best single change"]);
    assert!(!drawn(&opened).contains("id=\"steps\""));
}

#[test]
fn nothing_measured_says_so_in_every_section() {
    for name in ["nothing", "empty"] {
        assert_well(
            &sample::pages()[name],
            &["Nothing was measured.", "No goals were set", "No trace to draw", "No distribution to draw"],
        );
    }
}

#[test]
fn hostile_names_are_text() {
    let opened =
        assert_well(&sample::pages()["hostile"], &["&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"]);
    assert!(!opened.dom.contains("hunter2"), "a password is on the page");
}

#[test]
fn ten_thousand_endpoints_are_listed_in_part() {
    assert_well(&sample::pages()["many"], &["9,800 more endpoints are not listed", "Show all 200 rows"]);
}

#[test]
fn the_dark_theme_follows_the_system() {
    let opened = open(&sample::pages()["typical"], &["--blink-settings=preferredColorScheme=0"]);
    assert_eq!(complaints(&opened), Vec::<String>::new());
    assert!(opened.dom.contains("data-theme=\"dark\""));
}

/// The checks above can fail: each thing that they forbid is put on a page, and found.
#[test]
fn a_page_that_breaks_a_rule_is_noticed() {
    let page = &sample::pages()["nothing"];
    let foreign =
        page.replace("<div id=\"page\">", "<img src=\"http://192.0.2.1/pixel.png\"><div id=\"page\">");
    let found = complaints(&open(&foreign, &[])).join("\n");
    assert!(found.contains("Content Security Policy") && found.contains("192.0.2.1"), "{found}");

    let inline = page.replace("</body>", "<script>document.title = 'x'</script></body>");
    let found = complaints(&open(&inline, &[])).join("\n");
    assert!(found.contains("Content Security Policy"), "{found}");

    let broken = page.replace("\"goals\":[]", "\"goals\":null");
    assert_ne!(&broken, page);
    let found = complaints(&open(&broken, &[])).join("\n");
    assert!(found.contains("did not reach its end") && found.contains("uncaught"), "{found}");
}
