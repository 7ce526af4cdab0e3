//! Against what the Java client's own encoder made: `tests/kafka/golden/Golden.java` says how.
use super::arena::{ArenaLimits, RecordArena, Slot};
use super::batch::{BatchHeader, HEADER_BYTES, Stamp, encode_record, record_len};
use super::compress::Codec;
use super::decode::{self, Event};
use super::partition::murmur2;
use super::produce::{
    Part, ProduceBatch, ProduceFrame, ProduceHead, ProduceResponse, TopicRef, VERSION_TOPIC_IDS,
};
use alloc::vec::Vec;
use alloc::{format, vec};

const GOLDEN: &str = include_str!("../../../tests/kafka/golden/golden.txt");

/// A batch of the file.
struct Case<'a> {
    name: &'a str,
    codec: Codec,
    stamp: Stamp,
    events: Vec<Event>,
    bytes: Vec<u8>,
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix('x').expect("hex begins with x");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn event(fields: &[&str]) -> Event {
    let headers = fields[3..].iter().map(|header| {
        let (name, value) = header.split_once('=').unwrap();
        (unhex(name), unhex(value))
    });
    Event {
        timestamp_ms: fields[0].parse().unwrap(),
        key: (fields[1] != "-").then(|| unhex(fields[1])),
        value: unhex(fields[2]),
        headers: headers.collect(),
    }
}

fn cases() -> Vec<Case<'static>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in GOLDEN.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields[0] {
            "batch" => {
                let codec = match fields[2] {
                    "lz4" => Codec::Lz4,
                    "zstd" => Codec::Zstd,
                    _ => Codec::None,
                };
                let [producer, epoch, sequence] = [3, 4, 5].map(|at| fields[at].parse::<i64>().unwrap());
                let stamp = Stamp { producer_id: producer, epoch: epoch as i16, sequence: sequence as i32 };
                let same = |case: &Case| if codec == Codec::None { Vec::new() } else { case.events.clone() };
                let events = cases.last().map_or(Vec::new(), same);
                cases.push(Case { name: fields[1], codec, stamp, events, bytes: Vec::new() });
            }
            "record" => cases.last_mut().unwrap().events.push(event(&fields[1..])),
            "bytes" => cases.last_mut().unwrap().bytes = unhex(fields[1]),
            _ => {}
        }
    }
    assert!(cases.len() >= 9 && cases.iter().all(|case| !case.events.is_empty()));
    cases
}

fn borrowed(headers: &[(Vec<u8>, Vec<u8>)]) -> Vec<(&[u8], &[u8])> {
    headers.iter().map(|(name, value)| (&name[..], &value[..])).collect()
}

fn records(events: &[Event]) -> Vec<u8> {
    let mut out = vec![0; 1 << 16];
    let mut at = 0;
    for (n, event) in events.iter().enumerate() {
        let delta = event.timestamp_ms.wrapping_sub(events[0].timestamp_ms);
        let headers = borrowed(&event.headers);
        let len = record_len(n as u32, delta, event.key.as_deref(), &headers, &event.value);
        let key = event.key.as_deref();
        let written = encode_record(&mut out[at..], n as u32, delta, key, &headers, &event.value);
        assert_eq!(written, Some(len));
        at += len;
    }
    out.truncate(at);
    out
}

#[test]
fn batches_are_byte_for_byte_what_java_makes() {
    for case in cases() {
        // Compressors differ, so of a compressed batch the records are taken as they are.
        let records = match case.codec {
            Codec::None => records(&case.events),
            _ => case.bytes[HEADER_BYTES..].to_vec(),
        };
        let header = BatchHeader {
            first_timestamp_ms: case.events[0].timestamp_ms,
            max_timestamp_ms: case.events.iter().map(|event| event.timestamp_ms).max().unwrap(),
            records: case.events.len() as u32,
            codec: case.codec,
            stamp: case.stamp,
        };
        let mut out = [0; HEADER_BYTES];
        header.encode(&mut out, &records);
        assert_eq!(out[..], case.bytes[..HEADER_BYTES], "{}", case.name);
        assert!(records == case.bytes[HEADER_BYTES..], "{}", case.name);
    }
}

#[test]
fn an_arena_makes_them_too() {
    for case in cases().into_iter().filter(|case| case.codec == Codec::None) {
        let mut arena = RecordArena::new(vec![0; 1 << 16], vec![0; 1 << 16], ArenaLimits::default());
        for event in &case.events {
            let headers = borrowed(&event.headers);
            arena.append(3, event.key.as_deref(), &headers, event.timestamp_ms, &event.value, false).unwrap();
        }
        arena.seal(None);
        arena.stamp(Slot(0), case.stamp);
        let (header, records) = arena.batch_bytes(Slot(0));
        assert!([header, records].concat() == case.bytes, "{}", case.name);
    }
}

#[test]
fn the_slow_reader_reads_javas_batches() {
    for case in cases().into_iter().filter(|case| case.codec != Codec::Zstd) {
        let read = decode::batch(&case.bytes);
        assert!(read.events == case.events, "{}", case.name);
        let stamp = Stamp { producer_id: read.producer_id, epoch: read.epoch, sequence: read.sequence };
        assert_eq!((read.codec, stamp), (case.codec.id(), case.stamp), "{}", case.name);
    }
}

