//! One-shot HTTP calls, each on its own connection: for switches, controls and scrapes, not for load.
//! No redirects, no decompression; the body is bounded.

use crate::{Connector, HttpVersion, Sender, Target, TlsOptions};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use std::time::Duration;

/// A response with a larger body is an error.
pub const MAX_BODY_BYTES: usize = 64 << 20;

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Response {
    /// 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What to send, where, and how long it may take in all.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub method: Method,
    pub url: &'a str,
    /// Name and value.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Bytes,
    pub timeout: Duration,
}

/// `GET url`.
///
/// # Errors
/// As [`call`].
pub async fn get(url: &str, headers: &[(&str, &str)], timeout: Duration) -> Result<Response> {
    let connector = Connector::new(&TlsOptions::default(), HttpVersion::Auto)?;
    call(&connector, &Call { method: Method::GET, url, headers, body: Bytes::new(), timeout }).await
}

/// `PUT url` with a body.
///
/// # Errors
/// As [`call`].
pub async fn put(url: &str, headers: &[(&str, &str)], body: Bytes, timeout: Duration) -> Result<Response> {
    let connector = Connector::new(&TlsOptions::default(), HttpVersion::Auto)?;
    call(&connector, &Call { method: Method::PUT, url, headers, body, timeout }).await
}

/// Connects, sends, reads the whole response, closes. Any status is a response.
///
/// # Errors
/// Bad URL or header, no connection, timeout, broken response, body above [`MAX_BODY_BYTES`];
/// method and URL are named, without secrets.
pub async fn call(connector: &Connector, call: &Call<'_>) -> Result<Response> {
    let target = Target::parse(call.url)?;
    let what = || format!("{} {}", call.method, target.display());
    match tokio::time::timeout(call.timeout, exchange(connector, &target, call)).await {
        Ok(done) => done.with_context(what),
        Err(_) => bail!("{}: no complete response within {:?}", what(), call.timeout),
    }
}

async fn exchange(connector: &Connector, target: &Target, call: &Call<'_>) -> Result<Response> {
    let mut connection = connector.connect(target).await?;
    let request = request(&connection.sender, target, call)?;
    let received = async {
        let response = connection.sender.send(request).await.map_err(|(error, _)| error)?;
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    };
    tokio::pin!(received);
    tokio::select! {
        done = &mut received => done,
        // The connection may end as soon as all was read: then the response is on its way.
        () = connection.driver => received.await,
    }
}

fn request(sender: &Sender, target: &Target, call: &Call<'_>) -> Result<Request<Full<Bytes>>> {
    let path = target.path_and_query();
    let uri = match sender {
        Sender::Http1(_) => path,
        Sender::Http2(_) => format!("{}{path}", target.origin()),
    };
    let mut request =
        Request::builder().method(call.method.clone()).uri(uri).body(Full::new(call.body.clone()))?;
    let headers = request.headers_mut();
    if matches!(sender, Sender::Http1(_)) {
        headers.insert(HOST, HeaderValue::from_str(target.authority())?);
    }
    if let Some(authorization) = target.authorization() {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    for (name, value) in call.headers {
        let name: HeaderName = name.parse().with_context(|| format!("bad header name `{name}`"))?;
        let value = HeaderValue::from_str(value).with_context(|| format!("bad value of header `{name}`"))?;
        headers.insert(name, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SECOND: Duration = Duration::from_secs(1);

    /// Answers one connection with `reply` and hands back what was asked.
    async fn server(reply: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://ann:hush@{}/switches?token=hush", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (url, asked)
    }

    #[tokio::test]
    async fn a_call_returns_status_headers_and_body() {
        let (url, asked) = server("HTTP/1.1 409 Conflict\r\nx-a: b\r\ncontent-length: 2\r\n\r\nno").await;
        let response = put(&url, &[("x-c", "d")], Bytes::from_static(b"body"), SECOND).await.unwrap();
        assert_eq!((response.status, response.is_success(), &response.body[..]), (409, false, &b"no"[..]));
        assert_eq!(response.headers["x-a"], "b");
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("PUT /switches?token=hush HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: Basic ") && asked.contains("x-c: d\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn errors_name_the_call_and_no_secret() {
        let (url, _asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
        let error = format!("{:#}", get(&url, &[], SECOND).await.unwrap_err());
        assert!(error.contains("GET http://127.0.0.1:") && !error.contains("hush"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_never_answers_meets_the_timeout() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let error = get(&url, &[], Duration::from_millis(50)).await.unwrap_err();
        assert!(format!("{error:#}").contains("no complete response within 50ms"), "{error:#}");
    }
}
