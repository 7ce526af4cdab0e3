//! Record batches and Produce against the `kafka-protocol` crate, which is generated from Kafka's own schemas and
//! decompresses LZ4 with the C library: what it reads of ours, and what ours reads of its answers.
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    BrokerId, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use kafka_protocol::records::{Compression, RecordBatchDecoder};
use proptest::prelude::*;
use ringmill_core::kafka::arena::{ArenaLimits, RecordArena};
use ringmill_core::kafka::batch::Stamp;
use ringmill_core::kafka::compress::{Compress, Lz4};
use ringmill_core::kafka::produce::{self, Part, ProduceBatch, ProduceFrame, ProduceHead, TopicRef};

/// Partition, key and value.
type Event = (u32, Option<Vec<u8>>, Vec<u8>);

const STAMP: Stamp = Stamp { producer_id: 1 << 40, epoch: 7, sequence: 0 };

fn sealed(events: &[Event], codec: Option<&mut dyn Compress>) -> RecordArena<Vec<u8>> {
    let mut arena = RecordArena::new(vec![0; 1 << 19], vec![0; 1 << 19], ArenaLimits::default());
    for (time, (partition, key, value)) in (1_795_219_200_000..).zip(events) {
        let headers = [(&b"stream"[..], &b"web"[..])];
        arena.append(*partition, key.as_deref(), &headers, time, value, false).expect("there is room");
    }
    arena.seal(codec);
    arena.slots().for_each(|slot| arena.stamp(slot, STAMP));
    arena
}

fn event() -> impl Strategy<Value = Event> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let text = ("[a-c]{0,9}", 0..200usize).prop_map(|(text, times)| text.repeat(times).into_bytes());
    (0..3u32, prop::option::of(bytes(20)), prop_oneof![bytes(300), text])
}

