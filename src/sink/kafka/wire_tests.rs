//! Answers as kafka-protocol's broker side writes them, read here; requests as its broker side reads them.
use super::*;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataResponse, ResponseHeader, SaslAuthenticateResponse,
    SaslHandshakeResponse,
};
use kafka_protocol::protocol::Decodable;

/// An answer without its length.
pub(in crate::sink::kafka) fn answer<R: Encodable + HeaderVersion>(
    correlation: i32,
    version: i16,
    body: &R,
) -> Vec<u8> {
    let mut out = Vec::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, R::header_version(version)).unwrap();
    body.encode(&mut out, version).unwrap();
    out
}

/// Whatever is cut off, flipped or claimed, it ends, and without a panic.
fn torture(frame: &[u8], read: impl Fn(&[u8]) -> bool) {
    assert!(read(frame));
    for len in 0..frame.len() {
        read(&frame[..len]);
    }
    for at in 0..frame.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bent = frame.to_vec();
            bent[at] = value;
            read(&bent);
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[test]
fn api_versions_answers() {
    let key =
        |key, min, max| ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max);
    let body = ApiVersionsResponse::default().with_api_keys(vec![
        key(0, 3, 11),
        key(1, 0, 9),
        key(3, 0, 12),
        key(22, 0, 4),
        key(36, 0, 2),
    ]);
    for version in 0..=3 {
        let frame = answer(9, version, &body);
        let seen = api_versions(&frame, version).unwrap();
        assert_eq!((seen.error, seen.produce, seen.metadata), (0, Some((3, 11)), Some((0, 12))));
        assert_eq!((seen.init_producer_id, seen.sasl_handshake), (Some((0, 4)), None));
        assert_eq!(seen.sasl_authenticate, Some((0, 2)));
        assert_eq!(correlation(&frame), Some(9));
        torture(&frame, |frame| api_versions(frame, version).is_some());
    }
    // What a broker answers that does not know the version: version 0 with what it knows.
    let frame = answer(9, 0, &body.with_error_code(35));
    assert_eq!(api_versions(&frame, 3).unwrap().error, 35);
}

#[test]
fn sasl_answers() {
    let body = SaslHandshakeResponse::default()
        .with_error_code(33)
        .with_mechanisms(vec![text("PLAIN"), text("SCRAM-SHA-512")]);
    let frame = answer(1, 1, &body);
    assert_eq!(sasl_handshake(&frame), Some((33, vec!["PLAIN", "SCRAM-SHA-512"])));
    torture(&frame, |frame| sasl_handshake(frame).is_some());
    for version in SASL_AUTHENTICATE {
        let body = SaslAuthenticateResponse::default()
            .with_error_code(58)
            .with_error_message(Some(text("no")))
            .with_auth_bytes(b"token".to_vec().into())
            .with_session_lifetime_ms(if version >= 1 { 5000 } else { 0 });
        let frame = answer(1, version, &body);
        let seen = sasl_authenticate(&frame, version).unwrap();
        assert_eq!((seen.error, seen.message, seen.token), (58, Some("no"), &b"token"[..]));
        assert_eq!(seen.lifetime_ms, if version >= 1 { 5000 } else { 0 });
        torture(&frame, |frame| sasl_authenticate(frame, version).is_some());
    }
}

#[test]
fn producer_id_answers() {
    for version in INIT_PRODUCER_ID {
        let body = InitProducerIdResponse::default()
            .with_throttle_time_ms(7)
            .with_error_code(31)
            .with_producer_id(4_000_000_000.into())
            .with_producer_epoch(12);
        let frame = answer(1, version, &body);
        let seen = init_producer_id(&frame, version).unwrap();
        let found = (seen.error, seen.throttle_ms, seen.producer_id, seen.epoch);
        assert_eq!(found, (31, 7, 4_000_000_000, 12));
        torture(&frame, |frame| init_producer_id(frame, version).is_some());
    }
}

