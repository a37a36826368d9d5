//! Load tests as users run them: what comes out while they run and at their end.

use crate::service::{NO_TRACES, Service, write};
use crate::support::{program, run};
use serde_json::Value;

const SCRIPT: &str = r#"
import http from 'k6/http';
import { check } from 'k6';
export const options = { vus: 2, iterations: 20, rps: 40, thresholds: { http_reqs: ['count==20'] } };
export default function () {
  check(http.get(`${__ENV.URL}/items/7?token=hush`), { 'is 200': (r) => r.status === 200, 'is 201': (r) => r.status === 201 });
}
"#;

/// A run to its end. Where other work makes the generator late, it says that its figures are not to be used.
fn ended_well(code: Option<i32>, told: &str) -> bool {
    matches!(code, Some(0 | 2)) && !told.contains("error:")
}

/// Total of a counter over its series, as our own receiver took it in.
fn total(metrics: &[model::MetricSeries], name: &str) -> f64 {
    let series = metrics.iter().filter(|series| series.name == name);
    series.filter_map(|series| series.points.last()).map(|point| point.value).sum()
}

#[tokio::test]
async fn both_fronts_push_what_they_count_to_a_real_receiver() {
    let service = Service::start();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &service.settings("", NO_TRACES));
    std::fs::write(folder.path().join("test.js"), SCRIPT).unwrap();
    let url = format!("URL=http://127.0.0.1:{}", service.port);
    let commands: [&[&str]; 2] = [&["trimtab.toml"], &["test.js", "-e", &url]];
    for (command, expected) in commands.into_iter().zip([50_u32, 20]) {
        let listener = telemetry::bind("127.0.0.1:0").await.unwrap();
        let receiver = telemetry::Receiver::start(vec![listener], telemetry::Options::default()).unwrap();
        let otlp = format!("otlp=http://{}", receiver.addresses()[0]);
        let (csv, json) = (folder.path().join("a.csv.gz"), folder.path().join("a.json"));
        let (csv_out, json_out) = (format!("csv={}", csv.display()), format!("json={}", json.display()));
        let mut program = program(folder.path());
        program.args(["load", "run"]).args(command);
        program.args([
            "--out",
            &otlp,
            "--out",
            &csv_out,
            "--out",
            &json_out,
            "--tag",
            "team=web",
            "--summary-export",
            "s.json",
        ]);
        let ran = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ended_well(ran.status.code(), &told), "{:?}: {told}", ran.status);
        let batch = receiver.take();
        assert!(
            (total(&batch.metrics, "http_reqs") - f64::from(expected)).abs() < 0.5,
            "{command:?}: {told}"
        );
        assert!(
            std::fs::read_to_string(&json)
                .unwrap()
                .lines()
                .all(|line| line.contains("\"Metric\"") || line.contains("web"))
        );
        let tagged = |series: &&model::MetricSeries| series.attribute("team") == Some("web");
        assert!(
            batch
                .metrics
                .iter()
                .any(|series| tagged(&series) && series.name.starts_with("http_req_duration"))
        );
        assert!(std::fs::metadata(csv).unwrap().len() > 100);
        let summary = std::fs::read_to_string(folder.path().join("s.json")).unwrap();
        let summary: Value = serde_json::from_str(&summary).unwrap();
        let rate = summary["metrics"]["http_reqs"]["rate"].as_f64().unwrap();
        assert!(
            rate < 45.0,
            "{command:?}: {rate} per second, the script's rps is 40 and the scenario's rate 20"
        );
        let lines = std::fs::read_to_string(json).unwrap();
        assert!(!lines.contains("hush"), "{command:?}");
        let points = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let requests = points.filter(|point| point["type"] == "Point" && point["metric"] == "http_reqs");
        assert_eq!(requests.count(), expected as usize, "{command:?}");
    }
}

