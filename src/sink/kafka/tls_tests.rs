//! Both ends of TLS in memory, with certificates made here.
use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};
use std::io::{Read, Write};

/// An authority, and what it has signed: files for us, a configuration for the broker.
pub(in crate::sink::kafka) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    pub(in crate::sink::kafka) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = std::env::temp_dir().join(format!("ringmill-kafka-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ca.pem"), issuer.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join("client.pem"), client.pem()).unwrap();
        std::fs::write(dir.join("client.key"), key.serialize_pem()).unwrap();
        Authority { issuer, dir }
    }

    pub(in crate::sink::kafka) fn settings(&self) -> TlsSettings {
        TlsSettings { ca: Some(self.dir.join("ca.pem")), ..TlsSettings::default() }
    }

    fn with_client(&self) -> TlsSettings {
        let client = Some((self.dir.join("client.pem"), self.dir.join("client.key")));
        TlsSettings { client, ..self.settings() }
    }

    /// A broker called so, which wants certificates of this authority if `mutual`.
    pub(in crate::sink::kafka) fn broker(&self, name: &str, mutual: bool) -> ServerConnection {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        ServerConnection::new(Arc::new(config)).unwrap()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Shakes hands and moves "ping" and "pong", in slices of `size` towards us.
fn converse(tls: &Tls, host: &str, mut broker: ServerConnection, size: usize) -> Result<(), Failure> {
    let mut session = tls.session(host)?;
    let (mut plain, mut asked, mut heard) = (Vec::new(), false, Vec::new());
    for _ in 0..10 {
        let mut out = Vec::new();
        session.collect(&mut out);
        let mut out = &out[..];
        while !out.is_empty() {
            broker.read_tls(&mut out).unwrap();
            let fine = broker.process_new_packets().is_ok();
            let _ = broker.reader().read_to_end(&mut heard);
            if !fine {
                break;
            }
        }
        if heard == b"ping" {
            heard.clear();
            broker.writer().write_all(b"pong").unwrap();
        }
        let mut back = Vec::new();
        while broker.wants_write() {
            broker.write_tls(&mut back).unwrap();
        }
        for slice in back.chunks(size) {
            session.read(slice, &mut plain)?;
        }
        if !session.is_shaking() && !std::mem::replace(&mut asked, true) {
            session.write(b"ping");
        }
    }
    assert_eq!(plain, b"pong");
    Ok(())
}

#[test]
fn a_broker_of_a_trusted_authority_is_believed() {
    let authority = Authority::new("trusted");
    let tls = Tls::load(&authority.settings()).unwrap();
    for size in [1, 7, 100_000] {
        converse(&tls, "localhost", authority.broker("localhost", false), size).unwrap();
        converse(&tls, "127.0.0.1", authority.broker("127.0.0.1", false), size).unwrap();
        converse(&tls, "[::1]", authority.broker("::1", false), size).unwrap();
    }
}

#[test]
fn one_that_is_not_is_not() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let tls = Tls::load(&ours.settings()).unwrap();
    let failure = converse(&tls, "localhost", theirs.broker("localhost", false), 1000).unwrap_err();
    assert!(failure.why == LinkFailure::Certificate && failure.text.contains("kafka.tls_ca"), "{failure:?}");
    let failure = converse(&tls, "kafka1", ours.broker("localhost", false), 1000).unwrap_err();
    assert!(failure.why == LinkFailure::Certificate && failure.text.contains("another name"), "{failure:?}");
    // The system's authorities did not sign it either.
    let tls = Tls::load(&TlsSettings::default()).unwrap();
    let failure = converse(&tls, "localhost", ours.broker("localhost", false), 1000).unwrap_err();
    assert_eq!(failure.why, LinkFailure::Certificate);
}

#[test]
fn another_name_can_be_given() {
    let authority = Authority::new("named");
    let settings = TlsSettings { server_name: Some("localhost".into()), ..authority.settings() };
    converse(&Tls::load(&settings).unwrap(), "10.0.0.7", authority.broker("localhost", false), 50).unwrap();
    let settings = TlsSettings { server_name: Some("no name".into()), ..settings };
    assert!(Tls::load(&settings).unwrap_err().contains("no name"));
}

#[test]
fn a_broker_that_wants_a_certificate_gets_ours() {
    let authority = Authority::new("mutual");
    let tls = Tls::load(&authority.with_client()).unwrap();
    converse(&tls, "localhost", authority.broker("localhost", true), 100).unwrap();
    let tls = Tls::load(&authority.settings()).unwrap();
    let failure = converse(&tls, "localhost", authority.broker("localhost", true), 100).unwrap_err();
    assert!(
        failure.why == LinkFailure::Certificate && failure.text.contains("our certificate"),
        "{failure:?}"
    );
    let stranger = Authority::new("stranger");
    let mixed = TlsSettings { client: stranger.with_client().client, ..authority.settings() };
    let failure =
        converse(&Tls::load(&mixed).unwrap(), "localhost", authority.broker("localhost", true), 100);
    assert_eq!(failure.unwrap_err().why, LinkFailure::Certificate);
}

#[test]
fn what_does_not_speak_tls_is_told() {
    let authority = Authority::new("plain");
    let tls = Tls::load(&authority.settings()).unwrap();
    let mut session = tls.session("localhost").unwrap();
    let error = session.read(b"HTTP/1.1 400 Bad Request\r\n\r\n", &mut Vec::new()).unwrap_err();
    let failure = Failure::from(error);
    assert!(failure.text.contains("does not speak TLS"), "{failure:?}");
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let authority = Authority::new("files");
    let none = authority.dir.join("none.pem");
    let empty = authority.dir.join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let key = authority.dir.join("client.key");
    for (settings, words) in [
        (TlsSettings { ca: Some(none.clone()), ..TlsSettings::default() }, "none.pem"),
        (TlsSettings { ca: Some(empty.clone()), ..TlsSettings::default() }, "no certificate in PEM"),
        (TlsSettings { client: Some((empty, key)), ..authority.settings() }, "empty.pem"),
        (
            TlsSettings { client: Some((authority.dir.join("client.pem"), none)), ..authority.settings() },
            "key",
        ),
    ] {
        let error = Tls::load(&settings).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
