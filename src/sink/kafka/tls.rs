//! TLS to brokers. rustls keeps the state and does no I/O; what it reads and writes are our buffers.
//!
//! Records are copied twice more on the way (into rustls, and encrypted out of it), and rustls allocates as it
//! goes: a sink over TLS is the one whose hot path does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::handshake::Failure;
use crate::core::kafka::producer::LinkFailure;
use crate::tls::{Session, TlsError, system_roots};

/// What a broker has to show and what we show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates (PEM) of the authorities that are trusted; the system's if none is given, or Mozilla's where
    /// the system has none.
    pub ca: Option<PathBuf>,
    /// Our certificate with its chain, and its key (PEM), for brokers that want one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that every broker's certificate must have instead of the one it was dialed by.
    pub server_name: Option<String>,
}

/// What all connections share.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn load(settings: &TlsSettings) -> Result<Tls, String> {
        let roots = match &settings.ca {
            None => system_roots(),
            Some(path) => trusted(path)?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(roots);
        let config = match &settings.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let secret = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("{}: no private key in PEM: {error}", key.display()))?;
                builder.with_client_auth_cert(certificates(chain)?, secret).map_err(|error| {
                    format!("{} and {} do not belong together: {error}", chain.display(), key.display())
                })?
            }
        };
        let server_name = settings.server_name.as_deref().map(name).transpose()?;
        Ok(Tls { config: Arc::new(config), server_name })
    }

    /// To the broker that is called `host`.
    pub(super) fn session(&self, host: &str) -> Result<Session, Failure> {
        let fails = |text| Failure::new(LinkFailure::Certificate, format!("cannot be asked for TLS: {text}"));
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name(host.trim_start_matches('[').trim_end_matches(']')).map_err(fails)?,
        };
        let connection = ClientConnection::new(self.config.clone(), name);
        connection.map(Session::new).map_err(|error| fails(error.to_string()))
    }
}

impl Tls {
    /// To the host of that name, which is no broker.
    ///
    /// # Errors
    /// Why that cannot be asked for TLS, in words.
    pub(crate) fn connect(&self, host: &str) -> Result<Session, String> {
        self.session(host).map_err(|failure| failure.text.to_string())
    }
}

fn name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{name:?} is neither a name nor an address that a certificate can hold"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{}: no certificate in PEM", path.display())),
        Err(error) => Err(format!("{}: no certificates in PEM: {error}", path.display())),
    }
}

fn trusted(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Failure {
        match error {
            TlsError::Stream(error) => broken(&error.to_string()),
            TlsError::Protocol(error) => explain(&error),
        }
    }
}

fn broken(text: &str) -> Failure {
    Failure::new(LinkFailure::Protocol, format!("breaks TLS: {text}"))
}

fn explain(error: &rustls::Error) -> Failure {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    match error {
        // Another authority of the same name shows as a bad signature.
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => Failure::new(
            LinkFailure::Certificate,
            "has a certificate of an authority that is not trusted; give it in kafka.tls_ca",
        ),
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => Failure::new(
            LinkFailure::Certificate,
            format!("has a certificate for another name: {error}; check kafka.tls_server_name"),
        ),
        Error::InvalidCertificate(_) => {
            Failure::new(LinkFailure::Certificate, format!("has a certificate that is not valid: {error}"))
        }
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::AccessDenied,
        ) => Failure::new(
            LinkFailure::Certificate,
            format!("does not take our certificate: {error}; check kafka.tls_cert and kafka.tls_key"),
        ),
        Error::AlertReceived(_) => Failure::new(LinkFailure::Certificate, format!("refuses TLS: {error}")),
        Error::InvalidMessage(_) => {
            Failure::new(LinkFailure::Protocol, "does not speak TLS on that port; check kafka.tls and --sink")
        }
        _ => broken(&error.to_string()),
    }
}

/// What it means that the broker closes the connection during the TLS handshake.
pub(super) fn closed() -> Failure {
    Failure::new(
        LinkFailure::Protocol,
        "closed the connection during the TLS handshake: does that port speak TLS? check kafka.tls",
    )
}

#[cfg(test)]
#[path = "tls_tests.rs"]
pub(super) mod tests;
