//! Once warm, the Kafka producer takes no memory: not for a batch, a retry, a lost link, a new leader.
//! Alone in its binary: the counter is global.
mod counting;

use counting::CALLS;
use ringmill_core::kafka::producer::{
    BrokerSeen, Command, Input, LinkFailure, LinkId, MetadataAnswer, Outcome, PartitionIndex, PartitionSeen,
    ProduceAnswer, Producer, ProducerIdAnswer, Settings, Slot, TopicId, TopicIndex, TopicSeen,
};
use std::sync::atomic::Ordering::Relaxed;

const PARTITIONS: usize = 16;
const MS: u64 = 1_000_000;

/// What is to be answered, copied out of a command without memory.
enum Due {
    Dialed(LinkId),
    Metadata(LinkId, i32),
    Id(LinkId, i32),
    Produce(LinkId, i32, usize),
    Nothing,
}

struct Bench {
    producer: Producer,
    now: u64,
    next_id: i64,
    partitions: [PartitionSeen; PARTITIONS],
    sent: [Slot; PARTITIONS],
    written: u64,
    error: i16,
    lose: bool,
}

impl Bench {
    fn new() -> Bench {
        let mut producer = Producer::new(Settings::new(1, 3, 1, PARTITIONS, 1));
        producer.add_topic(0, "events").expect("room");
        let seen = |n| PartitionSeen { error: 0, number: n as i32, leader: n as i32 % 3, leader_epoch: 0 };
        Bench {
            producer,
            now: 0,
            next_id: 0,
            partitions: std::array::from_fn(seen),
            sent: [Slot(0); PARTITIONS],
            written: 0,
            error: 0,
            lose: false,
        }
    }

    fn next(&mut self) -> Option<Due> {
        Some(match self.producer.next_command(self.now)? {
            Command::Dial { link, .. } => Due::Dialed(link),
            Command::HangUp { .. } => Due::Nothing,
            Command::Metadata { link, correlation, .. } => Due::Metadata(link, correlation),
            Command::InitProducerId { link, correlation, .. } => Due::Id(link, correlation),
            Command::Produce { link, correlation, batches } => {
                self.sent[..batches.len()].copy_from_slice(batches);
                Due::Produce(link, correlation, batches.len())
            }
        })
    }

    fn turn(&mut self) {
        while let Some(due) = self.next() {
            match due {
                Due::Nothing => {}
                Due::Dialed(link) => {
                    self.producer.handle(self.now, Input::Up { link });
                }
                Due::Metadata(link, correlation) => self.metadata(link, correlation),
                Due::Id(link, correlation) => {
                    self.next_id += 1;
                    let (producer_id, epoch) = (self.next_id, 0);
                    let answer = ProducerIdAnswer { error: 0, throttle_ms: 0, producer_id, epoch };
                    self.producer.handle(self.now, Input::InitProducerId { link, correlation, answer });
                }
                Due::Produce(link, _, _) if self.lose => {
                    self.lose = false;
                    self.producer.handle(self.now, Input::Down { link, why: LinkFailure::Reset });
                }
                Due::Produce(link, correlation, batches) => self.answer(link, correlation, batches),
            }
        }
        while let Some((_, outcome)) = self.producer.next_outcome() {
            assert!(matches!(outcome, Outcome::Written { .. }), "{outcome:?}");
            self.written += 1;
        }
    }

    fn metadata(&mut self, link: LinkId, correlation: i32) {
        let brokers = [0, 1, 2].map(|id| BrokerSeen { id, host: "broker.example", port: 9092 });
        let topics =
            [TopicSeen { error: 0, name: "events", id: TopicId([1; 16]), partitions: &self.partitions }];
        let answer = MetadataAnswer { error: 0, throttle_ms: 0, brokers: &brokers, topics: &topics };
        self.producer.handle(self.now, Input::Metadata { link, correlation, answer });
    }

    fn answer(&mut self, link: LinkId, correlation: i32, batches: usize) {
        let error = std::mem::take(&mut self.error);
        let producer = &self.producer;
        let mut answers = [None; PARTITIONS];
        for (answer, slot) in answers.iter_mut().zip(&self.sent[..batches]) {
            let partition = producer.partition_of(*slot).expect("in use");
            *answer = Some(ProduceAnswer { partition, error, base_offset: 1, records: None, leader: None });
        }
        let answers = &mut answers.into_iter().flatten();
        self.producer
            .handle(self.now, Input::Produce { link, correlation, throttle_ms: 1, nodes: &[], answers });
    }

    /// A commit: a batch for every partition, until all are written.
    fn commit(&mut self) {
        let goal = self.written + PARTITIONS as u64;
        for n in 0..PARTITIONS as u32 {
            let partition: PartitionIndex = self.producer.partitions(TopicIndex(0)).index(n).expect("known");
            self.producer.submit(self.now, Slot(n), partition, 100, 30_000);
        }
        while self.written < goal {
            self.turn();
            self.now += MS;
            self.producer.tick(self.now);
        }
    }
}

#[test]
fn nothing_is_allocated_for_batches_retries_lost_links_and_new_leaders() {
    let mut bench = Bench::new();
    bench.turn();
    bench.commit();
    let before = CALLS.load(Relaxed);
    for round in 0..2000 {
        // Of the errors some bump, some are unknown, some ask for metadata.
        bench.error = [0, 0, 0, 7, 45, 6, 47, 19][round % 8];
        bench.lose = round % 50 == 49;
        if round % 20 == 0 {
            bench.partitions.iter_mut().for_each(|seen| {
                seen.leader = (seen.leader + 1) % 3;
                seen.leader_epoch += 1;
            });
        }
        bench.commit();
    }
    assert_eq!(CALLS.load(Relaxed) - before, 0, "allocations in 2000 commits");
    let totals = bench.producer.totals();
    assert_eq!(totals.written, 2001 * PARTITIONS as u64);
    assert!(totals.retries > 1000, "{totals:?}");
}
