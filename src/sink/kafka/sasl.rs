//! Who we are, said to a broker: PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677).
//!
//! SCRAM takes a key from the password by thousands of hashes; that is done elsewhere
//! ([`super::resolve::Helpers`]), and the exchange goes on when it is there. The broker's own proof is checked: one
//! that does not know the password is not believed. As in Kafka's own client there is no channel binding and no
//! SASLprep; names and passwords are taken as the bytes they are.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2};

/// Rounds of hashing that a broker may ask for. Fewer make stolen credentials cheap to crack (RFC 7677, and
/// Kafka's own bound); more would keep the helper busy for seconds.
const ITERATIONS_MIN: u32 = 4096;
const ITERATIONS_MAX: u32 = 1_000_000;

/// Bytes of a salt or a nonce that are taken from a broker.
const FOREIGN_BYTES_MAX: usize = 1024;

/// How to say who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself: only within TLS.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Kafka's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    /// By Kafka's name.
    pub fn parse(name: &str) -> Option<Mechanism> {
        [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512]
            .into_iter()
            .find(|mechanism| mechanism.as_str().eq_ignore_ascii_case(name))
    }

    fn hash(self) -> (hmac::Algorithm, pbkdf2::Algorithm, &'static digest::Algorithm) {
        match self {
            Mechanism::ScramSha512 => (hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512, &digest::SHA512),
            _ => (hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256, &digest::SHA256),
        }
    }
}

/// User and password. Neither is shown by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How they are shown to a broker.
    pub mechanism: Mechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// The one message of PLAIN.
pub(super) fn plain(credentials: &Credentials) -> Vec<u8> {
    [b"\0", credentials.user.as_bytes(), b"\0", credentials.password.as_bytes()].concat()
}

/// What a key is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyJob {
    mechanism: Mechanism,
    password: String,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl fmt::Debug for KeyJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyJob").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The salted password.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl KeyJob {
    /// Hashes: a millisecond for every 4,096 rounds or so. Not to be done where others wait.
    pub fn run(&self) -> Key {
        let (_, derivation, hash) = self.mechanism.hash();
        let mut key = vec![0; hash.output_len()];
        pbkdf2::derive(derivation, self.iterations, &self.salt, self.password.as_bytes(), &mut key);
        Key(key)
    }
}

/// One exchange, from our first message to the broker's proof.
pub(super) struct Scram {
    mechanism: Mechanism,
    nonce: String,
    first_bare: String,
    server_first: String,
    /// What the broker must sign, and with what.
    proof: Option<(hmac::Key, String)>,
}