pub(in crate::sink::kafka) fn metadata_body(version: i16, host: &str, port: u16) -> MetadataResponse {
    let broker = |id: i32| {
        MetadataResponseBroker::default()
            .with_node_id(id.into())
            .with_host(text(host))
            .with_port(port.into())
            .with_rack(Some(text("r")))
    };
    let partition = |number: i32| {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(1.into())
            .with_leader_epoch(if version >= 7 { 5 } else { -1 })
            .with_replica_nodes(vec![1.into(), 2.into()])
            .with_isr_nodes(vec![1.into()])
    };
    let id = std::array::from_fn(|n| n as u8 + 1);
    let id = if version >= METADATA_IDS { id } else { [0; 16] };
    let mut topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text("events"))))
        .with_partitions((0..2).map(partition).collect());
    if id != [0; 16] {
        topic.topic_id = format!("{:032x}", u128::from_be_bytes(id)).parse().unwrap();
    }
    MetadataResponse::default().with_brokers(vec![broker(1), broker(2)]).with_topics(vec![topic])
}

#[test]
fn metadata_answers() {
    for version in METADATA {
        let frame = answer(1, version, &metadata_body(version, "kafka1", 9092));
        let seen = metadata(&frame, version, |seen| {
            let broker = seen.brokers[1];
            assert_eq!((seen.brokers.len(), broker.id, broker.host, broker.port), (2, 2, "kafka1", 9092));
            let topic = seen.topics[0];
            assert_eq!((seen.error, topic.error, topic.name, topic.partitions.len()), (0, 0, "events", 2));
            let epoch = if version >= 7 { 5 } else { -1 };
            let partition = topic.partitions[1];
            assert_eq!((partition.number, partition.leader, partition.leader_epoch), (1, 1, epoch));
            assert_eq!(topic.id == TopicId::NONE, version < METADATA_IDS);
        });
        assert!(seen.is_some(), "version {version}");
        torture(&frame, |frame| metadata(frame, version, |_| ()).is_some());
    }
}

/// kafka-protocol would reserve memory for these before it noticed.
#[test]
fn claims_of_billions_cost_nothing() {
    let mut frame = vec![0; 8];
    frame.extend_from_slice(&i32::MAX.to_be_bytes());
    assert!(metadata(&frame, 4, |_| ()).is_none());
    assert!(sasl_handshake(&[&[0; 6][..], &i32::MAX.to_be_bytes()].concat()).is_none());
    assert!(api_versions(&[&[0; 6][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat(), 3).is_none());
}

#[test]
fn requests_are_what_a_broker_reads() {
    fn read<R: Decodable + HeaderVersion>(mut bytes: &[u8], version: i16) -> (RequestHeader, R) {
        let (len, rest) = bytes.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*len) as usize, rest.len());
        bytes = rest;
        let header = RequestHeader::decode(&mut bytes, R::header_version(version)).unwrap();
        let body = R::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty());
        (header, body)
    }
    let head = |version| Head { client_id: "ringmill", version, correlation: 77 };
    let put = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    for version in [0, 3] {
        let bytes = put(&|out| head(version).api_versions(out));
        let (header, _) = read::<ApiVersionsRequest>(&bytes, version);
        assert_eq!(
            (header.request_api_key, header.request_api_version, header.correlation_id),
            (18, version, 77)
        );
        assert_eq!(header.client_id.as_deref(), Some("ringmill"));
    }
    for version in METADATA {
        let bytes = put(&|out| head(version).metadata(["a", "b"].into_iter(), version % 2 == 0, out));
        let (_, body) = read::<MetadataRequest>(&bytes, version);
        assert_eq!(body.allow_auto_topic_creation, version % 2 == 0);
        assert_eq!(body.topics.unwrap().len(), 2);
    }
    for version in INIT_PRODUCER_ID {
        let bytes = put(&|out| head(version).init_producer_id(out));
        let (_, body) = read::<InitProducerIdRequest>(&bytes, version);
        assert_eq!((body.transactional_id, body.producer_epoch), (None, -1));
    }
    let bytes = put(&|out| head(1).sasl_handshake("PLAIN", out));
    assert_eq!(&*read::<SaslHandshakeRequest>(&bytes, 1).1.mechanism, "PLAIN");
    for version in SASL_AUTHENTICATE {
        let bytes = put(&|out| head(version).sasl_authenticate(b"tok".to_vec(), out));
        assert_eq!(&*read::<SaslAuthenticateRequest>(&bytes, version).1.auth_bytes, b"tok");
    }
}
