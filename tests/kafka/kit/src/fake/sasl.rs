//! SASL as a broker does it: PLAIN and SCRAM (RFC 5802), sessions that end, nothing allowed before.

use super::{Settings, answers, answers::Answer, log::error};
use crate::wire::Head;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
    },
    protocol::{Decodable, StrBytes},
};
use ring::{digest, hmac, pbkdf2};
use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const ITERATIONS: u32 = 4096;
const SALT: &[u8] = b"salt of the fake";

/// How far a connection's authentication is.
#[derive(Debug)]
pub(super) struct Login {
    users: Vec<(String, String)>,
    session: Option<Duration>,
    mechanism: Option<String>,
    exchange: Option<Exchange>,
    user: Option<String>,
    ends: Option<Instant>,
}

/// A SCRAM exchange after the first message: what was said so far, without header and proof.
#[derive(Debug)]
struct Exchange {
    user: String,
    password: String,
    said: String,
    nonce: String,
}

impl Login {
    pub(super) fn new(settings: &Settings) -> Login {
        let (users, session) = (settings.users.clone(), settings.session);
        Login { users, session, mechanism: None, exchange: None, user: None, ends: None }
    }

    /// Who is there, once that is known.
    pub(super) fn user(&self) -> Option<&String> {
        self.user.as_ref()
    }

    /// Whether a call may be made now. Kafka closes the connection otherwise.
    pub(super) fn allows(&self, key: ApiKey) -> bool {
        let fresh = self.user.is_some() && self.ends.is_none_or(|ends| Instant::now() < ends);
        let login = matches!(key, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
        self.users.is_empty() || login || fresh
    }

    /// Answers a call of the login itself. `None` closes the connection.
    pub(super) fn answer(
        &mut self,
        key: ApiKey,
        head: Head,
        mut bytes: Bytes,
        forced: Option<(i16, bool)>,
    ) -> Option<Answer> {
        if key == ApiKey::SaslHandshake {
            let request = SaslHandshakeRequest::decode(&mut bytes, head.version).ok()?;
            return Some(self.handshake(head, &request.mechanism, forced));
        }
        let request = SaslAuthenticateRequest::decode(&mut bytes, head.version).ok()?;
        let said = match forced {
            Some((code, _)) => Err(code),
            None => self.step(&request.auth_bytes),
        };
        let told = SaslAuthenticateResponse::default();
        Some(match said {
            Ok(bytes) => {
                let done = self.user.is_some() && self.exchange.is_none();
                let session = self.session.filter(|_| done && head.version >= 1).unwrap_or_default();
                let told =
                    told.with_auth_bytes(bytes.into()).with_session_lifetime_ms(session.as_millis() as i64);
                answers::reply(key, head, &told)
            }
            Err(code) => {
                let message = StrBytes::from_static_str("Authentication failed: that is not the password");
                let told = told.with_error_code(code).with_error_message(Some(message));
                Answer { goes_on: false, ..answers::reply(key, head, &told) }
            }
        })
    }

    fn handshake(&mut self, head: Head, mechanism: &str, forced: Option<(i16, bool)>) -> Answer {
        let known = !self.users.is_empty() && MECHANISMS.contains(&mechanism);
        let code = match (forced, known) {
            (Some((code, _)), _) => code,
            (None, true) => error::NONE,
            (None, false) if self.users.is_empty() => error::ILLEGAL_SASL_STATE,
            (None, false) => error::UNSUPPORTED_SASL_MECHANISM,
        };
        self.mechanism = (code == error::NONE).then(|| mechanism.to_string());
        self.exchange = None;
        let offered = MECHANISMS.iter().map(|name| StrBytes::from_static_str(name)).collect();
        let told = SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(offered);
        let goes_on = code == error::NONE;
        Answer { goes_on, ..answers::reply(ApiKey::SaslHandshake, head, &told) }
    }

    /// One message of the client, and what is said to it.
    fn step(&mut self, message: &[u8]) -> Result<Vec<u8>, i16> {
        let refused = error::SASL_AUTHENTICATION_FAILED;
        let message = str::from_utf8(message).map_err(|_| refused)?;
        let done = match (self.mechanism.as_deref(), self.exchange.take()) {
            (None, _) => return Err(error::ILLEGAL_SASL_STATE),
            (Some("PLAIN"), _) => self.plain(message),
            (Some(_), None) => self.scram_first(message),
            (Some(mechanism), Some(exchange)) => {
                let (user, bytes) =
                    scram_last(mechanism == "SCRAM-SHA-512", &exchange, message).ok_or(refused)?;
                self.welcome(user);
                Some(bytes)
            }
        };
        done.ok_or(refused)
    }

    fn welcome(&mut self, user: String) {
        self.user = Some(user);
        self.ends = self.session.map(|session| Instant::now() + session);
        self.mechanism = None; // Another login needs another handshake.
    }

    fn password(&self, user: &str) -> Option<&String> {
        self.users.iter().find(|(name, _)| name == user).map(|(_, password)| password)
    }

    fn plain(&mut self, message: &str) -> Option<Vec<u8>> {
        let mut parts = message.split('\0');
        let (_, user, password) = (parts.next()?, parts.next()?.to_string(), parts.next()?);
        (parts.next().is_none() && self.password(&user)? == password)
            .then(|| self.welcome(user))
            .map(|()| Vec::new())
    }

    /// `n,,n=USER,r=NONCE`, answered by the whole nonce, the salt and the iterations.
    fn scram_first(&mut self, message: &str) -> Option<Vec<u8>> {
        let bare = message.strip_prefix("n,,")?;
        let (user, nonce) = bare.strip_prefix("n=")?.split_once(",r=")?;
        let user = user.replace("=2C", ",").replace("=3D", "=");
        let password = self.password(&user)?.clone();
        let nonce = format!("{}fake", nonce.split(',').next()?);
        let first = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(SALT));
        self.exchange = Some(Exchange { user, password, said: format!("{bare},{first}"), nonce });
        Some(first.into_bytes())
    }
}

/// `c=biws,r=NONCE,p=PROOF`: the proof is checked, and the answer proves that the server knows the password too.
fn scram_last(wide: bool, exchange: &Exchange, message: &str) -> Option<(String, Vec<u8>)> {
    let (bare, proof) = message.rsplit_once(",p=")?;
    if bare != format!("c=biws,r={}", exchange.nonce) {
        return None;
    }
    let proof = STANDARD.decode(proof).ok()?;
    let (derive, mac, hash, size) = if wide {
        (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512, 64)
    } else {
        (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256, 32)
    };
    let mut salted = vec![0; size];
    pbkdf2::derive(derive, NonZeroU32::new(ITERATIONS)?, SALT, exchange.password.as_bytes(), &mut salted);
    let sign =
        |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(mac, key), text.as_bytes()).as_ref().to_vec();
    let auth = format!("{},{bare}", exchange.said);
    let stored = digest::digest(hash, &sign(&salted, "Client Key"));
    let signature = sign(stored.as_ref(), &auth);
    let key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    if proof.len() != size || digest::digest(hash, &key).as_ref() != stored.as_ref() {
        return None;
    }
    let server = sign(&sign(&salted, "Server Key"), &auth);
    Some((exchange.user.clone(), format!("v={}", STANDARD.encode(server)).into_bytes()))
}
