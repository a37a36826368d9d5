//! What is measured is what users would have seen, whatever the bounds of the generator.

use crate::server::{Act, Server};
use crate::{UNIX_NS, measure, nothing_vanished, options, scenario};
use load::{Options, k6_json, run, summary, text};
use model::ErrorClass;
use net::{HttpVersion, Shutdown};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// 200 per second for 2 s; the service stands still for 300 ms once, so that 60 of 400 arrivals have to wait
/// 300 ms down to 0: p90 100 ms, p95 200 ms.
async fn stalled(max_in_flight: usize) -> load::LoadResult {
    let stall = Act::Stall(Duration::from_millis(300));
    let server = Server::start(move |n| if n.of_all == 160 { stall } else { Act::Answer(200, "ok") }).await;
    let settings = Options { max_in_flight, ..options(200.0, Duration::from_secs(2)) };
    let result = measure(server.address, &settings).await;
    assert_eq!((result.offered, result.error_count()), (400, 0));
    let p95_ms = result.response(0).quantile_ms(0.95).unwrap();
    // The 20 worst of 400 were due in the first 100 ms of the stall. Beyond its length there is only our own lateness.
    let stall_ms = server.seen.stalled.lock().unwrap().as_secs_f64() * 1e3;
    let late_ms = result.lateness.quantile_ms(0.99).unwrap();
    let truth = 0.85 * (stall_ms - 100.0)..stall_ms + late_ms;
    assert!(truth.contains(&p95_ms), "{p95_ms} ms is not in {truth:?}");
    result
}

#[tokio::test]
async fn a_stall_is_seen_by_every_arrival_that_was_due_in_it() {
    let result = stalled(512).await;
    assert_eq!(result.held_back, 0);
}

#[tokio::test]
async fn a_bound_of_one_in_flight_hides_nothing_from_the_response() {
    let result = stalled(1).await;
    assert!((40..=120).contains(&result.held_back), "{}", result.held_back);
    let service = result.service(0);
    assert!(service.quantile_ms(0.95).unwrap() < 100.0, "{service:?}");
    assert_eq!(service.count_above(250e6), 1, "only one request was sent into the stall");
    assert!(result.validity.issues.iter().any(|i| i.kind == "dropped_arrivals"), "{:?}", result.validity);
}

#[tokio::test]
async fn arrivals_that_never_start_count_with_the_time_that_they_waited() {
    let server = Server::start(|_| Act::Never).await;
    let settings = Options {
        max_in_flight: 2,
        timeout: Duration::from_millis(200),
        ..options(100.0, Duration::from_millis(500))
    };
    let result = measure(server.address, &settings).await;
    assert_eq!(result.offered, 50);
    let classes: Vec<ErrorClass> = result.errors.iter().map(|e| e.class).collect();
    assert_eq!(classes, [ErrorClass::Timeout, ErrorClass::NotStarted]);
    assert!(result.figures.not_started >= 35, "{:?}", result.figures);
    // The run went on for the timeout after its last arrival, so that nothing waited for less.
    assert_eq!(result.response(0).count_above(180e6), 50);
    assert!(result.validity.issues.iter().any(|i| i.kind == "dropped_arrivals" && i.invalid));
    let json = k6_json(&summary(&result, 5));
    assert_eq!(json["metrics"]["dropped_iterations"]["count"], result.figures.not_started);
}

#[tokio::test]
async fn a_shutdown_returns_what_was_measured() {
    let server = Server::start(|n| if n.of_all < 10 { Act::Answer(200, "") } else { Act::Never }).await;
    let settings = Options { grace: Duration::from_millis(50), ..options(100.0, Duration::from_secs(60)) };
    let shutdown = Shutdown::new();
    let (seen, end) = (server.seen.clone(), shutdown.clone());
    let watcher = tokio::spawn(async move {
        while seen.requests.load(Ordering::Relaxed) < 20 {
            seen.arrived.notified().await;
        }
        end.trigger();
    });
    let result = run(&scenario(server.address), &settings, &shutdown).await.unwrap();
    watcher.await.unwrap();
    nothing_vanished(&result);
    assert!(!result.complete && result.window < Duration::from_secs(30), "{:?}", result.window);
    assert_eq!(result.completed, 10);
    assert_eq!(result.errors[0].class, ErrorClass::Timeout);
    assert_eq!(result.errors[0].count, result.started_count - 10);
}

#[tokio::test]
async fn dropping_the_run_ends_its_thread() {
    let server = Server::start(|_| Act::Answer(200, "")).await;
    let (progress, mut told) = watch::channel(load::Progress::default());
    let settings = Options { progress: Some(progress), ..options(100.0, Duration::from_secs(600)) };
    let scenario = scenario(server.address);
    {
        let shutdown = Shutdown::new();
        let mut load = Box::pin(run(&scenario, &settings, &shutdown));
        tokio::select! {
            _ = &mut load => panic!("it ended by itself"),
            () = server.seen.arrived.notified() => {}
        }
    }
    drop(settings);
    // The last sender goes with the thread.
    while told.changed().await.is_ok() {}
}

#[tokio::test]
async fn cells_samples_and_traces_fit_together() {
    let server = Server::start(|_| Act::Answer(200, "hello")).await;
    let (progress, told) = watch::channel(load::Progress::default());
    let settings = Options {
        cell_ms: 100,
        uniform_samples: 20,
        slowest_samples: 5,
        progress: Some(progress),
        ..options(100.0, Duration::from_secs(1))
    };
    let result = measure(server.address, &settings).await;
    let cells: Vec<(u32, u64)> = result.cells.iter().map(|c| (c.cell, c.response.count())).collect();
    assert_eq!(cells, (0..10).map(|n| (n, 10)).collect::<Vec<_>>());
    assert_eq!((result.totals[0].received_bytes, result.completed), (500, 100));
    assert_eq!(result.requests.iter().filter(|r| r.slowest).count(), 5);
    assert!((20..=25).contains(&result.requests.len()));
    assert!(result.started_ns >= UNIX_NS && result.started_ns < UNIX_NS + 60_000_000_000);
    let heads = server.seen.traceparents.lock().unwrap();
    assert_eq!(heads.len(), 100);
    let traces: BTreeSet<String> =
        heads.iter().map(|head| head["traceparent: 00-".len()..][..32].to_owned()).collect();
    for request in &result.requests {
        assert!(traces.contains(&format!("{:032x}", request.trace_id)), "{request:?}");
        assert_eq!((request.due_ns - result.started_ns) % 10_000_000, 0);
    }
    assert_eq!((told.borrow().completed, told.borrow().in_flight), (100, 0));
    assert!(text(&summary(&result, 5)).contains("GET /x"));
}

#[tokio::test]
async fn http2_by_prior_knowledge_shares_one_connection() {
    let server = Server::start_http2().await;
    let mut settings = options(500.0, Duration::from_millis(500));
    settings.connection.version = HttpVersion::Http2;
    let result = measure(server.address, &settings).await;
    assert_eq!(
        (result.offered, result.completed, result.error_count()),
        (250, 250, 0),
        "{:?}",
        result.errors
    );
    assert_eq!(result.connections, 1);
    assert_eq!(server.seen.requests.load(Ordering::Relaxed), 250);
}
