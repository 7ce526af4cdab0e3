//! Once warm, a shard takes no memory for a request on its way to Kafka and back. Alone in its binary: the counter
//! is global.
mod counting;

use counting::CALLS;
use ringmill_core::ack::Ack;
use ringmill_core::engine::{Config, ConnId, Engine, Protocol};
use ringmill_core::json::SimdScanner;
use ringmill_core::json::pointer::Pointer;
use ringmill_core::kafka::arena::{ArenaLimits, Slot};
use ringmill_core::kafka::compress::{Compress, Lz4};
use ringmill_core::kafka::partition::Spread;
use ringmill_core::kafka::producer::{
    self, BrokerSeen, Command, Input, LinkId, MetadataAnswer, PartitionSeen, ProduceAnswer, ProducerIdAnswer,
    TopicId, TopicSeen,
};
use ringmill_core::metrics::ShardSnapshot;
use ringmill_core::sink::AnySink;
use ringmill_core::sink::kafka::{HeaderRules, KafkaSink, KeyFrom, Routing, Settings, TimeFrom};
use ringmill_core::testing::clock::HandClock;
use ringmill_core::testing::engine::config;
use std::sync::atomic::Ordering::Relaxed;

const CONNECTIONS: usize = 4;
const PARTITIONS: usize = 6;

/// A command, copied out of the producer.
enum Todo {
    Dial(LinkId),
    HangUp,
    Metadata(LinkId, i32),
    ProducerId(LinkId, i32),
    Produce(LinkId, i32, [Slot; 32], usize),
}

struct Bench {
    clock: HandClock,
    engine: Engine<Vec<u8>, HandClock, SimdScanner, AnySink>,
    conns: Vec<ConnId>,
    snapshot: ShardSnapshot,
    replied: u64,
    sent: u64,
    ids: i64,
}

impl Bench {
    fn new(ack: Ack, routing: Routing, compress: Option<Box<dyn Compress>>) -> Bench {
        let config = Config { connections_max: CONNECTIONS, ack, ..config() };
        let arena = ArenaLimits { batches: 32, splits: 8, ..ArenaLimits::default() };
        let producer = producer::Settings::new(1, 3, 1, PARTITIONS, 5);
        let spread = Spread::Sticky { bytes: 16 << 10 };
        let settings = Settings { producer, arena, spread, compress, routing, shard: 0, first_sequence: 1 };
        let sink = AnySink::Kafka(Box::new(KafkaSink::new(settings, 0).expect("sound settings")));
        let clock = HandClock::default();
        let engine = Engine::new(config, clock.clone(), SimdScanner::new(), sink, |len| vec![0; len]);
        let snapshot = ShardSnapshot::new();
        let mut bench = Bench { clock, engine, conns: Vec::new(), snapshot, replied: 0, sent: 0, ids: 0 };
        bench.turn();
        bench
    }

    fn round(&mut self, input: &[u8], pieces: &mut [u8], piece: usize) {
        self.clock.0.set(self.clock.0.get() + 100_000);
        self.engine.tick();
        for at in 0..self.conns.len() {
            for from in (0..input.len()).step_by(piece) {
                let to = input.len().min(from + piece);
                pieces[..to - from].copy_from_slice(&input[from..to]);
                self.engine.receive(self.conns[at], &mut pieces[..to - from]);
            }
        }
        self.turn();
        self.snapshot.fill(0, None, Ok(()), self.engine.metrics());
    }

    fn turn(&mut self) {
        loop {
            let mut idle = !self.engine.run();
            assert!(self.engine.next_io().is_none(), "nothing is written to files");
            while let Some(todo) = self.next_todo() {
                idle = false;
                self.perform(todo);
                self.engine.poll_upstream();
            }
            while let Some((id, len)) = self.engine.next_send().map(|(id, bytes)| (id, bytes.len())) {
                idle = false;
                self.replied += len as u64;
                self.engine.sent(id, len);
            }
            while self.engine.next_action().is_some() {}
            if idle {
                return;
            }
        }
    }

    fn next_todo(&mut self) -> Option<Todo> {
        let upstream = self.engine.upstream().expect("the sink is Kafka");
        Some(match upstream.producer.next_command(upstream.now_ns)? {
            Command::Dial { link, .. } => Todo::Dial(link),
            Command::HangUp { .. } => Todo::HangUp,
            Command::Metadata { link, correlation, .. } => Todo::Metadata(link, correlation),
            Command::InitProducerId { link, correlation, .. } => Todo::ProducerId(link, correlation),
            Command::Produce { link, correlation, batches } => {
                let mut slots = [Slot(0); 32];
                slots[..batches.len()].copy_from_slice(batches);
                Todo::Produce(link, correlation, slots, batches.len())
            }
        })
    }

