//! What is said on a new connection before it carries records: versions, then who we are. No sockets, no time.
//!
//! ```text
//! ApiVersions v3 ──error 35──▶ v0
//!      │                        │
//!      └───────────┬────────────┘
//!                  ├─ no credentials ─────────────────────────────────▶ done
//!                  └─▶ SaslHandshake ─▶ PLAIN ────────────────────────▶ done
//!     again ──▶ (the same) ──▶ SCRAM: first ─▶ key from elsewhere ─▶ last ─▶ proof checked ─▶ done
//! ```

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::sasl::{self, Credentials, Key, KeyJob, Mechanism, Scram};
use super::wire::{self, Head};
use crate::core::kafka::produce;
use crate::core::kafka::producer::{LinkFailure, error_name};

/// Why a connection cannot be used: for the producer, and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub why: LinkFailure,
    /// What is wrong and what to do, to stand behind "broker HOST:PORT ".
    pub text: String,
}

impl Failure {
    pub(super) fn new(why: LinkFailure, text: impl Into<String>) -> Failure {
        Failure { why, text: text.into() }
    }
}

/// The versions that were agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    /// Of Produce: 3 to 13.
    pub(super) produce: i16,
    /// Of Metadata.
    pub(super) metadata: i16,
    /// Of InitProducerId.
    pub(super) init_producer_id: i16,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Progress {
    /// A request is on its way.
    Asked,
    /// Goes on with [`Handshake::key`].
    NeedsKey(KeyJob),
    /// Done; to be done [`again`](Handshake::again) within so many milliseconds, 0 for never.
    Done { lifetime_ms: i64 },
}

/// First of the correlation ids of a handshake. Kafka's own client reserves the same ones.
const CORRELATION_FIRST: i32 = i32::MAX - 7;

enum State {
    Versions(i16),
    Mechanisms,
    Plain,
    ScramFirst(Scram),
    ScramKey(Scram),
    ScramLast(Scram),
    Done,
}

/// One connection's handshake, and its repetitions.
pub(super) struct Handshake {
    client_id: Arc<str>,
    pub(super) credentials: Option<Arc<Credentials>>,
    state: State,
    /// Of the request on its way.
    correlation: i32,
    versions: Versions,
    /// Version of SaslAuthenticate.
    authenticate: i16,
}

impl Handshake {
    /// Nothing was said yet.
    pub(super) fn new(client_id: Arc<str>, credentials: Option<Arc<Credentials>>) -> Handshake {
        Handshake {
            client_id,
            credentials,
            state: State::Versions(wire::API_VERSIONS),
            correlation: CORRELATION_FIRST,
            versions: Versions { produce: 0, metadata: 0, init_producer_id: 0 },
            authenticate: 0,
        }
    }

    /// What was agreed on, once it is done.
    pub(super) fn versions(&self) -> Versions {
        self.versions
    }

    /// Of the request that was put last.
    pub(super) fn correlation(&self) -> i32 {
        self.correlation
    }

