//! A commit to an HTTP target and its answer back ask the heap for nothing, once the first ones have passed.
//!
//! Without sockets: what the driver would do is done here, on buffers that exist before counting begins. The engine's
//! own way is counted in the core's tests; here are the sink, its links and the batch.

use std::sync::atomic::Ordering::Relaxed;

use ringmill::core::ack::Ack;
use ringmill::core::batch::store::{Layout, Store};
use ringmill::core::memory::Memory;
use ringmill::core::segment::header::StreamName;
use ringmill::core::sink::http::target::{EventId, Lead, Target};
use ringmill::core::sink::http::{HttpSink, Preset, Rules, Settings};
use ringmill::core::sink::{Remote, Sealed, Sink};
use ringmill::sink::http::encode::Coding;
use ringmill::sink::http::{LinkSettings, Links};

#[path = "../src/core/tests/counting/mod.rs"]
mod counting;
use counting::CALLS;

const S: u64 = 1_000_000_000;
const ARENA_BYTES: usize = 1 << 20;
const EVENTS: usize = 300;

struct Bench {
    sink: HttpSink,
    links: Links,
    store: Store<Vec<u8>>,
    answer: Vec<u8>,
    now_ns: u64,
    bytes: usize,
}

impl Bench {
    fn new(preset: Preset, coding: Coding) -> Bench {
        let rules = Rules {
            lanes: 2,
            request_timeout_ns: 30 * S,
            delivery_timeout_ns: 120 * S,
            idle_ns: 60 * S,
            seed: 1,
        };
        let settings = Settings {
            preset,
            target: Target::new("/in?{token}", b"Host: h\r\n"),
            rules,
            batch_bytes: 16 << 10,
            arena_bytes: ARENA_BYTES,
            level: Ack::Written,
            first: EventId { run: 1, shard: 0, sequence: 1 },
        };
        let sink = HttpSink::new(settings, 0);
        let settings = LinkSettings {
            host: "127.0.0.1".into(),
            port: 80,
            tls: None,
            lanes: 2,
            batch_bytes: 16 << 10,
            coding,
        };
        let links = Links::new(settings, &sink, ARENA_BYTES).unwrap();
        let store = Store::new(Layout::Parcels, ARENA_BYTES, &mut |len| vec![0; len]);
        Bench { sink, links, store, answer: Vec::with_capacity(1 << 20), now_ns: S, bytes: 0 }
    }

    /// One commit: filled, sealed, sent, answered.
    fn round(&mut self) {
        self.now_ns += S / 1000;
        Remote::<Vec<u8>>::tick(&mut self.sink, self.now_ns);
        let bulk = self.sink.preset() == Preset::Elasticsearch;
        let lines = self.store.lines_mut().unwrap();
        for n in 0..EVENTS {
            let lead = bulk.then(|| Lead::new(EventId { run: 1, shard: 0, sequence: n as u64 }));
            let lead = lead.as_ref().map_or(&[][..], Lead::as_bytes);
            let event = br#"{"time":"2026-01-01T00:00:00Z","message":"a line of some length","n":17}"#;
            lines.append_behind(lead, &StreamName::DEFAULT, event, false, 0).unwrap();
        }
        let sealed = self.sink.seal(lines, 0);
        let Sealed::Sent(awaits) = sealed else { panic!("{sealed:?}") };
        let mut awaits = i64::from(awaits);
        while awaits > 0 {
            self.links.obey(self.now_ns, &mut self.sink, self.store.lines());
            while let Some((peer, _)) = self.links.next_dial() {
                self.links.dialed(self.now_ns, &mut self.sink, peer, Ok(()));
            }
            while let Some((peer, bytes)) = self.send() {
                self.bytes += bytes;
                self.links.peer_sent((self.now_ns, 0), &mut self.sink, peer, bytes);
                // One send holds all of a request: its head and one piece.
                self.answer(peer);
            }
            awaits += Remote::take_outcomes(&mut self.sink, &mut self.store, self.now_ns, &mut |_, _, _| {});
        }
        assert!(self.store.fates().is_empty(), "all of it was taken");
        self.store.clear();
    }

    fn send(&mut self) -> Option<(u32, usize)> {
        let send = self.links.next_peer_send(&self.sink, self.store.lines())?;
        Some((send.peer, send.bytes()))
    }

    fn answer(&mut self, peer: u32) {
        let answer = std::mem::take(&mut self.answer);
        self.links.peer_receive((self.now_ns, 0), &mut self.sink, peer, &answer);
        self.answer = answer;
    }
}

#[test]
fn a_commit_and_its_answers_allocate_nothing() {
    // Its block is a Vec, as a test's memory may be.
    assert_eq!(Memory::bytes(&vec![0_u8; 3]).len(), 3);
    for (preset, coding) in [
        (Preset::Plain, Coding::Identity),
        (Preset::Plain, Coding::Gzip),
        (Preset::Plain, Coding::Zstd),
        (Preset::ClickHouse, Coding::Identity),
    ] {
        let mut bench = Bench::new(preset, coding);
        bench
            .answer
            .extend_from_slice(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=30\r\nContent-Length: 2\r\n\r\nok");
        for _ in 0..20 {
            bench_first(&mut bench);
        }
        let before = (CALLS.load(Relaxed), bench.bytes);
        for _ in 0..200 {
            bench.round();
        }
        // Alike events become next to nothing when they are compressed.
        assert!(bench.bytes - before.1 > 200 * 200, "it went out");
        assert_eq!(CALLS.load(Relaxed) - before.0, 0, "{preset:?} {coding:?}");
    }
}

fn bench_first(bench: &mut Bench) {
    if bench.bytes == 0 {
        bench.links.obey::<Vec<u8>>(bench.now_ns, &mut bench.sink, None);
        while let Some((peer, _)) = bench.links.next_dial() {
            bench.links.dialed(bench.now_ns, &mut bench.sink, peer, Ok(()));
        }
    }
    bench.round();
}
