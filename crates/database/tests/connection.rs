//! Which connections each `sslmode` takes, against a server that only knows how to begin one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use database::Database;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../net/testdata/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../net/testdata/server.pem");
const KEY: &[u8] = include_bytes!("../../net/testdata/server.key");
/// The code in place of a protocol version by which a client asks for TLS.
const TLS_REQUEST: u32 = 80_877_103;

/// Says yes to whoever comes: authentication is done, ready for queries.
async fn welcome(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    let length = stream.read_u32().await?;
    stream.read_exact(&mut vec![0; length as usize - 4]).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    stream.flush().await
}

/// A server at `address` that knows TLS or not.
async fn serve(address: &str, tls: bool) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<Vec<_>, _>>().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(KEY).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 8];
            if stream.peek(&mut first).await.is_err() {
                continue;
            }
            let asks = first[4..] == TLS_REQUEST.to_be_bytes();
            if !asks {
                drop(welcome(&mut stream).await);
                continue;
            }
            stream.read_exact(&mut first).await.unwrap();
            stream.write_all(if tls { b"S" } else { b"N" }).await.unwrap();
            if !tls {
                drop(welcome(&mut stream).await);
            } else if let Ok(mut stream) = acceptor.accept(stream).await {
                drop(welcome(&mut stream).await);
            }
        }
    });
    port
}

/// `Ok`, or what was said.
async fn connect(host: &str, port: u16, parameters: &str) -> Result<(), String> {
    let url = format!("postgresql://me:hunter2@{host}:{port}/shop?{parameters}");
    let connected = Database::connect(&url).await.map(drop).map_err(|e| format!("{e:#}"));
    let error = connected.as_ref().err().cloned().unwrap_or_default();
    assert!(!error.contains("hunter2"), "{error}");
    connected
}

#[tokio::test]
async fn a_server_with_tls_is_judged_as_the_mode_says() {
    let port = serve("127.0.0.1", true).await;
    for parameters in ["", "sslmode=disable", "sslmode=prefer", "sslmode=require"] {
        connect("localhost", port, parameters).await.unwrap();
    }
    connect("localhost", port, &format!("sslmode=verify-full&sslrootcert={CA}")).await.unwrap();
    connect("127.0.0.1", port, &format!("sslmode=verify-full&sslrootcert={CA}")).await.unwrap();
    for mode in ["verify-ca", "verify-full"] {
        let error = connect("localhost", port, &format!("sslmode={mode}")).await.unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{error}");
    }
    let error = connect("localhost", port, "sslmode=verify-full&sslrootcert=/nowhere").await.unwrap_err();
    assert!(error.contains("could not read /nowhere"), "{error}");
}

#[tokio::test]
async fn another_name_is_refused_by_verify_full_alone() {
    // The certificate does not name this address.
    let port = serve("127.0.0.2", true).await;
    connect("127.0.0.2", port, &format!("sslmode=verify-ca&sslrootcert={CA}")).await.unwrap();
    connect("127.0.0.2", port, &format!("sslmode=require&sslrootcert={CA}")).await.unwrap();
    let error =
        connect("127.0.0.2", port, &format!("sslmode=verify-full&sslrootcert={CA}")).await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_serves_only_those_who_do_not_insist() {
    let port = serve("127.0.0.1", false).await;
    for parameters in ["", "sslmode=disable", "sslmode=prefer"] {
        connect("localhost", port, parameters).await.unwrap();
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = connect("localhost", port, &format!("sslmode={mode}")).await.unwrap_err();
        assert!(error.contains("TLS"), "{error}");
    }
}
