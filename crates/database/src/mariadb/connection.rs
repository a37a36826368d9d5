//! One session, read-only and with time limits: greeting, encryption, login, questions and answers in turn.

use super::address::{Address, Encryption, Place};
use super::auth::{Answer, answer};
use super::wire::{Io, Reader, Wire};
use crate::tls::{Tls, Verify};
use anyhow::{Context, Result, anyhow, bail};
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// For an answer, beyond the server's own limit of five seconds for a statement.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of one answer.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// utf8mb4_general_ci: every server knows it.
const CHARSET: u8 = 45;

// Capabilities.
const LONG_PASSWORD: u32 = 1;
const LONG_FLAG: u32 = 4;
const WITH_DATABASE: u32 = 8;
const PROTOCOL_41: u32 = 0x200;
const ENCRYPTION: u32 = 0x800;
const TRANSACTIONS: u32 = 0x2000;
const SECURE: u32 = 0x8000;
const PLUGINS: u32 = 0x8_0000;

/// A row; NULL is `None`.
pub(super) type Row = Vec<Option<String>>;

/// What a server said no with.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: u16,
    pub(super) message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (error {})", self.message, self.code)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// Access denied, in one of its forms.
    pub(super) fn is_of_rights(&self) -> bool {
        [1044, 1045, 1142, 1143, 1227, 1370].contains(&self.code)
    }
}

/// A session. Whatever it asks only looks.
pub struct MariaDb {
    wire: Wire,
    shown: String,
    /// Nobody but the server hears it: a Unix socket, or encrypted with a server that proved who it is.
    private: bool,
    broken: bool,
    pub(super) database: String,
    /// `10.11.19-MariaDB`.
    pub(super) version: String,
    pub(super) user: String,
}

impl std::fmt::Debug for MariaDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MariaDb({})", self.shown)
    }
}

impl MariaDb {
    /// Whether a URL names such a server.
    #[must_use]
    pub fn is_meant(url: &str) -> bool {
        let bare = url.strip_prefix("jdbc:").unwrap_or(url);
        let scheme = bare.split_once("://").map_or("", |(scheme, _)| scheme);
        matches!(scheme.split('+').next(), Some("mysql" | "mariadb" | "mysql2"))
    }

    /// Connects to `mysql://user:password@host:port/database`; `mariadb://`, `?socket=/path`, `?ssl-mode=` as the
    /// command line client knows it.
    ///
    /// # Errors
    /// The URL cannot be read, nobody answers, or the server refuses; never with the password.
    pub async fn connect(url: &str) -> Result<Self> {
        let address = Address::parse(url)?;
        let shown = address.shown();
        let opened = timeout(CONNECT_PATIENCE, Self::open(&address)).await;
        let opened = opened.map_err(|_| anyhow!("no answer within {} s", CONNECT_PATIENCE.as_secs()));
        let mut session =
            opened.and_then(|opened| opened).with_context(|| format!("could not connect to {shown}"))?;
        session.prepare().await.with_context(|| format!("could not ask {shown}"))?;
        Ok(session)
    }

    async fn open(address: &Address) -> Result<Self> {
        let io: Box<dyn Io> = match &address.place {
            Place::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Place::Socket(path) => Box::new(UnixStream::connect(path).await?),
        };
        let private = matches!(address.place, Place::Socket(_));
        let mut session = Self {
            wire: Wire { io, number: 0 },
            shown: address.shown(),
            private,
            broken: false,
            database: address.database.clone(),
            version: String::new(),
            user: address.user.clone(),
        };
        session.log_in(address).await?;
        Ok(session)
    }

