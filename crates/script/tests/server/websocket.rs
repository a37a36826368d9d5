//! A WebSocket that echoes, and does what some texts ask of it: `close`, `ping`, `drop`, `headers`.

use super::Answer;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Answers the handshake and serves the connection on a task of its own.
pub(super) fn upgrade(request: &mut Request<Incoming>) -> Answer {
    let field = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or("").to_owned()
    };
    let key = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", field("sec-websocket-key"));
    let accept = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    let protocol = field("sec-websocket-protocol").split(',').next().unwrap_or("").trim().to_owned();
    let headers = format!("{}|{}|{protocol}", field("x-a"), field("cookie"));
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(stream) = upgraded.await {
            // A client that goes away is no failure of a test.
            let _ended = serve(TokioIo::new(stream), &headers).await;
        }
    });
    let mut response = Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", BASE64_STANDARD.encode(accept));
    if !protocol.is_empty() {
        response = response.header("sec-websocket-protocol", protocol);
    }
    response.body(Full::<Bytes>::default()).unwrap()
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let length = match stream.read_u8().await? & 0x7f {
        126 => usize::from(stream.read_u16().await?),
        127 => usize::try_from(stream.read_u64().await?).unwrap_or(0),
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok((first & 0x0f, payload))
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), code: u8, payload: &[u8]) -> io::Result<()> {
    let mut head = vec![0x80 | code];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => head.push(length.to_be_bytes()[1]),
        Ok(length) => {
            head.push(126);
            head.extend(length.to_be_bytes());
        }
        Err(_) => {
            head.push(127);
            head.extend((payload.len() as u64).to_be_bytes());
        }
    }
    stream.write_all(&head).await?;
    stream.write_all(payload).await?;
    stream.flush().await
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, headers: &str) -> io::Result<()> {
    loop {
        let (code, payload) = read(&mut stream).await?;
        match (code, &payload[..]) {
            (1, b"close") => {
                let reason = [&4001_u16.to_be_bytes()[..], b"bye"].concat();
                write(&mut stream, 8, &reason).await?;
            }
            (1, b"drop") => return Ok(()),
            (1, b"ping") => write(&mut stream, 9, b"from the server").await?,
            (1, b"headers") => write(&mut stream, 1, headers.as_bytes()).await?,
            (8, _) => {
                write(&mut stream, 8, &payload).await?;
                return Ok(());
            }
            (9, _) => write(&mut stream, 10, &payload).await?,
            (10, b"from the server") => write(&mut stream, 1, b"ponged").await?,
            (10, _) => {}
            (code, payload) => write(&mut stream, code, payload).await?,
        }
    }
}
