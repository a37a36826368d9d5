//! The sender: every body once, over two connections, the next as soon as the last was answered. It decides nothing
//! about who receives.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

const CONNECTIONS: usize = 2;
/// A receiver that is full is asked again after this long, so often at most for one body.
const PAUSE: Duration = Duration::from_millis(20);
const MAX_RETRIES: u64 = 1000;

/// Sends all bodies; returns how many had to be sent again as the receiver was full.
pub(crate) async fn send(bodies: &[Bytes], address: &str) -> Result<u64> {
    let half = bodies.len().div_ceil(CONNECTIONS).max(1);
    let mut senders = tokio::task::JoinSet::new();
    for part in bodies.chunks(half) {
        senders.spawn(send_part(part.to_vec(), address.to_owned()));
    }
    let mut retries = 0;
    while let Some(sent) = senders.join_next().await {
        retries += sent.context("a sender broke down")??;
    }
    Ok(retries)
}

async fn send_part(bodies: Vec<Bytes>, address: String) -> Result<u64> {
    let mut sender = connect(&address).await?;
    let mut retries = 0;
    for body in bodies {
        let mut tries = 0;
        while !accepts(&mut sender, &address, &body).await? {
            tries += 1;
            ensure!(tries <= MAX_RETRIES, "the receiver at {address} stayed full");
            tokio::time::sleep(PAUSE).await;
            // A receiver that refuses a body unread ends the connection with it.
            sender = connect(&address).await?;
        }
        retries += tries;
    }
    Ok(retries)
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream =
        TcpStream::connect(address).await.with_context(|| format!("could not connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when its sender is dropped; how it ends shows in the answers.
    tokio::spawn(connection);
    Ok(sender)
}

/// Whether a body was taken; `false` if the receiver is full.
async fn accepts(sender: &mut SendRequest<Full<Bytes>>, address: &str, body: &Bytes) -> Result<bool> {
    let request = Request::post("/v1/traces")
        .header("host", address)
        .header("content-type", "application/x-protobuf")
        .body(Full::new(body.clone()))?;
    sender.ready().await.with_context(|| format!("{address} closed the connection"))?;
    let response = sender.send_request(request).await.context("a body was not answered")?;
    let status = response.status();
    match status {
        StatusCode::OK => {
            response.into_body().collect().await.context("an answer broke off")?;
            Ok(true)
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(false),
        _ => bail!("a body was answered with {status}"),
    }
}
