//! Control messages: requests to bytes, answers from bytes. Produce is not here, it is framed by
//! [`crate::core::kafka::produce`].
//!
//! Requests are encoded by kafka-protocol. Answers are read by a reader of ours, because kafka-protocol reserves
//! memory for as many elements as a peer claims before it has seen one; the tests compare both. Nothing here
//! allocates before the bytes for it have been there, and no byte is read twice.

use std::ops::RangeInclusive;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, RequestHeader,
    SaslAuthenticateRequest, SaslHandshakeRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};

use crate::core::kafka::cursor::Cursor;
use crate::core::kafka::produce;
use crate::core::kafka::producer::{
    BrokerSeen, MetadataAnswer, PartitionSeen, ProducerIdAnswer, TopicId, TopicSeen,
};

/// Versions of Metadata spoken: from the first that can forbid the creation of topics, to Kafka 4.x.
pub(super) const METADATA: RangeInclusive<i16> = 4..=13;
/// First version of Metadata that tells topic ids.
const METADATA_IDS: i16 = 10;
/// Versions of InitProducerId spoken.
pub(super) const INIT_PRODUCER_ID: RangeInclusive<i16> = 0..=5;
/// Versions of Produce spoken: from Kafka 2.1, the first that knows zstd. Older ones have the same form, but would take
/// batches of one codec and refuse those of another for ever.
pub(super) const PRODUCE: RangeInclusive<i16> = 7..=produce::VERSION_MAX;
/// Versions of SaslAuthenticate spoken.
pub(super) const SASL_AUTHENTICATE: RangeInclusive<i16> = 0..=2;
/// The one version of SaslHandshake spoken: tokens then travel in SaslAuthenticate.
pub(super) const SASL_HANDSHAKE: i16 = 1;
/// The version of ApiVersions that is tried first; brokers before 2.4 answer it with error 35 in version 0.
pub(super) const API_VERSIONS: i16 = 3;

/// What stands in every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) client_id: &'a str,
    pub(super) version: i16,
    pub(super) correlation: i32,
}

impl Head<'_> {
    pub(super) fn api_versions(&self, out: &mut Vec<u8>) {
        let body = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("ringmill"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        self.put(ApiKey::ApiVersions, &body, out);
    }

    pub(super) fn sasl_handshake(&self, mechanism: &'static str, out: &mut Vec<u8>) {
        let body = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        self.put(ApiKey::SaslHandshake, &body, out);
    }

    pub(super) fn sasl_authenticate(&self, token: Vec<u8>, out: &mut Vec<u8>) {
        let body = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
        self.put(ApiKey::SaslAuthenticate, &body, out);
    }

    pub(super) fn metadata<'t>(
        &self,
        topics: impl Iterator<Item = &'t str>,
        allow_create: bool,
        out: &mut Vec<u8>,
    ) {
        let topic = |name: &str| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        };
        let body = MetadataRequest::default()
            .with_topics(Some(topics.map(topic).collect()))
            .with_allow_auto_topic_creation(allow_create);
        self.put(ApiKey::Metadata, &body, out);
    }

    pub(super) fn init_producer_id(&self, out: &mut Vec<u8>) {
        // The timeout concerns transactions, of which there are none.
        let body = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        self.put(ApiKey::InitProducerId, &body, out);
    }

    fn put<R: Encodable + HeaderVersion>(&self, api: ApiKey, body: &R, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(self.version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_string(self.client_id.to_owned())));
        let written =
            header.encode(out, R::header_version(self.version)).and_then(|()| body.encode(out, self.version));
        // Names are bounded and versions chosen from those that exist.
        written.expect("a request of bounded parts");
        let len = (out.len() - start - 4) as i32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// Correlation id of an answer, which every answer begins with.
pub(super) fn correlation(frame: &[u8]) -> Option<i32> {
    Cursor::new(frame, false).i32()
}

/// Error and versions of an ApiVersions answer, in the form of `version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ApiVersions {
    pub(super) error: i16,
    pub(super) produce: Option<(i16, i16)>,
    pub(super) metadata: Option<(i16, i16)>,
    pub(super) init_producer_id: Option<(i16, i16)>,
    pub(super) sasl_handshake: Option<(i16, i16)>,
    pub(super) sasl_authenticate: Option<(i16, i16)>,
}

/// An ApiVersions answer. Its header is the old one whatever its version, and with error 35 its body too.
pub(super) fn api_versions(frame: &[u8], version: i16) -> Option<ApiVersions> {
    let mut cursor = Cursor::new(frame, false);
    cursor.i32()?;
    let mut seen = ApiVersions { error: cursor.i16()?, ..ApiVersions::default() };
    let mut cursor = cursor.with_form(version >= 3 && seen.error != 35);
    for _ in 0..count(&mut cursor)? {
        let (key, range) = (cursor.i16()?, (cursor.i16()?, cursor.i16()?));
        cursor.tags()?;
        let place = match key {
            0 => &mut seen.produce,
            3 => &mut seen.metadata,
            17 => &mut seen.sasl_handshake,
            22 => &mut seen.init_producer_id,
            36 => &mut seen.sasl_authenticate,
            _ => continue,
        };
        *place = Some(range);
    }
    // Throttle time and features follow: of no interest.
    Some(seen)
}