#[test]
fn a_missed_goal_is_a_no_and_a_test_case_and_the_run_can_be_seen_afterwards() {
    let service = Service::start();
    let folder = tempfile::tempdir().unwrap();
    let goals = "\"p95(GET /items) < 5 s\", \"rate(GET /items) > 500/s\", \"cpu(db) < 60 %\"";
    write(folder.path(), &service.settings(goals, NO_TRACES));
    let flags = [
        "--output",
        "kept",
        "--junit",
        "junit.xml",
        "--slowest",
        "2",
        "--format",
        "json",
        "--duration",
        "1s",
    ];
    let ran = run(folder.path(), &[&["load", "run", "trimtab.toml"][..], &flags].concat());
    let told: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    let issues = told["validity"]["issues"].as_array().unwrap();
    let useless = issues.iter().any(|issue| issue["invalid"] == true);
    assert_eq!(ran.code, Some(if useless { 2 } else { 1 }), "{ran:?}");
    assert_eq!(
        (&told["goals"][0]["met"], &told["goals"][1]["met"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    assert_eq!(told["goals"][2]["met"], Value::Null);
    let kept = &told["requests"][0];
    assert_eq!(kept["slowest"].as_array().unwrap().len(), 2);
    assert!(kept["slowest"][0]["phases_ms"]["wait"].as_f64().unwrap() > 0.0, "{kept}");
    let junit = std::fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    assert!(junit.contains("rate(GET /items)") && junit.contains("<failure"), "{junit}");
    let seen = run(folder.path(), &["report", "kept", "-o", "kept.html"]);
    assert_eq!(seen.code, Some(0), "{seen:?}");
    assert!(std::fs::read_to_string(folder.path().join("kept.html")).unwrap().contains("GET /items"));
    let again = run(folder.path(), &["load", "run", "trimtab.toml", "--output", "."]);
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("holds something else than a recording"), "{}", again.err);
}

#[test]
fn what_is_wrong_with_outputs_and_connections_is_told_before_the_load() {
    let service = Service::start();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &service.settings("", NO_TRACES));
    for (flags, problem) in [
        (&["--out", "influxdb=http://127.0.0.1:1"][..], "--out influxdb: there is no such output"),
        (&["--out", "csv=/absent/a.csv"], "could not write /absent/a.csv"),
        (&["--proxy", "ftp://ann:hush@h"], "--proxy"),
        (&["--cert", "absent.pem"], "--cert"),
        (&["--resolve", "a"], "--resolve a: expected one like"),
        (&["--h2-streams", "0"], "--h2-streams: 0"),
        (&["--unix-socket", "absent.sock"], "absent.sock"),
    ] {
        let ran = run(folder.path(), &[&["load", "run", "trimtab.toml"], flags].concat());
        assert_eq!(ran.code, Some(2), "{flags:?}: {ran:?}");
        assert!(ran.err.contains(problem) && !ran.err.contains("hush"), "{flags:?}: {}", ran.err);
    }
    assert!(service.answered() <= 2, "it was asked whether it is there, and nothing more");
}

#[test]
fn two_processes_that_share_a_load_make_what_one_makes() {
    let service = Service::start();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &service.settings("", NO_TRACES));
    let start = (trimtab::clock::now_ns() / 1_000_000_000 + 2).to_string();
    let spawned = ["1/2", "2/2"].map(|part| {
        let file = format!("{}.json", &part[..1]);
        let mut program = program(folder.path());
        program.args([
            "load",
            "run",
            "trimtab.toml",
            "--segment",
            part,
            "--save",
            &file,
            "--start-at",
            &start,
        ]);
        std::thread::spawn(move || program.output().unwrap())
    });
    for part in spawned {
        let ran: crate::support::Ran = part.join().unwrap().into();
        assert!(ended_well(ran.code, &ran.err), "{ran:?}");
    }
    let counts = |arguments: &[&str]| {
        let ran = run(folder.path(), &[arguments, &["--format", "json"]].concat());
        let told: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
        let count = |metric: &str| told["metrics"][metric]["count"].as_u64().unwrap();
        (count("http_reqs"), count("iterations"), count("data_received"))
    };
    let merged = counts(&["load", "merge", "1.json", "2.json"]);
    assert_eq!(merged, counts(&["load", "run", "trimtab.toml"]));
    assert_eq!(merged.0, 50);
    let late = run(folder.path(), &["load", "run", "trimtab.toml", "--start-at", &start]);
    assert!(late.code == Some(2) && late.err.contains("the others have begun"), "{late:?}");
}

#[test]
fn a_url_is_a_load_without_any_file() {
    let service = Service::start();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}/items/7?token=hush", service.port);
    let ran = run(
        folder.path(),
        &["load", "run", &url, "--rate", "40", "--duration", "1s", "-H", "x-key: hush", "-q"],
    );
    let told = format!("{}{}", ran.out, ran.err);
    assert!(ended_well(ran.code, &told), "{told}");
    assert!(told.contains("GET /items/7") && !told.contains("hush"), "{told}");
    assert!(service.answered() > 20, "{told}");
    let none = run(folder.path(), &["load", "run", &url]);
    assert!(none.code == Some(2) && none.err.contains("--rate 50") && !none.err.contains("hush"), "{none:?}");
}