impl Scram {
    /// With a nonce from the system.
    pub(super) fn new(credentials: &Credentials) -> Result<Scram, String> {
        let mut bytes = [0; 24];
        let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| "the system gives no random bytes".to_string())?;
        Ok(Scram::with_nonce(credentials, BASE64.encode(bytes)))
    }

    fn with_nonce(credentials: &Credentials, nonce: String) -> Scram {
        let user = credentials.user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        let mechanism = credentials.mechanism;
        Scram { mechanism, nonce, first_bare, server_first: String::new(), proof: None }
    }

    /// Our first message.
    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    /// Reads the broker's first message: what has to be computed now.
    pub(super) fn server_first(&mut self, message: &[u8], password: &str) -> Result<KeyJob, String> {
        let text = std::str::from_utf8(message).map_err(|_| "its first message is no text".to_string())?;
        if text.len() > 4 * FOREIGN_BYTES_MAX {
            return Err("its first message is too long".into());
        }
        let fields: Vec<&str> = text.split(',').collect();
        // Extensions may follow, mandatory ones come first: those we do not know.
        let [nonce, salt, iterations, ..] = fields[..] else {
            return Err(server_error(text).unwrap_or_else(|| "its first message lacks something".into()));
        };
        let (Some(nonce), Some(salt), Some(iterations)) =
            (nonce.strip_prefix("r="), salt.strip_prefix("s="), iterations.strip_prefix("i="))
        else {
            return Err("its first message lacks nonce, salt or iterations".into());
        };
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("it does not return our nonce: somebody may stand between".into());
        }
        let salt = BASE64.decode(salt).map_err(|_| "its salt is not base64".to_string())?;
        let iterations: u32 = iterations.parse().map_err(|_| "its iterations are no number".to_string())?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(format!(
                "it asks for {iterations} iterations, allowed are {ITERATIONS_MIN} to {ITERATIONS_MAX}"
            ));
        }
        let iterations = NonZeroU32::new(iterations).expect("4096 at least");
        self.nonce = nonce.into();
        self.server_first = text.into();
        Ok(KeyJob { mechanism: self.mechanism, password: password.into(), salt, iterations })
    }

    /// Our second and last message.
    pub(super) fn last(&mut self, key: &Key) -> Vec<u8> {
        let (mac, _, hash) = self.mechanism.hash();
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(mac, key), text);
        let bare = format!("c=biws,r={}", self.nonce);
        let exchange = format!("{},{},{bare}", self.first_bare, self.server_first);
        let client_key = sign(&key.0, b"Client Key");
        let stored_key = digest::digest(hash, client_key.as_ref());
        let signature = sign(stored_key.as_ref(), exchange.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server_key = sign(&key.0, b"Server Key");
        self.proof = Some((hmac::Key::new(mac, server_key.as_ref()), exchange));
        format!("{bare},p={}", BASE64.encode(proof)).into_bytes()
    }

    /// Checks the broker's last message.
    pub(super) fn server_last(&self, message: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(message).map_err(|_| "its last message is no text".to_string())?;
        if let Some(error) = server_error(text) {
            return Err(error);
        }
        let shown = text.split(',').next().and_then(|field| field.strip_prefix("v="));
        let shown = shown.and_then(|shown| BASE64.decode(shown).ok());
        let (Some(shown), Some((key, exchange))) = (shown, &self.proof) else {
            return Err("its last message has no proof".into());
        };
        // Takes the same time whatever differs.
        hmac::verify(key, exchange.as_bytes(), &shown)
            .map_err(|_| "its proof is wrong: it does not know the password and may be an impostor".into())
    }
}

