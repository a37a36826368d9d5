//! The HTTP client on real sockets: what servers send, also hostile ones, and the ways to them.

use crate::server::{Act, Number, Server};
use load::http::{Client, Family, Pool, Proxies, Request, Response, Settings, Step};
use model::ErrorClass;
use net::HttpVersion;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::LocalSet;

fn get(url: &str) -> Request {
    let mut request = Request::new(http::Method::GET, url).unwrap();
    request.timeout = Duration::from_secs(5);
    request.max_body_bytes = 10_000;
    request
}

fn pool(settings: Settings) -> Pool {
    Client::new(settings).unwrap().pool()
}

/// What one request to a scripted server becomes.
async fn answer(act: Act, timeout: Duration) -> Response {
    let server = Server::start(move |_: Number| act).await;
    let mut request = get(&format!("http://{}/x", server.address));
    request.timeout = timeout;
    LocalSet::new().run_until(async { pool(Settings::default()).send(&request).await }).await
}

#[track_caller]
fn failed(response: &Response, class: ErrorClass, step: Step, text: &str) {
    let failure = response.failure.as_ref().unwrap();
    assert_eq!((failure.class, failure.step), (class, step), "{failure:?}");
    assert!(failure.text.contains(text), "{failure:?}");
}

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_response_comes_with_all_its_parts_and_phases() {
    let raw = "HTTP/1.1 201 Created Here\r\nSet-Cookie: a\r\nset-cookie: b\r\ncontent-length: 2\r\n\r\nhi";
    let response = answer(Act::Raw(raw), LONG).await;
    assert_eq!(response.failure, None);
    assert_eq!(
        (response.status, response.reason.as_str(), &response.body[..]),
        (201, "Created Here", &b"hi"[..])
    );
    let names: Vec<&str> = response.headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Set-Cookie", "set-cookie", "content-length"]);
    assert_eq!((response.body_bytes, response.received_bytes), (2, raw.len() as u64));
    assert!(response.sent_bytes > 20 && response.remote.is_some() && !response.reused);
    assert_eq!(response.phases.total(), response.done - response.began);
    assert!(response.phases.connect > Duration::ZERO && response.phases.wait > Duration::ZERO);
}

#[tokio::test]
async fn hostile_servers_are_bounded_and_classed() {
    let body = "HTTP/1.1 200 X\r\ncontent-length: 99999999999999\r\n\r\n";
    failed(
        &answer(Act::Raw(body), LONG).await,
        ErrorClass::Protocol,
        Step::Receive,
        "longer than the 10000 bytes",
    );
    let chunks = "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n";
    failed(&answer(Act::Raw(chunks), LONG).await, ErrorClass::Protocol, Step::Receive, "chunk");
    failed(
        &answer(Act::Raw("HTTP/1.1 101 Switching\r\n\r\n"), LONG).await,
        ErrorClass::Protocol,
        Step::Receive,
        "switched",
    );
    failed(&answer(Act::Raw("hello\r\n"), LONG).await, ErrorClass::Protocol, Step::Receive, "no HTTP");
    failed(&answer(Act::Close, LONG).await, ErrorClass::Closed, Step::Receive, "before a response came");
    failed(&answer(Act::Never, SHORT).await, ErrorClass::Timeout, Step::Wait, "waiting for the first byte");
}

/// Sends a piece again and again until the client goes away.
async fn endless(
    head: &'static str,
    piece: &'static str,
    pause: Duration,
) -> (TcpListenerAddress, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        while stream.write_all(piece.as_bytes()).await.is_ok() {
            drop(tokio::time::timeout(pause, std::future::pending::<()>()).await);
        }
    });
    (address, task)
}

type TcpListenerAddress = std::net::SocketAddr;

async fn send_to(address: TcpListenerAddress, timeout: Duration) -> Response {
    let mut request = get(&format!("http://{address}/"));
    request.timeout = timeout;
    LocalSet::new().run_until(async { pool(Settings::default()).send(&request).await }).await
}

#[tokio::test]
async fn what_never_ends_is_cut_off() {
    let (address, _task) = endless("HTTP/1.1 200 X\r\n\r\n", "more and more ", Duration::ZERO).await;
    failed(&send_to(address, LONG).await, ErrorClass::Protocol, Step::Receive, "longer than the 10000 bytes");
    let (address, _task) = endless("HTTP/1.1 200 X\r\n", "x-more: headers\r\n", Duration::ZERO).await;
    failed(&send_to(address, LONG).await, ErrorClass::Protocol, Step::Receive, "more than 128 headers");
    let (address, _task) = endless("HTTP/1.1 200 X\r\nx-slow: ", "l", Duration::from_millis(10)).await;
    failed(&send_to(address, SHORT).await, ErrorClass::Timeout, Step::Receive, "still receiving");
    let (address, _task) = endless("", "HTTP/1.1 100 Continue\r\n\r\n", Duration::ZERO).await;
    failed(&send_to(address, LONG).await, ErrorClass::Protocol, Step::Receive, "informational");
}

#[tokio::test]
async fn a_pool_keeps_connections_unless_told_otherwise() {
    let server = Server::start(|_| Act::Answer(200, "ok")).await;
    let request = get(&format!("http://{}/", server.address));
    for (keep_alive, connections) in [(true, 1), (false, 3)] {
        let pool = pool(Settings { keep_alive, ..Settings::default() });
        LocalSet::new()
            .run_until(async {
                for n in 0..3 {
                    let response = pool.send(&request).await;
                    assert_eq!((response.failure, response.reused), (None, keep_alive && n > 0));
                }
            })
            .await;
        assert_eq!(pool.client().opened(), connections);
    }
}

