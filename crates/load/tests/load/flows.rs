//! Flows, closed models, shares and capacity on real servers.

use crate::server::{Act, Number, Server};
use crate::{nothing_vanished, options, scenario};
use load::find::{FindOptions, Limit, Range, Stop, find};
use load::{LoadResult, Options, Saved, Scenario, Spacing, merge, run, summary, text};
use model::ErrorClass;
use net::Shutdown;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_flow_sends_what_it_extracted_and_stops_where_a_check_fails() {
    let script = |n: Number| match n.of_all {
        4 => Act::Answer(200, r#"{"ok": false, "id": 7}"#),
        _ => Act::Answer(200, r#"{"ok": true, "id": 7}"#),
    };
    let server = Server::start(script).await;
    let scenario: Scenario = toml::from_str(&format!(
        r#"
base_url = "http://{}"
[[operations]]
name = "create"
method = "POST"
path = "/orders"
extract = {{ id = {{ json = "/id" }} }}
then = [
  {{ name = "read", path = "/orders/{{{{id}}}}", check = [{{ json = "/ok", equals = true }}] }},
  {{ name = "pay", path = "/orders/{{{{id}}}}/pay", pause_s = 0.01 }},
]
"#,
        server.address
    ))
    .unwrap();
    let result = run(&scenario, &options(20.0, Duration::from_millis(500)), &Shutdown::new()).await.unwrap();
    assert_eq!(result.operations, ["create", "read", "pay"]);
    let counts: Vec<u64> = (0..3).map(|operation| result.response(operation).count()).collect();
    assert_eq!(counts, [10, 10, 9]);
    assert_eq!((result.errors[0].class, result.errors[0].operation), (ErrorClass::Check, 1));
    assert_eq!(result.errors[0].example, "json /ok is not `true`");
}

#[tokio::test]
async fn a_closed_model_says_what_it_cannot_see() {
    let stall = Act::Stall(Duration::from_millis(200));
    let server = Server::start(move |n| if n.of_all == 300 { stall } else { Act::Answer(200, "ok") }).await;
    let settings = Options { users: Some(4), ..options(1.0, Duration::from_secs(1)) };
    let result = run(&scenario(server.address), &settings, &Shutdown::new()).await.unwrap();
    nothing_vanished(&result);
    assert!(result.completed > 300 && result.connections <= 4, "{}", result.completed);
    assert!(result.longest_silence >= Duration::from_millis(190), "{:?}", result.longest_silence);
    assert!(result.validity.issues.iter().any(|issue| issue.kind == "closed_model"));
    let text = text(&summary(&result, 5));
    assert!(text.contains("closed model of 4 users: times exclude waiting users"), "{text}");
}

async fn part(server: &Server, share: &str) -> LoadResult {
    let mut settings = options(200.0, Duration::from_millis(500));
    settings.share = share.parse().unwrap();
    settings.pace = load::Pace::constant(200.0, Spacing::Poisson);
    run(&scenario(server.address), &settings, &Shutdown::new()).await.unwrap()
}

#[tokio::test]
async fn two_generators_do_together_what_one_does_alone() {
    let server = Server::start(|_| Act::Answer(200, "ok")).await;
    let whole = part(&server, "1/1").await;
    let (first, second) = (part(&server, "1/2").await, part(&server, "2/2").await);
    assert_eq!(first.offered + second.offered, whole.offered);
    let written: Vec<String> =
        [&first, &second].map(|part| serde_json::to_string(&Saved::from(part)).unwrap()).into();
    let read: Vec<Saved> = written.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let merged = merge(&read, Instant::now()).unwrap();
    nothing_vanished(&merged);
    assert_eq!((merged.offered, merged.completed), (whole.offered, whole.completed));
    let cells =
        |result: &LoadResult| -> Vec<u64> { result.cells.iter().map(|c| c.response.count()).collect() };
    assert_eq!(cells(&merged), cells(&whole), "each arrival is in its cell");
    assert_eq!(merge(&[], Instant::now()).unwrap_err().to_string(), "no result to merge");
}

fn search(goal: &str, most: f64) -> FindOptions {
    FindOptions {
        goals: vec![goal.parse().unwrap()],
        range: Range { start: 20.0, most, precision: 0.3 },
        window: Duration::from_millis(800),
        budget: Duration::from_secs(60),
        spacing: Spacing::Constant,
    }
}

#[tokio::test]
async fn a_service_with_one_worker_has_the_capacity_of_that_worker() {
    // 5 ms each, one after the other: 200 per second at most, fewer as the machine adds its own.
    let server = Server::start(|_| Act::Stall(Duration::from_millis(5))).await;
    let mut told = 0;
    let base = options(1.0, Duration::from_secs(1));
    let options = search("p95(*) < 60 ms", 2000.0);
    let found =
        find(&scenario(server.address), &base, &options, &Shutdown::new(), |_| told += 1).await.unwrap();
    let met = found.bracket.met.unwrap();
    assert!((40.0..=210.0).contains(&met), "{found:?}");
    assert_eq!((found.stop, found.windows.len()), (Stop::Found, told));
    // A machine whose neighbours are loud is called the limit, as it should be.
    assert!(matches!(found.limit, Some(Limit::Throughput | Limit::Latency | Limit::Generator)), "{found:?}");
}

#[tokio::test]
async fn a_search_that_is_ended_keeps_what_it_knows() {
    let server = Server::start(|_| Act::Answer(200, "ok")).await;
    let base = options(1.0, Duration::from_secs(1));
    let shutdown = Shutdown::new();
    let told = |_: &load::find::Window| shutdown.trigger();
    let options = search("p95(GET /x) < 10 s", 1000.0);
    let found = find(&scenario(server.address), &base, &options, &shutdown, told).await.unwrap();
    assert_eq!((found.stop, found.windows.len(), found.bracket.missed), (Stop::Shutdown, 1, None));
    let unknown = search("p95(GET /y) < 1 s", 1000.0);
    let error = find(&scenario(server.address), &base, &unknown, &shutdown, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("no such operation, there are GET /x"), "{error}");
}