    fn perform(&mut self, todo: Todo) {
        let mut partitions = [ProduceAnswer {
            partition: producer::PartitionIndex(0),
            error: 0,
            base_offset: 0,
            records: None,
            leader: None,
        }; 32];
        if let Todo::Produce(_, _, slots, len) = &todo {
            for (slot, answer) in slots[..*len].iter().zip(&mut partitions) {
                let mut upstream = self.engine.upstream().expect("the sink is Kafka");
                assert!(upstream.freeze(*slot));
                answer.partition = upstream.producer.partition_of(*slot).expect("in use");
                let (header, records) = self.engine.upstream_batch(*slot).expect("in flight");
                self.sent += (header.len() + records.len()) as u64;
            }
        }
        self.ids += 1;
        let upstream = self.engine.upstream().expect("the sink is Kafka");
        let (producer, now_ns) = (upstream.producer, upstream.now_ns);
        match todo {
            Todo::Dial(link) => {
                producer.handle(now_ns, Input::Up { link });
            }
            Todo::HangUp => {}
            Todo::Metadata(link, correlation) => {
                let brokers = [0, 1, 2].map(|id| BrokerSeen { id, host: "127.0.0.1", port: 9092 });
                let partitions: [PartitionSeen; PARTITIONS] = std::array::from_fn(|number| PartitionSeen {
                    error: 0,
                    number: number as i32,
                    leader: number as i32 % 3,
                    leader_epoch: 1,
                });
                let topics =
                    [TopicSeen { error: 0, name: "events", id: TopicId::NONE, partitions: &partitions }];
                let answer = MetadataAnswer { error: 0, throttle_ms: 0, brokers: &brokers, topics: &topics };
                producer.handle(now_ns, Input::Metadata { link, correlation, answer });
            }
            Todo::ProducerId(link, correlation) => {
                let answer = ProducerIdAnswer { error: 0, throttle_ms: 0, producer_id: self.ids, epoch: 0 };
                producer.handle(now_ns, Input::InitProducerId { link, correlation, answer });
            }
            Todo::Produce(link, correlation, _, len) => {
                let answers = &mut partitions[..len].iter().copied();
                producer.handle(
                    now_ns,
                    Input::Produce { link, correlation, throttle_ms: 0, nodes: &[], answers },
                );
            }
        }
    }
}

fn request(body: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_request_costs_no_allocation_once_warm() {
    let event =
        "{\"type\":\"log\",\"ts\":1763000000000000000,\"k\":\"a \\\"quoted\\\" \\u00e9\",\"n\":[1.5,-2e9]}\n";
    let bad = "{\"a\":\n[1]\nnonsense\n";
    let http = [
        request(event),
        request(event).repeat(16),
        request(&event.repeat(100)),
        request(&format!("{event}{bad}{event}")),
    ];
    let lines = [event.repeat(20), format!("{event}{bad}{event}")];
    let pointer = |text| Pointer::parse(text).expect("a pointer");
    let rich = || Routing {
        key: KeyFrom::Pointer(pointer("/k")),
        time: TimeFrom::Pointer(pointer("/ts")),
        headers: HeaderRules {
            stream: Some("stream".into()),
            event_id: Some("id".into()),
            extra: vec![("site".into(), "north".into())],
        },
        ..Routing::fixed("events")
    };
    for (name, ack, routing, lz4) in [
        ("plain", Ack::Replicated, Routing::fixed("events"), false),
        ("accepted", Ack::Accepted, Routing::fixed("events"), false),
        ("keyed", Ack::Replicated, rich(), false),
        ("lz4", Ack::Replicated, rich(), true),
    ] {
        for (protocol, inputs) in [(Protocol::Http, &http[..]), (Protocol::Lines, &lines[..])] {
            let compress = lz4.then(|| Box::new(Lz4::new()) as Box<dyn Compress>);
            let mut bench = Bench::new(ack, routing.clone(), compress);
            bench.conns = (0..CONNECTIONS).map(|_| bench.engine.open(protocol).expect("a slot")).collect();
            let mut pieces = vec![0; 16 << 10];
            let mut run = |rounds: usize| {
                for input in inputs {
                    for piece in [16 << 10, 50] {
                        for _ in 0..rounds {
                            bench.round(input.as_bytes(), &mut pieces, piece);
                        }
                    }
                }
                (bench.replied, bench.sent)
            };
            run(10);
            let before = CALLS.load(Relaxed);
            let (replied, sent) = run(50);
            let calls = CALLS.load(Relaxed) - before;
            assert!(replied > 50_000 && sent > 100_000, "it must have worked: {replied} {sent}");
            assert_eq!(calls, 0, "{name}, {protocol:?}");
        }
    }
}
