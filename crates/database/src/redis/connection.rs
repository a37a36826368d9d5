//! One connection to a Redis server: its address, its password, questions and answers in turn.

use super::reply::{self, MAX_BYTES, Reply};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For each question.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes read at once.
const CHUNK_BYTES: usize = 16_384;

/// A connection. Whatever it asks only looks.
pub struct Redis {
    stream: TcpStream,
    /// Bytes that came and are not read yet.
    seen: Vec<u8>,
    shown: String,
    /// Named by the URL.
    pub(super) database: Option<u32>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({})", self.shown)
    }
}

impl Redis {
    /// Connects to `redis://[user:password@]host[:port][/database]`.
    ///
    /// # Errors
    /// The URL is none, nobody answers, or the password is wrong; never with the password.
    pub async fn connect(url: &str) -> Result<Self> {
        let address = Address::parse(url)?;
        let shown = address.shown();
        let connected = timeout(PATIENCE, Self::open(&address)).await;
        connected
            .map_err(|_| anyhow!("no answer within {} s", PATIENCE.as_secs()))
            .and_then(|opened| opened)
            .with_context(|| format!("could not connect to {shown}"))
    }

    async fn open(address: &Address) -> Result<Self> {
        let stream = TcpStream::connect(&address.place).await?;
        stream.set_nodelay(true)?;
        let (shown, database) = (address.shown(), address.database);
        let mut redis = Self { stream, seen: Vec::new(), shown, database };
        if let Some((user, password)) = &address.login {
            let words: Vec<&str> =
                ["AUTH", user, password].into_iter().filter(|word| !word.is_empty()).collect();
            redis.ask(&words).await?;
        }
        if let Some(database) = address.database.filter(|n| *n > 0) {
            redis.ask(&["SELECT", &database.to_string()]).await?;
        }
        Ok(redis)
    }

    /// The address without user and password.
    #[must_use]
    pub fn shown_url(&self) -> &str {
        &self.shown
    }

    /// One question, one answer; an error of the server is one.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Reply> {
        let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut answers = self.ask_all(&[bytes]).await?;
        answers.pop_front().context("no answer")?.well()
    }

    /// The text of an `INFO` section.
    pub(super) async fn info(&mut self, section: &str) -> Result<String> {
        self.ask(&["INFO", section]).await?.text().context("INFO gave no text")
    }

    /// Several questions in one go, their answers in order. An error of the server is an answer.
    pub(super) async fn ask_all(&mut self, questions: &[Vec<&[u8]>]) -> Result<VecDeque<Reply>> {
        let mut sent = Vec::new();
        for words in questions {
            sent.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                sent.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                sent.extend_from_slice(word);
                sent.extend_from_slice(b"\r\n");
            }
        }
        let answered = timeout(PATIENCE, self.exchange(&sent, questions.len())).await;
        answered.map_err(|_| anyhow!("{} gave no answer within {} s", self.shown, PATIENCE.as_secs()))?
    }

    async fn exchange(&mut self, sent: &[u8], count: usize) -> Result<VecDeque<Reply>> {
        self.stream.write_all(sent).await?;
        let mut answers = VecDeque::new();
        let mut chunk = vec![0_u8; CHUNK_BYTES];
        while answers.len() < count {
            if let Some((reply, length)) = reply::read(&self.seen)? {
                self.seen.drain(..length);
                answers.push_back(reply);
                continue;
            }
            let length = self.stream.read(&mut chunk).await?;
            if length == 0 || self.seen.len() + length > MAX_BYTES {
                bail!("the server ended the connection, or speaks another protocol");
            }
            self.seen.extend_from_slice(&chunk[..length]);
        }
        Ok(answers)
    }
}

struct Address {
    /// `host:port`.
    place: String,
    /// User (may be empty) and password.
    login: Option<(String, String)>,
    database: Option<u32>,
}

impl Address {
    fn parse(url: &str) -> Result<Self> {
        let rest = match url.split_once("://") {
            Some(("redis" | "valkey", rest)) => rest,
            Some(("rediss" | "valkeys", _)) => {
                bail!("TLS to a Redis server is not known yet; give a redis:// address of the server itself")
            }
            _ => bail!("no redis:// URL ([cache] url, or the argument)"),
        };
        let rest = rest.split('?').next().unwrap_or_default();
        // A password may hold a slash; what follows the last `@` does not.
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(l, p)| (Some(l), p));
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or(("", login));
            (decoded(user), decoded(password))
        });
        let named = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let place = if place.is_empty() { "127.0.0.1" } else { place };
        let place = if named { place.to_owned() } else { format!("{place}:6379") };
        Ok(Self { place, login, database: path.parse().ok() })
    }

    fn shown(&self) -> String {
        let database = self.database.map(|n| format!("/{n}")).unwrap_or_default();
        format!("redis://{}{database}", self.place)
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

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_have_a_port_and_keep_their_password_to_themselves() {
        let parsed = Address::parse("redis://me:p%40s/s@cache.example/2").unwrap();
        assert_eq!((parsed.place.as_str(), parsed.database), ("cache.example:6379", Some(2)));
        assert_eq!(parsed.login, Some(("me".to_owned(), "p@s/s".to_owned())));
        assert_eq!(parsed.shown(), "redis://cache.example:6379/2");
        assert_eq!(Address::parse("redis://:secret@127.0.0.1:7000").unwrap().login.unwrap().1, "secret");
        assert_eq!(Address::parse("redis://").unwrap().place, "127.0.0.1:6379");
        for bad in ["rediss://:secret@h", "http://:secret@h", "secret"] {
            let said = Address::parse(bad).err().unwrap().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
