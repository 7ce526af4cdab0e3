//! TLS on the client's side, as the load tester and the Kafka sink both need it. rustls keeps the state and does no
//! I/O; what it reads and writes are our buffers, so it fits rings of our own.
//!
//! Whom to trust, under which name, and what an error means to people is the caller's. Enter at [`Session`].
use std::io::{self, Read, Write};

use rustls::{ClientConnection, RootCertStore};

/// The system's authorities; Mozilla's where the system has none, as in a small container.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// What the peer did wrong.
#[derive(Debug)]
pub enum TlsError {
    /// It went on behind its own end, or sent more than rustls holds.
    Stream(io::Error),
    /// It broke the protocol, or its certificate is not to be trusted.
    Protocol(rustls::Error),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TlsError::Stream(error) => error.fmt(f),
            TlsError::Protocol(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsError {}

/// The TLS of one connection.
#[derive(Debug)]
pub struct Session(ClientConnection);

impl Session {
    /// Over a connection that is to begin. Its buffer has no limit: the caller gives no more at once than it wants
    /// buffered.
    pub fn new(mut connection: ClientConnection) -> Session {
        connection.set_buffer_limit(None);
        Session(connection)
    }

    /// Whether nothing can be sent yet.
    pub fn is_shaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes plain bytes, which [`Session::collect`] brings out encrypted.
    pub fn write(&mut self, plain: &[u8]) {
        // The buffer has no limit, so this cannot fail.
        let _ = self.0.writer().write_all(plain);
    }

    /// Appends what is to be sent.
    pub fn collect(&mut self, out: &mut Vec<u8>) {
        while self.0.wants_write() {
            if self.0.write_tls(out).is_err() {
                return;
            }
        }
    }

    /// Takes bytes that came, and appends what they mean.
    ///
    /// # Errors
    /// What is wrong; an alert for the peer may be [collected](Session::collect).
    pub fn read(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        while !bytes.is_empty() {
            let taken = self.0.read_tls(&mut bytes).map_err(TlsError::Stream)?;
            let state = self.0.process_new_packets().map_err(TlsError::Protocol)?;
            let (start, count) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(start + count, 0);
            match self.0.reader().read_exact(&mut plain[start..]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => plain.truncate(start),
                Err(error) => return Err(TlsError::Stream(error)),
            }
            if taken == 0 {
                // After the peer's closing notice nothing counts.
                return Ok(());
            }
        }
        Ok(())
    }
}
