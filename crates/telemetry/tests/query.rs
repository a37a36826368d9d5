//! The query interfaces of Jaeger and Tempo, against servers that answer as the real ones do.

#![expect(clippy::unwrap_used, reason = "a test file: what builds its inputs may panic as its tests do")]

use std::sync::{Arc, Mutex};
use telemetry::query::{Headers, Query, fetch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const NOW_NS: u64 = 1_700_000_000_000_000_000;

type Answer = fn(&str) -> (u16, String);

/// Heads of all requests.
type Asked = Arc<Mutex<Vec<String>>>;

/// Answers requests by their path, one connection each; hands back its address and what it was asked.
async fn server(answer: Answer) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Asked::default();
    let heads = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heads = Arc::clone(&heads);
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut piece = [0; 1024];
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    let read = stream.read(&mut piece).await.unwrap_or(0);
                    if read == 0 {
                        return;
                    }
                    head.extend(&piece[..read]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let (status, body) = answer(head.split(' ').nth(1).unwrap_or(""));
                heads.lock().unwrap().push(head);
                let reply = format!(
                    "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                // Who asked may be gone.
                drop(stream.write_all(reply.as_bytes()).await);
            });
        }
    });
    (address, asked)
}

fn jaeger(path: &str) -> (u16, String) {
    if path == "/api/services" {
        return (
            200,
            r#"{"data":["orders","inventory"],"total":2,"limit":0,"offset":0,"errors":null}"#.into(),
        );
    }
    if !path.starts_with("/api/traces?service=orders&") {
        return (200, r#"{"data":[],"total":0,"limit":0,"offset":0,"errors":null}"#.into());
    }
    let span = |id: &str, parent: &str, process: &str| {
        let references = if parent.is_empty() {
            String::new()
        } else {
            format!(r#"{{"refType":"CHILD_OF","traceID":"5b8efff798038103","spanID":"{parent}"}}"#)
        };
        format!(
            r#"{{"traceID":"5b8efff798038103","spanID":"{id}","flags":1,"operationName":"GET /orders",
            "references":[{references}],"startTime":1699999990000000,"duration":1200,"processID":"{process}",
            "tags":[{{"key":"span.kind","type":"string","value":"server"}}],"logs":[],"warnings":null}}"#
        )
    };
    let (root, child) =
        (span("eee19b7ec3c1b174", "", "p1"), span("eee19b7ec3c1b173", "eee19b7ec3c1b174", "p2"));
    let processes = r#"{"p1":{"serviceName":"orders","tags":[{"key":"hostname","type":"string","value":"a"}]},
        "p2":{"serviceName":"inventory","tags":[]}}"#;
    let trace = format!(
        r#"{{"traceID":"5b8efff798038103","spans":[{root},{child}],"processes":{processes},"warnings":null}}"#
    );
    (200, format!(r#"{{"data":[{trace}],"total":0,"limit":0,"offset":0,"errors":null}}"#))
}

#[tokio::test]
async fn jaeger_gives_the_traces_of_a_service() {
    let (address, asked) = server(jaeger).await;
    let query = Query::parse(&format!("jaeger://{address}/orders?lookback=10m&limit=1")).unwrap();
    let headers = Headers::parse("Authorization=Bearer%20hush,X-Scope-OrgID=7").unwrap();
    let batch = fetch(&query, &headers, NOW_NS).await.unwrap();
    let services: Vec<&str> = batch.spans.rows().map(|span| span.service()).collect();
    assert_eq!(services, ["orders", "inventory"]);
    assert!(batch.report.losses[0].contains("more traces than the 1"), "{:?}", batch.report.losses);
    let head = asked.lock().unwrap()[0].to_ascii_lowercase();
    assert!(head.contains("start=1699999400000000&end=1700000000000000&limit=1"), "{head}");
    assert!(head.contains("authorization: bearer hush") && head.contains("x-scope-orgid: 7"), "{head}");
    assert!(!format!("{headers:?}").contains("hush"));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told_with_those_that_are() {
    let (address, _) = server(jaeger).await;
    for service in ["", "order"] {
        let query = Query::parse(&format!("jaeger://{address}/{service}")).unwrap();
        let error = format!("{:#}", fetch(&query, &Headers::default(), NOW_NS).await.unwrap_err());
        assert!(error.contains("inventory, orders"), "{error}");
    }
}

const BATCH: &str = r#"[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"orders"}}]},
    "scopeSpans":[{"scope":{"name":"otel"},"spans":[{"traceId":"LwEjRWeJq83vASNFZ4mrzQ==","spanId":"7uGbfsPBsXQ=",
    "name":"GET /orders","kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1699999990000000000",
    "endTimeUnixNano":"1699999990001200000","status":{}}]}]}]"#;

fn tempo(path: &str) -> (u16, String) {
    const FOUND: &str = r#"{"traces":[
        {"traceID":"2f01234567","rootServiceName":"orders","startTimeUnixNano":"1699999990000000000","durationMs":1},
        {"traceID":"2f0123456789abcdef0123456789abcd","rootServiceName":"orders","durationMs":1},
        {"traceID":"../../admin"}],"metrics":{"inspectedBytes":"1"}}"#;
    match path {
        _ if path.starts_with("/base/api/search?tags=service.name%3D%22orders%22&start=") => {
            (200, FOUND.into())
        }
        "/base/api/v2/traces/2f0123456789abcdef0123456789abcd" => {
            (200, format!(r#"{{"trace":{{"resourceSpans":{BATCH}}},"metrics":{{}}}}"#))
        }
        // An older one knows only this.
        "/base/api/traces/00000000000000000000002f01234567" => (200, format!(r#"{{"batches":{BATCH}}}"#)),
        _ => (404, "404 page not found".into()),
    }
}

#[tokio::test]
async fn tempo_is_searched_and_each_trace_fetched() {
    let (address, asked) = server(tempo).await;
    let query = Query::parse(&format!("tempo://{address}/base/orders")).unwrap();
    let batch = fetch(&query, &Headers::default(), NOW_NS).await.unwrap();
    assert_eq!((batch.spans.len(), batch.report.losses.len()), (2, 0));
    assert_eq!(batch.spans.row(0).fields().trace_id, 0x2f01_2345_6789_abcd_ef01_2345_6789_abcd);
    assert_eq!(batch.spans.row(1).service(), "orders");
    assert!(asked.lock().unwrap().iter().all(|head| !head.contains("admin")), "only ids go into a path");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    for (answer, told) in [
        ((|_| (401, "no".into())) as Answer, "TRIMTAB_FROM_HEADERS"),
        (|_| (404, "404 page not found".into()), "query port"),
        (|_| (500, r#"{"errors":[{"code":500,"msg":"storage is down"}]}"#.into()), "storage is down"),
        (|_| (200, "<html>".into()), "neither JSON"),
        (|_| (200, r#"{"data":[{"spans":[{"spanID":"#.into()), "EOF"),
    ] {
        let (address, _) = server(answer).await;
        let query = Query::parse(&format!("jaeger://{address}/orders")).unwrap();
        let error = format!("{:#}", fetch(&query, &Headers::default(), NOW_NS).await.unwrap_err());
        assert!(error.contains(told), "{error}");
    }
    let nobody = Query::parse("jaeger://127.0.0.1:1/orders").unwrap();
    assert!(fetch(&nobody, &Headers::default(), NOW_NS).await.is_err());
}
