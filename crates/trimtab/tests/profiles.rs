//! Services without any instrumentation, under load and nothing else: the guilty function is named, at its endpoint.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the other tests use the rest")]
mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use support::{Ran, free_port, postgres, program, run};

/// Of one service at a time the CPU is asked.
static QUIET: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/services/hot").join(name)
}

/// Measures a service that is started by `command`, and judges the recording from the disk.
fn diagnosed(folder: &Path, command: &[&str], paths: &[(&str, f64)]) -> Value {
    let port = free_port();
    let mut text = format!(
        "[service]\nurl = \"http://127.0.0.1:{port}\"\n[telemetry]\nlisten = \"\"\nlisten_grpc = \"\"\n\
         [load]\nrate = {}\nwarm_up_s = 1\nduration_s = 12\n",
        paths.iter().map(|p| p.1).sum::<f64>()
    );
    for (path, weight) in paths {
        text.push_str(&format!(
            "[[load.operation]]\nname = \"GET {path}\"\npath = \"{path}\"\nweight = {weight}\n"
        ));
    }
    std::fs::write(folder.join("trimtab.toml"), text).unwrap();
    let port = port.to_string();
    let measured = program(folder)
        .args(["measure", "--profile", "-o", "recording", "--"])
        .args(command)
        .arg(&port)
        .output()
        .unwrap();
    let measured = Ran::from(measured);
    assert!(folder.join("recording/profiles.pb.gz").is_file(), "{measured:?}");
    let judged = run(folder, &["localize", "recording", "--format", "json"]);
    serde_json::from_str(&judged.out).unwrap_or_else(|_| panic!("{judged:?}"))
}

fn find<'a>(diagnosis: &'a Value, rule: &str, function: &str) -> Option<&'a Value> {
    let findings = diagnosis["findings"].as_array().unwrap();
    findings.iter().find(|f| f["rule"] == rule && f["place"]["function"]["function"] == function)
}

fn in_short(diagnosis: &Value) -> String {
    let findings = diagnosis["findings"].as_array().unwrap().iter();
    let lines: Vec<String> =
        findings.map(|f| format!("{} {}: {}", f["rule"], f["endpoint"], f["title"])).collect();
    format!("{}\n{:#}", lines.join("\n"), diagnosis["gaps"])
}

#[test]
fn functions_of_a_python_service_are_named_at_their_endpoints() {
    let _quiet = QUIET.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let app = source("app.py");
    let command = ["python3", app.to_str().unwrap()];
    let diagnosis =
        diagnosed(folder.path(), &command, &[("/recommend", 6.0), ("/export", 3.0), ("/ping", 8.0)]);
    let hot =
        find(&diagnosis, "hot_function", "similarity").unwrap_or_else(|| panic!("{}", in_short(&diagnosis)));
    assert_eq!(hot["endpoint"], "GET /recommend", "{}", in_short(&diagnosis));
    assert!(hot["place"]["function"]["file"].as_str().unwrap().ends_with("hot/app.py"), "{hot:#}");
    let codec =
        find(&diagnosis, "serialization", "export").unwrap_or_else(|| panic!("{}", in_short(&diagnosis)));
    assert_eq!(codec["endpoint"], "GET /export", "{}", in_short(&diagnosis));
    let judged = run(folder.path(), &["localize", "recording/profiles.pb.gz"]);
    assert!(judged.out.contains("similarity"), "{judged:?}");
}

#[test]
fn what_blocks_an_event_loop_is_named_at_who_waits() {
    let _quiet = QUIET.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let app = source("app.js");
    let diagnosis =
        diagnosed(folder.path(), &["node", app.to_str().unwrap()], &[("/report", 4.0), ("/ping", 20.0)]);
    let hot = find(&diagnosis, "hot_function", "renderReport")
        .unwrap_or_else(|| panic!("{}", in_short(&diagnosis)));
    assert_eq!(hot["endpoint"], "GET /report", "{}", in_short(&diagnosis));
    let blocked = find(&diagnosis, "event_loop_blocked", "renderReport");
    let blocked = blocked.unwrap_or_else(|| panic!("{}", in_short(&diagnosis)));
    assert_eq!(blocked["endpoint"], "GET /ping", "{}", in_short(&diagnosis));
}

/// Rules that name a function which costs CPU.
const ON_CPU: [&str; 3] = ["hot_function", "linear_scan", "serialization"];

/// The first function that is told of an endpoint: its file.
fn first<'a>(diagnosis: &'a Value, endpoint: &str) -> Option<&'a str> {
    let findings = diagnosis["findings"].as_array().unwrap();
    let found = findings
        .iter()
        .find(|f| f["endpoint"] == endpoint && ON_CPU.contains(&f["rule"].as_str().unwrap_or_default()));
    found.and_then(|f| f["place"]["function"]["file"].as_str())
}

#[test]
fn functions_of_a_rust_service_are_named_at_their_endpoints_and_healthy_ones_are_silent() {
    let _quiet = QUIET.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let postgres = runtime.block_on(postgres("pg_stat_statements"));
    let database = postgres.url();
    let rows = shop::SeedOptions::default().scaled(0.5).unwrap();
    runtime.block_on(shop::seed(&database, &rows)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "export DATABASE_URL='{database}' SHOP_LISTEN=127.0.0.1:$1 SHOP_ACCESS_LOG=off SHOP_SWITCHES=connection=pool\n\
         exec '{}' internal-shop serve\n",
        env!("CARGO_BIN_EXE_trimtab")
    );
    std::fs::write(folder.path().join("shop.sh"), script).unwrap();
    let diagnosis = diagnosed(
        folder.path(),
        &["sh", "shop.sh"],
        &[("/reports/sales?resamples=400", 2.0), ("/customers/7/recommendations", 2.0), ("/products/7", 8.0)],
    );
    let told = |endpoint: &str| first(&diagnosis, endpoint).unwrap_or_default();
    let report = told("GET /reports/sales?resamples=400");
    assert!(report.ends_with("endpoints/report.rs"), "{report}\n{}", in_short(&diagnosis));
    let scan = told("GET /customers/7/recommendations");
    assert!(scan.ends_with("endpoints/recommendations.rs"), "{scan}\n{}", in_short(&diagnosis));
    assert_eq!(first(&diagnosis, "GET /products/7"), None, "{}", in_short(&diagnosis));
}