/// Bytes of a request as they go over the wire.
fn sent(frame: &ProduceFrame, arena: &RecordArena<Vec<u8>>) -> Vec<u8> {
    let part = |part: &Part| match part {
        Part::Framing(range) => frame.framing()[range.clone()].to_vec(),
        Part::Header(slot) => arena.batch_bytes(*slot).0.to_vec(),
        Part::Records(slot) => arena.batch_bytes(*slot).1.to_vec(),
    };
    frame.parts().iter().flat_map(part).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn its_reader_finds_every_record(events in prop::collection::vec(event(), 1..200), compressed: bool) {
        let mut lz4 = Lz4::new();
        let arena = sealed(&events, compressed.then_some(&mut lz4 as &mut dyn Compress));
        for batch in arena.batches() {
            let (header, records) = arena.batch_bytes(batch.slot);
            let mut bytes = Bytes::from([header, records].concat());
            let read = RecordBatchDecoder::decode(&mut bytes).expect("a batch");
            prop_assert!(bytes.is_empty());
            prop_assert_eq!(read.compression == Compression::Lz4, batch.codec.id() == 3);
            let mine: Vec<_> = (1_795_219_200_000..).zip(&events).filter(|(_, event)| event.0 == batch.partition).collect();
            prop_assert_eq!(read.records.len(), mine.len());
            for (number, (record, (time, (_, key, value)))) in (0..).zip(read.records.iter().zip(mine)) {
                prop_assert_eq!((record.offset, record.timestamp, record.sequence), (number, time, number as i32));
                prop_assert_eq!((record.producer_id, record.producer_epoch), (1 << 40, 7));
                prop_assert_eq!(record.key.as_deref(), key.as_deref());
                prop_assert_eq!(record.value.as_deref(), Some(&value[..]));
                let header = record.headers.get(&StrBytes::from_static_str("stream"));
                prop_assert_eq!(header.and_then(|value| value.as_deref()), Some(&b"web"[..]));
            }
        }
    }

    #[test]
    fn its_reader_reads_our_requests(
        events in prop::collection::vec(event(), 1..40),
        version in produce::VERSION_MIN..=produce::VERSION_MAX,
        correlation: i32,
        timeout_ms in 0..i32::MAX,
    ) {
        let arena = sealed(&events, None);
        let names = ["orders", "an-other_topic.of-mine", ""];
        let batches: Vec<_> = arena.batches().map(|batch| {
            let topic = match version >= produce::VERSION_TOPIC_IDS {
                true => TopicRef::Id([batch.partition as u8 / 2 + 1; 16]),
                false => TopicRef::Name(names[batch.partition as usize / 2].as_bytes()),
            };
            ProduceBatch { topic, partition: batch.partition as i32, slot: batch.slot, bytes: batch.bytes }
        }).collect();
        let mut frame = ProduceFrame::new();
        let head = ProduceHead { version, correlation, client_id: "ringmill-0", timeout_ms };
        let Ok(total) = frame.encode(&head, &batches) else {
            // Partition 2 between 0 and 1: its topic stands between theirs.
            prop_assert!(batches.len() == 3 && batches[1].partition == 2);
            return Ok(());
        };
        let bytes = sent(&frame, &arena);
        prop_assert_eq!((bytes.len(), &bytes[..4]), (total, &(total as u32 - 4).to_be_bytes()[..]));
        let mut bytes = Bytes::from(bytes).split_off(4);
        let header = RequestHeader::decode(&mut bytes, ProduceRequest::header_version(version)).expect("a header");
        prop_assert_eq!((header.request_api_key, header.request_api_version), (0, version));
        prop_assert_eq!((header.correlation_id, header.client_id.as_deref()), (correlation, Some("ringmill-0")));
        let request = ProduceRequest::decode(&mut bytes, version).expect("a request");
        prop_assert!(bytes.is_empty() && request.transactional_id.is_none());
        prop_assert_eq!((request.acks, request.timeout_ms), (-1, timeout_ms));
        let read = request.topic_data.iter().flat_map(|topic| {
            topic.partition_data.iter().map(move |data| (topic, data))
        });
        let mut seen = 0;
        for (batch, (topic, data)) in batches.iter().zip(read) {
            match batch.topic {
                TopicRef::Id(id) => prop_assert_eq!(topic.topic_id.as_bytes(), &id),
                TopicRef::Name(name) => prop_assert_eq!(topic.name.as_bytes(), name),
            }
            let (header, records) = arena.batch_bytes(batch.slot);
            prop_assert_eq!(data.index, batch.partition);
            prop_assert_eq!(data.records.as_deref(), Some(&[header, records].concat()[..]));
            seen += 1;
        }
        prop_assert_eq!(seen, batches.len());
    }

    #[test]
    fn we_read_its_answers(
        topics in prop::collection::vec((any::<u8>(), prop::collection::vec(partition(), 0..4)), 0..4),
        brokers in prop::collection::vec((0..9i32, "[a-z.]{0,20}", any::<i32>(), prop::option::of("[a-z]{0,5}")), 0..3),
        version in produce::VERSION_MIN..=produce::VERSION_MAX,
        correlation: i32,
        throttle in 0..i32::MAX,
    ) {
        let answer = answer(&topics, &brokers, throttle, version);
        let mut bytes = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(correlation);
        header.encode(&mut bytes, ProduceResponse::header_version(version)).expect("a header");
        answer.encode(&mut bytes, version).expect("an answer");
        let read = produce::ProduceResponse::parse(&bytes, version).expect("readable");
        prop_assert_eq!((read.correlation(), read.throttle_ms()), (correlation, throttle as u32));
        let expected = answer.responses.iter().flat_map(|topic| {
            topic.partition_responses.iter().map(move |partition| (topic, partition))
        });
        let (expected, seen): (Vec<_>, Vec<_>) = (expected.collect(), read.partitions().collect());
        prop_assert_eq!(expected.len(), seen.len());
        for ((topic, partition), seen) in expected.into_iter().zip(seen) {
            match seen.topic {
                TopicRef::Id(id) => prop_assert_eq!(topic.topic_id.as_bytes(), &id),
                TopicRef::Name(name) => prop_assert_eq!(topic.name.as_bytes(), name),
            }
            prop_assert_eq!((seen.partition, seen.error), (partition.index, partition.error_code));
            prop_assert_eq!(seen.base_offset, partition.base_offset);
            prop_assert_eq!(seen.log_append_time_ms, partition.log_append_time_ms);
            prop_assert_eq!(seen.log_start_offset, if version >= 5 { partition.log_start_offset } else { -1 });
            let leader = (partition.current_leader.leader_id.0, partition.current_leader.leader_epoch);
            prop_assert_eq!(seen.leader, (version >= 10 && leader.0 >= 0).then_some(leader));
            prop_assert_eq!(seen.message, partition.error_message.as_ref().map(|text| text.as_bytes()));
            let errors: Vec<_> = seen.record_errors.map(|error| (error.record, error.message)).collect();
            let expected = partition.record_errors.iter();
            let expected: Vec<_> = expected
                .map(|error| (error.batch_index, error.batch_index_error_message.as_ref().map(|text| text.as_bytes())))
                .collect();
            prop_assert_eq!(errors, expected);
        }
        let nodes: Vec<_> = read.endpoints().map(|node| (node.id, node.host, node.port)).collect();
        let expected: Vec<_> = answer.node_endpoints.iter().map(|node| (node.node_id.0, node.host.as_bytes(), node.port)).collect();
        prop_assert_eq!(nodes, expected);
    }
}

