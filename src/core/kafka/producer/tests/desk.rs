//! A producer on a desk: what it wants is laid out, the test answers by hand. Brokers 1 and 2, topics `t` and `u`.
use crate::kafka::producer::*;
use std::vec;
use std::vec::Vec;

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000_000_000;

/// A request to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Dial(LinkId, Endpoint),
    HangUp(LinkId),
    Metadata(LinkId, i32),
    Id(LinkId, i32, PartitionIndex),
    Produce(LinkId, i32, Vec<Slot>),
}

/// What Metadata says of a topic: error, id, (leader, epoch) by partition.
pub type Said = (i16, u8, Vec<(i32, i32)>);

pub struct Desk {
    pub p: Producer,
    pub now: u64,
    pub topics: Vec<Said>,
    pub next_id: i64,
}

/// Times without much chance: what counts is the order.
pub fn settings() -> Settings {
    Settings {
        retry: Backoff { min_ns: 100 * MS, max_ns: 100 * MS },
        redial: Backoff { min_ns: 50 * MS, max_ns: 50 * MS },
        ..Settings::new(1, 4, 2, 16, 1)
    }
}

impl Desk {
    /// Nothing connected; `t` has these leaders, `u` one partition led by broker 1.
    pub fn cold(settings: Settings, leaders: &[i32]) -> Desk {
        let mut p = Producer::new(settings);
        p.add_topic(0, "t").expect("room");
        p.add_topic(0, "u").expect("room");
        let t = leaders.iter().map(|&leader| (leader, 0)).collect();
        Desk { p, now: 0, topics: vec![(0, 1, t), (0, 2, vec![(1, 0)])], next_id: 100 }
    }

    /// Connected, metadata known.
    pub fn with(settings: Settings, leaders: &[i32]) -> Desk {
        let mut desk = Desk::cold(settings, leaders);
        // The bootstrap link has done its part.
        assert!(matches!(desk.serve()[..], [Wish::HangUp(_)]));
        desk
    }

    pub fn new(leaders: &[i32]) -> Desk {
        Desk::with(settings(), leaders)
    }

    pub fn wish(&mut self) -> Option<Wish> {
        Some(match self.p.next_command(self.now)? {
            Command::Dial { link, to } => Wish::Dial(link, to),
            Command::HangUp { link } => Wish::HangUp(link),
            Command::Metadata { link, correlation, .. } => Wish::Metadata(link, correlation),
            Command::InitProducerId { link, correlation, partition } => {
                Wish::Id(link, correlation, partition)
            }
            Command::Produce { link, correlation, batches } => {
                Wish::Produce(link, correlation, batches.to_vec())
            }
        })
    }

    pub fn wishes(&mut self) -> Vec<Wish> {
        std::iter::from_fn(|| self.wish()).collect()
    }

    /// Answers every dial, metadata and id well; gives back what is left.
    pub fn serve(&mut self) -> Vec<Wish> {
        let mut left = Vec::new();
        while let Some(wish) = self.wish() {
            match wish {
                Wish::Dial(link, _) => self.up(link),
                Wish::Metadata(link, correlation) => self.metadata(link, correlation),
                Wish::Id(link, correlation, _) => self.id(link, correlation, 0),
                other => left.push(other),
            }
        }
        left
    }