    /// The first request.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        self.state = State::Versions(wire::API_VERSIONS);
        self.head(wire::API_VERSIONS).api_versions(out);
    }

    /// Says who we are once more, because the broker wants to hear it from time to time.
    pub(super) fn again(&mut self, out: &mut Vec<u8>) {
        let mechanism = self.credentials.as_ref().map_or(Mechanism::Plain, |known| known.mechanism);
        self.state = State::Mechanisms;
        self.head(wire::SASL_HANDSHAKE).sasl_handshake(mechanism.as_str(), out);
    }

    /// Takes the answer to the request that was put last, without its length, and puts the next.
    ///
    /// # Errors
    /// When the connection is of no use.
    pub(super) fn answer(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<Progress, Failure> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Versions(version) => self.versions_answered(frame, version, out),
            State::Mechanisms => self.mechanisms_answered(frame, out),
            State::Plain => {
                let lifetime_ms = self.token(frame)?.lifetime_ms;
                Ok(Progress::Done { lifetime_ms })
            }
            State::ScramFirst(mut scram) => {
                let password = self.credentials.as_ref().map_or("", |known| &known.password);
                let job = scram.server_first(self.token(frame)?.token, password);
                let job = job.map_err(|error| self.unbelievable(&error))?;
                self.state = State::ScramKey(scram);
                Ok(Progress::NeedsKey(job))
            }
            State::ScramLast(scram) => {
                let answer = self.token(frame)?;
                scram.server_last(answer.token).map_err(|error| self.unbelievable(&error))?;
                Ok(Progress::Done { lifetime_ms: answer.lifetime_ms })
            }
            State::ScramKey(_) | State::Done => {
                Err(Failure::new(LinkFailure::Protocol, "answers without having been asked"))
            }
        }
    }

    /// Takes the key that was wanted, and puts the next request.
    pub(super) fn key(&mut self, key: &Key, out: &mut Vec<u8>) {
        if let State::ScramKey(mut scram) = std::mem::replace(&mut self.state, State::Done) {
            let last = scram.last(key);
            self.state = State::ScramLast(scram);
            self.head(self.authenticate).sasl_authenticate(last, out);
        }
    }

    /// What it means that the broker closes the connection now.
    pub(super) fn closed(&self) -> Failure {
        let mechanism = self.mechanism().as_str();
        match self.state {
            State::Versions(_) => Failure::new(
                LinkFailure::Protocol,
                "closed the connection during ApiVersions: does that port speak Kafka, and without TLS? check \
                 --sink and kafka.tls",
            ),
            State::Mechanisms => Failure::new(
                LinkFailure::Authentication,
                "closed the connection during SaslHandshake: does that port take credentials? check \
                 kafka.sasl",
            ),
            State::Done => Failure::new(LinkFailure::Reset, "closed the connection"),
            _ => Failure::new(
                LinkFailure::Authentication,
                format!(
                    "closed the connection during SaslAuthenticate: wrong user name or password for \
                     {mechanism}; check kafka.sasl"
                ),
            ),
        }
    }

    fn mechanism(&self) -> Mechanism {
        self.credentials.as_ref().map_or(Mechanism::Plain, |known| known.mechanism)
    }

    fn head(&mut self, version: i16) -> Head<'_> {
        self.correlation = match self.correlation {
            i32::MAX => CORRELATION_FIRST,
            last => last + 1,
        };
        Head { client_id: &self.client_id, version, correlation: self.correlation }
    }

    fn versions_answered(
        &mut self,
        frame: &[u8],
        version: i16,
        out: &mut Vec<u8>,
    ) -> Result<Progress, Failure> {
        let seen = wire::api_versions(frame, version).ok_or_else(|| garbled("ApiVersions"))?;
        match (seen.error, version) {
            (0, _) => {}
            (35, 1..) => {
                self.state = State::Versions(0);
                self.head(0).api_versions(out);
                return Ok(Progress::Asked);
            }
            (code, _) => return Err(Failure::new(LinkFailure::TooOld, refused("ApiVersions", code, None))),
        }
        self.versions = Versions {
            produce: common("Produce", &wire::PRODUCE, seen.produce)?,
            metadata: common("Metadata", &wire::METADATA, seen.metadata)?,
            init_producer_id: common("InitProducerId", &wire::INIT_PRODUCER_ID, seen.init_producer_id)?,
        };
        if self.credentials.is_none() {
            return Ok(Progress::Done { lifetime_ms: 0 });
        }
        let handshake = wire::SASL_HANDSHAKE..=wire::SASL_HANDSHAKE;
        common("SaslHandshake", &handshake, seen.sasl_handshake)?;
        self.authenticate = common("SaslAuthenticate", &wire::SASL_AUTHENTICATE, seen.sasl_authenticate)?;
        self.again(out);
        Ok(Progress::Asked)
    }

    fn mechanisms_answered(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<Progress, Failure> {
        let (error, offered) = wire::sasl_handshake(frame).ok_or_else(|| garbled("SaslHandshake"))?;
        let mechanism = self.mechanism();
        let text = match error {
            0 => return self.introduce(out),
            33 => {
                let offered: Vec<String> = offered.iter().take(8).map(|name| shown(name)).collect();
                format!(
                    "does not take {} but {}; check kafka.sasl",
                    mechanism.as_str(),
                    if offered.is_empty() { "nothing".into() } else { offered.join(", ") }
                )
            }
            34 => "takes no credentials on this port: remove kafka.sasl or give the port of its SASL \
                   listener"
                .into(),
            code => refused("SaslHandshake", code, None),
        };
        Err(Failure::new(LinkFailure::Authentication, text))
    }

    fn introduce(&mut self, out: &mut Vec<u8>) -> Result<Progress, Failure> {
        let Some(credentials) = self.credentials.clone() else { return Err(garbled("SaslHandshake")) };
        let token = match credentials.mechanism {
            Mechanism::Plain => {
                self.state = State::Plain;
                sasl::plain(&credentials)
            }
            _ => {
                let scram = Scram::new(&credentials)
                    .map_err(|text| Failure::new(LinkFailure::Authentication, text))?;
                let first = scram.first();
                self.state = State::ScramFirst(scram);
                first
            }
        };
        self.head(self.authenticate).sasl_authenticate(token, out);
        Ok(Progress::Asked)
    }

    fn token<'f>(&self, frame: &'f [u8]) -> Result<wire::SaslAuthenticate<'f>, Failure> {
        let answer =
            wire::sasl_authenticate(frame, self.authenticate).ok_or_else(|| garbled("SaslAuthenticate"))?;
        match answer.error {
            0 => Ok(answer),
            58 => Err(Failure::new(
                LinkFailure::Authentication,
                format!(
                    "refuses the user name or password for {}{}; check kafka.sasl",
                    self.mechanism().as_str(),
                    answer.message.map(|text| format!(" ({})", shown(text))).unwrap_or_default()
                ),
            )),
            code => Err(Failure::new(
                LinkFailure::Authentication,
                refused("SaslAuthenticate", code, answer.message),
            )),
        }
    }

    fn unbelievable(&self, error: &str) -> Failure {
        Failure::new(
            LinkFailure::Authentication,
            format!("cannot be believed during {}: {error}", self.mechanism().as_str()),
        )
    }
}