#[tokio::test]
async fn h2_streams_share_as_many_connections_as_told() {
    let server = Server::start_http2().await;
    let request = get(&format!("http://{}/", server.address));
    for (h2_streams, h2_connections, expected) in [(100, 10, 1), (1, 3, 3)] {
        let settings =
            Settings { version: HttpVersion::Http2, h2_streams, h2_connections, ..Settings::default() };
        let pool = pool(settings);
        LocalSet::new()
            .run_until(async {
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..20 {
                    let (pool, request) = (pool.clone(), request.clone());
                    tasks.spawn_local(async move { pool.send(&request).await });
                }
                for response in tasks.join_all().await {
                    assert_eq!((response.status, response.failure), (200, None));
                    assert_eq!((response.version.name(), &response.body[..]), ("HTTP/2.0", &b"hello"[..]));
                }
            })
            .await;
        assert_eq!(pool.client().opened(), expected);
    }
}

/// Answers one connection and hands back what was asked.
async fn asked<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S) -> String {
    let mut asked = vec![0; 4096];
    let read = stream.read(&mut asked).await.unwrap();
    stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.unwrap();
    String::from_utf8_lossy(&asked[..read]).into_owned()
}

#[tokio::test]
async fn a_unix_socket_is_reached_whatever_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move { asked(listener.accept().await.unwrap().0).await });
    let pool = pool(Settings { unix_socket: Some(path), ..Settings::default() });
    let response = LocalSet::new().run_until(pool.send(&get("http://example.invalid/a"))).await;
    assert_eq!((response.status, response.failure, response.remote), (204, None, None));
    assert!(server.await.unwrap().starts_with("GET /a HTTP/1.1\r\nhost: example.invalid\r\n"));
}

#[tokio::test]
async fn a_proxy_gets_the_whole_url_and_its_own_password() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = format!("http://ann:hush@{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { asked(listener.accept().await.unwrap().0).await });
    let variables = |name: &str| match name {
        "http_proxy" => Some(proxy.clone()),
        "NO_PROXY" => Some("localhost, .internal".to_owned()),
        _ => None,
    };
    let proxies = Proxies::from_variables(variables).unwrap();
    let pool = pool(Settings { proxies, ..Settings::default() });
    let response = LocalSet::new().run_until(pool.send(&get("http://example.invalid:81/a?b"))).await;
    assert_eq!((response.status, response.failure), (204, None));
    let asked = server.await.unwrap();
    assert!(asked.starts_with("GET http://example.invalid:81/a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("proxy-authorization: Basic "), "{asked}");
    let direct = LocalSet::new().run_until(pool.send(&get("http://a.internal:1/"))).await;
    assert_eq!(direct.failure.unwrap().class, ErrorClass::Dns, "exceptions do not go through the proxy");
}

#[tokio::test]
async fn a_body_is_decompressed_within_its_bound() {
    let zipped =
        [31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 72, 205, 201, 201, 7, 0, 134, 166, 16, 54, 5, 0, 0, 0];
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
            let answer = format!(
                "HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                zipped.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&zipped).await.unwrap();
        }
    });
    let pool = pool(Settings::default());
    let mut request = get(&format!("http://{address}/"));
    let response = LocalSet::new().run_until(pool.send(&request)).await;
    assert_eq!((&response.body[..], response.body_bytes), (&b"hello"[..], 25));
    request.decompress = false;
    let response = LocalSet::new().run_until(pool.send(&request)).await;
    assert_eq!(&response.body[..], zipped);
}

#[tokio::test]
async fn a_name_may_be_given_several_addresses_of_either_kind() {
    let (four, six) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("[::1]:0").await.unwrap());
    let given = vec![four.local_addr().unwrap(), six.local_addr().unwrap()];
    let settings = |family| Settings {
        hosts: [("shop.test".to_owned(), given.clone())].into(),
        keep_alive: false,
        family,
        ..Settings::default()
    };
    let servers = [four, six].map(|listener| {
        tokio::spawn(async move {
            loop {
                asked(listener.accept().await.unwrap().0).await;
            }
        })
    });
    let request = get("http://shop.test/");
    let remotes = async |family, count: usize| {
        let pool = pool(settings(family));
        let mut sixes = 0;
        for _ in 0..count {
            let response = pool.send(&request).await;
            assert_eq!((response.status, response.failure), (204, None));
            sixes += usize::from(response.remote.unwrap().is_ipv6());
        }
        sixes
    };
    LocalSet::new()
        .run_until(async {
            assert_eq!(remotes(Family::Any, 10).await, 5, "each address gets its connections");
            assert_eq!(remotes(Family::V4, 3).await, 0);
            assert_eq!(remotes(Family::V6, 3).await, 3);
        })
        .await;
    servers.iter().for_each(tokio::task::JoinHandle::abort);
    let one = Settings {
        hosts: [("shop.test".to_owned(), vec!["127.0.0.1:1".parse().unwrap()])].into(),
        family: Family::V6,
        ..Settings::default()
    };
    let response = LocalSet::new().run_until(pool(one).send(&request)).await;
    assert_eq!(response.failure.unwrap().text, "no IPv6 address for `shop.test`");
}
