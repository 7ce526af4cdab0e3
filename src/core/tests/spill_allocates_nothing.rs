//! Once warm, a shard takes no memory for a request that it spills. Alone in its binary: the counter is global.
mod counting;

use counting::CALLS;
use ringmill_core::ack::Ack;
use ringmill_core::engine::{Config, ConnId, Engine, IoStep, Mode, Protocol};
use ringmill_core::json::StrictScanner;
use ringmill_core::kafka::arena::ArenaLimits;
use ringmill_core::kafka::partition::Spread;
use ringmill_core::kafka::producer;
use ringmill_core::metrics::ShardSnapshot;
use ringmill_core::sink::kafka::{KafkaSink, KeyFrom, Routing, Settings};
use ringmill_core::sink::segments::SegmentSink;
use ringmill_core::sink::spill::{Spill, Spilling};
use ringmill_core::sink::{AnySink, Mail, Request, Resume};
use ringmill_core::testing::clock::HandClock;
use ringmill_core::testing::engine::config;
use std::sync::atomic::Ordering::Relaxed;

const CONNECTIONS: usize = 4;

struct Bench {
    clock: HandClock,
    engine: Engine<Vec<u8>, HandClock, StrictScanner, AnySink>,
    conns: Vec<ConnId>,
    snapshot: ShardSnapshot,
    replied: u64,
    /// The last event that may be replayed.
    through: u64,
}

impl Bench {
    fn new(protocol: Protocol) -> Bench {
        let config = Config { connections_max: CONNECTIONS, ack: Ack::Replicated, ..config() };
        let arena = ArenaLimits { batches: 32, splits: 8, ..ArenaLimits::default() };
        let producer = producer::Settings::new(1, 3, 1, 6, 5);
        let spread = Spread::Sticky { bytes: 16 << 10 };
        let routing = Routing { key: KeyFrom::Header, ..Routing::fixed("events") };
        let settings =
            Settings { producer, arena, spread, compress: None, routing, shard: 0, first_sequence: 1 };
        let kafka = AnySink::Kafka(Box::new(KafkaSink::new(settings, 0).expect("sound settings")));
        // An event of an earlier run waits, and nobody replays it.
        let segments = SegmentSink::new(0, &Resume { next_seq: 2, ..Resume::START });
        let spill = Spill { segments, after_ns: 1_000_000_000, through: 0 };
        let sink = AnySink::Spilling(Box::new(Spilling::new(kafka, spill)));
        let clock = HandClock::default();
        let mut engine =
            Engine::new(config, clock.clone(), StrictScanner::default(), sink, |len| vec![0; len]);
        let conns = (0..CONNECTIONS).map(|_| engine.open(protocol).expect("a slot")).collect();
        let snapshot = ShardSnapshot::new();
        let mut bench = Bench { clock, engine, conns, snapshot, replied: 0, through: 0 };
        bench.turn();
        assert_eq!(bench.engine.mode(), Some(Mode::Spilling));
        bench
    }

    fn round(&mut self, input: &[u8], piece: &mut [u8]) {
        self.clock.0.set(self.clock.0.get() + 100_000);
        self.engine.tick();
        for at in 0..self.conns.len() {
            let piece = &mut piece[..input.len()];
            piece.copy_from_slice(input);
            self.engine.receive(self.conns[at], piece);
        }
        self.turn();
        self.snapshot.fill(0, None, Ok(()), self.engine.metrics());
    }

    fn turn(&mut self) {
        loop {
            let mut idle = !self.engine.run();
            while let Some(Request::Prepare { kind, number }) = self.engine.next_request() {
                let (file, capacity) = (number as i32, 1 << 40);
                self.engine.mail(Mail::Ready { kind, file, number, id: number, capacity });
            }
            while let Some((slot, len)) = self.engine.next_io().map(|io| (io.slot, io.bytes.len())) {
                idle = false;
                self.engine.io_done(slot, IoStep::Write, Ok(len));
                self.engine.io_done(slot, IoStep::Sync, Ok(0));
            }
            if let Some(spilled) = self.engine.take_spilled() {
                self.through = spilled.through;
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
}

fn request(body: &str) -> String {
    let head = format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n", body.len());
    format!("{head}Ringmill-Key: ann \"and\" \u{e9}\r\n\r\n{body}")
}

#[test]
fn a_spilled_request_costs_no_allocation_once_warm() {
    let event = "{\"type\":\"log\",\"k\":\"a \\\"quoted\\\" \\u00e9\",\"n\":[1.5,-2e9]}\n";
    let bad = "{\"a\":\n[1]\nnonsense\n";
    let http = [request(event), request(&event.repeat(100)), request(&format!("{event}{bad}{event}"))];
    let lines = [event.repeat(20), format!("{event}{bad}{event}")];
    for (protocol, inputs) in [(Protocol::Http, &http[..]), (Protocol::Lines, &lines[..])] {
        let mut bench = Bench::new(protocol);
        let mut piece = vec![0; 16 << 10];
        let mut run = |rounds: usize| {
            for input in inputs {
                (0..rounds).for_each(|_| bench.round(input.as_bytes(), &mut piece));
            }
            (bench.replied, bench.through)
        };
        run(10);
        let before = CALLS.load(Relaxed);
        let (replied, through) = run(100);
        let calls = CALLS.load(Relaxed) - before;
        assert!(replied > 30_000 && through > 4_000, "it must have worked: {replied} {through}");
        assert_eq!(calls, 0, "{protocol:?}");
    }
}