/// The newest version that both speak.
fn common(name: &str, ours: &RangeInclusive<i16>, theirs: Option<(i16, i16)>) -> Result<i16, Failure> {
    let Some((min, max)) = theirs else {
        let text =
            format!("does not know {name}: it is older than Kafka 0.11, or its version range was narrowed");
        return Err(Failure::new(LinkFailure::TooOld, text));
    };
    let version = max.min(*ours.end());
    if version >= min.max(*ours.start()) {
        return Ok(version);
    }
    let age = if max < *ours.start() { "older" } else { "newer" };
    let text = format!(
        "speaks {name} in versions {min} to {max}, we speak {} to {}: it is {age} than what is supported",
        ours.start(),
        ours.end()
    );
    let why = if max < *ours.start() { LinkFailure::TooOld } else { LinkFailure::Protocol };
    Err(Failure::new(why, text))
}

/// The version of one Produce request: names where an id is not known, as long as the broker takes them.
pub(super) fn produce_version(agreed: i16, every_id_known: bool) -> i16 {
    match every_id_known {
        true => agreed,
        false => agreed.min(produce::VERSION_TOPIC_IDS - 1),
    }
}

fn garbled(name: &str) -> Failure {
    Failure::new(
        LinkFailure::Protocol,
        format!("sends an answer to {name} that cannot be read: is it a Kafka broker?"),
    )
}

fn refused(name: &str, code: i16, message: Option<&str>) -> String {
    let message = message.map(|text| format!(" ({})", shown(text))).unwrap_or_default();
    format!("answers {name} with {} {code}{message}", error_name(code))
}

/// A peer's text, short and without control characters.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
pub(super) mod tests;
