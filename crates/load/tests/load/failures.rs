//! Each way in which a service can fail has its own class, and an example that tells what happened.

use crate::server::{Act, Number, Server};
use crate::{measure, options, scenario};
use load::{LoadResult, Options, run};
use model::ErrorClass;
use net::Shutdown;
use std::time::Duration;

/// 50 requests in half a second.
async fn load_on(script: impl Fn(Number) -> Act + Send + Sync + 'static) -> LoadResult {
    let server = Server::start(script).await;
    let settings =
        Options { timeout: Duration::from_millis(150), ..options(100.0, Duration::from_millis(500)) };
    measure(server.address, &settings).await
}

#[track_caller]
fn all_failed(result: &LoadResult, class: ErrorClass, example: &str) {
    assert_eq!(result.errors.len(), 1, "{:?}", result.errors);
    let error = &result.errors[0];
    assert_eq!((error.class, error.count), (class, 50), "{error:?}");
    assert!(error.example.contains(example), "{error:?}");
}

#[tokio::test]
async fn no_answer_is_a_timeout_that_lasted_as_long_as_allowed() {
    let result = load_on(|_| Act::Never).await;
    all_failed(&result, ErrorClass::Timeout, "no complete response within 150ms");
    assert_eq!(result.response(0).count_above(149e6), 50);
}

#[tokio::test]
async fn unexpected_statuses_are_classed_by_their_side() {
    all_failed(&load_on(|_| Act::Answer(503, "")).await, ErrorClass::ServerStatus, "status 503");
    all_failed(&load_on(|_| Act::Answer(404, "")).await, ErrorClass::ClientStatus, "status 404");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    all_failed(&load_on(|_| Act::Raw("SSH-2.0-OpenSSH\r\n\r\n")).await, ErrorClass::Protocol, "");
}

#[tokio::test]
async fn a_response_cut_short_is_closed() {
    let cut = Act::Raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this");
    all_failed(&load_on(move |_| cut).await, ErrorClass::Closed, "");
    all_failed(&load_on(|_| Act::Raw("HTTP/1.1 200 OK\r\nconte")).await, ErrorClass::Closed, "");
}

#[tokio::test]
async fn a_fresh_connection_closed_without_a_word_is_closed() {
    let result = load_on(|_| Act::Close).await;
    all_failed(&result, ErrorClass::Closed, "");
    assert_eq!(result.stale_retries, 0);
}

#[tokio::test]
async fn a_stale_keep_alive_connection_is_no_error_but_counted() {
    let once = |n: Number| if n.of_connection == 0 { Act::Answer(200, "ok") } else { Act::Close };
    let result = load_on(once).await;
    assert_eq!((result.completed, result.error_count()), (50, 0), "{:?}", result.errors);
    assert!(result.stale_retries >= 20, "{}", result.stale_retries);
}

#[tokio::test]
async fn a_post_that_was_sent_is_never_sent_twice() {
    let once = |n: Number| if n.of_connection == 0 { Act::Answer(200, "ok") } else { Act::Close };
    let server = Server::start(once).await;
    let mut scenario = scenario(server.address);
    scenario.operations[0].method = "POST".to_owned();
    scenario.operations[0].body = "order".to_owned();
    let result = run(&scenario, &options(100.0, Duration::from_millis(500)), &Shutdown::new()).await.unwrap();
    assert_eq!((result.offered, result.completed + result.error_count()), (50, 50));
    assert!(
        result.errors[0].class == ErrorClass::Closed && result.errors[0].count >= 20,
        "{:?}",
        result.errors
    );
    assert_eq!(server.seen.requests.load(std::sync::atomic::Ordering::Relaxed), 50);
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error() {
    let gone = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let result = measure(gone, &options(100.0, Duration::from_millis(500))).await;
    all_failed(&result, ErrorClass::Connect, "refused");
    assert!(result.service(0).is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_error() {
    let mut scenario = scenario(([127, 0, 0, 1], 1).into());
    scenario.base_url = "http://ann:hush@no-such-host.invalid".to_owned();
    let result = run(&scenario, &options(20.0, Duration::from_millis(200)), &Shutdown::new()).await.unwrap();
    assert_eq!((result.errors[0].class, result.errors[0].count), (ErrorClass::Dns, 4), "{:?}", result.errors);
    assert_eq!(result.target, "http://no-such-host.invalid/");
}

#[tokio::test]
async fn bad_settings_are_refused_before_anything_is_sent() {
    let scenario = scenario(([127, 0, 0, 1], 1).into());
    let error = run(&scenario, &options(-1.0, Duration::from_secs(1)), &Shutdown::new()).await.unwrap_err();
    assert!(format!("{error:#}").contains("load options: segments[0].from"), "{error:#}");
    let settings = Options { cell_ms: 1, ..options(1.0, Duration::from_secs(100_000)) };
    let error = run(&scenario, &settings, &Shutdown::new()).await.unwrap_err();
    assert!(format!("{error:#}").contains("cell_ms"), "{error:#}");
}

#[tokio::test]
async fn a_service_that_answers_anything_is_reached() {
    let asked = async |act: fn() -> Act| {
        let server = Server::start(move |_| act()).await;
        let url = format!("http://{}", server.address);
        load::reach(&url, &load::http::Settings::default(), Duration::from_millis(300)).await
    };
    let short = || Act::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi");
    for act in [(|| Act::Answer(500, "")) as fn() -> Act, short] {
        asked(act).await.expect("it answers");
    }
    for act in [(|| Act::Never) as fn() -> Act, || Act::Close, || Act::Raw("what?\r\n\r\n")] {
        asked(act).await.expect_err("that is no answer");
    }
}