type Partition = ((i32, i16, i64, i64, i64), Vec<(i32, Option<String>)>, Option<String>, (i32, i32));

fn partition() -> impl Strategy<Value = Partition> {
    let text = || prop::option::of("\\PC{0,40}");
    let errors = prop::collection::vec((any::<i32>(), text()), 0..4);
    (any::<(i32, i16, i64, i64, i64)>(), errors, text(), (-1..5i32, any::<i32>()))
}

/// The answer that a broker of that version could give of it.
fn answer(
    topics: &[(u8, Vec<Partition>)],
    brokers: &[(i32, String, i32, Option<String>)],
    throttle: i32,
    version: i16,
) -> ProduceResponse {
    let text = |text: &Option<String>| text.clone().map(StrBytes::from_string);
    let partition = |((index, error, base, append, start), errors, message, leader): &Partition| {
        let mut partition = PartitionProduceResponse::default()
            .with_index(*index)
            .with_error_code(*error)
            .with_base_offset(*base)
            .with_log_append_time_ms(*append)
            .with_log_start_offset(*start);
        if version >= 8 {
            let error = |(record, message): &(i32, Option<String>)| {
                let error = BatchIndexAndErrorMessage::default().with_batch_index(*record);
                error.with_batch_index_error_message(text(message))
            };
            partition = partition.with_record_errors(errors.iter().map(error).collect());
            partition = partition.with_error_message(text(message));
        }
        if version >= 10 {
            let leader =
                LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader.0)).with_leader_epoch(leader.1);
            partition = partition.with_current_leader(leader);
        }
        partition
    };
    let topic = |(name, partitions): &(u8, Vec<Partition>)| {
        let topic = TopicProduceResponse::default()
            .with_partition_responses(partitions.iter().map(partition).collect());
        match version >= produce::VERSION_TOPIC_IDS {
            true => topic.with_topic_id(uuid::Uuid::from_bytes([*name; 16])),
            false => topic.with_name(TopicName(StrBytes::from_string(format!("topic-{name}")))),
        }
    };
    let broker = |(id, host, port, rack): &(i32, String, i32, Option<String>)| {
        let node = NodeEndpoint::default().with_node_id(BrokerId(*id)).with_port(*port).with_rack(text(rack));
        node.with_host(StrBytes::from_string(host.clone()))
    };
    let answer = ProduceResponse::default().with_throttle_time_ms(throttle);
    let answer = answer.with_responses(topics.iter().map(topic).collect());
    match version >= 10 {
        true => answer.with_node_endpoints(brokers.iter().map(broker).collect()),
        false => answer,
    }
}
