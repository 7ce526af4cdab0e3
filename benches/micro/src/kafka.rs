//! Stages of the Kafka sink: events of 300 bytes to record batches, and those into a request.
//!
//! Everything is of one commit of [`EVENTS`] events. Those without a key go to one partition, those with one to
//! [`PARTITIONS`].
use crate::Work;
use ringmill_core::batch::store::Records;
use ringmill_core::kafka::arena::{ArenaLimits, RecordArena};
use ringmill_core::kafka::batch::Stamp;
use ringmill_core::kafka::compress::{Compress, Lz4};
use ringmill_core::kafka::partition::{Fitness, Partitioner, Spread};
use ringmill_core::kafka::produce::{ProduceBatch, ProduceFrame, ProduceHead, TopicRef};
use ringmill_core::kafka::producer::{
    self, BrokerSeen, Command, Input, MetadataAnswer, PartitionSeen, TopicId, TopicSeen,
};
use ringmill_core::segment::header::StreamName;
use ringmill_core::sink::kafka::{Event, HeaderRules, KafkaSink, Routing, Settings};
use std::hint::black_box;

/// Events of a commit.
const EVENTS: usize = 1000;
/// Bytes of each: what the sink's aims are stated for.
const EVENT_BYTES: usize = 300;
const PARTITIONS: u32 = 12;
const ARENA_BYTES: usize = 1 << 20;
const NOW_MS: i64 = 1_795_219_200_000;

/// The lines' text in pieces of one length.
fn events(lines: &[&[u8]]) -> Vec<Vec<u8>> {
    let text: Vec<u8> = lines.concat().into_iter().cycle().take(EVENTS * EVENT_BYTES).collect();
    text.chunks(EVENT_BYTES).map(<[u8]>::to_vec).collect()
}

fn arena() -> RecordArena<Vec<u8>> {
    RecordArena::new(vec![0; ARENA_BYTES], vec![0; ARENA_BYTES], ArenaLimits::default())
}

fn append(arena: &mut RecordArena<Vec<u8>>, partitioner: &mut Partitioner, events: &[Vec<u8>], keyed: bool) {
    for (event, now_ms) in events.iter().zip(NOW_MS..) {
        let key = keyed.then_some(&event[..8]);
        let partition =
            partitioner.choose(key, event.len(), PARTITIONS, |_| Fitness::Fit).expect("there are some");
        arena
            .append(partition, key, &[], now_ms, black_box(event), false)
            .expect("the arena is large enough");
    }
}

fn partitioner() -> Partitioner {
    // More than a commit, so that it goes to one partition.
    Partitioner::new(Spread::Sticky { bytes: 1 << 40 }, 1)
}

fn seal(arena: &mut RecordArena<Vec<u8>>, compressor: Option<&mut dyn Compress>) -> usize {
    arena.seal(compressor);
    let mut bytes = 0;
    for slot in arena.slots() {
        arena.stamp(slot, Stamp { producer_id: 4000, epoch: 1, sequence: 77 });
        bytes += black_box(arena.batch_bytes(slot)).1.len();
    }
    bytes
}

/// Events without a key into the arena: the copy that they meet.
pub fn record(lines: &[&[u8]]) -> Work {
    let (events, mut arena, mut partitioner) = (events(lines), arena(), partitioner());
    Box::new(move || {
        arena.clear();
        append(&mut arena, &mut partitioner, &events, false);
        arena.events() as usize
    })
}

/// Events with a key, whose partitions take turns.
pub fn record_keyed(lines: &[&[u8]]) -> Work {
    let (events, mut arena, mut partitioner) = (events(lines), arena(), partitioner());
    Box::new(move || {
        arena.clear();
        append(&mut arena, &mut partitioner, &events, true);
        arena.events() as usize
    })
}

