//! TLS against a real server on loopback: whom we trust, and which HTTP comes out of it.

#![expect(clippy::unwrap_used, reason = "a failure of the test's own parts is a failure of the test")]

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use net::{Call, Connector, HttpVersion, Identity, TlsOptions, call};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const CA: &[u8] = include_bytes!("../testdata/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../testdata/server.pem");
const CLIENT_CA: &[u8] = include_bytes!("../testdata/client-ca.pem");
const CLIENT: &[u8] = include_bytes!("../testdata/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("../testdata/client.key");
const KEY: &[u8] = include_bytes!("../testdata/server.key");

/// Whether the server asks clients for a certificate.
#[derive(Clone, Copy, PartialEq)]
enum Asks {
    Nothing,
    Certificate,
}

fn config(asks: Asks) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()];
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match asks {
        Asks::Nothing => builder.with_no_client_auth(),
        Asks::Certificate => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(CLIENT_CA).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap()
}

/// Serves one connection with what ALPN agreed on and answers with the version that the request had.
async fn server(alpn: &[&str], asks: Asks) -> String {
    let mut config = config(asks);
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}/x?y=1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not trust us ends the handshake: that is its own test's finding.
        let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let answer = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, Infallible>(Response::new(format!("{:?} {}", request.version(), request.uri().path())))
        });
        let io = TokioIo::new(stream);
        if h2 {
            drop(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, answer)
                    .await,
            );
        } else {
            drop(hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await);
        }
    });
    url
}

async fn ask(alpn: &[&str], tls: TlsOptions, version: HttpVersion) -> Result<String, String> {
    ask_at(server(alpn, Asks::Nothing).await, tls, version).await
}

async fn ask_at(url: String, tls: TlsOptions, version: HttpVersion) -> Result<String, String> {
    let connector = Connector::new(&tls, version).unwrap();
    let timeout = Duration::from_secs(5);
    let what = Call { method: Method::GET, url: &url, headers: &[], body: Bytes::new(), timeout };
    match call(&connector, &what).await {
        Ok(response) => Ok(String::from_utf8_lossy(&response.body).into_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn our_ca() -> TlsOptions {
    TlsOptions { extra_ca_pem: Some(CA.to_vec()), ..TlsOptions::default() }
}

#[tokio::test]
async fn alpn_decides_between_the_versions_that_are_allowed() {
    let both = ["h2", "http/1.1"];
    assert_eq!(ask(&both, our_ca(), HttpVersion::Auto).await.unwrap(), "HTTP/2.0 /x");
    assert_eq!(ask(&both, our_ca(), HttpVersion::Http1).await.unwrap(), "HTTP/1.1 /x");
    assert_eq!(ask(&["http/1.1"], our_ca(), HttpVersion::Auto).await.unwrap(), "HTTP/1.1 /x");
    assert_eq!(ask(&[], our_ca(), HttpVersion::Auto).await.unwrap(), "HTTP/1.1 /x");
    assert!(ask(&[], our_ca(), HttpVersion::Http2).await.unwrap_err().contains("does not offer h2"));
}

#[tokio::test]
async fn an_unknown_authority_is_refused_unless_told_otherwise() {
    let error = ask(&[], TlsOptions::default(), HttpVersion::Auto).await.unwrap_err();
    assert!(error.contains("TLS with 127.0.0.1:") && error.contains("UnknownIssuer"), "{error}");
    let insecure = TlsOptions { insecure: true, ..TlsOptions::default() };
    assert_eq!(ask(&[], insecure, HttpVersion::Auto).await.unwrap(), "HTTP/1.1 /x");
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_it_is_asked_for_one() {
    let url = server(&[], Asks::Certificate).await;
    let error = ask_at(url, our_ca(), HttpVersion::Auto).await.unwrap_err();
    assert!(error.contains("127.0.0.1"), "{error}");
    let identity = Identity { certificates_pem: CLIENT.to_vec(), key_pem: CLIENT_KEY.to_vec() };
    let known = TlsOptions { identity: Some(identity), ..our_ca() };
    let url = server(&[], Asks::Certificate).await;
    assert_eq!(ask_at(url, known, HttpVersion::Auto).await.unwrap(), "HTTP/1.1 /x");
}

#[tokio::test]
async fn the_server_name_is_what_the_certificate_is_checked_against() {
    let named = |name: &str| TlsOptions { server_name: Some(name.to_owned()), ..our_ca() };
    assert_eq!(ask(&[], named("localhost"), HttpVersion::Auto).await.unwrap(), "HTTP/1.1 /x");
    let error = ask(&[], named("shop.internal"), HttpVersion::Auto).await.unwrap_err();
    assert!(error.contains("NotValidForName") || error.contains("not valid for name"), "{error}");
    assert!(Connector::new(&named("a b"), HttpVersion::Auto).is_err());
}
