//! The HTTP/1.1 upgrade that begins a WebSocket (RFC 6455 section 4).

use crate::crypto::Hash;
use crate::http::{Call, cookie_field};
use crate::user::User;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Section 1.3.
const ACCEPT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A longer head is refused.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// So much is kept of the body of a refusal.
const MAX_BODY_BYTES: usize = 16 << 10;
const MAX_FIELDS: usize = 100;

/// What the server answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// Of a refusal.
    pub(crate) body: String,
    /// The protocol that was chosen.
    pub(crate) protocol: String,
    /// Why there is no WebSocket.
    pub(crate) refused: Option<String>,
    /// Bytes that came after the head.
    pub(super) rest: Vec<u8>,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
}

/// Asks for a WebSocket.
///
/// # Errors
/// The connection broke, or what came is no HTTP.
pub(super) async fn shake(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    user: &User,
    call: &Call,
    protocols: &[String],
) -> Result<Answer, String> {
    let key: [u8; 16] = user.random.borrow_mut().random();
    let key = BASE64_STANDARD.encode(key);
    let head = request(user, call, protocols, &key);
    stream.write_all(&head).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut answer = loop {
        if bytes.len() > MAX_HEAD_BYTES {
            return Err(format!("the answer's head is longer than {MAX_HEAD_BYTES} bytes"));
        }
        if stream.read_buf(&mut bytes).await.map_err(|error| error.to_string())? == 0 {
            return Err("the server closed the connection before it answered".to_owned());
        }
        if let Some(answer) = read(&bytes)? {
            break answer;
        }
    };
    answer.sent_bytes = head.len() as u64;
    let accept = BASE64_STANDARD.encode(Hash::Sha1.digest(format!("{key}{ACCEPT}").as_bytes()));
    let field = |name: &str| answer.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let is_accepted = field("sec-websocket-accept").is_some_and(|(_, value)| *value == accept);
    let protocol = field("sec-websocket-protocol").map(|(_, value)| value.clone());
    if answer.status == 101 && is_accepted {
        answer.protocol = protocol.unwrap_or_default();
    } else {
        // As k6 says it.
        answer.refused = Some("websocket: bad handshake".to_owned());
        refusal(stream, &mut answer).await;
    }
    answer.received_bytes = bytes.len() as u64;
    Ok(answer)
}

/// The body of a refusal, as far as it is announced and short.
async fn refusal(stream: &mut (impl AsyncRead + Unpin), answer: &mut Answer) {
    let length = answer.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.parse::<usize>().ok()).unwrap_or(0).min(MAX_BODY_BYTES);
    let mut body = std::mem::take(&mut answer.rest);
    while body.len() < length && stream.read_buf(&mut body).await.is_ok_and(|n| n > 0) {}
    body.truncate(length);
    answer.body = String::from_utf8_lossy(&body).into_owned();
}

fn request(user: &User, call: &Call, protocols: &[String], key: &str) -> Vec<u8> {
    let target = call.origin.target();
    let mut out = format!("GET {} HTTP/1.1\r\n", call.path).into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    let mut own = call.headers.clone();
    if own.get("host").is_none() {
        field("Host", target.authority().as_bytes());
    }
    field("Upgrade", b"websocket");
    field("Connection", b"Upgrade");
    field("Sec-WebSocket-Key", key.as_bytes());
    field("Sec-WebSocket-Version", b"13");
    if !protocols.is_empty() {
        field("Sec-WebSocket-Protocol", protocols.join(", ").as_bytes());
        own.remove("sec-websocket-protocol");
    }
    if own.get("user-agent").is_none() {
        field("User-Agent", user.test.setup.network.user_agent.as_bytes());
    }
    if own.get("authorization").is_none()
        && let Some(value) = target.authorization()
    {
        field("Authorization", value.as_bytes());
    }
    if let Some(value) = cookie_field(user, call).filter(|value| !value.contains(['\r', '\n'])) {
        field("Cookie", value.as_bytes());
        own.remove("cookie");
    }
    for (name, value) in own.iter() {
        field(name, value);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// `None` until the head is whole.
fn read(bytes: &[u8]) -> Result<Option<Answer>, String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the answer is no HTTP: {error}")),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(Some(Answer {
        status: response.code.unwrap_or(0),
        headers: response.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect(),
        rest: bytes[length..].to_vec(),
        ..Answer::default()
    }))
}
