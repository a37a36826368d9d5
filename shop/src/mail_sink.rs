//! A mail relay that accepts everything and keeps nothing but a count, with a declared service time.
//! It speaks as much SMTP as a client needs to deliver a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Declared: what a relay takes to store a message before it says yes.
pub(crate) const SERVICE_TIME: Duration = Duration::from_millis(60);
/// Further clients wait in the listen queue.
const MOST_CLIENTS: usize = 256;
const LINE_BYTES: u64 = 8 * 1024;

/// Accepts until it is dropped.
pub(crate) async fn serve(listener: TcpListener, accepted: Arc<AtomicU64>) {
    let mut clients = JoinSet::new();
    loop {
        if clients.len() >= MOST_CLIENTS {
            clients.join_next().await;
        }
        tokio::select! {
            connection = listener.accept() => {
                if let Ok((stream, _)) = connection {
                    let accepted = Arc::clone(&accepted);
                    // A client that breaks off is of no interest to a sink.
                    clients.spawn(async move { drop(converse(stream, &accepted).await) });
                }
            }
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, accepted: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink\r\n").await?;
    loop {
        let line = read_line(&mut stream).await?;
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let answer: &[u8] = match verb.as_str() {
            "" => return Ok(()),
            "EHLO" | "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP" => b"250 ok\r\n",
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                loop {
                    match read_line(&mut stream).await?.as_str() {
                        ".\r\n" => break,
                        "" => return Ok(()),
                        _ => {}
                    }
                }
                tokio::time::sleep(SERVICE_TIME).await;
                accepted.fetch_add(1, Ordering::Relaxed);
                b"250 kept\r\n"
            }
            "QUIT" => return stream.write_all(b"221 bye\r\n").await,
            _ => b"500 unknown\r\n",
        };
        stream.write_all(answer).await?;
    }
}

/// Empty at the end of the stream.
async fn read_line(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES).read_until(b'\n', &mut line).await?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}
