//! TCP and Unix sockets as one type, read and written without waiting, so that one buffer serves all connections.

use crate::Address;
use anyhow::{Context, Result, bail};
use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, tcp, unix};

pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(crate) enum Reader<'a> {
    Tcp(tcp::ReadHalf<'a>),
    Unix(unix::ReadHalf<'a>),
}

pub(crate) enum Writer<'a> {
    Tcp(tcp::WriteHalf<'a>),
    Unix(unix::WriteHalf<'a>),
}

/// A peer that vanished without a word is noticed after this silence ...
const SILENCE: Duration = Duration::from_secs(60);
/// ... and so many questions, this far apart.
const QUESTIONS: u32 = 4;
const APART: Duration = Duration::from_secs(15);

/// Without it a client that vanished keeps its place, and a process of the server: the server's own questions are
/// answered by the tap.
fn keep_alive(stream: &TcpStream) {
    // A kernel that refuses costs a place, no more.
    let _refused = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, SILENCE))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, APART))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, QUESTIONS));
}

impl Socket {
    pub(crate) async fn connect(to: &Address) -> io::Result<Self> {
        match to {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                keep_alive(&stream);
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    pub(crate) async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.read_exact(buffer).await.map(drop),
            Self::Unix(stream) => stream.read_exact(buffer).await.map(drop),
        }
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
        }
    }

    /// Says that no more will come, and waits for the peer to say so too. What it says else is not read for long.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        let mut rest = [0; 256];
        match self {
            Self::Tcp(stream) => {
                stream.shutdown().await?;
                stream.read(&mut rest).await.map(drop)
            }
            Self::Unix(stream) => {
                stream.shutdown().await?;
                stream.read(&mut rest).await.map(drop)
            }
        }
    }

    pub(crate) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Self::Tcp(stream) => {
                let (reader, writer) = stream.split();
                (Reader::Tcp(reader), Writer::Tcp(writer))
            }
            Self::Unix(stream) => {
                let (reader, writer) = stream.split();
                (Reader::Unix(reader), Writer::Unix(writer))
            }
        }
    }
}

impl Reader<'_> {
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(reader) => reader.readable().await,
            Self::Unix(reader) => reader.readable().await,
        }
    }

    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(reader) => reader.try_read(buffer),
            Self::Unix(reader) => reader.try_read(buffer),
        }
    }
}

impl Writer<'_> {
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(writer) => writer.writable().await,
            Self::Unix(writer) => writer.writable().await,
        }
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(writer) => writer.try_write(bytes),
            Self::Unix(writer) => writer.try_write(bytes),
        }
    }

    /// No more bytes will come; the other direction stays.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(writer) => writer.shutdown().await,
            Self::Unix(writer) => writer.shutdown().await,
        }
    }
}

/// Where clients connect. A Unix socket's file goes with it.
pub struct Listener {
    sockets: Sockets,
    address: Address,
}

/// Not bound to a runtime: each lane takes its own copy.
enum Sockets {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

/// A listener's copy on one runtime.
pub(crate) enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// # Errors
    /// Names the address, and what to do.
    pub async fn bind(address: &Address) -> Result<Self> {
        match address {
            Address::Tcp { host, port } => {
                let name = host.as_str();
                let found: Vec<SocketAddr> = tokio::net::lookup_host((name, *port))
                    .await
                    .with_context(|| format!("cannot listen on {address}: no address of the name {name}"))?
                    .collect();
                let Some(first) = found.first() else { bail!("no address of the name {name}") };
                let listener = net::listen(*first).await?;
                let local = listener.local_addr().context("a listening socket without an address")?;
                let address = Address::Tcp { host: local.ip().to_string(), port: local.port() };
                Ok(Self { sockets: Sockets::Tcp(listener.into_std()?), address })
            }
            Address::Unix(path) => {
                let listener = UnixListener::bind(path).with_context(|| {
                    format!(
                        "cannot listen on {address}; remove it if a former run left it, or choose another"
                    )
                })?;
                // The server may take whoever comes for the tap's user.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                    .with_context(|| format!("could not keep {address} to its owner"))?;
                Ok(Self {
                    sockets: Sockets::Unix(listener.into_std()?, path.clone()),
                    address: address.clone(),
                })
            }
        }
    }

    /// With the port that port 0 became.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether other machines can reach it.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        match &self.sockets {
            Sockets::Tcp(listener) => listener.local_addr().is_ok_and(|local| !local.ip().is_loopback()),
            Sockets::Unix(..) => false,
        }
    }

    /// A copy for the runtime that this is called on.
    pub(crate) fn accepting(&self) -> io::Result<Accepting> {
        Ok(match &self.sockets {
            Sockets::Tcp(listener) => Accepting::Tcp(TcpListener::from_std(listener.try_clone()?)?),
            Sockets::Unix(listener, _) => Accepting::Unix(UnixListener::from_std(listener.try_clone()?)?),
        })
    }
}

impl Accepting {
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A client that is gone already is found out later.
                drop(stream.set_nodelay(true));
                keep_alive(&stream);
                Ok(Socket::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Sockets::Unix(_, path) = &self.sockets {
            // Somebody may have removed it.
            drop(std::fs::remove_file(path));
        }
    }
}
