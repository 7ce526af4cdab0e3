//! The fake is only worth what it has in common with Kafka: the same raw requests go to both, and must earn the same.
//!
//! Real Kafka decides. Where the fake differs on purpose nothing is asked here, and its page says so. Needs Java 17 and
//! Maven; the rig fetches the rest.

mod both;

use both::{Both, Broker, Said};
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest, ProducerId,
    SaslHandshakeRequest, metadata_request::MetadataRequestTopic,
};
use kafka_protocol::protocol::StrBytes;
use ringmill_kafka_kit::{
    batch::{Batch, Record},
    fake::{Fake, Settings, error},
    raw::{Raw, Topic, encode, produce_request, timestamp, topic_name},
    rig::Rig,
};
use std::{sync::LazyLock, time::Duration};

/// Versions at which something changes: record errors, flexible, hints, topic ids.
const VERSIONS: [i16; 6] = [3, 7, 8, 9, 12, 13];

/// The same bytes whenever it is asked.
fn three() -> Batch {
    static NOW: LazyLock<i64> = LazyLock::new(timestamp);
    Batch::of_values(&["one", "two", "three"], *NOW)
}

fn at(sequence: i32) -> impl Fn(i64) -> Batch {
    // One moment for all steps of a test: a duplicate is the same bytes.
    let now = timestamp();
    move |producer| Batch::of_values(&["one", "two", "three"], now).stamped(producer, 0, sequence)
}

#[test]
fn the_fake_says_what_kafka_says() {
    let mut rig = Rig::start(&["--topic", "events:2"]);
    rig.order(&["create", "odd", "1"]);
    rig.order(&["create", "compacted", "1", "cleanup.policy=compact"]);
    let settings = Settings::default().topic("events", 2).topic("compacted", 1).topic("odd", 1);
    let fake = Fake::start(settings);
    fake.change(|cluster| cluster.topic("compacted").rules.compacted = true);
    let (kafka, fake_broker) = (Broker::connect(rig.addresses()[0]), Broker::connect(fake.addresses()[0]));
    let mut both = Both { kafka, fake: fake_broker, asked: 0, differences: Vec::new() };
    sequences(&mut both);
    epochs(&mut both);
    wrap(&mut both);
    VERSIONS.iter().for_each(|&version| bad_batches(&mut both, version));
    bad_framing(&mut both);
    codecs(&mut both);
    records_at_fault(&mut both);
    damaged_records(&mut both);
    VERSIONS.iter().for_each(|&version| wrong_places(&mut both, version));
    calls(&mut both);
    metadata(&mut both);
    connections_that_end(&mut both);
    answers_of_several(&mut both);
    println!("{} requests put to both", both.asked);
    let differences = both.differences;
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    same_log(&mut rig, &fake);
}