    /// As `serve`, and exactly one Produce request is left.
    #[track_caller]
    pub fn produce(&mut self) -> (LinkId, i32, Vec<Slot>) {
        match self.serve().as_slice() {
            [Wish::Produce(link, correlation, batches)] => (*link, *correlation, batches.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// As `serve`; all Produce requests that are left.
    pub fn produce_all(&mut self) -> Vec<(LinkId, i32, Vec<Slot>)> {
        let produce = |wish| match wish {
            Wish::Produce(link, correlation, batches) => Some((link, correlation, batches)),
            _ => None,
        };
        self.serve().into_iter().filter_map(produce).collect()
    }

    pub fn up(&mut self, link: LinkId) {
        self.p.handle(self.now, Input::Up { link });
    }

    pub fn down(&mut self, link: LinkId) {
        self.p.handle(self.now, Input::Down { link, why: LinkFailure::Reset });
    }

    pub fn metadata(&mut self, link: LinkId, correlation: i32) {
        let brokers = [1, 2].map(|id| BrokerSeen { id, host: "b", port: id as u16 });
        let partitions: Vec<Vec<PartitionSeen>> = self
            .topics
            .iter()
            .map(|topic| {
                let seen = topic.2.iter().enumerate();
                seen.map(|(n, &(leader, leader_epoch))| PartitionSeen {
                    error: 0,
                    number: n as i32,
                    leader,
                    leader_epoch,
                })
                .collect()
            })
            .collect();
        let topics: Vec<TopicSeen<'_>> = (0..self.topics.len())
            .map(|n| TopicSeen {
                error: self.topics[n].0,
                name: ["t", "u"][n],
                id: TopicId([self.topics[n].1; 16]),
                partitions: if self.topics[n].0 == 0 { &partitions[n] } else { &[] },
            })
            .collect();
        let answer = MetadataAnswer { error: 0, throttle_ms: 0, brokers: &brokers, topics: &topics };
        self.p.handle(self.now, Input::Metadata { link, correlation, answer });
    }

    pub fn id(&mut self, link: LinkId, correlation: i32, error: i16) {
        self.next_id += 1;
        let answer = ProducerIdAnswer { error, throttle_ms: 0, producer_id: self.next_id, epoch: 0 };
        self.p.handle(self.now, Input::InitProducerId { link, correlation, answer });
    }

    pub fn index(&self, topic: u16, number: u32) -> PartitionIndex {
        self.p.partitions(TopicIndex(topic)).index(number).expect("known")
    }

    pub fn submit(&mut self, slot: u32, number: u32, records: u32) {
        let index = self.index(0, number);
        self.p.submit(self.now, Slot(slot), index, records, 100);
    }

    /// One answer for partition `number` of `t`.
    pub fn say(&mut self, at: &(LinkId, i32, Vec<Slot>), number: u32, error: i16) {
        self.answer(at, number, |answer| ProduceAnswer { error, ..answer });
    }

    pub fn answer(
        &mut self,
        (link, correlation, _): &(LinkId, i32, Vec<Slot>),
        number: u32,
        with: impl Fn(ProduceAnswer) -> ProduceAnswer,
    ) {
        let partition = self.p.partition(TopicIndex(0), number as i32).expect("known");
        let answer = ProduceAnswer { partition, error: 0, base_offset: 7, records: None, leader: None };
        self.say_all(*link, *correlation, &[with(answer)], 0);
    }

    pub fn say_all(&mut self, link: LinkId, correlation: i32, answers: &[ProduceAnswer], throttle_ms: i32) {
        let answers = &mut answers.iter().copied();
        let nodes = [BrokerSeen { id: 3, host: "b", port: 3 }];
        self.p.handle(self.now, Input::Produce { link, correlation, throttle_ms, nodes: &nodes, answers });
    }

    /// Lets time pass for sure, answering what can be answered well; gives back what is left.
    pub fn pass(&mut self, ns: u64) -> Vec<Wish> {
        let end = self.now + ns;
        let mut left = self.serve();
        for turn in 0.. {
            assert!(turn < 10_000, "turns in a circle at {}", self.now);
            match self.p.deadline_ns() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.p.tick(self.now);
            left.extend(self.serve());
        }
        self.now = end;
        left
    }

    pub fn outcome(&mut self) -> Option<(u32, Outcome)> {
        self.p.next_outcome().map(|(slot, outcome)| (slot.0, outcome))
    }

    #[track_caller]
    pub fn written(&mut self, slot: u32) {
        assert_eq!(self.outcome(), Some((slot, Outcome::Written { base_offset: 7 })));
    }

    /// Why a batch is said to be possibly written.
    #[track_caller]
    pub fn possibly(&mut self, slot: u32) -> Why {
        match self.outcome() {
            Some((at, Outcome::PossiblyWritten(reason))) if at == slot => reason.why,
            other => panic!("{other:?}"),
        }
    }

    /// Why a batch is said not to be written.
    #[track_caller]
    pub fn not_written(&mut self, slot: u32) -> Why {
        match self.outcome() {
            Some((at, Outcome::NotWritten(reason))) if at == slot => reason.why,
            other => panic!("{other:?}"),
        }
    }

    /// The stamp of a slot: id, epoch, sequence.
    #[track_caller]
    pub fn stamp(&self, slot: u32) -> (i64, i16, i32) {
        let stamp = self.p.stamp(Slot(slot)).expect("sent");
        (stamp.producer_id, stamp.epoch, stamp.sequence)
    }
}