    async fn log_in(&mut self, address: &Address) -> Result<()> {
        let packet = self.wire.receive().await.context("it sent no greeting of a MariaDB or MySQL server")?;
        if packet.first() == Some(&0xff) {
            return Err(refused(&packet).into());
        }
        let greeting =
            Greeting::read(&packet).context("it is no MariaDB or MySQL server: its greeting is not known")?;
        self.version.clone_from(&greeting.version);
        let mut flags = LONG_PASSWORD | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE | PLUGINS;
        if !address.database.is_empty() {
            flags |= WITH_DATABASE;
        }
        let can = greeting.capabilities & ENCRYPTION != 0;
        if !can && address.encryption == Encryption::Required {
            bail!("the server does not speak TLS, and the URL asks for it");
        }
        // A Unix socket needs none.
        if can && address.encryption != Encryption::Never && !self.private {
            flags |= ENCRYPTION;
            self.wire.send(&head(flags)).await?;
            self.encrypt(address).await?;
        }
        let known = ["mysql_native_password", "caching_sha2_password"];
        let plugin = if known.contains(&greeting.plugin.as_str()) { &greeting.plugin } else { known[0] };
        let proof = match answer(plugin, &address.password, &greeting.nonce)? {
            Answer::Bytes(bytes) => bytes,
            Answer::Clear => Vec::new(),
        };
        let mut login = head(flags);
        login.extend_from_slice(address.user.as_bytes());
        login.extend([0, proof.len() as u8]);
        login.extend_from_slice(&proof);
        if !address.database.is_empty() {
            login.extend_from_slice(address.database.as_bytes());
            login.push(0);
        }
        login.extend_from_slice(plugin.as_bytes());
        login.push(0);
        self.wire.send(&login).await?;
        self.be_believed(&address.password).await
    }

    async fn encrypt(&mut self, address: &Address) -> Result<()> {
        let pem = match &address.roots {
            Some(path) => Some(
                tokio::fs::read(path).await.with_context(|| format!("could not read {}", path.display()))?,
            ),
            None => None,
        };
        let host = match &address.place {
            Place::Tcp(host, _) => host.clone(),
            Place::Socket(_) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(host).context("the host's name cannot be judged by TLS")?;
        let connector = tokio_rustls::TlsConnector::from(Tls::new(address.verify, pem.as_deref())?.config());
        let (closed, _) = tokio::io::duplex(1);
        let plain = std::mem::replace(&mut self.wire.io, Box::new(closed));
        let hint = match address.verify {
            Verify::Nothing => "TLS failed; ?ssl-mode=DISABLED connects without it",
            _ => "the server's certificate is not trusted; ?ssl-ca=FILE names the authority that issued it",
        };
        self.wire.io = Box::new(connector.connect(name, plain).await.context(hint)?);
        self.private = address.proves_the_server();
        Ok(())
    }

    /// Answers until the server is content.
    async fn be_believed(&mut self, password: &str) -> Result<()> {
        let alone = "the server wants the password itself, and nothing proves that it is the right one: connect with ?ssl-mode=VERIFY_IDENTITY (and ?ssl-ca=FILE for an authority of your own) or by a Unix socket";
        // Plugins ask twice at the most.
        for _ in 0..8 {
            let packet = self.wire.receive().await?;
            match packet.first() {
                Some(0x00) => return Ok(()),
                Some(0xff) => return Err(refused(&packet).into()),
                Some(0xfe) => {
                    let mut reader = Reader(&packet[1..]);
                    let plugin = reader.text();
                    match answer(&plugin, password, reader.0)? {
                        Answer::Bytes(bytes) => self.wire.send(&bytes).await?,
                        Answer::Clear if self.private => {
                            self.wire.send(&[password.as_bytes(), &[0]].concat()).await?
                        }
                        Answer::Clear => bail!(alone),
                    }
                }
                // caching_sha2_password: 3 is content, 4 does not know the password yet.
                Some(0x01) if packet.get(1) == Some(&4) => {
                    if !self.private {
                        bail!(alone);
                    }
                    self.wire.send(&[password.as_bytes(), &[0]].concat()).await?;
                }
                Some(0x01) => {}
                _ => bail!("the server's answer to the login is not known"),
            }
        }
        bail!("the server asks for the password again and again")
    }

    /// Makes the session one that only looks.
    async fn prepare(&mut self) -> Result<()> {
        let limit = if self.is_mariadb() { "max_statement_time = 5" } else { "max_execution_time = 5000" };
        self.ask("SET SESSION TRANSACTION READ ONLY").await?;
        // Digests write `COUNT ( * )`.
        self.ask(&format!(
            "SET SESSION {limit}, SESSION lock_wait_timeout = 2, SESSION sql_mode = 'IGNORE_SPACE'"
        ))
        .await?;
        if self.database.is_empty() {
            let rows = self
                .ask("SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')")
                .await?;
            let names: Vec<String> = rows.into_iter().filter_map(|mut row| row.pop()?).collect();
            let [only] = &names[..] else {
                bail!(
                    "the URL names no database, and there are several or none: {}; expected mysql://.../database",
                    names.join(", ")
                );
            };
            self.ask(&format!("USE `{}`", only.replace('`', "``"))).await?;
            self.database.clone_from(only);
        }
        Ok(())
    }

    /// Whether it is MariaDB, not MySQL.
    pub(super) fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }

    /// Major and minor.
    pub(super) fn release(&self) -> (u32, u32) {
        // Replication's prefix of old.
        let version = self.version.strip_prefix("5.5.5-").unwrap_or(&self.version);
        let mut numbers = version.split(['.', '-']).map_while(|part| part.parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// The address without user and password.
    #[must_use]
    pub fn shown_url(&self) -> &str {
        &self.shown
    }

    /// Rows of one question.
    ///
    /// # Errors
    /// [`Refused`] by the server, or the connection broke.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Vec<Row>> {
        if self.broken {
            bail!("the connection to {} broke earlier", self.shown);
        }
        let answered = match timeout(PATIENCE, self.exchange(sql)).await {
            Ok(answered) => answered,
            Err(_) => Err(anyhow!("no answer within {} s", PATIENCE.as_secs())),
        };
        self.broken = answered.as_ref().is_err_and(|error| error.downcast_ref::<Refused>().is_none());
        answered
    }

    async fn exchange(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.wire.number = 0;
        self.wire.send(&[&[3], sql.as_bytes()].concat()).await?;
        let first = self.wire.receive().await?;
        let columns = match first.first() {
            Some(0x00) => return Ok(Vec::new()),
            Some(0xff) => return Err(refused(&first).into()),
            Some(0xfb) | None => bail!("the server asks for a file"),
            _ => Reader(&first).length().context("the server's answer is not known")?,
        };
        for _ in 0..=columns {
            self.wire.receive().await?;
        }
        let (mut rows, mut bytes) = (Vec::new(), 0);
        loop {
            let packet = self.wire.receive().await?;
            match packet.first() {
                Some(0xfe) if packet.len() < 9 => return Ok(rows),
                Some(0xff) => return Err(refused(&packet).into()),
                _ => {}
            }
            bytes += packet.len();
            if bytes > MAX_ANSWER_BYTES {
                bail!("the server's answer has more than {} MiB", MAX_ANSWER_BYTES >> 20);
            }
            let mut reader = Reader(&packet);
            let row: Option<Row> = (0..columns).map(|_| reader.value()).collect();
            rows.push(row.context("the server's answer is cut off")?);
        }
    }
}

/// What a server says first.
struct Greeting {
    version: String,
    nonce: Vec<u8>,
    capabilities: u32,
    plugin: String,
}

impl Greeting {
    fn read(packet: &[u8]) -> Option<Self> {
        let mut reader = Reader(packet);
        if reader.number(1)? != 10 {
            return None;
        }
        let version = reader.text();
        reader.take(4)?;
        let mut nonce = reader.take(8)?.to_vec();
        reader.take(1)?;
        let low = reader.number(2)?;
        reader.take(3)?;
        let high = reader.number(2)?;
        let length = usize::try_from(reader.number(1)?).ok()?;
        reader.take(10)?;
        let rest = reader.take(length.saturating_sub(8).max(13))?;
        nonce.extend_from_slice(&rest[..12]);
        let plugin = reader.text();
        Some(Self { version, nonce, capabilities: (low | high << 16) as u32, plugin })
    }
}

/// The first 32 bytes of a login.
fn head(flags: u32) -> Vec<u8> {
    let mut head = flags.to_le_bytes().to_vec();
    head.extend((1_u32 << 24).to_le_bytes());
    head.push(CHARSET);
    head.resize(32, 0);
    head
}

fn refused(packet: &[u8]) -> Refused {
    let mut reader = Reader(packet.get(1..).unwrap_or_default());
    let code = reader.number(2).unwrap_or(0) as u16;
    let message = String::from_utf8_lossy(reader.0).into_owned();
    let message = match message.strip_prefix('#').and_then(|rest| rest.get(5..)) {
        Some(rest) => rest.to_owned(),
        None => message,
    };
    Refused { code, message }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Wire;
    use super::{Greeting, MariaDb, refused};

    /// What a server hears that asks for the password, and what the login ends with.
    async fn asked(packet: &[u8], private: bool) -> (Option<Vec<u8>>, String) {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let mut server = Wire { io: Box::new(theirs), number: 0 };
        server.send(packet).await.unwrap();
        let mut session = MariaDb {
            wire: Wire { io: Box::new(ours), number: 0 },
            shown: String::new(),
            private,
            broken: false,
            database: String::new(),
            version: String::new(),
            user: String::new(),
        };
        let login = tokio::spawn(async move { session.be_believed("hunter2").await });
        let heard = server.receive().await.ok();
        drop(server);
        (heard, login.await.unwrap().unwrap_err().to_string())
    }

    #[tokio::test]
    async fn only_a_server_that_is_known_hears_the_password() {
        for packet in [&b"\xfemysql_clear_password\0"[..], b"\x01\x04"] {
            let (heard, said) = asked(packet, false).await;
            assert_eq!(heard, None);
            assert!(said.contains("VERIFY_IDENTITY") && !said.contains("hunter2"), "{said}");
            assert_eq!(asked(packet, true).await.0.as_deref(), Some(&b"hunter2\0"[..]));
        }
    }

    #[test]
    fn greetings_are_read_or_refused() {
        let mut packet = b"\x0a10.11.19-MariaDB\0\x01\0\0\0abcdefgh\0\xfe\xff\x2d\x02\0\xff\x81\x15".to_vec();
        packet.extend([0; 10]);
        packet.extend(b"ijklmnopqrst\0mysql_native_password\0");
        let greeting = Greeting::read(&packet).unwrap();
        assert_eq!(
            (greeting.version.as_str(), greeting.plugin.as_str()),
            ("10.11.19-MariaDB", "mysql_native_password")
        );
        assert_eq!(greeting.nonce, b"abcdefghijklmnopqrst");
        assert!(greeting.capabilities & 0x800 != 0);
        for end in 0..packet.len() - 22 {
            assert!(Greeting::read(&packet[..end]).is_none(), "{end}");
        }
        assert!(Greeting::read(b"HTTP/1.1 400 Bad Request").is_none());
    }

    #[test]
    fn errors_are_read() {
        let error = refused(b"\xff\x15\x04#28000Access denied for user 'u'");
        assert_eq!((error.code, error.message.as_str()), (1045, "Access denied for user 'u'"));
        assert!(error.is_of_rights() && refused(b"\xff").message.is_empty());
    }

    #[test]
    fn urls_are_told_apart() {
        for url in ["mysql://h/d", "mariadb://h/d", "mysql+pymysql://h/d", "jdbc:mysql://h/d", "mysql2://h/d"]
        {
            assert!(MariaDb::is_meant(url), "{url}");
        }
        assert!(!MariaDb::is_meant("postgres://mysql/d") && !MariaDb::is_meant("mysql"));
    }
}
