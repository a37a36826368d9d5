//! TLS settings of a client: Mozilla's roots, a user's own CA beside them, or no check at all.

use anyhow::{Context, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
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

/// Whom to trust.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificates of further authorities, PEM text.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Accept any certificate: for test systems only.
    pub insecure: bool,
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
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?;
    let mut config = if options.insecure {
        let verifier = Arc::new(AcceptAny { provider });
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(options)?).with_no_client_auth()
    };
    config.alpn_protocols = alpn;
    Ok(Arc::new(config))
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
            let options = TlsOptions { extra_ca_pem: Some(pem.as_bytes().to_vec()), insecure: false };
            let error = client_config(&options, HttpVersion::Auto).unwrap_err();
            assert!(format!("{error:#}").contains("extra CA"), "{error:#}");
        }
    }

    #[test]
    fn the_version_decides_what_is_offered() {
        let offered =
            |version| client_config(&TlsOptions::default(), version).unwrap().alpn_protocols.clone();
        assert_eq!(offered(HttpVersion::Auto), [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(offered(HttpVersion::Http2), [b"h2".to_vec()]);
    }
}
