//! Samples in files while a load runs: every request is there, secrets are not, and a sink that fails costs no run.

use crate::server::{Act, Server};
use crate::{options, scenario};
use load::out::{Origin, Outputs, Target, Told};
use load::{LoadResult, Options, run};
use net::Shutdown;
use std::io::Read;
use std::time::Duration;

/// Runs half a second with these outputs.
async fn told(server: &Server, targets: &[Target]) -> (LoadResult, Vec<Told>) {
    let outputs = Outputs::start(targets, &Origin::default()).unwrap();
    let settings = Options { feed: Some(outputs.feed()), ..options(100.0, Duration::from_millis(500)) };
    let result = run(&scenario(server.address), &settings, &Shutdown::new()).await.unwrap();
    drop(settings);
    (result, outputs.finish().await)
}

fn server() -> impl Future<Output = Server> {
    Server::start(|n| if n.of_all % 10 == 3 { Act::Answer(503, "no") } else { Act::Answer(200, "ok") })
}

#[tokio::test]
async fn each_request_is_in_the_files_and_no_secret_is() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, json) = (folder.path().join("a.csv"), folder.path().join("a.json.gz"));
    let targets = [Target::Csv(csv.clone()), Target::Json(json.clone())];
    let (result, told) = told(&server().await, &targets).await;
    assert!(told.iter().all(|told| !told.is_loss), "{told:?}");
    let rows = std::fs::read_to_string(csv).unwrap();
    let of = |start: &str| rows.lines().filter(|line| line.starts_with(start)).count() as u64;
    assert_eq!(of("http_reqs,"), result.offered);
    assert_eq!(of("http_req_response,"), result.offered);
    assert_eq!(of("iterations,"), result.offered);
    let failed = rows.lines().filter(|line| line.starts_with("http_req_failed,") && line.contains(",503,"));
    assert_eq!(failed.count() as u64, result.error_count());
    let mut lines = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(json).unwrap()).read_to_string(&mut lines).unwrap();
    let points: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests = points.iter().filter(|p| p["type"] == "Point" && p["metric"] == "http_reqs");
    assert_eq!(requests.count() as u64, result.offered);
    assert!(!rows.contains("hush") && !lines.contains("hush"), "the query is a secret");
}

#[tokio::test]
async fn a_sink_that_fails_is_told_and_the_run_goes_on() {
    let full = Target::Csv("/dev/full".into());
    let refused = Target::Otlp("http://ann:hush@127.0.0.1:1/".to_owned());
    let (result, told) = told(&server().await, &[full, refused]).await;
    assert_eq!(result.offered, 50);
    assert!(told.iter().all(|told| told.is_loss), "{told:?}");
    assert!(told[0].text.contains("csv=/dev/full") && told[0].text.contains("were lost"), "{told:?}");
    assert!(told[1].text.contains("the last figures did not arrive"), "{told:?}");
    assert!(!told[1].text.contains("hush"), "{told:?}");
    let absent = Target::Json("/absent/x".into());
    let error = Outputs::start(&[absent], &Origin::default()).err().unwrap();
    assert!(format!("{error:#}").contains("--out json=/absent/x"), "{error:#}");
}
