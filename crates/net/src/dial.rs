//! From a route to an open stream: the first address that answers, a proxy's tunnel, TLS.
//! Addresses race with a head start (RFC 8305), so that a dead one among several costs little. No HTTP but CONNECT.

use crate::stream::{Socket, Stream, Transport};
use crate::{ConnectError, Target};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How long an address may try alone before the next one joins in (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// More addresses of one name than this are not tried.
const MAX_ADDRESSES: usize = 16;
/// A proxy's answer to CONNECT that is longer is refused.
const MAX_TUNNEL_HEAD_BYTES: usize = 16 << 10;

/// The way to a target.
#[derive(Clone, Copy, Debug)]
pub enum Route<'a> {
    /// To one of these addresses, in this order.
    Direct(&'a [SocketAddr]),
    /// Whatever the target's host is.
    #[cfg(unix)]
    Unix(&'a Path),
    /// To one of the proxy's addresses; `https` targets through a tunnel (CONNECT), others as they are.
    Proxy { proxy: &'a Target, addresses: &'a [SocketAddr] },
}

/// A step of dialling, told when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialStep {
    Connect,
    Tls,
}

pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let failed = |why: String| ConnectError::Dns(format!("no address for `{host}`: {why}"));
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| failed(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() { Err(failed("the name has none".to_owned())) } else { Ok(addresses) }
}

/// Opens a stream to `target`, with TLS where its URL says https.
pub(crate) async fn dial(
    (tls, server_name): (&Arc<ClientConfig>, Option<&ServerName<'static>>),
    target: &Target,
    route: Route<'_>,
    mut told: impl FnMut(DialStep),
) -> Result<Stream, ConnectError> {
    told(DialStep::Connect);
    let socket = match route {
        Route::Direct(addresses) => Socket::Tcp(first_to_answer(addresses).await?),
        #[cfg(unix)]
        Route::Unix(path) => Socket::Unix(open_unix(path).await?),
        Route::Proxy { proxy, addresses } => {
            let mut tcp = first_to_answer(addresses).await?;
            if target.is_https() {
                open_tunnel(&mut tcp, proxy, target).await?;
            }
            Socket::Tcp(tcp)
        }
    };
    if !target.is_https() {
        return Ok(Stream::new(Transport::Plain(socket)));
    }
    told(DialStep::Tls);
    let name = match server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(target.host().to_owned())
            .map_err(|_| ConnectError::Tls(format!("`{}` is no name for TLS", target.host())))?,
    };
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, socket)
        .await
        .map_err(|error| ConnectError::Tls(format!("TLS with {}: {error}", target.authority())))?;
    Ok(Stream::new(Transport::Tls(Box::new(stream))))
}

#[cfg(unix)]
async fn open_unix(path: &Path) -> Result<tokio::net::UnixStream, ConnectError> {
    tokio::net::UnixStream::connect(path)
        .await
        .map_err(|error| ConnectError::Connect(format!("connecting to {}: {error}", path.display())))
}

/// RFC 9110 section 9.3.6.
async fn open_tunnel(tcp: &mut TcpStream, proxy: &Target, target: &Target) -> Result<(), ConnectError> {
    let host = target.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let place = format!("{host}:{}", target.port());
    let mut head = format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n").into_bytes();
    if let Some(value) = proxy.authorization() {
        head.extend_from_slice(b"proxy-authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let failed = |why: &str| ConnectError::Connect(format!("proxy {}: {why}", proxy.display()));
    tcp.write_all(&head).await.map_err(|error| failed(&error.to_string()))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_TUNNEL_HEAD_BYTES {
            return Err(failed("its answer to CONNECT has no end"));
        }
        // Byte by byte, so that nothing of the tunnel's own bytes is taken.
        match tcp.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) => return Err(failed(&error.to_string())),
        }
    }
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    match status {
        Some([b'2', _, _]) => Ok(()),
        Some(status) => Err(failed(&format!("status {} to CONNECT", String::from_utf8_lossy(status)))),
        None => Err(failed("its answer to CONNECT is no HTTP")),
    }
}

/// Starts with the first address and adds the next whenever one failed or its head start is over.
async fn first_to_answer(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    if let [only] = addresses {
        return open(*only).await.map_err(ConnectError::Connect);
    }
    let mut waiting = addresses.iter();
    let mut tries = JoinSet::new();
    let mut failure = "no address to connect to".to_owned();
    loop {
        match waiting.next() {
            Some(address) => drop(tries.spawn(open(*address))),
            None if tries.is_empty() => return Err(ConnectError::Connect(failure)),
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(tried) = tries.join_next() => match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(why)) => failure = why,
                Err(error) => failure = error.to_string(),
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
}

async fn open(address: SocketAddr) -> Result<TcpStream, String> {
    let stream =
        TcpStream::connect(address).await.map_err(|error| format!("connecting to {address}: {error}"))?;
    stream.set_nodelay(true).map_err(|error| format!("connecting to {address}: {error}"))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_live_one() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let live = listener.local_addr().unwrap();
        let dead = {
            let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            gone.local_addr().unwrap()
        };
        let stream = first_to_answer(&[dead, live]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(stream.nodelay().unwrap());
        let error = first_to_answer(&[dead, dead]).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Connect(text) if text.contains("refused")), "{error}");
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_a_dns_error() {
        let error = resolve("no-such-host.invalid", 80).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Dns(text) if text.contains("no-such-host.invalid")),
            "{error}"
        );
    }

    /// A proxy that answers CONNECT with `answer`; what dialling an https target through it says.
    async fn through(answer: &'static str) -> (String, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let proxy = Target::parse(&format!("http://ann:hush@{address}")).unwrap();
        let target = Target::parse("https://[::1]:8443/x").unwrap();
        let tls = crate::TlsOptions::default().client_config().unwrap();
        let route = Route::Proxy { proxy: &proxy, addresses: &[address] };
        let error = dial((&tls, None), &target, route, |_| {}).await.err().unwrap().to_string();
        (asked.await.unwrap(), error)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_host_and_port_with_the_proxys_password() {
        let (asked, error) = through("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        assert!(asked.starts_with("CONNECT [::1]:8443 HTTP/1.1\r\nhost: [::1]:8443\r\n"), "{asked}");
        assert!(asked.contains("proxy-authorization: Basic "), "{asked}");
        assert!(error.contains("status 407 to CONNECT") && !error.contains("hush"), "{error}");
        let (_, error) = through("SSH-2.0\r\n\r\n").await;
        assert!(error.contains("no HTTP"), "{error}");
        let (_, error) = through("HTTP/1.1 200 OK\r\n\r\nthis is no TLS").await;
        assert!(error.contains("TLS with"), "{error}");
    }
}