#[test]
fn murmur2_is_javas() {
    let mut seen = 0;
    for line in GOLDEN.lines().filter(|line| line.starts_with("murmur2 ")) {
        let fields: Vec<&str> = line.split(' ').collect();
        let hash: i32 = fields[2].parse().unwrap();
        assert_eq!(murmur2(&unhex(fields[1])), hash as u32, "{}", fields[1]);
        seen += 1;
    }
    assert!(seen >= 18);
}

const ALPHA: [u8; 16] = 0x0123_4567_89ab_cdef_1032_5476_98ba_dcfe_u128.to_be_bytes();
const BETA: [u8; 16] = 0x7766_5544_3322_1100_0a0b_0c0d_0e0f_1011_u128.to_be_bytes();

fn topics(version: i16) -> [TopicRef<'static>; 2] {
    match version >= VERSION_TOPIC_IDS {
        true => [TopicRef::Id(ALPHA), TopicRef::Id(BETA)],
        false => [TopicRef::Name(b"alpha"), TopicRef::Name(b"beta")],
    }
}

fn messages(kind: &str) -> Vec<(i16, Vec<u8>)> {
    let lines = GOLDEN.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')?.split_once(' '));
    let messages: Vec<_> = lines.map(|(version, bytes)| (version.parse().unwrap(), unhex(bytes))).collect();
    assert_eq!(messages.len(), 11);
    messages
}

#[test]
fn requests_are_byte_for_byte_what_java_makes() {
    let mut arena = RecordArena::new(vec![0; 4096], vec![0; 4096], ArenaLimits::default());
    let long = "b".repeat(500);
    for (partition, value) in [(0, "{\"a\":0}"), (1, "[7]"), (2, &long)] {
        arena.append(partition, None, &[], 1_795_219_200_000, value.as_bytes(), false).unwrap();
    }
    arena.seal(None);
    let numbers = [0, 7, 300];
    for (slot, number) in (0..).zip(numbers) {
        arena.stamp(Slot(slot), Stamp { producer_id: 4000 + i64::from(number), epoch: 1, sequence: 5 });
    }
    let mut frame = ProduceFrame::new();
    for (version, java) in messages("request") {
        let [alpha, beta] = topics(version);
        let batch = |slot, topic, partition| {
            let bytes = arena.batch(Slot(slot)).bytes;
            ProduceBatch { topic, partition, slot: Slot(slot), bytes }
        };
        let batches = [batch(0, alpha, 0), batch(1, alpha, 7), batch(2, beta, 300)];
        let head =
            ProduceHead { version, correlation: 0x0102_0304, client_id: "ringmill", timeout_ms: 30_000 };
        let total = frame.encode(&head, &batches).unwrap();
        let mut sent = Vec::new();
        for part in frame.parts() {
            sent.extend_from_slice(match part {
                Part::Framing(range) => &frame.framing()[range.clone()],
                Part::Header(slot) => arena.batch_bytes(*slot).0,
                Part::Records(slot) => arena.batch_bytes(*slot).1,
            });
        }
        assert_eq!(sent.len(), total);
        assert_eq!(sent[..4], (java.len() as u32).to_be_bytes());
        assert!(sent[4..] == java, "v{version}");
    }
}

#[test]
fn answers_are_read_as_java_wrote_them() {
    for (version, java) in messages("response") {
        let response = ProduceResponse::parse(&java, version).unwrap();
        assert_eq!((response.correlation(), response.throttle_ms()), (0x0102_0304, 250));
        let answers: Vec<_> = response.partitions().collect();
        let [alpha, beta] = topics(version);
        let seen: Vec<_> = answers
            .iter()
            .map(|answer| (answer.topic, answer.partition, answer.error, answer.base_offset))
            .collect();
        assert_eq!(seen, [(alpha, 0, 0, 1041), (alpha, 7, 6, -1), (beta, 300, 87, -1)], "v{version}");
        assert_eq!(answers[0].log_start_offset, if version >= 5 { 17 } else { -1 });
        assert_eq!((answers[0].log_append_time_ms, answers[2].log_append_time_ms), (-1, 1_795_219_200_000));
        let errors: Vec<_> =
            answers[2].record_errors.clone().map(|error| (error.record, error.message)).collect();
        let nodes: Vec<_> =
            response.endpoints().map(|node| format!("{} {:?} {}", node.id, node.host, node.port)).collect();
        if version >= 8 {
            assert_eq!(errors, [(0, Some(&b"no key"[..])), (5, None)]);
            assert_eq!((answers[2].message, answers[0].message), (Some(&b"invalid"[..]), None));
        } else {
            assert!(errors.is_empty() && answers[2].message.is_none());
        }
        if version >= 10 {
            assert_eq!(
                answers.iter().map(|answer| answer.leader).collect::<Vec<_>>(),
                [None, Some((2, 9)), None]
            );
            let expected = [(2, &b"127.0.0.1"[..], 19094), (3, b"::1", 19095)];
            assert_eq!(nodes, expected.map(|(id, host, port)| format!("{id} {host:?} {port}")));
        } else {
            assert!(nodes.is_empty() && answers.iter().all(|answer| answer.leader.is_none()));
        }
    }
}