/// A gap, duplicates within and beyond the last five, an unknown producer.
fn sequences(both: &mut Both) {
    for i in 0..7 {
        assert_eq!(both.error("in order", 9, at(3 * i)), error::NONE);
    }
    assert_eq!(both.error("a gap", 9, at(24)), error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    for i in 2..7 {
        let said = both.put("one of the last five", 9, at(3 * i));
        assert!(
            matches!(said, Said::Partition { error: 0, base_offset, .. } if base_offset == 3 * i64::from(i))
        );
    }
    assert_eq!(both.error("an older one", 9, at(3)), error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let now = timestamp();
    let longer = |producer| Batch::of_values(&["a", "b", "c", "d"], now).stamped(producer, 0, 18);
    assert_eq!(both.error("the last again, longer", 9, longer), error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let shorter = |producer| Batch::of_values(&["a"], now).stamped(producer, 0, 18);
    assert_eq!(both.error("the last again, shorter", 9, shorter), error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(both.error("going on after all that", 9, at(21)), error::NONE);
    both.same("another id", |broker| broker.new_producer());
    assert_eq!(both.error("an unknown id at 5", 9, at(5)), error::NONE);
    assert_eq!(both.error("then 0", 9, at(0)), error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(both.error("then 8", 9, at(8)), error::NONE);
    assert_eq!(both.error("no producer at all", 9, |_| three()), error::NONE);
    assert_eq!(both.error("no producer, twice", 9, |_| three()), error::NONE);
    both.error("an id nobody gave out", 9, |producer| three().stamped(producer + 1_000_000, 0, 0));
    both.error("an id without a sequence", 9, |producer| three().stamped(producer, 0, -1));
    both.error("an id without an epoch", 9, |producer| three().stamped(producer, -1, 11));
    both.error("a sequence without an id", 9, |_| three().stamped(-1, -1, 4));
}

/// A bumped epoch begins at 0; an older one is fenced.
fn epochs(both: &mut Both) {
    both.same("another id", |broker| broker.new_producer());
    let now = timestamp();
    let epoch = |epoch, sequence| {
        move |producer| Batch::of_values(&["x", "y"], now).stamped(producer, epoch, sequence)
    };
    both.error("epoch 0", 9, epoch(0, 0));
    assert_eq!(both.error("epoch 1 not at 0", 9, epoch(1, 2)), error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(both.error("epoch 1 at 0", 9, epoch(1, 0)), error::NONE);
    assert_eq!(both.error("epoch 0 again", 9, epoch(0, 2)), error::INVALID_PRODUCER_EPOCH);
    both.error("a duplicate of epoch 0", 9, epoch(0, 0));
    assert_eq!(both.error("a duplicate of epoch 1", 9, epoch(1, 0)), error::NONE);
    assert_eq!(both.error("epoch 5 at 0", 9, epoch(5, 0)), error::NONE);
    assert_eq!(both.error("going on in epoch 5", 9, epoch(5, 2)), error::NONE);
}

/// After 2³¹ − 1 comes 0, also in the middle of a batch.
fn wrap(both: &mut Both) {
    for (first, then) in [(i32::MAX - 2, 0), (i32::MAX - 1, 1), (i32::MAX, 2)] {
        both.same("another id", |broker| broker.new_producer());
        let (before, after) = (at(first), at(then));
        assert_eq!(both.error("up to the wrap", 9, &before), error::NONE);
        assert_eq!(both.error("a duplicate over the wrap", 9, &before), error::NONE);
        assert_eq!(both.error("after the wrap", 9, &after), error::NONE);
        assert_eq!(both.error("a duplicate after the wrap", 9, &after), error::NONE);
        assert_eq!(both.error("a gap after the wrap", 9, at(then + 6)), error::OUT_OF_ORDER_SEQUENCE_NUMBER);
    }
}

/// Each field of the header, wrong.
fn bad_batches(both: &mut Both, version: i16) {
    let now = timestamp();
    let good = || Batch::of_values(&["one", "two", "three"], now);
    let cases: Vec<(&str, Batch, Option<i16>)> = vec![
        ("nothing wrong", good(), Some(error::NONE)),
        ("a wrong checksum", Batch { crc: Some(1), ..good() }, Some(error::CORRUPT_MESSAGE)),
        ("count too high", Batch { count: 4, ..good() }, Some(error::INVALID_RECORD)),
        ("count too low", Batch { count: 2, ..good() }, Some(error::INVALID_RECORD)),
        ("count 0", Batch { count: 0, ..good() }, Some(error::INVALID_RECORD)),
        ("count below 0", Batch { count: -1, ..good() }, None),
        ("last delta too high", Batch { last_offset_delta: 3, ..good() }, Some(error::INVALID_RECORD)),
        ("last delta and count too high", Batch { last_offset_delta: 3, count: 4, ..good() }, None),
        ("last delta and count too low", Batch { last_offset_delta: 1, count: 2, ..good() }, None),
        ("last delta below 0", Batch { last_offset_delta: -1, ..good() }, None),
        ("magic 1", Batch { magic: 1, ..good() }, Some(error::INVALID_RECORD)),
        ("magic 0", Batch { magic: 0, ..good() }, None),
        ("magic 3", Batch { magic: 3, ..good() }, None),
        ("magic -1", Batch { magic: -1, ..good() }, None),
        ("base offset 7", Batch { base_offset: 7, ..good() }, None),
        ("a leader epoch", Batch { leader_epoch: 3, ..good() }, None),
        ("control", Batch { attributes: 0x20, ..good() }, Some(error::INVALID_RECORD)),
        ("append time", Batch { attributes: 0x08, ..good() }, None),
        ("unknown attributes", Batch { attributes: 0x4000, ..good() }, None),
        ("a max timestamp below the records'", Batch { max_timestamp: now - 5, ..good() }, None),
        ("a max timestamp above the records'", Batch { max_timestamp: now + 5, ..good() }, None),
        ("timestamp -1", Batch::of_values(&["x"], -1), None),
        ("timestamp 0", Batch::of_values(&["x"], 0), None),
        ("two hours ahead", Batch::of_values(&["x"], now + 7_200_000), Some(error::INVALID_TIMESTAMP)),
        ("half an hour ahead", Batch::of_values(&["x"], now + 1_800_000), Some(error::NONE)),
        ("too large", Batch::of_values(&[vec![b'x'; 1_048_600]], now), Some(error::MESSAGE_TOO_LARGE)),
    ];
    for (what, batch, error) in cases {
        let what = format!("{what}, version {version}");
        let got = both.error(&what, version, |_| batch.clone());
        assert!(error.is_none_or(|error| error == got), "{what}: Kafka says {got}");
    }
}

/// What is wrong around the batch.
fn bad_framing(both: &mut Both) {
    let good = three().encode();
    let mut length = |name: &str, length: i32| {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        both.same(name, |broker| broker.put(9, 0, Some(bytes.clone())))
    };
    let full = good.len() as i32 - 12;
    for (name, value) in [("one short", full - 1), ("one long", full + 1), ("13", 13), ("14", 14), ("48", 48)]
    {
        length(&format!("length {name}"), value);
    }
    length("length 0", 0);
    length("length below 0", -5);
    length("length of 2 GiB", i32::MAX);
    for cut in [0, 5, 12, 16, 17, 60, 61, good.len() - 1] {
        both.same(&format!("cut to {cut}"), |broker| broker.put(9, 0, Some(good[..cut].to_vec())));
    }
    both.same("no records", |broker| broker.put(9, 0, None));
    let two = [good.clone(), good.clone()].concat();
    let said = both.same("two batches", |broker| broker.put(9, 0, Some(two.clone())));
    assert!(matches!(said, Said::Partition { error: error::INVALID_RECORD, .. }));
    for tail in [1, 12, 17, 40] {
        let longer = [&good[..], &vec![0; tail]].concat();
        both.same(&format!("{tail} bytes of nothing behind"), |broker| {
            broker.put(9, 0, Some(longer.clone()))
        });
    }
}

/// Codecs, right and wrong.
fn codecs(both: &mut Both) {
    for version in [3, 6, 7, 9] {
        both.error(&format!("lz4, version {version}"), version, |_| three().lz4());
        both.error(&format!("zstd, version {version}"), version, |_| three().zstd());
    }
    let cases: Vec<(&str, Batch)> = vec![
        ("lz4 that is not", Batch { attributes: 3, ..three() }),
        ("zstd that is not", Batch { attributes: 4, ..three() }),
        ("codec 5", Batch { attributes: 5, ..three() }),
        ("codec 7", Batch { attributes: 7, ..three() }),
        ("lz4, count too high", Batch { count: 4, last_offset_delta: 3, ..three().lz4() }),
        ("lz4, count too low", Batch { count: 2, last_offset_delta: 1, ..three().lz4() }),
        ("lz4, cut", Batch { payload: three().lz4().payload[..20].to_vec(), ..three().lz4() }),
        ("zstd, cut", Batch { payload: three().zstd().payload[..12].to_vec(), ..three().zstd() }),
    ];
    for (what, batch) in cases {
        both.error(what, 9, |_| batch.clone());
    }
}

/// Refusals that name records, and records that are malformed themselves.
fn records_at_fault(both: &mut Both) {
    let record = |i: i32, ms: i64| Record {
        offset_delta: i,
        timestamp_delta: ms,
        value: Some(b"v".to_vec()),
        ..Record::default()
    };
    let now = timestamp();
    let mixed = [record(0, 0), record(1, 7_200_000), record(2, 1), record(3, 7_300_000)];
    for version in [7, 8, 12] {
        let said = both.put("two of four ahead", version, |_| Batch::of(&mixed, now));
        let named = if version >= 8 { vec![1, 3] } else { vec![] };
        assert!(
            matches!(said, Said::Partition { error: error::INVALID_TIMESTAMP, records, .. } if records == named)
        );
    }
    let keyed = Record { key: Some(b"k".to_vec()), ..record(0, 0) };
    for (what, records) in [
        ("a key", vec![keyed.clone()]),
        ("no key", vec![record(0, 0)]),
        (
            "no key in the middle",
            vec![keyed.clone(), record(1, 0), Record { offset_delta: 2, ..keyed.clone() }],
        ),
        ("no key and too early", vec![keyed.clone(), record(1, 7_200_000)]),
    ] {
        both.same(&format!("{what}, into a compacted topic"), |broker| {
            let topic = broker.compacted.clone();
            broker.put_to(12, &topic, 0, Some(Batch::of(&records, now).encode()))
        });
    }
    let odd = |deltas: [i32; 3]| deltas.map(|delta| record(delta, 0));
    for deltas in [[0, 0, 0], [2, 1, 0], [5, 6, 7]] {
        let batch = Batch::of(&odd(deltas), now);
        for (what, bytes) in [("plain", batch.encode()), ("lz4", batch.lz4().encode())] {
            // Taken as they are, and then no consumer reads them rightly: so they go where none looks.
            both.same(&format!("offset deltas {deltas:?}, {what}"), |broker| {
                let topic = broker.raw.topic("odd").unwrap();
                broker.put_to(9, &topic, 0, Some(bytes.clone()))
            });
        }
    }
    let negative = [record(0, 0), record(1, -1000)];
    both.error("an earlier second record", 9, |_| Batch::of(&negative, now));
    let headers =
        Record { headers: vec![("h".into(), None), (String::new(), Some(vec![0]))], ..record(0, 0) };
    both.error("headers without value or name", 9, |_| Batch::of(std::slice::from_ref(&headers), now));
    let tombstone = Record { value: None, ..record(0, 0) };
    both.error("no value", 9, |_| Batch::of(std::slice::from_ref(&tombstone), now));
}

/// Each byte of the records, destroyed, as it is and under lz4.
fn damaged_records(both: &mut Both) {
    let now = timestamp();
    for at in 0..three().payload.len() {
        let damage = |lz4: bool| {
            move |_| {
                let mut batch = Batch::of_values(&["one", "two", "three"], now);
                batch.payload[at] = 0xff;
                if lz4 { batch.lz4() } else { batch }
            }
        };
        both.error(&format!("byte {at} of the records is ff"), 9, damage(false));
        both.error(&format!("byte {at} of the records is ff, lz4"), 9, damage(true));
    }
}

/// Topics and partitions that are not there, and acks that do not exist.
fn wrong_places(both: &mut Both, version: i16) {
    let named = |name: &str| Topic { name: name.into(), id: uuid::Uuid::from_u128(77), leaders: vec![] };
    for (topic, partition) in [(named("nowhere"), 0), (named(""), 0), (named("no such/name"), 0)] {
        both.same(&format!("topic {:?}, version {version}", topic.name), |broker| {
            broker.put_to(version, &topic, partition, Some(three().encode()))
        });
    }
    for partition in [2, -1, i32::MAX] {
        both.same(&format!("partition {partition}, version {version}"), |broker| {
            broker.put(version, partition, Some(three().encode()))
        });
    }
    for acks in [-2, 1, 2] {
        both.same(&format!("acks {acks}, version {version}"), |broker| {
            let request = produce_request(&broker.topic, 0, acks, Some(three().encode()));
            let answer = broker.raw.call(version, &request).unwrap();
            let it = &answer.responses[0].partition_responses[0];
            (it.error_code, it.base_offset, it.log_start_offset)
        });
    }
}

/// Other calls.
fn calls(both: &mut Both) {
    for version in [0, 3, 4] {
        both.same("ApiVersions", |broker| {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(StrBytes::from_static_str("raw"))
                .with_client_software_version(StrBytes::from_static_str("1"));
            let answer = broker.raw.call(version, &request).unwrap();
            let mut spoken = answer.api_keys;
            spoken.retain(|it| [0, 3, 17, 18, 36].contains(&it.api_key)); // InitProducerId goes further in Kafka.
            spoken.sort_by_key(|it| it.api_key);
            let spoken: Vec<_> =
                spoken.iter().map(|it| (it.api_key, it.min_version, it.max_version)).collect();
            (answer.error_code, spoken)
        });
    }
    both.same("ApiVersions of nobody", |broker| {
        let answer = broker.raw.call(3, &ApiVersionsRequest::default()).unwrap();
        answer.error_code
    });
    for (version, id) in [(0, -1), (2, -1), (3, 5), (4, 5), (5, 123_456_789)] {
        both.same("InitProducerId", |broker| {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(1000)
                .with_producer_id(ProducerId(if version >= 3 { id } else { -1 }))
                .with_producer_epoch(if version >= 3 { 3.min(id as i16) } else { -1 });
            let answer = broker.raw.call(version, &request).unwrap();
            (answer.error_code, answer.producer_id.0 >= 0, answer.producer_epoch)
        });
    }
    both.same("InitProducerId with an empty name", |broker| {
        let answer = broker.raw.call(4, &InitProducerIdRequest::default()).unwrap();
        (answer.error_code, answer.producer_id.0, answer.producer_epoch)
    });
}

/// Metadata by name and by id, and a login that nobody asks for.
fn metadata(both: &mut Both) {
    for (version, names) in [
        (1, vec!["events"]),
        (4, vec!["nowhere"]),
        (8, vec!["", "a/b", ".."]),
        (9, vec!["events", "nowhere"]),
        (13, vec!["events"]),
    ] {
        both.same(&format!("Metadata {version} of {names:?}"), |broker| {
            let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
            let request = MetadataRequest::default()
                .with_topics(Some(names.iter().map(topic).collect()))
                .with_allow_auto_topic_creation(version < 4);
            let answer = broker.raw.call(version, &request).unwrap();
            let mut told: Vec<_> = answer
                .topics
                .iter()
                .map(|it| {
                    let name = it.name.as_ref().map(|name| name.0.to_string());
                    (name, it.error_code, it.topic_id.is_nil(), it.partitions.len())
                })
                .collect();
            told.sort();
            (told, answer.brokers.len())
        });
    }
    both.same("Metadata by id", |broker| {
        let by = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        let ids = vec![by(broker.topic.id), by(uuid::Uuid::from_u128(99))];
        let answer = broker.raw.call(12, &MetadataRequest::default().with_topics(Some(ids))).unwrap();
        let mut told: Vec<_> = answer.topics.iter().map(|it| (it.error_code, it.name.clone())).collect();
        told.sort();
        told
    });
    let _ = both.same("a handshake where nobody asks for it", |broker| {
        let mut raw = Raw::connect(broker.address).unwrap();
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
        raw.call(1, &request).map(|answer| answer.error_code).map_err(|e| e.kind())
    });
}

/// Requests that earn no answer but the end of the connection, or an answer in another version.
fn connections_that_end(both: &mut Both) {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a length below 0", vec![0xff; 4]),
        ("a length of 2 GiB", i32::MAX.to_be_bytes().to_vec()),
        ("an empty frame", vec![0; 4]),
        ("a call that does not exist", [&8i32.to_be_bytes()[..], &[0x7f, 0xff, 0, 0, 0, 0, 0, 1]].concat()),
        ("a version that does not exist", versioned(0, 99)),
        ("a Produce of version 2", versioned(0, 2)),
        ("a request that ends early", [&10i32.to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 1, 0, 0]].concat()),
        ("ApiVersions 99", versioned(18, 99)),
    ];
    for (what, bytes) in cases {
        let _ = both.same(what, |broker| {
            let mut raw = Raw::connect(broker.address).unwrap();
            raw.patience(Duration::from_secs(3));
            raw.send_bytes(&bytes).unwrap();
            // Error code and nothing else: how much of the table follows is each broker's own.
            raw.receive_bytes().map(|frame| frame[..6].to_vec()).map_err(|e| e.kind())
        });
    }
}

/// Requests of no answer, and of several.
fn answers_of_several(both: &mut Both) {
    let _ = both.same("acks 0 has no answer", |broker| {
        let mut raw = Raw::connect(broker.address).unwrap();
        raw.send(9, &produce_request(&broker.topic, 1, 0, Some(three().encode()))).unwrap();
        raw.metadata(&["events"]).map(|answer| answer.topics[0].error_code).map_err(|e| e.kind())
    });
    both.same("several topics and partitions in one request", |broker| {
        let mut request = produce_request(&broker.topic, 0, -1, Some(three().encode()));
        let mut second = request.topic_data[0].partition_data[0].clone().with_index(1);
        second.records = Some(Bytes::from(Batch { crc: Some(5), ..three() }.encode()));
        request.topic_data[0].partition_data.push(second);
        let other = Topic { name: "nowhere".into(), id: uuid::Uuid::from_u128(1), leaders: vec![] };
        request.topic_data.extend(produce_request(&other, 0, -1, Some(three().encode())).topic_data);
        let answer = broker.raw.call::<ProduceRequest>(9, &request).unwrap();
        let mut told: Vec<_> = answer
            .responses
            .iter()
            .flat_map(|topic| {
                topic.partition_responses.iter().map(|it| (topic.name.0.to_string(), it.index, it.error_code))
            })
            .collect();
        told.sort();
        told
    });
}

/// A frame of the head alone.
fn versioned(key: i16, version: i16) -> Vec<u8> {
    let mut bytes = encode(1, 9, &ProduceRequest::default());
    bytes[4..6].copy_from_slice(&key.to_be_bytes());
    bytes[6..8].copy_from_slice(&version.to_be_bytes());
    bytes
}

/// After all that, both logs hold the same.
fn same_log(rig: &mut Rig, fake: &Fake) {
    for (topic, partitions) in [("events", 2), ("compacted", 1)] {
        let kafka = rig.consume(topic);
        for partition in 0..partitions {
            let theirs: Vec<_> = kafka
                .iter()
                .filter(|it| it.partition == partition)
                .map(|it| (it.offset, it.timestamp, it.key.clone(), it.value.clone(), it.headers.clone()))
                .collect();
            let ours: Vec<_> = fake
                .records(topic, partition as usize)
                .into_iter()
                .map(|it| (it.offset, it.timestamp, it.record.key, it.record.value, it.record.headers))
                .collect();
            assert_eq!(ours.len(), theirs.len(), "{topic}-{partition}");
            let odd = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
            assert_eq!(odd, None, "{topic}-{partition}: left the fake, right Kafka");
        }
        if topic == "events" {
            assert!(rig.dump(1, topic, 0).iter().all(|batch| batch.valid));
        }
    }
}
