//! A small service on a free port, with counts of what it was asked.

#![expect(clippy::unwrap_used, reason = "a test whose service cannot start has failed")]

mod websocket;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Requests by method and path.
pub(crate) type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) counts: Counts,
    // Ends the server with the test.
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    /// Over TLS where it is given.
    pub(crate) fn with(tls: Option<TlsAcceptor>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let counts = Counts::default();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let counted = Arc::clone(&counts);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counts, tls) = (Arc::clone(&counted), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, counts).await,
                        Some(tls) => serve(tls.accept(stream).await.unwrap(), counts).await,
                    }
                });
            }
        });
        Self { url, counts, _runtime: runtime }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.lock().unwrap().values().sum()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, counts: Counts) {
    let service = service_fn(move |request| answer(request, Arc::clone(&counts)));
    // A client that goes away is no failure of a test.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

type Answer = Response<Full<Bytes>>;

fn plain(status: u16, kind: &str, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .header("x-test-header", "one")
        .body(Full::new(body.into()))
        .unwrap()
}

async fn answer(mut request: Request<Incoming>, counts: Counts) -> Result<Answer, Infallible> {
    if request.headers().contains_key("sec-websocket-key") && request.uri().path().starts_with("/ws") {
        return Ok(websocket::upgrade(&mut request));
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path().to_owned();
    *counts.lock().unwrap().entry(format!("{} {path}", head.method)).or_default() += 1;
    let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let (first, second) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let redirect =
        |to: &str| Response::builder().status(302).header("location", to).body(Full::default()).unwrap();
    Ok(match first {
        "status" => plain(second.parse().unwrap_or(500), "text/plain", "status"),
        "json" => plain(200, "application/json", r#"{"user":{"name":"Ann","tags":["a","b"]},"count":2}"#),
        "echo" => plain(200, "application/json", echo(&head, &body)),
        "redirect" => match second.parse::<u32>().unwrap_or(0) {
            0 => plain(200, "text/plain", "arrived"),
            n => redirect(&format!("/redirect/{}", n - 1)),
        },
        "circle" => redirect("/circle"),
        "cookies" => plain(200, "text/plain", header("cookie")),
        "set-cookie" => Response::builder()
            .header("set-cookie", format!("{second}=yes; Path=/; HttpOnly"))
            .body(Full::from("set"))
            .unwrap(),
        "delay" => {
            // The service's declared latency.
            let due = tokio::time::Instant::now() + Duration::from_millis(second.parse().unwrap_or(0));
            tokio::time::interval_at(due, Duration::from_secs(1)).tick().await;
            plain(200, "text/plain", "late")
        }
        "basic" if header("authorization") == "Basic YW5uOnNlY3JldA==" => plain(200, "text/plain", "in"),
        "basic" => plain(401, "text/plain", "out"),
        "digest" if header("authorization").starts_with("Digest ") => plain(200, "text/plain", "in"),
        "digest" => Response::builder()
            .status(401)
            .header("www-authenticate", "Digest realm=\"r\", nonce=\"n\", qop=\"auth\"")
            .body(Full::default())
            .unwrap(),
        "page" => plain(200, "text/html", PAGE),
        "bytes" => plain(200, "application/octet-stream", vec![0xff_u8, 0x00, 0x80]),
        "" | "ok" => plain(200, "text/plain", "fine"),
        _ => plain(404, "text/plain", "nothing here"),
    })
}

const PAGE: &str = r#"<!doctype html><title>Shop &amp; more</title>
<div id="top" class="a b" data-items="3" data-who='{"name":"Ann"}'><h1>Orders</h1><ul><li>one<li class=x>two<li>three</ul></div>
<form id="order" action="/echo?kept=no" method="post"><input name="sku" value="a-1"><input type="hidden" name="token" value="t 1">
<input type="checkbox" name="gift" checked="checked"><input type="checkbox" name="not"><select name="size"><option value="s">S
<option value="m" selected>M</select><textarea name="note">hi</textarea><input type="submit" name="go" value="Buy"></form>
<form id="search" action="echo"><input name="q"></form><a href="/json?a=1&amp;b=2">a link</a>"#;

fn echo(head: &http::request::Parts, body: &[u8]) -> String {
    let text = |text: &str| -> String {
        text.chars()
            .map(|c| match c {
                '"' | '\\' => format!("\\{c}"),
                c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
                c => c.to_string(),
            })
            .collect()
    };
    let headers: Vec<String> = head
        .headers
        .iter()
        .map(|(name, value)| format!("\"{name}\":\"{}\"", text(value.to_str().unwrap_or(""))))
        .collect();
    format!(
        "{{\"method\":\"{}\",\"query\":\"{}\",\"headers\":{{{}}},\"body\":\"{}\",\"length\":{}}}",
        head.method,
        head.uri.query().unwrap_or(""),
        headers.join(","),
        text(&String::from_utf8_lossy(body)),
        body.len()
    )
}
