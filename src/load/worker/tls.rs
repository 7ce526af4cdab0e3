//! TLS on the client's side. rustls keeps the state and does no I/O; what it reads and writes are our buffers.
//!
//! rustls allocates as it goes: a run over TLS is the one whose hot path does.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::load::target::Target;
use crate::tls::{Session, system_roots};

/// What all connections to a target share.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// None for a target without TLS.
    ///
    /// # Errors
    /// A sentence: the name cannot be in a certificate.
    pub(super) fn new(target: &Target) -> Result<Option<Tls>, String> {
        let Some(name) = &target.tls else { return Ok(None) };
        let name = ServerName::try_from(name.clone()).map_err(|_| {
            format!("{target}: `{name}` is neither a name nor an address that a certificate can hold")
        })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("{target}: TLS cannot be set up: {error}"))?;
        let builder = if target.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            builder.with_root_certificates(system_roots())
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Tls { config: Arc::new(config), name }))
    }

    /// For one connection. Requests are bounded by the corpus; cut off they would be useless.
    ///
    /// # Errors
    /// What rustls says.
    pub(super) fn session(&self) -> Result<Session, String> {
        let connection = ClientConnection::new(self.config.clone(), self.name.clone());
        connection.map(Session::new).map_err(|error| error.to_string())
    }
}

/// `--insecure`: takes whatever the server shows, but still checks that it holds the key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
