//! Once warm, events become batches and requests, and answers are read, without any memory being taken. Alone in
//! its binary: the counter is global.
mod counting;

use counting::CALLS;
use ringmill_core::kafka::arena::{ArenaLimits, RecordArena, Slot};
use ringmill_core::kafka::batch::Stamp;
use ringmill_core::kafka::compress::{Compress, Lz4};
use ringmill_core::kafka::partition::{Fitness, Partitioner, Spread};
use ringmill_core::kafka::produce::{
    Part, ProduceBatch, ProduceFrame, ProduceHead, ProduceResponse, TopicRef,
};
use std::sync::atomic::Ordering::Relaxed;

/// Everything of a sink that is used again and again.
struct Sink {
    arena: RecordArena<Vec<u8>>,
    lz4: Lz4,
    partitioner: Partitioner,
    frame: ProduceFrame,
}

const PARTITIONS: u32 = 12;

impl Sink {
    /// One commit of `events` events; returns the bytes of its requests.
    fn commit(&mut self, events: u32, keyed: bool, compressed: bool) -> usize {
        let Sink { arena, lz4, partitioner, frame } = self;
        arena.clear();
        for n in 0..events {
            let key = n.to_be_bytes();
            let key = keyed.then_some(&key[..]);
            let value = &VALUE[n as usize % 100..];
            let partition = partitioner.choose(key, value.len(), PARTITIONS, |partition| match partition {
                3 => Fitness::Unusable,
                _ => Fitness::Fit,
            });
            let headers = [(&b"stream"[..], &b"web"[..])];
            let mark = arena.mark();
            arena
                .append(
                    partition.unwrap(),
                    key,
                    &headers,
                    1_795_219_200_000 + i64::from(n),
                    value,
                    n % 9 == 0,
                )
                .unwrap();
            if n % 50 == 49 {
                arena.rollback(mark);
            }
        }
        arena.seal(compressed.then_some(lz4 as &mut dyn Compress));
        assert!(arena.split(Slot(0), compressed.then_some(lz4 as &mut dyn Compress)).is_some());
        let mut bytes = 0;
        for slot in arena.slots() {
            arena.stamp(slot, Stamp { producer_id: 9, epoch: 1, sequence: 5 });
            let batch = arena.batch(slot);
            let topic = TopicRef::Name(b"events");
            let batch = ProduceBatch { topic, partition: batch.partition as i32, slot, bytes: batch.bytes };
            let head = ProduceHead { version: 12, correlation: 1, client_id: "ringmill", timeout_ms: 30_000 };
            let total = frame.encode(&head, &[batch]).unwrap();
            let part = |part: &Part| match part {
                Part::Framing(range) => frame.framing()[range.clone()].len(),
                Part::Header(slot) => arena.batch_bytes(*slot).0.len(),
                Part::Records(slot) => arena.batch_bytes(*slot).1.len(),
            };
            assert_eq!(frame.parts().iter().map(part).sum::<usize>(), total);
            bytes += total;
        }
        bytes
    }
}

const VALUE: &[u8] = &[b'v'; 400];
/// v12: topic "a", partition 5 at offset 1041, then partition 6 refused with a message and a record.
const ANSWER: &[u8] = b"\0\0\0\x01\0\x02\x02a\x03\
    \0\0\0\x05\0\0\0\0\0\0\0\0\x04\x11\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\x01\0\0\
    \0\0\0\x06\0\x57\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\x02\0\0\0\x01\x03no\0\x04bad\0\
    \0\0\0\0\0\0";

fn answered() -> usize {
    let answer = ProduceResponse::parse(ANSWER, 12).unwrap();
    let errors = answer.partitions().map(|answer| answer.record_errors.count()).sum::<usize>();
    answer.partitions().count() * 10 + errors
}

#[test]
fn producing_allocates_nothing_once_warm() {
    let bytes = 1 << 20;
    let mut sink = Sink {
        arena: RecordArena::new(vec![0; bytes], vec![0; bytes], ArenaLimits::default()),
        lz4: Lz4::new(),
        partitioner: Partitioner::new(Spread::Sticky { bytes: 10_000 }, 1),
        frame: ProduceFrame::new(),
    };
    assert!(CALLS.load(Relaxed) > 0, "the counter counts");
    // Not even the first time: all of it is made at start.
    for events in [60, 300, 2000] {
        for (keyed, compressed) in [(false, false), (true, false), (false, true), (true, true)] {
            let calls = CALLS.load(Relaxed);
            let sent = sink.commit(events, keyed, compressed);
            assert_eq!(answered(), 21);
            assert_eq!(CALLS.load(Relaxed), calls, "{events} events, keyed {keyed}, compressed {compressed}");
            let raw = 350 * events as usize;
            assert!(if compressed { sent < raw / 2 } else { sent > raw / 2 }, "{sent} of {raw}");
        }
    }
}
