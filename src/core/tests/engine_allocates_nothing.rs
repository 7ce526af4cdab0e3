//! Once warm, a shard takes no memory for a request, whatever its sink. Alone in its binary: the counter is global.
mod counting;

use counting::CALLS;
use ringmill_core::ack::Ack;
use ringmill_core::engine::{Config, ConnId, Engine, IoStep, Protocol};
use ringmill_core::json::schema::{Choice, Field, Schema, Types};
use ringmill_core::json::{FastScanner, Kernel};
use ringmill_core::sink::segments::SegmentSink;
use ringmill_core::sink::{AnySink, Mail, Request, Resume, null::NullSink};
use ringmill_core::testing::clock::HandClock;
use ringmill_core::testing::engine::config;
use std::sync::atomic::Ordering::Relaxed;

const CONNECTIONS: usize = 4;
/// A few commits, so that the run meets rotations.
const CAPACITY: u64 = 1 << 20;

struct Bench {
    clock: HandClock,
    engine: Engine<Vec<u8>, HandClock, FastScanner, AnySink>,
    conns: Vec<ConnId>,
    file: i32,
    replied: u64,
}

impl Bench {
    fn new(ack: Ack, quarantine: bool, schemas: &[Schema]) -> Bench {
        let null = ack == Ack::Accepted;
        let config = Config {
            connections_max: CONNECTIONS,
            batch_arena_bytes: 512 << 10,
            ack,
            quarantine_first: quarantine.then_some(1),
            ..config()
        };
        let sink = match null {
            true => AnySink::Null(NullSink),
            false => AnySink::Segments(SegmentSink::new(0, &Resume::START)),
        };
        let clock = HandClock::default();
        let scanner = FastScanner::new(Kernel::best());
        let mut engine = Engine::new(config, clock.clone(), scanner, sink, |len| vec![0; len]);
        engine.set_schemas(schemas).unwrap();
        let mut bench = Bench { clock, engine, conns: Vec::new(), file: 2, replied: 0 };
        bench.turn();
        bench
    }

    fn open(&mut self, protocol: Protocol) {
        for _ in 0..CONNECTIONS {
            self.conns.push(self.engine.open(protocol).expect("a slot"));
        }
    }

    /// One wake: every connection gets `input`, and everything that follows from it is done.
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
    }

    fn turn(&mut self) {
        loop {
            let more = self.engine.run();
            let mut idle = !more;
            while let Some(request) = self.engine.next_request() {
                if let Request::Prepare { kind, number } = request {
                    self.file += 1;
                    let file = self.file;
                    self.engine.mail(Mail::Ready { kind, file, number, id: number, capacity: CAPACITY });
                }
            }
            let mut ios = [None; 2];
            while let Some(io) = self.engine.next_io() {
                ios[usize::from(io.slot)] = Some((io.bytes.len(), io.sync));
            }
            for (slot, io) in ios.iter().enumerate() {
                let Some((len, sync)) = *io else { continue };
                idle = false;
                self.engine.io_done(slot as u8, IoStep::Write, Ok(len));
                if sync {
                    self.engine.io_done(slot as u8, IoStep::Sync, Ok(0));
                }
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
    format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Of which the events below keep some.
fn schema() -> Schema {
    let string = Types::named("string").unwrap();
    let fields = vec![
        Field {
            required: true,
            types: string,
            choices: vec![Choice::Text("log".into())],
            ..Field::at("/type")
        },
        Field { max_length: Some(30), types: string, prefix: Some("a \"".into()), ..Field::at("/text") },
        Field { types: Types::named("number").unwrap(), ..Field::at("/n/1") },
        Field { additional: false, ..Field::at("/a") },
    ];
    Schema { stream: None, additional: false, fields }
}

#[test]
fn a_request_costs_no_allocation_once_warm() {
    let event = "{\"type\":\"log\",\"ts\":1763000000000000000,\"text\":\"a \\\"quoted\\\" \\u00e9\",\"n\":[1.5,-2e9]}\n";
    let bad = "{\"a\":\n[1]\nnonsense\n";
    let chunked = format!(
        "POST /v1/events/s HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n0\r\n\r\n",
        event.len()
    );
    let http = [
        ("one event", request(event)),
        ("sixteen in a row", request(event).repeat(16)),
        ("a hundred events", request(&event.repeat(100))),
        ("a body in pieces", request(&event.repeat(500))),
        ("an array in pieces", request(&format!("[{}{event}]", format!("{event},").repeat(300)))),
        ("bad ones in pieces", request(&format!("{event}{bad}").repeat(200))),
        ("good and bad", request(&format!("{event}{bad}{event}"))),
        ("strangers", request(&format!("{event}{{\"type\":\"log\",\"\\u0061\":{{\"b\":1}}}}\n").repeat(20))),
        ("all bad", request(&bad.repeat(50))),
        ("chunked", chunked),
        ("refused", "GET /v1/events HTTP/1.1\r\nHost: t\r\n\r\n".into()),
    ];
    let lines = [("lines", event.repeat(20)), ("bad lines", format!("{event}{bad}{event}"))];
    let none = [].as_slice();
    for (ack, quarantine, schemas) in [
        (Ack::Accepted, false, none),
        (Ack::Written, true, none),
        (Ack::Durable, false, none),
        (Ack::Durable, true, none),
        (Ack::Durable, true, &[schema()]),
    ] {
        for (protocol, inputs) in [(Protocol::Http, &http[..]), (Protocol::Lines, &lines[..])] {
            let mut bench = Bench::new(ack, quarantine, schemas);
            bench.open(protocol);
            let mut pieces = vec![0; 16 << 10];
            let mut run = |rounds: usize| {
                for (_, input) in inputs {
                    for piece in [16 << 10, 50] {
                        for _ in 0..rounds {
                            bench.round(input.as_bytes(), &mut pieces, piece);
                        }
                    }
                }
                bench.replied
            };
            run(20);
            let before = CALLS.load(Relaxed);
            let replied = run(100);
            let calls = CALLS.load(Relaxed) - before;
            assert!(replied > 100_000, "it must have answered");
            assert_eq!(calls, 0, "{ack:?}, quarantine {quarantine}, {protocol:?}, {} schemas", schemas.len());
        }
    }
}
