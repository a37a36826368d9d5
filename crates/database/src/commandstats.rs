//! Redis' own count of its commands (`INFO commandstats`): calls and time of each since the server's start. A look is a
//! connection of its own that asks this and nothing else; nothing is reset.

use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(2);
/// A longer answer is no list of commands.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// What a look itself causes.
const OWN: [&str; 3] = ["info", "auth", "hello"];

/// Of one command since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandCount {
    pub calls: u64,
    /// Within the server, without waiting for its turn.
    pub microseconds: u64,
}

/// The commands of a Redis server by name, in lower case: `get`, `mget`, `config|get`.
///
/// # Errors
/// The URL is none (`redis://[user:password@]host[:port]`), nobody answers, or the role may not ask; never with the password.
pub async fn commandstats(url: &str) -> Result<BTreeMap<String, CommandCount>> {
    let address = Address::parse(url)?;
    let shown = format!("redis://{}", address.place);
    let looked = tokio::time::timeout(PATIENCE, ask(&address)).await;
    let text = looked
        .map_err(|_| anyhow!("no answer within {} s", PATIENCE.as_secs()))
        .and_then(|answer| answer)
        .with_context(|| format!("could not read the commands of {shown}"))?;
    Ok(parse(&text))
}

struct Address {
    /// `host:port`.
    place: String,
    /// User (may be empty) and password.
    login: Option<(String, String)>,
}

impl Address {
    fn parse(url: &str) -> Result<Self> {
        let rest = match url.split_once("://") {
            Some(("redis" | "valkey", rest)) => rest,
            Some(("rediss" | "valkeys", _)) => {
                bail!("[cache] url: TLS is not known yet; give a redis:// address of the server itself")
            }
            _ => bail!("[cache] url is no redis:// URL"),
        };
        let rest = rest.split(['/', '?']).next().unwrap_or_default();
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(l, p)| (Some(l), p));
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or(("", login));
            (decoded(user), decoded(password))
        });
        let named = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let place = if place.is_empty() { "127.0.0.1" } else { place };
        Ok(Self { place: if named { place.to_owned() } else { format!("{place}:6379") }, login })
    }
}

/// `%40` and the like.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn ask(address: &Address) -> Result<String> {
    let mut stream = TcpStream::connect(&address.place).await?;
    if let Some((user, password)) = &address.login {
        let words: Vec<&str> = ["AUTH", user, password].into_iter().filter(|word| !word.is_empty()).collect();
        stream.write_all(&command(&words)).await?;
        reply(&mut stream).await?;
    }
    stream.write_all(&command(&["INFO", "commandstats"])).await?;
    reply(&mut stream).await
}

/// In the protocol's form (RESP 2).
fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// A simple or bulk string; an error as one.
async fn reply(stream: &mut TcpStream) -> Result<String> {
    let (mut seen, mut chunk) = (Vec::new(), [0_u8; 8192]);
    loop {
        if let Some(done) = complete(&seen)? {
            return Ok(done);
        }
        let length = stream.read(&mut chunk).await?;
        if length == 0 || seen.len() + length > MAX_ANSWER_BYTES {
            bail!("the server ended the connection, or speaks another protocol");
        }
        seen.extend_from_slice(&chunk[..length]);
    }
}

fn complete(seen: &[u8]) -> Result<Option<String>> {
    let Some(end) = seen.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let line = String::from_utf8_lossy(&seen[..end]).into_owned();
    match line.split_at_checked(1) {
        Some(("+", text)) => Ok(Some(text.to_owned())),
        Some(("-", text)) => bail!("the server says: {text}"),
        Some(("$", length)) => {
            let length: usize = length.parse().context("no length of an answer")?;
            if length > MAX_ANSWER_BYTES {
                bail!("an answer of {length} bytes");
            }
            let body = &seen[end + 2..];
            Ok((body.len() >= length).then(|| String::from_utf8_lossy(&body[..length]).into_owned()))
        }
        _ => bail!("the server speaks another protocol"),
    }
}

/// `cmdstat_get:calls=21,usec=175,usec_per_call=8.33,...`
fn parse(text: &str) -> BTreeMap<String, CommandCount> {
    let one = |line: &str| {
        let (name, figures) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
        let figure = |key: &str| {
            let mut pairs = figures.split(',').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key)?.1.parse::<u64>().ok()
        };
        let count = CommandCount { calls: figure("calls")?, microseconds: figure("usec")? };
        (!OWN.contains(&name)).then(|| (name.to_ascii_lowercase(), count))
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{Address, CommandCount, complete, parse};

    #[test]
    fn commands_are_read_and_our_own_are_not() {
        let text = "# Commandstats\r\ncmdstat_get:calls=21,usec=175,usec_per_call=8.33,rejected_calls=0\r\n\
                    cmdstat_config|get:calls=2,usec=9\r\ncmdstat_info:calls=1,usec=1\r\ncmdstat_bad:calls=x\r\n";
        let all = parse(text);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["config|get", "get"]);
        assert_eq!(all["get"], CommandCount { calls: 21, microseconds: 175 });
    }

    #[test]
    fn addresses_have_a_port_and_keep_their_password_to_themselves() {
        let parsed = Address::parse("redis://me:p%40ss@cache.example/2").unwrap();
        assert_eq!(parsed.place, "cache.example:6379");
        assert_eq!(parsed.login, Some(("me".to_owned(), "p@ss".to_owned())));
        assert_eq!(Address::parse("redis://:secret@127.0.0.1:7000").unwrap().login.unwrap().1, "secret");
        for bad in ["rediss://:secret@h", "http://:secret@h", "secret"] {
            let said = Address::parse(bad).err().unwrap().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn answers_are_whole_or_awaited() {
        assert_eq!(complete(b"$5\r\nab").unwrap(), None);
        assert_eq!(complete(b"$2\r\nab\r\n").unwrap().as_deref(), Some("ab"));
        assert!(complete(b"-NOAUTH Authentication required.\r\n").is_err());
        assert!(complete(b"HTTP/1.1 400\r\n").is_err());
        assert!(complete(b"$99999999999\r\n").is_err());
    }
}
