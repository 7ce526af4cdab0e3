//! What one request costs from its bytes to its reply, without sockets or disk: `cargo run --release -p
//! ringmill-core --example engine [FILE.ndjson] [PER_REQUEST] [PIPELINE] [ROUNDS]
//! [fast|exact|simd-json] [KERNEL]`. For instruction counts run it
//! under callgrind with few rounds; the events are those of `benches/payload.py`.
use ringmill_core::ack::Ack;
use ringmill_core::batch::policy::Policy;
use ringmill_core::engine::{Config, Engine, Protocol};
use ringmill_core::json::{FastScanner, Kernel, Scanner, SimdScanner, StrictScanner};
use ringmill_core::memory::Clock;
use ringmill_core::sink::null::NullSink;
use ringmill_core::testing::engine::config;
use std::time::Instant;

struct Wall(Instant);

impl Clock for Wall {
    fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
    fn wall_ms(&self) -> u64 {
        1_795_219_200_000
    }
}

fn main() {
    let arg = |at: usize| std::env::args().nth(at);
    let count = |at, default| arg(at).map_or(default, |text: String| text.parse().expect("a number"));
    let (per, pipeline, rounds) = (count(2, 1), count(3, 16), count(4, 200_000));
    let events = match arg(1) {
        Some(file) => std::fs::read(file).expect("a readable file"),
        None => b"{\"type\":\"log\",\"ts\":1795219200000000000,\"message\":\"a \\\"small\\\" one\",\"n\":[1,2.5,-3e7]}\n".repeat(64),
    };
    let bursts = bursts(&events, per, pipeline);
    match arg(5).as_deref() {
        Some("exact") => measure(engine(StrictScanner::new()), &bursts, per, pipeline, rounds),
        Some("simd-json") => measure(engine(SimdScanner::new()), &bursts, per, pipeline, rounds),
        _ => {
            let wanted =
                arg(6).and_then(|name| Kernel::ALL.iter().copied().find(|kernel| kernel.name() == name));
            let scanner = FastScanner::new(wanted.unwrap_or_else(Kernel::best));
            measure(engine(scanner), &bursts, per, pipeline, rounds);
        }
    }
}

fn measure<S: Scanner>(mut engine: Bare<S>, bursts: &[Vec<u8>], per: usize, pipeline: usize, rounds: usize) {
    let conn = engine.open(Protocol::Http).expect("a free slot");
    let (mut replies, mut bytes) = (0usize, 0usize);
    let started = Instant::now();
    for round in 0..rounds {
        let mut burst = bursts[round % bursts.len()].clone();
        bytes += burst.len();
        engine.tick();
        for part in burst.chunks_mut(16 << 10) {
            engine.receive(conn, part);
        }
        while engine.run() {}
        while engine.next_action().is_some() {}
        assert!(engine.next_io().is_none(), "the null sink writes nothing");
        while let Some((conn, reply)) = engine.next_send() {
            let sent = reply.len();
            replies += memchr::memmem::find_iter(reply, b"HTTP/1.1 202").count();
            engine.sent(conn, sent);
        }
    }
    let ns = started.elapsed().as_nanos() as f64;
    let requests = rounds * pipeline;
    assert_eq!(replies, requests, "every request is answered 202");
    println!(
        "{requests} requests of {per} events, {pipeline} at a time: {:.0} ns and {} bytes each",
        ns / requests as f64,
        bytes / requests
    );
}

fn bursts(events: &[u8], per: usize, pipeline: usize) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = events.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let request = |lines: &[&[u8]]| {
        let body = lines.join(&b'\n');
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: lg/1\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    };
    let requests: Vec<Vec<u8>> = lines.chunks_exact(per).map(request).collect();
    requests.chunks_exact(pipeline.min(requests.len())).map(|burst| burst.concat()).collect()
}

type Bare<S> = Engine<Vec<u8>, Wall, S, NullSink>;

fn engine<S: Scanner>(scanner: S) -> Bare<S> {
    let config = Config {
        connections_max: 1,
        body_budget_bytes: 16 << 20,
        batch_arena_bytes: 9 << 20,
        refused_arena_bytes: 1 << 20,
        ack: Ack::Accepted,
        policy: Policy { bytes_max: 8 << 20, events_max: u32::MAX, linger_ns: 0 },
        lines_replies: false,
        ..config()
    };
    Engine::new(config, Wall(Instant::now()), scanner, NullSink, |bytes| vec![0; bytes])
}
