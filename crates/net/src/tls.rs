//! TLS settings of a client: Mozilla's roots, a user's own CA beside them, or no check at all; who the client is.

use anyhow::{Context, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use std::sync::Arc;

/// Which HTTP to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// By TLS ALPN, h2 preferred; HTTP/1.1 without TLS.
    #[default]
    Auto,
    Http1,
    /// By ALPN with TLS; by prior knowledge without.
    Http2,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// A client certificate with its key, both PEM text; a file may hold both.
#[derive(Clone, Default)]
pub struct Identity {
    pub certificates_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
}

/// A key is not shown.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// Whom to trust, and who the client is.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificates of further authorities, PEM text.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Accept any certificate: for test systems only.
    pub insecure: bool,
    /// Shown to servers that ask for one.
    pub identity: Option<Identity>,
    /// The oldest and the newest version to offer; both from TLS 1.2 to 1.3 unless told.
    pub oldest: Option<TlsVersion>,
    pub newest: Option<TlsVersion>,
    /// The name to ask for and to check the certificate against, in place of the URL's host.
    pub server_name: Option<String>,
}

impl TlsOptions {
    /// A configuration for protocols that agree on nothing by ALPN, such as Postgres.
    ///
    /// # Errors
    /// The extra CA holds no certificate, or one that cannot be read.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>> {
        with_alpn(self, Vec::new())
    }
}

/// # Errors
/// The extra CA holds no certificate, or one that cannot be read.
pub(crate) fn client_config(options: &TlsOptions, version: HttpVersion) -> Result<Arc<ClientConfig>> {
    let alpn = match version {
        HttpVersion::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
    };
    with_alpn(options, alpn)
}

fn with_alpn(options: &TlsOptions, alpn: Vec<Vec<u8>>) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let versions = versions(options)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .context("TLS cannot be set up")?;
    let builder = if options.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny { provider }))
    } else {
        builder.with_root_certificates(roots(options)?)
    };
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = read_identity(identity)?;
            builder.with_client_auth_cert(chain, key).context("the client certificate cannot be used")?
        }
    };
    config.alpn_protocols = alpn;
    Ok(Arc::new(config))
}

/// # Errors
/// It is neither a name nor an address.
pub(crate) fn server_name(options: &TlsOptions) -> Result<Option<ServerName<'static>>> {
    let parse = |name: &String| {
        ServerName::try_from(name.clone())
            .map_err(|_| anyhow::anyhow!("the server name `{name}` is no name for TLS"))
    };
    options.server_name.as_ref().map(parse).transpose()
}

fn versions(options: &TlsOptions) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let oldest = options.oldest.unwrap_or(TlsVersion::Tls12);
    let newest = options.newest.unwrap_or(TlsVersion::Tls13);
    let all = [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)];
    let versions: Vec<_> =
        all.into_iter().filter(|(v, _)| (oldest..=newest).contains(v)).map(|(_, version)| version).collect();
    if versions.is_empty() {
        bail!("the oldest version of TLS is above the newest");
    }
    Ok(versions)
}

fn read_identity(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(&identity.certificates_pem)
        .collect::<Result<Vec<_>, _>>()
        .context("the client certificate is no valid PEM text")?;
    if chain.is_empty() {
        bail!("the client certificate is missing: expected PEM text with BEGIN CERTIFICATE");
    }
    // The parser's error might quote the key.
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).ok();
    Ok((chain, key.context("the client's key is missing: expected PEM text with BEGIN PRIVATE KEY")?))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore> {
    let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = &options.extra_ca_pem {
        let before = store.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.context("the extra CA is no valid PEM text")?;
            store.add(certificate).context("a certificate of the extra CA cannot be used")?;
        }
        if store.len() == before {
            bail!("the extra CA holds no certificate: expected PEM text with BEGIN CERTIFICATE");
        }
    }
    Ok(store)
}

/// Trusts every certificate, but still demands that the handshake is signed with its key.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extra_ca_without_a_certificate_is_refused() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let options = TlsOptions { extra_ca_pem: Some(pem.as_bytes().to_vec()), ..TlsOptions::default() };
            let error = client_config(&options, HttpVersion::Auto).unwrap_err();
            assert!(format!("{error:#}").contains("extra CA"), "{error:#}");
        }
    }

    #[test]
    fn a_client_certificate_needs_both_parts_and_versions_an_order() {
        let refused = |options: TlsOptions| format!("{:#}", options.client_config().unwrap_err());
        let certificate = include_bytes!("../testdata/server.pem").to_vec();
        let identity = |certificates_pem, key_pem| TlsOptions {
            identity: Some(Identity { certificates_pem, key_pem }),
            ..TlsOptions::default()
        };
        assert!(refused(identity(vec![], vec![])).contains("certificate is missing"));
        assert!(refused(identity(certificate.clone(), vec![])).contains("key is missing"));
        let key = include_bytes!("../testdata/server.key").to_vec();
        identity(certificate, key).client_config().unwrap();
        let (oldest, newest) = (Some(TlsVersion::Tls13), Some(TlsVersion::Tls12));
        assert!(refused(TlsOptions { oldest, newest, ..TlsOptions::default() }).contains("oldest"));
    }

    #[test]
    fn the_version_decides_what_is_offered() {
        let offered =
            |version| client_config(&TlsOptions::default(), version).unwrap().alpn_protocols.clone();
        assert_eq!(offered(HttpVersion::Auto), [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(offered(HttpVersion::Http2), [b"h2".to_vec()]);
    }
}