/// Error of a SaslHandshake answer and the mechanisms that the broker has.
pub(super) fn sasl_handshake(frame: &[u8]) -> Option<(i16, Vec<&str>)> {
    let mut cursor = Cursor::new(frame, false);
    cursor.i32()?;
    let error = cursor.i16()?;
    let mut mechanisms = Vec::new();
    for _ in 0..count(&mut cursor)? {
        mechanisms.push(text(&mut cursor)??);
    }
    cursor.ends()?;
    Some((error, mechanisms))
}

/// A SaslAuthenticate answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SaslAuthenticate<'a> {
    pub(super) error: i16,
    pub(super) message: Option<&'a str>,
    pub(super) token: &'a [u8],
    /// When to authenticate again, in milliseconds; 0 for never.
    pub(super) lifetime_ms: i64,
}

pub(super) fn sasl_authenticate(frame: &[u8], version: i16) -> Option<SaslAuthenticate<'_>> {
    let mut cursor = after_header(frame, version >= 2)?;
    let answer = SaslAuthenticate {
        error: cursor.i16()?,
        message: text(&mut cursor)?,
        token: token(&mut cursor)?,
        lifetime_ms: if version >= 1 { cursor.i64()? } else { 0 },
    };
    cursor.tags()?;
    cursor.ends()?;
    Some(answer)
}

/// An InitProducerId answer.
pub(super) fn init_producer_id(frame: &[u8], version: i16) -> Option<ProducerIdAnswer> {
    let mut cursor = after_header(frame, version >= 2)?;
    let throttle_ms = cursor.i32()?;
    let answer = ProducerIdAnswer {
        throttle_ms,
        error: cursor.i16()?,
        producer_id: cursor.i64()?,
        epoch: cursor.i16()?,
    };
    cursor.tags()?;
    cursor.ends()?;
    Some(answer)
}

/// A Metadata answer, shown to `show` as the producer takes it.
pub(super) fn metadata<T>(
    frame: &[u8],
    version: i16,
    show: impl FnOnce(MetadataAnswer<'_>) -> T,
) -> Option<T> {
    let mut cursor = after_header(frame, version >= 9)?;
    let throttle_ms = cursor.i32()?;
    let mut brokers = Vec::new();
    for _ in 0..count(&mut cursor)? {
        let (id, host, port) = (cursor.i32()?, text(&mut cursor)??, cursor.i32()?);
        text(&mut cursor)?;
        cursor.tags()?;
        // Port 0 is what cannot be dialed.
        brokers.push(BrokerSeen { id, host, port: u16::try_from(port).unwrap_or(0) });
    }
    text(&mut cursor)?;
    cursor.i32()?;
    let (mut topics, mut partitions) = (Vec::new(), Vec::new());
    for _ in 0..count(&mut cursor)? {
        let error = cursor.i16()?;
        let name = text(&mut cursor)?.unwrap_or("");
        let id = if version >= METADATA_IDS { TopicId(cursor.array()?) } else { TopicId::NONE };
        cursor.array::<1>()?;
        let first = partitions.len();
        for _ in 0..count(&mut cursor)? {
            partitions.push(partition(&mut cursor, version)?);
        }
        if version >= 8 {
            cursor.i32()?;
        }
        cursor.tags()?;
        topics.push((error, name, id, first..partitions.len()));
    }
    if (8..=10).contains(&version) {
        cursor.i32()?;
    }
    let error = if version >= 13 { cursor.i16()? } else { 0 };
    cursor.tags()?;
    cursor.ends()?;
    let topics: Vec<_> = topics
        .into_iter()
        .map(|(error, name, id, range)| TopicSeen { error, name, id, partitions: &partitions[range] })
        .collect();
    Some(show(MetadataAnswer { error, throttle_ms, brokers: &brokers, topics: &topics }))
}

fn partition(cursor: &mut Cursor<'_>, version: i16) -> Option<PartitionSeen> {
    let (error, number, leader) = (cursor.i16()?, cursor.i32()?, cursor.i32()?);
    let leader_epoch = if version >= 7 { cursor.i32()? } else { -1 };
    // Replicas, those in sync, and from v5 on those offline.
    for _ in 0..if version >= 5 { 3 } else { 2 } {
        let count = count(cursor)?;
        cursor.take(count.checked_mul(4)?)?;
    }
    cursor.tags()?;
    Some(PartitionSeen { error, number, leader, leader_epoch })
}

/// Behind the header, which has tags when the message is flexible.
fn after_header(frame: &[u8], flexible: bool) -> Option<Cursor<'_>> {
    let mut cursor = Cursor::new(frame, flexible);
    cursor.header()?;
    Some(cursor)
}

/// Elements of an array; a null one has none.
fn count(cursor: &mut Cursor<'_>) -> Option<usize> {
    cursor.count().map(|count| count.unwrap_or(0) as usize)
}

/// Bytes; null ones are none.
fn token<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = count(cursor)?;
    cursor.take(len)
}

/// Text, which may be null.
fn text<'a>(cursor: &mut Cursor<'a>) -> Option<Option<&'a str>> {
    match cursor.string()? {
        Some(bytes) => std::str::from_utf8(bytes).ok().map(Some),
        None => Some(None),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
pub(super) mod tests;
