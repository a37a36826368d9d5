//! Tells a client that is refused why, in the server's words: an error instead of a closed connection, which its driver
//! shows. Reads no more than the client's first messages, and waits for no client that says nothing.

use crate::session::{GSSAPI, TLS};
use crate::socket::Socket;
use std::io;
use std::time::Duration;

/// `too_many_connections`
pub(crate) const TOO_MANY: &str = "53300";
/// `sqlclient_unable_to_establish_sqlconnection`
pub(crate) const NO_SERVER: &str = "08001";

/// For the client to say who it is, and to close.
const PATIENCE: Duration = Duration::from_secs(2);
/// A first message is no longer, with the server as with us.
const MAX_FIRST_BYTES: usize = 10_000;
/// It may ask for TLS and for GSSAPI before.
const MAX_FIRST_MESSAGES: usize = 3;

/// Answers the first message with an error and waits until the client has closed, or for a moment.
pub(crate) async fn tell(client: &mut Socket, code: &str, why: &str) {
    // A client that goes away meanwhile needs no answer.
    drop(tokio::time::timeout(PATIENCE, answer(client, code, why)).await);
}

async fn answer(client: &mut Socket, code: &str, why: &str) -> io::Result<()> {
    for _ in 0..MAX_FIRST_MESSAGES {
        let mut length = [0; 4];
        client.read_exact(&mut length).await?;
        let length = u32::from_be_bytes(length) as usize;
        if !(8..=MAX_FIRST_BYTES).contains(&length) {
            return Ok(());
        }
        let mut body = vec![0; length - 4];
        client.read_exact(&mut body).await?;
        let asked = body.first_chunk::<4>().map_or(0, |code| u32::from_be_bytes(*code));
        if asked == TLS || asked == GSSAPI {
            client.write_all(b"N").await?;
            continue;
        }
        client.write_all(&error(code, why)).await?;
        // Closed at once, what was sent could be lost.
        return client.finish().await;
    }
    Ok(())
}

fn error(code: &str, why: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{why}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    [&b"E"[..], &length.to_be_bytes(), fields.as_bytes()].concat()
}