fn server_error(text: &str) -> Option<String> {
    text.strip_prefix("e=").map(|error| format!("it says {:?}", error.get(..100).unwrap_or(error)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::sink::kafka) fn some_job(salt: u8) -> KeyJob {
        let iterations = NonZeroU32::new(2).unwrap();
        let (mechanism, password) = (Mechanism::ScramSha256, "pw".into());
        KeyJob { mechanism, password, salt: vec![salt], iterations }
    }

    fn credentials(mechanism: Mechanism, user: &str, password: &str) -> Credentials {
        Credentials { mechanism, user: user.into(), password: password.into() }
    }

    /// RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn pencil() -> Scram {
        Scram::with_nonce(&credentials(Mechanism::ScramSha256, "user", "pencil"), NONCE.into())
    }

    #[test]
    fn speaks_as_rfc_7677_shows() {
        let mut scram = pencil();
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let key = scram.server_first(FIRST.as_bytes(), "pencil").unwrap().run();
        let last = String::from_utf8(scram.last(&key)).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(scram.server_last(LAST.as_bytes()), Ok(()));
        assert_eq!(scram.server_last(format!("{LAST},x=more").as_bytes()), Ok(()));
    }

    /// The key of RFC 7914's PBKDF2 vector, section 11, is that of SCRAM by its definition.
    #[test]
    fn keys_are_those_of_pbkdf2() {
        let job = |mechanism, iterations| KeyJob {
            mechanism,
            password: "Password".into(),
            salt: b"NaCl".to_vec(),
            iterations: NonZeroU32::new(iterations).unwrap(),
        };
        let key = job(Mechanism::ScramSha256, 80_000).run();
        assert_eq!(key.0[..8], [0x4d, 0xdc, 0xd8, 0xf6, 0x0b, 0x98, 0xbe, 0x21]);
        assert_eq!(key.0.len(), 32);
        assert_eq!(job(Mechanism::ScramSha512, 1).run().0.len(), 64);
    }

    /// A broker's first message in answer to a client's.
    pub(in crate::sink::kafka) fn far_first(client_first: &str) -> String {
        let nonce = client_first.split_once(",r=").unwrap().1;
        format!("r={nonce}srv,s={},i=4096", BASE64.encode(b"salt"))
    }

    /// Whether the client knows `password`, and the broker's last message, as RFC 5802 has it.
    pub(in crate::sink::kafka) fn far_last(
        mechanism: Mechanism,
        password: &str,
        client_first: &str,
        client_last: &str,
    ) -> (bool, String) {
        let (mac, _, hash) = mechanism.hash();
        let (bare, proof) = client_last.rsplit_once(",p=").unwrap();
        let iterations = NonZeroU32::new(4096).unwrap();
        let known = KeyJob { mechanism, password: password.into(), salt: b"salt".to_vec(), iterations }.run();
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(mac, key), text);
        let first_bare = client_first.strip_prefix("n,,").unwrap();
        let exchange = format!("{first_bare},{},{bare}", far_first(client_first));
        let stored = digest::digest(hash, sign(&known.0, b"Client Key").as_ref());
        let signature = sign(stored.as_ref(), exchange.as_bytes());
        let proof = BASE64.decode(proof).unwrap();
        let shown: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let knows = digest::digest(hash, &shown).as_ref() == stored.as_ref();
        let server = sign(sign(&known.0, b"Server Key").as_ref(), exchange.as_bytes());
        (knows, format!("v={}", BASE64.encode(server)))
    }

    fn serve(mechanism: Mechanism, user: &str, ours: &str, theirs: &str) -> Result<(), String> {
        let mut scram = Scram::new(&credentials(mechanism, user, ours)).unwrap();
        let first = String::from_utf8(scram.first()).unwrap();
        let key = scram.server_first(far_first(&first).as_bytes(), ours).unwrap().run();
        let last = String::from_utf8(scram.last(&key)).unwrap();
        let (knows, proof) = far_last(mechanism, theirs, &first, &last);
        assert_eq!(knows, ours == theirs);
        scram.server_last(proof.as_bytes())
    }

    #[test]
    fn both_hashes_prove_both_sides() {
        for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
            assert_eq!(serve(mechanism, "bob", "pw", "pw"), Ok(()));
            assert_eq!(serve(mechanism, "a=b,c", "p,=\u{e9}", "p,=\u{e9}"), Ok(()));
            assert!(serve(mechanism, "bob", "pw", "other").unwrap_err().contains("impostor"));
        }
    }

    #[test]
    fn names_are_escaped() {
        let scram = Scram::with_nonce(&credentials(Mechanism::ScramSha512, "a=b,c", "x"), "N".into());
        assert_eq!(scram.first(), b"n,,n=a=3Db=2Cc,r=N");
    }

    #[test]
    fn what_a_broker_must_not_say_first() {
        let wrong = [
            (&b"\xff"[..], "no text"),
            (b"", "lacks"),
            (b"e=unknown-user", "unknown-user"),
            (b"r=abc,s=AAAA", "lacks"),
            (b"s=AAAA,r=abc,i=4096", "lacks"),
            (b"r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=4096", "nonce"),
            (b"r=other,s=AAAA,i=4096", "nonce"),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096", "base64"),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=many", "no number"),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4095", "4095"),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=1000001", "1000001"),
            (b"m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4096", "lacks"),
        ];
        for (message, what) in wrong {
            let error = pencil().server_first(message, "pencil").unwrap_err();
            assert!(error.contains(what), "{error} for {message:?}");
        }
        let long = format!("r={},s=AAAA,i=4096", "x".repeat(5000));
        assert!(pencil().server_first(long.as_bytes(), "pencil").unwrap_err().contains("too long"));
    }

    #[test]
    fn what_a_broker_must_not_say_last() {
        let mut scram = pencil();
        assert!(scram.server_last(LAST.as_bytes()).is_err());
        let key = scram.server_first(FIRST.as_bytes(), "pencil").unwrap().run();
        scram.last(&key);
        for (message, what) in [
            (&b"v=AAAA"[..], "impostor"),
            (b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "proof"),
            (b"e=invalid-proof", "invalid-proof"),
            (b"", "no proof"),
            (b"\xff", "no text"),
        ] {
            let error = scram.server_last(message).unwrap_err();
            assert!(error.contains(what), "{error} for {message:?}");
        }
    }

    #[test]
    fn plain_is_three_fields_and_nothing_is_shown() {
        let credentials = credentials(Mechanism::Plain, "alice", "pw-alice");
        assert_eq!(plain(&credentials), b"\0alice\0pw-alice");
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("alice") && shown.contains("Plain"), "{shown}");
        assert_eq!(Mechanism::parse("scram-sha-512"), Some(Mechanism::ScramSha512));
        assert_eq!(Mechanism::parse("GSSAPI"), None);
    }
}
