//! A batch to a broker and its answer back ask the heap for nothing, once the first ones have passed.
//!
//! Without sockets: what the driver would do is done here, on buffers that exist before counting begins.

use std::sync::atomic::Ordering::Relaxed;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataResponse, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use ringmill::core::kafka::arena::{ArenaLimits, RecordArena};
use ringmill::core::kafka::producer::{Outcome, Producer, Settings, Slot, TopicIndex};
use ringmill::sink::kafka::{LinkSettings, Links};

#[path = "../src/core/tests/counting/mod.rs"]
mod counting;
use counting::CALLS;

/// Produce in version 9: flexible, topics by name.
const KEYS: [(i16, i16, i16); 3] = [(0, 3, 9), (3, 0, 9), (22, 0, 4)];

fn answer<R: Encodable + HeaderVersion>(correlation: i32, version: i16, body: &R) -> Vec<u8> {
    let mut out = vec![0; 4];
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, R::header_version(version)).unwrap();
    body.encode(&mut out, version).unwrap();
    let len = out.len() as u32 - 4;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

fn control(request: &[u8]) -> Vec<u8> {
    let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    let correlation = i32::from_be_bytes(request[8..12].try_into().unwrap());
    let text = StrBytes::from_static_str;
    match number(4) {
        18 => {
            let key = |(key, min, max)| {
                ApiVersion::default().with_api_key(key).with_min_version(min).with_max_version(max)
            };
            let body = ApiVersionsResponse::default().with_api_keys(KEYS.into_iter().map(key).collect());
            answer(correlation, 3, &body)
        }
        3 => {
            let broker = MetadataResponseBroker::default()
                .with_node_id(1.into())
                .with_host(text("127.0.0.1"))
                .with_port(9092);
            let partition =
                MetadataResponsePartition::default().with_leader_id(1.into()).with_leader_epoch(1);
            let topic = MetadataResponseTopic::default()
                .with_name(Some(TopicName(text("events"))))
                .with_partitions(vec![partition]);
            let body = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
            answer(correlation, number(6), &body)
        }
        _ => answer(correlation, number(6), &InitProducerIdResponse::default().with_producer_id(5.into())),
    }
}

/// The answer to a Produce request in version 9 about one partition; written without memory.
fn produced(correlation: [u8; 4], out: &mut [u8; 64]) -> usize {
    let mut len = 4;
    let mut put = |bytes: &[u8]| {
        out[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    put(&correlation);
    // No tags; one topic, its name, one partition 0 without an error.
    put(&[0, 2, 7]);
    put(b"events");
    put(&[2, 0, 0, 0, 0, 0, 0]);
    // Base offset, append time, start of the log; no record errors, no message, no tags.
    put(&[0; 24]);
    put(&[1, 0, 0]);
    // No tags of the topic, throttle, no tags.
    put(&[0, 0, 0, 0, 0, 0]);
    out[..4].copy_from_slice(&(len as u32 - 4).to_be_bytes());
    len
}

#[test]
fn nothing_is_allocated_for_a_batch_and_its_answer() {
    let settings = LinkSettings {
        brokers: vec![("127.0.0.1".into(), 9092)],
        client_id: "test".into(),
        tls: None,
        sasl: None,
        renews_secrets: false,
        produce_timeout_ms: 20_000,
    };
    let mut producer = Producer::new(Settings::new(1, 2, 1, 4, 7));
    producer.add_topic(0, "events").unwrap();
    let mut links = Links::new(settings, 2);
    let limits = ArenaLimits { partitions: 4, batches: 4, splits: 1, runs: 8, batch_bytes: 1_000_000 };
    let mut arena = RecordArena::new(vec![0; 1 << 20], vec![0; 1 << 20], limits);
    let (mut written, mut before, mut open) = (0, 0, false);
    for now_ns in (1..).map(|n: u64| n * 1_000_000) {
        producer.tick(now_ns);
        links.obey(now_ns, &mut producer, &mut arena);
        while let Some((peer, _)) = links.next_dial() {
            links.dialed(now_ns, &mut producer, peer, Ok(()));
        }
        while let Some(peer) = links.next_hang_up() {
            links.peer_released(peer);
        }
        let mut sent = None;
        if let Some(send) = links.next_peer_send(&arena) {
            let head = &send.parts()[0];
            let reply = (head[4..6] != [0, 0]).then(|| control(head));
            sent = Some((send.peer, send.bytes(), head[8..12].try_into().unwrap(), reply));
        }
        if let Some((peer, bytes, correlation, reply)) = sent {
            links.peer_sent(now_ns, &mut producer, peer, bytes);
            let mut out = [0; 64];
            match reply {
                Some(reply) => links.peer_receive(now_ns, &mut producer, peer, &reply),
                None => {
                    let len = produced(correlation, &mut out);
                    links.peer_receive(now_ns, &mut producer, peer, &out[..len]);
                }
            }
        }
        while let Some((_, outcome)) = producer.next_outcome() {
            assert!(matches!(outcome, Outcome::Written { .. }), "{outcome:?}");
            (written, open) = (written + 1, false);
            if written == 100 {
                before = CALLS.load(Relaxed);
            }
        }
        if written == 2100 {
            break;
        }
        let index = producer.partitions(TopicIndex(0)).index(0);
        if let (Some(index), false) = (index, open) {
            assert!(!links.borrows_batches());
            arena.clear();
            for _ in 0..20 {
                arena.append(index.0, None, &[], 1_000, &[b'x'; 300], false).unwrap();
            }
            arena.seal(None);
            let batch = arena.batch(arena.slots().next().unwrap());
            producer.submit(now_ns, Slot(batch.slot.0), index, batch.records, batch.bytes);
            open = true;
        }
        assert!(now_ns < 100_000_000_000, "{written} written; {:?}", links.next_failure());
    }
    let allocated = CALLS.load(Relaxed) - before;
    assert_eq!(allocated, 0, "allocations of 2000 batches");
}
