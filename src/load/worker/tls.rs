//! TLS on the client's side. rustls keeps the state and does no I/O; what it reads and writes are our buffers.
//!
//! rustls allocates as it goes: a run over TLS is the one whose hot path does.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::load::target::Target;

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
            builder.with_root_certificates(roots())
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Tls { config: Arc::new(config), name }))
    }
}

/// The system's authorities; Mozilla's where the system has none, as in a small container.
fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// The TLS of one connection.
pub(super) struct Session(ClientConnection);

impl Session {
    /// # Errors
    /// What rustls says.
    pub(super) fn new(tls: &Tls) -> Result<Session, String> {
        let mut connection =
            ClientConnection::new(tls.config.clone(), tls.name.clone()).map_err(|error| error.to_string())?;
        // Requests are bounded by the corpus; cut off they would be useless.
        connection.set_buffer_limit(None);
        Ok(Session(connection))
    }

    /// Whether no request can be sent yet.
    pub(super) fn is_shaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes plain bytes, which [`Session::collect`] brings out encrypted.
    pub(super) fn write(&mut self, plain: &[u8]) {
        // The buffer has no limit, so this cannot fail.
        let _ = self.0.writer().write_all(plain);
    }

    /// Appends what is to be sent.
    pub(super) fn collect(&mut self, out: &mut Vec<u8>) {
        while self.0.wants_write() {
            if self.0.write_tls(out).is_err() {
                return;
            }
        }
    }

    /// Takes bytes that came, and appends what they mean.
    ///
    /// # Errors
    /// What rustls says; an alert for the peer may be [collected](Session::collect).
    pub(super) fn read(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        while !bytes.is_empty() {
            let taken = self.0.read_tls(&mut bytes).map_err(|error| error.to_string())?;
            let state = self.0.process_new_packets().map_err(|error| error.to_string())?;
            let (start, count) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(start + count, 0);
            match self.0.reader().read_exact(&mut plain[start..]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => plain.truncate(start),
                Err(error) => return Err(error.to_string()),
            }
            if taken == 0 {
                // After the peer's closing notice nothing counts.
                return Ok(());
            }
        }
        Ok(())
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
