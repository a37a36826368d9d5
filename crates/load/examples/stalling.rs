//! A server for measuring the generator: `stalling ADDRESS [STALL_MS EVERY_MS]` answers 232 bytes to every request, and
//! stands still as a whole for the last part of every period.

use anyhow::{Context, Result};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BODY_BYTES: usize = 232;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let address = words.first().context("usage: stalling ADDRESS [STALL_MS EVERY_MS]")?.clone();
    let ms = |at: usize| words.get(at).map(|text| text.parse().map(Duration::from_millis)).transpose();
    let (stall, every) = (ms(1)?.unwrap_or_default(), ms(2)?.unwrap_or(Duration::from_secs(10)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(&address).await.with_context(|| format!("listening on {address}"))?;
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n{}", "x".repeat(BODY_BYTES));
        let (answer, started) = (std::sync::Arc::<[u8]>::from(answer.as_bytes()), Instant::now());
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            while connections.try_join_next().is_some() {}
            let answer = answer.clone();
            connections.spawn(async move {
                // A client that goes away ends its connection: nothing to tell.
                drop(serve(stream, &answer, started, stall, every).await);
            });
        }
    })
}

async fn serve(
    mut stream: TcpStream,
    answer: &[u8],
    started: Instant,
    stall: Duration,
    every: Duration,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(4096);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let into = Duration::from_nanos((started.elapsed().as_nanos() % every.as_nanos()) as u64);
        if into + stall > every {
            tokio::time::sleep(every - into).await;
        }
        stream.write_all(answer).await?;
    }
}