/// A sink whose topic has [`PARTITIONS`] partitions, all led by one broker that is connected.
fn sink(headers: HeaderRules) -> KafkaSink {
    let settings = Settings {
        producer: producer::Settings::new(1, 1, 1, PARTITIONS as usize, 1),
        arena: ArenaLimits::default(),
        spread: Spread::Sticky { bytes: 1 << 40 },
        compress: None,
        routing: Routing { headers, ..Routing::fixed("events") },
        shard: 3,
        first_sequence: NOW_MS as u64 * 1_000_000,
    };
    let mut sink = KafkaSink::new(settings, 0).expect("the settings are sound");
    let seen = |number| PartitionSeen { error: 0, number, leader: 1, leader_epoch: 0 };
    let partitions: Vec<_> = (0..PARTITIONS as i32).map(seen).collect();
    let topics = [TopicSeen { error: 0, name: "events", id: TopicId([1; 16]), partitions: &partitions }];
    let brokers = [BrokerSeen { id: 1, host: "broker.example", port: 9092 }];
    let answer = MetadataAnswer { error: 0, throttle_ms: 0, brokers: &brokers, topics: &topics };
    let producer = sink.producer_mut();
    while let Some(input) = producer.next_command(0).map(|command| match command {
        Command::Dial { link, .. } => Some(Input::Up { link }),
        Command::Metadata { link, correlation, .. } => Some(Input::Metadata { link, correlation, answer }),
        _ => None,
    }) {
        input.into_iter().for_each(|input| producer.handle(0, input));
    }
    sink
}

fn through_sink(lines: &[&[u8]], headers: HeaderRules) -> Work {
    let (events, mut sink) = (events(lines), sink(headers));
    let block = || vec![0; ARENA_BYTES];
    let mut records =
        Records::new(block(), block(), ArenaLimits { partitions: PARTITIONS, ..ArenaLimits::default() });
    Box::new(move || {
        records.arena.clear();
        let stream = StreamName::DEFAULT;
        let route = sink.route(0, &stream).expect("its broker is connected");
        for (value, wall_ms) in events.iter().zip(NOW_MS as u64..) {
            let value = black_box(value);
            let event = Event {
                stream: &stream,
                key: None,
                value,
                picked: None,
                breaks: false,
                now_ns: 0,
                wall_ms,
                id: None,
            };
            sink.append(&mut records, &route, &event).expect("the arena is large enough");
        }
        records.arena.events() as usize
    })
}

/// Events from a request into the arena: key, headers, partition, and the copy.
pub fn event(lines: &[&[u8]]) -> Work {
    through_sink(lines, HeaderRules::default())
}

/// The same with the headers that the server gives: stream and event id.
pub fn event_headers(lines: &[&[u8]]) -> Work {
    let named = |name: &str| Some(name.to_owned());
    through_sink(lines, HeaderRules { stream: named("stream"), event_id: named("id"), extra: Vec::new() })
}

fn sealed(lines: &[&[u8]], keyed: bool, mut lz4: Option<Lz4>) -> Work {
    let mut arena = arena();
    append(&mut arena, &mut partitioner(), &events(lines), keyed);
    let raw = arena.len();
    Box::new(move || {
        let bytes = seal(&mut arena, lz4.as_mut().map(|lz4| lz4 as &mut dyn Compress));
        assert!(if lz4.is_some() { bytes < raw } else { bytes == raw });
        EVENTS
    })
}

/// Header and checksum of a batch that is sent from where it lies.
pub fn seal_plain(lines: &[&[u8]]) -> Work {
    sealed(lines, false, None)
}

/// The same after gathering.
pub fn seal_keyed(lines: &[&[u8]]) -> Work {
    sealed(lines, true, None)
}

/// The same after compressing.
pub fn seal_lz4(lines: &[&[u8]]) -> Work {
    sealed(lines, false, Some(Lz4::new()))
}

/// A Produce request around the largest number of batches.
pub fn frame(_: &[&[u8]]) -> Work {
    let mut arena = arena();
    let batches = ringmill_core::kafka::produce::BATCHES_MAX as u32;
    (0..batches).for_each(|partition| {
        arena.append(partition, None, &[], NOW_MS, b"{}", false).expect("the arena is large enough");
    });
    arena.seal(None);
    let mut frame = ProduceFrame::new();
    Box::new(move || {
        let head = ProduceHead { version: 12, correlation: 7, client_id: "ringmill", timeout_ms: 30_000 };
        let mut asked = [None; ringmill_core::kafka::produce::BATCHES_MAX];
        for (place, batch) in asked.iter_mut().zip(arena.batches()) {
            let topic = TopicRef::Name(b"events");
            let (partition, slot) = (batch.partition as i32, batch.slot);
            *place = Some(ProduceBatch { topic, partition, slot, bytes: batch.bytes });
        }
        let asked = asked.map(|batch| batch.expect("one for each"));
        let bytes = frame.encode(black_box(&head), &asked).expect("it can be framed");
        assert!(bytes > frame.framing().len());
        asked.len()
    })
}
